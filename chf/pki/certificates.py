"""The shape of SMKI certificates, as far as a test PKI needs it: P-256, one identity and one use each (RTDS).

A device's EUI-64 stands in the SubjectAltName (hardwareModuleName), an organisation's in its subject's
x500UniqueIdentifier, with its role in OU. Left out on purpose: certificate policies, whose OIDs name the real SMKI.
"""

import hashlib
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID

from chf.crypto import p256
from chf.errors import UnusableFileError, UsageError
from chf.eui64 import Eui64, format_eui64, from_big_endian, to_big_endian

NOT_BEFORE = datetime(2016, 1, 1, tzinfo=UTC)  # our choice
NOT_AFTER = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
"""As device certificates have it; for organisations too, since a bench must not stop working one morning."""

_HARDWARE_MODULE_NAME = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.4")  # RFC 4108
_HARDWARE_TYPE = bytes.fromhex("060D2A863A0001848FB90F01020201")  # the OID that the public test certificates carry
_EUI64_TAIL = b"\x04\x08"  # OCTET STRING of eight octets: the serial number in a hardwareModuleName


class Usage(Enum):
    """What the key of a certificate is for; the value is the ending of its file name."""

    DIGITAL_SIGNATURE = "ds"
    KEY_AGREEMENT = "ka"


class Role(Enum):
    """Roles of organisations, in hex as OU writes them; a device has none (GP)."""

    ROOT = "00"
    RECOVERY = "01"
    SUPPLIER = "02"
    NETWORK_OPERATOR = "03"
    ACCESS_CONTROL_BROKER = "04"
    TRANSITIONAL_COS = "05"
    WAN_PROVIDER = "06"
    ISSUING_AUTHORITY = "07"
    OTHER = "7F"
    DEVICE = ""


def root_name() -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, Role.ROOT.value),
            x509.NameAttribute(NameOID.COMMON_NAME, "chf test root"),
        ]
    )


def root_certificate(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    builder = _builder(root_name(), key.public_key(), key)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    return _sign(builder.add_extension(_key_usage(certificate_signing=True), critical=True), key)


def device_certificate(
    eui64: Eui64, usage: Usage, public_key: ec.EllipticCurvePublicKey, root: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    """Empty subject; the identity is in a critical SubjectAltName."""
    inside = _HARDWARE_TYPE + _EUI64_TAIL + to_big_endian(eui64)
    module_name = x509.OtherName(_HARDWARE_MODULE_NAME, b"\x30" + bytes([len(inside)]) + inside)
    builder = _builder(x509.Name([]), public_key, root).add_extension(_key_usage(usage), critical=True)
    return _sign(builder.add_extension(x509.SubjectAlternativeName([module_name]), critical=True), root)


def organisation_certificate(
    eui64: Eui64, role: Role, usage: Usage, public_key: ec.EllipticCurvePublicKey, root: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    """The identity is a BIT STRING of the subject: no unused bits, then the EUI-64."""
    unique = x509.NameAttribute(NameOID.X500_UNIQUE_IDENTIFIER, b"\0" + to_big_endian(eui64), _ASN1Type.BitString)
    subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, role.value), unique])
    builder = _builder(subject, public_key, root).add_extension(_key_usage(usage), critical=True)
    return _sign(builder, root)


def load_certificates(path: Path) -> list[x509.Certificate]:
    """Of a file in PEM or DER; at least one. Raises FileNotFoundError where there is none, else UnusableFileError."""
    try:
        octets = path.read_bytes()
        if octets.lstrip().startswith(b"-----"):
            return x509.load_pem_x509_certificates(octets)
        return [x509.load_der_x509_certificate(octets)]
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UnusableFileError(f"cannot read {path}: {error.strerror}: mend it, or move it away") from error
    except ValueError:
        raise UnusableFileError(
            f"{path} is not a certificate in PEM or DER: put the right one there, or move it away"
        ) from None


