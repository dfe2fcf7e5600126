"""How fast a hub serves firmware images over a real link, whose line and air take their time, and with how many octets.

    python benchmarks/link.py                            256 KiB to 1 device on each radio, without loss: a minute
    python benchmarks/link.py --radio znp --devices 1 4 10 --loss 0 0.01 0.05 --image-kib 16 --host chf

In virtual time: the figures are the same on every machine, and a host's own computing takes none, which on a real link
is 0.1 to 0.2 ms of a block for ours and about 2 ms for zigpy. docs/performance.md says what the figures mean.
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from itertools import count, product
from pathlib import Path

from throughput.fleet import Fleet
from throughput.floor import block_s, line_octets
from throughput.modelled_link import HOSTS, Link, Measured, measure

Figures = dict[str, float | str]


_TITLES = ("radio", "baud", "devices", "loss", "host", "kB/s", "blocks/s", "ms/block", "of the floor", "octets/block")
_TITLES += ("from host", "to host", "chf to it")


def main() -> None:
    arguments = _arguments()
    rows = _rows(arguments)
    if arguments.json:
        print(json.dumps({"schema": 1, "image_kib": arguments.image_kib, "rows": list(rows)}))
        return
    print(f"| {' | '.join(_TITLES)} |\n|{'---|' * len(_TITLES)}")
    for row in rows:
        print(
            "| {radio} | {baudrate:,} | {devices} | {loss:.0%} | {host} | {kb_per_s:.2f} | {blocks_per_s:.1f}"
            " | {ms_per_block:.2f} | {share_of_floor:.0%} | {line_octets:.1f} | {from_host:.1f} | {to_host:.1f}"
            " | {chf_to_it:.2f}x |".format_map(row),
            flush=True,
        )


def _rows(arguments: argparse.Namespace) -> Iterator[Figures]:
    """The floor of each link, then each host on it."""
    numbers = count()
    with tempfile.TemporaryDirectory(prefix="chf-link-") as name:
        for radio, baudrate, devices in product(arguments.radio, arguments.baudrate, arguments.devices):
            fleet, floor_s = Fleet(devices, arguments.image_kib), block_s(radio, baudrate, devices)
            for loss in arguments.loss:
                link, ours = Link(radio, baudrate, loss), None
                for host in arguments.host:
                    got = measure(HOSTS[host], link, fleet, Path(name) / str(next(numbers)))
                    ours = ours or got
                    yield _figures(link, fleet, host, got, floor_s) | {"chf_to_it": got.seconds / ours.seconds}


def _figures(link: Link, fleet: Fleet, host: str, got: Measured, floor_s: float) -> Figures:
    return {
        "radio": link.radio,
        "baudrate": link.baudrate,
        "devices": fleet.devices,
        "loss": link.loss,
        "host": host,
        "kb_per_s": got.kb_per_s,
        "blocks_per_s": 1000 / got.ms_per_block,
        "ms_per_block": got.ms_per_block,
        "share_of_floor": floor_s * 1000 / got.ms_per_block,
        "line_octets": got.line_octets,
        "line_floor_octets": line_octets(link.radio),
        "from_host": got.line_octets_from_host,
        "to_host": got.line_octets_to_host,
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)

    def series(option: str, kind: type, default: list[object], meaning: str, **more: object) -> None:
        shown = " ".join(map(str, default))
        parser.add_argument(option, type=kind, nargs="+", default=default, help=f"{meaning} (default {shown})", **more)

    series("--radio", str, ["ezsp", "znp"], "kinds of the virtual dongle", choices=["ezsp", "znp"])
    series("--baudrate", int, [115_200], "of the serial line")
    series("--devices", int, [1], "that download at once")
    series("--loss", float, [0.0], "chance of each frame in the air to be lost, 0 to 1")
    series("--host", str, [*HOSTS], "to measure; ratios are of the first", choices=[*HOSTS])
    parser.add_argument("--image-kib", type=int, default=256, help="of each device (default 256)")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    return parser.parse_args()


if __name__ == "__main__":
    main()
