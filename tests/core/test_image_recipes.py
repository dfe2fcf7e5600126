"""The recipes of the repository: the golden images are rebuilt byte for byte, the broken ones are refused as they say."""

import hashlib
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from chf.crypto.p256 import verifies
from chf.errors import MalformedImageError, UsageError
from chf.image.build import MAX_PAYLOAD_BYTES, build_image, suggested_file_name
from chf.image.image import ImageKind, parse_image
from chf.image.recipe import parse_recipe
from chf.image.signature import key_from_seed, signer_from_certificate

IMAGES = Path(__file__).parents[2] / "firmware_images"
RECIPES = sorted((IMAGES / "recipes").glob("*.toml"))
GOLDEN = sorted((IMAGES / "golden").glob("*.zigbee"))
BROKEN = sorted((IMAGES / "broken").glob("*.toml"))
REFUSED_ONLY_WHERE_THE_KIND_IS_STATED = {"force-replace", "signature-length", "signature-cut-off"}

MINIMAL = """
kind = "standard"
manufacturer_code = 0xFFF0
image_type = 1
file_version = 2
[payload]
pattern = "x"
"""
SIGNED = """
kind = "gbcs-signed"
manufacturer_code = 0xFFF0
image_type = 1
file_version = 2
hardware_versions = { minimum = 0, maximum = 0 }
[payload]
pattern = "x"
[signature]
force_replace = true
KEY
"""


def stem(path: Path) -> str:
    return path.stem


def no_files(name: str) -> bytes:
    raise AssertionError(name)


def built(text: str) -> bytes:
    return build_image(parse_recipe(text), no_files)


def test_there_are_recipes_of_every_sort():
    kinds = {parse_recipe(path.read_text()).kind for path in RECIPES}
    assert kinds == set(ImageKind)
    assert len(BROKEN) > 30


@pytest.mark.parametrize("path", RECIPES, ids=stem)
def test_a_recipe_builds_a_sound_image_of_its_kind(path):
    recipe = parse_recipe(path.read_text())
    image = parse_image(build_image(recipe, no_files))  # the kind is found, not told
    assert image.kind is recipe.kind
    assert image.header.file_version == recipe.file_version
    assert image.remarks == ()


@pytest.mark.parametrize("golden", GOLDEN, ids=stem)
def test_a_golden_image_is_rebuilt_byte_for_byte(golden):
    recipe = parse_recipe((IMAGES / "recipes" / f"{golden.stem}.toml").read_text())
    assert build_image(recipe, no_files) == golden.read_bytes()


def test_the_golden_images_are_small_and_have_the_listed_digests():
    lines = (IMAGES / "golden" / "SHA256SUMS").read_text().splitlines()
    listed = {name: digest for digest, name in (line.split("  ") for line in lines)}
    assert listed == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in GOLDEN}
    assert all(path.stat().st_size < 8192 for path in GOLDEN)


@pytest.mark.parametrize("path", BROKEN, ids=stem)
def test_a_broken_image_is_refused_for_the_field_that_its_recipe_names(path):
    recipe = parse_recipe(path.read_text())
    content = build_image(recipe, no_files)
    with pytest.raises(MalformedImageError) as caught:
        parse_image(content, kind=recipe.kind)
    assert recipe.fault is not None
    assert caught.value.field == recipe.fault.field
    assert caught.value.offset is not None
    if path.stem not in REFUSED_ONLY_WHERE_THE_KIND_IS_STATED:
        with pytest.raises(MalformedImageError):
            parse_image(content)


def test_without_its_fault_a_broken_recipe_would_be_sound():
    """So that each is refused for its fault and for nothing else; a few are broken by what they leave out."""
    by_content = {"empty-", "gbcs-with", "hardware-versions", "oversize", "signed-empty", "two-upgrade"}
    for path in BROKEN:
        if path.stem.startswith(tuple(by_content)) and path.stem != "empty-file":
            continue
        text = path.read_text().split("[fault]")[0]
        assert parse_image(built(text)).kind is parse_recipe(text).kind, path.stem


def test_the_signature_of_the_golden_image_is_of_the_published_seed():
    image = parse_image((IMAGES / "golden" / "hcalcs-v2.zigbee").read_bytes())
    assert image.signature is not None
    assert verifies(image.manufacturer_image, image.signature, key_from_seed("chf test supplier").public_key())
    assert not verifies(image.manufacturer_image, image.signature, key_from_seed("another").public_key())


def test_a_key_is_derived_from_its_seed_as_documented():
    """docs/image-format.md gives the rule; this is it, written a second time."""
    order = 2**256 - 2**224 + 2**192 - 0x4319055258E8617B0C46353D039CDAAF
    digest = hashlib.sha512(b"chf firmware image test key\x00chf test supplier").digest()
    expected = int.from_bytes(digest, "big") % (order - 1) + 1
    assert key_from_seed("chf test supplier").private_numbers().private_value == expected


