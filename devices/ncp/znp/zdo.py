"""The device object as the host sees it (Z-Stack Monitor and Test API 3.12).

Its requests become ZDP messages to the device that they name, which may be the dongle itself. Every ZDP message from a
device is told twice where the host asked for both: as the indication of its own that most have (ZDO_DIRECT_CB), and as
ZDO_MSG_CB_INCOMING for hosts that registered for its cluster.

Left out: discovery caches, user and complex descriptors, the routing and binding tables (they are empty), changes of
channel. A scan for other networks finds none: there is one on the air of a bench.
"""

from typing import TYPE_CHECKING

from devices.ncp.coprocessor import Coprocessor
from devices.ncp.znp.items import Item
from devices.ncp.znp.network import CHANNELS_MASK
from devices.ncp.znp.nvram import Nvram, legacy
from devices.ncp.znp.status import ZStatus
from devices.stack.interface import (
    BROADCAST_ROUTERS,
    BROADCAST_RX_ON,
    COORDINATOR,
    ZDP_PROFILE,
    ApsIndication,
    ApsRequest,
    Eui64,
    JoinKind,
    NwkAddress,
)
from devices.stack.zdo import respond_for_stick
from devices.wire import zdp
from devices.wire.errors import MalformedFrameError
from devices.wire.zdp import ZdpCluster, ZdpStatus

if TYPE_CHECKING:
    from devices.ncp.layout import Handler
    from devices.ncp.znp.device_tables import DeviceTables

_EVERY_CLUSTER = 0xFFFF  # 3.12, ZDO_MSG_CB_REGISTER
_FIRST_BROADCAST = 0xFFF8  # Zigbee PRO table 3.60
_ADDRESS_SHORT, _ADDRESS_BROADCAST = 0x02, 0x0F  # AF.h, afAddrMode_t
_LONGEST_SCAN = 5  # more is another command: change of channel or manager (Zigbee PRO 2.4.3.3.9)
_LONGEST_MESSAGE = 240  # our choice: what one MT frame holds beside the header
_BIND_TARGET_BYTES = {1: 2, 3: 9}  # by address mode: a group, or an IEEE address and endpoint

_WITH_DESTINATION = {
    "nodeDesc": ZdpCluster.NODE_DESCRIPTOR_REQUEST,
    "powerDesc": ZdpCluster.POWER_DESCRIPTOR_REQUEST,
    "simpleDesc": ZdpCluster.SIMPLE_DESCRIPTOR_REQUEST,
    "activeEp": ZdpCluster.ACTIVE_ENDPOINTS_REQUEST,
    "matchDesc": ZdpCluster.MATCH_DESCRIPTOR_REQUEST,
    "mgmtLqi": ZdpCluster.MGMT_LQI_REQUEST,
    "mgmtRtg": ZdpCluster.MGMT_ROUTING_REQUEST,
    "mgmtBind": ZdpCluster.MGMT_BIND_REQUEST,
    "mgmtLeave": ZdpCluster.MGMT_LEAVE_REQUEST,
}
"""By the name that MT has for the request (`nodeDescReq`) and its response: those that are a destination and a body."""
_ADDRESS_RESPONSES = {
    ZdpCluster.NWK_ADDRESS_REQUEST | zdp.RESPONSE: "nwkAddrRsp",
    ZdpCluster.IEEE_ADDRESS_REQUEST | zdp.RESPONSE: "ieeeAddrRsp",
}
_RESPONSES = {
    **{cluster | zdp.RESPONSE: f"{name}Rsp" for name, cluster in _WITH_DESTINATION.items()},
    ZdpCluster.BIND_REQUEST | zdp.RESPONSE: "bindRsp",
    ZdpCluster.UNBIND_REQUEST | zdp.RESPONSE: "unbindRsp",
    ZdpCluster.MGMT_PERMIT_JOINING_REQUEST | zdp.RESPONSE: "mgmtPermitJoinRsp",
    ZdpCluster.MGMT_NWK_UPDATE_REQUEST | zdp.RESPONSE: "mgmtNwkUpdateNotify",
}


