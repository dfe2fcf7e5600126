"""The OTA Upgrade server: one session per device, from the offer to the version that the device then runs.

It decides and remembers, in memory; it sends and stores nothing. Every verb returns effects for a shell to carry out
(`effects` says how). It serves devices that it was told about and nobody else; whether a frame came over a link-key
secured path is for the shell to see, which hands refused devices to `refuse`.

What a device is told in an image's name never depends on what another device does.
"""

from collections import Counter
from heapq import heappop, heappush
from itertools import count
from typing import Final

from chf.clock import Instant, Now
from chf.errors import MalformedFrameError, RefusedError
from chf.eui64 import Eui64
from chf.update.model import (
    ActivateByCommand,
    Activation,
    ImageRef,
    SessionRecord,
    TransferOutcome,
)
from chf.update.transfer import activation, blocks
from chf.update.transfer.appointment import Due, due
from chf.update.transfer.coverage import Coverage
from chf.update.transfer.effects import (
    Alarm,
    AlarmKind,
    Effect,
    Effects,
    Send,
    StateChanged,
    Token,
    TransferEnded,
    Urgency,
    VersionSeen,
)
from chf.update.transfer.policy import OtaPolicy
from chf.update.transfer.session import Session, sequence_numbers
from chf.update.transfer.transitions import Input, State
from chf.zcl import ota as zcl
from chf.zcl.attributes import AttributeRecord, ReadAttributes, ReadAttributesResponse, ReportAttributes, answer_from
from chf.zcl.frame import DefaultResponse, Frame, FrameType, Status, status_name

_ALARM_INTERVAL_S: Final = 60.0
_FINISHED = frozenset({State.SERVED, State.HELD, State.MISSED, State.COMMITTED})


