"""What the tunnel client wants done, in the order in which it wants it done."""

from dataclasses import dataclass

from chf.eui64 import Eui64


@dataclass(frozen=True, slots=True)
class DiscoverEndpoint:
    """Ask the device by ZDP Match_Desc (profile 0x0109, server cluster 0x0704); give `endpoints_found` the answer."""

    peer: Eui64


@dataclass(frozen=True, slots=True)
class Send:
    """A whole ZCL frame of cluster 0x0704, with APS security and acknowledgement."""

    peer: Eui64
    endpoint: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class TunnelRecord:
    """What is worth remembering of an open tunnel across a restart of the hub."""

    peer: Eui64
    endpoint: int
    tunnel_id: int
    maximum_transfer_size: int


@dataclass(frozen=True, slots=True)
class TunnelOpened:
    record: TunnelRecord


@dataclass(frozen=True, slots=True)
class TunnelLost:
    """Closed by either side, or found not to exist; the client asks for a new one by itself."""

    peer: Eui64
    reason: str


@dataclass(frozen=True, slots=True)
class ReplyToken:
    """Stands for one received message until `TunnelClient.accepted`; holds no state of the client."""

    peer: Eui64
    endpoint: int
    response: bytes | None
    """The Default Response, or None where the device wants none."""


@dataclass(frozen=True, slots=True)
class MessageReceived:
    """Octets from the device, unread. A device repeats what was not accepted: the same octets may come twice."""

    peer: Eui64
    data: bytes
    token: ReplyToken


@dataclass(frozen=True, slots=True)
class MessageDelivered:
    """The device took the message: its application said so, not only its radio."""

    peer: Eui64
    message_id: str


@dataclass(frozen=True, slots=True)
class MessageFailed:
    """The message will not be sent again; it may have arrived all the same."""

    peer: Eui64
    message_id: str
    reason: str
    expired: bool = False


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something that a person should know; nothing is ended by it."""

    peer: Eui64
    text: str


Effect = (
    DiscoverEndpoint | Send | TunnelOpened | TunnelLost | MessageReceived | MessageDelivered | MessageFailed | Alarm
)
Effects = tuple[Effect, ...]
