"""ZCL frames as a device reads and writes them: the header, the general commands that it needs, attribute values.

Cluster commands lie in `ota`, `tunneling` and `time_cluster`. Writing, reporting and discovery are not here: a device
answers them as unsupported.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from devices.wire.errors import MalformedFrameError

_LAYER = "ZCL"


class Status(IntEnum):
    """ZCL8 2.6.3."""

    SUCCESS = 0x00
    FAILURE = 0x01
    NOT_AUTHORIZED = 0x7E
    MALFORMED_COMMAND = 0x80
    UNSUP_CLUSTER_COMMAND = 0x81
    UNSUP_GENERAL_COMMAND = 0x82
    UNSUP_MANUF_CLUSTER_COMMAND = 0x83
    INVALID_FIELD = 0x85
    UNSUPPORTED_ATTRIBUTE = 0x86
    READ_ONLY = 0x88
    NOT_FOUND = 0x8B
    ABORT = 0x95
    INVALID_IMAGE = 0x96
    WAIT_FOR_DATA = 0x97
    NO_IMAGE_AVAILABLE = 0x98
    REQUIRE_MORE_IMAGE = 0x99
    UNSUPPORTED_CLUSTER = 0xC3


class General(IntEnum):
    """Commands of every cluster, ZCL8 table 2-3."""

    READ_ATTRIBUTES = 0x00
    READ_ATTRIBUTES_RESPONSE = 0x01
    DEFAULT_RESPONSE = 0x0B


# Frame control, ZCL8 2.4.1.1.
_CLUSTER_SPECIFIC = 0x01  # frame type, ZCL8 2.4.1.1.1
_MANUFACTURER_SPECIFIC = 0x04  # ZCL8 2.4.1.1
_FROM_SERVER = 0x08  # ZCL8 2.4.1.1
_NO_DEFAULT_RESPONSE = 0x10  # ZCL8 2.4.1.1

_MANUFACTURER = struct.Struct("<H")  # ZCL8 2.4.1
_HEADER_BYTES = 3  # without manufacturer code, ZCL8 2.4.1


class ZclFrame(NamedTuple):
    """One frame; `payload` is what follows the command id."""

    sequence: int
    command: int
    payload: bytes
    cluster_specific: bool = True
    from_server: bool = False
    disable_default_response: bool = False
    manufacturer: int | None = None

    @classmethod
    def from_bytes(cls, octets: bytes) -> ZclFrame:
        if len(octets) < _HEADER_BYTES:
            raise MalformedFrameError(_LAYER, "shorter than a header", len(octets))
        control = octets[0]
        if control & 0x02:  # frame types 2 and 3 are reserved
            raise MalformedFrameError(_LAYER, "reserved frame type", 0)
        at, manufacturer = 1, None
        if control & _MANUFACTURER_SPECIFIC:
            if len(octets) < _HEADER_BYTES + 2:
                raise MalformedFrameError(_LAYER, "shorter than a manufacturer-specific header", len(octets))
            (manufacturer,) = _MANUFACTURER.unpack_from(octets, 1)
            at = 3
        specific, from_server = bool(control & _CLUSTER_SPECIFIC), bool(control & _FROM_SERVER)
        quiet = bool(control & _NO_DEFAULT_RESPONSE)
        return cls(octets[at], octets[at + 1], octets[at + 2 :], specific, from_server, quiet, manufacturer)

    def to_bytes(self) -> bytes:
        control = (
            (_CLUSTER_SPECIFIC if self.cluster_specific else 0)
            | (_MANUFACTURER_SPECIFIC if self.manufacturer is not None else 0)
            | (_FROM_SERVER if self.from_server else 0)
            | (_NO_DEFAULT_RESPONSE if self.disable_default_response else 0)
        )
        manufacturer = b"" if self.manufacturer is None else _MANUFACTURER.pack(self.manufacturer)
        return bytes((control,)) + manufacturer + bytes((self.sequence, self.command)) + self.payload

    def default_response(self, status: int) -> ZclFrame:
        """The answer that says only how it went: the other direction, never answered itself (ZCL8 2.5.12)."""
        said, answers = bytes((self.command, status)), not self.from_server
        return ZclFrame(self.sequence, General.DEFAULT_RESPONSE, said, False, answers, True, self.manufacturer)


@dataclass(frozen=True, slots=True)
class DefaultResponse:
    command: int
    status: int

    @classmethod
    def from_bytes(cls, payload: bytes) -> DefaultResponse:
        if len(payload) < 2:
            raise MalformedFrameError("Default Response", "shorter than two octets", len(payload))
        return cls(payload[0], payload[1])

    def to_bytes(self) -> bytes:
        return bytes((self.command, self.status))


class DataType(IntEnum):
    """The types that occur here, ZCL8 table 2-12."""

    BOOLEAN = 0x10
    BITMAP8 = 0x18
    BITMAP16 = 0x19
    BITMAP32 = 0x1B
    UINT8 = 0x20
    UINT16 = 0x21
    UINT32 = 0x23
    INT8 = 0x28
    INT16 = 0x29
    INT32 = 0x2B
    ENUM8 = 0x30
    ENUM16 = 0x31
    CHARACTER_STRING = 0x42
    UTC_TIME = 0xE2
    EUI64 = 0xF0


_FIXED_BYTES = {
    DataType.BOOLEAN: 1,
    DataType.BITMAP8: 1,
    DataType.BITMAP16: 2,
    DataType.BITMAP32: 4,
    DataType.UINT8: 1,
    DataType.UINT16: 2,
    DataType.UINT32: 4,
    DataType.INT8: 1,
    DataType.INT16: 2,
    DataType.INT32: 4,
    DataType.ENUM8: 1,
    DataType.ENUM16: 2,
    DataType.UTC_TIME: 4,
    DataType.EUI64: 8,
}
_SIGNED = frozenset({DataType.INT8, DataType.INT16, DataType.INT32})


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute value; numbers are held as integers, strings as text."""

    identifier: int
    data_type: DataType
    value: int | str

    def value_bytes(self) -> bytes:
        if isinstance(self.value, str):
            text = self.value.encode()
            return bytes((len(text),)) + text
        return self.value.to_bytes(_FIXED_BYTES[self.data_type], "little", signed=self.data_type in _SIGNED)


