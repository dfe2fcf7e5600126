"""The GBCS messages that a device sends, and what it does about those that it gets. The tunnel carries them.

The base answers what every kind of device is asked for (CS08, ECS52, GCS38). `ActivationAlerts` makes a PPMID of it,
`firmware_commands` a device that obeys its supplier.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final

from chf.gbcs.build import (
    ZIGBEE_EPOCH_UTC_S,
    make_cs08_response,
    make_cs09_alert,
    make_meter_version_response,
    response_header,
)
from chf.gbcs.codes import MessageCode, ReadFirmwareVersionResponseCode
from chf.gbcs.meter_version import DlmsReadFirmwareVersionCommand, GbzReadFirmwareVersionCommand
from chf.gbcs.use_cases import ActivateFirmwareCommand, ReadFirmwareVersionCommand, ReadFirmwareVersionResponse
from devices.nodes import events
from devices.nodes.authenticity import NO_USE_CASE, Authenticity, NotAuthenticError
from devices.nodes.journal import Journal, Key
from devices.nodes.outbox import Outbox
from devices.nodes.settings import AlertFault, CommandedKind

if TYPE_CHECKING:
    from chf.gbcs.message import GroupingHeader
    from devices.nodes.cluster import Effects
    from devices.nodes.image_bank import ImageBanks
    from devices.nodes.settings import GbcsSettings


_METERS_CODES: Final[dict[str, MessageCode]] = {
    CommandedKind.ESME: MessageCode.READ_FIRMWARE_VERSION_ESME_CHF,
    CommandedKind.GSME: MessageCode.READ_FIRMWARE_VERSION_GSME,
}
_VERSION_USE_CASES: Final = {
    MessageCode.READ_PPMID_HCALCS_FIRMWARE_VERSION: "CS08",
    MessageCode.READ_FIRMWARE_VERSION_ESME_CHF: "ECS52",
    MessageCode.READ_FIRMWARE_VERSION_GSME: "GCS38",
}


class Messages(ABC):
    """One object for each boot; what must last is in the journal. Times are ZigBee times."""

    def __init__(self, journal: Journal, settings: GbcsSettings, banks: ImageBanks) -> None:
        self.outbox = Outbox(journal, settings.first_counter)
        self._journal = journal
        self._settings = settings
        self._banks = banks
        self._authenticity = Authenticity(journal, settings)

    @property
    def deadline(self) -> float | None:
        """When `settle` has something to do that does not come from outside."""
        return None

    @abstractmethod
    def settle(self, zigbee_time: float) -> Effects:
        """The time is known, or as known as it will be: make what is due."""

    def receive(self, octets: bytes, zigbee_time: float) -> Effects:
        """One message from the hub. What is to be answered is in the outbox when this returns."""
        try:
            header, payload = self._authenticity.check(octets)
            match payload:
                case ActivateFirmwareCommand():
                    return self.activate(header, payload, zigbee_time)
                case ReadFirmwareVersionCommand() | DlmsReadFirmwareVersionCommand() | GbzReadFirmwareVersionCommand():
                    return self._read_version(header)
                case _:
                    return [events.CommandRefused(NO_USE_CASE.format(header.message_code))]
        except NotAuthenticError as error:
            return [events.CommandRefused(str(error))]

    def activate(self, header: GroupingHeader, command: ActivateFirmwareCommand, zigbee_time: float) -> Effects:
        """CS06, found authentic. Raises NotAuthenticError where this kind of device takes no such command."""
        del command, zigbee_time
        raise NotAuthenticError(NO_USE_CASE.format(header.message_code))

    def _read_version(self, command: GroupingHeader) -> Effects:
        """CS08 (GBCS 11.8); a meter's own is ECS52 or GCS38."""
        own = _METERS_CODES.get(self._settings.kind, MessageCode.READ_PPMID_HCALCS_FIRMWARE_VERSION)
        if command.message_code != own:
            raise NotAuthenticError(f"{_VERSION_USE_CASES[MessageCode(command.message_code)]} is not for this device")
        version = self._banks.running_header().file_version
        key = self._authenticity.response_mac_key(response_header(command))
        if own is MessageCode.READ_PPMID_HCALCS_FIRMWARE_VERSION:
            outcome = ReadFirmwareVersionResponse(version, ReadFirmwareVersionResponseCode.READ_SUCCESS)
            response = make_cs08_response(command, outcome, key)
        else:
            response = make_meter_version_response(command, version, key)
        self.outbox.add(response, also=self._authenticity.heard(command))
        return [events.MessageMade(_VERSION_USE_CASES[own], response)]


class ActivationAlerts(Messages):
    """Those of a PPMID: its activation alert CS09 (GBCS 11.9), from the outcome that the boot loader left."""

    def settle(self, zigbee_time: float) -> Effects:
        outcome, settings, fault = self._banks.outcome(), self._settings, self._settings.faults.alert
        if outcome is None:
            return []
        if fault is AlertFault.NEVER:
            self._journal.put({Key.OUTCOME: None})
            return []
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
        return [events.AlertMade(counter, success, message)]
