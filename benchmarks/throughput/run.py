"""One run: a fresh virtual dongle, a fresh host, a fleet that joins, and then all updates at once."""

import asyncio
import json
import math
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from throughput.fleet import BLOCK_BYTES, Fleet
from throughput.peers import JOIN_LIMIT_S, Peer
from throughput.processes import BrokenRunError, Process, running

_DEVICES = Path(__file__).parents[1] / "timed_devices.py"
_START_LIMIT_S = 20.0
_SETTLE_S = 1.5  # the devices' first query (0.5 s after they found the server) and the hub's tunnels are over by then
_REPEATED_S = 2.5  # whatever took so long was asked for again: devices do so after 3 s or 5 s
_BLOCK_LIMIT_S = 0.5  # for each block of each device; a run that is slower than this is broken


@dataclass(frozen=True, slots=True)
class Measurement:
    """Of one run. Rates and latencies are those of the quick devices; costs are for every block that was served.

    `host_ms_per_block` is the block period of a device less its own think time. It leaves out the waits for requests
    that were lost and repeated, so that it says how fast a host serves what it has heard; the rates have them in.
    `turnaround_p50_ms` is the part of it that is the host's own: from octets on the line to octets on the line.
    """

    blocks_per_s: float
    host_ms_per_block: float
    turnaround_p50_ms: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    host_cpu_us_per_block: float
    dongle_cpu_us_per_block: float
    host_peak_mib: float
    line_octets_from_host: float  # per block, like the next
    line_octets_to_host: float
    seconds: float
    blocks: int
    repeated_requests: int

    def to_json(self) -> dict[str, float]:
        return {name: round(value, 3) for name, value in asdict(self).items()}


async def run(peer: Peer, radio: str, fleet: Fleet) -> Measurement:
    """Raises BrokenRunError where there is nothing to measure."""
    with tempfile.TemporaryDirectory(prefix="chf-throughput-") as name:
        directory = Path(name)
        scenario, times = directory / "scenario.toml", directory / "block-times.json"
        fleet.write_scenario(scenario, smart_energy=peer.smart_energy)
        command = [sys.executable, str(_DEVICES), "--block-times", str(times), "serve", str(scenario)]
        command += ["--ncp", radio, "--events", "-", "--control"]
        async with running("the virtual dongle", command, directory / "dongle.log") as dongle:
            port = json.loads(await dongle.line(_START_LIMIT_S))["port"]
            async with peer.serve(radio, port, fleet, directory) as host:
                await host.permit()
                await _join(dongle, fleet)
                await host.joined()
                before = host.process.cpu_s(), dongle.cpu_s()
                await host.start_updates()
                await _downloaded(dongle, fleet)
                after = host.process.cpu_s(), dongle.cpu_s()
                peak_kib = host.process.peak_memory_kib()
        return _measurement(
            json.loads(times.read_text()), fleet, (after[0] - before[0], after[1] - before[1]), peak_kib
        )


async def _join(dongle: Process, fleet: Fleet) -> None:
    for eui64 in fleet.eui64s:
        await dongle.say(json.dumps({"do": "power_on", "eui64": f"{eui64:016X}"}))
    await _all_of(dongle, "server_found", fleet.eui64s, JOIN_LIMIT_S)
    await asyncio.sleep(_SETTLE_S)


async def _downloaded(dongle: Process, fleet: Fleet) -> None:
    """All quick devices have their image. The slow ones are there to be in the way, not to finish."""
    blocks = math.ceil(len(fleet.image()) / BLOCK_BYTES) * fleet.devices
    await _all_of(dongle, "download_complete", fleet.quick, 60.0 + blocks * _BLOCK_LIMIT_S)


async def _all_of(dongle: Process, event: str, eui64s: range, limit_s: float) -> None:
    missing = set(eui64s)

    def was_last(line: str) -> bool:
        told = json.loads(line)
        if told["event"] == "download_failed":
            raise BrokenRunError(f"a download failed: {line}")
        if told["event"] == event:
            missing.discard(int(told["eui64"].replace("-", ""), 16))
        return not missing

    await dongle.until(was_last, limit_s)


def _measurement(times: dict[str, Any], fleet: Fleet, cpu_s: tuple[float, float], peak_kib: int) -> Measurement:
    quick_names = {eui64.to_bytes(8, "big").hex("-").upper() for eui64 in fleet.quick}
    quick = [device for device in times["devices"] if device["eui64"] in quick_names]
    blocks = math.ceil(len(fleet.image()) / BLOCK_BYTES) * fleet.devices
    took_us = sorted(took for device in quick for took in device["took_us"])
    seconds = max(device["last_answer_s"] for device in quick) - min(device["first_request_s"] for device in quick)
    served = blocks + sum(len(device["took_us"]) for device in times["devices"] if device not in quick)
    return Measurement(
        blocks_per_s=blocks / seconds,
        host_ms_per_block=_host_ms_per_block(quick, fleet, blocks),
        turnaround_p50_ms=median(took for device in quick for took in device["turnaround_us"]) / 1000,
        p50_ms=median(took_us) / 1000,
        p99_ms=took_us[min(len(took_us) * 99 // 100, len(took_us) - 1)] / 1000,
        max_ms=took_us[-1] / 1000,
        host_cpu_us_per_block=cpu_s[0] * 1e6 / served,
        dongle_cpu_us_per_block=cpu_s[1] * 1e6 / served,
        host_peak_mib=peak_kib / 1024,
        line_octets_from_host=times["line"]["from_host_octets"] / served,
        line_octets_to_host=times["line"]["to_host_octets"] / served,
        seconds=seconds,
        blocks=blocks,
        repeated_requests=sum(device["repeated"] for device in quick),
    )


def _host_ms_per_block(quick: list[dict[str, Any]], fleet: Fleet, blocks: int) -> float:
    waiting_s, lost, answers = 0.0, 0, 0
    for device in quick:
        stalls_s = [took / 1e6 for took in device["took_us"] if took / 1e6 > _REPEATED_S]
        waiting_s += device["last_answer_s"] - device["first_request_s"] - sum(stalls_s)
        lost += len(stalls_s)
        answers += len(device["took_us"])
    return (waiting_s * 1000 - fleet.think_ms * answers) / (blocks - lost)
