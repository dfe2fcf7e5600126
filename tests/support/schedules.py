"""Schedules for `update_world`: drawn from a seed, written as TOML, made smaller while they still fail.

A seed does not survive a change of this file; a schedule in tests/replays does, and a person can read it.
"""

import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from random import Random
from typing import Any

from chf.clock import UtcSeconds
from chf.update import model
from devices.nodes.personalities import OUT_OF_BAND, PERSONALITIES
from devices.nodes.settings import Faults
from tests.support.model_hub import NEW, OLD

DAY_S = 86_400.0
FAULTS = {
    "": Faults(),
    "does not boot": Faults(firmware_does_not_boot=True),
    "reverts": Faults(reverts_after_activation=True),
}


@dataclass(frozen=True, slots=True)
class Deed:
    """`do` it `after_s` after the `n`-th `on` of the run: "start", "step", or a kind of message (`kind_of`).

    To a message itself: "lose", "unack" (it arrives, and the radio says that it did not), "twice", "late" by `s`.
    To the device: "cut" (off for `s`), "rejoin", "mute" (the next `s` read-backs say 0xFFFFFFFF), "other type" (it also
    asks for its other image, of which it runs version `s`). To the hub: "die" (down for `s`), "die after" (at the
    `s`-th message that it is about to send), "clock" (set by `s`). To both: "silence" (the air loses all for `s`), "drop"
    (the air loses the next frame).
    By people: "now", "at" (in `s` from then), "hold", "cancel"; "trust" (the clock is right).
    """

    do: str
    on: str = "start"
    n: int = 1
    after_s: float = 0.0
    s: float = 0.0
    strategy: str = ""


MESSAGE_DEEDS = ("lose", "unack", "twice", "late")
ORDERS = ("now", "at", "hold", "cancel")


@dataclass(frozen=True, slots=True)
class Schedule:
    """`order` is "now", "at" (`at_s` from the start) or "hold"; `known` tells the hub which class the client is of."""

    personality: str
    order: str = "now"
    at_s: float = 0.0
    strategy: str = "park"
    known: bool = False
    fault: str = ""
    body_bytes: int = 100
    lifetime_s: float = 2 * DAY_S
    deeds: tuple[Deed, ...] = ()


NAMES = tuple(name for name in PERSONALITIES if name != OUT_OF_BAND.name)  # which is activated past the hub
ORDER_TIMES_S = (30.0, 300.0, 2700.0, 4 * 3600.0, 8 * 3600.0)
MESSAGES = ("query", "offer", "no image", "block request", "block", "last block", "wait", "end", "hold", "time", "read")
MOMENTS_S = (0.02, 0.5, 4.0, 12.0, 45.0, 600.0, 3700.0)
ARGUMENTS_S = {
    "late": (1.0, 4.0, 20.0),
    "cut": (1.0, 10.0, 400.0, 4000.0),
    "die": (0.0, 2.0, 20.0, 900.0, 9000.0),
    "die after": (0.0, 1.0, 2.0),
    "clock": (-864_000.0, -3600.0, 3600.0, 864_000.0),
    "silence": (3.0, 15.0, 90.0, 900.0),
    "mute": (1.0, 3.0, 20.0),
    "other type": (float(OLD), float(NEW), float(NEW + 1)),
    "at": ORDER_TIMES_S,
}
DEEDS = (*MESSAGE_DEEDS, *ARGUMENTS_S.keys() - {*MESSAGE_DEEDS, "at"}, "rejoin", "trust", *ORDERS)
_KINDS = tuple(sorted(DEEDS))
_STRATEGIES = ("park", "hold")


def activation(order: str, utc: float, strategy: str) -> model.Activation:
    """What people say to the hub; `utc` counts for "at" alone."""
    if order == "now":
        return model.ActivateNow()
    wanted = model.Strategy(strategy or "park")
    return model.ActivateHold(wanted) if order == "hold" else model.ActivateAt(UtcSeconds(utc), wanted)


