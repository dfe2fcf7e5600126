"""The OTA client sans I/O: when it activates, what a reboot leaves, and the table of its states."""

from __future__ import annotations

from dataclasses import replace

import pytest

from devices.nodes import events
from devices.nodes.cluster import Discover
from devices.nodes.ota_states import TRANSITIONS, UPGRADE_STATUS, State
from devices.nodes.personalities import OUT_OF_BAND, SILICON_LABS, SPEC_STRICT, SPEC_STRICT_NO_TIME, TELINK
from devices.nodes.personality import Resume
from devices.wire import ota
from devices.wire.zcl import Status
from tests.support.client_bench import ANY, FOREVER, WANTED, ClientBench, wanted
from tests.support.model_hub import HUB_ENDPOINT, NEW, START_UTC, image

AFTER_QUERY = replace(SPEC_STRICT, name="after-query", resume=Resume.AFTER_QUERY)

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
    bench = ClientBench(personality)
    bench.ending()
    bench.now = 0.0
    bench.end(current, upgrade)
    if wait:
        assert (bench.state, bench.wait_s) == (State.COUNTING, wait)
        assert bench.activated() is None
        bench.wait()
    assert bench.activated() is False


def test_an_absolute_time_without_a_known_clock_is_a_difference() -> None:
    bench = ClientBench(knows_time=False)
    bench.ending()
    bench.end(1000, 1060)
    assert bench.wait_s == 60


def test_a_time_before_the_current_one_makes_it_ask_again_in_an_hour() -> None:
    bench = ClientBench()
    bench.ending()
    bench.end(1000, 900)
    assert (bench.state, bench.wait_s) == (State.HELD, 3600)


def test_wildcards_name_this_image_and_another_image_does_not() -> None:
    for identity, heard in [
        (ANY, True),
        (WANTED, True),
        (wanted(image_type=0xFFFF), True),
        (wanted(manufacturer=7), False),
        (wanted(file_version=NEW + 1), False),
    ]:
        bench = ClientBench()
        bench.ending()
        bench.end(0, 0, identity)
        assert (bench.state is State.ACTIVATING) is heard, identity


def test_a_hold_is_asked_about_every_hour_for_ever() -> None:
    bench = ClientBench()
    bench.ending()
    for _ in range(100):
        bench.end(0, FOREVER)
        assert (bench.state, bench.wait_s) == (State.HELD, 3600)
        bench.wait()
        assert bench.requests()[-1][0] == ota.Command.UPGRADE_END_REQUEST
    bench.end(0, 30)
    assert (bench.state, bench.wait_s) == (State.COUNTING, 30)


def test_an_unsolicited_response_ends_a_hold() -> None:
    bench = ClientBench()
    bench.ending()
    bench.end(0, FOREVER)
    bench.now += 100
    bench.end(0, 0)
    assert bench.activated() is False


def test_an_upgrade_end_response_before_the_end_means_nothing() -> None:
    bench = ClientBench()
    bench.fetching()
    bench.end(0, 0)
    assert (bench.state, bench.activated()) == (State.FETCHING, None)


def test_strict_never_activates_by_itself_and_keeps_asking() -> None:
    bench = ClientBench()
    bench.ending()
    for _ in range(200):
        bench.wait()
    assert bench.activated() is None
    assert bench.now < 200 * 60


def test_strict_pauses_after_three_unanswered_requests_and_then_asks_three_times_again() -> None:
    bench = ClientBench()
    bench.ending()
    for _ in range(2):
        assert bench.silence() == SPEC_STRICT.end_attempts - 1  # after the first
        assert (bench.state, bench.wait_s) == (State.HELD, SPEC_STRICT.end_retry_s)
        bench.wait()


def test_the_hold_of_a_new_download_is_counted_from_its_own_beginning() -> None:
    bench = ClientBench(replace(TELINK, cancelled_by=SPEC_STRICT.cancelled_by))
    bench.ending()
    bench.end(0, FOREVER)
    bench.wait()
    bench.status(ota.Command.UPGRADE_END_REQUEST, Status.ABORT)
    bench.wait()
    bench.offer()
    bench.load()
    bench.end(0, FOREVER)
    assert (bench.state, bench.wait_s) == (State.HELD, TELINK.hold_reask_s)


def test_an_upgrade_time_that_has_passed_is_now_however_the_countdown_is_kept() -> None:
    counting_in_u32 = replace(TELINK, has_time=True)
    assert counting_in_u32.until_upgrade(ota.UpgradeEndResponse(ANY, 100, 200), 300) == 0
    assert counting_in_u32.until_upgrade(ota.UpgradeEndResponse(ANY, 100, 200), 150) == 50


def test_silicon_labs_activates_thirty_seconds_into_silence() -> None:
    bench = ClientBench(SILICON_LABS)
    bench.ending()
    started = bench.now
    assert bench.silence() == 9  # after the first
    assert (bench.activated(), bench.now - started) == (True, 30)


