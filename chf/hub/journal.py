"""Carries batches out: transaction, messages, consequences. Where the store refuses, batches wait their turn.

A full disk must not stop the radio, and must not lose what happened while it was full: a batch that could not be
written is kept, with every write after it, and tried again. Its messages are not sent before, nor is what repeats them
(`Batch.ordered`).

What no disk would help, because the store refuses what it says, is set aside instead, and nothing behind it waits: an
alarm tells of it, the log has what had happened, and its messages and steps are not carried out.
"""

import logging
from collections import deque
from collections.abc import Callable
from functools import partial

from chf.errors import ChfError, StoreCorruptError, StoreUnavailableError
from chf.hub.batch import Batch, append, merged
from chf.radio.interface import Outbound
from chf.store import Store
from chf.trace import Event, Kind

_LOG = logging.getLogger(__name__)

_NOT_ITS_FAULT = (StoreUnavailableError, StoreCorruptError)
"""Whatever is to be written: another batch would fare no better."""


class Journal:
    def __init__(self, store: Store, post: Callable[[Outbound], None], tell: Callable[[Event], None]) -> None:
        self._store, self._post, self._tell = store, post, tell
        self._waiting: deque[Batch] = deque()
        self._gathered: list[Batch] | None = None  # while the steps of one batch are being taken
        self._reason = ""  # why something waits, as was logged last
        self._alarm: Batch | None = None  # the last one

    @property
    def behind(self) -> bool:
        """Whether something that happened is not written yet."""
        return bool(self._waiting)

    def carry_out(self, batch: Batch) -> None:
        if self._gathered is not None:
            self._gathered.append(batch)
            return
        if self._waiting and (batch.writes or batch.ordered):
            self._waiting.append(batch)
            return
        try:
            events = self._write(batch)
        except _NOT_ITS_FAULT as error:
            self._note(error)
            self._waiting.append(batch)
            return
        except ChfError as error:
            self._set_aside(batch, error)
            return
        self._go_on(batch, events)

    def retry(self) -> None:
        """Write what waits, oldest first, as far as the store lets us."""
        while self._waiting:
            try:
                events = self._write(self._waiting[0])
            except _NOT_ITS_FAULT as error:
                self._note(error)
                return
            except ChfError as error:
                self._set_aside(self._waiting.popleft(), error)
                continue
            self._go_on(self._waiting.popleft(), events)
        self._reason = ""

    def _note(self, error: ChfError) -> None:
        """Once for each reason: what waits is tried twice a second."""
        if str(error) != self._reason:
            self._reason = str(error)
            _LOG.error("not written yet, and kept until it is: %s", error)

    def _set_aside(self, batch: Batch, error: ChfError) -> None:
        _LOG.error("set aside, because it can never be written: %s", error)
        for write in batch.writes:
            if isinstance(write, partial) and write.func is append:
                _LOG.error("set aside: %s", write.args[0].to_json())
        if batch is self._alarm:
            return
        self._alarm = alarm = Batch(batch.now)
        told = f"{len(batch.writes)} writes and {len(batch.messages)} messages"
        alarm.event(Kind.ALARM, {"reason": f"{told} were set aside, because the store refuses them for good: {error}"})
        self.carry_out(alarm)

    def _write(self, batch: Batch) -> list[Event]:
        if not batch.writes:
            return []
        with self._store.transaction(durable=batch.durable) as tx:
            written = [write(tx) for write in batch.writes]
        return [event for event in written if isinstance(event, Event)]

    def _go_on(self, batch: Batch, events: list[Event]) -> None:
        for message in batch.messages:
            self._post(message)
        for event in events:
            self._tell(event)
        self._follow(batch)

    def _follow(self, batch: Batch) -> None:
        """The steps, and what they cause in one transaction: one wait for the disk, not 64 of them."""
        if len(batch.afterwards) < 2:
            for step in batch.afterwards:
                step()
            return
        gathered: list[Batch] = []
        self._gathered = gathered
        try:
            for step in batch.afterwards:
                step()
        finally:
            self._gathered = None
            if gathered:
                self.carry_out(merged(gathered))
