"""`chf watch`: a live table of what the hub is doing."""

import time
from pathlib import Path

import click

from chf.cli.options import home_option, json_option, print_json, print_table, talk
from chf.store import Store

_REFRESH_S = 0.5  # our choice


@click.command()
@click.option("--once", is_flag=True, help="Print the table once and end.")
@home_option
@json_option
def watch(*, once: bool, home: Path, as_json: bool) -> None:
    """Devices, updates with bar, rate and time left, and the last event. Stop it with Ctrl-C.

    With --json, or where the output is no terminal, once.
    """
    from rich.console import Console  # slow to import
    from rich.live import Live

    from chf.view.table import Board

    console = Console()
    with Store.open(home) as store:
        board = Board(store, home)
        if as_json:
            print_json({"schema": 1, "hub": board.caption(), "lines": board.records()})
            return
        if once or not console.is_terminal:
            print_table(*board.plain())
            talk(board.caption())
            return
        with Live(
            board.render(*console.size), console=console, refresh_per_second=1 / _REFRESH_S, screen=False
        ) as live:
            while True:
                time.sleep(_REFRESH_S)
                live.update(board.render(*console.size))
