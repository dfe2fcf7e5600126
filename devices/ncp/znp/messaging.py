"""Sending and receiving application messages for the host (Z-Stack Monitor and Test API 3.2).

MT knows no profile: on the air it is that of the source endpoint's descriptor. A request is answered at once; what
became of a unicast follows in AF_DATA_CONFIRM, except for messages to a device object.

Messages that do not fit one MT frame go in pieces: AF_DATA_REQUEST_EXT announces the length, AF_DATA_STORE brings the
octets and, with none, sends them; AF_INCOMING_MSG_EXT announces, AF_DATA_RETRIEVE fetches and, with none, forgets. On
the air the stack cuts them into fragments.

Left out: inter-PAN messages, reflection through the binding table, source routes (accepted and of no use: every device
is one hop away).
"""

from collections import OrderedDict
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from devices.ncp.coprocessor import Coprocessor
from devices.ncp.znp.groups import GroupTable
from devices.ncp.znp.status import ZStatus
from devices.stack.interface import (
    BROADCAST_RX_ON,
    ZDP_PROFILE,
    ApsIndication,
    ApsRequest,
    ApsStatus,
    Endpoint,
    Eui64,
    NwkAddress,
)

if TYPE_CHECKING:
    from devices.ncp.layout import Handler
    from devices.ncp.znp.device_tables import DeviceTables
    from devices.ncp.znp.zdo import DeviceObject

WILDCARD_PROFILE = 0x02  # transmit options (3.2.1.2)
ACK_REQUEST = 0x10  # transmit options (3.2.1.2)
ENABLE_SECURITY = 0x40  # transmit options (3.2.1.2)

_GROUP, _SHORT, _LONG, _BROADCAST = 1, 2, 3, 15  # address modes (3.2.1.3)
_FIRST_BROADCAST = 0xFFF8  # Zigbee PRO table 3.60
_EVERY_ENDPOINT = 0xFF  # Zigbee PRO 2.2.5.1.2
_LAST_ENDPOINT = 242  # 241 and above are reserved, but for Green Power's
_MAX_INLINE_BYTES = 230  # beside the other parameters of AF_DATA_REQUEST_EXT
_MAX_INCOMING_BYTES = 223  # beside those of AF_INCOMING_MSG
_MAX_HELD = 8  # incoming messages that wait to be retrieved; our choice
_LONGEST_RETRIEVE = 248  # what one MT frame holds beside status and length
_RADIUS = 30  # AF_DEFAULT_RADIUS
_TICK_S = 320e-6  # of the time stamp: backoff periods

CONFIRM_STATUS = {
    ApsStatus.SUCCESS: ZStatus.SUCCESS,
    ApsStatus.NO_ACK: ZStatus.APS_NO_ACK,
    ApsStatus.NO_LINK_KEY: ZStatus.SEC_NO_KEY,
    ApsStatus.UNKNOWN_DESTINATION: ZStatus.NWK_NO_ROUTE,
    ApsStatus.TOO_LONG: ZStatus.INVALID_PARAMETER,
    ApsStatus.EXPIRED: ZStatus.MAC_TRANSACTION_EXPIRED,
    ApsStatus.NO_NETWORK: ZStatus.NWK_INVALID_REQUEST,
    ApsStatus.BUFFERS_FULL: ZStatus.BUFFER_FULL,
}
assert CONFIRM_STATUS.keys() == set(ApsStatus)


class _Request(NamedTuple):
    """An AF data request of any of the three commands."""

    destination: int
    destination_endpoint: int
    source_endpoint: int
    cluster: int
    sequence: int
    options: int
    radius: int
    data: bytes
    group: int | None = None


