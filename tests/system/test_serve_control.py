"""Pulling plugs while the bench runs."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.bench.control import Control
from devices.bench.recordings import NoEvents
from devices.bench.scenario import Scenario
from devices.bench.world import build_world
from tests.support.virtual_dongle import EUI64, ppmid, virtual_dongle


def test_power_and_state(tmp_path: Path) -> None:
    with virtual_dongle(tmp_path, ppmid(file_version=7)) as dongle:
        dongle.wait_for("booted")
        state = dongle.command(do="state", eui64=EUI64)
        assert (state["powered"], state["joined"], state["file_version"]) == (True, False, 7)
        assert dongle.command(do="power_off", eui64=EUI64)["event"] == "control"
        assert dongle.command(do="state", eui64=EUI64)["file_version"] is None
        boots = len(dongle.events())
        dongle.command(do="power_on", eui64=EUI64.replace("-", ":"))
        assert dongle.wait_for("booted", after=boots)["file_version"] == 7
        assert dongle.command(do="restart_dongle") == dongle.seen[-1]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"}", "Expecting value"),
        (b"[" * 100_000, "recursion"),
        (b"[]", "a command is an object"),
        (b"{}", "do is one of power_off"),
        (b'{"do": "dance"}', "do is one of power_off"),
        (b'{"do": "state"}', "eui64 is that of a device of the scenario"),
        (b'{"do": "state", "eui64": "00-DB-12-34-56-78-90-A4"}', "eui64 is that of a device of the scenario"),
        (b'{"do": "loss", "chance": 2}', "chance lies between 0 and 1"),
        (b'{"do": "loss"}', "chance lies between 0 and 1"),
    ],
)
def test_a_command_that_makes_no_sense(line: bytes, reason: str) -> None:
    answers: list[tuple[str, str]] = []
    control = Control(build_world(Scenario(), NoEvents()), lambda name, fields: answers.append((name, str(fields))))
    control.octets_received(line + b"\n")
    ((event, said),) = answers
    assert event == "control_refused"
    assert reason in said


def test_the_air_gets_worse() -> None:
    world = build_world(Scenario(), NoEvents())
    told: list[str] = []
    control = Control(world, lambda name, _: told.append(name))
    for piece in (b'{"do": "lo', b'ss", "chance": 0.25}\n\n{"do"'):
        control.octets_received(piece)
    assert (world.medium.settings.loss, told) == (0.25, ["control"])


@given(st.binary(max_size=200))
def test_no_octets_raise(octets: bytes) -> None:
    Control(build_world(Scenario(), NoEvents()), lambda _name, _fields: None).octets_received(octets + b"\n")
