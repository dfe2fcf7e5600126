"""The APS layer of one node: link-key security, acknowledgements and retries, duplicates, fragments.

Each retry is sealed anew: a repeated APS frame counter would be refused as a replay. Broadcasts and groups are never
secured, acknowledged or fragmented.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Protocol

from devices.stack.fragments import (
    MAX_BLOCKS,
    MessageKey,
    Reassembly,
    ack_header,
    block_header,
    block_index,
    cut,
    message_key,
)
from devices.stack.interface import ApsIndication, ApsRequest, ApsStatus, Confirm, Eui64, Fragment, LinkKey, NwkAddress
from devices.stack.nwk_layer import DEFAULT_RADIUS, FIRST_BROADCAST, Arrival, Counters, Done, NwkLayer
from devices.time import Scheduler, Timer
from devices.wire import mac, nwk
from devices.wire.aps import (
    DATA_HEADER_BYTES,
    EXTENDED_HEADER_BYTES,
    ApsCommandFrame,
    ApsFrame,
    ApsSecurity,
    ApsType,
    Delivery,
    ExtendedHeader,
    Fragmentation,
    is_command,
    seal,
    unseal,
)
from devices.wire.errors import FrameSecurityError, MalformedFrameError
from devices.wire.security import APS_OVERHEAD_BYTES, MAX_FRAME_COUNTER, NWK_OVERHEAD_BYTES, KeyIdentifier

ACK_WAIT_S = 1.6  # apscAckWaitDuration on 2.4 GHz, Zigbee PRO table 2.24
MAX_RETRIES = 3  # apscMaxFrameRetries, Zigbee PRO table 2.24
MAX_PAYLOAD_BYTES = (
    mac.MAX_PSDU_BYTES
    - mac.DATA_HEADER_BYTES
    - mac.FCS_BYTES
    - nwk.HEADER_BYTES
    - NWK_OVERHEAD_BYTES
    - DATA_HEADER_BYTES
)
assert MAX_PAYLOAD_BYTES == 82

_MEMORY_S = ACK_WAIT_S * (MAX_RETRIES + 1)  # a retry can come so much later
# Of each sender: the table of EmberZNet has so many for all of them (SL_ZIGBEE_APS_DUPLICATE_REJECTION_MAX_ENTRIES in
# ember-configuration-defaults.h; some makers' builds have 64), and knows a message by sender and counter alone.
_MEMORY_COUNTERS = 5
_HOPELESS = (ApsStatus.EXPIRED, ApsStatus.NO_NETWORK, ApsStatus.UNKNOWN_DESTINATION)
_WHOLE_MESSAGE = -2  # in the place of a block: the message was completed


class ApsNode(Protocol):
    """The node that the layer is part of."""

    def aps_command(self, arrival: Arrival, octets: bytes) -> None: ...
    def aps_indication(self, indication: ApsIndication) -> None: ...


@dataclass(slots=True)
class _Sending:
    """One APS frame on its way, and what to do at its end."""

    request: ApsRequest
    counter: int
    payload: bytes
    extended: ExtendedHeader | None
    block: int
    acknowledged: bool
    finished: Confirm | None
    tries: int = 0
    ack_due: float = inf  # set once the MAC is done with it


class ApsLayer:
    """`link_key` finds a partner's key. With `host_fragments` nothing is cut or put together: blocks are indicated
    as they come, and acknowledged by `acknowledge`.

    Outgoing frame counters rise over all keys together, as with EmberZNet's one APS frame counter: the peers of a key
    that a host imports anew, with its counter at the start, would take everything for replays.
    """

    def __init__(
        self,
        node: ApsNode,
        nwk_layer: NwkLayer,
        ieee: Eui64,
        scheduler: Scheduler,
        counters: Counters,
        *,
        link_key: Callable[[Eui64], LinkKey | None],
        host_fragments: bool = False,
        first_counter: int = 0,
    ) -> None:
        self.next_frame_counter = 0
        """Above every value that was used under any key. Who restores it from flash raises it."""
        self._node = node
        self._link_key = link_key
        self._nwk = nwk_layer
        self._scheduler = scheduler
        self._counters = counters
        self._host_fragments = host_fragments
        self._ieee = ieee
        self._counter = first_counter & 0xFF
        self._waiting: dict[tuple[int, int, int], _Sending] = {}
        self._ack_timer: Timer | None = None  # for the first of `_waiting`, or earlier: it stays when that one is done
        self._seen: dict[int, dict[tuple[int, int], float]] = {}
        self._reassembly: dict[MessageKey, tuple[Reassembly, Timer]] = {}
        self._taken_by_host: dict[int, deque[tuple[int, int]]] = {}

    @property
    def awaiting(self) -> bool:
        """Whether an acknowledgement, or the next block of a message, is still to come."""
        return bool(self._waiting or self._reassembly)

    def next_counter(self) -> int:
        self._counter = (self._counter + 1) & 0xFF
        return self._counter

    def silence(self) -> None:
        """Forget everything under way, as a reset does: no confirm comes any more."""
        if self._ack_timer is not None:
            self._ack_timer.cancel()
            self._ack_timer = None
        for _, timer in self._reassembly.values():
            timer.cancel()
        self._waiting.clear()
        self._reassembly.clear()
        self._seen.clear()
        self._taken_by_host.clear()

    def forget(self, address: NwkAddress) -> None:
        """A device started anew under this address: its APS counters say nothing about the past."""
        self._seen.pop(address, None)
        self._taken_by_host.pop(address, None)

    # Sending

    def send(self, request: ApsRequest, confirm: Confirm | None) -> int:
        counter = self._choose_counter(request)
        broadcast = request.destination >= FIRST_BROADCAST or request.group is not None
        room = MAX_PAYLOAD_BYTES - (APS_OVERHEAD_BYTES if request.secured and not broadcast else 0)
        if request.fragment is not None:
            room -= EXTENDED_HEADER_BYTES
        if request.group is not None:
            room -= 1  # its address is one octet longer than an endpoint
        if len(request.payload) > room:
            blocks = cut(request.payload, room)
            if self._host_fragments or broadcast or request.fragment is not None or len(blocks) > MAX_BLOCKS:
                self._fail(confirm, ApsStatus.TOO_LONG)
            else:
                self._send_block(request, counter, blocks, 0, confirm)
            return counter
        extended = block_header(request.fragment) if request.fragment is not None else None
        block = request.fragment.index if request.fragment is not None else -1
        acknowledged = (request.acknowledged or extended is not None) and not broadcast
        self._transmit(_Sending(request, counter, request.payload, extended, block, acknowledged, confirm))
        return counter

    def _choose_counter(self, request: ApsRequest) -> int:
        if request.counter is not None:
            return request.counter
        counter = self.next_counter()
        for _ in range(256):
            if (request.destination, counter, -1) not in self._waiting:
                break
            counter = self.next_counter()
        return counter

    def _send_block(
        self, request: ApsRequest, counter: int, blocks: list[bytes], index: int, confirm: Confirm | None
    ) -> None:
        def block_done(status: ApsStatus) -> None:
            if status is ApsStatus.SUCCESS and index + 1 < len(blocks):
                self._send_block(request, counter, blocks, index + 1, confirm)
            elif confirm is not None:
                confirm(status)

        extended = block_header(Fragment(index, len(blocks)))
        self._transmit(_Sending(request, counter, blocks[index], extended, index, True, block_done))

    def _fail(self, confirm: Confirm | None, status: ApsStatus) -> None:
        self._counters.aps_failures += 1
        if confirm is not None:
            self._scheduler.call_later(0.0, lambda: confirm(status))

    def _transmit(self, sending: _Sending) -> None:
        request = sending.request
        delivery = _delivery(request)
        key = self._key_to(request.destination, delivery) if request.secured else None
        if isinstance(key, ApsStatus):
            self._fail(sending.finished, key)
            return
        _, profile, cluster, source_endpoint, destination_endpoint, *_ = request
        addressing = destination_endpoint, cluster, profile, source_endpoint, sending.counter
        to, security = (delivery, request.group or 0), None if key is None else self.next_security(key)
        frame = ApsFrame(
            *addressing, sending.payload, ApsType.DATA, *to, security, sending.acknowledged, sending.extended
        )
        octets = frame.to_bytes() if key is None else seal(frame, key.cipher, self._ieee)
        sending.tries += 1
        sending.ack_due = inf
        if sending.acknowledged:
            self._waiting[request.destination, sending.counter, sending.block] = sending
        self._nwk.send(request.destination, octets, request.radius, lambda status: self._mac_done(sending, status))

    def _key_to(self, destination: NwkAddress, delivery: Delivery) -> LinkKey | ApsStatus:
        """The key, with a counter value left, for a frame to this neighbour, or why there is none."""
        if delivery is not Delivery.UNICAST:
            return ApsStatus.NO_LINK_KEY
        partner = self._nwk.neighbours.get(destination)
        if partner is None:
            return ApsStatus.UNKNOWN_DESTINATION
        key = self._link_key(partner.ieee)
        return ApsStatus.NO_LINK_KEY if key is None or self.used_up(key) else key

    def used_up(self, key: LinkKey) -> bool:
        """No frame counter is left for it (Zigbee PRO 4.3.1.1)."""
        return max(key.outgoing_counter, self.next_frame_counter) > MAX_FRAME_COUNTER

    def next_security(self, key: LinkKey) -> ApsSecurity:
        """The next frame counter of a key that is not used up.

        Without extended nonce, which leaves 73 octets: both ends know each other's IEEE address.
        """
        self.next_frame_counter = key.outgoing_counter = max(key.outgoing_counter, self.next_frame_counter) + 1
        return ApsSecurity(self.next_frame_counter - 1)

    def _mac_done(self, sending: _Sending, status: ApsStatus) -> None:
        if not sending.acknowledged:
            if status is not ApsStatus.SUCCESS:
                self._counters.aps_failures += 1
            if sending.finished is not None:
                sending.finished(status)
            return
        key = (sending.request.destination, sending.counter, sending.block)
        if self._waiting.get(key) is not sending:
            return  # the acknowledgement was quicker than the report of the MAC
        if status in _HOPELESS:
            self._finish(key, sending, status)  # trying again would end the same way
            return
        sending.ack_due = self._scheduler.now + ACK_WAIT_S
        if self._ack_timer is None:
            self._ack_timer = self._scheduler.call_at(sending.ack_due, self._look_for_missing_acks)

    def _look_for_missing_acks(self) -> None:
        self._ack_timer = None
        now = self._scheduler.now
        for key, sending in tuple(self._waiting.items()):
            if sending.ack_due <= now and self._waiting.get(key) is sending:  # what one confirms may end another
                self._ack_missing(key, sending)
        next_due = min((sending.ack_due for sending in self._waiting.values()), default=inf)
        if next_due < inf:
            self._ack_timer = self._scheduler.call_at(next_due, self._look_for_missing_acks)

    def _ack_missing(self, key: tuple[int, int, int], sending: _Sending) -> None:
        if sending.tries > MAX_RETRIES:
            self._finish(key, sending, ApsStatus.NO_ACK)
            return
        self._counters.aps_retries += 1
        del self._waiting[key]
        self._transmit(sending)

    def _finish(self, key: tuple[int, int, int], sending: _Sending, status: ApsStatus) -> None:
        del self._waiting[key]
        if status is not ApsStatus.SUCCESS:
            self._counters.aps_failures += 1
        if sending.finished is not None:
            sending.finished(status)

    def send_command(
        self, destination: NwkAddress, payload: bytes, key: LinkKey | None = None, done: Done | None = None
    ) -> None:
        """An APS command, under a link key that is not used up or, without one, under the network key alone."""
        frame = ApsCommandFrame(self.next_counter(), payload, None if key is None else self.next_security(key))
        octets = frame.to_bytes() if key is None else seal(frame, key.cipher, self._ieee)
        self._nwk.send(destination, octets, DEFAULT_RADIUS, done)

    # Receiving

    def receive(self, arrival: Arrival) -> None:
        """The payload of a NWK data frame. What is wrong is counted and dropped."""
        octets, counters = arrival.frame.payload, self._counters
        try:
            if is_command(octets):
                self._node.aps_command(arrival, octets)
                return
            if arrival.sender is None:
                counters.nwk_unsecured += 1
                return
            frame = ApsFrame.from_bytes(octets)
            payload, key = frame.payload, None
            if frame.security is not None:
                frame_counter, source, key_identifier = frame.security
                originator = arrival.originator if source is None else source
                if key_identifier is not KeyIdentifier.DATA:
                    originator = None
                key = self._key_for(originator, frame_counter)
                if key is None or originator is None:
                    return
                payload = unseal(frame, octets, key.cipher, originator)
                key.incoming_counter = frame_counter
        except MalformedFrameError:
            counters.malformed += 1
            return
        except FrameSecurityError:
            counters.aps_security_failures += 1
            return
        if frame.type is ApsType.ACK:
            self._acknowledged(NwkAddress(arrival.frame.source), frame)
        else:
            self._data(arrival, frame, payload, key)

    def _key_for(self, originator: int | None, frame_counter: int) -> LinkKey | None:
        """To open a frame with; None, and counted, where it is not to be opened."""
        key = None if originator is None else self._link_key(Eui64(originator))
        if key is None:
            self._counters.aps_no_link_key += 1
        elif frame_counter <= key.incoming_counter:
            self._counters.aps_replays += 1
            return None
        return key

    def _acknowledged(self, source: NwkAddress, frame: ApsFrame) -> None:
        block = -1 if frame.extended is None else frame.extended.block
        key = (source, frame.counter, block)
        sending = self._waiting.get(key)
        if sending is None or not _answers(frame, sending.request):
            self._counters.unexpected += 1
            return
        if frame.extended is not None and not (frame.extended.received or 0) & 1:
            return  # the receiver says that it lacks this block: the timer sends it again
        self._finish(key, sending, ApsStatus.SUCCESS)

    def _data(self, arrival: Arrival, frame: ApsFrame, payload: bytes, key: LinkKey | None) -> None:
        """A message, or a part of one, that came under `key`."""
        source = NwkAddress(arrival.frame.source)
        if frame.extended is not None and frame.extended.fragmentation is not Fragmentation.NONE:
            self._fragment(arrival, frame, payload, frame.extended, key)
            return
        duplicate = self._is_duplicate(source, frame.counter, -1)
        if frame.ack_request:
            self._send_ack(source, frame, key)
        if duplicate:
            self._counters.aps_duplicates += 1
            return
        self._node.aps_indication(_indication(arrival, frame, payload, None))

    def _is_duplicate(self, source: int, counter: int, block: int) -> bool:
        """Whether this was here before; remembers it if not."""
        if self._was_seen(source, counter, block):
            return True
        seen = self._seen.setdefault(source, {})
        seen.pop((counter, block), None)
        seen[counter, block] = self._scheduler.now
        if len(seen) > _MEMORY_COUNTERS:
            del seen[next(iter(seen))]
        return False

    def _was_seen(self, source: int, counter: int, block: int) -> bool:
        seen = self._seen.get(source)
        before = None if seen is None else seen.get((counter, block))
        return before is not None and self._scheduler.now - before <= _MEMORY_S

    def _fragment(
        self, arrival: Arrival, frame: ApsFrame, payload: bytes, header: ExtendedHeader, link_key: LinkKey | None
    ) -> None:
        source = NwkAddress(arrival.frame.source)
        index = block_index(header)
        if self._host_fragments:
            if self._is_duplicate(source, frame.counter, index):
                self._counters.aps_duplicates += 1
                if (frame.counter, index) in self._taken_by_host.get(source, ()):
                    self._send_ack(source, frame, link_key, ack_header(index))
                return
            count = header.block if index == 0 else 0
            self._node.aps_indication(_indication(arrival, frame, payload, Fragment(index, count)))
            return
        key = message_key(source, frame)
        if key not in self._reassembly and self._was_seen(source, frame.counter, _WHOLE_MESSAGE):
            self._counters.aps_duplicates += 1
            self._send_ack(source, frame, link_key, ack_header(index))
            return
        reassembly, timer = self._reassembly.pop(key, (None, None))
        if timer is not None:
            timer.cancel()
        reassembly = reassembly or Reassembly()
        if not reassembly.add(header, payload):
            self._counters.malformed += 1
            return  # and the message with it: its blocks contradict each other
        self._send_ack(source, frame, link_key, ack_header(index))
        message = reassembly.message()
        if message is None:
            expiry = self._scheduler.call_later(_MEMORY_S, lambda: self._reassembly_expired(key))
            self._reassembly[key] = (reassembly, expiry)
            return
        self._is_duplicate(source, frame.counter, _WHOLE_MESSAGE)
        self._node.aps_indication(_indication(arrival, frame, message, None))

    def _reassembly_expired(self, key: MessageKey) -> None:
        if self._reassembly.pop(key, None) is not None:
            self._counters.fragments_expired += 1

    def acknowledge(self, indication: ApsIndication) -> None:
        """Acknowledge a block that a host has taken (with `host_fragments`)."""
        if indication.fragment is None:
            return
        index = indication.fragment.index
        self._taken_by_host.setdefault(indication.source, deque(maxlen=_MEMORY_COUNTERS)).append(
            (indication.counter, index)
        )
        _, _, _, profile, cluster, source_endpoint, destination_endpoint, _, counter, *_ = indication
        frame = ApsFrame(destination_endpoint, cluster, profile, source_endpoint, counter)
        key = self._key_to(indication.source, Delivery.UNICAST) if indication.secured else None
        if not isinstance(key, ApsStatus):
            self._send_ack(indication.source, frame, key, ack_header(index))

    def _send_ack(
        self, destination: NwkAddress, frame: ApsFrame, key: LinkKey | None, extended: ExtendedHeader | None = None
    ) -> None:
        """Under the key of the frame, or as plain as it, as deployed stacks do (the standard is silent)."""
        if key is not None and self.used_up(key):
            return
        destination_endpoint, cluster, profile, source_endpoint, counter, *_ = frame
        addressing = source_endpoint, cluster, profile, destination_endpoint, counter
        security = None if key is None else self.next_security(key)
        ack = ApsFrame(*addressing, b"", ApsType.ACK, security=security, extended=extended)
        octets = ack.to_bytes() if key is None else seal(ack, key.cipher, self._ieee)
        self._nwk.send(destination, octets, DEFAULT_RADIUS, None)


def _answers(acknowledgement: ApsFrame, request: ApsRequest) -> bool:
    """Whether it is for this message: the same addressing, the endpoints changed round (Zigbee PRO 2.2.5.2.3)."""
    return (
        acknowledgement.cluster == request.cluster
        and acknowledgement.profile == request.profile
        and acknowledgement.source_endpoint == request.destination_endpoint
        and acknowledgement.destination_endpoint == request.source_endpoint
    )


def _delivery(request: ApsRequest) -> Delivery:
    if request.group is not None:
        return Delivery.GROUP
    return Delivery.BROADCAST if request.destination >= FIRST_BROADCAST else Delivery.UNICAST


def _indication(arrival: Arrival, frame: ApsFrame, payload: bytes, fragment: Fragment | None) -> ApsIndication:
    source, destination = NwkAddress(arrival.frame.source), NwkAddress(arrival.frame.destination)
    originator = None if arrival.originator is None else Eui64(arrival.originator)
    addressing = frame.profile, frame.cluster, frame.source_endpoint, frame.destination_endpoint
    group = frame.group if frame.delivery is Delivery.GROUP else None
    secured, lqi, rssi = frame.security is not None, arrival.lqi, arrival.rssi
    to = source, originator, destination, *addressing
    return ApsIndication(*to, payload, frame.counter, secured, group, lqi, rssi, fragment)
