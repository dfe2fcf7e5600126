"""The emulated PPMID: the hub decides when it activates, and it tells the ACB how that went."""

from __future__ import annotations

from typing import TYPE_CHECKING

from devices.nodes.alerts import ActivationAlerts
from devices.nodes.updatable import UpdatableNode

if TYPE_CHECKING:
    from devices.nodes.image_bank import ImageBanks
    from devices.nodes.journal import Journal
    from devices.nodes.messages import Messages


class Ppmid(UpdatableNode):
    def make_messages(self, journal: Journal, banks: ImageBanks) -> Messages:
        return ActivationAlerts(journal, self.gbcs_settings, banks)
