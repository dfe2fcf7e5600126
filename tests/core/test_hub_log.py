"""The hub keeps the log of its store short, and outlives a store that does not let it."""

import asyncio
import logging

import pytest

from chf.errors import StoreUnavailableError
from chf.hub.upkeep import CHECKPOINT_S
from chf.store import Store
from tests.support.memory_radio import MemoryRadio, hub_on_desk
from tests.support.virtual_time import VirtualClock, let_pass, virtual_time


@pytest.mark.parametrize("refused", [False, True])
def test_the_log_is_moved_now_and_then(tmp_path, monkeypatch, caplog, refused):
    times = []

    def checkpoint():
        times.append(asyncio.get_running_loop().time())
        if refused:
            raise StoreUnavailableError("the disk is full")

    async def story():
        with Store.open(tmp_path / "home", hub=True) as store:
            store.checkpoint = checkpoint
            async with hub_on_desk(store, MemoryRadio(), clock=VirtualClock()):
                await let_pass(3.5 * CHECKPOINT_S)

    with virtual_time(monkeypatch) as run, caplog.at_level(logging.WARNING):
        run(story())
    assert times == pytest.approx([CHECKPOINT_S, 2 * CHECKPOINT_S, 3 * CHECKPOINT_S], abs=0.1)
    assert ("the disk is full" in caplog.text) is refused
