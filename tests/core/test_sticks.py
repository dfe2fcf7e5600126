"""The sticks that a scenario can name: what their builds have room for, and how long they take."""

import struct
from dataclasses import replace
from pathlib import Path

import pytest

from devices.bench.dongles import kind_of
from devices.bench.recordings import NoEvents
from devices.bench.scenario import load_scenario
from devices.bench.serve import Bench, ServeOptions
from devices.bench.toml_section import ScenarioError
from devices.bench.world import build_world
from devices.ncp.ezsp.ash import StartHabit
from devices.ncp.sticks import CC2652R, DONGLE_E_7_4, EZSP_STICKS, SKYCONNECT_7_1, V13, ZBT_2, ZNP_STICKS
from tests.support.ezsp_host import EzspHost
from tests.support.znp_host import ZnpHost

REAL = (SKYCONNECT_7_1, DONGLE_E_7_4, ZBT_2)
MULTICAST, CHILDREN, KEYS = 0x06, 0x11, 0x1E  # UG100 3.3, EzspConfigId
NOP = 0x0005  # UG100 5
PAGE = (Path(__file__).parents[2] / "docs" / "scenario.md").read_text()


def at_once(stick) -> EzspHost:
    host = EzspHost(replace(stick, command_s=0.0, reset_s=0.0))
    host.negotiate()
    return host


def setting(host: EzspHost, config: int, value: int) -> int:
    answer = host.call(0x0053, struct.pack("<BH", config, value))
    return int.from_bytes(answer, "little")


def configured(host: EzspHost, config: int) -> int:
    return struct.unpack("<H", host.call(0x0052, bytes([config]))[-2:])[0]


@pytest.mark.parametrize("stick", REAL, ids=lambda stick: stick.name)
def test_a_build_has_its_sizes_and_no_larger_ones(stick):
    host = at_once(stick)
    refused = 0x35 if host.status_bytes == 1 else 0x0C1E  # EZSP_ERROR_OUT_OF_MEMORY; UG600: ZIGBEE_EZSP_ERROR
    for config in (MULTICAST, CHILDREN, KEYS):
        built = stick.configuration[config]
        assert configured(host, config) == built
        assert setting(host, config, built + 1) == refused
        assert setting(host, config, built) == 0
        assert setting(host, config, built - 1) == 0
    assert host.dongle.keys.size == 11
    assert setting(host, 0x0C, 2) == 0  # STACK_PROFILE is no size
    assert configured(host, KEYS) == 11
    assert setting(host, KEYS, 12) == 0  # up to what the build has
    free = host.call(0x00AA, b"\x03")
    assert free[-2:] == bytes([1, 75])


def test_a_roomy_stick_takes_the_sizes_that_its_host_wants():
    host = at_once(V13)
    assert [setting(host, config, 200) for config in (MULTICAST, CHILDREN, KEYS)] == [0, 0, 0]
    assert host.dongle.stack.parent.maximum_children > 1000


def test_children_of_a_build_are_bounded_by_what_the_host_left_them():
    host = at_once(ZBT_2)
    assert host.dongle.stack.parent.maximum_children == 64
    setting(host, CHILDREN, 2)
    assert host.dongle.stack.parent.maximum_children == 2


def test_a_command_takes_its_time_and_the_next_waits_for_it():
    host = at_once(V13)
    host.dongle.personality = replace(V13, command_s=0.012)
    for sequence in (1, 2):
        host.post(struct.pack("<BBBH", sequence, 0, 1, NOP))
    assert host.answers == []
    host.run(0.0119)
    assert host.answers == []
    host.run(0.0002)
    assert [answer.sequence for answer in host.answers] == [1]
    host.run(0.0121)
    assert [answer.sequence for answer in host.answers] == [1, 2]


def test_what_a_stick_has_not_yet_answered_is_lost_with_its_reset():
    host = at_once(V13)
    host.dongle.personality = replace(V13, command_s=0.012)
    host.post(struct.pack("<BBBH", 1, 0, 1, NOP))
    host.reset()
    host.run(1.0)
    assert host.answers == []
    host.post(bytes([0, 0, 0, 4]))
    host.run(0.0121)  # and holds nothing up
    assert len(host.answers) == 1


