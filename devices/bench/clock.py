"""The wall clock, which the virtual world needs for the time stamps of its captures and for nothing else."""

import time


def epoch_of(monotonic_s: float) -> float:
    """The UTC (POSIX seconds) at which a monotonic clock that shows `monotonic_s` now would have shown zero."""
    return time.time_ns() / 1e9 - monotonic_s
