"""ASH frames that are published, or were worked out by hand from the algorithm (UG101), octet for octet."""

import binascii

import pytest

from devices.ncp.ezsp.ash import Ash, PayloadReceived, ResetRequested
from devices.ncp.ezsp.ash_frames import (
    AckFrame,
    DataFrame,
    ErrorFrame,
    Frame,
    ResetAckFrame,
    ResetCode,
    ResetFrame,
    parse_frame,
    randomise,
)

VECTORS: list[tuple[Frame, str]] = [
    (ResetFrame(), "C0 38 BC 7E"),
    (ResetAckFrame(ResetCode.POWER_ON), "C1 02 02 9B 7B 7E"),
    (ResetAckFrame(ResetCode.SOFTWARE), "C1 02 0B 0A 52 7E"),
    (ErrorFrame(ResetCode.EXCEEDED_MAXIMUM_ACK_TIMEOUT_COUNT), "C2 02 51 A8 BD 7E"),
    (AckFrame(1), "81 60 59 7E"),
    (AckFrame(6, rejecting=True), "A6 34 DC 7E"),
    (DataFrame(2, 5, bytes.fromhex("00000002")), "25 42 21 A8 56 A6 09 7E"),
    # UG101 prints CRC 96 23 for this one, which does not verify.
    (DataFrame(5, 3, bytes.fromhex("00800002021130")), "53 42 A1 A8 56 28 04 82 03 2A 7E"),
    (DataFrame(0, 0, bytes.fromhex("00000004")), "00 42 21 A8 50 ED 2C 7E"),
    (DataFrame(0, 1, bytes.fromhex("0080000D024074")), "01 42 A1 A8 59 28 55 C6 A6 C8 7E"),
    (DataFrame(1, 1, bytes.fromhex("01000100000D")), "7D 31 43 21 A9 54 2A 7D 38 99 DA 7E"),
    (DataFrame(1, 2, bytes.fromhex("01800100000D024074")), "12 43 A1 A9 54 2A 7D 38 B0 19 E0 EA 30 7E"),
]


@pytest.mark.parametrize(("frame", "line"), VECTORS)
def test_golden_frames(frame: Frame, line: str) -> None:
    octets = bytes.fromhex(line)
    assert frame.to_bytes() == octets
    assert parse_frame(octets[:-1]) == frame


def test_the_crc_is_the_one_of_the_standard() -> None:
    assert binascii.crc_hqx(b"123456789", 0xFFFF) == 0x29B1


def test_the_pseudo_random_sequence() -> None:
    assert randomise(bytes(16)) == bytes.fromhex("42 21 A8 54 2A 15 B2 59 94 4A 25 AA 55 92 49 9C")


def test_a_host_starts_as_bellows_does() -> None:
    ash = Ash()
    assert ash.receive(b"\x1a" * 32 + bytes.fromhex("C0 38 BC 7E"), 0.0) == (ResetRequested(),)
    assert ash.data_to_send(0.0) == bytes.fromhex("1A C1 02 0B 0A 52 7E")
    assert ash.receive(bytes.fromhex("00 42 21 A8 50 ED 2C 7E"), 0.1) == (PayloadReceived(bytes.fromhex("00000004")),)
    ash.send(bytes.fromhex("0080000D024074"))
    assert ash.data_to_send(0.1) == bytes.fromhex("01 42 A1 A8 59 28 55 C6 A6 C8 7E")
