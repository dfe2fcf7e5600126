"""An end device: it joins with its install code's link key, announces itself, polls when sleepy, and finds back.

What it would keep in flash is `DeviceState`. How it looks for its network is in joining.py; what it does on it is here.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from devices.medium.medium import Medium
from devices.stack.counters import FrameCounter
from devices.stack.interface import (
    BROADCAST_ALL,
    BROADCAST_RX_ON,
    COORDINATOR,
    ZDP_PROFILE,
    ApsIndication,
    ApsRequest,
    ApsStatus,
    Confirm,
    DeviceListener,
    Eui64,
    LinkKey,
    NwkAddress,
)
from devices.stack.joining import DeviceTiming, Joining
from devices.stack.kept import Kept, keep_link_key, key_octets, link_key_from
from devices.stack.node import OFF_NETWORK, ZigbeeNode
from devices.stack.nwk_layer import Arrival, Done, is_broadcast
from devices.wire import mac, nwk, zdp
from devices.wire.aps import ApsCommandFrame
from devices.wire.errors import FrameSecurityError, MalformedFrameError
from devices.wire.mac import AddressMode, Capability, MacCommand, MacFrame, MacType
from devices.wire.nwk import NwkCommand, NwkFrame
from devices.wire.security import AuxiliaryHeader, KeyIdentifier
from devices.wire.zdp import ZdpCluster

if TYPE_CHECKING:
    from random import Random

    from devices.time import Scheduler, Timer

PARENT_LOST_AFTER = 4  # transmissions in a row without MAC acknowledgement; our choice
AWAKE_S = 0.1  # after a poll whose ACK said that something waits
SHORT_POLL_S = 0.25  # while an acknowledgement or an answer is due; the usual short poll of device stacks
SHORT_POLLS_AFTER_JOIN = 20  # the parent's timeout response and the hub's first questions come then; our choice
MATCH_TIMEOUT_S = 2.0
MATCH_TRIES = 2
KEEPALIVE_FRACTION = 3  # polls within one child timeout, so that one or two may be lost
CHILD_TIMEOUT_CODE = 8  # 256 minutes, the default of the standard (Zigbee PRO r21 table 3.44)


@dataclass(slots=True)
class DeviceState:
    """What flash holds. Frame counters are written ahead, so a restart from this never repeats one."""

    link_key: LinkKey = field(repr=False)
    channel: int = 0
    pan_id: int = 0
    extended_pan_id: int = 0
    address: NwkAddress = OFF_NETWORK
    trust_centre: Eui64 | None = None
    network_key: bytes | None = field(default=None, repr=False)
    network_key_sequence: int = 0
    network_frame_counter: int = 0
    key_established: bool = False  # the link key is not the install code's any more

    @property
    def has_network(self) -> bool:
        return self.network_key is not None

    def forget_network(self) -> None:
        """Leave: the link key and its counters stay, so do the counters that must not repeat."""
        self.address = OFF_NETWORK
        self.trust_centre = None
        self.network_key = None


class EndDevice(ZigbeeNode):
    """`EndDevice(ieee, link_key, medium, scheduler, random, *, listener=None, channels=range(11, 27), ...)`.

    The `DeviceStack` of interface.py. `link_key` is the 16-octet key made from the install code. `listener` may be set
    after construction, before `power_on` or `join`. `poll_interval_s` makes it a sleepy child; `state` takes up where
    another instance stopped.
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
        timing: DeviceTiming | None = None,
        position_m: tuple[float, float] = (0.0, 0.0),
        radio_delay_s: float = 0.0,
        state: DeviceState | None = None,
    ) -> None:
        super().__init__(ieee, medium, scheduler, random, position_m=position_m)
        self.listener = listener
        self.persistent_state = state or DeviceState(LinkKey(link_key))
        self._preconfigured_key = link_key
        self.joined = False
        self.manufacturer = manufacturer
        self.mains_powered = mains_powered
        self._poll_interval_s = poll_interval_s
        self._radio_delay_s = radio_delay_s  # once it is joined: nobody joins with a radio like that
        self._transport_key_counter = -1
        self._poll_timer: Timer | None = None
        self._awake_timer: Timer | None = None
        self._missed = 0
        self._short_polls = 0
        self._matches: dict[int, Callable[[tuple[int, ...]], None]] = {}
        self._joining = Joining(self, self._radio, self._nwk, scheduler, channels=tuple(channels), timing=timing)

    # Flash

    def retained(self) -> Kept:
        state = self.persistent_state
        key = None if state.network_key is None else state.network_key.hex()
        return {
            "link_key": keep_link_key(state.link_key),
            "key_established": state.key_established,
            "channel": state.channel,
            "pan_id": state.pan_id,
            "extended_pan_id": state.extended_pan_id,
            "address": state.address,
            "trust_centre": state.trust_centre,
            "network_key": key,
            "network_key_sequence": state.network_key_sequence,
            "network_frame_counter": state.network_frame_counter,
            "transport_key_counter": self._transport_key_counter,
            "aps_counter": self.aps_counter_ahead,
        }

    def restore(self, kept: Kept) -> None:
        """Before `power_on`."""
        trust_centre, key = kept["trust_centre"], kept["network_key"]
        self.persistent_state = DeviceState(
            link_key_from(kept["link_key"]),
            channel=int(kept["channel"]),
            pan_id=int(kept["pan_id"]),
            extended_pan_id=int(kept["extended_pan_id"]),
            address=NwkAddress(int(kept["address"])),
            trust_centre=None if trust_centre is None else Eui64(int(trust_centre)),
            network_key=None if key is None else key_octets(key),
            network_key_sequence=int(kept["network_key_sequence"]),
            network_frame_counter=int(kept["network_frame_counter"]),
            key_established=bool(kept["key_established"]),
        )
        self._transport_key_counter = int(kept["transport_key_counter"])
        self.use_aps_counters_from(int(kept["aps_counter"]))

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
        self._transport_key_counter = -1
        state = self.persistent_state
        state.forget_network()
        if state.key_established:
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
        self._radio.delay_s = 0.0
        self._cancel_polls()
        self._joining.rejoin()

    def _go_silent(self) -> None:
        self.joined = False
        self._radio.delay_s = 0.0
        self._joining.stop()
        self._cancel_polls()
        self._radio.switch_off()
        self._radio.tune(0, mac.BROADCAST, mac.BROADCAST)
        self._aps.silence()
        self._nwk.forget_key()
        self._matches.clear()
        self.address = OFF_NETWORK
        self._missed = 0

    def capability(self) -> Capability:
        return Capability(receiver_on_when_idle=self._poll_interval_s is None, mains_powered=self.mains_powered)

    def network_ready(self, *, rejoined: bool) -> None:
        """From joining.py: key and address are there. Announce, and agree on how long silence may last."""
        self.joined = True
        self._radio.delay_s = self._radio_delay_s
        self._missed = 0
        announce = zdp.DeviceAnnounce(self.address, self.ieee, self.capability().to_octet())
        self._send_zdp(BROADCAST_RX_ON, ZdpCluster.DEVICE_ANNOUNCE, announce.to_bytes())
        request = nwk.EndDeviceTimeoutRequest(CHILD_TIMEOUT_CODE)
        frame = self._nwk.frame(
            COORDINATOR,
            request.to_bytes(),
            radius=1,
            command=True,
            destination_ieee=self.persistent_state.trust_centre,
            source_ieee=self.ieee,
        )
        self._forward(frame, None)
        self._radio.listening = self._poll_interval_s is None
        self._short_polls = SHORT_POLLS_AFTER_JOIN
        self._schedule_poll()
        if self.listener is not None:
            self.listener.joined(self.address, rejoined=rejoined)

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

    def _left(self, *, rejoin: bool) -> None:
        if rejoin:
            self.rejoin()
            return
        notice = nwk.Leave(request=False).to_bytes()
        frame = self._nwk.frame(COORDINATOR, notice, radius=1, command=True, source_ieee=self.ieee)

        def gone(_status: ApsStatus) -> None:
            self._go_silent()
            self.persistent_state.forget_network()
            if self.listener is not None:
                self.listener.left()

        self.joined = False
        self._forward(frame, gone)

    # Polling

    def set_poll_interval(self, seconds: float | None) -> None:
        if seconds is not None and not seconds > 0:
            raise ValueError(f"a poll interval is a time above 0, not {seconds}")
        was_sleepy = self._poll_interval_s is not None
        self._poll_interval_s = seconds
        if not self.joined:
            return
        if was_sleepy != (seconds is not None):
            self.rejoin()  # the parent must learn whether to hold frames back (Zigbee PRO 3.6.1.4.2)
        else:
            self._schedule_poll()

    def _cancel_polls(self) -> None:
        for timer in (self._poll_timer, self._awake_timer):
            if timer is not None:
                timer.cancel()
        self._poll_timer = self._awake_timer = None

    def _schedule_poll(self) -> None:
        if self._poll_timer is not None:
            self._poll_timer.cancel()
        interval = self._poll_interval_s
        if interval is None:
            interval = (nwk.EndDeviceTimeoutRequest(CHILD_TIMEOUT_CODE).seconds or 60.0) / KEEPALIVE_FRACTION
        elif self._short_polls or self._aps.awaiting or self._matches:
            interval = min(interval, SHORT_POLL_S)
        self._poll_timer = self._scheduler.call_later(interval, self._poll_due)

    def _poll_due(self) -> None:
        self._poll_timer = None
        if self.joined:
            self._short_polls = max(0, self._short_polls - 1)
            self.poll()
            self._schedule_poll()

    def poll(self) -> None:
        """MAC data request to the parent: fetches what waits there, and shows that we are alive."""
        frame = MacFrame(
            MacType.COMMAND,
            self._nwk.next_mac_sequence(),
            AddressMode.SHORT,
            self._nwk.pan,
            COORDINATOR,
            AddressMode.SHORT,
            self._nwk.pan,
            self.address,
            bytes((MacCommand.DATA_REQUEST,)),
            ack_request=True,
        )
        self._radio.transmit(frame.to_bytes(), self._polled)

    def _polled(self, acked: bool, pending: bool) -> None:
        self._heard_from_parent(acked)
        if pending:
            self._stay_awake()

    def _stay_awake(self) -> None:
        self._radio.listening = True
        if self._awake_timer is not None:
            self._awake_timer.cancel()
        self._awake_timer = self._scheduler.call_later(AWAKE_S, self._fall_asleep)

    def _fall_asleep(self) -> None:
        self._awake_timer = None
        if self.joined and self._poll_interval_s is not None:
            self._radio.listening = False

    def _after_data(self, destination: int, *, pending: bool) -> None:
        if self._poll_interval_s is None or destination != self.address:
            return
        if pending and (self.joined or self._joining.asks_its_parent):
            self.poll()
        else:
            self._fall_asleep()

    def _heard_from_parent(self, acked: bool) -> None:
        if acked:
            self._missed = 0
            return
        self._missed += 1
        if self._missed >= PARENT_LOST_AFTER and self.joined:
            self.rejoin()

    # Sending and receiving

    def send(self, request: ApsRequest, confirm: Confirm | None = None) -> int:
        if not self.joined:
            if confirm is not None:
                self._scheduler.call_later(0.0, lambda: confirm(ApsStatus.NO_NETWORK))
            return self._aps.next_counter() if request.counter is None else request.counter
        counter = super().send(request, confirm)
        if self._poll_interval_s is not None and self.joined:
            self._schedule_poll()
        return counter

    def send_nwk(self, destination: NwkAddress, payload: bytes, radius: int, done: Done | None) -> None:
        self._nwk.emit_data(destination, payload, radius, COORDINATOR, self._by_way_of_parent(done))

    def _forward(self, frame: NwkFrame, done: Done | None) -> None:
        self._nwk.emit(frame, COORDINATOR, self._by_way_of_parent(done))

    def _by_way_of_parent(self, done: Done | None) -> Done:
        """Everything goes through the parent, broadcasts too (Zigbee PRO 3.6.5; for every child: our choice)."""

        def sent(status: ApsStatus) -> None:
            self._heard_from_parent(status is ApsStatus.SUCCESS)
            if done is not None:
                done(status)

        return sent

    def _hears(self, destination: int) -> bool:
        return destination == BROADCAST_ALL or (destination == BROADCAST_RX_ON and self._poll_interval_s is None)

    def _accepts(self, arrival: Arrival) -> bool:
        if arrival.mac_source != COORDINATOR:
            self.counters.unexpected += 1
            return False
        if arrival.sender is None and not self._joining.waits_for_key and not self._joining.rejoins_unsecured:
            self.counters.nwk_unsecured += 1
            return False
        return True

    def _nwk_command(self, arrival: Arrival) -> None:
        payload = arrival.payload
        command = payload[0] if payload else None
        if command == NwkCommand.REJOIN_RESPONSE:
            self._joining.rejoin_answered(arrival, nwk.RejoinResponse.from_bytes(payload))
        elif arrival.sender is None:
            self.counters.nwk_unsecured += 1
        elif command == NwkCommand.LEAVE and arrival.frame.source == COORDINATOR and self.joined:
            leave = nwk.Leave.from_bytes(payload)
            if leave.request:
                self._left(rejoin=leave.rejoin)
        elif command == NwkCommand.END_DEVICE_TIMEOUT_RESPONSE:
            nwk.EndDeviceTimeoutResponse.from_bytes(payload)
        else:
            self.counters.unexpected += 1

    def _mac_received(self, frame: MacFrame, lqi: int) -> None:
        if frame.type is MacType.BEACON:
            self._joining.beacon_heard(frame, lqi)
        elif frame.payload[:1] == bytes((MacCommand.ASSOCIATION_RESPONSE,)):
            self._joining.association_answered(frame)
        elif frame.payload[:1] != bytes((MacCommand.BEACON_REQUEST,)):  # those are for coordinators
            self.counters.unexpected += 1

    def aps_command(self, octets: bytes, arrival: Arrival) -> None:  # noqa: ARG002 the APS layer's shape
        frame = ApsCommandFrame.from_bytes(octets)
        if not self._joining.waits_for_key or not frame.secured:
            self.counters.unexpected += 1
            return
        auxiliary = AuxiliaryHeader.from_bytes(octets, ApsCommandFrame.HEADER_BYTES)
        if auxiliary.key is not KeyIdentifier.KEY_TRANSPORT or auxiliary.source is None:
            self.counters.aps_no_link_key += 1
            return
        if auxiliary.frame_counter <= self._transport_key_counter:
            self.counters.aps_replays += 1
            return
        try:
            command = self._aps.security.unseal_transport_key(
                octets, auxiliary, self.persistent_state.link_key.key, auxiliary.source
            )
        except FrameSecurityError:
            self.counters.aps_security_failures += 1
            self._joining.key_refused()
            return
        if command.destination != self.ieee or command.source != auxiliary.source:
            self.counters.unexpected += 1
            return
        self._transport_key_counter = auxiliary.frame_counter
        self.persistent_state.trust_centre = Eui64(command.source)
        if command.key != self.persistent_state.network_key:
            self._nwk.incoming.clear()  # counters belong to a key (Zigbee PRO 4.3.1.2)
        self._take_key(command.key, command.key_sequence)
        self._joining.key_taken()

    def _indicate(self, indication: ApsIndication) -> None:
        if not self.joined:
            return
        if (
            indication.profile == ZDP_PROFILE
            and indication.cluster == ZdpCluster.MATCH_DESCRIPTOR_REQUEST | zdp.RESPONSE
        ):
            self._matched(indication.payload)
        elif self.listener is not None:
            self.listener.message_received(indication)

    def _zdp_received(self, indication: ApsIndication) -> bool:
        if indication.cluster != ZdpCluster.MGMT_LEAVE_REQUEST:
            return super()._zdp_received(indication) or self._refused_as_unknown(indication)
        if not indication.payload:
            raise MalformedFrameError("ZDP", "no transaction sequence", 0)
        request = zdp.MgmtLeaveRequest.from_bytes(indication.payload[1:])
        mine = request.ieee in {0, self.ieee}
        status = zdp.ZdpStatus.SUCCESS if mine else zdp.ZdpStatus.DEVICE_NOT_FOUND
        cluster = ZdpCluster.MGMT_LEAVE_REQUEST | zdp.RESPONSE
        self._send_zdp(indication.source, cluster, bytes((status,)), indication.payload[0])
        if mine:
            self._left(rejoin=request.rejoin)
        return True

    def _refused_as_unknown(self, indication: ApsIndication) -> bool:
        """A request to this device alone is answered whatever it is (Zigbee PRO 2.4.4)."""
        cluster = indication.cluster
        if cluster & zdp.RESPONSE or cluster == ZdpCluster.DEVICE_ANNOUNCE or is_broadcast(indication.destination):
            return False
        answer = bytes((zdp.ZdpStatus.NOT_SUPPORTED,))
        self._send_zdp(indication.source, cluster | zdp.RESPONSE, answer, indication.payload[0])
        return True

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

    def _matched(self, payload: bytes) -> None:
        if not payload:
            raise MalformedFrameError("ZDP", "no transaction sequence", 0)
        response = zdp.DescriptorResponse.from_bytes(payload[1:])
        answered = self._matches.pop(payload[0], None)
        if answered is not None:
            answered(tuple(response.descriptor) if response.status == zdp.ZdpStatus.SUCCESS else ())

    # What the device object and the APS layer ask

    def ieee_of(self, address: NwkAddress) -> Eui64 | None:
        if address == COORDINATOR:
            return self.persistent_state.trust_centre
        return self.ieee if address == self._nwk.address else None

    def link_key(self, partner: Eui64) -> LinkKey | None:
        return self.persistent_state.link_key if partner == self.persistent_state.trust_centre else None

    def node_descriptor(self) -> zdp.NodeDescriptor:
        return zdp.NodeDescriptor(2, self.capability().to_octet(), self.manufacturer, 21 << 9)

    def neighbours(self) -> Iterable[zdp.Neighbour]:
        trust_centre = self.persistent_state.trust_centre
        if trust_centre is None:
            return ()
        parent = zdp.Neighbour(self.persistent_state.extended_pan_id, trust_centre, COORDINATOR, 0, True, 0, depth=0)
        return (parent,)

    def known_address(self, ieee: int) -> int | None:
        return self.address if ieee == self.ieee else None

    def known_ieee(self, address: int) -> int | None:
        return self.ieee if address == self.address else None

    def energy(self, channel: int) -> int:
        return self._medium.energy_dbm(channel)
