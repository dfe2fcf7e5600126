"""Signed standard OTA files: made from recipes, verified, and refused when anything about them is wrong."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from chf.crypto.ecqv import Certificate, CertificateError, Suite
from chf.crypto.mmo import aes_mmo
from chf.errors import MalformedImageError, UsageError
from chf.eui64 import Eui64
from chf.image import inspection
from chf.image.build import build_image
from chf.image.checks import Expectation, check_image
from chf.image.element import SubElement
from chf.image.header import OtaHeader
from chf.image.image import parse_image
from chf.image.recipe import parse_recipe
from chf.image.zigbee_signature import (
    READINGS,
    authority_from_text,
    authority_text,
    read_signature,
    seeded_authority,
    seeded_credentials,
    signature_elements,
)

GOLDEN = Path(__file__).parents[2] / "firmware_images" / "golden"
SEED = "chf test signer"
SIGNER, ISSUER = Eui64(0x00DB_1234_5600_0051), Eui64(0x00DB_1234_5600_00CA)
SUITES = pytest.mark.parametrize("suite", list(Suite), ids=["suite 1", "suite 2"])
R_S_BYTES = {Suite.ONE: 42, Suite.TWO: 72}
RECIPE = """
kind = "standard"
manufacturer_code = 0xFFF0
image_type = 1
file_version = 2
integrity_code = true
[payload]
pattern = "firmware"
[zigbee_signature]
suite = SUITE
signer = "00-DB-12-34-56-00-00-51"
issuer = "00-DB-12-34-56-00-00-CA"
key_seed = "chf test signer"
"""


def built(suite: Suite, text: str = RECIPE) -> bytes:
    return build_image(parse_recipe(text.replace("SUITE", str(suite.value))), pytest.fail)


def authority(suite: Suite, seed: str = SEED):
    return authority_from_text(authority_text(seeded_authority(suite, seed, ISSUER)))


def verdicts(content: bytes, under) -> dict[str, bool | None]:
    checks = check_image(parse_image(content), Expectation(zigbee_authority=under))
    return {check.name: check.passed for check in checks}


def resealed(suite: Suite, tail: bytes = b"", *, credentials=None, before: bytes = b"") -> bytes:
    """A file signed over sub-elements `before` the certificate, with `tail` behind the signature."""
    head = bytearray(built(suite)[: 56 + SubElement(0, b"firmware").length_bytes]) + before
    credentials = credentials or seeded_credentials(suite, SEED, ISSUER, SIGNER)
    head[52:56] = (len(head) + len(signature_elements(bytes(head), credentials)) + len(tail)).to_bytes(4, "little")
    return bytes(head) + signature_elements(bytes(head), credentials) + tail


@SUITES
def test_what_a_recipe_signs_verifies_under_its_ca(suite):
    content = built(suite)
    assert content == built(suite)
    assert verdicts(content, authority(suite)) == {"structure": True, "integrity code": True, "ZigBee signature": True}
    assert verdicts(content, None)["ZigBee signature"] is None
    signature = read_signature(parse_image(content))
    assert signature is not None
    assert (signature.suite, signature.signer, signature.issuer) == (suite, SIGNER, ISSUER)


@SUITES
def test_the_layout_is_the_standards(suite):
    """Tags, lengths and what is digested, counted here from the end of the file and not by the code under test."""
    content, r_s = built(suite), R_S_BYTES[suite]
    signature_tag, certificate_tag, certificate_bytes = {Suite.ONE: (1, 2, 48), Suite.TWO: (5, 6, 74)}[suite]
    code, certificate, signature = parse_image(content).sub_elements[1:]
    assert [each.tag for each in (code, certificate, signature)] == [3, certificate_tag, signature_tag]
    assert (len(code.data), len(certificate.data), len(signature.data)) == (16, certificate_bytes, 8 + r_s)
    assert signature.data[:8] == SIGNER.to_bytes(8, "little")
    assert content.endswith(signature.data)
    assert read_signature(parse_image(content)).digest == aes_mmo(content[:-r_s])
    at = content.index(code.data)
    assert content[at - 6 : at] == bytes.fromhex("030010000000")
    assert code.data == aes_mmo(content[:at])


@pytest.mark.parametrize(("suite", "step"), [(Suite.ONE, 1), (Suite.TWO, 5)], ids=["suite 1", "suite 2"])
def test_a_flipped_bit_anywhere_is_found(suite, step):
    """In what is signed and in the signature: the file cannot be read any more, or its signature does not hold."""
    content, under = built(suite), authority(suite)
    for at in range(0, len(content), step):
        flipped = bytearray(content)
        flipped[at] ^= 1 << at % 8
        try:
            found = verdicts(bytes(flipped), under)
        except MalformedImageError:
            continue
        assert found["ZigBee signature"] is False, at


@SUITES
def test_another_ca_signer_or_suite_does_not_verify(suite):
    content = built(suite)
    assert verdicts(content, authority(suite, "another"))["ZigBee signature"] is False
    other = Suite.TWO if suite is Suite.ONE else Suite.ONE
    assert verdicts(content, authority(other))["ZigBee signature"] is False
    forged = seeded_credentials(suite, "another", ISSUER, SIGNER)  # says the right names, under its own CA
    assert verdicts(resealed(suite, credentials=forged), authority(suite))["ZigBee signature"] is False
    assert verdicts(resealed(suite, credentials=forged), authority(suite, "another"))["ZigBee signature"] is True


@SUITES
def test_a_key_that_is_not_the_certificates_does_not_verify(suite):
    genuine = seeded_credentials(suite, SEED, ISSUER, SIGNER)
    stolen = replace(genuine, private_key=seeded_credentials(suite, "thief", ISSUER, SIGNER).private_key)
    assert verdicts(resealed(suite, credentials=genuine), authority(suite))["ZigBee signature"] is True
    assert verdicts(resealed(suite, credentials=stolen), authority(suite))["ZigBee signature"] is False


@SUITES
def test_what_cannot_be_right_is_said_without_a_ca(suite):
    def said(content: bytes) -> str:
        check = check_image(parse_image(content), Expectation())[-1]
        assert (check.name, check.passed) == ("ZigBee signature", False)
        return check.detail

    certificate = SubElement({Suite.ONE: 2, Suite.TWO: 6}[suite], bytes(suite.certificate_octets)).to_bytes()
    assert "one last sub-element" in said(resealed(suite, SubElement(0xF000, b"more").to_bytes()))
    assert "just one signing certificate" in said(resealed(suite, before=certificate))
    lone = parse_image(resealed(suite)).sub_elements[-1]
    short = resealed(suite)[: -lone.length_bytes] + SubElement(lone.tag, lone.data[:-1]).to_bytes()
    assert "the signature has" in said(short[:52] + len(short).to_bytes(4, "little") + short[56:])


@SUITES
def test_a_signer_who_is_not_the_subject_is_refused(suite):
    content = bytearray(built(suite))
    content[-R_S_BYTES[suite] - 8] ^= 1
    check = check_image(parse_image(bytes(content)), Expectation())[-1]
    assert check.passed is False
    assert "00-DB-12-34-56-00-00-50, its certificate that of 00-DB-12-34-56-00-00-51" in check.detail


def test_a_suite_2_certificate_that_is_not_for_signatures_is_refused():
    octets = bytearray(seeded_credentials(Suite.TWO, SEED, ISSUER, SIGNER).certificate.octets)
    content = built(Suite.TWO)
    only_agreement = content.replace(bytes(octets), bytes(octets[:36]) + b"\x08" + bytes(octets[37:]))
    check = check_image(parse_image(only_agreement), Expectation())[-1]
    assert check.passed is False
    assert "not a certificate for signatures" in check.detail
    octets[36] = 0x80
    with pytest.raises(CertificateError, match="not a certificate for key agreement"):
        Certificate.from_bytes(Suite.TWO, bytes(octets))


def test_a_wrong_integrity_code_is_found_without_any_key():
    unsigned = RECIPE.split("[zigbee_signature]", maxsplit=1)[0]
    content = bytearray(built(Suite.ONE, unsigned))
    assert verdicts(bytes(content), None) == {"structure": True, "integrity code": True}
    content[20] ^= 1
    assert verdicts(bytes(content), None) == {"structure": True, "integrity code": False}


def reference_mmo(message: bytes, length_octets: bytes) -> bytes:
    """By ZigBee PRO B.6, with the length that ends the padding given by the caller."""
    padded = message + b"\x80"
    padded += bytes(-(len(padded) + len(length_octets)) % 16) + length_octets
    state = bytes(16)
    for at in range(0, len(padded), 16):
        block = padded[at : at + 16]
        cipher = Cipher(algorithms.AES(state), modes.CBC(bytes(16))).encryptor().update(block)
        state = bytes(a ^ b for a, b in zip(cipher, block, strict=True))
    return state


@pytest.mark.parametrize("firmware_bytes", [100, 8_122, 8_123, 9_000])  # the padding changes form at 8,192 octets
@pytest.mark.parametrize("reading", READINGS)
def test_each_makers_reading_of_the_integrity_code_holds_and_is_named(reading, firmware_bytes):
    firmware = SubElement(0, bytes(range(256)) * 36)
    body = SubElement(0, firmware.data[:firmware_bytes]).to_bytes() + SubElement(0xF000, b"more").to_bytes()
    header = OtaHeader(0xFFF0, 1, 2, bytes(32), 56 + len(body) + 22).to_bytes()
    covered = header + body + (bytes.fromhex("0300 10000000") if reading is READINGS[0] else b"")
    bits = len(covered) * 8
    short = bits < 0x10000 or reading is READINGS[2]
    length = (bits & 0xFFFF).to_bytes(2, "big") if short else bits.to_bytes(4, "big") + bytes(2)
    content = header + body + SubElement(3, reference_mmo(covered, length)).to_bytes()
    code = check_image(parse_image(content), Expectation())[1]
    assert (code.name, code.passed) == ("integrity code", True)
    same = READINGS[1] if bits < 0x10000 and reading is READINGS[2] else reading  # a short file has one padding
    assert code.detail == same


def test_an_unsigned_image_fails_where_a_ca_is_named_and_only_there():
    content = (GOLDEN / "standard.zigbee").read_bytes()
    assert verdicts(content, authority(Suite.ONE)) == {"structure": True, "ZigBee signature": False}
    assert verdicts(content, None) == {"structure": True}


@SUITES
def test_inspection_says_who_signed_and_whether_it_holds(suite):
    image = parse_image(built(suite))
    told = inspection.as_json(image, None, authority(suite))["zigbee"]
    assert told["suite"] == suite.value
    assert told["signer"] == told["certificate_subject"] == "00-DB-12-34-56-00-00-51"
    assert told["certificate_issuer"] == "00-DB-12-34-56-00-00-CA"
    assert [(each["name"], each["passed"]) for each in told["checks"]] == [
        ("integrity code", True),
        ("ZigBee signature", True),
    ]
    rows = {row.label: row.value for row in inspection.as_rows(image, None, authority(suite, "another"))}
    assert rows["Integrity code"].startswith("verified")
    assert rows["ZigBee signature"].startswith("NOT verified: says 00-DB-12-34-56-00-00-51, certified by 00-DB-12")


@SUITES
def test_the_cas_key_is_derived_from_its_seed_as_documented(suite):
    """docs/image-format.md gives the rule; this is it, written a second time."""
    material = b"chf zigbee image test key\0" + bytes([suite.value]) + b"authority\0" + SEED.encode()
    number = int.from_bytes(hashlib.shake_256(material).digest(64), "big") | 1 << 511
    assert seeded_authority(suite, SEED, ISSUER).private_key == number % (suite.curve.order - 1) + 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "has 22 or 37 octets, not 0"),
        ("zz", "not hex digits"),
        ("02" * 21, "not 21"),
        ("05" + "02" * 21, "not a compressed point"),
        ("02" + "FF" * 21, "no element of the field"),
        ("Device Implicit Cert: 0102", "not hex digits"),
    ],
)
def test_what_is_no_ca_key_is_a_usage_error(text, said):
    with pytest.raises(UsageError, match=said):
        authority_from_text(text)


def test_a_ca_key_is_found_among_the_lines_of_issued_credentials():
    key = seeded_authority(Suite.TWO, SEED, ISSUER).public_key
    text = f"Device Implicit Cert: 00\nca public key: {key.hex(' ')}\nsomething: else\n"
    assert authority_from_text(text) == authority(Suite.TWO)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("SUITE", "3", "from 1 to 2"),
        ("SUITE", "0", "from 1 to 2"),
        ('"00-DB-12-34-56-00-00-51"', '"nobody"', "not an EUI-64"),
        ('key_seed = "chf test signer"', "", r"zigbee_signature\.key_seed: is missing"),
        ('key_seed = "', 'colour = 1\nkey_seed = "', r"zigbee_signature\.colour: is not known"),
        ('"standard"', '"gbcs-ppmid"', "belongs to kind standard only"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(old, new, said):
    with pytest.raises(UsageError, match=said):
        parse_recipe(RECIPE.replace(old, new).replace("SUITE", "1"))
