"""Transfers: one session per device, from the offer of an image to the version that the device then runs.

It decides and remembers, in memory; it sends and stores nothing. Every verb returns what the transfer tells its update
(`chf.update.effects.Told`). It serves devices that it was told about and nobody else; whether a frame came over a
link-key secured path is for the hub's gate to see.

What a device is told in an image's name never depends on what another device does.
"""

from heapq import heappop, heappush
from itertools import count
from typing import Final, TypeAlias

from chf.clock import Instant, Now
from chf.errors import MalformedFrameError, RefusedError
from chf.eui64 import Eui64
from chf.image.image import FirmwareImage, ImageId
from chf.update.clients import UNKNOWN, ClientClass
from chf.update.effects import Alarm, AlarmKind, Send, Token, Told, TransferMoved, Urgency
from chf.update.eligibility import hardware_objection
from chf.update.model import ActivateByCommand, Activation, TransferOutcome, TransferRecord, TransferState, Update
from chf.update.transfer import activation, blocks, moments, orders, parking
from chf.update.transfer.appointment import Due
from chf.update.transfer.offering import on_offer
from chf.update.transfer.policy import OtaPolicy
from chf.update.transfer.session import REMEMBERED, Coverage, Session, sequence_numbers
from chf.update.transitions import Input
from chf.update.versions import VersionsTold
from chf.zcl import ota as zcl
from chf.zcl.attributes import AttributeRecord, ReadAttributes, ReadAttributesResponse, ReportAttributes, answer_from
from chf.zcl.frame import DefaultResponse, Frame, FrameType, Status, status_name

_ALARM_INTERVAL_S: Final = 60.0  # our choice

Answer: TypeAlias = tuple[Told, ...]


