"""The DCC's answer to a firmware service request: an acknowledgement, a warning with five lists, or an error code."""

from dataclasses import dataclass, fields
from datetime import datetime
from enum import Enum
from typing import Self, TypeVar

from lxml.etree import _Element

from chf.duis.codes import ResponseCode
from chf.duis.document import (
    SIGNATURE_NAMESPACE,
    ElementReader,
    add,
    check_root,
    parse_document,
    refusal,
    refuse_attributes,
    text_of,
    to_octets,
)
from chf.duis.envelope import new_response
from chf.duis.identifiers import RequestId, format_device_ids, parse_device_ids
from chf.duis.request import ServiceReference
from chf.errors import MalformedRequestError
from chf.eui64 import Eui64

_Code = TypeVar("_Code", bound=Enum)


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


_LISTS = {
    "invalid": "InvalidDeviceIDList",
    "not_commissioned": "NotCommissionedDeviceIDList",
    "not_applicable_firmware": "NotApplicableFirmwareDeviceIDList",
    "other_request_in_progress": "OtherRequestInProgressList",
    "invalid_gbcs_version": "InvalidGBCSVersionList",
}
_WARNINGS = {
    ServiceReference.UPDATE_FIRMWARE: "DSPUpdateFirmwareWarning",
    ServiceReference.UPDATE_PPMID_FIRMWARE: "DSPUpdatePPMIDFirmwareWarning",
}


@dataclass(frozen=True, slots=True)
class FirmwareResponse:
    """`warning` is empty unless the code is W110101 or W110401."""

    service_reference: ServiceReference
    request_id: RequestId
    code: ResponseCode
    utc_s: int
    """ResponseDateTime, seconds since 1970."""
    warning: FirmwareWarning = FirmwareWarning()

    def to_bytes(self) -> bytes:
        """The document, unsigned."""
        root, body = new_response(self.code, self.utc_s, self.request_id.response_id(), self.request_id)
        message = add(body, "ResponseMessage")
        add(message, "ServiceReference", self.service_reference.value)
        add(message, "ServiceReferenceVariant", self.service_reference.value)
        if self.warning:
            lists = add(message, _WARNINGS[self.service_reference])
            for attribute, name in _LISTS.items():
                ids = getattr(self.warning, attribute)
                if ids:
                    add(lists, name, format_device_ids(ids))
        return to_octets(root)

    @classmethod
    def from_bytes(cls, octets: bytes) -> Self:
        """Raises MalformedRequestError for anything but an answer to SR 11.1 or 11.4."""
        root = parse_document(octets)
        check_root(root, "Response")
        document = ElementReader(root)
        request_id, code, utc_s = _read_header(document.required("Header"))
        body = document.required("Body")
        document.optional("Signature", SIGNATURE_NAMESPACE)
        document.finish()
        refuse_attributes(body)
        bodies = ElementReader(body)
        element = bodies.required("ResponseMessage")
        bodies.finish()
        refuse_attributes(element)
        message = ElementReader(element)
        reference = _one_of(ServiceReference, message.required("ServiceReference"))
        variant = message.required("ServiceReferenceVariant")
        if text_of(variant) != reference.value:
            raise refusal(f"it does not belong to service reference {reference.value}", variant)
        lists = message.optional(_WARNINGS[reference])
        message.finish()
        warning = FirmwareWarning() if lists is None else _read_warning(lists)
        return cls(reference, request_id, code, utc_s, warning)


def _read_header(element: _Element) -> tuple[RequestId, ResponseCode, int]:
    refuse_attributes(element)
    header = ElementReader(element)
    request_id = RequestId.parse(text_of(header.required("RequestID"), collapse=True))
    response_id_element = header.required("ResponseID")
    response_id = RequestId.parse(text_of(response_id_element, collapse=True))
    code = _one_of(ResponseCode, header.required("ResponseCode"))
    when = header.required("ResponseDateTime")
    header.finish()
    if response_id != request_id.response_id():
        raise refusal("it does not answer the RequestID", response_id_element)
    try:
        moment = datetime.fromisoformat(text_of(when, collapse=True))
    except ValueError:
        raise refusal("not a date and time", when) from None
    if moment.tzinfo is None:
        raise refusal("a time without its zone", when)
    return request_id, code, int(moment.timestamp())


def _one_of(codes: type[_Code], element: _Element) -> _Code:
    text = text_of(element)
    for code in codes:
        if code.value == text:
            return code
    raise refusal(f"{text[:16]!r} is not known here", element)


def _read_warning(element: _Element) -> FirmwareWarning:
    refuse_attributes(element)
    reader = ElementReader(element)
    found: dict[str, tuple[Eui64, ...]] = {}
    for attribute, name in _LISTS.items():
        ids = reader.optional(name)
        if ids is not None:
            try:
                found[attribute] = parse_device_ids(text_of(ids))
            except MalformedRequestError as error:
                raise refusal(error.reason, ids) from None
    reader.finish()
    return FirmwareWarning(**found)
