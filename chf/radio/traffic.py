"""The hub's messages over a dongle of any kind: who waits for what, what is under way, what became of it, what came in.

Event-driven and without tasks: the link asks for what is next, and says what came. What the frames look like, and who
cuts and puts together long messages, is for `ezsp/traffic.py` and `znp/traffic.py`; what takes slow commands and time
is asked of `DongleQueries`.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Generic, Protocol, TypeVar, assert_never

from chf.clock import Instant
from chf.errors import MalformedFrameError
from chf.eui64 import Eui64
from chf.radio import zdp
from chf.radio.interface import HUB_ENDPOINT, SMART_ENERGY_PROFILE, Delivery, Outbound, RadioListener, Urgency
from chf.radio.outbox import Acceptance, Outbox, Places

CONFIRM_LIMIT_S = 20.0  # then a message without a delivery confirm counts as lost (our choice: above all retries)

SUPERSEDED_S = 3.0  # our choice
"""A block without a delivery confirm is given up after this, once its device was heard again: the device asks for what
it lacks, and a confirm that the dongle forgot must not hold it up."""

FULL_PAUSE_S = 0.1  # the dongle has no room although nothing of ours is under way: ask again after this (our choice)
FULL_LIMIT_S = 20.0  # and no longer than this (our choice)

MAXIMUM_MESSAGE_BYTES = 4096  # our choice, far above any GBCS message of a firmware update; more is a mistake of ours

BROADCAST_ENDPOINT = 0xFF  # Zigbee R22, broadcast endpoint
_UNKNOWN_SENDERS = 16  # whose messages are kept while their EUI-64 is looked for (our choice)
_MESSAGES_OF_UNKNOWN_SENDER = 8  # our choice


class Addresses:
    """Who has which network address: one device per address, one address per device, the newest word wins."""

    def __init__(self) -> None:
        self._network: dict[Eui64, int] = {}
        self._device: dict[int, Eui64] = {}

    def learn(self, device: Eui64, network_address: int) -> bool:
        """True where that is news."""
        if self._network.get(device) == network_address:
            return False
        self.forget(device)
        displaced = self._device.get(network_address)
        if displaced is not None:
            self.forget(displaced)
        self._network[device] = network_address
        self._device[network_address] = device
        return True

    def forget(self, device: Eui64) -> None:
        network_address = self._network.pop(device, None)
        if network_address is not None:
            del self._device[network_address]

    def network(self, device: Eui64) -> int | None:
        return self._network.get(device)

    def device(self, network_address: int) -> Eui64 | None:
        return self._device.get(network_address)


class DongleQueries(Protocol):
    """What takes slow commands, and time. The first two are answered by `Traffic.located` and `identified`."""

    def locate(self, device: Eui64) -> None: ...
    def identify(self, network_address: int) -> None: ...
    def extend_timeout(self, device: Eui64, network_address: int) -> None:
        """A sleepy device: the dongle is to wait longer for its acknowledgements."""
        ...

    def announced(self, device: Eui64, network_address: int) -> None: ...
    def zdp_response(self, cluster: int, sender: int, frame: bytes) -> None: ...


@dataclass(slots=True)
class OutgoingFrame:
    """A message on its way; `report` is called once, with its fate."""

    destination: Eui64
    profile: int
    cluster: int
    source_endpoint: int
    destination_endpoint: int
    payload: bytes
    urgency: Urgency
    aps_secured: bool
    acknowledged: bool
    report: Callable[[Delivery], None]
    fragments: tuple[bytes, ...] = ()
    index: int = 0
    attempts: int = 0
    counter: int = 0  # of APS, as the dongle gave it
    full_since: Instant | None = None

    @classmethod
    def of(
        cls,
        message: Outbound,
        report: Callable[[Delivery], None],
        profile: int = SMART_ENERGY_PROFILE,
        source_endpoint: int = HUB_ENDPOINT,
    ) -> "OutgoingFrame":
        to = message.destination, profile, message.cluster, source_endpoint, message.destination_endpoint
        how = message.urgency, message.aps_secured, message.acknowledged
        return cls(*to, message.payload, *how, report)


@dataclass(slots=True)
class UnderWay:
    frame: OutgoingFrame
    network_address: int
    deadline: Instant


class FromDevice(Protocol):
    """What every kind of incoming message tells."""

    @property
    def sender(self) -> int: ...


Heard = TypeVar("Heard", bound=FromDevice)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a `Traffic` lives between. `wake`: there may be something to send."""

    listener: RadioListener
    addresses: Addresses
    queries: DongleQueries
    now: Callable[[], Instant]
    wake: Callable[[], None]
    call_later: Callable[[float, Callable[[], None]], object]