class Transfers:
    """What can be asked of them, by the hub, by devices and by time."""

    def __init__(self, policy: OtaPolicy) -> None:
        self.policy = policy
        self.versions = VersionsTold()
        self._sessions: dict[Eui64, Session] = {}
        self._next_sequence = sequence_numbers()
        self._wakes: list[tuple[Instant, int, Session]] = []
        self._wake_numbers = count()
        self._alarms_again: dict[tuple[Eui64, AlarmKind], Instant] = {}
        self._clients: dict[Eui64, ClientClass] = {}
        self._left: dict[Eui64, ImageId] = {}

    # What the hub asks for

    def offer(
        self, update: Update, image: FirmwareImage, now: Now, *, endpoint: int | None = None, sleepy: bool = False
    ) -> Answer:
        """Begin the transfer of an update. `endpoint` is the device's OTA client, where that is known.

        Raises RefusedError while another update of this device is under way.
        """
        before = self._sessions.get(update.device)
        if before is not None and not before.ended:
            raise RefusedError(f"the device is busy with update {before.update}, which is {before.state}")
        if endpoint is None and before is not None:
            endpoint = before.endpoint
        wanted = orders.unless_past(update.activation, now)
        if before is not None:
            self._leave(before)
        has_it = self._left.pop(update.device, None) == image.sha256
        record = TransferRecord(TransferState.OFFERED, wanted, endpoint, sleepy, claims_image=has_it)
        session = self._enter(update, record, image)
        out: list[Told] = [session.changed(), TransferMoved(session.state)]
        activation.warn(session, now, out)
        if on_offer(session, now):
            session.announce(now)
        else:
            text = "has the whole image from an earlier update: it is offered nothing before its time"
            out.append(session.alarm(AlarmKind.HAS_IMAGE, text))
        if wanted is not update.activation:
            text = "its activation time passed before its turn came: it activates as soon as it can"
            out.append(session.alarm(AlarmKind.PASSED, text))
        return self._settled(session, now, out)

    def client_known(self, peer: Eui64, client: ClientClass, now: Now) -> Answer:
        """Of which class this device's client is, at any time, also before its transfer is restored or offered."""
        self._clients[peer] = client
        session = self._sessions.get(peer)
        if session is None or session.ended or session.client == client:
            return ()
        session.client = client
        out: list[Told] = []
        activation.warn(session, now, out)
        return self._settled(session, now, out)

    def release(self, peer: Eui64, activation_wanted: Activation, now: Now) -> Answer:
        """Set a new activation: end a hold, move an appointment, or allow a missed one. Raises RefusedError."""
        session = self._session(peer)
        out: list[Told] = []
        orders.release(session, activation_wanted, now, out)
        return self._settled(session, now, out)

    def cancel(self, peer: Eui64, now: Now) -> Answer:
        """End the update. Raises RefusedError where that would not be true: a countdown cannot be stopped."""
        session = self._session(peer)
        out: list[Told] = []
        orders.cancel(session, now, out)
        return self._settled(session, now, out)

    def withdraw(self, peer: Eui64, now: Now) -> Answer:
        """The update has ended: the transfer ends too, or is forgotten where the device cannot be called back."""
        session = self._sessions.get(peer)
        if session is None or session.ended:
            return ()
        try:
            return self.cancel(peer, now)
        except RefusedError:
            self.forget(peer)
            return ()

    def forget(self, peer: Eui64) -> None:
        """Drop the session; from now on the device is told that there is no image."""
        session = self._sessions.pop(peer, None)
        if session is not None:
            self._leave(session)
            session.wake = None

    def left(self, peer: Eui64, image: ImageId) -> None:
        """An update that was called off left the whole image with the device, which can still activate it."""
        self._left[peer] = image

    def _leave(self, session: Session) -> None:
        if session.record().whole:
            self._left[session.peer] = session.image.sha256

    def ask_version(self, peer: Eui64, endpoint: int) -> Send:
        """Read the version that the device runs; the answer is told as `VersionObserved`, or the question was lost."""
        payload = ReadAttributes((zcl.CURRENT_FILE_VERSION, zcl.MANUFACTURER_ID, zcl.IMAGE_TYPE_ID)).to_bytes()
        frame = Frame(
            FrameType.GLOBAL,
            ReadAttributes.COMMAND,
            self._next_sequence(),
            payload,
            to_client=True,
            disable_default_response=True,
        )
        # Unacknowledged: a rebooting device would hold a place in the dongle through every retry; it is asked again.
        return Send(peer, endpoint, frame.to_bytes(), Urgency.NORMAL, Token.ANSWER, acknowledged=False)

    # What the radio brings

    def receive(self, peer: Eui64, source_endpoint: int, payload: bytes, now: Now) -> Answer:
        """Answer one ZCL frame of cluster 0x0019, whatever it holds. Never raises for what a device sent."""
        session = self._sessions.get(peer)
        if session is not None and not session.ended:
            before, paging, out = session.state, session.page is not None, list[Told]()
            if blocks.serve_block(session, source_endpoint, payload, now, out):
                if paging or session.state is not before or session.late is not None:
                    return self._settled(session, now, out)
                return tuple(out)
        return self._receive_any(peer, source_endpoint, payload, now)

    def delivered(self, peer: Eui64, token: Token, delivered: bool, now: Now) -> Answer:
        """What became of a `Send`; owed for each: by blocks still under way a flood is told from a download."""
        session = self._sessions.get(peer)
        if session is None:
            return ()
        out: list[Told] = []
        if token is Token.BLOCK:
            blocks.block_ended(session, delivered, now, out)
            return tuple(out)
        activation.answer_delivered(session, token, delivered, now, out)
        return self._settled(session, now, out)

    # What time brings

    def deadline(self) -> Instant | None:
        """When `handle_deadline` is wanted next."""
        wakes = self._wakes
        while wakes and wakes[0][2].wake != wakes[0][0]:
            heappop(wakes)
        return wakes[0][0] if wakes else None

    def handle_deadline(self, now: Now) -> tuple[tuple[Eui64, Answer], ...]:
        """What is due, device by device."""
        due_sessions = []
        while (at := self.deadline()) is not None and at <= now.instant:
            session = heappop(self._wakes)[2]
            session.wake = None
            due_sessions.append(session)
        told = []
        for session in due_sessions:
            out: list[Told] = []
            _wake(session, now, out)
            told.append((session.peer, self._settled(session, now, out)))
        return tuple(told)

    # What survives a restart

    def get(self, peer: Eui64) -> Session | None:
        return self._sessions.get(peer)

    def restore(self, update: Update, record: TransferRecord, image: FirmwareImage, now: Now) -> Answer:
        """Go on with a transfer of an earlier process, before any device is heard."""
        session = self._enter(update, record, image)
        if session.state is not TransferState.OFFERED:
            session.last_heard = now.instant  # it may ask again any moment: no need to notify it yet
            self.versions.add(update.device, image.header.made_for)
        out: list[Told] = []
        moments.restored(session, now, out)
        return self._settled(session, now, out)

    def _enter(self, update: Update, record: TransferRecord, image: FirmwareImage) -> Session:
        session = self._sessions[update.device] = Session(
            update.id,
            update.device,
            image,
            policy=self.policy,
            next_sequence=self._next_sequence,
            client=self._clients.get(update.device, UNKNOWN),
            allow_downgrade=update.allow_downgrade,
            coverage=Coverage(record.served_bytes),
            **{name: getattr(record, name) for name in REMEMBERED},
        )
        return session

    # Inside

    def _session(self, peer: Eui64) -> Session:
        try:
            return self._sessions[peer]
        except KeyError:
            raise RefusedError("no update of this device is under way") from None

    def _settled(self, session: Session, now: Now, out: list[Told]) -> Answer:
        """After anything but a plain block: look again at when to wake."""
        moments.plan(session, now)
        wake = session.next_wake()
        if wake != session.wake:
            session.wake = wake
            if wake is not None:
                heappush(self._wakes, (wake, next(self._wake_numbers), session))
        return tuple(out)

    def _alarm(self, peer: Eui64, kind: AlarmKind, text: str, now: Now) -> Answer:
        """An alarm that a device can cause at will: told once in a while."""
        if now.instant < self._alarms_again.get((peer, kind), now.instant):
            return ()
        self._alarms_again[peer, kind] = Instant(now.instant + _ALARM_INTERVAL_S)
        return (Alarm(peer, kind, text),)

    def _receive_any(self, peer: Eui64, endpoint: int, octets: bytes, now: Now) -> Answer:
        try:
            frame = Frame.from_bytes(octets)
        except MalformedFrameError:
            return ()
        try:
            if frame.frame_type is FrameType.GLOBAL and frame.manufacturer_code is None:
                return self._receive_global(peer, endpoint, frame, now)
            if frame.to_client:
                text = f"sent us command 0x{frame.command:02X} of an OTA server"
                alarm = self._alarm(peer, AlarmKind.SECOND_SERVER, text, now)
                return (*alarm, *_answer(peer, endpoint, frame.unsupported()))
            request = None if frame.manufacturer_code is not None else zcl.parse_request(frame)
        except MalformedFrameError:
            return _answer(peer, endpoint, frame.default_response(Status.MALFORMED_COMMAND))
        session = self._sessions.get(peer)
        if session is not None:
            session.last_heard = now.instant
        match request:
            case None:
                return _answer(peer, endpoint, frame.unsupported())
            case zcl.QueryNextImageRequest():
                return self._query(peer, endpoint, frame, request, now)
            case zcl.QueryDeviceSpecificFileRequest():
                body = zcl.QueryDeviceSpecificFileResponse(Status.NO_IMAGE_AVAILABLE)
                return _answer(peer, endpoint, zcl.command(body, frame.sequence))
            case zcl.ImageBlockRequest():  # any that may be served has been
                return self._not_offered(peer, endpoint, frame, request)
            case zcl.ImagePageRequest() | zcl.UpgradeEndRequest():
                ids = (request.manufacturer_code, request.image_type, request.file_version)
                if session is None or session.ended or ids != session.ids:
                    return self._not_offered(peer, endpoint, frame, request)
        session.endpoint = endpoint
        out: list[Told] = []
        if isinstance(request, zcl.ImagePageRequest):
            blocks.serve_page(session, frame, request, now, out)
        else:
            activation.upgrade_end(session, frame, request, now, out)
        return self._settled(session, now, out)

    def _not_offered(
        self,
        peer: Eui64,
        endpoint: int,
        frame: Frame,
        request: zcl.ImageBlockRequest | zcl.ImagePageRequest | zcl.UpgradeEndRequest,
    ) -> Answer:
        """Asked about an image that this device is not offered: ABORT sends a client back to Query Next Image."""
        if not isinstance(request, zcl.UpgradeEndRequest):
            return _answer(peer, endpoint, zcl.command(zcl.BlockRefused(Status.ABORT), frame.sequence))
        status = Status.ABORT if request.status == Status.SUCCESS else Status.SUCCESS
        return _answer(peer, endpoint, frame.default_response(status), Urgency.URGENT)

    def _query(self, peer: Eui64, endpoint: int, frame: Frame, request: zcl.QueryNextImageRequest, now: Now) -> Answer:
        """Query Next Image, ZCL8 11.13.4."""
        session = self._sessions.get(peer)
        told = self.versions.by_query(peer, request)
        out: list[Told] = [told]
        found = session is not None and _matches(session, request, out)
        if session is not None and found:
            session.endpoint = endpoint
            _observe(session, told.file_version, now, out)
            found = not session.ended and _may_have(session, request, now, out) and on_offer(session, now)
            session.asks_in_vain, session.told_to_wait = not found, None
        if session is None or not found:
            body = zcl.QueryNextImageResponse(Status.NO_IMAGE_AVAILABLE)
        else:
            blocks.began(session, now, out)
            if session.state is TransferState.COMMITTED:
                session.offers_again += 1
                out.append(session.changed())
            body = zcl.QueryNextImageResponse(Status.SUCCESS, zcl.ImageFound(*session.ids, session.size_bytes))
        out += _answer(peer, endpoint, zcl.command(body, frame.sequence))
        return tuple(out) if session is None else self._settled(session, now, out)

    def _receive_global(self, peer: Eui64, endpoint: int, frame: Frame, now: Now) -> Answer:
        session = self._sessions.get(peer)
        out: list[Told] = []
        if frame.to_client:
            return _answer(peer, endpoint, frame.unsupported())
        match frame.command:
            case ReadAttributes.COMMAND:
                return _answer(peer, endpoint, answer_from({}, frame))
            case ReadAttributesResponse.COMMAND:
                values = ReadAttributesResponse.from_bytes(frame.payload).records
            case ReportAttributes.COMMAND:
                report = ReportAttributes.from_bytes(frame.payload)
                values = tuple(AttributeRecord(identifier, value) for identifier, value in report.values)
                out += _answer(peer, endpoint, frame.default_response(Status.SUCCESS))
            case DefaultResponse.COMMAND:
                response = DefaultResponse.from_bytes(frame.payload)
                if response.command == zcl.UpgradeEndResponse.COMMAND and response.status != Status.SUCCESS:
                    text = f"answered the Upgrade End Response with {status_name(response.status)}"
                    out += self._alarm(peer, AlarmKind.ACTIVATION_REFUSED, text, now)
                return tuple(out)
            case _:
                return _answer(peer, endpoint, frame.unsupported())
        if (told := self.versions.by_attributes(peer, values)) is not None:
            out.append(told)
            if session is not None and told.image_type == session.image.header.made_for:
                _observe(session, told.file_version, now, out)
        return tuple(out) if session is None else self._settled(session, now, out)


