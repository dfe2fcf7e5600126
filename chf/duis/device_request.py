"""Service requests about one device: SR 11.2, SR 11.3 in its two steps, and SR 8.11. Syntax only.

Install codes are secrets: they are in no repr and in no error.
"""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import ClassVar, Final, Self, TypeAlias

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
from chf.duis.identifiers import RequestId
from chf.eui64 import Eui64, format_eui64, parse_eui64

FIRMWARE_HASH_OCTETS: Final = 32  # DUIS-XSD, FirmwareHash
_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?", re.ASCII)  # XML Schema, dateTime
_EUI = re.compile(r"[A-Fa-f0-9]{2}(-[A-Fa-f0-9]{2}){7}", re.ASCII)  # DUIS-XSD, EUI
_HEX = re.compile(r"([A-Fa-f0-9]{2})+", re.ASCII)  # XML Schema, hexBinary
_LARGEST_PAYLOAD_OCTETS = 0xFFFF  # lengths of GBCS have two octets (RTDS)
_LONGEST_JOIN_S = 3600  # XSD
_INSTALL_CODE_OCTETS = (6, 8, 12, 16)  # ZigBee; the XSD allows 6 to 16
_MPXNS = ("ImportMPxN", "SecondaryImportMPAN", "ExportMPAN")


@dataclass(frozen=True, slots=True)
class ReadFirmwareVersionRequest:
    """SR 11.2. A time is the DSP's to keep."""

    request_id: RequestId
    execution_utc_s: int | None = None

    SERVICE: ClassVar = "11.2"
    ELEMENT: ClassVar = "ReadFirmwareVersion"

    def to_bytes(self) -> bytes:
        return to_octets(_begun(self, 1)[0])

    @classmethod
    def read(cls, header: RequestHeader, content: _Element) -> Self:
        fields, when = _read_begin(content, cls.ELEMENT, header)
        fields.finish()
        return cls(header.request_id, when)


@dataclass(frozen=True, slots=True)
class ActivateFirmwareRequest:
    """SR 11.3, command variant 4: to be transformed into a pre-command. A time is the device's to keep."""

    request_id: RequestId
    firmware_hash: bytes
    execution_utc_s: int | None = None

    SERVICE: ClassVar = "11.3"
    ELEMENT: ClassVar = "ActivateFirmware"

    def to_bytes(self) -> bytes:
        root, content = _begun(self, 4)
        add(content, "FirmwareHash", self.firmware_hash.hex().upper())
        return to_octets(root)

    @classmethod
    def read(cls, header: RequestHeader, content: _Element) -> Self:
        fields, when = _read_begin(content, cls.ELEMENT, header)
        element = fields.required("FirmwareHash")
        text = text_of(element, collapse=True)
        if not _HEX.fullmatch(text) or len(text) != 2 * FIRMWARE_HASH_OCTETS:
            raise refusal(f"{FIRMWARE_HASH_OCTETS} octets in hex are wanted", element)
        fields.finish()
        return cls(header.request_id, bytes.fromhex(text), when)


@dataclass(frozen=True, slots=True)
class SignedPreCommandRequest:
    """SR 11.3, command variant 5: the pre-command, signed by the supplier, for the device."""

    request_id: RequestId
    gbcs_payload: bytes
    execution_utc_s: int | None = None

    SERVICE: ClassVar = "11.3"
    ELEMENT: ClassVar = "SignedPreCommand"

    def to_bytes(self) -> bytes:
        root, content = _begun(self, 5)
        add(content, "GBCSPayload", base64_text(self.gbcs_payload))
        return to_octets(root)

    @classmethod
    def read(cls, header: RequestHeader, content: _Element) -> Self:
        fields, when = _read_begin(content, cls.ELEMENT, header)
        element = fields.required("GBCSPayload")
        payload = base64_of(element)
        if not 0 < len(payload) <= _LARGEST_PAYLOAD_OCTETS:
            raise refusal(f"1 to {_LARGEST_PAYLOAD_OCTETS} octets are wanted, not {len(payload)}", element)
        fields.finish()
        return cls(header.request_id, payload, when)


