"""The two times that everything else is told: monotonic seconds, and UTC.

Cores never read a clock: they are handed a `Now`. Shells hold a `Clock`. Durations and deadlines are counted on
`Now.instant`, which never jumps; appointments with the outside world (an activation time) are kept in UTC and turned
into an instant each time they are looked at, so that a stepped wall clock moves the appointment and not the wait.
A wall clock that was never set, or was set just now, is not to be trusted: each reading says so.
"""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NewType, Protocol

Instant = NewType("Instant", float)
"""Monotonic seconds, of no meaning beyond this process; on Linux, beyond this start of the machine."""

UtcSeconds = NewType("UtcSeconds", float)
"""Seconds since 1970-01-01 UTC (POSIX)."""

ZigbeeTime = NewType("ZigbeeTime", int)
"""The UTCTime of ZCL8 2.6.2.13: u32 seconds since 2000-01-01 00:00:00 UTC; 0xFFFFFFFF is invalid."""

ZIGBEE_EPOCH = UtcSeconds(datetime(2000, 1, 1, tzinfo=UTC).timestamp())
INVALID_ZIGBEE_TIME = ZigbeeTime(0xFFFF_FFFF)
LAST_ZIGBEE_UTC = UtcSeconds(ZIGBEE_EPOCH + INVALID_ZIGBEE_TIME - 1)


@dataclass(frozen=True, slots=True)
class Now:
    """One reading of both clocks."""

    instant: Instant
    utc: UtcSeconds
    distrust: str = ""
    """Why devices are not told `utc`, and no appointment falls due by it (`chf.trust`); empty where it is trusted."""
    boot: str = ""
    """Which start of the machine `instant` counts from; empty where that is not known."""

    @property
    def trusted(self) -> bool:
        return not self.distrust

    def zigbee_time(self) -> ZigbeeTime:
        """0xFFFFFFFF where the wall clock is not trusted."""
        return to_zigbee_time(self.utc) if self.trusted else INVALID_ZIGBEE_TIME

    def until(self, utc: UtcSeconds) -> Instant:
        """The instant at which the wall clock will show `utc`, as far as can be known now."""
        return Instant(self.instant + (utc - self.utc))


class Clock(Protocol):
    def now(self) -> Now: ...
    def instant(self) -> Instant:
        """That of `now`, where the wall clock is not needed."""
        ...


class SystemClock:
    """The clocks of this machine, whatever they show."""

    def __init__(self) -> None:
        try:
            self._boot = Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()  # proc(5)
        except (OSError, ValueError):
            self._boot = ""  # not Linux

    def now(self) -> Now:
        return Now(Instant(time.monotonic()), UtcSeconds(time.time()), boot=self._boot)

    def instant(self) -> Instant:
        return Instant(time.monotonic())


def backoff_s(failures: int, first_s: float, longest_s: float) -> float:
    """The wait after this many failures in a row: `first_s` after the first, twice as long after each, to `longest_s`.

    Without jitter: nobody here competes with others for what failed (our choice).
    """
    return min(first_s * 2.0 ** min(max(failures - 1, 0), 63), longest_s)  # 2 ** 63 s is longer than any limit


def to_zigbee_time(utc: UtcSeconds) -> ZigbeeTime:
    """Whole seconds since 2000, clamped to what a u32 holds short of the invalid value."""
    return ZigbeeTime(min(max(int(utc - ZIGBEE_EPOCH), 0), INVALID_ZIGBEE_TIME - 1))


def isoformat(utc: UtcSeconds) -> str:
    """`2026-11-23T06:14:00Z`, the one way in which this program prints a time."""
    return datetime.fromtimestamp(utc, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
