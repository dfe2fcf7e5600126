"""What a device's GBCS message means to its update. The message itself goes up whatever it means."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from chf.clock import UtcSeconds
from chf.gbcs import (
    CANCELLED_UTC_S,
    ActivateFirmwareCommand,
    ActivateImageResponseCode,
    ActivateImageResultCode,
    AlertCode,
    CommandAccepted,
    DlmsFirmwareDistributionReceiptAlert,
    DlmsReadFirmwareVersionResponse,
    ExecutionOutcome,
    FutureDatedFirmwareActivationAlert,
    GbcsMessage,
    GbzFirmwareDistributionReceiptAlert,
    GbzReadFirmwareVersionResponse,
    MessageCode,
    Payload,
    PpmidFirmwareActivationAlert,
    ReadFirmwareVersionResponse,
    ReadFirmwareVersionResponseCode,
    parse_payload,
)
from chf.update.model import (
    ActivateByCommand,
    ActivationGiven,
    ActivationReported,
    TransferOutcome,
    Update,
    UpdateEvent,
    VersionObserved,
    WaitingFor,
    WaitReason,
)

USE_CASES: Final[Mapping[int, str]] = {
    MessageCode.ACTIVATE_FIRMWARE: "CS06",
    MessageCode.CHF_DEVICE_LOG_ALERT: "CS14",
    MessageCode.READ_FIRMWARE_VERSION_ESME_CHF: "ECS52",
    MessageCode.READ_FIRMWARE_VERSION_GSME: "GCS38",
    MessageCode.FUTURE_DATED_FIRMWARE_ACTIVATION_ALERT: "0x00CA",
    MessageCode.FIRMWARE_DISTRIBUTION_RECEIPT_ALERT_ESME: "FDRA",
    MessageCode.FIRMWARE_DISTRIBUTION_RECEIPT_ALERT_GSME: "FDRA",
    MessageCode.READ_PPMID_HCALCS_FIRMWARE_VERSION: "CS08",
    MessageCode.PPMID_FIRMWARE_ACTIVATION_ALERT: "CS09",
}
"""The names of the alerts outbox."""

_TRIED: Final = (ActivateImageResponseCode.SUCCESS, ActivateImageResponseCode.ACTIVATION_FAILURE)


@dataclass(frozen=True, slots=True)
class Meaning:
    """`alert_code` is 0 for what is no alert, and for an alert that is not read."""

    outcome: str = "relayed"
    alert_code: int = 0
    events: tuple[UpdateEvent, ...] = ()


def to_update_event(payload: Payload, update: Update | None, utc: UtcSeconds) -> Meaning:
    """`update` is the device's active update, or its last."""
    match payload:
        case PpmidFirmwareActivationAlert(_, version, result):
            success = result is ActivateImageResultCode.SUCCESS
            events = (ActivationReported(success, version),)
            return Meaning("success" if success else "failure", payload.alert_code, events)
        case GbzFirmwareDistributionReceiptAlert() | DlmsFirmwareDistributionReceiptAlert():
            good = payload.alert_code is AlertCode.FIRMWARE_VERIFICATION_SUCCESSFUL
            return Meaning("verified" if good else "verification failed", payload.alert_code)
        case CommandAccepted():
            return Meaning("accepted")
        case ExecutionOutcome():
            return Meaning(_words(payload), 0, _carried_out(payload, update, utc))
        case FutureDatedFirmwareActivationAlert(outcome=outcome):
            return Meaning(_words(outcome), payload.alert_code, _carried_out(outcome, update, utc))
        case ReadFirmwareVersionResponse(version, code):
            if code is not ReadFirmwareVersionResponseCode.READ_SUCCESS:
                return Meaning("read failure")
            return Meaning(f"0x{version:08X}", 0, (VersionObserved(version),))
        case DlmsReadFirmwareVersionResponse() | GbzReadFirmwareVersionResponse():
            read = payload.firmware_version
            return Meaning("read failure") if read is None else Meaning(f"0x{read:08X}", 0, (VersionObserved(read),))
        case _:
            return Meaning()


def appointment(command: bytes) -> WaitingFor:
    """What an update waits for once its device accepted this future-dated CS06, or the taking back of one."""
    payload = parse_payload(GbcsMessage.from_bytes(command))
    when = payload.execution_utc_s if isinstance(payload, ActivateFirmwareCommand) else None
    if when is None or when == CANCELLED_UTC_S:
        return WaitingFor(WaitReason.COMMAND)
    return WaitingFor(WaitReason.TIME, UtcSeconds(when))


def _words(outcome: ExecutionOutcome) -> str:
    return outcome.response_code.name.lower().replace("_", " ")


def _carried_out(outcome: ExecutionOutcome, update: Update | None, utc: UtcSeconds) -> tuple[UpdateEvent, ...]:
    """The device tried its image, as its supplier commanded: the read-back has the last word, as with every device.

    Where it held none, or another, nothing was tried: the update waits for a better command.
    """
    if (
        update is None
        or not isinstance(update.activation, ActivateByCommand)
        or update.transfer is not TransferOutcome.SUCCESS
    ):
        return ()
    success = outcome.response_code is ActivateImageResponseCode.SUCCESS
    if outcome.response_code not in _TRIED or (success and outcome.firmware_version != update.file_version):
        return ()
    return (ActivationGiven(utc), ActivationReported(success, outcome.firmware_version))