def test_seeded_and_patterned_payloads():
    seeded = parse_image(built(MINIMAL.replace('pattern = "x"', 'seed = "s"\nsize_bytes = 40')))
    assert seeded.manufacturer_image == hashlib.shake_256(b"s").digest(40)
    patterned = parse_image(built(MINIMAL.replace('pattern = "x"', 'pattern_hex = "aabbcc"\nsize_bytes = 7')))
    assert patterned.manufacturer_image.hex() == "aabbccaabbccaa"
    assert parse_image(built(MINIMAL)).manufacturer_image == b"x"


def test_a_payload_may_come_from_a_file():
    recipe = parse_recipe(MINIMAL.replace('pattern = "x"', 'file = "firmware.bin"'))
    image = parse_image(build_image(recipe, {"firmware.bin": b"from the file"}.__getitem__))
    assert image.manufacturer_image == b"from the file"


def test_a_file_name_is_suggested_without_what_a_path_could_abuse():
    image = parse_image(built(MINIMAL.replace("image_type", 'header_string = "../..\\u202e/a b:c*"\nimage_type')))
    assert suggested_file_name(image) == "FFF0-0001-00000002-a-b-c.zigbee"
    nameless = parse_image(built(MINIMAL))
    assert suggested_file_name(nameless) == f"FFF0-0001-00000002-{hashlib.sha256(b'x').hexdigest()[:16]}.zigbee"


WRONG = {
    "not TOML": ("kind = ", "not TOML"),
    "nested too deep": ("x = " + "[" * 100_000, "not TOML"),
    "a number of 10,000 digits": ("x = " + "1" * 10_000, "not TOML"),
    "unknown key": ("colour = 1" + MINIMAL, "colour: is not known"),
    "unknown payload key": (MINIMAL + "colour = 1", "payload.colour: is not known"),
    "unknown kind": (
        MINIMAL.replace("standard", "elf"),
        "kind: is one of standard, gbcs-ppmid, gbcs-signed, not 'elf'",
    ),
    "missing key": (MINIMAL.replace("image_type = 1", ""), "recipe: image_type: is missing"),
    "negative": (MINIMAL.replace("image_type = 1", "image_type = -1"), "from 0 to 0xFFFF"),
    "too large": (MINIMAL.replace("file_version = 2", "file_version = 0x100000000"), "from 0 to 0xFFFFFFFF"),
    "truth for a number": (MINIMAL.replace("image_type = 1", "image_type = true"), "is a whole number"),
    "text for a number": (MINIMAL.replace("image_type = 1", 'image_type = "1"'), "is a whole number"),
    "table for text": (MINIMAL.replace('pattern = "x"', "pattern = {}"), "is a text"),
    "text for a table": ('sub_element = "x"' + MINIMAL, "written [[sub_element]]"),
    "numbers for tables": ("sub_element = [1]" + MINIMAL, "sub_element[1]: is not a table"),
    "long header string": ('header_string = "' + "é" * 17 + '"' + MINIMAL, "34 octets"),
    "bad destination": ('destination = "nowhere"' + MINIMAL, "not an EUI-64"),
    "no payload": (MINIMAL.split("[payload]", maxsplit=1)[0], "payload: is missing"),
    "two payloads": (MINIMAL + 'seed = "s"', "exactly one of"),
    "empty pattern": (MINIMAL.replace('"x"', '""'), "payload.pattern: is empty"),
    "bad hex": (MINIMAL.replace('pattern = "x"', 'pattern_hex = "x"'), "payload.pattern_hex: is written in hex digits"),
    "signature of a standard file": (MINIMAL + '[signature]\nkey_seed = "s"', "signature: belongs to kind gbcs-signed"),
    "signed without signature": (MINIMAL.replace("standard", "gbcs-signed"), "signature: belongs to kind gbcs-signed"),
    "two keys": (
        MINIMAL.replace("standard", "gbcs-signed") + '[signature]\nkey_seed = "s"\nkey_file = "k"',
        "exactly one of key_seed and key_file",
    ),
    "sub-elements of a GBCS image": (
        MINIMAL.replace("standard", "gbcs-ppmid") + '[[sub_element]]\ntag = 1\npattern = "x"',
        "sub_element: belongs to kind standard only",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_recipe_is_a_usage_error_that_says_what_is_wrong(name):
    text, said = WRONG[name]
    with pytest.raises(UsageError) as caught:
        parse_recipe(text)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (MINIMAL + f"size_bytes = {MAX_PAYLOAD_BYTES + 1}", "above the limit"),
        (MINIMAL + '[fault]\nfield = "x"\n[[fault.overwrite]]\noffset = 63\nhex = "00"', "beyond the 63 bytes"),
    ],
)
def test_what_only_building_can_find_is_a_usage_error_too(text, said):
    with pytest.raises(UsageError) as caught:
        built(text)
    assert said in str(caught.value)


