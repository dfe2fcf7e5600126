"""Response codes, in one table that says which meanings are published and which are ours.

The schema enumerates every code; for those of SR 11.1 and 11.4 no public text was found (gbcs-duis §11, §18). Where
`sourced` is false, `meaning` is how this bench uses the code, and nobody else's word.
"""

from dataclasses import dataclass
from enum import Enum


class ResponseCode(Enum):
    """Those that this bench sends."""

    SUCCESS = "I0"
    ACKNOWLEDGED = "I99"
    UNKNOWN_SENDER = "E1"
    VALIDATION = "E11"
    DEVICE_DOES_NOT_EXIST = "E19"
    UPDATE_FIRMWARE_IMAGE = "E110101"
    UPDATE_FIRMWARE_NO_DEVICE = "E110102"
    UPDATE_FIRMWARE_PARTIAL = "W110101"
    UPDATE_PPMID_FIRMWARE_IMAGE = "E110401"
    UPDATE_PPMID_FIRMWARE_NO_DEVICE = "E110402"
    UPDATE_PPMID_FIRMWARE_PARTIAL = "W110401"


@dataclass(frozen=True, slots=True)
class CodeMeaning:
    meaning: str
    sourced: bool


RESPONSE_CODES: dict[ResponseCode, CodeMeaning] = {
    ResponseCode.SUCCESS: CodeMeaning("success", sourced=True),
    ResponseCode.ACKNOWLEDGED: CodeMeaning("acknowledged; the outcome follows", sourced=True),
    ResponseCode.UNKNOWN_SENDER: CodeMeaning("authorisation: the user", sourced=True),
    ResponseCode.VALIDATION: CodeMeaning("validation of the request", sourced=True),
    ResponseCode.DEVICE_DOES_NOT_EXIST: CodeMeaning("the device does not exist", sourced=True),
    ResponseCode.UPDATE_FIRMWARE_IMAGE: CodeMeaning("the image or its version was refused", sourced=False),
    ResponseCode.UPDATE_FIRMWARE_NO_DEVICE: CodeMeaning("every device was refused", sourced=False),
    ResponseCode.UPDATE_FIRMWARE_PARTIAL: CodeMeaning("some devices were refused; the body lists them", sourced=True),
    ResponseCode.UPDATE_PPMID_FIRMWARE_IMAGE: CodeMeaning("the image or its version was refused", sourced=False),
    ResponseCode.UPDATE_PPMID_FIRMWARE_NO_DEVICE: CodeMeaning("every device was refused", sourced=False),
    ResponseCode.UPDATE_PPMID_FIRMWARE_PARTIAL: CodeMeaning(
        "some devices were refused; the body lists them", sourced=True
    ),
}
