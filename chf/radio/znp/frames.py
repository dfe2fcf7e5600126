"""The MT frames of the hub's messages, packed by hand: one that is sent, its fate, what comes in (Z-Stack 3.30 on).

Layouts of TI's Z-Stack Monitor and Test API. Everything else that the hub asks of a dongle goes through zigpy-znp's
tables, whose generic types are too slow for a frame per image block. A command is written `0x2401`: its type and
subsystem (CMD0), then its number (CMD1), as in the API's tables.
"""

import struct
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from chf.errors import MalformedFrameError
from chf.eui64 import Eui64
from chf.radio.outbox import Acceptance
from chf.zcl.frame import unpack

START = 0xFE  # MT API 2.1.1
MAXIMUM_DATA_BYTES = 250  # MT API 2.1.1: of one frame
_OVERHEAD_BYTES = 5  # start, length, command, check

PING = 0x2101  # MT API, SYS_PING
GET_DEVICE_INFO = 0x2700  # MT API, UTIL_GET_DEVICE_INFO
DATA_REQUEST = 0x2401  # MT API, AF_DATA_REQUEST
DATA_REQUEST_EXT = 0x2402  # MT API, AF_DATA_REQUEST_EXT
DATA_STORE = 0x2411  # MT API, AF_DATA_STORE
DATA_RETRIEVE = 0x2412  # MT API, AF_DATA_RETRIEVE
EXT_ROUTE_DISC = 0x2545  # MT API, ZDO_EXT_ROUTE_DISC
DATA_CONFIRM = 0x4480  # MT API, AF_DATA_CONFIRM
INCOMING_MSG = 0x4481  # MT API, AF_INCOMING_MSG
INCOMING_MSG_EXT = 0x4482  # MT API, AF_INCOMING_MSG_EXT
STATE_CHANGE_IND = 0x45C0  # MT API, ZDO_STATE_CHANGE_IND
LEAVE_IND = 0x45C9  # MT API, ZDO_LEAVE_IND
TC_DEVICE_IND = 0x45CA  # MT API, ZDO_TC_DEV_IND
ZDO_MSG_CB_INCOMING = 0x45FF  # MT API, ZDO_MSG_CB_INCOMING
RESET_IND = 0x4180  # MT API, SYS_RESET_IND
UNKNOWN_COMMAND = 0x6000  # MT API, RPC error: a code, and the command that the dongle does not know
RESPONSE = 0x4000  # MT API, command field: the bit in which a synchronous request and its response differ

OPTION_ACK = 0x10  # MT API 3.2.1.4
OPTION_SUPPRESS_ROUTE_DISCOVERY = 0x20  # MT API 3.2.1.4: on the way; the dongle itself still looks for a route
OPTION_SECURITY = 0x40  # MT API 3.2.1.4

MAXIMUM_PAYLOAD_BYTES = 230  # of a request in one frame, by either request; the longer header is 20 bytes
STORE_BYTES = 240  # of a long message in one frame, out and in (our choice; 247 would fit)
_RADIUS = 30  # Zigbee R22: twice nwkMaxDepth of ZigBee PRO
_BY_NWK_ADDRESS = 0x02  # MT API 3.2.1.5, addressing mode
STARTED_AS_COORDINATOR = 9  # TI ZDApp.h, devStates_t
_DEVICE_STATE_AT = 12  # MT API, UTIL_GET_DEVICE_INFO: after status, IEEE address, short address and type

# Nothing is wrong with the message, there is no room for it now
_FULL = frozenset({0x10, 0x11, 0x1A, 0xBB, 0xF1})  # TI ZComDef.h: memory, buffers, MAC resources, table, transactions

_REQUEST = struct.Struct("<HBBHBBBB")  # MT API, AF_DATA_REQUEST
_LONG_REQUEST = struct.Struct("<BQBHBHBBBH")  # MT API, AF_DATA_REQUEST_EXT
_STORE = struct.Struct("<HB")  # MT API, AF_DATA_STORE
_RETRIEVE = struct.Struct("<IHB")  # MT API, AF_DATA_RETRIEVE
_CONFIRM = struct.Struct("<BBB")  # MT API, AF_DATA_CONFIRM
_INCOMING = struct.Struct("<HHHBBBBBIBB")  # MT API, AF_INCOMING_MSG
_INCOMING_EXT = struct.Struct("<HHBQBHBBBBIBH")  # MT API, AF_INCOMING_MSG_EXT
_ZDO = struct.Struct("<HBHBBH")  # MT API, ZDO_MSG_CB_INCOMING
_JOINED = struct.Struct("<HQH")  # MT API, ZDO_TC_DEV_IND
_LEFT = struct.Struct("<HQBBB")  # MT API, ZDO_LEAVE_IND
assert (_REQUEST.size, _LONG_REQUEST.size, _INCOMING.size, _INCOMING_EXT.size) == (10, 20, 17, 27)
assert _LONG_REQUEST.size + MAXIMUM_PAYLOAD_BYTES == MAXIMUM_DATA_BYTES


