"""What one input causes, in the order of doing it: writes (one transaction), then messages, then what follows.

A message never says what the store does not know, and nothing that must be told is lost between two rows. Only what
must outlive a power cut waits for the disk: what is heard again anyway, and the audit's word of it, survives the end of
the process.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from chf.clock import Now
from chf.eui64 import Eui64
from chf.radio.interface import Outbound
from chf.store.store import Transaction
from chf.trace import Event, Kind, Value

Write = Callable[[Transaction], object]
"""What it returns is told once it is on disk, where it is an Event."""

Step = Callable[[], None]


@dataclass(slots=True)
class Batch:
    """Filled by whoever handles the input, carried out by `Journal`."""

    now: Now
    writes: list[Write] = field(default_factory=list)
    messages: list[Outbound] = field(default_factory=list)
    afterwards: list[Step] = field(default_factory=list)
    durable: bool = False
    """Whether one of the writes is, and so all of them."""
    ordered: bool = False
    """Whether one of the messages says what an earlier batch decided: it waits where that one waits."""

    def write(self, write: Write, *, durable: bool = True) -> None:
        """Not `durable`: nothing depends on it, or whoever does waits for the disk by himself (`Store.sync`)."""
        self.writes.append(write)
        self.durable = self.durable or durable

    def event(
        self, kind: Kind, fields: Mapping[str, Value], *, device: Eui64 | None = None, job: int | None = None
    ) -> None:
        """Something that happened: goes into the audit with everything else of this batch, and waits for no disk."""
        self.writes.append(partial(append, Event(self.now.utc, kind, device, job, fields)))

    def send(self, message: Outbound, *, ordered: bool = False) -> None:
        self.messages.append(message)
        self.ordered = self.ordered or ordered

    def then(self, step: Step) -> None:
        """Do this once the writes are on disk and the messages are on their way."""
        self.afterwards.append(step)


def append(event: Event, tx: Transaction) -> Event:
    """As a write: into the audit, and told."""
    tx.audit.append(event)
    return event


def merged(batches: Sequence[Batch]) -> Batch:
    """All of them as one, in their order: every write comes before every message, and waits where one of them must."""
    whole = Batch(
        batches[0].now,
        durable=any(batch.durable for batch in batches),
        ordered=any(batch.ordered for batch in batches),
    )
    for batch in batches:
        whole.writes += batch.writes
        whole.messages += batch.messages
        whole.afterwards += batch.afterwards
        whole.durable = whole.durable or batch.durable
    return whole
