"""Every ZCL command survives its own octets, and no octets raise anything but MalformedFrameError."""

from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from chf.clock import Instant, Now, UtcSeconds
from chf.errors import MalformedFrameError
from chf.zcl import basic, ota, time, tunneling
from chf.zcl.attributes import DataType, Elements, ReadAttributesResponse, ReportAttributes, Value
from chf.zcl.frame import Frame, FrameType

u8, u16, u32, u64 = (st.integers(0, 2**bits - 1) for bits in (8, 16, 32, 64))
repeatable = settings(derandomize=True, deadline=None)

ids = (u16, u16, u32)
image = st.builds(ota.ImageFound, *ids, u32)
notifies = st.one_of(st.builds(ota.ImageNotify, u8, *fields) for fields in ((), (u16,), (u16, u16), (u16, u16, u32)))
requests = st.one_of(
    st.builds(ota.QueryNextImageRequest, *ids, st.none() | u16),
    st.builds(ota.ImageBlockRequest, *ids, u32, u8, st.none() | u64, st.none() | u16),
    st.builds(ota.ImagePageRequest, *ids, u32, u8, u16, u16, st.none() | u64),
    st.builds(ota.UpgradeEndRequest, u8, *ids),
    st.builds(ota.QueryDeviceSpecificFileRequest, u64, *ids, u16),
)
responses = st.one_of(
    notifies,
    st.builds(ota.QueryNextImageResponse, st.just(0), image),
    st.builds(ota.QueryNextImageResponse, st.integers(1, 255)),
    st.builds(ota.QueryDeviceSpecificFileResponse, st.just(0), image),
    st.builds(ota.UpgradeEndResponse, *ids, u32, u32),
)
block_responses = st.one_of(
    st.builds(ota.ImageBlock, *ids, u32, st.binary(max_size=255)),
    st.builds(ota.WaitForData, u32, u32, st.none() | u16),
    st.builds(ota.BlockRefused, st.integers(1, 255).filter(lambda status: status != 0x97)),
)
tunnel_commands = st.one_of(
    st.tuples(
        st.just(False),
        st.one_of(
            st.builds(tunneling.RequestTunnel, u8, u16, st.booleans(), u16),
            st.builds(tunneling.CloseTunnel, u16),
            st.builds(tunneling.TransferData, u16, st.binary(max_size=100)),
            st.builds(tunneling.TransferDataError, u16, u8),
            st.builds(tunneling.GetSupportedTunnelProtocols, u8),
        ),
    ),
    st.tuples(
        st.just(True),
        st.one_of(
            st.builds(tunneling.RequestTunnelResponse, u16, u8, u16),
            st.builds(tunneling.TransferData, u16, st.binary(max_size=100)),
            st.builds(
                tunneling.SupportedTunnelProtocolsResponse,
                st.booleans(),
                st.lists(st.tuples(u16, u8), max_size=9).map(tuple),
            ),
            st.builds(tunneling.TunnelClosureNotification, u16),
        ),
    ),
)
integers = st.sampled_from([t for t in DataType if "STRING" not in t.name and t is not DataType.ARRAY]).flatmap(
    lambda data_type: st.builds(
        Value, st.just(data_type), st.integers(-(2**7), 2**7 - 1) if data_type.name.startswith("INT") else u8
    )
)
strings = st.builds(
    Value, st.sampled_from([DataType.OCTET_STRING, DataType.CHARACTER_STRING]), st.none() | st.binary(max_size=254)
)


one_typed = st.one_of(integers, strings).flatmap(
    lambda first: st.lists(st.just(first.content), max_size=4).map(lambda all_: Elements(first.data_type, tuple(all_)))
)
arrays = st.builds(Value, st.just(DataType.ARRAY), one_typed | st.just(Elements(DataType.UINT16, None)))


@repeatable
@given(requests | responses)
def test_an_ota_command_is_what_its_octets_say(body):
    assert type(body).from_bytes(body.to_bytes()) == body


@repeatable
@given(block_responses)
def test_an_image_block_response_is_what_its_octets_say(body):
    assert ota.parse_image_block_response(body.to_bytes()) == body


@repeatable
@given(requests, u8)
def test_a_request_is_found_in_its_frame(body, sequence):
    frame = Frame.from_bytes(ota.command(body, sequence))
    assert (frame.sequence, frame.to_client) == (sequence, False)
    assert ota.parse_request(frame) == body


@repeatable
@given(tunnel_commands, u8)
def test_a_tunneling_command_is_what_its_octets_say(directed, sequence):
    to_client, body = directed
    assert tunneling.parse(Frame.from_bytes(tunneling.command(body, sequence, to_client=to_client))) == body


@repeatable
@given(st.lists(st.tuples(u16, integers | strings | arrays), max_size=5))
def test_attribute_reports_are_what_their_octets_say(values):
    report = ReportAttributes(tuple(values))
    assert ReportAttributes.from_bytes(report.to_bytes()) == report


@repeatable
@given(
    st.builds(
        Frame, st.sampled_from(FrameType), u8, u8, st.binary(max_size=60), st.booleans(), st.booleans(), st.none() | u16
    )
)
def test_a_frame_is_what_its_octets_say(frame):
    assert Frame.from_bytes(frame.to_bytes()) == frame


@repeatable
@given(st.binary(max_size=60))
def test_no_octets_upset_a_parser(octets):
    parsers = (
        Frame.from_bytes,
        ReadAttributesResponse.from_bytes,
        ReportAttributes.from_bytes,
        ota.parse_image_block_response,
        ota.ImageNotify.from_bytes,
        ota.UpgradeEndResponse.from_bytes,
        ota.QueryNextImageResponse.from_bytes,
    )
    for parse in parsers:
        with suppress(MalformedFrameError):
            parse(octets)
    for command in range(0x10):
        for to_client in (False, True):
            frame = Frame(FrameType.CLUSTER, command, 1, octets, to_client=to_client)
            for parse_frame in (ota.parse_request, tunneling.parse):
                with suppress(MalformedFrameError):
                    parse_frame(frame)


@repeatable
@given(st.binary(max_size=60))
def test_no_octets_upset_an_attribute_server(octets):
    basic.answer(octets)
    time.answer(octets, Now(Instant(0.0), UtcSeconds(1.8e9)))
