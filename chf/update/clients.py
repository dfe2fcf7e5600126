"""Classes of OTA client: what the stacks in the field do with a wait, a hold, a countdown and a power cut.

One row for each, and every figure as its stack was seen or read to behave. Where that is not known the row has the
value of `UNKNOWN`, the most cautious in every column, and its source says "cautious" of it. Which class a device is of
is found elsewhere; what follows from the class is decided in `chf.update.transfer`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class Resume(StrEnum):
    """Where a client goes on with a download after a power cut; the further down, the worse."""

    AT_OFFSET = "at the offset"  # that it stored last: nothing is fetched twice
    CHECKPOINT = "at a checkpoint"  # that it stored some blocks before
    FROM_START = "from the start"


class OnReboot(StrEnum):
    """What a client with the whole image does when it comes back before its time, unanswered or told "no image"; the
    further down, the worse.
    """

    ASKS = "asks"  # sends Upgrade End again: it can be told to wait again
    QUERIES = "queries"  # Query Next Image: it starts if it is offered what it has, so it is offered nothing
    ACTIVATES = "activates"  # nothing that a hub can say comes in time


@dataclass(frozen=True, slots=True)
class ClientClass:
    """`commit_window_s`: a real activation time is given only when it is nearer than this.

    `hold_limit_s`: it activates by itself this long after the first "wait for a command"; None waits for ever.
    `honours_wait`: it keeps quiet for as long as WAIT_FOR_DATA says. `answer_limit_s`: a block that is answered later
    than this counts as lost.
    """

    name: str
    title: str
    commit_window_s: float
    hold_limit_s: float | None
    honours_wait: bool
    answer_limit_s: float
    resume: Resume
    on_reboot: OnReboot
    source: str

    def can_hold(self, wait_s: float) -> bool:
        """Whether it can be trusted with the whole image for that long before its time."""
        if self.on_reboot is OnReboot.ACTIVATES:
            return False
        return self.hold_limit_s is None or wait_s < self.hold_limit_s

    def within(self, other: "ClientClass") -> "ClientClass":
        """This class with the more cautious value of both in every column."""
        holds = [row.hold_limit_s for row in (self, other) if row.hold_limit_s is not None]
        return replace(
            self,
            commit_window_s=min(self.commit_window_s, other.commit_window_s),
            hold_limit_s=min(holds, default=None),
            honours_wait=self.honours_wait and other.honours_wait,
            answer_limit_s=min(self.answer_limit_s, other.answer_limit_s),
            resume=max(self.resume, other.resume, key=list(Resume).index),
            on_reboot=max(self.on_reboot, other.on_reboot, key=list(OnReboot).index),
        )


_WINDOW_S: Final = 20.0
"""Telink's client with real power cuts: at 60 s one of the tried cuts activated early, at 20 s none (measured)."""
_HOLD_S: Final = 3600.0
"""Shorter than the shortest limit of a known client, Telink's two hours (our choice)."""
_ANSWER_S: Final = 3.0
"""The shortest time-out of a known client, Silicon Labs' (read in its source)."""

UNKNOWN: Final = ClientClass(
    "unknown",
    "unknown",
    _WINDOW_S,
    _HOLD_S,
    honours_wait=True,  # until it is seen not to
    answer_limit_s=_ANSWER_S,
    resume=Resume.FROM_START,
    on_reboot=OnReboot.ACTIVATES,
    source="our choice: in every column the most cautious of all",
)

