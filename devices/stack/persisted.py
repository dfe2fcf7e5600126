"""What a stack has in flash, as plain JSON values that a state file can hold.

Keys are hex. An APS counter is stored rounded up, so that whoever starts from it uses no value twice; the counter of
NWK frames lies ahead of its use anyway (`FrameCounter`). How far neighbours have counted NWK frames is not stored: the
tables of neighbours are RAM, and after a power cut the first frame of each is believed (our choice).
"""

from dataclasses import dataclass, field
from typing import Any, Self

from devices.stack.interface import Eui64, LinkKey, Neighbour, NetworkState, NwkAddress

Persisted = dict[str, Any]
"""A JSON object. Reading one back raises KeyError, TypeError or ValueError where it is not as it was written."""

APS_COUNTER_STEP = 1024  # our choice: one write for so many frames
_OFF_NETWORK = NwkAddress(0xFFFF)


def counter_ahead(next_value: int) -> int:
    """At or above `next_value`; a value that was stored stays what it is."""
    return -(-next_value // APS_COUNTER_STEP) * APS_COUNTER_STEP


def key_octets(text: str) -> bytes:
    octets = bytes.fromhex(text)
    if len(octets) != 16:
        raise ValueError("a key has 16 octets")
    return octets


def link_key_to_json(key: LinkKey) -> Persisted:
    return {"key": key.key.hex(), "outgoing": key.outgoing_counter, "incoming": key.incoming_counter}


def link_key_from_json(stored: Persisted) -> LinkKey:
    return LinkKey(key_octets(stored["key"]), int(stored["outgoing"]), int(stored["incoming"]))


def network_to_json(network: NetworkState) -> Persisted:
    return {
        "channel": network.channel,
        "pan_id": network.pan_id,
        "extended_pan_id": network.extended_pan_id,
        "key": network.network_key.hex(),
        "key_sequence": network.network_key_sequence,
        "frame_counter": network.network_frame_counter,
        "manager": network.manager,
        "update_id": network.update_id,
        "children": [
            [child.ieee, child.address, child.receiver_on_when_idle, child.is_router, child.timeout_s, child.via]
            for child in network.children.values()
        ],
    }


def network_from_json(stored: Persisted) -> NetworkState:
    children = {}
    for ieee, address, receiver_on_when_idle, is_router, timeout_s, via in stored["children"]:
        children[Eui64(ieee)] = Neighbour(
            Eui64(ieee), NwkAddress(address), receiver_on_when_idle, is_router, timeout_s, via=via
        )
    return NetworkState(
        channel=int(stored["channel"]),
        pan_id=int(stored["pan_id"]),
        extended_pan_id=int(stored["extended_pan_id"]),
        network_key=key_octets(stored["key"]),
        network_key_sequence=int(stored["key_sequence"]),
        network_frame_counter=int(stored["frame_counter"]),
        manager=NwkAddress(stored["manager"]),
        update_id=int(stored["update_id"]),
        children=children,
    )


_NUMBERS = (
    *("channel", "pan_id", "extended_pan_id", "address"),
    *("network_key_sequence", "network_frame_counter", "transport_key_counter"),
)


@dataclass(slots=True)
class DeviceState:
    """What an end device has in flash. Frame counters are written ahead: a restart from this never repeats one."""

    link_key: LinkKey = field(repr=False)
    channel: int = 0
    pan_id: int = 0
    extended_pan_id: int = 0
    address: NwkAddress = _OFF_NETWORK
    trust_centre: Eui64 | None = None
    network_key: bytes | None = field(default=None, repr=False)
    network_key_sequence: int = 0
    network_frame_counter: int = 0
    key_established: bool = False  # the link key is not the install code's any more
    transport_key_counter: int = -1  # the highest that was accepted

    def forget_network(self) -> None:
        """Leave: the link key and its counters stay, so do the counters that must not repeat."""
        self.address = _OFF_NETWORK
        self.trust_centre = None
        self.network_key = None

    def to_json(self) -> Persisted:
        return {
            **{name: getattr(self, name) for name in _NUMBERS},
            "link_key": link_key_to_json(self.link_key),
            "key_established": self.key_established,
            "trust_centre": self.trust_centre,
            "network_key": None if self.network_key is None else self.network_key.hex(),
        }

    @classmethod
    def from_json(cls, stored: Persisted) -> Self:
        trust_centre, key = stored["trust_centre"], stored["network_key"]
        numbers: dict[str, Any] = {name: int(stored[name]) for name in _NUMBERS}
        return cls(
            link_key_from_json(stored["link_key"]),
            trust_centre=None if trust_centre is None else Eui64(int(trust_centre)),
            network_key=None if key is None else key_octets(key),
            key_established=bool(stored["key_established"]),
            **numbers,
        )
