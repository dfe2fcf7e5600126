"""The hosts that are compared. A new one is a `Peer` in `PEERS`, and nothing else changes.

`serve` starts the host on a port and forms a network; the `Host` that it yields lets the fleet join, asks the devices
what it wants to know of them, and starts all their updates at once. Everything is measured from outside.
"""

import json
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from chf.store import Store
from throughput.chf_host import ChfHost
from throughput.fleet import BLOCK_BYTES, INSTALL_CODE, LINK_KEY, Fleet
from throughput.processes import ROOT, BrokenRunError, Process, running

RADIOS = frozenset({"ezsp", "znp"})
START_LIMIT_S = 60.0
JOIN_LIMIT_S = 120.0


class Host(Protocol):
    @property
    def process(self) -> Process: ...

    async def permit(self) -> None:
        """Let every device of the fleet join, by its install code."""
        ...

    async def joined(self) -> None:
        """Every device has joined: ask them what must be known before an update, which is not measured."""
        ...

    async def start_updates(self) -> None: ...


class Peer(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def radios(self) -> frozenset[str]:
        """Kinds of dongle that it can drive."""
        ...

    @property
    def smart_energy(self) -> bool:
        """Whether it can serve devices on profile 0x0109 with APS security."""
        ...

    def serve(self, radio: str, port: str, fleet: Fleet, directory: Path) -> AbstractAsyncContextManager[Host]: ...


@dataclass(frozen=True, slots=True)
class ChfPeer:
    """Our hub: `chf run` with its store, its audit and its PKI, told what to do as the command line tells it."""

    name: str = "chf"
    radios: frozenset[str] = RADIOS
    smart_energy: bool = True

    @asynccontextmanager
    async def serve(self, radio: str, port: str, fleet: Fleet, directory: Path) -> AsyncIterator[Host]:
        home = directory / "home"
        Store.open(home).close()  # the host's state is asked for while it starts
        command = [sys.executable, "-m", "chf.cli.main", "run", "--radio", radio, "--port", port, "--home", str(home)]
        async with running(self.name, command, directory / "host.log") as process:
            host = ChfHost(process, fleet, home)
            await host.is_up(START_LIMIT_S)
            yield host


@dataclass(frozen=True, slots=True)
class ZigpyPeer:
    """zigpy's own OTA server (`zigpy_host.py`)."""

    name: str
    use_thread: bool
    smart_energy: bool = True
    radios: frozenset[str] = RADIOS

    @asynccontextmanager
    async def serve(self, radio: str, port: str, fleet: Fleet, directory: Path) -> AsyncIterator[Host]:
        image = directory / "image.ota"
        image.write_bytes(fleet.image())
        order = {
            "radio": radio,
            "port": port,
            "use_thread": self.use_thread,
            "smart_energy": self.smart_energy,
            "image": str(image),
            "link_key": LINK_KEY.hex(),
            "devices": [f"{eui64:016x}" for eui64 in fleet.eui64s],
        }
        command = [sys.executable, str(Path(__file__).with_name("zigpy_host.py")), json.dumps(order)]
        async with running(self.name, command, directory / "host.log") as process:
            await process.until("formed".__eq__, START_LIMIT_S)
            yield _ToldByLines(process)


@dataclass(frozen=True, slots=True)
class HerdsmanPeer:
    """zigbee-herdsman's OTA server (`herdsman_host.js`), without Smart Energy. `.ci/run` installs it into `.node`."""

    name: str = "herdsman"
    smart_energy: bool = False
    radios: frozenset[str] = RADIOS

    @asynccontextmanager
    async def serve(self, radio: str, port: str, fleet: Fleet, directory: Path) -> AsyncIterator[Host]:
        node, herdsman = shutil.which("node"), ROOT / ".node" / "node_modules" / "zigbee-herdsman"
        if node is None or not herdsman.is_dir():
            raise BrokenRunError("herdsman: node, or .node/node_modules/zigbee-herdsman, is missing: see .ci/run")
        image = directory / "image.ota"
        image.write_bytes(fleet.image())
        order = {
            "herdsman": str(herdsman),
            "adapter": {"ezsp": "ember", "znp": "zstack"}[radio],
            "port": port,
            "directory": str(directory),
            "image": str(image),
            "installCode": INSTALL_CODE.hex(),
            "blockBytes": BLOCK_BYTES,
            "devices": [f"{eui64:016x}" for eui64 in fleet.eui64s],
        }
        command = [node, str(Path(__file__).with_name("herdsman_host.js")), json.dumps(order)]
        async with running(self.name, command, directory / "host.log") as process:
            await process.until("formed".__eq__, START_LIMIT_S)
            yield _ToldByLines(process)


@dataclass(frozen=True, slots=True)
class _ToldByLines:
    """A host program of this benchmark: one word a line, each answered by one when it is done."""

    process: Process

    async def permit(self) -> None:
        await self.process.say("permit")
        await self.process.until("permitted".__eq__, JOIN_LIMIT_S)

    async def joined(self) -> None:
        await self.process.say("joined")
        await self.process.until("known".__eq__, JOIN_LIMIT_S)

    async def start_updates(self) -> None:
        await self.process.say("update")


PEERS: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        ChfPeer(),
        ZigpyPeer("zigpy", use_thread=True),
        ZigpyPeer("zigpy-no-thread", use_thread=False),
        ZigpyPeer("zigpy-home-automation", use_thread=False, smart_energy=False),
        HerdsmanPeer(),
    )
}
"""The first is ours; ratios are to each of the others."""

DEFAULT_PEERS = ("chf", "zigpy", "zigpy-no-thread")
