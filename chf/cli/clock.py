"""`chf clock`: whether the wall clock is trusted, and a person's word that it is right."""

from pathlib import Path

import click

from chf.cli.ask import ask
from chf.cli.options import home_option, json_option, print_json, print_table
from chf.clock import SystemClock, isoformat
from chf.store import Store
from chf.store.inbox import Verb
from chf.trust import REMEDY


@click.group()
def clock() -> None:
    """The wall clock: devices are told its time, and appointments are kept by it, while it is trusted."""


@clock.command()
@home_option
@json_option
def show(*, home: Path, as_json: bool) -> None:
    """What it shows, and whether the hub trusts it."""
    with Store.open(home) as store:
        now = store.watched(SystemClock()).now()
    if as_json:
        print_json({"schema": 1, "utc": isoformat(now.utc), "trusted": now.trusted, "distrust": now.distrust})
        return
    rows = [("utc", isoformat(now.utc)), ("trusted", "yes" if now.trusted else "no")]
    if not now.trusted:
        rows += [("because", now.distrust), ("do", REMEDY)]
    print_table(["FIELD", "VALUE"], rows)


@clock.command()
@home_option
@json_option
def trust(*, home: Path, as_json: bool) -> None:
    """Say that it is right, so that the hub need not wait and see."""
    with Store.open(home) as store:
        answer = ask(store, home, Verb.CLOCK_TRUST, {})
    answer.say("the hub trusts the clock", as_json=as_json)
