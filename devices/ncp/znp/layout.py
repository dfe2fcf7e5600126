"""How MT parameters lie in a frame: little-endian fields one after another (Z-Stack Monitor and Test API, section 3).

A layout is written as text, `"endpoint:u8 profile:u16 clusters:words data:lv"`, and compiled once; runs of fixed-size
fields become one `struct.Struct`. Nothing here knows a command.
"""

import struct
from collections.abc import Callable

_FIXED = {"u8": "B", "s8": "b", "u16": "H", "u32": "I", "ieee": "Q", "key": "16s"}
_COUNTED = {"lv": ("<B", 1), "lv16": ("<H", 1), "words": ("<B", 2)}  # the count, and octets of each item

Value = int | bytes | tuple[int, ...]

Handler = Callable[..., tuple[Value, ...]]
"""Takes the values of a request in the order of its layout, gives those of the response."""


class ShortParametersError(ValueError):
    """The parameters end before their layout does."""


class _Run:
    """Fields of fixed size in a row, read and written by one struct."""

    def __init__(self, kinds: list[str]) -> None:
        self.struct = struct.Struct("<" + "".join(_FIXED[kind] for kind in kinds))
        self.count = len(kinds)

    def decode(self, octets: bytes, offset: int, into: list[Value]) -> int:
        into += self.struct.unpack_from(octets, offset)
        return offset + self.struct.size

    def encode(self, values: tuple[Value, ...]) -> bytes:
        return self.struct.pack(*values)


class _Counted:
    """Octets after their count (`lv`: one octet, `lv16`: two), or numbers of 16 bits (`words`)."""

    count = 1

    def __init__(self, kind: str) -> None:
        code, self._item_bytes = _COUNTED[kind]
        self._struct = struct.Struct(code)

    def decode(self, octets: bytes, offset: int, into: list[Value]) -> int:
        (count,) = self._struct.unpack_from(octets, offset)
        start = offset + self._struct.size
        end = start + int(count) * self._item_bytes
        if end > len(octets):
            raise ShortParametersError
        data = octets[start:end]
        into.append(data if self._item_bytes == 1 else struct.unpack(f"<{count}H", data))
        return end

    def encode(self, values: tuple[Value, ...]) -> bytes:
        (value,) = values
        if isinstance(value, tuple):
            value = struct.pack(f"<{len(value)}H", *value)
        assert isinstance(value, bytes)
        return self._struct.pack(len(value) // self._item_bytes) + value


class _Rest:
    """Whatever is left of the frame."""

    count = 1

    def decode(self, octets: bytes, offset: int, into: list[Value]) -> int:
        into.append(octets[offset:])
        return len(octets)

    def encode(self, values: tuple[Value, ...]) -> bytes:
        (value,) = values
        assert isinstance(value, bytes)
        return value


class Layout:
    """One compiled list of fields. Values go in and come out in its order."""

    def __init__(self, text: str) -> None:
        self.names = tuple(field.partition(":")[0] for field in text.split())
        self._parts: list[_Run | _Counted | _Rest] = []
        run: list[str] = []
        for field in (*text.split(), ":"):
            kind = field.partition(":")[2]
            if kind in _FIXED:
                run.append(kind)
                continue
            if run:
                self._parts.append(_Run(run))
                run = []
            if kind == "rest":
                self._parts.append(_Rest())
            elif kind:
                self._parts.append(_Counted(kind))

    def decode(self, octets: bytes) -> list[Value]:
        """More octets than the layout has are tolerated, as the chip does. Raises ShortParametersError for fewer."""
        values: list[Value] = []
        offset = 0
        try:
            for part in self._parts:
                offset = part.decode(octets, offset, values)
        except struct.error:
            raise ShortParametersError from None
        return values

    def encode(self, values: tuple[Value, ...]) -> bytes:
        octets = b""
        at = 0
        for part in self._parts:
            octets += part.encode(values[at : at + part.count])
            at += part.count
        assert at == len(values), (self.names, len(values))
        return octets
