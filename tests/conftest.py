"""What holds for every test: hypothesis draws the same examples each time, and judges no example by the clock."""

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