class Messaging:
    """Handlers of AF."""

    def __init__(self, chip: Coprocessor, tables: "DeviceTables", device_object: "DeviceObject") -> None:
        self._chip, self._stack, self._scheduler, self._callback = chip, chip.stack, chip.scheduler, chip.callback()
        self._tables = tables
        self._device_object = device_object
        self._groups = GroupTable()
        self._storing: _Request | None = None
        self._store = bytearray()
        self._held: OrderedDict[int, bytes] = OrderedDict()

    def handlers(self) -> dict[str, "Handler"]:
        return {
            **self._groups.handlers(),
            "register": self.register,
            "delete": self.delete,
            "dataRequest": lambda *fields: (self._send(_Request(*fields)),),
            "dataRequestExt": self.data_request_ext,
            "dataRequestSrcRtg": lambda *fields: (self._send(_Request(*fields[:7], *fields[8:])),),  # relays: no use
            "dataStore": self.data_store,
            "dataRetrieve": self.data_retrieve,
            "apsfConfigSet": lambda endpoint, _delay, _window: (
                ZStatus.SUCCESS if endpoint in self._stack.endpoints else ZStatus.INVALID_PARAMETER,
            ),
        }

    # endpoints

    def register(
        self,
        number: int,
        profile: int,
        device: int,
        version: int,
        _latency: int,
        inputs: tuple[int, ...],
        outputs: tuple[int, ...],
    ) -> tuple[int]:
        if not 1 <= number <= _LAST_ENDPOINT:
            return (ZStatus.INVALID_PARAMETER,)
        endpoints = self._stack.endpoints
        if number in endpoints:
            return (ZStatus.INVALID_PARAMETER,)
        others = dict(endpoints)
        endpoints.clear()
        endpoints[number] = Endpoint(number, profile, device, version & 0x0F, inputs, outputs)
        endpoints.update(others)  # the chip lists the newest first (af.c)
        return (ZStatus.SUCCESS,)

    def delete(self, number: int) -> tuple[int]:
        removed = self._stack.endpoints.pop(number, None)
        return (ZStatus.INVALID_PARAMETER if removed is None else ZStatus.SUCCESS,)

    # sending

    def data_request_ext(
        self,
        mode: int,
        address: int,
        destination_endpoint: int,
        pan: int,
        source_endpoint: int,
        cluster: int,
        sequence: int,
        options: int,
        radius: int,
        length: int,
        data: bytes,
    ) -> tuple[int]:
        group = None
        destination = address & 0xFFFF
        if mode == _GROUP:
            group, destination = destination, BROADCAST_RX_ON
        elif mode == _LONG:
            known = self._stack.address_of(Eui64(address))
            if known is None:
                return (ZStatus.NWK_NO_ROUTE,)
            destination = known
        elif mode not in {_SHORT, _BROADCAST}:
            return (ZStatus.INVALID_PARAMETER,)
        if pan and self._stack.network is not None and pan != self._stack.network.pan_id:
            return (ZStatus.INVALID_PARAMETER,)
        request = _Request(
            destination, destination_endpoint, source_endpoint, cluster, sequence, options, radius, data, group
        )
        if length > _MAX_INLINE_BYTES and not data:
            self._storing = request
            self._store = bytearray(length)
            return (ZStatus.SUCCESS,)
        if len(data) != length:
            return (ZStatus.INVALID_PARAMETER,)
        return (self._send(request),)

    def data_store(self, index: int, data: bytes) -> tuple[int]:
        if self._storing is None:
            return (ZStatus.MEMORY,)
        if index + len(data) > len(self._store):
            return (ZStatus.INVALID_PARAMETER,)
        if data:
            self._store[index : index + len(data)] = data
            return (ZStatus.SUCCESS,)
        request, self._storing = self._storing, None
        return (self._send(request._replace(data=bytes(self._store))),)

    def _send(self, request: _Request) -> ZStatus:
        """What the host is told at once: why the chip does not even try."""
        endpoint = self._stack.endpoints.get(request.source_endpoint)
        if endpoint is None and request.source_endpoint:
            return ZStatus.INVALID_PARAMETER
        if not self._chip.is_up:
            return ZStatus.NWK_INVALID_REQUEST
        if self._scheduler.now < self._chip.exhausted_until:
            return ZStatus.BUFFER_FULL
        profile = ZDP_PROFILE if endpoint is None else endpoint.profile
        if request.options & WILDCARD_PROFILE:
            profile = 0xFFFF
        to_device_object = request.destination_endpoint == 0 and request.group is None
        if to_device_object:
            profile = ZDP_PROFILE
        to_many = request.group is not None or request.destination >= _FIRST_BROADCAST
        secured = bool(request.options & ENABLE_SECURITY) and not to_many
        if secured and not self._has_key(request.destination):
            return ZStatus.SEC_NO_KEY
        acknowledged = bool(request.options & ACK_REQUEST) and not to_many
        if to_many and len(request.data) > self._stack.maximum_payload(secured=False) - (request.group is not None):
            return ZStatus.INVALID_PARAMETER  # only unicasts are cut into fragments
        destination, radius = NwkAddress(request.destination), request.radius or _RADIUS
        addressing = profile, request.cluster, request.source_endpoint, request.destination_endpoint
        aps = ApsRequest(destination, *addressing, request.data, acknowledged, secured, request.group, radius)

        def confirm(status: ApsStatus) -> None:
            said = CONFIRM_STATUS[status]
            if status is ApsStatus.NO_ACK and not acknowledged:
                said = ZStatus.MAC_NO_ACK
            endpoint, sequence = request.source_endpoint, request.sequence
            self._chip.report(aps.destination, partial(self._callback, "dataConfirm", said, endpoint, sequence))

        if self._tables.disowned and self._stack.ieee_of(aps.destination) in self._tables.disowned:
            self._scheduler.call_later(0.0, lambda: confirm(ApsStatus.UNKNOWN_DESTINATION))
            return ZStatus.SUCCESS
        if to_device_object:
            self._device_object.obey(request.cluster, request.destination, request.data[1:])
        unconfirmed = to_device_object or (to_many and request.group is None)
        self._stack.send(aps, None if unconfirmed else confirm)
        return ZStatus.SUCCESS

    def _has_key(self, destination: int) -> bool:
        partner = self._stack.ieee_of(NwkAddress(destination))
        return partner is None or self._tables.for_data(partner) is not None

    # receiving

    def received(self, indication: ApsIndication) -> None:
        """To the endpoint that is meant; nobody hears of messages to others."""
        for number in self._receivers(indication):
            self._tell(indication, number)

    def _receivers(self, indication: ApsIndication) -> tuple[int, ...]:
        if indication.group is not None:
            return self._groups.members(indication.group)
        if indication.destination_endpoint == _EVERY_ENDPOINT:
            return tuple(self._stack.endpoints)
        known = indication.destination_endpoint in self._stack.endpoints
        return (indication.destination_endpoint,) if known else ()

    def _tell(self, indication: ApsIndication, endpoint: int) -> None:
        broadcast = indication.destination >= _FIRST_BROADCAST and indication.group is None
        timestamp = int(self._scheduler.now / _TICK_S) & 0xFFFF_FFFF
        payload, source, sender = indication.payload, indication.source, indication.source_endpoint
        whole = len(payload) <= _MAX_INCOMING_BYTES
        if not whole:
            timestamp = self._hold(timestamp, payload)
        to = indication.group or 0, indication.cluster
        heard = endpoint, broadcast, indication.lqi, indication.secured, timestamp, indication.counter
        if whole:
            self._callback("incomingMsg", *to, source, sender, *heard, payload, source, _RADIUS)
        else:
            self._callback("incomingMsgExt", *to, _SHORT, source, sender, 0, *heard, len(payload), source, _RADIUS)

    def _hold(self, timestamp: int, payload: bytes) -> int:
        """Keep it until the host has fetched it; the time stamp is its name, so it must be its own."""
        while timestamp in self._held:
            timestamp = (timestamp + 1) & 0xFFFF_FFFF
        self._held[timestamp] = payload
        if len(self._held) > _MAX_HELD:
            self._held.popitem(last=False)
        return timestamp

    def data_retrieve(self, timestamp: int, index: int, length: int) -> tuple[int, bytes]:
        held = self._held.get(timestamp)
        if held is None or index + length > len(held) or length > _LONGEST_RETRIEVE:
            return ZStatus.FAILURE, b""
        if length == 0:
            del self._held[timestamp]
            return ZStatus.SUCCESS, b""
        return ZStatus.SUCCESS, held[index : index + length]
