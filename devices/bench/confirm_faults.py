"""What the dongle tells of a message's fate, late or never: between a co-processor, of any kind, and its host."""

from collections.abc import Callable
from random import Random

from devices.bench.faults import ConfirmFaults
from devices.stack.interface import Eui64
from devices.time import Scheduler


class LateConfirms:
    """Later entries win over earlier ones."""

    def __init__(self, faults: tuple[ConfirmFaults, ...], random: Random, scheduler: Scheduler) -> None:
        self.faults = faults
        self._random = random
        self._scheduler = scheduler

    def set(self, faults: ConfirmFaults) -> None:
        """In place of what was there for the same device, or the same for all."""
        self.faults = (*(entry for entry in self.faults if entry.eui64 != faults.eui64), faults)

    def tell(self, device: Eui64 | None, say: Callable[[], None]) -> None:
        """`say` tells the host what became of a message to `device`."""
        for entry in reversed(self.faults):
            if entry.eui64 in {None, device}:
                if self._random.random() >= entry.loss:
                    self._scheduler.call_later(entry.delay_s, say)
                return
        say()
