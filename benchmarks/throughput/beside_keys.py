"""One download of our hub, quiet and while other devices join and establish their keys: how long its blocks take.

Each run has a dongle and a hub of its own, in `cbke` mode, and a download that outlasts it. It is quiet for some
seconds; then all other devices are switched on at once, and the busy time lasts until the last one has its key. So
quiet and busy are neighbours in time, and take turns from run to run.
"""

import asyncio
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from chf.crypto.ecqv import Suite
from chf.eui64 import Eui64
from chf.pki.gbcs import Pki
from chf.pki.zigbee import ZigbeePki
from chf.store import Store
from throughput.chf_host import ChfHost
from throughput.fleet import FIRST_EUI64, INSTALL_CODE, MANUFACTURER, Fleet
from throughput.processes import ROOT, BrokenRunError, Process, running

DONGLE = Eui64(0x00DB_1234_5FFF_0001)
DOWNLOADER = FIRST_EUI64
LIMIT_S = 120.0
_IMAGE_KIB = 700  # near the largest: the download outlasts what is measured
BUSY_LIMIT_MS = 20.0
"""The goal: a busy run's p99 is no more than this, about what a block takes on a real link (docs/adr/0013)."""

_DEVICE = """
[[device]]
type = "ppmid"
eui64 = "{eui64:016X}"
install_code = "{install_code}"
credentials = "{credentials}"
power_on_s = 86400.0  # the benchmark switches them on
reboot_s = 86400.0
query_interval_s = 86400.0
manufacturer = {manufacturer}
image_type = 1
hardware_version = 0x0101
file_version = 1
block_size = 50
think_time_s = {think_s}
"""


class LostAnswerError(BrokenRunError):
    """A device took an answer for a copy of an earlier one, and starts again after a while: not a run to measure.

    APS counters are one octet for all that a dongle sends, and a device remembers those of some seconds. With the air
    that fast they come round within one.
    """


class Others(Fleet):
    """The devices that only establish keys."""

    @property
    def eui64s(self) -> range:
        return range(FIRST_EUI64 + 1, FIRST_EUI64 + 1 + self.devices)


@dataclass(frozen=True, slots=True)
class Plan:
    radio: str
    devices: int
    suite: Suite
    think_ms: int

    @property
    def downloader(self) -> Fleet:
        return Fleet(1, _IMAGE_KIB)

    @property
    def others(self) -> Others:
        return Others(self.devices, _IMAGE_KIB)

    def certify(self, directory: Path) -> None:
        """Once for all runs: a PKI for the hub, and certificates of the dongle and every device."""
        pki = ZigbeePki(Pki.create(directory / "pki", chf=DONGLE).path / "zigbee")
        for eui64 in (DONGLE, DOWNLOADER, *self.others.eui64s):
            pki.issue(Eui64(eui64))

    def write_scenario(self, path: Path, pki: Path) -> None:
        text = f'ideal = true\n[ncp]\neui64 = "{DONGLE:016X}"\n'
        for eui64 in (DOWNLOADER, *self.others.eui64s):
            text += _DEVICE.format(
                eui64=eui64,
                install_code=INSTALL_CODE.hex(),
                credentials=pki / "zigbee" / f"{eui64:016x}-suite{self.suite.value}.txt",
                manufacturer=MANUFACTURER,
                think_s=self.think_ms / 1000,
            )
        path.write_text(text, encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Latency:
    """Of the blocks that were answered within so many seconds."""

    p50_ms: float
    p99_ms: float
    max_ms: float
    blocks: int
    seconds: float


async def run(plan: Plan, certificates: Path, *, quiet_s: float) -> tuple[Latency, Latency]:
    """Quiet, and busy. Raises BrokenRunError where there is nothing to measure."""
    with tempfile.TemporaryDirectory(prefix="chf-beside-keys-") as name:
        directory = Path(name)
        home = directory / "home"
        Store.open(home).close()
        shutil.copytree(certificates / "pki", home / "pki")
        scenario, times, settings = (directory / file for file in ("scenario.toml", "times.json", "hub.toml"))
        plan.write_scenario(scenario, home / "pki")
        settings.write_text('[security]\nmode = "cbke"\n', encoding="ascii")
        command = [sys.executable, str(ROOT / "benchmarks" / "quick_devices.py")]
        command += ["--block-times", str(times), "serve", str(scenario)]
        command += ["--ncp", plan.radio, "--events", "-", "--control"]
        async with running("the virtual dongle", command, directory / "dongle.log") as dongle:
            port = json.loads(await dongle.line(LIMIT_S))["port"]
            hub = [sys.executable, "-m", "chf.cli.main", "run", "--radio", plan.radio, "--port", port]
            hub += ["--home", str(home), "--config", str(settings)]
            async with running("chf", hub, directory / "hub.log") as process:
                host = ChfHost(process, plan.downloader, home)
                await host.is_up(LIMIT_S)
                await host.permit()
                await _power_on(dongle, [DOWNLOADER])
                await _all_of(dongle, "server_found", [DOWNLOADER])
                await ChfHost(process, plan.others, home).permit()
                await host.start_updates()
                await _all_of(dongle, "download_progress", [DOWNLOADER])
                at = [time.perf_counter()]
                await asyncio.sleep(quiet_s)
                at.append(time.perf_counter())
                await _power_on(dongle, plan.others.eui64s)
                await _all_of(dongle, "key_established", plan.others.eui64s)
                at.append(time.perf_counter())
        measured = json.loads(times.read_text())
        return _latency(measured, at[0], at[1]), _latency(measured, at[1], at[2])


async def _power_on(dongle: Process, eui64s: Iterable[int]) -> None:
    for eui64 in eui64s:
        await dongle.say(json.dumps({"do": "power_on", "eui64": f"{eui64:016X}"}))


async def _all_of(dongle: Process, event: str, eui64s: Iterable[int]) -> None:
    missing = set(eui64s)

    def was_last(line: str) -> bool:
        told = json.loads(line)
        if told["event"] == "key_establishment_failed" and told["reason"].startswith("no answer"):
            raise LostAnswerError(f"a device starts again: {line}")
        if told["event"] in {"download_failed", "download_complete", "key_establishment_failed"}:
            raise BrokenRunError(f"not to happen while it is measured: {line}")
        if told["event"] == event:
            missing.discard(int(told["eui64"].replace("-", ""), 16))
        return not missing

    await dongle.until(was_last, LIMIT_S)


def _latency(times: dict[str, Any], start: float, end: float) -> Latency:
    name = DOWNLOADER.to_bytes(8, "big").hex("-").upper()
    device = next(device for device in times["devices"] if device["eui64"] == name)
    blocks = zip(device["took_us"], device["answered_s"], strict=True)
    took_ms = sorted(took / 1000 for took, when in blocks if start <= when <= end)
    if not took_ms:
        raise BrokenRunError("no block was answered while it was measured")
    p99 = took_ms[min(len(took_ms) * 99 // 100, len(took_ms) - 1)]
    return Latency(median(took_ms), p99, took_ms[-1], len(took_ms), end - start)
