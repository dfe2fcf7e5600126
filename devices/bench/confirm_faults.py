"""What the dongle tells of a message's fate, late or never: between its stack and its co-processor, of any kind."""

from random import Random
from typing import Any

from devices.bench.faults import ConfirmFaults
from devices.stack.coordinator import ZigbeeCoordinator
from devices.stack.interface import ApsRequest, ApsStatus, Confirm, Eui64, Scheduler


class LateConfirms:
    """`coordinator` makes stacks whose confirms suffer. Later entries win over earlier ones."""

    def __init__(self, faults: tuple[ConfirmFaults, ...], random: Random, scheduler: Scheduler) -> None:
        self.faults = faults
        self._random = random
        self._scheduler = scheduler

    def set(self, faults: ConfirmFaults) -> None:
        """In place of what was there for the same device, or the same for all."""
        self.faults = (*(entry for entry in self.faults if entry.eui64 != faults.eui64), faults)

    def coordinator(self, *arguments: Any, **settings: Any) -> ZigbeeCoordinator:
        return _Coordinator(self, *arguments, **settings)

    def suffered(self, confirm: Confirm, device: Eui64 | None) -> Confirm:
        faults = next((entry for entry in reversed(self.faults) if entry.eui64 in {None, device}), None)
        if faults is None:
            return confirm
        if self._random.random() < faults.loss:
            return lambda _status: None
        if not faults.delay_s:
            return confirm

        def later(status: ApsStatus) -> None:
            self._scheduler.call_later(faults.delay_s, lambda: confirm(status))

        return later


class _Coordinator(ZigbeeCoordinator):
    def __init__(self, confirms: LateConfirms, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._confirms = confirms

    def send(self, request: ApsRequest, confirm: Confirm | None = None) -> int:
        if confirm is not None and request.destination != self.address:
            confirm = self._confirms.suffered(confirm, self.ieee_of(request.destination))
        return super().send(request, confirm)