_ROWS: Final = (
    ClientClass(
        "silicon-labs",
        "Silicon Labs (EmberZNet)",
        3300.0,  # it cuts a countdown to 3600 s and then activates; the rest is room for a late answer
        None,  # asks again each hour; ten questions unanswered in a row, and it activates
        honours_wait=True,
        answer_limit_s=3.0,
        resume=Resume.AT_OFFSET,
        on_reboot=OnReboot.ASKS,
        source="OTA client plugins of EmberZNet and SiSDK, read",
    ),
    ClientClass(
        "telink",
        "Telink",
        _WINDOW_S,
        7200.0,
        honours_wait=True,
        answer_limit_s=5.0,
        resume=Resume.CHECKPOINT,
        on_reboot=OnReboot.QUERIES,
        source="ota.c of the Zigbee SDK, run",
    ),
    ClientClass(
        "ti",
        "Texas Instruments (Z-Stack)",
        _WINDOW_S,  # cautious
        10_800.0,  # later holds are ignored
        honours_wait=True,
        answer_limit_s=5.0,
        resume=Resume.FROM_START,
        on_reboot=OnReboot.QUERIES,
        source="zcl_ota.c of Z-Stack 3.0.0, read; window: not known, cautious",
    ),
    ClientClass(
        "nxp",
        "NXP (JN51xx)",
        _WINDOW_S,  # cautious
        None,  # asks again each hour
        honours_wait=True,
        answer_limit_s=5.0,
        resume=Resume.AT_OFFSET,
        on_reboot=OnReboot.ACTIVATES,  # cautious
        source="OTA_ClientUpgradeManager.c of JN-SW-4170, read; window and reboot in a hold: not known, cautious",
    ),
    ClientClass(
        "st",
        "ST (Exegin)",
        _WINDOW_S,  # cautious
        _HOLD_S,  # cautious: the application decides
        honours_wait=True,
        answer_limit_s=_ANSWER_S,  # cautious
        resume=Resume.FROM_START,
        on_reboot=OnReboot.ACTIVATES,  # cautious
        source="zcl.ota.c for STM32WB, read; window, hold, time-out and reboot in a hold: the application's, cautious",
    ),
    ClientClass(
        "microchip",
        "Microchip (BitCloud)",
        _WINDOW_S,  # cautious
        None,  # asks again each hour; four questions unanswered, and it activates
        honours_wait=False,  # asks again after MinimumBlockPeriod, at once where that is 0
        answer_limit_s=_ANSWER_S,  # cautious: four times what a delivery and the period take
        resume=Resume.AT_OFFSET,
        on_reboot=OnReboot.ACTIVATES,  # cautious
        source="zclOtauClient of WBZ451, read; window, time-out and reboot in a hold: not known, cautious",
    ),
    ClientClass(
        "nordic",
        "Nordic (ZBOSS)",
        _WINDOW_S,  # cautious
        _HOLD_S,  # cautious
        honours_wait=True,
        answer_limit_s=_ANSWER_S,  # cautious
        resume=Resume.FROM_START,
        on_reboot=OnReboot.ACTIVATES,
        source="zigbee_fota.c of sdk-nrf and its documentation, read; window, hold and time-out: not known, cautious",
    ),
    ClientClass(
        "esp-v1",
        "Espressif (esp-zigbee-sdk 1)",
        _WINDOW_S,  # cautious
        _HOLD_S,  # cautious
        honours_wait=True,
        answer_limit_s=5.0,
        resume=Resume.FROM_START,
        on_reboot=OnReboot.ACTIVATES,  # cautious
        source="issues of esp-zigbee-sdk (#833), read; window, hold and reboot in a hold: not known, cautious",
    ),
    ClientClass(
        "esp-v2",
        "Espressif (esp-zigbee-sdk 2)",
        _WINDOW_S,  # cautious
        _HOLD_S,  # cautious
        honours_wait=True,
        answer_limit_s=5.0,
        resume=Resume.FROM_START,  # cautious
        on_reboot=OnReboot.ACTIVATES,  # cautious
        source="documentation and issues of esp-zigbee-sdk, read; window, hold, resume and reboot: not known, cautious",
    ),
    UNKNOWN,
)

CLASSES: Final[Mapping[str, ClientClass]] = MappingProxyType({row.name: row for row in _ROWS})
