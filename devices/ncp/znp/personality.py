"""What makes one dongle's firmware different from another: versions, and what its build was given.

One personality so far: Z-Stack 3.30 as built for CC2652 sticks, the newest that zigpy-znp and zigbee-herdsman know.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Personality:
    name: str
    product: int  # 1: Z-Stack 3.x.0
    version: tuple[int, int, int]
    revision: int  # date of the build; hosts switch features by it
    table_size: int = 64  # our choice: hosts read every entry, and write them all when they form a network
    reset_s: float = 0.02  # our choice; the chip needs longer
    """How long a reset takes."""


ZSTACK_3_30 = Personality("zstack-3.30", 1, (2, 7, 1), 20221226)

PERSONALITIES = {personality.name: personality for personality in (ZSTACK_3_30,)}
"""By the name that a scenario file uses."""
