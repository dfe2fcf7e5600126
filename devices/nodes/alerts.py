"""The messages of a PPMID: its activation alert CS09 (GBCS 11.9), from the outcome that the boot loader left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chf.gbcs.build import ZIGBEE_EPOCH_UTC_S, make_cs09_alert
from devices.nodes.events import AlertMade
from devices.nodes.journal import Key
from devices.nodes.messages import Effects, Messages
from devices.nodes.settings import AlertFault

if TYPE_CHECKING:
    from devices.nodes.image_bank import Outcome


class ActivationAlerts(Messages):
    def settle(self, zigbee_time: float) -> Effects:
        outcome = self._banks.outcome()
        if outcome is None:
            return []
        made = self._make(outcome, zigbee_time)
        return [] if made is None else [made]

    def _make(self, outcome: Outcome, zigbee_time: float) -> AlertMade | None:
        """Turn an outcome into a signed message in the outbox. None where a fault keeps the device silent."""
        settings, fault = self._settings, self._settings.faults.alert
        if fault is AlertFault.NEVER:
            self._journal.put({Key.OUTCOME: None})
            return None
        utc = ZIGBEE_EPOCH_UTC_S + zigbee_time
        counter = self.outbox.take_counter(utc)
        success = outcome.success and fault is not AlertFault.FAILURE
        message = make_cs09_alert(
            settings.eui64,
            settings.access_control_broker,
            counter,
            utc=utc,
            firmware_version=outcome.file_version ^ (fault is AlertFault.WRONG_VERSION),
            success=success,
            key=settings.signing_key,
        )
        if fault is AlertFault.BAD_SIGNATURE:
            message = message[:-1] + bytes((message[-1] ^ 0x01,))
        self.outbox.add(*[message] * (2 if fault is AlertFault.TWICE else 1), also={Key.OUTCOME: None})
        return AlertMade(counter, success, message)
