"""Whether a GBCS command may be obeyed: for this device, from whom it says, whole, and newer than what was obeyed.

A command that fails here changes nothing and is not answered. (GBCS has log entries and alerts for it, 0x8F1E and
0x8F30 among them; their payloads are not public, so none is sent.)
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from chf.errors import MalformedMessageError
from chf.gbcs.codes import CraFlag, MessageCode
from chf.gbcs.message import GbcsMessage, GroupingHeader
from chf.gbcs.meter_version import DlmsReadFirmwareVersionCommand, GbzReadFirmwareVersionCommand
from chf.gbcs.security import mac_key, verify_mac, verify_signature
from chf.gbcs.use_cases import ActivateFirmwareCommand, Payload, ReadFirmwareVersionCommand, parse_payload
from devices.nodes.journal import Journal, Key
from devices.nodes.settings import CommandedSettings

if TYPE_CHECKING:
    from devices.nodes.settings import GbcsSettings

_HEARD = struct.Struct("<QQ")  # our choice: an originator and the highest counter that was obeyed of it


NO_USE_CASE = "no use case of this device: 0x{:04X}"


class NotAuthenticError(Exception):
    """The text says why the command is not obeyed."""


class Authenticity:
    def __init__(self, journal: Journal, settings: GbcsSettings) -> None:
        self._journal = journal
        self._settings = settings

    def check(self, octets: bytes) -> tuple[GroupingHeader, Payload]:
        """The command in `octets`. Raises NotAuthenticError."""
        settings = self._settings
        try:
            message = GbcsMessage.from_bytes(octets)
            payload = parse_payload(message)
        except MalformedMessageError as error:
            raise NotAuthenticError(f"malformed: {error}") from None
        header = message.header
        if header.cra is not CraFlag.COMMAND:
            raise NotAuthenticError(f"a {header.cra.name.lower()}, not a command")
        if header.recipient != settings.eui64:
            raise NotAuthenticError("for another device")
        match payload:
            case ActivateFirmwareCommand(originator_counter=counter):
                self._check_supplier(message)
                if counter != header.counter:
                    raise NotAuthenticError("its two originator counters differ")
            case ReadFirmwareVersionCommand():
                if header.originator != settings.access_control_broker:
                    raise NotAuthenticError("not from the Access Control Broker")
            case DlmsReadFirmwareVersionCommand() | GbzReadFirmwareVersionCommand():
                if header.originator not in (settings.access_control_broker, _supplier(settings)):
                    raise NotAuthenticError("neither from its supplier nor from the Access Control Broker")
            case _:
                raise NotAuthenticError(NO_USE_CASE.format(header.message_code))
        if settings.key_agreement_key is None or settings.acb_key is None:
            raise NotAuthenticError("no key agreement with the Access Control Broker is set up")
        # SME.C: the parties of the MAC are the ACB and the device, whoever signed (RTDS).
        if not verify_mac(message, mac_key(settings.key_agreement_key, settings.acb_key, header)):
            raise NotAuthenticError("the MAC is not the Access Control Broker's")
        if header.counter <= self._heard().get(header.originator, -1):
            raise NotAuthenticError("its counter was used before")
        return header, payload

    def heard(self, header: GroupingHeader) -> dict[Key, bytes | None]:
        """What to write in the same record as the effect of an obeyed command: its counter is used up."""
        counters = {**self._heard(), header.originator: header.counter}
        return {Key.HEARD: b"".join(_HEARD.pack(*pair) for pair in counters.items())}

    def response_mac_key(self, header: GroupingHeader) -> bytes:
        """The key of a response with this header to a command that was found authentic: for who asked, to check.

        A supplier that a meter knows is answered under its own key; so the public test messages have it.
        """
        settings = self._settings
        assert settings.key_agreement_key is not None
        theirs = settings.acb_key
        if isinstance(settings, CommandedSettings) and header.recipient == settings.supplier:
            theirs = settings.supplier_agreement_key
        if theirs is None:
            raise NotAuthenticError("no key agreement with its supplier is set up")
        return mac_key(settings.key_agreement_key, theirs, header)

    def _check_supplier(self, message: GbcsMessage) -> None:
        settings = self._settings
        if not isinstance(settings, CommandedSettings):
            raise NotAuthenticError(NO_USE_CASE.format(MessageCode.ACTIVATE_FIRMWARE))
        if message.header.originator != settings.supplier:
            raise NotAuthenticError("not from its supplier")
        if not verify_signature(message, settings.supplier_key):
            raise NotAuthenticError("the signature is not its supplier's")

    def _heard(self) -> dict[int, int]:
        return dict(_HEARD.iter_unpack(self._journal.get(Key.HEARD) or b""))


def _supplier(settings: GbcsSettings) -> int | None:
    return settings.supplier if isinstance(settings, CommandedSettings) else None
