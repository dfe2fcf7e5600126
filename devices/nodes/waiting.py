"""How long an OTA client waits when it is told to: the rule of ZCL8 table 11-15, and what personalities make of it.

A current time of 0 makes the other time an offset. Otherwise both are UTC: a client that knows the time takes the
absolute value, one that does not takes the difference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from devices.wire.ota import WAIT_FOREVER

if TYPE_CHECKING:
    from devices.nodes.personalities import Personality
    from devices.wire.ota import UpgradeEndResponse, WaitForData

_U32 = 0xFFFF_FFFF


def until_upgrade(response: UpgradeEndResponse, personality: Personality, clock: int | None) -> float | None:
    """Seconds to the upgrade; None where the answer gives no time, or one that makes no sense."""
    current, upgrade = response.current_time, response.upgrade_time
    if upgrade == WAIT_FOREVER or upgrade < current:
        return None
    wait = float(upgrade - (clock if current and clock is not None else current))
    wait = max(wait, 0.0)
    if personality.countdown_ms_in_u32:
        wait = (int(wait * 1000) & _U32) / 1000
    if personality.countdown_max_s is not None:
        wait = min(wait, personality.countdown_max_s)
    return max(wait, personality.countdown_min_s)


def until_data(response: WaitForData, personality: Personality, clock: int | None) -> float:
    """Seconds until the same block is asked for again."""
    wait = float(response.request_time - response.current_time)
    if wait < 0:
        underflow = personality.wait_for_data_underflow_s
        wait = wait + _U32 + 1 if underflow is None else underflow
    elif response.current_time and clock is not None:
        wait = float(max(response.request_time - clock, 0))
    return wait if personality.wait_for_data_max_s is None else min(wait, personality.wait_for_data_max_s)
