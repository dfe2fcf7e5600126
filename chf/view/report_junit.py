"""The report as JUnit XML, for a CI server: one test suite, one test case for each update of a device.

It holds against both schemas in use, Ant's (windyroad/JUnit-Schema) and the one of Jenkins' xunit plugin (junit-10),
which is why it has elements that are empty and no attribute on the root.
"""

from collections.abc import Sequence

from lxml import etree
from lxml.etree import _Element

from chf.clock import isoformat
from chf.eui64 import format_eui64
from chf.trace import Event
from chf.view import printable
from chf.view.records import event_detail
from chf.view.report import Report, UpdateReport, Verdict

_ELEMENTS = {Verdict.NOT_ACTIVATED: "failure", Verdict.UNDER_WAY: "error"}


def to_junit(report: Report) -> bytes:
    """An update that did not end as activated is a failure, one that has not ended an error; both with the reason."""
    verdicts = [update.verdict for update in report.updates]
    begun = min((update.update.created for update in report.updates), default=report.made)
    root = etree.Element("testsuites")
    suite = _add(
        root,
        "testsuite",
        name="chf updates",
        package="chf",
        id="0",
        timestamp=isoformat(begun).removesuffix("Z"),  # Ant's schema takes no time zone
        hostname="localhost",
        tests=str(len(verdicts)),
        failures=str(verdicts.count(Verdict.NOT_ACTIVATED)),
        errors=str(verdicts.count(Verdict.UNDER_WAY)),
        time=f"{sum(update.seconds for update in report.updates):.3f}",
    )
    properties = _add(suite, "properties")
    told = {"program": report.program, "made": isoformat(report.made)}
    told |= {f"radio {name}": str(value) for name, value in report.radio.items() if value is not None}
    for name, value in told.items():
        _add(properties, "property", name=name, value=value)
    for update in report.updates:
        _test_case(suite, update)
    _add(suite, "system-out", [_refusal(event) for event in report.refusals])
    _add(suite, "system-err", list(map(str, report.unreadable)))
    etree.indent(root)
    return etree.tostring(root, encoding="UTF-8", xml_declaration=True) + b"\n"


def _test_case(suite: _Element, told: UpdateReport) -> None:
    update = told.update
    case = _add(
        suite,
        "testcase",
        classname=f"chf.{format_eui64(update.device)}",
        name=f"update {update.id} to version 0x{update.file_version:08X}",
        time=f"{told.seconds:.3f}",
    )
    if told.verdict is not Verdict.ACTIVATED:
        _add(case, _ELEMENTS[told.verdict], _story(told), message=told.summary, type=update.state.value)


def _story(update: UpdateReport) -> list[str]:
    """What a person asks first, and the history; a line each."""
    return [
        update.summary,
        f"image {update.update.image}, versions {update.versions}",
        f"download: {update.download or 'nothing was sent'}",
        *(f"alert {alert.use_case} 0x{alert.alert_code:04X}: {alert.outcome}" for alert in update.alerts),
        *(f"{isoformat(event.utc)} {event.kind.value} {event_detail(event)}".rstrip() for event in update.history),
    ]


def _refusal(event: Event) -> str:
    device = "" if event.device is None else f" {format_eui64(event.device)}"
    return f"{isoformat(event.utc)} refused{device}: {event_detail(event)}"


def _add(parent: _Element, tag: str, lines: Sequence[str] = (), **attributes: str) -> _Element:
    """Escaped by the serializer; control characters, which XML cannot hold, are shown."""
    element = etree.SubElement(parent, tag, {name: printable(value) for name, value in attributes.items()})
    if lines:
        element.text = "\n".join(map(printable, lines)) + "\n"
    return element
