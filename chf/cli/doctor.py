"""`chf doctor`: what may keep a hub from running on this machine, and what to do about it.

It looks, and changes nothing. A dongle is asked only where --port names one.
"""

import asyncio
import grp
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from importlib import metadata
from pathlib import Path

import click

from chf import __version__
from chf.cli.dongle import Dongle, dongle_options, hub_at
from chf.cli.options import home_option, json_option, print_json, print_table
from chf.clock import SystemClock, isoformat
from chf.errors import ChfError

_LIBRARIES = {"zigpy": (2, 4), "bellows": (1, 2), "zigpy-znp": (1, 1), "cryptography": (44, 0)}
_ENOUGH_DISK_BYTES = 200 * 1024 * 1024
_SERIAL_GROUPS = ("dialout", "uucp", "plugdev")
_OTHERS = 0o077  # the mode's bits for group and others, POSIX sys/stat.h


class Verdict(StrEnum):
    GOOD = "good"
    WARNING = "warning"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """`advice` says what to do where the verdict is not good."""

    what: str
    verdict: Verdict
    detail: str
    advice: str = ""


class UnwellError(ChfError):
    """Something that would keep the hub from running was found."""


@click.command()
@click.option("--port", help="Ask the dongle at this port too.")
@dongle_options(port=False, kind_may_be_asked=True)
@home_option
@json_option
def doctor(*, port: str | None, dongle: Dongle, home: Path, as_json: bool) -> None:
    """Check versions, clock, disk, home directory, serial ports and permissions. Exit code 1 if something is bad."""
    findings = [*_versions(), _clock(home), _disk(home), *_home(home), *_pki(home / "pki"), *_ports()]
    if port is not None:
        findings.append(_dongle(dongle.on(port), home))
    if as_json:
        lines = [
            {"what": line.what, "verdict": line.verdict.value, "detail": line.detail, "advice": line.advice}
            for line in findings
        ]
        print_json({"schema": 1, "findings": lines})
    else:
        print_table(
            ["WHAT", "VERDICT", "DETAIL", "DO"],
            [(line.what, line.verdict.value, line.detail, line.advice) for line in findings],
        )
    bad = [line.what for line in findings if line.verdict is Verdict.BAD]
    if bad:
        raise UnwellError(f"{len(bad)} {'check' if len(bad) == 1 else 'checks'} failed: {', '.join(bad)}")


def _versions() -> Iterator[Finding]:
    python = ".".join(map(str, sys.version_info[:3]))
    yield Finding("chf", Verdict.GOOD, f"{__version__} on Python {python}")
    for name, least in _LIBRARIES.items():
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            yield Finding(name, Verdict.BAD, "not installed", "pip install -c constraints.txt -e .")
            continue
        numbers = tuple(int(part) for part in found.split(".")[:2] if part.isdigit())
        wanted = ".".join(map(str, least))
        if numbers < least:
            yield Finding(name, Verdict.BAD, f"{found}; {wanted} is needed", "pip install -c constraints.txt -e .")
        else:
            yield Finding(name, Verdict.GOOD, found)


def _clock(home: Path) -> Finding:
    from chf.store import Store  # slow to import
    from chf.trust import REMEDY, WatchedClock

    now = WatchedClock(SystemClock(), None).now()
    if (home / "chf.db").exists():
        with suppress(ChfError), Store.open(home) as store:  # what is wrong with the store is another finding
            now = store.watched(SystemClock()).now()
    if not now.trusted:
        return Finding("clock", Verdict.BAD, f"{isoformat(now.utc)} is not trusted: {now.distrust}", REMEDY)
    zone = time.strftime("%Z")
    return Finding("clock", Verdict.GOOD, f"{isoformat(now.utc)} (local zone {zone}; this program speaks UTC)")


def _disk(home: Path) -> Finding:
    existing = next(path for path in (home, *home.absolute().parents) if path.exists())
    free = shutil.disk_usage(existing).free
    detail = f"{free // (1024 * 1024)} MiB free at {existing}"
    if free < _ENOUGH_DISK_BYTES:
        return Finding("disk", Verdict.WARNING, detail, "make room: images and alerts are kept in the store")
    return Finding("disk", Verdict.GOOD, detail)


