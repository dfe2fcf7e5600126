"""zigpy's own OTA server on zigpy-znp updates an emulated device of the Home Automation profile, by block and by page."""

import asyncio
import hashlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import zigpy.ota.manager
import zigpy.types as t
from zigpy.ota import OtaImageWithMetadata
from zigpy.ota.image import OTAImage, OTAImageHeader, SubElement
from zigpy.ota.providers import BaseOtaImageMetadata
from zigpy.zcl.foundation import Status

from tests.support.virtual_dongle import EUI64, LINK_KEY, VirtualDongle, ppmid, virtual_dongle
from tests.support.znp_zigpy import host

IEEE = t.EUI64.convert(EUI64.replace("-", ":").lower())
RELAXED: dict[str, Any] = {
    "profile": "home-automation",
    "aps_security": False,
    "body_format": "sub-elements",
    "endpoint": 1,
    "query_delay_s": 0.1,
}


def image() -> OtaImageWithMetadata:
    body = bytes(range(256)) * 16
    header = OTAImageHeader(
        upgrade_file_id=OTAImageHeader.MAGIC_VALUE,
        header_version=0x0100,
        header_length=56,
        field_control=0,
        manufacturer_id=0x10D4,
        image_type=0x0001,
        file_version=2,
        stack_version=2,
        header_string="firmware".ljust(32, "\0"),
        image_size=56 + 6 + len(body),
    )
    metadata = BaseOtaImageMetadata(file_version=2, manufacturer_id=0x10D4, image_type=0x0001)
    return OtaImageWithMetadata(metadata, OTAImage(header=header, subelements=[SubElement(tag_id=0, data=body)]))


async def update(dongle: VirtualDongle, new: OtaImageWithMetadata) -> Status:
    async with host(dongle, channel=15) as app:
        permit = asyncio.create_task(app.permit_with_link_key(IEEE, t.KeyData(LINK_KEY), 60))
        await app.until(lambda: IEEE in app.devices and app.devices[IEEE].is_initialized)
        permit.cancel()
        device = app.devices[IEEE]
        device.ota_in_progress = True  # else zigpy's cluster answers each block with ABORT, too
        return await zigpy.ota.manager.update_firmware(device, new)


@pytest.mark.needs_tshark
@pytest.mark.parametrize("transfer", [{}, {"page": True, "page_bytes": 512}], ids=["blocks", "pages"])
def test_a_device_is_updated_and_runs_the_new_firmware(tmp_path: Path, transfer: dict[str, Any]) -> None:
    new = image()
    served = new.firmware.serialize()
    with virtual_dongle(tmp_path, ppmid(**RELAXED, **transfer), "--ncp", "znp", capture=True) as dongle:
        assert asyncio.run(update(dongle, new)) is Status.SUCCESS
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
    if shutil.which("tshark") is None:
        assert os.environ.get("CI") != "true", "tshark is missing"
        pytest.skip("tshark is not installed")
    configuration = dongle.keys.parent / "wireshark"
    configuration.mkdir()
    shutil.copy(dongle.keys, configuration / "zigbee_pc_keys")

    def rows(wanted: str, *fields: str) -> list[list[str]]:
        columns = [part for field in fields or ("frame.number",) for part in ("-e", field)]
        command = ["tshark", "-r", str(dongle.capture), "-Y", wanted, "-T", "fields", *columns]
        environment = {**os.environ, "WIRESHARK_CONFIG_DIR": str(configuration)}
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, env=environment)
        return [line.split("\t") for line in done.stdout.splitlines()]

    assert len(rows("zbee_nwk.security == 1")) > 100
    assert rows("_ws.expert || _ws.malformed") == []
    ota = "zbee_zcl_general.ota"
    block = f"{ota}.cmd.srv_tx.id == 0x05 && {ota}.status == 0x00"
    blocks = {
        int(offset, 0): bytes.fromhex(data.replace(":", ""))
        for offset, data in rows(block, f"{ota}.file.offset", f"{ota}.image.data")
    }
    assert b"".join(data for _, data in sorted(blocks.items())) == served
