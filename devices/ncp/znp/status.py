"""The status numbers of Z-Stack (ZComDef.h; Z-Stack Monitor and Test API, appendix)."""

from enum import IntEnum


class ZStatus(IntEnum):
    SUCCESS = 0x00
    FAILURE = 0x01
    INVALID_PARAMETER = 0x02
    NV_ITEM_UNINIT = 0x09  # also: the item was made just now
    NV_OPER_FAILED = 0x0A
    NV_NOT_FOUND = 0x0A  # in an answer to the newer NV commands (nvintf.h)
    NV_BAD_ITEM_LEN = 0x0C
    MEMORY = 0x10
    BUFFER_FULL = 0x11
    SEC_NO_KEY = 0xA1
    APS_TABLE_FULL = 0xB2
    APS_NO_ACK = 0xB7
    APS_DUPLICATE_ENTRY = 0xB8
    NWK_INVALID_REQUEST = 0xC2
    NWK_NO_ROUTE = 0xCD
    MAC_NO_ACK = 0xE9
    MAC_TRANSACTION_EXPIRED = 0xF0


class RpcError(IntEnum):
    """The first octet of the answer to a request that cannot be carried out (2.1.3)."""

    SUBSYSTEM = 1
    COMMAND = 2
    PARAMETER = 3
    LENGTH = 4


class DeviceState(IntEnum):
    """devStates_t of ZDApp.h, as far as a coordinator comes through them."""

    HOLD = 0x00
    STARTING_AS_COORDINATOR = 0x08
    COORDINATOR = 0x09
