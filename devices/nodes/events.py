"""What an emulated device tells the bench about itself. Nothing in a device depends on who listens."""

from dataclasses import dataclass
from typing import Protocol

from devices.stack.interface import Eui64, NwkAddress


@dataclass(frozen=True, slots=True)
class Joined:
    address: NwkAddress
    rejoined: bool


@dataclass(frozen=True, slots=True)
class JoinFailed:
    reason: str


@dataclass(frozen=True, slots=True)
class Left:
    pass


@dataclass(frozen=True, slots=True)
class KeyEstablished:
    """The device has a link key by certificate, and uses it from here on."""

    suite: int


@dataclass(frozen=True, slots=True)
class KeyEstablishmentFailed:
    """It starts again after a while. `status` as in Terminate, 0 where there was none."""

    reason: str
    status: int
    by_hub: bool  # who refused


@dataclass(frozen=True, slots=True)
class ServerFound:
    """The OTA server, by Match Descriptor."""

    endpoint: int


@dataclass(frozen=True, slots=True)
class DownloadStarted:
    file_version: int
    size_bytes: int
    offset_bytes: int  # above 0 when it goes on where it was


@dataclass(frozen=True, slots=True)
class DownloadProgress:
    offset_bytes: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class DownloadComplete:
    file_version: int
    size_bytes: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class DownloadFailed:
    reason: str
    status: int  # as sent in Upgrade End, or as received


@dataclass(frozen=True, slots=True)
class Held:
    """Told to wait (0xFFFFFFFF); asks again after `reask_s`, where it does."""

    reask_s: float | None


@dataclass(frozen=True, slots=True)
class ActivationDue:
    in_s: float


@dataclass(frozen=True, slots=True)
class Cancelled:
    status: int


@dataclass(frozen=True, slots=True)
class Activating:
    file_version: int
    by_itself: bool  # without having been told to


@dataclass(frozen=True, slots=True)
class Booted:
    file_version: int
    bank: str
    rolled_back: bool


@dataclass(frozen=True, slots=True)
class PowerLost:
    """In the middle of a flash operation."""


@dataclass(frozen=True, slots=True)
class TunnelOpened:
    tunnel_id: int


@dataclass(frozen=True, slots=True)
class AlertMade:
    counter: int
    success: bool
    message: bytes


@dataclass(frozen=True, slots=True)
class AlertSent:
    attempt: int


@dataclass(frozen=True, slots=True)
class AlertTaken:
    message: bytes


@dataclass(frozen=True, slots=True)
class MessageReceived:
    """A GBCS message for this device, out of its tunnel."""

    message: bytes


@dataclass(frozen=True, slots=True)
class MessageMade:
    """A signed or MACed message of this use case is in the outbox."""

    use_case: str
    message: bytes


@dataclass(frozen=True, slots=True)
class CommandRefused:
    """A command that is not obeyed, and not answered."""

    reason: str


@dataclass(frozen=True, slots=True)
class ActivationScheduled:
    """By a future-dated CS06; None where one took the appointment back."""

    utc_s: int | None


@dataclass(frozen=True, slots=True)
class UnsecuredRefused:
    """A frame without APS security on a cluster that demands it."""

    cluster: int
    total: int


NodeEvent = (
    Joined
    | JoinFailed
    | Left
    | KeyEstablished
    | KeyEstablishmentFailed
    | ServerFound
    | DownloadStarted
    | DownloadProgress
    | DownloadComplete
    | DownloadFailed
    | Held
    | ActivationDue
    | Cancelled
    | Activating
    | Booted
    | PowerLost
    | TunnelOpened
    | AlertMade
    | AlertSent
    | AlertTaken
    | MessageReceived
    | MessageMade
    | CommandRefused
    | ActivationScheduled
    | UnsecuredRefused
)


class NodeListener(Protocol):
    def happened(self, eui64: Eui64, event: NodeEvent) -> None: ...
