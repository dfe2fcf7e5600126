"""How the OTA clients of the field wait for data and keep to a minimum block period; docs/personalities.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from devices.nodes.ota_states import State
from devices.nodes.personalities import ESP_V1, MICROCHIP, NORDIC, NXP, SILICON_LABS, SPEC_STRICT, ST, TELINK, TI
from devices.wire import ota
from tests.support.client_bench import ClientBench, by_personality
from tests.support.model_hub import START_UTC

if TYPE_CHECKING:
    from devices.nodes.personality import Personality

HOUR = 3600
U32 = 2**32


@by_personality(
    ("personality", "current", "request_time", "wait_s"),
    (TELINK, 100, 50, (U32 - 50_000) / 1000),  # 49.7 days: milliseconds in 32 bits
    (TELINK, 0, 90_000, 90_000),
    (TELINK, START_UTC - 100, START_UTC + 90, 190),
    (TI, 100, 50, U32 - 50),
    (NORDIC, 100, 50, U32 - 50),
    (NORDIC, START_UTC - 100, START_UTC + 90, 190),
    (ESP_V1, 100, 50, U32 - 50),
    (ESP_V1, START_UTC - 100, START_UTC + 90, 190),
    (SILICON_LABS, START_UTC - 100, START_UTC + 90, 190),
    (TI, START_UTC - 100, START_UTC + 90, 190),
    (NXP, 0, 90, 90),
    (NXP, 100, 50, 0),
    (ST, 0, 90, 90),
    (ST, 100, 190, 90),
    (ST, 100, 50, (U32 - 50_000) / 1000),
    (ST, 90, 90, 0.05),
    (MICROCHIP, 0, 90, 0.1),
    (MICROCHIP, 100, 190, 0.1),
    (SILICON_LABS, 0, 90_000, HOUR),
)
def test_wait_for_data(personality: Personality, current: int, request_time: int, wait_s: float) -> None:
    bench = ClientBench(personality, knows_time=personality is not NXP)
    bench.fetching()
    bench.wait_for_data(current, request_time, 0)
    if wait_s:
        assert (bench.state, bench.wait_s) == (State.PAUSED, pytest.approx(wait_s))
        bench.wait()
    assert len(bench.requests()) == 3  # the query, and the same block twice
    assert bench.asks_block().offset == 0


def test_microchip_takes_a_request_time_that_has_passed_for_the_end_of_the_download() -> None:
    bench = ClientBench(MICROCHIP)
    bench.fetching()
    bench.wait_for_data(100, 50, 0)
    assert (bench.state, bench.ends()) == (State.SEEKING, [])


def test_ti_wants_a_period_in_wait_for_data() -> None:
    for personality, state in ((TI, State.FETCHING), (TELINK, State.PAUSED)):
        bench = ClientBench(personality)
        bench.fetching()
        bench.wait_for_data(0, 90)
        assert bench.state is state


@by_personality(
    ("personality", "waits", "block_s"),
    (SPEC_STRICT, [(0, 250)], 0.25),
    (SPEC_STRICT, [(9, 250)], 0.25),
    (SPEC_STRICT, [(0, 250), (0, 100)], 0.1),
    (TELINK, [(0, 250)], 0.25),
    (TELINK, [(9, 250)], 0.0),
    (TI, [(0, 250)], 0.25),
    (TI, [(9, 250)], 0.0),
    (NXP, [(0, 250)], 5.0),
    (NXP, [(0, 3)], 3.0),
    (ST, [(0, 250)], 0.25),
    (ST, [(0, 250), (0, 100)], 0.25),
    (ST, [(0, 20)], 0.05),
    (MICROCHIP, [(0, 250)], 0.25),
    (MICROCHIP, [(9, 250)], 0.1),
    (MICROCHIP, [(0, 20)], 0.1),
)
def test_the_pace_that_a_minimum_block_period_leaves(personality: Personality, waits: list, block_s: float) -> None:
    bench = ClientBench(personality)
    bench.fetching()
    for wait_s, period in waits:
        bench.wait_for_data(0, wait_s, period)
        bench.wait()
    bench.serve()
    assert (bench.wait_s if bench.state is State.PAUSED else 0.0) == pytest.approx(block_s)


def test_microchip_waits_longer_for_a_block_when_it_asks_more_slowly() -> None:
    bench = ClientBench(MICROCHIP)
    bench.fetching()
    assert bench.wait_s == pytest.approx(4 * 1.25)
    bench.wait_for_data(0, 0, 2000)
    bench.wait()
    assert bench.wait_s == pytest.approx(4 * 2.25)


@by_personality(
    ("personality", "next_download", "reboot_too"),
    (SPEC_STRICT, 0, 0),
    (TELINK, 250, 0),
    (TI, 250, 0),
    (ST, 250, 0),
    (MICROCHIP, 250, 250),
)
def test_how_long_a_period_is_kept_to(personality: Personality, next_download: int, reboot_too: int) -> None:
    def period(bench: ClientBench) -> int:
        return {each.identifier: each.value for each in bench.client.attributes()}[ota.AttributeId.MINIMUM_BLOCK_PERIOD]

    bench = ClientBench(personality)
    bench.fetching()
    bench.wait_for_data(0, 0, 250)
    bench.offered_again()
    assert period(bench) == next_download
    bench.reboot()
    assert period(bench) == reboot_too
