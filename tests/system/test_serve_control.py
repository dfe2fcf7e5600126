"""Pulling plugs while the bench runs."""

from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.bench.control import Answer, Control
from devices.bench.faults import ConfirmFaults, FaultSettings, FaultyDongle
from devices.bench.recordings import NoEvents
from devices.bench.scenario import Scenario
from devices.bench.world import World, build_world
from tests.support.virtual_dongle import EUI64, ppmid, virtual_dongle


def control_of(answer: Answer, ncp: str = "ezsp") -> tuple[World, Control]:
    world = build_world(Scenario(), NoEvents(), ncp=ncp)
    return world, Control(world, FaultyDongle(world.dongle, FaultSettings(), Random(1), world.queue), answer)


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
        assert dongle.command(do="restart_dongle")["do"] == "restart_dongle"


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
        (b'{"do": "loss"}', "chance is missing"),
        (b'{"do": "line", "drop": -1}', "drop lies between 0 and 1"),
        (b'{"do": "crash_dongle", "for_s": "long"}', "for_s is a number"),
        (b'{"do": "unplug", "after_frames": 0}', "after_frames lies between 1 and"),
        (b'{"do": "confirms", "eui64": "00-DB-12-34-56-78-90-A4"}', "eui64 is that of a device"),
    ],
)
def test_a_command_that_makes_no_sense(line: bytes, reason: str) -> None:
    answers: list[tuple[str, str]] = []
    _, control = control_of(lambda name, fields: answers.append((name, str(fields))))
    control.octets_received(line + b"\n")
    ((event, said),) = answers
    assert event == "control_refused"
    assert reason in said


def test_the_air_gets_worse() -> None:
    told: list[str] = []
    world, control = control_of(lambda name, _: told.append(name))
    for piece in (b'{"do": "lo', b'ss", "chance": 0.25}\n\n{"do"'):
        control.octets_received(piece)
    assert (world.medium.settings.loss, told) == (0.25, ["control"])


@given(st.binary(max_size=200))
def test_no_octets_raise(octets: bytes) -> None:
    control_of(lambda _name, _fields: None)[1].octets_received(octets + b"\n")


def test_confirms_suffer_by_device_or_all_and_the_last_word_counts() -> None:
    world, control = control_of(lambda _name, _fields: None)
    for line in (b'{"do": "confirms", "delay_s": 2}', b'{"do": "confirms", "loss": 1}'):
        control.octets_received(line + b"\n")
    assert world.late_confirms.faults == (ConfirmFaults(None, 0.0, 1.0),)


def test_only_an_ezsp_dongle_rejects_frames() -> None:
    told: list[str] = []
    _, control = control_of(lambda name, fields: told.append(f"{name} {fields}"), ncp="znp")
    control.octets_received(b'{"do": "nak_storm"}\n')
    assert told[0].startswith("control_refused")
