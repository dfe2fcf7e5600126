"""The trace record: what is written is read back, and no text does anything but that or MalformedError."""

import contextlib

import hypothesis.strategies as st
from hypothesis import given, settings

from chf.clock import UtcSeconds
from chf.errors import MalformedError
from chf.eui64 import Eui64
from chf.trace import FORBIDDEN_FIELDS, Event, Kind

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
names = st.text(max_size=20).filter(lambda name: name not in FORBIDDEN_FIELDS)
events = st.builds(
    Event,
    utc=st.floats(0, 2e11).map(UtcSeconds),
    kind=st.sampled_from(Kind),
    device=st.none() | st.integers(0, 2**64 - 1).map(Eui64),
    update=st.none() | st.integers(0, 2**62),
    fields=st.dictionaries(names, scalars | st.lists(scalars, max_size=3).map(tuple), max_size=4),
)


@settings(derandomize=True, max_examples=300, deadline=None)
@given(events)
def test_an_event_comes_back_as_it_was(event):
    text = event.to_json()
    assert text.isprintable()
    again = Event.from_json(text)
    assert again == event
    assert again.to_json() == text


@settings(derandomize=True, max_examples=300, deadline=None)
@given(st.text(max_size=200))
def test_junk_is_refused_as_malformed(text):
    with contextlib.suppress(MalformedError):
        Event.from_json(text)


@settings(derandomize=True, max_examples=300, deadline=None)
@given(events, st.data())
def test_a_damaged_line_is_an_event_or_malformed(event, data):
    text = event.to_json()
    place = data.draw(st.integers(0, len(text) - 1))
    with contextlib.suppress(MalformedError):
        Event.from_json(text[:place] + data.draw(st.characters()) + text[place + 1 :])
