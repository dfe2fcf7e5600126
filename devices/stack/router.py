"""A router: an end device in how it joins, a coordinator in how it takes children; and it sends on what is for others.

It tells the trust centre of each child (Update-Device), and hands it the network key that comes in a Tunnel. It looks
for its network again when its parent is gone, as an end device does (our choice: real ones only look for other routes).
"""

from collections.abc import Iterable
from typing import Any

from devices.stack.adoption import Adoption
from devices.stack.end_device import EndDevice
from devices.stack.interface import COORDINATOR, ApsIndication, Eui64, JoinKind, Neighbour, NwkAddress
from devices.stack.nwk_layer import Arrival, Done, is_broadcast
from devices.stack.parent import Parent
from devices.stack.routing import Routing
from devices.wire import mac, nwk, zdp
from devices.wire.aps import ApsCommandFrame
from devices.wire.aps_commands import ApsCommand, DeviceStatus, RemoveDevice, Tunnel, UpdateDevice
from devices.wire.mac import Capability, MacCommand, MacFrame, MacType
from devices.wire.nwk import NwkCommand, NwkFrame, NwkType
from devices.wire.zdp import ZdpCluster

_FOR_JOINING = bytes((MacCommand.ASSOCIATION_RESPONSE,))
_STATUS = {
    JoinKind.ASSOCIATED: DeviceStatus.UNSECURED_JOIN,
    JoinKind.REJOINED_SECURED: DeviceStatus.SECURED_REJOIN,
    JoinKind.REJOINED_UNSECURED: DeviceStatus.TRUST_CENTRE_REJOIN,
}
_LONGEST_PERMIT_S = 254  # Zigbee PRO r21 2.4.3.3.7


