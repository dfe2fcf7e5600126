"""Attributes: typed values, Read Attributes and Report Attributes (ZCL8 2.5), and the answer of a read-only server.

Data types are those that clusters of a Communications Hub and of a PPMID use: integers up to 64 bits, booleans,
enumerations, bitmaps, times, addresses, short strings, and arrays of these. Structures, arrays of arrays and floating
point are not here, and a record that holds one ends the parse: nothing after it can be found.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import ClassVar, Self

from chf.errors import MalformedFrameError
from chf.zcl.frame import Frame, FrameType, Status, unpack


class DataType(IntEnum):
    """ZCL8 table 2-10."""

    BOOLEAN = 0x10
    BITMAP8 = 0x18
    BITMAP16 = 0x19
    BITMAP32 = 0x1B
    UINT8 = 0x20
    UINT16 = 0x21
    UINT24 = 0x22
    UINT32 = 0x23
    UINT48 = 0x25
    UINT64 = 0x27
    INT8 = 0x28
    INT16 = 0x29
    INT24 = 0x2A
    INT32 = 0x2B
    ENUM8 = 0x30
    ENUM16 = 0x31
    OCTET_STRING = 0x41
    CHARACTER_STRING = 0x42
    ARRAY = 0x48
    UTC_TIME = 0xE2
    CLUSTER_ID = 0xE8
    ATTRIBUTE_ID = 0xE9
    IEEE_ADDRESS = 0xF0


_SIZES = {
    DataType.BOOLEAN: 1,
    DataType.BITMAP8: 1,
    DataType.BITMAP16: 2,
    DataType.BITMAP32: 4,
    DataType.UINT8: 1,
    DataType.UINT16: 2,
    DataType.UINT24: 3,
    DataType.UINT32: 4,
    DataType.UINT48: 6,
    DataType.UINT64: 8,
    DataType.INT8: 1,
    DataType.INT16: 2,
    DataType.INT24: 3,
    DataType.INT32: 4,
    DataType.ENUM8: 1,
    DataType.ENUM16: 2,
    DataType.UTC_TIME: 4,
    DataType.CLUSTER_ID: 2,
    DataType.ATTRIBUTE_ID: 2,
    DataType.IEEE_ADDRESS: 8,
}
_SIGNED = frozenset({DataType.INT8, DataType.INT16, DataType.INT24, DataType.INT32})
_INVALID_STRING_LENGTH = 0xFF  # ZCL8 2.6.2.12: a string that is not there
_INVALID_ARRAY_LENGTH = 0xFFFF  # ZCL8 2.6.2.16: an array that is not there

_IDENTIFIER = Struct("<H")  # attribute identifier, ZCL8 2.5
_TYPE = Struct("<B")  # data type, ZCL8 2.6.2
_STATUS = Struct("<B")  # ZCL8 2.5
_COUNT = Struct("<H")  # elements of an array, ZCL8 2.6.2.16


def _data_type(octets: bytes, offset: int) -> DataType:
    (number,) = unpack(_TYPE, octets, offset, "data type")
    try:
        return DataType(number)
    except ValueError:
        reason = f"data type 0x{number:02X} is not one that this program reads"
        raise MalformedFrameError(reason, offset=offset) from None


@dataclass(frozen=True, slots=True)
class Elements:
    """What an array holds (ZCL8 2.6.2.16): its elements are all of one type, which is told even where there is none."""

    data_type: DataType
    contents: tuple[int | bytes | None, ...] | None  # None is the invalid array

    @classmethod
    def parse(cls, octets: bytes, offset: int) -> tuple[Self, int]:
        """The elements from their type octet on, and the offset behind them."""
        data_type = _data_type(octets, offset)
        if data_type is DataType.ARRAY:
            raise MalformedFrameError("an array of arrays is not one that this program reads", offset=offset)
        (count,) = unpack(_COUNT, octets, offset + 1, "number of elements")
        offset += 1 + _COUNT.size
        if count == _INVALID_ARRAY_LENGTH:
            return cls(data_type, None), offset
        contents: list[int | bytes | None] = []
        for _ in range(count):
            content, offset = _content(data_type, octets, offset)
            contents.append(content)
        return cls(data_type, tuple(contents)), offset

    def to_bytes(self) -> bytes:
        count = _INVALID_ARRAY_LENGTH if self.contents is None else len(self.contents)
        written = (_content_bytes(self.data_type, content) for content in self.contents or ())
        return bytes((self.data_type,)) + _COUNT.pack(count) + b"".join(written)


def _content(data_type: DataType, octets: bytes, offset: int) -> tuple[int | bytes | None, int]:
    """What a type other than an array holds at `offset`, and the offset behind it."""
    size = _SIZES.get(data_type)
    if size is None:
        (size,) = unpack(_TYPE, octets, offset, "string length")
        offset += 1
        if size == _INVALID_STRING_LENGTH:
            return None, offset
    content = octets[offset : offset + size]
    if len(content) < size:
        raise MalformedFrameError(f"{size} octets wanted, {len(content)} left", offset=offset, field="value")
    if data_type in _SIZES:
        return int.from_bytes(content, "little", signed=data_type in _SIGNED), offset + size
    return content, offset + size


def _content_bytes(data_type: DataType, content: int | bytes | None) -> bytes:
    if content is None:
        return bytes((_INVALID_STRING_LENGTH,))
    if isinstance(content, bytes):
        return bytes((len(content),)) + content
    return content.to_bytes(_SIZES[data_type], "little", signed=data_type in _SIGNED)


@dataclass(frozen=True, slots=True)
class Value:
    """A typed value; strings are octets, for a device decides what they hold. None is the invalid string."""

    data_type: DataType
    content: int | bytes | Elements | None

    @classmethod
    def parse(cls, octets: bytes, offset: int) -> tuple[Self, int]:
        """The value whose type octet stands at `offset`, and the offset behind it."""
        data_type = _data_type(octets, offset)
        content: int | bytes | Elements | None
        if data_type is DataType.ARRAY:
            content, offset = Elements.parse(octets, offset + 1)
        else:
            content, offset = _content(data_type, octets, offset + 1)
        return cls(data_type, content), offset

    def to_bytes(self) -> bytes:
        content = self.content
        written = content.to_bytes() if isinstance(content, Elements) else _content_bytes(self.data_type, content)
        return bytes((self.data_type,)) + written


@dataclass(frozen=True, slots=True)
class ReadAttributes:
    """ZCL8 2.5.1."""

    COMMAND: ClassVar[int] = 0x00

    identifiers: tuple[int, ...]

    @classmethod
    def from_bytes(cls, payload: bytes) -> Self:
        if len(payload) % _IDENTIFIER.size:
            raise MalformedFrameError("half an attribute identifier", offset=len(payload) - 1)
        return cls(tuple(identifier for (identifier,) in _IDENTIFIER.iter_unpack(payload)))

    def to_bytes(self) -> bytes:
        return b"".join(map(_IDENTIFIER.pack, self.identifiers))


@dataclass(frozen=True, slots=True)
class AttributeRecord:
    """One attribute of a response: its value, or None with the status that says why not."""

    identifier: int
    value: Value | None
    status: int = Status.SUCCESS


@dataclass(frozen=True, slots=True)
class ReadAttributesResponse:
    """ZCL8 2.5.2."""

    COMMAND: ClassVar[int] = 0x01

    records: tuple[AttributeRecord, ...]

    @classmethod
    def from_bytes(cls, payload: bytes) -> Self:
        records = []
        offset = 0
        while offset < len(payload):
            (identifier,) = unpack(_IDENTIFIER, payload, offset, "attribute identifier")
            (status,) = unpack(_STATUS, payload, offset + 2, "attribute status")
            offset += 3
            value = None
            if status == Status.SUCCESS:
                value, offset = Value.parse(payload, offset)
            records.append(AttributeRecord(identifier, value, status))
        return cls(tuple(records))

    def to_bytes(self) -> bytes:
        return b"".join(
            _IDENTIFIER.pack(record.identifier)
            + bytes((record.status,))
            + (record.value.to_bytes() if record.value is not None else b"")
            for record in self.records
        )


@dataclass(frozen=True, slots=True)
class ReportAttributes:
    """ZCL8 2.5.11."""

    COMMAND: ClassVar[int] = 0x0A

    values: tuple[tuple[int, Value], ...]

    @classmethod
    def from_bytes(cls, payload: bytes) -> Self:
        values = []
        offset = 0
        while offset < len(payload):
            (identifier,) = unpack(_IDENTIFIER, payload, offset, "attribute identifier")
            value, offset = Value.parse(payload, offset + 2)
            values.append((identifier, value))
        return cls(tuple(values))

    def to_bytes(self) -> bytes:
        return b"".join(_IDENTIFIER.pack(identifier) + value.to_bytes() for identifier, value in self.values)


def answer_from(attributes: Mapping[int, Value], frame: Frame) -> bytes | None:
    """What a server that has these attributes and no commands answers to `frame`; None for nothing.

    Raises MalformedFrameError for Read Attributes that cannot be read; `answer_read` turns that into an answer.
    """
    if (
        frame.to_client
        or frame.frame_type is not FrameType.GLOBAL
        or frame.command != ReadAttributes.COMMAND
        or frame.manufacturer_code is not None
    ):
        return frame.unsupported()
    records = tuple(
        AttributeRecord(identifier, attributes[identifier])
        if identifier in attributes
        else AttributeRecord(identifier, None, Status.UNSUPPORTED_ATTRIBUTE)
        for identifier in ReadAttributes.from_bytes(frame.payload).identifiers
    )
    return frame.reply(FrameType.GLOBAL, ReadAttributesResponse.COMMAND, ReadAttributesResponse(records).to_bytes())


def answer_read(attributes: Mapping[int, Value], octets: bytes) -> bytes | None:
    """`answer_from` for the octets of a whole frame, whatever they are: it never raises.

    Octets without a header get no answer, for there is nothing to answer to; a malformed read gets MALFORMED_COMMAND.
    """
    try:
        frame = Frame.from_bytes(octets)
    except MalformedFrameError:
        return None
    try:
        return answer_from(attributes, frame)
    except MalformedFrameError:
        return frame.default_response(Status.MALFORMED_COMMAND)
