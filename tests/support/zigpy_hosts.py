"""The real zigpy as a host of the virtual dongle, by bellows or zigpy-znp, with an ear at what it receives."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import bellows.zigbee.application
import zigpy.ota.manager
import zigpy.types as t
import zigpy_znp.zigbee.application
from zigpy.application import ControllerApplication
from zigpy.ota import OtaImageWithMetadata
from zigpy.ota.image import OTAImage, OTAImageHeader, SubElement
from zigpy.ota.providers import BaseOtaImageMetadata
from zigpy.zcl.foundation import Status

from tests.support.programs import IMAGE_TYPE, MANUFACTURER
from tests.support.virtual_dongle import EUI64, LINK_KEY, VirtualDongle

IEEE = t.EUI64.convert(EUI64.replace("-", ":").lower())
"""Of the emulated device."""

RELAXED: dict[str, Any] = {
    "profile": "home-automation",
    "aps_security": False,
    "body_format": "sub-elements",
    "endpoint": 1,
    "query_delay_s": 0.1,
}
"""A device as zigpy's OTA server knows them."""

SMART_ENERGY_ENDPOINT = {
    "endpoint": 3,
    "profile": 0x0109,
    "device_type": 0x0500,
    "device_version": 0,
    "input_clusters": [0x0019, 0x000A],
    "output_clusters": [],
}

_HEADER_BYTES, _TAG_HEADER_BYTES = 56, 6
_BODY = bytes(range(256)) * 16


class Ear(ControllerApplication):
    """Comes before a radio library's own application among the bases of a host."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        self.received: list[t.ZigbeePacket] = []
        self.joins: list[t.EUI64] = []
        self.changed = asyncio.Event()

    async def until(self, condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
        """Wait for something that packets and joins make true."""
        async with asyncio.timeout(timeout_s):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    def packet_received(self, packet: t.ZigbeePacket) -> None:
        self.received.append(packet)
        self.changed.set()
        super().packet_received(packet)

    def handle_join(self, nwk: t.NWK, ieee: t.EUI64, parent_nwk: t.NWK, **kwargs: Any) -> None:
        self.joins.append(ieee)
        self.changed.set()
        super().handle_join(nwk, ieee, parent_nwk, **kwargs)

    def of_cluster(self, cluster: int) -> list[t.ZigbeePacket]:
        """Application messages, not the device profile's."""
        return [packet for packet in self.received if packet.cluster_id == cluster and packet.dst_ep]


class Bellows(Ear, bellows.zigbee.application.ControllerApplication): ...


class ZigpyZnp(Ear, zigpy_znp.zigbee.application.ControllerApplication): ...


def config(port: str, **network: object) -> dict[str, Any]:
    return {
        "device": {"path": port, "baudrate": 115200, "flow_control": None},
        "use_thread": False,
        "database_path": None,
        "ota": {"enabled": False, "providers": []},
        "topology_scan_enabled": False,
        "backup_enabled": False,
        "watchdog_enabled": False,
        "network": network,
        "additional_endpoints": [SMART_ENERGY_ENDPOINT],
    }


@asynccontextmanager
async def host(dongle: VirtualDongle, **network: object) -> AsyncIterator[Ear]:
    """The library for this kind of dongle, started; it forms a network where there is none."""
    app: Ear
    if dongle.ready["ncp"] == "znp":
        more = {"znp_config": {"prefer_endpoint_1": False, "skip_bootloader": False}}
        app = ZigpyZnp(config(dongle.port, **network) | more)
    else:
        app = Bellows(config(dongle.port, **network))
    await app.startup(auto_form=True)
    try:
        yield app
    finally:
        await app.shutdown()


@asynccontextmanager
async def inviting(app: Ear, device: t.EUI64 = IEEE) -> AsyncIterator[None]:
    """While the block runs: zigpy-znp's permit lasts for the whole window."""
    permit = asyncio.create_task(app.permit_with_link_key(device, t.KeyData(LINK_KEY), 60))
    try:
        yield
    finally:
        permit.cancel()


def ota_image() -> OtaImageWithMetadata:
    """Version 2 for the emulated device, made by zigpy alone."""
    header = OTAImageHeader(
        upgrade_file_id=OTAImageHeader.MAGIC_VALUE,
        header_version=0x0100,
        header_length=_HEADER_BYTES,
        field_control=0,
        manufacturer_id=MANUFACTURER,
        image_type=IMAGE_TYPE,
        file_version=2,
        stack_version=2,
        header_string="firmware".ljust(32, "\0"),
        image_size=_HEADER_BYTES + _TAG_HEADER_BYTES + len(_BODY),
    )
    metadata = BaseOtaImageMetadata(file_version=2, manufacturer_id=MANUFACTURER, image_type=IMAGE_TYPE)
    return OtaImageWithMetadata(metadata, OTAImage(header=header, subelements=[SubElement(tag_id=0, data=_BODY)]))


async def join_and_update(app: Ear) -> Status:
    """The emulated device comes in and gets `ota_image`."""
    async with inviting(app):
        await app.until(lambda: IEEE in app.devices and app.devices[IEEE].is_initialized)
    device = app.devices[IEEE]
    device.ota_in_progress = True  # else zigpy's cluster answers each block with ABORT, too
    return await zigpy.ota.manager.update_firmware(device, ota_image())
