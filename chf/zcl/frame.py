"""The ZCL frame: header, statuses, Default Response, and the rules of when one is due.

It knows no cluster and no attribute: `attributes` and the files named after clusters do.
"""

from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import Any, ClassVar, Self

from chf.errors import MalformedFrameError

# ZCL8 2.4.1.1: frame control, then sequence and command; manufacturer code in between where its bit is set
_HEADER = Struct("<BBB")
_HEADER_WITH_MANUFACTURER = Struct("<BHBB")  # ZCL8 2.4.1
assert _HEADER.size == 3
assert _HEADER_WITH_MANUFACTURER.size == 5

_TYPE_MASK = 0b11  # of the frame control field, ZCL8 2.4.1
_MANUFACTURER_SPECIFIC = 1 << 2  # ZCL8 2.4.1
_TO_CLIENT = 1 << 3  # ZCL8 2.4.1
_DISABLE_DEFAULT_RESPONSE = 1 << 4  # ZCL8 2.4.1


class FrameType(IntEnum):
    """ZCL8 2.4.1.1.1; 2 and 3 are reserved."""

    GLOBAL = 0
    CLUSTER = 1


class Status(IntEnum):
    """ZCL8 2.6.3, those that this program says or understands."""

    SUCCESS = 0x00
    FAILURE = 0x01
    NOT_AUTHORIZED = 0x7E
    MALFORMED_COMMAND = 0x80
    UNSUP_CLUSTER_COMMAND = 0x81
    UNSUP_GENERAL_COMMAND = 0x82
    UNSUP_MANUF_CLUSTER_COMMAND = 0x83
    UNSUP_MANUF_GENERAL_COMMAND = 0x84
    UNSUPPORTED_ATTRIBUTE = 0x86
    NOT_FOUND = 0x8B
    ABORT = 0x95
    INVALID_IMAGE = 0x96
    WAIT_FOR_DATA = 0x97
    NO_IMAGE_AVAILABLE = 0x98
    REQUIRE_MORE_IMAGE = 0x99


def status_name(status: int) -> str:
    """`NO_IMAGE_AVAILABLE (0x98)`, or the number alone where this program has no name for it."""
    try:
        return f"{Status(status).name} (0x{status:02X})"
    except ValueError:
        return f"status 0x{status:02X}"


def unpack(layout: Struct, octets: bytes, offset: int, field: str) -> tuple[Any, ...]:
    """Read one fixed layout; raises MalformedFrameError that says where the octets ended."""
    if offset + layout.size > len(octets):
        raise MalformedFrameError(
            f"{layout.size} octets wanted, {max(len(octets) - offset, 0)} left", offset=offset, field=field
        )
    return layout.unpack_from(octets, offset)


class Payload:
    """For slotted dataclasses: `LAYOUT` has their fields in their order. A last field that it lacks has the rest."""

    __slots__: tuple[str, ...] = ()
    LAYOUT: ClassVar[Struct]

    @classmethod
    def from_bytes(cls, payload: bytes) -> Self:
        values = unpack(cls.LAYOUT, payload, 0, cls.__name__)
        rest = (payload[cls.LAYOUT.size :],) if len(values) < len(cls.__slots__) else ()
        return cls(*values, *rest)

    def to_bytes(self) -> bytes:
        values = [getattr(self, name) for name in self.__slots__]
        rest = values.pop() if isinstance(values[-1], bytes) else b""
        return self.LAYOUT.pack(*values) + rest


@dataclass(frozen=True, slots=True)
class Frame:
    """One ZCL frame. `to_client` is the direction bit: set on what a server sends."""

    frame_type: FrameType
    command: int
    sequence: int
    payload: bytes = b""
    to_client: bool = False
    disable_default_response: bool = False
    manufacturer_code: int | None = None

    @classmethod
    def from_bytes(cls, octets: bytes) -> Self:
        """Raises MalformedFrameError for fewer octets than a header, and for a reserved frame type."""
        (control,) = unpack(_CONTROL, octets, 0, "frame control")
        manufacturer_code = None
        if control & _MANUFACTURER_SPECIFIC:
            _, manufacturer_code, sequence, command = unpack(_HEADER_WITH_MANUFACTURER, octets, 0, "header")
            payload = octets[_HEADER_WITH_MANUFACTURER.size :]
        else:
            _, sequence, command = unpack(_HEADER, octets, 0, "header")
            payload = octets[_HEADER.size :]
        if control & _TYPE_MASK not in (FrameType.GLOBAL, FrameType.CLUSTER):
            raise MalformedFrameError("reserved frame type", offset=0, field="frame control")
        to_client, quiet = bool(control & _TO_CLIENT), bool(control & _DISABLE_DEFAULT_RESPONSE)
        return cls(FrameType(control & _TYPE_MASK), command, sequence, payload, to_client, quiet, manufacturer_code)

    def to_bytes(self) -> bytes:
        control = (
            self.frame_type
            | (_MANUFACTURER_SPECIFIC if self.manufacturer_code is not None else 0)
            | (_TO_CLIENT if self.to_client else 0)
            | (_DISABLE_DEFAULT_RESPONSE if self.disable_default_response else 0)
        )
        if self.manufacturer_code is None:
            return _HEADER.pack(control, self.sequence, self.command) + self.payload
        header = _HEADER_WITH_MANUFACTURER.pack(control, self.manufacturer_code, self.sequence, self.command)
        return header + self.payload

    def reply(self, frame_type: FrameType, command: int, payload: bytes) -> bytes:
        """The frame that answers this one: same sequence, other direction, itself not to be answered."""
        answers = not self.to_client
        return Frame(frame_type, command, self.sequence, payload, answers, True, self.manufacturer_code).to_bytes()

    def default_response(self, status: Status) -> bytes | None:
        """The Default Response due for this frame, or None where ZCL8 2.5.12.2 forbids one.

        A success is kept quiet where the sender disabled it; an error is always told. A Default Response is never
        answered: two devices would answer each other for ever.
        """
        if self.frame_type is FrameType.GLOBAL and self.command == DefaultResponse.COMMAND:
            return None
        if status is Status.SUCCESS and self.disable_default_response:
            return None
        return self.reply(FrameType.GLOBAL, DefaultResponse.COMMAND, DefaultResponse(self.command, status).to_bytes())

    def unsupported(self) -> bytes | None:
        """The Default Response for a command that we do not implement, ZCL8 2.5.12.2."""
        specific = self.manufacturer_code is not None
        if self.frame_type is FrameType.GLOBAL:
            status = Status.UNSUP_MANUF_GENERAL_COMMAND if specific else Status.UNSUP_GENERAL_COMMAND
        else:
            status = Status.UNSUP_MANUF_CLUSTER_COMMAND if specific else Status.UNSUP_CLUSTER_COMMAND
        return self.default_response(status)


_CONTROL = Struct("<B")  # ZCL8 2.4.1


def cluster_command(number: int, sequence: int, payload: bytes, *, to_client: bool, answered: bool = False) -> bytes:
    """The whole frame of a cluster's command. With `answered`, the receiver is asked for a Default Response."""
    frame = Frame(FrameType.CLUSTER, number, sequence, payload, to_client, disable_default_response=not answered)
    return frame.to_bytes()


@dataclass(frozen=True, slots=True)
class DefaultResponse(Payload):
    """ZCL8 2.5.12. The status stays a plain number: a device may send one that we have no name for."""

    COMMAND: ClassVar[int] = 0x0B  # ZCL8 2.5.12
    LAYOUT = Struct("<BB")  # ZCL8 2.5.12

    command: int
    status: int
