"""What a network co-processor and an emulated device need of the NWK/APS stack beneath them.

The stack is shared by both ends on purpose (it is one small implementation of the standard, checked by tshark from
outside); what is *not* shared is everything above it. It has no clock, no randomness and no I/O of its own: time comes
from the `Scheduler` of devices/time.py, chance from the scenario's seeded generator, frames from the medium.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple, NewType, Protocol

from cryptography.hazmat.primitives.ciphers.aead import AESCCM

from devices.wire.security import cipher_for

Eui64 = NewType("Eui64", int)
NwkAddress = NewType("NwkAddress", int)

COORDINATOR = NwkAddress(0x0000)
BROADCAST_ALL = NwkAddress(0xFFFF)
BROADCAST_RX_ON = NwkAddress(0xFFFD)
CHILD_TIMEOUT_S = 256 * 60.0  # nwkEndDeviceTimeoutDefault, Zigbee PRO r21 table 3.49; a child may ask for another

BROADCAST_ROUTERS = NwkAddress(0xFFFC)

SMART_ENERGY_PROFILE = 0x0109  # SE 1.4
HOME_AUTOMATION_PROFILE = 0x0104  # Home Automation 1.2
ZDP_PROFILE = 0x0000  # Zigbee PRO 2.4.1


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A simple descriptor (Zigbee PRO 2.3.2.5)."""

    number: int
    profile: int
    device: int
    device_version: int = 0
    server_clusters: tuple[int, ...] = ()
    client_clusters: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Fragment:
    """Place of one block in a fragmented APS message: `count` is known from block 0 on (Zigbee PRO 2.2.5.1.8)."""

    index: int
    count: int


class ApsStatus(Enum):
    SUCCESS = "success"
    NO_ACK = "no acknowledgement"  # APS retries are used up, or the MAC had none
    NO_LINK_KEY = "no link key for the destination"
    UNKNOWN_DESTINATION = "no such device"
    TOO_LONG = "longer than one frame"
    EXPIRED = "the sleepy child did not poll in time"  # MAC_TRANSACTION_EXPIRED
    NO_NETWORK = "not on a network"
    BUFFERS_FULL = "no buffer left"


class ApsRequest(NamedTuple):
    """APSDE-DATA.request. With `fragment` the caller cuts the message (as EZSP hosts do), else the stack does."""

    destination: NwkAddress
    profile: int
    cluster: int
    source_endpoint: int
    destination_endpoint: int
    payload: bytes
    acknowledged: bool = True
    secured: bool = False  # with the destination's APS link key
    group: int | None = None
    radius: int = 30
    fragment: Fragment | None = None
    counter: int | None = None  # the APS counter to use; None takes the next


class ApsIndication(NamedTuple):
    """APSDE-DATA.indication, after security, duplicates and (unless the host does it) reassembly."""

    source: NwkAddress
    source_ieee: Eui64 | None
    destination: NwkAddress  # as addressed: own address or a broadcast
    profile: int
    cluster: int
    source_endpoint: int
    destination_endpoint: int
    payload: bytes
    counter: int
    secured: bool
    group: int | None = None
    lqi: int = 255
    rssi: int = -40
    fragment: Fragment | None = None


Confirm = Callable[[ApsStatus], None]


@dataclass(slots=True)
class NetworkState:
    """What a coordinator keeps over a reset. Counters are written ahead of use so that a value is never used twice."""

    channel: int
    pan_id: int
    extended_pan_id: int
    network_key: bytes = field(repr=False)
    network_key_sequence: int = 0
    network_frame_counter: int = 0
    manager: NwkAddress = COORDINATOR
    update_id: int = 0
    children: dict[Eui64, "Neighbour"] = field(default_factory=dict)


@dataclass(slots=True)
class Neighbour:
    """Whom a node knows by both addresses: its child, its parent, or (`via`) another router's child."""

    ieee: Eui64
    address: NwkAddress
    receiver_on_when_idle: bool
    is_router: bool = False
    timeout_s: float = CHILD_TIMEOUT_S
    last_heard_s: float = field(default=0.0, compare=False)
    via: NwkAddress | None = None  # the router whose child it is; None: it is one hop away


@dataclass(slots=True)
class LinkKey:
    """An APS link key and its counters (apsDeviceKeyPairSet), and the cipher, which costs more to make than to use."""

    key: bytes = field(repr=False)
    outgoing_counter: int = 0
    incoming_counter: int = -1  # highest accepted; -1 before the first
    cipher: AESCCM = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self.cipher = cipher_for(self.key)


