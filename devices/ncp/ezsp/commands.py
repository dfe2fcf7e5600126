"""The EZSP commands and callbacks that this co-processor knows, as one table.

Silicon Labs UG100, sections 4 to 18, for versions up to 13; UG600 for those from 14 on.

A row is valid for a range of EZSP versions; where a version changed a layout there is one row per range. What is not
in the table is answered with invalidCommand. Handlers are found by name (`devices.ncp.ezsp.coprocessor`); where the
versions differ in which fields there are or in what order, `TAKES` and `GIVES` say what the handler deals in.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import cast

from devices.ncp.ezsp.status import to_sl_status
from devices.ncp.layout import Layout, Value

VERSION = 0x0000  # UG100 4, version
SL_STATUS_EVERYWHERE = 14
"""From this version on every status is an sl_Status of four octets and every message tag has two (UG600)."""

FIRST_VERSION = 8  # older ones frame their commands otherwise
LAST_VERSION = 18  # the last that bellows 1.x accepts
SECURITY_MANAGER = 13  # from this version on; before it, keys are handled as EmberKeyStruct


@dataclass(frozen=True, slots=True)
class Row:
    """`request` is None for callbacks, which only the co-processor sends; `response` is then what they carry."""

    id: int
    name: str
    request: str | None
    response: str
    first: int = FIRST_VERSION
    last: int = LAST_VERSION


_STATUS = "status:st"
_SENT = "status:st sequence:u8"  # what a message was given
_ENTRY = "eui64:eui64 node:u16 extended:bool"  # of the address table
_BINDING = "binding:b14"  # EmberBindingTableEntry
_PARAMETERS = "parameters:b20"  # EmberNetworkParameters
_CONTEXT = "context:b18"  # sl_zb_sec_man_context of v13
_METADATA = "metadata:b12"  # sl_zb_sec_man_aps_key_metadata
_KEY_STRUCT = "key:b36"  # EmberKeyStruct
_TRANSIENT_KEY = "key:b28"  # EmberTransientKeyData
_EMBER, _SL = {"last": SL_STATUS_EVERYWHERE - 1}, {"first": SL_STATUS_EVERYWHERE}
_OLD_KEYS, _V13 = {"last": SECURITY_MANAGER - 1}, {"first": SECURITY_MANAGER, "last": SL_STATUS_EVERYWHERE - 1}

ROWS = (
    # Configuration (UG100 4)
    Row(0x0000, "version", "desired:u8", "version:u8 stack_type:u8 stack_version:u16"),
    Row(0x0052, "getConfigurationValue", "id:u8", "status:st value:u16"),
    Row(0x0053, "setConfigurationValue", "id:u8 value:u16", _STATUS),
    Row(0x0002, "addEndpoint", "number:u8 profile:u16 device:u16 version:u8 ins:u8 outs:u8 clusters:rest", _STATUS),
    Row(0x0055, "setPolicy", "policy:u8 decision:u8", _STATUS),
    Row(0x0056, "getPolicy", "policy:u8", "status:st decision:u8"),
    Row(0x00AA, "getValue", "id:u8", "status:st value:lv"),
    Row(0x0003, "getExtendedValue", "id:u8 characteristics:u32", "status:st value:lv"),
    Row(0x00AB, "setValue", "id:u8 value:lv", _STATUS),
    # Utilities (UG100 5)
    Row(0x0005, "nop", "", ""),
    Row(0x0081, "echo", "data:lv", "echo:lv"),
    Row(0x0058, "invalidCommand", None, "reason:st"),
    Row(0x0006, "callback", "", ""),
    Row(0x0007, "noCallbacks", None, ""),
    Row(0x0049, "getRandomNumber", "", "status:st value:u16"),
    Row(0x000B, "getMfgToken", "id:u8", "token:lv"),
    Row(0x000C, "setMfgToken", "id:u8 token:lv", _STATUS),
    Row(0x0026, "getEui64", "", "eui64:eui64"),
    Row(0x0027, "getNodeId", "", "node:u16"),
    Row(0x00F1, "readCounters", "", "counters:rest"),
    Row(0x0065, "readAndClearCounters", "", "counters:rest"),
    Row(0x0047, "customFrame", "payload:lv", "status:st reply:lv"),
    Row(0x0077, "tokenFactoryReset", "keep_frame_counter:bool keep_boot_counter:bool", "", first=13),
    Row(0x0104, "resetNode", "", "", first=9),
    Row(0x0013, "getXncpInfo", "", "status:st manufacturer:u16 version:u16"),
    Row(0x004E, "getTimer", "timer:u8", "time:u16 units:u8 repeat:bool"),
    Row(0x0091, "getStandaloneBootloaderVersionPlatMicroPhy", "", "version:u16 platform:u8 micro:u8 phy:u8"),
    Row(0x0001, "getLibraryStatus", "library:u8", "status:u8"),
    # Certificate-based key exchange (UG100 11), of which this build has no library
    Row(0x00A5, "getCertificate", "", "status:st certificate:b48"),
    Row(0x00EC, "getCertificate283k1", "", "status:st certificate:b74"),
    # Networking (UG100 6)
    Row(0x0015, "setManufacturerCode", "code:u16", "", **_EMBER),
    Row(0x0015, "setManufacturerCode", "code:u16", _STATUS, **_SL),
    Row(0x0016, "setPowerDescriptor", "descriptor:u16", "", **_EMBER),
    Row(0x0016, "setPowerDescriptor", "descriptor:u16", _STATUS, **_SL),
    Row(0x0017, "networkInit", "options:u16", _STATUS),
    Row(0x0018, "networkState", "", "state:u8"),
    Row(0x0019, "stackStatusHandler", None, _STATUS),
    Row(0x001A, "startScan", "kind:u8 channels:u32 duration:u8", _STATUS),
    Row(0x0048, "energyScanResultHandler", None, "channel:u8 rssi:s8"),
    Row(0x001C, "scanCompleteHandler", None, "channel:u8 status:st"),
    Row(0x001D, "stopScan", "", _STATUS),
    Row(0x001E, "formNetwork", _PARAMETERS, _STATUS),
    Row(0x0020, "leaveNetwork", "", _STATUS, **_EMBER),
    Row(0x0020, "leaveNetwork", "options:u8", _STATUS, **_SL),
    Row(0x0022, "permitJoining", "duration:u8", _STATUS),
    Row(0x0023, "childJoinHandler", None, "index:u8 joining:bool child:u16 eui64:eui64 kind:u8"),
    Row(0x0028, "getNetworkParameters", "", "status:st kind:u8 parameters:b20"),
    Row(0x0029, "getParentChildParameters", "", "children:u8 parent:eui64 parent_node:u16"),
    Row(0x004A, "getChildData", "index:u8", "status:st child:b14", last=9),
    Row(0x004A, "getChildData", "index:u8", "status:st child:b18", first=10),
    Row(0x00AC, "setChildData", "index:u8 child:b14", _STATUS, first=9, last=9),
    Row(0x00AC, "setChildData", "index:u8 child:b18", _STATUS, first=10),
    Row(0x0106, "childId", "index:u8", "child:u16", first=12),
    Row(0x0079, "getNeighbor", "index:u8", "status:st neighbor:b14"),
    Row(0x007A, "neighborCount", "", "count:u8"),
    Row(0x007B, "getRouteTableEntry", "index:u8", "status:st route:b8"),
    Row(0x0099, "setRadioPower", "power:s8", _STATUS),
    Row(0x00BA, "getLogicalChannel", "", "channel:u8"),
    Row(0x00B9, "setLogicalAndRadioChannel", "channel:u8", _STATUS),
    Row(0x00FD, "getRadioParameters", "phy:u8", "status:st power:s8 page:u8 channel:u8"),
    Row(0x003C, "clearStoredBeacons", "", "", **_EMBER),
    Row(0x003C, "clearStoredBeacons", "", _STATUS, **_SL),
    Row(0x0008, "getNumStoredBeacons", "", "count:u8"),
    Row(0x003D, "getFirstBeacon", "", "status:st iterator:b23", **_EMBER),
    Row(0x0004, "getNextBeacon", "", "status:st beacon:b22", **_EMBER),
    Row(0x0041, "sendManyToOneRouteRequest", "kind:u16 radius:u8", _STATUS),
    Row(0x00C1, "getSourceRouteTableEntry", "index:u8", "status:st destination:u16 closer:u8"),
    Row(0x00C2, "getSourceRouteTableFilledSize", "", "count:u8"),
    Row(0x00C3, "getSourceRouteTableTotalSize", "", "size:u8"),
    Row(0x0010, "setConcentrator", "on:bool kind:u16 minimum:u16 maximum:u16 errors:u8 failures:u8 hops:u8", _STATUS),
    Row(0x005A, "setSourceRouteDiscoveryMode", "mode:u8", "remaining:u32"),
    Row(0x00AE, "setSourceRoute", "destination:u16 relays:rest", _STATUS),
    # Bindings (UG100 7)
    Row(0x002A, "clearBindingTable", "", _STATUS),
    Row(0x002B, "setBinding", f"index:u8 {_BINDING}", _STATUS),
    Row(0x002C, "getBinding", "index:u8", f"status:st {_BINDING}"),
    Row(0x002D, "deleteBinding", "index:u8", _STATUS),
    Row(0x002E, "bindingIsActive", "index:u8", "active:bool"),
    # Messaging (UG100 8)
    Row(0x0096, "sendRawMessage", "message:lv", _STATUS, **_EMBER),
    Row(0x0051, "sendRawMessageExtended", "message:lv priority:u8 cca:bool", _STATUS),
    Row(0x0098, "rawTransmitCompleteHandler", None, _STATUS, **_EMBER),
    Row(0x0098, "rawTransmitCompleteHandler", None, "message:lv status:st", **_SL),
    Row(0x0033, "maximumPayloadLength", "", "length:u8"),
    Row(0x0034, "sendUnicast", "kind:u8 destination:u16 aps:aps tag:tag message:lv", _SENT),
    Row(0x0036, "sendBroadcast", "destination:u16 aps:aps radius:u8 tag:tag message:lv", _SENT, **_EMBER),
    Row(0x0036, "sendBroadcast", "alias:u16 destination:u16 nwk:u8 aps:aps radius:u8 tag:tag message:lv", _SENT, **_SL),
    Row(0x0038, "sendMulticast", "aps:aps hops:u8 nonmember:u8 tag:tag message:lv", _SENT, **_EMBER),
    Row(0x0038, "sendMulticast", "aps:aps hops:u8 broadcast:u16 alias:u16 nwk:u8 tag:tag message:lv", _SENT, **_SL),
    Row(0x0039, "sendReply", "sender:u16 aps:aps message:lv", _STATUS),
    Row(0x003F, "messageSentHandler", None, "kind:u8 destination:u16 aps:aps tag:tag status:st message:lv", **_EMBER),
    Row(0x003F, "messageSentHandler", None, "status:st kind:u8 destination:u16 aps:aps tag:tag message:lv", **_SL),
    Row(
        0x0045,
        "incomingMessageHandler",
        None,
        "kind:u8 aps:aps lqi:u8 rssi:s8 sender:u16 binding:u8 address:u8 message:lv",
        **_EMBER,
    ),
    Row(
        0x0045,
        "incomingMessageHandler",
        None,
        "kind:u8 aps:aps sender:u16 eui64:eui64 binding:u8 address:u8 lqi:u8 rssi:s8 timestamp:u32 message:lv",
        **_SL,
    ),
    Row(0x005B, "addressTableEntryIsActive", "index:u8", "active:bool"),
    Row(0x005C, "setAddressTableRemoteEui64", "index:u8 eui64:eui64", _STATUS, **_EMBER),
    Row(0x005C, "setAddressTableInfo", "index:u8 eui64:eui64 node:u16", _STATUS, **_SL),
    Row(0x005D, "setAddressTableRemoteNodeId", "index:u8 node:u16", "", **_EMBER),
    Row(0x005E, "getAddressTableRemoteEui64", "index:u8", "eui64:eui64", **_EMBER),
    Row(0x005E, "getAddressTableInfo", "index:u8", "status:st node:u16 eui64:eui64", **_SL),
    Row(0x005F, "getAddressTableRemoteNodeId", "index:u8", "node:u16", **_EMBER),
    Row(0x007E, "setExtendedTimeout", "eui64:eui64 extended:bool", "", **_EMBER),
    Row(0x007E, "setExtendedTimeout", "eui64:eui64 extended:bool", _STATUS, **_SL),
    Row(0x007F, "getExtendedTimeout", "eui64:eui64", "extended:bool", **_EMBER),
    Row(0x007F, "getExtendedTimeout", "eui64:eui64", _STATUS, **_SL),
    Row(0x0082, "replaceAddressTableEntry", f"index:u8 {_ENTRY}", f"{_STATUS} {_ENTRY}"),
    Row(0x0060, "lookupNodeIdByEui64", "eui64:eui64", "node:u16", **_EMBER),
    Row(0x0060, "lookupNodeIdByEui64", "eui64:eui64", "status:st node:u16", **_SL),
    Row(0x0061, "lookupEui64ByNodeId", "node:u16", "status:st eui64:eui64"),
    Row(0x0063, "getMulticastTableEntry", "index:u8", "status:st group:u16 endpoint:u8 network:u8"),
    Row(0x0064, "setMulticastTableEntry", "index:u8 group:u16 endpoint:u8 network:u8", _STATUS),
    # Security and trust centre (UG100 9 and 10)
    Row(0x0068, "setInitialSecurityState", "options:u16 tc_key:key key:key sequence:u8 tc:eui64", _STATUS),
    Row(0x0069, "getCurrentSecurityState", "", "status:st options:u16 trust_center:eui64"),
    Row(0x0075, "findKeyTableEntry", "eui64:eui64 link_key:bool", "index:u8"),
    Row(0x0076, "eraseKeyTableEntry", "index:u8", _STATUS),
    Row(0x00B1, "clearKeyTable", "", _STATUS),
    Row(0x006B, "clearTransientLinkKeys", "", ""),
    Row(0x0024, "trustCenterJoinHandler", None, "node:u16 eui64:eui64 status:u8 decision:u8 parent:u16"),
    Row(0x00A8, "removeDevice", "node:u16 eui64:eui64 target:eui64", _STATUS),
    # Keys before the security manager
    Row(0x006A, "getKey", "kind:u8", f"status:st {_KEY_STRUCT}", **_OLD_KEYS),
    Row(0x0071, "getKeyTableEntry", "index:u8", f"status:st {_KEY_STRUCT}", **_OLD_KEYS),
    Row(0x0072, "setKeyTableEntry", "index:u8 eui64:eui64 link_key:bool key:key", _STATUS, **_OLD_KEYS),
    Row(0x0066, "addOrUpdateKeyTableEntry", "eui64:eui64 link_key:bool key:key", _STATUS, **_OLD_KEYS),
    Row(0x00AF, "addTransientLinkKey", "eui64:eui64 key:key", _STATUS, **_OLD_KEYS),
    Row(0x00CE, "getTransientLinkKey", "eui64:eui64", f"status:st {_TRANSIENT_KEY}", **_OLD_KEYS),
    Row(0x006D, "getTransientKeyTableEntry", "index:u8", f"status:st {_TRANSIENT_KEY}", **_OLD_KEYS),
    # The security manager, whose statuses are sl_Status before version 14 already, but stand last
    Row(0x010C, "getApsKeyInfo", _CONTEXT, f"eui64:eui64 {_METADATA} status:sl", **_V13),
    Row(0x010C, "getApsKeyInfo", _CONTEXT, f"status:sl {_METADATA} {_CONTEXT}", **_SL),
    Row(0x010D, "exportLinkKeyByEui", "eui64:eui64", f"key:key index:u8 {_METADATA} status:sl", **_V13),
    Row(0x010D, "exportLinkKeyByEui", "eui64:eui64", f"status:sl {_CONTEXT} key:key {_METADATA}", **_SL),
    Row(0x010E, "importLinkKey", "index:u8 eui64:eui64 key:key", "status:sl", first=13),
    Row(0x010F, "exportLinkKeyByIndex", "index:u8", f"eui64:eui64 key:key {_METADATA} status:sl", **_V13),
    Row(0x010F, "exportLinkKeyByIndex", "index:u8", f"status:sl {_CONTEXT} key:key {_METADATA}", **_SL),
    Row(0x0111, "importTransientKey", "eui64:eui64 key:key flags:u8", "status:sl", **_V13),
    Row(0x0111, "importTransientKey", "eui64:eui64 key:key", "status:sl", **_SL),
    Row(0x0112, "exportTransientKeyByIndex", "index:u8", f"{_CONTEXT} key:key {_METADATA} status:sl", **_V13),
    Row(0x0112, "exportTransientKeyByIndex", "index:u8", f"status:sl {_CONTEXT} key:key {_METADATA}", **_SL),
    Row(0x0113, "exportTransientKeyByEui", "eui64:eui64", f"{_CONTEXT} key:key {_METADATA} status:sl", **_V13),
    Row(0x0113, "exportTransientKeyByEui", "eui64:eui64", f"status:sl {_CONTEXT} key:key {_METADATA}", **_SL),
    Row(0x0114, "exportKey", _CONTEXT, "key:key status:sl", **_V13),
    Row(0x0114, "exportKey", _CONTEXT, f"status:sl key:key {_CONTEXT}", **_SL),
    Row(0x0116, "getNetworkKeyInfo", "", "status:sl info:b8", first=13),
    # Green Power and tokens, as far as hosts ask for them while they form
    Row(0x00E2, "gpSinkTableClearAll", "", ""),
    Row(0x005F, "gpClearProxyTable", "", "", first=17),
    Row(0x0102, "getTokenData", "token:u32 index:u32", _STATUS, first=9),
    Row(0x0103, "setTokenData", "token:u32 index:u32 value:lv32", _STATUS, first=9),
)


TAKES = {
    "leaveNetwork": "",
    "importTransientKey": "eui64 key",
    "sendRawMessageExtended": "message",
    "sendBroadcast": "destination aps radius tag message",
    "sendMulticast": "aps hops tag message",
}
"""What handlers take, of commands whose request has other fields in other versions."""

GIVES = {
    "setManufacturerCode": "status",
    "setPowerDescriptor": "status",
    "clearStoredBeacons": "status",
    "rawTransmitCompleteHandler": "message status",
    "messageSentHandler": "kind destination aps tag status message",
    "incomingMessageHandler": "kind aps lqi rssi sender binding address message eui64 timestamp",
    "setExtendedTimeout": "status",
    "getExtendedTimeout": "extended status",
    "lookupNodeIdByEui64": "status node",
    "getApsKeyInfo": "eui64 metadata context status",
    "exportLinkKeyByEui": "context key index metadata status",
    "exportLinkKeyByIndex": "context eui64 key metadata status",
    "exportTransientKeyByIndex": "context key metadata status",
    "exportTransientKeyByEui": "context key metadata status",
    "exportKey": "key context status",
}
"""What handlers give, and what callbacks are made of: every field that some version has."""

_OLD_CODES = {"st": "B", "tag": "B", "sl": "I"}  # EmberStatus is one octet
_NEW_CODES = {"st": "I", "tag": "H", "sl": "I"}

Pick = Callable[[tuple[Value, ...]], tuple[Value, ...]]


def _pick(given: tuple[str, ...], wanted: tuple[str, ...]) -> Pick | None:
    """Takes values named `given` to those named `wanted`; None where they are the same."""
    if given == wanted:
        return None
    places = [given.index(name) for name in wanted]
    if len(places) > 1:
        return cast("Pick", itemgetter(*places))
    return lambda values: tuple(values[place] for place in places)


class Command:
    """A command or callback, compiled for one version.

    `decode` gives what the handler takes, of the parameters that came; it raises TruncatedParametersError. `encode`
    takes what the handler gave, or what a callback is made of, and gives the parameters that go out.
    """

    def __init__(self, row: Row, version: int) -> None:
        codes = _NEW_CODES if version >= SL_STATUS_EVERYWHERE else _OLD_CODES
        self.id = row.id
        self.name = row.name
        self.is_callback = row.request is None
        self._request = Layout(row.request or "", codes)
        self._response = Layout(row.response, codes)
        names = self._request.names
        take = _pick(names, tuple(TAKES[row.name].split()) if row.name in TAKES else names)
        self.decode: Callable[[bytes], tuple[Value, ...]] = (
            self._request.decode if take is None else partial(self._decode_and_pick, take)
        )
        names = self._response.names
        self._gives = _pick(tuple(GIVES[row.name].split()) if row.name in GIVES else names, names)
        self._translates = version >= SL_STATUS_EVERYWHERE and "st" in self._response.kinds
        plain = self._gives is None and not self._translates
        self.encode: Callable[[tuple[Value, ...]], bytes] = self._response.encode if plain else self._pick_and_encode

    def _decode_and_pick(self, take: Pick, parameters: bytes) -> tuple[Value, ...]:
        return take(self._request.decode(parameters))

    def _pick_and_encode(self, values: tuple[Value, ...]) -> bytes:
        if self._gives is not None:
            values = self._gives(values)
        if self._translates:
            values = tuple(map(to_sl_status, values))
        return self._response.encode(values)


def commands(version: int) -> dict[str, Command]:
    """The table of one EZSP version, by name."""
    return {row.name: Command(row, version) for row in ROWS if row.first <= version <= row.last}
