"""The hub's messages over a Z-Stack dongle: frames, long messages, confirms. See `traffic.py` for the rest.

Z-Stack cuts a message into fragments, and puts those of others together, by itself. What does not fit one MT frame is
stored in the dongle piece by piece before it is sent, and fetched from it piece by piece. MT names no profile: what is
for the hub's endpoint is Smart Energy's, for that is what the endpoint was registered with.
"""

from collections import deque
from functools import partial
from typing import assert_never

from chf.eui64 import Eui64
from chf.radio import zdp
from chf.radio.interface import HUB_ENDPOINT, SMART_ENERGY_PROFILE, Delivery, Inbound
from chf.radio.outbox import Acceptance, Places
from chf.radio.traffic import BROADCAST_ENDPOINT, MAXIMUM_MESSAGE_BYTES, OutgoingFrame, Surroundings, Traffic
from chf.radio.znp import frames
from chf.radio.znp.link import Request

PLACES = Places(together=16)  # what Z-Stack 3 on a CC26x2 takes, as zigpy-znp and zigbee2mqtt have it

ROUTE_S = 1.3  # to find a route, as zigpy-znp has it
_ONE_FRAME_BYTES = 73  # IEEE 802.15.4, with APS security: 127 less MAC, NWK and APS headers and both securities
_WAITING_MESSAGES = 64  # behind one that is being fetched (our choice)


