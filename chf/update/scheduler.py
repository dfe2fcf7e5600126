"""When update jobs move: who may download now, when to read a version back, when a job's time is over.

The scheduler holds every active job, feeds it the events that it is told and those that its own timers make, and says
what to do. It is rebuilt from the job rows alone. It never decides what a job may become (transitions.py), and it knows
nothing of radio or store.

Waits are counted on the monotonic clock from the moment at which a job was loaded, so that a stepped wall clock neither
expires a job nor hurries a read-back; only a new process looks at the UTC deadline of a row again.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from chf.clock import Instant, Now, UtcSeconds
from chf.errors import UsageError
from chf.eui64 import Eui64, format_eui64
from chf.update.model import (
    Action,
    DeadlinePassed,
    Offer,
    ReadVersion,
    Stored,
    Update,
    UpdateEvent,
    UpdateId,
    UpdateState,
    VerificationTimedOut,
)
from chf.update.transitions import FIRST_READ_S, apply

_TO_OFFER: Final = frozenset({UpdateState.STORED, UpdateState.ANNOUNCED})
_ON_AIR: Final = frozenset({UpdateState.STORED, UpdateState.ANNOUNCED, UpdateState.DOWNLOADING})
_MAY_HAVE_ACTIVATED: Final = frozenset({UpdateState.DOWNLOADING, UpdateState.DOWNLOADED, UpdateState.WAITING})


@dataclass(frozen=True, slots=True)
class SchedulePolicy:
    """The scheduler's settings; the defaults are our choice.

    A job has a place among the `concurrent` ones until nothing was heard of it for `slot_s`: a device that is switched
    off must not keep the others waiting.
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
            raise UsageError("the times of the job policy must be more than 0 seconds")


@dataclass(frozen=True, slots=True)
class SaveJob:
    """Write the row, in one transaction with the RaiseCcs08 of the same effects and before everything else of them."""

    before: Update
    job: Update
    event: UpdateEvent


Effect: TypeAlias = SaveJob | Action
"""In the order in which to carry them out. ReadVersion is told when it is due: its `after_s` is 0 here."""


@dataclass(slots=True)
class _Entry:
    """An active job and its timers; None is a timer that does not run."""

    job: Update
    expires: Instant
    offered: bool = False
    slot_until: Instant | None = None
    read_at: Instant | None = None
    read_interval_s: float = 0.0
    verify_by: Instant | None = None

    def due(self) -> Iterator[Instant]:
        if self.job.state is not UpdateState.ACTIVATING:
            yield self.expires  # rule 7 of the transitions: from there on only the read-back ends it
        for timer in (self.read_at, self.verify_by):
            if timer is not None:
                yield timer


