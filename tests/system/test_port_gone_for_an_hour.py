"""A dongle that is unplugged for an hour in mid-download, with the hub, the libraries and the dongle in virtual time."""

import asyncio
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from chf.radio.reconnecting import LONGEST_RETRY_S
from devices.bench.serve import Bench
from tests.support.programs import quick
from tests.support.virtual_desk import desk_with_hub
from tests.support.virtual_time import let_pass, virtual_time

pytestmark = pytest.mark.timeout(180)

AWAY_S = 3600.0
SCENARIO = quick(think_time_s=0.05, query_interval_s=60.0)


async def story(directory: Path, kind: str) -> None:
    loop = asyncio.get_running_loop()
    async with desk_with_hub(directory, kind, SCENARIO) as desk:
        content = await desk.update_under_way()
        before = desk.network()
        attempts = count_attempts(desk.bench)
        left_at_s = loop.time()
        desk.order(do="unplug", for_s=AWAY_S)
        await desk.until(lambda: desk.states()[-1][1] == "connecting", 60)
        await let_pass(AWAY_S - 60)
        assert desk.states()[-1][1] == "connecting"
        assert desk.store.updates.list()[0].active
        check_bounded(attempts, left_at_s)
        await desk.until(lambda: desk.states()[-1][1] == "up", 60 + 2 * LONGEST_RETRY_S)
        assert desk.states()[-1][0] - left_at_s < AWAY_S + 2 * LONGEST_RETRY_S
        assert desk.network() == before
        await desk.until_it_ended_well(content)


def count_attempts(bench: Bench) -> list[float]:
    """When somebody connected to the port."""
    loop, port = asyncio.get_running_loop(), bench.port
    times: list[float] = []
    connected = port.host_connected  # type: ignore[union-attr]

    def counted(host: Any) -> None:
        times.append(loop.time())
        connected(host)

    port.host_connected = counted  # type: ignore[union-attr,method-assign]
    return times


def check_bounded(attempts: list[float], since_s: float) -> None:
    """Soon at first, at most every ten seconds later, and never given up."""
    assert attempts[0] - since_s < 1.0
    waits = [later - earlier for earlier, later in pairwise(attempts)]
    assert max(waits) < LONGEST_RETRY_S + 1.0
    assert min(waits[6:]) > LONGEST_RETRY_S - 0.1
    assert len(attempts) < 20 + AWAY_S / LONGEST_RETRY_S


@pytest.mark.parametrize("kind", ["ezsp", "znp"])
def test_a_port_that_is_gone_for_an_hour(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with virtual_time(monkeypatch) as run:
        run(story(tmp_path, kind))
