"""What holds for every test: hypothesis draws the same examples each time, and judges no example by the clock.

And what tests of different folders ask for.
"""

import gc
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# A deadline, or the check for slow drawing, would tell how busy the machine is and nothing of what is tested.
settings.register_profile("repeatable", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("repeatable")

_LONGEST_FIRST = ("tests/system/test_dongle_faults", "tests/system/", "tests/interop/")
"""So that no process is left alone with them at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def rank(item: pytest.Item) -> int:
        places = (place for place, start in enumerate(_LONGEST_FIRST) if item.nodeid.startswith(start))
        return next(places, len(_LONGEST_FIRST))

    items.sort(key=rank)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What a test wrote down as ("reached", text): how much of something was looked at."""
    reports = terminalreporter.getreports("passed")
    reached = [text for report in reports for name, text in report.user_properties if name == "reached"]
    for text in reached:
        terminalreporter.write_line(f"reached: {text}")


@pytest.fixture
def no_complaints(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nobody leaves an error in the log, neither asyncio nor a library: no lost task, no exception that nobody took."""
    yield
    gc.collect()
    records = [record for phase in ("setup", "call", "teardown") for record in caplog.get_records(phase)]
    assert [r.getMessage() for r in records if r.levelname in ("ERROR", "CRITICAL")] == []