class OtaServer:
    """The verbs. `refusals` counts, by reason, what was asked for and not given."""

    def __init__(self, policy: OtaPolicy) -> None:
        self.policy = policy
        self.refusals: Counter[str] = Counter()
        self._sessions: dict[Eui64, Session] = {}
        self._next_sequence = sequence_numbers()
        self._wakes: list[tuple[Instant, int, Session]] = []
        self._wake_numbers = count()
        self._alarms_again: dict[tuple[Eui64, AlarmKind], Instant] = {}

    # What the hub asks for

    def offer(
        self,
        job: str,
        peer: Eui64,
        image: ImageRef,
        activation_wanted: Activation,
        now: Now,
        *,
        endpoint: int | None = None,
        sleepy: bool = False,
        allow_downgrade: bool = False,
    ) -> Effects:
        """Begin an update. `endpoint` is the device's OTA client, where that is known.

        Raises RefusedError while another update of this device is under way.
        """
        before = self._sessions.get(peer)
        if before is not None and not before.ended:
            raise RefusedError(f"the device is busy with job {before.job}, which is {before.state}")
        detail = "offered"
        if activation.unless_past(activation_wanted, now) is not activation_wanted:
            detail = "offered; its activation time has passed: as soon as it can"
        session = Session(
            job,
            peer,
            image,
            activation.unless_past(activation_wanted, now),
            self.policy,
            self._next_sequence,
            endpoint=endpoint if endpoint is not None or before is None else before.endpoint,
            sleepy=sleepy,
            allow_downgrade=allow_downgrade,
        )
        self._sessions[peer] = session
        session.announce(now)
        out: list[Effect] = [session.persist(), StateChanged(job, peer, None, session.state, detail)]
        return self._settled(session, now, out)

    def release(self, peer: Eui64, activation_wanted: Activation, now: Now) -> Effects:
        """Set a new activation: end a hold, move an appointment, or allow a missed one. Raises RefusedError."""
        session = self._session(peer)
        out: list[Effect] = []
        activation.release(session, activation_wanted, now, out)
        return self._settled(session, now, out)

    def cancel(self, peer: Eui64, now: Now) -> Effects:
        """End the update. Raises RefusedError where that would not be true: a countdown cannot be stopped."""
        session = self._session(peer)
        out: list[Effect] = []
        activation.cancel(session, "cancelled", now, out)
        return self._settled(session, now, out)

    def withdraw(self, peer: Eui64, reason: str, now: Now) -> Effects:
        """End the update because the image must not be served any more. Raises RefusedError like `cancel`."""
        session = self._session(peer)
        out: list[Effect] = []
        activation.cancel(session, reason, now, out, Input.FAIL)
        return self._settled(session, now, out)

    def forget(self, peer: Eui64) -> None:
        """Drop the session; from now on the device is told that there is no image."""
        session = self._sessions.pop(peer, None)
        if session is not None:
            session.wake = None

    def ask_version(self, peer: Eui64, endpoint: int) -> Effects:
        """Read the version that the device runs; the answer is told as `VersionSeen`, or the question was lost."""
        payload = ReadAttributes((zcl.CURRENT_FILE_VERSION,)).to_bytes()
        frame = Frame(
            FrameType.GLOBAL,
            ReadAttributes.COMMAND,
            self._next_sequence(),
            payload,
            to_client=True,
            disable_default_response=True,
        )
        # Unacknowledged: a rebooting device would hold a place in the dongle through every retry; it is asked again.
        return (Send(peer, endpoint, frame.to_bytes(), Urgency.NORMAL, Token.ANSWER, acknowledged=False),)

    # What the radio brings

    def receive(self, peer: Eui64, source_endpoint: int, payload: bytes, now: Now) -> Effects:
        """Answer one ZCL frame of cluster 0x0019, whatever it holds. Never raises for what a device sent."""
        session = self._sessions.get(peer)
        if session is not None:
            effects = blocks.plain_block(session, source_endpoint, payload, now)
            if effects is not None:
                return effects
        return self._receive_any(peer, source_endpoint, payload, now)

    def refuse(self, peer: Eui64, source_endpoint: int, payload: bytes) -> Effects:
        """Answer a device that may not be served (not in the device log, no link key): NOT_AUTHORIZED, no bytes."""
        self._refused("not authorized")
        try:
            frame = Frame.from_bytes(payload)
        except MalformedFrameError:
            return ()
        answer: bytes | None
        if frame.frame_type is FrameType.CLUSTER and frame.command == zcl.QueryNextImageRequest.COMMAND:
            answer = zcl.command(zcl.QueryNextImageResponse(Status.NOT_AUTHORIZED), frame.sequence)
        else:
            answer = frame.default_response(Status.NOT_AUTHORIZED)
        return _answer(peer, source_endpoint, answer)

    def delivered(self, peer: Eui64, token: Token, delivered: bool, now: Now) -> Effects:
        """What became of a `Send`; owed for each: by blocks still under way a flood is told from a download."""
        session = self._sessions.get(peer)
        if session is None:
            return ()
        if token is Token.BLOCK:
            session.in_flight = max(session.in_flight - 1, 0)
            session.in_flight_since = now.instant
            return ()
        out: list[Effect] = []
        activation.answer_delivered(session, token, delivered, now, out)
        return self._settled(session, now, out)

    # What time brings

    def deadline(self) -> Instant | None:
        """When `handle_deadline` is wanted next."""
        wakes = self._wakes
        while wakes and wakes[0][2].wake != wakes[0][0]:
            heappop(wakes)
        return wakes[0][0] if wakes else None

    def handle_deadline(self, now: Now) -> Effects:
        out: list[Effect] = []
        due_sessions = []
        while (at := self.deadline()) is not None and at <= now.instant:
            session = heappop(self._wakes)[2]
            session.wake = None
            due_sessions.append(session)
        for session in due_sessions:
            _wake(session, now, out)
            self._settled(session, now, out)
        return tuple(out)

    # What survives a restart

    def snapshot(self, peer: Eui64) -> SessionRecord:
        """Raises RefusedError for a device without a session."""
        return self._session(peer).record()

    def restore(self, record: SessionRecord, image: ImageRef, now: Now) -> Effects:
        """Go on with a session of an earlier process, before any device is heard.

        Raises RefusedError for an image other than the record's.
        """
        if image.sha256 != record.image_sha256:
            raise RefusedError(f"the record is of image {record.image_sha256}, not of {image.sha256}")
        session = Session(
            record.job,
            record.peer,
            image,
            record.activation,
            self.policy,
            self._next_sequence,
            state=record.state,
            endpoint=record.endpoint,
            sleepy=record.sleepy,
            allow_downgrade=record.allow_downgrade,
            coverage=Coverage(record.served_bytes),
            downloaded=record.downloaded,
            aborts=record.aborts,
            committed_utc=record.committed_utc,
            commit_delivered=record.commit_delivered,
        )
        if session.state is not State.OFFERED:
            session.last_heard = now.instant  # it may ask again any moment: no need to notify it yet
        self._sessions[record.peer] = session
        out: list[Effect] = []
        activation.restored(session, now, out)
        return self._settled(session, now, out)

    # Inside

    def _session(self, peer: Eui64) -> Session:
        try:
            return self._sessions[peer]
        except KeyError:
            raise RefusedError("no update of this device is under way") from None

    def _settled(self, session: Session, now: Now, out: list[Effect]) -> Effects:
        """After anything but a plain block: look again at when to wake."""
        activation.plan(session, now)
        wake = session.next_wake()
        if wake != session.wake:
            session.wake = wake
            if wake is not None:
                heappush(self._wakes, (wake, next(self._wake_numbers), session))
        return tuple(out)

    def _refused(self, reason: str) -> None:
        self.refusals[reason] += 1

    def _alarm(self, peer: Eui64, kind: AlarmKind, text: str, now: Now) -> Effects:
        """An alarm that a device can cause at will: told once in a while."""
        if now.instant < self._alarms_again.get((peer, kind), now.instant):
            return ()
        self._alarms_again[peer, kind] = Instant(now.instant + _ALARM_INTERVAL_S)
        return (Alarm(peer, kind, text),)

    def _receive_any(self, peer: Eui64, endpoint: int, octets: bytes, now: Now) -> Effects:
        try:
            frame = Frame.from_bytes(octets)
        except MalformedFrameError:
            self._refused("no ZCL frame")
            return ()
        try:
            if frame.frame_type is FrameType.GLOBAL and frame.manufacturer_code is None:
                return self._receive_global(peer, endpoint, frame, now)
            if frame.to_client:
                self._refused("command of a server")
                text = f"sent us command 0x{frame.command:02X} of an OTA server"
                alarm = self._alarm(peer, AlarmKind.SECOND_SERVER, text, now)
                return (*alarm, *_answer(peer, endpoint, frame.unsupported()))
            request = None if frame.manufacturer_code is not None else zcl.parse_request(frame)
        except MalformedFrameError:
            self._refused("malformed command")
            return _answer(peer, endpoint, frame.default_response(Status.MALFORMED_COMMAND))
        session = self._sessions.get(peer)
        if session is not None:
            session.last_heard = now.instant
        match request:
            case None:
                self._refused("unsupported command")
                return _answer(peer, endpoint, frame.unsupported())
            case zcl.QueryNextImageRequest():
                return self._query(peer, endpoint, frame, request, now)
            case zcl.QueryDeviceSpecificFileRequest():
                self._refused("device specific file")
                body = zcl.QueryDeviceSpecificFileResponse(Status.NO_IMAGE_AVAILABLE)
                return _answer(peer, endpoint, zcl.command(body, frame.sequence))
            case zcl.ImageBlockRequest() | zcl.ImagePageRequest() | zcl.UpgradeEndRequest():
                ids = (request.manufacturer_code, request.image_type, request.file_version)
                if session is None or session.ended or ids != session.ids:
                    return self._not_offered(peer, endpoint, frame, request)
        session.endpoint = endpoint
        out: list[Effect] = []
        match request:
            case zcl.ImageBlockRequest():
                blocks.serve_block(session, frame, request, now, out)
            case zcl.ImagePageRequest():
                blocks.serve_page(session, frame, request, now, out)
            case _:
                activation.upgrade_end(session, frame, request, now, out)
        return self._settled(session, now, out)

    def _not_offered(
        self,
        peer: Eui64,
        endpoint: int,
        frame: Frame,
        request: zcl.ImageBlockRequest | zcl.ImagePageRequest | zcl.UpgradeEndRequest,
    ) -> Effects:
        """Asked about an image that this device is not offered: ABORT sends a client back to Query Next Image."""
        self._refused("image not offered")
        if not isinstance(request, zcl.UpgradeEndRequest):
            return _answer(peer, endpoint, zcl.command(zcl.BlockRefused(Status.ABORT), frame.sequence))
        status = Status.ABORT if request.status == Status.SUCCESS else Status.SUCCESS
        return _answer(peer, endpoint, frame.default_response(status), Urgency.URGENT)

    def _query(
        self,
        peer: Eui64,
        endpoint: int,
        frame: Frame,
        request: zcl.QueryNextImageRequest,
        now: Now,
    ) -> Effects:
        """Query Next Image, ZCL8 11.13.4."""
        session = self._sessions.get(peer)
        out: list[Effect] = [
            VersionSeen(
                peer, request.file_version, request.manufacturer_code, request.image_type, request.hardware_version
            )
        ]
        found = session is not None and _matches(session, request)
        if session is not None and found:
            session.endpoint = endpoint
            _observe(session, request.file_version, now, out)
            found = not session.ended and _may_have(session, request, now, out)
        if session is None or not found:
            self._refused("no image")
            body = zcl.QueryNextImageResponse(Status.NO_IMAGE_AVAILABLE)
        else:
            blocks.began(session, now, out)
            body = zcl.QueryNextImageResponse(Status.SUCCESS, zcl.ImageFound(*session.ids, session.size_bytes))
        out += _answer(peer, endpoint, zcl.command(body, frame.sequence))
        return tuple(out) if session is None else self._settled(session, now, out)

    def _receive_global(self, peer: Eui64, endpoint: int, frame: Frame, now: Now) -> Effects:
        session = self._sessions.get(peer)
        out: list[Effect] = []
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
                self._refused("unsupported command")
                return _answer(peer, endpoint, frame.unsupported())
        for record in values:
            if record.identifier == zcl.CURRENT_FILE_VERSION and record.value is not None:
                version = record.value.content
                if isinstance(version, int):
                    out.append(VersionSeen(peer, version))
                    if session is not None:
                        _observe(session, version, now, out)
        return tuple(out) if session is None else self._settled(session, now, out)


