"""The envelope of everything that the DCC sends to a user: header, and the body to be filled.

Answers carry the RequestID that they answer and the ResponseID made from it. Alerts answer nothing: they carry a
ResponseID of their own, `originator:recipient:counter`, by which a repeated delivery is known for one.
"""

from dataclasses import dataclass, fields
from typing import TypeAlias, assert_never

from lxml.etree import _Element

from chf.duis.codes import ResponseCode
from chf.duis.device_request import format_date_time
from chf.duis.document import add, base64_text, new_root, to_octets
from chf.duis.header import SCHEMA_VERSION
from chf.duis.identifiers import RequestId, format_device_ids
from chf.eui64 import Eui64


@dataclass(frozen=True, slots=True)
class PreCommand:
    """The answer to a transform: to be signed by the supplier and sent back."""

    gbcs_version: str
    gbcs_payload: bytes


@dataclass(frozen=True, slots=True)
class GbcsResponse:
    """A device's answer, untouched."""

    gbcs_payload: bytes


@dataclass(frozen=True, slots=True)
class FutureDatedDeviceAlert:
    """What became of a future-dated command: the device's alert 0x8F66 or 0x8F67, untouched."""

    alert_code: int
    gbcs_payload: bytes


@dataclass(frozen=True, slots=True)
class FirmwareWarning:
    """The body of W110101 and W110401: refused devices by reason, in the order of the schema. Others were accepted."""

    invalid: tuple[Eui64, ...] = ()
    not_commissioned: tuple[Eui64, ...] = ()
    not_applicable_firmware: tuple[Eui64, ...] = ()
    other_request_in_progress: tuple[Eui64, ...] = ()
    invalid_gbcs_version: tuple[Eui64, ...] = ()

    def __bool__(self) -> bool:
        return any(getattr(self, field.name) for field in fields(self))


Content: TypeAlias = PreCommand | GbcsResponse | FutureDatedDeviceAlert | FirmwareWarning | None

_LISTS = {
    "invalid": "InvalidDeviceIDList",
    "not_commissioned": "NotCommissionedDeviceIDList",
    "not_applicable_firmware": "NotApplicableFirmwareDeviceIDList",
    "other_request_in_progress": "OtherRequestInProgressList",
    "invalid_gbcs_version": "InvalidGBCSVersionList",
}
_WARNINGS = {"11.1": "DSPUpdateFirmwareWarning", "11.4": "DSPUpdatePPMIDFirmwareWarning"}  # DUIS-XSD


@dataclass(frozen=True, slots=True)
class ServiceResponse:
    """An answer to a service request, at once or later."""

    request_id: RequestId
    service: str
    code: ResponseCode
    utc_s: int
    content: Content = None
    service_variant: str = ""
    """Where it is not the service's own name."""

    def to_bytes(self) -> bytes:
        """The document, unsigned."""
        root, body = new_response(self.code, self.utc_s, self.request_id.response_id(), self.request_id)
        message = add(body, "ResponseMessage")
        add(message, "ServiceReference", self.service)
        add(message, "ServiceReferenceVariant", self.service_variant or self.service)
        match self.content:
            case None:
                pass
            case PreCommand(version, payload):
                element = add(message, "PreCommand")
                add(element, "GBCSVersion", version)
                add(element, "GBCSPayload", base64_text(payload))
            case GbcsResponse(payload):
                add(message, "GBCSPayload", base64_text(payload))
            case FutureDatedDeviceAlert(code, payload):
                element = add(message, "FutureDatedDeviceAlertMessage")
                add(element, "FutureDatedAlertCode", f"{code:04X}")
                add(element, "GBCSPayload", base64_text(payload))
                add(element, "InstructionNumber", "1")  # a firmware command is one instruction
                add(element, "TotalCommandInstructions", "1")
            case FirmwareWarning() as warning:
                element = add(message, _WARNINGS[self.service])
                for attribute, name in _LISTS.items():
                    if ids := getattr(warning, attribute):
                        add(element, name, format_device_ids(ids))
            case _:
                assert_never(self.content)
        return to_octets(root)


def new_response(
    code: ResponseCode, utc_s: int, response_id: RequestId, request_id: RequestId | None = None
) -> tuple[_Element, _Element]:
    """A Response with its header, and the body to be filled."""
    root = new_root("Response", SCHEMA_VERSION)
    header = add(root, "Header")
    if request_id is not None:
        add(header, "RequestID", str(request_id))
    add(header, "ResponseID", str(response_id))
    add(header, "ResponseCode", code.value)
    add(header, "ResponseDateTime", format_date_time(utc_s))
    return root, add(root, "Body")
