"""An end device: it joins with its install code's link key, announces itself, and finds back.

What it has in flash is `DeviceState` (persisted.py). How it looks for its network is in joining.py, how it sleeps in
polling.py; what it does on its network is here.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from chf.crypto.mmo import key_transport_key
from devices.medium.medium import Medium
from devices.stack.interface import (
    BROADCAST_ALL,
    BROADCAST_RX_ON,
    COORDINATOR,
    ApsIndication,
    ApsRequest,
    ApsStatus,
    Confirm,
    DeviceListener,
    Eui64,
    LinkKey,
    Neighbour,
    NwkAddress,
)
from devices.stack.joining import Joining
from devices.stack.link_key_exchange import KeyAsker
from devices.stack.node import ZigbeeNode
from devices.stack.nwk_layer import OFF_NETWORK, Arrival, Done, FrameCounter, is_broadcast
from devices.stack.persisted import DeviceState, Persisted
from devices.stack.polling import CHILD_TIMEOUT, Polling
from devices.wire import mac, nwk, zdp
from devices.wire.aps import ApsCommandFrame, unseal
from devices.wire.aps_commands import TransportNetworkKey
from devices.wire.errors import FrameSecurityError
from devices.wire.mac import Capability, MacCommand, MacFrame, MacType
from devices.wire.nwk import NwkCommand, NwkFrame, NwkType
from devices.wire.security import KeyIdentifier, cipher_for
from devices.wire.zdp import ZdpCluster

if TYPE_CHECKING:
    from random import Random

    from devices.time import Scheduler

MATCH_TIMEOUT_S = 2.0  # our choice
MATCH_TRIES = 2  # our choice
_COMPLIANCE_REVISION = 21 << 9  # of the server mask, Zigbee PRO table 2.32
_BEACON_REQUEST = bytes((MacCommand.BEACON_REQUEST,))
_ASSOCIATION_RESPONSE = bytes((MacCommand.ASSOCIATION_RESPONSE,))


class EndDevice(ZigbeeNode):
    """The `DeviceStack` of interface.py. `link_key` is the 16-octet key made from the install code.

    `listener` may be set after construction, before `power_on` or `join`. `poll_interval_s` makes it a sleepy child.
    """

    def __init__(
        self,
        ieee: Eui64,
        link_key: bytes,
        medium: Medium,
        scheduler: "Scheduler",
        random: "Random",
        *,
        listener: DeviceListener | None = None,
        channels: Iterable[int] = range(11, 27),
        poll_interval_s: float | None = None,
        mains_powered: bool = True,
        manufacturer: int = 0,
        position_m: tuple[float, float] = (0.0, 0.0),
        radio_delay_s: float = 0.0,
        insists_on_link_key: bool = False,
        routes: bool = False,
        hears: frozenset[int] | None = None,
    ) -> None:
        super().__init__(ieee, medium, scheduler, random, link_key=self.link_key, routes=routes, position_m=position_m)
        self._nwk.radio.hears = hears
        self.listener: DeviceListener | None = listener
        self.persistent_state = DeviceState(LinkKey(link_key))
        self._preconfigured_key = link_key
        self.manufacturer = manufacturer
        self.mains_powered = mains_powered
        self._radio_delay_s = radio_delay_s  # once it is joined: nobody joins with a radio like that
        self._matches: dict[int, Callable[[tuple[int, ...]], None]] = {}
        self._polling = Polling(self._nwk, scheduler, poll_interval_s, self._is_waiting)
        self._key_asker = KeyAsker(self, self._aps, self.counters, scheduler, insists=insists_on_link_key)
        self._joining = Joining(self, self._nwk, scheduler, random, channels=tuple(channels))

    # Flash

    def retained(self) -> Persisted:
        return {**self.persistent_state.to_json(), "aps_counter": self.aps_counter_ahead}

    def restore(self, stored: Persisted) -> None:
        """Before `power_on`."""
        self.persistent_state = DeviceState.from_json(stored)
        self.use_aps_counters_from(int(stored["aps_counter"]))

    # Power and network

    def power_on(self) -> None:
        self.power_off()
        state = self.persistent_state
        if state.network_key is None:
            self.join()
            return
        self._take_key(state.network_key, state.network_key_sequence)
        self._joining.rejoin()

    def power_off(self) -> None:
        self._go_silent()

    def join(self) -> None:
        self._go_silent()
        # A device that joins anew sets up its keys anew: what it accepted before says nothing about the new partner.
        state = self.persistent_state
        state.transport_key_counter = -1
        state.forget_network()
        if state.link_key.key != self._preconfigured_key:
            state.link_key, state.key_established = LinkKey(self._preconfigured_key), False
        state.link_key.incoming_counter = -1
        self._nwk.incoming.clear()
        self._joining.join()

    @property
    def key_established(self) -> bool:
        return self.persistent_state.key_established

    def establish_link_key(self, key: bytes) -> None:
        state = self.persistent_state
        state.link_key, state.key_established = LinkKey(key), True

    def rejoin(self) -> None:
        """Look for the parent again with the stored network, as a device does that lost it."""
        self.joined = False
        self._nwk.radio.delay_s = 0.0
        self._polling.stop()
        self._joining.rejoin()

    def _go_silent(self) -> None:
        self.joined = False
        self._nwk.radio.delay_s = 0.0
        self._joining.stop()
        self._polling.stop()
        self._key_asker.stop()
        self._nwk.radio.switch_off()
        self._nwk.radio.tune(0, mac.BROADCAST, mac.BROADCAST)
        self._aps.silence()
        self._nwk.forget_key()
        self._matches.clear()
        self.address = OFF_NETWORK

    def capability(self) -> Capability:
        return Capability(receiver_on_when_idle=self._polling.interval_s is None, mains_powered=self.mains_powered)

    def network_ready(self, *, rejoined: bool) -> None:
        """From joining.py: key and address are there. Announce, and agree on how long silence may last."""
        self.joined = True
        self._nwk.radio.delay_s = self._radio_delay_s
        self._nwk.missed = 0
        self._announce()
        self._settle()
        if not rejoined:
            self._key_asker.begin()
        if self.listener is not None:
            self.listener.joined(self.address, rejoined=rejoined)

    def _announce(self) -> None:
        announce = zdp.DeviceAnnounce(self.address, self.ieee, self.capability().to_octet())
        self._send_zdp(BROADCAST_RX_ON, ZdpCluster.DEVICE_ANNOUNCE, announce.to_bytes())

    def _settle(self) -> None:
        """As a child of its parent."""
        frame = self._nwk.frame(
            self._nwk.parent,
            CHILD_TIMEOUT.to_bytes(),
            radius=1,
            command=True,
            destination_ieee=self.ieee_of(self._nwk.parent),
            source_ieee=self.ieee,
        )
        self.forward(frame, None)
        self._polling.start()

    def join_failed(self, reason: str) -> None:
        """From joining.py: this attempt came to nothing; another one follows."""
        if self.listener is not None:
            self.listener.join_failed(reason)

    def _take_key(self, key: bytes, sequence: int) -> None:
        state = self.persistent_state
        state.network_key, state.network_key_sequence = key, sequence

        def store(value: int) -> None:
            state.network_frame_counter = value

        self._nwk.install_key(key, sequence, FrameCounter(state.network_frame_counter, store))
        if state.trust_centre is not None:
            self._nwk.neighbours[COORDINATOR] = Neighbour(state.trust_centre, COORDINATOR, True, is_router=True)

    def leave(self, *, rejoin: bool) -> None:
        if rejoin:
            self.rejoin()
            return
        notice = nwk.Leave(request=False).to_bytes()
        frame = self._nwk.frame(self._nwk.parent, notice, radius=1, command=True, source_ieee=self.ieee)

        def gone(_status: ApsStatus) -> None:
            self._go_silent()
            self.persistent_state.forget_network()
            if self.listener is not None:
                self.listener.left()

        self.joined = False
        self.forward(frame, gone)

    # Polling

    def _is_waiting(self) -> bool:
        return self._aps.awaiting or self._key_asker.waits or bool(self._matches)

    def set_poll_interval(self, seconds: float | None) -> None:
        if seconds is not None and not seconds > 0:
            raise ValueError(f"a poll interval is a time above 0, not {seconds}")
        was_sleepy = self._nwk.sleepy
        self._polling.set_interval(seconds)
        if not self.joined:
            return
        if was_sleepy != self._nwk.sleepy:
            self.rejoin()  # the parent must learn whether to hold frames back (Zigbee PRO 3.6.1.4.2)
        else:
            self._polling.plan()

    def poll(self) -> None:
        """From joining.py, too: a sleepy device must ask for the answers to its join."""
        self._polling.poll()

    def data_was_for(self, destination: int, *, pending: bool) -> None:
        self._polling.data_was_for(destination, pending=pending)

    def parent_lost(self) -> None:
        if self.joined:
            self.rejoin()

    # Sending and receiving

    def send(self, request: ApsRequest, confirm: Confirm | None = None) -> int:
        counter = super().send(request, confirm)
        if self.joined and self._nwk.sleepy:
            self._polling.plan()
        return counter

    def forward(self, frame: NwkFrame, done: Done | None) -> None:
        """Everything goes through the parent, broadcasts too (Zigbee PRO 3.6.5; for every child: our choice)."""
        self._nwk.emit(frame, self._nwk.parent, done)

    def arrived(self, arrival: Arrival) -> None:
        frame = arrival.frame
        if frame.source == self._nwk.address:
            return
        if arrival.mac_source != self._nwk.parent:
            self.counters.unexpected += 1
        elif arrival.sender is None and not self._joining.hears_in_the_clear:
            self.counters.nwk_unsecured += 1
        elif frame.type is NwkType.COMMAND:
            self._nwk_command(arrival)
        elif frame.destination == self._nwk.address or self._hears(frame.destination):
            self._aps.receive(arrival)
        else:
            self.counters.unexpected += 1

    def _hears(self, destination: int) -> bool:
        """Whether this broadcast address includes the device (Zigbee PRO table 3.60)."""
        return destination == BROADCAST_ALL or (destination == BROADCAST_RX_ON and not self._nwk.sleepy)

    def _nwk_command(self, arrival: Arrival) -> None:
        payload = arrival.frame.payload
        command = payload[0] if payload else None
        if command == NwkCommand.REJOIN_RESPONSE:
            self._joining.rejoin_answered(arrival, nwk.RejoinResponse.from_bytes(payload))
        elif arrival.sender is None:
            self.counters.nwk_unsecured += 1
        elif command == NwkCommand.LEAVE and arrival.frame.source in {COORDINATOR, self._nwk.parent} and self.joined:
            leave = nwk.Leave.from_bytes(payload)
            if leave.request:
                self.leave(rejoin=leave.rejoin)
        elif command == NwkCommand.END_DEVICE_TIMEOUT_RESPONSE:
            nwk.EndDeviceTimeoutResponse.from_bytes(payload)
        else:
            self.counters.unexpected += 1

    def mac_received(self, frame: MacFrame, lqi: int) -> None:
        if frame.type is MacType.BEACON:
            self._joining.beacon_heard(frame, lqi)
        elif frame.payload[:1] == _ASSOCIATION_RESPONSE:
            self._joining.association_answered(frame)
        elif frame.payload[:1] != _BEACON_REQUEST:  # those are for coordinators
            self.counters.unexpected += 1

    def aps_command(self, arrival: Arrival, octets: bytes) -> None:
        """Transport-Key of the network key while that is waited for, or what brings a link key of its own."""
        if arrival.sender is not None and self._key_asker.waits:
            self._key_asker.received(arrival, octets)
            return
        frame = ApsCommandFrame.from_bytes(octets)
        security, state = frame.security, self.persistent_state
        if not self._joining.waits_for_key or security is None:
            self.counters.unexpected += 1
            return
        if security.key is not KeyIdentifier.KEY_TRANSPORT or security.source is None:
            self.counters.aps_no_link_key += 1
            return
        if security.frame_counter <= state.transport_key_counter:
            self.counters.aps_replays += 1
            return
        cipher = cipher_for(key_transport_key(state.link_key.key))
        try:
            command = TransportNetworkKey.from_bytes(unseal(frame, octets, cipher, security.source))
        except FrameSecurityError:
            self.counters.aps_security_failures += 1
            self._joining.key_refused()
            return
        if command.destination != self.ieee or command.source != security.source:
            self.counters.unexpected += 1
            return
        state.transport_key_counter = security.frame_counter
        state.trust_centre = Eui64(command.source)
        if command.key != state.network_key:
            self._nwk.incoming.clear()  # counters belong to a key (Zigbee PRO 4.3.1.2)
        self._take_key(command.key, command.key_sequence)
        self._joining.key_taken()

    def _zdp_received(self, indication: ApsIndication, body: bytes) -> None:
        cluster = indication.cluster
        if cluster == ZdpCluster.MGMT_LEAVE_REQUEST:
            request = zdp.MgmtLeaveRequest.from_bytes(body)
            mine = request.ieee in {0, self.ieee}
            self._answer(indication, zdp.ZdpStatus.SUCCESS if mine else zdp.ZdpStatus.DEVICE_NOT_FOUND)
            if mine:
                self.leave(rejoin=request.rejoin)
        elif cluster == ZdpCluster.MATCH_DESCRIPTOR_REQUEST | zdp.RESPONSE:
            self._matched(indication.payload[0], zdp.DescriptorResponse.from_bytes(body))
        elif cluster & zdp.RESPONSE or cluster == ZdpCluster.DEVICE_ANNOUNCE or is_broadcast(indication.destination):
            self._tell(indication)
        else:  # a request to this device alone is answered whatever it is (Zigbee PRO 2.4.4)
            self._answer(indication, zdp.ZdpStatus.NOT_SUPPORTED)

    def _answer(self, request: ApsIndication, status: zdp.ZdpStatus) -> None:
        self._send_zdp(request.source, request.cluster | zdp.RESPONSE, bytes((status,)), request.payload[0])

    # Discovery

    def match_descriptor(
        self, profile: int, server_clusters: tuple[int, ...], answer: Callable[[tuple[int, ...]], None]
    ) -> None:
        self._ask_match(zdp.MatchDescriptorRequest(COORDINATOR, profile, server_clusters), answer, MATCH_TRIES)

    def _ask_match(
        self, request: zdp.MatchDescriptorRequest, answer: Callable[[tuple[int, ...]], None], tries: int
    ) -> None:
        sequence = self._zdp_sequence = (self._zdp_sequence + 1) & 0xFF

        def late() -> None:
            if self._matches.pop(sequence, None) is None:
                return
            if tries > 1 and self.joined:
                self._ask_match(request, answer, tries - 1)
            else:
                answer(())

        def answered(endpoints: tuple[int, ...]) -> None:
            timer.cancel()
            answer(endpoints)

        timer = self._scheduler.call_later(MATCH_TIMEOUT_S, late)
        self._matches[sequence] = answered
        self._send_zdp(COORDINATOR, ZdpCluster.MATCH_DESCRIPTOR_REQUEST, request.to_bytes(), sequence)

    def _matched(self, sequence: int, response: zdp.DescriptorResponse) -> None:
        answered = self._matches.pop(sequence, None)
        if answered is not None:
            answered(tuple(response.descriptor) if response.status == zdp.ZdpStatus.SUCCESS else ())

    # What the device object and the APS layer ask

    def ieee_of(self, address: NwkAddress) -> Eui64 | None:
        if address == COORDINATOR:
            return self.persistent_state.trust_centre
        if address == self._nwk.address:
            return self.ieee
        known = self._nwk.neighbours.get(address)
        return None if known is None else known.ieee

    def link_key(self, partner: Eui64) -> LinkKey | None:
        return self.persistent_state.link_key if partner == self.persistent_state.trust_centre else None

    def node_descriptor(self) -> zdp.NodeDescriptor:
        capability = self.capability()
        kind = 1 if capability.full_function else 2
        return zdp.NodeDescriptor(kind, capability.to_octet(), self.manufacturer, _COMPLIANCE_REVISION)

    def neighbours(self) -> Iterable[zdp.Neighbour]:
        address = self._nwk.parent
        ieee = self.ieee_of(address)
        if ieee is None:
            return ()
        kind = 0 if address == COORDINATOR else 1
        return (zdp.Neighbour(self.persistent_state.extended_pan_id, ieee, address, kind, True, 0, depth=kind),)

    def known_address(self, ieee: int) -> int | None:
        return self.address if ieee == self.ieee else None

    def known_ieee(self, address: int) -> int | None:
        return self.ieee if address == self.address else None
