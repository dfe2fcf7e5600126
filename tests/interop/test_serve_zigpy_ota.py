"""zigpy's own OTA server, which knows nothing of us, updates an emulated device on the Home Automation profile."""

import asyncio
from pathlib import Path

import zigpy.types as t
from zigpy.zcl.foundation import Status

from tests.support.bellows_host import host
from tests.support.virtual_dongle import EUI64, LINK_KEY, VirtualDongle, ppmid, virtual_dongle
from tests.support.zigpy_host import IEEE, RELAXED, ota_image, update


async def joined_and_updated(dongle: VirtualDongle) -> Status:
    async with host(dongle, channel=15):
        pass  # the endpoints of the session that forms the network go with the resets in it
    async with host(dongle) as app:
        await app.permit_with_link_key(IEEE, t.KeyData(LINK_KEY), 60)
        return await update(app, ota_image())


def test_a_device_is_updated_and_runs_the_new_firmware(tmp_path: Path) -> None:
    with virtual_dongle(tmp_path, ppmid(**RELAXED)) as dongle:
        assert asyncio.run(joined_and_updated(dongle)) is Status.SUCCESS
        done = dongle.wait_for("download_complete")
        assert (done["file_version"], done["size_bytes"]) == (2, len(ota_image().firmware.serialize()))
        dongle.wait_for("activating")
        activating = [record["event"] for record in dongle.seen].index("activating")
        assert dongle.wait_for("booted", after=activating)["file_version"] == 2
        assert dongle.command(do="state", eui64=EUI64)["file_version"] == 2
