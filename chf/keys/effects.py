"""What the responder wants done, in the order in which it wants it done, and what comes back of it."""

from dataclasses import dataclass, field
from enum import Enum

from chf.crypto.ecqv import Certificate, Suite
from chf.eui64 import Eui64
from chf.zcl.key_establishment import TerminateStatus


@dataclass(frozen=True, slots=True)
class Token:
    """One exchange with one device. A result under an old number is nobody's any more."""

    peer: Eui64
    number: int


@dataclass(frozen=True, slots=True)
class Send:
    """A whole ZCL frame of cluster 0x0800, without APS security: there is no key yet."""

    peer: Eui64
    endpoint: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Compute:
    """Draw an ephemeral key, agree on the secret, and call `Responder.computed`. Takes tens of milliseconds."""

    token: Token
    certificate: Certificate
    ephemeral: bytes


@dataclass(frozen=True, slots=True)
class Install:
    """Write the link key into the store, then into the dongle, and call `Responder.installed`."""

    token: Token
    suite: Suite
    link_key: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Established:
    """The device knows, from the MACV that precedes this, that the hub has the key."""

    peer: Eui64
    suite: Suite


@dataclass(frozen=True, slots=True)
class Failed:
    """An exchange ended without a key, or was not begun. A key from an earlier exchange stays as it is."""

    peer: Eui64
    reason: str
    status: TerminateStatus | None = None
    """Of the Terminate that the device got; None where it got none."""


Effect = Send | Compute | Install | Established | Failed
Effects = tuple[Effect, ...]


@dataclass(frozen=True, slots=True)
class Computed:
    """The hub's half of the exchange."""

    ephemeral: bytes
    mac_u: bytes = field(repr=False)
    mac_v: bytes = field(repr=False)
    link_key: bytes = field(repr=False)


class ComputationFailure(Enum):
    CERTIFICATE = "the certificate holds no point of the curve"
    EPHEMERAL = "the ephemeral key is no proper point of the curve"
