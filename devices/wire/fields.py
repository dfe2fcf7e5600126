"""Frames, or parts of them, whose octets are one struct: what most commands of the upper layers are."""

from struct import Struct
from typing import Any, ClassVar, Self

from devices.wire.errors import MalformedFrameError


def unpack(layout: Struct, octets: bytes, name: str, at: int = 0) -> tuple[Any, ...]:
    """What lies at an offset. More octets behind it are taken: later revisions append to their commands."""
    if len(octets) < at + layout.size:
        raise MalformedFrameError(name, f"at least {at + layout.size} octets expected", len(octets))
    return layout.unpack_from(octets, at)


class Fields:
    """For slotted dataclasses: `LAYOUT` has their fields in their order. A last field that it lacks has the rest."""

    __slots__: tuple[str, ...] = ()
    LAYOUT: ClassVar[Struct]

    @classmethod
    def from_bytes(cls, octets: bytes) -> Self:
        values = unpack(cls.LAYOUT, octets, cls.__name__)
        rest = (octets[cls.LAYOUT.size :],) if len(values) < len(cls.__slots__) else ()
        return cls(*values, *rest)

    def to_bytes(self) -> bytes:
        values = [getattr(self, name) for name in self.__slots__]
        fixed = len(self.LAYOUT.unpack(bytes(self.LAYOUT.size)))
        return self.LAYOUT.pack(*values[:fixed]) + b"".join(values[fixed:])
