"""What the chip's flash items are called and how their octets lie (Z-Stack 3.30 on an aligned 32-bit core).

The layouts are those of the C structures, with the compiler's padding: ZComDef.h, nwk.h, AddrMgr.h, ZDSecMgr.h,
AssocList.h. What nothing here uses has the values of a CC2652R's memory, new and with a network (ZNP-T).
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


POLL_RATE = 0x0035  # ZComDef.h
POLL_RATE_OLD16 = 0x0024
"""No item, but another way to the first octets of POLL_RATE: its length is told as 0, and it can be read and written
all the same (mt_sys.c)."""

SETTINGS = {
    Item.BCAST_DELIVERY_TIME: b"\x1e",
    Item.CONCENTRATOR_ENABLE: b"\1",
    Item.CONCENTRATOR_DISCOVERY: b"\x78",
    Item.CONCENTRATOR_RC: b"\1",
    Item.SRC_RTG_EXPIRY_TIME: b"\xff",
    Item.NWK_CHILD_AGE_ENABLE: b"\0",
    Item.APS_USE_EXT_PANID: bytes(8),
    Item.PRECFGKEYS_ENABLE: b"\0",
    Item.PANID: b"\xff\xff",  # any
    Item.CHANLIST: bytes(4),
    Item.LOGICAL_TYPE: b"\0",
    # What hosts read and write, and nothing here heeds:
    0x0004: b"\x0a",  # START_DELAY
    0x0028: b"\x02",  # DATA_RETRIES
    0x0029: b"\x03",  # POLL_FAILURE_RETRIES
    0x002A: b"\x02",  # STACK_PROFILE: ZigBee PRO
    0x002B: b"\x07",  # INDIRECT_MSG_TIMEOUT
    0x002C: b"\x1e",  # ROUTE_EXPIRY_TIME
    0x002E: b"\x02",  # BCAST_RETRIES
    0x002F: b"\x05",  # PASSIVE_ACK_TIMEOUT
    0x0034: b"\x0a",  # CONCENTRATOR_RADIUS
    POLL_RATE: bytes.fromhex("b80b0000 b8010000 64000000 64000000 00000000 e8030000").ljust(40, b"\0"),
    0x0037: b"\x01",  # NWK_MGR_MODE
    0x0039: b"\x05",  # ROUTE_DISCOVERY_TIME
    0x003C: b"\x00",  # ROUTER_OFF_ASSOC_CLEANUP
    0x003D: b"\x01",  # NWK_LEAVE_REQ_ALLOWED
    0x0043: b"\x03",  # APS_FRAME_RETRIES
    0x0044: b"\xb8\x0b",  # APS_ACK_WAIT_DURATION
    0x0045: b"\x02",  # APS_ACK_WAIT_MULTIPLIER
    0x0046: b"\x80\x3e",  # BINDING_TIME
    0x0048: b"\x01",  # APS_USE_INSECURE_JOIN
    0x0049: b"\xfe\xff",  # COMMISSIONED_NWK_ADDR
    0x004B: b"\x02",  # APS_NONMEMBER_RADIUS
    0x004D: b"\xe8\x03",  # APS_DUPREJ_TIMEOUT_INC
    0x004E: b"\x0a",  # APS_DUPREJ_TIMEOUT_COUNT
    0x004F: b"\x05\x00",  # APS_DUPREJ_TABLE_SIZE
    0x0051: b"\x01",  # NWK_PARENT_INFO
    0x0052: b"\x08",  # NWK_ENDDEV_TIMEOUT_DEF
    0x0053: b"\x08",  # END_DEV_TIMEOUT_VALUE
    0x0054: b"\x00",  # END_DEV_CONFIGURATION
    0x0065: b"\x01",  # SECURE_PERMIT_JOIN
    0x0066: b"\x01",  # APS_LINK_KEY_TYPE
    0x0067: b"\x00",  # APS_ALLOW_R19_SECURITY
    0x006D: b"\x01",  # USE_DEFAULT_TCLK
    0x0071: bytes(8),  # TRUSTCENTER_ADDR
    0x0081: bytes(17),  # USERDESC
    0x0086: b"\x04",  # SCAN_DURATION
    0x0088: b"\x14",  # NWKMGR_MIN_TX
    0x00A1: b"\xe0",  # SAPI_ENDPOINT
}
"""The settings of a new chip that are the same on each (zglobals.c has the list)."""


class Table(IntEnum):
    """Items whose sub numbers count entries (ZComDef.h, ZCD_NV_EX_*)."""

    ADDRMGR = 1
    DEVICE_LIST = 3
    TCLK = 4
    TCLK_IC = 5
    APS_KEY_DATA = 6
    NWK_SEC_MATERIAL = 7


PADDING = 0xFF  # what the chip has where the compiler leaves a gap
ADDRESS = Struct("<BBHQ")  # AddrMgrEntry_t
assert ADDRESS.size == 12
EMPTY_ADDRESS = b"\xff" * ADDRESS.size
TCLK = Struct("<IIQBBBB")  # APSME_TCLinkKeyNVEntry_t
assert TCLK.size == 20
INSTALL_CODE_KEY_BYTES = 16  # AES-128
INSTALL_CODE_HELD, INSTALL_CODE_PLACE = 0x80, 0x7F  # APSMEDE.h, APSME_IC_SET_MASK and APSME_IC_INDEX_MASK
LINK_KEY = Struct("<16sII")  # APSME_LinkKeyData_t
assert LINK_KEY.size == 24
LINK_KEY_ENTRY = Struct("<HHBB")  # ZDSecMgrEntry_t
assert LINK_KEY_ENTRY.size == 6


def link_key_table_bytes(entries: int) -> int:
    """ZDSecMgrEntry_t behind their count, as one item."""
    return 2 + entries * LINK_KEY_ENTRY.size


SEC_MATERIAL = Struct("<IQ")  # nwkSecMaterialDesc_t
assert SEC_MATERIAL.size == 12
KEY_INFO = Struct("<B16s")  # nwkKeyDesc
assert KEY_INFO.size == 17
ACTIVE_KEY = Struct("<B16s3xI")  # nwkActiveKeyItems
assert ACTIVE_KEY.size == 24
ASSOCIATED = Struct("<HHBBBB12s8sIBBxx")  # associated_devices_t
assert ASSOCIATED.size == 36
EMPTY_ASSOCIATED = b"\xff" * ASSOCIATED.size
LISTED = Struct("<HHBBBB8s")  # what of it is in flash
assert LISTED.size == 16
EMPTY_LISTED = b"\xff" * LISTED.size

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


def key_from_seed(seed: bytes, ieee: int, shift: int) -> bytes:
    """The trust-centre key of a device: the seed, rotated left, XOR its IEEE address twice (ZDSecMgr.c)."""
    shift %= len(seed)
    rotated = seed[shift:] + seed[:shift]
    twice = ieee.to_bytes(8, "little") * 2
    return bytes(one ^ other for one, other in zip(rotated, twice, strict=True))


AUTHENTICATED_CBCK = 0x01  # ZDSecMgr_Authentication_Option


class NodeRelation(IntEnum):
    """AssocList.h."""

    CHILD_SLEEPING = 1  # CHILD_RFD
    CHILD_RX_ON = 2  # CHILD_RFD_RX_IDLE
    NOT_USED = 0xFF


_NIB_BYTES = 116  # sizeof nwkIB_t, aligned
_RUNNING = 8  # NWK_ROUTER, which a coordinator is too


@dataclass(frozen=True, slots=True)
class Nib:
    """The fields of nwkIB_t that matter to a coordinator, who has no parent; both key descriptors in it stay empty."""

    channel: int
    pan_id: int
    extended_pan_id: int
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
        pan_id, state, channels = unpack_from("<HBxI", octets, 36)
        extended_pan_id, key_loaded = unpack_from("<Q?", octets, 57)
        (manager,) = unpack_from("<H", octets, 110)
        return cls(octets[24], pan_id, extended_pan_id, channels, manager, octets[114], key_loaded, state)

    def to_bytes(self) -> bytes:
        octets = bytearray(_NIB_BYTES)
        # Sequence, passive ack timeout, broadcast retries, children, depth, routers, broadcast delivery time.
        pack_into("<BBBBBBxB", octets, 0, 0, 5, 2, 51, 20, 51, 30)
        # All frames are secured, at level 5; the capabilities of a coordinator; transactions wait for 7 seconds;
        # protocol version, route discovery time and expiry.
        pack_into("<BBBBxHBBB", octets, 11, 1, 5, 1, 0x8F, 7, 2, 5, 30)
        octets[24] = self.channel
        pack_into("<HBxIBB", octets, 36, self.pan_id, self.state, self.channels, 15, 15)
        pack_into("<BxHxxH", octets, 46, 4, 1, 1)  # scan duration, the next addresses of routers and end devices
        pack_into("<Q?", octets, 57, self.extended_pan_id, self.key_loaded)
        # Link status period, router age limit, no multicast, a concentrator, its discovery time and radius, all fresh.
        pack_into("<BBBBBBB", octets, 102, 15, 3, 0, 1, 120, 10, 1)
        pack_into("<HHB", octets, 110, self.manager, 0, self.update_id)
        return bytes(octets)
