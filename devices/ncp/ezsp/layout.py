"""How EZSP parameters lie in a frame: little-endian fields one after another (Silicon Labs UG100, section 3).

A layout is written as text, `"destination:u16 aps:aps tag:tag message:lv"`, and compiled once for an EZSP version:
runs of fixed-size fields become one `struct.Struct`. Fields named `status:st` are one octet (EmberStatus) up to
version 13 and four (sl_Status) from 14 on; `tag` is one octet and then two. Nothing here knows a command.
"""

import re
import struct
from collections.abc import Callable
from typing import NamedTuple

SL_STATUS_EVERYWHERE = 14
"""From this version on every status is an sl_Status of four octets and every message tag has two."""

_FIXED = {
    "u8": "B",
    "s8": "b",
    "bool": "?",
    "u16": "H",
    "u32": "I",
    "eui64": "Q",
    "key": "16s",
    "sl": "I",
    "aps": "HHBBHHB",
}
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

Value = int | bytes | ApsFrame

Handler = Callable[..., tuple[Value, ...]]
"""Takes the values of a request in the order of its layout, gives those of the response."""


class TruncatedParametersError(ValueError):
    """The parameters end before their layout does."""


class _Run:
    """Fields of fixed size in a row, one APS frame among them at most, read and written by one struct."""

    def __init__(self, kinds: tuple[str, ...], version: int) -> None:
        self.struct = struct.Struct("<" + "".join(_code(kind, version) for kind in kinds))
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
    """Octets after their count (`lv`: one octet, `lv32`: four)."""

    def __init__(self, count: str) -> None:
        self.struct = struct.Struct(count)
        self.count = 1

    def decode(self, octets: bytes, offset: int, into: list[Value]) -> int:
        (length,) = self.struct.unpack_from(octets, offset)
        offset += self.struct.size
        end = offset + int(length)
        if end > len(octets):
            raise TruncatedParametersError
        into.append(octets[offset:end])
        return end

    def encode(self, values: tuple[Value, ...]) -> bytes:
        (octets,) = values
        assert isinstance(octets, bytes)
        return self.struct.pack(len(octets)) + octets


class _Rest:
    """Whatever is left of the frame, for lists that only their own command can tell apart."""

    count = 1

    def decode(self, octets: bytes, offset: int, into: list[Value]) -> int:
        into.append(octets[offset:])
        return len(octets)

    def encode(self, values: tuple[Value, ...]) -> bytes:
        (octets,) = values
        assert isinstance(octets, bytes)
        return octets


def _code(kind: str, version: int) -> str:
    if kind == "st":
        return "I" if version >= SL_STATUS_EVERYWHERE else "B"
    if kind == "tag":
        return "H" if version >= SL_STATUS_EVERYWHERE else "B"
    if octets := _OCTETS.fullmatch(kind):
        return f"{octets[1]}s"
    return _FIXED[kind]


class Layout:
    """One compiled list of fields. `names` are for people; values go in and come out in this order."""

    def __init__(self, text: str, version: int) -> None:
        fields = [tuple(field.split(":")) for field in text.split()]
        self.names = tuple(name for name, _ in fields)
        self.kinds = tuple(kind for _, kind in fields)
        self._parts: list[_Run | _Counted | _Rest] = []
        run: list[str] = []
        for kind in (*self.kinds, ""):
            if kind and kind not in {"lv", "lv32", "rest"}:
                run.append(kind)
                continue
            if run:
                self._parts.append(_Run(tuple(run), version))
                run = []
            if kind == "rest":
                self._parts.append(_Rest())
            elif kind:
                self._parts.append(_Counted("<I" if kind == "lv32" else "<B"))

    def decode(self, octets: bytes, offset: int = 0) -> list[Value]:
        """The values from `offset` on. More octets than the layout has are tolerated, as the chip does.

        Raises TruncatedParametersError for fewer.
        """
        values: list[Value] = []
        try:
            for part in self._parts:
                offset = part.decode(octets, offset, values)
        except struct.error:
            raise TruncatedParametersError from None
        return values

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
