"""No device activates before its time, no outcome is false, and every update ends: whatever a schedule brings.

A schedule that failed once is kept in tests/replays, and runs each time.
"""

from pathlib import Path

import pytest

from tests.support import schedules
from tests.support.schedules import NAMES, expand, failure, from_toml, load, shrink, to_toml
from tests.support.update_world import Deed, Schedule

REPLAYS = sorted((Path(__file__).parents[1] / "replays").glob("*.toml"))
ORDERS = (Schedule("", "now"), Schedule("", "at", 2700.0), Schedule("", "at", 28_800.0), Schedule("", "hold"))


@pytest.mark.parametrize("order", ORDERS, ids=lambda schedule: f"{schedule.order}-{schedule.at_s:.0f}")
@pytest.mark.parametrize("name", NAMES)
def test_where_nothing_goes_wrong_the_device_activates_at_its_time(name, order):
    assert failure(schedules.replace(order, personality=name)) is None


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