def test_a_z_stack_build_has_the_tables_of_its_dump():
    host = ZnpHost(replace(CC2652R, command_s=0.0))
    for item, entries in ((1, 257), (3, 51), (4, 200), (5, 40), (6, 3)):  # ZCD_NV_EX_* of ZComDef.h
        lengths = [host.call(0x2132, struct.pack("<BHH", 1, item, sub)) != bytes(4) for sub in range(entries + 1)]
        assert lengths == [True] * entries + [False]
    assert len(host.get(0x004C) or b"") == 20
    assert host.dongle.stack.parent.maximum_children == 51
    keys = [host.call(0x2542, struct.pack("<HQ16s", n, n, b"k" * 16)) for n in range(1, 5)]
    assert keys == [b"\x00"] * 3 + [b"\x11"]
    codes = [host.call(0x2F04, struct.pack("<BQ16s", 2, n, b"c" * 16)) for n in range(1, 42)]
    assert codes == [b"\x00"] * 40 + [b"\x11"]


def test_a_z_stack_stick_takes_its_time_for_a_request_and_none_for_a_message():
    host = ZnpHost(CC2652R)
    host.post(0x2101)
    host.post(0x2400, struct.pack("<BHHBBBB", 3, 0x0109, 0x0500, 0, 0, 0, 0))
    host.run(0.0119)
    assert host.answers() == []
    host.run(0.0002)
    assert [answer.command for answer in host.answers()] == [0x6101, 0x6400]
    host.post(0x2400, struct.pack("<BHHBBBB", 4, 0x0109, 0x0500, 0, 0, 0, 0))
    assert [answer.command for answer in host.answers()] == [0x6400]
    host.post(0x2101)
    host.post(0x4100, b"\x01")
    host.run(1.0)
    assert host.answers() == []  # lost with the reset


def test_a_scenario_names_its_stick(tmp_path: Path):
    path = tmp_path / "it.toml"
    path.write_text('[ncp]\nstick = "zbt-2"\ncommand_s = 0.05\ntable_size = 5\nstart = "failed"\n')
    scenario = load_scenario(path)
    dongle = build_world(scenario, NoEvents(), 0.0, kind_of(scenario.ncp, None)).dongle
    stick = dongle.personality
    assert (stick.name, stick.baud, stick.command_s, dongle.keys.size) == ("zbt-2", 460_800, 0.05, 5)
    assert (stick.callback_buffers, stick.scan_takes_time, stick.reset_s) == (75, True, 1.1)
    assert stick.start is StartHabit.FAILED


@pytest.mark.parametrize(
    ("stick", "asked", "kind"),
    [("roomy", None, "ezsp"), ("roomy", "znp", "znp"), ("zstack-3.30", None, "znp"), ("cc2652r", None, "znp")],
)
def test_a_stick_speaks_what_it_speaks(tmp_path: Path, stick, asked, kind):
    path = tmp_path / "it.toml"
    path.write_text(f'[ncp]\nstick = "{stick}"\n')
    assert kind_of(load_scenario(path).ncp, asked) == kind


async def test_a_stick_is_refused_where_it_is_to_speak_something_else(tmp_path: Path):
    path = tmp_path / "it.toml"
    path.write_text('[ncp]\nstick = "zbt-2"\n')
    with pytest.raises(ScenarioError, match="zbt-2 is a stick that speaks ezsp, not znp: leave --ncp out"):
        Bench(load_scenario(path), ServeOptions(path, ncp="znp"))


def test_the_page_names_every_stick():
    named = {line.split("|")[1] for line in PAGE.splitlines() if line.startswith('| `"')}
    assert all(
        any(f'`"{name}"`' in cell for cell in named) for name in (*EZSP_STICKS, *ZNP_STICKS) if not name[1:].isdigit()
    )
