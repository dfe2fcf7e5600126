"""The hub's messages over an EZSP link: frames, fragments, acknowledgements. See `traffic.py` for the rest.

An EZSP dongle leaves fragmentation to its host, so cutting, sending one fragment after the other, acknowledging those
that come and putting them together is done here.
"""

from collections import deque
from functools import partial
from typing import assert_never

from chf.eui64 import Eui64
from chf.radio import zdp
from chf.radio.ezsp import frames
from chf.radio.ezsp.link import Command
from chf.radio.fragments import Fragment, FragmentKey, Reassembler, cut
from chf.radio.interface import HUB_ENDPOINT, Delivery, Inbound
from chf.radio.outbox import Places
from chf.radio.traffic import BROADCAST_ENDPOINT, Letter, Surroundings, Traffic

FRAGMENT_ATTEMPTS = 3

_APS_SECURITY_BYTES = 9  # auxiliary header 5, MIC 4 (r22 4.5.1)
_FRAGMENT_HEADER_BYTES = 2  # extended frame control and block number (r22 2.2.5.1.8)
_COORDINATOR = 0x0000
_BROADCAST_ADDRESSES = 0xFFF8  # and above
_RECEIVED_IN_WINDOW = 0xFF00  # the acknowledgement's bit mask: all of the window, which is one fragment
_TAGS = 200  # how many of a dialect's tags are in use in turn


class EzspTraffic(Traffic[frames.IncomingMessage]):
    """A `HotPath` of `ezsp/link.py`."""

    def __init__(self, around: Surroundings) -> None:
        super().__init__(around, range(1, _TAGS + 1))
        self._dialect = frames.Dialect(frames.OLDEST_VERSION)
        self._room = 0
        self._more: deque[Letter] = deque()  # their next fragment is due
        self._acknowledgements: deque[bytes] = deque()
        self._reassembler = Reassembler()

    def opened(self, dialect: frames.Dialect, places: Places, maximum_payload_bytes: int) -> None:
        """The link is up. `maximum_payload_bytes` is the dongle's word for a message without APS security."""
        self._dialect = dialect
        self._room = maximum_payload_bytes
        self._open(places)

    def _held(self) -> list[Letter]:
        letters = list(self._more)
        self._more.clear()
        self._acknowledgements.clear()
        self._reassembler.clear()
        return letters

    # What leaves

    def next_command(self) -> Command | None:
        if not self._is_open:
            return None
        if self._acknowledgements:
            return Command(frames.SEND_REPLY, self._acknowledgements.popleft(), _ignore)
        if self._nop_due:
            self._nop_due = False
            return Command(frames.NOP, b"", _ignore)
        while not self._full and self._tags:
            letter = self._more.popleft() if self._more else self._outbox.take()
            if letter is None:
                return None
            destination = self._sendable(letter)
            if destination is not None:
                return self._unicast(letter, destination)
        return None

    def _unicast(self, letter: Letter, destination: int) -> Command:
        dialect = self._dialect
        if not letter.fragments:
            letter.fragments = self._cut(letter)
        tag = self._send_off(letter, destination)
        aps = frames.ApsFrame(
            letter.profile,
            letter.cluster,
            letter.source_endpoint,
            letter.destination_endpoint,
            _options(letter),
            _fragment_place(letter),
            letter.counter if letter.index else 0,
        )

        return Command(
            frames.SEND_UNICAST,
            dialect.send_unicast(destination, aps, tag, letter.fragments[letter.index]),
            partial(self._accepted, tag, letter),
        )

    def _accepted(self, tag: int, letter: Letter, body: bytes) -> None:
        if tag not in self._under_way:
            return  # its fate was told first, and is final
        acceptance, counter = self._dialect.acceptance(body)
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

    def _cut(self, letter: Letter) -> tuple[bytes, ...]:
        room = self._room - (_APS_SECURITY_BYTES if letter.aps_secured else 0)
        if len(letter.payload) <= room:
            return (letter.payload,)
        return cut(letter.payload, room - _FRAGMENT_HEADER_BYTES)

    def _hold_back(self, letter: Letter) -> None:
        if not self._is_held_back(letter):
            return
        if letter.index:
            self._more.appendleft(letter)
        else:
            self._outbox.put_back(letter.destination, letter.urgency, letter)

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
        super().tick(silent=silent)
        self._reassembler.expire(self.now())

    # What comes in

    def incoming(self, message: frames.IncomingMessage) -> bool:
        """False where it is for bellows: what the dongle's own ZDO says."""
        aps = message.aps
        if aps.profile == zdp.ZDP_PROFILE and aps.destination_endpoint == zdp.ZDP_ENDPOINT:
            if message.sender == _COORDINATOR:
                return False
            self._zdp(aps.cluster, message.sender, message.payload)
        elif aps.destination_endpoint in (HUB_ENDPOINT, BROADCAST_ENDPOINT):
            self._from_device(message.eui64, message)
        return True

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
