"""The trace record: its text, what it refuses, and its documentation."""

import json
import math
from pathlib import Path

import pytest

from chf.clock import UtcSeconds
from chf.errors import MalformedError, UsageError
from chf.eui64 import Eui64
from chf.trace import FORBIDDEN_FIELDS, KINDS, Event, Kind

DOCUMENT = Path(__file__).parents[2] / "docs" / "trace.md"
UTC = UtcSeconds(1_795_414_440.25)


def line(**members) -> str:
    return json.dumps({"schema": 2, "utc": "2026-11-23T06:14:00.250Z", "kind": "alarm", **members})


def test_the_text_of_an_event_is_fixed():
    event = Event(
        UTC, Kind.UPDATE_STATE, Eui64(0x00DB1234567890A4), 7, {"from": "downloaded", "to": "activating", "reason": ""}
    )
    assert event.to_json() == (
        '{"device":"00-DB-12-34-56-78-90-A4","fields":{"from":"downloaded","reason":"","to":"activating"},'
        '"kind":"update.state","schema":2,"update":7,"utc":"2026-11-23T06:14:00.250Z"}'
    )
    assert event.to_json() in DOCUMENT.read_text()
    assert Event.from_json(event.to_json()) == event


def test_a_record_of_the_first_schema_called_an_update_a_job():
    old = line(schema=1, kind="job.state", job=7, fields={"to": "activated"})
    assert Event.from_json(old) == Event(UTC, Kind.UPDATE_STATE, update=7, fields={"to": "activated"})
    assert Event.from_json(line(schema=1)) == Event(UTC, Kind.ALARM)
    with pytest.raises(MalformedError):
        Event.from_json(line(job=7))


@pytest.mark.parametrize("text", ["\x1b[2J", "\x7f", "\x9b31m", "a\nb\rc\x00", "\u202e", "\ud800"])
def test_control_characters_leave_as_escapes(text):
    written = Event(UTC, Kind.ALARM, fields={"reason": text}).to_json()
    assert written.isascii()
    assert written.isprintable()
    assert Event.from_json(written).fields["reason"] == text


@pytest.mark.parametrize("value", [b"\x00" * 16, bytearray(16), {"a": 1}, (("a",),), [1], object(), math.nan, math.inf])
def test_values_that_could_carry_a_key_or_break_a_reader_are_refused(value):
    with pytest.raises(UsageError, match="reason"):
        Event(UTC, Kind.ALARM, fields={"reason": value})


@pytest.mark.parametrize("name", sorted(FORBIDDEN_FIELDS))
def test_the_names_under_which_keys_travel_are_refused(name):
    with pytest.raises(UsageError, match="keys stay out of the trace"):
        Event(UTC, Kind.ALARM, fields={name: "00112233"})


@pytest.mark.parametrize("utc", [-1.0, 1e12, math.nan, math.inf])
def test_a_time_that_no_calendar_has_is_refused(utc):
    with pytest.raises(UsageError, match="no time"):
        Event(UtcSeconds(utc), Kind.ALARM)


def test_the_fields_of_an_event_do_not_change_after_it():
    fields = {"reason": "a"}
    event = Event(UTC, Kind.ALARM, fields=fields)
    fields["reason"] = "b"
    assert event.fields == {"reason": "a"}
    with pytest.raises(TypeError):
        event.fields["reason"] = "c"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "[1]",
        "null",
        "[" * 100_000,
        line(schema=3),
        line(kind="alarm.unknown"),
        line(utc="2026-11-23"),
        line(utc="2026-11-23T06:14:00Z"),
        line(utc="2026-11-23T06:14:00.000"),
        line(utc="2026-11-23T06:14:00.000+01:00"),
        line(utc="2026-11-23 06:14:00.000Z"),
        line(utc="20261123T061400.000Z"),
        line(utc=None),
        line(device="00-DB"),
        line(update="7"),
        line(update=True),
        line(fields=[]),
        line(fields={"link_key": "00"}),
        line(fields={"a": {"b": 1}}),
        line(fields={"a": [[1]]}),
        line(extra=1),
    ],
)
def test_a_line_that_is_no_event_is_refused(text):
    with pytest.raises(MalformedError):
        Event.from_json(text)


def test_every_kind_is_documented_with_its_fields():
    table = [row for row in DOCUMENT.read_text().splitlines() if row.startswith("| `") and row.count("|") == 4]
    kinds = table[-len(KINDS) :]
    expected = []
    for kind, (says, fields) in KINDS.items():
        names = ", ".join(f"`{name}`" for name in fields)
        expected.append(f"| `{kind.value}` | {says} | {names} |" if names else f"| `{kind.value}` | {says} | |")
    assert kinds == expected
    assert set(KINDS) == set(Kind)
