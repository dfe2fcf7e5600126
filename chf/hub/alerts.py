"""Alerts: the hub's own CCS08 and CS14, made here, and those of devices, read but never changed.

What a device sent is kept as it came, whether or not its signature can be checked: judging is the receiver's part, and
an alert that was dropped cannot be judged by anybody.
"""

import hashlib
import logging
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from cryptography.hazmat.primitives.asymmetric import ec

from chf.clock import UtcSeconds
from chf.crypto.mmo import aes_mmo
from chf.errors import MalformedMessageError, RefusedError, UnusableFileError, UsageError
from chf.eui64 import Eui64
from chf.gbcs import (
    AlertCode,
    CommandAccepted,
    CraFlag,
    GbcsMessage,
    MessageCode,
    TransferResponseCode,
    cs14_header,
    mac_key,
    mac_key_of,
    make_ccs08_alert,
    make_cs14_alert,
    parse_payload,
    verify_mac,
)
from chf.gbcs.device_log_alert import MOST_ENTRIES, LoggedDevice
from chf.hub.meaning import USE_CASES, to_update_event
from chf.pki.certificates import Usage
from chf.pki.gbcs import Pki
from chf.store.alerts import NewAlert, alert_id
from chf.store.store import Transaction
from chf.update.model import TransferOutcome, Update, UpdateEvent

_LOG = logging.getLogger(__name__)

COUNTER = "chf originator counter"

_RESPONSE_CODES = {
    TransferOutcome.SUCCESS: TransferResponseCode.SUCCESS,
    TransferOutcome.IMAGE_DISCARDED: TransferResponseCode.IMAGE_DISCARDED,
    TransferOutcome.HARDWARE_VERSION_MISMATCH: TransferResponseCode.HARDWARE_VERSION_MISMATCH,
    TransferOutcome.FILE_TRANSFER_FAILURE: TransferResponseCode.FILE_TRANSFER_FAILURE,
}


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


class HubAlerts:
    """Makes the hub's own alerts, under its identity and key."""

    def __init__(self, pki: Pki) -> None:
        self._pki = pki
        self._key = pki.private_key(pki.chf, Usage.DIGITAL_SIGNATURE)
        self._hashes: dict[bytes, bytes] = {}  # of the link keys in the log, which every CS14 repeats

    def transfer_alert(self, tx: Transaction, job: Update, outcome: TransferOutcome, utc: UtcSeconds) -> NewAlert:
        """Make, sign and write the CCS08 of this job, under a counter that is never used again."""
        code = _RESPONSE_CODES[outcome]
        # The wall clock's milliseconds as the floor: a store that was made again does not repeat old counters.
        counter = tx.counters.take(COUNTER, first=int(utc * 1000))
        message = make_ccs08_alert(
            self._pki.chf,
            self._pki.acb,
            counter,
            utc=utc,
            device=job.device,
            firmware_version=job.file_version,
            response_code=code,
            key=self._key,
        )
        succeeded = outcome is TransferOutcome.SUCCESS
        alert = NewAlert(
            msg_id=alert_id(self._pki.chf, counter, MessageCode.FIRMWARE_TRANSFER_ALERT),
            device=job.device,
            use_case="CCS08",
            alert_code=AlertCode.FIRMWARE_TRANSFER_SUCCESS if succeeded else AlertCode.FIRMWARE_TRANSFER_FAILURE,
            outcome=outcome.value,
            message=message,
            verified=True,
            created=utc,
            job=job.id,
        )
        tx.alerts.add(alert)
        return alert

    @property
    def shares_key_with_acb(self) -> bool:
        """Whether the hub has a key agreement key, without which it makes no MAC."""
        return self._pki.has_private_key(self._pki.chf, Usage.KEY_AGREEMENT)

    @cached_property
    def _agreed_with_acb(self) -> bytes:
        """Made once: it takes longer than all else of an alert, and image blocks wait meanwhile."""
        public = self._pki.public_key(self._pki.acb, Usage.KEY_AGREEMENT)
        return self._pki.private_key(self._pki.chf, Usage.KEY_AGREEMENT).exchange(ec.ECDH(), public)

    def device_log_alert(self, tx: Transaction, change: str, extended_pan_id: int, utc: UtcSeconds) -> NewAlert:
        """Make and write a CS14: what the device log is now, for the ACB, under the MAC that they share."""
        hub, acb = self._pki.chf, self._pki.acb
        counter = tx.counters.take(COUNTER, first=int(utc * 1000))
        key = mac_key_of(self._agreed_with_acb, cs14_header(hub, acb, counter))
        held = tx.devices.link_keys()[:MOST_ENTRIES]
        self._hashes = {key: self._hashes.get(key) or aes_mmo(key) for _, key in held if key is not None}
        devices = [LoggedDevice(device, b"" if key is None else self._hashes[key]) for device, key in held]
        alert = NewAlert(
            msg_id=alert_id(hub, counter, MessageCode.CHF_DEVICE_LOG_ALERT),
            device=hub,
            use_case="CS14",
            alert_code=AlertCode.CHF_DEVICE_LOG_CHANGED,
            outcome=change,
            message=make_cs14_alert(
                hub, acb, counter, utc=utc, extended_pan_id=extended_pan_id, devices=devices, mac_key=key
            ),
            verified=True,
            created=utc,
        )
        tx.alerts.add(alert)
        return alert


