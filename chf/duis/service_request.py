"""Any service request of this bench, read from a document whose signature has been taken out."""

from dataclasses import dataclass
from typing import TypeAlias

from lxml.etree import _Element

from chf.duis.device_request import (
    ActivateFirmwareRequest,
    DeviceRequest,
    ReadFirmwareVersionRequest,
    SignedPreCommandRequest,
    UpdateHanDeviceLogRequest,
)
from chf.duis.document import ElementReader, check_root, only_child
from chf.duis.header import RequestHeader, read_header
from chf.duis.request import UpdateFirmwareRequest

ServiceRequest: TypeAlias = UpdateFirmwareRequest | DeviceRequest

_TRANSFORM = 4  # command variant, GP
_SIGNED_PRE_COMMAND = 5  # command variant, GP


@dataclass(frozen=True, slots=True)
class ReadRequest:
    """A request with its header."""

    header: RequestHeader
    request: ServiceRequest


def read_service_request(root: _Element) -> ReadRequest:
    """Raises MalformedRequestError, and RefusedError for a service that is none of this bench."""
    check_root(root, "Request")
    document = ElementReader(root)
    header = read_header(document.required("Header"))
    content = only_child(document.required("Body"))
    document.finish()
    return ReadRequest(header, _read(header, content))


def _read(header: RequestHeader, content: _Element) -> ServiceRequest:
    match header.service, header.command_variant:
        case "8.11", _:
            return UpdateHanDeviceLogRequest.read(header, content)
        case "11.2", _:
            return ReadFirmwareVersionRequest.read(header, content)
        case "11.3", variant if variant == _TRANSFORM:
            return ActivateFirmwareRequest.read(header, content)
        case "11.3", variant if variant == _SIGNED_PRE_COMMAND:
            return SignedPreCommandRequest.read(header, content)
        case _:
            return UpdateFirmwareRequest.read(header, content)