class Scheduler:
    """Feed it with `load`, `add`, `handle` and `handle_deadline`; carry out what each of them returns."""

    def __init__(self, policy: SchedulePolicy) -> None:
        self._policy = policy
        self._entries: dict[UpdateId, _Entry] = {}
        self._active: dict[Eui64, UpdateId] = {}
        self._ended: dict[Eui64, Update] = {}

    def load(self, jobs: Iterable[Update], now: Now) -> tuple[Effect, ...]:
        """Take over the rows of a store, oldest first, active or ended, after a start.

        What is announced is offered again, what may have been activated in our absence is read back, and a device that
        was due to activate gets its whole time anew to show that it did. A job that was accepted and got no further is
        taken for stored: whoever is to offer it finds out if its image is not there.
        """
        effects: list[Effect] = []
        for job in jobs:
            if not job.active:
                self._ended[job.device] = job
                continue
            entry = self._enter(job, now)
            if job.state is UpdateState.ACTIVATING:
                self._expect_activation(entry, now)
            elif job.state in _MAY_HAVE_ACTIVATED:
                entry.read_at = Instant(now.instant + FIRST_READ_S)
            if job.state is UpdateState.ACCEPTED:
                effects += self._step(entry, Stored(), now)
            elif job.state is not UpdateState.STORED:
                self._renew_slot(entry, now)
        return (*effects, *self._start(now))

    def add(self, job: Update, now: Now) -> tuple[Effect, ...]:
        """A new job, already written. Raises UsageError where its device has an active one."""
        self._enter(job, now)
        return self._start(now)

    def for_device(self, device: Eui64) -> Update | None:
        """The device's active job, else the last one that ended, else None."""
        if (job_id := self._active.get(device)) is not None:
            return self._entries[job_id].job
        return self._ended.get(device)

    def get(self, job_id: UpdateId) -> Update | None:
        """An active job."""
        entry = self._entries.get(job_id)
        return None if entry is None else entry.job

    def handle(self, job_id: UpdateId, event: UpdateEvent, now: Now) -> tuple[Effect, ...]:
        """Something happened. Of a job that is not known (any more) it changes nothing.

        Telling DownloadStarted again with the progress of a transfer keeps the job's place.
        """
        entry = self._entries.get(job_id)
        if entry is None:
            return self._handle_late(job_id, event, now)
        return (*self._step(entry, event, now), *self._start(now))

    def deadline(self) -> Instant | None:
        """When `handle_deadline` has something to do, None for never."""
        times = [instant for entry in self._entries.values() for instant in entry.due()]
        if any(self._queues(entry) for entry in self._entries.values()):
            times += [entry.slot_until for entry in self._entries.values() if entry.slot_until is not None]
        return min(times, default=None)

    def handle_deadline(self, now: Now) -> tuple[Effect, ...]:
        effects: list[Effect] = []
        for entry in list(self._entries.values()):
            if entry.slot_until is not None and entry.slot_until <= now.instant:
                entry.slot_until = None
            if entry.verify_by is not None and entry.verify_by <= now.instant:
                effects += self._step(entry, VerificationTimedOut(), now)
            elif entry.expires <= now.instant and entry.job.state is not UpdateState.ACTIVATING:
                effects += self._step(entry, DeadlinePassed(), now)
            elif entry.read_at is not None and entry.read_at <= now.instant:
                self._plan_next_read(entry, now)
                effects.append(ReadVersion(entry.job))
        return (*effects, *self._start(now))

    def _enter(self, job: Update, now: Now) -> _Entry:
        if job.device in self._active:
            raise UsageError(f"{format_eui64(job.device)} has update {self._active[job.device]} in progress")
        entry = _Entry(job, expires=now.until(job.deadline))
        self._entries[job.id] = entry
        self._active[job.device] = job.id
        return entry

    def _handle_late(self, job_id: UpdateId, event: UpdateEvent, now: Now) -> tuple[Effect, ...]:
        for ended in self._ended.values():
            if ended.id == job_id:
                job, _none = apply(ended, event, now)
                if job != ended:
                    self._ended[job.device] = job
                    return (SaveJob(ended, job, event),)
                break
        return ()

    def _step(self, entry: _Entry, event: UpdateEvent, now: Now) -> list[Effect]:
        before = entry.job
        job, actions = apply(before, event, now)
        entry.job = job
        effects: list[Effect] = [SaveJob(before, job, event)] if job != before else []
        self._renew_slot(entry, now)
        if job.state is UpdateState.ACTIVATING and before.state is not UpdateState.ACTIVATING:
            self._expect_activation(entry, now)
        for action in actions:
            if isinstance(action, ReadVersion):
                self._read_no_later(entry, Instant(now.instant + action.after_s))
            else:
                effects.append(action)
        if not job.active:
            del self._entries[job.id], self._active[job.device]
            self._ended[job.device] = job
        return effects

    def _expect_activation(self, entry: _Entry, now: Now) -> None:
        due = self._activation(entry, now)
        entry.read_at = Instant(due + FIRST_READ_S)
        entry.read_interval_s = self._policy.read_interval_s
        entry.verify_by = Instant(due + self._policy.verify_s)

    def _activation(self, entry: _Entry, now: Now) -> Instant:
        """When the device activates; now where that is past or was never told."""
        return now.until(UtcSeconds(max(entry.job.activation_at or now.utc, now.utc)))

    def _read_no_later(self, entry: _Entry, instant: Instant) -> None:
        if entry.read_at is None or instant < entry.read_at:
            entry.read_at = instant
        entry.read_interval_s = self._policy.read_interval_s

    def _plan_next_read(self, entry: _Entry, now: Now) -> None:
        """Ever more rarely while the device is due to activate; once in any other state."""
        if entry.job.state is not UpdateState.ACTIVATING:
            entry.read_at = None
            return
        activation = self._activation(entry, now)
        if activation > now.instant:  # it rebooted before its time
            entry.read_at = Instant(activation + FIRST_READ_S)
            return
        entry.read_at = Instant(now.instant + entry.read_interval_s)
        entry.read_interval_s = min(2 * entry.read_interval_s, self._policy.read_interval_limit_s)

    def _queues(self, entry: _Entry) -> bool:
        return entry.job.state in _TO_OFFER and not entry.offered

    def _renew_slot(self, entry: _Entry, now: Now) -> None:
        on_air = entry.job.state in _ON_AIR and (entry.offered or entry.job.state is not UpdateState.STORED)
        entry.slot_until = Instant(now.instant + self._policy.slot_s) if on_air else None

    def _start(self, now: Now) -> tuple[Effect, ...]:
        """Offer what may be offered, in the order of its making."""
        waiting = sorted(
            (entry for entry in self._entries.values() if self._queues(entry)),
            key=lambda entry: (entry.job.created, entry.job.id),
        )
        effects: list[Effect] = []
        taken = sum(entry.slot_until is not None for entry in self._entries.values())
        for entry in waiting:
            if entry.job.state is UpdateState.STORED:
                if taken >= self._policy.concurrent:
                    continue
                taken += 1
            entry.offered = True
            self._renew_slot(entry, now)
            effects.append(Offer(entry.job))
        return tuple(effects)