class DeviceMessageReader:
    """Reads what devices say, and checks it with the certificates of their originators."""

    def __init__(self, pki: Pki) -> None:
        self._pki = pki

    def read(self, device: Eui64, octets: bytes, job: Update | None, utc: UtcSeconds) -> DeviceMessageRead:
        """Read what a device sent through its tunnel. Never raises for what it holds."""
        job_id = None if job is None else int(job.id)
        try:
            message = GbcsMessage.from_bytes(octets)
            payload = parse_payload(message)
        except MalformedMessageError as error:
            alert = NewAlert(_digest_id(octets), device, "unknown", 0, f"not read: {error}", octets, False, utc, job_id)
            return DeviceMessageRead(alert, Signature.UNKNOWN)
        header = message.header
        signature = self._check(message)
        means = to_update_event(payload, job, utc)
        believed = signature is not Signature.BAD and header.originator == device
        use_case = USE_CASES.get(header.message_code, f"0x{header.message_code:04X}")
        # A forgery may not have the id of what it imitates: the genuine alert would look like a repetition.
        own_id = alert_id(device, header.counter, header.message_code)
        msg_id = own_id if believed else _digest_id(octets)
        verified = signature is Signature.GOOD
        alert = NewAlert(msg_id, device, use_case, means.alert_code, means.outcome, octets, verified, utc, job_id)
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
            self._pki.certificate(originator, Usage.DIGITAL_SIGNATURE)
        except UsageError as error:
            return _not_checked(error)
        try:
            self._pki.verify(message)
        except RefusedError:
            return Signature.BAD
        return Signature.GOOD

    def _check_mac(self, message: GbcsMessage, originator: Eui64) -> Signature:
        """On a bench the keys of ACB and supplier are here; a real hub has to leave a MAC to whom it is for."""
        try:
            public = self._pki.public_key(originator, Usage.KEY_AGREEMENT)
            private = self._pki.private_key(Eui64(message.header.recipient), Usage.KEY_AGREEMENT)
        except UsageError as error:
            return _not_checked(error)
        good = verify_mac(message, mac_key(private, public, message.header))
        return Signature.GOOD if good else Signature.BAD


def _digest_id(octets: bytes) -> str:
    return f"sha256/{hashlib.sha256(octets).hexdigest()}"


def _not_checked(reason: UsageError) -> Signature:
    """The message is relayed all the same; who runs the hub is told of a file that wants mending."""
    if isinstance(reason, UnusableFileError):
        _LOG.error("a signature or MAC is not checked: %s", reason)
    return Signature.UNKNOWN
