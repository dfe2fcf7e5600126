"""zigpy's own OTA server on zigpy-znp updates an emulated device of the Home Automation profile, by block and by page."""

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import pytest
import zigpy.types as t
from zigpy.ota import OtaImageWithMetadata
from zigpy.zcl.foundation import Status

from tests.support.air_capture import AirCapture
from tests.support.virtual_dongle import EUI64, LINK_KEY, VirtualDongle, ppmid, virtual_dongle
from tests.support.zigpy_host import IEEE, RELAXED, ota_image, update
from tests.support.znp_zigpy import host


async def joined_and_updated(dongle: VirtualDongle, new: OtaImageWithMetadata) -> Status:
    async with host(dongle, channel=15) as app:
        permit = asyncio.create_task(app.permit_with_link_key(IEEE, t.KeyData(LINK_KEY), 60))
        await app.until(lambda: IEEE in app.devices and app.devices[IEEE].is_initialized)
        permit.cancel()
        return await update(app, new)


@pytest.mark.needs_tshark
@pytest.mark.parametrize("transfer", [{}, {"page": True, "page_bytes": 512}], ids=["blocks", "pages"])
def test_a_device_is_updated_and_runs_the_new_firmware(tmp_path: Path, transfer: dict[str, Any]) -> None:
    new = ota_image()
    served = new.firmware.serialize()
    with virtual_dongle(tmp_path, ppmid(**RELAXED, **transfer), "--ncp", "znp", capture=True) as dongle:
        assert asyncio.run(joined_and_updated(dongle, new)) is Status.SUCCESS
        done = dongle.wait_for("download_complete")
        assert done["sha256"] == hashlib.sha256(served).hexdigest()
        dongle.wait_for("activating")
        activating = [record["event"] for record in dongle.seen].index("activating")
        assert dongle.wait_for("booted", after=activating)["file_version"] == 2
        assert dongle.command(do="state", eui64=EUI64)["file_version"] == 2
        dongle.stop()
    _judge_the_capture(dongle, served)


def _judge_the_capture(dongle: VirtualDongle, served: bytes) -> None:
    """By Wireshark: everything decrypts, nothing is damaged, and the blocks add up to the file."""
    rows = AirCapture(dongle.capture.parent, dongle.capture, dongle.keys).frames
    assert len(rows("zbee_nwk.security == 1")) > 100
    assert rows("_ws.expert || _ws.malformed") == []
    ota = "zbee_zcl_general.ota"
    block = f"{ota}.cmd.srv_tx.id == 0x05 && {ota}.status == 0x00"
    blocks = {
        int(offset, 0): bytes.fromhex(data.replace(":", ""))
        for offset, data in rows(block, f"{ota}.file.offset", f"{ota}.image.data")
    }
    assert b"".join(data for _, data in sorted(blocks.items())) == served
