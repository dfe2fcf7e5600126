"""One call for each message that a hub, a device, the ACB or a supplier makes for a firmware update.

EUI-64s and versions are plain integers, times are UTC seconds since 1970, keys are P-256 private keys. What comes back
is the message, or its octets where it is ready to be sent.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric import ec

from chf.gbcs.codes import ActivateImageResultCode, AlertCode, CraFlag, MessageCode, TransferResponseCode
from chf.gbcs.device_log_alert import DeviceLogChangedAlert, LoggedDevice
from chf.gbcs.dlms import COUNTER_MASK
from chf.gbcs.message import GbcsMessage, GroupingHeader, SupplementaryRemoteParty
from chf.gbcs.meter_version import (
    DlmsReadFirmwareVersionCommand,
    DlmsReadFirmwareVersionResponse,
    GbzReadFirmwareVersionCommand,
    GbzReadFirmwareVersionResponse,
)
from chf.gbcs.security import add_mac, sign
from chf.gbcs.use_cases import (
    ActivateFirmwareCommand,
    CommandAccepted,
    DlmsFirmwareDistributionReceiptAlert,
    ExecutionOutcome,
    FirmwareTransferAlert,
    FutureDatedFirmwareActivationAlert,
    GbzFirmwareDistributionReceiptAlert,
    PpmidFirmwareActivationAlert,
    ReadFirmwareVersionCommand,
    ReadFirmwareVersionResponse,
)

ZIGBEE_EPOCH_UTC_S = 946_684_800  # 2000-01-01 00:00:00 UTC


def make_cs09_alert(
    originator: int,
    recipient: int,
    counter: int,
    *,
    utc: float,
    firmware_version: int,
    success: bool,
    key: ec.EllipticCurvePrivateKey,
) -> bytes:
    """The PPMID's alert 0x8F8B: `firmware_version` runs after the activation that succeeded, or did not."""
    result = ActivateImageResultCode.SUCCESS if success else ActivateImageResultCode.FAILURE
    header = GroupingHeader(CraFlag.ALERT, counter, originator, recipient, MessageCode.PPMID_FIRMWARE_ACTIVATION_ALERT)
    payload = PpmidFirmwareActivationAlert(int(utc), firmware_version, result).to_bytes()
    return sign(GbcsMessage(header, payload), key).to_bytes()


def make_ccs08_alert(
    originator: int,
    recipient: int,
    counter: int,
    *,
    utc: float,
    device: int,
    firmware_version: int,
    response_code: TransferResponseCode,
    key: ec.EllipticCurvePrivateKey,
) -> bytes:
    """The hub's alert 0x8F8A or 0x8F89, after the transfer of `firmware_version` to `device`."""
    header = GroupingHeader(CraFlag.ALERT, counter, originator, recipient, MessageCode.FIRMWARE_TRANSFER_ALERT)
    payload = FirmwareTransferAlert(int(utc), device, firmware_version, response_code).to_bytes()
    return sign(GbcsMessage(header, payload), key).to_bytes()


def make_cs14_alert(
    originator: int,
    recipient: int,
    counter: int,
    *,
    utc: float,
    extended_pan_id: int,
    devices: Sequence[LoggedDevice],
    mac_key: bytes,
) -> bytes:
    """The hub's alert 0x8F12 for the ACB, with a MAC and no signature, as the reference message has it.

    `mac_key` is made from the header, see `cs14_header`.
    """
    payload = DeviceLogChangedAlert(counter, cosem_date_time(utc), extended_pan_id, tuple(devices)).to_bytes()
    return add_mac(GbcsMessage(cs14_header(originator, recipient, counter), payload), mac_key).to_bytes()


def cs14_header(originator: int, recipient: int, counter: int) -> GroupingHeader:
    return GroupingHeader(CraFlag.ALERT, counter, originator, recipient, MessageCode.CHF_DEVICE_LOG_ALERT)


def make_cs06_precommand(
    supplier: int, device: int, counter: int, manufacturer_image_hash: bytes, execution_utc: float | None = None
) -> GbcsMessage:
    """An unsigned CS06 command; `sign` it as the supplier, then `add_mac` as the ACB."""
    when = None if execution_utc is None else int(execution_utc)
    header = GroupingHeader(CraFlag.COMMAND, counter, supplier, device, MessageCode.ACTIVATE_FIRMWARE)
    return GbcsMessage(header, ActivateFirmwareCommand(manufacturer_image_hash, counter, when).to_bytes())


def make_cs06_response(
    command: GroupingHeader, outcome: ExecutionOutcome | CommandAccepted, utc: float, key: ec.EllipticCurvePrivateKey
) -> bytes:
    """The device's answer to the CS06 command with this header. It alone carries a date-time in its header."""
    header = replace(response_header(command), date_time=cosem_date_time(utc), supplementary=None)
    return sign(GbcsMessage(header, outcome.to_bytes()), key).to_bytes()


