"""Updates: the one door of this core. What happened goes in, with the time; effects come out (`effects.Effect`).

Behind it two tables go hand in hand (`transitions`): the update's, kept by `scheduler`, and that of its transfer, kept
by `transfer`. What a transfer tells is put to its update in the same call, and what the update then orders of the
transfer is done in the same call; so a call writes each row that it changes once, and first.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeAlias, assert_never

from chf.clock import Instant, Now, UtcSeconds
from chf.errors import RefusedError
from chf.eui64 import Eui64
from chf.image.header import ImageType
from chf.image.image import FirmwareImage
from chf.update.clients import ClientClass
from chf.update.effects import (
    Alarm,
    Effect,
    Effects,
    Happened,
    LoadImage,
    Offer,
    Persist,
    Progress,
    RaiseTransferAlert,
    ReadVersion,
    Send,
    Token,
    Told,
    TransferChanged,
    TransferMoved,
    VersionSeen,
    Withdraw,
)
from chf.update.model import (
    ActivationGiven,
    ActivationOrdered,
    Cancelled,
    DownloadStarted,
    Refused,
    Stored,
    TransferEnded,
    TransferRecord,
    Update,
    UpdateEvent,
    UpdateId,
    UpdateState,
    VersionObserved,
)
from chf.update.scheduler import Planned, SchedulePolicy, Scheduler
from chf.update.transfer.policy import OtaPolicy
from chf.update.transfer.transfers import Transfers
from chf.update.transitions import event_of, too_late


@dataclass(frozen=True, slots=True)
class Accepted:
    """A new update, whose row is written. Its device has no other."""

    update: Update


@dataclass(frozen=True, slots=True)
class ImageReady:
    """The answer to `LoadImage`. `endpoint` is of the OTA client, where it is known; a `sleepy` one is not notified."""

    update: UpdateId
    image: FirmwareImage
    endpoint: int | None = None
    sleepy: bool = False


@dataclass(frozen=True, slots=True)
class ImageUnreadable:
    """The other answer to `LoadImage`: there is no such image, or it is not what was stored."""

    update: UpdateId
    reason: str


@dataclass(frozen=True, slots=True)
class FrameReceived:
    """One ZCL frame of cluster 0x0019 from this endpoint of a device that may be served, whatever it holds."""

    peer: Eui64
    endpoint: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Delivered:
    """What became of a `Send`; owed for each."""

    peer: Eui64
    token: Token
    delivered: bool


@dataclass(frozen=True, slots=True)
class About:
    """Something happened that concerns the device's active update, else the last one that ended, else none."""

    device: Eui64
    event: UpdateEvent


Event: TypeAlias = FrameReceived | Delivered | About | Accepted | ImageReady | ImageUnreadable


@dataclass(slots=True)
class _Call:
    """What one call brought about: the rows as they are at its end, and the rest in order."""

    now: Now
    rows: dict[UpdateId, Update] = field(default_factory=dict)
    out: list[Effect] = field(default_factory=list)

    def effects(self) -> Effects:
        return (*map(Persist, self.rows.values()), *self.out)


