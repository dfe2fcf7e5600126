"""Times on a command line: those to come, and those that have passed."""

import zoneinfo
from datetime import UTC, datetime, timedelta

import click
import pytest

from chf.cli.options import SINCE, UTC_TIME, _moment
from chf.errors import UsageError

NOW = datetime(2026, 11, 23, 12, 30, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "ahead", "ago"),
    [
        ("18:00Z", datetime(2026, 11, 23, 18, 0, tzinfo=UTC), datetime(2026, 11, 22, 18, 0, tzinfo=UTC)),
        ("02:00Z", datetime(2026, 11, 24, 2, 0, tzinfo=UTC), datetime(2026, 11, 23, 2, 0, tzinfo=UTC)),
        ("90s", NOW + timedelta(seconds=90), NOW - timedelta(seconds=90)),
        ("30m", NOW + timedelta(minutes=30), NOW - timedelta(minutes=30)),
        ("8h", NOW + timedelta(hours=8), NOW - timedelta(hours=8)),
        ("2d", NOW + timedelta(days=2), NOW - timedelta(days=2)),
    ],
)
def test_a_short_time_is_the_next_or_the_last_one(text, ahead, ago):
    signs = ("", "") if text.endswith("Z") else ("+", "-")
    assert _moment(signs[0] + text, NOW, "+") == ahead
    assert _moment(signs[1] + text, NOW, "-") == ago


@pytest.mark.parametrize("parameter", [UTC_TIME, SINCE])
@pytest.mark.parametrize(
    "text",
    [
        "yesterday",
        "",
        "25:00 Europe/London",
        "noon Europe/London",
        "18:00 Europe/Paris",
        "90s",
        "8 h",
        "25:00Z",
        "2026-13-01T00:00:00Z",
        "-1e999s",
        "+1e999d",
    ],
)
def test_what_is_no_time_is_refused_with_the_forms(parameter, text):
    with pytest.raises(
        click.BadParameter, match=rf"write 2026-11-23T18:00:00Z, 18:00Z or \{parameter.sign}90s.*Europe/London"
    ):
        parameter.convert(text, None, None)


def test_a_time_without_a_zone_is_refused():
    with pytest.raises(click.BadParameter, match="no time zone"):
        SINCE.convert("2026-11-23T18:00:00", None, None)


def test_what_has_passed_is_not_to_come_and_the_other_way_round():
    assert SINCE.convert("2000-01-01T00:00:00Z", None, None) == 946_684_800.0
    with pytest.raises(click.BadParameter, match="has passed"):
        UTC_TIME.convert("2000-01-01T00:00:00Z", None, None)
    with pytest.raises(click.BadParameter, match="is yet to come"):
        SINCE.convert("2999-01-01T00:00:00Z", None, None)
    with pytest.raises(click.BadParameter, match="beyond what a device can be told"):
        UTC_TIME.convert("2999-01-01T00:00:00Z", None, None)


# Local times, over both changes of 2027


def local(text: str, now: datetime = NOW, sign: str = "+") -> str:
    return _moment(f"{text} Europe/London", now, sign).isoformat()


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2027-03-28 00:59:59", "2027-03-28T00:59:59+00:00"),
        ("2027-03-28 02:00", "2027-03-28T01:00:00+00:00"),
        ("2027-07-01T18:00", "2027-07-01T17:00:00+00:00"),
        ("2027-10-31 00:59", "2027-10-30T23:59:00+00:00"),
        ("2027-10-31 02:00", "2027-10-31T02:00:00+00:00"),
        ("2027-12-24T18:00:30", "2027-12-24T18:00:30+00:00"),
    ],
)
def test_a_local_time_is_that_of_its_day(text, utc):
    assert local(text) == utc


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("2027-03-28 01:00", r"is left out in .*: write 2027-03-28T00:00:00\+00:00 or 2027-03-28T02:00:00\+01:00"),
        ("2027-03-28T01:30", r"is left out in .*: write 2027-03-28T00:30:00\+00:00 or 2027-03-28T02:30:00\+01:00"),
        ("2027-10-31 01:00", r"comes twice in .*: write 2027-10-31T01:00:00\+01:00 or 2027-10-31T01:00:00\+00:00"),
        ("2027-10-31T01:59", r"comes twice in .*: write 2027-10-31T01:59:00\+01:00 or 2027-10-31T01:59:00\+00:00"),
    ],
)
def test_a_local_time_that_is_not_one_moment_is_refused_with_the_two_that_it_may_mean(text, told):
    with pytest.raises(click.BadParameter, match=told):
        UTC_TIME.convert(f"{text} Europe/London", None, None)
    for either in told.replace("\\", "").split("write ")[1].split(" or "):
        assert UTC_TIME.convert(either, None, None) == datetime.fromisoformat(either).timestamp()


@pytest.mark.parametrize(
    ("now", "ahead", "ago"),
    [
        # The clock shows 18:00 a day of 23, 25 or 24 hours later.
        ("2027-03-27T18:00+00:00", "2027-03-28T17:00:00+00:00", "2027-03-27T18:00:00+00:00"),
        ("2027-10-30T17:00+00:00", "2027-10-31T18:00:00+00:00", "2027-10-30T17:00:00+00:00"),
        ("2027-07-01T16:59+00:00", "2027-07-01T17:00:00+00:00", "2027-06-30T17:00:00+00:00"),
        ("2027-07-01T23:30+00:00", "2027-07-02T17:00:00+00:00", "2027-07-01T17:00:00+00:00"),
    ],
)
def test_a_short_local_time_is_the_next_or_the_last_one(now, ahead, ago):
    moment = datetime.fromisoformat(now).astimezone(UTC)
    assert (local("18:00", moment), local("18:00", moment, "-")) == (ahead, ago)


@pytest.mark.parametrize(
    ("now", "told"),
    [
        ("2027-03-27T20:00+00:00", "is left out"),
        ("2027-10-30T20:00+00:00", "comes twice"),
        ("2027-10-31T00:45+00:00", "comes twice"),  # the second one is still to come
    ],
)
def test_a_short_local_time_is_no_more_certain_on_the_days_of_change(now, told):
    moment = datetime.fromisoformat(now).astimezone(UTC)
    with pytest.raises(UsageError, match=told):
        local("01:30", moment)


def test_a_local_time_needs_no_offset():
    with pytest.raises(UsageError, match="has an offset: leave Europe/London out"):
        local("2027-10-31T01:30+01:00")


def test_a_machine_without_time_zones_says_what_to_install(monkeypatch):
    def unknown(key):
        raise zoneinfo.ZoneInfoNotFoundError(key)

    monkeypatch.setattr(zoneinfo, "ZoneInfo", unknown)
    with pytest.raises(
        click.BadParameter, match=r"install its time zones \(the package tzdata\), or end the time with Z"
    ):
        UTC_TIME.convert("18:00 Europe/London", None, None)
