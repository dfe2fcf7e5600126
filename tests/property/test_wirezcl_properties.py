"""The device-side ZCL codecs: what they write they read, and junk is refused with one error."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.wire import ota, time_cluster, tunneling, zcl
from devices.wire.errors import MalformedFrameError
from devices.wire.ota_file import BadImageError, OtaHeader, check_sub_elements

fixed = settings(derandomize=True, deadline=None, max_examples=200)
u8 = st.integers(0, 0xFF)
u16 = st.integers(0, 0xFFFF)
u32 = st.integers(0, 0xFFFF_FFFF)
ids = st.builds(ota.ImageId, u16, u16, u32)
optional_u16 = st.none() | u16

frames = st.builds(
    zcl.ZclFrame, u8, u8, st.binary(max_size=60), st.booleans(), st.booleans(), st.booleans(), optional_u16
)
offers = st.builds(ota.QueryNextImageResponse, st.just(0), ids, u32) | st.builds(
    ota.QueryNextImageResponse, st.integers(1, 255)
)
block_requests = st.builds(ota.ImageBlockRequest, ids, u32, u8) | st.builds(
    ota.ImageBlockRequest, ids, u32, u8, u16, st.booleans()
)
notifies = st.one_of(
    st.builds(ota.ImageNotify, st.integers(1, 100)),
    st.builds(ota.ImageNotify, st.integers(1, 100), u16),
    st.builds(ota.ImageNotify, st.integers(1, 100), u16, u16),
    st.builds(ota.ImageNotify, st.integers(1, 100), u16, u16, u32),
)
block_responses = st.one_of(
    st.builds(ota.ImageBlock, ids, u32, st.binary(max_size=80)),
    st.builds(ota.WaitForData, u32, u32, optional_u16),
    st.builds(ota.BlockRefused, st.integers(1, 255).filter(lambda status: status != zcl.Status.WAIT_FOR_DATA)),
)

CODECS = [
    (frames, zcl.ZclFrame.from_bytes),
    (st.builds(zcl.DefaultResponse, u8, u8), zcl.DefaultResponse.from_bytes),
    (notifies, ota.ImageNotify.from_bytes),
    (st.builds(ota.QueryNextImageRequest, ids, optional_u16), ota.QueryNextImageRequest.from_bytes),
    (offers, ota.QueryNextImageResponse.from_bytes),
    (block_requests, ota.ImageBlockRequest.from_bytes),
    (st.builds(ota.ImagePageRequest, ids, u32, u8, u16, u16), ota.ImagePageRequest.from_bytes),
    (block_responses, ota.parse_image_block_response),
    (st.builds(ota.UpgradeEndRequest, u8, ids), ota.UpgradeEndRequest.from_bytes),
    (st.builds(ota.UpgradeEndResponse, ids, u32, u32), ota.UpgradeEndResponse.from_bytes),
    (st.builds(tunneling.RequestTunnel, u8, u16, st.booleans(), u16), tunneling.RequestTunnel.from_bytes),
    (st.builds(tunneling.RequestTunnelResponse, u16, u8, u16), tunneling.RequestTunnelResponse.from_bytes),
    (st.builds(tunneling.TransferData, u16, st.binary(max_size=200)), tunneling.TransferData.from_bytes),
    (st.builds(tunneling.TransferDataError, u16, u8), tunneling.TransferDataError.from_bytes),
]
PARSERS = [
    *[parse for _, parse in CODECS],
    zcl.parse_read_attributes,
    zcl.parse_read_attributes_response,
    time_cluster.parse_time,
]


@pytest.mark.parametrize(("strategy", "parse"), CODECS, ids=lambda each: getattr(each, "__qualname__", ""))
@fixed
@given(data=st.data())
def test_what_is_written_is_read(strategy, parse, data) -> None:
    value = data.draw(strategy)
    assert parse(value.to_bytes()) == value


@pytest.mark.parametrize("parse", PARSERS, ids=lambda parse: parse.__qualname__)
@fixed
@given(octets=st.binary(max_size=90))
def test_junk_is_read_or_refused_with_the_one_error(parse, octets) -> None:
    with suppress(MalformedFrameError):
        parse(octets)


@pytest.mark.parametrize(("strategy", "parse"), CODECS, ids=lambda each: getattr(each, "__qualname__", ""))
@fixed
@given(data=st.data())
def test_a_truncated_frame_never_reads_as_something_longer(strategy, parse, data) -> None:
    octets = data.draw(strategy).to_bytes()
    cut = data.draw(st.integers(0, max(len(octets) - 1, 0)))
    try:
        again = parse(octets[:cut]).to_bytes()
    except MalformedFrameError:
        return
    assert len(again) <= cut


attributes = st.one_of(
    st.builds(zcl.Attribute, u16, st.just(zcl.DataType.UINT8), u8),
    st.builds(zcl.Attribute, u16, st.just(zcl.DataType.UINT32), u32),
    st.builds(zcl.Attribute, u16, st.just(zcl.DataType.BITMAP16), u16),
    st.builds(zcl.Attribute, u16, st.just(zcl.DataType.INT8), st.integers(-(2**7), 2**7 - 1)),
    st.builds(zcl.Attribute, u16, st.just(zcl.DataType.INT16), st.integers(-(2**15), 2**15 - 1)),
    st.builds(zcl.Attribute, u16, st.just(zcl.DataType.INT32), st.integers(-(2**31), 2**31 - 1)),
    st.builds(zcl.Attribute, u16, st.just(zcl.DataType.CHARACTER_STRING), st.text(max_size=20)),
)


@fixed
@given(st.lists(attributes, unique_by=lambda each: each.identifier, max_size=8), u16)
def test_attribute_records_are_read_back_without_those_that_failed(values, absent) -> None:
    payload = b"".join(zcl.attribute_record(each.identifier, each) for each in values)
    read = zcl.parse_read_attributes_response(payload + zcl.attribute_record(absent, None))
    assert read == {each.identifier: each.value for each in values}


headers = st.builds(
    OtaHeader,
    u16,
    u16,
    u32,
    u32,
    header_bytes=st.integers(69, 200),
    stack_version=u16,
    text=st.binary(max_size=32).filter(lambda text: not text.endswith(b"\0")),
    credential=st.none() | u8,
    destination=st.none() | st.integers(0, 2**64 - 1),
    hardware_versions=st.none() | st.tuples(u16, u16),
)


@fixed
@given(headers, st.binary(max_size=20))
def test_ota_headers(header, body) -> None:
    octets = header.to_bytes()
    assert len(octets) == header.header_bytes
    assert OtaHeader.from_bytes(octets + body) == header


@fixed
@given(st.binary(max_size=120))
def test_junk_is_no_image(octets) -> None:
    with pytest.raises(BadImageError):
        OtaHeader.from_bytes(octets)


@fixed
@given(st.binary(max_size=120))
def test_any_body_is_walked_to_its_end_or_refused(body) -> None:
    try:
        check_sub_elements(body)
    except BadImageError:
        return
    assert len(body) >= 7
