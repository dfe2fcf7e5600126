"""What the store needs now and then, so that it stays small and no commit waits long: checkpoints, and retention.

Each turn returns how many seconds to wait before its next one. In vain where the disk is full, which is no failure.
"""

import asyncio
import logging
from typing import Final

from chf.errors import StoreError
from chf.hub.handler import HubContext
from chf.hub.journal import Journal

_LOG = logging.getLogger(__name__)

CHECKPOINT_S: Final = 30.0  # how often SQLite's log is moved into its file (our choice)
PRUNE_S: Final = 1.0  # between two portions of what retention lets go (our choice)
LOOK_AGAIN_S: Final = 600.0  # once nothing is left to prune, or nothing can be written (our choice)


class Upkeep:
    def __init__(self, context: HubContext, journal: Journal) -> None:
        self._store, self._clock, self._journal = context.store, context.clock, journal
        self._retention = context.settings.retention

    async def checkpoint(self) -> float:
        await asyncio.sleep(CHECKPOINT_S)
        try:
            await asyncio.to_thread(self._store.checkpoint)
        except StoreError as error:
            _LOG.warning("the store's log was not moved into its file: %s", error)
        return 0.0

    async def prune(self) -> float:
        """A portion takes a few milliseconds."""
        reading = self._clock.now()
        now = reading.utc
        older_than = self._retention.older_than(now)
        if older_than is None or self._journal.behind or not reading.trusted:  # a wrong clock may not let all go
            return LOOK_AGAIN_S
        try:
            return PRUNE_S if self._store.prune(older_than, now) else LOOK_AGAIN_S
        except StoreError as error:
            _LOG.warning("nothing was pruned: %s", error)
            return LOOK_AGAIN_S
