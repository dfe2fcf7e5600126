"""Service requests and responses of the DCC User Interface (DUIS) for firmware, as dataclasses and as XML."""

from chf.duis.codes import RESPONSE_CODES, ResponseCode
from chf.duis.envelope import FirmwareWarning, ServiceResponse
from chf.duis.identifiers import RequestId
from chf.duis.request import ServiceReference, UpdateFirmwareRequest
from chf.duis.schema import DuisSchema

__all__ = [
    "RESPONSE_CODES",
    "DuisSchema",
    "FirmwareWarning",
    "RequestId",
    "ResponseCode",
    "ServiceReference",
    "ServiceResponse",
    "UpdateFirmwareRequest",
]
