"""Alerts for users: DCC Alerts made of GBCS messages and of the hub's deliveries, and device alerts passed on.

Each is a Response document with a ResponseID and no RequestID (DUIS-XSD). A document says what the signed
message says and adds nothing: whether its signature holds must have been checked before.
"""

from dataclasses import dataclass
from typing import Final, TypeAlias, assert_never

from lxml.etree import _Element

from chf.duis.codes import DccAlertCode, ResponseCode
from chf.duis.device_request import format_date_time
from chf.duis.document import add, base64_text, to_octets
from chf.duis.envelope import new_response
from chf.duis.identifiers import RequestId
from chf.eui64 import Eui64, format_eui64
from chf.gbcs import ActivateImageResultCode, FirmwareTransferAlert, PpmidFirmwareActivationAlert, TransferResponseCode

_TRANSFER: Final = {  # XSD
    TransferResponseCode.SUCCESS: "FileTransferSuccess",
    TransferResponseCode.IMAGE_DISCARDED: "FirmwareImageDiscarded",
    TransferResponseCode.HARDWARE_VERSION_MISMATCH: "HardwareVersionMismatch",
    TransferResponseCode.FILE_TRANSFER_FAILURE: "FileTransferFailure",
}
_ACTIVATION: Final = {  # XSD
    ActivateImageResultCode.SUCCESS: "ActivationSuccess",
    ActivateImageResultCode.FAILURE: "ActivationFailure",
}


@dataclass(frozen=True, slots=True)
class CspFirmwareDeliveryStatus:
    """Whether the image of a request reached the hub, for one of its devices: N60, N61."""

    request_id: RequestId
    hub: Eui64
    device: Eui64
    firmware_version: int
    utc_s: int
    delivered: bool


@dataclass(frozen=True, slots=True)
class CommsHubAlert:
    """The DCC's form of CCS08. `request_id` is the request that the transfer was for, where one is known."""

    hub: Eui64
    transfer: FirmwareTransferAlert
    request_id: RequestId | None


@dataclass(frozen=True, slots=True)
class PpmidAlert:
    """The DCC's form of CS09."""

    device: Eui64
    activation: PpmidFirmwareActivationAlert


@dataclass(frozen=True, slots=True)
class DeviceAlert:
    """A device's alert for the user, untouched."""

    alert_code: int
    gbcs_payload: bytes


AlertContent: TypeAlias = CspFirmwareDeliveryStatus | CommsHubAlert | PpmidAlert | DeviceAlert


@dataclass(frozen=True, slots=True)
class AlertDocument:
    """`response_id` names the alert for good: its sender, its recipient, and the sender's counter."""

    response_id: RequestId
    utc_s: int
    content: AlertContent

    def to_bytes(self) -> bytes:
        """The document, unsigned."""
        root, body = new_response(ResponseCode.SUCCESS, self.utc_s, self.response_id)
        match self.content:
            case DeviceAlert(alert_code, payload):
                message = add(body, "DeviceAlertMessage")
                add(message, "AlertCode", f"{alert_code:04X}")
                add(message, "GBCSPayload", base64_text(payload))
            case CspFirmwareDeliveryStatus() as status:
                code = DccAlertCode.DELIVERED_TO_HUB if status.delivered else DccAlertCode.NOT_DELIVERED_TO_HUB
                _delivery_status(_dcc_alert(body, code), status)
            case CommsHubAlert() as alert:
                _comms_hub_alert(_dcc_alert(body, DccAlertCode.COMMS_HUB_ALERT), alert)
            case PpmidAlert(device, activation):
                _ppmid_alert(_dcc_alert(body, DccAlertCode.PPMID_ALERT), device, activation)
            case _:
                assert_never(self.content)
        return to_octets(root)


def _dcc_alert(body: _Element, code: DccAlertCode) -> _Element:
    message = add(body, "DCCAlertMessage")
    add(message, "DCCAlertCode", code.value)
    return add(message, "DCCAlert")


def _delivery_status(parent: _Element, status: CspFirmwareDeliveryStatus) -> None:
    element = add(parent, "CSPFirmwareDeliveryStatus")
    add(element, "UpdateFirmwareRequestID", str(status.request_id))
    add(element, "CommsHubDeviceID", format_eui64(status.hub))
    add(element, "TargetDeviceID", format_eui64(status.device))
    add(element, "FirmwareVersion", f"{status.firmware_version:08X}")
    add(element, "TimeStamp", format_date_time(status.utc_s))
    add(element, "CommsHubTransferStatus", "Success" if status.delivered else "Failure")


def _comms_hub_alert(parent: _Element, alert: CommsHubAlert) -> None:
    transfer = alert.transfer
    element = add(parent, "CommsHubAlert")
    add(element, "CommsHubDeviceID", format_eui64(alert.hub))
    add(element, "AlertCode", f"{transfer.alert_code:04X}")
    add(element, "TimeStamp", format_date_time(transfer.utc_s))
    inside = add(element, "FirmwareTransferAlert")
    if alert.request_id is not None:
        add(inside, "UpdateFirmwareRequestID", str(alert.request_id))
    add(inside, "OtherDeviceID", format_eui64(Eui64(transfer.other_entity)))
    add(inside, "FirmwareVersion", f"{transfer.firmware_version:08X}")
    add(inside, "TransferResponseCode", _TRANSFER[transfer.response_code])


def _ppmid_alert(parent: _Element, device: Eui64, activation: PpmidFirmwareActivationAlert) -> None:
    element = add(parent, "PPMIDAlert")
    add(element, "DeviceID", format_eui64(device))
    add(element, "DeviceAlertCode", f"{activation.alert_code:04X}")
    add(element, "Timestamp", format_date_time(activation.utc_s))  # the schema spells this one so
    inside = add(element, "PPMIDFirmwareUpgradeAlert")
    add(inside, "FirmwareVersion", f"{activation.firmware_version:08X}")
    add(inside, "ActivateImageResultCode", _ACTIVATION[activation.result])
