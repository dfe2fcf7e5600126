"""Runs one virtual dongle until it is told to stop: the composition root of the virtual world."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Self, TextIO
from urllib.parse import urlsplit

from devices.bench.control import Control
from devices.bench.dongles import cut_for, kind_of
from devices.bench.faults import FaultyDongle
from devices.bench.ports import Port, PtyPort, TcpPort
from devices.bench.recordings import Capture, EventLog, KeyFile, NoEvents
from devices.bench.runner import Dongle, Runner
from devices.bench.scenario import Scenario, load_scenario
from devices.bench.serial_line import SerialLine
from devices.bench.state_file import StateFile, StateFileError
from devices.bench.toml_section import ScenarioError, format_eui64
from devices.bench.world import World, build_world


class ListenError(Exception):
    """The port cannot be had, or is not written as one. What to do is part of the message."""


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """What `python -m devices serve` was asked for. `events` is a path or "-" for standard output; `tied` ends it with
    standard input.
    """

    scenario: Path
    ncp: str | None = None
    listen: str = "tcp://127.0.0.1:0"
    pcap: Path | None = None
    keys: Path | None = None
    events: str | None = None
    seed: int | None = None
    control: bool = False
    tied: bool = False
    state: Path | None = None


class Bench:
    """The world, its clock, its port and its recordings. `async with`-able; `port.url` is where the host connects."""

    def __init__(self, scenario: Scenario, options: ServeOptions) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._closing = ExitStack()
        try:
            self.kind = kind_of(scenario.ncp, options.ncp)
        except ValueError as error:
            raise ScenarioError(options.scenario, "ncp.stick", str(error)) from None
        state = None if options.state is None else StateFile.open(options.state, scenario, self.kind)
        if state is not None:
            self._closing.callback(state.close)
            # Chance after a start is not that of the start before; a scenario's own seed has 32 bits.
            scenario = replace(scenario, seed=scenario.seed + (state.starts << 32))
        self._events = self._open_events(options.events, now)
        self.world: World = build_world(scenario, self._events or NoEvents(), now, self.kind)
        if state is not None:
            try:
                state.restore(self.world)
            except StateFileError:
                self._closing.close()
                raise
        self._capture = None if options.pcap is None else Capture(options.pcap, now)
        if self._capture is not None:
            self._closing.callback(self._capture.close)
            self.world.medium.taps.append(self._capture.write)
        link_keys = {entry.settings.eui64: entry.settings.link_key for entry in scenario.devices}
        self._keys = None if options.keys is None else KeyFile(options.keys, link_keys)
        records = self._capture or self._keys or self._events
        queue = self.world.queue
        faulty = FaultyDongle(self.world.dongle, scenario.faults, Random(f"{scenario.seed} line"), queue)
        keep = None if state is None else partial(state.save, self.world)
        self.runner = Runner(loop, queue, _on_line(faulty, scenario), self._after_turn if records else None, keep)
        self.port = faulty.port = open_port(options.listen, self.runner)
        self.control = None
        if self._events is not None:
            self.control = Control(self.world, faulty, self._events.write)

    def _open_events(self, where: str | None, now: float) -> EventLog | None:
        if where is None:
            return None
        stream: TextIO = sys.stdout
        if where != "-":
            stream = Path(where).open("w", encoding="utf-8")  # noqa: SIM115 closed with the bench
            self._closing.callback(stream.close)
        return EventLog(stream, now, self._now)

    def _now(self) -> float:
        return self.world.queue.now  # the world is built after the log

    def listen_to(self, descriptor: int, obey: Callable[[bytes], None], ended: Callable[[], None]) -> None:
        """Read there until its end, and tell of it."""
        loop = asyncio.get_running_loop()

        def readable() -> None:
            octets = os.read(descriptor, 65_536)
            if octets:
                obey(octets)
                return
            loop.remove_reader(descriptor)
            ended()

        loop.add_reader(descriptor, readable)
        self._closing.callback(loop.remove_reader, descriptor)

    def command(self, octets: bytes) -> None:
        """Lines of devices.bench.control."""
        assert self.control is not None, "the answers to commands are events: ask for events"
        self.runner.pump()
        self.control.octets_received(octets)
        self.runner.pump()

    def _after_turn(self) -> None:
        if self._events is not None:
            self._events.flush()
        if self._capture is not None:
            self._capture.flush()
        if self._keys is not None:
            self._keys.look_at(self.world.dongle)

    async def __aenter__(self) -> Self:
        try:
            await self.port.open()
        except OSError as error:
            await self.__aexit__()
            raise ListenError(f"{error.strerror or error}: choose another --listen, or tcp://127.0.0.1:0") from None
        self.runner.line = self.port
        # Not yet: what the devices do comes after what the owner says about the port.
        asyncio.get_running_loop().call_soon(self.runner.pump)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.runner.stop()
        await self.port.close()
        if self._keys is not None:
            self._keys.look_at(self.world.dongle)
        if self._events is not None:
            self._events.flush()
        self._closing.close()


def _on_line(faulty: FaultyDongle, scenario: Scenario) -> Dongle:
    """The dongle at the end of the scenario's line."""
    if scenario.line.baudrate is None:
        return faulty
    return SerialLine(faulty, cut_for(faulty.dongle), faulty.queue, scenario.line.baudrate)


def open_port(listen: str, runner: Runner) -> Port:
    """`tcp://HOST:PORT` (port 0: any free one), `pty`, or `pty:PATH` with a symbolic link to the terminal."""
    if listen == "pty":
        return PtyPort(runner.octets_received)
    if listen.startswith("pty:"):
        return PtyPort(runner.octets_received, Path(listen.removeprefix("pty:")))
    parts = urlsplit(listen)
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.scheme != "tcp" or parts.hostname is None or port is None or parts.path not in {"", "/"}:
        raise ListenError(f"{listen!r} is not a port: write tcp://127.0.0.1:0, pty, or pty:PATH")
    return TcpPort(parts.hostname, port, runner.octets_received)


async def serve(options: ServeOptions) -> None:
    """Print one JSON line once a host can connect, then serve until SIGTERM or SIGINT.

    Raises ScenarioError, ListenError and StateFileError for what the caller can put right. A fault of the virtual world
    itself ends it with that exception: half a world that goes on would be taken for a radio problem.
    """
    scenario = load_scenario(options.scenario)
    if options.seed is not None:
        scenario = replace(scenario, seed=options.seed)
    loop = asyncio.get_running_loop()
    stopped: asyncio.Future[None] = loop.create_future()

    def stop() -> None:
        if not stopped.done():
            stopped.set_result(None)

    def fail(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, Exception) and not stopped.done():
            stopped.set_exception(error)

    loop.set_exception_handler(fail)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    async with Bench(scenario, options) as bench:
        if options.control or options.tied:
            obey = bench.command if options.control else lambda _octets: None
            bench.listen_to(sys.stdin.fileno(), obey, stop if options.tied else lambda: None)
        ready = {
            "port": bench.port.url,
            "ncp": bench.kind,
            "version": bench.world.dongle.personality.name,
            "eui64": format_eui64(scenario.ncp.eui64),
            "devices": len(scenario.devices),
            "seed": scenario.seed,
            "pid": os.getpid(),
        }
        sys.stdout.write(json.dumps(ready) + "\n")
        sys.stdout.flush()
        await stopped
