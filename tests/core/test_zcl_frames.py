"""ZCL frames against octets written by hand, and the rules of the Default Response."""

import pytest

from chf.errors import MalformedFrameError
from chf.zcl.attributes import (
    AttributeRecord,
    DataType,
    Elements,
    ReadAttributes,
    ReadAttributesResponse,
    ReportAttributes,
    Value,
    answer_read,
)
from chf.zcl.frame import DefaultResponse, Frame, FrameType, Status, status_name


def test_a_cluster_frame_reads_as_its_octets_say():
    frame = Frame.from_bytes(bytes.fromhex("01 2a 03 aabb"))
    assert frame == Frame(FrameType.CLUSTER, 3, 0x2A, b"\xaa\xbb")
    assert frame.to_bytes().hex() == "012a03aabb"


def test_a_manufacturer_specific_frame_has_its_code_before_the_sequence():
    frame = Frame.from_bytes(bytes.fromhex("1d d810 07 05"))
    assert frame == Frame(
        FrameType.CLUSTER, 5, 7, b"", to_client=True, disable_default_response=True, manufacturer_code=0x10D8
    )
    assert frame.to_bytes().hex() == "1dd8100705"


@pytest.mark.parametrize("octets", ["", "01", "0101", "05d81001"])
def test_fewer_octets_than_a_header_are_malformed(octets):
    with pytest.raises(MalformedFrameError):
        Frame.from_bytes(bytes.fromhex(octets))


@pytest.mark.parametrize("control", [2, 3])
def test_a_reserved_frame_type_is_malformed(control):
    with pytest.raises(MalformedFrameError, match="reserved frame type"):
        Frame.from_bytes(bytes((control, 1, 0)))


def test_a_default_response_goes_the_other_way_and_wants_no_answer():
    answer = Frame(FrameType.CLUSTER, 6, 9).default_response(Status.ABORT)
    assert answer is not None
    assert answer.hex() == "18090b0695"


def test_a_success_is_kept_quiet_where_the_sender_disabled_it():
    quiet = Frame(FrameType.CLUSTER, 6, 9, disable_default_response=True)
    assert quiet.default_response(Status.SUCCESS) is None
    assert Frame(FrameType.CLUSTER, 6, 9).default_response(Status.SUCCESS) is not None


def test_an_error_is_told_even_where_default_responses_are_disabled():
    quiet = Frame(FrameType.CLUSTER, 6, 9, disable_default_response=True)
    assert quiet.default_response(Status.MALFORMED_COMMAND) is not None


def test_a_default_response_is_never_answered():
    frame = Frame(FrameType.GLOBAL, DefaultResponse.COMMAND, 1, b"\x01\x80")
    assert frame.default_response(Status.MALFORMED_COMMAND) is None
    assert frame.unsupported() is None


@pytest.mark.parametrize(
    ("frame_type", "manufacturer", "status"),
    [
        (FrameType.CLUSTER, None, Status.UNSUP_CLUSTER_COMMAND),
        (FrameType.GLOBAL, None, Status.UNSUP_GENERAL_COMMAND),
        (FrameType.CLUSTER, 0x10D8, Status.UNSUP_MANUF_CLUSTER_COMMAND),
        (FrameType.GLOBAL, 0x10D8, Status.UNSUP_MANUF_GENERAL_COMMAND),
    ],
)
def test_an_unknown_command_gets_the_status_of_its_kind(frame_type, manufacturer, status):
    answer = Frame(frame_type, 0x77, 1, manufacturer_code=manufacturer).unsupported()
    assert answer is not None
    assert DefaultResponse.from_bytes(Frame.from_bytes(answer).payload) == DefaultResponse(0x77, status)


def test_statuses_have_names():
    assert status_name(0x98) == "NO_IMAGE_AVAILABLE (0x98)"
    assert status_name(0xEE) == "status 0xEE"


