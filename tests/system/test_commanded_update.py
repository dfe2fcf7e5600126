"""The second update method between programs: distribution by the hub, activation by the supplier's command."""

import pytest

from chf.eui64 import parse_eui64
from chf.gbcs import AlertCode
from chf.image.image import parse_image
from chf.jobs.model import JobState
from chf.store.device_log import DeviceType
from chf.store.device_messages import MessageState
from tests.support.programs import Bench, bench, commanded, signed_image_file

pytestmark = pytest.mark.timeout(120)

HCALCS = "00-DB-12-34-56-78-90-A5"


def told(desk: Bench, device: str) -> list[tuple[str, int, str, bool]]:
    return [(alert.use_case, alert.alert_code, alert.outcome, alert.verified) for alert in desk.alerts(device=device)]


QUICK: dict[str, dict[str, object]] = {
    "hcalcs": {},
    "esme": {},
    "gsme": {"poll_interval_s": 0.5, "fast_poll_interval_s": 0.005, "mirror_interval_s": 1.0},
}
TRANSFERRED = ("CCS08", AlertCode.FIRMWARE_TRANSFER_SUCCESS, "success", True)
RECEIVED = ("FDRA", AlertCode.FIRMWARE_VERIFICATION_SUCCESSFUL, "verified", True)


@pytest.mark.parametrize("kind", ["hcalcs", "esme", "gsme"])
def test_an_update_from_distribution_to_read_back(tmp_path, kind):
    with bench(tmp_path, commanded(kind, HCALCS, **QUICK[kind]), issue=[HCALCS]) as desk:
        desk.start_hub()
        desk.admit(HCALCS, device_type=DeviceType(kind.upper()))
        image = signed_image_file(tmp_path / "new.ota", desk.pki)
        number = desk.start_update(image, device=HCALCS)
        desk.until_state(number, JobState.WAITING)
        desk.until_alerts(2)
        assert sorted(told(desk, HCALCS)) == sorted([TRANSFERRED, RECEIVED])
        sent = desk.chf("dcc", "cs06", "--device", HCALCS, "--image", str(image), "--json").json
        assert sent["hash"] == parse_image(image.read_bytes()).manufacturer_image_hash
        desk.until_state(number, JobState.ACTIVATED)
        assert ("CS06", 0, "success", True) in told(desk, HCALCS)
        row = desk.store.device_messages.get(sent["message"])
        assert row is not None
        assert row.message.hex() == sent["octets"]
        assert row.state is MessageState.ANSWERED
        if kind == "hcalcs":
            desk.chf("dcc", "cs08", "--device", HCALCS)
            desk.until(lambda: ("CS08", 0, "0x00000002", True) in told(desk, HCALCS), "the version")
        entry = desk.store.devices.get(parse_eui64(HCALCS))
        assert entry is not None
        assert entry.file_version == 2
