"""How long to wait between attempts to get a dongle back: soon at first, bounded for ever after."""

from collections.abc import Iterator

FIRST_S = 0.25
LONGEST_S = 10.0


def delays_s() -> Iterator[float]:
    """0.25, 0.5, 1, 2, ... 10, 10, ... seconds (our choice). No jitter: one hub competes with nobody for its port."""
    delay_s = FIRST_S
    while True:
        yield delay_s
        delay_s = min(delay_s * 2, LONGEST_S)