class DeviceObject:
    """Handlers of ZDO."""

    def __init__(self, chip: Coprocessor, nvram: Nvram, tables: "DeviceTables") -> None:
        self._chip, self._stack, self._callback = chip, chip.stack, chip.callback()
        self._nvram = nvram
        self._tables = tables
        self._registered: set[int] = set()
        self._sequence = 0

    def handlers(self) -> dict[str, "Handler"]:
        return {
            **{f"{name}Req": self._asking(cluster) for name, cluster in _WITH_DESTINATION.items()},
            "nwkAddrReq": self.nwk_addr_req,
            "ieeeAddrReq": self.ieee_addr_req,
            "bindReq": self._binding(ZdpCluster.BIND_REQUEST),
            "unbindReq": self._binding(ZdpCluster.UNBIND_REQUEST),
            "mgmtPermitJoinReq": self.permit_join,
            "mgmtNwkUpdateReq": self.nwk_update,
            "msgCallbackRegister": self.register,
            "msgCallbackRemove": self.remove,
            "networkDiscoveryReq": self.discover_networks,
            "extRouteDisc": lambda _destination, _options, _radius: (self._only_when_up(),),
            "extRouteChk": self.ext_route_chk,
        }

    # requests

    def _asking(self, cluster: int) -> "Handler":
        return lambda destination, body: (self._ask(destination, cluster, body),)

    def _ask(self, destination: int, cluster: int, body: bytes) -> ZStatus:
        """A ZDP message without APS acknowledgement, as the chip sends its own."""
        if not self._chip.is_up:
            return ZStatus.NWK_INVALID_REQUEST
        self._sequence = (self._sequence + 1) & 0xFF
        self._send(destination, cluster, self._sequence, body)
        return ZStatus.SUCCESS

    def _send(self, destination: int, cluster: int, sequence: int, body: bytes) -> None:
        payload = bytes((sequence,)) + body
        self._stack.send(ApsRequest(NwkAddress(destination), ZDP_PROFILE, cluster, 0, 0, payload, acknowledged=False))

    def _only_when_up(self) -> ZStatus:
        return ZStatus.SUCCESS if self._chip.is_up else ZStatus.NWK_INVALID_REQUEST

    def nwk_addr_req(self, ieee: int, kind: int, start: int) -> tuple[int]:
        """To everybody; the dongle answers for itself and for the children that it knows."""
        body = zdp.NwkAddressRequest(ieee, bool(kind), start).to_bytes()
        known = self._stack.address_of(Eui64(ieee)) if self._chip.is_up else None
        return (self._ask(BROADCAST_RX_ON if known is None else COORDINATOR, ZdpCluster.NWK_ADDRESS_REQUEST, body),)

    def ieee_addr_req(self, address: int, kind: int, start: int) -> tuple[int]:
        body = zdp.IeeeAddressRequest(address, bool(kind), start).to_bytes()
        return (self._ask(address, ZdpCluster.IEEE_ADDRESS_REQUEST, body),)

    def _binding(self, cluster: int) -> "Handler":
        def ask(destination: int, source: int, endpoint: int, bound: int, mode: int, target: bytes) -> tuple[int]:
            size = _BIND_TARGET_BYTES.get(mode)
            if size is None or len(target) < size:
                return (ZStatus.INVALID_PARAMETER,)
            head = source.to_bytes(8, "little") + bytes((endpoint,)) + bound.to_bytes(2, "little") + bytes((mode,))
            return (self._ask(destination, cluster, head + target[:size]),)

        return ask

    def nwk_update(
        self, destination: int, _mode: int, channels: int, duration: int, count: int, _manager: int
    ) -> tuple[int]:
        """Energy scans only."""
        if duration > _LONGEST_SCAN:
            return (ZStatus.INVALID_PARAMETER,)
        body = channels.to_bytes(4, "little") + bytes((duration, count))
        return (self._ask(destination, ZdpCluster.MGMT_NWK_UPDATE_REQUEST, body),)

    def discover_networks(self, channels: int, _duration: int) -> tuple[int]:
        """For a chip that is in no network, which is how hosts ask."""
        if self._chip.is_up:
            return (ZStatus.NWK_INVALID_REQUEST,)
        if not channels & CHANNELS_MASK:
            return (ZStatus.INVALID_PARAMETER,)
        self._callback("nwkDiscoveryCnf", ZStatus.SUCCESS)
        return (ZStatus.SUCCESS,)

    def ext_route_chk(self, destination: int, _route_status: int, _options: int) -> tuple[int]:
        ieee = self._stack.ieee_of(NwkAddress(destination))
        return (ZStatus.FAILURE if ieee is None or ieee in self._tables.disowned else ZStatus.SUCCESS,)

    # letting devices in

    def permit_join(self, body: bytes, rest: bytes) -> tuple[int]:
        """To the dongle itself, to a device, or to all routers. 0xFFFC as a short address means the dongle alone.

        Hosts written for Z-Stack up to 2.6.0 leave out the address mode, and mean what the address says.
        """
        if rest:
            mode, body = body[0], body[1:] + rest[:1]
        else:
            mode = _ADDRESS_BROADCAST
        destination, duration, significance = int.from_bytes(body[:2], "little"), body[2], body[3]
        if not self._chip.is_up:
            return (ZStatus.NWK_INVALID_REQUEST,)
        body = bytes((duration, significance))
        if destination < _FIRST_BROADCAST:
            return (self._ask(destination, ZdpCluster.MGMT_PERMIT_JOINING_REQUEST, body),)
        if mode != _ADDRESS_SHORT:
            self._ask(BROADCAST_ROUTERS, ZdpCluster.MGMT_PERMIT_JOINING_REQUEST, body)
        self._stack.permit(_permitted_s(duration))
        self._callback("mgmtPermitJoinRsp", COORDINATOR, bytes((ZdpStatus.SUCCESS,)))
        return (ZStatus.SUCCESS,)

    def obey(self, cluster: int, destination: int, body: bytes) -> None:
        """What a message that the host broadcasts through AF means to the dongle, who does not hear itself."""
        if cluster == ZdpCluster.MGMT_PERMIT_JOINING_REQUEST and destination >= _FIRST_BROADCAST and body:
            self._stack.permit(_permitted_s(body[0]))

    # callbacks

    def register(self, cluster: int) -> tuple[int]:
        self._registered.add(cluster)
        return (ZStatus.SUCCESS,)

    def remove(self, cluster: int) -> tuple[int]:
        if cluster not in self._registered:
            return (ZStatus.FAILURE,)
        self._registered.remove(cluster)
        return (ZStatus.SUCCESS,)

    def device_joined(self, ieee: Eui64, address: NwkAddress, kind: JoinKind) -> None:
        """The trust centre tells of devices that it gave the network key."""
        if kind is not JoinKind.REJOINED_SECURED:
            self._callback("tcDeviceInd", address, ieee, self._stack.parent_of(ieee))

    def device_left(self, ieee: Eui64, address: NwkAddress) -> None:
        self._callback("leaveInd", address, ieee, 0, 0, 0)

    def received(self, indication: ApsIndication) -> None:
        if not 0 < len(indication.payload) <= _LONGEST_MESSAGE:
            return  # ZDO has no way to tell of more than a frame holds
        sequence, body = indication.payload[0], indication.payload[1:]
        cluster = indication.cluster
        if cluster < zdp.RESPONSE and cluster != ZdpCluster.DEVICE_ANNOUNCE:
            self._answer(indication, sequence, body)
        direct = self._nvram.get(legacy(Item.ZDO_DIRECT_CB)) == b"\1"  # heeded as soon as it is written
        if direct or cluster == ZdpCluster.MGMT_PERMIT_JOINING_REQUEST | zdp.RESPONSE:
            self._tell(indication, body)
        if cluster in self._registered or _EVERY_CLUSTER in self._registered:
            broadcast = indication.destination >= _FIRST_BROADCAST
            heard = indication.source, broadcast, cluster, indication.secured
            self._callback("msgCbIncoming", *heard, sequence, indication.destination, body)

    def _tell(self, indication: ApsIndication, body: bytes) -> None:
        """In its own indication."""
        cluster = indication.cluster
        try:
            if cluster == ZdpCluster.DEVICE_ANNOUNCE:
                told = zdp.DeviceAnnounce.from_bytes(body)
                self._callback("endDeviceAnnceInd", indication.source, told.address, told.ieee, told.capability)
            elif cluster in _ADDRESS_RESPONSES:
                found = zdp.AddressResponse.from_bytes(body)
                children = found.children or ()
                octets = b"".join(child.to_bytes(2, "little") for child in children)
                listed = len(children), found.start_index, octets
                self._callback(_ADDRESS_RESPONSES[cluster], found.status, found.ieee, found.address, *listed)
            elif cluster in _RESPONSES:
                self._callback(_RESPONSES[cluster], indication.source, body)
        except MalformedFrameError:
            pass  # from a device: the message stays out of the host's way

    def _answer(self, indication: ApsIndication, sequence: int, body: bytes) -> None:
        """A request that the stack has left to us; broadcasts get no refusal."""
        if indication.destination >= _FIRST_BROADCAST:
            return
        cluster = indication.cluster
        if cluster == ZdpCluster.MGMT_PERMIT_JOINING_REQUEST and indication.source == self._stack.address and body:
            self._stack.permit(_permitted_s(body[0]))
            answer = bytes((ZdpStatus.SUCCESS,))
        else:
            answer = respond_for_stick(cluster, body)
        self._send(indication.source, cluster | zdp.RESPONSE, sequence, answer)


def _permitted_s(duration: int) -> float:
    """255 was for ever until Zigbee PRO r21 made it 254 seconds (2.4.3.3.7)."""
    return float(min(duration, 254))
