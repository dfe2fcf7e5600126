"""The test PKI: a directory of certificates and private keys for the ACB, a supplier, the hub and its devices.

    pki/               0700, made whole or not at all
        root.pem root.key
        <eui64>-ds.pem <eui64>-ds.key        digital signature
        <eui64>-ka.pem <eui64>-ka.key        key agreement
        pki.json                             who is the ACB, the supplier, the hub

Private keys are files of mode 0600, written once, never replaced, and never part of a message, an error or a repr.
Whoever may write into the directory decides whose signatures count; a certificate without a key (`add`) is how a real
device comes in. Validity dates are not judged (docs/supported-spec.md, DUIS). Not fit for production.
"""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from chf.crypto import p256
from chf.errors import RefusedError, StoreCorruptError, StoreError, UnusableFileError, UsageError
from chf.eui64 import Eui64, format_eui64, parse_eui64
from chf.files import new_directory, read_secret, write_new
from chf.gbcs import GbcsMessage, verify_signature
from chf.pki.certificates import (
    Role,
    Usage,
    device_certificate,
    identity,
    load_certificates,
    organisation_certificate,
    root_certificate,
)

DEFAULT_ACB = Eui64(0x90B3D51F30000002)
DEFAULT_SUPPLIER = Eui64(0x90B3D51F30010000)
"""The identities of the public test sets (RTDS)."""

_INDEX = "pki.json"
_ROOT = "root"

KeySource = Callable[[str], ec.EllipticCurvePrivateKey]
"""Makes the private key for a name such as `root` or `90b3d51f30000002-ds`."""


def fresh_keys(name: str) -> ec.EllipticCurvePrivateKey:
    """A new key from the operating system's randomness."""
    del name
    return ec.generate_private_key(ec.SECP256R1())


def seeded_keys(seed: bytes) -> KeySource:
    """The same keys for the same seed, for tests and repeatable demonstrations only."""

    def key(name: str) -> ec.EllipticCurvePrivateKey:
        return p256.key_from_digest(hashlib.sha512(b"chf test pki\0" + seed + b"\0" + name.encode()).digest())

    return key


@dataclass(frozen=True, slots=True)
class Signer:
    """Who a verified message is from."""

    eui64: Eui64
    role: Role
    certificate_serial: int


