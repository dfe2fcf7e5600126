"""One whole update by each method on the sticks that people have, with their tables and with the time that they take."""

import pytest

from chf.store.device_log import DeviceType
from chf.update.model import UpdateState
from devices.ncp.sticks import DONGLE_E_7_4, SKYCONNECT_7_1, ZBT_2
from tests.support.programs import EUI64, bench, commanded, image_file, quick, signed_image_file

pytestmark = pytest.mark.timeout(150)

HCALCS = "00-DB-12-34-56-78-90-A5"
STICKS = [
    pytest.param(stick, marks=marks, id=stick.name)
    for stick, marks in ((SKYCONNECT_7_1, ()), (DONGLE_E_7_4, pytest.mark.slow), (ZBT_2, pytest.mark.slow))
]


@pytest.mark.parametrize("stick", STICKS)
def test_a_ppmid_and_an_hcalcs_are_updated(tmp_path, stick):
    ncp = f'seed = 3\n[ncp]\nstick = "{stick.name}"\nendpoints_survive_reset = false\n'
    with bench(tmp_path, ncp + quick() + commanded("hcalcs", HCALCS), issue=[EUI64, HCALCS]) as desk:
        assert desk.dongle.ready["version"] == stick.name
        desk.start_hub()
        desk.admit(EUI64)
        desk.admit(HCALCS, device_type=DeviceType.HCALCS)
        by_hub = desk.start_update(image_file(tmp_path / "ppmid.ota", size_bytes=4_000))
        signed = signed_image_file(tmp_path / "hcalcs.ota", desk.pki)
        by_supplier = desk.start_update(signed, device=HCALCS)
        desk.until_state(by_hub, UpdateState.ACTIVATED)
        desk.until_state(by_supplier, UpdateState.WAITING)
        desk.until(lambda: len(desk.alerts(device=HCALCS)) == 2, "the receipt of the image")
        desk.chf("dcc", "cs06", "--device", HCALCS, "--image", str(signed))
        desk.until_state(by_supplier, UpdateState.ACTIVATED)
        desk.until(lambda: len(desk.alerts(device=EUI64)) == 2, "the alerts of the PPMID")
        assert [alert.use_case for alert in desk.alerts(device=EUI64)] == ["CCS08", "CS09"]