def test_read_attributes_response_reads_values_and_refusals():
    payload = bytes.fromhex("0200 00 23 020000000600 860400 00 42 03 6162630500 00 42 ff0700 00 28 ff")
    response = ReadAttributesResponse.from_bytes(payload)
    assert response.records == (
        AttributeRecord(2, Value(DataType.UINT32, 2)),
        AttributeRecord(6, None, 0x86),
        AttributeRecord(4, Value(DataType.CHARACTER_STRING, b"abc")),
        AttributeRecord(5, Value(DataType.CHARACTER_STRING, None)),
        AttributeRecord(7, Value(DataType.INT8, -1)),
    )
    assert response.to_bytes() == payload


def test_report_attributes():
    payload = bytes.fromhex("0200 23 02000000")
    report = ReportAttributes.from_bytes(payload)
    assert report.values == ((2, Value(DataType.UINT32, 2)),)
    assert report.to_bytes() == payload


@pytest.mark.parametrize("payload", ["0200 00 23 0200", "0200 00 42 05 61", "0200 00", "02", "0200 00 39 00000000"])
def test_an_attribute_record_that_ends_early_or_is_of_another_type_is_malformed(payload):
    with pytest.raises(MalformedFrameError):
        ReadAttributesResponse.from_bytes(bytes.fromhex(payload))


def test_half_an_attribute_identifier_is_malformed():
    with pytest.raises(MalformedFrameError, match="half"):
        ReadAttributes.from_bytes(b"\x02\x00\x06")


@pytest.mark.parametrize(
    ("hexadecimal", "elements"),
    [
        ("48 21 0200 3412 7856", Elements(DataType.UINT16, (0x1234, 0x5678))),
        ("48 28 0100 ff", Elements(DataType.INT8, (-1,))),
        ("48 41 0200 026162 ff", Elements(DataType.OCTET_STRING, (b"ab", None))),
        ("48 20 0000", Elements(DataType.UINT8, ())),
        ("48 20 ffff", Elements(DataType.UINT8, None)),
    ],
)
def test_an_array_is_read_and_what_follows_it_too(hexadecimal, elements):
    octets = bytes.fromhex(hexadecimal)
    report = ReportAttributes.from_bytes(b"\1\0" + octets + bytes.fromhex("0200 2007"))
    assert report.values == ((1, Value(DataType.ARRAY, elements)), (2, Value(DataType.UINT8, 7)))
    assert Value(DataType.ARRAY, elements).to_bytes() == octets


@pytest.mark.parametrize(
    ("hexadecimal", "reason"),
    [
        ("48", "data type"),
        ("48 20 01", "number of elements"),
        ("48 20 0200 01", "1 octets wanted, 0 left"),
        ("48 48 0100 20 0000", "array of arrays"),
        ("48 4c 0100", "0x4C"),
    ],
)
def test_an_array_that_cannot_be_read_is_refused(hexadecimal, reason):
    with pytest.raises(MalformedFrameError, match=reason):
        ReportAttributes.from_bytes(b"\1\0" + bytes.fromhex(hexadecimal))


ATTRIBUTES = {0x0000: Value(DataType.UINT8, 8)}


def test_a_read_is_answered_with_values_and_unsupported_attribute():
    answer = answer_read(ATTRIBUTES, bytes.fromhex("00 05 00 0000 3412"))
    assert answer is not None
    assert answer.hex() == "180501" + "0000002008" + "341286"


@pytest.mark.parametrize(
    ("octets", "status"),
    [
        ("00 05 02 0000 00 20 01", Status.UNSUP_GENERAL_COMMAND),  # Write Attributes
        ("01 05 00", Status.UNSUP_CLUSTER_COMMAND),
        ("08 05 00 0000", Status.UNSUP_GENERAL_COMMAND),  # for a client, which this is not
        ("00 05 00 00", Status.MALFORMED_COMMAND),
    ],
)
def test_what_is_no_read_is_refused(octets, status):
    answer = answer_read(ATTRIBUTES, bytes.fromhex(octets))
    assert answer is not None
    assert DefaultResponse.from_bytes(Frame.from_bytes(answer).payload).status == status


def test_octets_without_a_header_get_no_answer():
    assert answer_read(ATTRIBUTES, b"\x00") is None
