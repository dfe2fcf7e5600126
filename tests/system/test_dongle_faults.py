"""An update while the dongle and its cable do everything that dongles and cables do: it goes on where it was.

Whatever happened, the hub reconnects by itself, the network is the same, the device runs the image octet for octet, and
exactly one CCS08 and one CS09 went up.
"""

import hashlib

import pytest

from chf.eui64 import parse_eui64
from chf.trace import Kind
from chf.update.model import UpdateState
from tests.support.programs import EUI64, bench, image_file, quick

pytestmark = pytest.mark.timeout(150)

OTHER = "00-DB-12-34-56-78-90-A5"
SIZE_BYTES = 12_000
KINDS = ("ezsp", "znp")


class Desk:
    """One update in the making, on one kind of dongle."""

    def __init__(self, desk, kind: str) -> None:
        self.desk, self.kind = desk, kind
        self.dongle = desk.dongle
        # Forming a network takes hundreds of commands, and on the worst cable of these tests up to 26 s.
        desk.start_hub("--radio", kind, timeout_s=90.0)
        desk.pki.issue(parse_eui64(EUI64))
        desk.admit(EUI64)
        self.network = desk.chf("radio", "info", "--json").json["pan_id"]
        self.image = image_file(desk.directory / "new.ota", size_bytes=SIZE_BYTES)
        self.number = desk.start_update(self.image)

    def states(self):
        return [event.fields["state"] for event in self.desk.events(Kind.RADIO_STATE)]

    def until_back(self, times: int = 1):
        self.desk.until(lambda: self.states().count("gone") >= times, "the hub to notice", 60.0)
        self.desk.until(lambda: self.states()[-1] == "up", "the hub to be back", 60.0)

    def check(self):
        """Nothing lost, nothing doubled."""
        desk = self.desk
        update = desk.until_state(self.number, UpdateState.ACTIVATED, UpdateState.FAILED, timeout_s=100.0)
        assert (update.state, update.reason) == (UpdateState.ACTIVATED, "")
        desk.until(lambda: len(desk.alerts()) >= 2, "both alerts")
        assert [(alert.use_case, alert.outcome) for alert in desk.alerts()] == [
            ("CCS08", "success"),
            ("CS09", "success"),
        ]
        done = [event for event in desk.dongle.events() if event["event"] == "download_complete"]
        assert [event["sha256"] for event in done] == [hashlib.sha256(self.image.read_bytes()).hexdigest()]
        started = [event for event in desk.dongle.events() if event["event"] == "download_started"]
        assert len(started) == 1, "the download went on where it was"
        assert desk.chf("radio", "info", "--json").json["pan_id"] == self.network


@pytest.fixture
def working(tmp_path, request):
    """`working(kind, scenario)` is a desk with an update under way."""
    open_desks = []

    def make(kind="ezsp", scenario="", seed=1, **device):
        opened = bench(tmp_path, f"seed = {seed}\n{scenario}\n" + quick(**device), "--ncp", kind)
        desk = opened.__enter__()
        open_desks.append(opened)
        return Desk(desk, kind)

    yield make
    for opened in open_desks:
        opened.__exit__(None, None, None)


def line_of(chances: str) -> str:
    return f"[faults]\n{chances}\n"


@pytest.mark.parametrize("seed", range(1, 4))
def test_a_bad_cable_of_an_ezsp_dongle_costs_time_and_nothing_else(working, seed):
    chances = "drop = 0.02\nduplicate = 0.02\nreorder = 0.02\ncorrupt = 0.02\nnoise = 0.02"
    working(scenario=line_of(chances), seed=seed).check()


@pytest.mark.parametrize("seed", range(1, 4))
def test_a_bad_cable_of_a_znp_dongle(working, seed):
    desk = working("znp", seed=seed, think_time_s=0.005)
    desk.desk.until_offset(2000)
    desk.dongle.command(do="line", duplicate=0.005, corrupt=0.005, noise=0.02)
    desk.desk.until_offset(8000)
    desk.dongle.command(do="line")
    desk.check()


@pytest.mark.parametrize("frames", [3, 151])
@pytest.mark.parametrize("what", ["restart_dongle", "crash_dongle"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_dongle_that_restarts_or_crashes_at_some_frame(working, kind, what, frames):
    desk = working(kind, seed=frames, think_time_s=0.02)  # or the update is over before the frame comes
    desk.dongle.command(do=what, after_frames=frames, for_s=1.5)
    desk.until_back()
    desk.dongle.command(do=what, after_frames=frames + 20, for_s=0.2)
    desk.check()


@pytest.mark.parametrize("kind", KINDS)
def test_a_port_that_is_gone_for_five_seconds(working, kind):
    desk = working(kind, think_time_s=0.01)
    desk.desk.until_offset(2000)
    desk.dongle.command(do="unplug", for_s=5)
    desk.desk.until(lambda: "gone" in desk.states(), "the hub to notice")
    assert desk.desk.chf("radio", "info", "--json").json["state"] != "up"
    assert "radio" in desk.desk.chf("watch", "--once").err
    desk.until_back()
    desk.check()


def test_a_terminal_that_is_gone_and_comes_back_under_its_name(tmp_path):
    scenario = "seed = 3\n" + quick(think_time_s=0.01)
    with bench(tmp_path, scenario, listen=f"pty:{tmp_path / 'dongle'}") as opened:
        desk = Desk(opened, "ezsp")
        desk.desk.until_offset(2000)
        desk.dongle.command(do="unplug", for_s=2)
        desk.until_back()
        desk.check()


@pytest.mark.parametrize("for_s", [0.5, 6.0])
def test_a_storm_of_naks(working, for_s):
    desk = working(think_time_s=0.005)
    desk.desk.until_offset(2000)
    desk.dongle.command(do="nak_storm", for_s=for_s)
    desk.check()


@pytest.mark.parametrize("kind", KINDS)
def test_a_dongle_without_buffers_for_a_while(working, kind):
    desk = working(kind, think_time_s=0.005)
    desk.desk.until_offset(2000)
    desk.dongle.command(do="exhaust", for_s=3)
    desk.check()
    assert "gone" not in desk.states()