def make_future_dated_alert(
    originator: int,
    recipient: int,
    counter: int,
    alert: FutureDatedFirmwareActivationAlert,
    key: ec.EllipticCurvePrivateKey,
) -> bytes:
    """The device's alert 0x00CA after a future-dated CS06 was carried out, or failed."""
    code = MessageCode.FUTURE_DATED_FIRMWARE_ACTIVATION_ALERT
    header = GroupingHeader(CraFlag.ALERT, counter, originator, recipient, code)
    return sign(GbcsMessage(header, alert.to_bytes()), key).to_bytes()


def make_receipt_alert(
    originator: int,
    recipient: int,
    counter: int,
    *,
    alert_code: AlertCode,
    utc: float,
    manufacturer_image_hash: bytes,
    dlms: bool,
    key: ec.EllipticCurvePrivateKey,
) -> bytes:
    """The device's verdict on an image: 0x00CE in the DLMS form of an ESME, or 0x00CF in GBZ."""
    if dlms:
        code = MessageCode.FIRMWARE_DISTRIBUTION_RECEIPT_ALERT_ESME
        told = DlmsFirmwareDistributionReceiptAlert(
            counter & COUNTER_MASK, alert_code, cosem_date_time(utc), manufacturer_image_hash
        )
        payload = told.to_bytes()
    else:
        code = MessageCode.FIRMWARE_DISTRIBUTION_RECEIPT_ALERT_GSME
        zigbee_time = max(int(utc) - ZIGBEE_EPOCH_UTC_S, 0)
        payload = GbzFirmwareDistributionReceiptAlert(alert_code, zigbee_time, manufacturer_image_hash).to_bytes()
    header = GroupingHeader(CraFlag.ALERT, counter, originator, recipient, code)
    return sign(GbcsMessage(header, payload), key).to_bytes()


def make_cs08_command(
    acb: int, device: int, counter: int, on_behalf_of: SupplementaryRemoteParty, mac_key: bytes
) -> bytes:
    """The ACB asks a PPMID or HCALCS for its firmware version."""
    code = MessageCode.READ_PPMID_HCALCS_FIRMWARE_VERSION
    return make_version_command(
        GroupingHeader(CraFlag.COMMAND, counter, acb, device, code, supplementary=on_behalf_of), mac_key
    )


def make_cs08_response(command: GroupingHeader, response: ReadFirmwareVersionResponse, mac_key: bytes) -> bytes:
    """The device's answer; `mac_key` is made from the header of the response, see `response_header`."""
    return add_mac(GbcsMessage(response_header(command), response.to_bytes()), mac_key).to_bytes()


def response_header(command: GroupingHeader) -> GroupingHeader:
    """Of the answer to a command."""
    there, back = command.originator, command.recipient
    return replace(command, cra=CraFlag.RESPONSE, originator=back, recipient=there, date_time=b"")


def make_version_command(header: GroupingHeader, mac_key: bytes) -> bytes:
    """A device is asked for its firmware version: CS08, ECS52 in DLMS, or GCS38 in GBZ, by the header's message code.

    `mac_key` is of this header, between ACB and device.
    """
    payload: ReadFirmwareVersionCommand | DlmsReadFirmwareVersionCommand | GbzReadFirmwareVersionCommand
    match header.message_code:
        case MessageCode.READ_PPMID_HCALCS_FIRMWARE_VERSION:
            payload = ReadFirmwareVersionCommand()
        case MessageCode.READ_FIRMWARE_VERSION_ESME_CHF:
            payload = DlmsReadFirmwareVersionCommand(header.counter & COUNTER_MASK)
        case MessageCode.READ_FIRMWARE_VERSION_GSME:
            payload = GbzReadFirmwareVersionCommand()
        case other:
            raise ValueError(f"message code 0x{other:04X} asks for no firmware version")
    return add_mac(GbcsMessage(header, payload.to_bytes()), mac_key).to_bytes()


def make_meter_version_response(command: GroupingHeader, firmware_version: int, mac_key: bytes) -> bytes:
    """The meter's answer; `mac_key` is of `response_header(command)`, between the meter and who asked."""
    payload: DlmsReadFirmwareVersionResponse | GbzReadFirmwareVersionResponse
    if command.message_code == MessageCode.READ_FIRMWARE_VERSION_ESME_CHF:
        payload = DlmsReadFirmwareVersionResponse(command.counter & COUNTER_MASK, firmware_version)
    else:
        payload = GbzReadFirmwareVersionResponse(firmware_version)
    return add_mac(GbcsMessage(response_header(command), payload.to_bytes()), mac_key).to_bytes()


def cosem_date_time(utc: float) -> bytes:
    """12 octets, UTC; day of week, deviation and status "not specified", as the reference responses have them."""
    moment = datetime.fromtimestamp(int(utc), UTC)
    date = moment.year.to_bytes(2, "big") + bytes([moment.month, moment.day, 0xFF])
    return date + bytes([moment.hour, moment.minute, moment.second, 0x00]) + b"\x80\x00\xff"
