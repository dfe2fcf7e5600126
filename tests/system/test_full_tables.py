"""A dongle whose tables are full, as a user of the hub meets it: who is on the network stays, who comes too late is told."""

import pytest

from chf.eui64 import parse_eui64
from chf.store.device_log import DeviceStatus
from chf.update.model import UpdateState
from tests.support.programs import INSTALL_CODE, bench, image_file, quick

pytestmark = pytest.mark.timeout(150)

FIRST, SECOND, THIRD = (f"00-DB-12-34-56-78-90-A{n}" for n in (4, 5, 6))
DONGLES = [("ezsp", "v13"), ("ezsp", "v8"), ("znp", "roomy")]


@pytest.mark.parametrize(("kind", "stick"), DONGLES, ids=["ezsp", "ezsp v8", "znp"])
def test_a_third_device_finds_the_tables_of_two_full(tmp_path, kind, stick):
    devices = quick(FIRST, think_time_s=0.005) + quick(SECOND) + quick(THIRD)
    with bench(tmp_path, f'[ncp]\nstick = "{stick}"\ntable_size = 2\n{devices}', "--ncp", kind) as desk:
        desk.start_hub("--radio", kind)
        desk.admit(FIRST, SECOND)
        desk.chf("device", "add", THIRD, "--install-code", "-", stdin=INSTALL_CODE + "\n")
        number = desk.start_update(image_file(tmp_path / "new.ota", size_bytes=6000), device=FIRST)
        ran = desk.chf("device", "permit", THIRD, code=None)
        assert ran.code in (1, 3)
        assert "full" in ran.err
        assert "forget a device" in ran.err
        # Who is there loses nothing by it
        desk.until_state(number, UpdateState.ACTIVATED)
        assert [alert.use_case for alert in desk.until_alerts(2)] == ["CCS08", "CS09"]
        assert desk.store.devices.get(parse_eui64(THIRD)).status is not DeviceStatus.JOINED
        # And room can be made as the message says
        desk.chf("device", "forget", SECOND)
        desk.until(lambda: any(event["event"] == "left" for event in desk.dongle.events()), "the device to leave")
        assert "may join" in desk.chf("device", "permit", THIRD).err
        desk.pair(THIRD)


def test_a_device_too_many_is_told_before_it_joins(tmp_path):
    with bench(tmp_path, "[ncp]\ntable_size = 1\n") as desk:
        early = desk.chf("device", "add", FIRST, "--install-code", "-", stdin=INSTALL_CODE + "\n")
        assert "stick" not in early.err  # no hub has met one yet
        desk.start_hub()
        assert desk.chf("radio", "info", "--json").json["most_devices"] == 1
        desk.chf("device", "forget", FIRST)
        fits = desk.chf("device", "add", FIRST, "--install-code", "-", stdin=INSTALL_CODE + "\n")
        assert "1 device finds room on it, and the log has 1\n" in fits.err
        full = desk.chf("device", "add", SECOND, "--install-code", "-", stdin=INSTALL_CODE + "\n")
        assert "the log has 2: forget one first, or this one will not get in" in full.err
