"""The emulated HCALCS, ESME and GSME: images come from the hub, the word to activate from the supplier (CS06)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from devices.nodes.firmware_commands import FirmwareCommands
from devices.nodes.settings import CommandedSettings
from devices.nodes.updatable import UpdatableNode

if TYPE_CHECKING:
    from devices.nodes.image_bank import ImageBanks
    from devices.nodes.journal import Journal
    from devices.nodes.messages import Messages


class CommandedDevice(UpdatableNode):
    def make_messages(self, journal: Journal, banks: ImageBanks) -> Messages:
        assert isinstance(self.gbcs_settings, CommandedSettings)
        return FirmwareCommands(journal, self.gbcs_settings, banks)
