"""Putting fragmented APS messages together, against senders that lose, repeat, reorder, restart and abuse."""

from dataclasses import replace

from chf.clock import Instant
from chf.radio.fragments import IDLE_LIMIT_S, Fragment, FragmentKey, Reassembler, ReassemblyLimits, Verdict, cut

T0 = Instant(100.0)
TAKEN = Verdict(acknowledge=True)
REFUSED = Verdict(acknowledge=False)


def key(source: int = 0x1234, counter: int = 7) -> FragmentKey:
    return FragmentKey(source, 1, 11, 0x0109, 0x0704, counter, secured=True)


def at(seconds: float) -> Instant:
    return Instant(T0 + seconds)


def whole(message: bytes) -> Verdict:
    return Verdict(acknowledge=True, message=message)


def test_the_limit_counts_from_the_last_new_fragment():
    reassembler = Reassembler()
    reassembler.add(key(), Fragment(0, 3, b"a"), T0)
    reassembler.add(key(), Fragment(1, 0, b"b"), at(9))
    assert reassembler.add(key(), Fragment(2, 0, b"c"), at(18)) == whole(b"abc")


def test_a_message_without_progress_is_forgotten():
    reassembler = Reassembler()
    reassembler.add(key(), Fragment(0, 2, b"a"), T0)
    reassembler.expire(at(IDLE_LIMIT_S))
    assert len(reassembler) == 0
    assert reassembler.add(key(), Fragment(1, 0, b"b"), at(IDLE_LIMIT_S)) == TAKEN


def test_a_repetition_is_no_progress():
    reassembler = Reassembler()
    reassembler.add(key(), Fragment(0, 2, b"a"), T0)
    reassembler.add(key(), Fragment(0, 2, b"a"), at(9))
    reassembler.expire(at(IDLE_LIMIT_S))
    assert len(reassembler) == 0


def test_a_sender_that_restarted_uses_its_counter_again():
    reassembler = Reassembler()
    reassembler.add(key(), Fragment(0, 2, b"old"), T0)
    assert reassembler.add(key(), Fragment(0, 2, b"new"), at(1)) == TAKEN
    assert reassembler.add(key(), Fragment(1, 0, b"!"), at(1)) == whole(b"new!")
    assert reassembler.add(key(), Fragment(0, 1, b"third"), at(2)) == whole(b"third")


def test_an_index_beyond_the_count_starts_anew_and_never_completes_the_old_message():
    reassembler = Reassembler()
    reassembler.add(key(), Fragment(0, 2, b"a"), T0)
    assert reassembler.add(key(), Fragment(5, 0, b"x"), T0) == TAKEN
    assert reassembler.add(key(), Fragment(1, 0, b"b"), T0).message is None


def test_fragments_with_and_without_a_link_key_never_make_one_message():
    reassembler = Reassembler()
    reassembler.add(replace(key(), secured=False), Fragment(0, 2, b"forged "), T0)
    assert reassembler.add(key(), Fragment(1, 0, b"ending"), T0) == TAKEN
    assert reassembler.add(key(), Fragment(0, 2, b"true "), T0) == whole(b"true ending")


def test_absurd_counts_and_indexes_are_not_acknowledged():
    reassembler = Reassembler(ReassemblyLimits(fragments=8))
    assert reassembler.add(key(), Fragment(0, 0, b"a"), T0) == REFUSED
    assert reassembler.add(key(), Fragment(0, 9, b"a"), T0) == REFUSED
    assert reassembler.add(key(), Fragment(8, 0, b"a"), T0) == REFUSED
    assert len(reassembler) == 0


def test_a_source_that_starts_many_messages_pays_with_its_own():
    reassembler = Reassembler(ReassemblyLimits(messages_of_one_source=2, messages=3))
    reassembler.add(key(source=9), Fragment(0, 2, b"victim"), T0)
    for counter in range(20):
        assert reassembler.add(key(counter=counter), Fragment(0, 2, b"x"), T0) == TAKEN
    assert len(reassembler) == 3
    assert reassembler.add(key(source=9), Fragment(1, 0, b"!"), T0) == whole(b"victim!")


def test_when_all_places_are_taken_a_new_message_waits_for_its_senders_retry():
    reassembler = Reassembler(ReassemblyLimits(messages=2))
    reassembler.add(key(source=1), Fragment(0, 2, b"a"), T0)
    reassembler.add(key(source=2), Fragment(0, 2, b"b"), T0)
    assert reassembler.add(key(source=3), Fragment(0, 2, b"c"), T0) == REFUSED
    assert reassembler.add(key(source=1), Fragment(1, 0, b"!"), T0) == whole(b"a!")
    assert reassembler.add(key(source=3), Fragment(0, 2, b"c"), T0) == TAKEN


def test_cutting():
    assert cut(b"", 3) == (b"",)
    assert cut(b"abc", 3) == (b"abc",)
    assert cut(b"abcdefg", 3) == (b"abc", b"def", b"g")
