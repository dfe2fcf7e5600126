"""Whether the wall clock is to be trusted: it is watched against the monotonic clock, and against what was seen before.

1. A clock that shows a time before 2020 was never set.
2. A clock that moved by more than two seconds against the monotonic one was set. It is trusted after ten minutes
   without another step: whoever sets a clock wrong has that long to see it.
3. A clock behind the last time that was trusted went back, and one more than 90 days beyond it may be anywhere. Neither
   is trusted until it is set again, until time catches up, or until a person says that it is right.

A process that starts goes on from the `ClockRecord` of the one before. Within one start of the machine the step between
them is measured. Beyond it nothing tells how long nobody looked: where one of the two readings is not trusted, their
whole difference is taken for a step. A clock that was set wrong by less than 90 days while the machine was off is not
found out.
"""

from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import Any, Final, Self

from chf.clock import Clock, Instant, Now, UtcSeconds, isoformat
from chf.errors import RefusedError

EARLIEST_UTC: Final = UtcSeconds(datetime(2020, 1, 1, tzinfo=UTC).timestamp())  # our choice: years before this program
STEP_S: Final = 2.0  # our choice: more than NTP slews between two looks, less than an activation may be early
SETTLE_S: Final = 600.0  # our choice
GAP_S: Final = 90 * 86_400.0  # our choice: a bench that was not used for a quarter of a year

REMEDY: Final = "set it or, where it is right, say so: chf clock trust"


@dataclass(frozen=True, slots=True)
class ClockRecord:
    """The last reading of both clocks, and what was thought of it."""

    utc: UtcSeconds
    instant: Instant
    boot: str
    distrust: str
    trusted_utc: UtcSeconds | None
    """The last reading that was trusted."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any] | None) -> Self | None:
        """None for what `to_json` does not write: that is no knowledge of the clock."""
        try:
            record = cls(**value) if value is not None else None
        except TypeError:
            return None
        if record is None or not (isinstance(record.boot, str) and isinstance(record.distrust, str)):
            return None
        times = (record.utc, record.instant, 0.0 if record.trusted_utc is None else record.trusted_utc)
        sound = all(type(time) in (int, float) and isfinite(time) and time >= 0 for time in times)
        return record if sound else None


@dataclass(frozen=True, slots=True)
class ClockStep:
    """The wall clock was set from one time to another in one moment."""

    before: UtcSeconds
    after: UtcSeconds

    @property
    def seconds(self) -> float:
        return self.after - self.before


class WatchedClock:
    """A `Clock` whose readings say whether they are trusted."""

    def __init__(self, clock: Clock, record: ClockRecord | None) -> None:
        self._clock, self._before = clock, record
        self._last: Now | None = None
        self._trusted_utc = None if record is None else record.trusted_utc
        self._settling, self._settled_at = "", Instant(0.0)
        self._distrust = "" if record is None else record.distrust
        self._steps: list[ClockStep] = []

    @property
    def distrust(self) -> str:
        """Of the last reading; before the first, that of the process before."""
        return self._distrust

    def instant(self) -> Instant:
        return self._clock.instant()

    def now(self) -> Now:
        now, last = self._clock.now(), self._last
        self._last = now
        if last is None:
            self._begin(now)
        else:
            expected = last.utc + now.instant - last.instant
            if not -STEP_S <= now.utc - expected <= STEP_S:
                self._step(UtcSeconds(expected), now)
        if self._distrust:
            self._distrust = self._reason(now)
        if self._distrust:
            return replace(now, distrust=self._distrust)
        self._trusted_utc = now.utc
        return now

    def take_steps(self) -> tuple[ClockStep, ...]:
        """Those since the last call, for what counts on the wall clock over a restart."""
        steps, self._steps = tuple(self._steps), []
        return steps

    def confirm(self) -> None:
        """A person says that it is right. Raises RefusedError for a clock that nobody has set."""
        now = self.now()
        if now.utc < EARLIEST_UTC:
            raise RefusedError(f"the clock shows {isoformat(now.utc)}, which is not right: set it")
        self._distrust = self._settling = ""
        self._trusted_utc = now.utc

    def record(self) -> ClockRecord:
        """Of the last reading, for the next process."""
        last = self._last or self._clock.now()
        return ClockRecord(last.utc, last.instant, last.boot, self._distrust, self._trusted_utc)

    def _begin(self, now: Now) -> None:
        record = self._before
        if record is None:
            self._distrust = self._reason(now)
            return
        self._settle(now.instant, record.distrust)
        if now.boot and now.boot == record.boot and now.instant >= record.instant:
            self._settle(record.instant, record.distrust)
            expected = UtcSeconds(record.utc + now.instant - record.instant)
        else:
            expected = record.utc if record.distrust or self._reason(now) else now.utc
        if not -STEP_S <= now.utc - expected <= STEP_S:
            self._step(expected, now)
        self._distrust = self._reason(now)

    def _step(self, expected: UtcSeconds, now: Now) -> None:
        step = ClockStep(expected, now.utc)
        self._steps.append(step)
        way = "forward" if step.seconds > 0 else "back"
        distance = timedelta(seconds=round(abs(step.seconds)))
        text = (
            f"it was set {way} by {distance} at {isoformat(now.utc)}, and is trusted after {SETTLE_S / 60:.0f} minutes"
        )
        self._settle(now.instant, text)
        self._distrust = self._reason(now)

    def _settle(self, since: Instant, why: str) -> None:
        self._settling, self._settled_at = why, Instant(since + SETTLE_S)

    def _reason(self, now: Now) -> str:
        """Why it is not to be trusted, empty where it is."""
        if now.utc < EARLIEST_UTC:
            return f"it shows a time before {isoformat(EARLIEST_UTC)}: nobody has set it"
        if self._trusted_utc is not None:
            seen = f"{isoformat(self._trusted_utc)}, which this hub took for right"
            if now.utc < self._trusted_utc - STEP_S:
                return f"it is behind {seen}"
            if now.utc > self._trusted_utc + GAP_S:
                return f"it is more than {GAP_S / 86_400:.0f} days beyond {seen}"
        return self._settling if now.instant < self._settled_at else ""


def insist_on_trust(now: Now) -> None:
    """Before an appointment is made. Raises RefusedError, with what to do."""
    if not now.trusted:
        raise RefusedError(f"nothing is appointed while the clock is not trusted ({now.distrust}): {REMEDY}")
