"""Updates under faults that nobody chose: seeds decide what goes wrong with the dongle, its cable and the hub, and when.

In virtual time, so that a seed takes a second or two; and with real processes and a hub that is killed, which takes
fifteen. `CHF_SEEDS=200-250` in the environment runs other seeds than the usual ones. A seed is its own recipe: `plan`
and `cable` follow from it and the kind of dongle.
"""

import os
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.support.programs import bench, quick
from tests.support.virtual_desk import desk_with_hub
from tests.support.virtual_time import virtual_time
from tests.system.test_dongle_faults import KINDS, Desk

pytestmark = pytest.mark.timeout(300)

EVENTS = ("restart_dongle", "crash_dongle", "unplug", "exhaust", "nak_storm")


def seeds(usual: str) -> range:
    first, _, last = os.environ.get("CHF_SEEDS", usual).partition("-")
    return range(int(first), int(last or first) + 1)


def scenario(random: Random, kind: str, seed: int) -> str:
    """The cable is good until the first step."""
    how = random.choice(({}, {"poll_interval_s": 1.0}))
    device = quick(think_time_s=0.01, page=random.random() < 0.3, query_interval_s=60.0, **how)
    return f"seed = {seed}\n{device}"


def cable(random: Random, kind: str) -> dict[str, float]:
    """ASH repairs what MT only loses, so a TI cable is a little better; and it is never swapped or starved there."""
    worst = 0.03 if kind == "ezsp" else 0.005
    faults = ("drop", "duplicate", "reorder", "corrupt", "noise")
    return {fault: round(random.uniform(0, worst), 4) for fault in faults if random.random() < 0.7}


def plan(random: Random, kind: str) -> list[dict[str, Any]]:
    """What is ordered of the dongle once the download has come so far, in octets."""
    steps: list[dict[str, Any]] = [{"at": 0, "do": "line", **cable(random, kind)}]
    for _ in range(random.randint(1, 3)):
        offset = random.randrange(300, 9000)
        match random.randrange(4):
            case 0:
                order: dict[str, Any] = {"do": "line", **cable(random, kind)}
            case 1:
                order = {"do": "confirms", "delay_s": round(random.uniform(0, 0.3), 3), "loss": random.choice((0, 0.1))}
            case 2:
                order = {"do": "kill_hub"}
            case _:
                what = random.choice(EVENTS)
                order = {"do": what, "for_s": round(random.uniform(0.1, 4), 2), "after_frames": random.randint(1, 40)}
        steps.append({"at": offset, **order})
    return sorted(steps, key=lambda step: step["at"])


@pytest.mark.parametrize("seed", seeds("1-8"))
@pytest.mark.parametrize("kind", KINDS)
def test_an_update_ends_well_whatever_the_seed(
    tmp_path: Path, kind: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = Random(f"{kind} {seed}")
    steps = plan(random, kind)

    async def story() -> None:
        async with desk_with_hub(tmp_path, kind, scenario(random, kind, seed)) as desk:
            content = await desk.update_under_way(until_bytes=0)
            for step in steps:
                order = dict(step)
                offset = order.pop("at")
                await desk.until(reached(desk.events, offset), 3600)
                if order["do"] != "kill_hub":
                    desk.order(**order)
            await desk.until_it_ended_well(content)

    with virtual_time(monkeypatch) as run:
        run(story())


@pytest.mark.slow
@pytest.mark.parametrize("seed", seeds("1-6"))
@pytest.mark.parametrize("kind", KINDS)
def test_with_real_programs_and_a_hub_that_is_killed(tmp_path: Path, kind: str, seed: int) -> None:
    random = Random(f"{kind} {seed}")
    steps = plan(random, kind)
    with bench(tmp_path, scenario(random, kind, seed), "--ncp", kind) as opened:
        desk = Desk(opened, kind)
        for step in steps:
            carry_out(desk, kind, dict(step))
        desk.check()


def carry_out(desk: Desk, kind: str, order: dict[str, Any]) -> None:
    opened = desk.desk
    opened.until(reached(desk.dongle.events, order.pop("at")), "the download to get there, or to be over", 120.0)
    if order["do"] == "kill_hub":
        opened.kill_hub()
        opened.start_hub("--radio", kind)
    else:
        desk.dongle.command(**order)


def reached(events: Callable[[], list[dict[str, Any]]], offset: int) -> Callable[[], bool]:
    def look() -> bool:
        return any(
            event["event"] in ("download_complete", "activating")
            or (event["event"] == "download_progress" and event["offset_bytes"] >= offset)
            for event in events()
        )

    return look


def test_the_usual_seeds_try_everything() -> None:
    """Else the plans have become too tame."""
    ordered = {step["do"] for kind in KINDS for seed in range(1, 40) for step in plan(Random(f"{kind} {seed}"), kind)}
    assert ordered == {"line", "confirms", "kill_hub", *EVENTS}
