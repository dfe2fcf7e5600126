"""Options and output that the commands share, so that every noun takes them and prints in the same way."""

import asyncio
import json
import os
import signal
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from chf.clock import LAST_ZIGBEE_UTC, UtcSeconds, isoformat
from chf.errors import UsageError
from chf.eui64 import Eui64, parse_eui64
from chf.files import write_new
from chf.view import printable

if TYPE_CHECKING:
    from datetime import datetime

    from chf.store.rows import Rows

_LOCAL = "Europe/London"  # the one local time in which people here think

T = TypeVar("T")
Command = TypeVar("Command", bound=Callable[..., Any])


def home_option(command: Command) -> Command:
    return click.option(
        "--home",
        type=click.Path(file_okay=False, path_type=Path),
        envvar="CHF_HOME",
        default=lambda: Path.home() / ".local" / "share" / "chf",
        show_default="$CHF_HOME, or ~/.local/share/chf",
        help="Where the hub keeps its store and its test PKI.",
    )(command)


def json_option(command: Command) -> Command:
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of text.")(command)


class Eui64Parameter(click.ParamType[Eui64]):
    name = "eui64"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Eui64:
        try:
            return parse_eui64(str(value))
        except UsageError as error:
            self.fail(str(error), param, ctx)


class UtcParameter(click.ParamType[UtcSeconds]):
    """A time to come: `2026-11-23T18:00:00Z` (or with an offset), `18:00Z`, or `+90s`, `+30m`, `+8h`, `+2d`.

    `Europe/London` in place of the Z, after a blank, makes it the local time there.
    """

    name = "time"
    sign = "+"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> UtcSeconds:
        from datetime import UTC, datetime

        text = str(value).strip()
        now = datetime.now(UTC)  # the shell's edge: a relative time on a command line means the wall clock here
        try:
            moment = _moment(text, now, self.sign)
        except UsageError as error:
            self.fail(str(error), param, ctx)
        except (ValueError, KeyError, OverflowError):
            forms = f"2026-11-23T18:00:00Z, 18:00Z or {self.sign}90s/{self.sign}30m/{self.sign}8h/{self.sign}2d"
            self.fail(f"{text[:40]!r} is not a time: write {forms}, or '18:00 {_LOCAL}'", param, ctx)
        if moment.tzinfo is None:
            self.fail(f"{text!r} has no time zone: end it with Z for UTC, or with ' {_LOCAL}'", param, ctx)
        self.check(text[:40], moment, now, param, ctx)
        return UtcSeconds(moment.timestamp())

    def check(
        self, text: str, moment: "datetime", now: "datetime", param: click.Parameter | None, ctx: click.Context | None
    ) -> None:
        if moment < now:
            self.fail(f"{text!r} has passed: leave it out for at once", param, ctx)
        if moment.timestamp() > LAST_ZIGBEE_UTC:
            self.fail(f"{text!r} is beyond what a device can be told: {isoformat(LAST_ZIGBEE_UTC)}", param, ctx)


class SinceParameter(UtcParameter):
    """A time that has passed, in the same forms: `18:00Z` is the last one, and `-90s` so long ago."""

    sign = "-"

    def check(
        self, text: str, moment: "datetime", now: "datetime", param: click.Parameter | None, ctx: click.Context | None
    ) -> None:
        if moment > now:
            self.fail(f"{text!r} is yet to come", param, ctx)


def _moment(text: str, now: "datetime", sign: str) -> "datetime":
    """Raises ValueError, KeyError or OverflowError for what is no time, UsageError for one that its zone does not have.

    `now` is in UTC.
    """
    from datetime import datetime, timedelta

    if text.endswith(f" {_LOCAL}"):
        return _local(text.removesuffix(_LOCAL).strip(), now, sign)
    ahead = sign == "+"
    if text[:1] == sign and text[1:2].isdigit():
        unit = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}[text[-1]]
        distance = timedelta(**{unit: float(text[1:-1])})
        return now + distance if ahead else now - distance
    if len(text) == len("18:00Z") and text.endswith("Z"):
        hour, minute = text[:-1].split(":")
        moment = now.replace(hour=int(hour), minute=int(minute), second=0, microsecond=0)
        if (moment > now) is ahead:
            return moment
        return moment + timedelta(days=1) if ahead else moment - timedelta(days=1)
    return datetime.fromisoformat(text)


