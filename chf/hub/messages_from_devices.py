"""GBCS messages from devices, read but never changed: what each is, whose it is, and what it means to an update.

What a device sent goes up as it came, whether or not its signature can be checked: judging is the receiver's part, and
an alert that was dropped cannot be judged by anybody.
"""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from chf.clock import UtcSeconds
from chf.errors import MalformedMessageError, UnusableFileError, UsageError
from chf.eui64 import Eui64
from chf.gbcs import (
    CANCELLED_UTC_S,
    ActivateFirmwareCommand,
    ActivateImageResponseCode,
    ActivateImageResultCode,
    AlertCode,
    CommandAccepted,
    CraFlag,
    DlmsFirmwareDistributionReceiptAlert,
    DlmsReadFirmwareVersionResponse,
    ExecutionOutcome,
    FutureDatedFirmwareActivationAlert,
    GbcsMessage,
    GbzFirmwareDistributionReceiptAlert,
    GbzReadFirmwareVersionResponse,
    MessageCode,
    OpaquePayload,
    Payload,
    PpmidFirmwareActivationAlert,
    ReadFirmwareVersionResponse,
    ReadFirmwareVersionResponseCode,
    mac_key,
    parse_payload,
    verify_mac,
    verify_signature,
)
from chf.pki.certificates import Usage
from chf.pki.gbcs import Pki
from chf.store.alerts import NewAlert, alert_id
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

_LOG = logging.getLogger(__name__)

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


class Signature(StrEnum):
    """What is known of an alert's signature."""

    GOOD = "good"
    UNKNOWN = "no certificate of the originator is known"
    BAD = "not the originator's"


@dataclass(frozen=True, slots=True)
class DeviceMessageRead:
    """A device's message, and what it means to its update: nothing where it is not believed.

    `answers` is counter and message code of the command that a response answers; `accepts`, that it will be carried out
    at its time. `believed` is what is from this device and not wrongly signed.
    """

    alert: NewAlert
    signature: Signature
    believed: bool = False
    events: tuple[UpdateEvent, ...] = ()
    answers: tuple[int, int] | None = None
    accepts: bool = False


class DeviceMessageReader:
    """Reads what devices say, and checks it with the certificates of their originators."""

    def __init__(self, pki: Pki) -> None:
        self._pki = pki

    def read(self, device: Eui64, octets: bytes, update: Update | None, utc: UtcSeconds) -> DeviceMessageRead:
        """Read what a device sent through its tunnel. Never raises for what it holds."""
        number = None if update is None else int(update.id)
        try:
            message = GbcsMessage.from_bytes(octets)
        except MalformedMessageError as error:
            alert = NewAlert(_digest_id(octets), device, "unknown", 0, f"not read: {error}", octets, False, utc, number)
            return DeviceMessageRead(alert, Signature.UNKNOWN)
        header = message.header
        signature = self._check(message)
        try:
            payload = parse_payload(message)
            means = to_update_event(payload, update, utc)
        except MalformedMessageError as error:  # what the frame says of it goes up all the same
            payload, means = OpaquePayload(message.payload), Meaning(f"payload not read: {error}")
        believed = signature is not Signature.BAD and header.originator == device
        use_case = USE_CASES.get(header.message_code, f"0x{header.message_code:04X}")
        # A forgery may not have the id of what it imitates: the genuine alert would look like a repetition.
        own_id = alert_id(device, header.counter, header.message_code)
        msg_id = own_id if believed else _digest_id(octets)
        verified = signature is Signature.GOOD
        alert = NewAlert(msg_id, device, use_case, means.alert_code, means.outcome, octets, verified, utc, number)
        return DeviceMessageRead(
            alert,
            signature,
            believed,
            means.events if believed else (),
            (header.counter, header.message_code) if header.cra is CraFlag.RESPONSE else None,
            believed and header.cra is CraFlag.RESPONSE and isinstance(payload, CommandAccepted),
        )

    def _check(self, message: GbcsMessage) -> Signature:
        originator = Eui64(message.header.originator)
        if not message.signature and message.mac is not None:
            return self._check_mac(message, originator)
        try:
            key = self._pki.public_key(originator, Usage.DIGITAL_SIGNATURE)
        except UsageError as error:
            return _not_checked(error)
        return Signature.GOOD if verify_signature(message, key) else Signature.BAD

    def _check_mac(self, message: GbcsMessage, originator: Eui64) -> Signature:
        """On a bench the keys of ACB and supplier are here; a real hub has to leave a MAC to whom it is for."""
        try:
            public = self._pki.public_key(originator, Usage.KEY_AGREEMENT)
            private = self._pki.private_key(Eui64(message.header.recipient), Usage.KEY_AGREEMENT)
        except UsageError as error:
            return _not_checked(error)
        good = verify_mac(message, mac_key(private, public, message.header))
        return Signature.GOOD if good else Signature.BAD


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
            return Meaning(f"0x{version:08X}", 0, (VersionObserved(version, None),))
        case DlmsReadFirmwareVersionResponse() | GbzReadFirmwareVersionResponse():
            read = payload.firmware_version
            return (
                Meaning("read failure") if read is None else Meaning(f"0x{read:08X}", 0, (VersionObserved(read, None),))
            )
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


def _digest_id(octets: bytes) -> str:
    return f"sha256/{hashlib.sha256(octets).hexdigest()}"


def _not_checked(reason: UsageError) -> Signature:
    """The message is relayed all the same; who runs the hub is told of a file that wants mending."""
    if isinstance(reason, UnusableFileError):
        _LOG.error("a signature or MAC is not checked: %s", reason)
    return Signature.UNKNOWN
