"""The OTA client sans I/O: every answer and every silence that a server can give while it asks and loads."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from devices.nodes import events
from devices.nodes.cluster import Discover, Send
from devices.nodes.ota_states import State
from devices.nodes.personalities import (
    SECONDS_PERIOD,
    SILICON_LABS,
    SPEC_STRICT,
    SPEC_STRICT_NO_TIME,
    TELINK,
    UNFLAGGED_PERIOD,
)
from devices.nodes.settings import BodyFormat, EndFault, Faults
from devices.wire import ota
from devices.wire.zcl import Status
from tests.support.client_bench import WANTED, ClientBench, wanted
from tests.support.model_hub import HUB_ENDPOINT, IMAGE_TYPE, MANUFACTURER, NEW, OLD, START_UTC, image

# Finding and asking.


def test_it_looks_for_a_server_again_until_there_is_one() -> None:
    bench = ClientBench()
    assert bench.take(bench.client.start(0.0)) == [Discover()]
    bench.take(bench.client.found(None, 1.0))
    assert bench.wait() == [Discover()]
    bench.take(bench.client.found(HUB_ENDPOINT, bench.now))
    assert bench.state is State.IDLE


def test_queries_go_unanswered_until_the_server_is_looked_for_again() -> None:
    bench = ClientBench()
    bench.queried()
    for _ in range(SPEC_STRICT.query_attempts):
        bench.wait()
    assert bench.state is State.SEEKING
    assert bench.effects[-1] == Discover()
    assert len(bench.requests()) == SPEC_STRICT.query_attempts


@pytest.mark.parametrize("status", [0x98, 0x7E])
def test_no_image_means_ask_again_after_the_interval(status) -> None:
    bench = ClientBench(query_interval_s=77.0)
    bench.queried()
    bench.give(ota.Command.QUERY_NEXT_IMAGE_RESPONSE, bytes([status]))
    assert (bench.state, bench.wait_s) == (State.IDLE, 77.0)


def test_fields_after_a_failure_status_are_tolerated() -> None:
    bench = ClientBench()
    bench.queried()
    bench.give(ota.Command.QUERY_NEXT_IMAGE_RESPONSE, b"\x98" + bytes(12))
    assert bench.state is State.IDLE


@pytest.mark.parametrize(
    ("identity", "size"),
    [
        (wanted(manufacturer=1), 3060),
        (wanted(image_type=1), 3060),
        (wanted(file_version=OLD), 3060),
        (WANTED, 0),
        (WANTED, 1 << 24),
    ],
    ids=["manufacturer", "image type", "same version", "empty", "too big"],
)
def test_an_offer_that_does_not_fit_is_not_taken(identity, size) -> None:
    bench = ClientBench()
    bench.queried()
    bench.offer(identity, size)
    assert bench.state is State.IDLE


def test_an_older_version_is_taken_unless_downgrades_are_disabled() -> None:
    older = image(OLD - 1)
    bench = ClientBench(octets=older)
    bench.queried()
    bench.offer(wanted(file_version=OLD - 1))
    assert bench.state is State.FETCHING
    bench = ClientBench(replace(SPEC_STRICT, downgrade_refusal=Status.INVALID_IMAGE), octets=older)
    bench.queried()
    bench.offer(wanted(file_version=OLD - 1))
    command, payload = bench.requests()[-1]
    assert (command, payload[0]) == (ota.Command.UPGRADE_END_REQUEST, Status.INVALID_IMAGE)


def test_a_unicast_notify_is_always_answered_and_a_broadcast_when_it_fits() -> None:
    for notify, unicast, answered in [
        (ota.ImageNotify(1, MANUFACTURER, IMAGE_TYPE, OLD), True, True),
        (ota.ImageNotify(100), False, True),
        (ota.ImageNotify(100, MANUFACTURER, IMAGE_TYPE, NEW), False, True),
        (ota.ImageNotify(100, MANUFACTURER, IMAGE_TYPE, OLD), False, False),
        (ota.ImageNotify(100, MANUFACTURER, IMAGE_TYPE + 1), False, False),
        (ota.ImageNotify(100, MANUFACTURER + 1), False, False),
        (ota.ImageNotify(100, 0xFFFF, 0xFFFF), False, True),
    ]:
        bench = ClientBench()
        bench.found()
        bench.give(ota.Command.IMAGE_NOTIFY, notify.to_bytes(), unicast=unicast)
        assert (bench.state is State.QUERYING) is answered, notify


def test_jitter_keeps_some_devices_quiet() -> None:
    answered = 0
    bench = ClientBench()
    bench.found()
    for _ in range(200):
        bench.give(ota.Command.IMAGE_NOTIFY, ota.ImageNotify(30).to_bytes(), unicast=False)
        if bench.state is State.QUERYING:
            answered += 1
            bench.give(ota.Command.QUERY_NEXT_IMAGE_RESPONSE, b"\x98")
    assert 40 <= answered <= 80


class Dice(Random):
    """Shows the same every time."""

    def __init__(self, shown: int) -> None:
        super().__init__(1)
        self.shown = shown

    def randint(self, a: int, b: int) -> int:
        assert (a, b) == (1, 100)  # ZCL8 11.13.3.2
        return self.shown


@pytest.mark.parametrize(("shown", "asks"), [(1, True), (29, True), (30, True), (31, False), (100, False)])
def test_a_device_asks_when_its_dice_show_the_jitter_or_less(shown: int, asks: bool) -> None:
    bench = ClientBench(random=Dice(shown))
    bench.found()
    bench.give(ota.Command.IMAGE_NOTIFY, ota.ImageNotify(30).to_bytes(), unicast=False)
    assert (bench.state is State.QUERYING) is asks


def test_notifies_during_a_download_change_nothing() -> None:
    bench = ClientBench()
    bench.fetching()
    before = len(bench.effects)
    for unicast in (True, False):
        bench.give(ota.Command.IMAGE_NOTIFY, ota.ImageNotify(100).to_bytes(), unicast=unicast)
    assert (bench.state, len(bench.effects)) == (State.FETCHING, before)


def test_telink_copies_the_security_of_the_notify() -> None:
    for personality, expected in ((TELINK, False), (SPEC_STRICT, None)):
        bench = ClientBench(personality)
        bench.found()
        bench.give(ota.Command.IMAGE_NOTIFY, ota.ImageNotify(100).to_bytes(), unicast=False, secured=False)
        assert bench.all(Send)[-1].secured is expected


# Blocks.


def test_duplicates_foreign_and_oversized_blocks_are_ignored() -> None:
    bench = ClientBench()
    bench.fetching()
    bench.block(0)
    before = len(bench.effects)
    bench.block(0)
    bench.block(100)
    bench.block(50, identity=wanted(file_version=NEW + 1))
    bench.block(50, 51)
    bench.give(ota.Command.IMAGE_BLOCK_RESPONSE, ota.ImageBlock(WANTED, 50, b"").to_bytes())
    assert (bench.banks.offset, len(bench.effects)) == (50, before)
    bench.block(50, 20)
    assert bench.asks_block().offset == 70


def test_a_lost_answer_is_asked_for_again_at_the_same_offset() -> None:
    bench = ClientBench()
    bench.fetching()
    bench.block(0)
    assert bench.wait_s == SPEC_STRICT.block_timeout_s
    bench.wait()
    assert (bench.state, bench.wait_s) == (State.PAUSED, SPEC_STRICT.block_backoff_s)
    assert bench.asks_block(bench.wait()).offset == 50


def test_an_answer_that_comes_during_the_back_off_counts() -> None:
    bench = ClientBench()
    bench.fetching()
    bench.wait()
    bench.block(0)
    assert (bench.state, bench.asks_block().offset) == (State.FETCHING, 50)


def test_ten_silences_in_a_row_end_the_download_and_the_next_offer_goes_on() -> None:
    bench = ClientBench()
    bench.fetching()
    bench.block(0)
    while bench.state in {State.FETCHING, State.PAUSED}:
        bench.wait()
    command, payload = bench.requests()[-1]
    assert (command, payload[0]) == (ota.Command.UPGRADE_END_REQUEST, Status.ABORT)
    asked = [command for command, _ in bench.requests()].count(ota.Command.IMAGE_BLOCK_REQUEST)
    assert asked == 1 + SPEC_STRICT.block_attempts
    bench.status(ota.Command.UPGRADE_END_REQUEST, 0)
    assert bench.state is State.IDLE
    bench.wait()
    bench.offer()
    assert bench.asks_block().offset == 50


def test_silicon_labs_starts_over_after_too_many_errors() -> None:
    bench = ClientBench(SILICON_LABS)
    bench.fetching()
    bench.block(0)
    while bench.state in {State.FETCHING, State.PAUSED}:
        bench.wait()
    bench.status(ota.Command.UPGRADE_END_REQUEST, 0)
    bench.wait()
    bench.offer()
    assert bench.asks_block().offset == 0


@pytest.mark.parametrize("status", [Status.ABORT, Status.NO_IMAGE_AVAILABLE])
def test_abort_goes_back_to_the_query(status) -> None:
    bench = ClientBench()
    bench.fetching()
    bench.give(ota.Command.IMAGE_BLOCK_RESPONSE, bytes([status]))
    assert (bench.state, bench.all(events.DownloadFailed)[-1].status) == (State.IDLE, status)
    bench.wait()
    assert bench.state is State.QUERYING


def test_a_default_response_to_a_block_request_is_an_abort_or_an_error() -> None:
    bench = ClientBench()
    bench.fetching()
    bench.status(ota.Command.IMAGE_BLOCK_REQUEST, Status.FAILURE)
    assert bench.state is State.PAUSED
    bench.wait()
    bench.status(ota.Command.IMAGE_BLOCK_REQUEST, Status.NO_IMAGE_AVAILABLE)
    assert bench.state is State.IDLE


@pytest.mark.parametrize(
    ("personality", "current", "request_time", "wait"),
    [
        (SPEC_STRICT, 0, 90, 90),
        (SPEC_STRICT, START_UTC, START_UTC + 90, 90),
        (SPEC_STRICT, START_UTC + 5000, START_UTC + 5090, 5090),  # UTC counts, not the difference
        (SPEC_STRICT_NO_TIME, START_UTC + 5000, START_UTC + 5090, 90),
        (SPEC_STRICT, 0, 90_000, 90_000),
        (SILICON_LABS, 0, 90_000, 3600),
        (SILICON_LABS, 100, 50, 300),
        (TELINK, 0, 90_000, 90_000),
    ],
)
def test_wait_for_data(personality, current, request_time, wait) -> None:
    bench = ClientBench(personality)
    bench.fetching()
    started = bench.now
    bench.now = 0.0
    bench.wait_for_data(current, request_time)
    assert bench.state is State.PAUSED
    assert bench.wait_s == wait
    bench.now = started
    assert bench.asks_block(bench.wait()).offset == 0


def test_waiting_for_data_is_no_error_however_often() -> None:
    bench = ClientBench()
    bench.fetching()
    for _ in range(100):
        bench.wait_for_data(0, 60)
        bench.wait()
    assert bench.state is State.FETCHING


def test_only_requests_in_a_row_count_as_misses_and_wait_for_data_or_a_block_is_an_answer() -> None:
    bench = ClientBench()
    bench.fetching()
    misses = SPEC_STRICT.block_attempts - 1

    def miss() -> None:
        for _ in range(misses):
            assert bench.state is State.FETCHING
            bench.wait()  # no answer
            bench.wait()  # the back-off

    miss()
    bench.wait_for_data(0, 5)
    bench.wait()
    miss()
    bench.block(0)
    miss()
    assert bench.state is State.FETCHING
    bench.wait()
    assert bench.state is State.FAILING


@pytest.mark.parametrize(
    ("personality", "wait"), [(SPEC_STRICT, 0.25), (SECONDS_PERIOD, 250.0)], ids=["milliseconds", "seconds"]
)
def test_the_minimum_block_period_and_its_unit(personality, wait) -> None:
    bench = ClientBench(personality)
    bench.fetching()
    bench.wait_for_data(0, 0, 250)
    assert bench.wait_s == pytest.approx(wait)
    bench.wait()
    bench.block(0)
    assert (bench.state, bench.wait_s) == (State.PAUSED, pytest.approx(wait))


def test_the_period_in_the_request_flagged_and_not() -> None:
    for personality, flagged in ((SECONDS_PERIOD, True), (UNFLAGGED_PERIOD, False)):
        bench = ClientBench(personality)
        bench.fetching()
        request = bench.asks_block()
        assert (request.minimum_period, request.period_flagged) == (0, flagged or request.minimum_period is None)
        assert bench.requests()[-1][1][0] == (2 if flagged else 0)


def test_the_think_time_lies_between_block_and_request() -> None:
    bench = ClientBench(think_time_s=0.3)
    bench.fetching()
    bench.block(0)
    assert (bench.state, bench.wait_s) == (State.PAUSED, pytest.approx(0.3))
    assert bench.asks_block(bench.wait()).offset == 50


# Pages.


def paging(personality=SPEC_STRICT, **changes) -> ClientBench:
    bench = ClientBench(personality, page_bytes=200, **changes)
    bench.fetching()
    command, payload = bench.requests()[-1]
    assert command == ota.Command.IMAGE_PAGE_REQUEST
    step = personality.page_block_bytes or 1
    assert ota.ImagePageRequest.from_bytes(payload).page_bytes == 200 // step * step
    return bench


def test_a_page_in_any_order_needs_no_further_request() -> None:
    bench = paging()
    before = len(bench.requests())
    for offset in (50, 150, 100, 0):
        bench.block(offset)
    assert bench.banks.offset == 200
    assert [command for command, _ in bench.requests()[before:]] == [ota.Command.IMAGE_PAGE_REQUEST]


def test_holes_of_a_page_are_asked_for_one_by_one() -> None:
    bench = paging()
    bench.block(0)
    bench.block(120, 30)
    bench.wait()
    first = bench.asks_block()
    assert (first.offset, first.maximum_bytes) == (50, 50)
    bench.block(50)
    second = bench.asks_block()
    assert (second.offset, second.maximum_bytes) == (100, 20)
    bench.block(100, 20)
    assert bench.asks_block().offset == 150
    bench.block(150)
    assert bench.requests()[-1][0] == ota.Command.IMAGE_PAGE_REQUEST


def test_a_page_of_which_nothing_comes_is_asked_for_again() -> None:
    bench = paging()
    bench.wait()
    bench.wait()
    assert bench.requests()[-1][0] == ota.Command.IMAGE_PAGE_REQUEST


def test_silicon_labs_aborts_on_a_page_block_out_of_step() -> None:
    bench = paging(SILICON_LABS)
    bench.block(0, 32)
    bench.block(50, 32)
    assert bench.requests()[-1][1][0] == Status.ABORT
    assert bench.state is State.FAILING


def test_a_server_without_pages_gets_block_requests_from_then_on() -> None:
    bench = paging()
    bench.status(ota.Command.IMAGE_PAGE_REQUEST, Status.UNSUP_CLUSTER_COMMAND)
    assert bench.asks_block().offset == 0
    bench.block(0)
    assert bench.asks_block().offset == 50


def test_a_server_that_once_refused_pages_is_not_asked_for_one_by_the_next_download() -> None:
    bench = paging()
    bench.status(ota.Command.IMAGE_PAGE_REQUEST, Status.UNSUP_CLUSTER_COMMAND)
    bench.status(ota.Command.IMAGE_BLOCK_REQUEST, Status.ABORT)
    bench.wait()
    bench.offer()
    assert bench.requests()[-1][0] == ota.Command.IMAGE_BLOCK_REQUEST


def test_a_page_that_was_put_off_is_asked_for_from_where_it_stopped() -> None:
    bench = paging()
    bench.block(0)
    bench.wait_for_data(0, 5)
    command, payload = bench.requests(bench.wait())[-1]
    page = ota.ImagePageRequest.from_bytes(payload)
    assert (command, page.offset) == (ota.Command.IMAGE_PAGE_REQUEST, 50)


def test_pieces_of_a_page_may_overlap() -> None:
    bench = paging()
    bench.block(0)
    for offset in (60, 100):
        bench.block(offset)  # early
    bench.block(50)
    assert bench.banks.offset == 150
    bench.block(150)
    assert bench.requests()[-1][0] == ota.Command.IMAGE_PAGE_REQUEST


def test_progress_is_told_at_most_once_for_each_hundredth() -> None:
    bench = ClientBench(octets=image(body_bytes=20_000))
    bench.download()
    told = [event.offset_bytes for event in bench.all(events.DownloadProgress)]
    assert 90 <= len(told) <= 100
    assert told == sorted(told)


@pytest.mark.parametrize(("personality", "offset"), [(SPEC_STRICT, 50), (SILICON_LABS, 0)])
def test_what_an_abort_leaves_of_a_download(personality, offset: int) -> None:
    bench = ClientBench(personality)
    bench.fetching()
    bench.block(0)
    bench.status(ota.Command.IMAGE_BLOCK_REQUEST, Status.ABORT)
    bench.wait()
    bench.offer()
    assert bench.all(events.DownloadStarted)[-1].offset_bytes == offset


def test_a_page_is_at_least_one_block() -> None:
    bench = ClientBench(SILICON_LABS, page_bytes=20)
    bench.fetching()
    page = ota.ImagePageRequest.from_bytes(bench.requests()[-1][1])
    assert (page.page_bytes, page.maximum_bytes) == (32, 32)


def test_a_block_that_runs_past_the_end_of_the_image_is_ignored() -> None:
    bench = ClientBench()
    bench.fetching()
    last = (len(bench.image) - 1) // 50 * 50
    for offset in range(0, last, 50):
        bench.block(offset)
    too_long = ota.ImageBlock(WANTED, last, bench.image[last:] + b"!")
    bench.give(ota.Command.IMAGE_BLOCK_RESPONSE, too_long.to_bytes())
    assert (bench.state, bench.banks.offset) == (State.FETCHING, last)
    bench.block(last)
    assert bench.state is State.ENDING


def test_a_device_that_waits_for_more_images_says_so_until_its_next_query() -> None:
    bench = ClientBench(faults=Faults(end=EndFault.REQUIRE_MORE_IMAGE))

    def status() -> int:
        values = {each.identifier: each.value for each in bench.client.attributes()}
        return values[ota.AttributeId.IMAGE_UPGRADE_STATUS]

    bench.download()
    bench.status(ota.Command.UPGRADE_END_REQUEST, Status.SUCCESS)
    assert status() == ota.ImageUpgradeStatus.WAIT_FOR_MORE
    bench.wait()
    assert status() == ota.ImageUpgradeStatus.NORMAL


def test_a_busy_server_is_asked_for_the_page_again() -> None:
    bench = paging()
    bench.status(ota.Command.IMAGE_PAGE_REQUEST, Status.FAILURE)
    assert bench.state is State.PAUSED
    bench.wait()
    assert bench.requests()[-1][0] == ota.Command.IMAGE_PAGE_REQUEST


# The image.


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (b"\0" + image()[1:], "identifier"),
        (image()[:4] + b"\0\2" + image()[6:], "header version"),
        (image()[:6] + b"\x10\0" + image()[8:], "header length"),
        (image(manufacturer=7), "manufacturer"),
        (image(image_type=7), "image type"),
        (image(NEW + 1), "version"),
        (image(hardware=(0x2000, 0x3000)), "hardware"),
        (image(hardware=(0x0001, 0x1110)), "hardware"),
        (image(destination=5, header_bytes=68), "another device"),
        (image()[:52] + (9999).to_bytes(4, "little") + image()[56:], "9999 bytes"),
        (image(body_bytes=0), "nothing else"),
    ],
)
def test_a_bad_image_is_refused_with_the_reason_and_forgotten(octets, reason) -> None:
    bench = ClientBench(octets=octets)
    bench.download()
    command, payload = bench.requests()[-1]
    assert (command, payload[0]) == (ota.Command.UPGRADE_END_REQUEST, Status.INVALID_IMAGE)
    assert reason in bench.all(events.DownloadFailed)[-1].reason
    assert bench.banks.download is None
    bench.status(ota.Command.UPGRADE_END_REQUEST, 0)
    assert bench.state is State.IDLE


def test_a_failure_that_nobody_hears_is_told_a_bounded_number_of_times() -> None:
    bench = ClientBench(octets=image(manufacturer=7))
    bench.download()
    while bench.state is State.FAILING:
        bench.wait()
    ends = [command for command, _ in bench.requests() if command == ota.Command.UPGRADE_END_REQUEST]
    assert (len(ends), bench.state) == (SPEC_STRICT.end_attempts, State.IDLE)


def test_a_failure_that_nobody_heard_is_told_again_with_its_status() -> None:
    bench = ClientBench(octets=image(NEW + 1))  # offered as another version
    bench.fetching()
    for offset in range(0, len(bench.image), 50):
        bench.block(offset)
    bench.wait()
    ends = [payload[0] for command, payload in bench.requests() if command == ota.Command.UPGRADE_END_REQUEST]
    assert ends == [Status.INVALID_IMAGE] * 2


def test_the_expected_format_decides_where_it_is_set() -> None:
    bench = ClientBench(body_format=BodyFormat.SUB_ELEMENTS)
    bench.download()
    assert bench.state is State.FAILING
