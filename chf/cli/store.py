"""`chf store`: the file that everything is kept in."""

from pathlib import Path

import click

from chf.cli.options import home_option, json_option, print_json, print_table, talk
from chf.clock import SystemClock, UtcSeconds
from chf.errors import RefusedError
from chf.store import Store
from chf.store.retention import DAY_S, TABLES
from chf.trust import REMEDY


@click.group()
def store() -> None:
    """The store: what is kept in it, and for how long."""


@store.command()
@click.option("--older-than", "days", type=click.FloatRange(0), required=True, help="Days since it was over.")
@click.option("--dry-run", is_flag=True, help="Only count.")
@home_option
@json_option
def prune(*, days: float, dry_run: bool, home: Path, as_json: bool) -> None:
    """Let go what is over for so long, as a hub does by itself after its `[retention] days`.

    Nothing goes that is not delivered, not answered or not ended, nor the last update of a device. The hub may run.
    """
    with Store.open(home) as opened:
        reading = opened.watched(SystemClock()).now()
        if not (reading.trusted or dry_run):
            raise RefusedError(
                f"how old anything is does not show: the clock is not trusted ({reading.distrust}): {REMEDY}"
            )
        now = reading.utc
        older_than = UtcSeconds(max(now - days * DAY_S, 0.0))
        gone = {table: opened.pruning.count(table, older_than) for table in TABLES}
        if not dry_run:
            gone = dict.fromkeys(TABLES, 0)
            while portion := opened.prune(older_than, now):
                gone = {table: gone[table] + portion.get(table, 0) for table in TABLES}
    if as_json:
        print_json({"schema": 1, "dry_run": dry_run, "rows": gone})
        return
    print_table(["TABLE", "ROWS"], [(table, str(count)) for table, count in gone.items()])
    talk(f"{sum(gone.values())} rows {'would go' if dry_run else 'are gone; the file keeps their room for new ones'}")