@dataclass(frozen=True, slots=True)
class AddToDeviceLog:
    """How long the device may join, and the install code of its label, without the CRC."""

    join_time_s: int
    install_code: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class UpdateHanDeviceLogRequest:
    """SR 8.11: write a device into the hub's device log and let it join, or strike it out (`add` is None)."""

    request_id: RequestId
    device: Eui64
    add: AddToDeviceLog | None
    execution_utc_s: int | None = None

    SERVICE: ClassVar = "8.11"
    ELEMENT: ClassVar = "UpdateHANDeviceLog"

    def to_bytes(self) -> bytes:
        root, content = _begun(self, 1)
        add(content, "DeviceID", format_eui64(self.device))
        add(content, "RequestType", "Remove" if self.add is None else "Add")
        if self.add is not None:
            joining = add(content, "AddDeviceToCHFWhitelist")
            add(joining, "JoinTimePeriod", str(self.add.join_time_s))
            add(joining, "InstallCode", self.add.install_code.hex().upper())
        return to_octets(root)

    @classmethod
    def read(cls, header: RequestHeader, content: _Element) -> Self:
        """The meter point numbers are of no use here and are passed over; the schema checks them where there is one."""
        fields, when = _read_begin(content, cls.ELEMENT, header)
        device_element = fields.required("DeviceID")
        device = text_of(device_element, collapse=True)
        if not _EUI.fullmatch(device):
            raise refusal("not an EUI such as 00-DB-12-34-56-78-90-A4", device_element)
        kind = fields.required("RequestType")
        joining = fields.optional("AddDeviceToCHFWhitelist")
        fields.finish()
        match text_of(kind):
            case "Add":
                if joining is None:
                    raise refusal("Add wants AddDeviceToCHFWhitelist", kind)
                return cls(header.request_id, parse_eui64(device), _read_joining(joining), when)
            case "Remove":
                if joining is not None:
                    raise refusal("Remove has no AddDeviceToCHFWhitelist", joining)
                return cls(header.request_id, parse_eui64(device), None, when)
            case _:
                raise refusal("Add or Remove", kind)


def _read_joining(element: _Element) -> AddToDeviceLog:
    refuse_attributes(element)
    fields = ElementReader(element)
    period = fields.required("JoinTimePeriod")
    seconds = text_of(period, collapse=True)
    if not (seconds.isascii() and seconds.isdigit() and len(seconds) <= 8 and 1 <= int(seconds) <= _LONGEST_JOIN_S):
        raise refusal(f"1 to {_LONGEST_JOIN_S} seconds", period)
    code = fields.required("InstallCode")
    text = text_of(code, collapse=True)
    if not _HEX.fullmatch(text) or len(text) // 2 not in _INSTALL_CODE_OCTETS:
        raise refusal("an install code is 6, 8, 12 or 16 octets in hex, without its CRC", code)
    for name in _MPXNS:
        number = fields.optional(name)
        if number is not None:
            text_of(number)
    fields.finish()
    return AddToDeviceLog(int(seconds), bytes.fromhex(text))


DeviceRequest: TypeAlias = (
    ReadFirmwareVersionRequest | ActivateFirmwareRequest | SignedPreCommandRequest | UpdateHanDeviceLogRequest
)


def _begun(request: DeviceRequest, command_variant: int) -> tuple[_Element, _Element]:
    """The document, and the one element of its body, with its time where it has one."""
    root, body = new_request(RequestHeader(request.request_id, request.SERVICE, command_variant))
    content = add(body, request.ELEMENT)
    if request.execution_utc_s is not None:
        add(content, "ExecutionDateTime", format_date_time(request.execution_utc_s))
    return root, content


def _read_begin(content: _Element, name: str, header: RequestHeader) -> tuple[ElementReader, int | None]:
    """The fields behind the time, and the time."""
    if name_of(content) != name:
        raise refusal(f"service request {header.service} in this command variant wants {name}", content)
    refuse_attributes(content)
    fields = ElementReader(content)
    return fields, _read_time(fields)


def format_date_time(utc_s: int) -> str:
    return datetime.fromtimestamp(utc_s, UTC).replace(tzinfo=None).isoformat() + "Z"  # strftime does not pad years


def _read_time(fields: ElementReader) -> int | None:
    """Whole seconds, as GBCS has them; xs:dateTime, and with its zone, because a wrong guess is an hour."""
    element = fields.optional("ExecutionDateTime")
    if element is None:
        return None
    text = text_of(element, collapse=True)
    if not _DATE_TIME.fullmatch(text):
        raise refusal("not a date and time", element)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise refusal("not a date and time", element) from None
    if moment.tzinfo is None:
        raise refusal("a time without its zone", element)
    try:
        return int(moment.timestamp())
    except (OverflowError, ValueError):
        raise refusal("not a date and time", element) from None
