"""ZHA whole, the gateway of Home Assistant, in an environment of its own: one JSON request on the command line.

It forms or resumes its network, lets one device in by its link key, scans the topology, and has the device's update
entity install what the folder of images offers. One JSON line per event. It wants Python 3.12 or later and `zha`, and
nothing of this repository.
"""

import asyncio
import json
import logging
import sys
from typing import Any

import zigpy.types as t
from zha.application.gateway import Gateway
from zha.application.helpers import CoordinatorConfiguration, QuirksConfiguration, ZHAConfiguration, ZHAData
from zigpy.config import CONF_OTA_ALLOW_ADVANCED_DIR_STRING

LIMIT_S = 60.0


def say(event: str, **more: object) -> None:
    sys.stdout.write(json.dumps({"event": event, **more}) + "\n")


async def until(condition: Any) -> Any:
    clock = asyncio.get_running_loop().time
    give_up = clock() + LIMIT_S
    while not (found := condition()):
        assert clock() < give_up
        await asyncio.sleep(0.05)
    return found


def configuration(request: dict[str, Any]) -> ZHAData:
    folder = {"type": "advanced", "path": request["images"], "warning": CONF_OTA_ALLOW_ADVANCED_DIR_STRING}
    return ZHAData(
        config=ZHAConfiguration(
            coordinator_configuration=CoordinatorConfiguration(path=request["port"], radio_type=request["radio"]),
            quirks_configuration=QuirksConfiguration(enabled=False),
        ),
        zigpy_config={
            "database_path": f"{request['directory']}/zigbee.db",
            "network": {"channel": 15},
            "topology_scan_enabled": False,
            "ota": {"enabled": True, "providers": [folder]},
        },
    )


async def pair(gateway: Gateway, ieee: t.EUI64, link_key: str) -> Any:
    app = gateway.application_controller
    window = asyncio.create_task(app.permit_with_link_key(ieee, t.KeyData.convert(link_key), 60))  # ends with it
    await until(lambda: ieee in gateway.devices and gateway.devices[ieee].device.is_initialized)
    window.cancel()
    device = gateway.devices[ieee]
    await until(lambda: any("Update" in type(entity).__name__ for entity in device.platform_entities.values()))
    say("paired", model=device.model, manufacturer=device.manufacturer)
    return device


async def run(request: dict[str, Any]) -> None:
    gateway = await Gateway.async_from_config(configuration(request))
    await gateway.async_initialize()
    await gateway.async_initialize_devices_and_entities()
    app = gateway.application_controller
    network = app.state.network_info
    say("started", pan_id=network.pan_id, channel=network.channel, devices=len(gateway.devices) - 1)
    ieee = t.EUI64.convert(request["ieee"])
    if ieee not in gateway.devices:
        device = await pair(gateway, ieee, request["link_key"])
    else:
        device = gateway.devices[ieee]
        await app.topology.scan()
        neighbours = {str(at): [str(near.ieee) for near in them] for at, them in app.topology.neighbors.items()}
        say("scanned", neighbours=neighbours)
        (entity,) = (entity for entity in device.platform_entities.values() if "Update" in type(entity).__name__)
        await until(lambda: entity.state.latest_version)
        say("offered", installed=entity.state.installed_version, latest=entity.state.latest_version)
        await entity.async_install(None)
        say("updated")
        await until(lambda: entity.state.installed_version == entity.state.latest_version)
        say("running", installed=entity.state.installed_version)
    await gateway.shutdown()
    say("stopped")


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    asyncio.run(run(json.loads(sys.argv[1])))
