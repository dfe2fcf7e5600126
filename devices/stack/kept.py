"""What a stack has in flash, as plain JSON values that a state file can hold.

Keys are hex. An APS counter is kept rounded up, so that whoever starts from it uses no value twice; the counter of
NWK frames lies ahead of its use anyway (counters.py). How far neighbours have counted NWK frames is not kept: the
tables of neighbours are RAM, and after a power cut the first frame of each is believed (our choice).
"""

from typing import Any

from devices.stack.interface import Child, Eui64, LinkKey, NetworkState, NwkAddress

Kept = dict[str, Any]
"""A JSON object. Reading one back raises KeyError, TypeError or ValueError where it is not as it was written."""

APS_COUNTER_STEP = 1024


def counter_ahead(next_value: int) -> int:
    """At or above `next_value`; a value that was kept stays what it is."""
    return -(-next_value // APS_COUNTER_STEP) * APS_COUNTER_STEP


def key_octets(text: str) -> bytes:
    octets = bytes.fromhex(text)
    if len(octets) != 16:
        raise ValueError("a key has 16 octets")
    return octets


def keep_link_key(key: LinkKey) -> Kept:
    return {"key": key.key.hex(), "outgoing": key.outgoing_counter, "incoming": key.incoming_counter}


def link_key_from(kept: Kept) -> LinkKey:
    return LinkKey(key_octets(kept["key"]), int(kept["outgoing"]), int(kept["incoming"]))


def keep_network(network: NetworkState) -> Kept:
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
            [child.ieee, child.address, child.receiver_on_when_idle, child.is_router, child.timeout_s]
            for child in network.children.values()
        ],
    }


def network_from(kept: Kept) -> NetworkState:
    children = {}
    for ieee, address, receiver_on_when_idle, is_router, timeout_s in kept["children"]:
        children[Eui64(ieee)] = Child(Eui64(ieee), NwkAddress(address), receiver_on_when_idle, is_router, timeout_s)
    return NetworkState(
        channel=int(kept["channel"]),
        pan_id=int(kept["pan_id"]),
        extended_pan_id=int(kept["extended_pan_id"]),
        network_key=key_octets(kept["key"]),
        network_key_sequence=int(kept["key_sequence"]),
        network_frame_counter=int(kept["frame_counter"]),
        manager=NwkAddress(kept["manager"]),
        update_id=int(kept["update_id"]),
        children=children,
    )
