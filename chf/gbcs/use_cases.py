"""The payloads of the firmware use cases (GP, RTDS), one frozen dataclass each.

`parse_payload` picks the class by message code and CRA flag. A message of another use case is an OpaquePayload: the hub
relays it without understanding it. Alert codes that follow from a response code are properties, not fields, and a
payload whose two codes contradict each other is refused.
"""

from dataclasses import dataclass
from typing import Self

from chf.errors import MalformedMessageError
from chf.gbcs.codes import (
    ActivateImageResponseCode,
    ActivateImageResultCode,
    AlertCode,
    CraFlag,
    MessageCode,
    ReadFirmwareVersionResponseCode,
    TransferResponseCode,
)
from chf.gbcs.cursor import Cursor
from chf.gbcs.der import DerReader, generalized_time, integer, null, octet_string, sequence
from chf.gbcs.device_log_alert import DeviceLogChangedAlert
from chf.gbcs.dlms import DATE_TIME, notification_head, read_notification_head
from chf.gbcs.message import DATE_TIME_OCTETS, GbcsMessage
from chf.gbcs.meter_version import (
    GBZ_HEAD,
    DlmsReadFirmwareVersionCommand,
    DlmsReadFirmwareVersionResponse,
    GbzReadFirmwareVersionCommand,
    GbzReadFirmwareVersionResponse,
)

HASH_OCTETS = 32  # SHA-256 of the Manufacturer Image, GBCS 11.2.4
VERSION_OCTETS = 4  # firmwareVersion, GP
CANCELLED_UTC_S = 253402300799
"""99991231235959Z: the executionDateTime that cancels a future-dated CS06 (DUIS-T, RTDS)."""


@dataclass(frozen=True, slots=True)
class ActivateFirmwareCommand:
    """CS06 command: activate the image with this hash, now or at a time."""

    manufacturer_image_hash: bytes
    originator_counter: int
    execution_utc_s: int | None = None

    def to_bytes(self) -> bytes:
        when = b"" if self.execution_utc_s is None else generalized_time(self.execution_utc_s)
        return sequence(octet_string(self.manufacturer_image_hash), integer(self.originator_counter), when)

    @classmethod
    def read(cls, der: DerReader) -> Self:
        inside = der.sequence("Command")
        image_hash = inside.octet_string(HASH_OCTETS, "manufacturerImageHash")
        counter = inside.integer("originatorCounter")
        when = inside.generalized_time("executionDateTime") if inside.remaining else None
        inside.finish("Command")
        return cls(image_hash, counter, when)


@dataclass(frozen=True, slots=True)
class CommandAccepted:
    """CS06 response to a future-dated command: it will be carried out at its time."""

    def to_bytes(self) -> bytes:
        return null()


@dataclass(frozen=True, slots=True)
class ExecutionOutcome:
    """CS06 response to an immediate command, and the closing part of the future-dated alert."""

    response_code: ActivateImageResponseCode
    firmware_version: int
    """The version that runs now, u32."""

    def to_bytes(self) -> bytes:
        return sequence(integer(self.response_code), octet_string(_version(self.firmware_version)))

    @classmethod
    def read(cls, der: DerReader) -> Self:
        inside = der.sequence("ExecutionOutcome")
        code = inside.enumeration(ActivateImageResponseCode, "activateImageResponseCode")
        version = _read_version(inside)
        inside.finish("ExecutionOutcome")
        return cls(code, version)


@dataclass(frozen=True, slots=True)
class FutureDatedFirmwareActivationAlert:
    """0x00CA: what became of a future-dated CS06."""

    execution_utc_s: int
    originator_counter: int
    """Of the CS06 command."""
    outcome: ExecutionOutcome

    @property
    def alert_code(self) -> AlertCode:
        succeeded = self.outcome.response_code is ActivateImageResponseCode.SUCCESS
        return AlertCode.FUTURE_DATED_COMMAND_SUCCESS if succeeded else AlertCode.FUTURE_DATED_COMMAND_FAILURE

    def to_bytes(self) -> bytes:
        return sequence(
            integer(self.alert_code),
            generalized_time(self.execution_utc_s),
            integer(self.originator_counter),
            self.outcome.to_bytes(),
        )

    @classmethod
    def read(cls, der: DerReader) -> Self:
        inside = der.sequence("Alert")
        offset = inside.offset
        code = inside.enumeration(AlertCode, "alertCode")
        when = inside.generalized_time("executionDateTime")
        counter = inside.integer("originatorCounter")
        alert = cls(when, counter, ExecutionOutcome.read(inside))
        inside.finish("Alert")
        _check_alert_code(code, alert.alert_code, offset)
        return alert


@dataclass(frozen=True, slots=True)
class ReadFirmwareVersionCommand:
    """CS08 command."""

    def to_bytes(self) -> bytes:
        return null()


