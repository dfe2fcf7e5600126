"""Service requests that bring a firmware image: SR 11.4 UpdatePPMIDFirmware and SR 11.1 UpdateFirmware, one shape.

Syntax only. Whether the devices may have the image is decided in `chf.dcc.intake`, who signed the document in
`xml_signature`.
"""

from dataclasses import dataclass, field
from enum import Enum
from typing import Self

from lxml.etree import _Element

from chf.duis.document import (
    ElementReader,
    add,
    base64_of,
    base64_text,
    name_of,
    refusal,
    refuse_attributes,
    text_of,
    to_octets,
)
from chf.duis.header import RequestHeader, new_request
from chf.duis.identifiers import RequestId, format_device_ids, parse_device_ids
from chf.errors import MalformedRequestError
from chf.eui64 import Eui64

LARGEST_IMAGE_OCTETS = 10_240_000  # XSD
_LONGEST_VERSION = 8  # XSD
_NON_DEVICE_COMMAND_VARIANT = 8


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

    def to_bytes(self) -> bytes:
        """The document, unsigned."""
        service = self.service_reference.value
        root, body = new_request(RequestHeader(self.request_id, service, _NON_DEVICE_COMMAND_VARIANT))
        content = add(body, _BODIES[self.service_reference])
        add(content, "FirmwareImage", base64_text(self.image))
        add(content, "FirmwareVersion", self.firmware_version)
        add(content, "DeviceIDList", format_device_ids(self.device_ids))
        return to_octets(root)

    @classmethod
    def read(cls, header: RequestHeader, content: _Element) -> Self:
        """From the header and the one element of the body."""
        reference = ServiceReference(header.service)
        if name_of(content) != _BODIES[reference]:
            raise refusal(f"service reference {reference.value} wants {_BODIES[reference]}", content)
        refuse_attributes(content)
        fields = ElementReader(content)
        image = _read_image(fields.required("FirmwareImage"))
        version = _read_version(fields.required("FirmwareVersion"))
        ids = _read_device_ids(fields.required("DeviceIDList"))
        fields.finish()
        return cls(reference, header.request_id, image, version, ids)


def _read_image(element: _Element) -> bytes:
    image = base64_of(element)
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
