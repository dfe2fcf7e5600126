"""What the hub's own code takes for an image block: from the request's octets to the answer's, within its process.

    python benchmarks/hub_turnaround.py [--radio znp] [--think-ms 2] [--calls]

The hub runs in this process, on a virtual dongle in another. The clock starts when the event loop hands the octets of a
request to the line, and stops when those of the answer are handed to the socket, so that neither processes that wake
nor the dongle are in it: the minimum and the median do not mind a busy machine much. `--calls` counts function calls
(of Python and of C) in the place of time, which does not mind it at all.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from asyncio.selector_events import _SelectorSocketTransport
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from throughput.chf_host import ChfHost
from throughput.fleet import BLOCK_BYTES, Fleet
from throughput.processes import BrokenRunError, Process, running

from chf.cli.dcc.pki import open_pki
from chf.cli.dongle import Dongle
from chf.cli.run import settle
from chf.clock import SystemClock
from chf.hub import Hub
from chf.store import Store

_LIMIT_S = 120.0
_SETTLE_S = 1.5  # as in throughput/run.py
_ANSWER_BYTES = 17 + BLOCK_BYTES  # no other frame to the dongle is as long while blocks go out
_WARM_UP = 100  # blocks


class Line:
    """The hub's socket, listened to: what came last, and how long after it a block left."""

    def __init__(self, *, calls: bool) -> None:
        self.us: list[float] = []
        self.counts: list[int] = []
        self.called: Counter[str] = Counter()
        self._calls = calls
        self._since = 0.0
        self._turn: Counter[str] = Counter()

    def install(self) -> None:
        """Around what asyncio calls for octets that came, and what a transport is told to write."""
        receive, write = _SelectorSocketTransport._read_ready, _SelectorSocketTransport.write
        line = self

        def received(transport: Any) -> None:
            line.begin()
            receive(transport)
            sys.setprofile(None)

        def written(transport: Any, data: bytes) -> None:
            if len(data) > _ANSWER_BYTES:
                line.end()
            write(transport, data)

        _SelectorSocketTransport._read_ready = received
        _SelectorSocketTransport.write = written

    def begin(self) -> None:
        self._turn.clear()
        self._since = time.perf_counter()
        if self._calls:
            sys.setprofile(self._profile)

    def end(self) -> None:
        took = time.perf_counter() - self._since
        sys.setprofile(None)
        self.us.append(took * 1e6)
        self.counts.append(self._turn.total())
        self.called += self._turn

    def forget(self) -> None:
        for kept in (self.us, self.counts, self.called):
            kept.clear()

    def _profile(self, frame: Any, event: str, argument: Any) -> None:
        if event == "call":
            self._turn[f"{Path(frame.f_code.co_filename).name}:{frame.f_code.co_qualname}"] += 1
        elif event == "c_call":
            self._turn[getattr(argument, "__qualname__", repr(argument))] += 1


class _Here:
    """The hub's process, which is this one."""

    def insist(self) -> None: ...

    def broken(self, what: str) -> BrokenRunError:
        return BrokenRunError(f"the hub {what}")


@asynccontextmanager
async def _dongle(directory: Path, radio: str, fleet: Fleet) -> AsyncIterator[tuple[Process, str]]:
    scenario = directory / "scenario.toml"
    fleet.write_scenario(scenario, smart_energy=True)
    command = [sys.executable, "-m", "devices", "serve", str(scenario), "--ncp", radio, "--events", "-", "--control"]
    async with running("the virtual dongle", command, directory / "dongle.log") as process:
        yield process, json.loads(await process.line(_LIMIT_S))["port"]


async def measure(line: Line, radio: str, fleet: Fleet) -> float:
    """Fill `line` with one download of each device; returns CPU seconds for a block, of this process."""
    line.install()
    with tempfile.TemporaryDirectory(prefix="chf-turnaround-") as name:
        directory = Path(name)
        home = directory / "home"
        async with _dongle(directory, radio, fleet) as (dongle, port):
            with Store.open(home, hub=True) as store:
                up = asyncio.Event()
                driver = Dongle(radio, port, 115_200, None, None).open()
                hub = Hub(store, driver, open_pki(home), SystemClock())
                running_hub = asyncio.ensure_future(hub.run(form=True, ready=lambda _: up.set()))
                try:
                    async with asyncio.timeout(_LIMIT_S):
                        await up.wait()
                    host = ChfHost(_Here(), fleet, home)
                    await host.permit()
                    for eui64 in fleet.eui64s:
                        await dongle.say(json.dumps({"do": "power_on", "eui64": f"{eui64:016X}"}))
                    await _told(dongle, "server_found", fleet.devices)
                    await asyncio.sleep(_SETTLE_S)

                    settle()
                    line.forget()
                    before = time.process_time()
                    await host.start_updates()
                    await _told(dongle, "download_complete", fleet.devices)
                    return (time.process_time() - before) / len(line.us)
                finally:
                    running_hub.cancel()
                    await asyncio.wait({running_hub})


async def _told(dongle: Process, event: str, times: int) -> None:
    for _ in range(times):
        await dongle.until(_is(event), _LIMIT_S)


def _is(event: str) -> Callable[[str], bool]:
    return lambda line: json.loads(line)["event"] == event


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--radio", choices=("ezsp", "znp"), default="ezsp")
    parser.add_argument("--image-kib", type=int, default=64)
    parser.add_argument("--think-ms", type=int, default=0)
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--calls", action="store_true", help="count function calls in the place of time")
    arguments = parser.parse_args()
    line = Line(calls=arguments.calls)
    fleet = Fleet(arguments.devices, arguments.image_kib, think_ms=arguments.think_ms)
    cpu_s = asyncio.run(measure(line, arguments.radio, fleet))
    if arguments.calls:
        counts = line.counts[_WARM_UP:]
        print(f"function calls for a block: {median(counts):.0f} (at least {min(counts)})")
        for name, times in line.called.most_common():
            if times >= len(line.counts) / 2:
                print(f"  {times / len(line.counts):5.2f}  {name}")
        return
    took = line.us[_WARM_UP:]
    cuts = quantiles(took, n=100)
    print(f"{arguments.radio}, {len(took)} blocks, in us: minimum {min(took):.1f}, p10 {cuts[9]:.1f}, ", end="")
    print(f"median {median(took):.1f}, p90 {cuts[89]:.1f}; CPU of a block {cpu_s * 1e6:.0f}")


if __name__ == "__main__":
    main()
