"""The hub's own alerts: CCS08, how a transfer ended, and CS14, what the device log is now."""

from functools import cached_property

from cryptography.hazmat.primitives.asymmetric import ec

from chf.clock import UtcSeconds
from chf.crypto.mmo import aes_mmo
from chf.gbcs import (
    AlertCode,
    MessageCode,
    TransferResponseCode,
    cs14_header,
    mac_key_of,
    make_ccs08_alert,
    make_cs14_alert,
)
from chf.gbcs.device_log_alert import MOST_ENTRIES, LoggedDevice
from chf.pki.certificates import Usage
from chf.pki.gbcs import Pki
from chf.store.alerts import NewAlert, alert_id
from chf.store.store import Transaction
from chf.update.model import TransferOutcome, Update

COUNTER = "chf originator counter"

_RESPONSE_CODES = {
    TransferOutcome.SUCCESS: TransferResponseCode.SUCCESS,
    TransferOutcome.IMAGE_DISCARDED: TransferResponseCode.IMAGE_DISCARDED,
    TransferOutcome.HARDWARE_VERSION_MISMATCH: TransferResponseCode.HARDWARE_VERSION_MISMATCH,
    TransferOutcome.FILE_TRANSFER_FAILURE: TransferResponseCode.FILE_TRANSFER_FAILURE,
}


class HubAlerts:
    """Makes the hub's own alerts, under its identity and key."""

    def __init__(self, pki: Pki) -> None:
        self._pki = pki
        self._key = pki.private_key(pki.chf, Usage.DIGITAL_SIGNATURE)
        self._hashes: dict[bytes, bytes] = {}  # of the link keys in the log, which every CS14 repeats

    def transfer_alert(self, tx: Transaction, update: Update, outcome: TransferOutcome, utc: UtcSeconds) -> NewAlert:
        """Make, sign and write the CCS08 of this update, under a counter that is never used again."""
        code = _RESPONSE_CODES[outcome]
        # The wall clock's milliseconds as the floor: a store that was made again does not repeat old counters.
        counter = tx.counters.take(COUNTER, first=int(utc * 1000))
        message = make_ccs08_alert(
            self._pki.chf,
            self._pki.acb,
            counter,
            utc=utc,
            device=update.device,
            firmware_version=update.file_version,
            response_code=code,
            key=self._key,
        )
        succeeded = outcome is TransferOutcome.SUCCESS
        alert = NewAlert(
            msg_id=alert_id(self._pki.chf, counter, MessageCode.FIRMWARE_TRANSFER_ALERT),
            device=update.device,
            use_case="CCS08",
            alert_code=AlertCode.FIRMWARE_TRANSFER_SUCCESS if succeeded else AlertCode.FIRMWARE_TRANSFER_FAILURE,
            outcome=outcome.value,
            message=message,
            verified=True,
            created=utc,
            update=update.id,
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
