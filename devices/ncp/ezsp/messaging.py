"""Sending and receiving APS messages for the host (UG100 8).

A unicast is answered at once with its APS sequence number; what became of it follows in messageSentHandler, once the
stack knows. Long messages are cut and put together by the host: option FRAGMENT carries the block's index in the low
octet of the group field and, in block 0, the count in the high one; the host acknowledges received blocks with
sendReply.

Left out: broadcast and multicast loopback, bindings as destinations, source routes.
"""

from collections import Counter as CounterOf
from collections import OrderedDict
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from devices.ncp.coprocessor import Coprocessor
from devices.ncp.ezsp.configuration import (
    APS_UNICAST_MESSAGE_COUNT,
    MESSAGE_CONTENTS_IN_CALLBACK_POLICY,
    MESSAGE_TAG_AND_CONTENTS,
    SOURCE_ROUTE_TABLE_SIZE,
    Settings,
)
from devices.ncp.ezsp.status import EmberStatus
from devices.ncp.ezsp.tables import AddressTable, BindingTable, MulticastTable
from devices.ncp.ezsp.utilities import Counter
from devices.ncp.layout import ApsFrame, Handler
from devices.stack.interface import BROADCAST_RX_ON, ApsIndication, ApsRequest, ApsStatus, Fragment, NwkAddress

if TYPE_CHECKING:
    from devices.ncp.ezsp.keys import KeyTables
    from devices.ncp.ezsp.zdo import DeviceObject

ENCRYPTION = 0x0020  # EmberApsOption
RETRY = 0x0040  # EmberApsOption
ROUTE_DISCOVERY = 0x0100  # EmberApsOption
ZDO_RESPONSE_REQUIRED = 0x4000  # EmberApsOption
FRAGMENT = 0x8000  # EmberApsOption

_DIRECT, _VIA_ADDRESS_TABLE = 0, 1  # EmberOutgoingMessageType
_MULTICAST_SENT, _BROADCAST_SENT = 3, 6  # EmberOutgoingMessageType; 4 and 5 are the same with an alias
_INCOMING_UNICAST, _INCOMING_MULTICAST, _INCOMING_BROADCAST = 0, 2, 4  # EmberIncomingMessageType
_FIRST_BROADCAST = 0xFFF8  # Zigbee PRO table 3.60
_NO_INDEX = 0xFF  # UG100 8, incomingMessageHandler: no binding
_UNKNOWN_EUI64 = 0xFFFF_FFFF_FFFF_FFFF  # UG600, incomingMessageHandler; our choice where the sender is unknown
_NO_TIMESTAMP = 0  # our choice: no host was seen to look at it
_MAX_UNACKNOWLEDGED_FRAGMENTS = 64  # what nobody acknowledges must not pile up
_MAX_RAW_BYTES = 125  # IEEE 802.15.4: 127 with the FCS
_MAX_CONTENTS_BYTES = 190  # of one EZSP frame, beside the other parameters

_STATUS = {
    ApsStatus.SUCCESS: EmberStatus.SUCCESS,
    ApsStatus.NO_ACK: EmberStatus.DELIVERY_FAILED,
    ApsStatus.NO_LINK_KEY: EmberStatus.APS_ENCRYPTION_ERROR,
    ApsStatus.UNKNOWN_DESTINATION: EmberStatus.DELIVERY_FAILED,
    ApsStatus.TOO_LONG: EmberStatus.MESSAGE_TOO_LONG,
    ApsStatus.EXPIRED: EmberStatus.DELIVERY_FAILED,
    ApsStatus.NO_NETWORK: EmberStatus.NETWORK_DOWN,
    ApsStatus.BUFFERS_FULL: EmberStatus.NO_BUFFERS,
}
assert _STATUS.keys() == set(ApsStatus)


@dataclass(frozen=True, slots=True)
class _FragmentKey:
    sender: int
    sequence: int
    index: int


