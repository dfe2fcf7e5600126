"""The OTA clients of the field, each beside the others: one table for each thing that they do in their own way.

The figures are those of docs/personalities.md. Telink's were measured on its code; see there for the others.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from chf.cli.demo_methods import PERSONALITIES as DEMO
from devices.nodes import events
from devices.nodes.cluster import Discover
from devices.nodes.ota_states import State
from devices.nodes.personalities import (
    ESP_V1,
    ESP_V2,
    MICROCHIP,
    NORDIC,
    NXP,
    PERSONALITIES,
    SILICON_LABS,
    SPEC_STRICT,
    ST,
    TELINK,
    TI,
)
from devices.nodes.settings import Faults
from devices.wire import ota
from devices.wire.zcl import Status, ZclFrame
from tests.support.client_bench import ANY, FOREVER, WANTED, ClientBench
from tests.support.model_hub import HUB_ENDPOINT, NEW, OLD, START_UTC, Rig, image

if TYPE_CHECKING:
    from devices.nodes.personality import Personality

Command = ota.Command
BIG = image(body_bytes=20_000)
HOUR = 3600
U32 = 2**32

by_name = pytest.mark.parametrize


def rows(*table: tuple) -> list:
    return [pytest.param(*row, id=f"{row[0].name}-{index}") for index, row in enumerate(table)]


def ends(bench: ClientBench) -> list[ota.UpgradeEndRequest]:
    sent = [payload for command, payload in bench.requests() if command == Command.UPGRADE_END_REQUEST]
    return [ota.UpgradeEndRequest.from_bytes(payload) for payload in sent]


def reboot(bench: ClientBench) -> None:
    bench.effects.clear()
    bench.boot()
    bench.found()


# Asking.


@by_name(
    ("personality", "block_bytes", "control", "last_bytes"),
    rows(
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
    ),
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


@by_name(
    ("personality", "hardware"),
    rows((SPEC_STRICT, 0x1111), (SILICON_LABS, 0x1111), (TELINK, None), (TI, None), (ST, 0x1111)),
)
def test_the_hardware_version_in_a_query(personality: Personality, hardware: int | None) -> None:
    bench = ClientBench(personality)
    bench.queried()
    assert ota.QueryNextImageRequest.from_bytes(bench.requests()[-1][1]).hardware_version == hardware


@by_name(("personality", "after_s"), rows((TELINK, 300), (TI, (30, 60))))
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


@by_name(("personality", "every_s"), rows((TI, 5), (TELINK, 120), (SILICON_LABS, 120), (NORDIC, 86_400)))
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


@by_name(
    ("personality", "status"),
    rows((NORDIC, Status.ABORT), (TELINK, None), (TI, None), (SILICON_LABS, None), (NXP, None)),
)
def test_an_older_version(personality: Personality, status: int | None) -> None:
    bench = ClientBench(personality, octets=image(OLD - 1))
    bench.queried()
    bench.offer(WANTED._replace(file_version=OLD - 1))
    assert [end.status for end in ends(bench)] == ([] if status is None else [status])
    assert (bench.state is State.FETCHING) is (status is None)


# Silence.


@by_name(
    ("personality", "requests", "seconds", "told", "state"),
    rows(
        (SILICON_LABS, 10, 48, [Status.ABORT], State.FAILING),
        (TELINK, 10, 50, [Status.ABORT], State.IDLE),
        (TI, 11, 55, [Status.ABORT], State.IDLE),
        (NXP, 5, 25, [], State.IDLE),
        (ST, 11, 33.5, [], State.IDLE),
        (MICROCHIP, 4, 20, [Status.ABORT], State.SEEKING),
        (NORDIC, 3, 135, [Status.ABORT], State.IDLE),
        (ESP_V1, 1, 7, [], State.IDLE),
        (ESP_V2, 3, 16.2, [Status.ABORT], State.FAILING),
    ),
)
def test_a_server_that_falls_silent(personality, requests: int, seconds: float, told: list, state: State) -> None:
    bench = ClientBench(personality)
    bench.fetching()
    started = bench.now
    while bench.state in {State.FETCHING, State.PAUSED}:
        bench.wait()
    asked = [command for command, _ in bench.requests()].count(Command.IMAGE_BLOCK_REQUEST)
    assert (asked, bench.now - started) == (requests, pytest.approx(seconds))
    assert ([end.status for end in ends(bench)], bench.state) == (told, state)


@by_name(
    ("personality", "offset"),
    rows(
        (SPEC_STRICT, 4850), (SILICON_LABS, 0), (TELINK, 4848), (TI, 0), (NXP, 0), (ST, 0), (MICROCHIP, 0), (ESP_V1, 0)
    ),
)
def test_what_is_left_of_a_download_after_an_abort(personality: Personality, offset: int) -> None:
    bench = ClientBench(personality, octets=BIG)
    bench.fetching()
    bench.load(4801)
    bench.give(Command.IMAGE_BLOCK_RESPONSE, bytes((Status.ABORT,)))
    if bench.state is State.SEEKING:
        bench.take(bench.client.found(HUB_ENDPOINT, bench.now))
    bench.wait()
    bench.offer()
    assert bench.all(events.DownloadStarted)[-1].offset_bytes == offset


@by_name(
    ("personality", "requests", "seconds", "state", "by_itself"),
    rows(
        (SILICON_LABS, 10, 30, State.ACTIVATING, True),
        (TELINK, 2, 10, State.ACTIVATING, True),
        (TI, 1, None, State.ENDING, None),
        (NXP, 5, 55, State.IDLE, None),
        (ST, 1, None, State.ENDING, None),
        (MICROCHIP, 4, 12, State.ACTIVATING, True),
        (NORDIC, 1, None, State.ENDING, None),
        (ESP_V1, 1, None, State.ENDING, None),
    ),
)
def test_nobody_answers_upgrade_end(personality, requests: int, seconds, state: State, by_itself) -> None:
    bench = ClientBench(personality)
    bench.ending()
    started = bench.now
    while bench.state is State.ENDING and bench.wait_s is not None:
        bench.wait()
    assert (len(ends(bench)), bench.state, bench.activated()) == (requests, state, by_itself)
    if seconds is None:
        assert bench.wait_s is None
    else:
        assert bench.now - started == pytest.approx(seconds)
    assert (bench.banks.download is None) is (personality is NXP)


# Blocks.


@by_name(("personality", "takes"), rows((TELINK, True), (SPEC_STRICT, False), (TI, False), (MICROCHIP, False)))
def test_a_block_longer_than_was_asked_for(personality: Personality, takes: bool) -> None:
    bench = ClientBench(personality)
    bench.fetching()
    bench.block(0, 100)
    assert bench.banks.offset == (100 if takes else 0)
    if takes:
        bench.load()
        assert bench.state is State.ENDING


@by_name(
    ("personality", "told"),
    rows((TELINK, [Status.INVALID_IMAGE]), (TI, [Status.INVALID_IMAGE]), (SPEC_STRICT, []), (ST, []), (NXP, [])),
)
def test_a_block_of_another_image(personality: Personality, told: list) -> None:
    bench = ClientBench(personality, octets=BIG)
    bench.fetching()
    bench.load(4801)
    had = bench.banks.offset
    bench.block(had, identity=WANTED._replace(file_version=7))
    assert [(end.status, end.image.file_version) for end in ends(bench)] == [(status, 7) for status in told]
    assert (bench.state is State.IDLE) is bool(told)
    assert bench.banks.offset == had


def test_telink_reads_on_behind_a_block_that_is_nothing_but_its_status() -> None:
    for personality, told in ((TELINK, [Status.INVALID_IMAGE]), (SPEC_STRICT, None)):
        bench = ClientBench(personality)
        bench.fetching()
        if told is None:
            with pytest.raises(ota.MalformedFrameError):
                bench.give(Command.IMAGE_BLOCK_RESPONSE, b"\0")
            continue
        bench.give(Command.IMAGE_BLOCK_RESPONSE, b"\0")
        assert [end.status for end in ends(bench)] == told


@by_name(
    ("personality", "status", "answer", "state"),
    rows(
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
    ),
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


@by_name(
    ("personality", "status", "state"),
    rows(
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
    ),
)
def test_a_default_response_in_place_of_a_block(personality: Personality, status: int, state: State) -> None:
    bench = ClientBench(personality)
    bench.fetching()
    bench.status(Command.IMAGE_BLOCK_REQUEST, status)
    assert bench.state is state


# Waiting for data.


@by_name(
    ("personality", "current", "request_time", "wait_s"),
    rows(
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
    ),
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
    assert (bench.state, ends(bench)) == (State.SEEKING, [])


def test_ti_wants_a_period_in_wait_for_data() -> None:
    for personality, state in ((TI, State.FETCHING), (TELINK, State.PAUSED)):
        bench = ClientBench(personality)
        bench.fetching()
        bench.wait_for_data(0, 90)
        assert bench.state is state


@by_name(
    ("personality", "waits", "block_s"),
    rows(
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
    ),
)
def test_the_pace_that_a_minimum_block_period_leaves(personality: Personality, waits: list, block_s: float) -> None:
    bench = ClientBench(personality)
    bench.fetching()
    for wait_s, period in waits:
        bench.wait_for_data(0, wait_s, period)
        bench.wait()
    bench.serve()
    assert (bench.wait_s if bench.state is State.PAUSED else 0.0) == pytest.approx(block_s)


@by_name(
    ("personality", "next_download", "reboot_too"),
    rows((SPEC_STRICT, 0, 0), (TELINK, 250, 0), (TI, 250, 0), (ST, 250, 0), (MICROCHIP, 250, 250)),
)
def test_how_long_a_period_is_kept_to(personality: Personality, next_download: int, reboot_too: int) -> None:
    def period(bench: ClientBench) -> int:
        return {each.identifier: each.value for each in bench.client.attributes()}[ota.AttributeId.MINIMUM_BLOCK_PERIOD]

    bench = ClientBench(personality)
    bench.fetching()
    bench.wait_for_data(0, 0, 250)
    bench.give(Command.IMAGE_BLOCK_RESPONSE, bytes((Status.ABORT,)))
    if bench.state is State.SEEKING:
        bench.take(bench.client.found(HUB_ENDPOINT, bench.now))
    bench.wait()
    bench.offer()
    assert period(bench) == next_download
    reboot(bench)
    assert period(bench) == reboot_too


def test_microchip_waits_longer_for_a_block_when_it_asks_more_slowly() -> None:
    bench = ClientBench(MICROCHIP)
    bench.fetching()
    assert bench.wait_s == pytest.approx(4 * 1.25)
    bench.wait_for_data(0, 0, 2000)
    bench.wait()
    assert bench.wait_s == pytest.approx(4 * 2.25)


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


# Upgrade End.


@by_name(
    ("personality", "identity", "heard"),
    rows(
        (TELINK, ANY, True),
        (TELINK, WANTED._replace(file_version=NEW + 1), False),
        (TI, ANY, False),
        (TI, WANTED._replace(image_type=0xFFFF), False),
        (TI, WANTED, True),
        (NORDIC, ANY, False),
        (NORDIC, WANTED, True),
        (ESP_V1, ANY, False),
        (NXP, ANY, True),
        (NXP, WANTED._replace(manufacturer=7), False),
        (ST, WANTED._replace(manufacturer=7), True),
        (MICROCHIP, WANTED._replace(manufacturer=7), True),
    ),
)
def test_whose_answer_is_heard(personality: Personality, identity: ota.ImageId, heard: bool) -> None:
    bench = ClientBench(personality)
    bench.ending()
    bench.end(0, 0, identity)
    assert bench.activated() is (False if heard else None)


@by_name(
    ("personality", "current", "upgrade", "wait_s"),
    rows(
        (TELINK, 1000, 900, 0),
        (TELINK, 0, 50 * 86_400, 25_032.704),
        (TI, 1000, 900, 0),
        (TI, 1000, 1090, 90),
        (TI, 0, 50 * 86_400, 50 * 86_400),
        (NXP, 0, 90, 90),
        (NXP, START_UTC - 100, START_UTC + 90, 90),
        (NXP, START_UTC + 1000, START_UTC - 90, 0),
        (ST, 1000, 1090, 90),
        (ST, 0, 50 * 86_400, 25_032.704),
        (MICROCHIP, 1000, 1090, 90),
        (MICROCHIP, 1000, 950, (U32 - 50_000) / 1000),
        (MICROCHIP, 0, 50 * 86_400, 25_032.704),
        (SILICON_LABS, 0, 8 * HOUR, HOUR),
    ),
)
def test_the_time_of_an_upgrade(personality: Personality, current: int, upgrade: int, wait_s: float) -> None:
    bench = ClientBench(personality)
    bench.ending()
    bench.now = 0.0
    bench.end(current, upgrade, WANTED)
    if wait_s:
        assert (bench.state, bench.wait_s) == (State.COUNTING, pytest.approx(wait_s))
        bench.wait()
    assert bench.activated() is False


def test_nxp_without_a_clock_takes_a_date_for_the_seconds_since_2000() -> None:
    bench = ClientBench(NXP, knows_time=False)
    bench.ending()
    bench.end(START_UTC, START_UTC + 90)
    assert bench.wait_s == START_UTC + 90  # a quarter of a century


@by_name("personality", [NORDIC, ESP_V1])
def test_an_upgrade_time_that_has_passed_is_not_heard_by_zboss(personality: Personality) -> None:
    bench = ClientBench(personality)
    bench.ending()
    assert bench.end(1000, 900, WANTED) == Status.MALFORMED_COMMAND
    assert (bench.state, bench.activated()) == (State.ENDING, None)
    bench.end(1000, 1000, WANTED)
    assert bench.activated() is False


def test_st_gives_the_image_up_when_the_upgrade_time_has_passed() -> None:
    bench = ClientBench(ST)
    bench.ending()
    assert bench.end(1000, 900) == Status.FAILURE
    assert (bench.state, bench.banks.download) == (State.IDLE, None)


@by_name("answers", [True, False], ids=["answered", "unanswered"])
@by_name(
    ("personality", "asks_at", "activates_at"),
    rows(
        (TELINK, [HOUR], 2 * HOUR),
        (TI, [HOUR, 2 * HOUR], 3 * HOUR),
        (NXP, [n * HOUR for n in range(1, 25)], None),
        (ST, [], None),
        (NORDIC, [], None),
        (ESP_V1, [], None),
    ),
)
def test_a_hold(personality: Personality, asks_at: list, activates_at: int | None, answers: bool) -> None:
    bench = ClientBench(personality)
    bench.ending()
    began, asked = bench.now, []
    bench.end(0, FOREVER, WANTED)
    while bench.wait_s is not None and bench.now + bench.wait_s <= began + 24 * HOUR:
        if Command.UPGRADE_END_REQUEST in [command for command, _ in bench.requests(bench.wait())]:
            asked.append(bench.now - began)
            if answers:
                bench.end(0, FOREVER, WANTED)
    assert asked == asks_at
    assert bench.activated() is (None if activates_at is None else True)
    assert activates_at is None or bench.now - began == activates_at


@by_name(
    ("personality", "wait_s"), rows((TELINK, 2600), (TI, 2600), (NXP, HOUR), (MICROCHIP, HOUR), (SPEC_STRICT, HOUR))
)
def test_another_hold_during_a_hold(personality: Personality, wait_s: float) -> None:
    bench = ClientBench(personality)
    bench.ending()
    bench.end(0, FOREVER, WANTED)
    bench.now += 1000
    bench.end(0, FOREVER, WANTED)
    assert bench.wait_s == wait_s


def test_microchip_asks_about_a_hold_each_hour_and_activates_when_nobody_answers() -> None:
    bench = ClientBench(MICROCHIP)
    bench.ending()
    for _ in range(24):
        bench.end(0, FOREVER)
        assert bench.wait_s == pytest.approx(HOUR)
        bench.wait()
    asked = bench.now
    bench.silence()
    assert (bench.activated(), bench.now - asked) == (True, pytest.approx(12))


@by_name(
    ("personality", "times"),
    rows(
        (TELINK, 1),
        (TI, 1),
        (NXP, 1),
        (ST, 1),
        (MICROCHIP, 1),
        (NORDIC, 1),
        (ESP_V1, 1),
        (SPEC_STRICT, 3),
        (SILICON_LABS, 10),
    ),
)
def test_how_often_a_failure_is_told_that_nobody_hears(personality: Personality, times: int) -> None:
    bench = ClientBench(personality, octets=image(manufacturer=7))
    bench.download()
    assert (bench.state is State.IDLE) is (times == 1)  # it waits for no answer
    while bench.state is State.FAILING:
        bench.wait()
    assert [end.status for end in ends(bench)] == [Status.INVALID_IMAGE] * times


@by_name(
    ("personality", "second", "wait_s"),
    rows(
        (TELINK, 5, 100),
        (TELINK, FOREVER, 100),
        (TI, 5, 100),
        (NXP, 5, 100),
        (ST, 5, 5),
        (ST, FOREVER, 100),  # it says that it waits, and counts on
        (NORDIC, 5, 5),
        (NORDIC, 500, 100),  # of two countdowns the first to end counts
        (ESP_V1, 500, 100),
        (NORDIC, FOREVER, 100),
        (SPEC_STRICT, 5, 5),
        (SPEC_STRICT, FOREVER, HOUR),
    ),
)
def test_another_answer_during_a_countdown(personality: Personality, second: int, wait_s: float) -> None:
    bench = ClientBench(personality)
    bench.ending()
    bench.end(0, 100, WANTED)
    assert bench.end(0, second, WANTED) == Status.SUCCESS
    assert bench.wait_s == wait_s


@by_name(
    ("personality", "held", "status", "cancelled"),
    rows(
        (SPEC_STRICT, True, Status.ABORT, True),
        (SPEC_STRICT, False, Status.SUCCESS, False),
        (SILICON_LABS, True, Status.FAILURE, True),
        (TELINK, False, Status.ABORT, False),
        (TELINK, True, Status.ABORT, False),
        (TI, False, Status.ABORT, True),
        (TI, False, Status.FAILURE, False),
        (TI, True, Status.ABORT, False),
        (NXP, True, Status.ABORT, True),
        (ST, False, Status.ABORT, False),
        (NORDIC, True, Status.ABORT, True),
        (NORDIC, True, Status.FAILURE, False),
        (ESP_V1, True, Status.FAILURE, False),
    ),
)
def test_a_default_response_to_upgrade_end(personality, held: bool, status: int, cancelled: bool) -> None:
    bench = ClientBench(personality)
    bench.ending()
    if held:
        bench.end(0, FOREVER, WANTED)
    bench.status(Command.UPGRADE_END_REQUEST, status)
    assert bool(bench.all(events.Cancelled)) is cancelled
    assert (bench.state is State.IDLE) is cancelled


# Reboots.


@by_name(
    ("personality", "had", "queries", "offset"),
    rows(
        (SPEC_STRICT, 5000, False, 4100),  # remembered when a sector of 2,048 was full
        (SILICON_LABS, 5000, False, 4158),
        (TELINK, 4900, True, 4800),  # each 20,060 // 5,280 + 1 = 4 blocks of 48
        (TELINK, 4080, True, 0),  # not above 4,096
        (TI, 5000, True, 0),
        (NXP, 5000, False, 4128),
        (ST, 5000, True, 0),
        (MICROCHIP, 5000, False, 4128),
        (NORDIC, 5000, True, 0),
        (ESP_V1, 5000, True, 0),
        (ESP_V2, 5000, True, 0),
    ),
)
def test_where_a_download_goes_on_after_a_reboot(personality, had: int, queries: bool, offset: int) -> None:
    bench = ClientBench(personality, octets=BIG)
    bench.fetching()
    bench.load(had)
    reboot(bench)
    if personality is NXP:
        assert bench.requests() == []
        assert 1 <= bench.wait_s <= 10
        bench.wait()
    if queries:
        assert bench.requests() == []
        bench.wait()
        bench.offer()
    assert bench.asks_block().offset == offset
    bench.load()
    assert bench.state is State.ENDING


@by_name("told", [FOREVER, 600], ids=["hold", "countdown"])
@by_name(
    ("personality", "asks", "offset"),
    rows(
        (SPEC_STRICT, True, None),  # Upgrade End at once, and the image is kept
        (SILICON_LABS, True, None),
        (MICROCHIP, True, None),
        (TI, False, 0),  # loads it again
        (ST, False, 0),
        (ESP_V2, False, 0),
    ),
)
def test_a_reboot_with_the_whole_image(personality: Personality, asks: bool, offset: int | None, told: int) -> None:
    bench = ClientBench(personality)
    bench.ending()
    bench.end(0, told, WANTED)
    reboot(bench)
    assert [end.status for end in ends(bench)] == ([Status.SUCCESS] if asks else [])
    if offset is not None:
        bench.wait()
        bench.offer()
        assert bench.asks_block().offset == offset


@by_name("told", [FOREVER, 600], ids=["hold", "countdown"])
def test_telink_starts_a_stored_image_as_soon_as_it_is_offered_and_asks_nobody(told: int) -> None:
    bench = ClientBench(TELINK, octets=BIG)
    bench.ending()
    bench.end(0, told)
    reboot(bench)
    bench.wait()
    bench.give(Command.QUERY_NEXT_IMAGE_RESPONSE, bytes((Status.NO_IMAGE_AVAILABLE,)))
    for _ in range(100):
        bench.wait()
    assert (bench.activated(), ends(bench)) == (None, [])
    bench.offer()
    assert (bench.activated(), ends(bench)) == (True, [])


def test_telink_starts_it_out_of_a_hold_or_a_countdown_too() -> None:
    for told in (FOREVER, 600):
        bench = ClientBench(TELINK, octets=BIG)
        bench.ending()
        bench.end(0, told)
        bench.offer()
        assert bench.activated() is True


def test_telink_loads_a_small_image_again() -> None:
    bench = ClientBench(TELINK)
    bench.ending()
    bench.end(0, FOREVER)
    reboot(bench)
    bench.wait()
    bench.offer()
    assert bench.asks_block().offset == 0


@by_name("upgrade_s", [FOREVER, 600, None], ids=["hold", "countdown", "unanswered"])
def test_nordic_starts_a_complete_image_at_any_reset(upgrade_s: int | None) -> None:
    for personality, version in ((NORDIC, NEW), (SPEC_STRICT, OLD)):
        rig = Rig(hub_image=image(), personality=personality)
        rig.hub.upgrade_time = None if upgrade_s is None else (0, upgrade_s)
        rig.device.power_on()
        rig.run_until(lambda rig=rig: rig.saw(events.DownloadComplete))
        rig.run(1)
        assert rig.device.file_version() == OLD
        rig.device.reboot()
        rig.run(2)
        assert (rig.device.file_version(), rig.saw(events.Activating)) == (version, False)


def test_an_image_that_nordic_was_told_to_forget_is_not_started_by_a_reset() -> None:
    rig = Rig(hub_image=image(), personality=NORDIC)
    rig.hub.upgrade_time = (0, FOREVER)
    rig.device.power_on()
    rig.run_until(lambda: rig.saw(events.Held))
    request = ZclFrame(1, Command.UPGRADE_END_REQUEST, ota.UpgradeEndRequest(0, WANTED).to_bytes())
    rig.stack.deliver(ota.CLUSTER, request.default_response(Status.ABORT))
    rig.run(1)
    assert rig.saw(events.Cancelled)
    rig.hub.image = None
    rig.device.reboot()
    rig.run(5)
    assert rig.device.file_version() == OLD


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
    assert [end.status for end in ends(bench)] == [Status.INVALID_IMAGE]
    assert "3060 bytes, there are 3012" in bench.all(events.DownloadFailed)[-1].reason


# The page.


def test_every_personality_stands_in_the_docs() -> None:
    page = (Path(__file__).parents[2] / "docs" / "personalities.md").read_text()
    told = set(re.findall(r"^\| `([^`]*)` \|", page, re.MULTILINE))
    assert told == set(PERSONALITIES)


def test_the_demo_offers_those_that_a_hub_can_activate() -> None:
    assert set(DEMO) == {name for name, each in PERSONALITIES.items() if each.activation_policy == 0}
