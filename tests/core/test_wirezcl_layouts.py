"""Frames written out by hand from the standard, so that codec and test cannot be wrong together."""

import pytest

from devices.wire import ota, time_cluster, tunneling, zcl
from devices.wire.errors import MalformedFrameError
from devices.wire.ota_file import BadImageError, OtaHeader, check_sub_elements

IMAGE = ota.ImageId(0x121D, 0x0084, 0x01020304)
IDS = "1d12 8400 04030201"


@pytest.mark.parametrize(
    ("frame", "octets"),
    [
        (zcl.ZclFrame(0x42, 0x03, b"\xaa"), "01 42 03 aa"),
        (zcl.ZclFrame(0x42, 0x05, b"", from_server=True, disable_default_response=True), "19 42 05"),
        (zcl.ZclFrame(1, 0x00, b"\x04\x00", cluster_specific=False), "00 01 00 0400"),
        (zcl.ZclFrame(1, 0x0A, b"", manufacturer=0x121D), "05 1d12 01 0a"),
        (zcl.ZclFrame(7, 0x05, b"", from_server=True).default_response(0x01), "10 07 0b 05 01"),
        (zcl.ZclFrame(7, 0x02, b"").default_response(0), "18 07 0b 02 00"),
    ],
)
def test_zcl_frames(frame, octets) -> None:
    assert frame.to_bytes() == bytes.fromhex(octets)
    assert zcl.ZclFrame.from_bytes(bytes.fromhex(octets)) == frame


@pytest.mark.parametrize("octets", ["", "01", "01 02", "04 01 02 03", "02 01 00", "03 01 00"])
def test_what_is_no_zcl_frame(octets) -> None:
    with pytest.raises(MalformedFrameError):
        zcl.ZclFrame.from_bytes(bytes.fromhex(octets))


@pytest.mark.parametrize(
    ("command", "octets"),
    [
        (ota.ImageBlockRequest(IMAGE, 0x64, 50, 250, period_flagged=False), f"00 {IDS} 64000000 32 fa00"),
        (ota.ImageBlock(IMAGE, 0x64, b"abc"), f"00 {IDS} 64000000 03 616263"),
        (ota.WaitForData(1, 2), "97 01000000 02000000"),
        (tunneling.RequestTunnel(6, 0xFFFF, flow_control=False, maximum_incoming_bytes=1500), "06 ffff 00 dc05"),
        (tunneling.RequestTunnelResponse(0x0102, 0), "0201 00 dc05"),
        (tunneling.TransferData(0x0102, b"\xdf\x09"), "0201 df09"),
        (tunneling.TransferDataError(0x0102, 1), "0201 01"),
    ],
    ids=lambda each: type(each).__name__ if not isinstance(each, str) else "",
)
def test_commands(command, octets) -> None:
    """The other OTA commands are held against zigpy, in interop/test_ota_zigpy."""
    assert command.to_bytes() == bytes.fromhex(octets)


@pytest.mark.parametrize(
    "octets", [f"01 {IDS} 64000000 32 11223344556677", f"03 {IDS} 64000000 32 1122334455667788 fa"]
)
def test_a_block_request_that_lacks_what_its_field_control_says(octets) -> None:
    with pytest.raises(MalformedFrameError):
        ota.ImageBlockRequest.from_bytes(bytes.fromhex(octets))


@pytest.mark.parametrize("octets", ["0000", "0065", "0464", "01641d"])
def test_bad_notifies(octets) -> None:
    with pytest.raises(MalformedFrameError):
        ota.ImageNotify.from_bytes(bytes.fromhex(octets))


def test_a_block_shorter_than_it_says_is_malformed() -> None:
    with pytest.raises(MalformedFrameError):
        ota.parse_image_block_response(bytes.fromhex(f"00 {IDS} 64000000 04 616263"))


def test_time() -> None:
    assert time_cluster.read_time() == b"\0\0"
    assert time_cluster.parse_time(bytes.fromhex("0000 00 e2 00e1f505")) == 100_000_000
    assert time_cluster.parse_time(bytes.fromhex("0000 00 e2 ffffffff")) is None
    assert time_cluster.parse_time(bytes.fromhex("0000 86")) is None


def test_supported_protocols() -> None:
    assert tunneling.supported_protocols(((0xFFFF, 6),)) == bytes.fromhex("01 01 ffff 06")


@pytest.mark.parametrize(
    ("body", "good"),
    [
        ("0000 03000000 616263", True),
        ("0000 01000000 61 0001 02000000 6263", True),
        ("0000 04000000 616263", False),
        ("0000 03000000 61626364", False),
        ("0000 00000000", False),
        ("0100 01000000 61", False),
        ("0000 01000000 61 0000 01000000 62", False),
    ],
)
def test_sub_elements(body, good) -> None:
    if good:
        check_sub_elements(bytes.fromhex(body))
    else:
        with pytest.raises(BadImageError):
            check_sub_elements(bytes.fromhex(body))


def test_the_gbcs_header_of_the_sample_ppmid_image() -> None:
    octets = bytes.fromhex(
        "1ef1ee0b 0001 3c00 0400 1d12 8400 dcacdcac 0200"
        + b"I am a GFI PPMID firmware image ".hex()
        + "27010000 1111 1112"
    )
    header = OtaHeader.from_bytes(octets)
    assert header == OtaHeader(
        0x121D, 0x0084, 0xACDCACDC, 295, text=b"I am a GFI PPMID firmware image ", hardware_versions=(0x1111, 0x1211)
    )
    assert header.to_bytes() == octets
