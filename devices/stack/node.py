"""What coordinator and end device have in common: a radio, the NWK and APS layers, the device object, `send`.

The two ends differ in how they join, and in how a frame finds its next hop (`_forward`).
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING

from devices.medium.medium import Medium
from devices.stack import zdo
from devices.stack.aps_layer import MAX_PAYLOAD_BYTES, ApsLayer
from devices.stack.counters import Counters
from devices.stack.interface import (
    ZDP_PROFILE,
    ApsIndication,
    ApsRequest,
    ApsStatus,
    Confirm,
    Endpoint,
    Eui64,
    LinkKey,
    NwkAddress,
)
from devices.stack.kept import counter_ahead
from devices.stack.nwk_layer import Arrival, Done, NwkLayer, is_broadcast
from devices.wire import mac, secured_data, zdp
from devices.wire.errors import MalformedFrameError
from devices.wire.mac import MacFrame, MacType
from devices.wire.nwk import NwkFrame, NwkType
from devices.wire.security import APS_OVERHEAD_BYTES

if TYPE_CHECKING:
    from random import Random

    from devices.time import Scheduler

OFF_NETWORK = NwkAddress(0xFFFF)


class ZigbeeNode(ABC):
    """One node on the medium; see `Stack` in interface.py for the public half."""

    def __init__(
        self,
        ieee: Eui64,
        medium: Medium,
        scheduler: "Scheduler",
        random: "Random",
        *,
        host_fragments: bool = False,
        tells_first: bool = False,
        position_m: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        self.ieee = ieee
        self.endpoints: dict[int, Endpoint] = {}
        self.counters = Counters()
        self._scheduler = scheduler
        self._random = random
        self._medium = medium
        self._radio = medium.attach(ieee, self._heard, position_m)
        self._nwk = NwkLayer(ieee, self._radio, self.counters)
        self._aps = ApsLayer(
            self,
            ieee,
            scheduler,
            self.counters,
            host_fragments=host_fragments,
            first_counter=random.randrange(256),
            tells_first=tells_first,
        )
        self._zdp_sequence = 0

    @property
    def address(self) -> NwkAddress:
        return NwkAddress(self._nwk.address)

    @address.setter
    def address(self, address: NwkAddress) -> None:
        self._nwk.address = address

    @property
    def aps_counter_ahead(self) -> int:
        """An APS frame counter at or above the next one under whatever link key."""
        return counter_ahead(self._aps.security.next_counter)

    def use_aps_counters_from(self, counter: int) -> None:
        self._aps.security.go_on_from(counter)

    # Sending

    def send(self, request: ApsRequest, confirm: Confirm | None = None) -> int:
        """See `Stack.send`. A message to the node itself never touches the air."""
        address = self._nwk.address
        if address == OFF_NETWORK or not self._nwk.can_secure:
            if confirm is not None:
                self._scheduler.call_later(0.0, lambda: confirm(ApsStatus.NO_NETWORK))
            return self._aps.next_counter() if request.counter is None else request.counter
        if request.destination == address and request.group is None:
            return self._send_to_self(request, confirm)
        return self._aps.send(request, confirm)

    def maximum_payload(self, *, secured: bool) -> int:
        return MAX_PAYLOAD_BYTES - (APS_OVERHEAD_BYTES if secured else 0)

    def _send_to_self(self, request: ApsRequest, confirm: Confirm | None) -> int:
        counter = self._aps.next_counter() if request.counter is None else request.counter
        indication = ApsIndication(
            self.address,
            self.ieee,
            self.address,
            request.profile,
            request.cluster,
            request.source_endpoint,
            request.destination_endpoint,
            request.payload,
            counter,
            request.secured,
        )

        def loop_back() -> None:
            if confirm is not None:
                confirm(ApsStatus.SUCCESS)
            self.aps_indication(indication)

        self._scheduler.call_later(0.0, loop_back)
        return counter

    def _send_zdp(self, destination: NwkAddress, cluster: int, body: bytes, sequence: int | None = None) -> int:
        if sequence is None:
            sequence = self._zdp_sequence = (self._zdp_sequence + 1) & 0xFF
        payload = bytes((sequence,)) + body
        acknowledged = not is_broadcast(destination)
        self.send(ApsRequest(destination, ZDP_PROFILE, cluster, 0, 0, payload, acknowledged=acknowledged))
        return sequence

    # Receiving

    def _heard(self, octets: bytes, lqi: int, rssi: int) -> None:
        headers = secured_data.read_nwk(octets)
        try:
            if headers is not None:
                arrival = self._nwk.receive_secured_data(octets, headers, lqi, rssi)
                if arrival is not None:
                    self._arrived(arrival)
                self._after_data(headers[3], pending=bool(headers[0] & mac.PENDING))
                return
            frame = MacFrame.from_bytes(octets)
            if frame.type is MacType.DATA:
                arrival = self._nwk.receive(frame.payload, frame.source, lqi, rssi)
                if arrival is not None:
                    self._arrived(arrival)
                self._after_data(frame.destination, pending=frame.pending)
            elif frame.type is not MacType.ACK:
                self._mac_received(frame, lqi)
        except MalformedFrameError:
            self.counters.malformed += 1

    def _arrived(self, arrival: Arrival) -> None:
        frame = arrival.frame
        address = self._nwk.address
        if frame.source == address or not self._accepts(arrival):
            return
        if frame.type is NwkType.COMMAND:
            self._nwk_command(arrival)
        elif frame.destination == address or self._hears(frame.destination):
            self._aps.receive(arrival)
        else:
            self.counters.unexpected += 1

    def aps_indication(self, indication: ApsIndication) -> None:
        """From the APS layer: the device object's share is answered here, the rest goes up."""
        if indication.profile == ZDP_PROFILE and indication.destination_endpoint == 0:
            try:
                if not self._zdp_received(indication):
                    self._indicate(indication)
            except MalformedFrameError:
                self.counters.malformed += 1
        else:
            self._indicate(indication)

    def _zdp_received(self, indication: ApsIndication) -> bool:
        """True when the device object has dealt with it."""
        if not indication.payload:
            raise MalformedFrameError("ZDP", "no transaction sequence", 0)
        cluster, body = indication.cluster, indication.payload[1:]
        if not zdo.is_answered(cluster):
            return False
        answer = zdo.respond(self, cluster, body, broadcast=is_broadcast(indication.destination))
        if answer is not None:
            self._send_zdp(indication.source, cluster | zdp.RESPONSE, answer, indication.payload[0])
        return True

    # What the two ends do differently

    @abstractmethod
    def send_nwk(self, destination: NwkAddress, payload: bytes, radius: int, done: Done | None) -> None:
        """For the APS layer: an APS frame in a secured NWK data frame."""

    @abstractmethod
    def _forward(self, frame: NwkFrame, done: Done | None) -> None:
        """Send a NWK frame to its next hop."""

    @abstractmethod
    def _hears(self, destination: int) -> bool:
        """Whether this broadcast address includes the node (Zigbee PRO table 3.60)."""

    @abstractmethod
    def _accepts(self, arrival: Arrival) -> bool:
        """Whether a frame, secured or not, is to be looked at in this state."""

    @abstractmethod
    def _nwk_command(self, arrival: Arrival) -> None: ...
    @abstractmethod
    def _mac_received(self, frame: MacFrame, lqi: int) -> None:
        """A beacon or a command."""

    @abstractmethod
    def _after_data(self, destination: int, *, pending: bool) -> None:
        """A MAC data frame has been dealt with, whatever became of it."""

    @abstractmethod
    def _indicate(self, indication: ApsIndication) -> None: ...
    @abstractmethod
    def aps_command(self, octets: bytes, arrival: Arrival) -> None: ...
    @abstractmethod
    def ieee_of(self, address: NwkAddress) -> Eui64 | None: ...
    @abstractmethod
    def link_key(self, partner: Eui64) -> LinkKey | None: ...
    @abstractmethod
    def node_descriptor(self) -> zdp.NodeDescriptor: ...
    @abstractmethod
    def neighbours(self) -> Iterable[zdp.Neighbour]: ...
    @abstractmethod
    def known_address(self, ieee: int) -> int | None: ...
    @abstractmethod
    def known_ieee(self, address: int) -> int | None: ...
    @abstractmethod
    def energy(self, channel: int) -> int: ...
