"""A network in the place of another on a dongle. The one that was there is in a file first, and put back on failure."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

from chf.cli.options import talk, write_secret
from chf.clock import SystemClock
from chf.errors import ChfError, RadioGoneError
from chf.radio.interface import Radio, RadioInfo

_ATTEMPTS = 3  # our choice: what failed may be a frame that was lost, or a dongle that restarts
PAUSE_S = 2.0  # our choice: a stick that restarts is back by then (1.0 to 1.3 s in public logs)


async def replaced(radio: Radio, home: Path, work: Callable[[], Awaitable[RadioInfo]]) -> RadioInfo:
    """What `work` makes of the dongle. Where it fails, at whatever step, the network before is put back.

    Raises what `work` raises when that was done, and RadioGoneError where the network before is lost.
    """
    before = await radio.backup()
    file = _saved(before, home)
    done = False
    try:
        info = await work()
        done = True
    finally:
        if not done:
            await _put_back(radio, before, file)
    talk(f"the network before is in {file}, as secret as its keys")
    return info


def _saved(network: dict[str, object], home: Path) -> Path:
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = home / f"network-before-{SystemClock().now().utc}.json"
    write_secret(file, json.dumps(network, indent=2) + "\n")
    return file


async def _put_back(radio: Radio, before: dict[str, object], file: Path) -> None:
    talk("this failed: the network before is put back")
    problem = ""
    for attempt in range(_ATTEMPTS):
        if attempt:
            await asyncio.sleep(PAUSE_S)
        try:
            await radio.restore(before)
        except ChfError as error:
            problem = str(error)
            continue
        talk(f"the dongle has the network before again; it is in {file}, too")
        return
    raise RadioGoneError(
        f"the network before could not be put back and is lost from the dongle ({problem}); it is whole in {file}:"
        f" `chf radio restore {file} --replace` once the dongle answers"
    )
