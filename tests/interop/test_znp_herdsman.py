"""zigbee-herdsman, the host of Zigbee2MQTT, against the virtual TI dongle and an emulated device.

The device is on the Home Automation profile, without APS security: herdsman does no Smart Energy. It thinks for 3 ms
before each request, because herdsman loses a request that arrives together with the confirm of its last answer
(open pull request 1846 there), and asks again soon where one is lost.
"""

import hashlib
import struct
from pathlib import Path
from typing import Any

import pytest

from tests.support.herdsman import install_code_text, need_herdsman, run_herdsman
from tests.support.virtual_dongle import EUI64, INSTALL_CODE, ppmid, virtual_dongle

RELAXED: dict[str, Any] = {
    "profile": "home-automation",
    "aps_security": False,
    "body_format": "sub-elements",
    "endpoint": 1,
    "think_time_s": 0.003,
}
CODE = install_code_text(EUI64, INSTALL_CODE)


@pytest.fixture(autouse=True)
def _herdsman() -> None:
    need_herdsman()


def image_file(path: Path) -> Path:
    """8192 octets in all, a whole number of pages: herdsman never ends a page that runs past the end of the file."""
    size = 8192 - 56 - 6
    body = bytes(index * 7 % 251 for index in range(size))
    header = struct.pack("<IHHHHHIH32sI", 0x0BEEF11E, 0x0100, 56, 0, 0x10D4, 0x0001, 2, 2, b"firmware", 56 + 6 + size)
    path.write_bytes(header + struct.pack("<HI", 0, size) + body)
    return path


def named(events: list[dict[str, Any]], name: str) -> dict[str, Any]:
    (found,) = (event for event in events if event["event"] == name)
    return found


def test_it_forms_comes_back_and_keeps_its_network(tmp_path: Path) -> None:
    with virtual_dongle(tmp_path, "", "--ncp", "znp") as dongle:
        first = named(run_herdsman(tmp_path, dongle.port, "zstack", backup=True), "started")
        assert first["result"] == "reset"  # it was commissioned
        assert (first["network"]["panID"], first["network"]["channel"]) == (0x1A62, 15)
        again = named(run_herdsman(tmp_path, dongle.port, "zstack"), "started")
        assert (again["result"], again["network"]) == ("resumed", first["network"])


def test_it_restores_its_backup_onto_a_new_stick(tmp_path: Path) -> None:
    with virtual_dongle(tmp_path, "", "--ncp", "znp") as dongle:
        before = named(run_herdsman(tmp_path, dongle.port, "zstack", backup=True), "started")
    new = '[ncp]\neui64 = "00-DB-12-34-56-78-00-02"\n'
    with virtual_dongle(tmp_path, new, "--ncp", "znp") as dongle:
        after = named(run_herdsman(tmp_path, dongle.port, "zstack"), "started")
    assert after["result"] == "restored"
    assert after["network"] == before["network"]


@pytest.mark.parametrize("transfer", [{}, {"page": True, "page_bytes": 512}], ids=["blocks", "pages"])
def test_it_interviews_a_device_and_updates_it(tmp_path: Path, transfer: dict[str, Any]) -> None:
    image = image_file(tmp_path / "new.ota")
    with virtual_dongle(tmp_path, ppmid(query_delay_s=0.1, **RELAXED, **transfer), "--ncp", "znp") as dongle:
        events = run_herdsman(tmp_path, dongle.port, "zstack", installCode=CODE, image=str(image))
        device = named(events, "interviewed")
        assert (device["model"], device["manufacturer"]) == ("PPMID", "Emulated")
        assert [endpoint["profileID"] for endpoint in device["endpoints"]] == [0x0104]
        assert events[-2:] == [{"event": "updated"}, {"event": "stopped"}]
        done = dongle.wait_for("download_complete")
        assert (done["file_version"], done["sha256"]) == (2, hashlib.sha256(image.read_bytes()).hexdigest())
        assert dongle.command(do="state", eui64=EUI64)["file_version"] == 2