def _answer(peer: Eui64, endpoint: int, payload: bytes | None, urgency: Urgency = Urgency.NORMAL) -> Answer:
    return () if payload is None else (Send(peer, endpoint, payload, urgency, Token.ANSWER),)


def _wake(session: Session, now: Now, out: list[Told]) -> None:
    """Do what is due for one session."""
    while session.page is not None and session.page.due <= now.instant:
        blocks.continue_page(session, now, out)
    if session.late is not None and session.late.due <= now.instant:
        parking.answer_late(session, now, out)
    if session.silence_at is not None and session.silence_at <= now.instant:
        session.check_silence(now, out)
    if session.resend_at is not None and session.resend_at <= now.instant:
        session.resend_at = None
        out.append(activation.answer(session, now))
    if session.appointment_at is not None and session.appointment_at <= now.instant:
        moments.keep_appointment(session, now, out)
    if session.notify_at is not None and session.notify_at <= now.instant:
        if on_offer(session, now):
            session.notify(now, out)
        else:
            session.notify_at = None


def _matches(session: Session, request: zcl.QueryNextImageRequest, out: list[Told]) -> bool:
    """A device with several images asks once for each type, so that another one is no failure. It may also ask for
    nothing else, for ever: people are told once.
    """
    asked, offered = (request.manufacturer_code, request.image_type), session.ids[:2]
    if asked != offered and session.state is TransferState.OFFERED and not session.other_image_told:
        session.other_image_told = True
        text = (
            f"the device asks for images of manufacturer 0x{asked[0]:04X}, type 0x{asked[1]:04X};"
            f" this one is for 0x{offered[0]:04X}, type 0x{offered[1]:04X}"
        )
        out.append(session.alarm(AlarmKind.OTHER_IMAGE_WANTED, text))
    return asked == offered


