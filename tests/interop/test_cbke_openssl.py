"""OpenSSL multiplies points of the two binary curves as we do."""

import shutil
import subprocess

import pytest

from chf.crypto.binary_curve import SECT163K1, SECT283K1
from tests.support.oracles import missing

CURVES = pytest.mark.parametrize("curve", [SECT163K1, SECT283K1], ids=lambda curve: curve.name)


def openssl(*arguments, octets=b""):
    done = subprocess.run(["openssl", *arguments], input=octets, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@pytest.fixture(scope="module", autouse=True)
def binary_curves():
    known = shutil.which("openssl") and openssl("ecparam", "-list_curves").decode()
    if not known or not all(name in known for name in ("sect163k1", "sect283k1")):
        missing("no openssl with binary curves here")


def key_pair(curve, path):
    """A fresh key: its scalar, its public point, and a PEM file for each half."""
    private = openssl("ecparam", "-name", curve.name, "-genkey", "-noout", "-outform", "DER")
    path.write_bytes(private)
    # ECPrivateKey (RFC 5915): in a SEQUENCE, INTEGER 1, then the OCTET STRING of the scalar
    start = private.index(b"\x02\x01\x01\x04") + 5
    scalar = int.from_bytes(private[start : start + private[start - 1]], "big")
    public = openssl("ec", "-inform", "DER", "-in", str(path), "-pubout", "-conv_form", "compressed", "-outform", "DER")
    public_path = path.with_suffix(".pub")
    public_path.write_bytes(public)
    return scalar, public[-curve.point_octets :], public_path


@CURVES
def test_public_keys_are_those_of_openssl(curve, tmp_path):
    for number in range(5):
        scalar, public, _ = key_pair(curve, tmp_path / f"{number}.der")
        assert curve.compress(curve.multiply(scalar, curve.generator)) == public


@CURVES
def test_the_product_with_any_point_is_that_of_openssl(curve, tmp_path):
    """Plain Diffie-Hellman: the x-coordinate of one's scalar times the other's point."""
    for number in range(3):
        mine, _, _ = key_pair(curve, tmp_path / f"a{number}.der")
        _, point, public_path = key_pair(curve, tmp_path / f"b{number}.der")
        own = tmp_path / f"a{number}.der"
        derive = ("pkeyutl", "-derive", "-keyform", "DER", "-inkey", str(own), "-peerform", "DER")
        secret = openssl(*derive, "-peerkey", str(public_path))
        assert curve.x_octets(curve.multiply(mine, curve.decompress(point))) == secret
