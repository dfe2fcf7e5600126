"""APS security with link keys: the counters of `LinkKey`, the cached ciphers, and the protection of Transport-Key."""

from cryptography.hazmat.primitives.ciphers.aead import AESCCM

from chf.crypto.mmo import key_transport_key
from devices.stack.interface import LinkKey
from devices.wire import secured_data, security
from devices.wire.aps import ApsCommandFrame, TransportNetworkKey
from devices.wire.security import AuxiliaryHeader, KeyIdentifier


class LinkSecurity:
    """`LinkSecurity(ieee)`: seals as `ieee`. Ciphers are kept by key, because making one costs more than using it.

    Outgoing counters rise over all keys together, as with EmberZNet's one APS frame counter: the peers of a key that a
    host imports anew, with its counter at the start, would take everything for replays.
    """

    def __init__(self, ieee: int) -> None:
        self._ieee = ieee
        self._ciphers: dict[bytes, AESCCM] = {}
        self._next_counter = 0

    def __repr__(self) -> str:
        return f"LinkSecurity(ieee={self._ieee:#018x})"

    def seal(self, header: bytes, payload: bytes, key: LinkKey) -> bytes | None:
        """A whole APS data or ack frame, without extended nonce to leave 73 octets; None when the key is used up."""
        counter = self._take(key)
        if counter is None:
            return None
        return secured_data.seal_aps(self._cipher(key.key), header, counter, payload, self._ieee)

    def unseal_data(self, octets: bytes, counter: int, key: LinkKey, sender: int) -> bytes:
        """`unseal` for a frame of the shape of `secured_data`."""
        payload = secured_data.unseal_aps(self._cipher(key.key), octets, counter, sender)
        key.incoming_counter = counter
        return payload

    def unseal(self, octets: bytes, header_bytes: int, auxiliary: AuxiliaryHeader, key: LinkKey, sender: int) -> bytes:
        """The plain payload. The caller has compared the counter; this moves it on."""
        payload = security.unseal(self._cipher(key.key), octets, header_bytes, auxiliary, sender)
        key.incoming_counter = auxiliary.frame_counter
        return payload

    def seal_transport_key(self, counter: int, command: TransportNetworkKey, key: LinkKey) -> bytes | None:
        """The APS command frame that brings a joining device the network key (Zigbee PRO 4.4.3.1)."""
        frame_counter = self._take(key)
        if frame_counter is None:
            return None
        auxiliary = AuxiliaryHeader(KeyIdentifier.KEY_TRANSPORT, frame_counter, self._ieee)
        cipher = self._cipher(key_transport_key(key.key))
        header = ApsCommandFrame(counter, b"").header_to_bytes()
        return security.seal(cipher, header, auxiliary, command.to_bytes(), self._ieee)

    def unseal_transport_key(
        self, octets: bytes, auxiliary: AuxiliaryHeader, link_key: bytes, sender: int
    ) -> TransportNetworkKey:
        cipher = self._cipher(key_transport_key(link_key))
        plain = security.unseal(cipher, octets, ApsCommandFrame.HEADER_BYTES, auxiliary, sender)
        return TransportNetworkKey.from_bytes(plain)

    def _cipher(self, key: bytes) -> AESCCM:
        cipher = self._ciphers.get(key)
        if cipher is None:
            cipher = self._ciphers[key] = security.cipher_for(key)
        return cipher

    @property
    def next_counter(self) -> int:
        """Above every value that was used under any key."""
        return self._next_counter

    def go_on_from(self, counter: int) -> None:
        self._next_counter = max(self._next_counter, counter)

    def _take(self, key: LinkKey) -> int | None:
        counter = max(key.outgoing_counter, self._next_counter)
        if counter > security.MAX_FRAME_COUNTER:
            return None
        self._next_counter = key.outgoing_counter = counter + 1
        return counter
