"""ECS52 and GCS38: the firmware version of an ESME, asked for in DLMS, and of a GSME, in GBZ.

The layouts were read from eight public test messages: of either use case a command and a response, once with success
and once with a failure. An ESME has its version in attribute 2 of the object 0-0:0.2.1.255 of class 1 (Data), a GSME in
attribute 0x0206 of the Metering cluster.
"""

from dataclasses import dataclass
from typing import Final, Self

from chf.errors import MalformedMessageError
from chf.gbcs.cursor import Cursor
from chf.gbcs.dlms import NO_DATE_TIME, invoke_id, read_invoke_id

_VERSION_OCTETS: Final = 4  # firmwareVersion, GP

_ACCESS_REQUEST: Final = b"\xd9"  # DLMS access request, RTDS
_ACCESS_RESPONSE: Final = b"\xda"  # DLMS access response, RTDS
_GET_VERSION: Final = bytes.fromhex("010100010000000201FF02")  # one Get: class 1, 0-0:0.2.1.255, attribute 2
_ONE_NULL: Final = bytes.fromhex("0100")
_NO_SPECIFICATION: Final = b"\x00"  # a response need not repeat what was asked
_ONE_VERSION: Final = bytes.fromhex("010904")
_ONE_GET: Final = bytes.fromhex("0101")  # RTDS

GBZ_HEAD: Final = bytes.fromhex("010901")
"""Profile 0x0109, one component."""
_METERING: Final = bytes.fromhex("010702")  # last component, cluster 0x0702
_READ: Final = bytes.fromhex("0000000602")  # to the server: Read Attributes, 0x0206 (little-endian, as in ZCL)
_READ_ANSWERED: Final = bytes.fromhex("0800010602")  # Read Attributes Response
_OCTET_STRING_OF_4: Final = bytes.fromhex("4104")  # ZCL8 2.6.2


@dataclass(frozen=True, slots=True)
class DlmsReadFirmwareVersionCommand:
    """ECS52 command."""

    counter: int
    """The low 24 bits of the originator's, as in every DLMS payload."""

    def to_bytes(self) -> bytes:
        return _ACCESS_REQUEST + invoke_id(self.counter) + NO_DATE_TIME + _GET_VERSION + _ONE_NULL

    @classmethod
    def read(cls, cursor: Cursor) -> Self:
        cursor.expect(_ACCESS_REQUEST, "access request")
        counter = read_invoke_id(cursor)
        cursor.expect(NO_DATE_TIME, "date-time")
        cursor.expect(_GET_VERSION, "access request specification")
        cursor.expect(_ONE_NULL, "access request data")
        return cls(counter)


@dataclass(frozen=True, slots=True)
class DlmsReadFirmwareVersionResponse:
    """ECS52 response."""

    counter: int
    firmware_version: int | None
    """None where it could not be read."""
    result: int = 0
    """DLMS data-access-result; 0 is success."""

    def to_bytes(self) -> bytes:
        head = _ACCESS_RESPONSE + invoke_id(self.counter) + NO_DATE_TIME + _NO_SPECIFICATION
        version = self.firmware_version
        data = _ONE_NULL if version is None else _ONE_VERSION + version.to_bytes(_VERSION_OCTETS, "big")
        return head + data + _ONE_GET + bytes((self.result,))

    @classmethod
    def read(cls, cursor: Cursor) -> Self:
        cursor.expect(_ACCESS_RESPONSE, "access response")
        counter = read_invoke_id(cursor)
        cursor.expect(NO_DATE_TIME, "date-time")
        cursor.expect(_NO_SPECIFICATION, "access request specification")
        version = _read_data(cursor)
        cursor.expect(_ONE_GET, "access response specification")
        offset, result = cursor.offset, cursor.u8("data-access-result")
        _check_result(version, result, offset, "data-access-result")
        return cls(counter, version, result)


@dataclass(frozen=True, slots=True)
class GbzReadFirmwareVersionCommand:
    """GCS38 command."""

    def to_bytes(self) -> bytes:
        return GBZ_HEAD + _component(_READ)

    @classmethod
    def read(cls, cursor: Cursor) -> Self:
        _read_component(cursor).expect(_READ, "Read Attributes")
        return cls()


@dataclass(frozen=True, slots=True)
class GbzReadFirmwareVersionResponse:
    """GCS38 response."""

    firmware_version: int | None
    """None where it could not be read."""
    status: int = 0
    """ZCL status; 0 is SUCCESS."""

    def to_bytes(self) -> bytes:
        version = self.firmware_version
        value = b"" if version is None else _OCTET_STRING_OF_4 + version.to_bytes(_VERSION_OCTETS, "big")
        return GBZ_HEAD + _component(_READ_ANSWERED + bytes((self.status,)) + value)

    @classmethod
    def read(cls, cursor: Cursor) -> Self:
        inside = _read_component(cursor)
        inside.expect(_READ_ANSWERED, "Read Attributes Response")
        offset, status = inside.offset, inside.u8("status")
        version = None
        if inside.remaining:
            inside.expect(_OCTET_STRING_OF_4, "firmwareVersion head")
            version = inside.uint(_VERSION_OCTETS, "firmwareVersion")
        inside.finish("end of the GBZ component")
        _check_result(version, status, offset, "status")
        return cls(version, status)


def _read_data(cursor: Cursor) -> int | None:
    if cursor.peek(1) == _ONE_NULL[1]:
        cursor.expect(_ONE_NULL, "access response data")
        return None
    cursor.expect(_ONE_VERSION, "access response data")
    return cursor.uint(_VERSION_OCTETS, "firmwareVersion")


def _component(frame: bytes) -> bytes:
    return _METERING + len(frame).to_bytes(2, "big") + frame


def _read_component(cursor: Cursor) -> Cursor:
    """The ZCL frame of the one component."""
    cursor.expect(GBZ_HEAD, "GBZ profile and component count")
    cursor.expect(_METERING, "GBZ component head")
    length = cursor.uint(2, "GBZ component length")
    start = cursor.offset
    return Cursor(cursor.take(length, "GBZ component"), start)


def _check_result(version: int | None, result: int, offset: int, field: str) -> None:
    if (version is None) is (result == 0):
        there = "no version" if version is None else "a version"
        raise MalformedMessageError(f"{result} contradicts the rest, which holds {there}", offset=offset, field=field)
