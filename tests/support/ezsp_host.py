"""A host that speaks EZSP to a co-processor in memory, with its own little codec: tests say octets, not names.

It shares nothing with the dongle: command ids and layouts are spelled out in the tests, from UG100.
"""

import binascii
import struct
from dataclasses import dataclass
from random import Random

from devices.medium.medium import Medium
from devices.ncp.ezsp.coprocessor import EzspCoprocessor
from devices.ncp.ezsp.personality import Personality
from devices.ncp.sticks import V13
from devices.stack.coordinator import ZigbeeCoordinator
from devices.stack.interface import CoordinatorListener, Eui64, LinkKeys
from devices.time import EventQueue

DONGLE = Eui64(0x00DB_1234_5678_0001)

# Ids from UG100's numerical list of frames.
INVALID_COMMAND = 0x0058
STACK_STATUS = 0x0019
MESSAGE_SENT = 0x003F
INCOMING_MESSAGE = 0x0045
TRUST_CENTER_JOIN = 0x0024
CHILD_JOIN = 0x0023

EMBER_NETWORK_UP = 0x90
SL_NETWORK_UP = 0x15
APS = struct.Struct("<HHBBHHB")


@dataclass(frozen=True)
class Reply:
    """One EZSP frame from the dongle."""

    sequence: int
    control: int
    id: int
    parameters: bytes
    legacy: bool = False

    @property
    def is_callback(self) -> bool:
        return bool(self.control & 0x10)


class EzspHost:
    """`call` sends a command and gives its answer; callbacks gather in `callbacks`."""

    def __init__(self, personality: Personality = V13, *, seed: int = 1) -> None:
        self.queue = EventQueue()
        self.medium = Medium(self.queue, Random(seed))
        self.callbacks: list[Reply] = []
        self.resets = 0
        self.dongle = EzspCoprocessor(self._make_stack, DONGLE, self.queue, Random(seed), personality)
        self.status_bytes = 4 if personality.version >= 14 else 1
        self.sequence = 0
        self._number = 0
        self._expected = 0
        self.answers: list[Reply] = []

    def _make_stack(self, listener: CoordinatorListener, keys: LinkKeys) -> ZigbeeCoordinator:
        return ZigbeeCoordinator(
            DONGLE, self.medium, self.queue, Random(2), link_keys=keys, listener=listener, host_fragments=True
        )

    # the line

    def reset(self) -> None:
        self._number = self._expected = self.sequence = 0
        self.callbacks.clear()
        self._write(b"\x1a" * 32 + bytes.fromhex("C038BC7E"))

    def _write(self, line: bytes) -> None:
        self.dongle.receive(line)
        self.drain()

    def drain(self) -> None:
        """Take what the dongle has to say, and acknowledge it, until it is silent."""
        while octets := self.dongle.data_to_send():
            before = self._expected
            for piece in octets.split(b"\x7e")[:-1]:
                self._take(piece)
            if self._expected != before:
                self.dongle.receive(_line(bytes([0x80 | self._expected])))

    def _take(self, piece: bytes) -> None:
        body = _unstuffed(piece.rpartition(b"\x1a")[2])
        assert binascii.crc_hqx(body, 0xFFFF) == 0
        if body[0] == 0xC1:
            self.resets += 1
        elif body[0] < 0x80:
            assert body[0] >> 4 == self._expected
            self._expected = (self._expected + 1) % 8
            reply = _parse(_scrambled(body[1:-2]))
            (self.callbacks if reply.is_callback else self.answers).append(reply)

    # EZSP

    def post(self, frame: bytes) -> None:
        """An EZSP frame as it is."""
        control = self._number << 4 | self._expected
        self._number = (self._number + 1) % 8
        self._write(_line(bytes([control]) + _scrambled(frame)))

    def send_frame(self, frame: bytes) -> Reply:
        """An EZSP frame as it is; its answer."""
        self.post(frame)
        (answer,) = self.answers
        self.answers.clear()
        return answer

    def call(self, command: int, parameters: bytes = b"") -> bytes:
        """The response parameters; the answer must be to this command."""
        reply = self.call_raw(command, parameters)
        assert reply.id == command, (
            f"command 0x{command:04X} was answered with 0x{reply.id:04X} {reply.parameters.hex()}"
        )
        return reply.parameters

    def call_raw(self, command: int, parameters: bytes = b"") -> Reply:
        self.sequence = (self.sequence + 1) % 256
        reply = self.send_frame(struct.pack("<BBBH", self.sequence, 0, 1, command) + parameters)
        assert reply.sequence == self.sequence
        return reply

    def negotiate(self) -> None:
        """Reset, and agree on the version as hosts do."""
        self.reset()
        answer = self.send_frame(bytes([0, 0, 0, 4]))
        version = self.dongle.personality.version
        assert (answer.legacy, answer.parameters[0], answer.parameters[1]) == (True, version, 2)
        self.call(0x0000, bytes([version]))

    def run(self, seconds: float = 0.0) -> None:
        """Let simulated time pass, step by step, and hear what the dongle says meanwhile."""
        end = self.queue.now + seconds
        while True:
            due = self.queue.next_due()
            now = end if due is None or due > end else due
            self.queue.run_until(now)
            self.dongle.handle_deadline()
            self.drain()
            if now >= end and ((due := self.queue.next_due()) is None or due > end):
                return

    def heard(self, callback: int) -> list[bytes]:
        return [reply.parameters for reply in self.callbacks if reply.id == callback]

    # flows

    def form(self, *, key_table_size: int = 8, policy: int = 0x01) -> None:
        """A network on channel 15, with bellows' security, and the Smart Energy endpoint 0x0B."""
        self.negotiate()
        ok = bytes(self.status_bytes)
        assert self.call(0x0053, struct.pack("<BH", 0x1E, key_table_size)) == ok
        self.call(0x0002, struct.pack("<BHHBBBHH", 0x0B, 0x0109, 0x0500, 0, 2, 0, 0x0019, 0x000A))
        self.call(0x0055, bytes([0, policy]))
        self.call(0x0068, struct.pack("<H16s16sBQ", 0x1BC4, b"\x77" * 16, b"\x33" * 16, 0, 0))
        assert self.call(0x001E, parameters()) == ok
        self.run()
        up = EMBER_NETWORK_UP if self.status_bytes == 1 else SL_NETWORK_UP
        assert self.heard(STACK_STATUS) == [up.to_bytes(self.status_bytes, "little")]


