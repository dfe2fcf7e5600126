"""How the parameters of a command lie in a frame: little-endian fields one after another, with EZSP (UG100 3) and MT.

A layout is written as text, `"destination:u16 aps:aps tag:tag message:lv"`, and compiled once: runs of fixed-size
fields become one `struct.Struct`. Kinds whose size depends on the version of a protocol are given with it. Nothing here
knows a command.
"""

import re
import struct
from collections.abc import Callable, Mapping
from typing import NamedTuple

_FIXED = {
    "u8": "B",
    "s8": "b",
    "bool": "?",
    "u16": "H",
    "u32": "I",
    "ieee": "Q",
    "eui64": "Q",
    "key": "16s",
    "aps": "HHBBHHB",
}
_COUNTED = {"lv": ("<B", 1), "lv16": ("<H", 1), "lv32": ("<I", 1), "words": ("<B", 2)}  # the count, octets of an item
_OCTETS = re.compile(r"b(\d+)")  # b18: eighteen octets as they are


class ApsFrame(NamedTuple):
    """EmberApsFrame (UG100 3.2), 11 octets."""

    profile: int
    cluster: int
    source_endpoint: int
    destination_endpoint: int
    options: int
    group: int
    sequence: int


assert struct.calcsize("<" + _FIXED["aps"]) == 11

Value = int | bytes | tuple[int, ...] | ApsFrame

Handler = Callable[..., tuple[Value, ...]]
"""Takes the values of a request in the order of its layout, gives those of the response."""


class TruncatedParametersError(ValueError):
    """The parameters end before their layout does."""


class _Run:
    """Fields of fixed size in a row, one APS frame among them at most, read and written by one struct."""

    def __init__(self, kinds: list[str], codes: Mapping[str, str]) -> None:
        self.struct = struct.Struct("<" + "".join(_code(kind, codes) for kind in kinds))
        assert kinds.count("aps") <= 1
        self.aps_at = kinds.index("aps") if "aps" in kinds else None
        self.count = len(kinds)

    def decode(self, octets: bytes, offset: int, into: list[Value]) -> int:
        values = self.struct.unpack_from(octets, offset)
        at = self.aps_at
        if at is None:
            into += values
        else:
            into += (*values[:at], ApsFrame(*values[at : at + 7]), *values[at + 7 :])
        return offset + self.struct.size

    def encode(self, values: tuple[Value, ...]) -> bytes:
        at = self.aps_at
        if at is None:
            return self.struct.pack(*values)
        aps = values[at]
        assert isinstance(aps, ApsFrame)
        return self.struct.pack(*values[:at], *aps, *values[at + 1 :])


class _Counted:
    """Octets after their count (`lv`: one octet, `lv16`, `lv32`), or numbers of 16 bits (`words`)."""

    count = 1

    def __init__(self, kind: str) -> None:
        code, self._item_bytes = _COUNTED[kind]
        self._struct = struct.Struct(code)

    def decode(self, octets: bytes, offset: int, into: list[Value]) -> int:
        (count,) = self._struct.unpack_from(octets, offset)
        start = offset + self._struct.size
        end = start + int(count) * self._item_bytes
        if end > len(octets):
            raise TruncatedParametersError
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
    """Whatever is left of the frame, for lists that only their own command can tell apart."""

    count = 1

    def decode(self, octets: bytes, offset: int, into: list[Value]) -> int:
        into.append(octets[offset:])
        return len(octets)

    def encode(self, values: tuple[Value, ...]) -> bytes:
        (value,) = values
        assert isinstance(value, bytes)
        return value


def _code(kind: str, codes: Mapping[str, str]) -> str:
    if octets := _OCTETS.fullmatch(kind):
        return f"{octets[1]}s"
    return codes.get(kind) or _FIXED[kind]


class Layout:
    """One compiled list of fields. Values go in and come out in its order; `names` are for people.

    `codes` are struct codes of further kinds.
    """

    def __init__(self, text: str, codes: Mapping[str, str] | None = None) -> None:
        fields = [field.partition(":")[::2] for field in text.split()]
        self.names = tuple(name for name, _ in fields)
        self.kinds = tuple(kind for _, kind in fields)
        self._parts: list[_Run | _Counted | _Rest] = []
        run: list[str] = []
        for kind in (*self.kinds, ""):
            if kind and kind != "rest" and kind not in _COUNTED:
                run.append(kind)
                continue
            if run:
                self._parts.append(_Run(run, codes or {}))
                run = []
            if kind == "rest":
                self._parts.append(_Rest())
            elif kind:
                self._parts.append(_Counted(kind))

    def decode(self, octets: bytes) -> tuple[Value, ...]:
        """The values. More octets than the layout has are tolerated, as the chips do.

        Raises TruncatedParametersError for fewer.
        """
        values: list[Value] = []
        offset = 0
        try:
            for part in self._parts:
                offset = part.decode(octets, offset, values)
        except struct.error:
            raise TruncatedParametersError from None
        return tuple(values)

    def encode(self, values: tuple[Value, ...]) -> bytes:
        if len(self._parts) == 1:
            return self._parts[0].encode(values)
        octets = b""
        at = 0
        for part in self._parts:
            octets += part.encode(values[at : at + part.count])
            at += part.count
        assert at == len(values), (self.names, len(values))
        return octets
