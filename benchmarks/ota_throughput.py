"""How fast a hub serves firmware images: ours and others, against the same virtual dongle, in one go.

    python benchmarks/ota_throughput.py                          1 device, 256 KiB, five runs of each host in turn
    python benchmarks/ota_throughput.py --devices 10 --image-kib 64
    python benchmarks/ota_throughput.py --devices 8 --slow-devices 2   what two slow devices do to eight others

Every run has a dongle and a host of its own, each a fresh process; hosts take turns, so that a machine that slows down
slows all of them. docs/performance.md says what the numbers mean.
"""

import argparse
import asyncio
import json
import os
import platform
import sys
from dataclasses import replace
from typing import Any

from throughput import report
from throughput.fleet import Fleet
from throughput.peers import DEFAULT_PEERS, PEERS, RADIOS, Peer
from throughput.processes import BrokenRunError
from throughput.run import Measurement, run


def main() -> None:
    arguments = _arguments()
    fleet = Fleet(
        arguments.devices,
        arguments.image_kib,
        arguments.slow_devices,
        arguments.confirm_ms,
        arguments.think_ms,
        arguments.page,
    )
    peers = [PEERS[name] for name in arguments.peer or DEFAULT_PEERS]
    unfit = [peer.name for peer in peers if arguments.radio not in peer.radios]
    if unfit:
        sys.exit(f"error: {', '.join(unfit)} cannot drive a dongle of kind {arguments.radio}")
    try:
        result = asyncio.run(_measure(peers, arguments.radio, fleet, arguments.runs))
    except BrokenRunError as error:
        sys.exit(f"error: {error}")
    if arguments.json:
        print(json.dumps({"schema": 1, "machine": _machine(), "arguments": vars(arguments), **_as_json(result)}))
    else:
        _print(result, fleet)


Result = dict[str, report.Runs]
"""By the case: the fleet alone and, where slow devices are asked for, the fleet with them."""


async def _measure(peers: list[Peer], radio: str, fleet: Fleet, runs: int) -> Result:
    cases = {"alone": replace(fleet, slow_devices=0)}
    if fleet.slow_devices:
        cases["with slow devices"] = fleet
    result: dict[str, dict[str, list[Measurement]]] = {case: {peer.name: [] for peer in peers} for case in cases}
    for number in range(1, runs + 1):
        for case, measured_fleet in cases.items():
            for peer in peers:
                one = await run(peer, radio, measured_fleet)
                result[case][peer.name].append(one)
                sys.stderr.write(f"run {number}/{runs}, {peer.name}, {case}: {one.blocks_per_s:.0f} blocks/s\n")
    return dict(result)


def _slowed(result: Result) -> dict[str, float]:
    """What is left of the quick devices' rate when slow ones are there."""
    if "with slow devices" not in result:
        return {}
    rates = {
        case: {name: figures["blocks_per_s"]["median"] for name, figures in _summaries(runs).items()}
        for case, runs in result.items()
    }
    return {name: round(rates["with slow devices"][name] / rate, 3) for name, rate in rates["alone"].items()}


def _summaries(runs: report.Runs) -> dict[str, dict[str, dict[str, float]]]:
    return {name: report.summary(measured) for name, measured in runs.items()}


def _as_json(result: Result) -> dict[str, Any]:
    return {
        "cases": {case: report.as_json(runs) for case, runs in result.items()},
        "rate_left_beside_slow_devices": _slowed(result),
    }


def _print(result: Result, fleet: Fleet) -> None:
    for case, runs in result.items():
        slow = f" beside {fleet.slow_devices} slow" if case == "with slow devices" else ""
        print(f"\n{fleet.devices} device(s){slow}, {fleet.image_kib} KiB each, blocks of 50 bytes\n")
        print(report.table(runs))
    for name, left in _slowed(result).items():
        print(f"\n{name}: {left:.0%} of the quick devices' rate is left beside the slow ones")


def _machine() -> dict[str, Any]:
    return {"machine": platform.machine(), "cpus": os.cpu_count(), "python": platform.python_version()}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=_count, default=1, help="that download at once (default 1)")
    parser.add_argument("--image-kib", type=_count, default=256, help="of each device (default 256)")
    parser.add_argument("--runs", type=_count, default=5, help="of each host (default 5)")
    parser.add_argument("--slow-devices", type=int, default=0, help="so many more, whose delivery confirms come late")
    parser.add_argument("--confirm-ms", type=_count, default=200, help="how late (default 200)")
    parser.add_argument("--think-ms", type=int, default=0, help="of a device between a block and the next request")
    parser.add_argument("--page", action="store_true", help="the devices ask by Image Page Request")
    parser.add_argument("--radio", choices=sorted(RADIOS), default="ezsp", help="kind of the virtual dongle")
    parser.add_argument(
        "--peer", action="append", choices=[*PEERS], help=f"may be given again (default {', '.join(DEFAULT_PEERS)})"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    return parser.parse_args()


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


if __name__ == "__main__":
    main()
