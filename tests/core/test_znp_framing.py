"""The MT line: frames, noise, and what is never left unanswered."""

import struct

import pytest

from devices.ncp.znp.commands import commands
from devices.ncp.znp.mt_frames import MtFrame, MtReceiver
from tests.support.znp_host import RESET_IND, Reply, ZnpHost, line, parsed

PING = bytes.fromhex("FE00210120")
PONG = Reply(0x6101, bytes.fromhex("5906"))


@pytest.fixture
def host() -> ZnpHost:
    return ZnpHost()


def test_a_ping_by_the_octet(host: ZnpHost) -> None:
    host.dongle.receive(PING)
    assert host.dongle.data_to_send() == bytes.fromhex("FE 02 61 01 59 06 3D")
    assert host.dongle.data_to_send() == b""


def test_a_frame_may_come_octet_by_octet_and_many_at_once(host: ZnpHost) -> None:
    for octet in PING:
        host.write(bytes([octet]))
    host.write(PING * 3)
    assert host.answers() == [PONG] * 4


@pytest.mark.parametrize(
    "noise",
    [
        b"\xef" * 256,  # "run the application", for the boot loader of older chips
        b"\x00\xff\x55",
        b"\xfe\xff",  # longer than a frame can be
        b"\xfe\xfe\xfe",
        bytes.fromhex("FE00210121"),  # a bad check octet
        PING[:3],
        PING[:4],
    ],
)
def test_noise_before_a_request_costs_nothing(host: ZnpHost, noise: bytes) -> None:
    host.write(noise + PING)
    if not host.answers():
        host.write(b"\xef" * 256)  # as hosts do who are not answered: it fills up what the noise had announced
        host.write(PING)
    host.write(PING)
    assert host.answers()[-1] == PONG


def test_a_start_octet_that_announces_much_hides_a_request_only_until_the_length_is_there(host: ZnpHost) -> None:
    host.write(b"\xfe\xf0" + PING)
    assert host.answers() == []
    host.write(b"\xef" * 256)
    assert host.answers() == [PONG]
    host.write(PING)
    assert host.answers() == [PONG]


def test_damage_is_counted() -> None:
    receiver = MtReceiver()
    assert receiver.receive(b"\xfe\x00\x21\x01\x21" + PING) == (MtFrame(0x2101),)
    assert receiver.damaged_frames == 1


@pytest.mark.parametrize(
    ("octets", "error"),
    [
        (bytes.fromhex("FE00210120"), None),
        (bytes.fromhex("FE00210121"), "damaged"),
        (bytes.fromhex("FE002101"), "not one"),
        (bytes.fromhex("FE01210120"), "not one"),
        (bytes.fromhex("FF00210120"), "not one"),
        (b"\xfe\xfb\x21\x01" + bytes(252), "too long"),
    ],
)
def test_one_frame_and_nothing_else(octets: bytes, error: str | None) -> None:
    if error is None:
        assert MtFrame.from_bytes(octets).to_bytes() == octets
    else:
        with pytest.raises(ValueError, match=error):
            MtFrame.from_bytes(octets)


@pytest.mark.parametrize(
    ("command", "data", "error"),
    [
        (0x2199, b"", 2),  # no such command of SYS
        (0x2680, b"", 1),  # no SAPI in this build
        (0x2204, b"", 1),  # no MAC
        (0x3501, b"", 2),  # Green Power is there by its name only
        (0x2113, b"\x01", 4),  # a number of two octets, cut
        (0x2107, bytes.fromhex("0100 0400 05 0000"), 4),  # a list shorter than its count
    ],
)
def test_what_cannot_be_carried_out_is_answered(host: ZnpHost, command: int, data: bytes, error: int) -> None:
    host.post(command, data)
    assert host.answers() == [Reply(0x6000, bytes([error]) + command.to_bytes(2, "big"))]


def test_no_request_is_left_without_an_answer() -> None:
    host = ZnpHost()
    known = [command for command in commands().values() if command.request is not None]
    assert len(known) > 70
    for command in known:
        for data in (b"", bytes(40), b"\xff" * 40):
            host.post(command.id, data)
            (answer,) = host.answers()
            assert answer.command in {command.id ^ 0x4000, 0x6000}, command.name


def test_responses_and_unknown_events_from_the_host_are_ignored(host: ZnpHost) -> None:
    host.write(line(0x6101, b"\x59\x04") + line(0x4180, bytes(6)) + line(0x0101))
    assert host.answers() == host.callbacks == []


def test_a_reset_by_request_and_by_watchdog(host: ZnpHost) -> None:
    host.post(0x4100, b"\x01")
    assert host.callbacks == []  # not at once
    host.post(0x2101)
    assert host.answers() == []  # it waits
    host.run(1.0)
    told = Reply(RESET_IND, bytes.fromhex("00 02 01 02 07 01"))  # a CC26x2 gives no other reason than power-up
    assert host.callbacks == [told]
    assert host.answers() == [PONG]
    host.dongle.reboot()
    host.run(1.0)
    assert host.callbacks == [told, told]


def test_two_resets_at_once_are_one(host: ZnpHost) -> None:
    host.post(0x4100, b"\x00")
    host.dongle.reboot()
    host.run(1.0)
    assert len(host.heard(RESET_IND)) == 1


def test_only_so_many_requests_wait_for_a_reset(host: ZnpHost) -> None:
    host.write(line(0x4100, b"\x01") + PING * 40)
    host.run(1.0)
    assert host.answers() == [PONG] * 16


def test_the_version_is_that_of_a_stick(host: ZnpHost) -> None:
    fields = struct.unpack("<BBBBBIB", host.call(0x2102))
    assert fields[:6] == (2, 1, 2, 7, 1, 20221226)


def test_what_the_dongle_writes_is_whole_frames() -> None:
    assert parsed(MtFrame(0x4481, bytes(250)).to_bytes()) == [Reply(0x4481, bytes(250))]
