"""The two public sample images (SR 11.1 and 11.4 of the RTDS templates) against the values measured on them."""

import base64
import hashlib
import re
from pathlib import Path

import pytest

from chf.image.checks import Expectation, check_image
from chf.image.header import HardwareVersions
from chf.image.image import FirmwareImage, ImageKind, parse_image
from chf.image.inspection import printable
from chf.image.signature import signer_from_certificate

REFERENCE = Path(__file__).parents[2].parent / "shared" / "reference"
MANUFACTURER_IMAGE_HASH = "7542f475e3f12eae887d81e32c46d313741d67076b13caec2f82e00ba5e1bb36"

pytestmark = pytest.mark.skipif(not REFERENCE.is_dir(), reason="the public reference data is not beside the checkout")


def sample(name: str) -> bytes:
    text = (REFERENCE / "duis" / name).read_text()
    found = re.search(r"<sr:FirmwareImage>(.*?)</sr:FirmwareImage>", text, re.DOTALL)
    assert found is not None
    return base64.b64decode(found[1])


@pytest.fixture
def esme() -> FirmwareImage:
    return parse_image(sample("11.1_UPDATE_FIRMWARE_REQUEST_DUIS.XML"))


@pytest.fixture
def ppmid() -> FirmwareImage:
    return parse_image(sample("11.4_UPDATE_PPMID_FIRMWARE_REQUEST_DUIS.XML"))


def test_the_kinds_are_told_apart_without_being_told(esme, ppmid):
    assert esme.kind is ImageKind.GBCS_SIGNED
    assert ppmid.kind is ImageKind.GBCS_PPMID


def test_both_hold_the_same_manufacturer_image(esme, ppmid):
    text = b"CriticalSoftware sample firmware image_" * 6 + b"\n"
    assert esme.manufacturer_image == ppmid.manufacturer_image == text
    assert esme.manufacturer_image_hash == ppmid.manufacturer_image_hash == MANUFACTURER_IMAGE_HASH
    assert hashlib.sha256(text).hexdigest() == MANUFACTURER_IMAGE_HASH


def test_headers(esme, ppmid):
    assert (len(esme.content), len(ppmid.content)) == (361, 295)
    assert (esme.header.image_type, ppmid.header.image_type) == (0x0000, 0x0084)
    assert printable(esme.header.header_string) == "I am a GFI ESME[] firmware image"
    assert printable(ppmid.header.header_string) == "I am a GFI PPMID firmware image "
    for image in (esme, ppmid):
        assert image.header.manufacturer_code == 0x121D
        assert image.header.file_version == 0xACDCACDC
        assert image.header.stack_version == 2
        assert image.header.hardware_versions == HardwareVersions(0x1111, 0x1211)
        assert image.header.to_bytes() == image.content[:60]
        assert image.remarks == ()


def test_the_supplier_signed_the_manufacturer_image_and_nothing_else(esme):
    """The certificate has expired: who signed is asked here, not whether the certificate is still good."""
    assert esme.force_replace is False
    certificates = REFERENCE / "gbcs" / "certificates"
    supplier = signer_from_certificate((certificates / "90b3d51f30010000-ds.pem").read_bytes())
    check = check_image(esme, Expectation(signer=supplier))[-1]
    assert check.passed
    assert check.detail == "made by CN=GITTESTSUPPLIER, OU=02, 90-B3-D5-1F-30-01-00-00"
    another = signer_from_certificate((certificates / "90b3d51f30000002-ds.pem").read_bytes())
    assert check_image(esme, Expectation(signer=another))[-1].passed is False


def test_the_ppmid_image_carries_no_signature(ppmid):
    assert (ppmid.signature, ppmid.force_replace) == (None, None)
