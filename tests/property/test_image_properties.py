"""What must hold of every image: building and reading are inverse, and damage is refused or makes another sound image."""

import struct
from dataclasses import replace

from hypothesis import example, given, settings
from hypothesis import strategies as st

from chf.errors import MalformedImageError, UsageError
from chf.image.element import UPGRADE_IMAGE, SubElement
from chf.image.header import TOTAL_SIZE_OFFSET, HardwareVersions, OtaHeader
from chf.image.image import FirmwareImage, ImageKind, parse_image
from chf.image.inspection import as_json, as_rows
from chf.image.recipe import parse_recipe

PROFILE = settings(derandomize=True, deadline=None, max_examples=300)

u8, u16, u32 = (st.integers(0, 2**bits - 1) for bits in (8, 16, 32))
hardware = st.tuples(u16, u16).map(lambda pair: HardwareVersions(min(pair), max(pair)))
gbcs_headers = st.builds(
    OtaHeader,
    manufacturer_code=u16,
    image_type=u16,
    file_version=u32,
    header_string=st.binary(min_size=32, max_size=32),
    total_image_size=st.just(0),
    stack_version=u16,
    hardware_versions=hardware,
)
headers = st.builds(
    replace,
    gbcs_headers,
    security_credential_version=st.none() | u8,
    destination=st.none() | st.integers(0, 2**64 - 1),
    hardware_versions=st.none() | hardware,
)
firmware = st.binary(min_size=1, max_size=300)
others = st.builds(SubElement, tag=st.integers(1, 0xFFFF), data=st.binary(max_size=100))


def file_of(header: OtaHeader, body: bytes) -> bytes:
    return replace(header, total_image_size=header.length_bytes + len(body)).to_bytes() + body


@st.composite
def standard_files(draw) -> bytes:
    elements = draw(st.lists(others, max_size=5))
    elements.insert(draw(st.integers(0, len(elements))), SubElement(UPGRADE_IMAGE, draw(firmware)))
    return file_of(draw(headers), b"".join(element.to_bytes() for element in elements))


@st.composite
def gbcs_files(draw) -> bytes:
    tail = draw(st.just(b"") | st.builds(lambda force, rs: bytes([force, 64]) + rs, st.integers(0, 1), sixty_four))
    return file_of(draw(gbcs_headers), draw(firmware) + tail)


sixty_four = st.binary(min_size=64, max_size=64)
files = standard_files() | gbcs_files()


def put_together(image: FirmwareImage) -> bytes:
    """The file, made again from what was read of it."""
    body = b"".join(element.to_bytes() for element in image.sub_elements)
    if image.kind is not ImageKind.STANDARD:
        body = image.manufacturer_image
    if image.signature is not None:
        body += bytes([bool(image.force_replace), len(image.signature)]) + image.signature
    return image.header.to_bytes() + body


def check_refusal(error: MalformedImageError, content: bytes) -> None:
    assert error.field
    assert error.offset is not None
    assert 0 <= error.offset <= max(len(content), TOTAL_SIZE_OFFSET)


def read(content: bytes, kind: ImageKind | None = None) -> FirmwareImage | None:
    """None where refused. Every byte of what is accepted is accounted for."""
    try:
        image = parse_image(content, kind=kind)
    except MalformedImageError as error:
        check_refusal(error, content)
        return None
    assert put_together(image) == content
    assert image.header.total_image_size == len(content)
    assert image.manufacturer_image
    assert kind in (None, image.kind)
    return image


@PROFILE
@given(headers)
def test_a_header_is_read_as_it_was_written(header):
    header = replace(header, total_image_size=header.length_bytes)
    raw = header.to_bytes()
    assert len(raw) == header.length_bytes
    assert OtaHeader.from_bytes(raw + b"what follows") == header


@PROFILE
@given(others)
def test_a_sub_element_is_read_as_it_was_written(element):
    assert SubElement.from_bytes(b"??" + element.to_bytes() + b"what follows", 2) == element


@PROFILE
@given(standard_files())
def test_a_standard_file_is_read_as_it_was_built(content):
    image = read(content)
    assert image is not None
    assert image.kind is ImageKind.STANDARD


@PROFILE
@given(gbcs_headers, firmware, st.booleans(), sixty_four)
def test_a_gbcs_image_is_read_as_it_was_built(header, body, force_replace, signature):
    unsigned = read(file_of(header, body), ImageKind.GBCS_PPMID)
    assert unsigned is not None
    assert unsigned.manufacturer_image == body
    tail = bytes([force_replace, 64]) + signature
    signed = read(file_of(header, body + tail), ImageKind.GBCS_SIGNED)
    assert signed is not None
    assert (signed.manufacturer_image, signed.force_replace, signed.signature) == (body, force_replace, signature)


@PROFILE
@given(files, st.data())
def test_damage_is_refused_or_makes_another_sound_image(content, data):
    damaged = bytearray(content)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(u8)
    read(bytes(damaged))


@PROFILE
@given(files, st.data())
def test_a_file_cut_short_is_refused(content, data):
    assert read(content[: data.draw(st.integers(0, len(content) - 1))]) is None


@PROFILE
@given(files, st.binary(min_size=1, max_size=100))
def test_a_file_with_something_behind_it_is_refused(content, more):
    assert read(content + more) is None


@PROFILE
@given(st.binary(max_size=200), st.none() | st.sampled_from(ImageKind))
def test_junk_is_refused(junk, kind):
    assert read(junk, kind) is None


@PROFILE
@given(gbcs_headers, st.binary(max_size=200), st.none() | st.sampled_from(ImageKind))
@example(OtaHeader(0, 0, 0, bytes(32), 0, hardware_versions=HardwareVersions(0, 0)), bytes(600), None)
def test_any_body_behind_a_sound_header_is_read_or_refused(header, body, kind):
    image = read(file_of(header, body), kind)
    if kind is ImageKind.GBCS_PPMID:
        assert (image is None) is (body == b"")


@PROFILE
@given(headers, st.lists(st.tuples(u16, u32, st.binary(max_size=20)), max_size=70))
def test_sub_elements_that_lie_about_their_length(header, elements):
    body = b"".join(struct.pack("<HI", tag, length) + data for tag, length, data in elements)
    read(file_of(header, body))


@PROFILE
@given(files)
def test_a_description_is_printable_and_complete(content):
    image = read(content)
    if image is None:  # a GBCS body that opens like a sub-element
        return
    rows = as_rows(image)
    assert all((row.label + row.value).isprintable() for row in rows)
    assert image.sha256 in {row.value for row in rows}
    assert as_json(image)["sha256"] == image.sha256


@PROFILE
@given(st.text(max_size=200))
@example("payload = 1")
@example("kind = 'standard'\nsignature = []")
def test_a_recipe_that_is_none_is_a_usage_error(text):
    try:
        parse_recipe(text)
    except UsageError:
        return
    raise AssertionError(text)
