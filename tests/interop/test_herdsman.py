"""zigbee-herdsman, the host of Zigbee2MQTT, against the virtual EZSP and TI dongles and an emulated device.

The device is on the Home Automation profile, without APS security: herdsman does no Smart Energy. It thinks for 3 ms
before each request, because herdsman loses a request that arrives together with the confirm of its last answer
(open pull request 1846 there). The oldest EZSP that its ember adapter takes is v13.
"""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from tests.support.herdsman import PAGE_BYTES, herdsman_image, install_code_text, need_node_modules, run_herdsman
from tests.support.virtual_dongle import EUI64, INSTALL_CODE, ppmid, virtual_dongle
from tests.support.zigpy_hosts import RELAXED

CODE = install_code_text(EUI64, INSTALL_CODE)
FAMILIES = {"ember": "ezsp", "zstack": "znp"}
HOSTS = {
    "10-v13": ("zigbee-herdsman", "ember", "v13"),
    "10-v18": ("zigbee-herdsman", "ember", "v18"),
    "10-znp": ("zigbee-herdsman", "zstack", "znp"),
    "11-v18": ("zigbee-herdsman-11", "ember", "v18"),
    "11-znp": ("zigbee-herdsman-11", "zstack", "znp"),
}

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.parametrize(("library", "adapter", "kind"), HOSTS.values(), ids=HOSTS),
]


@pytest.fixture(autouse=True)
def _herdsman(library: str) -> None:
    need_node_modules(library)


def ncp(kind: str, eui64: str = "00-DB-12-34-56-78-00-01") -> str:
    own = "" if kind == "znp" else f'stick = "{kind}"\nendpoints_survive_reset = false\n'
    return f'[ncp]\neui64 = "{eui64}"\n{own}'


def named(events: list[dict[str, Any]], name: str) -> dict[str, Any]:
    (found,) = (event for event in events if event["event"] == name)
    return found


def test_it_forms_comes_back_and_restores_its_backup_onto_a_new_stick(
    tmp_path: Path, library: str, adapter: str, kind: str
) -> None:
    with virtual_dongle(tmp_path, ncp(kind), "--ncp", FAMILIES[adapter]) as dongle:
        first = named(run_herdsman(tmp_path, library, dongle.port, adapter, backup=True), "started")
        assert first["result"] == "reset"  # it was formed
        assert (first["network"]["panID"], first["network"]["channel"]) == (0x1A62, 15)
        again = named(run_herdsman(tmp_path, library, dongle.port, adapter), "started")
        assert (again["result"], again["network"]) == ("resumed", first["network"])
    with virtual_dongle(tmp_path, ncp(kind, "00-DB-12-34-56-78-00-02"), "--ncp", FAMILIES[adapter]) as dongle:
        after = named(run_herdsman(tmp_path, library, dongle.port, adapter), "started")
    assert (after["result"], after["network"]) == ("restored", first["network"])


@pytest.mark.parametrize("transfer", [{}, {"page": True, "page_bytes": PAGE_BYTES}], ids=["blocks", "pages"])
def test_it_interviews_a_device_and_updates_it(
    tmp_path: Path, library: str, adapter: str, kind: str, transfer: dict[str, Any]
) -> None:
    image = herdsman_image(tmp_path / "new.ota")
    scenario = ncp(kind) + ppmid(**RELAXED, think_time_s=0.003, **transfer)
    with virtual_dongle(tmp_path, scenario, "--ncp", FAMILIES[adapter]) as dongle:
        events = run_herdsman(tmp_path, library, dongle.port, adapter, installCode=CODE, image=str(image))
        device = named(events, "interviewed")
        assert (device["model"], device["manufacturer"]) == ("PPMID", "Emulated")
        assert [endpoint["profileID"] for endpoint in device["endpoints"]] == [0x0104]
        assert events[-2:] == [{"event": "updated"}, {"event": "stopped"}]
        done = dongle.wait_for("download_complete")
        assert (done["file_version"], done["sha256"]) == (2, hashlib.sha256(image.read_bytes()).hexdigest())
        assert dongle.command(do="state", eui64=EUI64)["file_version"] == 2
