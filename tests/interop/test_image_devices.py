"""The hub's reader and the emulated devices' own, written apart, see the same image in the same bytes."""

from pathlib import Path

import pytest

from chf.errors import MalformedImageError
from chf.image.build import build_image
from chf.image.image import ImageKind, parse_image
from chf.image.recipe import parse_recipe
from devices.wire.ota_file import BadImageError, OtaHeader, check_sub_elements

IMAGES = Path(__file__).parents[2] / "firmware_images"
RECIPES = sorted((IMAGES / "recipes").glob("*.toml"))
BROKEN = sorted((IMAGES / "broken").glob("*.toml"))


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_device_reads_what_the_hub_reads(path):
    content = build_image(parse_recipe(path.read_text()), pytest.fail)
    image = parse_image(content)
    ours, theirs = image.header, OtaHeader.from_bytes(content)
    assert theirs.to_bytes() == ours.to_bytes()
    assert (theirs.manufacturer, theirs.image_type) == (ours.manufacturer_code, ours.image_type)
    assert (theirs.file_version, theirs.total_bytes) == (ours.file_version, ours.total_image_size)
    assert (theirs.credential, theirs.destination) == (ours.security_credential_version, ours.destination)
    versions = ours.hardware_versions
    assert theirs.hardware_versions == (None if versions is None else (versions.minimum, versions.maximum))
    if image.kind is ImageKind.STANDARD:
        check_sub_elements(content[theirs.header_bytes :])


def device_refuses(content: bytes, kind: ImageKind) -> bool:
    try:
        header = OtaHeader.from_bytes(content)
        if kind is ImageKind.STANDARD:
            check_sub_elements(content[header.header_bytes :])
    except BadImageError:
        return True
    return False


def test_what_a_device_refuses_the_hub_refuses_too():
    refused = 0
    for path in BROKEN:
        recipe = parse_recipe(path.read_text())
        content = build_image(recipe, pytest.fail)
        if device_refuses(content, recipe.kind):
            refused += 1
            with pytest.raises(MalformedImageError):
                parse_image(content, kind=recipe.kind)
    assert refused >= 14  # the others want the size, the hardware version or the kind, which a device judges elsewhere
