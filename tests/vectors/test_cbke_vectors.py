"""Annex C.5 (suite 1) and C.6 (suite 2) of the Smart Energy specification: every value, from both sides."""

import json
from pathlib import Path

import pytest

from chf.crypto import ecmqv
from chf.crypto.ecmqv import Ephemeral, agree
from chf.crypto.ecqv import Certificate, Credentials, Suite

VECTORS = Path(__file__).parents[2].parent / "shared" / "reference" / "zigbee" / "cbke_vectors.json"

SUITES = pytest.mark.parametrize("suite", Suite, ids=lambda suite: suite.name)

# Reconstructed, and confirmed by OpenSSL for U: the annex does not print the public keys of suite 2.
SUITE_2_PUBLIC_KEYS = {
    "U": "03030e56f7ade866e76372764ba20a9ff1fe4cae522f94839e70f2adfc1ca3e97f4ddcaf2e",
    "V": "0202f4fa2a3040433c6820299d182a1042e41404e337c57f47716b42dfaf970f1580a04c9b",
}

TEST_KIT = [
    (
        Suite.ONE,
        "02020882b1d7df05538f37cdd09a4f6b15368998642b002208000000000154455354534543410109108301234567890a",
        0x0392BA4AFC2453A49EEBE9BCA8DE73210F02479A4A,
        "0207d1ca014786b5e552cfd5f04339a2e856f00eaaef",
    ),
    (
        Suite.ONE,
        "0200caa15b4beede65c3139a5c3bc40c9ad153854a270022a300001731f354455354534543410109108301234567890a",
        0x019FCC486FC46980AB4A612725B36F005EDFF075FE,
        "020366d312a0abf55654ead3e1624c31faed89c3bb20",
    ),
    (
        Suite.TWO,
        (
            "000b3ad5a312ab75d60d081112131415161718005b7ed230ffffffff0022080000000001080205bb3d1d1576197ff9ab6563915019"
            "a130437adb0ee7915432dc4a09c97dc595c5856800"
        ),
        0x00997097B87684F62F555173C47BE89935FBF6440AE292492B54C5829A0D541F4D26E254,
        "02012f082ee7db1bd3f89f16eabbf5d6221a5dcd077fc0c9d37b329eee8e2cdaee03439de0",
    ),
]


@pytest.fixture(scope="module")
def vectors():
    if not VECTORS.exists():
        pytest.skip("the published vectors are not beside this checkout")
    return json.loads(VECTORS.read_text())


def of(vectors, suite):
    return vectors[f"suite{1 if suite is Suite.ONE else 2}"]


def credentials(suite, vector, side):
    certificate = Certificate.from_bytes(suite, bytes.fromhex(vector[side]["certificate"]))
    return Credentials(certificate, int(vector[side]["private_key"], 16), bytes.fromhex(vector["ca_public_key"]))


@SUITES
@pytest.mark.parametrize("side", ["U", "V"])
def test_the_certificate_reconstructs_the_public_key_of_its_private_key(vectors, suite, side):
    vector = of(vectors, suite)
    own = credentials(suite, vector, side)
    curve = suite.curve
    public = own.certificate.public_key(curve.decompress(own.ca_public_key))
    assert curve.compress(public).hex() == vector[side].get("public_key", SUITE_2_PUBLIC_KEYS[side])
    assert own.fit_together()


@SUITES
@pytest.mark.parametrize("side", ["U", "V"])
def test_the_ephemeral_keys_are_those_of_the_annex(vectors, suite, side):
    vector = of(vectors, suite)[side]
    ephemeral = Ephemeral.from_scalar(suite.curve, int(vector["ephemeral_private"], 16))
    assert ephemeral.public_key.hex() == vector["ephemeral_public"]


@SUITES
@pytest.mark.parametrize(("own_side", "peer_side"), [("U", "V"), ("V", "U")])
def test_secret_keys_and_macs_are_those_of_the_annex_from_either_side(vectors, suite, own_side, peer_side):
    vector, curve = of(vectors, suite), suite.curve
    own, peer = credentials(suite, vector, own_side), credentials(suite, vector, peer_side)
    ephemeral = Ephemeral.from_scalar(curve, int(vector[own_side]["ephemeral_private"], 16))
    theirs = bytes.fromhex(vector[peer_side]["ephemeral_public"])
    public = peer.certificate.public_key(curve.decompress(own.ca_public_key))
    secret = ecmqv.shared_secret(curve, own.private_key, ephemeral, public, curve.decompress(theirs))
    assert secret.hex() == vector["Z"]
    mac_key, key_data = ecmqv.derive_keys(secret)
    assert mac_key.hex() == vector["MacKey"]
    assert key_data.hex() == vector["KeyData"]
    agreement = agree(own, ephemeral, peer.certificate, theirs, initiator=own_side == "U")
    assert agreement.mac_u.hex() == vector["MACU"]
    assert agreement.mac_v.hex() == vector["MACV"]
    assert agreement.link_key.hex() == vector["KeyData"]


@pytest.mark.parametrize(("suite", "octets", "private_key", "public_key"), TEST_KIT)
def test_the_certificates_of_the_public_test_kit_reconstruct(vectors, suite, octets, private_key, public_key):
    ca = bytes.fromhex(of(vectors, suite)["ca_public_key"])
    own = Credentials(Certificate.from_bytes(suite, bytes.fromhex(octets)), private_key, ca)
    assert own.fit_together()
    assert suite.curve.compress(own.certificate.public_key(suite.curve.decompress(ca))).hex() == public_key


def test_a_certificate_tells_who_it_is_for_and_how_long(vectors):
    first = Certificate.from_bytes(Suite.ONE, bytes.fromhex(vectors["suite1"]["U"]["certificate"]))
    assert (first.subject, first.issuer) == (2, int.from_bytes(b"TESTSECA", "big"))
    assert first.is_valid_at(0)
    second = Certificate.from_bytes(Suite.TWO, bytes.fromhex(vectors["suite2"]["U"]["certificate"]))
    assert (second.subject, second.issuer) == (0x0A0B0C0D0E0F1012, 0x1112131415161718)
    assert second.valid_from == 0x5292A38A
    assert second.is_valid_at(0x5292A38A)
    assert not second.is_valid_at(0x5292A389)
