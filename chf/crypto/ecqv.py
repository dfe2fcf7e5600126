"""Implicit certificates (SEC 4 ECQV) of the two Smart Energy crypto suites: parse, reconstruct, issue.

An implicit certificate holds no public key and no signature: the key is *reconstructed* from certificate and CA key,
and a certificate that nobody issued reconstructs a key whose private half nobody has. So a good certificate shows only
when the key is used (`ecmqv`). EUI-64s are plain integers here. For a bench only, as `binary_curve` is.
"""

from dataclasses import dataclass, field
from enum import Enum
from struct import Struct
from typing import Final, Self

from chf.crypto.binary_curve import SECT163K1, SECT283K1, BinaryCurve, InvalidPointError, Point
from chf.crypto.mmo import aes_mmo
from chf.errors import MalformedError

FOREVER: Final = 0xFFFF_FFFF
"""ValidTo of a certificate that does not expire."""

_SUITE_1 = Struct(">22sQQ10s")  # SE1.4 C.4
_SUITE_2 = Struct(">B8sBBQ5sIQB37s")  # SE1.4 C.4
assert _SUITE_1.size == 48
assert _SUITE_2.size == 74

# SE1.4 C.4.2.2.4: the only values of a suite 2 certificate
_TYPE, _CURVE_SECT283K1, _HASH_AES_MMO = 0x00, 0x0D, 0x08
KEY_AGREEMENT: Final = 0x08  # key usage, SE1.4 C.4
DIGITAL_SIGNATURE: Final = 0x80  # key usage, SE1.4 C.4
_SUITE_1_ATTRIBUTES = b"\x01\x09" + bytes(8)  # the Smart Energy profile, then what an issuer likes to write


class Suite(Enum):
    """A crypto suite by its bit in KeyEstablishmentSuite."""

    ONE = 0x0001
    TWO = 0x0002

    @property
    def curve(self) -> BinaryCurve:
        return SECT163K1 if self is Suite.ONE else SECT283K1

    @property
    def certificate_octets(self) -> int:
        return _SUITE_1.size if self is Suite.ONE else _SUITE_2.size

    @property
    def point_octets(self) -> int:
        return self.curve.point_octets


class CertificateError(MalformedError):
    """Octets that are no certificate of the suite, or one that is not for what it is used for."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """`valid_from` is in seconds since 1970; it and `valid_seconds` are None in suite 1, which does not expire."""

    suite: Suite
    octets: bytes
    subject: int
    issuer: int
    reconstruction_point: bytes
    valid_from: int | None = None
    valid_seconds: int | None = None

    @classmethod
    def from_bytes(cls, suite: Suite, octets: bytes, usage: int = KEY_AGREEMENT) -> Self:
        """Raises CertificateError, in suite 2 also where it is not for `usage`. The point, which costs, is not read."""
        if len(octets) != suite.certificate_octets:
            raise CertificateError(f"a certificate of suite {suite.name} has {suite.certificate_octets} octets")
        if suite is Suite.ONE:
            point, subject, issuer, _ = _SUITE_1.unpack(octets)
            return cls(suite, octets, subject, issuer, point)
        kind, _, curve, digest, issuer, start, seconds, subject, allowed, point = _SUITE_2.unpack(octets)
        if (kind, curve, digest) != (_TYPE, _CURVE_SECT283K1, _HASH_AES_MMO):
            raise CertificateError("not an implicit certificate on sect283k1 with AES-MMO", offset=0)
        if not allowed & usage:
            purpose = "key agreement" if usage == KEY_AGREEMENT else "signatures"
            raise CertificateError(f"not a certificate for {purpose}", offset=36, field="key usage")
        return cls(suite, octets, subject, issuer, point, int.from_bytes(start, "big"), seconds)

    def is_valid_at(self, utc: float) -> bool:
        if self.valid_from is None or self.valid_seconds is None:
            return True
        if utc < self.valid_from:
            return False
        return self.valid_seconds == FOREVER or utc <= self.valid_from + self.valid_seconds

    def public_key(self, ca_public_key: Point) -> Point:
        """Q = H(certificate) * P + Q_CA (SEC 4 3.5). Raises InvalidPointError."""
        curve = self.suite.curve
        point = curve.decompress(self.reconstruction_point)
        public = curve.add(curve.multiply(self._digest(), point), ca_public_key)
        if public is None:
            raise InvalidPointError("the certificate reconstructs the point at infinity")
        return public

    def _digest(self) -> int:
        return int.from_bytes(aes_mmo(self.octets), "big") % self.suite.curve.order


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who somebody is in one suite: certificate, its private key, and the public key of the CA to believe."""

    certificate: Certificate
    private_key: int = field(repr=False)
    ca_public_key: bytes

    @property
    def suite(self) -> Suite:
        return self.certificate.suite

    def fit_together(self) -> bool:
        """Whether the private key is that of the certificate under this CA. Raises InvalidPointError."""
        curve = self.suite.curve
        public = self.certificate.public_key(curve.decompress(self.ca_public_key))
        return curve.multiply(self.private_key, curve.generator) == public


@dataclass(frozen=True, slots=True)
class CertificateAuthority:
    """A test CA in one suite. Randomness comes from the caller, as numbers of at least 64 bits more than the order."""

    suite: Suite
    identity: int
    private_key: int = field(repr=False)

    @classmethod
    def generate(cls, suite: Suite, identity: int, random: int) -> Self:
        return cls(suite, identity, private_scalar(suite, random))

    @property
    def public_key(self) -> bytes:
        curve = self.suite.curve
        return curve.compress(_proper(curve.multiply(self.private_key, curve.generator)))

    def issue(
        self,
        subject: int,
        requester_random: int,
        ca_random: int,
        *,
        serial: int = 0,
        valid_from: int = 0,
        valid_seconds: int = FOREVER,
    ) -> Credentials:
        """Play requester and CA (SEC 4 2.3 to 2.5): a certificate, and the private key that it reconstructs."""
        curve = self.suite.curve
        requester, own = private_scalar(self.suite, requester_random), private_scalar(self.suite, ca_random)
        point = curve.compress(_proper(curve.multiply((requester + own) % curve.order, curve.generator)))
        if self.suite is Suite.ONE:
            octets = _SUITE_1.pack(point, subject, self.identity, _SUITE_1_ATTRIBUTES)
        else:
            head = _TYPE, serial.to_bytes(8, "big"), _CURVE_SECT283K1, _HASH_AES_MMO, self.identity
            validity, usage = (valid_from.to_bytes(5, "big"), valid_seconds), DIGITAL_SIGNATURE | KEY_AGREEMENT
            octets = _SUITE_2.pack(*head, *validity, subject, usage, point)
        certificate = Certificate.from_bytes(self.suite, octets)
        private = (certificate._digest() * (requester + own) + self.private_key) % curve.order  # noqa: SLF001 one scheme
        return Credentials(certificate, private, self.public_key)


def private_scalar(suite: Suite, random: int) -> int:
    """1 to order - 1 from a much larger number: the bias is then without meaning."""
    order = suite.curve.order
    assert random >> (order.bit_length() + 32), "too few random bits for a private key"
    return random % (order - 1) + 1


def _proper(point: Point | None) -> Point:
    assert point is not None, "a scalar from 1 to order - 1 does not lead to infinity"
    return point