def _home(home: Path) -> Iterator[Finding]:
    if not home.exists():
        yield Finding("home", Verdict.GOOD, f"{home} is not there yet; it is made when it is needed")
        return
    mode = home.stat().st_mode & 0o777
    if mode & _OTHERS:
        yield Finding("home", Verdict.BAD, f"{home} has mode {mode:04o}: others may look in", f"chmod 700 {home}")
    else:
        yield Finding("home", Verdict.GOOD, f"{home}, mode {mode:04o}")
    from chf.store import Store  # slow to import
    from chf.store.lock import Only, holder_pid

    try:
        if (home / "chf.db").exists():
            with Store.open(home) as store:
                wrong, pruned = list(store.findings()), store.audit.checkpoint()
            for detail in wrong:
                yield Finding("store", Verdict.BAD, detail, "keep a copy, ask who, and restore one that is whole")
            if not wrong:
                since = "" if pruned is None else f", from record {pruned.through + 1} on (older ones were pruned)"
                yield Finding("store", Verdict.GOOD, f"whole, every row can be read, and its audit chain holds{since}")
        running = {"hub": holder_pid(home, Only.HUB), "dcc side": holder_pid(home, Only.DCC_SIDE)}
    except ChfError as error:
        yield Finding("store", Verdict.BAD, str(error), "restore a copy, or use another --home")
        return
    for what, pid in running.items():
        yield Finding(what, Verdict.GOOD, "none runs on this home" if pid is None else f"runs, process {pid}")


def _pki(path: Path) -> Iterator[Finding]:
    if not path.exists():
        return
    from chf.errors import UnusableFileError
    from chf.pki.gbcs import Pki  # slow to import

    try:
        held = Pki.open(path).certificates()
    except ChfError as error:
        yield Finding("pki", Verdict.BAD, str(error), "restore a copy")
        return
    unusable = [str(found) for found in held if isinstance(found, UnusableFileError)]
    for reason in unusable:
        yield Finding("pki", Verdict.BAD, reason, "what it is for fails; everybody else is served")
    if not unusable:
        yield Finding("pki", Verdict.GOOD, f"{len(held)} certificates")


def _ports() -> Iterator[Finding]:
    from chf.radio.ports import list_ports  # the serial library is slow to import

    ports = [port for port in list_ports() if port.usb_id is not None]
    if not ports:
        yield Finding(
            "serial ports", Verdict.WARNING, "none on USB", "plug the dongle in; dmesg says whether it is seen"
        )
    for port in ports:
        if os.access(port.device, os.R_OK | os.W_OK):
            yield Finding(port.path, Verdict.GOOD, f"{port.product or 'serial port'} ({port.usb_id}), may be opened")
        else:
            group = _group_of(port.device)
            advice = (
                f'sudo usermod -aG {group} "$USER", then log in again' if group in _SERIAL_GROUPS else "chmod, or udev"
            )
            yield Finding(port.path, Verdict.BAD, f"belongs to group {group}, which you are not in", advice)


def _group_of(device: str) -> str:
    try:
        return grp.getgrgid(Path(device).stat().st_gid).gr_name
    except (OSError, KeyError):
        return "unknown"


def _dongle(dongle: Dongle, home: Path) -> Finding:
    async def ask() -> str:
        if (pid := hub_at(home, dongle.port)) is not None:
            return f"the hub has it (process {pid}); `chf radio info` tells more"
        info = await (await dongle.recognised()).open().probe()
        network = "no network" if info.network is None else f"network on channel {info.network.channel}"
        return f"{info.kind} {info.firmware}, protocol {info.protocol_version}, {network}; {info.limits}"

    try:
        return Finding(dongle.port, Verdict.GOOD, asyncio.run(ask()))
    except ChfError as error:
        return Finding(dongle.port, Verdict.BAD, str(error), "hw-setup.md, troubleshooting by symptom")
