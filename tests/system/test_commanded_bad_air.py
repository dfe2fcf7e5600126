"""The second method where frames and fragments are lost, doubled and overtake one another, behind either dongle."""

from collections import Counter

import pytest

from chf.store.device_log import DeviceType
from chf.trace import Kind
from chf.update.model import UpdateState
from tests.support.programs import bench, commanded, signed_image_file

pytestmark = pytest.mark.timeout(240)

HCALCS, GSME = (f"00-DB-12-34-56-78-90-A{digit}" for digit in "51")
BAD_AIR = "seed = 5\n[medium]\nloss = 0.08\nduplicate = 0.08\nreorder = 0.15\n"
LIMIT_S = 90.0  # what is lost is waited for, on each layer with its own patience


@pytest.mark.parametrize("radio", ["ezsp", "znp"])
def test_everything_is_said_once_over_bad_air(tmp_path, radio):
    sleepy = {"poll_interval_s": 0.5, "fast_poll_interval_s": 0.005, "mirror_interval_s": 1.0}
    sleepy["query_interval_s"] = 10.0  # it is not notified: where the answer to a query is lost, the next query helps
    scenario = BAD_AIR + "\n".join([commanded("hcalcs", HCALCS), commanded("gsme", GSME, **sleepy)])
    with bench(tmp_path, scenario, "--ncp", radio, issue=[HCALCS, GSME]) as desk:
        desk.start_hub("--radio", radio)
        desk.admit(HCALCS, device_type=DeviceType.HCALCS)
        desk.admit(GSME, device_type=DeviceType.GSME)
        image = signed_image_file(tmp_path / "new.ota", desk.pki, size_bytes=1_500)
        updates = [desk.start_update(image, device=device) for device in (HCALCS, GSME)]
        desk.until(lambda: len(desk.alerts("FDRA")) == 2, "the receipts", LIMIT_S)
        for device in (HCALCS, GSME):
            desk.chf("dcc", "cs06", "--device", device, "--image", str(image))
        for number in updates:
            desk.until_state(number, UpdateState.ACTIVATED, timeout_s=LIMIT_S)
        desk.chf("dcc", "cs08", "--device", HCALCS)
        desk.chf("dcc", "gcs38", "--device", GSME)
        desk.until(lambda: desk.alerts("CS08") and desk.alerts("GCS38"), "the versions", LIMIT_S)
        desk.until(lambda: len(desk.alerts("CS06")) == 2, "the responses, which may come behind them", LIMIT_S)
        for device, read in ((HCALCS, "CS08"), (GSME, "GCS38")):
            said = [(alert.use_case, alert.outcome) for alert in desk.alerts(device=device)]
            assert Counter(said) == Counter(
                [("CCS08", "success"), ("FDRA", "verified"), ("CS06", "success"), (read, "0x00000002")]
            )
        assert desk.events(Kind.ALARM) == []
        assert desk.events(Kind.MESSAGE_FAILED) == []
        activating = [event["eui64"] for event in desk.dongle.events() if event["event"] == "activating"]
        assert sorted(activating) == sorted((HCALCS, GSME))
