"""The strict reader: what it takes, how it tells the kinds apart, and that each refusal names field and offset."""

import struct
import time
from dataclasses import replace

import pytest

from chf.errors import MalformedImageError
from chf.image.element import MAX_SUB_ELEMENTS, SubElement
from chf.image.header import HardwareVersions, OtaHeader
from chf.image.image import DEFAULT_LIMIT_BYTES, ImageKind, parse_image

HEADER = OtaHeader(
    manufacturer_code=0xFFF0,
    image_type=0x0001,
    file_version=0x01020304,
    header_string=b"test image".ljust(32, b"\0"),
    total_image_size=0,
    hardware_versions=HardwareVersions(0x0100, 0x01FF),
)
PLAIN_HEADER = replace(HEADER, hardware_versions=None)
FIRMWARE = b"not sub-elements " * 20
TAIL = b"\x00\x40" + bytes(range(1, 65))


def file_of(body: bytes, header: OtaHeader = HEADER) -> bytes:
    return replace(header, total_image_size=header.length_bytes + len(body)).to_bytes() + body


def standard(*elements: SubElement, header: OtaHeader = PLAIN_HEADER) -> bytes:
    return file_of(b"".join(element.to_bytes() for element in elements), header)


def refusal(content: bytes, **options) -> MalformedImageError:
    with pytest.raises(MalformedImageError) as caught:
        parse_image(content, **options)
    return caught.value


def patched(content: bytes, offset: int, octets: bytes) -> bytes:
    return content[:offset] + octets + content[offset + len(octets) :]


def test_a_ppmid_image_is_header_and_manufacturer_image():
    image = parse_image(file_of(FIRMWARE))
    assert image.kind is ImageKind.GBCS_PPMID
    assert image.manufacturer_image == FIRMWARE
    assert (image.force_replace, image.signature, image.sub_elements) == (None, None, ())
    assert image.remarks == ()


@pytest.mark.parametrize("force_replace", [False, True])
def test_a_signed_image_gives_up_force_replace_and_signature(force_replace):
    tail = bytes([force_replace]) + TAIL[1:]
    image = parse_image(file_of(FIRMWARE + tail))
    assert image.kind is ImageKind.GBCS_SIGNED
    assert image.manufacturer_image == FIRMWARE
    assert image.force_replace is force_replace
    assert image.signature == TAIL[2:]


@pytest.mark.parametrize("header", [HEADER, PLAIN_HEADER])
def test_a_standard_file_is_known_by_its_sub_elements_whatever_its_header(header):
    own = SubElement(0xF001, b"maker's own")
    image = parse_image(standard(own, SubElement(0, FIRMWARE), header=header))
    assert image.kind is ImageKind.STANDARD
    assert image.manufacturer_image == FIRMWARE
    assert image.sub_elements == (own, SubElement(0, FIRMWARE))


def test_every_optional_field_is_read():
    header = replace(HEADER, security_credential_version=3, destination=0x00DB1234567890A4)
    read = parse_image(standard(SubElement(0, FIRMWARE), header=header)).header
    assert read.length_bytes == 69
    assert (read.security_credential_version, read.destination) == (3, 0x00DB1234567890A4)
    assert read.hardware_versions == HardwareVersions(0x0100, 0x01FF)


@pytest.mark.parametrize("start", [b"\x00\x00\x00\x00\x00\x00\x00\x01", b"\x00\x01\x02\x03", b"\xff" * 8, bytes(9)])
def test_a_manufacturer_image_may_begin_with_what_looks_little_like_a_sub_element(start):
    assert parse_image(file_of(start + FIRMWARE)).kind is ImageKind.GBCS_PPMID


def test_the_caller_overrules_what_the_bytes_look_like():
    lookalike = SubElement(0, FIRMWARE).to_bytes()
    assert parse_image(file_of(lookalike)).kind is ImageKind.STANDARD
    stated = parse_image(file_of(lookalike), kind=ImageKind.GBCS_PPMID)
    assert stated.manufacturer_image == lookalike
    with_tail = parse_image(file_of(FIRMWARE + TAIL), kind=ImageKind.GBCS_PPMID)
    assert with_tail.manufacturer_image == FIRMWARE + TAIL


def test_a_damaged_standard_file_with_a_gbcs_header_is_not_taken_for_a_gbcs_image():
    content = patched(standard(SubElement(0, FIRMWARE), header=HEADER), 62, b"\xff\xff\xff\xff")
    error = refusal(content)
    assert (error.field, error.offset) == ("sub-element length", 62)
    assert "state its kind" in error.reason
    assert parse_image(content, kind=ImageKind.GBCS_PPMID).kind is ImageKind.GBCS_PPMID


GOOD = file_of(FIRMWARE)
SIGNED = file_of(FIRMWARE + TAIL)
STANDARD = standard(SubElement(0, FIRMWARE), SubElement(3, b"\xee" * 16))
SECOND = 56 + 6 + len(FIRMWARE)

