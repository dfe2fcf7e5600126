"""`chf report`: what became of updates, for people and for CI servers."""

import json
from pathlib import Path

import click

from chf.cli.options import home_option, page_options, print_table, talk
from chf.cli.update import UpdateFailedError
from chf.clock import SystemClock, UtcSeconds
from chf.errors import UsageError
from chf.files import write_whole
from chf.store import Store
from chf.update.model import UpdateId
from chf.view.report import COLUMNS, REFUSAL_COLUMNS, Report, Selection, refusal_cells

_STDOUT = Path("-")
_FILE = click.Path(dir_okay=False, allow_dash=True, path_type=Path)


@click.command()
@click.option("--update", "numbers", type=click.IntRange(1), multiple=True, help="Only this one. May be given again.")
@page_options(1000)
@click.option("--html", type=_FILE, help="Write one HTML file that needs nothing else.")
@click.option("--junit", type=_FILE, help="Write JUnit XML: a test case for each update.")
@click.option("--json", "json_", type=_FILE, help="Write JSON (docs/report.md).")
@home_option
def report(
    *,
    numbers: tuple[int, ...],
    last: int,
    since: UtcSeconds | None,
    html: Path | None,
    junit: Path | None,
    json_: Path | None,
    home: Path,
) -> None:
    """What became of updates: the last ones, or those selected. FILE may be - for standard output.

    Exit code 0 only if there are some, and all of them ended as activated.
    """
    if numbers and since is not None:
        raise UsageError("--update and --since exclude each other")
    if [html, junit, json_].count(_STDOUT) > 1:
        raise UsageError("only one of --html, --junit and --json can go to standard output")
    selection = Selection(tuple(UpdateId(number) for number in dict.fromkeys(numbers)), since, last or None)
    with Store.open(home) as store:
        made = Report.read(store, selection, SystemClock().now().utc)
    if html is not None:
        from chf.view.report_html import to_html  # lxml is slow to import

        _write(html, to_html(made))
    if junit is not None:
        from chf.view.report_junit import to_junit

        _write(junit, to_junit(made))
    if json_ is not None:
        _write(json_, json.dumps(made.record, indent=1, ensure_ascii=True).encode() + b"\n")
    if _STDOUT not in (html, junit, json_):
        _print(made)
    for row in made.unreadable:
        talk(str(row))
    if not made.updates:
        raise UpdateFailedError("there is no update to report: nothing was shown to work")
    if not made.good:
        raise UpdateFailedError(made.headline)
    talk(made.headline)


def _write(file: Path, content: bytes) -> None:
    if file == _STDOUT:
        click.echo(content, nl=False)
        return
    write_whole(file, content)
    talk(f"written: {file}")


def _print(made: Report) -> None:
    print_table([column.upper() for column in COLUMNS], [update.cells for update in made.updates])
    if made.refusals:
        click.echo("\nREFUSED")
        print_table([column.upper() for column in REFUSAL_COLUMNS], [refusal_cells(event) for event in made.refusals])
