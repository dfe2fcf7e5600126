"""`chf dcc queue`: documents for users that are on their way; `chf dcc command`: commands for devices."""

from pathlib import Path
from typing import Any

import click

from chf.cli.options import (
    SINCE,
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
from chf.errors import UsageError
from chf.eui64 import format_eui64
from chf.store import Store
from chf.store.device_messages import DeviceMessage
from chf.store.uplink import Document


@click.group()
def queue() -> None:
    """Answers and alerts for users: waiting, put aside, delivered."""


@queue.command("list")
@click.option("--all", "everything", is_flag=True, help="The delivered ones too.")
@page_options(50)
@home_option
@json_option
def list_documents(*, everything: bool, last: int, since: UtcSeconds | None, home: Path, as_json: bool) -> None:
    """What has not been taken yet, oldest first."""
    with Store.open(home) as store:
        documents = store.uplink.list(undelivered=not everything, since=since, last=last or None)
    if as_json:
        records = [_described(document) for document in documents]
        print_json({"schema": 1, "documents": records, **rest_record(documents)})
        return
    columns = ["NUMBER", "TO", "DEVICE", "KIND", "STATE", "ATTEMPTS", "LAST ERROR"]
    rows = []
    for document in documents:
        told = _described(document)
        rows.append(
            [str(told[key]) for key in ("number", "recipient", "device", "kind", "state", "attempts", "last_error")]
        )
    print_table(columns, rows)
    tell_rest(documents)


@queue.command()
@click.argument("number", type=int)
@home_option
@json_option
def show(*, number: int, home: Path, as_json: bool) -> None:
    """Print one document as it is (or was) posted. With --json, what `list` says of it, and its text as `xml`."""
    with Store.open(home) as store:
        document = store.uplink.get(number)
    if document is None:
        raise UsageError(f"there is no document {number}")
    if as_json:
        print_json({"schema": 1, "document": {**_described(document), "xml": document.document.decode()}})
        return
    click.echo(document.document)


@queue.command()
@click.argument("number", type=int)
@home_option
@json_option
def retry(*, number: int, home: Path, as_json: bool) -> None:
    """Post a document again at once, also one that was put aside."""
    with Store.open(home) as store, store.transaction() as tx:
        tx.uplink.retry(number)
    if as_json:
        print_json({"schema": 1, "retried": number})
        return
    talk(f"document {number} goes again while `chf dcc serve` runs")


@queue.command()
@click.option("--since", type=SINCE, required=True, help="2026-11-23T18:00:00Z, 18:00Z, -90s, -8h.")
@home_option
@json_option
def resend(*, since: UtcSeconds, home: Path, as_json: bool) -> None:
    """Post again what was taken since then, with the same ids: for a user who lost it (a backup put back)."""
    with Store.open(home) as store, store.transaction() as tx:
        count = tx.uplink.resend(since)
    if as_json:
        print_json({"schema": 1, "resent": count})
        return
    talk(f"{count} documents that were taken since {isoformat(since)} go again while `chf dcc serve` runs")


@click.group()
def command() -> None:
    """Commands for devices: on their way, answered, come to nothing."""


@command.command("list")
@page_options(50)
@home_option
@json_option
def list_commands(*, last: int, since: UtcSeconds | None, home: Path, as_json: bool) -> None:
    """The last ones, the newest first."""
    with Store.open(home) as store:
        rows = store.device_messages.list(since=since, last=last or None)
    told = [_command(row) for row in rows]
    if as_json:
        print_json({"schema": 1, "commands": told, **rest_record(rows)})
        return
    columns = ("message", "device", "message_code", "request", "state", "reason", "expires")
    print_table(
        [name.replace("_", " ").upper() for name in columns], [[str(r[name]) for name in columns] for r in told]
    )
    tell_rest(rows)


def _command(row: DeviceMessage) -> dict[str, Any]:
    return {
        "message": row.id,
        "device": format_eui64(row.device),
        "message_code": f"0x{row.message_code:04X}",
        "request": row.request,
        "counter": row.counter,
        "state": row.state.value,
        "reason": row.reason,
        "created": isoformat(row.created),
        "expires": isoformat(row.expires),
        "changed": isoformat(row.changed),
    }


def _described(document: Document) -> dict[str, Any]:
    state = "put aside" if document.parked else "waiting" if document.delivered is None else "delivered"
    return {
        "number": document.seq,
        "id": document.msg_id,
        "recipient": format_eui64(document.recipient),
        "device": format_eui64(document.device),
        "kind": document.kind,
        "state": state,
        "attempts": document.attempts,
        "last_error": document.last_error,
        "created": isoformat(document.created),
        "delivered": None if document.delivered is None else isoformat(document.delivered),
    }
