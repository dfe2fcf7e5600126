"""Key agreements off the hub's thread, one at a time.

The arithmetic takes tens of milliseconds and holds the interpreter's lock. By default Python gives that to the event
loop after 5 ms, each time that the loop comes back from the system, which a block needs two or three times; so it is
`SWITCH_S` meanwhile. More agreements at once would only take the lock from the loop more often.
"""

import asyncio
import secrets
import sys
from collections.abc import Mapping
from typing import Final

from chf.crypto.ecmqv import Ephemeral, agree
from chf.crypto.ecqv import CertificateError, Credentials, Suite
from chf.errors import MalformedError
from chf.keys import ComputationFailure, Compute, Computed

SWITCH_S: Final = 0.001  # the loop's longest gaps halve, and an agreement takes no longer (our choice, measured)


class KeyAgreement:
    def __init__(self, credentials: Mapping[Suite, Credentials]) -> None:
        self._credentials = credentials
        self._turn = asyncio.Lock()

    async def compute(self, wanted: Compute) -> Computed | ComputationFailure:
        """Waits for the computations before it; never raises for what a device sent."""
        own = self._credentials[wanted.certificate.suite]
        async with self._turn:
            before = sys.getswitchinterval()
            sys.setswitchinterval(SWITCH_S)
            try:
                return await asyncio.to_thread(respond, own, wanted)
            finally:
                sys.setswitchinterval(before)


def respond(own: Credentials, wanted: Compute) -> Computed | ComputationFailure:
    """One agreement as the responder, with a fresh ephemeral key."""
    curve = own.suite.curve
    try:
        ephemeral = Ephemeral.from_scalar(curve, 1 + secrets.randbelow(curve.order - 1))
        agreement = agree(own, ephemeral, wanted.certificate, wanted.ephemeral, initiator=False)
    except CertificateError:
        return ComputationFailure.CERTIFICATE
    except MalformedError:
        return ComputationFailure.EPHEMERAL
    return Computed(ephemeral.public_key, agreement.mac_u, agreement.mac_v, agreement.link_key)
