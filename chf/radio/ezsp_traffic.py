"""The hub's messages over an EZSP link: what leaves when, what became of it, what came in.

Event-driven and without tasks, so that a frame costs little: the link asks for the `next_command`, and tells what came.
What takes commands of bellows is asked of `Errands`; bringing the link up and down is `ezsp.py`'s.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, assert_never

from chf.clock import Instant
from chf.errors import MalformedFrameError
from chf.eui64 import Eui64
from chf.radio import ezsp_frames as frames
from chf.radio import zdp
from chf.radio.addresses import Addresses
from chf.radio.ezsp_link import Command
from chf.radio.fragments import Fragment, FragmentKey, Reassembler, cut
from chf.radio.interface import HUB_ENDPOINT, Delivery, Inbound, RadioListener, Urgency
from chf.radio.outbox import Outbox, Places

CONFIRM_LIMIT_S = 20.0
"""A message whose fate the dongle does not tell within this is taken for lost (our choice: well above its retries)."""

FRAGMENT_ATTEMPTS = 3
FULL_PAUSE_S = 0.1  # the dongle has no room although nothing of ours is under way: ask again after this
FULL_LIMIT_S = 20.0

MAXIMUM_MESSAGE_BYTES = 4096  # our choice, far above any GBCS message of a firmware update; more is a mistake of ours

_APS_SECURITY_BYTES = 9  # auxiliary header 5, MIC 4 (r22 4.5.1)
_FRAGMENT_HEADER_BYTES = 2  # extended frame control and block number (r22 2.2.5.1.8)
_BROADCAST_ENDPOINT = 0xFF
_COORDINATOR = 0x0000
_BROADCAST_ADDRESSES = 0xFFF8  # and above
_RECEIVED_IN_WINDOW = 0xFF00  # the acknowledgement's bit mask: all of the window, which is one fragment
_TAGS = 200  # how many of a dialect's tags are in use in turn: a late word about an old one names nobody
_STRANGERS_MESSAGES = 8  # kept for one sender while its EUI-64 is being found
_STRANGERS = 16


class Errands(Protocol):
    """What takes bellows' own commands, and time. The first two are answered by `Traffic.located` and `identified`."""

    def locate(self, device: Eui64) -> None: ...
    def identify(self, network_address: int) -> None: ...
    def extend_timeout(self, device: Eui64, network_address: int) -> None:
        """A sleepy device: the dongle is to wait longer for its acknowledgements."""
        ...

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


@dataclass(slots=True)
class _UnderWay:
    letter: Letter
    network_address: int
    deadline: Instant