class Pki:
    """An opened PKI directory. Reads what it is asked for and keeps nothing in memory."""

    def __init__(self, path: Path, acb: Eui64, supplier: Eui64, chf: Eui64) -> None:
        self.path = path
        self.acb = acb
        self.supplier = supplier
        self.chf = chf

    @classmethod
    def create(
        cls,
        path: Path,
        *,
        chf: Eui64,
        acb: Eui64 = DEFAULT_ACB,
        supplier: Eui64 = DEFAULT_SUPPLIER,
        keys: KeySource = fresh_keys,
    ) -> "Pki":
        """Make a PKI at `path`, which must not exist. Interrupted at any moment, it leaves nothing at `path`."""
        if len({acb, supplier, chf}) < 3:
            raise UsageError("the ACB, the supplier and the hub need three different EUI-64s")
        index = {"schema": 1, "acb": format_eui64(acb), "supplier": format_eui64(supplier), "chf": format_eui64(chf)}
        with new_directory(path, mode=0o700, error=StoreError) as made:
            pki = cls(made, acb, supplier, chf)
            write_new(made / f"{_ROOT}.key", _private_pem(keys(_ROOT)))
            write_new(made / f"{_ROOT}.pem", _certificate_pem(root_certificate(pki._read_key(_ROOT))))
            pki._issue(acb, Role.ACCESS_CONTROL_BROKER, keys)
            pki._issue(supplier, Role.SUPPLIER, keys)
            pki._issue(chf, Role.DEVICE, keys)
            write_new(made / _INDEX, json.dumps(index).encode())
        return cls.open(path)

    @classmethod
    def open(cls, path: Path) -> "Pki":
        try:
            index = json.loads((path / _INDEX).read_bytes())
            return cls(path, *(parse_eui64(index[name]) for name in ("acb", "supplier", "chf")))
        except FileNotFoundError:
            raise UsageError(f"there is no test PKI at {path}: make one with `chf dcc pki init`") from None
        except (ValueError, KeyError, TypeError, UsageError) as error:
            raise StoreCorruptError(f"{path / _INDEX} is not what was written") from error
        except OSError as error:
            raise StoreError(f"the PKI at {path} cannot be read: {error.strerror}") from error

    def issue(self, device: Eui64, keys: KeySource = fresh_keys) -> None:
        """Make both keys and certificates of a device. Those that exist already stay as they are."""
        self._issue(device, Role.DEVICE, keys)

    def add(self, certificate: x509.Certificate) -> tuple[Eui64, Usage]:
        """Trust the certificate of somebody whose private key is elsewhere, such as a real device."""
        eui64, _, usage = identity(certificate)
        name = f"{_name(eui64, usage)}.pem"
        if (
            not write_new(self.path / name, _certificate_pem(certificate))
            and self.certificate(eui64, usage) != certificate
        ):
            raise RefusedError(f"another certificate of {format_eui64(eui64)} ({usage.value}) is here already: {name}")
        return eui64, usage

    def certificate(self, eui64: Eui64, usage: Usage) -> x509.Certificate:
        """Raises UsageError where there is none, UnusableFileError where the file is damaged or holds another's."""
        path = self.path / f"{_name(eui64, usage)}.pem"
        try:
            certificate = load_certificates(path)[0]
            found, _, found_usage = identity(certificate)
        except FileNotFoundError:
            raise UsageError(
                f"the PKI has no certificate of {format_eui64(eui64)} ({usage.value}): `chf dcc pki issue` makes one"
            ) from None
        except UnusableFileError:
            raise
        except UsageError as error:
            raise UnusableFileError(f"{path}: {error}") from error
        if (found, found_usage) != (eui64, usage):
            raise UnusableFileError(f"{path} is the certificate of {format_eui64(found)} ({found_usage.value})")
        return certificate

    def public_key(self, eui64: Eui64, usage: Usage) -> ec.EllipticCurvePublicKey:
        """Raises as `certificate` does."""
        key = self.certificate(eui64, usage).public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey), "so its identity says"
        return key

    def certificates(self) -> tuple[x509.Certificate | UnusableFileError, ...]:
        """Everybody's but the root's, in order of their names; for one that cannot be used, why."""
        found: list[x509.Certificate | UnusableFileError] = []
        for path in sorted(self.path.glob("*-??.pem")):
            digits, _, ending = path.stem.partition("-")
            try:
                found.append(self.certificate(parse_eui64(digits), Usage(ending)))
            except UnusableFileError as error:
                found.append(error)
            except (ValueError, UsageError):
                found.append(UnusableFileError(f"{path} is not named after an EUI-64 and a use: move it away"))
        return tuple(found)

    def root(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate((self.path / f"{_ROOT}.pem").read_bytes())

    def private_key(self, eui64: Eui64, usage: Usage) -> ec.EllipticCurvePrivateKey:
        """Raises UsageError where the key is not here, UnusableFileError where it is damaged, or others may read it."""
        return self._read_key(_name(eui64, usage))

    def has_private_key(self, eui64: Eui64, usage: Usage) -> bool:
        return (self.path / f"{_name(eui64, usage)}.key").exists()

    def verify(self, message: GbcsMessage) -> Signer:
        """Check a message's signature against the certificate of its originator.

        Raises RefusedError with the reason: unsigned, an originator without a certificate that can be used, or a
        signature that is not the originator's.
        """
        originator = Eui64(message.header.originator)
        if not message.signature:
            raise RefusedError(f"the message from {format_eui64(originator)} is not signed")
        try:
            certificate = self.certificate(originator, Usage.DIGITAL_SIGNATURE)
        except UnusableFileError as error:
            raise RefusedError(str(error)) from None
        except UsageError:
            raise RefusedError(f"no certificate of the originator {format_eui64(originator)} is known") from None
        key = certificate.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        if not verify_signature(message, key):
            raise RefusedError(f"the signature is not that of the originator {format_eui64(originator)}")
        _, role, _ = identity(certificate)
        return Signer(originator, role, certificate.serial_number)

    def _issue(self, eui64: Eui64, role: Role, keys: KeySource) -> None:
        root = self._read_key(_ROOT)
        for usage in Usage:
            name = _name(eui64, usage)
            if (self.path / f"{name}.pem").exists():
                continue
            # The key first, and once: after an interruption between the two, the certificate is made for the same key.
            if not (self.path / f"{name}.key").exists():
                write_new(self.path / f"{name}.key", _private_pem(keys(name)))
            public = self._read_key(name).public_key()
            if role is Role.DEVICE:
                certificate = device_certificate(eui64, usage, public, root)
            else:
                certificate = organisation_certificate(eui64, role, usage, public, root)
            write_new(self.path / f"{name}.pem", _certificate_pem(certificate))

    def _read_key(self, name: str) -> ec.EllipticCurvePrivateKey:
        path = self.path / f"{name}.key"
        try:
            key = load_pem_private_key(read_secret(path), None)
        except FileNotFoundError:
            raise UsageError(f"the PKI does not hold the private key {name}") from None
        except (ValueError, TypeError, UnsupportedAlgorithm):  # also of one that is encrypted
            raise UnusableFileError(f"{path} is not a private key: put the right file there, or remove it") from None
        if not p256.is_private_key(key):
            raise UnusableFileError(f"{path} is not a key on P-256: put the right file there, or remove it")
        return key


def _name(eui64: Eui64, usage: Usage) -> str:
    return f"{eui64:016x}-{usage.value}"


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _certificate_pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)
