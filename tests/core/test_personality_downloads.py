"""How the OTA clients of the field ask for an image and load it, each beside the others; docs/personalities.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from devices.nodes import events
from devices.nodes.cluster import Discover
from devices.nodes.ota_states import State
from devices.nodes.personalities import (
    ESP_V1,
    ESP_V2,
    MICROCHIP,
    NORDIC,
    NXP,
    SILICON_LABS,
    SPEC_STRICT,
    ST,
    TELINK,
    TI,
)
from devices.wire import ota
from devices.wire.zcl import Status
from tests.support.client_bench import ClientBench, by_personality, wanted
from tests.support.model_hub import OLD, image

if TYPE_CHECKING:
    from devices.nodes.personality import Personality

Command = ota.Command
BIG = image(body_bytes=20_000)


# Asking.


@by_personality(
    ("personality", "block_bytes", "control", "last_bytes"),
    (SPEC_STRICT, 50, 0, 50),
    (SILICON_LABS, 63, 0, 63),
    (TELINK, 48, 2, 3060 % 48),
    (TI, 32, 2, 32),
    (NXP, 48, 0, 48),
    (ST, 49, 2, 49),
    (MICROCHIP, 48, 2, 48),
    (NORDIC, 40, 3, 40),
    (ESP_V1, 223, 3, 223),
    (ESP_V2, 48, 0, 48),
)
def test_block_requests(personality: Personality, block_bytes: int, control: int, last_bytes: int) -> None:
    bench = ClientBench(personality)
    bench.fetching()
    payload = bench.requests()[-1][1]
    octets = 14 + (8 if control & 1 else 0) + (control & 2)
    assert (bench.asks_block().maximum_bytes, payload[0], len(payload)) == (block_bytes, control, octets)
    assert bench.asks_block().node == (bench.settings.eui64 if control & 1 else None)
    bench.load((3060 - 1) // block_bytes * block_bytes)
    if bench.state is State.PAUSED:
        bench.wait()
    assert bench.asks_block().maximum_bytes == last_bytes


@by_personality(
    ("personality", "hardware"), (SPEC_STRICT, 0x1111), (SILICON_LABS, 0x1111), (TELINK, None), (TI, None), (ST, 0x1111)
)
def test_the_hardware_version_in_a_query(personality: Personality, hardware: int | None) -> None:
    bench = ClientBench(personality)
    bench.queried()
    assert ota.QueryNextImageRequest.from_bytes(bench.requests()[-1][1]).hardware_version == hardware


@by_personality(("personality", "after_s"), (TELINK, 300), (TI, (30, 60)))
def test_a_query_is_not_waited_for_and_the_next_comes_in_its_time(personality: Personality, after_s) -> None:
    bench = ClientBench(personality)
    bench.queried()
    low, high = after_s if isinstance(after_s, tuple) else (after_s, after_s)
    for _ in range(20):
        assert low <= bench.wait_s <= high
        assert [command for command, _ in bench.requests(bench.wait())] == [Command.QUERY_NEXT_IMAGE_REQUEST]
    due = bench.client.deadline
    bench.now += 5
    bench.give(Command.QUERY_NEXT_IMAGE_RESPONSE, bytes((Status.NO_IMAGE_AVAILABLE,)))
    bench.give(Command.IMAGE_NOTIFY, ota.ImageNotify(100).to_bytes())
    assert (bench.requests()[-1][0], bench.client.deadline) == (Command.QUERY_NEXT_IMAGE_REQUEST, due)
    before = len(bench.requests())
    bench.give(Command.IMAGE_NOTIFY, ota.ImageNotify(100).to_bytes())  # the answer was lost
    assert len(bench.requests()) == before + 1
    bench.offer()
    assert bench.state is State.FETCHING


@by_personality(("personality", "every_s"), (TI, 5), (TELINK, 120), (SILICON_LABS, 120), (NORDIC, 86_400))
def test_a_server_is_looked_for(personality: Personality, every_s: float) -> None:
    bench = ClientBench(personality)
    bench.take(bench.client.start(0.0))
    for _ in range(3):
        assert bench.wait_s == every_s
        assert bench.wait() == [Discover()]


def test_ti_queries_half_a_minute_after_it_has_found_its_server_or_later() -> None:
    bench = ClientBench(TI)
    bench.found()
    assert 30 <= bench.wait_s <= 60


@by_personality(
    ("personality", "status"), (NORDIC, Status.ABORT), (TELINK, None), (TI, None), (SILICON_LABS, None), (NXP, None)
)
def test_an_older_version(personality: Personality, status: int | None) -> None:
    bench = ClientBench(personality, octets=image(OLD - 1))
    bench.queried()
    bench.offer(wanted(file_version=OLD - 1))
    assert [end.status for end in bench.ends()] == ([] if status is None else [status])
    assert (bench.state is State.FETCHING) is (status is None)


# Silence.


@by_personality(
    ("personality", "requests", "seconds", "told", "state"),
    (SILICON_LABS, 10, 48, [Status.ABORT], State.FAILING),
    (TELINK, 10, 50, [Status.ABORT], State.IDLE),
    (TI, 11, 55, [Status.ABORT], State.IDLE),
    (NXP, 5, 25, [], State.IDLE),
    (ST, 11, 33.5, [], State.IDLE),
    (MICROCHIP, 4, 20, [Status.ABORT], State.SEEKING),
    (NORDIC, 3, 135, [Status.ABORT], State.IDLE),
    (ESP_V1, 1, 7, [], State.IDLE),
    (ESP_V2, 3, 16.2, [Status.ABORT], State.FAILING),
)
def test_a_server_that_falls_silent(personality, requests: int, seconds: float, told: list, state: State) -> None:
    bench = ClientBench(personality)
    bench.fetching()
    started = bench.now
    while bench.state in {State.FETCHING, State.PAUSED}:
        bench.wait()
    asked = [command for command, _ in bench.requests()].count(Command.IMAGE_BLOCK_REQUEST)
    assert (asked, bench.now - started) == (requests, pytest.approx(seconds))
    assert ([end.status for end in bench.ends()], bench.state) == (told, state)


@by_personality(
    ("personality", "offset"),
    (SPEC_STRICT, 4850),
    (SILICON_LABS, 0),
    (TELINK, 4848),
    (TI, 0),
    (NXP, 0),
    (ST, 0),
    (MICROCHIP, 0),
    (ESP_V1, 0),
)
def test_what_is_left_of_a_download_after_an_abort(personality: Personality, offset: int) -> None:
    bench = ClientBench(personality, octets=BIG)
    bench.fetching()
    bench.load(4801)
    bench.offered_again()
    assert bench.all(events.DownloadStarted)[-1].offset_bytes == offset


@by_personality(
    ("personality", "times"),
    (TELINK, 1),
    (TI, 1),
    (NXP, 1),
    (ST, 1),
    (MICROCHIP, 1),
    (NORDIC, 1),
    (ESP_V1, 1),
    (SPEC_STRICT, 3),
    (SILICON_LABS, 10),
)
def test_how_often_a_failure_is_told_that_nobody_hears(personality: Personality, times: int) -> None:
    bench = ClientBench(personality, octets=image(manufacturer=7))
    bench.download()
    assert (bench.state is State.IDLE) is (times == 1)  # it waits for no answer
    while bench.state is State.FAILING:
        bench.wait()
    assert [end.status for end in bench.ends()] == [Status.INVALID_IMAGE] * times


# Blocks.


@by_personality(("personality", "takes"), (TELINK, True), (SPEC_STRICT, False), (TI, False), (MICROCHIP, False))
def test_a_block_longer_than_was_asked_for(personality: Personality, takes: bool) -> None:
    bench = ClientBench(personality)
    bench.fetching()
    bench.block(0, 100)
    assert bench.banks.offset == (100 if takes else 0)
    if takes:
        bench.load()
        assert bench.state is State.ENDING


@by_personality(
    ("personality", "told"),
    (TELINK, [Status.INVALID_IMAGE]),
    (TI, [Status.INVALID_IMAGE]),
    (SPEC_STRICT, []),
    (ST, []),
    (NXP, []),
)
def test_a_block_of_another_image(personality: Personality, told: list) -> None:
    bench = ClientBench(personality, octets=BIG)
    bench.fetching()
    bench.load(4801)
    had = bench.banks.offset
    bench.block(had, identity=wanted(file_version=7))
    assert [(end.status, end.image.file_version) for end in bench.ends()] == [(status, 7) for status in told]
    assert (bench.state is State.IDLE) is bool(told)
    assert bench.banks.offset == had


def test_telink_reads_on_behind_a_block_that_is_nothing_but_its_status() -> None:
    telink, strict = ClientBench(TELINK), ClientBench(SPEC_STRICT)
    telink.fetching()
    strict.fetching()
    telink.give(Command.IMAGE_BLOCK_RESPONSE, b"\0")
    assert [end.status for end in telink.ends()] == [Status.INVALID_IMAGE]
    with pytest.raises(ota.MalformedFrameError):
        strict.give(Command.IMAGE_BLOCK_RESPONSE, b"\0")


@by_personality(
    ("personality", "status", "answer", "state"),
    (SPEC_STRICT, Status.NO_IMAGE_AVAILABLE, Status.SUCCESS, State.IDLE),
    (SILICON_LABS, Status.NO_IMAGE_AVAILABLE, Status.SUCCESS, State.IDLE),
    (TELINK, Status.NO_IMAGE_AVAILABLE, Status.MALFORMED_COMMAND, State.FETCHING),
    (TI, Status.NO_IMAGE_AVAILABLE, Status.MALFORMED_COMMAND, State.FETCHING),
    (TI, 0x42, Status.MALFORMED_COMMAND, State.FETCHING),
    (NORDIC, Status.NO_IMAGE_AVAILABLE, Status.SUCCESS, State.FETCHING),
    (ESP_V1, 0x42, Status.SUCCESS, State.FETCHING),
    (ESP_V1, Status.NO_IMAGE_AVAILABLE, Status.SUCCESS, State.FETCHING),
    (NORDIC, Status.ABORT, Status.SUCCESS, State.IDLE),
    (ST, 0x42, Status.SUCCESS, State.PAUSED),
    (ST, Status.NO_IMAGE_AVAILABLE, Status.SUCCESS, State.PAUSED),
    (MICROCHIP, Status.NO_IMAGE_AVAILABLE, Status.SUCCESS, State.PAUSED),
    (SPEC_STRICT, 0x42, Status.SUCCESS, State.PAUSED),
    (TELINK, Status.ABORT, Status.SUCCESS, State.IDLE),
    (TI, Status.ABORT, Status.SUCCESS, State.IDLE),
    (MICROCHIP, Status.ABORT, Status.SUCCESS, State.SEEKING),
)
def test_a_status_in_place_of_a_block(personality: Personality, status: int, answer: int, state: State) -> None:
    bench = ClientBench(personality)
    bench.fetching()
    due = bench.client.deadline
    assert bench.give(Command.IMAGE_BLOCK_RESPONSE, bytes((status,))) == answer
    assert bench.state is state
    if state is State.FETCHING:
        assert (bench.client.deadline, len(bench.requests())) == (due, 2)  # its own timer goes on
        if personality.block_attempts > 1:
            bench.wait()
            assert bench.asks_block(bench.wait() if bench.state is State.PAUSED else None).offset == 0
    if personality is ST:
        assert bench.wait_s is None  # for ever


@by_personality(
    ("personality", "status", "state"),
    (SPEC_STRICT, Status.NO_IMAGE_AVAILABLE, State.IDLE),
    (SPEC_STRICT, Status.SUCCESS, State.FETCHING),
    (SPEC_STRICT, Status.FAILURE, State.PAUSED),
    (TELINK, Status.ABORT, State.FETCHING),
    (TI, Status.ABORT, State.FETCHING),
    (NORDIC, Status.ABORT, State.IDLE),
    (NORDIC, Status.NO_IMAGE_AVAILABLE, State.FETCHING),
    (ESP_V1, Status.FAILURE, State.FETCHING),
    (NXP, Status.FAILURE, State.IDLE),
    (NXP, Status.SUCCESS, State.IDLE),
    (ST, Status.MALFORMED_COMMAND, State.IDLE),
)
def test_a_default_response_in_place_of_a_block(personality: Personality, status: int, state: State) -> None:
    bench = ClientBench(personality)
    bench.fetching()
    bench.status(Command.IMAGE_BLOCK_REQUEST, status)
    assert bench.state is state


# Pages.


def test_silicon_labs_wants_its_pages_in_blocks_of_32_bytes_50_ms_apart() -> None:
    bench = ClientBench(SILICON_LABS, page_bytes=SILICON_LABS.page_bytes)
    bench.fetching()
    page = ota.ImagePageRequest.from_bytes(bench.requests()[-1][1])
    assert (page.page_bytes, page.maximum_bytes, page.spacing_ms) == (1024, 32, 50)


def test_nxp_asks_for_a_page_three_times_and_then_for_blocks() -> None:
    bench = ClientBench(NXP, page_bytes=NXP.page_bytes)
    bench.fetching()
    for _ in range(NXP.page_attempts):
        command, payload = bench.requests()[-1]
        page = ota.ImagePageRequest.from_bytes(payload)
        assert (command, page.page_bytes, page.spacing_ms) == (Command.IMAGE_PAGE_REQUEST, 512, 300)
        while bench.requests(bench.wait()) == []:
            pass
    assert bench.asks_block().offset == 0
    bench.load()
    assert [command for command, _ in bench.requests()].count(Command.IMAGE_PAGE_REQUEST) == 3
