"""The virtual dongle for tests of anything that drives it: in its own process, or in the test's event loop.

with virtual_dongle(tmp_path, ppmid("00-DB-12-34-56-78-90-A4")) as dongle:
    host = connect(dongle.port)
    dongle.wait_for("joined")

async with local_dongle(tmp_path, ppmid(...)) as bench:      # bench.port.url, bench.world.devices
    ...
"""

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from devices.bench.scenario import load_scenario
from devices.bench.serve import Bench, ServeOptions

ROOT = Path(__file__).parents[2]
EUI64 = "00-DB-12-34-56-78-90-A4"
INSTALL_CODE = "83FED3407A939723A5C639B26916D505C3B5"
LINK_KEY = bytes.fromhex("66B6900981E1EE3CA4206B6B861C02BB")


def ppmid(eui64: str = EUI64, **settings: object) -> str:
    """A [[device]] table. Settings replace or add keys; a value is written as TOML."""
    keys: dict[str, object] = {
        "type": "ppmid",
        "eui64": eui64,
        "install_code": INSTALL_CODE,
        "manufacturer": 0x10D4,
        "image_type": 0x0001,
        "hardware_version": 1,
        "file_version": 1,
        **settings,
    }
    return "[[device]]\n" + "".join(f"{key} = {_toml(value)}\n" for key, value in keys.items())


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(inner)}" for key, inner in value.items()) + "}"
    return json.dumps(value)  # texts, numbers and booleans are written alike in both


@dataclass
class VirtualDongle:
    """A running `python -m devices serve`."""

    process: subprocess.Popen[bytes]
    ready: dict[str, Any]
    capture: Path
    keys: Path
    seen: list[dict[str, Any]] = field(default_factory=list)
    _unfinished: bytes = b""

    @property
    def port(self) -> str:
        return str(self.ready["port"])

    def events(self) -> list[dict[str, Any]]:
        """Everything that the devices have told so far."""
        self.read(0.0)
        return self.seen

    def wait_for(self, event: str, *, timeout_s: float = 30.0, after: int = 0) -> dict[str, Any]:
        """The first event of this name at or behind position `after` of `events()`."""
        deadline = time.monotonic() + timeout_s
        while True:
            for record in self.seen[after:]:
                if record["event"] == event:
                    return record
            left_s = deadline - time.monotonic()
            assert left_s > 0, f"no {event!r} in {timeout_s} s, only {[record['event'] for record in self.seen]}"
            self.read(left_s)

    def read(self, timeout_s: float) -> None:
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            while selector.select(timeout_s):
                octets = os.read(self.process.stdout.fileno(), 65_536)
                if not octets:
                    assert self.process.poll() is None, "the virtual dongle died"
                    return
                *lines, self._unfinished = (self._unfinished + octets).split(b"\n")
                self.seen += map(json.loads, lines)
                timeout_s = 0.0

    def command(self, **command: object) -> dict[str, Any]:
        """One line of devices/bench/control.py, and its answer."""
        assert self.process.stdin is not None
        answers = ("control", "control_refused")
        before = sum(record["event"] in answers for record in self.seen)
        self.process.stdin.write(json.dumps(command).encode() + b"\n")
        self.process.stdin.flush()
        deadline = time.monotonic() + 10.0
        while len(found := [record for record in self.seen if record["event"] in answers]) <= before:
            assert time.monotonic() < deadline, f"{command} was not answered"
            self.read(1.0)
        return found[-1]

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it and give its exit code."""
        self.process.send_signal(number)
        return self.process.wait(10.0)


def serve_command(scenario: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "devices", "serve", str(scenario), *options]


@contextmanager
def virtual_dongle(
    directory: Path, scenario: str = "", *options: str, listen: str = "tcp://127.0.0.1:0", capture: bool = False
) -> Iterator[VirtualDongle]:
    """`scenario` is TOML text. With `capture`, `.capture` and `.keys` are written while it runs.

    It runs in real time, and so on an ideal line and air.
    """
    path = directory / "scenario.toml"
    path.write_text(f"ideal = true\n{scenario}")
    pcap, keys = directory / "air.pcap", directory / "keys.txt"
    recordings = ["--pcap", str(pcap), "--keys", str(keys)] if capture else []
    process = subprocess.Popen(
        serve_command(path, "--listen", listen, "--events", "-", "--control", *recordings, *options),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        dongle = VirtualDongle(process, {}, pcap, keys)
        deadline = time.monotonic() + 20.0
        while not dongle.seen:
            dongle.read(1.0)
            assert process.poll() is None, f"the virtual dongle ended with {process.returncode}"
            assert time.monotonic() < deadline, "the virtual dongle was not ready in 20 s"
        dongle.ready = dongle.seen.pop(0)
        yield dongle
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(10.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        process.stdin.close()
        process.stdout.close()


@asynccontextmanager
async def local_dongle(directory: Path, scenario: str = "", **options: Any) -> AsyncIterator[Bench]:
    """In this event loop, where `scenario` says what line and air are; `options` are those of ServeOptions."""
    path = directory / "scenario.toml"
    path.write_text(scenario)
    async with Bench(load_scenario(path), ServeOptions(path, **options)) as bench:
        yield bench
