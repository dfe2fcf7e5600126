"""One download over the modelled link in virtual time: a host, the serial line, the dongle, the air, the devices.

All in one process and one event loop whose clock jumps, so that a run depends on nothing but its seed: a host's own
computing takes no time here, which on a real link is under 1 % of a block (docs/adr/0013).
"""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest
from timed_devices import watch

from chf.eui64 import Eui64, format_eui64
from devices.bench.serve import Bench
from tests.support.virtual_desk import desk_with_hub
from tests.support.virtual_dongle import local_dongle
from tests.support.virtual_time import virtual_time
from throughput import zigpy_host
from throughput.fleet import BLOCK_BYTES, LINK_KEY, Fleet

_LIMIT_S = 12 * 3600.0  # virtual seconds of a download; the slowest client class would be done with 256 KiB
_JOIN_LIMIT_S = 120.0
_SETTLE_S = 30.0  # until nothing that follows a join is on the line any more


@dataclass(frozen=True, slots=True)
class Link:
    """`loss` is the chance of each frame and each MAC acknowledgement on the air, once the download begins."""

    radio: str
    baudrate: int
    loss: float = 0.0


@dataclass(frozen=True, slots=True)
class Measured:
    """Of one download by each device of the fleet, from the first request for a block to the last device's last one."""

    seconds: float
    octets: int  # of the images
    blocks: int
    line_octets_from_host: float  # per block, like the next
    line_octets_to_host: float

    @property
    def kb_per_s(self) -> float:
        return self.octets / 1000 / self.seconds

    @property
    def ms_per_block(self) -> float:
        return self.seconds * 1000 / self.blocks

    @property
    def line_octets(self) -> float:
        return self.line_octets_from_host + self.line_octets_to_host


class Host(Protocol):
    """A host on the bench that has formed a network."""

    bench: Bench

    async def permit(self) -> None: ...
    async def start_updates(self) -> None: ...


Serve = Callable[[Link, Fleet, str, Path], AbstractAsyncContextManager[Host]]
"""Takes the scenario's text, and a directory of its own."""


def measure(serve: Serve, link: Link, fleet: Fleet, directory: Path) -> Measured:
    directory.mkdir()
    with pytest.MonkeyPatch.context() as patch, virtual_time(patch) as run:
        measured: list[Measured] = []
        run(_download(serve, link, fleet, directory, measured.append))
        return measured[0]


async def _download(serve: Serve, link: Link, fleet: Fleet, directory: Path, done: Callable[[Measured], None]) -> None:
    times = watch(directory / "times.json", asyncio.get_running_loop().time)
    scenario = directory / "fleet.toml"
    fleet.write_scenario(scenario, smart_energy=True, ideal=False)
    text = f"line = {{ baudrate = {link.baudrate} }}\n{scenario.read_text()}"
    async with serve(link, fleet, text, directory) as host:
        await host.permit()
        for eui64 in fleet.eui64s:
            _order(host.bench, do="power_on", eui64=format_eui64(Eui64(eui64)))
        await _told(directory, "server_found", fleet, _JOIN_LIMIT_S)
        await asyncio.sleep(_SETTLE_S)
        _order(host.bench, do="loss", chance=link.loss)
        await host.start_updates()
        ended = await _told(directory, "download_complete", fleet, _LIMIT_S)
    times.write()
    done(_measured(json.loads((directory / "times.json").read_text()), fleet, ended))


def _order(bench: Bench, **command: object) -> None:
    bench.command(json.dumps(command).encode() + b"\n")


async def _told(directory: Path, event: str, fleet: Fleet, limit_s: float) -> float:
    """When the last device of the fleet said this."""
    events: list[dict[str, Any]] = []

    def all_did() -> bool:
        events[:] = map(json.loads, (directory / "events.jsonl").read_text().splitlines())
        assert not any(record["event"] == "download_failed" for record in events), "a download failed"
        return len({record["eui64"] for record in events if record["event"] == event}) == fleet.devices

    clock = asyncio.get_running_loop().time
    give_up = clock() + limit_s
    while not all_did():
        assert clock() < give_up, f"not all devices said {event} in {limit_s} s"
        await asyncio.sleep(1.0)
    return max(float(record["time_s"]) for record in events if record["event"] == event)


def _measured(times: dict[str, Any], fleet: Fleet, ended_s: float) -> Measured:
    size = len(fleet.image())
    blocks = -(-size // BLOCK_BYTES) * fleet.devices
    return Measured(
        seconds=ended_s - min(device["first_request_s"] for device in times["devices"]),
        octets=size * fleet.devices,
        blocks=blocks,
        line_octets_from_host=times["line"]["from_host_octets"] / blocks,
        line_octets_to_host=times["line"]["to_host_octets"] / blocks,
    )


@dataclass(frozen=True, slots=True)
class _Steps:
    """A `Host` made of two calls."""

    bench: Bench
    permit: Callable[[], Awaitable[None]]
    start_updates: Callable[[], Awaitable[None]]


@asynccontextmanager
async def chf(link: Link, fleet: Fleet, scenario: str, directory: Path) -> AsyncIterator[Host]:
    """Our hub, with its store and its audit."""
    devices = [Eui64(eui64) for eui64 in fleet.eui64s]
    async with desk_with_hub(directory, link.radio, scenario) as desk:

        async def permit() -> None:
            for device in devices:
                await desk.permit(device)

        async def start_updates() -> None:
            desk.start_update_with(fleet.image(), *devices)

        yield _Steps(desk.bench, permit, start_updates)


@asynccontextmanager
async def zigpy(link: Link, fleet: Fleet, scenario: str, directory: Path) -> AsyncIterator[Host]:
    """zigpy's own OTA server, at its best (`zigpy_host.py`)."""
    async with local_dongle(directory, scenario, ncp=link.radio, events=str(directory / "events.jsonl")) as bench:
        order = {
            "radio": link.radio,
            "port": bench.port.url,
            "use_thread": False,
            "smart_energy": True,
            "link_key": LINK_KEY.hex(),
            "devices": [f"{eui64:016x}" for eui64 in fleet.eui64s],
        }
        app = zigpy_host.application(order)
        await app.startup(auto_form=True)
        tasks: list[asyncio.Task[None]] = []

        async def permit() -> None:
            tasks.extend(await zigpy_host.permit(app, order))

        async def start_updates() -> None:
            tasks.extend(zigpy_host.start_updates(app, order, zigpy_host.firmware(fleet.image())))

        yield _Steps(bench, permit, start_updates)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await app.shutdown()


HOSTS: dict[str, Serve] = {"chf": chf, "zigpy": zigpy}