LABEL = "PRIVATE" + " KEY"  # in two, because no private key may lie in the repository and a test looks for the words
PEM_OF_JUNK = f"-----BEGIN {LABEL}-----\nc2VjcmV0\n-----END {LABEL}-----\n".encode()


def pem(key, encryption=None) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())


def test_a_signing_key_may_come_from_a_pem_file():
    key = key_from_seed("anybody")
    recipe = parse_recipe(SIGNED.replace("KEY", 'key_file = "supplier.pem"'))
    image = parse_image(build_image(recipe, {"supplier.pem": pem(key)}.__getitem__))
    assert image.signature is not None
    assert verifies(image.manufacturer_image, image.signature, key.public_key())
    assert image.force_replace is True


@pytest.mark.parametrize(
    ("octets", "said"),
    [
        (b"", "not an unencrypted private key"),
        (PEM_OF_JUNK, "not an unencrypted private key"),
        (pem(key_from_seed("s"), BestAvailableEncryption(b"secret")), "not an unencrypted private key"),
        (pem(ec.generate_private_key(ec.SECP384R1())), "not a P-256 key"),
        (pem(ed25519.Ed25519PrivateKey.generate()), "not a P-256 key"),
    ],
    ids=["empty", "junk", "encrypted", "P-384", "Ed25519"],
)
def test_what_is_no_signing_key_is_a_usage_error_that_repeats_nothing(octets, said):
    recipe = parse_recipe(SIGNED.replace("KEY", 'key_file = "supplier.pem"'))
    with pytest.raises(UsageError, match=said) as caught:
        build_image(recipe, lambda name: octets)
    assert "c2VjcmV0" not in str(caught.value)


def test_a_certificate_for_another_curve_is_a_usage_error():
    other = ec.generate_private_key(ec.SECP384R1()).public_key()
    octets = other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(UsageError, match="P-256"):
        signer_from_certificate(octets)


EVERY_NUMBER = """
kind = "standard"
manufacturer_code = MANUFACTURER
image_type = TYPE
file_version = VERSION
stack_version = STACK
security_credential_version = CREDENTIAL
hardware_versions = { minimum = MINIMUM, maximum = MAXIMUM }
payload = { pattern = "x" }
sub_element = [{ tag = TAG, pattern = "y" }]
"""
LARGEST = {"CREDENTIAL": 0xFF, "VERSION": 0xFFFFFFFF} | dict.fromkeys(
    ("MANUFACTURER", "TYPE", "STACK", "MINIMUM", "MAXIMUM", "TAG"), 0xFFFF
)


def with_numbers(numbers: dict[str, int]) -> str:
    text = EVERY_NUMBER
    for name, value in numbers.items():
        text = text.replace(name, str(value))
    return text


def test_every_number_may_be_as_large_as_its_field():
    image = parse_image(built(with_numbers(LARGEST)))
    header = image.header
    assert (header.manufacturer_code, header.image_type, header.file_version) == (0xFFFF, 0xFFFF, 0xFFFFFFFF)
    assert (header.stack_version, header.security_credential_version) == (0xFFFF, 0xFF)
    assert (header.hardware_versions.minimum, header.hardware_versions.maximum) == (0xFFFF, 0xFFFF)
    assert image.sub_elements[1].tag == 0xFFFF


@pytest.mark.parametrize("name", LARGEST)
def test_no_number_may_be_larger_than_its_field(name):
    with pytest.raises(UsageError, match=f"from 0 to 0x{LARGEST[name]:X}"):
        parse_recipe(with_numbers(LARGEST | {name: LARGEST[name] + 1}))


def test_what_fits_exactly_fits():
    text = 'header_string = "' + "h" * 32 + '"' + MINIMAL
    assert parse_image(built(text)).header.header_string == b"h" * 32
    last = MINIMAL + '[fault]\nfield = "x"\n[[fault.overwrite]]\noffset = 62\nhex = "79"'
    assert parse_image(built(last)).manufacturer_image == b"y"
    twice = MINIMAL.replace('"x"', '"ab"\nsize_bytes = 4')
    assert parse_image(built(twice)).manufacturer_image == b"abab"


def test_a_suggested_name_does_not_outgrow_the_header_string():
    image = parse_image(built('header_string = "' + "a." * 16 + '"' + MINIMAL))
    assert suggested_file_name(image) == "FFF0-0001-00000002-" + ("a." * 16).strip(".") + ".zigbee"
