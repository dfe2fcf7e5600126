"""`chf radio backup` and `restore`: a network in a file, to move it between dongles, of any kind."""

import asyncio
import json
from pathlib import Path
from typing import Any

import click

from chf.cli.dongle import Dongle, dongle_options, leave_to_hub
from chf.cli.options import home_option, json_option, print_json, talk, write_secret
from chf.cli.radio_print import print_info
from chf.errors import RefusedError, UsageError
from chf.radio.interface import RadioInfo

_LARGEST_BYTES = 4 << 20  # a network of thousands of devices is a tenth of that


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@dongle_options(port=True, kind_may_be_asked=True)
@home_option
@json_option
def backup(*, file: Path, dongle: Dongle, home: Path, as_json: bool) -> None:
    """Write the dongle's network with all its keys to a new FILE, mode 0600, in zigpy's backup format."""
    leave_to_hub(home, dongle.port)

    async def run() -> dict[str, Any]:
        return await (await dongle.recognised()).open().backup()

    if file.exists():
        raise UsageError(f"{file} is there already")
    described = asyncio.run(run())
    write_secret(file, json.dumps(described, indent=2) + "\n")
    count = len(described["devices"])
    if as_json:
        print_json({"schema": 1, "port": dongle.port, "file": str(file), "devices": count})
        return
    talk(f"the network is in {file}, with {count} devices; it is as secret as its keys")


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@dongle_options(port=True, kind_may_be_asked=True)
@click.option("--replace", is_flag=True, help="Also over another network that is on the dongle.")
@home_option
@json_option
def restore(*, file: Path, dongle: Dongle, replace: bool, home: Path, as_json: bool) -> None:
    """Put the network in FILE onto a dongle, which takes its EUI-64, too. The old dongle must not be used any more."""
    leave_to_hub(home, dongle.port)
    described = _read(file)

    async def run() -> RadioInfo:
        found = await dongle.recognised()
        before = (await found.open().probe()).network
        if before is not None and not replace:
            raise RefusedError(
                f"there is a network on the dongle already (channel {before.channel}, PAN id 0x{before.pan_id:04X}):"
                " --replace puts the other in its place"
            )
        return await found.open().restore(described)

    print_info(dongle.port, asyncio.run(run()), as_json=as_json)
    talk("do not plug the old dongle in again: two with one identity break the network")


def _read(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            described = json.loads(stream.read(_LARGEST_BYTES))
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"{file} is no JSON: {type(error).__name__}") from None
    if not isinstance(described, dict):
        raise UsageError(f"{file} holds no backup of a network")
    return described