def identity(certificate: x509.Certificate) -> tuple[Eui64, Role, Usage]:
    """Whose certificate this is, and what for.

    Raises UsageError for one that names no EUI-64, or whose key is not on P-256 or not for exactly one use.
    """
    try:
        key = certificate.public_key()
        extensions = certificate.extensions
    except (ValueError, UnsupportedAlgorithm) as error:  # both are parsed when they are asked for
        raise UsageError(f"the certificate is damaged: {error}") from None
    if not p256.is_public_key(key):
        raise UsageError("the certificate's key is not on P-256")
    try:
        flags = extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        raise UsageError("the certificate does not say what its key is for (KeyUsage)") from None
    if flags.digital_signature == flags.key_agreement:
        raise UsageError("the certificate's key is not for one of Digital Signature and Key Agreement")
    usage = Usage.DIGITAL_SIGNATURE if flags.digital_signature else Usage.KEY_AGREEMENT
    return *_holder(certificate), usage


def _holder(certificate: x509.Certificate) -> tuple[Eui64, Role]:
    for attribute in certificate.subject.get_attributes_for_oid(NameOID.X500_UNIQUE_IDENTIFIER):
        if isinstance(attribute.value, bytes) and len(attribute.value) == 1 + 8:
            units = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)
            role = next((role for role in Role if units and role.value == units[0].value), Role.OTHER)
            return from_big_endian(attribute.value[1:]), role
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        names = x509.SubjectAlternativeName([])
    for name in names.get_values_for_type(x509.OtherName):
        if name.type_id == _HARDWARE_MODULE_NAME and name.value[-10:-8] == _EUI64_TAIL:
            return from_big_endian(name.value[-8:]), Role.DEVICE
    raise UsageError("the certificate names no EUI-64, neither in its subject nor as a hardwareModuleName")


def describe(certificate: x509.Certificate) -> dict[str, str]:
    """The line of `chf dcc pki show`; nothing in it is secret."""
    eui64, role, usage = identity(certificate)
    return {
        "eui64": format_eui64(eui64),
        "role": role.name.lower().replace("_", " "),
        "usage": usage.name.lower().replace("_", " "),
        "serial": f"{certificate.serial_number:x}",
        "sha256": certificate.fingerprint(SHA256()).hex(),
    }


def _builder(
    subject: x509.Name, public_key: ec.EllipticCurvePublicKey, issuer: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    """The serial number is made from the key: no second source of chance, and none of it ever repeats."""
    octets = public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    serial = int.from_bytes(hashlib.sha256(octets).digest()[:16], "big") >> 1  # at most 127 bits: positive, 16 octets
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(root_name())
        .public_key(public_key)
        .serial_number(serial + 1)
        .not_valid_before(NOT_BEFORE)
        .not_valid_after(NOT_AFTER)
        .add_extension(x509.SubjectKeyIdentifier(_key_identifier(public_key)), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier(_key_identifier(issuer.public_key()), None, None), critical=False)
    )


def _key_identifier(public_key: ec.EllipticCurvePublicKey) -> bytes:
    """Eight octets: 0100 and the last 60 bits of the SHA-1 of the point (RFC 5280 4.2.1.2, method 2)."""
    point = public_key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    tail = hashlib.sha1(point, usedforsecurity=False).digest()[-8:]
    return bytes([0x40 | tail[0] & 0x0F]) + tail[1:]


def _key_usage(usage: Usage | None = None, *, certificate_signing: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=usage is Usage.DIGITAL_SIGNATURE,
        key_agreement=usage is Usage.KEY_AGREEMENT,
        key_cert_sign=certificate_signing,
        crl_sign=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        encipher_only=False,
        decipher_only=False,
    )


def _sign(builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    """RFC 6979 where OpenSSL has it: a seeded PKI is then the same to the last octet."""
    try:
        return builder.sign(key, SHA256(), ecdsa_deterministic=True)
    except UnsupportedAlgorithm:
        return builder.sign(key, SHA256())