class Router(EndDevice):
    """Made as an `EndDevice` that never sleeps. Its children outlive its power, as in flash."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options, routes=True)
        self.permitting_until = 0.0
        self._children: dict[Eui64, Neighbour] = {}
        self._parent_role = Parent(self._nwk, self._scheduler, self._random, self.counters, lambda _child: None)
        self._routing = Routing(self._nwk, self._parent_role, self._scheduler)
        self._adoption = Adoption(self, self._nwk, self._parent_role)

    # Network

    def capability(self) -> Capability:
        return Capability(receiver_on_when_idle=True, full_function=True, mains_powered=True)

    def join(self) -> None:
        self._children.clear()
        super().join()

    def _settle(self) -> None:
        self._parent_role.stop()
        self._parent_role.start(self._children)
        self._routing.learn(COORDINATOR, self._nwk.parent)

    def rejoin(self) -> None:
        self._routing.stop()
        super().rejoin()

    def _go_silent(self) -> None:
        super()._go_silent()
        self.permitting_until = 0.0
        self._parent_role.stop()
        self._routing.stop()

    @property
    def permitting(self) -> bool:
        return self.joined and self._scheduler.now < self.permitting_until

    def beacon(self) -> mac.Beacon | None:
        if not self.joined:
            return None
        room = self._parent_role.has_room_for()
        return mac.Beacon(self.permitting, self.persistent_state.extended_pan_id, depth=1, has_room=room)

    # Children

    def admit(self, ieee: Eui64, address: NwkAddress, capability: Capability, kind: JoinKind) -> None:
        child = Neighbour(ieee, address, capability.receiver_on_when_idle, capability.full_function)
        self._parent_role.adopt(child)
        self._aps.forget(address)
        if kind is JoinKind.ASSOCIATED:
            self._nwk.incoming.pop(ieee, None)
        self._update(child, _STATUS[kind])

    def _update(self, child: Neighbour, status: DeviceStatus) -> None:
        key = self.persistent_state.link_key
        if not self._aps.used_up(key):
            self._aps.send_command(COORDINATOR, UpdateDevice(child.ieee, child.address, status).to_bytes(), key)

    def _child_left(self, arrival: Arrival, leave: nwk.Leave) -> None:
        child = self._nwk.neighbours.get(arrival.frame.source)
        if leave.request or child is None or child.ieee != arrival.sender or child.ieee not in self._children:
            self.counters.unexpected += 1
            return
        self._parent_role.drop(child)
        if not leave.rejoin:
            self._update(child, DeviceStatus.LEFT)

    # Frames

    def mac_received(self, frame: MacFrame, lqi: int) -> None:
        if frame.type is MacType.BEACON or frame.payload[:1] == _FOR_JOINING:
            super().mac_received(frame, lqi)
        else:
            self._adoption.mac_received(frame)

    def forward(self, frame: NwkFrame, done: Done | None) -> None:
        self._routing.send(frame, done)

    def arrived(self, arrival: Arrival) -> None:
        frame = arrival.frame
        if not self.joined:
            super().arrived(arrival)
        elif frame.source == self._nwk.address:
            return
        elif frame.type is NwkType.COMMAND:
            self._command(arrival)
        elif arrival.sender is None:
            self.counters.nwk_unsecured += 1
        elif is_broadcast(frame.destination):
            if self._routing.is_news(frame):
                self._aps.receive(arrival)
                self._routing.relay(arrival)
        elif frame.destination == self._nwk.address:
            self._heard_child(arrival)
            self._aps.receive(arrival)
        else:
            self._heard_child(arrival)
            self._routing.relay(arrival)

    def _heard_child(self, arrival: Arrival) -> None:
        child = self._nwk.neighbours.get(arrival.frame.source)
        if child is not None and child.ieee == arrival.sender:
            child.last_heard_s = self._scheduler.now

    def _command(self, arrival: Arrival) -> None:
        payload = arrival.frame.payload
        command = payload[0] if payload else None
        if command == NwkCommand.REJOIN_REQUEST:
            self._adoption.rejoin(arrival, lambda _ieee, _secured: False)  # the trust centre will say
        elif arrival.sender is None:
            self.counters.nwk_unsecured += 1
        elif command == NwkCommand.END_DEVICE_TIMEOUT_REQUEST:
            self._parent_role.keep_for(arrival, nwk.EndDeviceTimeoutRequest.from_bytes(payload))
        elif command == NwkCommand.LEAVE and not nwk.Leave.from_bytes(payload).request:
            self._child_left(arrival, nwk.Leave.from_bytes(payload))
        elif not self._routing.command(arrival):
            self._nwk_command(arrival)

    def aps_command(self, arrival: Arrival, octets: bytes) -> None:
        """Beside an end device's: what the trust centre has for a child of ours."""
        frame = ApsCommandFrame.from_bytes(octets)
        command = None if frame.security is not None or not frame.payload else frame.payload[0]
        from_centre = self.joined and arrival.sender is not None and arrival.frame.source == COORDINATOR
        if command == ApsCommand.TUNNEL and from_centre:
            self._pass_on(Tunnel.from_bytes(frame.payload))
        elif command == ApsCommand.REMOVE_DEVICE and from_centre:
            self._send_away(RemoveDevice.from_bytes(frame.payload))
        else:
            super().aps_command(arrival, octets)

    def _pass_on(self, tunnel: Tunnel) -> None:
        child = self._parent_role.child(Eui64(tunnel.device))
        if child is not None:
            self._parent_role.forward(self._nwk.frame(child.address, tunnel.command, secured=False), None)

    def _send_away(self, command: RemoveDevice) -> None:
        child = self._parent_role.child(Eui64(command.device))
        if child is not None:
            leave = nwk.Leave(request=True).to_bytes()
            self._parent_role.forward(self._nwk.frame(child.address, leave, radius=1, command=True), None)

    def _zdp_received(self, indication: ApsIndication, body: bytes) -> None:
        if indication.cluster == ZdpCluster.MGMT_PERMIT_JOINING_REQUEST and body:
            self.permitting_until = self._scheduler.now + min(body[0], _LONGEST_PERMIT_S)
            if not is_broadcast(indication.destination):
                self._answer(indication, zdp.ZdpStatus.SUCCESS)
        else:
            super()._zdp_received(indication, body)

    # What it knows

    def neighbours(self) -> Iterable[zdp.Neighbour]:
        pan = self.persistent_state.extended_pan_id
        children = self._children.values()
        own = [
            zdp.Neighbour(pan, child.ieee, child.address, 1 if child.is_router else 2, child.receiver_on_when_idle, 1)
            for child in children
        ]
        return [*super().neighbours(), *own]

    def known_address(self, ieee: int) -> int | None:
        """A parent answers for its children, who may sleep (Zigbee PRO 2.4.4.2.1)."""
        child = self._children.get(Eui64(ieee))
        return child.address if child is not None else super().known_address(ieee)
