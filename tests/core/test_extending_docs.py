"""docs/extending.md: its blocks are a program and a scenario, and do what the page says."""

import re
import struct
from pathlib import Path
from random import Random

import pytest

from devices.bench.faults import FAULTS, FaultyDongle
from devices.bench.recordings import NoEvents
from devices.bench.scenario import Scenario, load_scenario
from devices.bench.world import build_world
from devices.ncp.sticks import EZSP_STICKS
from devices.nodes.kinds import KINDS, make_device
from devices.nodes.personalities import PERSONALITIES
from tests.support.model_hub import Rig

PAGE = (Path(__file__).parents[2] / "docs" / "extending.md").read_text()
IDENTIFY = 0x0003


@pytest.fixture
def scenario(tmp_path: Path):
    """The page's program has run, but for serving, and this is its scenario. The tables are put back afterwards."""
    tables = (FAULTS, KINDS, PERSONALITIES, EZSP_STICKS)
    before = [dict(table) for table in tables]
    program = "\n".join(re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
    exec(compile(program, "docs/extending.md", "exec"), {"__name__": "my_bench"})  # noqa: S102 our own page
    (tmp_path / "my_scenario.toml").write_text("\n".join(re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)))
    yield load_scenario(tmp_path / "my_scenario.toml")
    for table, old in zip(tables, before, strict=True):
        table.clear()
        table.update(old)


def test_the_personality_has_its_name_in_scenarios(scenario: Scenario) -> None:
    personality = scenario.devices[1].settings.personality
    assert (personality.name, personality.block_attempts, personality.hold_limit_s) == ("impatient", 3, 600.0)


def test_the_stick_has_room_for_five_keys(scenario: Scenario) -> None:
    dongle = build_world(scenario, NoEvents()).dongle
    assert (dongle.personality.name, dongle.personality.command_s) == ("five-keys", 0.05)
    assert dongle.keys.size == 5


def test_the_device_counts_down(scenario: Scenario) -> None:
    class Wired(Rig):
        def make_device(self, changes: dict):
            settings = scenario.devices[0].settings
            return make_device(self.stack, self.queue, Random(1), settings, flash=self.flash, listener=self.recorder)

    rig = Wired.on(1)
    assert IDENTIFY in rig.stack.endpoints[3].server_clusters
    rig.hub.command(0x00, struct.pack("<H", 5), cluster=IDENTIFY, from_server=False)
    left = []
    for wait_s in (0.5, 2, 10):
        rig.run(wait_s)
        rig.hub.read_attributes(IDENTIFY, 0x0000)
        rig.run(0.01)
        left.append(rig.hub.read[IDENTIFY][0x0000])
    assert left == [5, 3, 0]


def test_the_fault_happens_twice_to_a_dongle(scenario: Scenario) -> None:
    world = build_world(scenario, NoEvents())
    assert [device.file_version() is None for device in world.devices.values()] == [True, True]
    dongle = FaultyDongle(world.dongle, scenario.faults, Random(1), world.queue)
    restarted = []
    for until in (4.0, 6.5, 8.5):  # it says that it has restarted 1.1 s later, as the stick that it was made from
        world.queue.run_until(until)
        dongle.handle_deadline()
        restarted.append(bool(dongle.data_to_send()))
    assert restarted == [False, True, True]


def test_the_tables_of_the_page_are_where_it_says() -> None:
    for target in re.findall(r"\]\((\.\./devices/[^)]*)\)", PAGE):
        assert (Path(__file__).parents[2] / "docs" / target).is_file()
    assert len(re.findall(r"`(KINDS|FAULTS|PERSONALITIES|EZSP_STICKS)`", PAGE)) >= 3
