"""What an emulated device tells the bench about itself. Nothing in a device depends on who listens."""

from dataclasses import dataclass
from typing import Protocol

from devices.stack.interface import Eui64, NwkAddress


@dataclass(frozen=True, slots=True)
class NodeEvent:
    """One thing that happened; its subclasses are all the events, and their names what the event log calls them."""


@dataclass(frozen=True, slots=True)
class Joined(NodeEvent):
    address: NwkAddress
    rejoined: bool


@dataclass(frozen=True, slots=True)
class JoinFailed(NodeEvent):
    reason: str


@dataclass(frozen=True, slots=True)
class Left(NodeEvent):
    pass


@dataclass(frozen=True, slots=True)
class KeyEstablished(NodeEvent):
    """The device has a link key by certificate, and uses it from here on."""

    suite: int


@dataclass(frozen=True, slots=True)
class KeyEstablishmentFailed(NodeEvent):
    """It starts again after a while. `status` as in Terminate, 0 where there was none."""

    reason: str
    status: int
    by_hub: bool  # who refused


@dataclass(frozen=True, slots=True)
class ServerFound(NodeEvent):
    """The OTA server, by Match Descriptor."""

    endpoint: int


@dataclass(frozen=True, slots=True)
class DownloadStarted(NodeEvent):
    file_version: int
    size_bytes: int
    offset_bytes: int  # above 0 when it goes on where it was


@dataclass(frozen=True, slots=True)
class DownloadProgress(NodeEvent):
    offset_bytes: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class DownloadComplete(NodeEvent):
    file_version: int
    size_bytes: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class DownloadFailed(NodeEvent):
    reason: str
    status: int  # as sent in Upgrade End, or as received


@dataclass(frozen=True, slots=True)
class Held(NodeEvent):
    """Told to wait (0xFFFFFFFF); asks again after `reask_s`, where it does."""

    reask_s: float | None


@dataclass(frozen=True, slots=True)
class ActivationDue(NodeEvent):
    in_s: float


@dataclass(frozen=True, slots=True)
class Cancelled(NodeEvent):
    status: int


@dataclass(frozen=True, slots=True)
class Activating(NodeEvent):
    file_version: int
    by_itself: bool  # without having been told to


@dataclass(frozen=True, slots=True)
class Booted(NodeEvent):
    file_version: int
    bank: str
    rolled_back: bool


@dataclass(frozen=True, slots=True)
class PowerLost(NodeEvent):
    """In the middle of a flash operation."""


@dataclass(frozen=True, slots=True)
class TunnelOpened(NodeEvent):
    tunnel_id: int


@dataclass(frozen=True, slots=True)
class AlertMade(NodeEvent):
    counter: int
    success: bool
    message: bytes


@dataclass(frozen=True, slots=True)
class AlertSent(NodeEvent):
    attempt: int


@dataclass(frozen=True, slots=True)
class AlertTaken(NodeEvent):
    message: bytes


@dataclass(frozen=True, slots=True)
class MessageReceived(NodeEvent):
    """A GBCS message for this device, out of its tunnel."""

    message: bytes


@dataclass(frozen=True, slots=True)
class MessageMade(NodeEvent):
    """A signed or MACed message of this use case is in the outbox."""

    use_case: str
    message: bytes


@dataclass(frozen=True, slots=True)
class CommandRefused(NodeEvent):
    """A command that is not obeyed, and not answered."""

    reason: str


@dataclass(frozen=True, slots=True)
class ActivationScheduled(NodeEvent):
    """By a future-dated CS06; None where one took the appointment back."""

    utc_s: int | None


@dataclass(frozen=True, slots=True)
class UnsecuredRefused(NodeEvent):
    """A frame without APS security on a cluster that demands it."""

    cluster: int
    total: int


class NodeListener(Protocol):
    def happened(self, eui64: Eui64, event: NodeEvent) -> None: ...