@dataclass(slots=True)
class Traffic:
    """One for the life of a radio; `opened` and `closed` with its link."""

    listener: RadioListener
    addresses: Addresses
    errands: Errands
    now: Callable[[], Instant]
    wake: Callable[[], None]
    call_later: Callable[[float, Callable[[], None]], object]

    _dialect: frames.Dialect | None = None
    _room: int = 0
    _outbox: Outbox[Letter] = field(default_factory=lambda: Outbox(Places()))
    _more: deque[Letter] = field(default_factory=deque)  # their next fragment is due
    _acknowledgements: deque[bytes] = field(default_factory=deque)
    _under_way: dict[int, _UnderWay] = field(default_factory=dict)  # by tag, oldest first
    _tags: deque[int] = field(default_factory=lambda: deque(range(1, _TAGS + 1)))
    _no_address: dict[Eui64, list[Letter]] = field(default_factory=dict)
    _strangers: dict[int, list[frames.IncomingMessage]] = field(default_factory=dict)
    _reassembler: Reassembler = field(default_factory=Reassembler)
    _full: bool = False
    _nop_due: bool = False

    def opened(self, dialect: frames.Dialect, places: Places, maximum_payload_bytes: int) -> None:
        """The link is up. `maximum_payload_bytes` is the dongle's word for a message without APS security."""
        self._dialect = dialect
        self._room = maximum_payload_bytes
        self._outbox = Outbox(places)

    def closed(self) -> None:
        """The link is gone, and with it everything that was waiting or under way."""
        self._dialect = None
        letters = [*self._outbox.drain(), *self._more, *(entry.letter for entry in self._under_way.values())]
        letters += [letter for waiting in self._no_address.values() for letter in waiting]
        self._tags.extend(self._under_way)
        for held in (self._more, self._acknowledgements, self._under_way, self._no_address, self._strangers):
            held.clear()
        self._reassembler.clear()
        self._full = self._nop_due = False
        for letter in letters:
            letter.told(Delivery.RADIO_GONE)

    def post(self, letter: Letter) -> None:
        if self._dialect is None:
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

    def next_command(self) -> Command | None:
        if self._dialect is None:
            return None
        if self._acknowledgements:
            return Command(frames.SEND_REPLY, self._acknowledgements.popleft(), _ignore)
        if self._nop_due:
            self._nop_due = False
            return Command(frames.NOP, b"", _ignore)
        if self._full or not self._tags:
            return None
        letter = self._more.popleft() if self._more else self._outbox.take()
        if letter is None:
            return None
        if len(letter.payload) > MAXIMUM_MESSAGE_BYTES:
            self._finish(letter, Delivery.REFUSED)
            return self.next_command()
        destination = self.addresses.network(letter.destination)
        if destination is None:  # it left while its messages waited
            self._finish(letter, Delivery.REFUSED)
            return self.next_command()
        return self._unicast(self._dialect, letter, destination)

    def _unicast(self, dialect: frames.Dialect, letter: Letter, destination: int) -> Command:
        if not letter.fragments:
            letter.fragments = self._cut(letter)
        tag = self._tags.popleft()
        self._under_way[tag] = _UnderWay(letter, destination, Instant(self.now() + CONFIRM_LIMIT_S))
        aps = frames.ApsFrame(
            letter.profile,
            letter.cluster,
            letter.source_endpoint,
            letter.destination_endpoint,
            _options(letter),
            _fragment_place(letter),
            letter.counter if letter.index else 0,
        )

        def answered(body: bytes | None) -> None:
            acceptance, counter = (frames.Acceptance.REFUSED, 0) if body is None else dialect.acceptance(body)
            match acceptance:
                case frames.Acceptance.TAKEN:
                    letter.full_since = None
                    if letter.index == 0:
                        letter.counter = counter
                case frames.Acceptance.FULL:
                    self._take_out(tag)
                    self._hold_back(letter)
                case frames.Acceptance.REFUSED:
                    self._take_out(tag)
                    self._finish(letter, Delivery.REFUSED)
                case _:
                    assert_never(acceptance)

        return Command(
            frames.SEND_UNICAST,
            dialect.send_unicast(destination, aps, tag, letter.fragments[letter.index]),
            answered,
        )

    def _take_out(self, tag: int) -> None:
        del self._under_way[tag]
        self._tags.append(tag)

    def _cut(self, letter: Letter) -> tuple[bytes, ...]:
        room = self._room - (_APS_SECURITY_BYTES if letter.aps_secured else 0)
        if len(letter.payload) <= room:
            return (letter.payload,)
        return cut(letter.payload, room - _FRAGMENT_HEADER_BYTES)

    def _hold_back(self, letter: Letter) -> None:
        """No room in the dongle: go on when something of ours leaves it, or a little later."""
        now = self.now()
        if letter.full_since is None:
            letter.full_since = now
        if now - letter.full_since >= FULL_LIMIT_S:
            self._finish(letter, Delivery.REFUSED)
            return
        if letter.index:
            self._more.appendleft(letter)
        else:
            self._outbox.put_back(letter.destination, letter.urgency, letter)
        self._full = True
        self.call_later(FULL_PAUSE_S, self._go_on)

    def _go_on(self) -> None:
        self._full = False
        self.wake()

    def _finish(self, letter: Letter, delivery: Delivery) -> None:
        self._outbox.done(letter.destination, letter.urgency)
        letter.told(delivery)

    def message_sent(self, sent: frames.MessageSent) -> bool:
        """The fate of a message. False where it is one of bellows' own, which talks to itself and to all only."""
        if sent.destination == _COORDINATOR or sent.destination >= _BROADCAST_ADDRESSES:
            return False
        entry = self._under_way.get(sent.tag)
        if entry is not None and entry.network_address == sent.destination:
            self._take_out(sent.tag)
            self._advance(entry.letter, delivered=sent.delivered)
        self._go_on()
        return True

    def _advance(self, letter: Letter, *, delivered: bool) -> None:
        last = letter.index + 1 == len(letter.fragments)
        if delivered and last:
            self._finish(letter, Delivery.DELIVERED)
        elif delivered:
            letter.index += 1
            letter.attempts = 0
            self._more.append(letter)
        elif len(letter.fragments) > 1 and letter.attempts + 1 < FRAGMENT_ATTEMPTS:
            letter.attempts += 1
            self._more.append(letter)
        else:
            self._finish(letter, Delivery.NOT_DELIVERED)

    def tick(self, *, silent: bool) -> None:
        """Once a second or so. `silent`: the dongle said nothing for a while, and shall be asked whether it lives."""
        now = self.now()
        while self._under_way:
            tag, entry = next(iter(self._under_way.items()))
            if entry.deadline > now:
                break
            self._take_out(tag)
            self._finish(entry.letter, Delivery.NOT_DELIVERED)
        self._reassembler.expire(now)
        self._nop_due = silent
        self.wake()

    # What comes in

    def incoming(self, message: frames.IncomingMessage) -> bool:
        """False where it is for bellows: what the dongle's own ZDO says."""
        aps = message.aps
        if aps.profile == zdp.ZDP_PROFILE and aps.destination_endpoint == zdp.ZDP_ENDPOINT:
            if message.sender == _COORDINATOR:
                return False
            self._zdp(message)
        elif aps.destination_endpoint in (HUB_ENDPOINT, _BROADCAST_ENDPOINT):
            self._from_device(message)
        return True

    def _from_device(self, message: frames.IncomingMessage) -> None:
        device = message.eui64
        if device is not None:
            self.addresses.learn(device, message.sender)
        else:
            device = self.addresses.device(message.sender)
        if device is not None:
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

    def _deliver(self, device: Eui64, message: frames.IncomingMessage) -> None:
        aps, payload = message.aps, message.payload
        if aps.options & frames.OPTION_FRAGMENT:
            whole = self._reassemble(message) if message.unicast else None  # nobody acknowledges a broadcast
            if whole is None:
                return
            payload = whole
        self.listener.message_received(
            Inbound(
                source=device,
                source_endpoint=aps.source_endpoint,
                destination_endpoint=aps.destination_endpoint,
                profile=aps.profile,
                cluster=aps.cluster,
                payload=payload,
                aps_secured=bool(aps.options & frames.OPTION_ENCRYPTION),
                broadcast=not message.unicast,
                lqi=message.lqi,
                rssi=message.rssi,
            )
        )

    def _reassemble(self, message: frames.IncomingMessage) -> bytes | None:
        aps = message.aps
        key = FragmentKey(
            source=message.sender,
            source_endpoint=aps.source_endpoint,
            destination_endpoint=aps.destination_endpoint,
            profile=aps.profile,
            cluster=aps.cluster,
            counter=aps.sequence,
            secured=bool(aps.options & frames.OPTION_ENCRYPTION),
        )
        fragment = Fragment(index=aps.group & 0xFF, count=aps.group >> 8, payload=message.payload)
        verdict = self._reassembler.add(key, fragment, self.now())
        if verdict.acknowledge:
            reply = frames.ApsFrame(
                aps.profile,
                aps.cluster,
                aps.destination_endpoint,
                aps.source_endpoint,
                aps.options,
                _RECEIVED_IN_WINDOW | fragment.index,
                aps.sequence,
            )
            self._acknowledgements.append(frames.send_reply(message.sender, reply))
            self.wake()
        return verdict.message

    def _zdp(self, message: frames.IncomingMessage) -> None:
        cluster = message.aps.cluster
        if cluster & zdp.RESPONSE:
            self.errands.zdp_response(cluster, message.sender, message.payload)
        elif cluster == zdp.DEVICE_ANNCE:
            try:
                announcement = zdp.DeviceAnnounce.from_bytes(message.payload)
            except MalformedFrameError:
                return
            self.addresses.learn(announcement.device, announcement.network_address)
            self.identified(announcement.network_address)
            if announcement.sleepy:
                self.errands.extend_timeout(announcement.device, announcement.network_address)
            self.listener.device_joined(announcement.device, announcement.network_address)


def _options(letter: Letter) -> int:
    options = frames.OPTION_ENABLE_ROUTE_DISCOVERY
    if letter.aps_secured:
        options |= frames.OPTION_ENCRYPTION
    if len(letter.fragments) > 1:
        return options | frames.OPTION_FRAGMENT | frames.OPTION_RETRY
    return options | frames.OPTION_RETRY if letter.acknowledged else options


def _fragment_place(letter: Letter) -> int:
    """The count goes with fragment 0 only."""
    if len(letter.fragments) == 1:
        return 0
    return letter.index or len(letter.fragments) << 8


def _ignore(_: bytes | None) -> None:
    """Nothing depends on the answer."""
