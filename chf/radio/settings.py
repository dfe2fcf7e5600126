"""Where a dongle is, how to talk to its port, and which network to form on it."""

from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from chf.errors import UsageError

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
