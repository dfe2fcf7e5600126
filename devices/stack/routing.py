"""Routes of a coordinator or a router: where a frame goes next, how a way is found, and what is said when it breaks.

Routes are found by route requests and replies (Zigbee PRO 3.6.3.5); every hop costs the same (our choice), and a way
back is as good as the way there (nwkSymLink). Broadcasts are spread once (3.6.5).
"""

from dataclasses import dataclass, field

from devices.stack.interface import ApsStatus
from devices.stack.nwk_layer import Arrival, Done, NwkLayer, is_broadcast
from devices.stack.parent import Parent
from devices.time import Scheduler, Timer
from devices.wire.nwk import NwkCommand, NwkFrame
from devices.wire.routing import NetworkStatus, NetworkStatusCode, RouteReply, RouteRequest

REQUEST_TRIES = 1 + 3  # nwkcInitialRREQRetries, Zigbee PRO table 3.48
REQUEST_INTERVAL_S = 0.254  # nwkcRREQRetryInterval, Zigbee PRO table 3.48
DISCOVERY_S = 10.0  # nwkcRouteDiscoveryTime, Zigbee PRO table 3.48
BROADCAST_MEMORY_S = 9.0  # nwkNetworkBroadcastDeliveryTime, Zigbee PRO table 3.49
_HOP_COST = 1  # our choice: links are all alike
_MAY_BE_RELAYED = 0xFFFC  # broadcasts to routers, to all that listen, to all: Zigbee PRO table 3.60
_ROUTERS = 0xFFFC  # Zigbee PRO table 3.60


@dataclass(slots=True)
class _Search:
    """For a way to one destination, and what waits for it: frames, whether each came from another, who is told."""

    timer: Timer
    tries: int = 1
    waiting: list[tuple[NwkFrame, Done | None]] = field(default_factory=list)


