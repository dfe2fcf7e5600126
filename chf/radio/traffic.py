"""The hub's messages over a dongle of any kind: who waits for what, what is under way, what became of it, what came in.

Event-driven and without tasks, so that a frame costs little: the link asks for what is next, and tells what came. What
the frames look like, and who cuts and puts together long messages, is for `ezsp/traffic.py` and `znp/traffic.py`; what
takes slow commands and time is asked of `Errands`.
"""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from chf.clock import Instant
from chf.errors import MalformedFrameError
from chf.eui64 import Eui64
from chf.radio import zdp
from chf.radio.addresses import Addresses
from chf.radio.interface import (
    HUB_ENDPOINT,
    SMART_ENERGY_PROFILE,
    Delivery,
    Outbound,
    RadioListener,
    Urgency,
)
from chf.radio.outbox import Outbox, Places

CONFIRM_LIMIT_S = 20.0
"""A message whose fate the dongle does not tell within this is taken for lost (our choice: well above its retries)."""

SUPERSEDED_S = 3.0
"""A block whose fate the dongle has not told for so long is given up once its device has been heard since: it asks for
what it has not, and a dongle that forgets to tell must not hold it up (our choice)."""

FULL_PAUSE_S = 0.1  # the dongle has no room although nothing of ours is under way: ask again after this
FULL_LIMIT_S = 20.0

MAXIMUM_MESSAGE_BYTES = 4096  # our choice, far above any GBCS message of a firmware update; more is a mistake of ours

BROADCAST_ENDPOINT = 0xFF
_STRANGERS_MESSAGES = 8  # kept for one sender while its EUI-64 is being found
_STRANGERS = 16


class Errands(Protocol):
    """What takes slow commands, and time. The first two are answered by `Traffic.located` and `identified`."""

    def locate(self, device: Eui64) -> None: ...
    def identify(self, network_address: int) -> None: ...
    def extend_timeout(self, device: Eui64, network_address: int) -> None:
        """A sleepy device: the dongle is to wait longer for its acknowledgements."""
        ...

    def announced(self, device: Eui64, network_address: int) -> None: ...
    def zdp_response(self, cluster: int, sender: int, frame: bytes) -> None: ...


@dataclass(slots=True)
class Letter:
    """A message on its way; whoever made it is told its fate once."""

    destination: Eui64
    profile: int
    cluster: int
    source_endpoint: int
    destination_endpoint: int
    payload: bytes
    urgency: Urgency
    aps_secured: bool
    acknowledged: bool
    told: Callable[[Delivery], None]
    fragments: tuple[bytes, ...] = ()
    index: int = 0
    attempts: int = 0
    counter: int = 0
    full_since: Instant | None = None


def letter_of(message: Outbound, told: Callable[[Delivery], None]) -> Letter:
    return Letter(
        destination=message.destination,
        profile=SMART_ENERGY_PROFILE,
        cluster=message.cluster,
        source_endpoint=HUB_ENDPOINT,
        destination_endpoint=message.destination_endpoint,
        payload=message.payload,
        urgency=message.urgency,
        aps_secured=message.aps_secured,
        acknowledged=message.acknowledged,
        told=told,
    )


@dataclass(slots=True)
class UnderWay:
    letter: Letter
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
    errands: Errands
    now: Callable[[], Instant]
    wake: Callable[[], None]
    call_later: Callable[[float, Callable[[], None]], object]


