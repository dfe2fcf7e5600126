"""Every run of a small update with a few troubles, each at every step: equal states are visited once.

Between two steps of a `World` one trouble of an alphabet may come, or none. A state is what the rest of a run depends
on: the hub's core, the client and its flash, what is under way and what the world's questions remember, all times
relative to now. So "two troubles" means: any two, each before any step, over the whole run to its end.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from enum import Enum
from itertools import count
from types import FunctionType, MappingProxyType, MethodType
from typing import Any, Final

from chf.clock import Now
from chf.image.image import FirmwareImage
from chf.trust import WatchedClock
from chf.update.scheduler import SchedulePolicy
from chf.update.transfer.policy import OtaPolicy
from devices.nodes.flash import Flash
from devices.nodes.journal import Journal, Key
from devices.nodes.personality import Personality
from devices.nodes.settings import PpmidSettings
from tests.support.schedules import Deed, Schedule
from tests.support.update_world import START, START_UTC, World
from tests.support.world_device import Middle
from tests.support.world_rules import ViolationError

TROUBLES: Final = (
    Deed("cut", s=1.0),
    Deed("die"),
    Deed("die", s=20.0),
    Deed("drop"),
    Deed("now"),
    Deed("at", s=600.0, strategy="park"),
    Deed("cancel"),
    Deed("clock", s=-7200.0),
    Deed("clock", s=600.0),
)
# What is written and never decided upon, what only spaces writes and messages to people, and what never changes.
_LEFT_OUT: Final = frozenset(
    {"created", "changed", "ended", "download_started", "download_ended", "blocks", "offset_bytes"}
    | {"progress_at", "checkpoint_at", "id", "device", "image", "origin", "file_version", "update", "peer", "number"}
)
_FORGOTTEN_S: Final = -4000.0  # no rule looks further back
_NEAR: Final = 5_000_000.0  # a number so near to the start is an instant, or a UTC time


# Copies

_Copier = Callable[[Any, dict[int, Any]], Any]
_copiers: dict[type, _Copier] = {}


def copy(value: Any, memo: dict[int, Any]) -> Any:
    """As `copy.deepcopy`, but what cannot change, or may be shared (counters, functions), stays the same object."""
    kind = type(value)
    copier = _copiers.get(kind)
    if copier is None:
        copier = _copiers[kind] = _copier(kind)
    return copier(value, memo)


def _same(value: Any, _memo: dict[int, Any]) -> Any:
    return value


def _copier(kind: type) -> _Copier:
    frozen = is_dataclass(kind) and kind.__dataclass_params__.frozen  # type: ignore[attr-defined]
    shared = (str, bytes, int, float, type(None), Enum, FunctionType, MappingProxyType, Middle, type, count)
    if frozen or issubclass(kind, shared):
        return _same
    if issubclass(kind, Counter):
        return lambda value, _memo: value.copy()
    if issubclass(kind, dict):
        return lambda value, memo: {key: copy(each, memo) for key, each in value.items()}
    if kind in (list, tuple, set):
        return lambda value, memo: kind([copy(each, memo) for each in value])
    if kind is bytearray:
        return lambda value, _memo: bytearray(value)
    if kind is MethodType:
        return lambda value, memo: MethodType(value.__func__, copy(value.__self__, memo))
    return _copy_object


def _copy_object(value: Any, memo: dict[int, Any]) -> Any:
    made = memo.get(id(value))
    if made is None:
        made = memo[id(value)] = object.__new__(type(value))
        for name in _names(value):
            object.__setattr__(made, name, copy(getattr(value, name), memo))
    return made


_slots: dict[type, tuple[str, ...]] = {}


def _names(value: Any) -> tuple[str, ...]:
    kind = type(value)
    if kind not in _slots:
        _slots[kind] = tuple(name for base in kind.__mro__ for name in getattr(base, "__slots__", ()))
    return (*_slots[kind], *getattr(value, "__dict__", ()))


# States


class Look:
    """One look at a world: `state` is equal for worlds that will go on equally."""

    def __init__(self, world: World) -> None:
        self._instant, self._utc = world.instant, world.utc
        self._seen: set[int] = set()
        self.state = hash(self._look(world.matters()))

    def _look(self, value: Any) -> Any:
        kind = type(value)
        if kind is float:
            return self._time(value)
        if kind in _ATOMS:
            return value
        if kind is tuple and len(value) == 3 and type(value[1]) is int and type(value[0]) is float:
            return self._look(value[0]), self._look(value[2])  # of a heap: the number between only tells equals apart
        if kind is list or kind is tuple:
            return tuple([each if type(each) in _ATOMS else self._look(each) for each in value])
        if kind in _OPAQUE:
            return None
        if isinstance(value, dict):
            return tuple([self._look(each) for each in value.values()])
        if isinstance(value, Enum):
            return value.name
        if kind is Now:
            return self._look(value.instant), self._look(value.utc), value.trusted
        if kind is WatchedClock:  # the reasons name times
            return tuple([bool(each) if type(each) is str else self._look(each) for each in vars(value).values()])
        if kind is Journal:
            return tuple([value.get(key) for key in Key])
        if kind is set:
            return frozenset(value)
        if id(value) in self._seen:
            return None
        self._seen.add(id(value))
        looked = []
        for name in _looked_at.get(kind) or _fields(value):
            each = getattr(value, name)
            looked.append(each if type(each) in _ATOMS else self._look(each))
        return tuple(looked)

    def _time(self, value: float) -> float:
        if abs(value - START) < _NEAR:
            value = max(value - self._instant, _FORGOTTEN_S)
        elif abs(value - START_UTC) < _NEAR:
            value = max(value - self._utc, _FORGOTTEN_S)
        return round(value, 1)


def _fields(value: Any) -> tuple[str, ...]:
    """The names of what is looked at in an object of this kind; its constants are not."""
    known = [item.name for item in fields(value)] if is_dataclass(value) else _names(value)
    names = _looked_at[type(value)] = tuple(name for name in known if name not in _LEFT_OUT)
    return names


_looked_at: dict[type, tuple[str, ...]] = {}
_ATOMS: Final = frozenset({str, int, bool, bytes, type(None)})
_OPAQUE: Final = frozenset(
    {
        Flash,
        FirmwareImage,
        Personality,
        PpmidSettings,
        OtaPolicy,
        SchedulePolicy,
        FunctionType,
        MethodType,
        Middle,
        count,
    }
)


# The search


@dataclass(slots=True)
class Reach:
    """What a search came to. `found` is a schedule that replays a violation."""

    states: int = 0
    longest: int = 0  # steps of one run
    found: Schedule | None = None
    why: str = ""


def explore(
    schedule: Schedule, troubles: int, alphabet: tuple[Deed, ...] = TROUBLES, kind: type[World] = World
) -> Reach:
    """Every run of `schedule` with up to so many troubles, until one breaks a rule."""
    reach = Reach()
    left_at: dict[int, int] = {}
    todo: list[tuple[World, int, tuple[Deed, ...]]] = [(kind(schedule), troubles, ())]
    while todo:
        world, left, path = todo.pop()
        try:
            while not world.over():
                state = Look(world).state
                if left_at.get(state, -1) >= left:
                    break
                left_at[state] = left
                if left and world.steps:
                    for deed in alphabet:
                        placed = replace(deed, on="step", n=world.steps)
                        branch = copy(world, {})
                        branch.planned.insert(0, (branch.instant, 0, placed))
                        todo.append((branch, left - 1, (*path, placed)))
                world.step()
            reach.longest = max(reach.longest, world.steps)
        except ViolationError as violation:
            reach.found, reach.why = replace(schedule, deeds=path), str(violation)
            break
    reach.states = len(left_at)
    return reach
