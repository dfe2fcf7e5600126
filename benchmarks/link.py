"""How fast a hub serves firmware images over a real link, whose line and air take their time, and with how many octets.

    python benchmarks/link.py                            256 KiB to 1 device, EZSP, 115,200 baud, without loss
    python benchmarks/link.py --radio znp --devices 4 --loss 0.01 --image-kib 16

In virtual time: it computes for some seconds, and the figures are the same on every machine. docs/performance.md says
what they mean.
"""

import argparse
import tempfile
from itertools import count
from pathlib import Path

from throughput.fleet import Fleet
from throughput.modelled_link import Link, chf, measure

_TITLES = ("radio", "baud", "devices", "loss", "host", "kB/s", "blocks/s", "ms/block", "octets/block")
_TITLES += ("from host", "to host", "repeated")


def main() -> None:
    arguments = _arguments()
    numbers = count()
    print(f"| {' | '.join(_TITLES)} |")
    with tempfile.TemporaryDirectory(prefix="chf-link-") as name:
        for devices in arguments.devices:
            fleet = Fleet(devices, arguments.image_kib)
            for loss in arguments.loss:
                link = Link(arguments.radio, arguments.baudrate, loss)
                got = measure(chf, link, fleet, Path(name) / str(next(numbers)))
                print(
                    f"| {link.radio} | {link.baudrate} | {devices} | {loss:.0%} | chf | {got.kb_per_s:.2f} |"
                    f" {1000 / got.ms_per_block:.1f} | {got.ms_per_block:.2f} | {got.line_octets:.1f} |"
                    f" {got.line_octets_from_host:.1f} | {got.line_octets_to_host:.1f} | {got.repeated_requests} |"
                )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--radio", choices=["ezsp", "znp"], default="ezsp", help="kind of the virtual dongle")
    parser.add_argument("--baudrate", type=int, default=115_200, help="of the serial line (default 115200)")
    parser.add_argument("--devices", type=int, nargs="+", default=[1], help="that download at once (default 1)")
    parser.add_argument(
        "--loss", type=float, nargs="+", default=[0.0], help="chance of each frame in the air (default 0)"
    )
    parser.add_argument("--image-kib", type=int, default=256, help="of each device (default 256)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
