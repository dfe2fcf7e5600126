"""A cursor over the octets of one GBCS message: every read says what it wanted, and where, when it is not there.

It knows lengths (DLMS and DER write them the same way) and nothing of what the octets mean.
"""

from chf.errors import MalformedMessageError

_SHORT_LENGTHS = 0x80  # lengths below this are one octet; above, 0x81 or 0x82 tells how many follow (X.690 8.1.3)
_LONGEST_LENGTH = 0xFFFF


class Cursor:
    """Reads forward through `octets`; `base` is where they start in the whole message, for the offsets of errors."""

    def __init__(self, octets: bytes, base: int = 0) -> None:
        self._octets = octets
        self._base = base
        self._at = 0

    @property
    def offset(self) -> int:
        """Of the next octet, counted from the start of the message."""
        return self._base + self._at

    @property
    def remaining(self) -> int:
        return len(self._octets) - self._at

    def peek(self, ahead: int = 0) -> int | None:
        """The octet so many after the next one, which stay unread; None behind the end."""
        return self._octets[self._at + ahead] if self.remaining > ahead else None

    def take(self, count: int, field: str) -> bytes:
        if count > self.remaining:
            wanted = "1 octet" if count == 1 else f"{count} octets"
            raise MalformedMessageError(f"{wanted} wanted, {self.remaining} left", offset=self.offset, field=field)
        start, self._at = self._at, self._at + count
        return self._octets[start : self._at]

    def u8(self, field: str) -> int:
        return self.take(1, field)[0]

    def uint(self, count: int, field: str) -> int:
        return int.from_bytes(self.take(count, field), "big")

    def expect(self, octets: bytes, field: str) -> None:
        offset = self.offset
        found = self.take(len(octets), field)
        if found != octets:
            raise MalformedMessageError(
                f"expected {octets.hex().upper()}, found {found.hex().upper()}", offset=offset, field=field
            )

    def length(self, field: str) -> int:
        """A length in its shortest form; longer forms are refused (X.690 10.1)."""
        offset = self.offset
        first = self.u8(field)
        if first < _SHORT_LENGTHS:
            return first
        if first not in (0x81, 0x82):
            raise MalformedMessageError(f"0x{first:02X} does not begin a length", offset=offset, field=field)
        value = self.uint(first - _SHORT_LENGTHS, field)
        if encode_length(value)[0] != first:
            raise MalformedMessageError(
                f"the length {value} is not written in its shortest form", offset=offset, field=field
            )
        return value

    def finish(self, field: str) -> None:
        if self.remaining:
            many = "1 octet" if self.remaining == 1 else f"{self.remaining} octets"
            raise MalformedMessageError(f"{many} too many", offset=self.offset, field=field)


def encode_length(length: int) -> bytes:
    """One octet below 128, else 0x81 or 0x82 and one or two octets (RTDS)."""
    if not 0 <= length <= _LONGEST_LENGTH:
        raise MalformedMessageError(f"a length of {length} octets does not fit a GBCS message")
    if length < _SHORT_LENGTHS:
        return bytes([length])
    if length <= 0xFF:
        return bytes([0x81, length])
    return b"\x82" + length.to_bytes(2, "big")
