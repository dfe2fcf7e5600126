"""Which waiting message leaves next: three classes; in each the devices take turns; per device first in, first out.

The outbox also counts what the dongle holds unconfirmed, because that is what makes one message wait for another: a
device that does not acknowledge can fill its own few places and no others. It knows nothing of frames, radios or time.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic, TypeVar

from chf.eui64 import Eui64
from chf.radio.interface import Urgency

Item = TypeVar("Item")


class Acceptance(Enum):
    """What the dongle said to a message that was handed to it."""

    TAKEN = "taken"
    FULL = "full"  # nothing is wrong with the message: there is no room for it now
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Places:
    """How many messages the dongle may hold unconfirmed (our choice, but for `together`, which the dongle tells)."""

    together: int = 10
    kept_from_bulk: int = 2  # so that an urgent message finds a place however many blocks are under way
    normal_together: int = 4  # devices that restart are asked in vain, each for seconds: blocks must go on meanwhile
    urgent: int = 2  # of one device: a repeated answer need not wait for the fate of the first
    normal: int = 1  # of one device: two under way could overtake each other on the air
    bulk: int = 2  # of one device: it may ask for the next block while the fate of the last is not known
    waiting: int = 64  # of one device and class, not yet taken; more is a device that asks and never acknowledges

    def of_one_device(self, urgency: Urgency) -> int:
        match urgency:
            case Urgency.URGENT:
                return self.urgent
            case Urgency.NORMAL:
                return self.normal
            case Urgency.BULK:
                return self.bulk


@dataclass(slots=True)
class _Lane(Generic[Item]):
    """The messages of one class to one device. It stands in the ring of its class while it may send."""

    places: int
    waiting: deque[Item] = field(default_factory=deque)
    under_way: int = 0
    in_ring: bool = False

    def may_send(self) -> bool:
        return bool(self.waiting) and self.under_way < self.places


class Outbox(Generic[Item]):
    def __init__(self, places: Places) -> None:
        self._places = places
        self._lanes: dict[Urgency, dict[Eui64, _Lane[Item]]] = {urgency: {} for urgency in Urgency}
        self._rings: dict[Urgency, deque[_Lane[Item]]] = {urgency: deque() for urgency in Urgency}
        self._under_way = 0
        self._normal_under_way = 0
        self._bulk_together = max(places.together - places.kept_from_bulk, 1)

    def __len__(self) -> int:
        """Messages that wait."""
        return sum(len(lane.waiting) for lanes in self._lanes.values() for lane in lanes.values())

    @property
    def under_way(self) -> int:
        """Messages that were taken and are not done."""
        return self._under_way

    def put(self, device: Eui64, urgency: Urgency, item: Item) -> bool:
        """Queue behind what waits for this device in this class. False where that is too much already."""
        lanes = self._lanes[urgency]
        lane = lanes.get(device)
        if lane is None:
            lane = lanes[device] = _Lane(self._places.of_one_device(urgency))
        if len(lane.waiting) >= self._places.waiting:
            return False
        lane.waiting.append(item)
        self._enter_ring(urgency, lane)
        return True

    def take(self) -> Item | None:
        """The message to hand to the dongle now; it holds a place until `done`."""
        for urgency, ring in self._rings.items():
            if self._under_way >= (self._bulk_together if urgency is Urgency.BULK else max(self._places.together, 1)):
                continue
            if urgency is Urgency.NORMAL and self._normal_under_way >= self._places.normal_together:
                continue
            if ring:
                lane = ring.popleft()
                lane.in_ring = False
                self._count(lane, urgency, 1)
                item = lane.waiting.popleft()
                self._enter_ring(urgency, lane)
                return item
        return None

    def done(self, device: Eui64, urgency: Urgency) -> None:
        """A message that was taken met its fate: its place is free."""
        lane = self._lanes[urgency][device]
        self._count(lane, urgency, -1)
        if lane.waiting:
            self._enter_ring(urgency, lane)
        elif not lane.under_way:
            del self._lanes[urgency][device]

    def put_back(self, device: Eui64, urgency: Urgency, item: Item) -> None:
        """The dongle had no room for a message that was taken: it is first in line again, before other devices too."""
        lane = self._lanes[urgency][device]
        self._count(lane, urgency, -1)
        lane.waiting.appendleft(item)
        ring = self._rings[urgency]
        if lane.in_ring:
            ring.remove(lane)
        lane.in_ring = True
        ring.appendleft(lane)

    def drain(self) -> Iterator[Item]:
        """Give up everything that waits, and forget what is under way."""
        lanes = [lane for lanes in self._lanes.values() for lane in lanes.values()]
        for of_urgency in self._lanes.values():
            of_urgency.clear()
        for ring in self._rings.values():
            ring.clear()
        self._under_way = self._normal_under_way = 0
        for lane in lanes:
            yield from lane.waiting

    def _count(self, lane: _Lane[Item], urgency: Urgency, change: int) -> None:
        lane.under_way += change
        self._under_way += change
        if urgency is Urgency.NORMAL:
            self._normal_under_way += change

    def _enter_ring(self, urgency: Urgency, lane: _Lane[Item]) -> None:
        if not lane.in_ring and lane.may_send():
            lane.in_ring = True
            self._rings[urgency].append(lane)
