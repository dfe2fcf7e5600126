"""How OTA clients that are in the field behave where the standard leaves room, or where they leave the standard.

A personality is data: timers and switches that `ota_client` reads; none is a subclass. The values follow what is known
of the named stacks (their control flow was read, not run). `SPEC_STRICT` does what ZCL8 11.13 asks and nothing on its
own; where the standard is silent its values are our choice.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING

from devices.wire.ota import WAIT_FOREVER

if TYPE_CHECKING:
    from devices.wire.ota import UpgradeEndResponse, WaitForData

_U32 = 0xFFFF_FFFF  # where 32-bit arithmetic wraps


class PeriodUnit(Enum):
    """What one unit of MinimumBlockPeriod lasts: it changed between revisions of the cluster."""

    MILLISECOND = 0.001  # OTA cluster revisions 1 and 3
    SECOND = 1.0  # revision 2, SE 1.2b


class Resume(Enum):
    """What a reboot does to an unfinished download."""

    AT_OFFSET = "asks for the next block straight away"
    AFTER_QUERY = "queries first, and goes on when the same image is offered"


@dataclass(frozen=True, slots=True)
class Personality:
    name: str
    has_time: bool = True  # a Time cluster client: absolute upgrade times are taken as UTC, not as a difference

    query_timeout_s: float = 3.0
    query_attempts: int = 10  # unanswered queries before the server is looked for again
    discovery_interval_s: float = 15.0

    block_timeout_s: float = 3.0
    block_backoff_s: float = 2.0
    block_attempts: int = 10  # consecutive errors before Upgrade End with ABORT
    lost_block_resets_offset: bool = False
    resume: Resume = Resume.AT_OFFSET
    keeps_partial_image: bool = True  # over an abort or too many errors: goes on when the same image is offered again
    wait_for_data_max_s: float | None = None
    wait_for_data_underflow_s: float | None = 300.0  # request time before current time; None wraps as a u32 does
    period_unit: PeriodUnit = PeriodUnit.MILLISECOND
    sends_period: bool = False  # MinimumBlockPeriod in Image Block Request ...
    period_flag: bool = True  # ... announced in the field control, or appended without
    page_timeout_s: float = 5.0
    page_block_bytes: int | None = None  # exact block size in page mode; another alignment aborts the download
    copies_notify_security: bool = False

    end_timeout_s: float = 3.0
    end_attempts: int = 3  # Upgrade End Requests sent in a row without an answer
    end_retry_s: float = 60.0  # then it pauses so long and asks again, unless it
    activates_when_unanswered: bool = False
    answers_reset_misses: bool = True  # False: unanswered requests add up over a whole hold
    hold_reask_s: float = 3600.0  # ZCL8 11.13.9.6: at most once an hour
    hold_reasks: int | None = None  # None: for ever
    hold_limit_s: float | None = None  # after the first hold it activates by itself
    countdown_min_s: float = 0.0
    countdown_max_s: float | None = None
    countdown_ms_in_u32: bool = False  # seconds * 1000 wraps at 49.7 days
    countdown_can_change: bool = True
    countdown_refusal: int | None = None  # Default Response status for an Upgrade End Response while counting down
    bad_time_hold_s: float = 3600.0  # upgrade time before current time: ask again after this
    cancel_by_default_response: bool = True

    takes_downgrades: bool = True
    activation_policy: int = 0  # UpgradeActivationPolicy: 0 the server decides, 1 out of band
    timeout_policy: int = 0  # UpgradeTimeoutPolicy: 1 forbids activation without an answer

    # ZCL8 table 11-15: a current time of 0 makes the other time an offset. Otherwise both are UTC: a client that knows
    # the time (`clock`, ZigBee seconds) takes the absolute value, one that does not takes the difference.

    def until_upgrade(self, response: UpgradeEndResponse, clock: int | None) -> float | None:
        """Seconds to the upgrade; None where the answer gives no time, or one that makes no sense."""
        current, upgrade = response.current_time, response.upgrade_time
        if upgrade == WAIT_FOREVER or upgrade < current:
            return None
        wait = float(upgrade - (clock if current and clock is not None else current))
        wait = max(wait, 0.0)
        if self.countdown_ms_in_u32:
            wait = (int(wait * 1000) & _U32) / 1000
        if self.countdown_max_s is not None:
            wait = min(wait, self.countdown_max_s)
        return max(wait, self.countdown_min_s)

    def until_data(self, response: WaitForData, clock: int | None) -> float:
        """Seconds until the same block is asked for again."""
        wait = float(response.request_time - response.current_time)
        if wait < 0:
            underflow = self.wait_for_data_underflow_s
            wait = wait + _U32 + 1 if underflow is None else underflow
        elif response.current_time and clock is not None:
            wait = float(max(response.request_time - clock, 0))
        return wait if self.wait_for_data_max_s is None else min(wait, self.wait_for_data_max_s)


SPEC_STRICT = Personality("spec-strict")
SPEC_STRICT_NO_TIME = replace(SPEC_STRICT, name="spec-strict-no-time", has_time=False)
OUT_OF_BAND = replace(SPEC_STRICT, name="out-of-band", activation_policy=1)

SILICON_LABS = Personality(
    "silicon-labs",
    has_time=False,
    discovery_interval_s=120.0,
    keeps_partial_image=False,
    wait_for_data_max_s=3600.0,
    page_block_bytes=32,
    end_attempts=10,
    activates_when_unanswered=True,
    answers_reset_misses=False,
    countdown_min_s=3.0,
    countdown_max_s=3600.0,
    countdown_ms_in_u32=True,
    countdown_can_change=False,
    countdown_refusal=0x01,  # FAILURE
)

TELINK = Personality(
    "telink",
    has_time=False,
    discovery_interval_s=120.0,
    query_timeout_s=5.0,
    block_timeout_s=5.0,
    block_backoff_s=0.0,
    resume=Resume.AFTER_QUERY,
    wait_for_data_underflow_s=None,
    copies_notify_security=True,
    end_timeout_s=5.0,
    end_attempts=2,
    activates_when_unanswered=True,
    hold_reasks=1,
    hold_limit_s=7200.0,
    countdown_ms_in_u32=True,
    countdown_can_change=False,
    cancel_by_default_response=False,
)

ESP_RESET = replace(SPEC_STRICT, name="esp-reset", block_timeout_s=7.0, lost_block_resets_offset=True)
SECONDS_PERIOD = replace(SPEC_STRICT, name="seconds-period", period_unit=PeriodUnit.SECOND, sends_period=True)
UNFLAGGED_PERIOD = replace(SPEC_STRICT, name="unflagged-period", sends_period=True, period_flag=False)

PERSONALITIES = {
    personality.name: personality
    for personality in (
        SPEC_STRICT,
        SPEC_STRICT_NO_TIME,
        OUT_OF_BAND,
        SILICON_LABS,
        TELINK,
        ESP_RESET,
        SECONDS_PERIOD,
        UNFLAGGED_PERIOD,
    )
}
"""By the name that a scenario file uses."""
