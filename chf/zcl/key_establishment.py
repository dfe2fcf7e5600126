"""The Key Establishment cluster (0x0800), as the hub reads and writes it: the four commands and the attribute.

The commands are the same in both directions. What is in a certificate, and how long it has to be in which suite, is not
decided here; neither is what a command means at which moment.
"""

from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import Self

from chf.errors import MalformedFrameError
from chf.zcl.attributes import DataType, Value
from chf.zcl.frame import Frame, FrameType, Payload, cluster_command

CLUSTER = 0x0800  # SE1.4 C.3
KEY_ESTABLISHMENT_SUITE = 0x0000  # attribute, SE1.4 C.3.1.2.2.1

_MAC_OCTETS = 16  # AES-MMO, SE1.4 C.4


class TerminateStatus(IntEnum):
    """SE1.4 C.3.1.2.3.4."""

    UNKNOWN_ISSUER = 0x01
    BAD_KEY_CONFIRM = 0x02
    BAD_MESSAGE = 0x03
    NO_RESOURCES = 0x04
    UNSUPPORTED_SUITE = 0x05
    INVALID_CERTIFICATE = 0x06


@dataclass(frozen=True, slots=True)
class InitiateKeyEstablishment(Payload):
    """Times are what the sender needs to make its ephemeral key and its MAC, in seconds."""

    LAYOUT = Struct("<HBB")  # SE1.4 C.3

    suite: int
    ephemeral_time_s: int
    confirm_time_s: int
    certificate: bytes


@dataclass(frozen=True, slots=True)
class EphemeralData:
    """QEU to the server, QEV back: a compressed point, 22 or 37 octets."""

    public_key: bytes

    @classmethod
    def from_bytes(cls, payload: bytes) -> Self:
        return cls(payload)

    def to_bytes(self) -> bytes:
        return self.public_key


@dataclass(frozen=True, slots=True)
class ConfirmKeyData:
    """MACU to the server, MACV back."""

    mac: bytes

    @classmethod
    def from_bytes(cls, payload: bytes) -> Self:
        if len(payload) != _MAC_OCTETS:
            raise MalformedFrameError(f"a MAC has {_MAC_OCTETS} octets, not {len(payload)}", field="Confirm Key Data")
        return cls(payload)

    def to_bytes(self) -> bytes:
        return self.mac


@dataclass(frozen=True, slots=True)
class TerminateKeyEstablishment(Payload):
    """`wait_time_s`: before the receiver may try again. The status stays a number: a device may invent one."""

    LAYOUT = Struct("<BBH")  # SE1.4 C.3

    status: int
    wait_time_s: int
    suites: int

    @property
    def status_name(self) -> str:
        try:
            return TerminateStatus(self.status).name
        except ValueError:
            return f"status 0x{self.status:02X}"


KeyEstablishmentCommand = InitiateKeyEstablishment | EphemeralData | ConfirmKeyData | TerminateKeyEstablishment

_COMMANDS: dict[int, type[KeyEstablishmentCommand]] = {
    0x00: InitiateKeyEstablishment,
    0x01: EphemeralData,
    0x02: ConfirmKeyData,
    0x03: TerminateKeyEstablishment,
}
_NUMBERS = {kind: number for number, kind in _COMMANDS.items()}


def command(body: KeyEstablishmentCommand, sequence: int, *, to_client: bool, answered: bool = False) -> bytes:
    """The whole ZCL frame. With `answered`, the receiver is asked for a Default Response."""
    return cluster_command(_NUMBERS[type(body)], sequence, body.to_bytes(), to_client=to_client, answered=answered)


def parse(frame: Frame) -> KeyEstablishmentCommand | None:
    """The command in a cluster frame; None for one that does not exist. Raises MalformedFrameError."""
    if frame.frame_type is not FrameType.CLUSTER or frame.manufacturer_code is not None:
        raise MalformedFrameError("not a command of the Key Establishment cluster", offset=0, field="frame control")
    kind = _COMMANDS.get(frame.command)
    return None if kind is None else kind.from_bytes(frame.payload)


def attributes(suites: int) -> dict[int, Value]:
    """What a server that supports these suites (one bit each) answers to reads."""
    return {KEY_ESTABLISHMENT_SUITE: Value(DataType.ENUM16, suites)}
