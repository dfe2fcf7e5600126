"""The code points of GBCS that firmware updates use, under the names of the standard (GBCS 11, 16; Mapping Table)."""

from enum import IntEnum


class CraFlag(IntEnum):
    """First octet of the transaction id: what kind of message this is."""

    COMMAND = 1
    RESPONSE = 2
    ALERT = 3


class MessageCode(IntEnum):
    ACTIVATE_FIRMWARE = 0x0012  # CS06
    CHF_DEVICE_LOG_ALERT = 0x0018  # CS14
    READ_FIRMWARE_VERSION_ESME_CHF = 0x0059  # ECS52
    READ_FIRMWARE_VERSION_GSME = 0x0084  # GCS38
    FUTURE_DATED_FIRMWARE_ACTIVATION_ALERT = 0x00CA
    FIRMWARE_DISTRIBUTION_RECEIPT_ALERT_ESME = 0x00CE  # DLMS form
    FIRMWARE_DISTRIBUTION_RECEIPT_ALERT_GSME = 0x00CF  # GBZ form
    FIRMWARE_TRANSFER_ALERT = 0x0128  # CCS08
    READ_PPMID_HCALCS_FIRMWARE_VERSION = 0x0129  # CS08
    PPMID_FIRMWARE_ACTIVATION_ALERT = 0x012B  # CS09


class AlertCode(IntEnum):
    CHF_DEVICE_LOG_CHANGED = 0x8F12
    FIRMWARE_VERIFICATION_FAILED = 0x8F1C
    FUTURE_DATED_COMMAND_SUCCESS = 0x8F66
    FUTURE_DATED_COMMAND_FAILURE = 0x8F67
    FIRMWARE_VERIFICATION_SUCCESSFUL = 0x8F72
    FIRMWARE_TRANSFER_FAILURE = 0x8F89
    FIRMWARE_TRANSFER_SUCCESS = 0x8F8A
    PPMID_FIRMWARE_ACTIVATION = 0x8F8B


class ActivateImageResponseCode(IntEnum):
    """CS06 and 0x00CA."""

    SUCCESS = 0
    NO_IMAGE_HELD = 1
    HASH_MISMATCH = 2
    ACTIVATION_FAILURE = 3


class TransferResponseCode(IntEnum):
    """CCS08: what became of the transfer from the hub to the device."""

    SUCCESS = 0
    IMAGE_DISCARDED = 1
    HARDWARE_VERSION_MISMATCH = 2
    FILE_TRANSFER_FAILURE = 3


class ActivateImageResultCode(IntEnum):
    """CS09."""

    SUCCESS = 0
    FAILURE = 1


class ReadFirmwareVersionResponseCode(IntEnum):
    """CS08."""

    READ_SUCCESS = 0
    READ_FAILURE = 1


_USE_CASES = {
    MessageCode.ACTIVATE_FIRMWARE: "CS06 Activate Firmware",
    MessageCode.CHF_DEVICE_LOG_ALERT: "CS14 Device Addition To / Removal From HAN Whitelist Alerts",
    MessageCode.READ_FIRMWARE_VERSION_ESME_CHF: "ECS52 Read ESME/CHF Firmware Version",
    MessageCode.READ_FIRMWARE_VERSION_GSME: "GCS38 Read GSME Firmware Version",
    MessageCode.FUTURE_DATED_FIRMWARE_ACTIVATION_ALERT: "Future Dated Firmware Activation Alert",
    MessageCode.FIRMWARE_DISTRIBUTION_RECEIPT_ALERT_ESME: "Firmware Distribution Receipt Alert (ESME)",
    MessageCode.FIRMWARE_DISTRIBUTION_RECEIPT_ALERT_GSME: "Firmware Distribution Receipt Alert (GSME)",
    MessageCode.FIRMWARE_TRANSFER_ALERT: "CCS08 Firmware Transfer Alert",
    MessageCode.READ_PPMID_HCALCS_FIRMWARE_VERSION: "CS08 Read PPMID/HCALCS Firmware Version",
    MessageCode.PPMID_FIRMWARE_ACTIVATION_ALERT: "CS09 PPMID Firmware Activation Alert",
}


def use_case_name(message_code: int) -> str:
    """The use case as a person would look it up; a code outside this bench's scope says so."""
    return _USE_CASES.get(MessageCode(message_code), "") if message_code in _USE_CASES else "not a firmware use case"
