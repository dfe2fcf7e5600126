"""A message arrives whole and once if all its fragments do, in any order, however often, among others."""

from hypothesis import given, settings
from hypothesis import strategies as st

from chf.clock import Instant
from chf.radio.fragments import IDLE_LIMIT_S, Fragment, FragmentKey, Reassembler, ReassemblyLimits, cut

FIXED = settings(derandomize=True, max_examples=200, deadline=None)
LIMITS = ReassemblyLimits(fragments=16, messages_of_one_source=2, messages=5)


def key(source: int, counter: int) -> FragmentKey:
    return FragmentKey(source, 1, 11, 0x0109, 0x0704, counter, secured=True)


def fragments_of(message: bytes, room: int) -> list[Fragment]:
    pieces = cut(message, room)
    return [Fragment(index, len(pieces) if index == 0 else 0, piece) for index, piece in enumerate(pieces)]


@FIXED
@given(st.binary(min_size=1, max_size=600), st.integers(1, 80))
def test_cutting_keeps_every_byte_and_the_room(message, room):
    pieces = cut(message, room)
    assert b"".join(pieces) == message
    assert all(0 < len(piece) <= room for piece in pieces)
    assert all(len(piece) == room for piece in pieces[:-1])


@FIXED
@given(st.data(), st.lists(st.binary(min_size=1, max_size=400), min_size=1, max_size=4))
def test_every_message_whose_fragments_all_come_is_delivered_once(data, messages):
    air = [
        (source, fragment)
        for source, message in enumerate(messages)
        for fragment in fragments_of(message, 60)
        for _ in range(data.draw(st.integers(0, 2), label="copies of this fragment"))
    ]
    air = data.draw(st.permutations(air))
    reassembler, now, delivered = Reassembler(), Instant(0.0), []
    for source, fragment in air:
        now = Instant(now + data.draw(st.floats(0, 0.1)))  # at most 56 of them: all within the limit
        verdict = reassembler.add(key(source, 7), fragment, now)
        assert verdict.acknowledge
        if verdict.message is not None:
            delivered.append((source, verdict.message))
    arrived = {source: {fragment.index for s, fragment in air if s == source} for source in range(len(messages))}
    expected = [
        (source, message)
        for source, message in enumerate(messages)
        if arrived[source] == set(range(len(cut(message, 60))))
    ]
    assert sorted(delivered) == sorted(expected)


@FIXED
@given(
    st.lists(
        st.tuples(
            st.integers(0, 7),  # source
            st.integers(0, 9),  # counter
            st.builds(Fragment, st.integers(0, 255), st.integers(0, 255), st.binary(max_size=4)),
            st.floats(0, 20),
        ),
        max_size=80,
    )
)
def test_no_storm_of_fragments_raises_or_grows_without_bound(storm):
    reassembler, now = Reassembler(LIMITS), Instant(0.0)
    for source, counter, fragment, pause in storm:
        now = Instant(now + pause)
        verdict = reassembler.add(key(source, counter), fragment, now)
        assert verdict.message is None or verdict.acknowledge
        assert len(reassembler) <= LIMITS.messages
    reassembler.expire(Instant(now + IDLE_LIMIT_S + 1))
    assert len(reassembler) == 0
