"""What the OTA clients of the field make of the answer to their Upgrade End, or of none; docs/personalities.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from devices.nodes import events
from devices.nodes.ota_states import State
from devices.nodes.personalities import ESP_V1, MICROCHIP, NORDIC, NXP, SILICON_LABS, SPEC_STRICT, ST, TELINK, TI
from devices.wire import ota
from devices.wire.zcl import Status
from tests.support.client_bench import ANY, FOREVER, WANTED, ClientBench, by_personality, wanted
from tests.support.model_hub import NEW, START_UTC

if TYPE_CHECKING:
    from devices.nodes.personality import Personality

Command = ota.Command
HOUR = 3600
U32 = 2**32


@by_personality(
    ("personality", "identity", "heard"),
    (TELINK, ANY, True),
    (TELINK, wanted(file_version=NEW + 1), False),
    (TI, ANY, False),
    (TI, wanted(image_type=0xFFFF), False),
    (TI, WANTED, True),
    (NORDIC, ANY, False),
    (NORDIC, WANTED, True),
    (ESP_V1, ANY, False),
    (NXP, ANY, True),
    (NXP, wanted(manufacturer=7), False),
    (ST, wanted(manufacturer=7), True),
    (MICROCHIP, wanted(manufacturer=7), True),
)
def test_whose_answer_is_heard(personality: Personality, identity: ota.ImageId, heard: bool) -> None:
    bench = ClientBench(personality)
    bench.ending()
    bench.end(0, 0, identity)
    assert bench.activated() is (False if heard else None)


@by_personality(
    ("personality", "current", "upgrade", "wait_s"),
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


@pytest.mark.parametrize("personality", [NORDIC, ESP_V1])
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


@pytest.mark.parametrize("answers", [True, False], ids=["answered", "unanswered"])
@by_personality(
    ("personality", "asks_at", "activates_at"),
    (TELINK, [HOUR], 2 * HOUR),
    (TI, [HOUR, 2 * HOUR], 3 * HOUR),
    (NXP, [n * HOUR for n in range(1, 25)], None),
    (ST, [], None),
    (NORDIC, [], None),
    (ESP_V1, [], None),
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


@by_personality(
    ("personality", "wait_s"), (TELINK, 2600), (TI, 2600), (NXP, HOUR), (MICROCHIP, HOUR), (SPEC_STRICT, HOUR)
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


@by_personality(
    ("personality", "second", "wait_s"),
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
)
def test_another_answer_during_a_countdown(personality: Personality, second: int, wait_s: float) -> None:
    bench = ClientBench(personality)
    bench.ending()
    bench.end(0, 100, WANTED)
    assert bench.end(0, second, WANTED) == Status.SUCCESS
    assert bench.wait_s == wait_s


@by_personality(
    ("personality", "held", "status", "cancelled"),
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
)
def test_a_default_response_to_upgrade_end(personality, held: bool, status: int, cancelled: bool) -> None:
    bench = ClientBench(personality)
    bench.ending()
    if held:
        bench.end(0, FOREVER, WANTED)
    bench.status(Command.UPGRADE_END_REQUEST, status)
    assert bool(bench.all(events.Cancelled)) is cancelled
    assert (bench.state is State.IDLE) is cancelled


@by_personality(
    ("personality", "requests", "seconds", "state", "by_itself"),
    (SILICON_LABS, 10, 30, State.ACTIVATING, True),
    (TELINK, 2, 10, State.ACTIVATING, True),
    (TI, 1, None, State.ENDING, None),
    (NXP, 5, 55, State.IDLE, None),
    (ST, 1, None, State.ENDING, None),
    (MICROCHIP, 4, 12, State.ACTIVATING, True),
    (NORDIC, 1, None, State.ENDING, None),
    (ESP_V1, 1, None, State.ENDING, None),
)
def test_nobody_answers_upgrade_end(personality, requests: int, seconds, state: State, by_itself) -> None:
    bench = ClientBench(personality)
    bench.ending()
    started = bench.now
    while bench.state is State.ENDING and bench.wait_s is not None:
        bench.wait()
    assert (len(bench.ends()), bench.state, bench.activated()) == (requests, state, by_itself)
    if seconds is None:
        assert bench.wait_s is None
    else:
        assert bench.now - started == pytest.approx(seconds)
    assert (bench.banks.download is None) is (personality is NXP)
