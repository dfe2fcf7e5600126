"""Service requests and responses of the DCC User Interface (DUIS) for firmware, as dataclasses and as XML."""

from chf.duis.codes import ResponseCode
from chf.duis.envelope import FirmwareWarning, ServiceResponse
from chf.duis.identifiers import RequestId
from chf.duis.request import ServiceReference, UpdateFirmwareRequest
from chf.duis.schema import DuisSchema
