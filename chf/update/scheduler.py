"""When updates move: who may download now, when to read a version back, when an update's time is over.

The scheduler holds every active update, feeds it the events that it is told and those that its own timers make, and
says what follows. It is rebuilt from the rows alone. It never decides what an update may become (transitions.py).

Waits are counted on the monotonic clock from the moment at which an update was loaded, so that a stepped wall clock
neither expires an update nor hurries a read-back; the rows, which a new process goes by, move with it
(`clock_stepped`).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from chf.clock import Instant, Now, UtcSeconds
from chf.errors import UsageError
from chf.eui64 import Eui64, format_eui64
from chf.update.effects import Action, Happened, Offer, ReadVersion
from chf.update.model import (
    DeadlinePassed,
    Stored,
    TransferRecord,
    Update,
    UpdateEvent,
    UpdateId,
    UpdateState,
    VerificationTimedOut,
    after_clock_step,
)
from chf.update.transitions import FIRST_READ_S, apply

_TO_OFFER: Final = frozenset({UpdateState.STORED, UpdateState.ANNOUNCED})
_ON_AIR: Final = frozenset({UpdateState.STORED, UpdateState.ANNOUNCED, UpdateState.DOWNLOADING})
_UNVERIFIED_READ_S: Final = 3600.0
"""Between two reads, at most, of a device that did not tell its version in all the time for that (our choice)."""
_MAY_HAVE_ACTIVATED: Final = frozenset({UpdateState.DOWNLOADING, UpdateState.DOWNLOADED, UpdateState.WAITING})


@dataclass(frozen=True, slots=True)
class SchedulePolicy:
    """The scheduler's settings; the defaults are our choice.

    An update has a place among the `concurrent` ones until nothing was heard of it for `slot_s`: a device that is
    switched off must not keep the others waiting.
    """

    concurrent: int = 64
    slot_s: float = 600.0
    read_interval_s: float = 3.0
    read_interval_limit_s: float = 60.0
    verify_s: float = 600.0
    lifetime_s: float = 7 * 86400.0

    def __post_init__(self) -> None:
        if self.concurrent < 1:
            raise UsageError(f"at least one update must be allowed at a time, not {self.concurrent}")
        if min(self.slot_s, self.read_interval_s, self.read_interval_limit_s, self.verify_s, self.lifetime_s) <= 0:
            raise UsageError("the times of the update policy must be more than 0 seconds")


Planned: TypeAlias = Happened | Action
"""In the order in which to carry them out. ReadVersion is told when it is due: its `after_s` is 0 here."""


@dataclass(slots=True)
class _Entry:
    """An active update and its timers; None is a timer that does not run."""

    update: Update
    expires: Instant
    offered: bool = False
    slot_until: Instant | None = None
    read_at: Instant | None = None
    read_interval_s: float = 0.0
    verify_by: Instant | None = None
    unverified: bool = False  # in this process: a new one gives the device its whole time again

    def due(self) -> Iterator[Instant]:
        if self.may_expire():
            yield self.expires
        for timer in (self.read_at, self.verify_by):
            if timer is not None:
                yield timer

    def may_expire(self) -> bool:
        """Rule 7 of the transitions: once a time was given, only after the read-backs had their whole time."""
        if self.update.state is not UpdateState.ACTIVATING:
            return True
        return self.unverified and self.update.successor is None


class Scheduler:
    """Feed it with `load`, `add`, `handle` and `handle_deadline`; carry out what each of them returns."""

    def __init__(self, policy: SchedulePolicy) -> None:
        self._policy = policy
        self._entries: dict[UpdateId, _Entry] = {}
        self._active: dict[Eui64, UpdateId] = {}
        self._ended: dict[Eui64, Update] = {}

    def load(self, updates: Iterable[Update], now: Now) -> tuple[Planned, ...]:
        """Take over the rows of a store, oldest first, active or ended, after a start.

        What is announced is offered again, what may have been activated in our absence is read back, and a device that
        was due to activate gets its whole time again to show that it did. An update that was accepted and got no
        further is taken for stored: its offer finds out if its image is not there.
        """
        effects: list[Planned] = []
        for update in updates:
            if not update.active:
                self._ended[update.device] = update
                continue
            entry = self._enter(update, now)
            if update.state is UpdateState.ACTIVATING:
                self._expect_activation(entry, now)
            elif update.state in _MAY_HAVE_ACTIVATED:
                entry.read_at = Instant(now.instant + FIRST_READ_S)
            if update.state is UpdateState.ACCEPTED:
                effects += self._step(entry, Stored(), now)
            elif update.state is not UpdateState.STORED:
                self._renew_slot(entry, now)
        return (*effects, *self._start(now))

    def add(self, update: Update, now: Now) -> tuple[Planned, ...]:
        """A new update, already written. Raises UsageError where its device has an active one."""
        self._enter(update, now)
        return self._start(now)

    def for_device(self, device: Eui64) -> Update | None:
        """The device's active update, else the last one that ended, else None."""
        if (number := self._active.get(device)) is not None:
            return self._entries[number].update
        return self._ended.get(device)

    def get(self, number: UpdateId) -> Update | None:
        """An active update."""
        entry = self._entries.get(number)
        return None if entry is None else entry.update

    def remember(self, device: Eui64, number: UpdateId, record: TransferRecord) -> Update | None:
        """The row with what its transfer has to remember; None where it is not the device's update, or its last."""
        update = self.for_device(device)
        if update is None or update.id != number:
            return None
        update = replace(update, record=record)
        if update.active:
            self._entries[number].update = update
        else:
            self._ended[device] = update
        return update

    def forget(self, device: Eui64) -> None:
        """Drop what is known of the device's update."""
        self._ended.pop(device, None)
        if (number := self._active.pop(device, None)) is not None:
            del self._entries[number]

    def handle(self, number: UpdateId, event: UpdateEvent, now: Now) -> tuple[Planned, ...]:
        """Something happened. Of an update that is not known (any more) it changes nothing.

        Telling DownloadStarted again with the progress of a transfer keeps the update's place.
        """
        entry = self._entries.get(number)
        if entry is None:
            return self._handle_late(number, event, now)
        return (*self._step(entry, event, now), *self._start(now))

    def clock_stepped(self, before: UtcSeconds, after: UtcSeconds, now: Now) -> tuple[Update, ...]:
        """The wall clock was set: every active update whose row says something else now, for a process that starts."""
        moved = []
        for entry in self._entries.values():
            was, update = entry.update, after_clock_step(entry.update, before, after)
            entry.update, entry.expires = update, now.until(update.deadline)  # an appointment is another time away now
            if update.activation_at != was.activation_at and update.state is UpdateState.ACTIVATING:
                self._expect_activation(entry, now)
            if update != was:
                moved.append(update)
        return tuple(moved)

    def deadline(self) -> Instant | None:
        """When `handle_deadline` has something to do, None for never."""
        times = [instant for entry in self._entries.values() for instant in entry.due()]
        if any(self._queues(entry) for entry in self._entries.values()):
            times += [entry.slot_until for entry in self._entries.values() if entry.slot_until is not None]
        return min(times, default=None)

    def handle_deadline(self, now: Now) -> tuple[Planned, ...]:
        effects: list[Planned] = []
        for entry in list(self._entries.values()):
            if entry.slot_until is not None and entry.slot_until <= now.instant:
                entry.slot_until = None
            if entry.verify_by is not None and entry.verify_by <= now.instant:
                effects += self._step(entry, VerificationTimedOut(), now)
                entry.unverified, entry.verify_by = True, Instant(now.instant + self._policy.verify_s)
            elif entry.expires <= now.instant and entry.may_expire():
                effects += self._step(entry, DeadlinePassed(), now)
            elif entry.read_at is not None and entry.read_at <= now.instant:
                self._plan_next_read(entry, now)
                effects.append(ReadVersion(entry.update))
        return (*effects, *self._start(now))

    def _enter(self, update: Update, now: Now) -> _Entry:
        if update.device in self._active:
            raise UsageError(f"{format_eui64(update.device)} has update {self._active[update.device]} in progress")
        entry = _Entry(update, expires=now.until(update.deadline))
        self._entries[update.id] = entry
        self._active[update.device] = update.id
        return entry

    def _handle_late(self, number: UpdateId, event: UpdateEvent, now: Now) -> tuple[Planned, ...]:
        for ended in self._ended.values():
            if ended.id == number:
                update, _none = apply(ended, event, now)
                if update != ended:
                    self._ended[update.device] = update
                    return (Happened(ended, update, event),)
                break
        return ()

    def _step(self, entry: _Entry, event: UpdateEvent, now: Now) -> list[Planned]:
        before = entry.update
        update, actions = apply(before, event, now)
        entry.update = update
        if update.deadline != before.deadline:  # another appointment was ordered
            entry.expires = now.until(update.deadline)
        effects: list[Planned] = [Happened(before, update, event)] if update != before else []
        self._renew_slot(entry, now)
        if update.state is UpdateState.ACTIVATING and before.state is not UpdateState.ACTIVATING:
            self._expect_activation(entry, now)
        if update.successor is not None and before.successor is None:  # rule 10: from here on, the whole time
            entry.verify_by = Instant(now.instant + self._policy.verify_s)
        for action in actions:
            if isinstance(action, ReadVersion):
                self._read_no_later(entry, Instant(now.instant + action.after_s))
            else:
                effects.append(action)
        if not update.active:
            del self._entries[update.id], self._active[update.device]
            self._ended[update.device] = update
        return effects

    def _expect_activation(self, entry: _Entry, now: Now) -> None:
        due = self._activation(entry, now)
        entry.read_at = Instant(due + FIRST_READ_S)
        entry.read_interval_s = self._policy.read_interval_s
        entry.verify_by = Instant(due + self._policy.verify_s)

    def _activation(self, entry: _Entry, now: Now) -> Instant:
        """When the device activates; now where that is past or was never told."""
        return now.until(UtcSeconds(max(entry.update.activation_at or now.utc, now.utc)))

    def _read_no_later(self, entry: _Entry, instant: Instant) -> None:
        if entry.read_at is None or instant < entry.read_at:
            entry.read_at = instant
        entry.read_interval_s = self._policy.read_interval_s

    def _plan_next_read(self, entry: _Entry, now: Now) -> None:
        """Ever more rarely while the device is due to activate; once in any other state."""
        if entry.update.state is not UpdateState.ACTIVATING:
            entry.read_at = None
            return
        activation = self._activation(entry, now)
        if activation > now.instant:  # it rebooted before its time
            entry.read_at = Instant(activation + FIRST_READ_S)
            return
        entry.read_at = Instant(now.instant + entry.read_interval_s)
        limit_s = _UNVERIFIED_READ_S if entry.unverified else self._policy.read_interval_limit_s
        entry.read_interval_s = min(2 * entry.read_interval_s, limit_s)

    def _queues(self, entry: _Entry) -> bool:
        return entry.update.state in _TO_OFFER and not entry.offered

    def _renew_slot(self, entry: _Entry, now: Now) -> None:
        on_air = entry.update.state in _ON_AIR and (entry.offered or entry.update.state is not UpdateState.STORED)
        entry.slot_until = Instant(now.instant + self._policy.slot_s) if on_air else None

    def _start(self, now: Now) -> tuple[Planned, ...]:
        """Offer what may be offered, in the order of its making."""
        waiting = sorted(
            (entry for entry in self._entries.values() if self._queues(entry)),
            key=lambda entry: (entry.update.created, entry.update.id),
        )
        effects: list[Planned] = []
        taken = sum(entry.slot_until is not None for entry in self._entries.values())
        for entry in waiting:
            if entry.update.state is UpdateState.STORED:
                if taken >= self._policy.concurrent:
                    continue
                taken += 1
            entry.offered = True
            self._renew_slot(entry, now)
            effects.append(Offer(entry.update))
        return tuple(effects)
