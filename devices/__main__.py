"""`python -m devices serve SCENARIO.toml`: a virtual ZigBee dongle with its devices, for any host program."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import click

from devices.bench.dongles import KINDS
from devices.bench.runner import punctual_loop
from devices.bench.scenario import MAX_SEED
from devices.bench.serve import ListenError, ServeOptions, serve
from devices.bench.state_file import StateFileError
from devices.bench.toml_section import ScenarioError


@click.group()
def main() -> None:
    """The virtual side of the bench: an emulated dongle, the air, and the devices on it."""


@main.command("serve")
@click.argument("scenario", type=click.Path(path_type=Path))
@click.option(
    "--ncp", type=click.Choice(KINDS), help="What the dongle speaks; without it, what its stick does, or ezsp."
)
@click.option(
    "--listen",
    default="tcp://127.0.0.1:0",
    show_default=True,
    help="tcp://HOST:PORT (0: any free port), pty, or pty:PATH for a terminal with a symbolic link to it.",
)
@click.option("--pcap", type=click.Path(path_type=Path), help="Capture everything on the air, for Wireshark.")
@click.option("--keys", type=click.Path(path_type=Path), help="The keys of the capture, as Wireshark's zigbee_pc_keys.")
@click.option("--events", metavar="FILE|-", help="What the devices do, as JSON lines; - is standard output.")
@click.option("--control", is_flag=True, help="Take commands as JSON lines on standard input; answers are events.")
@click.option("--tied", is_flag=True, help="End with standard input too: with the program that holds it open.")
@click.option(
    "--state",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Keep the flash of dongle and devices there, and go on from it at the next start. It holds keys.",
)
@click.option("--seed", type=click.IntRange(0, MAX_SEED), help="Instead of the scenario's own.")
def serve_command(**options: Any) -> None:
    """Serve the dongle and the devices of SCENARIO until SIGTERM or SIGINT.

    One JSON line on standard output tells the port as soon as a host can connect. Hosts may come and go; of two on the
    TCP port the later one is served and the earlier one cut off.
    """
    if options["control"] and options["events"] is None:
        raise click.UsageError("--control answers by events: add --events -")
    try:
        with asyncio.Runner(loop_factory=punctual_loop) as runner:
            runner.run(serve(ServeOptions(**options)))
    except (ScenarioError, ListenError, StateFileError, OSError) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main(prog_name="python -m devices")