def test_silicon_labs_counts_silences_over_a_whole_hold() -> None:
    bench = ClientBench(SILICON_LABS)
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
    bench = ClientBench(replace(SILICON_LABS, timeout_policy=1))
    bench.ending()
    for _ in range(50):
        bench.wait()
    assert bench.activated() is None


def test_silicon_labs_refuses_to_change_a_countdown() -> None:
    bench = ClientBench(SILICON_LABS)
    bench.ending()
    bench.end(0, 60)
    due = bench.client.deadline
    assert bench.end(0, FOREVER) == Status.FAILURE
    assert (bench.state, bench.client.deadline) == (State.COUNTING, due)


def test_telink_takes_a_real_time_during_a_hold_and_ignores_the_next() -> None:
    bench = ClientBench(TELINK)
    bench.ending()
    bench.end(0, FOREVER)
    bench.end(0, 100)
    due = bench.client.deadline
    assert bench.end(0, 5) == Status.SUCCESS
    assert (bench.state, bench.client.deadline) == (State.COUNTING, due)


def test_strict_obeys_the_newest_time_even_a_hold() -> None:
    bench = ClientBench()
    bench.ending()
    bench.end(0, 100)
    bench.end(0, 5000)
    assert bench.wait_s == 5000
    bench.end(0, FOREVER)
    assert bench.state is State.HELD


def test_a_hold_is_cancelled_by_a_default_response() -> None:
    for personality, cancelled in ((SPEC_STRICT, True), (SILICON_LABS, True), (TELINK, False)):
        bench = ClientBench(personality)
        bench.ending()
        bench.end(0, FOREVER)
        bench.status(ota.Command.UPGRADE_END_REQUEST, Status.ABORT)
        assert (bench.state is State.IDLE) is cancelled
        assert bool(bench.all(events.Cancelled)) is cancelled


def test_a_countdown_is_not_cancelled_by_a_default_response() -> None:
    bench = ClientBench()
    bench.ending()
    bench.end(0, 100)
    bench.status(ota.Command.UPGRADE_END_REQUEST, Status.ABORT)
    assert bench.state is State.COUNTING


def test_out_of_band_refuses_a_time_and_waits_for_its_command() -> None:
    bench = ClientBench(OUT_OF_BAND)
    bench.ending()
    assert bench.end(0, 60) == Status.NOT_AUTHORIZED
    assert (bench.state, bench.wait_s) == (State.EXTERNAL, None)
    assert bench.end(0, FOREVER) == Status.SUCCESS
    assert (bench.state, bench.wait_s, bench.activated()) == (State.EXTERNAL, None, None)


# Reboots.


def test_a_stored_image_is_not_downloaded_again_after_a_reboot() -> None:
    bench = ClientBench()
    bench.ending()
    bench.end(0, FOREVER)
    bench.reboot()
    assert [command for command, _ in bench.requests()] == [ota.Command.UPGRADE_END_REQUEST]
    assert bench.state is State.ENDING


def test_an_unfinished_download_goes_on_straight_away_or_after_a_query() -> None:
    for personality, queries, offset in ((SPEC_STRICT, False, 2050), (AFTER_QUERY, True, 2050)):
        bench = ClientBench(personality)
        bench.fetching()
        bench.load(2500)
        bench.reboot()
        if queries:
            bench.wait()
            bench.offer()
        assert bench.asks_block().offset == offset


def test_leaving_the_network_stops_everything_and_joining_starts_it_again() -> None:
    bench = ClientBench()
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
    bench = ClientBench()
    assert bench.take(bench.client.start(0.0)) == [Discover()]
    assert bench.take(bench.client.start(1.0)) == [Discover()]
    bench.take(bench.client.found(HUB_ENDPOINT, 1.0))
    bench.wait()
    bench.offer()
    deadline = bench.client.deadline
    assert bench.take(bench.client.start(bench.now + 1)) == []
    assert (bench.state, bench.client.deadline) == (State.FETCHING, deadline)


def test_a_block_that_reaches_over_the_end_is_ignored() -> None:
    bench = ClientBench()
    bench.fetching()
    last = len(bench.image) - len(bench.image) % 50
    for offset in range(0, last, 50):
        bench.block(offset)
    bench.give(ota.Command.IMAGE_BLOCK_RESPONSE, ota.ImageBlock(WANTED, last, bytes(50)).to_bytes())
    assert (bench.state, bench.banks.offset) == (State.FETCHING, last)
    bench.block(last)
    assert bench.state is State.ENDING


def test_a_failure_is_told_again_after_the_timeout() -> None:
    bench = ClientBench(octets=image(manufacturer=7))
    bench.download()
    assert (bench.state, bench.wait_s) == (State.FAILING, SPEC_STRICT.end_timeout_s)
    bench.wait()
    assert (bench.state, bench.wait_s) == (State.FAILING, SPEC_STRICT.end_timeout_s)
