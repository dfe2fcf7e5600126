"""The key agreement of CBKE: ECMQV (SEC 1 3.4), the key derivation, and the two confirmation MACs (SE1.4 C.4).

`agree` is one side of one exchange from what both sides sent, in one call: it is what takes the time (tens of
milliseconds), so that a program with other things to do runs it somewhere else. Randomness comes from the caller.
"""

from dataclasses import dataclass, field

from chf.crypto.binary_curve import BinaryCurve, InvalidPointError, Point
from chf.crypto.ecqv import Certificate, CertificateError, Credentials
from chf.crypto.mmo import aes_mmo, hmac_mmo

MAC_OCTETS = 16  # AES-MMO, SE1.4 C.4
_FROM_INITIATOR, _FROM_RESPONDER = b"\x02", b"\x03"  # M(U) and M(V) of SE1.4 C.4.2.3.4


@dataclass(frozen=True, slots=True)
class Agreement:
    """What both sides hold in the end; equal MACs show that the other side holds the same key."""

    mac_u: bytes = field(repr=False)
    mac_v: bytes = field(repr=False)
    link_key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Ephemeral:
    """A key pair for one exchange."""

    private_key: int = field(repr=False)
    public_key: bytes

    @classmethod
    def from_scalar(cls, curve: BinaryCurve, private_key: int) -> "Ephemeral":
        point = curve.multiply(private_key % curve.order, curve.generator)
        if point is None:
            raise InvalidPointError("an ephemeral key of zero")
        return cls(private_key % curve.order, curve.compress(point))


def agree(
    own: Credentials, ephemeral: Ephemeral, peer: Certificate, peer_ephemeral: bytes, *, initiator: bool
) -> Agreement:
    """Raises CertificateError or InvalidPointError where the peer's certificate or ephemeral key is no proper point."""
    curve = own.suite.curve
    authority = curve.decompress(own.ca_public_key)
    try:
        public = peer.public_key(authority)
    except InvalidPointError as error:
        raise CertificateError(f"the certificate holds no public key: {error}") from error
    secret = shared_secret(curve, own.private_key, ephemeral, public, curve.decompress(peer_ephemeral))
    mac_key, link_key = derive_keys(secret)
    ours, theirs = (_octets(own.certificate.subject), ephemeral.public_key), (_octets(peer.subject), peer_ephemeral)
    u, v = (ours, theirs) if initiator else (theirs, ours)
    return Agreement(mac_u(mac_key, *u, *v), mac_v(mac_key, *u, *v), link_key)


def shared_secret(curve: BinaryCurve, private_key: int, ephemeral: Ephemeral, public: Point, theirs: Point) -> bytes:
    """Z, the x-coordinate of h * s * (E' + avf(E') * Q'). Raises InvalidPointError where that is infinity."""
    own = avf(curve, curve.decompress(ephemeral.public_key))
    signature = (ephemeral.private_key + own * private_key) % curve.order
    combined = curve.add(theirs, curve.multiply(avf(curve, theirs), public))
    point = curve.multiply(curve.cofactor * signature, combined)
    if point is None:
        raise InvalidPointError("the shared secret is the point at infinity: an ephemeral key of small order")
    return curve.x_octets(point)


def avf(curve: BinaryCurve, point: Point) -> int:
    """The associate value of a point: the lower half of x, with the bit above it set (SEC 1 3.4)."""
    half = (curve.order.bit_length() + 1) // 2
    return curve.x_number(point) % (1 << half) + (1 << half)


def derive_keys(secret: bytes) -> tuple[bytes, bytes]:
    """MacKey and KeyData, by the KDF of SEC 1 3.6.1 over AES-MMO without shared information."""
    return aes_mmo(secret + b"\0\0\0\1"), aes_mmo(secret + b"\0\0\0\2")


def mac_u(mac_key: bytes, u: bytes, ephemeral_u: bytes, v: bytes, ephemeral_v: bytes) -> bytes:
    """What the initiator proves itself with; identities are EUI-64s with the high octet first."""
    return hmac_mmo(mac_key, _FROM_INITIATOR + u + v + ephemeral_u + ephemeral_v)


def mac_v(mac_key: bytes, u: bytes, ephemeral_u: bytes, v: bytes, ephemeral_v: bytes) -> bytes:
    return hmac_mmo(mac_key, _FROM_RESPONDER + v + u + ephemeral_v + ephemeral_u)


def _octets(eui64: int) -> bytes:
    return eui64.to_bytes(8, "big")
