"""The status numbers that the co-processor gives (Silicon Labs UG100, section 3.3; SDK sl_status.h).

Three families: EzspStatus for the serial protocol itself, EmberStatus for the stack up to version 13, and sl_Status for
the security manager (and for everything from version 14 on).
"""

from enum import IntEnum
from typing import TypeVar

T = TypeVar("T")


class EzspStatus(IntEnum):
    SUCCESS = 0x00
    VERSION_NOT_SET = 0x30
    INVALID_FRAME_ID = 0x31
    WRONG_DIRECTION = 0x32
    TRUNCATED = 0x33
    OUT_OF_MEMORY = 0x35
    INVALID_VALUE = 0x36
    INVALID_ID = 0x37
    INVALID_CALL = 0x38


class EmberStatus(IntEnum):
    SUCCESS = 0x00
    ERR_FATAL = 0x01
    BAD_ARGUMENT = 0x02
    NOT_FOUND = 0x03
    NO_BUFFERS = 0x18
    MAC_BAD_SCAN_DURATION = 0x33
    MAC_INCORRECT_SCAN_TYPE = 0x34
    MAC_INVALID_CHANNEL_MASK = 0x35
    DELIVERY_FAILED = 0x66
    ADDRESS_TABLE_INDEX_OUT_OF_RANGE = 0x6A
    INVALID_CALL = 0x70
    MAX_MESSAGE_LIMIT_REACHED = 0x72
    MESSAGE_TOO_LONG = 0x74
    ADDRESS_TABLE_ENTRY_IS_ACTIVE = 0x76
    PHY_INVALID_CHANNEL = 0x8A
    NETWORK_UP = 0x90
    NETWORK_DOWN = 0x91
    NOT_JOINED = 0x93
    NETWORK_OPENED = 0x9C
    NETWORK_CLOSED = 0x9D
    APS_ENCRYPTION_ERROR = 0xA6
    SECURITY_STATE_NOT_SET = 0xA8
    INDEX_OUT_OF_RANGE = 0xB1
    KEY_INVALID = 0xB2
    KEY_TABLE_INVALID_ADDRESS = 0xB3
    TABLE_FULL = 0xB4
    LIBRARY_NOT_PRESENT = 0xB5
    TABLE_ENTRY_ERASED = 0xB6


class SlStatus(IntEnum):
    OK = 0x0000
    FAIL = 0x0001
    INVALID_STATE = 0x0002
    NOT_AVAILABLE = 0x000E
    NOT_SUPPORTED = 0x000F
    NETWORK_UP = 0x0015
    NETWORK_DOWN = 0x0016
    NOT_JOINED = 0x0017
    ALLOCATION_FAILED = 0x0019
    FULL = 0x001C
    INVALID_PARAMETER = 0x0021
    INVALID_TYPE = 0x0026
    INVALID_INDEX = 0x0027
    INVALID_RANGE = 0x0028
    INVALID_KEY = 0x0029
    NOT_FOUND = 0x002D
    MESSAGE_TOO_LONG = 0x0038
    INVALID_CHANNEL_MASK = 0x004F
    TRANSMIT_INVALID_CHANNEL = 0x0055
    ZIGBEE_DELIVERY_FAILED = 0x0C02
    ZIGBEE_MAX_MESSAGE_LIMIT_REACHED = 0x0C03
    ZIGBEE_ADDRESS_TABLE_ENTRY_IS_ACTIVE = 0x0C05
    ZIGBEE_APS_ENCRYPTION_ERROR = 0x0C0A
    ZIGBEE_SECURITY_STATE_NOT_SET = 0x0C0B
    ZIGBEE_NETWORK_OPENED = 0x0C18
    ZIGBEE_NETWORK_CLOSED = 0x0C19
    ZIGBEE_EZSP_ERROR = 0x0C1E


_AS_SL_STATUS = {
    EmberStatus.SUCCESS: SlStatus.OK,
    EmberStatus.ERR_FATAL: SlStatus.FAIL,
    EmberStatus.BAD_ARGUMENT: SlStatus.INVALID_PARAMETER,
    EmberStatus.NOT_FOUND: SlStatus.NOT_FOUND,
    EmberStatus.NO_BUFFERS: SlStatus.ALLOCATION_FAILED,
    EmberStatus.MAC_BAD_SCAN_DURATION: SlStatus.INVALID_PARAMETER,
    EmberStatus.MAC_INCORRECT_SCAN_TYPE: SlStatus.INVALID_PARAMETER,
    EmberStatus.MAC_INVALID_CHANNEL_MASK: SlStatus.INVALID_CHANNEL_MASK,
    EmberStatus.DELIVERY_FAILED: SlStatus.ZIGBEE_DELIVERY_FAILED,
    EmberStatus.ADDRESS_TABLE_INDEX_OUT_OF_RANGE: SlStatus.INVALID_RANGE,
    EmberStatus.INVALID_CALL: SlStatus.INVALID_STATE,
    EmberStatus.MAX_MESSAGE_LIMIT_REACHED: SlStatus.ZIGBEE_MAX_MESSAGE_LIMIT_REACHED,
    EmberStatus.MESSAGE_TOO_LONG: SlStatus.MESSAGE_TOO_LONG,
    EmberStatus.ADDRESS_TABLE_ENTRY_IS_ACTIVE: SlStatus.ZIGBEE_ADDRESS_TABLE_ENTRY_IS_ACTIVE,
    EmberStatus.PHY_INVALID_CHANNEL: SlStatus.TRANSMIT_INVALID_CHANNEL,
    EmberStatus.NETWORK_UP: SlStatus.NETWORK_UP,
    EmberStatus.NETWORK_DOWN: SlStatus.NETWORK_DOWN,
    EmberStatus.NOT_JOINED: SlStatus.NOT_JOINED,
    EmberStatus.NETWORK_OPENED: SlStatus.ZIGBEE_NETWORK_OPENED,
    EmberStatus.NETWORK_CLOSED: SlStatus.ZIGBEE_NETWORK_CLOSED,
    EmberStatus.APS_ENCRYPTION_ERROR: SlStatus.ZIGBEE_APS_ENCRYPTION_ERROR,
    EmberStatus.SECURITY_STATE_NOT_SET: SlStatus.ZIGBEE_SECURITY_STATE_NOT_SET,
    EmberStatus.INDEX_OUT_OF_RANGE: SlStatus.INVALID_INDEX,
    EmberStatus.KEY_INVALID: SlStatus.INVALID_KEY,
    EmberStatus.KEY_TABLE_INVALID_ADDRESS: SlStatus.INVALID_PARAMETER,
    EmberStatus.TABLE_FULL: SlStatus.FULL,
    EmberStatus.LIBRARY_NOT_PRESENT: SlStatus.NOT_AVAILABLE,
    EmberStatus.TABLE_ENTRY_ERASED: SlStatus.NOT_FOUND,
}
assert _AS_SL_STATUS.keys() == set(EmberStatus)


def to_sl_status(value: T) -> T | SlStatus:
    """A status of the older families as version 14 and later give it; anything else as it is."""
    if isinstance(value, EmberStatus):
        return _AS_SL_STATUS[value]
    if isinstance(value, EzspStatus):
        return SlStatus.OK if value is EzspStatus.SUCCESS else SlStatus.ZIGBEE_EZSP_ERROR
    return value
