"""A virtual world that is killed and started again with its state file: flash is kept, and what began goes on."""

import signal
import subprocess
from contextlib import contextmanager

import pytest

from chf.update.model import UpdateState
from tests.support.programs import bench, image_file, quick
from tests.support.virtual_dongle import EUI64, ROOT, serve_command, virtual_dongle

pytestmark = pytest.mark.timeout(120)

SCENARIO = quick(think_time_s=0.05)


@contextmanager
def started_again(desk, *options):
    """Another process on the same port and the same file. The one before was killed."""
    directory = desk.directory / "again"
    directory.mkdir()
    with virtual_dongle(directory, SCENARIO, *options, listen=desk.dongle.port) as dongle:
        desk.dongle = dongle
        yield


def kill(dongle):
    assert dongle.stop(signal.SIGKILL) == -signal.SIGKILL


@pytest.mark.parametrize("radio", ["ezsp", "znp"])
def test_hub_and_dongle_killed_in_mid_download_go_on_where_they_were(tmp_path, radio):
    options = ("--ncp", radio, "--state", str(tmp_path / "world.state"))
    with bench(tmp_path, SCENARIO, *options) as desk:
        desk.start_hub("--radio", radio)
        desk.admit(EUI64)
        formed = desk.chf("radio", "info", "--json").json
        number = desk.start_update(image_file(desk.directory / "new.ota", size_bytes=12_000))
        desk.until_offset(6000)
        kill(desk.dongle)
        desk.kill_hub()
        with started_again(desk, *options):
            desk.start_hub("--radio", radio)
            update = desk.until_state(number, UpdateState.ACTIVATED)
            assert update.reason == ""
            desk.until(lambda: len(desk.alerts(device=EUI64)) == 2, "both alerts")
            told = [(alert.use_case, alert.outcome, alert.update) for alert in desk.alerts(device=EUI64)]
            assert told == [("CCS08", "success", number), ("CS09", "success", number)]
            again = desk.chf("radio", "info", "--json").json
            assert {name: again[name] for name in ("pan_id", "channel", "coordinator")} == {
                name: formed[name] for name in ("pan_id", "channel", "coordinator")
            }
            events = desk.dongle.events()
            joined = [event for event in events if event["event"] == "joined"]
            assert joined[0]["rejoined"]
            progress = [event["offset_bytes"] for event in events if event["event"] == "download_progress"]
            assert progress[0] > 4096  # flash knows its offset to the sector: two were full
            assert progress == sorted(progress)


def test_a_file_that_cannot_be_used_is_one_line_and_exit_code_2(tmp_path):
    scenario, path = tmp_path / "scenario.toml", tmp_path / "world.state"
    scenario.write_text(f"ideal = true\n{SCENARIO}")
    path.write_text("something else")
    command = serve_command(scenario, "--state", str(path))
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {path} ")
    assert done.stderr.count("\n") == 1
    assert path.read_text() == "something else"
