"""Zigbee2MQTT whole against the virtual dongles: pairing, a map, and an update that waits across a restart."""

import hashlib
from pathlib import Path

import pytest

from tests.support.herdsman import herdsman_image, install_code_text
from tests.support.virtual_dongle import EUI64, INSTALL_CODE, ppmid, virtual_dongle
from tests.support.zigbee2mqtt import broker, need_zigbee2mqtt, zigbee2mqtt
from tests.support.zigpy_hosts import RELAXED

DEVICE = f"0x{EUI64.replace('-', '').lower()}"
DONGLES = {"znp": ("zstack", ""), "ezsp": ("ember", '[ncp]\nstick = "v13"\nendpoints_survive_reset = false\n')}


@pytest.mark.timeout(420)
@pytest.mark.parametrize("kind", DONGLES)
def test_it_pairs_maps_restarts_and_gives_the_scheduled_update(tmp_path: Path, kind: str) -> None:
    need_zigbee2mqtt()
    adapter, ncp = DONGLES[kind]
    image = herdsman_image(tmp_path / "new.ota")
    scenario = ncp + ppmid(**RELAXED, think_time_s=0.003)
    with virtual_dongle(tmp_path, scenario, "--ncp", kind) as dongle, broker(tmp_path) as mqtt:
        with zigbee2mqtt(tmp_path, mqtt, dongle.port, adapter):
            mqtt.ask("install_code/add", value=install_code_text(EUI64, INSTALL_CODE))
            mqtt.ask("permit_join", time=60)
            mqtt.until("bridge/event", lambda event: event["data"].get("status") == "successful")
            found = mqtt.ask("networkmap", type="raw", routes=True)["value"]
            assert [(node["ieeeAddr"], node["type"]) for node in found["nodes"]][1:] == [(DEVICE, "EndDevice")]
            assert [link["sourceIeeeAddr"] for link in found["links"]] == [DEVICE]
            assert mqtt.ask("device/ota_update/schedule", id=DEVICE, url=str(image))["id"] == DEVICE
        with zigbee2mqtt(tmp_path, mqtt, dongle.port, adapter):
            dongle.command(do="reboot", eui64=EUI64)  # and it asks for an image
            done = dongle.wait_for("download_complete", timeout_s=240.0)
            assert (done["file_version"], done["sha256"]) == (2, hashlib.sha256(image.read_bytes()).hexdigest())
            mqtt.until(
                DEVICE, lambda state: state["update"]["state"] == "idle" and state["update"]["installed_version"] == 2
            )
    assert [said for said in mqtt.messages("bridge/logging") if said["level"] == "error"] == []
