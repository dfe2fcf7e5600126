"""Against an independent reader and writer of the standard format: zigpy's `OTAImage`."""

from pathlib import Path

import pytest
import zigpy.types as t
from zigpy.ota.image import ElementTagId, FieldControl, HeaderString, OTAImage, OTAImageHeader, SubElement

from chf.image.build import build_image
from chf.image.element import SubElement as OurSubElement
from chf.image.header import HardwareVersions
from chf.image.image import ImageKind, parse_image
from chf.image.recipe import parse_recipe

RECIPES = Path(__file__).parents[2] / "firmware_images" / "recipes"


def built(name: str) -> bytes:
    return build_image(parse_recipe((RECIPES / f"{name}.toml").read_text()), pytest.fail)


@pytest.mark.parametrize("name", ["standard", "standard-all-fields"])
def test_zigpy_reads_the_same_from_what_we_build(name):
    content = built(name)
    ours = parse_image(content)
    theirs, rest = OTAImage.deserialize(content)
    assert rest == b""
    assert theirs.serialize() == content
    header = theirs.header
    assert (header.manufacturer_id, header.image_type) == (ours.header.manufacturer_code, ours.header.image_type)
    assert (header.file_version, header.stack_version) == (ours.header.file_version, ours.header.stack_version)
    assert (header.image_size, header.header_length) == (len(content), ours.header.length_bytes)
    assert header.header_string == ours.header.header_string
    assert header.field_control == ours.header.field_control
    assert header.security_credential_version == ours.header.security_credential_version
    assert [(int(each.tag_id), bytes(each.data)) for each in theirs.subelements] == [
        (each.tag, each.data) for each in ours.sub_elements
    ]


def test_zigpy_reads_destination_and_hardware_versions_alike():
    content = built("standard-all-fields")
    ours, theirs = parse_image(content).header, OTAImage.deserialize(content)[0].header
    assert theirs.upgrade_file_destination.serialize() == ours.destination.to_bytes(8, "little")
    low, high = theirs.minimum_hardware_version, theirs.maximum_hardware_version
    assert HardwareVersions(low, high) == ours.hardware_versions


def test_we_read_the_same_from_what_zigpy_builds():
    header = OTAImageHeader(
        upgrade_file_id=OTAImageHeader.MAGIC_VALUE,
        header_version=0x0100,
        header_length=60,
        field_control=FieldControl.HARDWARE_VERSIONS_PRESENT,
        manufacturer_id=0xFFF0,
        image_type=0x1234,
        file_version=0x01020304,
        stack_version=2,
        header_string=HeaderString("made by zigpy"),
        image_size=60 + 6 + 11 + 6 + 16,
        minimum_hardware_version=1,
        maximum_hardware_version=2,
    )
    elements = [
        SubElement(tag_id=ElementTagId.UPGRADE_IMAGE, data=t.LVBytes(b"the upgrade")),
        SubElement(tag_id=ElementTagId.IMAGE_INTEGRITY_CODE, data=t.LVBytes(bytes(range(16)))),
    ]
    content = OTAImage(header=header, subelements=elements).serialize()
    ours = parse_image(content)
    assert ours.kind is ImageKind.STANDARD
    assert ours.manufacturer_image == b"the upgrade"
    assert ours.sub_elements[1].data == bytes(range(16))
    assert ours.header.hardware_versions == HardwareVersions(1, 2)
    assert ours.header.to_bytes() == content[:60]


@pytest.mark.parametrize("name", ["ppmid-v1", "hcalcs-v2"])
def test_zigpy_cannot_read_a_gbcs_image(name):
    """Why this project has a reader of its own. Should this ever fail, the documentation wants a new word."""
    with pytest.raises(ValueError, match="too short"):
        OTAImage.deserialize(built(name))


def test_the_named_tags_are_those_of_zigpy():
    names = {tag: OurSubElement(tag, b"").name for tag in range(0x10000)}
    standard = {int(each): each.name.lower().replace("_", " ") for each in ElementTagId}
    named = {tag: name.lower().replace(",", "") for tag, name in names.items()}
    assert {tag: named[tag] for tag in standard} == standard
    assert {tag for tag, name in names.items() if name not in ("reserved tag", "manufacturer specific")} == set(
        standard
    )
