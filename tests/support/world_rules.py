"""What must hold in every run of an `update_world`, and what has to be remembered of a run to ask it.

- *Never early*: the device starts the new image only when its order allows that, by the hub's clock. Who cannot be kept
  from it (nobody heard its Upgrade End; its class waits no longer; a reset applies the image) is excused, and where that
  is known when the order is given, only after a warning.
- *Never false*: *activated* only if the device ran that version, *reverted* only if it was told, and ran another.
- One transfer alert for each update; rows are written before they are spoken of; nobody floods anybody; every update ends.
"""

from chf.image.image import FirmwareImage
from chf.update import model
from chf.update.clients import ClientClass
from chf.update.effects import Persist, RaiseTransferAlert, Send, Token
from tests.support.model_hub import NEW, OLD
from tests.support.schedules import DAY_S, ORDERS, Schedule
from tests.support.world_device import Device

EXACT_S = 0.01
FLOOD_WINDOW_S = 60.0
_DECIDED = (model.TransferState.HELD, model.TransferState.MISSED, model.TransferState.PARKED)


class ViolationError(AssertionError):
    """What must hold did not."""


class Rules:
    """Each method that asks raises ViolationError."""

    def __init__(self, schedule: Schedule, image: FirmwareImage, *, start: float) -> None:
        self.schedule, self.image, self.start = schedule, image, start
        self.allowed: model.Activation = model.ActivateNow()  # the last order that was taken
        self.best_offset = float("-inf")  # the furthest that a trusted clock stood since the last order
        self.whole_at_order = False  # whether the device may have had every byte when it was given
        self.cancelled_whole: bool | None = None  # the same of a cancel
        self.ran: list[int] = [OLD]
        self.alerts = 0
        self.warned = False  # that it may activate the image, which it has, before its time
        self.warned_of_restart = self.was_cut = False
        self.unheard_end: float | None = None  # when the Upgrade End was sent that nobody has answered yet
        self.troubled_at = start - DAY_S  # when the air or the hub last failed, or will have
        self.requests: list[float] = []
        self.sent_unasked: dict[Token, float] = {}

    def trouble(self, at: float) -> None:
        self.troubled_at = max(self.troubled_at, at)

    def warn(self, *, of_start: bool) -> None:
        """People were told that the device may start the image: at a restart, or whenever it likes."""
        self.warned, self.warned_of_restart = self.warned or of_start, True

    def matters(self, offset: float) -> tuple[object, ...]:
        """What the answers depend on, where the hub's clock stands at this offset."""
        return (
            self.allowed,
            self.best_offset - offset,
            self.cancelled_whole,
            self.warned,
            self.warned_of_restart,
            self.was_cut,
            self.alerts,
            self.whole_at_order,
            self.unheard_end,
            self.troubled_at,
            self.sent_unasked,
            len(self.requests),
            NEW in self.ran,
        )

    # Never early

    def may_start(self, device: Device, client: ClientClass, instant: float, *, by_itself: bool) -> None:
        """The device starts the new image, or has started it."""
        if device.has_everything() and device.firmware.banks.downloaded() != self.image.content:
            raise ViolationError("what the device starts is not the image")
        if self.cancelled_whole is not None:
            if not self.cancelled_whole:
                raise ViolationError("activated after a cancel that came before it had every byte")
            return
        early_s = self._early_s(instant)
        if early_s <= EXACT_S or self.warned or self._unheard():
            return
        if self.was_cut and early_s <= client.commit_window_s + EXACT_S and self.warned_of_restart:
            return
        raise ViolationError(f"activated {early_s:.1f} s early{', by itself' if by_itself else ''}")

    def last_block(self, client: ClientClass, instant: float) -> None:
        """Who has every byte may start by itself: who is parked gets the last only when the time is near."""
        parked = getattr(self.allowed, "strategy", None) is model.Strategy.PARK and not self.whole_at_order
        early_s = self._early_s(instant)
        if parked and self.cancelled_whole is None and early_s > client.commit_window_s + EXACT_S:
            raise ViolationError(f"the last block went out {early_s:.1f} s early")

    def _early_s(self, instant: float) -> float:
        match self.allowed:
            case model.ActivateAt(utc=utc):
                return utc - (instant + self.best_offset)
            case model.ActivateHold():
                return float("inf")
        return 0.0

    def _unheard(self) -> bool:
        """Its Upgrade End went unanswered because of the air, or because there was no hub."""
        return self.unheard_end is not None and self.troubled_at >= self.unheard_end - EXACT_S

    # Never false

    def alert(self, alert: RaiseTransferAlert) -> None:
        self.alerts += 1
        if self.alerts > 1 or alert.update.transfer is not alert.outcome:
            raise ViolationError(f"transfer alert {self.alerts}: {alert.outcome}")

    def step(self, old: model.Update, update: model.Update, event: object, row: model.Update) -> None:
        if not old.active and (old.state, old.reason, old.ended) != (update.state, update.reason, update.ended):
            raise ViolationError(f"an end changed: {old.state} to {update.state}")
        if isinstance(event, model.ActivationGiven) and old.active:
            record = row.record
            if not isinstance(record, model.TransferRecord) or record.committed_utc != event.at_utc:
                raise ViolationError("a time was given that the row does not know")

    def end(self, row: model.Update, runs: int, instant: float) -> None:
        """The update has ended, while the device runs this version."""
        if row.transfer is None or self.alerts != 1:
            raise ViolationError(f"{row.state} with {self.alerts} transfer alerts")
        if row.state is model.UpdateState.ACTIVATED and NEW not in self.ran:
            raise ViolationError("activated, and the device never ran the new version")
        if row.state is model.UpdateState.REVERTED and (runs == NEW or row.report is None):
            raise ViolationError("reverted, and the device runs the new version or claimed nothing")
        lived_s = instant - self.start
        # What is left of a lifetime stays when another activation is ordered, and counts from its time on.
        if row.state is model.UpdateState.EXPIRED and lived_s < self.schedule.lifetime_s - 1.0:
            raise ViolationError(f"expired after {lived_s:.0f} s")
        if row.state is model.UpdateState.FAILED and not row.reason:
            raise ViolationError("failed for no reason")

    def calm(self, row: model.Update, runs: int) -> None:
        """Where nothing went wrong, the device runs the new version, unless it was cancelled."""
        if row.state is model.UpdateState.ACTIVATED and not self.schedule.fault and runs != NEW:
            raise ViolationError("activated, and the device runs another version")
        orderly = all(deed.do in ORDERS for deed in self.schedule.deeds) and not self.schedule.fault
        wanted = model.UpdateState.ACTIVATED if self.cancelled_whole is None else model.UpdateState.CANCELLED
        if row.state is model.UpdateState.EXPIRED and self.schedule.lifetime_s < DAY_S:
            return  # nobody released it in time
        if orderly and row.state is not wanted:
            raise ViolationError(f"nothing went wrong, and it {row.state}: {row.reason}")

    # Manners

    @staticmethod
    def written_first(effects: tuple[object, ...]) -> None:
        kinds = [isinstance(effect, Persist) for effect in effects]
        if kinds != sorted(kinds, reverse=True) or sum(kinds) > 1:
            raise ViolationError("a row is written once, and first")

    def send(self, send: Send, instant: float, *, asked: bool) -> None:
        if asked or send.token not in (Token.COMMIT, Token.HOLD, Token.NOTIFY):
            return
        last = self.sent_unasked.get(send.token)
        self.sent_unasked[send.token] = instant
        if last is not None and instant - last < 1.0:
            raise ViolationError(f"two of {send.token.value} within {instant - last:.3f} s, and nobody asked")

    def request(self, row: model.Update, instant: float) -> None:
        """The device asks: who was told to wait must not do so without end."""
        record = row.record
        if isinstance(record, model.TransferRecord) and record.state in _DECIDED and row.active:
            self.requests = [at for at in self.requests if at > instant - FLOOD_WINDOW_S]
            self.requests.append(instant)
            if len(self.requests) > FLOOD_WINDOW_S + 5:
                raise ViolationError(f"{len(self.requests)} requests in {FLOOD_WINDOW_S:.0f} s while {record.state}")
