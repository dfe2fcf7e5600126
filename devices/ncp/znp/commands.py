"""The MT commands and callbacks that this co-processor knows, as one table (Z-Stack Monitor and Test API, section 3).

What is not in the table is answered with an RPC error. Handlers are found by name (`devices.ncp.znp.coprocessor`).
"""

from dataclasses import dataclass

from devices.ncp.layout import Layout

RPC_ERROR = 0x6000  # Z-Stack Monitor and Test API 2.1.3


@dataclass(frozen=True, slots=True)
class Command:
    """`id` is that of the request; `request` is None for callbacks, whose parameters `response` describes."""

    id: int
    name: str
    request: Layout | None
    response: Layout

    @property
    def is_callback(self) -> bool:
        return self.request is None


_STATUS = "status:u8"
_VERSION = "transport:u8 product:u8 major:u8 minor:u8 maintenance:u8"
_SENDER = "source_endpoint:u8 cluster:u16 sequence:u8 options:u8 radius:u8"
_DATA = f"destination_endpoint:u8 {_SENDER}"
_TO = "group:u16 cluster:u16"
_HEARD = "destination_endpoint:u8 broadcast:u8 lqi:u8 security:u8 timestamp:u32 sequence:u8"
_WAY = "mac_source:u16 radius:u8"
_DEVICE = "device:rest"  # associated_devices_t, 36 octets aligned
_ZDP = "destination:u16 body:rest"
_ANSWER = "source:u16 body:rest"
_ADDRESS = "status:u8 ieee:ieee address:u16 count:u8 start:u8 children:rest"
_BINDING = "destination:u16 source:ieee endpoint:u8 cluster:u16 mode:u8 target:rest"
_NV = "system:u8 item:u16 sub:u16"

