"""Both update methods side by side: 750 KiB to ten HCALCSs and ten PPMIDs at once, each method's own end."""

from functools import partial

import pytest

from chf.gbcs import AlertCode
from chf.store.device_log import DeviceType
from chf.update.model import UpdateId, UpdateState
from tests.support.programs import bench, commanded, image_file, quick, signed_image_file

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SIZE = 750 * 1024 - 60 - 66  # of the Manufacturer Image: 750 KiB with header and signature
HCALCS = [f"00-DB-12-34-56-78-91-{number:02X}" for number in range(10)]
PPMIDS = [f"00-DB-12-34-56-78-92-{number:02X}" for number in range(10)]
HCALCS_TYPE = 0x0085


def test_ten_hcalcs_and_ten_ppmids_at_once(tmp_path):
    scenario = "\n".join(
        [commanded("hcalcs", device, image_type=HCALCS_TYPE) for device in HCALCS]
        + [quick(device) for device in PPMIDS]
    )
    with bench(tmp_path, scenario, issue=HCALCS) as desk:
        desk.start_hub()
        desk.admit(*HCALCS, device_type=DeviceType.HCALCS)
        desk.admit(*PPMIDS)
        signed = signed_image_file(tmp_path / "signed.ota", desk.pki, size_bytes=SIZE, image_type=HCALCS_TYPE)
        plain = image_file(tmp_path / "plain.ota", size_bytes=SIZE)
        assert signed.stat().st_size == 750 * 1024
        started = []
        for image, devices in ((signed, HCALCS), (plain, PPMIDS)):
            wanted = [option for device in devices for option in ("--device", device)]
            ran = desk.chf("update", "start", "--image", str(image), "--json", *wanted)
            started += [UpdateId(line["update"]) for line in ran.json["started"]]
        assert len(started) == 20
        commanded, by_hub = started[:10], started[10:]
        for number in commanded:
            desk.until_state(number, UpdateState.WAITING, UpdateState.FAILED, timeout_s=600)
        for number in by_hub:
            assert (
                desk.until_state(number, UpdateState.ACTIVATED, UpdateState.FAILED, timeout_s=600).state
                is UpdateState.ACTIVATED
            )
        assert {desk.update(number).state for number in commanded} == {UpdateState.WAITING}
        for device in HCALCS:
            desk.chf("dcc", "cs06", "--device", device, "--image", str(signed))
        for number in commanded:
            desk.until_state(number, UpdateState.ACTIVATED, timeout_s=120)
        for device in HCALCS:
            desk.until(partial(desk.alerts, "CS06", device), "the response")
            told = {(alert.use_case, alert.alert_code) for alert in desk.alerts(device=device)}
            assert told == {
                ("CCS08", AlertCode.FIRMWARE_TRANSFER_SUCCESS),
                ("FDRA", AlertCode.FIRMWARE_VERIFICATION_SUCCESSFUL),
                ("CS06", 0),
            }
