"""What the chip's flash items are called and how their octets lie (Z-Stack 3.30 on an aligned 32-bit core).

The layouts are those of the C structures, with the compiler's padding: ZComDef.h, nwk.h, AddrMgr.h, ZDSecMgr.h,
AssocList.h. Fields that nothing here uses keep the values of a freshly formed network, as public memory dumps of a
CC2652R show them.
"""

from dataclasses import dataclass
from enum import IntEnum
from struct import Struct, pack_into, unpack_from
from typing import Self


class Item(IntEnum):
    """Numbers of the older commands (ZComDef.h, ZCD_NV_*)."""

    EXTADDR = 0x0001
    STARTUP_OPTION = 0x0003
    NIB = 0x0021
    EXTENDED_PAN_ID = 0x002D
    BCAST_DELIVERY_TIME = 0x0030
    CONCENTRATOR_ENABLE = 0x0032
    CONCENTRATOR_DISCOVERY = 0x0033
    CONCENTRATOR_RC = 0x0036
    SRC_RTG_EXPIRY_TIME = 0x0038
    NWK_ACTIVE_KEY_INFO = 0x003A
    NWK_ALTERN_KEY_INFO = 0x003B
    NWK_CHILD_AGE_ENABLE = 0x003E
    APS_USE_EXT_PANID = 0x0047
    APS_LINK_KEY_TABLE = 0x004C
    BDB_NODE_IS_ON_A_NETWORK = 0x0055
    PRECFGKEY = 0x0062
    PRECFGKEYS_ENABLE = 0x0063
    NWKKEY = 0x0082
    PANID = 0x0083
    CHANLIST = 0x0084
    LOGICAL_TYPE = 0x0087
    ZDO_DIRECT_CB = 0x008F
    TCLK_SEED = 0x0101


POLL_RATE_OLD16 = 0x0024
"""An item that is only half there: its length is told as 0, and it can be read all the same (zigpy-znp, nvids.py)."""

FURTHER_SETTINGS = {
    POLL_RATE_OLD16: b"\xb8\x0b",
    0x0004: b"\x0a",  # START_DELAY
    0x0028: b"\x02",  # DATA_RETRIES
    0x0029: b"\x02",  # POLL_FAILURE_RETRIES
    0x002A: b"\x02",  # STACK_PROFILE: ZigBee PRO
    0x002B: b"\x07",  # INDIRECT_MSG_TIMEOUT
    0x002C: b"\x1e",  # ROUTE_EXPIRY_TIME
    0x002E: b"\x02",  # BCAST_RETRIES
    0x002F: b"\x05",  # PASSIVE_ACK_TIMEOUT
    0x0037: b"\x01",  # NWK_MGR_MODE
    0x0039: b"\x05",  # ROUTE_DISCOVERY_TIME
    0x0043: b"\x03",  # APS_FRAME_RETRIES
    0x0044: b"\xb8\x0b",  # APS_ACK_WAIT_DURATION
    0x0045: b"\x02",  # APS_ACK_WAIT_MULTIPLIER
    0x0048: b"\x01",  # APS_USE_INSECURE_JOIN
    0x0066: b"\x01",  # APS_LINK_KEY_TYPE
    0x006D: b"\x01",  # USE_DEFAULT_TCLK
    0x0086: b"\x04",  # SCAN_DURATION
    0x00A1: b"\xe0",  # SAPI_ENDPOINT
}
"""What the chip has besides, with the values of a new CC2652R (public memory dumps). Hosts read and write them; nothing
here heeds them."""


class Table(IntEnum):
    """Items whose sub numbers count entries (ZComDef.h, ZCD_NV_EX_*)."""

    ADDRMGR = 1
    DEVICE_LIST = 3
    TCLK = 4
    TCLK_IC = 5
    APS_KEY_DATA = 6
    NWK_SEC_MATERIAL = 7


