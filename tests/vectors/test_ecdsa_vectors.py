"""ECDSA on the binary curves: RFC 6979 A.1.3 and A.2.11, and what must not verify."""

from hashlib import sha256

import pytest

from chf.crypto.binary_curve import SECT163K1, SECT283K1
from chf.crypto.ecdsa import sign, verifies

DIGEST = sha256(b"sample").digest()
RFC_6979 = [
    (
        SECT163K1,
        0x09A4D6792295A7F730FC3F2B49CBC0F62E862272F,
        "0113A63990598A3828C407C0F4D2438D990DF99A7F01313A2E03F5412DDB296A22E2C455335545672D9F",
    ),
    (
        SECT283K1,
        0x06A0777356E87B89BA1ED3A3D845357BE332173C8F7A65BDC7DB4FAB3C4CC79ACC8194E,
        (
            "019E90AA3DE5FB20AED22879F92C6FED278D9C9B9293CC5E94922CD952C9DBF20DF1753A"
            "0135AA7443B6A25D11BB64AC482E04D47902D017752882BD72527114F46CF8BB56C5A8C3"
        ),
    ),
]
CASES = pytest.mark.parametrize(("curve", "private", "signature"), RFC_6979, ids=["sect163k1", "sect283k1"])


@CASES
def test_the_signatures_are_those_of_rfc_6979(curve, private, signature):
    assert sign(curve, private, DIGEST).hex().upper() == signature
    assert verifies(curve, curve.multiply(private, curve.generator), DIGEST, bytes.fromhex(signature))


@CASES
def test_another_digest_key_or_signature_does_not_verify(curve, private, signature):
    public, octets = curve.multiply(private, curve.generator), bytes.fromhex(signature)
    another = curve.multiply(private + 1, curve.generator)
    half = len(octets) // 2
    assert not verifies(curve, another, DIGEST, octets)
    assert not verifies(curve, public, sha256(b"test").digest(), octets)
    assert not verifies(curve, public, DIGEST, octets[half:] + octets[:half])
    for wrong in (b"", octets[:-1], octets + b"\0"):
        assert not verifies(curve, public, DIGEST, wrong)


@CASES
def test_numbers_out_of_range_are_refused_not_reduced(curve, private, signature):
    """r and s lie between 1 and the order less 1 (SEC 1 4.1.4): zeros, the order, and s plus the order do not."""
    public, octets = curve.multiply(private, curve.generator), bytes.fromhex(signature)
    half = curve.scalar_octets
    r, s = (int.from_bytes(part, "big") for part in (octets[:half], octets[half:]))
    for numbers in ((0, s), (r, 0), (curve.order, s), (r, curve.order), (r, s + curve.order)):
        wrong = b"".join(number.to_bytes(half, "big") for number in numbers)
        assert not verifies(curve, public, DIGEST, wrong)