class UpdateMachine:
    """`handle` what happened, `handle_deadline` when `deadline` has come, `restore` once, before anything else."""

    def __init__(self, schedule: SchedulePolicy, transfer: OtaPolicy) -> None:
        self._schedule, self._transfers = Scheduler(schedule), Transfers(transfer)

    def for_device(self, device: Eui64) -> Update | None:
        """The device's active update, else the last one that ended, else None."""
        return self._schedule.for_device(device)

    def restore(self, rows: Iterable[tuple[Update, FirmwareImage | None]], now: Now) -> Effects:
        """Take over the rows of a store, oldest first, active or ended, after a start; before any device is heard.

        The image is that of a row with a transfer's record. Where it is None the transfer cannot be taken up, and the
        update goes on without it.
        """
        call, taken_up = _Call(now), tuple(rows)
        planned = self._schedule.load((update for update, _image in taken_up), now)
        for update, image in taken_up:
            if not isinstance(update.record, TransferRecord):
                continue
            if not update.active and update.record.whole:
                self._transfers.left(update.device, update.image)
            elif update.active and image is not None:
                self._listen(update.device, self._transfers.restore(update, update.record, image, now), call)
        self._carry_out(planned, call)
        return call.effects()

    def begin_again(self, device: Eui64, row: Update | None, now: Now) -> Effects:
        """What happened to this device's update could not be written: go on from its row, None where none is active."""
        session = self._transfers.get(device)
        image = session.image if session is not None and row is not None and session.update == row.id else None
        self._transfers.forget(device)
        self._schedule.forget(device)
        return () if row is None else self.restore([(row, image)], now)

    def images_known(self, device: Eui64, image_types: Iterable[ImageType]) -> None:
        """Of which image types the device has spoken, by the device log; before `restore`, or once it forgets them."""
        self._transfers.versions.set(device, image_types)

    def client_known(self, device: Eui64, client: ClientClass, now: Now) -> Effects:
        """Of which class the device's OTA client is; at any time, best before `restore` and before its update."""
        call = _Call(now)
        self._listen(device, self._transfers.client_known(device, client, now), call)
        return call.effects()

    def handle(self, event: Event, now: Now) -> Effects:
        """Raises RefusedError for a `Cancelled` or an `ActivationOrdered` for which it is too late."""
        if isinstance(event, FrameReceived):  # thousands in each update, and nearly all cause one Send
            told = self._transfers.receive(event.peer, event.endpoint, event.payload, now)
            if len(told) == 1 and type(told[0]) is Send:
                return (told[0],)
            call = _Call(now)
            self._listen(event.peer, told, call)
            return call.effects()
        call = _Call(now)
        match event:
            case Delivered(peer, token, delivered):
                self._listen(peer, self._transfers.delivered(peer, token, delivered, now), call)
            case About(device, ActivationOrdered(activation) as order):
                self._decide(device, order, lambda: self._transfers.release(device, activation, now), call)
            case About(device, Cancelled() as order):
                self._decide(device, order, lambda: self._transfers.cancel(device, now), call)
            case About(device, VersionObserved(int(version), None)):  # a GBCS message has no type
                self._tell(device, self._transfers.versions.by_message(device, version), call)
            case About(device, happened):
                self._tell(device, happened, call)
            case Accepted(update):
                self._carry_out(self._schedule.add(update, now), call)
                self._carry_out(self._schedule.handle(update.id, Stored(), now), call)
            case ImageReady():
                self._offer(event, call)
            case ImageUnreadable(number, reason):
                self._carry_out(self._schedule.handle(number, Refused(reason), now), call)
            case _:
                assert_never(event)
        return call.effects()

    def deadline(self) -> Instant | None:
        """When `handle_deadline` has something to do, None for never."""
        times = (self._transfers.deadline(), self._schedule.deadline())
        return min((instant for instant in times if instant is not None), default=None)

    def handle_deadline(self, now: Now) -> Effects:
        call = _Call(now)
        for peer, told in self._transfers.handle_deadline(now):
            self._listen(peer, told, call)
        self._carry_out(self._schedule.handle_deadline(now), call)
        return call.effects()

    def clock_stepped(self, before: UtcSeconds, after: UtcSeconds, now: Now) -> tuple[Persist, ...]:
        """The wall clock was set from one time to another in one moment: what is left of each lifetime stays."""
        return tuple(map(Persist, self._schedule.clock_stepped(before, after, now)))

    # The orders of people

    def _decide(self, device: Eui64, order: UpdateEvent, transfer: Callable[[], tuple[Told, ...]], call: _Call) -> None:
        """Both are asked before either changes. The update changes first: it then knows why the transfer ends."""
        update = self._schedule.for_device(device)
        reason = "no update of this device is under way" if update is None else too_late(update, order)
        if update is None or reason is not None:
            raise RefusedError(reason)
        told = transfer() if self._in_transfer(update) and not update.unverified else ()
        self._tell(device, order, call)
        self._listen(device, told, call)

    def _offer(self, ready: ImageReady, call: _Call) -> None:
        update = self._schedule.get(ready.update)
        if update is None or self._in_transfer(update):
            return  # it ended meanwhile, or goes on from its record
        told = self._transfers.offer(update, ready.image, call.now, endpoint=ready.endpoint, sleepy=ready.sleepy)
        self._listen(update.device, told, call)

    # Between the two tables

    def _listen(self, peer: Eui64, told: Iterable[Told], call: _Call) -> None:
        """Put what a transfer tells to its update."""
        session = self._transfers.get(peer)
        for item in told:
            match item:
                case Send() | Alarm():
                    call.out.append(item)
                case Progress():
                    call.out.append(item)
                    self._tell(peer, DownloadStarted(), call)  # keeps its place among the concurrent ones
                case VersionObserved():
                    update = self._schedule.for_device(peer)
                    activating = update is not None and update.state is UpdateState.ACTIVATING
                    ours = update is not None and (item.first or item.image_type == update.image_type)
                    call.out.append(VersionSeen(peer, item, activating and ours))
                    self._tell(peer, item, call)
                case TransferChanged(record):
                    row = None if session is None else self._schedule.remember(peer, session.update, record)
                    if row is not None:
                        call.rows[row.id] = row
                case TransferMoved():
                    event = None if session is None else event_of(item, session.record())
                    if event is not None:
                        self._tell(peer, event, call)
                case TransferEnded() | ActivationGiven():
                    before = self._schedule.for_device(peer)
                    if before is not None and not self._tell(peer, item, call):
                        call.out.append(Happened(before, before, item))
                case _:
                    assert_never(item)

    def _tell(self, device: Eui64, event: UpdateEvent, call: _Call) -> bool:
        """Whether it changed the device's update."""
        update = self._schedule.for_device(device)
        planned = () if update is None else self._schedule.handle(update.id, event, call.now)
        self._carry_out(planned, call)
        return any(isinstance(item, Happened) for item in planned)

    def _carry_out(self, planned: Iterable[Planned], call: _Call) -> None:
        """Have the transfers do what their updates want of them."""
        for item in planned:
            match item:
                case Happened(_, update, _):
                    call.rows[update.id] = self._schedule.for_device(update.device) or update
                    call.out.append(item)
                    if update.superseded is not None:
                        self._transfers.versions.drop(update.device, update.superseded)
                case RaiseTransferAlert():
                    call.out.append(item)
                case Offer(update):
                    if not self._in_transfer(update):  # else it was restored from its record, or released by name
                        call.out.append(LoadImage(update.id, update.device, update.image))
                case Withdraw(update):
                    if self._in_transfer(update):
                        self._listen(update.device, self._transfers.withdraw(update.device, call.now), call)
                case ReadVersion(update):
                    session = self._transfers.get(update.device)
                    if session is not None and session.endpoint is not None:
                        call.out.append(self._transfers.ask_version(update.device, session.endpoint))
                case _:
                    assert_never(item)

    def _in_transfer(self, update: Update) -> bool:
        session = self._transfers.get(update.device)
        return session is not None and session.update == update.id
