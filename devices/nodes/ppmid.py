"""The emulated PPMID: an OTA client, a Tunneling server and its signed activation alert, over one stack."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

    from devices.nodes.events import NodeListener
    from devices.nodes.flash import Flash
    from devices.nodes.settings import PpmidSettings
    from devices.stack.interface import DeviceStack, Scheduler


class Ppmid:
    """A device on its stack. It is a `DeviceListener`: give it to the stack, then `power_on`."""

    def __init__(
        self,
        stack: DeviceStack,
        scheduler: Scheduler,
        random: Random,
        settings: PpmidSettings,
        *,
        flash: Flash,
        listener: NodeListener,
    ) -> None:
        self.stack = stack
        self.settings = settings
        self._scheduler = scheduler
        self._random = random
        self._flash = flash
        self._listener = listener