class Messaging:
    """Handlers of UG100 8."""

    def __init__(
        self,
        chip: Coprocessor,
        settings: Settings,
        keys: "KeyTables",
        counters: "CounterOf[int]",
        device_object: "DeviceObject",
    ) -> None:
        self._device_object = device_object
        self._chip, self._stack, self._callback = chip, chip.stack, chip.callback()
        self._settings, self._keys, self._counters = settings, keys, counters
        self._addresses = AddressTable(chip.stack, settings)
        self._groups = MulticastTable(settings)
        self._in_flight = 0
        self._fragments: OrderedDict[_FragmentKey, ApsIndication] = OrderedDict()

    def handlers(self) -> dict[str, Handler]:
        return {
            "maximumPayloadLength": self.maximum_payload_length,
            "sendUnicast": self.send_unicast,
            "sendBroadcast": self.send_broadcast,
            "sendMulticast": self.send_multicast,
            "sendReply": self.send_reply,
            "setSourceRoute": self.set_source_route,
            **self._addresses.handlers(),
            **self._groups.handlers(),
            **BindingTable(self._settings).handlers(),
            "sendManyToOneRouteRequest": lambda _kind, _radius: (self._only_when_up(),),
            "getSourceRouteTableEntry": lambda _index: (EmberStatus.NOT_FOUND, 0xFFFF, _NO_INDEX),
            "getSourceRouteTableFilledSize": lambda: (0,),
            "getSourceRouteTableTotalSize": lambda: (self._settings[SOURCE_ROUTE_TABLE_SIZE],),
            "sendRawMessage": self.send_raw,
            "sendRawMessageExtended": self.send_raw,
        }

    # sending

    def maximum_payload_length(self) -> tuple[int]:
        return (self._stack.maximum_payload(secured=False),)

    def send_unicast(self, kind: int, destination: int, aps: ApsFrame, tag: int, message: bytes) -> tuple[int, int]:
        node = self._destination(kind, destination)
        if node is None:
            return EmberStatus.INVALID_CALL, 0
        if refusal := self._refusal(node, aps.options, message):
            return refusal, 0
        request = self._request(node, aps, message)
        in_table = request.acknowledged
        if in_table:
            if self._in_flight >= self._settings.configuration[APS_UNICAST_MESSAGE_COUNT]:
                return EmberStatus.MAX_MESSAGE_LIMIT_REACHED, 0
            self._in_flight += 1

        def confirm(status: ApsStatus) -> None:
            if in_table:
                self._in_flight -= 1
            delivered = status is ApsStatus.SUCCESS
            self._counters[Counter.APS_TX_UNICAST_SUCCESS if delivered else Counter.APS_TX_UNICAST_FAILED] += 1
            sent = aps._replace(sequence=sequence)
            outcome = kind, destination, sent, tag, _STATUS[status], self._contents(message)
            self._chip.report(node, partial(self._callback, "messageSentHandler", *outcome))

        sequence = self._stack.send(request, confirm)
        return EmberStatus.SUCCESS, sequence

    def _destination(self, kind: int, destination: int) -> int | None:
        if kind == _DIRECT:
            return destination if destination < _FIRST_BROADCAST else None
        return self._addresses.node_at(destination) if kind == _VIA_ADDRESS_TABLE else None

    def _refusal(self, node: int | None, options: int, message: bytes) -> EmberStatus | None:
        """Why the chip does not even try."""
        if not self._chip.is_up:
            return EmberStatus.NETWORK_DOWN
        if self._chip.scheduler.now < self._chip.exhausted_until:
            return EmberStatus.NO_BUFFERS
        secured = bool(options & ENCRYPTION)
        if len(message) > self._stack.maximum_payload(secured=secured) - (2 if options & FRAGMENT else 0):
            return EmberStatus.MESSAGE_TOO_LONG
        if secured and node is not None:
            partner = self._stack.ieee_of(NwkAddress(node))
            if partner not in {None, self._stack.ieee} and self._keys.for_data(partner) is None:
                return EmberStatus.APS_ENCRYPTION_ERROR
        return None

    @staticmethod
    def _request(node: int, aps: ApsFrame, message: bytes) -> ApsRequest:
        fragment = None
        counter = None
        if aps.options & FRAGMENT:
            index = aps.group & 0xFF
            fragment = Fragment(index, aps.group >> 8)
            # All blocks share the sequence number that block 0 was given.
            counter = aps.sequence if index else None
        acknowledged, secured = bool(aps.options & RETRY), bool(aps.options & ENCRYPTION)
        return ApsRequest(
            NwkAddress(node), *aps[:4], message, acknowledged, secured, fragment=fragment, counter=counter
        )

    def send_broadcast(self, destination: int, aps: ApsFrame, radius: int, tag: int, message: bytes) -> tuple[int, int]:
        if destination < _FIRST_BROADCAST:
            return EmberStatus.INVALID_CALL, 0
        if refusal := self._refusal(None, 0, message):
            return refusal, 0
        self._device_object.broadcast_by_host(aps.profile, aps.cluster, message)
        return self._send_to_many(_BROADCAST_SENT, destination, aps, radius, tag, message, group=None)

    def send_multicast(self, aps: ApsFrame, hops: int, tag: int, message: bytes) -> tuple[int, int]:
        if refusal := self._refusal(None, 0, message):
            return refusal, 0
        return self._send_to_many(_MULTICAST_SENT, BROADCAST_RX_ON, aps, hops, tag, message, group=aps.group)

    def _send_to_many(
        self, kind: int, destination: int, aps: ApsFrame, radius: int, tag: int, message: bytes, *, group: int | None
    ) -> tuple[int, int]:
        radius = radius or 30  # UG100: zero is the maximum
        request = ApsRequest(NwkAddress(destination), *aps[:4], message, acknowledged=False, group=group, radius=radius)

        def confirm(status: ApsStatus) -> None:
            sent = aps._replace(sequence=sequence)
            outcome = kind, destination, sent, tag, _STATUS[status], self._contents(message)
            self._callback("messageSentHandler", *outcome)

        self._counters[Counter.APS_TX_BROADCAST] += 1
        sequence = self._stack.send(request, confirm)
        return EmberStatus.SUCCESS, sequence

    def send_reply(self, sender: int, aps: ApsFrame, message: bytes) -> tuple[int]:
        """Without FRAGMENT: an unacknowledged unicast whose outcome nobody is told; with it: the block's APS ack."""
        if not aps.options & FRAGMENT:
            if refusal := self._refusal(sender, aps.options, message):
                return (refusal,)
            self._stack.send(self._request(sender, aps._replace(options=aps.options & ~RETRY), message))
            return (EmberStatus.SUCCESS,)
        block = self._fragments.pop(_FragmentKey(sender, aps.sequence, aps.group & 0xFF), None)
        if block is None:
            return (EmberStatus.INVALID_CALL,)
        self._stack.acknowledge_fragments(block)
        return (EmberStatus.SUCCESS,)

    def set_source_route(self, _destination: int, _relays: bytes) -> tuple[int]:
        """Accepted and of no use: every device is one hop away."""
        return (EmberStatus.SUCCESS,)

    def _only_when_up(self) -> EmberStatus:
        return EmberStatus.SUCCESS if self._chip.is_up else EmberStatus.NETWORK_DOWN

    def send_raw(self, message: bytes) -> tuple[int]:
        """A MAC frame of the host's own making, without its FCS, for inter-PAN messages."""
        if not self._chip.is_up:
            return (EmberStatus.NETWORK_DOWN,)
        if not 3 <= len(message) <= _MAX_RAW_BYTES:
            return (EmberStatus.BAD_ARGUMENT,)
        done = partial(self._callback, "rawTransmitCompleteHandler", message, EmberStatus.SUCCESS)
        self._stack.transmit_raw(message, done)
        return (EmberStatus.SUCCESS,)

    def _contents(self, message: bytes) -> bytes:
        """What messageSentHandler repeats of a message."""
        wanted = self._settings.policies[MESSAGE_CONTENTS_IN_CALLBACK_POLICY] == MESSAGE_TAG_AND_CONTENTS
        return message if wanted else b""

    # receiving

    def received(self, indication: ApsIndication) -> None:
        options = ROUTE_DISCOVERY
        group = 0
        if indication.group is not None:
            if not self._groups.is_member(indication.group):
                return
            kind, group = _INCOMING_MULTICAST, indication.group
        elif indication.destination >= _FIRST_BROADCAST:
            kind = _INCOMING_BROADCAST
        else:
            kind = _INCOMING_UNICAST
            options |= RETRY
        if indication.secured:
            options |= ENCRYPTION
        if self._device_object.wants_answer_of_host(indication):
            options |= ZDO_RESPONSE_REQUIRED
        if (fragment := indication.fragment) is not None:
            options |= FRAGMENT
            group = fragment.index or fragment.count << 8
            self._remember_fragment(indication, fragment.index)
        self._counters[Counter.APS_RX_UNICAST if kind == _INCOMING_UNICAST else Counter.APS_RX_BROADCAST] += 1
        # Profile, cluster and endpoints lie side by side in both.
        aps = ApsFrame(*indication[3:7], options, group, indication.counter)
        if len(indication.payload) > _MAX_CONTENTS_BYTES:
            self._counters[Counter.BUFFER_FAILURE] += 1
            return
        source = indication.source
        ieee = indication.source_ieee or self._stack.ieee_of(source) or _UNKNOWN_EUI64
        heard = indication.lqi, indication.rssi, source, _NO_INDEX, self._addresses.index_of(source)
        self._callback("incomingMessageHandler", kind, aps, *heard, indication.payload, ieee, _NO_TIMESTAMP)

    def _remember_fragment(self, indication: ApsIndication, index: int) -> None:
        self._fragments[_FragmentKey(indication.source, indication.counter, index)] = indication
        if len(self._fragments) > _MAX_UNACKNOWLEDGED_FRAGMENTS:
            self._fragments.popitem(last=False)