def _may_have(session: Session, request: zcl.QueryNextImageRequest, now: Now, out: list[Told]) -> bool:
    """Whether this device, as it describes itself, may have the image; a final no ends the session."""
    header, hardware = session.image.header, request.hardware_version
    if header.hardware_versions is not None:
        if hardware is None and not session.policy.serve_unknown_hardware:
            return False
        if hardware is not None and (reason := hardware_objection(hardware, header.hardware_versions)) is not None:
            _turn_down(session, TransferOutcome.HARDWARE_VERSION_MISMATCH, reason, now, out)
            return False
    newer = request.file_version > header.file_version and request.file_version != zcl.UNKNOWN_FILE_VERSION
    if newer and not session.allow_downgrade:
        reason = f"the device runs 0x{request.file_version:08X}, newer than 0x{header.file_version:08X}"
        _turn_down(session, TransferOutcome.IMAGE_DISCARDED, reason, now, out)
        return False
    return True


def _turn_down(session: Session, outcome: TransferOutcome, reason: str, now: Now, out: list[Told]) -> None:
    session.move(Input.FAIL, now, out, reason)
    if not session.downloaded:
        out.append(session.end(outcome, reason))


def _observe(session: Session, version: int | None, now: Now, out: list[Told]) -> None:
    """The device names the version that it runs of the session's image type."""
    if version != session.image.header.file_version:
        return
    if session.state is TransferState.CANCELLED:
        text = "runs the version whose update was cancelled"
        out.append(session.alarm(AlarmKind.ACTIVATED_AFTER_CANCEL, text))
    elif not session.ended:
        early = session.whole and _too_early(session, now)
        session.move(Input.SEE_VERSION, now, out)
        if early:
            out.append(session.alarm(AlarmKind.ACTIVATED_EARLY, "activated before its time"))


def _too_early(session: Session, now: Now) -> bool:
    if session.committed_utc is not None:
        return now.trusted and now.utc < session.committed_utc
    if isinstance(session.activation, ActivateByCommand):
        return False
    return session.due(now) in (Due.FAR, Due.NEAR, Due.NOT_OURS, Due.MISSED)
