"""zigpy's own OTA server as a host program, told by lines on standard input: `permit`, `joined`, `update`.

zigpy at its best: no interview (the devices are built by hand), no database, no image providers, no scans, no debug
logs; `zigpy.ota.manager.update_firmware` under the flag that `ZigbeeDevice.update_firmware` sets, without the ten
seconds and the second interview that the latter adds.

zigpy has no Smart Energy: it drops ZCL on profile 0x0109. `_SmartEnergy` is the smallest thing that makes it serve our
devices: the profile of what comes in is renamed; sending needs nothing but the endpoint's profile and the cluster's
own switch for APS security.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import bellows.zigbee.application
import zigpy.types as t
import zigpy_znp.zigbee.application
from zigpy.ota import OtaImageWithMetadata
from zigpy.ota.image import parse_ota_image
from zigpy.ota.manager import update_firmware
from zigpy.ota.providers import BaseOtaImageMetadata
from zigpy.zcl.clusters.general import Ota
from zigpy.zdo.types import LogicalType, MACCapabilityFlags, NodeDescriptor

SMART_ENERGY, HOME_AUTOMATION = 0x0109, 0x0104
ENDPOINT = 3  # the devices' and the host's: zigpy sends from the endpoint that it sends to
_JOIN_WINDOW_S = 250

_APPLICATIONS = {
    "ezsp": bellows.zigbee.application.ControllerApplication,
    "znp": zigpy_znp.zigbee.application.ControllerApplication,
}
_SETTINGS: dict[str, dict[str, Any]] = {
    "ezsp": {},
    # or everything leaves from endpoint 1, whose profile is not Smart Energy
    "znp": {"znp_config": {"prefer_endpoint_1": False, "skip_bootloader": False}},
}


def application(order: dict[str, Any]) -> Any:
    """zigpy's application of one radio library, with devices that are known without asking them."""
    library = _APPLICATIONS[order["radio"]]
    profile = SMART_ENERGY if order["smart_energy"] else HOME_AUTOMATION

    class Host(library):
        def __init__(self, config: dict[str, Any]) -> None:
            super().__init__(config)
            self.window_opened = asyncio.Event()

        async def permit(self, *arguments: Any, **options: Any) -> None:
            await super().permit(*arguments, **options)
            self.window_opened.set()

        def handle_join(self, nwk: t.NWK, ieee: t.EUI64, *_: Any, **_options: Any) -> None:
            device = self.devices.get(ieee) or self._made_by_hand(nwk, ieee)
            device.nwk = nwk

        def _made_by_hand(self, nwk: t.NWK, ieee: t.EUI64) -> Any:
            device = self.add_device(t.EUI64(ieee), nwk)
            device.node_desc = NodeDescriptor(
                logical_type=LogicalType.EndDevice,
                complex_descriptor_available=0,
                user_descriptor_available=0,
                reserved=0,
                aps_flags=0,
                frequency_band=NodeDescriptor.FrequencyBand.Freq2400MHz,
                mac_capability_flags=MACCapabilityFlags.MainsPowered | MACCapabilityFlags.RxOnWhenIdle,
                manufacturer_code=0x10D4,
                maximum_buffer_size=82,
                maximum_incoming_transfer_size=255,
                server_mask=0,
                maximum_outgoing_transfer_size=255,
                descriptor_capability_field=NodeDescriptor.DescriptorCapability.NONE,
            )
            endpoint = device.add_endpoint(ENDPOINT)
            endpoint.profile_id = profile
            endpoint.status = type(endpoint.status).ZDO_INIT
            cluster = endpoint.add_output_cluster(Ota.cluster_id)
            cluster.aps_encryption = order["smart_energy"]
            return device

    class SmartEnergyHost(Host):
        def packet_received(self, packet: t.ZigbeePacket) -> None:
            if packet.profile_id == SMART_ENERGY:
                packet.profile_id = HOME_AUTOMATION
            super().packet_received(packet)

    made = SmartEnergyHost if order["smart_energy"] else Host
    return made(
        {
            "device": {"path": order["port"], "baudrate": 115200, "flow_control": None},
            "use_thread": order["use_thread"],
            "database_path": None,
            "ota": {"enabled": False, "broadcast_enabled": False, "providers": []},
            "topology_scan_enabled": False,
            "backup_enabled": False,
            "watchdog_enabled": False,
            "network": {"channel": 15, "pan_id": 0x1A62},
            "additional_endpoints": [
                {
                    "endpoint": ENDPOINT,
                    "profile": profile,
                    "device_type": 0x0500,
                    "device_version": 0,
                    "input_clusters": [Ota.cluster_id],
                    "output_clusters": [],
                }
            ],
            **_SETTINGS[order["radio"]],
        }
    )


async def permit(app: Any, order: dict[str, Any]) -> list[asyncio.Task[None]]:
    """When this is over every device may join. Keep the tasks: zigpy-znp's calls last as long as their window."""
    calls = []
    for eui64 in order["devices"]:
        app.window_opened.clear()
        ieee, key = t.EUI64(bytes.fromhex(eui64)[::-1]), t.KeyData(bytes.fromhex(order["link_key"]))
        call = asyncio.create_task(app.permit_with_link_key(ieee, key, _JOIN_WINDOW_S))
        opened = asyncio.create_task(app.window_opened.wait())
        await asyncio.wait({call, opened}, return_when=asyncio.FIRST_COMPLETED)
        opened.cancel()
        calls.append(call)
    return calls


def firmware(content: bytes) -> OtaImageWithMetadata:
    parsed, _ = parse_ota_image(content)
    return OtaImageWithMetadata(BaseOtaImageMetadata(file_version=parsed.header.file_version), parsed)


def start_updates(app: Any, order: dict[str, Any], image: OtaImageWithMetadata) -> list[asyncio.Task[None]]:
    """Keep the tasks."""
    devices = [app.devices[t.EUI64(bytes.fromhex(eui64)[::-1])] for eui64 in order["devices"]]
    return [asyncio.create_task(_update(device, image)) for device in devices]


async def _update(device: Any, image: OtaImageWithMetadata) -> None:
    device.ota_in_progress = True  # otherwise its cluster answers every block request with ABORT as well
    try:
        status = await update_firmware(device, image)
    finally:
        device.ota_in_progress = False
    if status != 0:
        sys.stderr.write(f"update of {device.ieee}: {status!r}\n")


async def main(order: dict[str, Any]) -> None:
    image = firmware(Path(order["image"]).read_bytes())  # noqa: ASYNC240 before anything is measured
    app = application(order)
    await app.startup(auto_form=True)
    sys.stdout.write("formed\n")
    sys.stdout.flush()
    updates, permits = [], []
    while line := await asyncio.to_thread(sys.stdin.readline):
        if line == "permit\n":
            permits = await permit(app, order)
            sys.stdout.write("permitted\n")
            sys.stdout.flush()
        elif line == "joined\n":
            sys.stdout.write("known\n")  # the devices are made by hand
            sys.stdout.flush()
        elif line == "update\n":
            updates = start_updates(app, order, image)
    for task in (*updates, *permits):
        task.cancel()


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
