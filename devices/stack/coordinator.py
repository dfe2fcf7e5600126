"""The coordinator: it forms the network, and is its trust centre and the parent of the devices that it hears.

Out of it, on purpose: key updates, application link keys, PAN ID conflicts.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from devices.medium.medium import Medium
from devices.stack.adoption import Adoption
from devices.stack.interface import (
    COORDINATOR,
    ApsIndication,
    ApsStatus,
    CoordinatorListener,
    Eui64,
    JoinKind,
    LinkKeys,
    Neighbour,
    NetworkState,
    NwkAddress,
)
from devices.stack.link_key_exchange import KeyGiver
from devices.stack.node import ZigbeeNode
from devices.stack.nwk_layer import OFF_NETWORK, Arrival, Done, FrameCounter, is_broadcast
from devices.stack.parent import Parent
from devices.stack.routing import Routing
from devices.stack.trust_centre import TrustCentre
from devices.wire import mac, nwk, zdp
from devices.wire.aps_commands import RemoveDevice, UpdateDevice
from devices.wire.mac import Capability, MacFrame
from devices.wire.nwk import NwkCommand, NwkFrame, NwkType

if TYPE_CHECKING:
    from random import Random

    from devices.time import Scheduler

_REJOIN_REQUEST = bytes((NwkCommand.REJOIN_REQUEST,))
_CAPABILITY = 0x8F  # alternate PAN coordinator, router, mains, receiver on, allocates addresses: IEEE 802.15.4 5.3.1.2
_SERVER_MASK = 21 << 9 | 0x0041  # stack compliance revision 21, network manager, primary trust centre (table 2.32)


class ZigbeeCoordinator(ZigbeeNode):
    """`manufacturer`, `self_description`, `parent.indirect.persistence_s` and the trust centre's policy are for the
    co-processor above to change. After `stop` no confirm of a message under way is called: a chip forgets them then.
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
    ) -> None:
        super().__init__(ieee, medium, scheduler, random, link_key=link_keys.for_data, host_fragments=host_fragments)
        self.network: NetworkState | None = None
        self.permitting_until = 0.0
        self.manufacturer = 0x1049  # Silicon Labs, as most dongles say; a setting
        self.self_description: zdp.NodeDescriptor | None = None
        """Instead of the usual one, where a dongle has its own."""
        self.parent = Parent(self._nwk, scheduler, random, self.counters, self._child_gone)
        self.trust_centre = TrustCentre(
            ieee, self._nwk, self._aps, self.parent, scheduler, link_keys=link_keys, listener=listener
        )
        self._key_giver = KeyGiver(self, self._aps, self.counters, link_keys, self._updated)
        self.listener: CoordinatorListener = listener
        self.routing = Routing(self._nwk, self.parent, scheduler)
        self._adoption = Adoption(self, self._nwk, self.parent)

    # Network

    def form(self, network: NetworkState) -> None:
        """Start as coordinator with these parameters; `network_up` follows, never from within."""
        self.stop()
        self._nwk.incoming.clear()
        self.network = network
        self._start(network)

    def resume(self) -> bool:
        """Come up again with `network` as it was; False where there is none."""
        self.stop()
        if self.network is None:
            return False
        self._start(self.network)
        return True

    def stop(self) -> None:
        """Fall silent (a reset); `network` stays."""
        self.joined = False
        self.permitting_until = 0.0
        self._nwk.radio.switch_off()
        self._nwk.radio.tune(0, mac.BROADCAST, mac.BROADCAST)
        self._nwk.forget_key()
        self.address = OFF_NETWORK
        self._aps.silence()
        self.parent.stop()
        self.routing.stop()
        self.trust_centre.stop()

    def leave(self) -> None:
        """Leave and forget the network; `network_down` follows."""
        was_joined = self.joined
        self.stop()
        self.network = None
        self._nwk.neighbours = {}
        if was_joined:
            self._scheduler.call_later(0.0, self.listener.network_down)

    def tune(self, channel: int) -> None:
        """Leave the network's channel, for messages to others; `stop` and a start of the network come back to it."""
        radio = self._nwk.radio
        radio.tune(channel, radio.pan, radio.short)

    def transmit_raw(self, octets: bytes, done: Callable[[], None]) -> None:
        """A whole MAC frame, without its FCS."""
        self._nwk.radio.transmit(octets, lambda _acked, _pending: done())

    def permit(self, seconds: float) -> None:
        """Accept associations for so long; 0 closes, infinity keeps open."""
        self.permitting_until = self._scheduler.now + seconds if seconds > 0 else 0.0

    def parent_of(self, ieee: Eui64) -> NwkAddress:
        """Whose child a device is."""
        child = self.parent.child(ieee)
        return COORDINATOR if child is None or child.via is None else child.via

    @property
    def permitting(self) -> bool:
        return self.joined and self._scheduler.now < self.permitting_until

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
        self._nwk.radio.tune(network.channel, network.pan_id, COORDINATOR)
        self._nwk.radio.listening = True
        self._nwk.neighbours = {}
        self.parent.start(network.children)
        self.trust_centre.start(network)
        self.joined = True
        self._scheduler.call_later(0.0, self._report_up)

    def _report_up(self) -> None:
        if self.joined:
            self.listener.network_up()

    # Addresses and keys

    def address_of(self, ieee: Eui64) -> NwkAddress | None:
        if ieee == self.ieee:
            return self.address
        child = self.network.children.get(ieee) if self.network else None
        return child.address if child else None

    def ieee_of(self, address: NwkAddress) -> Eui64 | None:
        child = self._nwk.neighbours.get(address)
        if child is not None:
            return child.ieee
        return self.ieee if address == self._nwk.address else None

    def known_address(self, ieee: int) -> int | None:
        return self.address_of(Eui64(ieee))

    def known_ieee(self, address: int) -> int | None:
        return self.ieee_of(NwkAddress(address))

    def node_descriptor(self) -> zdp.NodeDescriptor:
        if self.self_description is not None:
            return self.self_description
        return zdp.NodeDescriptor(0, _CAPABILITY, self.manufacturer, _SERVER_MASK)

    def neighbours(self) -> Iterable[zdp.Neighbour]:
        if self.network is None:
            return ()
        pan = self.network.extended_pan_id
        return [
            zdp.Neighbour(pan, child.ieee, child.address, 1 if child.is_router else 2, child.receiver_on_when_idle, 1)
            for child in self.network.children.values()
        ]

    # Frames

    def forward(self, frame: NwkFrame, done: Done | None) -> None:
        self.routing.send(frame, done)

    def acknowledge_fragments(self, indication: ApsIndication) -> None:
        """For hosts that put fragments together themselves: send the APS ack of this block."""
        self._aps.acknowledge(indication)

    def arrived(self, arrival: Arrival) -> None:
        frame = arrival.frame
        command = frame.type is NwkType.COMMAND
        if frame.source == self._nwk.address or not self._may_speak(arrival):
            return
        if command:
            self._nwk_command(arrival)
        elif is_broadcast(frame.destination):
            if self.routing.is_news(frame):
                self._aps.receive(arrival)
                if arrival.sender is not None:
                    self.routing.relay(arrival)
        elif frame.destination == self._nwk.address:
            self._aps.receive(arrival)
        else:
            self.routing.relay(arrival)

    def _may_speak(self, arrival: Arrival) -> bool:
        """Whether the last hop is one of ours; what a frame proves of who made it is noted."""
        frame = arrival.frame
        child = self._nwk.neighbours.get(frame.source)
        command = frame.type is NwkType.COMMAND
        if arrival.sender is None:
            # In the clear there is only the rejoin of a device that lost the network key (Zigbee PRO 4.6.3.3).
            if not command or frame.payload[:1] != _REJOIN_REQUEST:
                self.counters.nwk_unsecured += 1
                return False
            return True
        hop = self._nwk.neighbours.get(arrival.mac_source)
        if hop is not None and hop.ieee == arrival.sender and (hop is child or hop.is_router):
            if child is not None:
                child.last_heard_s = self._scheduler.now
                if self.trust_centre.unproved:
                    self.trust_centre.proved(child.ieee)
        elif not command:  # a command may be the rejoin of a device that we do not know, or its leave
            self.counters.unexpected += 1
            if self._nwk.neighbours.get(arrival.mac_source) is None:
                # In another's address somebody lies, and its holder is not to suffer for it.
                self.parent.send_away(arrival.mac_source)
            return False
        return True

    def _nwk_command(self, arrival: Arrival) -> None:
        payload = arrival.frame.payload
        match payload[0] if payload else None:
            case NwkCommand.REJOIN_REQUEST:
                self._adoption.rejoin(arrival, self.trust_centre.refuses_rejoin)
            case NwkCommand.LEAVE:
                self._left(arrival, nwk.Leave.from_bytes(payload))
            case NwkCommand.END_DEVICE_TIMEOUT_REQUEST:
                self.parent.keep_for(arrival, nwk.EndDeviceTimeoutRequest.from_bytes(payload))
            case _:
                if not self.routing.command(arrival):
                    self.counters.unexpected += 1

    def aps_command(self, arrival: Arrival, octets: bytes) -> None:
        self._key_giver.received(arrival, octets)

    def _updated(self, router: int, update: UpdateDevice) -> None:
        known = self._nwk.neighbours.get(router)
        if known is None:
            self.counters.unexpected += 1
            return
        self.routing.forget(update.address)
        self.trust_centre.updated(known, update)

    def _zdp_received(self, indication: ApsIndication, body: bytes) -> None:
        if indication.cluster == zdp.ZdpCluster.DEVICE_ANNOUNCE:
            announce = zdp.DeviceAnnounce.from_bytes(body)
            child = self._nwk.neighbours.get(announce.address)
            if child is not None and child.ieee == announce.ieee:
                capability = Capability.from_octet(announce.capability)
                child.receiver_on_when_idle = capability.receiver_on_when_idle
                child.is_router = capability.full_function
        self._tell(indication)

    def data_was_for(self, destination: int, *, pending: bool) -> None:
        """Never called: a coordinator does not sleep."""

    def parent_lost(self) -> None:
        """Never called: a coordinator has no parent."""

    # Children

    def beacon(self) -> mac.Beacon | None:
        network = self.network
        if network is None:
            return None
        room = self.parent.has_room_for()
        return mac.Beacon(self.permitting, network.extended_pan_id, update_id=network.update_id, has_room=room)

    def admit(self, ieee: Eui64, address: NwkAddress, capability: Capability, kind: JoinKind) -> None:
        self.trust_centre.admit(ieee, address, capability, kind)

    def mac_received(self, frame: MacFrame, lqi: int) -> None:  # noqa: ARG002 the node's shape
        self._adoption.mac_received(frame)

    # Leaving

    def _left(self, arrival: Arrival, leave: nwk.Leave) -> None:
        child = self._nwk.neighbours.get(arrival.frame.source)
        if leave.request or child is None or child.ieee != arrival.sender:
            self.counters.unexpected += 1
            return
        self.parent.drop(child)
        if not leave.rejoin:
            self.listener.device_left(child.ieee, child.address)

    def _child_gone(self, child: Neighbour) -> None:
        self.listener.child_gone(child.ieee, child.address)

    def remove(self, ieee: Eui64) -> None:
        """Ask a child to leave (NWK Leave), or its router to send it away. One out of reach is struck off."""
        child = self.parent.child(ieee)
        if child is None:
            return

        def done(status: ApsStatus) -> None:
            # A device that answers reports its own leaving.
            if status is not ApsStatus.SUCCESS and self._nwk.neighbours.get(child.address) is child:
                self.parent.drop(child)
                self.listener.device_left(child.ieee, child.address)

        if child.via is not None:
            self._aps.send_command(child.via, RemoveDevice(ieee).to_bytes(), done=done)
            return
        leave = nwk.Leave(request=True).to_bytes()
        self.parent.forward(self._nwk.frame(child.address, leave, radius=1, command=True, destination_ieee=ieee), done)