class LinkKeys(Protocol):
    """Where a coordinator finds a partner's link key: the co-processor's key tables, with their chip's rules."""

    def for_data(self, partner: Eui64) -> LinkKey | None:
        """The key that secures APS data to and from this device, None where there is none."""
        ...

    def for_join(self, partner: Eui64, *, rejoining: bool = False) -> LinkKey | None:
        """The preconfigured key under which this device gets the network key; None refuses the join, or the rejoin."""
        ...

    def offer(self, partner: Eui64) -> LinkKey | None:
        """The key that a device gets which asks for one of its own (Request-Key); None leaves it without an answer."""
        ...

    def accept(self, partner: Eui64, key: LinkKey) -> None:
        """The device has proved that it holds the offered key: it is the device's from now on."""
        ...


class JoinKind(Enum):
    ASSOCIATED = "unsecured join"
    REJOINED_SECURED = "secured rejoin"
    REJOINED_UNSECURED = "unsecured rejoin"


class NodeListener(Protocol):
    """What either end tells whoever is above it; plain calls in the order of the air."""

    def message_received(self, indication: ApsIndication) -> None:
        """Data, and ZDP other than what the stack answers itself; broadcasts too."""
        ...


class CoordinatorListener(NodeListener, Protocol):
    """What the stack tells the co-processor."""

    def network_up(self) -> None: ...
    def network_down(self) -> None: ...
    def device_joined(self, ieee: Eui64, address: NwkAddress, kind: JoinKind) -> None: ...
    def join_refused(self, ieee: Eui64, reason: str, kind: JoinKind) -> None: ...
    def device_left(self, ieee: Eui64, address: NwkAddress) -> None: ...
    def child_gone(self, ieee: Eui64, address: NwkAddress) -> None:
        """The coordinator is about to drop a child: it left, was refused, or was silent for longer than it may be."""
        ...


class DeviceListener(NodeListener, Protocol):
    """What the stack tells the application of an emulated device."""

    def joined(self, address: NwkAddress, *, rejoined: bool) -> None: ...
    def left(self) -> None: ...
    def join_failed(self, reason: str) -> None: ...


class DeviceStack(Protocol):
    """What an end device offers to the application above: joining, rejoining and polling are behind it."""

    ieee: Eui64
    address: NwkAddress  # 0xFFFF while off the network
    endpoints: dict[int, Endpoint]
    joined: bool

    def send(self, request: ApsRequest, confirm: Confirm | None = None) -> int:
        """Send; returns the APS counter used. `confirm` is called exactly once, never from within `send`.

        Except that what is under way at a reset (`stop`, `power_off`) is forgotten: its confirm is never called.
        An unacknowledged message is confirmed when the MAC is done with it.
        """
        ...

    def maximum_payload(self, *, secured: bool) -> int:
        """Bytes of APS payload that fit one frame: 82, 73 with a link key (Zigbee PRO: 127 less every header)."""
        ...

    def retained(self) -> dict[str, Any]:
        """What flash holds of the network and its keys, as JSON."""
        ...

    def restore(self, stored: dict[str, Any]) -> None:
        """Have that in flash, before `power_on`. Raises KeyError, TypeError or ValueError for what makes no sense."""
        ...

    @property
    def key_established(self) -> bool:
        """Whether the link key came of key establishment. Kept over reboots, until the device joins anew."""
        ...

    def establish_link_key(self, key: bytes) -> None:
        """Take this in place of the install code's link key, or of one established before."""
        ...

    def join(self) -> None:
        """Scan, associate, wait for the network key under the install code's key-transport key, announce.

        Tries again at growing intervals until it works or `power_off`.
        """
        ...

    def power_off(self) -> None:
        """Silence at once; what flash holds (network, keys, counters) is in `persistent_state`."""
        ...

    def power_on(self) -> None:
        """Boot: rejoin with the stored network, or `join` where there is none."""
        ...

    def set_poll_interval(self, seconds: float | None) -> None:
        """A sleepy child polls its parent at this interval; None keeps the receiver on."""
        ...

    def match_descriptor(
        self, profile: int, server_clusters: tuple[int, ...], answer: Callable[[tuple[int, ...]], None]
    ) -> None:
        """Match_Desc_req to the coordinator; () when nothing matches or nobody answers."""
        ...
