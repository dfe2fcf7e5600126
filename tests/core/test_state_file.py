"""The state file: written where it changed, whole after every save, refused where it is not what it should be."""

import os
import shutil
import sqlite3
import stat
from pathlib import Path

import pytest

from devices.bench.recordings import NoEvents
from devices.bench.scenario import Scenario, load_scenario
from devices.bench.state_file import StateFile, StateFileError
from devices.bench.world import World, build_world
from tests.support.virtual_dongle import ppmid

OTHER = "00-DB-12-34-56-78-90-A5"


def scenario(directory: Path, text: str = "") -> Scenario:
    path = directory / "scenario.toml"
    path.write_text(text or ppmid(count=2))
    return load_scenario(path)


def world(settings: Scenario, ncp: str = "ezsp") -> World:
    return build_world(settings, NoEvents(), ncp=ncp)


def opened(directory: Path, ncp: str = "ezsp") -> tuple[StateFile, World]:
    settings = scenario(directory)
    state = StateFile.open(directory / "world.state", settings, ncp)
    made = world(settings, ncp)
    state.restore(made)
    return state, made


def used(directory: Path, ncp: str = "ezsp") -> Path:
    """A file with something in it."""
    state, made = opened(directory, ncp)
    made.queue.run_until(1.0)  # the devices boot
    state.save(made)
    state.close()
    return directory / "world.state"


def flash_of(made: World) -> list[bytes]:
    return [device.firmware.flash.read(0, 8 * 2048) for device in made.devices.values()]


@pytest.mark.parametrize("ncp", ["ezsp", "znp"])
def test_a_world_comes_back_as_it_was(tmp_path: Path, ncp: str) -> None:
    state, made = opened(tmp_path, ncp)
    made.queue.run_until(1.0)
    device = next(iter(made.devices.values()))
    device.stack.establish_link_key(bytes(range(16)))
    device.firmware.flash.program(3 * 2048, b"image")
    state.save(made)
    state.close()
    state, again = opened(tmp_path, ncp)
    assert state.starts == 1
    assert again.dongle.retained() == made.dongle.retained()
    assert [each.stack.retained() for each in again.devices.values()] == [
        each.stack.retained() for each in made.devices.values()
    ]
    assert flash_of(again) == flash_of(made)
    again.queue.run_until(1.0)
    assert [each.file_version() for each in again.devices.values()] == [1, 1]
    state.close()


def test_whoever_dies_leaves_what_was_saved_last(tmp_path: Path) -> None:
    """The file and its log as a killed process leaves them, after each of many saves."""
    state, made = opened(tmp_path)
    made.queue.run_until(1.0)
    device = next(iter(made.devices.values()))
    for number in range(20):
        device.firmware.flash.erase(5 + number % 3)
        device.firmware.flash.program((5 + number % 3) * 2048, bytes([number]) * 100)
        device.stack.persistent_state.network_frame_counter = number
        state.save(made)
        after = tmp_path / f"after {number}"
        after.mkdir()
        for left in tmp_path.glob("world.state*"):
            shutil.copy(left, after)
        dead, again = opened(after)
        assert flash_of(again) == flash_of(made)
        heir = next(iter(again.devices.values()))
        assert heir.stack.retained()["network_frame_counter"] == number
        dead.close()
    state.close()


def test_only_what_changed_is_written(tmp_path: Path) -> None:
    state, made = opened(tmp_path)
    made.queue.run_until(1.0)
    state.save(made)
    watched: list[str] = []
    state._database.set_trace_callback(watched.append)
    state.save(made)
    assert watched == []
    next(iter(made.devices.values())).firmware.flash.program(5 * 2048, b"a block")
    state.save(made)
    assert [line.split(" VALUES")[0] for line in watched] == ["BEGIN", "INSERT OR REPLACE INTO sector", "COMMIT"]
    state.close()


