"""The messages of a device that its supplier commands: receipt alerts, CS06 and what becomes of it (GBCS 11.2.6, 11.5).

    image complete      verified or refused         -> Firmware Distribution Receipt Alert
    CS06, at once       no image, or another hash   -> response
                        else: try the image         -> boot -> response (success, or activationFailure)
    CS06, at a time     commandAccepted; at the time, or when the power is back after it: the same, told by 0x00CA
    CS06, cancelling    commandAccepted; nothing is due any more

Whatever is obeyed is one journal record with the counter of the command, so the power may be cut anywhere. The newest
command counts: it replaces one that is still due (that an immediate one does so too is our choice).
"""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING

from chf.gbcs.build import ZIGBEE_EPOCH_UTC_S, make_cs06_response, make_future_dated_alert, make_receipt_alert
from chf.gbcs.codes import ActivateImageResponseCode, AlertCode, CraFlag, MessageCode
from chf.gbcs.message import GroupingHeader
from chf.gbcs.use_cases import (
    CANCELLED_UTC_S,
    ActivateFirmwareCommand,
    CommandAccepted,
    ExecutionOutcome,
    FutureDatedFirmwareActivationAlert,
)
from devices.nodes import events
from devices.nodes.authenticity import NotAuthenticError
from devices.nodes.cluster import Effects, Restart
from devices.nodes.image_check import manufacturer_image, read_receipt
from devices.nodes.journal import Journal, Key
from devices.nodes.messages import Messages
from devices.nodes.settings import CommandedKind, CommandedSettings

if TYPE_CHECKING:
    from devices.nodes.image_bank import ImageBanks

_SCHEDULE = struct.Struct("<QQ32s")  # our choice: counter of the command, UTC seconds, Manufacturer Image Hash
_ACTIVATION = struct.Struct("<QQ")  # our choice: counter of the command, UTC seconds of a future-dated one or 0
_NO_TIME = 0  # in flash: commanded at once


