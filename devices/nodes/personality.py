"""What an OTA client may do in its own way: the fields of a personality, and what is computed from them.

The defaults do what ZCL8 11.13 asks and nothing on their own; where the standard is silent they are our choice. The
clients that are in the field are rows of `personalities`; the code that reads the fields knows none of their names.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, assert_never

if TYPE_CHECKING:
    from devices.wire.ota import ImageId, UpgradeEndResponse, WaitForData
    from devices.wire.zcl import Status

Span = tuple[float, float]
"""Seconds: anything between the two, drawn anew each time."""

_U32 = 0xFFFF_FFFF  # where 32-bit arithmetic wraps


class PeriodUnit(Enum):
    """What one unit of MinimumBlockPeriod lasts: it changed between revisions of the cluster."""

    MILLISECOND = 0.001  # OTA cluster revisions 1 and 3
    SECOND = 1.0  # revision 2, SE 1.2b


class PeriodUse(Enum):
    """Which MinimumBlockPeriod of a WAIT_FOR_DATA is taken."""

    ALL = "every one"
    WITHOUT_WAIT = "one that comes with no time to wait"
    RAISED = "one that is longer than the one before"


class PeriodKept(Enum):
    """How long a MinimumBlockPeriod that was taken is kept to."""

    DOWNLOAD = "until the next download"
    BOOT = "until the next boot"
    FLASH = "for good"


class Resume(Enum):
    """What a reboot does to an image that is stored, whole or in part."""

    AT_OFFSET = "goes on with it, unasked"
    AFTER_QUERY = "queries first, and goes on when the same image is offered"
    FROM_START = "forgets it"


class StoredImage(Enum):
    """What becomes of an image that is offered and lies in flash, whole and checked."""

    ASKS = "Upgrade End Request"
    ACTIVATES = "starts at once, and asks nobody"


class OtherStatus(Enum):
    """An Image Block Response with a status that has no business there."""

    MISSED = "counts as no answer"
    MALFORMED = "is refused; the timer of the request goes on"
    IGNORED = "says nothing; the timer of the request goes on"
    STALLS = "stops that timer, and nothing starts it again"


class DefaultResponse(Enum):
    """A Default Response to a block request."""

    BY_STATUS = "ABORT and the like end the download, SUCCESS says nothing, the others count as no answer"
    ABORT = "ABORT ends the download, another status says nothing"
    ENDS = "ends the download, whatever its status"
    IGNORED = "says nothing; the timer of the request goes on"


class GivesUp(Enum):
    """After too many block requests without an answer."""

    TELLS = "Upgrade End Request with ABORT"
    SILENTLY = "waits for its next query"
    LOOKS_AGAIN = (
        "Upgrade End Request with ABORT, and looks for a server; it looks for one after the server's ABORT too"
    )


class Names(Enum):
    """Which identifiers in an Upgrade End Response are taken for those of the image."""

    OR_WILDCARDS = "its own, each of them or its wildcard"  # ZCL8 11.13.9
    ITS_OWN = "its own alone"
    ANY = "whatever they are"


class Unanswered(Enum):
    """After the last Upgrade End Request that nobody answered."""

    PAUSES = "asks again later"
    WAITS = "waits for the answer, and asks no more"
    ACTIVATES = "starts the image"
    DROPS = "forgets the image"


class PastTime(Enum):
    """An upgrade time before the current time."""

    HOLDS = "as if there were none: asks again later"
    NOW = "is not noticed: the time has come"
    WRAPS = "is not noticed: the difference wraps"
    REFUSED = "is malformed, and changes nothing"
    DROPS = "forgets the image"


class CancelledBy(Enum):
    """Which Default Response to an Upgrade End Request with SUCCESS calls the upgrade off."""

    FAILURE = "any with a failure, also when it was told to wait"
    ABORT = "ABORT, also when it was told to wait"
    ABORT_BEFORE_ANSWER = "ABORT, in place of an answer"
    NOTHING = "none"


class CountdownChange(Enum):
    """What another Upgrade End Response does to a countdown."""

    ANYTHING = "all that it says"
    ANOTHER_TIME = "sets another time; told to wait, it counts on"
    EARLIER_TIME = "starts another beside it, and the first to end counts; told to wait, it counts on"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Personality:
    name: str
    has_time: bool = True  # a Time cluster client: absolute upgrade times are taken as UTC, not as a difference
    unset_clock_is_zero: bool = False  # reads a clock that nobody set as 2000-01-01

    # Query.
    discovery_interval_s: float = 15.0
    query_delay_s: Span = (0.5, 0.5)  # between finding the server and the first query
    query_interval_s: Span = (300.0, 300.0)
    query_timeout_s: float | None = 3.0  # None asks and waits for nothing: an offer is taken whenever it comes
    query_attempts: int = 10  # unanswered queries before the server is looked for again
    query_has_hardware: bool = True  # the hardware version, an optional field
    copies_notify_security: bool = False  # its requests are protected as the last Image Notify was
    downgrade_refusal: Status | None = None  # of Upgrade End Request; None takes older versions

    # Block requests.
    block_bytes: int = 50  # MaximumDataSize; 56 fills an APS-secured frame
    sends_node: bool = False  # its EUI-64 in Image Block Request
    asks_the_rest: bool = False  # the last request asks for no more than is left
    sends_period: bool = False  # MinimumBlockPeriod in Image Block Request ...
    period_flag: bool = True  # ... announced in the field control, or appended without
    block_pace_s: float = 0.0  # at least so long between a block and the next request
    block_timeout_s: float = 3.0
    delivery_s: float | None = None  # where set, the time-out is 4 x (this + the period, or 1 s)
    block_backoff_s: float = 2.0
    block_attempts: int = 10  # consecutive errors before it gives up
    gives_up: GivesUp = GivesUp.TELLS
    failure_told_once: bool = False  # Upgrade End with a failure is sent once, and no answer is waited for
    keeps_partial_image: bool = True  # over an abort or too many errors: goes on when the same image is offered again

    # Block responses.
    takes_long_blocks: bool = False  # with more data than was asked for
    reads_past_end: bool = False  # a block cut off behind its status is read on, so its identifiers are foreign
    foreign_block_is_invalid: bool = False  # another image's block ends the download with INVALID_IMAGE
    no_image_aborts: bool = True  # NO_IMAGE_AVAILABLE ends the download; False: it is any other status
    other_status: OtherStatus = OtherStatus.MISSED
    block_default_response: DefaultResponse = DefaultResponse.BY_STATUS
    wait_ignored: bool = False  # WAIT_FOR_DATA is a matter of its period alone
    wait_needs_period: bool = False  # the form of WAIT_FOR_DATA without a period is malformed
    wait_for_data_max_s: float | None = None
    wait_for_data_underflow_s: float | None = 300.0  # request time before current time; None wraps as a u32 does
    wait_underflow_ends_download: bool = False
    period_unit: PeriodUnit = PeriodUnit.MILLISECOND
    period_max: int | None = None  # in its units
    period_use: PeriodUse = PeriodUse.ALL
    period_kept: PeriodKept = PeriodKept.DOWNLOAD

    # Page requests.
    page_bytes: int = 1024  # where a scenario asks for pages and does not say how long
    page_spacing_ms: int = 10
    page_timeout_s: float = 5.0
    page_attempts: int | None = None  # pages in a row that were not whole, before it asks for blocks alone
    page_block_bytes: int | None = None  # exact block size in page mode; another alignment aborts the download

    # What is stored.
    resume: Resume = Resume.AT_OFFSET
    resume_delay_s: Span = (0.0, 0.0)  # of AT_OFFSET
    resume_above_bytes: int = 0  # with no more than this, it starts over
    checkpoint_bytes: int | None = None  # an image of n bytes is remembered each n // this + 1 blocks; None: by sectors
    stored_image: StoredImage = StoredImage.ASKS
    boot_applies: bool = False  # a complete image is marked for the boot loader: any reset starts it

    # Upgrade End, and what follows.
    end_timeout_s: float = 3.0
    end_attempts: int = 3  # Upgrade End Requests sent in a row without an answer
    unanswered: Unanswered = Unanswered.PAUSES
    end_retry_s: float = 60.0  # of PAUSES
    answers_reset_misses: bool = True  # False: unanswered requests add up over a whole hold
    names: Names = Names.OR_WILDCARDS
    past_time: PastTime = PastTime.HOLDS
    hold_reask_s: float | None = 3600.0  # ZCL8 11.13.9.6: at most once an hour; None never asks
    hold_reask_repeats: bool = True  # a re-ask that nobody answers is one of `end_attempts`; False: sent once an hour
    hold_is_heard_once: bool = False  # told to wait a second time, it does not count from then
    hold_limit_s: float | None = None  # after the first hold it activates by itself
    cancelled_by: CancelledBy = CancelledBy.FAILURE
    countdown_min_s: float = 0.0
    countdown_max_s: float | None = None
    countdown_change: CountdownChange = CountdownChange.ANYTHING
    countdown_refusal: int | None = None  # Default Response status for what changes nothing
    ms_in_u32: bool = False  # seconds * 1000 wraps at 49.7 days
    activation_policy: int = 0  # UpgradeActivationPolicy: 0 the server decides, 1 out of band
    timeout_policy: int = 0  # UpgradeTimeoutPolicy: 1 forbids activation without an answer

    def is_about(self, response: UpgradeEndResponse, image: ImageId) -> bool:
        """Whether this answer is taken for one about `image`."""
        match self.names:
            case Names.OR_WILDCARDS:
                return response.names(image)
            case Names.ITS_OWN:
                return response.image == image
            case Names.ANY:
                return True
            case _:
                assert_never(self.names)

    def block_wait_s(self, minimum_period: int) -> float:
        """How long an answer to a block request is waited for."""
        if self.delivery_s is None:
            return self.block_timeout_s
        return 4 * (self.delivery_s + (self.period_s(minimum_period) or 1.0))

    def period_s(self, minimum_period: int) -> float:
        return minimum_period * self.period_unit.value

    def next_period(self, before: int, response: WaitForData) -> int:
        """MinimumBlockPeriod after this answer, where it was `before`."""
        given = response.minimum_period
        if given is None:
            return before
        if self.period_max is not None:
            given = min(given, self.period_max)
        match self.period_use:
            case PeriodUse.ALL:
                return given
            case PeriodUse.WITHOUT_WAIT:
                return given if response.request_time == response.current_time else before
            case PeriodUse.RAISED:
                return max(given, before)
            case _:
                assert_never(self.period_use)

    def blocks_per_checkpoint(self, size_bytes: int) -> int | None:
        """None: the offset is remembered at each flash sector."""
        return None if self.checkpoint_bytes is None else size_bytes // self.checkpoint_bytes + 1

    # ZCL8 table 11-15: a current time of 0 makes the other time an offset. Otherwise both are UTC: a client that knows
    # the time (`clock`, ZigBee seconds) takes the absolute value, one that does not takes the difference.

    def until_upgrade(self, response: UpgradeEndResponse, clock: int | None) -> float:
        """Seconds to an upgrade time that is one (not 0xFFFFFFFF)."""
        current, upgrade = response.current_time, response.upgrade_time
        if clock is None and self.unset_clock_is_zero:
            clock = 0
        wait = float(upgrade - (clock if current and clock is not None else current))
        if upgrade < current and self.past_time is PastTime.WRAPS:
            wait += _U32 + 1
        wait = self._timer(max(wait, 0.0))
        if self.countdown_max_s is not None:
            wait = min(wait, self.countdown_max_s)
        return max(wait, self.countdown_min_s)

    def until_data(self, response: WaitForData, clock: int | None) -> float:
        """Seconds until the same block is asked for again, without the period."""
        if self.wait_ignored:
            return 0.0
        wait = float(response.request_time - response.current_time)
        if wait < 0:
            underflow = self.wait_for_data_underflow_s
            wait = wait + _U32 + 1 if underflow is None else underflow
        elif response.current_time and clock is not None:
            wait = float(max(response.request_time - clock, 0))
        return self._timer(wait if self.wait_for_data_max_s is None else min(wait, self.wait_for_data_max_s))

    def _timer(self, wait_s: float) -> float:
        return (int(wait_s * 1000) & _U32) / 1000 if self.ms_in_u32 else wait_s