REFUSED = {
    "no bytes": (b"", "file identifier", 0),
    "bad magic": (patched(GOOD, 0, b"\x7fELF"), "file identifier", 0),
    "wrapped": (b"NGIS" + GOOD, "file identifier", 0),
    "header version": (patched(GOOD, 4, b"\x00\x02"), "header version", 4),
    "header length 56": (patched(GOOD, 6, b"\x38\x00"), "header length", 6),
    "header length 0": (patched(GOOD, 6, b"\x00\x00"), "header length", 6),
    "header length 65535": (patched(GOOD, 6, b"\xff\xff"), "header length", 6),
    "reserved bit 3": (patched(GOOD, 8, b"\x0c\x00"), "field control", 8),
    "reserved bit 15": (patched(GOOD, 8, b"\x04\x80"), "field control", 8),
    "field control claims a credential": (patched(GOOD, 8, b"\x05\x00"), "header length", 6),
    "size one less": (patched(GOOD, 52, struct.pack("<I", len(GOOD) - 1)), "total image size", len(GOOD) - 1),
    "size one more": (patched(GOOD, 52, struct.pack("<I", len(GOOD) + 1)), "total image size", 52),
    "size 0": (patched(GOOD, 52, bytes(4)), "total image size", 52),
    "size below the header": (patched(GOOD, 52, struct.pack("<I", 59)), "total image size", 52),
    "size 0xFFFFFFFF": (patched(GOOD, 52, b"\xff" * 4), "total image size", 52),
    "trailing bytes": (GOOD + b"\0", "total image size", len(GOOD)),
    "hardware versions upside down": (patched(GOOD, 56, b"\x00\x02"), "minimum hardware version", 56),
    "empty GBCS image": (file_of(b""), "Manufacturer Image", 60),
    "only a tail": (file_of(TAIL), "Manufacturer Image", 60),
    "no body": (file_of(b"", PLAIN_HEADER), "sub-element tag", 56),
    "no hardware versions and no sub-elements": (file_of(FIRMWARE, PLAIN_HEADER), "sub-element length", 58),
    "no upgrade image": (standard(SubElement(3, bytes(16))), "sub-element tag", 56),
    "empty upgrade image": (standard(SubElement(0, b"")), "sub-element length", 58),
    "two upgrade images": (standard(SubElement(0, b"a"), SubElement(0, b"b")), "sub-element tag", 63),
    "overrun by one": (patched(STANDARD, SECOND + 2, b"\x11\x00\x00\x00"), "sub-element length", SECOND + 2),
    "overrun by 4 GB": (patched(STANDARD, SECOND + 2, b"\xff" * 4), "sub-element length", SECOND + 2),
    "overlap": (patched(STANDARD, 58, struct.pack("<I", len(FIRMWARE) + 4)), "sub-element length", SECOND + 6),
    "gap": (patched(STANDARD, SECOND + 2, b"\x0f\x00\x00\x00"), "sub-element tag", len(STANDARD) - 1),
    "too many": (standard(*[SubElement(0xF000, b"")] * (MAX_SUB_ELEMENTS + 1)), "sub-element tag", 56 + 6 * 64),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_field_and_offset(name):
    content, field, offset = REFUSED[name]
    error = refusal(content)
    assert (error.field, error.offset) == (field, offset)
    assert str(offset) in str(error)


STATED_KIND_REFUSED = {
    "GBCS without hardware versions": (file_of(FIRMWARE, PLAIN_HEADER), "gbcs-ppmid", "field control", 8),
    "signed without hardware versions": (file_of(FIRMWARE + TAIL, PLAIN_HEADER), "gbcs-signed", "field control", 8),
    "ForceReplace 2": (patched(SIGNED, -66 + len(SIGNED), b"\x02"), "gbcs-signed", "ForceReplace", len(SIGNED) - 66),
    "signature length": (
        patched(SIGNED, len(SIGNED) - 65, b"\x3f"),
        "gbcs-signed",
        "AuthorisingRemotePartySignature",
        len(SIGNED) - 65,
    ),
    "too short to be signed": (file_of(b"x" * 65), "gbcs-signed", "AuthorisingRemotePartySignature", 60),
    "unsigned firmware stated to be signed": (GOOD, "gbcs-signed", "ForceReplace", len(GOOD) - 66),
    "GBCS stated to be standard": (GOOD, "standard", "sub-element length", 62),
}


@pytest.mark.parametrize("name", STATED_KIND_REFUSED)
def test_refused_where_the_caller_states_the_kind(name):
    content, kind, field, offset = STATED_KIND_REFUSED[name]
    error = refusal(content, kind=ImageKind(kind))
    assert (error.field, error.offset) == (field, offset)


@pytest.mark.parametrize("content", [GOOD, SIGNED, STANDARD], ids=["ppmid", "signed", "standard"])
def test_refused_when_cut_at_any_length(content):
    for length in range(len(content)):
        error = refusal(content[:length])
        assert error.offset is not None, length
        assert error.offset <= max(length, 52), length


def test_the_limit_is_a_setting_and_counts_the_whole_file():
    assert parse_image(GOOD, limit_bytes=len(GOOD)).content == GOOD
    error = refusal(GOOD, limit_bytes=len(GOOD) - 1)
    assert (error.field, error.offset) == ("file size", len(GOOD) - 1)


def test_the_default_limit_is_750_kib():
    largest = file_of(b"x" * (750 * 1024 - 60))
    assert len(parse_image(largest).content) == DEFAULT_LIMIT_BYTES == 768_000
    assert refusal(largest + b"x").field == "file size"


def test_the_largest_image_is_read_in_a_few_milliseconds():
    largest = file_of(b"x" * (DEFAULT_LIMIT_BYTES - 60))
    best = min(_seconds(largest) for _ in range(5))
    assert best < 0.05


def _seconds(content: bytes) -> float:
    start = time.perf_counter()
    parse_image(content)
    return time.perf_counter() - start


def test_odd_and_allowed_is_remarked():
    header = replace(PLAIN_HEADER, stack_version=3, image_type=0xFFFF)
    content = standard(SubElement(0, FIRMWARE), SubElement(0x0007, b"?"), SubElement(3, b"short"), header=header)
    remarks = " / ".join(parse_image(content).remarks)
    assert "stack version 0x0003" in remarks
    assert "image type 0xFFFF is the wildcard" in remarks
    assert "tag 0x0007 is reserved" in remarks
    assert "integrity code has 5 bytes, the standard says 16" in remarks
    assert "manufacturer code" not in remarks
