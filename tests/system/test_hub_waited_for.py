"""A hub that comes late, and one whose terminal goes away."""

import os
import pty
import subprocess

import pytest

from chf.store.lock import hub_pid
from chf.update.model import UpdateState
from tests.support.programs import ROOT, bench, chf_command, image_file, quick, run_chf
from tests.support.virtual_dongle import EUI64

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def desk(tmp_path):
    with bench(tmp_path, quick()) as desk:
        desk.start_hub()
        desk.admit(EUI64)
        desk.stop_hub()
        yield desk


def start(desk, version):
    image = image_file(desk.directory / f"{version}.ota", file_version=version, size_bytes=1000)
    return "update", "start", "--device", EUI64, "--image", str(image)


def states(desk):
    return [update.state for update in desk.store.updates.list()]


def test_start_and_wait_waits_for_a_hub(desk):
    command = chf_command(*start(desk, 2), "--wait", "--timeout", "60", "--home", str(desk.home))
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as waiting:
        assert waiting.stderr.readline().startswith("no hub runs: waiting for one; start it with: chf run --port PORT")
        desk.start_hub()
        said = waiting.stderr.read()
        assert waiting.wait(30.0) == 0, said
    assert states(desk) == [UpdateState.ACTIVATED]
    desk.stop_hub()


def test_without_a_hub_it_ends_with_exit_code_4_and_stays_queued(desk):
    ran = desk.chf(*start(desk, 3), "--wait", "--timeout", "0.3", code=4)
    assert ran.out == ""
    assert "no hub has run on this home directory within 0.3 s" in ran.err
    assert "stays queued" in ran.err
    assert [command.body["origin"] for command in desk.store.inbox.pending()] == ["cli"]


def test_a_hub_outlives_its_terminal_and_says_so(desk):
    desk.chf(*start(desk, 2))
    terminal, end = pty.openpty()
    command = chf_command("run", "--port", desk.dongle.port, "--home", str(desk.home))
    desk.hub = subprocess.Popen(["setsid", "--ctty", *command], cwd=ROOT, stdin=end, stdout=end, stderr=end)
    os.close(end)
    said = b""
    while b"the hub is up" not in said:
        said += os.read(terminal, 4096)
    os.close(terminal)
    log = desk.home / "hub.log"
    desk.until(lambda: log.exists() and "the terminal is gone" in log.read_text(), "the hub to notice")
    assert log.stat().st_mode & 0o777 == 0o600
    desk.until(lambda: states(desk) == [UpdateState.ACTIVATED], "what was queued to be done")
    assert hub_pid(desk.home) is not None
    assert desk.stop_hub() == 0
    assert log.read_text().endswith("stopped\n")


def test_a_timeout_without_a_wait_is_refused(tmp_path):
    ran = run_chf("update", "start", "--device", EUI64, "--image", "x", "--timeout", "1", home=tmp_path)
    assert ran.code == 2
    assert "--timeout limits --wait" in ran.err
