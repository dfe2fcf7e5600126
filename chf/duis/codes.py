"""Response codes and DCC Alert codes, in one table each that says which meanings are published and which are ours.

The schema enumerates every code; for those of SR 11.1 and 11.4, and for most DCC Alerts, no public text was found
(DUIS-XSD, SECAS). Where `sourced` is false, `meaning` is how this bench uses the code, and nobody else's word.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final


class ResponseCode(Enum):
    """Those that this bench sends."""

    SUCCESS = "I0"
    ACKNOWLEDGED = "I99"
    UNKNOWN_SENDER = "E1"
    ROLE = "E2"
    DEVICE_TYPE = "E4"
    DEVICE_STATUS = "E5"
    VALIDATION = "E11"
    DEVICE_DOES_NOT_EXIST = "E19"
    CANNOT_COMMUNICATE = "E20"
    NO_RESPONSE = "E21"
    TIMED_OUT = "E30"
    UPDATE_FIRMWARE_IMAGE = "E110101"
    UPDATE_FIRMWARE_NO_DEVICE = "E110102"
    UPDATE_FIRMWARE_PARTIAL = "W110101"
    UPDATE_PPMID_FIRMWARE_IMAGE = "E110401"
    UPDATE_PPMID_FIRMWARE_NO_DEVICE = "E110402"
    UPDATE_PPMID_FIRMWARE_PARTIAL = "W110401"


class DccAlertCode(Enum):
    """Those that this bench sends."""

    DELIVERED_TO_HUB = "N60"
    NOT_DELIVERED_TO_HUB = "N61"
    COMMS_HUB_ALERT = "N62"
    PPMID_ALERT = "N39"


@dataclass(frozen=True, slots=True)
class CodeMeaning:
    meaning: str
    sourced: bool


RESPONSE_CODES: Final[Mapping[ResponseCode, CodeMeaning]] = {
    ResponseCode.SUCCESS: CodeMeaning("success", sourced=True),
    ResponseCode.ACKNOWLEDGED: CodeMeaning("acknowledged; the outcome follows", sourced=True),
    ResponseCode.UNKNOWN_SENDER: CodeMeaning("authorisation: the user", sourced=True),
    ResponseCode.ROLE: CodeMeaning("authorisation: the user's role", sourced=True),
    ResponseCode.DEVICE_TYPE: CodeMeaning("authorisation: the device has another role (type)", sourced=True),
    ResponseCode.DEVICE_STATUS: CodeMeaning("authorisation: the device's status", sourced=True),
    ResponseCode.VALIDATION: CodeMeaning("validation of the request", sourced=True),
    ResponseCode.DEVICE_DOES_NOT_EXIST: CodeMeaning("the device does not exist", sourced=True),
    ResponseCode.CANNOT_COMMUNICATE: CodeMeaning("no communication with the device", sourced=True),
    ResponseCode.NO_RESPONSE: CodeMeaning("the device did not respond", sourced=True),
    ResponseCode.TIMED_OUT: CodeMeaning("time-out of a future-dated request", sourced=True),
    ResponseCode.UPDATE_FIRMWARE_IMAGE: CodeMeaning("the image or its version was refused", sourced=False),
    ResponseCode.UPDATE_FIRMWARE_NO_DEVICE: CodeMeaning("every device was refused", sourced=False),
    ResponseCode.UPDATE_FIRMWARE_PARTIAL: CodeMeaning("some devices were refused; the body lists them", sourced=True),
    ResponseCode.UPDATE_PPMID_FIRMWARE_IMAGE: CodeMeaning("the image or its version was refused", sourced=False),
    ResponseCode.UPDATE_PPMID_FIRMWARE_NO_DEVICE: CodeMeaning("every device was refused", sourced=False),
    ResponseCode.UPDATE_PPMID_FIRMWARE_PARTIAL: CodeMeaning(
        "some devices were refused; the body lists them", sourced=True
    ),
}

DCC_ALERT_CODES: Final[Mapping[DccAlertCode, CodeMeaning]] = {
    DccAlertCode.DELIVERED_TO_HUB: CodeMeaning("the image reached the hub; published for ESME and GSME", sourced=True),
    DccAlertCode.NOT_DELIVERED_TO_HUB: CodeMeaning(
        "the image did not reach the hub; published for ESME and GSME", sourced=True
    ),
    DccAlertCode.COMMS_HUB_ALERT: CodeMeaning("carries a CommsHubAlert; the number is our choice", sourced=False),
    DccAlertCode.PPMID_ALERT: CodeMeaning("carries a PPMIDAlert; the number is our choice", sourced=False),
}
