"""What an update wants done, in the order of doing it: `Effect`, the one alphabet that leaves this core.

A shell does three things with a tuple of effects: everything that is not a `Send` is written in one transaction; then
the `Send`s go to the radio; then it tells `Delivered` for each of them. So a message never says what the store does not
know, and an event is never lost between a row and its consequences. `Persist` stands first, with the row as it is after
all of the rest.

`Action` is what the table of updates orders of a transfer, `Told` what a transfer says to its update: both stay in the
core, where `machine` hands them over in the same call.
"""

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from chf.eui64 import Eui64
from chf.image.image import ImageId
from chf.update.model import (
    ActivationGiven,
    TransferEnded,
    TransferOutcome,
    TransferRecord,
    TransferState,
    Update,
    UpdateEvent,
    UpdateId,
    VersionObserved,
)


class Urgency(Enum):
    """Which of two waiting messages leaves first; the names are the radio's."""

    URGENT = 0  # a device acts on its own unless it hears this soon
    NORMAL = 1
    BULK = 2


class Token(Enum):
    """What a message was, for `Delivered`."""

    ANSWER = "answer"
    NOTIFY = "notify"
    BLOCK = "block"
    HOLD = "hold"
    COMMIT = "commit"


class AlarmKind(Enum):
    """Things that a person should look at; none of them ends anything."""

    STALLED = "stalled"
    FLOOD = "flood"
    UNPROVEN_DOWNLOAD = "unproven download"
    HOLD_LIMIT = "hold limit"
    IGNORES_WAIT = "ignores wait"
    HAS_IMAGE = "has image"
    PART_NOT_SERVED = "part not served"
    PASSED = "appointment passed"
    MISSED = "appointment missed"
    ACTIVATION_REFUSED = "activation refused"
    NOT_ACTIVATED = "not activated"
    ACTIVATED_AFTER_CANCEL = "activated after cancel"
    ACTIVATED_EARLY = "activated early"
    SECOND_SERVER = "second server"
    OTHER_IMAGE_WANTED = "other image wanted"


@dataclass(frozen=True, slots=True)
class Persist:
    """Write the row; precedes every Send that reveals what it says."""

    update: Update


@dataclass(frozen=True, slots=True)
class Send:
    """A whole ZCL frame of cluster 0x0019, with APS security. Not `acknowledged` are most blocks (docs/adr/0018)."""

    peer: Eui64
    endpoint: int
    payload: bytes
    urgency: Urgency
    token: Token
    acknowledged: bool = True


@dataclass(frozen=True, slots=True)
class RaiseTransferAlert:
    """Make, sign and queue the Firmware Transfer Alert (GBCS CCS08). Exactly once for each update."""

    update: Update
    outcome: TransferOutcome


@dataclass(frozen=True, slots=True)
class Happened:
    """What happened to an update, for trace and report: the row before and after, which are equal for some events."""

    before: Update
    update: Update
    event: UpdateEvent


@dataclass(frozen=True, slots=True)
class Progress:
    """Where the device's download stands; told a few times a second at most. It can go back: devices restart."""

    update: UpdateId
    peer: Eui64
    offset_bytes: int
    size_bytes: int
    blocks: int


@dataclass(frozen=True, slots=True)
class VersionSeen:
    """A device told which version it runs, with or without an update; `activating` is what that was doing before."""

    peer: Eui64
    seen: VersionObserved
    activating: bool = False


@dataclass(frozen=True, slots=True)
class Alarm:
    """`update` is None for what concerns none."""

    peer: Eui64
    kind: AlarmKind
    text: str
    update: UpdateId | None = None


@dataclass(frozen=True, slots=True)
class LoadImage:
    """Read the image, check it and answer `ImageReady` or `ImageUnreadable`: its device is to be served."""

    update: UpdateId
    peer: Eui64
    image: ImageId


Effect: TypeAlias = Persist | Send | RaiseTransferAlert | Happened | Progress | VersionSeen | Alarm | LoadImage
Effects: TypeAlias = tuple[Effect, ...]


@dataclass(frozen=True, slots=True)
class Offer:
    """Have the image offered to the device; again with another activation if it is on offer already."""

    update: Update


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Have the offer taken back."""

    update: Update


@dataclass(frozen=True, slots=True)
class ReadVersion:
    """Read the running version (OTA attribute CurrentFileVersion) from the device, not before `after_s` from now."""

    update: Update
    after_s: float = 0.0


Action: TypeAlias = Offer | Withdraw | ReadVersion | RaiseTransferAlert
"""What the table of updates orders when a row has changed: the transfer carries out all but the alert."""


@dataclass(frozen=True, slots=True)
class TransferChanged:
    """What has to survive the process is another than before."""

    record: TransferRecord


@dataclass(frozen=True, slots=True)
class TransferMoved:
    """It is in another state, or begins; `reason` is why it failed."""

    new: TransferState
    reason: str = ""


Told: TypeAlias = (
    TransferChanged | TransferMoved | TransferEnded | ActivationGiven | VersionObserved | Send | Progress | Alarm
)
