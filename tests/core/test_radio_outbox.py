"""The order in which messages leave: classes, turns, places."""

from chf.eui64 import Eui64
from chf.radio.interface import Urgency
from chf.radio.outbox import Outbox, Places

A, B, C = Eui64(0xA), Eui64(0xB), Eui64(0xC)
ROOMY = Places(together=100, kept_from_bulk=0, normal_together=100, urgent=10, normal=10, bulk=10)


def filled(places: Places, *messages: tuple[Eui64, Urgency, str]) -> Outbox[str]:
    outbox: Outbox[str] = Outbox(places)
    for device, urgency, name in messages:
        assert outbox.put(device, urgency, name)
    return outbox


def take_all(outbox: Outbox[str]) -> list[str]:
    taken = []
    while (item := outbox.take()) is not None:
        taken.append(item)
    return taken


def test_devices_take_turns_and_each_keeps_its_order():
    waiting = [
        (device, Urgency.BULK, f"{name}{i}") for device, name in ((A, "a"), (B, "b"), (C, "c")) for i in range(3)
    ]
    assert take_all(filled(ROOMY, *waiting)) == ["a0", "b0", "c0", "a1", "b1", "c1", "a2", "b2", "c2"]


def test_a_dongle_with_one_place_still_gets_blocks():
    outbox = filled(Places(together=1, kept_from_bulk=2), (A, Urgency.BULK, "block"))
    assert take_all(outbox) == ["block"]


def test_a_message_without_room_comes_first_again():
    outbox = filled(ROOMY, (A, Urgency.BULK, "a0"), (A, Urgency.BULK, "a1"), (B, Urgency.BULK, "b0"))
    first = outbox.take()
    assert first == "a0"
    outbox.put_back(A, Urgency.BULK, first)
    assert outbox.under_way == 0
    assert take_all(outbox) == ["a0", "b0", "a1"]


def test_a_device_that_asks_for_ever_is_refused_at_some_point():
    outbox: Outbox[int] = Outbox(Places(waiting=3))
    assert [outbox.put(A, Urgency.BULK, n) for n in range(5)] == [True, True, True, False, False]
    assert outbox.put(A, Urgency.URGENT, 9)
    assert outbox.put(B, Urgency.BULK, 9)


def test_draining_gives_up_all_that_waits_and_frees_all_places():
    outbox = filled(Places(together=2, kept_from_bulk=0), *((A, Urgency.BULK, f"a{i}") for i in range(4)))
    assert take_all(outbox) == ["a0", "a1"]
    assert list(outbox.drain()) == ["a2", "a3"]
    assert (len(outbox), outbox.under_way) == (0, 0)
    outbox.put(A, Urgency.BULK, "new")
    assert take_all(outbox) == ["new"]