class Traffic(ABC, Generic[Heard]):
    """One for the life of a link; opened and `closed` with it. A kind of dongle fills in the abstract methods."""

    def __init__(self, around: Surroundings, tags: Iterable[int]) -> None:
        self.listener, self.addresses, self.queries = around.listener, around.addresses, around.queries
        self.now, self.wake, self.call_later = around.now, around.wake, around.call_later
        self._outbox: Outbox[OutgoingFrame] = Outbox(Places())
        self._under_way: dict[int, UnderWay] = {}  # by tag, oldest first
        self._tags = deque(tags)  # the longest unused first: a late word about an old one names nobody
        self._no_address: dict[Eui64, list[OutgoingFrame]] = {}
        self._unknown_senders: dict[int, list[Heard]] = {}
        self._is_open = False
        self._heard_at: dict[Eui64, Instant] = {}
        self._full = False
        self._nop_due = False

    def _open(self, places: Places) -> None:
        self._outbox = Outbox(places)
        self._is_open = True

    def closed(self) -> None:
        """The link is gone, and with it everything that was waiting or under way."""
        self._is_open = self._full = self._nop_due = False
        lost = [*self._outbox.drain(), *self._held(), *(entry.frame for entry in self._under_way.values())]
        lost += [frame for waiting in self._no_address.values() for frame in waiting]
        self._tags.extend(self._under_way)
        for held in (self._under_way, self._no_address, self._unknown_senders, self._heard_at):
            held.clear()
        for frame in lost:
            frame.report(Delivery.RADIO_GONE)

    @abstractmethod
    def _held(self) -> list[OutgoingFrame]:
        """Give up frames that wait elsewhere than in the outbox, and whatever else is kept of the link."""

    @abstractmethod
    def _put_back(self, frame: OutgoingFrame) -> None:
        """The dongle had no room: the frame is first in line again."""

    @abstractmethod
    def _deliver(self, device: Eui64, message: Heard) -> None: ...

    def post(self, frame: OutgoingFrame) -> None:
        if not self._is_open:
            self.call_later(0, partial(frame.report, Delivery.RADIO_GONE))
        elif self.addresses.network(frame.destination) is not None:
            self._queue(frame)
        elif frame.destination in self._no_address:
            self._no_address[frame.destination].append(frame)
        else:
            self._no_address[frame.destination] = [frame]
            self.queries.locate(frame.destination)

    def located(self, device: Eui64) -> None:
        """The search for a device's address is over; where it was in vain, `addresses` does not have it."""
        found = self.addresses.network(device) is not None
        for frame in self._no_address.pop(device, ()):
            if found:
                self._queue(frame)
            else:
                frame.report(Delivery.REFUSED)

    def _queue(self, frame: OutgoingFrame) -> None:
        if self._outbox.put(frame.destination, frame.urgency, frame):
            self.wake()
        else:
            self.call_later(0, partial(frame.report, Delivery.REFUSED))

    # What leaves

    def _next_to_send(self) -> tuple[int, OutgoingFrame, int] | None:
        """The next frame that can be sent, under way from now on: its tag, itself, its network address."""
        while not self._full and self._tags:
            frame = self._next_frame()
            if frame is None:
                return None
            destination = self.addresses.network(frame.destination)  # it may have left while its messages waited
            if destination is None or len(frame.payload) > MAXIMUM_MESSAGE_BYTES:
                self._finish(frame, Delivery.REFUSED)
                continue
            tag = self._tags.popleft()
            self._under_way[tag] = UnderWay(frame, destination, Instant(self.now() + CONFIRM_LIMIT_S))
            return tag, frame, destination
        return None

    def _next_frame(self) -> OutgoingFrame | None:
        return self._outbox.take()

    def _accepted(self, tag: int, frame: OutgoingFrame, acceptance: Acceptance) -> None:
        """What the dongle said to it."""
        if tag not in self._under_way:
            return  # its delivery confirm came first, and is final
        match acceptance:
            case Acceptance.TAKEN:
                frame.full_since = None
                self._taken(tag, frame)
            case Acceptance.FULL:
                self._take_out(tag)
                self._hold_back(frame)
            case Acceptance.REFUSED:
                self._take_out(tag)
                self._finish(frame, Delivery.REFUSED)
                self._refused()
            case _:
                assert_never(acceptance)

    def _taken(self, tag: int, frame: OutgoingFrame) -> None:
        """For a kind of dongle that has more to do then."""

    def _refused(self) -> None:
        """The same."""

    def _take_out(self, tag: int) -> None:
        del self._under_way[tag]
        self._tags.append(tag)

    def _hold_back(self, frame: OutgoingFrame) -> None:
        """No room in the dongle: go on when something of ours leaves it, or a little later; but not for ever."""
        now = self.now()
        if frame.full_since is None:
            frame.full_since = now
        if now - frame.full_since >= FULL_LIMIT_S:
            self._finish(frame, Delivery.REFUSED)
            return
        self._full = True
        self.call_later(FULL_PAUSE_S, self._go_on)
        self._put_back(frame)

    def _go_on(self) -> None:
        self._full = False
        self.wake()

    def _finish(self, frame: OutgoingFrame, delivery: Delivery) -> None:
        self._outbox.done(frame.destination, frame.urgency)
        frame.report(delivery)

    def tick(self, *, silent: bool) -> None:
        """Once a second or so. `silent`: the dongle said nothing for a while, and shall be asked whether it lives."""
        now = self.now()
        for tag, entry in tuple(self._under_way.items()):
            sent_at = entry.deadline - CONFIRM_LIMIT_S
            if now - sent_at < SUPERSEDED_S:
                break
            if entry.deadline <= now or self._is_superseded(entry.frame, sent_at):
                self._take_out(tag)
                self._finish(entry.frame, Delivery.NOT_DELIVERED)
        self._nop_due = silent
        self.wake()

    def _is_superseded(self, frame: OutgoingFrame, sent_at: float) -> bool:
        heard_at = self._heard_at.get(frame.destination)
        return frame.urgency is Urgency.BULK and heard_at is not None and heard_at > sent_at

    # What comes in

    def _from_device(self, device: Eui64 | None, message: Heard) -> None:
        if device is None:
            device = self.addresses.device(message.sender)
        else:
            self.addresses.learn(device, message.sender)
        if device is not None:
            self._heard_at[device] = self.now()
            self._deliver(device, message)
        elif message.sender in self._unknown_senders:
            if len(self._unknown_senders[message.sender]) < _MESSAGES_OF_UNKNOWN_SENDER:
                self._unknown_senders[message.sender].append(message)
        elif len(self._unknown_senders) < _UNKNOWN_SENDERS:
            self._unknown_senders[message.sender] = [message]
            self.queries.identify(message.sender)

    def identified(self, network_address: int) -> None:
        """The search for the device behind an address is over; where it was in vain, its messages are dropped."""
        device = self.addresses.device(network_address)
        for message in self._unknown_senders.pop(network_address, ()):
            if device is not None:
                self._deliver(device, message)

    def _zdp(self, cluster: int, sender: int, frame: bytes) -> None:
        if cluster & zdp.RESPONSE:
            self.queries.zdp_response(cluster, sender, frame)
        elif cluster == zdp.DEVICE_ANNCE:
            try:
                announcement = zdp.DeviceAnnounce.from_bytes(frame)
            except MalformedFrameError:
                return
            self.addresses.learn(announcement.device, announcement.network_address)
            self.identified(announcement.network_address)
            if announcement.sleepy:
                self.queries.extend_timeout(announcement.device, announcement.network_address)
            self.queries.announced(announcement.device, announcement.network_address)