class Routing:
    """`parent` has the node's own children; `uplink` is the way to the coordinator as long as no better is known."""

    def __init__(self, nwk_layer: NwkLayer, parent: Parent, scheduler: Scheduler) -> None:
        self._nwk = nwk_layer
        self._parent = parent
        self._scheduler = scheduler
        self._routes: dict[int, int] = {}
        self._searches: dict[int, _Search] = {}
        self._asked: dict[tuple[int, int], tuple[float, int]] = {}  # route requests: when first heard, lowest cost
        self._heard: dict[tuple[int, int], float] = {}  # broadcasts, and when
        self._identifier = 0

    def stop(self) -> None:
        """Forget everything, as a reset does; nobody is told of what waited."""
        for search in self._searches.values():
            search.timer.cancel()
        for memory in (self._routes, self._searches, self._asked, self._heard):
            memory.clear()

    def learn(self, destination: int, hop: int) -> None:
        self._routes[destination] = hop

    def forget(self, destination: int) -> None:
        self._routes.pop(destination, None)

    # Frames

    def send(self, frame: NwkFrame, done: Done | None, *, discover: bool = True) -> None:
        """On its way: to a child, over a route, or when one is found; UNKNOWN_DESTINATION where there is none."""
        destination = frame.destination
        if is_broadcast(destination):
            self._heard[frame.source, frame.sequence] = self._scheduler.now
            self._parent.broadcast(frame, done)
        elif self._parent.has_at(destination):
            self._parent.forward(frame, done)
        elif (hop := self._routes.get(destination)) is not None:
            self._nwk.emit(frame, hop, lambda status: self._sent(destination, hop, status, done))
        elif discover:
            self._search(destination).waiting.append((frame, done))
        elif done is not None:
            self._scheduler.call_later(0.0, lambda: done(ApsStatus.UNKNOWN_DESTINATION))

    def _sent(self, destination: int, hop: int, status: ApsStatus, done: Done | None) -> None:
        if status is ApsStatus.NO_ACK and self._routes.get(destination) == hop:
            self.forget(destination)
        if done is not None:
            done(status)

    def relay(self, arrival: Arrival) -> None:
        """Send on what is not for this node alone."""
        frame = arrival.frame
        if frame.radius <= 1:
            return
        further = frame._replace(radius=frame.radius - 1)
        if not is_broadcast(frame.destination):
            self.send(further, lambda status: self._relayed(frame, status))
        elif frame.destination >= _MAY_BE_RELAYED:
            self.send(further, None)

    def _relayed(self, frame: NwkFrame, status: ApsStatus) -> None:
        if status in (ApsStatus.NO_ACK, ApsStatus.UNKNOWN_DESTINATION):
            broken = NetworkStatus(NetworkStatusCode.NON_TREE_LINK_FAILURE, frame.destination)
            self.send(self._nwk.frame(frame.source, broken.to_bytes(), command=True), None)

    def is_news(self, broadcast: NwkFrame) -> bool:
        """Whether it was not heard, or sent, before (the broadcast transaction table)."""
        now, key = self._scheduler.now, (broadcast.source, broadcast.sequence)
        for old in [old for old, at in self._heard.items() if now - at > BROADCAST_MEMORY_S]:
            del self._heard[old]
        known = key in self._heard
        self._heard.setdefault(key, now)
        return not known

    # Finding a way

    def _search(self, destination: int) -> _Search:
        search = self._searches.get(destination)
        if search is None:
            self._identifier = (self._identifier + 1) & 0xFF
            timer = self._scheduler.call_later(REQUEST_INTERVAL_S, lambda: self._ask_again(destination))
            search = self._searches[destination] = _Search(timer)
            self._ask(destination)
        return search

    def discover(self, destination: int) -> None:
        """Look for a way, whether one is known or not."""
        self.forget(destination)
        self._search(destination)

    def _ask(self, destination: int) -> None:
        self._identifier = (self._identifier + 1) & 0xFF
        request = RouteRequest(self._identifier, destination)
        self._parent.broadcast(self._nwk.frame(_ROUTERS, request.to_bytes(), command=True), None)

    def _ask_again(self, destination: int) -> None:
        search = self._searches[destination]
        if search.tries == REQUEST_TRIES:
            self._search_ended(destination)
            return
        search.tries += 1
        search.timer = self._scheduler.call_later(REQUEST_INTERVAL_S, lambda: self._ask_again(destination))
        self._ask(destination)

    def _search_ended(self, destination: int) -> None:
        search = self._searches.pop(destination, None)
        if search is not None:
            search.timer.cancel()
            for frame, done in search.waiting:
                self.send(frame, done, discover=False)

    def command(self, arrival: Arrival) -> bool:
        """Of routers among each other; False for what is none."""
        frame = arrival.frame
        if arrival.sender is None or not frame.payload:
            return False
        match frame.payload[0]:
            case NwkCommand.ROUTE_REQUEST:
                self._requested(arrival, RouteRequest.from_bytes(frame.payload))
            case NwkCommand.ROUTE_REPLY:
                self._replied(arrival, RouteReply.from_bytes(frame.payload))
            case NwkCommand.NETWORK_STATUS:
                self._broken(arrival, NetworkStatus.from_bytes(frame.payload))
            case _:
                return False
        return True

    def _requested(self, arrival: Arrival, request: RouteRequest) -> None:
        frame, now = arrival.frame, self._scheduler.now
        key, cost = (frame.source, request.identifier), request.path_cost + _HOP_COST
        at, lowest = self._asked.get(key, (now, 0xFF))
        if now - at > DISCOVERY_S:
            at, lowest = now, 0xFF
        if cost >= lowest:
            return
        self._asked[key] = at, cost
        self.learn(frame.source, arrival.mac_source)
        if request.destination == self._nwk.address or self._parent.has_at(request.destination):
            reply = RouteReply(request.identifier, frame.source, request.destination)
            self._answer(reply, arrival.mac_source)
        elif frame.radius > 1:
            further = RouteRequest(
                request.identifier, request.destination, cost, request.many_to_one, request.destination_ieee
            )
            self._parent.broadcast(frame._replace(radius=frame.radius - 1, payload=further.to_bytes()), None)

    def _answer(self, reply: RouteReply, hop: int) -> None:
        self._nwk.emit(self._nwk.frame(hop, reply.to_bytes(), command=True), hop)

    def _replied(self, arrival: Arrival, reply: RouteReply) -> None:
        if arrival.frame.destination != self._nwk.address:
            return
        self.learn(reply.responder, arrival.mac_source)
        if reply.originator == self._nwk.address:
            self._search_ended(reply.responder)
        elif (hop := self._routes.get(reply.originator)) is not None:
            further = RouteReply(reply.identifier, reply.originator, reply.responder, reply.path_cost + _HOP_COST)
            self._answer(further, hop)

    def _broken(self, arrival: Arrival, status: NetworkStatus) -> None:
        if arrival.frame.destination == self._nwk.address:
            self.forget(status.destination)
        else:
            self.relay(arrival)
