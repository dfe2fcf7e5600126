"""The clusters' own commands and attributes, against octets written by hand."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from chf.clock import Instant, Now, UtcSeconds, to_zigbee_time
from chf.errors import MalformedFrameError
from chf.zcl import basic, ota, time, tunneling
from chf.zcl.attributes import ReadAttributesResponse
from chf.zcl.frame import Frame, FrameType, Status

# OTA Upgrade


@pytest.mark.parametrize(
    ("body", "octets"),
    [
        (ota.ImageNotify(50, 0x10D8), "01 32 d810"),
        (ota.ImageNotify(50, 0x10D8, 4), "02 32 d810 0400"),
        (
            ota.ImagePageRequest(0x10D8, 4, 2, 0, 32, 1024, 50, 0x00DB1234567890A4),
            "01 d810 0400 02000000 00000000 20 0004 3200 a490785634 12db00",
        ),
        (ota.ImageBlock(0x10D8, 4, 2, 100, b"abc"), "00 d810 0400 02000000 64000000 03 616263"),
        (ota.WaitForData(0, 30), "97 00000000 1e000000 0000"),
        (ota.WaitForData(0, 30, None), "97 00000000 1e000000"),
        (
            ota.QueryDeviceSpecificFileRequest(0x00DB1234567890A4, 0x10D8, 0xFFC0, 2, 2),
            "a490785634 12db00 d810 c0ff 02000000 0200",
        ),
        (ota.QueryDeviceSpecificFileResponse(0x98), "98"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_an_ota_command_is_these_octets(body, octets):
    """Those that interop/test_ota_zigpy does not hold against zigpy."""
    assert body.to_bytes() == bytes.fromhex(octets)
    parse = ota.parse_image_block_response if body.COMMAND == 0x05 else type(body).from_bytes
    assert parse(bytes.fromhex(octets)) == body


def test_a_whole_ota_frame_says_its_direction_and_wants_no_default_response():
    assert ota.command(ota.BlockRefused(Status.ABORT), 7).hex() == "19070595"
    assert ota.command(ota.ImageBlockRequest(1, 2, 3, 4, 5), 7)[:3].hex() == "110703"


def test_a_block_request_may_append_the_period_without_saying_so():
    request = ota.ImageBlockRequest.from_bytes(bytes.fromhex("00 d810 0400 02000000 64000000 32 fa00"))
    assert request.minimum_block_period == 250


def test_octets_behind_a_command_are_ignored():
    request = ota.ImageBlockRequest.from_bytes(bytes.fromhex("00 d810 0400 02000000 64000000 32 fa00 99"))
    assert (request.offset_bytes, request.minimum_block_period) == (100, None)


@pytest.mark.parametrize(
    ("parse", "octets"),
    [
        (ota.ImageNotify.from_bytes, "03 32 d810 0400"),
        (ota.ImageNotify.from_bytes, "04 32 d810 0400 02000000"),
        (ota.QueryNextImageRequest.from_bytes, "01 d810 0400 01000000"),
        (ota.QueryNextImageResponse.from_bytes, "00 d810"),
        (ota.ImageBlockRequest.from_bytes, "00 d810 0400 02000000 64000000"),
        (ota.ImageBlockRequest.from_bytes, "01 d810 0400 02000000 64000000 32"),
        (ota.ImageBlockRequest.from_bytes, "02 d810 0400 02000000 64000000 32"),
        (ota.ImagePageRequest.from_bytes, "01 d810 0400 02000000 00000000 20 0004 3200"),
        (ota.parse_image_block_response, ""),
        (ota.parse_image_block_response, "97 00000000"),
        (ota.parse_image_block_response, "00 d810 0400 02000000 64000000 04 616263"),
        (ota.UpgradeEndRequest.from_bytes, "00"),
        (ota.UpgradeEndResponse.from_bytes, "d810"),
        (ota.QueryDeviceSpecificFileRequest.from_bytes, "00"),
    ],
)
def test_a_short_ota_command_is_malformed(parse, octets):
    with pytest.raises(MalformedFrameError):
        parse(bytes.fromhex(octets))


# Time


def at(*when: int) -> Now:
    return Now(Instant(0.0), UtcSeconds(datetime(*when, tzinfo=UTC).timestamp()))


def test_the_time_is_answered_in_seconds_since_2000():
    answer = time.answer(bytes.fromhex("00 01 00 0000 0100"), at(2026, 11, 23, 12, 0, 0))
    assert answer is not None
    (clock, status) = ReadAttributesResponse.from_bytes(Frame.from_bytes(answer).payload).records
    assert clock.value is not None
    assert clock.value.content == 9823 * 86400 + 12 * 3600
    assert status.value is not None
    assert status.value.content == 0x09


@pytest.mark.parametrize(
    ("year", "start", "end"), [(2026, (3, 29), (10, 25)), (2024, (3, 31), (10, 27)), (2027, (3, 28), (10, 31))]
)
def test_summer_time_is_from_the_last_sunday_of_march_to_that_of_october(year, start, end):
    assert time.summer_time(year) == (at(year, *start, 1).utc, at(year, *end, 1).utc)


def test_local_time_is_an_hour_ahead_in_summer_only():
    for now, ahead_s in ((at(2026, 7, 1), 3600), (at(2026, 1, 1), 0), (at(2026, 10, 25, 1), 0)):
        attributes = time.attributes(now)
        assert attributes[0x0007].content == now.zigbee_time() + ahead_s
        assert attributes[0x0006].content == now.zigbee_time()


def test_when_the_clock_was_set_is_told_where_it_is_known():
    now = at(2026, 7, 1)
    assert time.attributes(now)[0x0008].content == 0xFFFF_FFFF
    assert time.attributes(now, now.utc)[0x0008].content == to_zigbee_time(now.utc)


def test_a_clock_that_is_not_trusted_claims_nothing():
    attributes = time.attributes(replace(at(2026, 7, 1), distrust="it was set"), at(2026, 7, 1).utc)
    told = {number: value.content for number, value in attributes.items()}
    assert told == {
        **dict.fromkeys((0x0000, 0x0003, 0x0004, 0x0006, 0x0007, 0x0008, 0x0009), 0xFFFF_FFFF),
        0x0001: 0,
        0x0002: 0,
        0x0005: 3600,
    }


def test_the_basic_cluster_tells_the_environment_that_gbcs_asks_for():
    answer = basic.answer(bytes.fromhex("00 01 00 1100"))
    assert answer is not None
    assert answer.hex() == "180101" + "1100003001"


# Tunneling


@pytest.mark.parametrize(
    ("body", "to_client", "octets"),
    [
        (tunneling.RequestTunnel(), False, "11 05 00 06 ffff 00 dc05"),
        (tunneling.CloseTunnel(7), False, "11 05 01 0700"),
        (tunneling.TransferData(7, b"abc"), False, "11 05 02 0700 616263"),
        (tunneling.TransferDataError(7, 0), False, "11 05 03 0700 00"),
        (tunneling.GetSupportedTunnelProtocols(), False, "11 05 06 00"),
        (tunneling.RequestTunnelResponse(7, 0), True, "19 05 00 0700 00 dc05"),
        (tunneling.TransferData(7, b"abc"), True, "19 05 01 0700 616263"),
        (tunneling.TransferDataError(7, 2), True, "19 05 02 0700 02"),
        (tunneling.SupportedTunnelProtocolsResponse(complete=True), True, "19 05 05 01 01 ffff 06"),
        (tunneling.TunnelClosureNotification(7), True, "19 05 06 0700"),
    ],
)
def test_a_tunneling_command_is_these_octets_in_its_direction(body, to_client, octets):
    assert tunneling.command(body, 5, to_client=to_client) == bytes.fromhex(octets)
    assert tunneling.parse(Frame.from_bytes(bytes.fromhex(octets))) == body


def test_transfer_data_can_ask_for_a_default_response():
    octets = tunneling.command(tunneling.TransferData(7, b""), 5, to_client=False, answered=True)
    assert not Frame.from_bytes(octets).disable_default_response


def test_a_tunneling_command_that_we_do_not_have_is_none():
    assert tunneling.parse(Frame(FrameType.CLUSTER, 0x04, 1)) is None


@pytest.mark.parametrize(
    "frame",
    [
        Frame(FrameType.GLOBAL, 0x00, 1),
        Frame(FrameType.CLUSTER, 0x00, 1, manufacturer_code=1),
        Frame(FrameType.CLUSTER, 0x02, 1, b"\x07"),
        Frame(FrameType.CLUSTER, 0x05, 1, b"\x01\x02\xff\xff\x06", to_client=True),
    ],
)
def test_what_is_no_tunneling_command_is_malformed(frame):
    with pytest.raises(MalformedFrameError):
        tunneling.parse(frame)


def test_a_command_of_the_other_direction_cannot_be_made():
    with pytest.raises(KeyError):
        tunneling.command(tunneling.RequestTunnel(), 1, to_client=True)