def _answer(peer: Eui64, endpoint: int, payload: bytes | None, urgency: Urgency = Urgency.NORMAL) -> Effects:
    return () if payload is None else (Send(peer, endpoint, payload, urgency, Token.ANSWER),)


def _wake(session: Session, now: Now, out: list[Effect]) -> None:
    """Do what is due for one session."""
    while session.page is not None and session.page.due <= now.instant:
        blocks.continue_page(session, now, out)
    if session.notify_at is not None and session.notify_at <= now.instant:
        session.notify(now, out)
    if session.silence_at is not None and session.silence_at <= now.instant:
        session.check_silence(now, out)
    if session.resend_at is not None and session.resend_at <= now.instant:
        session.resend_at = None
        out.append(activation.answer(session, now))
    if session.appointment_at is not None and session.appointment_at <= now.instant:
        activation.keep_appointment(session, now, out)


def _matches(session: Session, request: zcl.QueryNextImageRequest) -> bool:
    """A device with several images asks once for each type: another one is no news."""
    return (request.manufacturer_code, request.image_type) == session.ids[:2]


def _may_have(session: Session, request: zcl.QueryNextImageRequest, now: Now, out: list[Effect]) -> bool:
    """Whether this device, as it describes itself, may have the image; a final no ends the session."""
    image = session.image
    hardware = request.hardware_version
    if image.minimum_hardware is not None and image.maximum_hardware is not None:
        if hardware is None and not session.policy.serve_unknown_hardware:
            return False
        if hardware is not None and not image.minimum_hardware <= hardware <= image.maximum_hardware:
            wanted = f"0x{image.minimum_hardware:04X} to 0x{image.maximum_hardware:04X}"
            reason = f"hardware version 0x{hardware:04X} is not in {wanted}"
            _turn_down(session, TransferOutcome.HARDWARE_VERSION_MISMATCH, reason, now, out)
            return False
    if request.file_version > image.file_version and not session.allow_downgrade:
        reason = f"the device runs 0x{request.file_version:08X}, newer than 0x{image.file_version:08X}"
        _turn_down(session, TransferOutcome.IMAGE_DISCARDED, reason, now, out)
        return False
    if session.state is State.COMMITTED and session.commit_delivered:
        # It had its time and came back with the old version. Serving it again would go round in circles.
        assert session.committed_utc is not None
        return now.utc < session.committed_utc
    return True


def _turn_down(session: Session, outcome: TransferOutcome, reason: str, now: Now, out: list[Effect]) -> None:
    session.move(Input.FAIL, reason, now, out)
    if not session.downloaded:
        out.append(TransferEnded(session.job, session.peer, outcome, reason))


def _observe(session: Session, version: int, now: Now, out: list[Effect]) -> None:
    """The device names the version that it runs."""
    if version != session.image.file_version:
        return
    if session.state is State.CANCELLED:
        text = "runs the version whose update was cancelled"
        out.append(session.alarm(AlarmKind.ACTIVATED_AFTER_CANCEL, text))
    elif not session.ended:
        early = session.state in _FINISHED and _too_early(session, now)
        session.move(Input.SEE_VERSION, "runs the new version" + (", before its time" if early else ""), now, out)
        if early:
            out.append(session.alarm(AlarmKind.ACTIVATED_EARLY, "activated before its time"))


def _too_early(session: Session, now: Now) -> bool:
    if session.committed_utc is not None:
        return now.utc < session.committed_utc
    if isinstance(session.activation, ActivateByCommand):
        return False
    return due(session.activation, now, session.policy) in (Due.FAR, Due.NEAR, Due.NOT_OURS, Due.MISSED)