class Traffic(ABC, Generic[Heard]):
    """One for the life of a link; opened and `closed` with it. A kind of dongle fills in `_deliver`."""

    def __init__(self, around: Surroundings, tags: Iterable[int]) -> None:
        self.listener, self.addresses, self.errands = around.listener, around.addresses, around.errands
        self.now, self.wake, self.call_later = around.now, around.wake, around.call_later
        self._outbox: Outbox[Letter] = Outbox(Places())
        self._under_way: dict[int, UnderWay] = {}  # by tag, oldest first
        self._tags = deque(tags)  # the longest unused first: a late word about an old one names nobody
        self._no_address: dict[Eui64, list[Letter]] = {}
        self._strangers: dict[int, list[Heard]] = {}
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
        letters = [*self._outbox.drain(), *self._held(), *(entry.letter for entry in self._under_way.values())]
        letters += [letter for waiting in self._no_address.values() for letter in waiting]
        self._tags.extend(self._under_way)
        for held in (self._under_way, self._no_address, self._strangers, self._heard_at):
            held.clear()
        for letter in letters:
            letter.told(Delivery.RADIO_GONE)

    @abstractmethod
    def _held(self) -> list[Letter]:
        """Give up letters that wait elsewhere than in the outbox, and whatever else is kept of the link."""

    @abstractmethod
    def _deliver(self, device: Eui64, message: Heard) -> None: ...

    def post(self, letter: Letter) -> None:
        if not self._is_open:
            self.call_later(0, lambda: letter.told(Delivery.RADIO_GONE))
        elif self.addresses.network(letter.destination) is not None:
            self._queue(letter)
        elif letter.destination in self._no_address:
            self._no_address[letter.destination].append(letter)
        else:
            self._no_address[letter.destination] = [letter]
            self.errands.locate(letter.destination)

    def located(self, device: Eui64) -> None:
        """The search for a device's address is over; where it was in vain, `addresses` does not have it."""
        found = self.addresses.network(device) is not None
        for letter in self._no_address.pop(device, ()):
            if found:
                self._queue(letter)
            else:
                letter.told(Delivery.REFUSED)

    def _queue(self, letter: Letter) -> None:
        if self._outbox.put(letter.destination, letter.urgency, letter):
            self.wake()
        else:
            self.call_later(0, lambda: letter.told(Delivery.REFUSED))

    # What leaves

    def _sendable(self, letter: Letter) -> int | None:
        """The address of a letter that was taken; None where it cannot be sent, which its sender is told."""
        destination = self.addresses.network(letter.destination)  # it may have left while its messages waited
        if destination is None or len(letter.payload) > MAXIMUM_MESSAGE_BYTES:
            self._finish(letter, Delivery.REFUSED)
            return None
        return destination

    def _send_off(self, letter: Letter, destination: int) -> int:
        """Note that it is under way, under the tag that is given."""
        tag = self._tags.popleft()
        self._under_way[tag] = UnderWay(letter, destination, Instant(self.now() + CONFIRM_LIMIT_S))
        return tag

    def _take_out(self, tag: int) -> None:
        del self._under_way[tag]
        self._tags.append(tag)

    def _is_held_back(self, letter: Letter) -> bool:
        """No room in the dongle: go on when something of ours leaves it, or a little later. False: not for ever."""
        now = self.now()
        if letter.full_since is None:
            letter.full_since = now
        if now - letter.full_since >= FULL_LIMIT_S:
            self._finish(letter, Delivery.REFUSED)
            return False
        self._full = True
        self.call_later(FULL_PAUSE_S, self._go_on)
        return True

    def _go_on(self) -> None:
        self._full = False
        self.wake()

    def _finish(self, letter: Letter, delivery: Delivery) -> None:
        self._outbox.done(letter.destination, letter.urgency)
        letter.told(delivery)

    def tick(self, *, silent: bool) -> None:
        """Once a second or so. `silent`: the dongle said nothing for a while, and shall be asked whether it lives."""
        now = self.now()
        for tag, entry in tuple(self._under_way.items()):
            sent_at = entry.deadline - CONFIRM_LIMIT_S
            if now - sent_at < SUPERSEDED_S:
                break
            if entry.deadline <= now or self._is_superseded(entry.letter, sent_at):
                self._take_out(tag)
                self._finish(entry.letter, Delivery.NOT_DELIVERED)
        self._nop_due = silent
        self.wake()

    def _is_superseded(self, letter: Letter, sent_at: float) -> bool:
        heard_at = self._heard_at.get(letter.destination)
        return letter.urgency is Urgency.BULK and heard_at is not None and heard_at > sent_at

    # What comes in

    def _from_device(self, device: Eui64 | None, message: Heard) -> None:
        if device is None:
            device = self.addresses.device(message.sender)
        else:
            self.addresses.learn(device, message.sender)
        if device is not None:
            self._heard_at[device] = self.now()
            self._deliver(device, message)
        elif message.sender in self._strangers:
            if len(self._strangers[message.sender]) < _STRANGERS_MESSAGES:
                self._strangers[message.sender].append(message)
        elif len(self._strangers) < _STRANGERS:
            self._strangers[message.sender] = [message]
            self.errands.identify(message.sender)

    def identified(self, network_address: int) -> None:
        """The search for the device behind an address is over; where it was in vain, its messages are dropped."""
        device = self.addresses.device(network_address)
        for message in self._strangers.pop(network_address, ()):
            if device is not None:
                self._deliver(device, message)

    def _zdp(self, cluster: int, sender: int, frame: bytes) -> None:
        if cluster & zdp.RESPONSE:
            self.errands.zdp_response(cluster, sender, frame)
        elif cluster == zdp.DEVICE_ANNCE:
            try:
                announcement = zdp.DeviceAnnounce.from_bytes(frame)
            except MalformedFrameError:
                return
            self.addresses.learn(announcement.device, announcement.network_address)
            self.identified(announcement.network_address)
            if announcement.sleepy:
                self.errands.extend_timeout(announcement.device, announcement.network_address)
            self.errands.announced(announcement.device, announcement.network_address)
