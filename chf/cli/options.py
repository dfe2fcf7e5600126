"""Options and output that the commands share, so that every noun takes them and prints in the same way."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from chf.clock import LAST_ZIGBEE_UTC, UtcSeconds, isoformat
from chf.errors import UsageError
from chf.eui64 import Eui64, parse_eui64
from chf.view.text import printable

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
    """`2026-11-23T18:00:00Z` (or with an offset), `18:00Z` for the next such time, or `+90s`, `+30m`, `+8h`, `+2d`."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> UtcSeconds:
        from datetime import UTC, datetime, timedelta  # noqa: PLC0415

        text = str(value).strip()
        now = datetime.now(UTC)  # the shell's edge: a relative time on a command line means the wall clock here
        try:
            if text[:1] == "+" and text[1:2].isdigit():
                unit = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}[text[-1]]
                moment = now + timedelta(**{unit: float(text[1:-1])})
            elif len(text) == len("18:00Z") and text.endswith("Z"):
                hour, minute = text[:-1].split(":")
                moment = now.replace(hour=int(hour), minute=int(minute), second=0, microsecond=0)
                moment = moment if moment > now else moment + timedelta(days=1)
            else:
                moment = datetime.fromisoformat(text)
        except (ValueError, KeyError, OverflowError):
            self.fail(
                f"{text[:40]!r} is not a time: write 2026-11-23T18:00:00Z, 18:00Z or +90s/+30m/+8h/+2d", param, ctx
            )
        if moment.tzinfo is None:
            self.fail(f"{text!r} has no time zone: end it with Z for UTC", param, ctx)
        if moment < now:
            self.fail(f"{text[:40]!r} has passed: leave it out for at once", param, ctx)
        if moment.timestamp() > LAST_ZIGBEE_UTC:
            self.fail(f"{text[:40]!r} is beyond what a device can be told: {isoformat(LAST_ZIGBEE_UTC)}", param, ctx)
        return UtcSeconds(moment.timestamp())


class SecondsParameter(click.FloatRange):
    """A duration; `nan` lies in no range."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        seconds = float(super().convert(value, param, ctx))
        if seconds != seconds:  # noqa: PLR0124 nan, without the import
            self.fail(f"{value!r} is no number of seconds", param, ctx)
        return seconds


EUI64 = Eui64Parameter()
UTC_TIME = UtcParameter()


def print_json(value: Mapping[str, Any] | Sequence[Any]) -> None:
    """Exactly one JSON document on stdout."""
    click.echo(json.dumps(value, indent=None, ensure_ascii=True))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table for people: aligned columns on stdout, control characters shown, never obeyed."""
    cells = [list(columns), *([printable(cell) for cell in row] for row in rows)]
    widths = [max(len(row[index]) for row in cells) for index in range(len(columns))]
    for row in cells:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def talk(text: str) -> None:
    """Say something to the person at the terminal, on stderr; what a device said may be part of it."""
    click.echo(printable(text, lines=True), err=True)