@dataclass(frozen=True, slots=True)
class ReadFirmwareVersionResponse:
    """CS08 response."""

    firmware_version: int
    response_code: ReadFirmwareVersionResponseCode

    def to_bytes(self) -> bytes:
        return sequence(octet_string(_version(self.firmware_version)), integer(self.response_code))

    @classmethod
    def read(cls, der: DerReader) -> Self:
        inside = der.sequence("Response")
        version = _read_version(inside)
        code = inside.enumeration(ReadFirmwareVersionResponseCode, "readFirmwareVersionResponseCode")
        inside.finish("Response")
        return cls(version, code)


@dataclass(frozen=True, slots=True)
class FirmwareTransferAlert:
    """CCS08: the hub's report on the transfer of an image to a device."""

    utc_s: int
    other_entity: int
    """EUI-64 of the device that the image was for."""
    firmware_version: int
    response_code: TransferResponseCode

    @property
    def alert_code(self) -> AlertCode:
        succeeded = self.response_code is TransferResponseCode.SUCCESS
        return AlertCode.FIRMWARE_TRANSFER_SUCCESS if succeeded else AlertCode.FIRMWARE_TRANSFER_FAILURE

    def to_bytes(self) -> bytes:
        return sequence(
            integer(self.alert_code),
            generalized_time(self.utc_s),
            octet_string(self.other_entity.to_bytes(8, "big")),
            octet_string(_version(self.firmware_version)),
            integer(self.response_code),
        )

    @classmethod
    def read(cls, der: DerReader) -> Self:
        inside = der.sequence("Alert")
        offset = inside.offset
        code = inside.enumeration(AlertCode, "alertCode")
        when = inside.generalized_time("dateTime")
        other = int.from_bytes(inside.octet_string(8, "otherEntityId"), "big")
        version = _read_version(inside)
        alert = cls(when, other, version, inside.enumeration(TransferResponseCode, "responseCode"))
        inside.finish("Alert")
        _check_alert_code(code, alert.alert_code, offset)
        return alert


@dataclass(frozen=True, slots=True)
class PpmidFirmwareActivationAlert:
    """CS09: the PPMID's report on the activation of an image."""

    utc_s: int
    firmware_version: int
    result: ActivateImageResultCode

    @property
    def alert_code(self) -> AlertCode:
        return AlertCode.PPMID_FIRMWARE_ACTIVATION

    def to_bytes(self) -> bytes:
        return sequence(
            integer(self.alert_code),
            generalized_time(self.utc_s),
            octet_string(_version(self.firmware_version)),
            integer(self.result),
        )

    @classmethod
    def read(cls, der: DerReader) -> Self:
        inside = der.sequence("Alert")
        offset = inside.offset
        code = inside.enumeration(AlertCode, "alertCode")
        when = inside.generalized_time("dateTime")
        version = _read_version(inside)
        alert = cls(when, version, inside.enumeration(ActivateImageResultCode, "activateImage"))
        inside.finish("Alert")
        _check_alert_code(code, alert.alert_code, offset)
        return alert


_RECEIPT_CODES = (AlertCode.FIRMWARE_VERIFICATION_SUCCESSFUL, AlertCode.FIRMWARE_VERIFICATION_FAILED)


@dataclass(frozen=True, slots=True)
class GbzFirmwareDistributionReceiptAlert:
    """The GSME's verdict on an image that it received, in GBZ: unlike the rest of ZigBee, big-endian."""

    alert_code: AlertCode
    zigbee_time: int
    """Seconds since 2000-01-01 UTC."""
    manufacturer_image_hash: bytes

    def to_bytes(self) -> bytes:
        head = GBZ_HEAD + self.alert_code.to_bytes(2, "big") + self.zigbee_time.to_bytes(4, "big")
        return head + _DLMS_HASH_HEAD + self.manufacturer_image_hash

    @classmethod
    def read(cls, cursor: Cursor) -> Self:
        cursor.expect(GBZ_HEAD, "GBZ profile and component count")
        code = _read_receipt_code(cursor)
        when = cursor.uint(4, "time")
        cursor.expect(_DLMS_HASH_HEAD, "manufacturerImageHash head")
        return cls(code, when, cursor.take(HASH_OCTETS, "manufacturerImageHash"))


@dataclass(frozen=True, slots=True)
class DlmsFirmwareDistributionReceiptAlert:
    """The ESME's verdict on an image that it received, as a DLMS data notification."""

    counter: int
    """The low 24 bits of the originator's."""
    alert_code: AlertCode
    date_time: bytes
    """COSEM date-time, 12 octets."""
    manufacturer_image_hash: bytes

    def to_bytes(self) -> bytes:
        head = notification_head(self.counter) + self.alert_code.to_bytes(2, "big")
        return head + DATE_TIME + self.date_time + _DLMS_HASH_HEAD + self.manufacturer_image_hash

    @classmethod
    def read(cls, cursor: Cursor) -> Self:
        counter = read_notification_head(cursor)
        code = _read_receipt_code(cursor)
        cursor.expect(DATE_TIME, "date-time head")
        when = cursor.take(DATE_TIME_OCTETS, "date-time")
        cursor.expect(_DLMS_HASH_HEAD, "manufacturerImageHash head")
        return cls(counter, code, when, cursor.take(HASH_OCTETS, "manufacturerImageHash"))


