"""The hub updates a PPMID on every EZSP version that the virtual dongle plays: tunnel, alerts and all."""

import hashlib

import pytest

from chf.eui64 import parse_eui64
from chf.update.model import UpdateState
from devices.ncp.sticks import ROOMY_EZSP
from tests.support.programs import EUI64, bench, image_file, quick

pytestmark = pytest.mark.timeout(120)

CHANGES = ("v8", "v13", "v18")  # whose tables differ most; the others take their time with the slow tests
VERSIONS = [
    pytest.param(personality, marks=() if name in CHANGES else pytest.mark.slow, id=name)
    for name, personality in ROOMY_EZSP.items()
]


@pytest.mark.parametrize("personality", VERSIONS)
def test_an_update_from_end_to_end(tmp_path, personality):
    scenario = f'seed = 3\n[ncp]\nstick = "{personality.name}"\nendpoints_survive_reset = false\n' + quick()
    with bench(tmp_path, scenario) as desk:
        assert desk.dongle.ready["version"] == personality.name
        desk.start_hub()
        desk.pki.issue(parse_eui64(EUI64))
        desk.admit(EUI64)
        image = image_file(tmp_path / "new.ota", size_bytes=20_000)
        number = desk.start_update(image)
        desk.until_state(number, UpdateState.ACTIVATED)
        done = desk.dongle.wait_for("download_complete")
        assert done["sha256"] == hashlib.sha256(image.read_bytes()).hexdigest()
        # An alert fills several fragments: the tunnel worked both ways
        assert [alert.use_case for alert in desk.until_alerts(2)] == ["CCS08", "CS09"]
        desk.stop_hub()
        info = desk.chf("radio", "info", "--port", desk.dongle.port, "--json").json
        assert info["protocol_version"] == personality.version
