"""Small values that survive a reboot and a power cut: two flash sectors, used in turn, written record by record.

A record holds one or more values and is either there or not, so values that belong together go into one `put`. When the
sector is full, or its last record is torn, everything alive is written to the other sector, whose header comes last.
"""

import struct
import zlib
from collections.abc import Mapping
from enum import IntEnum

from devices.nodes.flash import Flash


class Key(IntEnum):
    """In flash: numbers are not used again (our choice)."""

    BOOT = 1
    BANK_A = 2
    BANK_B = 3
    DOWNLOAD = 4
    OUTCOME = 5
    COUNTER = 6
    ALERTS = 7
    HEARD = 8
    RECEIPT = 9
    SCHEDULE = 10
    ACTIVATION = 11
    BLOCK_PERIOD = 12


_PAGE = struct.Struct("<II")  # sequence number and its complement
_RECORD = struct.Struct("<HI")  # length and CRC-32 of what follows
_VALUE = struct.Struct("<BH")  # key and length of one value
_DELETED = 0xFFFF  # our choice of a length that no value has
_NO_RECORD = 0xFFFF  # what erased flash reads as a length


class JournalFullError(Exception):
    """The values that are alive do not fit one sector."""


class Journal:
    """Opens what is in the first two sectors of `flash`; an empty flash is an empty journal."""

    SECTORS = 2

    def __init__(self, flash: Flash) -> None:
        self._flash = flash
        self._values: dict[Key, bytes] = {}
        self._sequence = 0
        self._sector = 1  # of the newest sector that is whole
        self._end = flash.sector_bytes  # where the next record goes; a full sector makes the first put start the other
        self._open()

    def get(self, key: Key) -> bytes | None:
        return self._values.get(key)

    def put(self, changes: Mapping[Key, bytes | None]) -> None:
        """Write all of `changes` or, if the power goes away, none; None deletes."""
        record = _record(changes)
        if self._end + len(record) > self._flash.sector_bytes:
            self._compact(changes)
        else:
            self._flash.program(self._sector * self._flash.sector_bytes + self._end, record)
            self._end += len(record)
        self._apply(changes)

    def _apply(self, changes: Mapping[Key, bytes | None]) -> None:
        for key, value in changes.items():
            if value is None:
                self._values.pop(key, None)
            else:
                self._values[key] = value

    def _compact(self, changes: Mapping[Key, bytes | None]) -> None:
        alive: dict[Key, bytes | None] = {**self._values, **changes}
        record = _record({key: value for key, value in alive.items() if value is not None})
        if _PAGE.size + len(record) > self._flash.sector_bytes:
            raise JournalFullError
        sector, sequence = 1 - self._sector, self._sequence + 1
        start = sector * self._flash.sector_bytes
        self._flash.erase(sector)
        self._flash.program(start + _PAGE.size, record)
        self._flash.program(start, _PAGE.pack(sequence, sequence ^ 0xFFFF_FFFF))
        self._sector, self._sequence, self._end = sector, sequence, _PAGE.size + len(record)

    def _open(self) -> None:
        for sector in range(self.SECTORS):
            octets = self._flash.read(sector * self._flash.sector_bytes, self._flash.sector_bytes)
            sequence, complement = _PAGE.unpack_from(octets)
            if sequence ^ complement == 0xFFFF_FFFF and sequence > self._sequence:
                self._sector, self._sequence = sector, sequence
        if self._sequence:
            self._replay()

    def _replay(self) -> None:
        octets = self._flash.read(self._sector * self._flash.sector_bytes, self._flash.sector_bytes)
        at = _PAGE.size
        while at + _RECORD.size <= len(octets):
            length, crc = _RECORD.unpack_from(octets, at)
            if length == _NO_RECORD:
                self._end = at
                return
            body = octets[at + _RECORD.size : at + _RECORD.size + length]
            if len(body) != length or zlib.crc32(body) != crc:
                return  # torn by a power cut: `_end` stays at the sector's end, so the next put compacts
            self._apply(_changes(body))
            at += _RECORD.size + length


def _record(changes: Mapping[Key, bytes | None]) -> bytes:
    body = b"".join(
        _VALUE.pack(key, _DELETED) if value is None else _VALUE.pack(key, len(value)) + value
        for key, value in changes.items()
    )
    return _RECORD.pack(len(body), zlib.crc32(body)) + body


def _changes(body: bytes) -> dict[Key, bytes | None]:
    changes: dict[Key, bytes | None] = {}
    at = 0
    while at < len(body):
        key, length = _VALUE.unpack_from(body, at)
        at += _VALUE.size
        if length == _DELETED:
            changes[Key(key)] = None
        else:
            changes[Key(key)] = body[at : at + length]
            at += length
    return changes
