"""A host that speaks MT to a TI co-processor in memory, with its own little codec: tests say octets, not names.

It shares nothing with the dongle: commands and layouts are spelled out in the tests, from TI's Monitor and Test API.
"""

import struct
from dataclasses import dataclass, replace
from random import Random

from devices.medium.medium import Medium
from devices.ncp.sticks import ZSTACK_3_30
from devices.ncp.znp.coprocessor import ZnpCoprocessor
from devices.ncp.znp.personality import Personality, TableSizes
from devices.stack.coordinator import ZigbeeCoordinator
from devices.stack.interface import CoordinatorListener, Eui64, LinkKeys
from devices.time import EventQueue

DONGLE = Eui64(0x00DB_1234_5678_0001)

# Callbacks, by their two octets of command.
RESET_IND = 0x4180
DATA_CONFIRM = 0x4480
INCOMING_MSG = 0x4481
INCOMING_MSG_EXT = 0x4482
STATE_CHANGE_IND = 0x45C0
DEVICE_ANNOUNCE_IND = 0x45C1
LEAVE_IND = 0x45C9
TC_DEVICE_IND = 0x45CA
MSG_CB_INCOMING = 0x45FF
BDB_NOTIFICATION = 0x4F80

SMALL = replace(ZSTACK_3_30, tables=TableSizes.alike(4), requires_key_exchange=False)
KEY = bytes(range(0x31, 0x41))
EXTENDED_PAN = 0x1122334455667788
FORMING = [b"\x08"] * 5 + [b"\x09"]
"""The states that a CC2652 tells of while it forms a network by commissioning."""


@dataclass(frozen=True)
class Reply:
    command: int
    data: bytes


class ZnpHost:
    """`call` sends a synchronous request and gives its answer's data; callbacks gather in `callbacks`."""

    def __init__(self, personality: Personality = SMALL, *, seed: int = 1) -> None:
        self.queue = EventQueue()
        self.medium = Medium(self.queue, Random(seed))
        self.callbacks: list[Reply] = []
        self.dongle = ZnpCoprocessor(self._make_stack, DONGLE, self.queue, Random(seed), personality)
        self._answers: list[Reply] = []

    def _make_stack(self, listener: CoordinatorListener, keys: LinkKeys, ieee: Eui64) -> ZigbeeCoordinator:
        return ZigbeeCoordinator(ieee, self.medium, self.queue, Random(2), link_keys=keys, listener=listener)

    # the line

    def post(self, command: int, data: bytes = b"") -> None:
        self.write(line(command, data))

    def write(self, octets: bytes) -> None:
        self.dongle.receive(octets)
        self.drain()

    def drain(self) -> None:
        for reply in parsed(self.dongle.data_to_send()):
            (self.callbacks if reply.command >> 13 == 2 else self._answers).append(reply)

    def answers(self) -> list[Reply]:
        """Synchronous responses since the last time."""
        taken, self._answers = self._answers, []
        return taken

    def call(self, command: int, data: bytes = b"") -> bytes:
        """The answer must be to this request."""
        self.post(command, data)
        (answer,) = self.answers()
        assert answer.command == command ^ 0x4000, (
            f"0x{command:04X} was answered with 0x{answer.command:04X} {answer.data.hex()}"
        )
        return answer.data

    def run(self, seconds: float = 0.0) -> None:
        """Let simulated time pass, and hear what the dongle says meanwhile."""
        end = self.queue.now + seconds
        while True:
            due = self.queue.next_due()
            now = end if due is None or due > end else due
            self.queue.run_until(now)
            self.drain()
            if now >= end and ((due := self.queue.next_due()) is None or due > end):
                return

    def heard(self, command: int) -> list[bytes]:
        return [reply.data for reply in self.callbacks if reply.command == command]

    # flows

    def reset(self) -> None:
        self.callbacks.clear()
        self.post(0x4100, b"\x01")
        self.run(0.1)
        assert len(self.heard(RESET_IND)) == 1

    def put(self, number: int, value: bytes) -> None:
        """Make and write an item with the older commands."""
        assert self.call(0x2107, struct.pack("<HHB", number, len(value), 0)) in {b"\x00", b"\x09"}
        assert self.call(0x211D, struct.pack("<HHH", number, 0, len(value)) + value) == b"\x00"

    def get(self, number: int) -> bytes | None:
        (length,) = struct.unpack("<H", self.call(0x2113, struct.pack("<H", number)))
        value = b""
        while len(value) < length:
            answer = self.call(0x211C, struct.pack("<HH", number, len(value)))
            assert answer[0] == 0
            assert answer[1] == len(answer) - 2 > 0
            value += answer[2:]
        return value if length else None

    def entry(self, item: int, sub: int) -> bytes:
        """An item of the newer commands."""
        return self.call(0x2133, struct.pack("<BHHHB", 1, item, sub, 0, 248))[2:]

    def set_entry(self, item: int, sub: int, value: bytes) -> None:
        assert self.call(0x2134, struct.pack("<BHHHB", 1, item, sub, 0, len(value)) + value) == b"\x00"

    def form(self) -> None:
        """A network on channel 15, and the Smart Energy endpoint 3."""
        self.put(0x0083, b"\x62\x1a")
        self.put(0x0047, struct.pack("<Q", EXTENDED_PAN))
        self.put(0x0062, KEY)
        self.reset()
        self.put(0x008F, b"\x01")
        assert self.call(0x2F08, struct.pack("<BI", 1, 1 << 15)) == b"\x00"
        assert self.call(0x2F08, struct.pack("<BI", 0, 0)) == b"\x00"
        self.start()
        self.register(3)

    def start(self) -> None:
        self.callbacks.clear()
        assert self.call(0x2F05, b"\x04") == b"\x00"
        self.run()
        assert self.heard(STATE_CHANGE_IND)[-1] == b"\x09"

    def restart(self) -> None:
        self.reset()
        self.start()

    def register(self, endpoint: int, profile: int = 0x0109) -> None:
        layout = struct.pack("<BHHBBBHB", endpoint, profile, 0x0500, 0, 0, 1, 0x0019, 0)
        assert self.call(0x2400, layout) == b"\x00"

    def permit(self, seconds: int = 60) -> None:
        assert self.call(0x2536, struct.pack("<BHBB", 2, 0, seconds, 1)) == b"\x00"
        self.run()


def line(command: int, data: bytes = b"") -> bytes:
    body = bytes([len(data), command >> 8, command & 0xFF]) + data
    check = 0
    for octet in body:
        check ^= octet
    return b"\xfe" + body + bytes([check])


def parsed(octets: bytes) -> list[Reply]:
    """What the dongle writes is whole frames and nothing else."""
    replies = []
    while octets:
        assert octets[0] == 0xFE
        end = octets[1] + 5
        assert octets[1] <= 250
        command = octets[2] << 8 | octets[3]
        data = octets[4 : end - 1]
        assert octets[:end] == line(command, data)
        replies.append(Reply(command, data))
        octets = octets[end:]
    return replies