class IncomingMessage(NamedTuple):
    """AF_INCOMING_MSG and AF_INCOMING_MSG_EXT. A `payload` of None is to be fetched: `length` bytes, by `timestamp`."""

    sender: int
    source_endpoint: int
    destination_endpoint: int
    cluster: int
    broadcast: bool
    lqi: int
    secured: bool
    timestamp: int
    length: int
    payload: bytes | None


@dataclass(frozen=True, slots=True)
class ZdoMessage:
    """ZDO_MSG_CB_INCOMING; `frame` is the ZDP frame, transaction first, which MT tells apart."""

    sender: int
    cluster: int
    frame: bytes


class Outcome(Enum):
    """What became of a message that was taken."""

    DELIVERED = "delivered"
    NOT_DELIVERED = "not delivered"
    NO_ROUTE = "no route"
    FULL = "full"
    REFUSED = "refused"


class DataConfirm(NamedTuple):
    tag: int
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class DeviceLeft:
    device: Eui64
    rejoins: bool


def exclusive_or(octets: bytes) -> int:
    """Of up to 256 octets, by halves: octet by octet takes several times as long."""
    number = int.from_bytes(octets, "big")
    for bits in (1024, 512, 256, 128, 64, 32, 16, 8):
        number ^= number >> bits
    return number & 0xFF


def frame(command: int, data: bytes) -> bytes:
    """2.1.1: the check is the exclusive or of everything between the start and itself."""
    body = bytes((len(data), command >> 8, command & 0xFF)) + data
    return b"\xfe" + body + bytes((exclusive_or(body),))


def whole_frame(octets: bytes) -> tuple[int, bytes] | None:
    """Command and data of what is one whole frame and nothing else; None where it is not."""
    size = len(octets)
    if size < _OVERHEAD_BYTES or octets[0] != START or octets[1] + _OVERHEAD_BYTES != size:
        return None
    if size > MAXIMUM_DATA_BYTES + _OVERHEAD_BYTES or exclusive_or(octets) != START:
        return None
    return octets[2] << 8 | octets[3], octets[4:-1]


def take_frame(buffer: bytearray) -> tuple[int, bytes] | None:
    """The first whole frame in what was received, as command and data; it is taken out, and so is noise before it."""
    while len(buffer) >= _OVERHEAD_BYTES:
        end = buffer[1] + _OVERHEAD_BYTES
        if buffer[0] == START and end <= MAXIMUM_DATA_BYTES + _OVERHEAD_BYTES:
            if len(buffer) < end:
                return None
            if (found := whole_frame(bytes(buffer[:end]))) is not None:
                del buffer[:end]
                return found
        drop_to_next_start(buffer)
    return None


def drop_to_next_start(buffer: bytearray) -> None:
    """What the buffer begins with is no frame; the next may begin at any later start."""
    start = buffer.find(START, 1)
    del buffer[: start if start > 0 else len(buffer)]


class Addressing(NamedTuple):
    """Of a message that is sent: its device and endpoints, what it is, and how it goes."""

    destination: int
    destination_endpoint: int
    source_endpoint: int
    cluster: int
    tag: int
    options: int


def data_request(addressing: Addressing, payload: bytes) -> bytes:
    return _REQUEST.pack(*addressing, _RADIUS, len(payload)) + payload


def long_data_request(addressing: Addressing, length: int) -> bytes:
    """AF_DATA_REQUEST_EXT of a message that does not fit it: the dongle then takes the message by AF_DATA_STORE."""
    destination, endpoint, *sender = addressing
    return _LONG_REQUEST.pack(_BY_NWK_ADDRESS, destination, endpoint, 0, *sender, _RADIUS, length)


