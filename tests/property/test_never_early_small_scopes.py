"""Small updates wholly: one trouble at every step of a run, of every alphabet letter, for every client; more by night.

`make test-slow` looks at every pair of troubles, `CHF_TROUBLES=3 make test-slow` at every three.
"""

import os
import re
from dataclasses import replace

import pytest

from chf.update.model import ActivateHold
from tests.support.schedules import NAMES, Deed, Schedule, to_toml
from tests.support.small_scopes import Look, copy, explore
from tests.support.update_world import World
from tests.support.world_rules import ViolationError

SMALL = Schedule("telink", lifetime_s=300.0, body_bytes=60)
SCOPES = (
    SMALL,
    replace(SMALL, order="at", at_s=90.0, strategy="park"),
    replace(SMALL, order="at", at_s=90.0, strategy="hold", known=True),
    replace(SMALL, order="hold", strategy="park"),
)


def reach(name: str, troubles: int) -> str:
    """How far a search of every scope comes for this client."""
    states = longest = 0
    for scope in SCOPES:
        found = explore(replace(scope, personality=name), troubles)
        assert found.found is None, to_toml(found.found, found.why)
        states, longest = states + found.states, max(longest, found.longest)
    return f"{name}, {troubles} at any of up to {longest} steps: {states} states"


@pytest.mark.parametrize("name", NAMES)
def test_one_trouble_at_any_step_makes_nothing_early_or_false(name, record_property):
    record_property("reached", reach(name, 1))


@pytest.mark.slow
@pytest.mark.timeout(4 * 3600)
@pytest.mark.parametrize("name", NAMES)
def test_troubles_at_any_steps_make_nothing_early_or_false(name, record_property):
    record_property("reached", reach(name, int(os.environ.get("CHF_TROUBLES", "2"))))


@pytest.mark.parametrize("scope", SCOPES, ids=lambda scope: f"{scope.order}-{scope.strategy}")
def test_a_copy_goes_on_as_its_world_does(scope):
    world = World(scope)
    for _ in range(25):
        world.step()
        branch = copy(world, {})
        assert Look(branch).state == Look(world).state
    while not world.over():
        world.step()
    assert Look(branch).state != Look(world).state
    while not branch.over():
        branch.step()
    assert Look(branch).state == Look(world).state
    assert branch.row == world.row


def test_what_a_dead_hub_will_read_and_what_an_order_looks_at_tell_states_apart():
    world = World(SMALL)
    while not world.row.record:
        world.step()
    world.die(20.0)
    other_row, other_air = copy(world, {}), copy(world, {})
    other_row.row = replace(world.row, activation=ActivateHold())
    other_air.air.seen["last block"] += 1
    assert len({Look(each).state for each in (world, other_row, other_air)}) == 3


class Deaf(World):
    """Does not hear what people order: each release looks too early to it."""

    def order(self, deed):
        allowed = self.rules.allowed
        super().order(deed)
        self.rules.allowed = allowed


def test_a_run_that_breaks_a_rule_is_found_and_replays():
    reached = explore(replace(SMALL, order="hold"), 1, (Deed("drop"), Deed("now")), Deaf)
    assert [deed.do for deed in reached.found.deeds] == ["now"]
    with pytest.raises(ViolationError, match=re.escape(reached.why)):
        Deaf(reached.found).run()
