"""What a network co-processor of either kind does: it boots, answers, calls back, and reports outcomes.

A kind adds its line (`receive`, `data_to_send`), its command table with the handlers behind it, and what it keeps in
flash. Octets go in and come out; time comes from the scheduler, which the owner drives.
"""

from abc import ABC, abstractmethod
from collections import Counter as CounterOf
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

from devices.ncp.layout import Handler, Value
from devices.stack.interface import Eui64, NwkAddress

if TYPE_CHECKING:
    from random import Random

    from devices.stack.coordinator import ZigbeeCoordinator
    from devices.time import Scheduler, Timer

ReportOutcome = Callable[[Eui64 | None, Callable[[], None]], None]
"""Takes to which device a message went, None where nobody knows, and what tells the host the outcome when called."""


class Callback(Protocol):
    """Tells the host something unasked, by the name that the command table has for it."""

    def __call__(self, name: str, *values: Value) -> None: ...


class Command(Protocol):
    """A row of a command table."""

    @property
    def id(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def is_callback(self) -> bool: ...


class _Handlers(Protocol):
    def handlers(self) -> dict[str, Handler]: ...


CommandT = TypeVar("CommandT", bound=Command)


class Coprocessor(ABC):
    """What its handlers share. `report_outcome`, where there is one, decides when the host learns of an outcome."""

    stack: "ZigbeeCoordinator"
    is_up: bool
    """Whether the network runs."""

    def __init__(self, scheduler: "Scheduler", random: "Random") -> None:
        self.report_outcome: ReportOutcome | None = None
        self.exhausted_until = 0.0
        """Until then there is no free packet buffer for a message to send."""
        self.scheduler = scheduler
        self.random = random
        self.asked: CounterOf[str] = CounterOf()
        """How often the host asked each command, by name; a test may clear it."""
        self._boots = 0
        self._busy_until = -1.0
        self._answering = False
        self.callback_due = False
        """A command causes a callback that comes later than its answer."""
        self._held: list[tuple[str, tuple[Value, ...]]] = []

    def report(self, address: int, say: Callable[[], None]) -> None:
        """Call `say`, which tells the host what became of a message to this address, when its time has come."""
        if self.report_outcome is None:
            say()
        else:
            self.report_outcome(self.stack.ieee_of(NwkAddress(address)), say)

    def _empty(self) -> None:
        """RAM, as after power on."""
        self._boots += 1
        self._busy_until = -1.0
        self.is_up = False
        self._answering = False
        self._held.clear()

    def call_later(self, delay_s: float, do: Callable[[], None]) -> "Timer":
        """Unless the chip restarts before."""
        boot = self._boots
        return self.scheduler.call_later(delay_s, lambda: do() if boot == self._boots else None)

    def _when_free(self, takes_s: float, do: Callable[[], None]) -> None:
        """Once the commands before are done, and the time that this one takes is over."""
        if not takes_s and self.scheduler.now > self._busy_until:
            do()
            return
        self._busy_until = max(self.scheduler.now, self._busy_until) + takes_s
        self.call_later(self._busy_until - self.scheduler.now, do)

    def callback(self) -> Callback:
        """For the handlers of this boot: what they have to say after the next one is not heard."""
        return partial(self._call_back, self._boots)

    def _call_back(self, boot: int, name: str, *values: Value) -> None:
        if boot != self._boots:
            return
        if self._answering:  # what a command causes comes after its answer
            self._held.append((name, values))
        else:
            self._say_unasked(name, values)

    @staticmethod
    def _handlers_of(
        table: Mapping[str, CommandT], *parts: _Handlers, own: Mapping[str, Handler] | None = None
    ) -> dict[int, tuple[CommandT, Handler]]:
        """Which command goes where."""
        handlers = dict(own or {})
        for part in parts:
            handlers |= part.handlers()
        return {command.id: (command, handlers[command.name]) for command in table.values() if not command.is_callback}

    def _carry_out(self, handler: Handler, values: tuple[Value, ...]) -> tuple[Value, ...] | None:
        """What the handler gives for the answer; None where it made the chip restart, which leaves nobody to answer."""
        boot = self._boots
        self._answering = True
        response = handler(*values)
        self._answering = False
        return response if boot == self._boots else None

    def _answered(self) -> None:
        """The answer is out: now what the command caused."""
        held, self._held = self._held, []
        for name, values in held:
            self._say_unasked(name, values)

    @abstractmethod
    def _say_unasked(self, name: str, values: tuple[Value, ...]) -> None:
        """Send this callback of the command table, unless the host is not to hear of it."""
