"""The real bellows, with zigpy's OTA server on it, on every EZSP version that the virtual dongle plays."""

import asyncio
from pathlib import Path

import pytest
import zigpy.types as t
from zigpy.zcl.foundation import Status

from devices.ncp.ezsp.personality import PERSONALITIES
from tests.support.bellows_host import host
from tests.support.virtual_dongle import LINK_KEY, VirtualDongle, ppmid, virtual_dongle
from tests.support.zigpy_host import IEEE, RELAXED, ota_image, update


async def drive(dongle: VirtualDongle, version: int) -> Status:
    async with host(dongle) as app:  # forms, after an energy scan
        assert app._ezsp.ezsp_version == version
        formed = app.state.network_info
        assert formed.channel in {11, 15, 20, 25}
    async with host(dongle) as app:  # and comes up again
        again = app.state.network_info
        assert (again.pan_id, again.extended_pan_id) == (formed.pan_id, formed.extended_pan_id)
        assert again.network_key.key == formed.network_key.key
        assert app.state.node_info.model == "virtual dongle"
        await app.permit_with_link_key(IEEE, t.KeyData(LINK_KEY), 60)
        return await update(app, ota_image())


CHANGES = [PERSONALITIES[name] for name in ("v8", "v13", "v18")]  # the three whose tables differ most


@pytest.mark.parametrize("personality", PERSONALITIES.values(), ids=PERSONALITIES)
def test_it_forms_and_comes_up_again_on_every_version(tmp_path: Path, personality) -> None:
    async def twice(dongle: VirtualDongle) -> None:
        async with host(dongle, channel=15) as app:
            formed = app.state.network_info
        async with host(dongle) as app:
            again = app.state.network_info
            assert (app._ezsp.ezsp_version, again.pan_id) == (personality.version, formed.pan_id)

    with virtual_dongle(tmp_path, f'[ncp]\nversion = "{personality.name}"\n') as dongle:
        asyncio.run(twice(dongle))


@pytest.mark.parametrize("page", [False, True], ids=["by block", "by page"])
@pytest.mark.parametrize("personality", CHANGES, ids=lambda personality: personality.name)
def test_a_device_joins_and_is_updated(tmp_path: Path, personality, page: bool) -> None:
    scenario = f'[ncp]\nversion = "{personality.name}"\n' + ppmid(page=page, **RELAXED)
    with virtual_dongle(tmp_path, scenario) as dongle:
        assert asyncio.run(drive(dongle, personality.version)) is Status.SUCCESS
        done = dongle.wait_for("download_complete")
        assert (done["file_version"], done["size_bytes"]) == (2, len(ota_image().firmware.serialize()))
        dongle.wait_for("activating")
        activating = [record["event"] for record in dongle.seen].index("activating")
        assert dongle.wait_for("booted", after=activating)["file_version"] == 2


@pytest.mark.parametrize("personality", CHANGES, ids=lambda personality: personality.name)
def test_a_backup_goes_back_into_the_dongle(tmp_path: Path, personality) -> None:
    async def there_and_back(dongle: VirtualDongle) -> None:
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

    with virtual_dongle(tmp_path, f'[ncp]\nversion = "{personality.name}"\n') as dongle:
        asyncio.run(there_and_back(dongle))
