"""The five ASN.1 types that firmware payloads are made of, in strict DER (X.690 10, GBCS 11).

Strict means that every value has one encoding: what is accepted is re-encoded to the same octets. Not a general ASN.1
library, and not meant to become one.
"""

from datetime import UTC, datetime, timedelta
from enum import IntEnum
from typing import TypeVar

from chf.errors import MalformedMessageError
from chf.gbcs.cursor import Cursor, encode_length

_E = TypeVar("_E", bound=IntEnum)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_GENERALIZED_TIME_OCTETS = 15  # YYYYMMDDHHMMSSZ, and no other form (RTDS)


class Tag(IntEnum):
    INTEGER = 0x02
    OCTET_STRING = 0x04
    NULL = 0x05
    GENERALIZED_TIME = 0x18
    SEQUENCE = 0x30


class DerReader(Cursor):
    """A cursor that reads typed values, in the order in which the caller asks for them."""

    def sequence(self, field: str) -> "DerReader":
        """The inside of a SEQUENCE; the caller closes it with `finish`."""
        length = self._head(Tag.SEQUENCE, field)
        start = self.offset
        return DerReader(self.take(length, field), start)

    def null(self, field: str) -> None:
        offset = self.offset
        if self._head(Tag.NULL, field):
            raise MalformedMessageError("NULL has no content", offset=offset, field=field)

    def octet_string(self, size_octets: int, field: str) -> bytes:
        offset = self.offset
        length = self._head(Tag.OCTET_STRING, field)
        if length != size_octets:
            raise MalformedMessageError(f"{size_octets} octets wanted, not {length}", offset=offset, field=field)
        return self.take(length, field)

    def integer(self, field: str, *, maximum: int = 2**63 - 1) -> int:
        """A non-negative INTEGER up to `maximum`, in the fewest octets (X.690 8.3.2)."""
        offset = self.offset
        content = self.take(self._head(Tag.INTEGER, field), field)
        if not content:
            raise MalformedMessageError("INTEGER without content", offset=offset, field=field)
        value = int.from_bytes(content, "big", signed=True)
        if not 0 <= value <= maximum:
            raise MalformedMessageError(f"{value} is outside 0..{maximum}", offset=offset, field=field)
        if len(content) > 1 and content[0] == 0 and content[1] < 0x80:
            raise MalformedMessageError("INTEGER with a needless leading octet", offset=offset, field=field)
        return value

    def enumeration(self, codes: type[_E], field: str) -> _E:
        """An INTEGER with named values."""
        offset = self.offset
        value = self.integer(field)
        try:
            return codes(value)
        except ValueError:
            known = ", ".join(f"{code.name} {code.value}" for code in codes)
            raise MalformedMessageError(f"{value} is none of {known}", offset=offset, field=field) from None

    def generalized_time(self, field: str) -> int:
        """`YYYYMMDDHHMMSSZ` as seconds since 1970."""
        offset = self.offset
        length = self._head(Tag.GENERALIZED_TIME, field)
        text = self.take(length, field)
        digits = text[:-1]
        if length != _GENERALIZED_TIME_OCTETS or not digits.isdigit() or text[-1:] != b"Z":
            raise MalformedMessageError("a time is written YYYYMMDDHHMMSSZ", offset=offset, field=field)
        year, rest = int(digits[:4]), [int(digits[at : at + 2]) for at in range(4, 14, 2)]
        try:
            moment = datetime(year, rest[0], rest[1], rest[2], rest[3], rest[4], tzinfo=UTC)
        except ValueError as error:
            raise MalformedMessageError(f"{digits.decode()} is no time: {error}", offset=offset, field=field) from None
        return (moment - _EPOCH) // timedelta(seconds=1)

    def _head(self, tag: Tag, field: str) -> int:
        offset = self.offset
        found = self.u8(field)
        if found != tag:
            raise MalformedMessageError(
                f"{tag.name} (0x{tag:02X}) wanted, found tag 0x{found:02X}", offset=offset, field=field
            )
        return self.length(field)


def sequence(*items: bytes) -> bytes:
    return _value(Tag.SEQUENCE, b"".join(items))


def null() -> bytes:
    return _value(Tag.NULL, b"")


def octet_string(octets: bytes) -> bytes:
    return _value(Tag.OCTET_STRING, octets)


def integer(value: int) -> bytes:
    return _value(Tag.INTEGER, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def generalized_time(utc_s: float) -> bytes:
    """Whole seconds since 1970 as `YYYYMMDDHHMMSSZ`; a fraction is dropped."""
    moment = _EPOCH + timedelta(seconds=int(utc_s))
    # not strftime("%Y"), which does not pad years below 1000 on every platform
    text = f"{moment.year:04}{moment:%m%d%H%M%S}Z"
    return _value(Tag.GENERALIZED_TIME, text.encode("ascii"))


def _value(tag: Tag, content: bytes) -> bytes:
    return bytes([tag]) + encode_length(len(content)) + content
