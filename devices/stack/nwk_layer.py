"""The NWK layer of one node: builds and protects frames, opens and checks those that arrive, gives them to the radio.

It knows the network key, the frame counters of both directions and the neighbours. Routes are in routing.py.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from devices.medium.medium import Medium
from devices.stack.interface import COORDINATOR, ApsStatus, Neighbour, NwkAddress
from devices.wire import mac, security
from devices.wire.errors import FrameSecurityError, MalformedFrameError
from devices.wire.mac import MacFrame, MacType
from devices.wire.nwk import NwkFrame, NwkSecurity, NwkType
from devices.wire.security import MAX_FRAME_COUNTER

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESCCM

FIRST_BROADCAST = 0xFFF8  # Zigbee PRO table 3.60
OFF_NETWORK = NwkAddress(0xFFFF)  # Zigbee PRO table 3.49: nwkNetworkAddress before a network
DEFAULT_RADIUS = 30  # twice nwkMaxDepth, Zigbee PRO table 3.49
RESERVE = 1024  # our choice: how far ahead of use a counter is written, one write for so many frames
PARENT_LOST_AFTER = 4  # our choice: transmissions in a row without MAC acknowledgement
Done = Callable[[ApsStatus], None]


def is_broadcast(address: int) -> bool:
    return address >= FIRST_BROADCAST


@dataclass(slots=True)
class Counters:
    """What a node dropped, by reason, and what failed. A MAC retry after a lost ACK counts as a NWK replay."""

    malformed: int = 0
    unexpected: int = 0  # well-formed, but nothing to do with us in this state
    nwk_unsecured: int = 0
    nwk_security_failures: int = 0
    nwk_replays: int = 0
    aps_security_failures: int = 0
    aps_no_link_key: int = 0
    aps_replays: int = 0
    aps_duplicates: int = 0  # acknowledged again, not handed on
    fragments_expired: int = 0  # messages that were never completed
    mac_failures: int = 0  # transmissions without MAC acknowledgement
    aps_retries: int = 0
    aps_failures: int = 0
    indirect_expired: int = 0


class FrameCounter:
    """Hands out values, after `store` was told one beyond them: who restarts there repeats none (4.3.1.1)."""

    __slots__ = ("_reserved", "_store", "next")

    def __init__(self, start: int, store: Callable[[int], None]) -> None:
        self.next = start
        self._reserved = start
        self._store = store

    def take(self) -> int | None:
        """The next value; None when the key is used up."""
        value = self.next
        if value > MAX_FRAME_COUNTER:
            return None
        if value >= self._reserved:
            self._reserved = min(value + RESERVE, MAX_FRAME_COUNTER + 1)
            self._store(self._reserved)
        self.next = value + 1
        return value


class Arrival(NamedTuple):
    """An accepted NWK frame, its payload plain. `sender` is the IEEE address of the last hop, who secured it."""

    frame: NwkFrame
    sender: int | None
    originator: int | None  # the IEEE address of who made the frame; None where it is not known or came in the clear
    mac_source: int
    lqi: int
    rssi: int


class NwkNode(Protocol):
    """The node that the layer is part of."""

    def arrived(self, arrival: Arrival) -> None: ...
    def forward(self, frame: NwkFrame, done: Done | None) -> None:
        """Send a frame whose destination is no child that listens: a broadcast, a sleeper, somebody further away."""
        ...

    def mac_received(self, frame: MacFrame, lqi: int) -> None:
        """A beacon or a command."""
        ...

    def data_was_for(self, destination: int, *, pending: bool) -> None:
        """Only with `sleepy`: a data frame has been dealt with, whatever became of it."""
        ...

    def parent_lost(self) -> None:
        """It has left PARENT_LOST_AFTER transmissions without acknowledgement."""
        ...


class NwkLayer:
    """`neighbours` are those whose IEEE address is known, by network address; `incoming` holds the highest frame
    counter accepted from each; `parent` takes every frame that is sent, unless the node finds routes itself (`routes`).
    """

    def __init__(
        self,
        node: NwkNode,
        ieee: int,
        medium: Medium,
        counters: Counters,
        *,
        routes: bool = True,
        position_m: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        self.address = OFF_NETWORK
        self.pan = 0xFFFF
        self.parent = COORDINATOR
        self.sleepy = False
        self.missed = 0  # transmissions to the parent in a row that it did not acknowledge
        self.neighbours: dict[int, Neighbour] = {}
        self.incoming: dict[int, int] = {}
        self.radio = medium.attach(ieee, self.heard, position_m)
        self._node = node
        self._routes = routes
        self._ieee = ieee
        self._medium = medium
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

    # Sending

    def frame(
        self,
        destination: int,
        payload: bytes,
        *,
        radius: int = DEFAULT_RADIUS,
        command: bool = False,
        secured: bool = True,
        destination_ieee: int | None = None,
        source_ieee: int | None = None,
    ) -> NwkFrame:
        """A frame of ours, still plain: its frame counter comes when it is sent, in the order of the air."""
        self._sequence = (self._sequence + 1) & 0xFF
        kind, security = NwkType.COMMAND if command else NwkType.DATA, NwkSecurity(0, self._ieee) if secured else None
        head = destination, self.address, radius, self._sequence
        return NwkFrame(*head, payload, kind, security, destination_ieee, source_ieee)

    def send(self, destination: int, payload: bytes, radius: int, done: Done | None) -> None:
        """An APS frame in a secured data frame, to its next hop."""
        hop: int = self.parent
        if self._routes:
            neighbour = self.neighbours.get(destination)
            if neighbour is None or neighbour.via is not None or not neighbour.receiver_on_when_idle:
                self._node.forward(self.frame(destination, payload, radius=radius), done)
                return
            hop = destination
        sequence = self._sequence = (self._sequence + 1) & 0xFF
        frame = NwkFrame(destination, self.address, radius, sequence, payload, NwkType.DATA, self._next_security())
        self._transmit(frame, hop, done, secured=True, pending=False)

    def emit(self, frame: NwkFrame, hop: int, done: Done | None = None, *, pending: bool = False) -> None:
        """Protect a frame of `frame` and give it to the radio. Without a usable key it goes nowhere: NO_NETWORK."""
        secured = frame.security is not None
        if secured:
            frame = frame._replace(security=self._next_security())
        self._transmit(frame, hop, done, secured=secured, pending=pending)

    def _next_security(self) -> NwkSecurity | None:
        counter = None if self._counter is None else self._counter.take()
        return None if counter is None else NwkSecurity(counter, self._ieee, self._key_sequence)

    def _transmit(self, frame: NwkFrame, hop: int, done: Done | None, *, secured: bool, pending: bool) -> None:
        if not secured:
            octets = frame.to_bytes()
        elif frame.security is not None and self._cipher is not None:
            octets = frame.seal(self._cipher)
        else:
            if done is not None:
                self._medium.scheduler.call_later(0.0, lambda: done(ApsStatus.NO_NETWORK))
            return

        def sent(acked: bool, _pending: bool) -> None:
            self.acknowledged(acked, hop)
            if done is not None:
                done(ApsStatus.SUCCESS if acked else ApsStatus.NO_ACK)

        whole = mac.data_frame(self.next_mac_sequence(), self.pan, hop, self.address, octets, pending=pending)
        self.radio.transmit(whole, sent)

    def acknowledged(self, acked: bool, hop: int) -> None:
        """Count whether the MAC acknowledged what was sent; too often not means that the parent is lost."""
        if not acked:
            self._counters.mac_failures += 1
        if hop != self.parent:
            return
        self.missed = 0 if acked else self.missed + 1
        if self.missed >= PARENT_LOST_AFTER:
            self._node.parent_lost()

    # Receiving

    def heard(self, octets: bytes, lqi: int, rssi: int) -> None:
        """A whole MAC frame without FCS, from the radio. What fails is counted and dropped."""
        try:
            outer = MacFrame.from_bytes(octets)
            if outer.type is MacType.DATA:
                arrival = self.open(outer, lqi, rssi)
                if arrival is not None:
                    self._node.arrived(arrival)
                if self.sleepy:
                    self._node.data_was_for(outer.destination, pending=outer.pending)
            elif outer.type is not MacType.ACK:
                self._node.mac_received(outer, lqi)
        except MalformedFrameError:
            self._counters.malformed += 1

    def open(self, outer: MacFrame, lqi: int, rssi: int) -> Arrival | None:
        """What a data frame brought; None, and counted, where it is not to be believed."""
        counters = self._counters
        try:
            frame = NwkFrame.from_bytes(outer.payload, self._cipher)
        except MalformedFrameError:
            counters.malformed += 1
            return None
        except FrameSecurityError:
            counters.nwk_security_failures += 1
            return None
        if frame.security is None:
            return Arrival(frame, None, None, outer.source, lqi, rssi)
        counter, sender, key_sequence = frame.security
        if self._cipher is None or key_sequence != self._key_sequence:
            counters.nwk_security_failures += 1
            return None
        if counter <= self.incoming.get(sender, -1):
            counters.nwk_replays += 1
            return None
        self.incoming[sender] = counter
        originator = sender if frame.source == outer.source else self._ieee_at(frame.source)
        return Arrival(frame, sender, originator, outer.source, lqi, rssi)

    def _ieee_at(self, address: int) -> int | None:
        neighbour = self.neighbours.get(address)
        return None if neighbour is None else neighbour.ieee
