"""Classes of OTA client as data: the unknown one is the most cautious of all."""

import pytest

from chf.update.clients import CLASSES, UNKNOWN, ClientClass, OnReboot, Resume

KNOWN = [row for row in CLASSES.values() if row is not UNKNOWN]


@pytest.mark.parametrize("row", KNOWN, ids=lambda row: row.name)
def test_no_class_is_more_cautious_than_the_unknown_one(row: ClientClass) -> None:
    assert UNKNOWN.hold_limit_s is not None
    assert 20 <= UNKNOWN.commit_window_s <= row.commit_window_s
    assert row.hold_limit_s is None or UNKNOWN.hold_limit_s <= row.hold_limit_s
    assert UNKNOWN.answer_limit_s <= row.answer_limit_s
    assert (UNKNOWN.resume, UNKNOWN.on_reboot) == (Resume.FROM_START, OnReboot.ACTIVATES)


@pytest.mark.parametrize("row", CLASSES.values(), ids=lambda row: row.name)
def test_a_row_says_where_it_is_from_and_what_in_it_is_cautious(row: ClientClass) -> None:
    assert row.source
    guessed = row.on_reboot is OnReboot.ACTIVATES and row.name != "nordic"
    assert not guessed or "cautious" in row.source


@pytest.mark.parametrize(
    ("name", "wait_s", "holds"),
    [
        ("silicon-labs", 1e9, True),
        ("telink", 7199, True),
        ("telink", 7200, False),
        ("nordic", 1, False),
        ("unknown", 1, False),
    ],
)
def test_who_can_be_trusted_with_the_whole_image(name: str, wait_s: float, holds: bool) -> None:
    assert CLASSES[name].can_hold(wait_s) is holds
