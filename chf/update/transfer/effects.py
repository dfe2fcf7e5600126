"""What the OTA server wants done, in the order in which it wants it done.

A shell does three things with a tuple of effects: everything that is not a `Send` is written in one transaction; then
the `Send`s go to the radio; then it tells `OtaServer.delivered` what became of each. So a message never says what the
store does not know, and an event is never lost between the record and its consequences.
"""

from dataclasses import dataclass
from enum import Enum

from chf.clock import UtcSeconds
from chf.eui64 import Eui64
from chf.update.model import SessionRecord, TransferOutcome
from chf.update.transfer.transitions import State


class Urgency(Enum):
    """Which of two waiting messages leaves first; the names are the radio's."""

    URGENT = 0  # a device acts on its own unless it hears this soon
    NORMAL = 1
    BULK = 2


class Token(Enum):
    """What a message was, for `OtaServer.delivered`."""

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
    ACTIVATION_REFUSED = "activation refused"
    NOT_ACTIVATED = "not activated"
    ACTIVATED_AFTER_CANCEL = "activated after cancel"
    ACTIVATED_EARLY = "activated early"
    SECOND_SERVER = "second server"


@dataclass(frozen=True, slots=True)
class Persist:
    """Write the record; precedes every Send that reveals what it says."""

    peer: Eui64
    record: SessionRecord


@dataclass(frozen=True, slots=True)
class Send:
    """A whole ZCL frame of cluster 0x0019, with APS security. Not `acknowledged` are the blocks of a page."""

    peer: Eui64
    endpoint: int
    payload: bytes
    urgency: Urgency
    token: Token
    acknowledged: bool = True


@dataclass(frozen=True, slots=True)
class Progress:
    """Where the device's download stands; told a few times a second at most. It can go back: devices restart."""

    job: str
    peer: Eui64
    offset_bytes: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class StateChanged:
    """`old` is None for a new session."""

    job: str
    peer: Eui64
    old: State | None
    new: State
    detail: str


@dataclass(frozen=True, slots=True)
class TransferEnded:
    """Told at most once per session. A transfer that is cancelled or withdrawn counts as discarded."""

    job: str
    peer: Eui64
    outcome: TransferOutcome
    reason: str


@dataclass(frozen=True, slots=True)
class ActivationGiven:
    """A real time goes out to the device: from here on nobody can call it back."""

    job: str
    peer: Eui64
    at_utc: UtcSeconds


@dataclass(frozen=True, slots=True)
class VersionSeen:
    """A device named the version that it runs; the other fields are None where it did not name them."""

    peer: Eui64
    file_version: int
    manufacturer_code: int | None = None
    image_type: int | None = None
    hardware_version: int | None = None


@dataclass(frozen=True, slots=True)
class Alarm:
    peer: Eui64
    kind: AlarmKind
    text: str


Effect = Persist | Send | Progress | StateChanged | TransferEnded | ActivationGiven | VersionSeen | Alarm
Effects = tuple[Effect, ...]