def read_attributes(identifiers: tuple[int, ...]) -> bytes:
    """The payload of Read Attributes."""
    return struct.pack(f"<{len(identifiers)}H", *identifiers)


def parse_read_attributes(payload: bytes) -> tuple[int, ...]:
    if len(payload) % 2:
        raise MalformedFrameError("Read Attributes", "half an attribute id", len(payload) - 1)
    return struct.unpack(f"<{len(payload) // 2}H", payload)


def attribute_record(identifier: int, attribute: Attribute | None) -> bytes:
    """One record of Read Attributes Response; None is an attribute that the device does not have."""
    if attribute is None:
        return struct.pack("<HB", identifier, Status.UNSUPPORTED_ATTRIBUTE)
    return struct.pack("<HBB", identifier, Status.SUCCESS, attribute.data_type) + attribute.value_bytes()


def parse_read_attributes_response(payload: bytes) -> dict[int, int | str]:
    """What was read; attributes with another status than SUCCESS are left out.

    A value of a type that is unknown here ends the parse with an error: its length cannot be known.
    """
    values: dict[int, int | str] = {}
    at = 0
    while at < len(payload):
        if len(payload) - at < 3:
            raise MalformedFrameError("Read Attributes Response", "truncated record", at)
        identifier, status = struct.unpack_from("<HB", payload, at)
        at += 3
        if status != Status.SUCCESS:
            continue
        if at == len(payload):
            raise MalformedFrameError("Read Attributes Response", "no data type", at)
        values[identifier], at = _parse_value(payload[at], payload, at + 1)
    return values


def _parse_value(data_type: int, payload: bytes, at: int) -> tuple[int | str, int]:
    if data_type == DataType.CHARACTER_STRING:
        end = at + 1 + (payload[at] if at < len(payload) else 0)
        if at >= len(payload) or end > len(payload):
            raise MalformedFrameError("attribute value", "string runs past the end", at)
        return payload[at + 1 : end].decode(errors="replace"), end
    try:
        length = _FIXED_BYTES[DataType(data_type)]
    except ValueError:
        raise MalformedFrameError("attribute value", f"data type 0x{data_type:02X} is not known", at) from None
    if at + length > len(payload):
        raise MalformedFrameError("attribute value", "runs past the end", at)
    return int.from_bytes(payload[at : at + length], "little", signed=data_type in _SIGNED), at + length
