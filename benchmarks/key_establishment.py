"""What key establishment costs: one side of an agreement, and a download that runs beside it.

    python benchmarks/key_establishment.py [--rounds 20] [--runs 5] [--radio znp] [--suite 1] [--json]

First the arithmetic of one side, for both suites, beside OpenSSL's scalar multiplication; both are measured in turns,
and medians are printed, so that a busy machine is busy for both. OpenSSL does one multiplication in C; a side does
about three and a half, a certificate's hash and two MACs, in Python.

Then, with the hub and a virtual dongle as they are, the block latency of one download: quiet, and while ten devices
join and establish their keys, in turns (`throughput/beside_keys.py`). `--runs 0` leaves that out.
"""

import argparse
import asyncio
import contextlib
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from openssl_curves import OpenSslCurve
from throughput.beside_keys import BUSY_LIMIT_MS, Latency, LostAnswerError, Plan, run
from throughput.processes import BrokenRunError

from chf.crypto.ecmqv import Ephemeral, agree
from chf.crypto.ecqv import CertificateAuthority, Suite

HUB, DEVICE, ISSUER = 0xDB_0001, 0xDB_0002, 0xDB_00CA
BIG = (1 << 400) + 12345
_ATTEMPTS = 4
LIMIT_MS = {Suite.ONE: 30.0, Suite.TWO: 75.0}
"""Of one side, on a machine of two cores: what the issue promises."""


def once_ms(work) -> float:
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) * 1e3


def measure_side(suite: Suite, rounds: int) -> dict[str, Any]:
    curve = suite.curve
    authority = CertificateAuthority.generate(suite, ISSUER, BIG)
    hub, device = (authority.issue(subject, BIG + subject, BIG * 3) for subject in (HUB, DEVICE))
    theirs = Ephemeral.from_scalar(curve, BIG * 5)

    def side() -> None:
        ours = Ephemeral.from_scalar(curve, BIG * 7)
        agree(hub, ours, device.certificate, theirs.public_key, initiator=False)

    point = curve.decompress(theirs.public_key)
    works = {"side": side, "multiplication": lambda: curve.multiply(BIG % curve.order, point)}
    with contextlib.suppress(OSError, AttributeError):
        openssl = OpenSslCurve(curve.name, curve.field.octets)
        openssl.take(BIG % curve.order, theirs.public_key)
        works["openssl"] = openssl.multiply
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            times[name].append(once_ms(work))
    medians = {f"{name}_ms": round(statistics.median(taken), 3) for name, taken in times.items()}
    return {"suite": suite.value, "curve": curve.name, **medians, "limit_ms": LIMIT_MS[suite]}


async def measure_download(plan: Plan, certificates: Path, quiet_s: float) -> tuple[Latency, Latency]:
    for _ in range(_ATTEMPTS - 1):
        with contextlib.suppress(LostAnswerError):
            return await run(plan, certificates, quiet_s=quiet_s)
        sys.stderr.write("a device lost an answer: once more\n")
    return await run(plan, certificates, quiet_s=quiet_s)


async def measure_downloads(plan: Plan, runs: int, quiet_s: float) -> dict[str, Any]:
    measured: list[tuple[Latency, Latency]] = []
    with tempfile.TemporaryDirectory(prefix="chf-certificates-") as name:
        plan.certify(Path(name))
        for number in range(1, runs + 1):
            quiet, busy = await measure_download(plan, Path(name), quiet_s)
            measured.append((quiet, busy))
            sys.stderr.write(f"run {number}/{runs}: p99 {quiet.p99_ms:.1f} ms quiet, {busy.p99_ms:.1f} ms busy\n")
    middle = {
        when: statistics.median(latency.p99_ms for latency in latencies)
        for when, latencies in zip(("quiet", "busy"), zip(*measured, strict=True), strict=True)
    }
    return {
        "radio": plan.radio,
        "suite": plan.suite.value,
        "devices": plan.devices,
        "think_ms": plan.think_ms,
        "runs": [{"quiet": asdict(quiet), "busy": asdict(busy)} for quiet, busy in measured],
        "quiet_p99_ms": round(middle["quiet"], 3),
        "busy_p99_ms": round(middle["busy"], 3),
        "ratio": round(middle["busy"] / middle["quiet"], 2),
        "limit_ms": BUSY_LIMIT_MS,
    }


def print_sides(sides: list[dict[str, Any]]) -> None:
    print(f"{'suite':>5} {'curve':>10} {'one side':>10} {'limit':>8} {'k * P':>9} {'OpenSSL':>9} {'ratio':>6}")
    for side in sides:
        openssl = side.get("openssl_ms")
        ratio = f"{side['multiplication_ms'] / openssl:.0f}" if openssl else "-"
        columns = f"{side['side_ms']:>7} ms {side['limit_ms']:>5} ms {side['multiplication_ms']:>6} ms"
        print(f"{side['suite']:>5} {side['curve']:>10} {columns} {openssl or '-':>6} ms {ratio:>6}")


def print_downloads(result: dict[str, Any]) -> None:
    who = f"{result['devices']} devices establish keys of suite {result['suite']}"
    print(f"\nblocks of one download ({result['radio']}), while {who}:\n")
    print(f"{'run':>4} {'quiet p50':>10} {'p99':>8} {'busy p50':>10} {'p99':>8} {'max':>8} {'busy for':>9}")
    for number, one in enumerate(result["runs"], 1):
        quiet, busy = one["quiet"], one["busy"]
        times = (f"{when['p50_ms']:>7.2f} ms {when['p99_ms']:>5.1f} ms" for when in (quiet, busy))
        print(f"{number:>4} {' '.join(times)} {busy['max_ms']:>5.0f} ms {busy['seconds']:>7.1f} s")
    print(f"\np99, median of the runs: {result['quiet_p99_ms']} ms quiet, {result['busy_p99_ms']} ms busy: ", end="")
    print(f"{result['ratio']} times (goal: {result['limit_ms']} ms busy)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="of the arithmetic (default 20)")
    parser.add_argument("--runs", type=int, default=5, help="of the download (default 5; 0: none)")
    parser.add_argument("--devices", type=int, default=10, help="that establish keys at once (default 10)")
    parser.add_argument("--radio", choices=("ezsp", "znp"), default="ezsp", help="kind of the virtual dongle")
    parser.add_argument("--suite", type=int, choices=[suite.value for suite in Suite], default=2, help="of the devices")
    parser.add_argument("--think-ms", type=int, default=2, help="of the downloading device before each request")
    parser.add_argument("--quiet-s", type=float, default=4.0, help="how long a quiet time is (default 4)")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    arguments = parser.parse_args()
    sides = [measure_side(suite, arguments.rounds) for suite in Suite]
    if not arguments.json:
        print_sides(sides)
    downloads = None
    if arguments.runs:
        plan = Plan(arguments.radio, arguments.devices, Suite(arguments.suite), arguments.think_ms)
        try:
            downloads = asyncio.run(measure_downloads(plan, arguments.runs, arguments.quiet_s))
        except BrokenRunError as error:
            sys.exit(f"error: {error}")
    if arguments.json:
        machine = {"machine": platform.machine(), "cpus": os.cpu_count(), "python": platform.python_version()}
        print(json.dumps({"schema": 1, "machine": machine, "sides": sides, "beside_a_download": downloads}))
    elif downloads is not None:
        print_downloads(downloads)


if __name__ == "__main__":
    main()
