"""No device activates before its time, no outcome is false, and every update ends: whatever a schedule brings.

A schedule that failed once is kept in tests/replays, and runs each time. `CHF_SCHEDULES=100000 make test-slow` runs more
of them, `CHF_FIRST=10000` others.
"""

import os
from collections import Counter
from pathlib import Path

import pytest

from chf.update.model import ENDS, UpdateState
from tests.support import schedules
from tests.support.schedules import NAMES, Deed, Schedule, expand, from_toml, load, shrink, to_toml
from tests.support.update_world import World
from tests.support.world_rules import ViolationError

REPLAYS = sorted((Path(__file__).parents[1] / "replays").glob("*.toml"))
ORDERS = (Schedule("", "now"), Schedule("", "at", 2700.0), Schedule("", "at", 28_800.0), Schedule("", "hold"))


def failure(schedule: Schedule) -> str | None:
    """What a run of it comes to: None where all holds."""
    return outcome(schedule)[1]


def outcome(schedule: Schedule) -> tuple[UpdateState, str | None]:
    """How a run of it ends, and the rule that it broke: None where all holds."""
    world = World(schedule)
    try:
        world.run()
    except ViolationError as violation:
        return world.row.state, str(violation)
    return world.row.state, None


@pytest.mark.parametrize("order", ORDERS, ids=lambda schedule: f"{schedule.order}-{schedule.at_s:.0f}")
@pytest.mark.parametrize("name", NAMES)
def test_where_nothing_goes_wrong_the_device_activates_at_its_time(name, order):
    assert failure(schedules.replace(order, personality=name)) is None


def ends(seeds) -> Counter:
    """How the schedules of these seeds end; all hold, or the first that does not is made smaller, and can be kept."""
    seen = Counter()
    for seed in seeds:
        state, why = outcome(expand(seed))
        if why is not None:
            smaller = shrink(expand(seed), lambda schedule: failure(schedule) is not None)
            pytest.fail(to_toml(smaller, f"seed {seed}: {failure(smaller)}"), pytrace=False)
        seen[state] += 1
    return seen


def told(seen: Counter) -> str:
    return f"{seen.total()} schedules: " + ", ".join(f"{count} {state.value}" for state, count in seen.most_common())


def test_whatever_a_schedule_brings_nothing_is_early_or_false(record_property):
    seen = ends(range(208))
    record_property("reached", told(seen))
    assert {*seen} == ENDS, "each end is reached by some"


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
def test_whatever_many_schedules_bring_nothing_is_early_or_false(record_property):
    first = int(os.environ.get("CHF_FIRST", "0"))
    record_property("reached", told(ends(range(first, first + int(os.environ.get("CHF_SCHEDULES", "10000"))))))


@pytest.mark.parametrize("path", REPLAYS, ids=lambda path: path.stem)
def test_what_failed_once_holds(path):
    assert failure(load(path)) is None


def test_a_schedule_is_drawn_written_and_read_back():
    drawn = [expand(seed) for seed in range(100)]
    assert drawn == [expand(seed) for seed in range(100)]
    assert drawn == [from_toml(to_toml(schedule, "why it is kept")) for schedule in drawn]


def test_a_schedule_that_fails_is_made_smaller():
    matters, rest = (
        Deed("hold", after_s=5.0, strategy="hold"),
        (Deed("rejoin", after_s=700.0), Deed("lose", "block", 2)),
    )
    schedule = Schedule("telink", "at", 2700.0, deeds=(rest[0], matters, rest[1]), fault="reverts")

    def fails(changed: Schedule) -> bool:
        return any(deed.do == "hold" for deed in changed.deeds)

    smallest = shrink(schedule, fails)
    assert smallest == Schedule("telink", "at", 2700.0, deeds=(schedules.replace(matters, after_s=0.02),))