_ROWS: tuple[tuple[int, str, str | None, str], ...] = (
    # SYS (3.8)
    (0x2101, "ping", "", "capabilities:u16"),
    (0x2102, "version", "", f"{_VERSION} revision:u32 bootloader:u8"),
    (0x2103, "setExtAddr", "ieee:ieee", _STATUS),
    (0x2104, "getExtAddr", "", "ieee:ieee"),
    (0x2107, "osalNvItemInit", "id:u16 length:u16 value:lv", _STATUS),
    (0x2108, "osalNvRead", "id:u16 offset:u8", "status:u8 value:lv"),
    (0x2109, "osalNvWrite", "id:u16 offset:u8 value:lv", _STATUS),
    (0x210C, "random", "", "value:u16"),
    (0x210F, "stackTune", "operation:u8 value:s8", "value:s8"),
    (0x2112, "osalNvDelete", "id:u16 length:u16", _STATUS),
    (0x2113, "osalNvLength", "id:u16", "length:u16"),
    (0x2114, "setTxPower", "power_dbm:s8", _STATUS),
    (0x211C, "osalNvReadExt", "id:u16 offset:u16", "status:u8 value:lv"),
    (0x211D, "osalNvWriteExt", "id:u16 offset:u16 value:lv16", _STATUS),
    (0x2130, "nvCreate", f"{_NV} length:u32", _STATUS),
    (0x2131, "nvDelete", _NV, _STATUS),
    (0x2132, "nvLength", _NV, "length:u32"),
    (0x2133, "nvRead", f"{_NV} offset:u16 length:u8", "status:u8 value:lv"),
    (0x2134, "nvWrite", f"{_NV} offset:u16 value:lv", _STATUS),
    (0x4180, "resetInd", None, f"reason:u8 {_VERSION}"),
    # AF (3.2)
    (0x2400, "register", "number:u8 profile:u16 device:u16 version:u8 latency:u8 inputs:words outputs:words", _STATUS),
    (0x2401, "dataRequest", f"destination:u16 {_DATA} data:lv", _STATUS),
    (0x2402, "dataRequestExt", f"mode:u8 address:ieee endpoint:u8 pan:u16 {_SENDER} length:u16 data:rest", _STATUS),
    (0x2403, "dataRequestSrcRtg", f"destination:u16 {_DATA} relays:words data:lv", _STATUS),
    (0x2404, "delete", "endpoint:u8", _STATUS),
    (0x2411, "dataStore", "index:u16 data:lv", _STATUS),
    (0x2412, "dataRetrieve", "timestamp:u32 index:u16 length:u8", "status:u8 data:lv"),
    (0x2413, "apsfConfigSet", "endpoint:u8 frame_delay:u8 window:u8", _STATUS),
    (0x4480, "dataConfirm", None, "status:u8 endpoint:u8 sequence:u8"),
    (0x4481, "incomingMsg", None, f"{_TO} source:u16 source_endpoint:u8 {_HEARD} data:lv {_WAY}"),
    (
        0x4482,
        "incomingMsgExt",
        None,
        f"{_TO} mode:u8 source:ieee source_endpoint:u8 pan:u16 {_HEARD} length:u16 {_WAY}",
    ),
    # ZDO (3.12); first the requests that become ZDP messages
    (0x2500, "nwkAddrReq", "ieee:ieee kind:u8 start:u8", _STATUS),
    (0x2501, "ieeeAddrReq", "address:u16 kind:u8 start:u8", _STATUS),
    (0x2502, "nodeDescReq", _ZDP, _STATUS),
    (0x2503, "powerDescReq", _ZDP, _STATUS),
    (0x2504, "simpleDescReq", _ZDP, _STATUS),
    (0x2505, "activeEpReq", _ZDP, _STATUS),
    (0x2506, "matchDescReq", _ZDP, _STATUS),
    (0x2521, "bindReq", _BINDING, _STATUS),
    (0x2522, "unbindReq", _BINDING, _STATUS),
    (0x2523, "setLinkKey", "node:u16 ieee:ieee key:key", _STATUS),
    (0x2525, "getLinkKey", "ieee:ieee", "status:u8 ieee:ieee key:key"),
    (0x2526, "networkDiscoveryReq", "channels:u32 duration:u8", _STATUS),
    (0x2531, "mgmtLqiReq", _ZDP, _STATUS),
    (0x2532, "mgmtRtgReq", _ZDP, _STATUS),
    (0x2533, "mgmtBindReq", _ZDP, _STATUS),
    (0x2534, "mgmtLeaveReq", _ZDP, _STATUS),
    (0x2536, "mgmtPermitJoinReq", "body:b4 mode_first:rest", _STATUS),
    (0x2537, "mgmtNwkUpdateReq", "destination:u16 mode:u8 channels:u32 duration:u8 count:u8 manager:u16", _STATUS),
    (0x253E, "msgCallbackRegister", "cluster:u16", _STATUS),
    (0x253F, "msgCallbackRemove", "cluster:u16", _STATUS),
    (0x2540, "startupFromApp", "delay:u16", _STATUS),
    (0x2542, "secAddLinkKey", "node:u16 ieee:ieee key:key", _STATUS),
    (0x2543, "secEntryLookupExt", "ieee:ieee", "index:u16 key_id:u16 option:u8"),
    (0x2544, "secDeviceRemove", "ieee:ieee", _STATUS),
    (0x2545, "extRouteDisc", "destination:u16 options:u8 radius:u8", _STATUS),
    (0x2546, "extRouteChk", "destination:u16 route_status:u8 options:u8", _STATUS),
    (0x2547, "extRemoveGroup", "endpoint:u8 group:u16", _STATUS),
    (0x2548, "extRemoveAllGroups", "endpoint:u8", _STATUS),
    (0x254A, "extFindGroup", "endpoint:u8 group:u16", "status:u8 group:u16 name:lv"),
    (0x254B, "extAddGroup", "endpoint:u8 group:u16 name:lv", _STATUS),
    (0x254C, "extCountAllGroups", "", "count:u8"),
    (0x2550, "extNwkInfo", "", "address:u16 state:u8 pan:u16 parent:u16 extended_pan:ieee parent_ieee:ieee channel:u8"),
    (0x4580, "nwkAddrRsp", None, _ADDRESS),
    (0x4581, "ieeeAddrRsp", None, _ADDRESS),
    (0x4582, "nodeDescRsp", None, _ANSWER),
    (0x4583, "powerDescRsp", None, _ANSWER),
    (0x4584, "simpleDescRsp", None, _ANSWER),
    (0x4585, "activeEpRsp", None, _ANSWER),
    (0x4586, "matchDescRsp", None, _ANSWER),
    (0x45A1, "bindRsp", None, _ANSWER),
    (0x45A2, "unbindRsp", None, _ANSWER),
    (0x45B1, "mgmtLqiRsp", None, _ANSWER),
    (0x45B2, "mgmtRtgRsp", None, _ANSWER),
    (0x45B3, "mgmtBindRsp", None, _ANSWER),
    (0x45B4, "mgmtLeaveRsp", None, _ANSWER),
    (0x45B6, "mgmtPermitJoinRsp", None, _ANSWER),
    (0x45B8, "mgmtNwkUpdateNotify", None, _ANSWER),
    (0x45C0, "stateChangeInd", None, "state:u8"),
    (0x45C1, "endDeviceAnnceInd", None, "source:u16 address:u16 ieee:ieee capability:u8"),
    (0x45C7, "nwkDiscoveryCnf", None, _STATUS),
    (0x45C9, "leaveInd", None, "source:u16 ieee:ieee request:u8 remove:u8 rejoin:u8"),
    (0x45CA, "tcDeviceInd", None, "source:u16 ieee:ieee parent:u16"),
    (0x45FF, "msgCbIncoming", None, "source:u16 broadcast:u8 cluster:u16 secured:u8 sequence:u8 mac:u16 data:rest"),
    # UTIL (3.10)
    (0x2700, "getDeviceInfo", "", "status:u8 ieee:ieee address:u16 type:u8 state:u8 associated:words"),
    (0x2709, "timeAlive", "", "seconds:u32"),
    (0x270A, "ledControl", "led:u8 mode:u8", _STATUS),
    (0x2740, "addrMgrExtAddrLookup", "ieee:ieee", "address:u16"),
    (0x2741, "addrMgrNwkAddrLookup", "address:u16", "ieee:ieee"),
    (0x2744, "apsmeLinkKeyDataGet", "ieee:ieee", "status:u8 key:key outgoing:u32 incoming:u32"),
    (0x2748, "assocCount", "first:u8 last:u8", "count:u16"),
    (0x2749, "assocFindDevice", "index:u8", _DEVICE),
    (0x274A, "assocGetWithAddress", "ieee:ieee address:u16", _DEVICE),
    (0x2763, "assocRemove", "ieee:ieee", _STATUS),
    (0x2764, "assocAdd", "address:u16 ieee:ieee relation:u8", _STATUS),
    # APP_CNF (3.14)
    (0x2F01, "setDefaultRemoteEndDeviceTimeout", "index:u8", _STATUS),
    (0x2F03, "setAllowRejoinTcPolicy", "allow:u8", _STATUS),
    (0x2F04, "bdbAddInstallCode", "format:u8 ieee:ieee code:rest", _STATUS),
    (0x2F05, "bdbStartCommissioning", "mode:u8", _STATUS),
    (0x2F06, "bdbSetJoinUsesInstallCodeKey", "required:u8", _STATUS),
    (0x2F08, "bdbSetChannel", "primary:u8 channels:u32", _STATUS),
    (0x2F09, "bdbSetTcRequireKeyExchange", "required:u8", _STATUS),
    (0x4F80, "bdbCommissioningNotification", None, "status:u8 mode:u8 remaining:u8"),
)


def commands() -> dict[str, Command]:
    """By name."""
    return {
        name: Command(number, name, None if request is None else Layout(request), Layout(response))
        for number, name, request, response in _ROWS
    }
