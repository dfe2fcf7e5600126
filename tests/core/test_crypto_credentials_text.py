"""Credentials as labelled text: the layouts that are taken, and what is refused without being repeated."""

import pytest

from chf.crypto.credentials_text import format_credentials, parse_credentials
from chf.crypto.ecqv import CertificateAuthority, Suite
from chf.errors import MalformedError

BIG = 1 << 400


def issued(suite, authority=BIG):
    return CertificateAuthority.generate(suite, 0xCA, authority).issue(0xDB_0002, BIG + 3, BIG * 2)


@pytest.mark.parametrize("suite", Suite)
def test_credentials_survive_their_text(suite):
    credentials = issued(suite)
    assert parse_credentials(format_credentials(credentials)) == credentials


@pytest.mark.parametrize("suite", Suite)
def test_a_test_kit_layout_is_read(suite):
    own = issued(suite)
    curve = own.suite.curve
    public = curve.compress(curve.multiply(own.private_key, curve.generator)).hex(" ")
    certificate = own.certificate.octets.hex(" ").upper()
    text = f"""Test certificates, not for products

IEEE Address: (0x) 00 00 00 00 00 db 00 02
CA Pub Key:
{own.ca_public_key.hex(" ")}
Device Implicit Cert:
{certificate[:60]}
{certificate[60:]}
Device Private Key: {own.private_key:0{2 * curve.scalar_octets}x}
Device Public Key: {public}
"""
    assert parse_credentials(text) == own


def spoiled(old, new):
    text = format_credentials(issued(Suite.TWO))
    assert old in text
    return text.replace(old, new)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "CA's public key"),
        (spoiled("Device Implicit Cert:", "Something else:"), "implicit certificate"),
        (spoiled("Private Key Reconstruction Data:", "Something:"), "private key"),
        (spoiled("CA Public Key: 0", "CA Public Key: g"), "line 1 is not hex digits"),
        (spoiled("CA Public Key: 0", "CA Public Key: "), "odd number"),
        (spoiled("Device Implicit Cert: 00", "Device Implicit Cert: "), "48 or 74 octets, not 73"),
        (format_credentials(issued(Suite.TWO)) * 2, "a second time"),
    ],
)
def test_what_is_wrong_is_said(text, reason):
    with pytest.raises(MalformedError, match=reason):
        parse_credentials(text)


def test_halves_that_do_not_belong_together_are_refused_and_not_repeated():
    own, other = issued(Suite.TWO), issued(Suite.TWO, BIG + 1)
    lines = format_credentials(own).splitlines()[:2] + format_credentials(other).splitlines()[2:]
    with pytest.raises(MalformedError, match="do not belong together") as caught:
        parse_credentials("\n".join(lines))
    assert f"{other.private_key:x}" not in str(caught.value)