def _local(text: str, now: "datetime", sign: str) -> "datetime":
    """The UTC of what the clocks in Great Britain show. Raises as `_moment` does."""
    from datetime import UTC, datetime, time, timedelta
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    try:
        zone = ZoneInfo(_LOCAL)
    except ZoneInfoNotFoundError as error:
        raise UsageError(
            f"this machine knows no {_LOCAL}: install its time zones (the package tzdata), or end the time with Z"
        ) from error

    def instants(reading: datetime) -> tuple[datetime, datetime]:
        """When the clocks there show it: twice where they go back, and by either offset where they leave it out."""
        first, second = (reading.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))  # PEP 495
        return first, second

    if len(text) == len("18:00"):
        today, clock = now.astimezone(zone).date(), time.fromisoformat(text)
        readings = [datetime.combine(today + timedelta(days), clock) for days in (-1, 0, 1)]
        if sign == "+":
            reading = next(reading for reading in readings if max(instants(reading)) > now)
        else:
            reading = next(reading for reading in reversed(readings) if min(instants(reading)) <= now)
    else:
        reading = datetime.fromisoformat(text)
    if reading.tzinfo is not None:
        raise UsageError(f"{text!r} has an offset: leave {_LOCAL} out")
    first, second = instants(reading)
    if first == second:
        return first
    what = "comes twice" if first < second else "is left out"
    either = " or ".join(instant.astimezone(zone).isoformat() for instant in sorted((first, second)))
    raise UsageError(f"{reading.isoformat()} {what} in {_LOCAL}, where the clocks change: write {either}")


class SecondsParameter(click.FloatRange):
    """A duration; `nan` lies in no range."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        seconds = float(super().convert(value, param, ctx))
        if isnan(seconds):
            self.fail(f"{value!r} is no number of seconds", param, ctx)
        return seconds


EUI64 = Eui64Parameter()
UTC_TIME = UtcParameter()
SINCE = SinceParameter()


def print_json(value: Mapping[str, Any] | Sequence[Any]) -> None:
    """Exactly one JSON document on stdout."""
    click.echo(json.dumps(value, indent=None, ensure_ascii=True))


def page_options(last: int) -> Callable[[Command], Command]:
    """`--last` and `--since`, for lists that grow."""

    def decorated(command: Command) -> Command:
        command = click.option("--since", type=SINCE, help="Only those since: 2026-11-23T18:00:00Z, 18:00Z, -8h, -7d.")(
            command
        )
        return click.option(
            "--last", type=click.IntRange(0), default=last, show_default=True, help="Only the last so many; 0: all."
        )(command)

    return decorated


def rest_record(rows: "Rows[Any]") -> dict[str, Any]:
    """What a list does not show, for its JSON object."""
    return {"left_out": rows.left_out, "unreadable": [asdict(row) for row in rows.unreadable]}


def tell_rest(rows: "Rows[Any]") -> None:
    """What a list does not show, for people."""
    for row in rows.unreadable:
        talk(str(row))
    if rows.left_out:
        talk(f"{rows.left_out} older ones are left out: --last 0 shows all")


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table for people: aligned columns on stdout, control characters shown, never obeyed."""
    cells = [list(columns), *([printable(cell) for cell in row] for row in rows)]
    widths = [max(len(row[index]) for row in cells) for index in range(len(columns))]
    for row in cells:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def write_secret(path: Path, text: str) -> None:
    """A new file that its owner alone may read. Raises UsageError where it cannot be written, or is there already."""
    if not write_new(path, text.encode("ascii"), error=UsageError):
        raise UsageError(f"cannot write {path}: File exists")


def outlive_terminal(log: Path) -> None:
    """Go on after SIGHUP, as a closed ssh session sends it: devices that are being served need their hub.

    What was printed on the terminal then goes to the end of `log`.
    """
    on_terminal = [descriptor for descriptor in (1, 2) if os.isatty(descriptor)]  # once it is gone, none is

    def hung_up() -> None:
        if on_terminal:
            opened = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            for descriptor in on_terminal:
                os.dup2(opened, descriptor)
            os.close(opened)
            on_terminal.clear()
        talk(f"the terminal is gone: process {os.getpid()} goes on; end it with: kill {os.getpid()}")

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hung_up)


def run_told(work: Coroutine[Any, Any, T], what: str, *, first_s: float = 1.0, every_s: float = 5.0) -> T:
    """Run it to its end. What takes longer than `first_s` seconds is told on stderr, and again every so often."""

    async def tell() -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await asyncio.sleep(first_s)
        while True:
            talk(f"{what}: {loop.time() - began:.0f} s")
            await asyncio.sleep(every_s)

    async def told() -> T:
        telling = asyncio.ensure_future(tell())
        try:
            return await work
        finally:
            telling.cancel()

    return asyncio.run(told())


def talk(text: str) -> None:
    """Say something to the person at the terminal, on stderr; what a device said may be part of it.

    A terminal that is gone, or a log on a full disk, stops nothing: what is worth keeping is in the store.
    """
    with suppress(OSError):
        click.echo(printable(text, lines=True), err=True)


class HostPort(click.ParamType[tuple[str, int]]):
    name = "host:port"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        host, _, port = str(value).rpartition(":")
        if not host or not port.isascii() or not port.isdigit() or int(port) > 0xFFFF:
            self.fail(f"{str(value)[:80]!r} is not an address such as 127.0.0.1:8079", param, ctx)
        return host.strip("[]"), int(port)