def expand(seed: int) -> Schedule:
    """Every draw of a run is made here. Each seed has a few kinds of trouble, so that runs differ in kind."""
    random = Random(seed)
    personality = NAMES[seed % len(NAMES)]
    order = random.choice(("now", "at", "at", "at", "hold"))
    kinds = random.sample(_KINDS, random.randint(1, 4))
    return Schedule(
        personality,
        order,
        random.choice(ORDER_TIMES_S) if order == "at" else 0.0,
        random.choice(_STRATEGIES) if order != "now" else "park",
        known=random.random() < 0.5,
        fault=random.choice(("", "", "", *FAULTS)),
        lifetime_s=random.choice((2 * DAY_S, 2 * DAY_S, 2 * DAY_S, 7200.0)),
        deeds=tuple(_deed(random, random.choice(kinds)) for _ in range(random.randint(0, 6))),
    )


def _deed(random: Random, do: str) -> Deed:
    argument = random.choice(ARGUMENTS_S[do]) if do in ARGUMENTS_S else 0.0
    strategy = random.choice(_STRATEGIES) if do in ("at", "hold") else ""
    number = random.choice((1, 1, 1, 2, 3))
    if do in MESSAGE_DEEDS:
        return Deed(do, random.choice(MESSAGES), number, s=argument)
    if random.random() < 0.4:
        return Deed(
            do,
            after_s=round(random.choice((30.0, 3000.0, 30_000.0)) * random.random(), 1),
            s=argument,
            strategy=strategy,
        )
    return Deed(do, random.choice(MESSAGES), number, random.choice(MOMENTS_S), argument, strategy)


def shrink(schedule: Schedule, fails: Callable[[Schedule], bool]) -> Schedule:
    """A smaller schedule that fails as well: fewer deeds, then simpler and earlier ones."""
    smaller = next((each for each in _simpler(schedule) if fails(each)), None)
    return schedule if smaller is None else shrink(smaller, fails)


def _simpler(schedule: Schedule) -> Iterator[Schedule]:
    deeds = schedule.deeds
    for index in range(len(deeds)):
        yield replace(schedule, deeds=deeds[:index] + deeds[index + 1 :])
    for name in ("fault", "lifetime_s"):
        simplest = getattr(Schedule(""), name)
        if getattr(schedule, name) != simplest:
            yield replace(schedule, **{name: simplest})
    for index, deed in enumerate(deeds):
        for changes in _simpler_deed(deed):
            yield replace(schedule, deeds=(*deeds[:index], replace(deed, **changes), *deeds[index + 1 :]))


def _simpler_deed(deed: Deed) -> Iterator[dict[str, float | int]]:
    if deed.n > 1:
        yield {"n": deed.n - 1}
    for name, choices in (("after_s", MOMENTS_S), ("s", ARGUMENTS_S.get(deed.do, ()))):
        value = getattr(deed, name)
        yield from ({name: choice} for choice in choices if 0 <= choice < value)


def to_toml(schedule: Schedule, comment: str = "") -> str:
    """What `from_toml` reads; fields that are as they are by default are left out."""
    lines = [f"# {line}" for line in comment.splitlines()]
    lines += _fields(schedule)
    for deed in schedule.deeds:
        lines += ["", "[[deeds]]", *_fields(deed)]
    return "\n".join(lines) + "\n"


def _fields(value: Schedule | Deed) -> list[str]:
    return [
        f"{item.name} = {_literal(getattr(value, item.name))}"
        for item in fields(value)
        if item.name != "deeds" and getattr(value, item.name) != item.default
    ]


def _literal(value: str | float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value).replace("'", '"')


def from_toml(text: str) -> Schedule:
    """Raises TypeError for a field that there is not."""
    read: dict[str, Any] = tomllib.loads(text)
    return Schedule(**{**read, "deeds": tuple(Deed(**deed) for deed in read.get("deeds", ()))})


def load(path: Path) -> Schedule:
    return from_toml(path.read_text(encoding="utf-8"))