ADDRESS = Struct("<BxHQ")  # AddrMgrEntry_t
assert ADDRESS.size == 12
EMPTY_ADDRESS = b"\xff" * ADDRESS.size
TCLK = Struct("<IIQBBBx")  # APSME_TCLKDevEntry_t
assert TCLK.size == 20
LINK_KEY = Struct("<16sII")  # APSME_LinkKeyData_t, and the install-code table alike
assert LINK_KEY.size == 24
LINK_KEY_ENTRY = Struct("<HHBx")  # ZDSecMgrEntry_t
assert LINK_KEY_ENTRY.size == 6
SEC_MATERIAL = Struct("<IQ")  # nwkSecMaterialDesc_t
assert SEC_MATERIAL.size == 12
KEY_INFO = Struct("<B16s")  # nwkKeyDesc
assert KEY_INFO.size == 17
ACTIVE_KEY = Struct("<B16s3xI")  # nwkActiveKeyItems
assert ACTIVE_KEY.size == 24
ASSOCIATED = Struct("<HHBBBB12s8sIBBxx")  # associated_devices_t
assert ASSOCIATED.size == 36
EMPTY_ASSOCIATED = b"\xff" * ASSOCIATED.size

NO_ADDRESS = 0xFFFE  # the short address is not known
NOBODY = frozenset({0, 0xFFFF_FFFF_FFFF_FFFF})
"""IEEE addresses of empty entries."""


class AddressUser(IntEnum):
    """Who uses an address manager entry; bits (AddrMgr.h)."""

    ASSOCIATED = 0x01
    SECURITY = 0x02


class KeyAttributes(IntEnum):
    """Where the key of a trust-centre entry comes from (APSMEDE.h, ZG_*_KEY)."""

    PROVISIONAL = 0x00  # from an install code
    VERIFIED = 0x02  # from the seed
    DEFAULT = 0xFF  # the well-known one


AUTHENTICATED_CBCK = 0x01  # ZDSecMgr_Authentication_Option


class NodeRelation(IntEnum):
    """AssocList.h."""

    CHILD_SLEEPING = 1  # CHILD_RFD
    CHILD_RX_ON = 2  # CHILD_RFD_RX_IDLE
    NOT_USED = 0xFF


_NIB_BYTES = 116
_RUNNING = 8  # NWK_ROUTER, which a coordinator is too


@dataclass(frozen=True, slots=True)
class Nib:
    """The fields of nwkIB_t that matter to a coordinator; both key descriptors in it stay empty."""

    channel: int
    pan_id: int
    extended_pan_id: int
    coordinator: int  # IEEE address
    channels: int
    manager: int = 0
    update_id: int = 0
    key_loaded: bool = True
    state: int = _RUNNING

    @classmethod
    def from_bytes(cls, octets: bytes) -> Self | None:
        """None for an item of another size."""
        if len(octets) != _NIB_BYTES:
            return None
        (coordinator,) = unpack_from("<Q", octets, 28)
        pan_id, state, channels = unpack_from("<HBxI", octets, 36)
        extended_pan_id, key_loaded = unpack_from("<Q?", octets, 57)
        (manager,) = unpack_from("<H", octets, 110)
        return cls(octets[24], pan_id, extended_pan_id, coordinator, channels, manager, octets[114], key_loaded, state)

    def to_bytes(self) -> bytes:
        octets = bytearray(_NIB_BYTES)
        # Sequence, passive ack timeout, broadcast retries, children, depth, routers, broadcast delivery time.
        pack_into("<BBBBBBxB", octets, 0, 0, 5, 2, 51, 20, 51, 30)
        # All frames are secured, at level 5; the capabilities of a coordinator; transactions wait for 7 seconds;
        # protocol version, route discovery time and expiry.
        pack_into("<BBBBxHBBB", octets, 11, 1, 5, 1, 0x8F, 7, 2, 5, 30)
        pack_into("<HBxHQ", octets, 22, 0, self.channel, 0, self.coordinator)
        pack_into("<HBxIBB", octets, 36, self.pan_id, self.state, self.channels, 15, 15)
        pack_into("<BxHxxH", octets, 46, 4, 1, 1)  # scan duration, the next addresses of routers and end devices
        pack_into("<Q?", octets, 57, self.extended_pan_id, self.key_loaded)
        # Link status period, router age limit, no multicast, a concentrator, its discovery time and radius, all fresh.
        pack_into("<BBBBBBB", octets, 102, 15, 3, 0, 1, 120, 10, 1)
        pack_into("<HHB", octets, 110, self.manager, 0, self.update_id)
        return bytes(octets)
