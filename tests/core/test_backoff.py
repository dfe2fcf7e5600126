"""The wait between attempts, wherever something is tried again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chf.clock import backoff_s


@pytest.mark.parametrize(
    ("failures", "expected_s"), [(0, 0.25), (1, 0.25), (2, 0.5), (3, 1.0), (6, 8.0), (7, 10.0), (10**6, 10.0)]
)
def test_it_doubles_up_to_its_limit(failures, expected_s):
    assert backoff_s(failures, 0.25, 10.0) == expected_s


@given(st.integers(0, 10**9), st.floats(0.001, 1e3), st.floats(1e3, 1e9))
def test_it_never_falls_and_never_passes_its_limit(failures, first_s, longest_s):
    now, later = backoff_s(failures, first_s, longest_s), backoff_s(failures + 1, first_s, longest_s)
    assert first_s <= now <= later <= longest_s
