"""Blocks that are lost are sent again before their client, which waits for 5 s, asks again; large ones go in fragments."""

from itertools import pairwise
from pathlib import Path

import pytest

from chf.trace import Kind
from tests.support.programs import quick
from tests.support.virtual_desk import DEVICE, desk_with_hub
from tests.support.virtual_time import virtual_time

LOSS = 0.3  # of each frame and MAC acknowledgement: of 250 blocks the MAC gives up about fifteen


@pytest.mark.parametrize("kind", ["ezsp", "znp"])
def test_no_client_waits_out_its_own_time_for_a_block_that_the_dongle_knew_to_be_lost(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        on_air: list[float] = []
        scenario = "seed = 1\n" + quick(think_time_s=0.005)
        async with desk_with_hub(tmp_path, kind, scenario) as desk:
            content = await desk.update_under_way(until_bytes=1000)
            desk.bench.world.medium.taps.append(lambda at, *_: on_air.append(at))
            desk.order(do="loss", chance=LOSS)
            await desk.until_offset(11_000)
            desk.order(do="loss", chance=0.0)
            pauses = [later - earlier for earlier, later in pairwise(on_air)]
            assert max(pauses) < 4.0
            await desk.until_it_ended_well(content)
            assert DEVICE in desk.states_of_updates()

    with virtual_time(monkeypatch) as run:
        run(story())


@pytest.mark.parametrize("kind", ["ezsp", "znp"])
@pytest.mark.parametrize("loss", [0.0, 0.3])
def test_a_client_that_asks_for_large_blocks_gets_them_in_fragments_and_lost_ones_again(
    tmp_path: Path, kind: str, loss: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        scenario = "seed = 1\n" + quick(block_size=223, think_time_s=0.005)
        async with desk_with_hub(tmp_path, kind, scenario) as desk:
            content = await desk.update_under_way(until_bytes=1000)
            counters = desk.bench.world.dongle.stack.counters
            before = counters.aps_retries
            desk.order(do="loss", chance=loss)
            await desk.until_offset(11_000)
            desk.order(do="loss", chance=0.0)
            assert (counters.aps_retries > before) == (loss > 0)
            await desk.until_it_ended_well(content)
            (blocks,) = [e.fields["blocks"] for _, e in desk.told if e.kind is Kind.OTA_TRANSFER_ENDED]
            assert blocks < len(content) / 125

    with virtual_time(monkeypatch) as run:
        run(story())
