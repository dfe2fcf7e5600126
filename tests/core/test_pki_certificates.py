"""What the PKI reads out of a certificate, and what it refuses to take for one."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID

from chf.errors import UsageError
from chf.eui64 import Eui64
from chf.pki.certificates import (
    NOT_AFTER,
    NOT_BEFORE,
    Role,
    Usage,
    describe,
    device_certificate,
    identity,
    organisation_certificate,
    root_certificate,
    root_name,
)

ROOT, KEY = (ec.derive_private_key(number, ec.SECP256R1()) for number in (1, 2))
DEVICE = Eui64(0x00DB1234567890A4)
UNIQUE = x509.NameAttribute(NameOID.X500_UNIQUE_IDENTIFIER, b"\0" + DEVICE.to_bytes(8, "big"), _ASN1Type.BitString)


def usage(*, signature: bool, agreement: bool) -> x509.KeyUsage:
    return x509.KeyUsage(signature, False, False, False, agreement, False, False, False, False)


SIGNS = usage(signature=True, agreement=False)


def foreign(subject: x509.Name, *extensions: x509.ExtensionType, key=KEY) -> x509.Certificate:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(root_name()).serial_number(1)
    builder = builder.public_key(key.public_key()).not_valid_before(NOT_BEFORE).not_valid_after(NOT_AFTER)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(ROOT, SHA256())


def organisation(unit: str | None) -> x509.Name:
    units = [] if unit is None else [x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit)]
    return x509.Name([*units, UNIQUE])


@pytest.mark.parametrize("use", Usage)
def test_pki_device_certificate_names_its_device(use):
    certificate = device_certificate(DEVICE, use, KEY.public_key(), ROOT)
    assert identity(certificate) == (DEVICE, Role.DEVICE, use)
    assert certificate.serial_number.bit_length() <= 128
    assert describe(certificate)["eui64"] == "00-DB-12-34-56-78-90-A4"


@pytest.mark.parametrize("role", [role for role in Role if role is not Role.DEVICE])
def test_pki_organisation_certificate_names_its_role(role):
    certificate = organisation_certificate(DEVICE, role, Usage.KEY_AGREEMENT, KEY.public_key(), ROOT)
    assert identity(certificate) == (DEVICE, role, Usage.KEY_AGREEMENT)


@pytest.mark.parametrize("unit", [None, "87", "anything"])
def test_pki_organisation_of_a_role_that_is_not_ours_is_other(unit):
    assert identity(foreign(organisation(unit), SIGNS))[1] is Role.OTHER


def test_pki_device_is_found_among_other_names():
    other = x509.OtherName(x509.ObjectIdentifier("1.2.3"), b"\x04\x08" + bytes(8))
    module = x509.OtherName(
        x509.ObjectIdentifier("1.3.6.1.5.5.7.8.4"), bytes.fromhex("300d06012a0408") + DEVICE.to_bytes(8, "big")
    )
    names = x509.SubjectAlternativeName([other, x509.DNSName("ppmid.invalid"), module])
    assert identity(foreign(x509.Name([]), SIGNS, names)) == (DEVICE, Role.DEVICE, Usage.DIGITAL_SIGNATURE)


@pytest.mark.parametrize(
    ("certificate", "words"),
    [
        (foreign(organisation("02"), SIGNS, key=rsa.generate_private_key(65537, 2048)), "not on P-256"),
        (foreign(organisation("02"), SIGNS, key=ec.derive_private_key(1, ec.SECP384R1())), "not on P-256"),
        (foreign(organisation("02")), "does not say what its key is for"),
        (foreign(organisation("02"), usage(signature=True, agreement=True)), "one of Digital Signature"),
        (foreign(organisation("02"), usage(signature=False, agreement=False)), "one of Digital Signature"),
        (foreign(x509.Name([]), SIGNS), "names no EUI-64"),
        (foreign(x509.Name([]), SIGNS, x509.SubjectAlternativeName([x509.DNSName("a")])), "names no EUI-64"),
        (
            foreign(
                x509.Name([x509.NameAttribute(NameOID.X500_UNIQUE_IDENTIFIER, b"\0\1\2", _ASN1Type.BitString)]), SIGNS
            ),
            "names no EUI-64",
        ),
        (
            foreign(
                x509.Name([]),
                SIGNS,
                x509.SubjectAlternativeName(
                    [x509.OtherName(x509.ObjectIdentifier("1.3.6.1.5.5.7.8.4"), b"\x30\x03\x04\x01\x00")]
                ),
            ),
            "names no EUI-64",
        ),
        (root_certificate(ROOT), "one of Digital Signature"),
    ],
)
def test_pki_certificate_without_a_usable_identity_is_refused(certificate, words):
    with pytest.raises(UsageError, match=words):
        identity(certificate)
