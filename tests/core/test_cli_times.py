"""Times on a command line: those to come, and those that have passed."""

from datetime import UTC, datetime, timedelta

import click
import pytest

from chf.cli.options import SINCE, UTC_TIME, _moment

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
    "text", ["yesterday", "", "90s", "8 h", "25:00Z", "2026-13-01T00:00:00Z", "-1e999s", "+1e999d"]
)
def test_what_is_no_time_is_refused_with_the_forms(parameter, text):
    with pytest.raises(click.BadParameter, match=f"write 2026-11-23T18:00:00Z, 18:00Z or \\{parameter.sign}90s"):
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
