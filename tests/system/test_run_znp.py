"""The hub on a Z-Stack dongle: what it does on an EZSP one, through cut cables, restarts and kills."""

import re

import pytest

from chf.trace import Kind
from chf.update.model import UpdateState
from tests.support.programs import bench, image_file, quick, run_chf, steal_connection
from tests.support.virtual_dongle import EUI64

pytestmark = pytest.mark.timeout(120)


def radio_states(desk):
    return [event.fields["state"] for event in desk.events(Kind.RADIO_STATE)]


def check_activated(desk, number):
    job = desk.until_state(number, UpdateState.ACTIVATED, timeout_s=60.0)
    assert job.reason == ""
    desk.until(lambda: len(desk.alerts(device=EUI64)) == 2, "both alerts")
    assert [(alert.use_case, alert.outcome) for alert in desk.alerts(device=EUI64)] == [
        ("CCS08", "success"),
        ("CS09", "success"),
    ]


def test_a_cable_that_is_cut_a_dongle_that_restarts_and_a_hub_that_is_killed_in_mid_download(tmp_path):
    with bench(tmp_path, quick(think_time_s=0.02), "--ncp", "znp") as desk:
        desk.start_hub("--radio", "znp")
        desk.admit(EUI64)
        formed = desk.chf("radio", "info", "--json").json
        assert formed["kind"] == "znp"
        number = desk.start_update(image_file(desk.directory / "new.ota", size_bytes=12_000))
        desk.until_offset(1000)
        steal_connection(desk.dongle.port)
        desk.until(lambda: "gone" in radio_states(desk), "the hub to notice")
        desk.until(lambda: radio_states(desk)[-1] == "up", "the hub to be back")
        desk.until_offset(3000)
        desk.dongle.command(do="restart_dongle")
        desk.until(lambda: radio_states(desk).count("gone") == 2, "the hub to notice")
        desk.until_offset(5000)
        desk.kill_hub()
        desk.start_hub("--radio", "znp")
        check_activated(desk, number)
        again = desk.chf("radio", "info", "--json").json
        assert {name: again[name] for name in ("pan_id", "channel", "coordinator")} == {
            name: formed[name] for name in ("pan_id", "channel", "coordinator")
        }
        started = [event for event in desk.dongle.events() if event["event"] == "download_started"]
        assert len(started) == 1


@pytest.mark.parametrize(
    ("air", "listen"),
    [
        ("loss = 0.05\nduplicate = 0.05\nreorder = 0.05\nreorder_hold_s = 0.02\n", "tcp://127.0.0.1:0"),
        ("", "pty"),
    ],
    ids=["lossy", "pty"],
)
def test_a_bad_air_and_a_terminal(tmp_path, air, listen):
    scenario = f"seed = 11\n[medium]\n{air}\n" + quick()
    with bench(tmp_path, scenario, "--ncp", "znp", listen=listen) as desk:
        desk.start_hub("--radio", "znp")
        desk.admit(EUI64)
        number = desk.start_update(image_file(desk.directory / "new.ota", size_bytes=3000))
        check_activated(desk, number)


def test_the_demo_says_the_same_on_both_kinds(tmp_path):
    """But for times, and what is signed with them."""
    said, outcomes = {}, {}
    for kind in ("ezsp", "znp"):
        image = image_file(tmp_path / "new.ota", size_bytes=600)
        ran = run_chf("demo", "--json", "--radio", kind, "--image", str(image), home=tmp_path / "unused")
        assert ran.code == 0, ran.err
        outcome = ran.json
        outcome["transfer"].pop("seconds")
        for alert in outcome["alerts"]:
            alert.pop("message")
        outcomes[kind] = outcome
        talk = run_chf("demo", "--radio", kind, "--image", str(image), home=tmp_path / "unused").err
        words = re.sub(r"tcp://\S+|[\d.]+ s\b|90-B3\S+|\x1b\[[\d;?]*[A-Za-z]", "#", talk)
        said[kind] = sorted(line for line in words.splitlines() if "KiB" not in line and "B/s" not in line)
    assert outcomes["ezsp"] == outcomes["znp"]
    assert said["ezsp"] == said["znp"]