def data_store(index: int, piece: bytes) -> bytes:
    """3.2.1.9; no piece at all sends what was stored."""
    return _STORE.pack(index, len(piece)) + piece


def data_retrieve(timestamp: int, index: int, length: int) -> bytes:
    """3.2.1.10; a length of 0 lets the dongle forget the message."""
    return _RETRIEVE.pack(timestamp, index, length)


def route_discovery(destination: int) -> bytes:
    """ZDO_EXT_ROUTE_DISC, to one device."""
    return struct.pack("<HBB", destination, 0, _RADIUS)


def retrieved(data: bytes) -> bytes | None:
    """The answer to AF_DATA_RETRIEVE: the piece, None where there is none."""
    if len(data) < 2 or data[0] or len(data) < 2 + data[1]:
        return None
    return data[2 : 2 + data[1]]


def acceptance(data: bytes | None) -> Acceptance:
    """The answer to a request; None is a command that the dongle does not know."""
    if not data:
        return Acceptance.REFUSED
    if data[0] == 0:
        return Acceptance.TAKEN
    return Acceptance.FULL if data[0] in _FULL else Acceptance.REFUSED


def data_confirm(data: bytes) -> DataConfirm:
    status, _, tag = unpack(_CONFIRM, data, 0, "AF_DATA_CONFIRM")
    return DataConfirm(tag, _OUTCOMES.get(status, Outcome.NOT_DELIVERED))


def incoming(data: bytes) -> IncomingMessage:
    _, cluster, sender, source, destination, broadcast, lqi, security, timestamp, _, length = unpack(
        _INCOMING, data, 0, "AF_INCOMING_MSG"
    )
    payload = data[_INCOMING.size : _INCOMING.size + length]
    if len(payload) != length:
        raise MalformedFrameError(f"{length} bytes announced, {len(payload)} there", field="AF_INCOMING_MSG")
    return IncomingMessage(
        sender, source, destination, cluster, bool(broadcast), lqi, bool(security), timestamp, length, payload
    )


def incoming_ext(data: bytes) -> IncomingMessage:
    """A message that does not fit the frame stays in the dongle (3.2.2.3); three octets follow all the same."""
    _, cluster, mode, address, source, _, destination, broadcast, lqi, security, timestamp, _, length = unpack(
        _INCOMING_EXT, data, 0, "AF_INCOMING_MSG_EXT"
    )
    if mode != _BY_NWK_ADDRESS:
        raise MalformedFrameError(f"sender by addressing mode {mode}", field="AF_INCOMING_MSG_EXT")
    payload = data[_INCOMING_EXT.size : _INCOMING_EXT.size + length]
    sender = address & 0xFFFF, source, destination, cluster
    whole = payload if len(payload) == length else None
    return IncomingMessage(*sender, bool(broadcast), lqi, bool(security), timestamp, length, whole)


def zdo_message(data: bytes) -> ZdoMessage:
    sender, _, cluster, _, transaction, _ = unpack(_ZDO, data, 0, "ZDO_MSG_CB_INCOMING")
    return ZdoMessage(sender, cluster, bytes((transaction,)) + data[_ZDO.size :])


def device_joined(data: bytes) -> tuple[int, Eui64]:
    network_address, device, _ = unpack(_JOINED, data, 0, "ZDO_TC_DEV_IND")
    return network_address, Eui64(device)


def device_left(data: bytes) -> DeviceLeft:
    _, device, _, _, rejoins = unpack(_LEFT, data, 0, "ZDO_LEAVE_IND")
    return DeviceLeft(Eui64(device), bool(rejoins))


_OUTCOMES = {  # TI ZComDef.h, status values
    0x00: Outcome.DELIVERED,
    0x02: Outcome.REFUSED,  # ZInvalidParameter
    0xA1: Outcome.REFUSED,  # ZSecNoKey
    0xC2: Outcome.REFUSED,  # ZNwkInvalidRequest
    0xCD: Outcome.NO_ROUTE,  # ZNwkNoRoute
    **dict.fromkeys(_FULL, Outcome.FULL),
}


def runs_as_coordinator(device_info: bytes) -> bool:
    """By the answer to GET_DEVICE_INFO: status, IEEE address, short address, type, state, children."""
    return len(device_info) > _DEVICE_STATE_AT and device_info[_DEVICE_STATE_AT] == STARTED_AS_COORDINATOR
