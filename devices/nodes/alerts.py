"""The activation alert CS09 of a PPMID (GBCS 11.9), from the outcome that the boot loader left to the hub's receipt.

The originator counter is in flash before a message is made with it, and the message is in flash before it is sent: a
power cut can cost a counter value, never use one twice, and never loses an alert. How it travels: `tunnel_server`.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from chf.gbcs.build import make_cs09_alert
from devices.nodes.events import AlertMade
from devices.nodes.journal import Journal, Key
from devices.nodes.settings import AlertFault

if TYPE_CHECKING:
    from devices.nodes.image_bank import Outcome
    from devices.nodes.settings import PpmidSettings

ZIGBEE_EPOCH_UTC_S = 946_684_800  # 2000-01-01 00:00:00 UTC

_COUNTER = struct.Struct("<Q")
_LENGTH = struct.Struct("<H")
_LONGEST_OUTBOX_BYTES = 1024  # of the journal's sector; older alerts give way


class ActivationAlerts:
    """The alerts that nobody has taken yet, oldest first."""

    def __init__(self, journal: Journal, settings: PpmidSettings) -> None:
        self._journal = journal
        self._settings = settings

    def waiting(self) -> bytes | None:
        """The message that is to be sent next."""
        messages = self._outbox()
        return messages[0] if messages else None

    def make(self, outcome: Outcome, zigbee_time: float) -> AlertMade | None:
        """Turn an outcome into a signed message in the outbox. None where a fault keeps the device silent."""
        settings, fault = self._settings, self._settings.faults.alert
        if fault is AlertFault.NEVER:
            self._journal.put({Key.OUTCOME: None})
            return None
        counter = self._take_counter()
        success = outcome.success and fault is not AlertFault.FAILURE
        message = make_cs09_alert(
            settings.eui64,
            settings.access_control_broker,
            counter,
            utc=ZIGBEE_EPOCH_UTC_S + zigbee_time,
            firmware_version=outcome.file_version ^ (fault is AlertFault.WRONG_VERSION),
            success=success,
            key=settings.signing_key,
        )
        if fault is AlertFault.BAD_SIGNATURE:
            message = message[:-1] + bytes((message[-1] ^ 0x01,))
        messages = [*self._outbox(), *[message] * (2 if fault is AlertFault.TWICE else 1)]
        while sum(map(len, messages)) > _LONGEST_OUTBOX_BYTES:
            messages.pop(0)
        self._journal.put({Key.ALERTS: _packed(messages), Key.OUTCOME: None})
        return AlertMade(counter, success, message)

    def taken(self, message: bytes) -> None:
        """The hub has `message`."""
        messages = self._outbox()
        if messages and messages[0] == message:
            self._journal.put({Key.ALERTS: _packed(messages[1:])})

    def _take_counter(self) -> int:
        record = self._journal.get(Key.COUNTER)
        counter = self._settings.first_counter if record is None else _COUNTER.unpack(record)[0] + 1
        self._journal.put({Key.COUNTER: _COUNTER.pack(counter)})
        return int(counter)

    def _outbox(self) -> list[bytes]:
        record = self._journal.get(Key.ALERTS) or b""
        messages, at = [], 0
        while at < len(record):
            (length,) = _LENGTH.unpack_from(record, at)
            at += _LENGTH.size
            messages.append(record[at : at + length])
            at += length
        return messages


def _packed(messages: list[bytes]) -> bytes:
    return b"".join(_LENGTH.pack(len(message)) + message for message in messages)
