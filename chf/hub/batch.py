"""What one input causes, in the order of doing it: writes (one transaction), then messages, then what follows.

A message never says what the store does not know, and nothing that must be reported is lost between two rows. Only what
must outlive a power cut waits for the disk: what is heard again anyway, and the audit's word of it, survives the end of
the process.

A handler returns a batch; only the journal carries one out (`chf.hub.journal`).
"""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import Any

from chf.clock import Now
from chf.eui64 import Eui64
from chf.radio.interface import Outbound
from chf.store.store import Transaction
from chf.trace import Event, Kind, Value

Write = Callable[[Transaction], object]
"""What it returns is traced once it is written, where it is an Event."""

Step = Callable[[], "Batch | None"]
Work = Callable[[], Coroutine[Any, Any, "Batch | None"]]


class DeviceChange(Enum):
    """What every part of the hub hears of a device."""

    ARRIVED = "it is on the network, and has done all that security demands before"
    LEFT = "it left the network"
    FORGOTTEN = "it was taken out of the device log"
    UNWRITTEN = "what it did could not be written: go on from what the store says of it"


@dataclass(slots=True)
class Batch:
    """Empty, it changes nothing."""

    now: Now
    writes: list[Write] = field(default_factory=list)
    messages: list[Outbound] = field(default_factory=list)
    afterwards: list[Step] = field(default_factory=list)
    work: list[Work] = field(default_factory=list)
    changes: list[tuple[Eui64, DeviceChange]] = field(default_factory=list)
    devices: set[Eui64] = field(default_factory=set)
    """Whose state the writes hold: they begin again from the store where these cannot be written."""
    durable: bool = False
    """Whether one of the writes is, and so all of them."""
    ordered: bool = False
    """Whether one of the messages says what an earlier batch decided: it waits where that one waits."""
    parts: tuple["Batch", ...] = ()
    """What it was made of by `together`: tried one by one where the store refuses the whole."""
    alarm: bool = False
    """Whether it reports a batch that was set aside: where it is refused as well, there is no other alarm."""

    def write(self, write: Write, *, device: Eui64 | None = None, durable: bool = True) -> None:
        """Not `durable`: nothing depends on it, or what does waits for the disk by itself (`Store.sync`)."""
        self.writes.append(write)
        self.durable = self.durable or durable
        if device is not None:
            self.devices.add(device)

    def event(
        self, kind: Kind, fields: Mapping[str, Value], *, device: Eui64 | None = None, update: int | None = None
    ) -> None:
        """Something that happened: goes into the audit with everything else of this batch, and waits for no disk."""
        self.write(partial(append, Event(self.now.utc, kind, device, update, fields)), device=device, durable=False)

    def send(self, message: Outbound, *, ordered: bool = False) -> None:
        self.messages.append(message)
        self.ordered = self.ordered or ordered

    def then(self, step: Step) -> None:
        """Do this once the writes are made and the messages are on their way; what it returns is carried out next."""
        self.afterwards.append(step)

    def start(self, work: Work) -> None:
        """Like `then`, for what takes its time: a task, beside everything else."""
        self.work.append(work)

    def changed(self, device: Eui64, change: DeviceChange) -> None:
        """Once this is written, every part of the hub hears of it."""
        self.changes.append((device, change))

    def add(self, other: "Batch") -> None:
        """All of the other one as well: every write comes before every message, and waits where one of them must."""
        self.writes += other.writes
        self.messages += other.messages
        self.afterwards += other.afterwards
        self.work += other.work
        self.changes += other.changes
        self.devices |= other.devices
        self.durable = self.durable or other.durable
        self.ordered = self.ordered or other.ordered


def together(parts: Sequence[Batch], now: Now) -> Batch:
    """What several stories cause, in one transaction."""
    if len(parts) == 1:
        return parts[0]
    whole = Batch(now, parts=tuple(parts))
    for part in parts:
        whole.add(part)
    return whole


def append(event: Event, tx: Transaction) -> Event:
    """As a write: into the audit."""
    tx.audit.append(event)
    return event
