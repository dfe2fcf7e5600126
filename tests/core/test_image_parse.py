"""The strict reader: what it takes, how it tells the kinds apart, and that each refusal names field and offset."""

import struct
import time
from dataclasses import replace

import pytest

from chf.errors import MalformedImageError
from chf.image.element import SubElement
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


FIELDS_BY_OFFSET = {
    0: "file identifier",
    4: "header version",
    6: "header length",
    8: "field control",
    10: "manufacturer code",
    12: "image type",
    14: "file version",
    18: "stack version",
    20: "header string",
    52: "total image size",
    56: "optional header fields",
    60: "total image size",  # behind the header, it is the size that does not hold
}


def test_a_cut_names_the_field_that_it_falls_into():
    for length in range(len(GOOD)):
        field = next(field for start, field in reversed(FIELDS_BY_OFFSET.items()) if start <= length)
        assert refusal(GOOD[:length]).field == field, length


def test_four_octets_are_enough_to_tell_another_kind_of_file():
    error = refusal(b"\x7fELF")
    assert (error.field, error.offset) == ("file identifier", 0)
    assert "7f 45 4c 46" in error.reason
    assert refusal(GOOD[:3]).reason == "the file ends after 3 of the header's 56 bytes"


def test_the_reason_tells_a_short_file_from_a_large_claim():
    def claiming(size: int) -> bytes:
        return patched(GOOD, 52, struct.pack("<I", size))

    assert "cut short, or the wrong size" in refusal(claiming(DEFAULT_LIMIT_BYTES)).reason
    assert "more than the limit of 768000" in refusal(claiming(DEFAULT_LIMIT_BYTES + 1)).reason


def test_a_hardware_range_includes_both_its_ends():
    versions = HardwareVersions(0x0100, 0x01FF)
    assert [version in versions for version in (0x00FF, 0x0100, 0x01FF, 0x0200)] == [False, True, True, False]


NAMED_LENGTHS = {0x0001: 50, 0x0002: 48, 0x0003: 16, 0x0005: 80, 0x0006: 74}


@pytest.mark.parametrize(("tag", "length"), NAMED_LENGTHS.items())
def test_a_tag_of_fixed_length_with_that_length_opens_a_standard_body(tag, length):
    whole = SubElement(tag, bytes(length)).to_bytes()
    assert refusal(file_of(whole + b"rest")).field == "sub-element tag"
    assert parse_image(file_of(SubElement(tag, bytes(length - 1)).to_bytes() + b"rest")).kind is ImageKind.GBCS_PPMID
    remarked = parse_image(standard(SubElement(0, FIRMWARE), SubElement(tag, bytes(length - 1)))).remarks
    assert [f"has {length - 1} bytes, the standard says {length}" in remark for remark in remarked] == [True]
    assert parse_image(standard(SubElement(0, FIRMWARE), SubElement(tag, bytes(length)))).remarks == ()


def test_six_octets_can_open_a_standard_body_and_five_cannot():
    assert refusal(file_of(b"\x00\x00\x05\x00\x00\x00")).field == "sub-element length"
    assert parse_image(file_of(b"\x00\x00\x05\x00\x00")).kind is ImageKind.GBCS_PPMID


@pytest.mark.parametrize("octets", [b"\x02\x40", b"\x00\x3f", b"\x00\x41"])
def test_a_tail_that_is_not_quite_a_signature_belongs_to_the_firmware(octets):
    content = file_of(FIRMWARE + octets + TAIL[2:])
    assert parse_image(content).kind is ImageKind.GBCS_PPMID


def test_a_tail_without_firmware_before_it_is_still_a_tail():
    assert parse_image(file_of(TAIL[1:])).kind is ImageKind.GBCS_PPMID
    assert refusal(file_of(TAIL)).reason == "the Manufacturer Image is empty"


def test_a_body_that_opens_like_a_sub_element_is_remarked_on():
    """Files as found: field control 0x0004, and a chain of sub-elements of which the last is cut or lies."""
    chain = SubElement(0xF001, b"maker's own").to_bytes() + SubElement(0, FIRMWARE).to_bytes()
    (told,) = parse_image(file_of(chain[:-1])).remarks
    assert "opens like a sub-element (tag 0xF001)" in told
    assert parse_image(file_of(chain)).kind is ImageKind.STANDARD
    for plain in (FIRMWARE, bytes(100), b"\x01\xf0" + (200).to_bytes(4, "little") + bytes(199)):
        assert parse_image(file_of(plain)).remarks == ()


def test_a_standard_file_may_have_any_number_of_sub_elements():
    elements = [SubElement(0, FIRMWARE), *[SubElement(0xF000 + number, b"x") for number in range(200)]]
    assert len(parse_image(standard(*elements)).sub_elements) == 201


@pytest.mark.parametrize(
    ("change", "remark"),
    [
        ({"manufacturer_code": 0xFFFF}, "manufacturer code 0xFFFF is the wildcard"),
        ({"image_type": 0xFFFF}, "image type 0xFFFF is the wildcard"),
        ({"file_version": 0xFFFFFFFF}, "file version 0xFFFFFFFF is the wildcard"),
        ({"stack_version": 1}, "stack version 0x0001 is not 0x0002"),
    ],
)
def test_each_odd_header_value_is_remarked_alone(change, remark):
    (told,) = parse_image(file_of(FIRMWARE, replace(HEADER, **change))).remarks
    assert told.startswith(remark)


@pytest.mark.parametrize(("tag", "reserved"), [(0x0006, False), (0x0007, True), (0xEFFF, True), (0xF000, False)])
def test_tags_between_the_standard_s_and_the_makers_are_reserved(tag, reserved):
    element = SubElement(tag, bytes(74))
    assert element.is_reserved is reserved
    assert (element.name == "reserved tag") is reserved
    remarks = parse_image(standard(SubElement(0, FIRMWARE), element)).remarks
    assert [f"tag 0x{tag:04X} is reserved" in remark for remark in remarks] == [True] * reserved
