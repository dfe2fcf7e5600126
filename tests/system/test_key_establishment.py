"""Key establishment between the programs as they run on a bench: hub, virtual dongle of either kind, emulated devices."""

from pathlib import Path

import pytest

from chf.crypto.ecqv import Suite
from chf.eui64 import parse_eui64
from chf.pki.zigbee import ZigbeePki
from chf.trace import Kind
from chf.update.model import UpdateState
from tests.support.programs import bench, image_file
from tests.support.virtual_dongle import EUI64, ppmid

pytestmark = pytest.mark.timeout(180)

DONGLE = "00-DB-12-34-56-78-00-01"
NCP = f'[ncp]\neui64 = "{DONGLE}"\n'
CBKE = '[security]\nmode = "cbke"\n'


def certified(directory: Path, *eui64s: str) -> ZigbeePki:
    """A ZigBee PKI beside the scenario, with certificates of the dongle and these devices."""
    pki = ZigbeePki(directory / "certificates")
    for eui64 in (DONGLE, *eui64s):
        pki.issue(parse_eui64(eui64))
    return pki


def adopt(pki: ZigbeePki, home: Path) -> None:
    """The same certificates for the hub."""
    pki.path.rename(home / "pki" / "zigbee")
    pki.path.symlink_to(home / "pki" / "zigbee")


@pytest.mark.parametrize("kind", ["ezsp", "znp"])
@pytest.mark.parametrize("suite", Suite)
def test_a_device_establishes_its_key_and_is_updated(tmp_path, kind, suite):
    pki = certified(tmp_path, EUI64)
    scenario = NCP + ppmid(credentials=f"certificates/{{eui64}}-suite{suite.value}.txt")
    with bench(tmp_path, scenario, "--ncp", kind) as desk:
        adopt(pki, desk.home)
        desk.start_hub("--radio", kind, config=CBKE)
        desk.admit(EUI64)
        entry = desk.store.devices.get(parse_eui64(EUI64))
        assert entry.key_suite == suite.value
        assert entry.link_key not in {None, entry.install_code_link_key}
        number = desk.start_update(image_file(tmp_path / "new.ota"))
        desk.until_state(number, UpdateState.ACTIVATED)
        desk.until_alerts(2)
        assert len(desk.events(Kind.KEY_ESTABLISHED)) == 1  # its reboot in between needed no other
        told = (*desk.said, desk.log.read_text(), *(event.to_json() for event in desk.events(Kind.KEY_ESTABLISHED)))
        own = pki.credentials(parse_eui64(EUI64), suite)
        for secret in (entry.link_key.hex(), f"{own.private_key:x}"):
            assert not any(secret in text.lower() for text in told)


def test_a_hub_that_was_killed_goes_on_with_the_key(tmp_path):
    pki = certified(tmp_path, EUI64)
    with bench(tmp_path, NCP + ppmid(credentials="certificates/{eui64}-suite2.txt")) as desk:
        adopt(pki, desk.home)
        desk.start_hub(config=CBKE)
        desk.admit(EUI64)
        desk.kill_hub()
        desk.start_hub(config=CBKE)
        number = desk.start_update(image_file(tmp_path / "new.ota"))
        desk.until_state(number, UpdateState.ACTIVATED)
        assert len(desk.events(Kind.KEY_ESTABLISHED)) == 1


def test_a_forgotten_device_loses_its_key_and_may_come_back(tmp_path):
    pki = certified(tmp_path, EUI64)
    with bench(tmp_path, NCP + ppmid(credentials="certificates/{eui64}-suite2.txt")) as desk:
        adopt(pki, desk.home)
        desk.start_hub(config=CBKE)
        desk.admit(EUI64)
        first = desk.store.devices.get(parse_eui64(EUI64)).link_key
        desk.chf("device", "forget", EUI64)
        desk.dongle.wait_for("left")
        desk.admit(EUI64)
        assert desk.store.devices.get(parse_eui64(EUI64)).link_key not in {None, first}


def test_a_hub_without_a_certificate_says_how_to_get_one(tmp_path):
    with bench(tmp_path, NCP) as desk:
        desk.start_hub(config=CBKE, wait=False)
        assert desk.hub.wait(30.0) == 2
        assert f"chf dcc pki issue {DONGLE}" in desk.log.read_text()
