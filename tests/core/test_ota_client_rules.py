"""The OTA client sans I/O: every answer and every silence that a server can give, in every personality."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from devices.nodes import events
from devices.nodes.flash import Flash
from devices.nodes.image_bank import ImageBanks
from devices.nodes.journal import Journal
from devices.nodes.ota_client import Activate, Discover, OtaClient, Transmit
from devices.nodes.ota_states import TRANSITIONS, UPGRADE_STATUS, State
from devices.nodes.personalities import (
    ESP_RESET,
    OUT_OF_BAND,
    SECONDS_PERIOD,
    SILICON_LABS,
    SPEC_STRICT,
    SPEC_STRICT_NO_TIME,
    TELINK,
    UNFLAGGED_PERIOD,
)
from devices.nodes.settings import BodyFormat
from devices.wire import ota, zcl
from devices.wire.zcl import Status, ZclFrame
from tests.support.model_hub import IMAGE_TYPE, MANUFACTURER, NEW, OLD, START_UTC, image, settings

FOREVER = 0xFFFF_FFFF
WANTED = ota.ImageId(MANUFACTURER, IMAGE_TYPE, NEW)
ANY = ota.ImageId(0xFFFF, 0xFFFF, FOREVER)


class Bench:
    """A client whose server is this test."""

    def __init__(self, personality=SPEC_STRICT, *, octets: bytes | None = None, knows_time: bool = True, **changes):
        self.image = image() if octets is None else octets
        self.now = 0.0
        self.flash = Flash(sectors=42)
        self.settings = settings(personality=personality, **changes)
        self.knows_time = knows_time
        self._sequence = 0
        self.effects: list = []
        self.boot()

    def boot(self) -> None:
        journal = Journal(self.flash)
        self.banks = ImageBanks(self.flash, journal)
        if self.banks.is_blank():
            self.banks.install_factory_image(image(OLD, 20))
        self.banks.boot()
        self.client = OtaClient(
            self.settings, self.banks, Random(5), next_sequence=self._next, zigbee_time=self._zigbee_time
        )

    def _next(self) -> int:
        self._sequence += 1
        return self._sequence & 0xFF

    def _zigbee_time(self, now: float) -> int | None:
        return int(START_UTC + now) if self.knows_time else None

    @property
    def state(self) -> State:
        return self.client.state

    @property
    def wait_s(self) -> float | None:
        return None if self.client.deadline is None else self.client.deadline - self.now

    def take(self, effects: list) -> list:
        self.effects += effects
        return effects

    def requests(self, effects: list | None = None) -> list[tuple[int, bytes]]:
        frames = [
            ZclFrame.from_bytes(effect.octets)
            for effect in (self.effects if effects is None else effects)
            if isinstance(effect, Transmit)
        ]
        return [(frame.command, frame.payload) for frame in frames]

    def all(self, kind: type) -> list:
        return [effect for effect in self.effects if isinstance(effect, kind)]

    def give(self, command: int, payload: bytes, *, unicast: bool = True, secured: bool = True) -> int:
        frame = ZclFrame(0, command, payload, from_server=True)
        status, effects = self.client.receive(frame, self.now, unicast=unicast, secured=secured)
        self.take(effects)
        return status

    def status(self, command: int, status: int) -> None:
        self.take(self.client.receive_default_response(zcl.DefaultResponse(command, status), self.now))

    def wait(self) -> list:
        """Jump to the deadline."""
        assert self.client.deadline is not None, "it waits for nothing"
        self.now = self.client.deadline
        return self.take(self.client.handle_deadline(self.now))

    def found(self) -> None:
        self.take(self.client.start(self.now))
        self.take(self.client.server_found(self.now))

    def queried(self) -> None:
        self.found()
        self.wait()
        assert self.state is State.QUERYING

    def offer(self, identity: ota.ImageId = WANTED, size: int | None = None) -> None:
        size = len(self.image) if size is None else size
        self.give(ota.Command.QUERY_NEXT_IMAGE_RESPONSE, ota.QueryNextImageResponse(0, identity, size).to_bytes())

    def fetching(self) -> None:
        self.queried()
        self.offer()
        assert self.state is State.FETCHING

    def block(self, offset: int, length: int = 50, *, identity: ota.ImageId = WANTED) -> None:
        data = self.image[offset : offset + length]
        self.give(ota.Command.IMAGE_BLOCK_RESPONSE, ota.ImageBlock(identity, offset, data).to_bytes())

    def wait_for_data(self, current: int, request: int, period: int | None = None) -> None:
        self.give(ota.Command.IMAGE_BLOCK_RESPONSE, ota.WaitForData(current, request, period).to_bytes())

    def download(self) -> None:
        self.fetching()
        for offset in range(0, len(self.image), 50):
            self.block(offset)

    def ending(self) -> None:
        self.download()
        assert self.state is State.ENDING

    def end(self, current: int, upgrade: int, identity: ota.ImageId = ANY) -> int:
        return self.give(
            ota.Command.UPGRADE_END_RESPONSE, ota.UpgradeEndResponse(identity, current, upgrade).to_bytes()
        )

    def asks_block(self, effects: list | None = None) -> ota.ImageBlockRequest:
        command, payload = self.requests(effects)[-1]
        assert command == ota.Command.IMAGE_BLOCK_REQUEST
        return ota.ImageBlockRequest.from_bytes(payload)

    def activated(self) -> bool | None:
        """None: no. Otherwise whether it was its own idea."""
        if not self.all(Activate):
            return None
        return self.all(events.Activating)[-1].by_itself

    def silence(self) -> int:
        """Let its requests go unanswered until it changes its mind; how many were sent."""
        before = len(self.requests())
        state = self.state
        while self.state is state:
            self.wait()
        return len(self.requests()) - before


# Finding and asking.


def test_it_looks_for_a_server_again_until_there_is_one() -> None:
    bench = Bench()
    assert bench.take(bench.client.start(0.0)) == [Discover()]
    bench.take(bench.client.server_not_found(1.0))
    assert bench.wait() == [Discover()]
    bench.take(bench.client.server_found(bench.now))
    assert bench.state is State.IDLE


def test_queries_go_unanswered_until_the_server_is_looked_for_again() -> None:
    bench = Bench()
    bench.queried()
    for _ in range(SPEC_STRICT.query_attempts):
        bench.wait()
    assert bench.state is State.SEEKING
    assert bench.effects[-1] == Discover()
    assert len(bench.requests()) == SPEC_STRICT.query_attempts


@pytest.mark.parametrize("status", [0x98, 0x7E])
def test_no_image_means_ask_again_after_the_interval(status) -> None:
    bench = Bench(query_interval_s=77.0)
    bench.queried()
    bench.give(ota.Command.QUERY_NEXT_IMAGE_RESPONSE, bytes([status]))
    assert (bench.state, bench.wait_s) == (State.IDLE, 77.0)


def test_fields_after_a_failure_status_are_tolerated() -> None:
    bench = Bench()
    bench.queried()
    bench.give(ota.Command.QUERY_NEXT_IMAGE_RESPONSE, b"\x98" + bytes(12))
    assert bench.state is State.IDLE


@pytest.mark.parametrize(
    ("identity", "size"),
    [
        (replace(WANTED, manufacturer=1), 3060),
        (replace(WANTED, image_type=1), 3060),
        (replace(WANTED, file_version=OLD), 3060),
        (WANTED, 0),
        (WANTED, 1 << 24),
    ],
    ids=["manufacturer", "image type", "same version", "empty", "too big"],
)
def test_an_offer_that_does_not_fit_is_not_taken(identity, size) -> None:
    bench = Bench()
    bench.queried()
    bench.offer(identity, size)
    assert bench.state is State.IDLE


def test_an_older_version_is_taken_unless_downgrades_are_disabled() -> None:
    older = image(OLD - 1)
    bench = Bench(octets=older)
    bench.queried()
    bench.offer(replace(WANTED, file_version=OLD - 1))
    assert bench.state is State.FETCHING
    bench = Bench(replace(SPEC_STRICT, takes_downgrades=False), octets=older)
    bench.queried()
    bench.offer(replace(WANTED, file_version=OLD - 1))
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
        bench = Bench()
        bench.found()
        bench.give(ota.Command.IMAGE_NOTIFY, notify.to_bytes(), unicast=unicast)
        assert (bench.state is State.QUERYING) is answered, notify


def test_jitter_keeps_some_devices_quiet() -> None:
    answered = 0
    bench = Bench()
    bench.found()
    for _ in range(200):
        bench.give(ota.Command.IMAGE_NOTIFY, ota.ImageNotify(30).to_bytes(), unicast=False)
        if bench.state is State.QUERYING:
            answered += 1
            bench.give(ota.Command.QUERY_NEXT_IMAGE_RESPONSE, b"\x98")
    assert 40 <= answered <= 80


def test_notifies_during_a_download_change_nothing() -> None:
    bench = Bench()
    bench.fetching()
    before = len(bench.effects)
    for unicast in (True, False):
        bench.give(ota.Command.IMAGE_NOTIFY, ota.ImageNotify(100).to_bytes(), unicast=unicast)
    assert (bench.state, len(bench.effects)) == (State.FETCHING, before)


def test_telink_copies_the_security_of_the_notify() -> None:
    for personality, expected in ((TELINK, False), (SPEC_STRICT, None)):
        bench = Bench(personality)
        bench.found()
        bench.give(ota.Command.IMAGE_NOTIFY, ota.ImageNotify(100).to_bytes(), unicast=False, secured=False)
        assert bench.all(Transmit)[-1].secured is expected


# Blocks.


def test_duplicates_foreign_and_oversized_blocks_are_ignored() -> None:
    bench = Bench()
    bench.fetching()
    bench.block(0)
    before = len(bench.effects)
    bench.block(0)
    bench.block(100)
    bench.block(50, identity=replace(WANTED, file_version=NEW + 1))
    bench.block(50, 51)
    bench.give(ota.Command.IMAGE_BLOCK_RESPONSE, ota.ImageBlock(WANTED, 50, b"").to_bytes())
    assert (bench.banks.offset, len(bench.effects)) == (50, before)
    bench.block(50, 20)
    assert bench.asks_block().offset == 70


def test_a_lost_answer_is_asked_for_again_at_the_same_offset() -> None:
    bench = Bench()
    bench.fetching()
    bench.block(0)
    assert bench.wait_s == SPEC_STRICT.block_timeout_s
    bench.wait()
    assert (bench.state, bench.wait_s) == (State.PAUSED, SPEC_STRICT.block_backoff_s)
    assert bench.asks_block(bench.wait()).offset == 50


def test_an_answer_that_comes_during_the_back_off_counts() -> None:
    bench = Bench()
    bench.fetching()
    bench.wait()
    bench.block(0)
    assert (bench.state, bench.asks_block().offset) == (State.FETCHING, 50)


def test_ten_silences_in_a_row_end_the_download_and_the_next_offer_goes_on() -> None:
    bench = Bench()
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
    bench = Bench(SILICON_LABS)
    bench.fetching()
    bench.block(0)
    while bench.state in {State.FETCHING, State.PAUSED}:
        bench.wait()
    bench.status(ota.Command.UPGRADE_END_REQUEST, 0)
    bench.wait()
    bench.offer()
    assert bench.asks_block().offset == 0


def test_one_lost_answer_sends_the_esp_client_back_to_the_start() -> None:
    bench = Bench(ESP_RESET)
    bench.fetching()
    bench.block(0)
    bench.wait()
    assert bench.asks_block(bench.wait()).offset == 0
    for offset in range(0, len(bench.image), 50):
        bench.block(offset)
    assert bench.state is State.ENDING


@pytest.mark.parametrize("status", [Status.ABORT, Status.NO_IMAGE_AVAILABLE])
def test_abort_goes_back_to_the_query(status) -> None:
    bench = Bench()
    bench.fetching()
    bench.give(ota.Command.IMAGE_BLOCK_RESPONSE, bytes([status]))
    assert (bench.state, bench.all(events.DownloadFailed)[-1].status) == (State.IDLE, status)
    bench.wait()
    assert bench.state is State.QUERYING


def test_a_default_response_to_a_block_request_is_an_abort_or_an_error() -> None:
    bench = Bench()
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
        (TELINK, 100, 50, 2**32 - 50),
        (TELINK, 0, 90_000, 90_000),
    ],
)
def test_wait_for_data(personality, current, request_time, wait) -> None:
    bench = Bench(personality)
    bench.fetching()
    started = bench.now
    bench.now = 0.0
    bench.wait_for_data(current, request_time)
    assert bench.state is State.PAUSED
    assert bench.wait_s == wait
    bench.now = started
    assert bench.asks_block(bench.wait()).offset == 0


def test_waiting_for_data_is_no_error_however_often() -> None:
    bench = Bench()
    bench.fetching()
    for _ in range(100):
        bench.wait_for_data(0, 60)
        bench.wait()
    assert bench.state is State.FETCHING


@pytest.mark.parametrize(
    ("personality", "wait"), [(SPEC_STRICT, 0.25), (SECONDS_PERIOD, 250.0)], ids=["milliseconds", "seconds"]
)
def test_the_minimum_block_period_and_its_unit(personality, wait) -> None:
    bench = Bench(personality)
    bench.fetching()
    bench.wait_for_data(0, 0, 250)
    assert bench.wait_s == pytest.approx(wait)
    bench.wait()
    bench.block(0)
    assert (bench.state, bench.wait_s) == (State.PAUSED, pytest.approx(wait))


def test_the_period_in_the_request_flagged_and_not() -> None:
    for personality, flagged in ((SECONDS_PERIOD, True), (UNFLAGGED_PERIOD, False)):
        bench = Bench(personality)
        bench.fetching()
        request = bench.asks_block()
        assert (request.minimum_period, request.period_flagged) == (0, flagged or request.minimum_period is None)
        assert bench.requests()[-1][1][0] == (2 if flagged else 0)


def test_the_think_time_lies_between_block_and_request() -> None:
    bench = Bench(think_time_s=0.3)
    bench.fetching()
    bench.block(0)
    assert (bench.state, bench.wait_s) == (State.PAUSED, pytest.approx(0.3))
    assert bench.asks_block(bench.wait()).offset == 50


# Pages.


def paging(personality=SPEC_STRICT, **changes) -> Bench:
    bench = Bench(personality, page_bytes=200, **changes)
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
        (image(destination=5, header_bytes=68), "another device"),
        (image()[:52] + (9999).to_bytes(4, "little") + image()[56:], "9999 bytes"),
        (image(body_bytes=0), "nothing else"),
    ],
)
def test_a_bad_image_is_refused_with_the_reason_and_forgotten(octets, reason) -> None:
    bench = Bench(octets=octets)
    bench.download()
    command, payload = bench.requests()[-1]
    assert (command, payload[0]) == (ota.Command.UPGRADE_END_REQUEST, Status.INVALID_IMAGE)
    assert reason in bench.all(events.DownloadFailed)[-1].reason
    assert bench.banks.download is None
    bench.status(ota.Command.UPGRADE_END_REQUEST, 0)
    assert bench.state is State.IDLE


def test_the_expected_hash_and_the_expected_format_decide_where_they_are_set() -> None:
    bench = Bench(expected_sha256=bytes(32))
    bench.download()
    assert "SHA-256" in bench.all(events.DownloadFailed)[-1].reason
    bench = Bench(body_format=BodyFormat.SUB_ELEMENTS)
    bench.download()
    assert bench.state is State.FAILING


def test_a_failure_that_nobody_hears_is_told_a_bounded_number_of_times() -> None:
    bench = Bench(octets=image(manufacturer=7))
    bench.download()
    while bench.state is State.FAILING:
        bench.wait()
    ends = [command for command, _ in bench.requests() if command == ota.Command.UPGRADE_END_REQUEST]
    assert (len(ends), bench.state) == (SPEC_STRICT.end_attempts, State.IDLE)


# When to activate.


@pytest.mark.parametrize(
    ("personality", "current", "upgrade", "wait"),
    [
        (SPEC_STRICT, 0, 0, 0),
        (SPEC_STRICT, 0, 8 * 3600, 8 * 3600),
        (SPEC_STRICT, START_UTC, START_UTC + 600, 600),
        (SPEC_STRICT, START_UTC - 100, START_UTC + 600, 600),  # with Time the absolute value counts
        (SPEC_STRICT, START_UTC - 100, START_UTC - 50, 0),
        (SPEC_STRICT_NO_TIME, START_UTC - 100, START_UTC + 600, 700),  # without, the difference
        (SILICON_LABS, 0, 0, 3),
        (SILICON_LABS, 0, 8 * 3600, 3600),
        (SILICON_LABS, 0, 50 * 86400, 3600),
        (TELINK, 0, 0, 0),
        (TELINK, 0, 8 * 3600, 8 * 3600),
        (TELINK, 0, 50 * 86400, 25032.704),  # 4,320,000,000 ms do not fit a u32
        (SILICON_LABS, 0, 4_294_972, 4.704),
    ],
)
def test_the_time_of_the_upgrade(personality, current, upgrade, wait) -> None:
    bench = Bench(personality)
    bench.ending()
    bench.now = 0.0
    bench.end(current, upgrade)
    if wait:
        assert (bench.state, bench.wait_s) == (State.COUNTING, wait)
        assert bench.activated() is None
        bench.wait()
    assert bench.activated() is False


def test_an_absolute_time_without_a_known_clock_is_a_difference() -> None:
    bench = Bench(knows_time=False)
    bench.ending()
    bench.end(1000, 1060)
    assert bench.wait_s == 60


def test_a_time_before_the_current_one_makes_it_ask_again_in_an_hour() -> None:
    bench = Bench()
    bench.ending()
    bench.end(1000, 900)
    assert (bench.state, bench.wait_s) == (State.HELD, 3600)


def test_wildcards_name_this_image_and_another_image_does_not() -> None:
    for identity, heard in [
        (ANY, True),
        (WANTED, True),
        (replace(WANTED, image_type=0xFFFF), True),
        (replace(WANTED, manufacturer=7), False),
        (replace(WANTED, file_version=NEW + 1), False),
    ]:
        bench = Bench()
        bench.ending()
        bench.end(0, 0, identity)
        assert (bench.state is State.ACTIVATING) is heard, identity


def test_a_hold_is_asked_about_every_hour_for_ever() -> None:
    bench = Bench()
    bench.ending()
    for _ in range(100):
        bench.end(0, FOREVER)
        assert (bench.state, bench.wait_s) == (State.HELD, 3600)
        bench.wait()
        assert bench.requests()[-1][0] == ota.Command.UPGRADE_END_REQUEST
    bench.end(0, 30)
    assert (bench.state, bench.wait_s) == (State.COUNTING, 30)


def test_an_unsolicited_response_ends_a_hold() -> None:
    bench = Bench()
    bench.ending()
    bench.end(0, FOREVER)
    bench.now += 100
    bench.end(0, 0)
    assert bench.activated() is False


def test_an_upgrade_end_response_before_the_end_means_nothing() -> None:
    bench = Bench()
    bench.fetching()
    bench.end(0, 0)
    assert (bench.state, bench.activated()) == (State.FETCHING, None)


def test_strict_never_activates_by_itself_and_keeps_asking() -> None:
    bench = Bench()
    bench.ending()
    for _ in range(200):
        bench.wait()
    assert bench.activated() is None
    assert bench.now < 200 * 60


def test_silicon_labs_activates_thirty_seconds_into_silence() -> None:
    bench = Bench(SILICON_LABS)
    bench.ending()
    started = bench.now
    assert bench.silence() == 9  # after the first
    assert (bench.activated(), bench.now - started) == (True, 30)


def test_silicon_labs_counts_silences_over_a_whole_hold() -> None:
    bench = Bench(SILICON_LABS)
    bench.ending()
    for _ in range(9):
        bench.wait()
        bench.end(0, FOREVER)
        assert bench.wait_s == 3600
        bench.wait()
    assert bench.activated() is None
    bench.wait()
    assert bench.activated() is True


def test_a_timeout_policy_of_one_forbids_that() -> None:
    bench = Bench(replace(SILICON_LABS, timeout_policy=1))
    bench.ending()
    for _ in range(50):
        bench.wait()
    assert bench.activated() is None


def test_silicon_labs_refuses_to_change_a_countdown() -> None:
    bench = Bench(SILICON_LABS)
    bench.ending()
    bench.end(0, 60)
    due = bench.client.deadline
    assert bench.end(0, FOREVER) == Status.FAILURE
    assert (bench.state, bench.client.deadline) == (State.COUNTING, due)


def test_telink_activates_ten_seconds_into_silence() -> None:
    bench = Bench(TELINK)
    bench.ending()
    started = bench.now
    bench.silence()
    assert (bench.activated(), bench.now - started) == (True, 10)


@pytest.mark.parametrize("answers", [True, False])
def test_telink_holds_for_two_hours_and_no_longer(answers) -> None:
    bench = Bench(TELINK)
    bench.ending()
    held_at = bench.now
    bench.end(0, FOREVER)
    assert bench.wait_s == 3600
    bench.wait()
    if answers:
        bench.end(0, FOREVER)
    else:
        bench.silence()
    assert bench.state is State.HELD
    bench.wait()
    assert (bench.activated(), bench.now - held_at) == (True, 7200)


def test_telink_takes_a_real_time_during_a_hold_and_ignores_the_next() -> None:
    bench = Bench(TELINK)
    bench.ending()
    bench.end(0, FOREVER)
    bench.end(0, 100)
    due = bench.client.deadline
    assert bench.end(0, 5) == Status.SUCCESS
    assert (bench.state, bench.client.deadline) == (State.COUNTING, due)


def test_strict_obeys_the_newest_time_even_a_hold() -> None:
    bench = Bench()
    bench.ending()
    bench.end(0, 100)
    bench.end(0, 5000)
    assert bench.wait_s == 5000
    bench.end(0, FOREVER)
    assert bench.state is State.HELD


def test_a_hold_is_cancelled_by_a_default_response() -> None:
    for personality, cancelled in ((SPEC_STRICT, True), (SILICON_LABS, True), (TELINK, False)):
        bench = Bench(personality)
        bench.ending()
        bench.end(0, FOREVER)
        bench.status(ota.Command.UPGRADE_END_REQUEST, Status.ABORT)
        assert (bench.state is State.IDLE) is cancelled
        assert bool(bench.all(events.Cancelled)) is cancelled


def test_a_countdown_is_not_cancelled_by_a_default_response() -> None:
    bench = Bench()
    bench.ending()
    bench.end(0, 100)
    bench.status(ota.Command.UPGRADE_END_REQUEST, Status.ABORT)
    assert bench.state is State.COUNTING


def test_out_of_band_refuses_a_time_and_waits_for_its_command() -> None:
    bench = Bench(OUT_OF_BAND)
    bench.ending()
    assert bench.end(0, 60) == Status.NOT_AUTHORIZED
    assert (bench.state, bench.wait_s) == (State.EXTERNAL, None)
    assert bench.end(0, FOREVER) == Status.SUCCESS
    bench.take(bench.client.activate_out_of_band())
    assert bench.activated() is False


# Reboots.


def reboot(bench: Bench) -> None:
    bench.boot()
    bench.found()


def test_a_stored_image_is_not_downloaded_again_after_a_reboot() -> None:
    bench = Bench()
    bench.ending()
    bench.end(0, FOREVER)
    bench.effects.clear()
    reboot(bench)
    assert [command for command, _ in bench.requests()] == [ota.Command.UPGRADE_END_REQUEST]
    assert bench.state is State.ENDING


def test_an_unfinished_download_goes_on_straight_away_or_after_a_query() -> None:
    for personality, first in ((SPEC_STRICT, ota.Command.IMAGE_BLOCK_REQUEST), (TELINK, None)):
        bench = Bench(personality)
        bench.fetching()
        for offset in range(0, 2500, 50):
            bench.block(offset)
        bench.effects.clear()
        reboot(bench)
        if first is None:
            bench.wait()
            bench.offer()
        assert bench.asks_block().offset == 2048


def test_leaving_the_network_stops_everything_and_joining_starts_it_again() -> None:
    bench = Bench()
    bench.fetching()
    bench.client.stop()
    assert (bench.state, bench.wait_s) == (State.OFF, None)
    bench.found()
    assert bench.state is State.FETCHING


# The table.


def test_every_state_has_a_way_out_and_a_status() -> None:
    assert set(TRANSITIONS) == set(UPGRADE_STATUS) == set(State)
    reached = {target for row in TRANSITIONS.values() for target in row.values()}
    assert reached == set(State)


def test_a_rejoin_asks_again_for_a_server_that_is_being_looked_for_and_disturbs_nothing_else() -> None:
    bench = Bench()
    assert bench.take(bench.client.start(0.0)) == [Discover()]
    assert bench.take(bench.client.start(1.0)) == [Discover()]
    bench.take(bench.client.server_found(1.0))
    bench.wait()
    bench.offer()
    deadline = bench.client.deadline
    assert bench.take(bench.client.start(bench.now + 1)) == []
    assert (bench.state, bench.client.deadline) == (State.FETCHING, deadline)


def test_a_block_that_reaches_over_the_end_is_ignored() -> None:
    bench = Bench()
    bench.fetching()
    last = len(bench.image) - len(bench.image) % 50
    for offset in range(0, last, 50):
        bench.block(offset)
    bench.give(ota.Command.IMAGE_BLOCK_RESPONSE, ota.ImageBlock(WANTED, last, bytes(50)).to_bytes())
    assert (bench.state, bench.banks.offset) == (State.FETCHING, last)
    bench.block(last)
    assert bench.state is State.ENDING


def test_a_failure_is_told_again_after_the_timeout() -> None:
    bench = Bench(octets=image(manufacturer=7))
    bench.download()
    assert (bench.state, bench.wait_s) == (State.FAILING, SPEC_STRICT.end_timeout_s)
    bench.wait()
    assert (bench.state, bench.wait_s) == (State.FAILING, SPEC_STRICT.end_timeout_s)
