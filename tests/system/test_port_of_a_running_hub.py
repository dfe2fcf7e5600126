"""Commands that would take the dongle away from a running hub: they leave it alone, and say what to do."""

import pytest

from chf.trace import Kind
from tests.support.programs import bench

pytestmark = pytest.mark.timeout(120)

KINDS = ("ezsp", "znp")


@pytest.mark.parametrize("kind", KINDS)
def test_the_dongle_of_a_running_hub_is_left_to_it(tmp_path, kind):
    with bench(tmp_path, "", "--ncp", kind) as desk:
        desk.start_hub("--radio", kind)
        port, backup = desk.dongle.port, tmp_path / "network.json"
        backup.write_text("{}")
        for command in (
            ("radio", "probe", port),
            ("radio", "probe", port, "--security"),
            ("radio", "info", "--port", port),
            ("radio", "form", "--port", port, "--replace"),
            ("radio", "keys", "--port", port, "--out", str(tmp_path / "keys")),
            ("radio", "backup", str(tmp_path / "new.json"), "--port", port),
            ("radio", "restore", str(backup), "--port", port, "--replace"),
        ):
            ran = desk.chf(*command, code=3)
            assert f"process {desk.hub.pid}" in ran.err
            assert "stop it first" in ran.err
        findings = {line["what"]: line for line in desk.chf("doctor", "--port", port, "--json").json["findings"]}
        assert findings[port]["verdict"] == "good"
        assert "hub" in findings[port]["detail"]
        assert [event.fields["state"] for event in desk.events(Kind.RADIO_STATE)] == ["connecting", "up"]
        desk.stop_hub()
        assert desk.chf("radio", "probe", port, "--json").json["kind"] == kind


def test_another_port_may_be_asked_while_a_hub_runs(tmp_path):
    with bench(tmp_path, "") as desk:
        desk.start_hub()
        ran = desk.chf("radio", "probe", "/dev/chf-no-such-port", code=5)
        assert "is the dongle plugged in?" in ran.err


def test_a_terminal_is_known_by_any_of_its_names(tmp_path):
    with bench(tmp_path, "", listen=f"pty:{tmp_path / 'dongle'}") as desk:
        desk.start_hub()
        terminal = str((tmp_path / "dongle").resolve())
        assert "stop it first" in desk.chf("radio", "probe", terminal, code=3).err
