"""Fragmented APS messages (Zigbee PRO 2.2.8.4.5): cutting, and putting together again.

The window is one block wide, so each block is acknowledged before the next one goes out: the smallest
apscMaxWindowSize, which every peer must take.
"""

from dataclasses import dataclass, field

from devices.stack.interface import Fragment, NwkAddress
from devices.wire.aps import EXTENDED_HEADER_BYTES, ApsFrame, ExtendedHeader, Fragmentation

MAX_BLOCKS = 255  # the count is one octet
ALL_RECEIVED = 0xFF  # bits beyond the window are set too

MessageKey = tuple[NwkAddress, int, int, int, int, int]


def message_key(source: NwkAddress, frame: ApsFrame) -> MessageKey:
    """What the blocks of one message have in common."""
    return (source, frame.counter, frame.source_endpoint, frame.destination_endpoint, frame.cluster, frame.profile)


def cut(payload: bytes, room: int) -> list[bytes]:
    """Blocks that each fit `room` octets, extended header included."""
    size = room - EXTENDED_HEADER_BYTES
    return [payload[at : at + size] for at in range(0, len(payload), size)]


def block_header(fragment: Fragment) -> ExtendedHeader:
    """The extended header of a block that is sent."""
    if fragment.index == 0:
        return ExtendedHeader(Fragmentation.FIRST, fragment.count)
    return ExtendedHeader(Fragmentation.PART, fragment.index)


def ack_header(index: int) -> ExtendedHeader:
    """The extended header that acknowledges one block."""
    return ExtendedHeader(Fragmentation.PART if index else Fragmentation.FIRST, index, ALL_RECEIVED)


def block_index(header: ExtendedHeader) -> int:
    """The place of an arriving block in its message."""
    return 0 if header.fragmentation is Fragmentation.FIRST else header.block


@dataclass(slots=True)
class Reassembly:
    """The blocks of one message so far."""

    count: int | None = None
    blocks: dict[int, bytes] = field(default_factory=dict)

    def add(self, header: ExtendedHeader, payload: bytes) -> bool:
        """Take a block; False where it contradicts what came before."""
        index = block_index(header)
        if index == 0:
            if self.count not in {None, header.block}:
                return False
            self.count = header.block
        if self.count is not None and any(have >= self.count for have in (index, *self.blocks)):
            return False
        return self.blocks.setdefault(index, payload) == payload

    def message(self) -> bytes | None:
        """The whole message once every block is there."""
        if self.count is None or len(self.blocks) < self.count:
            return None
        return b"".join(self.blocks[index] for index in range(self.count))
