"""What a device has to say and nobody has taken yet: in flash, bounded, the oldest first."""

import pytest

from devices.nodes.flash import Flash
from devices.nodes.journal import Journal, Key
from devices.nodes.outbox import LONGEST_BYTES, Outbox

LATER = {Key.OUTCOME: None}


def opened(flash: Flash | None = None) -> Outbox:
    return Outbox(Journal(flash or Flash(sectors=42)), 1)


def drained(outbox: Outbox) -> list[bytes]:
    messages = []
    while (message := outbox.waiting()) is not None:
        messages.append(message)
        outbox.taken(message)
    return messages


def test_messages_wait_in_their_order_over_a_reboot() -> None:
    flash = Flash(sectors=42)
    outbox = opened(flash)
    for message in (b"first", b"second", b"third"):
        outbox.add(message, also=LATER)
    outbox.taken(b"second")  # not the one that is being sent
    assert drained(opened(flash)) == [b"first", b"second", b"third"]


@pytest.mark.parametrize("length", [LONGEST_BYTES // 4, LONGEST_BYTES // 4 + 1])
def test_where_there_is_no_room_the_oldest_give_way_and_no_more_of_them_than_must(length: int) -> None:
    outbox = opened()
    messages = [bytes([number]) * length for number in range(6)]
    for message in messages:
        outbox.add(message, also=LATER)
    room = LONGEST_BYTES // length
    assert room == (4 if length == LONGEST_BYTES // 4 else 3)
    assert drained(outbox) == messages[-room:]


def test_a_message_that_fills_the_outbox_is_kept_and_one_that_is_longer_takes_nothing_with_it() -> None:
    journal = Journal(Flash(sectors=42))
    journal.put({Key.OUTCOME: b"cause"})
    outbox = Outbox(journal, 1)
    outbox.add(b"held", also={})
    with pytest.raises(ValueError, match="of 1025 bytes do not fit"):
        outbox.add(bytes(LONGEST_BYTES + 1), also=LATER)
    assert (outbox.waiting(), journal.get(Key.OUTCOME)) == (b"held", b"cause")
    outbox.add(bytes(LONGEST_BYTES), also=LATER)
    assert (drained(outbox), journal.get(Key.OUTCOME)) == ([bytes(LONGEST_BYTES)], None)


def test_a_counter_is_used_once() -> None:
    flash = Flash(sectors=42)
    counters = [opened(flash).take_counter(5.5) for _ in range(3)]
    assert counters == [1, 2, 3]
    fresh = Outbox(Journal(Flash(sectors=42)), None)
    assert [fresh.take_counter(5.5), fresh.take_counter(1.0)] == [5500, 5501]
