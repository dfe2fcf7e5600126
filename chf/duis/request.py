"""Service requests that bring a firmware image: SR 11.4 UpdatePPMIDFirmware and SR 11.1 UpdateFirmware, one shape.

Syntax only. Whether the devices may have the image is decided in `chf.dcc.intake`; the XML signature is noticed and not
verified. Sequenced requests (FirstInSequence, PrecedingServiceRequestID) are refused: there is no sequencing here.
"""

import binascii
from base64 import b64decode, b64encode
from dataclasses import dataclass, field
from enum import Enum
from typing import Self

from lxml.etree import _Element

from chf.duis.document import (
    SIGNATURE_NAMESPACE,
    ElementReader,
    add,
    check_root,
    name_of,
    new_root,
    parse_document,
    refusal,
    refuse_attributes,
    text_of,
    to_octets,
)
from chf.duis.identifiers import RequestId, format_device_ids, parse_device_ids
from chf.errors import MalformedRequestError, RefusedError
from chf.eui64 import Eui64

SCHEMA_VERSION = "5.4"
LARGEST_IMAGE_OCTETS = 10_240_000  # XSD
_LONGEST_VERSION = 8  # XSD
_NON_DEVICE_COMMAND_VARIANT = "8"
_XML_SPACE_OCTETS = b" \t\r\n"


class ServiceReference(Enum):
    """The value is both the ServiceReference and the ServiceReferenceVariant; these two have no other variants."""

    UPDATE_FIRMWARE = "11.1"
    UPDATE_PPMID_FIRMWARE = "11.4"


_BODIES = {
    ServiceReference.UPDATE_FIRMWARE: "UpdateFirmware",
    ServiceReference.UPDATE_PPMID_FIRMWARE: "UpdatePPMIDFirmware",
}


@dataclass(frozen=True, slots=True)
class UpdateFirmwareRequest:
    """SR 11.1 or 11.4: this image for these devices. Neither a hash nor a time is in it."""

    service_reference: ServiceReference
    request_id: RequestId
    image: bytes = field(repr=False)
    firmware_version: str
    """1 to 8 characters, as the sender wrote them."""
    device_ids: tuple[Eui64, ...]
    schema_version: str = SCHEMA_VERSION
    signed: bool = False
    """Whether a ds:Signature was there."""

    def to_bytes(self) -> bytes:
        """The document, unsigned."""
        root = new_root("Request", self.schema_version)
        header = add(root, "Header")
        add(header, "RequestID", str(self.request_id))
        add(header, "CommandVariant", _NON_DEVICE_COMMAND_VARIANT)
        add(header, "ServiceReference", self.service_reference.value)
        add(header, "ServiceReferenceVariant", self.service_reference.value)
        body = add(add(root, "Body"), _BODIES[self.service_reference])
        add(body, "FirmwareImage", b64encode(self.image).decode("ascii"))
        add(body, "FirmwareVersion", self.firmware_version)
        add(body, "DeviceIDList", format_device_ids(self.device_ids))
        return to_octets(root)

    @classmethod
    def from_bytes(cls, octets: bytes) -> Self:
        """Read a request.

        Raises MalformedRequestError for what is not one, RefusedError for a service request that is not taken in here.
        """
        root = parse_document(octets)
        schema_version = check_root(root, "Request")
        document = ElementReader(root)
        request_id, reference = _read_header(document.required("Header"))
        body = document.required("Body")
        signed = document.optional("Signature", SIGNATURE_NAMESPACE) is not None
        document.finish()
        refuse_attributes(body)
        bodies = ElementReader(body)
        content = bodies.any()
        bodies.finish()
        if name_of(content) != _BODIES[reference]:
            raise refusal(f"service reference {reference.value} wants {_BODIES[reference]}", content)
        refuse_attributes(content)
        fields = ElementReader(content)
        image = _read_image(fields.required("FirmwareImage"))
        version = _read_version(fields.required("FirmwareVersion"))
        ids = _read_device_ids(fields.required("DeviceIDList"))
        fields.finish()
        return cls(reference, request_id, image, version, ids, schema_version, signed)


def _read_header(element: _Element) -> tuple[RequestId, ServiceReference]:
    refuse_attributes(element)
    header = ElementReader(element)
    request_id_element = header.required("RequestID")
    try:
        request_id = RequestId.parse(text_of(request_id_element, collapse=True))
    except MalformedRequestError as error:
        raise refusal(error.reason, request_id_element) from None
    for name in ("FirstInSequence", "PrecedingServiceRequestID"):
        sequenced = header.optional(name)
        if sequenced is not None:
            raise refusal("sequenced requests are not supported", sequenced)
    variant = header.required("CommandVariant")
    reference = header.required("ServiceReference")
    reference_variant = header.required("ServiceReferenceVariant")
    header.finish()
    known = {service.value: service for service in ServiceReference}
    asked = text_of(reference)
    if asked not in known:
        taken = " and ".join(sorted(known))
        raise RefusedError(f"service request {asked[:16]!r} is not taken in here; {taken} are")
    if text_of(reference_variant) != asked:
        raise refusal(f"it does not belong to service reference {asked}", reference_variant)
    if text_of(variant, collapse=True) != _NON_DEVICE_COMMAND_VARIANT:
        raise refusal(f"service request {asked} has command variant {_NON_DEVICE_COMMAND_VARIANT}", variant)
    return request_id, known[asked]


def _read_image(element: _Element) -> bytes:
    """xs:base64Binary: white space anywhere is allowed, everything else strict."""
    text = text_of(element)
    try:
        compact = text.encode("ascii").translate(None, _XML_SPACE_OCTETS)
        image = b64decode(compact, validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise refusal(f"not base64: {str(error)[:80]}", element) from None
    if b64encode(image) != compact:
        raise refusal("not base64: its end is not in canonical form", element)
    if not image:
        raise refusal("no image", element)
    if len(image) > LARGEST_IMAGE_OCTETS:
        raise refusal(f"{len(image)} octets; at most {LARGEST_IMAGE_OCTETS} are legal", element)
    return image


def _read_version(element: _Element) -> str:
    version = text_of(element)
    if not 1 <= len(version) <= _LONGEST_VERSION:
        raise refusal(f"1 to {_LONGEST_VERSION} characters, not {len(version)}", element)
    return version


def _read_device_ids(element: _Element) -> tuple[Eui64, ...]:
    try:
        return parse_device_ids(text_of(element))
    except MalformedRequestError as error:
        raise refusal(error.reason, element) from None
