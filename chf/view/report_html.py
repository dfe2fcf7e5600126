"""The report as one HTML file: nothing to load, nothing that runs; for bright and dark screens, paper, screen readers.

Every text goes through `_add`, which gives it to the serializer as text; there is no other way in. A policy in the head
forbids the page to load or to run anything, should that ever fail.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from lxml import etree
from lxml.etree import _Element

from chf.clock import isoformat
from chf.eui64 import format_eui64
from chf.view import printable
from chf.view.records import event_detail, time_text, version_text
from chf.view.report import COLUMNS, REFUSAL_COLUMNS, Report, UpdateReport, Verdict, refusal_cells

_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_MARKS: Final = {Verdict.ACTIVATED: "good", Verdict.NOT_ACTIVATED: "bad", Verdict.UNDER_WAY: "open"}

_STYLE: Final = """
:root { color-scheme: light dark; --text: #1b1f24; --page: #ffffff; --soft: #57606a; --line: #d0d7de; --head: #f3f5f7;
  --good: #11632f; --bad: #a40e26; --open: #7d4e00; --link: #0a58ca; }
@media (prefers-color-scheme: dark) { :root { --text: #e6edf3; --page: #0d1117; --soft: #9ea7b3; --line: #3d444d;
  --head: #161b22; --good: #56d364; --bad: #ff8d85; --open: #e3b341; --link: #79b8ff; } }
body { margin: 2rem auto; padding: 0 1rem; max-width: 75rem; color: var(--text); background: var(--page);
  font: 1rem/1.5 system-ui, sans-serif; }
a { color: var(--link); }
h1, h2, h3 { line-height: 1.25; }
section { margin-top: 2rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; margin: 0.5rem 0; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); padding: 0.25rem 0; }
th, td { text-align: left; vertical-align: top; padding: 0.3rem 0.6rem; border: 1px solid var(--line);
  overflow-wrap: anywhere; }
th { background: var(--head); white-space: nowrap; }
summary { cursor: pointer; padding: 0.25rem 0; }
.mark { font-weight: 600; }
.good { color: var(--good); } .bad { color: var(--bad); } .open { color: var(--open); }
footer { margin-top: 3rem; color: var(--soft); border-top: 1px solid var(--line); }
@media print { body { margin: 0; max-width: none; font-size: 9pt; } a { color: inherit; text-decoration: none; }
  .scroll { overflow: visible; } tr, h2, h3 { break-inside: avoid; } h2, h3, caption { break-after: avoid; }
  details::details-content { content-visibility: visible; block-size: auto; } }
"""


def to_html(report: Report) -> bytes:
    root = etree.Element("html", lang="en")
    _head(root, report.headline)
    body = _add(root, "body")
    header = _add(body, "header")
    _add(header, "h1", "Firmware updates")
    mark = "good" if report.good else "bad"
    _add(_add(header, "p"), "strong", report.headline, mark=mark)
    main = _add(body, "main")
    _overview(main, report)
    for update in report.updates:
        _update(main, update)
    if report.refusals:
        section = _section(main, "refusals", "Refused")
        rows = map(refusal_cells, report.refusals)
        _table(section, "Requests and devices that were refused", REFUSAL_COLUMNS, rows)
    _add(_add(body, "footer"), "p", f"Made {isoformat(report.made)} by {report.program}")
    # Beyond ASCII, characters are written as references: the page reads the same whatever a server says of it.
    page = etree.tostring(root, method="html", encoding="us-ascii", doctype="<!DOCTYPE html>")
    return page + b"\n"


def _head(root: _Element, title: str) -> None:
    head = _add(root, "head")
    etree.SubElement(head, "meta", {"charset": "utf-8"})
    etree.SubElement(head, "meta", {"http-equiv": "Content-Security-Policy", "content": _POLICY})
    etree.SubElement(head, "meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"})
    etree.SubElement(head, "meta", {"name": "referrer", "content": "no-referrer"})
    _add(head, "title", f"Firmware updates: {title}")
    etree.SubElement(head, "style").text = _STYLE


def _overview(main: _Element, report: Report) -> None:
    section = _section(main, "overview", "Overview")
    selection = report.selection
    facts = [] if selection.since is None else [("updates begun since", isoformat(selection.since))]
    known = ((name, value) for name, value in report.radio.items() if value is not None)
    facts += [(f"dongle: {name.replace('_', ' ')}", str(value)) for name, value in known]
    if report.left_out:
        facts.append(("older updates left out", str(report.left_out)))
    facts += [("unreadable", str(row)) for row in report.unreadable]
    if facts:
        _facts(section, "About this report", facts)
    rows = _rows(section, "Updates", COLUMNS)
    for update in report.updates:
        row = _add(rows, "tr")
        for name, cell in zip(COLUMNS, update.cells, strict=True):
            match name:
                case "update":
                    _add(_add(row, "th", scope="row"), "a", cell, href=f"#update-{cell}")
                case "state":
                    _add(_add(row, "td"), "span", cell, mark=_MARKS[update.verdict])
                case _:
                    _add(row, "td", cell)


def _update(main: _Element, told: UpdateReport) -> None:
    update, image = told.update, told.image
    section = _section(main, f"update-{update.id}", f"Update {update.id}: {format_eui64(update.device)}")
    _add(_add(section, "p"), "strong", told.summary, mark=_MARKS[told.verdict])
    stored = "not in the store any more" if image is None else f"{image.name}, {image.size_bytes} octets"
    facts: list[tuple[str, str | None]] = [
        ("device type", told.device_type),
        ("image", f"{update.image} ({stored})"),
        ("versions", told.versions),
        ("version seen last", version_text(update.version_seen)),
        ("origin", update.origin),
        ("begun", isoformat(update.created)),
        ("ended", time_text(update.ended)),
        ("took", f"{told.seconds:.1f} s"),
        ("download", None if told.download is None else str(told.download)),
        ("retries of the download", None if told.retries is None else str(told.retries)),
        ("transfer, as told upward", None if update.transfer is None else update.transfer.value),
        ("activation at", time_text(update.activation_at)),
    ]
    _facts(section, f"Facts of update {update.id}", [(name, value) for name, value in facts if value is not None])
    if told.alerts:
        columns = ("time", "use case", "alert code", "outcome", "signature", "delivered", "attempts")
        alerts = [
            (
                isoformat(alert.created),
                alert.use_case,
                f"0x{alert.alert_code:04X}",
                alert.outcome,
                "verified" if alert.verified else "not verified",
                time_text(alert.delivered) or "-",
                str(alert.attempts),
            )
            for alert in told.alerts
        ]
        _table(section, f"Alerts of update {update.id}", columns, alerts)
    details = _add(section, "details")
    if told.verdict is not Verdict.ACTIVATED:
        details.set("open", "")
    _add(details, "summary", f"History ({len(told.history)} events)")
    rows = [(isoformat(event.utc), event.kind.value, event_detail(event)) for event in told.history]
    _table(details, f"History of update {update.id}", ("time", "event", "detail"), rows)


def _section(main: _Element, name: str, title: str) -> _Element:
    section = _add(main, "section")
    section.set("aria-labelledby", name)
    _add(section, "h2", title).set("id", name)
    return section


def _facts(parent: _Element, caption: str, facts: Iterable[tuple[str, str]]) -> None:
    table = _add(parent, "table")
    _add(table, "caption", caption)
    rows = _add(table, "tbody")
    for name, value in facts:
        row = _add(rows, "tr")
        _add(row, "th", name, scope="row")
        _add(row, "td", value)


def _table(parent: _Element, caption: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    body = _rows(parent, caption, columns)
    for row in rows:
        line = _add(body, "tr")
        for cell in row:
            _add(line, "td", cell)


def _rows(parent: _Element, caption: str, columns: Sequence[str]) -> _Element:
    """The empty body of a table, which scrolls within itself where it is wide, by keyboard too."""
    scroll = _add(parent, "div", role="region", tabindex="0", label=caption)
    scroll.set("class", "scroll")
    table = _add(scroll, "table")
    _add(table, "caption", caption)
    head = _add(_add(table, "thead"), "tr")
    for column in columns:
        _add(head, "th", column, scope="col")
    return _add(table, "tbody")


def _add(parent: _Element, tag: str, text: str = "", *, mark: str = "", label: str = "", **attributes: str) -> _Element:
    """An element with text in it, which the serializer escapes; control characters are shown."""
    element = etree.SubElement(parent, tag, {name: printable(value) for name, value in attributes.items()})
    if mark:
        element.set("class", f"mark {mark}")
    if label:
        element.set("aria-label", label)
    if text:
        element.text = printable(text)
    return element
