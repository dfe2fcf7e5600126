"""The Key Establishment cluster 0x0800 (SE 1.4 annex C.3) as an emulated device reads and writes it.

The command ids mean the same in both directions. Certificates and keys are octets here.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from devices.wire.errors import MalformedFrameError

CLUSTER = 0x0800  # SE 1.4 annex C.3

SUITE_ATTRIBUTE = 0x0000  # KeyEstablishmentSuite, on both sides

MAC_BYTES = 16  # of a confirm: SE 1.4 annex C.3

_INITIATE = struct.Struct("<HBB")  # suites, two times in seconds: SE 1.4 annex C.3
_TERMINATE = struct.Struct("<BBH")  # status, wait, suites: SE 1.4 annex C.3


class Command(IntEnum):
    INITIATE = 0x00
    EPHEMERAL_DATA = 0x01
    CONFIRM_KEY_DATA = 0x02
    TERMINATE = 0x03


class TerminateStatus(IntEnum):
    UNKNOWN_ISSUER = 1
    BAD_KEY_CONFIRM = 2
    BAD_MESSAGE = 3
    NO_RESOURCES = 4
    UNSUPPORTED_SUITE = 5
    INVALID_CERTIFICATE = 6


@dataclass(frozen=True, slots=True)
class Initiate:
    """The times are how many seconds the sender takes to make its ephemeral key, and its MAC."""

    suite: int
    ephemeral_s: int
    confirm_s: int
    certificate: bytes

    @classmethod
    def from_bytes(cls, payload: bytes) -> Initiate:
        if len(payload) < _INITIATE.size:
            raise MalformedFrameError("Initiate Key Establishment", "truncated", len(payload))
        suite, ephemeral_s, confirm_s = _INITIATE.unpack_from(payload)
        return cls(suite, ephemeral_s, confirm_s, payload[_INITIATE.size :])

    def to_bytes(self) -> bytes:
        return _INITIATE.pack(self.suite, self.ephemeral_s, self.confirm_s) + self.certificate


@dataclass(frozen=True, slots=True)
class Terminate:
    status: int
    wait_s: int
    suites: int

    @classmethod
    def from_bytes(cls, payload: bytes) -> Terminate:
        if len(payload) < _TERMINATE.size:
            raise MalformedFrameError("Terminate Key Establishment", "truncated", len(payload))
        return cls(*_TERMINATE.unpack_from(payload))

    def to_bytes(self) -> bytes:
        return _TERMINATE.pack(self.status, self.wait_s, self.suites)
