"""The NWK layer of one node: builds and protects frames, opens and checks those that arrive.

It knows the network key and the frame counters of both directions, nothing of routes: the network is one hop wide.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from devices.medium.medium import Radio
from devices.stack.counters import Counters, FrameCounter
from devices.stack.interface import ApsStatus
from devices.wire import mac, secured_data, security
from devices.wire.errors import FrameSecurityError, MalformedFrameError
from devices.wire.nwk import NwkFrame, NwkType
from devices.wire.secured_data import NwkHeaders
from devices.wire.security import AuxiliaryHeader, KeyIdentifier

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESCCM

FIRST_BROADCAST = 0xFFF8  # Zigbee PRO table 3.60
Done = Callable[[ApsStatus], None]


def is_broadcast(address: int) -> bool:
    return address >= FIRST_BROADCAST


class Arrival(NamedTuple):
    """A NWK frame that was accepted: `payload` is plain, `sender` the IEEE address of the last hop, who secured it."""

    frame: NwkFrame
    payload: bytes
    sender: int | None
    mac_source: int
    lqi: int
    rssi: int

    @property
    def originator(self) -> int | None:
        """The IEEE address of who made the frame; None where it was relayed or came in the clear."""
        return self.sender if self.frame.source == self.mac_source else None


class NwkLayer:
    """`NwkLayer(ieee, radio, counters)`; `incoming` holds the highest frame counter accepted from each neighbour."""

    def __init__(self, ieee: int, radio: Radio, counters: Counters) -> None:
        self.address = 0xFFFF
        self.pan = 0xFFFF
        self.incoming: dict[int, int] = {}
        self._ieee = ieee
        self._radio = radio
        self._counters = counters
        self._cipher: AESCCM | None = None
        self._key_sequence = 0
        self._counter: FrameCounter | None = None
        self._sequence = 0
        self._mac_sequence = 0

    @property
    def has_key(self) -> bool:
        return self._cipher is not None

    @property
    def can_secure(self) -> bool:
        """Whether there is a key with a counter value left."""
        return self._counter is not None and self._counter.next <= security.MAX_FRAME_COUNTER

    @property
    def frame_counter(self) -> int:
        """The next outgoing value; 0 without a key."""
        return self._counter.next if self._counter else 0

    def install_key(self, key: bytes, sequence: int, counter: FrameCounter) -> None:
        self._cipher = security.cipher_for(key)
        self._key_sequence = sequence
        self._counter = counter

    def forget_key(self) -> None:
        self._cipher = None
        self._counter = None

    def next_mac_sequence(self) -> int:
        self._mac_sequence = (self._mac_sequence + 1) & 0xFF
        return self._mac_sequence

    def frame(
        self,
        destination: int,
        payload: bytes,
        *,
        radius: int = 30,
        command: bool = False,
        secured: bool = True,
        destination_ieee: int | None = None,
        source_ieee: int | None = None,
    ) -> NwkFrame:
        """A frame of ours, still plain: protection comes when it is sent, in the order of the counters."""
        self._sequence = (self._sequence + 1) & 0xFF
        return NwkFrame(
            destination,
            self.address,
            radius,
            self._sequence,
            payload,
            NwkType.COMMAND if command else NwkType.DATA,
            secured,
            destination_ieee,
            source_ieee,
        )

    def emit(self, frame: NwkFrame, mac_destination: int, done: Done | None = None, *, pending: bool = False) -> None:
        """Protect a frame and give it to the radio. Without a usable key it goes nowhere: NO_NETWORK."""
        octets = self._protect(frame)
        if octets is None:
            if done is not None:
                done(ApsStatus.NO_NETWORK)
            return
        self._transmit(octets, mac_destination, done, pending=pending)

    def emit_data(self, destination: int, payload: bytes, radius: int, mac_destination: int, done: Done | None) -> None:
        """`emit` of a secured data `frame` that need not wait for anything."""
        counter = None if self._counter is None else self._counter.take()
        if counter is None or self._cipher is None:
            if done is not None:
                done(ApsStatus.NO_NETWORK)
            return
        sequence = self._sequence = (self._sequence + 1) & 0xFF
        octets = secured_data.seal_nwk(
            self._cipher,
            destination,
            self.address,
            radius,
            sequence,
            counter,
            self._ieee,
            self._key_sequence,
            payload,
        )
        self._transmit(octets, mac_destination, done, pending=False)

    def _transmit(self, octets: bytes, mac_destination: int, done: Done | None, *, pending: bool) -> None:
        counters = self._counters

        def sent(acked: bool, _pending: bool) -> None:
            if not acked:
                counters.mac_failures += 1
            if done is not None:
                done(ApsStatus.SUCCESS if acked else ApsStatus.NO_ACK)

        frame = mac.data_frame(
            self.next_mac_sequence(), self.pan, mac_destination, self.address, octets, pending=pending
        )
        self._radio.transmit(frame, sent)

    def receive(self, octets: bytes, mac_source: int, lqi: int, rssi: int) -> Arrival | None:
        """Open the payload of a MAC data frame. What fails is counted and dropped: None."""
        counters = self._counters
        try:
            frame = NwkFrame.from_bytes(octets)
            if not frame.secured:
                return Arrival(frame, frame.payload, None, mac_source, lqi, rssi)
            header_bytes = len(octets) - len(frame.payload)
            auxiliary = AuxiliaryHeader.from_bytes(octets, header_bytes)
            sender = auxiliary.source
            if sender is None or auxiliary.key is not KeyIdentifier.NETWORK:
                counters.nwk_security_failures += 1
                return None
            cipher = self._cipher_for(sender, auxiliary.frame_counter, auxiliary.key_sequence)
            if cipher is None:
                return None
            payload = security.unseal(cipher, octets, header_bytes, auxiliary, sender)
        except MalformedFrameError:
            counters.malformed += 1
            return None
        except FrameSecurityError:
            counters.nwk_security_failures += 1
            return None
        self.incoming[sender] = auxiliary.frame_counter
        return Arrival(frame, payload, sender, mac_source, lqi, rssi)

    def receive_secured_data(self, octets: bytes, headers: NwkHeaders, lqi: int, rssi: int) -> Arrival | None:
        """`receive` for a whole MAC frame of the usual shape, whose headers were read."""
        _, _, _, _, mac_source, _, destination, source, radius, sequence, _, counter, sender, key_sequence = headers
        cipher = self._cipher_for(sender, counter, key_sequence)
        if cipher is None:
            return None
        try:
            payload = secured_data.unseal_nwk(cipher, octets, counter, sender)
        except FrameSecurityError:
            self._counters.nwk_security_failures += 1
            return None
        self.incoming[sender] = counter
        frame = NwkFrame(destination, source, radius, sequence, payload, NwkType.DATA, True)
        return Arrival(frame, payload, sender, mac_source, lqi, rssi)

    def _cipher_for(self, sender: int, counter: int, key_sequence: int) -> "AESCCM | None":
        """Of the network key; None, and counted, where this frame is not to be opened with it."""
        if self._cipher is None or key_sequence != self._key_sequence:
            self._counters.nwk_security_failures += 1
            return None
        if counter <= self.incoming.get(sender, -1):
            self._counters.nwk_replays += 1
            return None
        return self._cipher

    def _protect(self, frame: NwkFrame) -> bytes | None:
        if not frame.secured:
            return frame.to_bytes()
        if self._cipher is None or self._counter is None:
            return None
        counter = self._counter.take()
        if counter is None:
            return None
        auxiliary = AuxiliaryHeader(KeyIdentifier.NETWORK, counter, self._ieee, self._key_sequence)
        return security.seal(self._cipher, frame.header_to_bytes(), auxiliary, frame.payload, self._ieee)