@dataclass(frozen=True, slots=True)
class OpaquePayload:
    """The payload of a use case that has nothing to do with firmware."""

    octets: bytes

    def to_bytes(self) -> bytes:
        return self.octets


Payload = (
    ActivateFirmwareCommand
    | CommandAccepted
    | ExecutionOutcome
    | FutureDatedFirmwareActivationAlert
    | ReadFirmwareVersionCommand
    | ReadFirmwareVersionResponse
    | DlmsReadFirmwareVersionCommand
    | DlmsReadFirmwareVersionResponse
    | GbzReadFirmwareVersionCommand
    | GbzReadFirmwareVersionResponse
    | FirmwareTransferAlert
    | PpmidFirmwareActivationAlert
    | GbzFirmwareDistributionReceiptAlert
    | DlmsFirmwareDistributionReceiptAlert
    | DeviceLogChangedAlert
    | OpaquePayload
)

_DLMS_HASH_HEAD = bytes.fromhex("0920")  # DLMS octet string (0x09) of 32, RTDS


def parse_payload(message: GbcsMessage) -> Payload:
    """What the payload says.

    Raises MalformedMessageError, with offsets in the whole message, where it is not what its message code promises.
    """
    der = DerReader(message.payload, message.payload_offset)
    payload = _read_payload(message, der)
    if not isinstance(payload, OpaquePayload):
        der.finish("end of the payload")
    return payload


def _read_payload(message: GbcsMessage, der: DerReader) -> Payload:
    match message.header.message_code, message.header.cra:
        case MessageCode.ACTIVATE_FIRMWARE, CraFlag.COMMAND:
            return ActivateFirmwareCommand.read(der)
        case MessageCode.ACTIVATE_FIRMWARE, CraFlag.RESPONSE:
            if len(message.payload) > len(null()):
                return ExecutionOutcome.read(der)
            der.null("commandAccepted")
            return CommandAccepted()
        case MessageCode.FUTURE_DATED_FIRMWARE_ACTIVATION_ALERT, CraFlag.ALERT:
            return FutureDatedFirmwareActivationAlert.read(der)
        case MessageCode.READ_PPMID_HCALCS_FIRMWARE_VERSION, CraFlag.COMMAND:
            der.null("Command")
            return ReadFirmwareVersionCommand()
        case MessageCode.READ_PPMID_HCALCS_FIRMWARE_VERSION, CraFlag.RESPONSE:
            return ReadFirmwareVersionResponse.read(der)
        case MessageCode.READ_FIRMWARE_VERSION_ESME_CHF, CraFlag.COMMAND:
            return DlmsReadFirmwareVersionCommand.read(der)
        case MessageCode.READ_FIRMWARE_VERSION_ESME_CHF, CraFlag.RESPONSE:
            return DlmsReadFirmwareVersionResponse.read(der)
        case MessageCode.READ_FIRMWARE_VERSION_GSME, CraFlag.COMMAND:
            return GbzReadFirmwareVersionCommand.read(der)
        case MessageCode.READ_FIRMWARE_VERSION_GSME, CraFlag.RESPONSE:
            return GbzReadFirmwareVersionResponse.read(der)
        case MessageCode.FIRMWARE_TRANSFER_ALERT, CraFlag.ALERT:
            return FirmwareTransferAlert.read(der)
        case MessageCode.PPMID_FIRMWARE_ACTIVATION_ALERT, CraFlag.ALERT:
            return PpmidFirmwareActivationAlert.read(der)
        case MessageCode.FIRMWARE_DISTRIBUTION_RECEIPT_ALERT_GSME, CraFlag.ALERT:
            return GbzFirmwareDistributionReceiptAlert.read(der)
        case MessageCode.FIRMWARE_DISTRIBUTION_RECEIPT_ALERT_ESME, CraFlag.ALERT:
            return DlmsFirmwareDistributionReceiptAlert.read(der)
        case MessageCode.CHF_DEVICE_LOG_ALERT, CraFlag.ALERT:
            return DeviceLogChangedAlert.read(der)
        case _:
            return OpaquePayload(message.payload)


def _version(version: int) -> bytes:
    return version.to_bytes(VERSION_OCTETS, "big")


def _read_version(der: DerReader) -> int:
    return int.from_bytes(der.octet_string(VERSION_OCTETS, "firmwareVersion"), "big")


def _read_receipt_code(cursor: Cursor) -> AlertCode:
    offset = cursor.offset
    value = cursor.uint(2, "alertCode")
    if value not in _RECEIPT_CODES:
        raise MalformedMessageError(f"0x{value:04X} is neither 0x8F72 nor 0x8F1C", offset=offset, field="alertCode")
    return AlertCode(value)


def _check_alert_code(found: AlertCode, expected: AlertCode, offset: int) -> None:
    if found is not expected:
        raise MalformedMessageError(
            f"0x{found:04X} contradicts the rest, which makes it 0x{expected:04X}", offset=offset, field="alertCode"
        )
