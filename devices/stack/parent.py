"""A coordinator or router as parent: its children, what waits for those that sleep, and when a silent one is forgotten.

Whom it may adopt, and with which key, is the trust centre's business (trust_centre.py).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from devices.stack.indirect import IndirectQueue
from devices.stack.interface import ApsStatus, Eui64, Neighbour, NwkAddress
from devices.stack.nwk_layer import Arrival, Counters, Done, NwkLayer, is_broadcast
from devices.time import Scheduler, Timer
from devices.wire import mac, nwk
from devices.wire.errors import MalformedFrameError
from devices.wire.mac import AddressMode, MacCommand, MacFrame
from devices.wire.nwk import NwkFrame

if TYPE_CHECKING:
    from random import Random

AGEING_INTERVAL_S = 30.0  # our choice: how often silent children are looked for
MAX_CHILDREN = 0x7F00  # our choice
_LAST_ADDRESS = 0xFFF7  # Zigbee PRO 3.6.1.7
_DATA_REQUEST = bytes((MacCommand.DATA_REQUEST,))


class Parent:
    """`start` it with its children, among whom a coordinator has those of other routers (`Neighbour.via`) too;
    `nwk_layer.neighbours` has them by address.

    `child_gone` is told of each child just before it is dropped.
    """

    def __init__(
        self,
        nwk_layer: NwkLayer,
        scheduler: Scheduler,
        random: "Random",
        counters: Counters,
        child_gone: Callable[[Neighbour], None],
    ) -> None:
        self.maximum_children = MAX_CHILDREN
        self.indirect = IndirectQueue(scheduler, counters)
        self._nwk = nwk_layer
        self._scheduler = scheduler
        self._counters = counters
        self._random = random
        self._child_gone = child_gone
        self._children: dict[Eui64, Neighbour] = {}
        self._ageing: Timer | None = None

    def start(self, children: dict[Eui64, Neighbour]) -> None:
        self._children = children
        now = self._scheduler.now
        for child in children.values():
            self._nwk.neighbours[child.address] = child
            child.last_heard_s = now
        self._ageing = self._scheduler.call_later(AGEING_INTERVAL_S, self._age_children)

    def stop(self) -> None:
        """Forget what waits, as a reset does; the children stay."""
        self.indirect.silence()
        if self._ageing is not None:
            self._ageing.cancel()
            self._ageing = None

    # Children

    def child(self, ieee: Eui64) -> Neighbour | None:
        return self._children.get(ieee)

    def has_at(self, address: int) -> bool:
        """Whether a child of ours has this network address."""
        child = self._nwk.neighbours.get(address)
        return child is not None and child.via is None and child.ieee in self._children

    def has_room_for(self, ieee: Eui64 | None = None) -> bool:
        """Whether another end device finds place, or this one, which may have its place already. Routers need none."""
        return ieee in self._children or self.maximum_children > sum(
            not child.is_router and child.via is None for child in self._children.values()
        )

    def adopt(self, child: Neighbour) -> None:
        """In place of what was known of the same device."""
        known = self._children.get(child.ieee)
        if known is not None:
            self._forget(known)
        child.last_heard_s = self._scheduler.now
        self._children[child.ieee] = child
        self._nwk.neighbours[child.address] = child

    def drop(self, child: Neighbour) -> None:
        if self._children.get(child.ieee) is child:
            self._child_gone(child)
        self._forget(child)

    def _forget(self, child: Neighbour) -> None:
        self._children.pop(child.ieee, None)
        self._nwk.neighbours.pop(child.address, None)
        self.indirect.drop(child.address, ApsStatus.UNKNOWN_DESTINATION)

    def address_for(self, ieee: Eui64, wanted: int = 0) -> NwkAddress:
        """The address that a device asks for, where it is free or its own; else one by chance (Zigbee PRO 3.6.1.7)."""
        neighbours = self._nwk.neighbours
        holder = neighbours.get(wanted)
        address = wanted
        if not 1 <= wanted <= _LAST_ADDRESS or (holder is not None and holder.ieee != ieee):
            address = self._random.randint(1, _LAST_ADDRESS)
            while address in neighbours:
                address = self._random.randint(1, _LAST_ADDRESS)
        return NwkAddress(address)

    def keep_for(self, arrival: Arrival, request: nwk.EndDeviceTimeoutRequest) -> None:
        """How long a child wants to be silent without being forgotten (Zigbee PRO r21 3.4.11). It alone may say so."""
        child = self._nwk.neighbours.get(arrival.frame.source)
        if child is None or child.ieee != arrival.sender:
            self._counters.unexpected += 1
            return
        seconds = request.seconds
        if seconds is not None:
            child.timeout_s = seconds
        response = nwk.EndDeviceTimeoutResponse(0 if seconds is not None else 1)
        self.forward(self._nwk.frame(child.address, response.to_bytes(), radius=1, command=True), None)

    def _age_children(self) -> None:
        self._ageing = self._scheduler.call_later(AGEING_INTERVAL_S, self._age_children)
        now = self._scheduler.now
        for child in tuple(self._children.values()):
            if child.via is None and now - child.last_heard_s > child.timeout_s:
                self.drop(child)

    # Frames for children

    def forward(self, frame: NwkFrame, done: Done | None) -> None:
        """To a child, at once or when it polls, or to all."""
        destination = frame.destination
        if is_broadcast(destination):
            self.broadcast(frame, done)
            return
        child = self._nwk.neighbours.get(destination)
        if child is None:
            if done is not None:
                self._scheduler.call_later(0.0, lambda: done(ApsStatus.UNKNOWN_DESTINATION))
        elif child.receiver_on_when_idle:
            self._nwk.emit(frame, destination, done)
        else:
            self.hold(frame, destination, done)

    def hold(self, frame: NwkFrame, address: int, done: Done | None) -> None:
        """Until a sleeper with this address polls."""
        self.indirect.put(address, lambda pending, sent: self._nwk.emit(frame, address, sent, pending=pending), done)

    def broadcast(self, frame: NwkFrame, done: Done | None) -> None:
        """Once over the air, and for 0xFFFF to each sleeping child in turn (Zigbee PRO 3.6.5)."""
        self._nwk.emit(frame, mac.BROADCAST, done)
        if frame.destination == mac.BROADCAST:
            for child in self._children.values():
                if child.via is None and not child.receiver_on_when_idle and child.address != frame.source:
                    self.hold(frame, child.address, None)

    def has_pending(self, octets: bytes) -> bool:
        """For the radio, which must say in the ACK of a poll whether something waits."""
        try:
            frame = MacFrame.from_bytes(octets)
        except MalformedFrameError:
            return False
        if frame.payload[:1] != _DATA_REQUEST:
            return False
        return self.indirect.waits_for(frame.source) or self._is_unknown(frame)

    def _is_unknown(self, poll: MacFrame) -> bool:
        """Whether it is of a device that takes us for its parent and is no child of ours, or no longer."""
        return poll.source_mode is AddressMode.SHORT and not self.has_at(poll.source)

    def polled(self, frame: MacFrame) -> None:
        if self._is_unknown(frame):
            if not self.indirect.waits_for(frame.source):
                # Its receiver is on only while the ACK's pending bit keeps it on (IEEE 802.15.4 5.1.6.3).
                self.hold(self._go_and_rejoin(frame.source), frame.source, None)
        elif frame.source_mode is AddressMode.SHORT:
            self._nwk.neighbours[frame.source].last_heard_s = self._scheduler.now
        self.indirect.polled(frame.source)

    def send_away(self, address: int) -> None:
        """Tell a device that takes us for its parent to rejoin (as EmberZNet does for an aged-out child)."""
        self._nwk.emit(self._go_and_rejoin(address), address)

    def _go_and_rejoin(self, address: int) -> NwkFrame:
        leave = nwk.Leave(request=True, rejoin=True).to_bytes()
        return self._nwk.frame(address, leave, radius=1, command=True)
