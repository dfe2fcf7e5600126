"""Where a dongle is, and what a session needs of one of any kind: the commands, as against the messages.

`ezsp/dongle.py` and `znp/dongle.py` implement it, each by way of its library.
"""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

from chf.errors import UsageError
from chf.eui64 import Eui64
from chf.radio.interface import RadioInfo, SecurityReport
from chf.radio.traffic import Surroundings, Traffic

FlowControl = Literal["hardware", "software"]


@dataclass(frozen=True, slots=True)
class DongleSettings:
    """`port`: a device path (take /dev/serial/by-id/...), or tcp://host:port. The rest has defaults that fit most."""

    port: str
    baudrate: int = 115_200
    flow_control: FlowControl | None = None
    channel: int | None = 15  # of a network that is formed; None scans for a quiet one
    pan_id: int | None = None  # of a network that is formed; None picks one

    def __post_init__(self) -> None:
        if not self.port or ("://" in self.port and not _is_address(self.port)):
            raise UsageError(
                f"{self.port!r} is not a port: write a device path such as /dev/ttyACM0, or tcp://host:port"
            )


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname and parts.port)
    except ValueError:
        return False


class DongleEvents(Protocol):
    """What the dongle says by itself, but for messages."""

    def joined(self, device: Eui64, network_address: int, *, rejoined: bool | None) -> None:
        """`rejoined` None: this dongle does not say."""
        ...

    def left(self, device: Eui64) -> None: ...
    def link_lost(self, reason: str) -> None: ...


class Link(Protocol):
    """One opened port. Every call may raise an error of its library, which the radio's `Kind` knows to tell."""

    longest_permit_s: int

    async def connect(self) -> None: ...
    async def describe(self) -> RadioInfo:
        """Who answers, and with which network; changes nothing. After `connect` and before `bring_up`."""
        ...

    async def describe_security(self) -> SecurityReport:
        """What it says of keys and certificates. Leaves its tables as they were."""
        ...

    def traffic(self, around: Surroundings) -> Traffic[Any]:
        """The messages on this link, which `bring_up` opens."""
        ...

    async def bring_up(self, *, form: bool) -> RadioInfo: ...
    async def close(self) -> None: ...
    async def leave(self) -> None:
        """Leave the network and forget it with its keys. After `connect`, as are the three below."""
        ...

    async def backup(self) -> dict[str, Any]: ...
    async def check(self, backup: dict[str, Any]) -> None:
        """Whether `restore` can write it, found out without a change. Raises UsageError for what is no backup."""
        ...

    async def restore(self, backup: dict[str, Any]) -> RadioInfo: ...

    # While it serves

    def serve(self) -> Coroutine[Any, Any, None]:
        """Hand the dongle what there is to send, until the link fails."""
        ...

    def wake(self) -> None: ...
    @property
    def frames_received(self) -> int: ...
    async def address_of(self, device: Eui64) -> int | None:
        """As far as the dongle itself knows."""
        ...

    async def device_at(self, network_address: int) -> Eui64 | None: ...
    async def broadcast_zdp(self, cluster: int, frame: bytes) -> None: ...
    async def extend_timeout(self, device: Eui64, network_address: int) -> None: ...
    async def install_link_key(self, device: Eui64, link_key: bytes) -> None:
        """Let the device join with this key, and secure its data with it; a key that it had is replaced."""
        ...

    async def establish_link_key(
        self, device: Eui64, link_key: bytes, network_address: int | None, *, fresh: bool
    ) -> None:
        """Secure the data of a device that joined with this key. What the dongle has already is left as it is.

        `fresh`: it cannot have this key.
        """
        ...

    async def remove_link_key(self, device: Eui64) -> None: ...
    async def read_keys(self) -> tuple[tuple[str, str, bytes], ...]: ...
    async def invite_only(self, *, on: bool) -> None:
        """While joining is permitted: nobody joins but with a key that was installed."""
        ...

    async def permit(self, seconds: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of dongle, and how its library fails."""

    name: str  # for people: "an EZSP dongle"
    link: Callable[[DongleEvents], Link]
    losses: tuple[type[Exception], ...]  # the dongle is not there
    refusals: tuple[type[Exception], ...]  # it is, and will not
    unparsed: tuple[type[Exception], ...]  # its library cannot read what it holds; their text may hold keys
    loggers: tuple[tuple[str, int], ...]  # that write keys, and the level from which they do not
