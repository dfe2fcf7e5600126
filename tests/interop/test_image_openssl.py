"""Against OpenSSL: a signed image verifies there, and a seeded payload can be made there."""

import shutil
import subprocess
from pathlib import Path

import pytest

from chf.image.build import build_image
from chf.image.image import parse_image
from chf.image.recipe import parse_recipe
from chf.image.signature import key_from_seed, public_key_pem
from tests.support.oracles import missing

IMAGES = Path(__file__).parents[2] / "firmware_images"


@pytest.fixture
def openssl() -> str:
    found = shutil.which("openssl")
    if found is None:
        missing("openssl is not installed")
    return found


def der_integer(octets: bytes) -> bytes:
    octets = octets.lstrip(b"\0") or b"\0"
    octets = b"\0" + octets if octets[0] & 0x80 else octets
    return bytes([2, len(octets)]) + octets


def test_openssl_verifies_the_supplier_signature_over_the_manufacturer_image(openssl, tmp_path):
    image = parse_image((IMAGES / "golden" / "hcalcs-v2.zigbee").read_bytes())
    assert image.signature is not None
    numbers = der_integer(image.signature[:32]) + der_integer(image.signature[32:])
    (tmp_path / "signature").write_bytes(bytes([0x30, len(numbers)]) + numbers)
    (tmp_path / "key").write_bytes(public_key_pem(key_from_seed("chf test supplier")))
    (tmp_path / "image").write_bytes(image.manufacturer_image)
    verify = [openssl, "dgst", "-sha256", "-verify", "key", "-signature", "signature", "image"]
    done = subprocess.run(verify, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "Verified OK\n")
    (tmp_path / "image").write_bytes(image.manufacturer_image + b"\0")
    assert subprocess.run(verify, cwd=tmp_path, capture_output=True, check=False).returncode == 1


def test_openssl_makes_the_same_seeded_payload(openssl):
    recipe = parse_recipe((IMAGES / "recipes" / "ppmid-v1.toml").read_text())
    made = subprocess.run(
        [openssl, "dgst", "-shake256", "-xoflen", "24576", "-binary"],
        input=b"chf test PPMID v1",
        capture_output=True,
        check=True,
    )
    assert parse_image(build_image(recipe, pytest.fail)).manufacturer_image == made.stdout