class FirmwareCommands(Messages):
    def __init__(self, journal: Journal, settings: CommandedSettings, banks: ImageBanks) -> None:
        super().__init__(journal, settings, banks)
        self._commanded = settings

    @property
    def deadline(self) -> float | None:
        record = self._journal.get(Key.SCHEDULE)
        if record is None:
            return None
        return float(_SCHEDULE.unpack(record)[1] - ZIGBEE_EPOCH_UTC_S)

    def settle(self, zigbee_time: float) -> Effects:
        utc = ZIGBEE_EPOCH_UTC_S + zigbee_time
        return [*self._tell_receipt(utc), *self._tell_outcome(utc), *self._carry_out_schedule(utc)]

    def activate(self, header: GroupingHeader, command: ActivateFirmwareCommand, zigbee_time: float) -> Effects:
        if self._journal.get(Key.ACTIVATION) is not None:
            raise NotAuthenticError("an activation is under way")  # for a moment, until it restarts
        changes = {**self._authenticity.heard(header), Key.SCHEDULE: None}
        utc = ZIGBEE_EPOCH_UTC_S + zigbee_time
        match command.execution_utc_s:
            case None:
                refusal = self._refusal(command.manufacturer_image_hash)
                if refusal is None:
                    return self._try_image(changes, header.counter, _NO_TIME)
                response = self._response(header.counter, self._outcome(refusal), utc)
                self.outbox.add(response, also=changes)
                return [events.MessageMade("CS06", response)]
            case when:
                if when != CANCELLED_UTC_S:
                    changes[Key.SCHEDULE] = _SCHEDULE.pack(header.counter, when, command.manufacturer_image_hash)
                response = self._response(header.counter, CommandAccepted(), utc)
                self.outbox.add(response, also=changes)
                scheduled = None if when == CANCELLED_UTC_S else when
                due = [] if scheduled is None or scheduled > utc else self._carry_out_schedule(utc)
                return [events.ActivationScheduled(scheduled), events.MessageMade("CS06", response), *due]

    # What is due

    def _tell_receipt(self, utc: float) -> Effects:
        record = self._journal.get(Key.RECEIPT)
        if record is None:
            return []
        verified, image_hash = read_receipt(record)
        settings = self._commanded
        message = make_receipt_alert(
            settings.eui64,
            settings.supplier,
            self.outbox.take_counter(utc),
            alert_code=AlertCode.FIRMWARE_VERIFICATION_SUCCESSFUL
            if verified
            else AlertCode.FIRMWARE_VERIFICATION_FAILED,
            utc=utc,
            manufacturer_image_hash=image_hash,
            dlms=settings.kind is CommandedKind.ESME,
            key=settings.signing_key,
        )
        self.outbox.add(message, also={Key.RECEIPT: None})
        return [events.MessageMade("FDRA", message)]

    def _tell_outcome(self, utc: float) -> Effects:
        """The boot loader knows how a trial ended; the supplier that commanded it is told."""
        outcome, record = self._banks.outcome(), self._journal.get(Key.ACTIVATION)
        if outcome is None:
            return []
        done: dict[Key, bytes | None] = {Key.OUTCOME: None, Key.ACTIVATION: None}
        if record is None:  # nobody commanded it
            self._journal.put(done)
            return []
        codes = ActivateImageResponseCode
        told = ExecutionOutcome(codes.SUCCESS if outcome.success else codes.ACTIVATION_FAILURE, outcome.file_version)
        counter, when = _ACTIVATION.unpack(record)
        if when == _NO_TIME:
            response = self._response(counter, told, utc)
            self.outbox.add(response, also=done)
            return [events.MessageMade("CS06", response)]
        return self._alert(counter, when, told, done, utc)

    def _carry_out_schedule(self, utc: float) -> Effects:
        record = self._journal.get(Key.SCHEDULE)
        if record is None:
            return []
        counter, when, image_hash = _SCHEDULE.unpack(record)
        if utc < when:
            return []
        refusal = self._refusal(image_hash)
        if refusal is None:
            return self._try_image({Key.SCHEDULE: None}, counter, when)
        return self._alert(counter, when, self._outcome(refusal), {Key.SCHEDULE: None}, utc)

    # The image that is held

    def _refusal(self, image_hash: bytes) -> ActivateImageResponseCode | None:
        """Steps 3 and 4 of GBCS 11.5: the hash is computed from what is in flash now."""
        octets = self._banks.pending()
        if octets is None:
            return ActivateImageResponseCode.NO_IMAGE_HELD
        if hashlib.sha256(manufacturer_image(octets)).digest() != image_hash:
            return ActivateImageResponseCode.HASH_MISMATCH
        return None

    def _try_image(self, changes: dict[Key, bytes | None], counter: int, when: int) -> Effects:
        version = self._banks.request_trial({**changes, Key.ACTIVATION: _ACTIVATION.pack(counter, when)})
        return [events.Activating(version, by_itself=False), Restart()]

    def _outcome(self, code: ActivateImageResponseCode) -> ExecutionOutcome:
        return ExecutionOutcome(code, self._banks.running_header().file_version)

    # The words

    def _response(self, counter: int, outcome: ExecutionOutcome | CommandAccepted, utc: float) -> bytes:
        settings = self._commanded
        code = MessageCode.ACTIVATE_FIRMWARE
        command = GroupingHeader(CraFlag.COMMAND, counter, settings.supplier, settings.eui64, code)
        return make_cs06_response(command, outcome, utc, settings.signing_key)

    def _alert(
        self, counter: int, when: int, outcome: ExecutionOutcome, changes: dict[Key, bytes | None], utc: float
    ) -> Effects:
        settings = self._commanded
        told = FutureDatedFirmwareActivationAlert(when, counter, outcome)
        message = make_future_dated_alert(
            settings.eui64, settings.supplier, self.outbox.take_counter(utc), told, settings.signing_key
        )
        self.outbox.add(message, also=changes)
        return [events.MessageMade("0x00CA", message)]
