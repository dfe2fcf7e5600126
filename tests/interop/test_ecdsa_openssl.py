"""OpenSSL verifies our signatures on the two binary curves, and we verify those that OpenSSL makes."""

import shutil
import subprocess
from pathlib import Path

import pytest

from chf.crypto.binary_curve import SECT163K1, SECT283K1
from chf.crypto.ecdsa import sign, verifies
from chf.crypto.ecqv import Certificate, Suite
from chf.crypto.mmo import aes_mmo
from chf.eui64 import Eui64
from chf.image.zigbee_signature import seeded_authority
from tests.support.oracles import missing

GOLDEN = Path(__file__).parents[2] / "firmware_images" / "golden"
ISSUER = Eui64(0x00DB_1234_5600_00CA)
CURVES = pytest.mark.parametrize("curve", [SECT163K1, SECT283K1], ids=lambda curve: curve.name)
EC_PUBLIC_KEY = bytes.fromhex("06072A8648CE3D0201")
OBJECT_IDENTIFIERS = {"sect163k1": bytes.fromhex("06052B81040001"), "sect283k1": bytes.fromhex("06052B81040010")}


@pytest.fixture(scope="module", autouse=True)
def binary_curves():
    if shutil.which("openssl") is None:
        missing("openssl is not installed")
    known = subprocess.run(["openssl", "ecparam", "-list_curves"], capture_output=True, text=True, check=True).stdout
    if any(name not in known for name in OBJECT_IDENTIFIERS):
        missing("this openssl was built without binary curves")


def der(tag: int, octets: bytes) -> bytes:
    assert len(octets) < 0x80
    return bytes([tag, len(octets)]) + octets


def der_signature(signature: bytes) -> bytes:
    half = len(signature) // 2
    numbers = (part.lstrip(b"\0") for part in (signature[:half], signature[half:]))
    return der(0x30, b"".join(der(2, b"\0" + part if part[0] & 0x80 else part) for part in numbers))


def accepted(directory: Path, curve, point: bytes, digest: bytes, signature: bytes) -> bool:
    algorithm = der(0x30, EC_PUBLIC_KEY + OBJECT_IDENTIFIERS[curve.name])
    (directory / "key").write_bytes(der(0x30, algorithm + der(0x03, b"\0" + point)))
    (directory / "digest").write_bytes(digest)
    (directory / "signature").write_bytes(der_signature(signature))
    arguments = ["-verify", "-pubin", "-keyform", "DER", "-inkey", "key", "-in", "digest", "-sigfile", "signature"]
    done = subprocess.run(["openssl", "pkeyutl", *arguments], cwd=directory, capture_output=True, check=False)
    assert (done.returncode == 0) == (b"Verified Successfully" in done.stdout), done.stderr
    assert b"Verif" in done.stdout, done.stderr  # it was judged, not left unread
    return done.returncode == 0


@CURVES
def test_openssl_verifies_ours(curve, tmp_path):
    for private in (1, 0x1234567, curve.order - 2):
        digest = aes_mmo(b"an OTA file" + bytes([private & 0xFF]))
        signature = sign(curve, private, digest)
        point = curve.compress(curve.multiply(private, curve.generator))
        assert accepted(tmp_path, curve, point, digest, signature)
        assert not accepted(tmp_path, curve, point, aes_mmo(b"another file"), signature)


@CURVES
def test_we_verify_those_of_openssl(curve, tmp_path):
    def openssl(*arguments: str) -> bytes:
        return subprocess.run(["openssl", *arguments], cwd=tmp_path, capture_output=True, check=True).stdout

    openssl("ecparam", "-name", curve.name, "-genkey", "-noout", "-out", "key")
    digest = aes_mmo(b"an OTA file")
    (tmp_path / "digest").write_bytes(digest)
    signature = openssl("pkeyutl", "-sign", "-inkey", "key", "-in", "digest")
    public = openssl("ec", "-in", "key", "-pubout", "-conv_form", "compressed", "-outform", "DER")
    point = curve.decompress(public[-curve.point_octets :])
    r_size = signature[3]
    numbers = signature[4 : 4 + r_size], signature[6 + r_size :]
    raw = b"".join(part.lstrip(b"\0").rjust(curve.scalar_octets, b"\0") for part in numbers)
    assert verifies(curve, point, digest, raw)
    assert not verifies(curve, point, aes_mmo(b"another file"), raw)


@pytest.mark.parametrize(("suite", "r_s_bytes"), [(Suite.ONE, 42), (Suite.TWO, 72)], ids=["suite 1", "suite 2"])
def test_openssl_verifies_the_golden_signed_images(suite, r_s_bytes, tmp_path):
    """Cut here by the standard's numbers; the signer's key is that of the embedded certificate under the test CA."""
    content = (GOLDEN / f"standard-signed-{suite.value}.zigbee").read_bytes()
    curve, authority = suite.curve, seeded_authority(suite, "chf test signer", ISSUER)
    head = len(content) - r_s_bytes - 8 - 6
    certificate = Certificate.from_bytes(suite, content[head - suite.certificate_octets : head])
    point = curve.compress(certificate.public_key(curve.decompress(authority.public_key)))
    signed, signature = content[:-r_s_bytes], content[-r_s_bytes:]
    assert accepted(tmp_path, curve, point, aes_mmo(signed), signature)
    assert not accepted(tmp_path, curve, point, aes_mmo(signed[:-1] + b"\1"), signature)