def test_it_is_its_owners_alone_from_the_start(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        state, made = opened(tmp_path)
        state.save(made)
    finally:
        os.umask(before)
    left = list(tmp_path.glob("*world.state*"))
    assert len(left) == 2  # and its log
    assert {stat.S_IMODE(path.stat().st_mode) for path in left} == {0o600}
    state.close()


def go_on(path: Path, settings: Scenario, ncp: str = "ezsp") -> None:
    state = StateFile.open(path, settings, ncp)
    try:
        state.restore(world(settings, ncp))
    finally:
        state.close()


def refused(path: Path, settings: Scenario, ncp: str = "ezsp") -> str:
    """The reason; and the file is as it was."""
    before = path.read_bytes()
    with pytest.raises(StateFileError) as caught:
        go_on(path, settings, ncp)
    assert path.read_bytes() == before
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_the_state_of_another_world_is_refused(tmp_path: Path) -> None:
    path = used(tmp_path)
    assert "another --ncp" in refused(path, scenario(tmp_path), "znp")
    for text in (
        ppmid(OTHER),
        ppmid(),
        "[ncp]\ntable_size = 9\n" + ppmid(count=2),
        '[ncp]\neui64 = "00-00-00-00-00-00-00-07"\n',
    ):
        assert "another scenario" in refused(path, scenario(tmp_path, text))


def test_a_scenario_may_change_in_what_flash_does_not_hold(tmp_path: Path) -> None:
    path = used(tmp_path)
    StateFile.open(path, scenario(tmp_path, "seed = 9\n[medium]\nloss = 0.1\n" + ppmid(count=2)), "ezsp").close()


@pytest.mark.parametrize("octets", [b"", b"seed = 1\n", b"SQLite format 3\0" + bytes(84), bytes(5000)])
def test_what_is_no_state_is_refused(tmp_path: Path, octets: bytes) -> None:
    path = tmp_path / "world.state"
    path.write_bytes(octets)
    assert "damaged" in refused(path, scenario(tmp_path))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_file_that_was_cut_off_is_refused(tmp_path: Path, share: float) -> None:
    path = used(tmp_path)
    octets = path.read_bytes()
    path.write_bytes(octets[: int(len(octets) * share)])
    assert "damaged" in refused(path, scenario(tmp_path))


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE part SET value = replace(value, '0', '1') WHERE owner = 'dongle' AND name = 'tokens'",
        "DELETE FROM part WHERE owner = 'dongle'",
        "DELETE FROM part WHERE name = 'network'",
        "UPDATE sector SET octets = zeroblob(2048)",
        "DELETE FROM world",
        "DROP TABLE sector",
    ],
)
def test_a_damaged_content_is_refused(tmp_path: Path, damage: str) -> None:
    path = used(tmp_path)
    database = sqlite3.connect(path)
    with database:
        database.execute(damage)
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    settings = scenario(tmp_path)
    with pytest.raises(StateFileError, match="damaged"):
        go_on(path, settings)


def test_a_later_layout_is_refused(tmp_path: Path) -> None:
    path = used(tmp_path)
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 2")
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    assert "layout 2" in refused(path, scenario(tmp_path))


def test_one_process_has_it_at_a_time(tmp_path: Path) -> None:
    state, made = opened(tmp_path)
    state.save(made)
    assert "in use" in refused(tmp_path / "world.state", scenario(tmp_path))
    state.close()


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    settings = scenario(tmp_path)
    for path in (tmp_path / "nowhere" / "world.state", tmp_path):
        with pytest.raises(StateFileError, match="choose another --state"):
            StateFile.open(path, settings, "ezsp")
    assert not list(tmp_path.glob(".*"))


def test_a_write_that_fails_ends_it_with_the_reason(tmp_path: Path) -> None:
    state, made = opened(tmp_path)
    state._database.execute("PRAGMA query_only = 1")  # as a disk that has become read-only
    with pytest.raises(StateFileError, match=r"world\.state cannot be written"):
        state.save(made)
    state.close()
