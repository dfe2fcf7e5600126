"""Carries batches out: transaction, messages, consequences. Where the store refuses, batches wait their turn.

A full disk must not stop the radio, and must not lose what happened while it was full: a batch that could not be
written is kept, with every write after it, and tried again. Its messages are not sent before, nor is what repeats them
(`Batch.ordered`).
"""

import logging
from collections import deque
from collections.abc import Callable

from chf.errors import StoreError
from chf.hub.batch import Batch, merged
from chf.radio.interface import Outbound
from chf.store import Store
from chf.trace import Event

_LOG = logging.getLogger(__name__)


class Journal:
    def __init__(self, store: Store, post: Callable[[Outbound], None], tell: Callable[[Event], None]) -> None:
        self._store, self._post, self._tell = store, post, tell
        self._waiting: deque[Batch] = deque()
        self._gathered: list[Batch] | None = None  # while the steps of one batch are being taken

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
        except StoreError as error:
            _LOG.error("not written yet, and kept until it is: %s", error)
            self._waiting.append(batch)
            return
        self._go_on(batch, events)

    def retry(self) -> None:
        """Write what waits, oldest first, as far as the store lets us."""
        while self._waiting:
            try:
                events = self._write(self._waiting[0])
            except StoreError:
                return
            self._go_on(self._waiting.popleft(), events)

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
