"""The real bellows on every EZSP version that the virtual dongle plays, the real zigpy-znp, and zigpy's OTA server.

That server knows nothing of us. It updates an emulated device of the Home Automation profile, by block and by page.
"""

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import pytest
from zigpy.zcl.foundation import Status

from devices.ncp.ezsp.personality import Personality
from devices.ncp.sticks import ROOMY_EZSP
from tests.support.air_capture import AirCapture
from tests.support.virtual_dongle import EUI64, VirtualDongle, ppmid, virtual_dongle
from tests.support.zigpy_hosts import RELAXED, host, join_and_update, ota_image

CHANGES = ("v8", "v13", "v18")  # the three whose tables differ most


def ezsp(version: str) -> str:
    return f'[ncp]\nstick = "{version}"\n'


@pytest.mark.parametrize("personality", ROOMY_EZSP.values(), ids=ROOMY_EZSP)
async def test_it_forms_and_comes_up_again_on_every_version(tmp_path: Path, personality: Personality) -> None:
    with virtual_dongle(tmp_path, ezsp(personality.name)) as dongle:
        async with host(dongle, channel=15) as app:
            formed = app.state.network_info
        async with host(dongle) as app:
            again = app.state.network_info
            assert again.metadata["ezsp"]["stack_version"] == personality.version
            assert again.pan_id == formed.pan_id
            assert app.state.node_info.model == "virtual dongle"


@pytest.mark.needs_tshark
@pytest.mark.parametrize("transfer", [{}, {"page": True, "page_bytes": 512}], ids=["blocks", "pages"])
@pytest.mark.parametrize("version", [*CHANGES, "znp"])
def test_a_device_is_updated_and_runs_the_new_firmware(tmp_path: Path, version: str, transfer: dict[str, Any]) -> None:
    new = ota_image().firmware.serialize()
    device = ppmid(**RELAXED, **transfer)
    scenario, ncp = (device, "znp") if version == "znp" else (ezsp(version) + device, "ezsp")
    with virtual_dongle(tmp_path, scenario, "--ncp", ncp, capture=True) as dongle:
        assert asyncio.run(formed_joined_and_updated(dongle)) is Status.SUCCESS
        done = dongle.wait_for("download_complete")
        assert (done["file_version"], done["sha256"]) == (2, hashlib.sha256(new).hexdigest())
        dongle.wait_for("activating")
        activating = [record["event"] for record in dongle.seen].index("activating")
        assert dongle.wait_for("booted", after=activating)["file_version"] == 2
        assert dongle.command(do="state", eui64=EUI64)["file_version"] == 2
        dongle.stop()
    judge_the_capture(dongle, new)


async def formed_joined_and_updated(dongle: VirtualDongle) -> Status:
    async with host(dongle, channel=15):
        pass
    async with host(dongle) as app:
        return await join_and_update(app)


def judge_the_capture(dongle: VirtualDongle, served: bytes) -> None:
    """By Wireshark: everything decrypts, nothing is damaged, and the blocks add up to the file."""
    air = AirCapture(dongle.capture.parent, dongle.capture, dongle.keys)
    assert len(air.frames("zbee_nwk.security == 1")) > 100
    assert air.frames("_ws.expert || _ws.malformed") == []
    assert air.image() == served


@pytest.mark.parametrize("version", CHANGES)
async def test_a_backup_goes_back_into_the_dongle(tmp_path: Path, version: str) -> None:
    with virtual_dongle(tmp_path, ezsp(version)) as dongle:
        async with host(dongle, channel=15) as app:
            backup = await app.backups.create_backup(load_devices=True)
            await app.form_network()
            assert app.state.network_info.network_key.key != backup.network_info.network_key.key
            await app.backups.restore_backup(backup, counter_increment=10_000, create_new=False)
        async with host(dongle) as app:
            again = app.state.network_info
            assert again.network_key.key == backup.network_info.network_key.key
            assert again.pan_id == backup.network_info.pan_id
            assert again.network_key.tx_counter >= backup.network_info.network_key.tx_counter + 10_000
