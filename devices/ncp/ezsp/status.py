"""The status numbers that the co-processor gives (Silicon Labs UG100, section 3.3; SDK sl_status.h).

Three families: EzspStatus for the serial protocol itself, EmberStatus for the stack up to version 13, and sl_Status for
the security manager (and for everything from version 14 on).
"""

from enum import IntEnum


class EzspStatus(IntEnum):
    SUCCESS = 0x00
    VERSION_NOT_SET = 0x30
    INVALID_FRAME_ID = 0x31
    WRONG_DIRECTION = 0x32
    TRUNCATED = 0x33
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
    LIBRARY_NOT_PRESENT = 0xB5


class SlStatus(IntEnum):
    OK = 0x0000
    NOT_SUPPORTED = 0x000F
    FULL = 0x001C
    INVALID_PARAMETER = 0x0021
    INVALID_TYPE = 0x0026
    INVALID_INDEX = 0x0027
    INVALID_KEY = 0x0029
    NOT_FOUND = 0x002D
