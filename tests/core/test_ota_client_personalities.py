"""docs/personalities.md and the demo name every personality; what fielded clients got wrong is a fault of any of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from chf.cli.demo_methods import PERSONALITIES as DEMO
from devices.nodes import events
from devices.nodes.ota_states import State
from devices.nodes.personalities import ESP_V2, PERSONALITIES
from devices.nodes.settings import Faults
from devices.wire import ota
from devices.wire.zcl import Status
from tests.support.client_bench import ClientBench

# What fielded clients got wrong, as faults of any of them.


def test_a_client_that_loses_every_twentieth_block_stalls_and_gets_there() -> None:
    bench = ClientBench(ESP_V2, faults=Faults(loses_every_nth_block=20))
    bench.fetching()
    stalls = 0
    while bench.state is not State.ENDING:
        before = bench.banks.offset
        bench.serve()
        if bench.banks.offset == before:
            stalls += 1
            started = bench.now
            while bench.requests(bench.wait()) == []:
                pass
            assert bench.now - started == pytest.approx(5.6)
    assert stalls == 3  # of 64 blocks and those that were sent twice


def test_a_client_that_skips_a_block_has_a_short_image_and_asks_for_every_byte() -> None:
    bench = ClientBench(ESP_V2, faults=Faults(skips_block_at_offset=1000))
    bench.download()
    asked = [ota.ImageBlockRequest.from_bytes(each).offset for _, each in bench.requests()[1:-1]]
    assert asked == list(range(0, 3060, 48))
    assert [end.status for end in bench.ends()] == [Status.INVALID_IMAGE]
    assert "3060 bytes, there are 3012" in bench.all(events.DownloadFailed)[-1].reason


# The page.


def test_every_personality_stands_in_the_docs() -> None:
    page = (Path(__file__).parents[2] / "docs" / "personalities.md").read_text()
    told = set(re.findall(r"^\| `([^`]*)` \|", page, re.MULTILINE))
    assert told == set(PERSONALITIES)


def test_the_demo_offers_those_that_a_hub_can_activate() -> None:
    assert set(DEMO) == {name for name, each in PERSONALITIES.items() if each.activation_policy == 0}
