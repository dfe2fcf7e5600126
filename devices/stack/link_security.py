"""APS security with link keys: which frame counter comes next, and the cached ciphers (Zigbee PRO 4.4.1)."""

from typing import NamedTuple

from cryptography.hazmat.primitives.ciphers.aead import AESCCM

from devices.stack.interface import LinkKey
from devices.wire.aps import ApsSecurity
from devices.wire.security import MAX_FRAME_COUNTER, KeyIdentifier, cipher_for


class Protection(NamedTuple):
    """What it takes to seal one frame."""

    cipher: AESCCM
    security: ApsSecurity


class LinkSecurity:
    """Ciphers are kept by key, because making one costs more than using it.

    Outgoing counters rise over all keys together, as with EmberZNet's one APS frame counter: the peers of a key that a
    host imports anew, with its counter at the start, would take everything for replays.
    """

    def __init__(self) -> None:
        self.next_counter = 0
        """Above every value that was used under any key. Who restores it from flash raises it."""
        self._ciphers: dict[bytes, AESCCM] = {}

    def protect(self, key: LinkKey) -> Protection | None:
        """For data and acknowledgements, without extended nonce to leave 73 octets; None when the key is used up."""
        counter = self._take(key)
        return None if counter is None else Protection(self.cipher(key.key), ApsSecurity(counter))

    def protect_transport_key(self, key: LinkKey, key_transport_key: bytes, ieee: int) -> Protection | None:
        """For Transport-Key to a device that does not know our address yet, so with extended nonce (4.4.3.1)."""
        counter = self._take(key)
        if counter is None:
            return None
        return Protection(self.cipher(key_transport_key), ApsSecurity(counter, ieee, KeyIdentifier.KEY_TRANSPORT))

    def cipher(self, key: bytes) -> AESCCM:
        cipher = self._ciphers.get(key)
        if cipher is None:
            cipher = self._ciphers[key] = cipher_for(key)
        return cipher

    def _take(self, key: LinkKey) -> int | None:
        counter = max(key.outgoing_counter, self.next_counter)
        if counter > MAX_FRAME_COUNTER:
            return None
        self.next_counter = key.outgoing_counter = counter + 1
        return counter
