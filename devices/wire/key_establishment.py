"""The Key Establishment cluster 0x0800 (SE 1.4 annex C.3) as an emulated device reads and writes it.

The command ids mean the same in both directions. Certificates and keys are octets here.
"""

from dataclasses import dataclass
from enum import IntEnum
from struct import Struct

from devices.wire.fields import Fields

CLUSTER = 0x0800  # SE 1.4 annex C.3

SUITE_ATTRIBUTE = 0x0000  # KeyEstablishmentSuite, on both sides

MAC_BYTES = 16  # of a confirm: SE 1.4 annex C.3


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
class Initiate(Fields):
    """The times are how many seconds the sender takes to make its ephemeral key, and its MAC."""

    LAYOUT = Struct("<HBB")  # SE 1.4 annex C.3

    suite: int
    ephemeral_s: int
    confirm_s: int
    certificate: bytes


@dataclass(frozen=True, slots=True)
class Terminate(Fields):
    LAYOUT = Struct("<BBH")  # SE 1.4 annex C.3

    status: int
    wait_s: int
    suites: int
