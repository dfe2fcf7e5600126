"""A block that the dongle could not deliver is sent again before its client, which waits for 5 s, asks again."""

from itertools import pairwise
from pathlib import Path

import pytest

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
