"""Carries batches out: transaction, messages, consequences. Where the store refuses, batches wait their turn.

A full disk must not stop the radio, and must not lose what happened while it was full: a batch that could not be
written is kept, with every write after it, and tried again. Its messages are not sent before, nor is what repeats them
(`Batch.ordered`).

Two kinds of batch are set aside instead, and nothing behind them waits: what no disk would help, because the store
refuses what it says, and what comes when `MOST_WAITING` are kept already. An alarm reports it, the log has what had
happened, and its messages and steps are not carried out. So that the hub does not go on from what was never written,
its devices begin again from what the store says of them (`DeviceChange.UNWRITTEN`).
"""

import logging
from collections import deque
from functools import partial
from typing import Final, Protocol

from chf.clock import Instant, Now
from chf.errors import ChfError, DamagedRowError, StoreCorruptError, StoreUnavailableError
from chf.eui64 import Eui64
from chf.hub.batch import Batch, DeviceChange, Work, append, together
from chf.radio.interface import Outbound
from chf.store import Store
from chf.trace import Event, Kind

_LOG = logging.getLogger(__name__)

MOST_WAITING: Final = 10_000  # batches; some 20 MB of them, and an hour of 64 devices that download (our choice)

AGAIN_S: Final = 60.0
"""A device begins again at most so often: what it then does may be refused, too (our choice)."""


class Carrier(Protocol):
    """Does what a batch wants done once it is written."""

    def post(self, message: Outbound) -> None: ...
    def trace(self, event: Event) -> None: ...
    def start(self, work: Work) -> None: ...
    def device_changed(self, device: Eui64, change: DeviceChange, now: Now) -> Batch: ...


class Journal:
    def __init__(self, store: Store, carrier: Carrier) -> None:
        self._store, self._carrier = store, carrier
        self._waiting: deque[Batch] = deque()
        self._unkept: Batch | None = None  # what came when too many waited, for one alarm
        self._unkept_batches = 0
        self._reason = ""  # why something waits, as was logged last
        self._begun_again: dict[Eui64, Instant] = {}  # when devices last began again from what is written

    @property
    def behind(self) -> bool:
        """Whether something that happened is not written yet."""
        return bool(self._waiting)

    def carry_out(self, batch: Batch) -> bool:
        """Whether it is done. Else all of it waits, or some was set aside."""
        if self._waiting and (batch.writes or batch.ordered):
            self._keep(batch)
            return False
        try:
            events = self._write(batch)
        except ChfError as error:
            if _may_pass(error):
                self._note(error)
                self._waiting.append(batch)
                return False
            done = [self.carry_out(part) for part in batch.parts]
            if not batch.parts:
                self._set_aside(batch, error)
            return bool(done) and all(done)
        self._go_on(batch, events)
        return True

    def retry(self) -> None:
        """Write what waits, oldest first, as far as the store lets us."""
        while self._waiting:
            try:
                events = self._write(self._waiting[0])
            except ChfError as error:
                if _may_pass(error):
                    self._note(error)
                    return
                refused = self._waiting.popleft()
                self._waiting.extendleft(reversed(refused.parts))
                if not refused.parts:
                    self._set_aside(refused, error)
                continue
            self._go_on(self._waiting.popleft(), events)
        self._reason = ""
        if self._unkept is not None:
            unkept, self._unkept = self._unkept, None
            self._raise_alarm(unkept, f"{self._unkept_batches} batches, because {MOST_WAITING} waited for the disk")
            self._unkept_batches = 0

    def _keep(self, batch: Batch) -> None:
        if len(self._waiting) < MOST_WAITING:
            self._waiting.append(batch)
            return
        if self._unkept is None:
            self._unkept = Batch(batch.now)
        self._unkept.devices |= batch.devices
        self._unkept_batches += 1
        _log_events(batch)

    def _note(self, error: ChfError) -> None:
        """Once for each reason: what waits is tried twice a second."""
        if str(error) != self._reason:
            self._reason = str(error)
            _LOG.error("not written yet, and kept until it is: %s", error)

    def _set_aside(self, batch: Batch, error: ChfError) -> None:
        _LOG.error("set aside, because it can never be written: %s", error)
        _log_events(batch)
        if not batch.alarm:
            what = f"{len(batch.writes)} writes and {len(batch.messages)} messages"
            self._raise_alarm(batch, f"{what}, because the store refuses them for good: {error}")

    def _raise_alarm(self, lost: Batch, what: str) -> None:
        alarm = Batch(lost.now, alarm=True)
        alarm.event(Kind.ALARM, {"reason": f"set aside: {what}"})
        self.carry_out(alarm)
        for device in sorted(lost.devices):
            last = self._begun_again.get(device)
            if last is None or lost.now.instant - last >= AGAIN_S:
                self._begun_again[device] = lost.now.instant
                self.carry_out(self._carrier.device_changed(device, DeviceChange.UNWRITTEN, lost.now))

    def _write(self, batch: Batch) -> list[Event]:
        if not batch.writes:
            return []
        with self._store.transaction(durable=batch.durable) as tx:
            written = [write(tx) for write in batch.writes]
        return [event for event in written if isinstance(event, Event)]

    def _go_on(self, batch: Batch, events: list[Event]) -> None:
        for message in batch.messages:
            self._carrier.post(message)
        for event in events:
            self._carrier.trace(event)
        for work in batch.work:
            self._carrier.start(work)
        if batch.afterwards or batch.changes:
            self._follow(batch)

    def _follow(self, batch: Batch) -> None:
        """The steps, and what they cause in one transaction: one wait for the disk, not 64 of them."""
        caused: list[Batch] = []
        try:
            caused += (after for step in batch.afterwards if (after := step()) is not None)
            caused += [self._carrier.device_changed(device, change, batch.now) for device, change in batch.changes]
        finally:
            if caused:
                self.carry_out(together(caused, batch.now))


def _may_pass(error: ChfError) -> bool:
    """Whether another batch would fare no better now; a damaged row harms what is to be written of it alone."""
    return isinstance(error, StoreUnavailableError | StoreCorruptError) and not isinstance(error, DamagedRowError)


def _log_events(batch: Batch) -> None:
    for write in batch.writes:
        if isinstance(write, partial) and write.func is append:
            _LOG.error("set aside: %s", write.args[0].to_json())
