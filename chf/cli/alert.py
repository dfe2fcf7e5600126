"""`chf alert`: what devices and the hub sent to the DCC."""

import json
import re
import time
from pathlib import Path
from typing import Any

import click

from chf.cli.options import (
    EUI64,
    home_option,
    json_option,
    page_options,
    print_json,
    print_table,
    rest_record,
    talk,
    tell_rest,
)
from chf.clock import UtcSeconds, isoformat
from chf.eui64 import Eui64, format_eui64
from chf.files import write_whole, write_whole_directory
from chf.store import Store
from chf.store.alerts import Alert
from chf.view.records import alert_record

_POLL_S = 0.2  # how soon a new alert is shown (our choice)


@click.group()
def alert() -> None:
    """Alerts that devices and the hub sent to the DCC, as signed."""


class UseCaseParameter(click.ParamType[str]):
    """As `chf alert list` names it: a use case of GBCS, a message code that has no name here, or `unknown`."""

    name = "use case"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        text = str(value).upper()
        if text == "UNKNOWN":
            return "unknown"
        if not re.fullmatch(r"[A-Z]{2,4}[0-9]{0,3}|0X[0-9A-F]{4}", text):
            self.fail(f"{str(value)[:40]!r} is no use case: write CCS08, CS09, 0x00CA or unknown", param, ctx)
        return text.replace("0X", "0x")


def filters(command: Any) -> Any:
    command = click.option("--device", "device", type=EUI64, help="Only those about this device.")(command)
    return click.option("--use-case", type=UseCaseParameter(), help="Only those: CCS08, CS09, CS14, FDRA, 0x00CA ...")(
        command
    )


@alert.command("list")
@filters
@page_options(50)
@home_option
@json_option
def list_alerts(
    *, device: Eui64 | None, use_case: str | None, last: int, since: UtcSeconds | None, home: Path, as_json: bool
) -> None:
    """The last alerts, oldest first."""
    with Store.open(home) as store:
        alerts = store.alerts.list(device=device, use_case=use_case, since=since, last=last or None)
    if as_json:
        print_json({"schema": 1, "alerts": [alert_record(line) for line in alerts], **rest_record(alerts)})
        return
    print_table(["NO", "TIME", "DEVICE", "USE CASE", "CODE", "OUTCOME", "SIGNATURE"], [_row(line) for line in alerts])
    tell_rest(alerts)


@alert.command()
@filters
@click.option("--follow/--no-follow", default=True, help="Wait for more.")
@click.option("--after", type=click.IntRange(0), default=0, help="Only those after this number.")
@home_option
def tail(*, device: Eui64 | None, use_case: str | None, follow: bool, after: int, home: Path) -> None:
    """One JSON object a line, as they come. Stop it with Ctrl-C."""
    with Store.open(home) as store:
        while True:
            page = store.alerts.tail(after)
            for line in page:
                if device in {None, line.device} and use_case in {None, line.use_case}:
                    click.echo(json.dumps(alert_record(line)))
            tell_rest(page)
            if page.through == after:
                if not follow:
                    return
                time.sleep(_POLL_S)
            after = page.through


@alert.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@filters
@page_options(0)
@click.option("--binary", is_flag=True, help="FILE is a directory to make, with one binary file for each message.")
@home_option
def export(
    *,
    file: Path,
    device: Eui64 | None,
    use_case: str | None,
    last: int,
    since: UtcSeconds | None,
    binary: bool,
    home: Path,
) -> None:
    """Write the alerts to FILE, one JSON object a line with the message in hex."""
    with Store.open(home) as store:
        alerts = store.alerts.list(device=device, use_case=use_case, since=since, last=last or None)
    if binary:
        write_whole_directory(file, {f"{line.seq:06d}-{line.use_case}.bin": line.message for line in alerts})
    else:
        write_whole(file, "".join(json.dumps(alert_record(line)) + "\n" for line in alerts).encode())
    talk(f"{len(alerts)} alerts written to {file}")
    tell_rest(alerts)


def _row(line: Alert) -> tuple[str, ...]:
    return (
        str(line.seq),
        isoformat(line.created),
        format_eui64(line.device),
        line.use_case,
        f"0x{line.alert_code:04X}",
        line.outcome,
        "verified" if line.verified else "not verified",
    )
