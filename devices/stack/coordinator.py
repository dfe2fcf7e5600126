"""The coordinator: it forms the network, is its trust centre and the parent of every device.

Out of it, on purpose: routers, key updates, application link keys, source routes, PAN ID conflicts.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from devices.medium.medium import Medium
from devices.stack.counters import FrameCounter
from devices.stack.indirect import IndirectQueue
from devices.stack.interface import (
    COORDINATOR,
    ZDP_PROFILE,
    ApsIndication,
    ApsStatus,
    Child,
    CoordinatorListener,
    Eui64,
    JoinKind,
    LinkKey,
    LinkKeys,
    NetworkState,
    NwkAddress,
)
from devices.stack.node import OFF_NETWORK, ZigbeeNode
from devices.stack.nwk_layer import Arrival, Done, is_broadcast
from devices.wire import mac, nwk, zdp
from devices.wire.aps import TransportNetworkKey
from devices.wire.errors import MalformedFrameError
from devices.wire.mac import AddressMode, AssociationStatus, Capability, MacCommand, MacFrame, MacType
from devices.wire.nwk import NwkCommand, NwkFrame, NwkType

if TYPE_CHECKING:
    from random import Random

    from devices.time import Scheduler, Timer

AUTHENTICATION_S = 10.0  # a device that has not used the network key by then has not understood it; our choice
AGEING_INTERVAL_S = 30.0
MAX_CHILDREN = 0x7F00
_LAST_ADDRESS = 0xFFF7  # Zigbee PRO 3.6.1.7


class ZigbeeCoordinator(ZigbeeNode):
    """`ZigbeeCoordinator(ieee, medium, scheduler, random, *, link_keys, listener, host_fragments=False)`.

    The `Coordinator` of interface.py. `capability_octet`, `manufacturer`, `unsecured_rejoin_allowed` and
    `indirect.persistence_s` are settings that the co-processor above may change. After `stop` no confirm of a message
    under way is called any more: a chip that is reset forgets them.
    """

    def __init__(
        self,
        ieee: Eui64,
        medium: Medium,
        scheduler: "Scheduler",
        random: "Random",
        *,
        link_keys: LinkKeys,
        listener: CoordinatorListener,
        host_fragments: bool = False,
        position_m: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        super().__init__(
            ieee,
            medium,
            scheduler,
            random,
            host_fragments=host_fragments,
            tells_first=True,
            position_m=position_m,
        )
        self.network: NetworkState | None = None
        self.permitting_until = 0.0
        self.manufacturer = 0x1049  # Silicon Labs, as most dongles say; a setting
        self.capability_octet = 0x8F  # alternate PAN coordinator, router, mains, receiver on, allocates addresses
        self.self_description: zdp.NodeDescriptor | None = None
        """Instead of the two settings above, where a dongle has its own."""
        self.unsecured_rejoin_allowed = True
        self.indirect = IndirectQueue(scheduler, self._indirect_expired)
        self._link_keys = link_keys
        self._listener = listener
        self._by_address: dict[int, Child] = {}
        self._last_heard: dict[int, float] = {}
        self._unauthenticated: dict[int, Timer] = {}
        self._ageing: Timer | None = None
        self._up = False
        self._radio.pending_for = self._has_pending

    # Network

    def form(self, network: NetworkState) -> None:
        self.stop()
        self._nwk.incoming.clear()
        self.network = network
        self._start(network)

    def resume(self) -> bool:
        self.stop()
        if self.network is None:
            return False
        self._start(self.network)
        return True

    def stop(self) -> None:
        self._up = False
        self.permitting_until = 0.0
        self._radio.switch_off()
        self._radio.tune(0, mac.BROADCAST, mac.BROADCAST)
        self._nwk.forget_key()
        self.address = OFF_NETWORK
        self._aps.silence()
        self.indirect.silence()
        for timer in self._unauthenticated.values():
            timer.cancel()
        self._unauthenticated.clear()
        if self._ageing is not None:
            self._ageing.cancel()
            self._ageing = None

    def leave(self) -> None:
        was_up = self._up
        self.stop()
        self.network = None
        self._by_address.clear()
        self._last_heard.clear()
        if was_up:
            self._scheduler.call_later(0.0, self._listener.network_down)

    def permit(self, seconds: float) -> None:
        self.permitting_until = self._scheduler.now() + seconds if seconds > 0 else 0.0

    @property
    def permitting(self) -> bool:
        return self._up and self._scheduler.now() < self.permitting_until

    @property
    def network_frame_counter(self) -> int:
        """The value that the next secured frame carries (`network.network_frame_counter` lies ahead of it)."""
        return self._nwk.frame_counter

    def _start(self, network: NetworkState) -> None:
        def store(value: int) -> None:
            network.network_frame_counter = value

        counter = FrameCounter(network.network_frame_counter, store)
        self._nwk.install_key(network.network_key, network.network_key_sequence, counter)
        self.address = COORDINATOR
        self._nwk.pan = network.pan_id
        self._radio.tune(network.channel, network.pan_id, COORDINATOR)
        self._radio.listening = True
        self._by_address = {child.address: child for child in network.children.values()}
        now = self._scheduler.now()
        self._last_heard = dict.fromkeys(network.children, now)
        self._ageing = self._scheduler.call_later(AGEING_INTERVAL_S, self._age_children)
        self._up = True
        self._scheduler.call_later(0.0, self._report_up)

    def _report_up(self) -> None:
        if self._up:
            self._listener.network_up()

    # Addresses

    def address_of(self, ieee: Eui64) -> NwkAddress | None:
        if ieee == self.ieee:
            return self.address
        child = self.network.children.get(ieee) if self.network else None
        return child.address if child else None

    def ieee_of(self, address: NwkAddress) -> Eui64 | None:
        child = self._by_address.get(address)
        if child is not None:
            return child.ieee
        return self.ieee if address == self.address else None

    def known_address(self, ieee: int) -> int | None:
        return self.address_of(Eui64(ieee))

    def known_ieee(self, address: int) -> int | None:
        return self.ieee_of(NwkAddress(address))

    def energy(self, channel: int) -> int:
        return self._medium.energy_dbm(channel)

    def node_descriptor(self) -> zdp.NodeDescriptor:
        if self.self_description is not None:
            return self.self_description
        # Server mask: primary trust centre, network manager, stack compliance revision 21 (Zigbee PRO table 2.32).
        return zdp.NodeDescriptor(0, self.capability_octet, self.manufacturer, 0x0041 | 21 << 9)

    def neighbours(self) -> Iterable[zdp.Neighbour]:
        if self.network is None:
            return ()
        pan = self.network.extended_pan_id
        return [
            zdp.Neighbour(pan, child.ieee, child.address, 1 if child.is_router else 2, child.receiver_on_when_idle, 1)
            for child in self.network.children.values()
        ]

    def link_key(self, partner: Eui64) -> LinkKey | None:
        return self._link_keys.for_data(partner)

    def acknowledge_fragments(self, indication: ApsIndication) -> None:
        self._aps.acknowledge(indication)

    # Sending

    def send_nwk(self, destination: NwkAddress, payload: bytes, radius: int, done: Done | None) -> None:
        child = self._by_address.get(destination)
        if child is not None and child.receiver_on_when_idle:
            self._nwk.emit_data(destination, payload, radius, destination, done)
        else:
            self._forward(self._nwk.frame(destination, payload, radius=radius), done)

    def _forward(self, frame: NwkFrame, done: Done | None) -> None:
        destination = frame.destination
        if is_broadcast(destination):
            self._broadcast(frame, done)
            return
        child = self._by_address.get(destination)
        if child is None:
            if done is not None:
                self._scheduler.call_later(0.0, lambda: done(ApsStatus.UNKNOWN_DESTINATION))
        elif child.receiver_on_when_idle:
            self._nwk.emit(frame, destination, done)
        else:
            self.indirect.put(
                destination,
                lambda pending, sent: self._nwk.emit(frame, destination, sent, pending=pending),
                done,
            )

    def _broadcast(self, frame: NwkFrame, done: Done | None) -> None:
        """Once over the air, and for 0xFFFF to each sleeping child in turn (Zigbee PRO 3.6.5)."""
        self._nwk.emit(frame, mac.BROADCAST, done)
        if frame.destination == mac.BROADCAST:
            for child in self._by_address.values():
                if not child.receiver_on_when_idle and child.address != frame.source:
                    self._hold_copy(frame, child.address)

    def _hold_copy(self, frame: NwkFrame, address: NwkAddress) -> None:
        self.indirect.put(address, lambda pending, sent: self._nwk.emit(frame, address, sent, pending=pending), None)

    def _indirect_expired(self) -> None:
        self.counters.indirect_expired += 1

    # Receiving

    def _hears(self, destination: int) -> bool:
        return is_broadcast(destination)

    def _accepts(self, arrival: Arrival) -> bool:
        if arrival.sender is None:
            # In the clear there is only the rejoin of a device that lost the network key (Zigbee PRO 4.6.3.3).
            rejoin = arrival.frame.type is NwkType.COMMAND and arrival.payload[:1] == bytes(
                (NwkCommand.REJOIN_REQUEST,)
            )
            if not rejoin:
                self.counters.nwk_unsecured += 1
            return rejoin
        child = self._by_address.get(arrival.frame.source)
        if child is not None and child.ieee == arrival.sender:
            self._last_heard[child.ieee] = self._scheduler.now()
            timer = self._unauthenticated.pop(child.ieee, None) if self._unauthenticated else None
            if timer is not None:
                timer.cancel()
            return True
        if arrival.frame.type is NwkType.COMMAND:
            return True  # a secured rejoin of a device that we do not know, or its leave
        self.counters.unexpected += 1
        if child is None:  # in another's address somebody lies, and its holder is not to suffer for it
            self._send_away(arrival.frame.source)
        return False

    def _after_data(self, destination: int, *, pending: bool) -> None:
        pass  # a parent never sleeps

    def _arrived(self, arrival: Arrival) -> None:
        super()._arrived(arrival)
        frame = arrival.frame
        # The parent of a sleepy child spreads its broadcasts for it (Zigbee PRO 3.6.5).
        if frame.destination >= 0xFFFC and frame.source in self._by_address and frame.radius > 1:
            relayed = NwkFrame(
                frame.destination,
                frame.source,
                frame.radius - 1,
                frame.sequence,
                arrival.payload,
                frame.type,
                secured=True,
            )
            self._broadcast(relayed, None)

    def _indicate(self, indication: ApsIndication) -> None:
        if indication.profile == ZDP_PROFILE and indication.cluster == zdp.ZdpCluster.DEVICE_ANNOUNCE:
            self._announced(zdp.DeviceAnnounce.from_bytes(indication.payload[1:]))
        self._listener.message_received(indication)

    def _announced(self, announce: zdp.DeviceAnnounce) -> None:
        child = self._by_address.get(announce.address)
        if child is not None and child.ieee == announce.ieee:
            child.receiver_on_when_idle = Capability.from_octet(announce.capability).receiver_on_when_idle

    def aps_command(self, octets: bytes, arrival: Arrival) -> None:  # noqa: ARG002 the host's shape
        self.counters.unexpected += 1  # Request-Key, Update-Device and the like: no device here has routers or asks

    def _nwk_command(self, arrival: Arrival) -> None:
        payload = arrival.payload
        command = payload[0] if payload else None
        match command:
            case NwkCommand.REJOIN_REQUEST:
                self._rejoin(arrival, nwk.RejoinRequest.from_bytes(payload))
            case NwkCommand.LEAVE:
                self._left(arrival, nwk.Leave.from_bytes(payload))
            case NwkCommand.END_DEVICE_TIMEOUT_REQUEST:
                self._keep_for(arrival, nwk.EndDeviceTimeoutRequest.from_bytes(payload))
            case _:
                self.counters.unexpected += 1

    # Joining

    def _mac_received(self, frame: MacFrame, lqi: int) -> None:  # noqa: ARG002 the node's shape
        if frame.type is not MacType.COMMAND or self.network is None:
            return
        command = frame.payload[0] if frame.payload else None
        match command:
            case MacCommand.BEACON_REQUEST:
                self._send_beacon(self.network)
            case MacCommand.ASSOCIATION_REQUEST:
                self._associate(frame)
            case MacCommand.DATA_REQUEST:
                self._polled(frame)
            case MacCommand.DISASSOCIATION_NOTIFICATION:
                pass  # ZigBee devices leave by a NWK command
            case _:
                self.counters.unexpected += 1

    def _send_beacon(self, network: NetworkState) -> None:
        beacon = mac.Beacon(
            permit=self.permitting, extended_pan=network.extended_pan_id, update_id=network.update_id
        ).to_bytes()
        self._radio.transmit(
            MacFrame(
                MacType.BEACON,
                self._nwk.next_mac_sequence(),
                source_mode=AddressMode.SHORT,
                source_pan=network.pan_id,
                source=COORDINATOR,
                payload=beacon,
            ).to_bytes()
        )

    def _associate(self, frame: MacFrame) -> None:
        if frame.source_mode is not AddressMode.EXTENDED or len(frame.payload) != 2 or self.network is None:
            raise MalformedFrameError("association request", "extended source and one octet expected", 0)
        ieee = Eui64(frame.source)
        if not self.permitting:
            self._answer_association(ieee, mac.NO_SHORT_ADDRESS, AssociationStatus.PAN_ACCESS_DENIED, None)
            return
        if len(self.network.children) >= MAX_CHILDREN:
            self._answer_association(ieee, mac.NO_SHORT_ADDRESS, AssociationStatus.PAN_AT_CAPACITY, None)
            return
        capability = Capability.from_octet(frame.payload[1])
        known = self.network.children.get(ieee)
        address = known.address if known else self._free_address()
        self._answer_association(ieee, address, AssociationStatus.SUCCESS, capability)

    def _answer_association(
        self, ieee: Eui64, address: int, status: AssociationStatus, capability: Capability | None
    ) -> None:
        def done(result: ApsStatus) -> None:
            if result is ApsStatus.SUCCESS and capability is not None:
                self._admit(ieee, NwkAddress(address), capability, JoinKind.ASSOCIATED)

        self.indirect.drop(ieee, ApsStatus.EXPIRED)
        self.indirect.put(ieee, lambda pending, sent: self._send_response(ieee, address, status, pending, sent), done)

    def _send_response(self, ieee: Eui64, address: int, status: int, pending: bool, sent: Done) -> None:
        frame = MacFrame(
            MacType.COMMAND,
            self._nwk.next_mac_sequence(),
            AddressMode.EXTENDED,
            self._nwk.pan,
            ieee,
            AddressMode.EXTENDED,
            self._nwk.pan,
            self.ieee,
            mac.AssociationResponse(address, status).to_bytes(),
            ack_request=True,
            pending=pending,
        )
        self._radio.transmit(
            frame.to_bytes(), lambda acked, _pending: sent(ApsStatus.SUCCESS if acked else ApsStatus.NO_ACK)
        )

    def _free_address(self) -> NwkAddress:
        while True:  # stochastic assignment, Zigbee PRO 3.6.1.7
            address = NwkAddress(self._random.randint(1, _LAST_ADDRESS))
            if address not in self._by_address:
                return address

    def _admit(self, ieee: Eui64, address: NwkAddress, capability: Capability, kind: JoinKind) -> None:
        """A device has an address now. Unless it proved its network key already, it is sent the key."""
        if self.network is None or not self._up:
            return
        known = self.network.children.get(ieee)
        if known is not None:
            self._drop_child(known)
        child = Child(ieee, address, capability.receiver_on_when_idle, capability.full_function)
        self.network.children[ieee] = child
        self._by_address[address] = child
        self._last_heard[ieee] = self._scheduler.now()
        self._aps.forget(address)
        if kind is JoinKind.REJOINED_SECURED:
            self._listener.device_joined(ieee, address, kind)
            return
        key = self._link_keys.for_join(ieee)
        if key is None:
            self._drop_child(child)
            self._listener.join_refused(ieee, "no link key for this device")
            return
        if kind is JoinKind.ASSOCIATED:
            # A new association starts the neighbour's counters anew: the device may have forgotten its own.
            self._nwk.incoming.pop(ieee, None)
        self._listener.device_joined(ieee, address, kind)
        self._send_network_key(child, key)
        self._unauthenticated[ieee] = self._scheduler.call_later(
            AUTHENTICATION_S, lambda: self._never_authenticated(child, kind)
        )

    def _send_network_key(self, child: Child, key: LinkKey) -> None:
        if self.network is None:
            return
        command = TransportNetworkKey(
            self.network.network_key_sequence, child.ieee, self.ieee, self.network.network_key
        )
        octets = self._aps.security.seal_transport_key(self._aps.next_counter(), command, key)
        if octets is not None:
            self._forward(self._nwk.frame(child.address, octets, secured=False), None)

    def _never_authenticated(self, child: Child, kind: JoinKind) -> None:
        self._unauthenticated.pop(child.ieee, None)
        if self.network is not None and self.network.children.get(child.ieee) is child:
            # Anyone can ask for a rejoin in the clear under another's name: that must not cost the other its place.
            if kind is JoinKind.ASSOCIATED:
                self._drop_child(child)
            self._listener.join_refused(child.ieee, "it never used the network key: is its install code another one?")

    def _rejoin(self, arrival: Arrival, request: nwk.RejoinRequest) -> None:
        frame = arrival.frame
        source = arrival.sender if arrival.sender is not None else frame.source_ieee
        if source is None or self.network is None or frame.source_ieee not in {None, source}:
            raise MalformedFrameError("rejoin request", "no IEEE address", 0)
        ieee = Eui64(source)
        secured = arrival.sender is not None
        refused = None
        if not secured and not self.unsecured_rejoin_allowed:
            refused = "unsecured rejoin is not allowed"
        elif not secured and self._link_keys.for_join(ieee) is None:
            refused = "no link key for this device"
        if refused is not None:
            self._listener.join_refused(ieee, refused)
        holder = self._by_address.get(frame.source)
        address = NwkAddress(frame.source)
        if not 1 <= address <= _LAST_ADDRESS or (holder is not None and holder.ieee != ieee):
            address = self._free_address()
        status = AssociationStatus.SUCCESS if refused is None else AssociationStatus.PAN_ACCESS_DENIED
        response = nwk.RejoinResponse(address, status)
        capability = Capability.from_octet(request.capability)

        def done(result: ApsStatus) -> None:
            if result is ApsStatus.SUCCESS and refused is None:
                kind = JoinKind.REJOINED_SECURED if secured else JoinKind.REJOINED_UNSECURED
                self._admit(ieee, address, capability, kind)

        answer = self._nwk.frame(
            frame.source,
            response.to_bytes(),
            radius=1,
            command=True,
            secured=secured,
            destination_ieee=ieee,
            source_ieee=self.ieee,
        )
        if capability.receiver_on_when_idle:
            self._nwk.emit(answer, frame.source, done)
        else:
            self.indirect.put(
                frame.source, lambda pending, sent: self._nwk.emit(answer, frame.source, sent, pending=pending), done
            )

    # Children

    def _has_pending(self, octets: bytes) -> bool:
        """For the radio, which must say in the ACK of a poll whether something waits."""
        try:
            frame = MacFrame.from_bytes(octets)
        except MalformedFrameError:
            return False
        return frame.payload[:1] == bytes((MacCommand.DATA_REQUEST,)) and self.indirect.waits_for(frame.source)

    def _polled(self, frame: MacFrame) -> None:
        if frame.source_mode is AddressMode.SHORT:
            child = self._by_address.get(frame.source)
            if child is not None:
                self._last_heard[child.ieee] = self._scheduler.now()
            elif not self.indirect.waits_for(frame.source):
                self._send_away(frame.source)
                return
        self.indirect.polled(frame.source)

    def _send_away(self, address: int) -> None:
        """Tell a device that takes us for its parent to rejoin (as EmberZNet does for an aged-out child)."""
        leave = nwk.Leave(request=True, rejoin=True).to_bytes()
        self._nwk.emit(self._nwk.frame(address, leave, radius=1, command=True), address)

    def _keep_for(self, arrival: Arrival, request: nwk.EndDeviceTimeoutRequest) -> None:
        child = self._by_address.get(arrival.frame.source)
        if child is None:
            return
        seconds = request.seconds
        if seconds is not None:
            child.timeout_s = seconds
        response = nwk.EndDeviceTimeoutResponse(0 if seconds is not None else 1)
        self._forward(self._nwk.frame(child.address, response.to_bytes(), radius=1, command=True), None)

    def _age_children(self) -> None:
        self._ageing = self._scheduler.call_later(AGEING_INTERVAL_S, self._age_children)
        now = self._scheduler.now()
        for child in tuple(self._by_address.values()):
            if now - self._last_heard.get(child.ieee, now) > child.timeout_s:
                self._drop_child(child)

    def _drop_child(self, child: Child) -> None:
        timer = self._unauthenticated.pop(child.ieee, None)
        if timer is not None:
            timer.cancel()
        if self.network is not None:
            self.network.children.pop(child.ieee, None)
        self._by_address.pop(child.address, None)
        self._last_heard.pop(child.ieee, None)
        self.indirect.drop(child.address, ApsStatus.UNKNOWN_DESTINATION)

    def _left(self, arrival: Arrival, leave: nwk.Leave) -> None:
        child = self._by_address.get(arrival.frame.source)
        if leave.request or child is None or child.ieee != arrival.sender:
            self.counters.unexpected += 1
            return
        self._drop_child(child)
        if not leave.rejoin:
            self._listener.device_left(child.ieee, child.address)

    def remove(self, ieee: Eui64) -> None:
        child = self.network.children.get(ieee) if self.network else None
        if child is None:
            return

        def done(status: ApsStatus) -> None:
            # A device that answers reports its own leaving; one that cannot be reached is struck off.
            if status is not ApsStatus.SUCCESS and self._by_address.get(child.address) is child:
                self._drop_child(child)
                self._listener.device_left(child.ieee, child.address)

        leave = nwk.Leave(request=True).to_bytes()
        self._forward(self._nwk.frame(child.address, leave, radius=1, command=True, destination_ieee=ieee), done)