def parameters(channel: int = 15) -> bytes:
    """EmberNetworkParameters."""
    return struct.pack("<QHbBBHBI", 0x1122334455667788, 0x1A62, 8, channel, 0, 0, 0, 0x07FFF800)


def aps(
    *, cluster: int = 0x0019, options: int = 0x0140, group: int = 0, sequence: int = 0, profile: int = 0x0109
) -> bytes:
    """EmberApsFrame from endpoint 0x0B to 3."""
    return APS.pack(profile, cluster, 0x0B, 3, options, group, sequence)


def unicast(destination: int, frame: bytes, message: bytes, tag: int = 7) -> bytes:
    """The parameters of sendUnicast."""
    return struct.pack("<BH", 0, destination) + frame + bytes([tag, len(message)]) + message


def _parse(frame: bytes) -> Reply:
    if frame[2] & 3 == 1 and len(frame) >= 5:
        sequence, control, _, command = struct.unpack_from("<BBBH", frame)
        return Reply(sequence, control, command, frame[5:])
    return Reply(frame[0], frame[1], frame[2], frame[3:], legacy=True)


def _scrambled(octets: bytes) -> bytes:
    out, register = bytearray(), 0x42
    for octet in octets:
        out.append(octet ^ register)
        register = (register >> 1) ^ 0xB8 if register % 2 else register >> 1
    return bytes(out)


def _line(body: bytes) -> bytes:
    body += binascii.crc_hqx(body, 0xFFFF).to_bytes(2, "big")
    return b"".join(bytes([0x7D, o ^ 0x20]) if o in b"\x7e\x7d\x11\x13\x18\x1a" else bytes([o]) for o in body) + b"\x7e"


def _unstuffed(piece: bytes) -> bytes:
    first, *others = piece.split(b"\x7d")
    return first + b"".join(bytes([part[0] ^ 0x20]) + part[1:] for part in others)