class ZnpTraffic(Traffic[frames.IncomingMessage]):
    """The `Messages` of `znp/link.py`. The tag of a message is the transaction number that its confirm quotes."""

    def __init__(self, around: Surroundings) -> None:
        super().__init__(around, range(256))
        self._unreported: deque[Request] = deque()  # whose answers do not matter
        self._rerouted: list[OutgoingFrame] = []  # until a route is found
        self._script: deque[Request] = deque()  # the rest of a long message on its way out; nothing may come between
        self._arrivals: deque[tuple[Eui64, frames.IncomingMessage]] = deque()  # the first of them is being fetched
        self._fetched = bytearray()
        self._fetch_due = False
        self._is_fetching = False

    def opened(self) -> None:
        self._open(PLACES)

    def _held(self) -> list[OutgoingFrame]:
        waiting, self._rerouted = self._rerouted, []
        for held in (self._unreported, self._script, self._arrivals, self._fetched):
            held.clear()
        self._fetch_due = self._is_fetching = False
        return waiting

    # What leaves

    def next_request(self) -> Request | None:
        if not self._is_open:
            return None
        if self._script:
            return self._script[0]
        if self._fetch_due:
            return self._fetch()
        if self._unreported:
            return self._unreported.popleft()
        if self._nop_due:
            self._nop_due = False
            return Request(frames.GET_DEVICE_INFO, b"", _ignore)  # the link looks at what it says
        if (found := self._next_to_send()) is None:
            return None
        tag, frame, destination = found
        endpoints = frame.destination_endpoint, frame.source_endpoint
        addressing = frames.Addressing(destination, *endpoints, frame.cluster, tag, _options(frame))
        if len(frame.payload) > frames.MAXIMUM_PAYLOAD_BYTES:
            return self._long_request(frame, addressing)
        data = frames.data_request(addressing, frame.payload)
        return Request(frames.DATA_REQUEST, data, partial(self._answered, tag, frame))

    def _answered(self, tag: int, frame: OutgoingFrame, answer: bytes | None) -> None:
        self._accepted(tag, frame, frames.acceptance(answer))

    def _taken(self, tag: int, frame: OutgoingFrame) -> None:
        if frame.profile == zdp.ZDP_PROFILE:  # of which the dongle tells no fate
            self._take_out(tag)
            self._finish(frame, Delivery.DELIVERED)

    def _refused(self) -> None:
        self._nop_due = True  # it may have restarted unheard, and be on no network

    def _put_back(self, frame: OutgoingFrame) -> None:
        self._outbox.put_back(frame.destination, frame.urgency, frame)

    def _long_request(self, frame: OutgoingFrame, addressing: frames.Addressing) -> Request:
        """A header, the pieces, and a piece of nothing, whose answer is that to the message."""
        payload, step = frame.payload, frames.STORE_BYTES
        header = frames.long_data_request(addressing, len(payload))
        stored = partial(self._stored, addressing.tag, frame)
        self._script.append(Request(frames.DATA_REQUEST_EXT, header, stored))
        for index in range(0, len(payload), step):
            piece = frames.data_store(index, payload[index : index + step])
            self._script.append(Request(frames.DATA_STORE, piece, stored))
        self._script.append(Request(frames.DATA_STORE, frames.data_store(0, b""), stored))
        return self._script[0]

    def _stored(self, tag: int, frame: OutgoingFrame, answer: bytes | None) -> None:
        self._script.popleft()
        if not self._script or frames.acceptance(answer) is not Acceptance.TAKEN:
            self._script.clear()
            self._answered(tag, frame, answer)

    def unanswered(self) -> bool:
        """A message whose answer is lost may be on its way all the same, and its confirm is waited for.

        In the midst of a long one nobody knows what the dongle holds; only a fresh start helps.
        """
        if self._script:
            return False
        if self._is_fetching:
            self._is_fetching = False
            self._fetch_ended(None)
        return True

    def confirmed(self, confirm: frames.DataConfirm) -> None:
        entry = self._under_way.get(confirm.tag)
        if entry is None:
            return
        self._take_out(confirm.tag)
        match confirm.outcome:
            case frames.Outcome.DELIVERED:
                self._finish(entry.frame, Delivery.DELIVERED)
            case frames.Outcome.NOT_DELIVERED:
                self._finish(entry.frame, Delivery.NOT_DELIVERED)
            case frames.Outcome.REFUSED:
                self._finish(entry.frame, Delivery.REFUSED)
            case frames.Outcome.FULL:
                self._hold_back(entry.frame)
                return
            case frames.Outcome.NO_ROUTE:
                self._find_route(entry.frame, entry.network_address)
            case _:
                assert_never(confirm.outcome)
        self._go_on()

    def _find_route(self, frame: OutgoingFrame, destination: int) -> None:
        """Have the dongle look for one, which it does not by itself, and send once more."""
        if frame.attempts:
            self._finish(frame, Delivery.NOT_DELIVERED)
            return
        frame.attempts += 1
        self._unreported.append(Request(frames.EXT_ROUTE_DISC, frames.route_discovery(destination), _ignore))
        self._rerouted.append(frame)
        self.call_later(ROUTE_S, partial(self._route_found, frame))

    def _route_found(self, frame: OutgoingFrame) -> None:
        if frame in self._rerouted:
            self._rerouted.remove(frame)
            self._outbox.put_back(frame.destination, frame.urgency, frame)
            self.wake()

    # What comes in

    def incoming(self, message: frames.IncomingMessage) -> None:
        if message.destination_endpoint in (HUB_ENDPOINT, BROADCAST_ENDPOINT):
            self._from_device(None, message)
        elif message.payload is None:
            self._forget(message)

    def zdo(self, message: frames.ZdoMessage) -> None:
        self._zdp(message.cluster, message.sender, message.frame)

    def _deliver(self, device: Eui64, message: frames.IncomingMessage) -> None:
        """In the order of the air: what comes behind a message that is being fetched waits for it."""
        if not self._arrivals and message.payload is not None:
            self._received(device, message, message.payload)
        elif len(self._arrivals) < _WAITING_MESSAGES and message.length <= MAXIMUM_MESSAGE_BYTES:
            self._arrivals.append((device, message))
            if len(self._arrivals) == 1:
                self._fetch_due = True
                self.wake()
        elif message.payload is None:
            self._forget(message)

    def _fetch(self) -> Request:
        _, message = self._arrivals[0]
        index = len(self._fetched)
        piece = min(message.length - index, frames.STORE_BYTES)
        self._fetch_due, self._is_fetching = False, True
        return Request(frames.DATA_RETRIEVE, frames.data_retrieve(message.timestamp, index, piece), self._came)

    def _came(self, answer: bytes | None) -> None:
        self._is_fetching = False
        piece = None if answer is None else frames.retrieved(answer)
        _, message = self._arrivals[0]
        if not piece:
            self._fetch_ended(None)
            return
        self._fetched += piece
        if len(self._fetched) < message.length:
            self._fetch_due = True
            return
        self._forget(message)
        self._fetch_ended(bytes(self._fetched[: message.length]))

    def _fetch_ended(self, payload: bytes | None) -> None:
        """Whole, or None where it cannot be had; then those that waited behind it, up to the next such."""
        self._fetched.clear()
        device, message = self._arrivals.popleft()
        if payload is not None:
            self._received(device, message, payload)
        while self._arrivals:
            device, message = self._arrivals[0]
            if message.payload is None:
                self._fetch_due = True
                return
            self._arrivals.popleft()
            self._received(device, message, message.payload)

    def _forget(self, message: frames.IncomingMessage) -> None:
        """The dongle keeps it until it is asked to forget it."""
        self._unreported.append(Request(frames.DATA_RETRIEVE, frames.data_retrieve(message.timestamp, 0, 0), _ignore))
        self.wake()

    def _received(self, device: Eui64, message: frames.IncomingMessage, payload: bytes) -> None:
        self.listener.message_received(
            Inbound(
                source=device,
                source_endpoint=message.source_endpoint,
                destination_endpoint=message.destination_endpoint,
                profile=SMART_ENERGY_PROFILE,
                cluster=message.cluster,
                payload=payload,
                aps_secured=message.secured,
                broadcast=message.broadcast,
                lqi=message.lqi,
                rssi=None,
            )
        )


def _options(frame: OutgoingFrame) -> int:
    """A message in fragments is always acknowledged (r22 2.2.8.4.5.1)."""
    options = frames.OPTION_SUPPRESS_ROUTE_DISCOVERY
    if frame.aps_secured:
        options |= frames.OPTION_SECURITY
    if frame.acknowledged or len(frame.payload) > _ONE_FRAME_BYTES:
        options |= frames.OPTION_ACK
    return options


def _ignore(_: bytes | None) -> None:
    """Nothing depends on the answer."""
