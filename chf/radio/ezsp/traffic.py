"""The hub's messages over an EZSP link: frames, fragments, acknowledgements. See `traffic.py` for the rest.

An EZSP dongle leaves fragmentation to its host, so cutting, sending one fragment after the other, acknowledging those
that come and putting them together is done here.
"""

from collections import deque
from functools import partial

from chf.eui64 import Eui64
from chf.radio import zdp
from chf.radio.ezsp import frames
from chf.radio.ezsp.link import Command, FragmentAck, Nop, Unicast
from chf.radio.fragments import Fragment, FragmentKey, Reassembler, cut
from chf.radio.interface import HUB_ENDPOINT, Delivery, Inbound
from chf.radio.outbox import Acceptance, Places
from chf.radio.traffic import BROADCAST_ENDPOINT, OutgoingFrame, Surroundings, Traffic

FRAGMENT_ATTEMPTS = 3  # our choice

_APS_SECURITY_BYTES = 9  # auxiliary header 5, MIC 4 (r22 4.5.1)
_FRAGMENT_HEADER_BYTES = 2  # extended frame control and block number (r22 2.2.5.1.8)
_COORDINATOR = 0x0000  # Zigbee R22, network address of the coordinator
_BROADCAST_ADDRESSES = 0xFFF8  # and above: Zigbee R22, broadcast addresses
_RECEIVED_IN_WINDOW = 0xFF00  # UG100, sendReply: the mask of what came, which is all of a window of one fragment
_TAGS = 200  # that are in use in turn, of the 255 that version 8 has (our choice)


class EzspTraffic(Traffic[frames.IncomingMessage]):
    """The `Messages` of `ezsp/link.py`."""

    def __init__(self, around: Surroundings) -> None:
        super().__init__(around, range(1, _TAGS + 1))
        self._room = 0
        self._more: deque[OutgoingFrame] = deque()  # their next fragment is due
        self._acknowledgements: deque[FragmentAck] = deque()
        self._reassembler = Reassembler()

    def opened(self, places: Places, maximum_payload_bytes: int) -> None:
        """The link is up. `maximum_payload_bytes` is the dongle's word for a message without APS security."""
        self._room = maximum_payload_bytes
        self._open(places)

    def _held(self) -> list[OutgoingFrame]:
        waiting = list(self._more)
        self._more.clear()
        self._acknowledgements.clear()
        self._reassembler.clear()
        return waiting

    # What leaves

    def next_command(self) -> Command | None:
        if not self._is_open:
            return None
        if self._acknowledgements:
            return self._acknowledgements.popleft()
        if self._nop_due:
            self._nop_due = False
            return Nop()
        if (found := self._next_to_send()) is None:
            return None
        tag, frame, destination = found
        if not frame.fragments:
            frame.fragments = self._cut(frame)
        addressing = frame.profile, frame.cluster, frame.source_endpoint, frame.destination_endpoint
        counter = frame.counter if frame.index else 0
        aps = frames.ApsFrame(*addressing, _options(frame), _fragment_place(frame), counter)
        answered = partial(self._answered, tag, frame, frame.index)
        return Unicast(destination, aps, tag, frame.fragments[frame.index], answered)

    def _next_frame(self) -> OutgoingFrame | None:
        return self._more.popleft() if self._more else super()._next_frame()

    def _answered(self, tag: int, frame: OutgoingFrame, index: int, acceptance: Acceptance, counter: int) -> None:
        if index == 0:
            frame.counter = counter  # wanted by the next fragment, also where this one was confirmed before
        self._accepted(tag, frame, acceptance)

    def _cut(self, frame: OutgoingFrame) -> tuple[bytes, ...]:
        room = self._room - (_APS_SECURITY_BYTES if frame.aps_secured else 0)
        if len(frame.payload) <= room:
            return (frame.payload,)
        return cut(frame.payload, room - _FRAGMENT_HEADER_BYTES)

    def _put_back(self, frame: OutgoingFrame) -> None:
        if frame.index:
            self._more.appendleft(frame)
        else:
            self._outbox.put_back(frame.destination, frame.urgency, frame)

    def message_sent(self, sent: frames.MessageSent) -> bool:
        """The fate of a message. False where it is one of bellows' own, which talks to itself and to all only."""
        if sent.destination == _COORDINATOR or sent.destination >= _BROADCAST_ADDRESSES:
            return False
        entry = self._under_way.get(sent.tag)
        if entry is not None and entry.network_address == sent.destination:
            self._take_out(sent.tag)
            self._advance(entry.frame, delivered=sent.delivered)
        self._go_on()
        return True

    def _advance(self, frame: OutgoingFrame, *, delivered: bool) -> None:
        last = frame.index + 1 == len(frame.fragments)
        if delivered and last:
            self._finish(frame, Delivery.DELIVERED)
        elif delivered:
            frame.index += 1
            frame.attempts = 0
            self._more.append(frame)
        elif len(frame.fragments) > 1 and frame.attempts + 1 < FRAGMENT_ATTEMPTS:
            frame.attempts += 1
            self._more.append(frame)
        else:
            self._finish(frame, Delivery.NOT_DELIVERED)

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
            reply = aps._replace(
                source_endpoint=aps.destination_endpoint,
                destination_endpoint=aps.source_endpoint,
                group=_RECEIVED_IN_WINDOW | fragment.index,
            )
            self._acknowledgements.append(FragmentAck(message.sender, reply))
            self.wake()
        return verdict.message


def _options(frame: OutgoingFrame) -> int:
    options = frames.OPTION_ENABLE_ROUTE_DISCOVERY
    if frame.aps_secured:
        options |= frames.OPTION_ENCRYPTION
    if len(frame.fragments) > 1:
        return options | frames.OPTION_FRAGMENT | frames.OPTION_RETRY
    return options | frames.OPTION_RETRY if frame.acknowledged else options


def _fragment_place(frame: OutgoingFrame) -> int:
    """Place, and in the high octet the count, which Silicon Labs' own host gives with every fragment."""
    count = len(frame.fragments)
    return 0 if count == 1 else count << 8 | frame.index
