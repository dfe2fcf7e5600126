"""The tables of the DCC side: documents for users, followed commands, messages for devices."""

import pytest

from chf.clock import UtcSeconds
from chf.errors import RefusedError, StoreError
from chf.eui64 import Eui64
from chf.store import Store
from chf.store.device_messages import MessageState, NewDeviceMessage
from chf.store.inbox import Followed
from chf.store.uplink import Head, NewDocument

NOW = UtcSeconds(1_800_000_000.0)
USER, OTHER, PPMID, ESME = Eui64(0x90B3D51F30010000), Eui64(0x90B3D51F30030000), Eui64(0xA4), Eui64(0xA0)


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path) as opened:
        yield opened


def document(name: str, recipient: Eui64 = USER, device: Eui64 = PPMID) -> NewDocument:
    return NewDocument(name, recipient, device, "alert", f"<{name}/>".encode(), NOW)


def add(store, *documents):
    with store.transaction() as tx:
        return [tx.uplink.add(item) for item in documents]


def heads(store):
    return [store.uplink.get(head.seq).msg_id for head in store.uplink.heads()]


def test_uplink_keeps_the_first_document_of_an_id(store):
    assert add(store, document("a"), document("a")) == [True, False]
    assert [item.document for item in store.uplink.list()] == [b"<a/>"]


def test_uplink_offers_one_document_for_each_recipient_and_device_in_order(store):
    add(store, document("a"), document("b"), document("c", device=ESME), document("d", OTHER), document("e", OTHER))
    assert heads(store) == ["a", "c", "d"]
    with store.transaction() as tx:
        tx.uplink.delivered(1, NOW)
    assert heads(store) == ["b", "c", "d"]
    assert store.uplink.waiting() == 4


def test_uplink_failed_attempt_keeps_its_place(store):
    add(store, document("a"), document("b"))
    with store.transaction() as tx:
        tx.uplink.failed(1, "refused", UtcSeconds(NOW + 5))
    assert store.uplink.heads() == (Head(1, USER, UtcSeconds(NOW + 5)),)
    assert (store.uplink.get(1).attempts, store.uplink.get(1).last_error) == (1, "refused")


def test_uplink_parked_document_lets_the_next_pass_and_can_be_sent_again(store):
    add(store, document("a"), document("b"))
    with store.transaction() as tx:
        tx.uplink.failed(1, "answered 400", NOW, park=True)
    assert heads(store) == ["b"]
    assert [item.msg_id for item in store.uplink.list(undelivered=True)] == ["a", "b"]
    with store.transaction() as tx:
        tx.uplink.retry(1)
    assert heads(store) == ["a"]


@pytest.mark.parametrize("verb", ["retry", "resend"])
def test_uplink_document_that_goes_again_goes_now(store, verb):
    """Not at the end of the pause that its last attempt had earned."""
    add(store, document("a"))
    with store.transaction() as tx:
        tx.uplink.failed(1, "answered 503", UtcSeconds(NOW + 300), park=verb == "retry")
        if verb == "resend":
            tx.uplink.delivered(1, NOW)
            assert tx.uplink.resend(UtcSeconds(NOW + 1)) == 0
            assert tx.uplink.resend(NOW) == 1
        else:
            tx.uplink.retry(1)
    (head,) = store.uplink.heads()
    document_again = store.uplink.get(head.seq)
    assert (head.next_attempt, document_again.parked, document_again.delivered) == (0, False, None)


def test_uplink_delivered_document_is_not_sent_again(store):
    add(store, document("a"))
    with store.transaction() as tx:
        tx.uplink.delivered(1, NOW)
        tx.uplink.delivered(1, UtcSeconds(NOW + 5))  # the first time counts
    with pytest.raises(RefusedError), store.transaction() as tx:
        tx.uplink.retry(1)
    assert store.uplink.get(1).delivered == NOW
    assert store.uplink.list(undelivered=True) == ()


def test_followed_commands_are_listed_until_removed(store):
    first, second = Followed(4, "a:b:1", "11.4", 2), Followed(7, "a:b:2", "8.11", 0)
    with store.transaction() as tx:
        tx.followed.add(second)
        tx.followed.add(first)
    assert store.followed.list() == (first, second)
    with store.transaction() as tx:
        tx.followed.remove(4)
    assert store.followed.list() == (second,)


def message(device: Eui64 = PPMID, counter: int = 2**64 - 1) -> NewDeviceMessage:
    return NewDeviceMessage(device, "a:b:1", 0x0129, counter, b"octets", NOW, UtcSeconds(NOW + 86400))


def test_device_messages_wait_in_order_and_are_found_by_their_answer(store):
    with store.transaction() as tx:
        ids = [tx.device_messages.add(item) for item in (message(), message(ESME), message(counter=5))]
    assert [item.id for item in store.device_messages.waiting()] == ids
    assert [item.id for item in store.device_messages.waiting(PPMID)] == [ids[0], ids[2]]
    assert store.device_messages.asked(PPMID, 2**64 - 1, 0x0129).id == ids[0]
    assert store.device_messages.asked(PPMID, 2**64 - 1, 0x0012) is None
    with store.transaction() as tx:
        tx.device_messages.change(ids[0], MessageState.FAILED, UtcSeconds(NOW + 1), "no tunnel")
    told = store.device_messages.get(ids[0])
    assert (told.state, told.reason, told.changed) == (MessageState.FAILED, "no tunnel", NOW + 1)
    assert [item.id for item in store.device_messages.waiting(PPMID)] == [ids[2]]


def test_device_messages_refuse_to_change_what_is_not_there(store):
    with pytest.raises(StoreError), store.transaction() as tx:
        tx.device_messages.change(1, MessageState.DELIVERED, NOW)


def test_what_is_done_once_is_done_by_one_process_alone(store):
    with store.transaction() as tx:
        number = tx.device_messages.add(message())
        tx.scheduled.add("a:b:1", PPMID, NOW)
        assert [tx.device_messages.told(number, NOW) for _ in range(2)] == [True, False]
        assert [tx.scheduled.done(1, NOW) for _ in range(2)] == [True, False]


def test_what_is_due_is_due_at_its_very_time(store):
    earlier, later = UtcSeconds(NOW - 1), UtcSeconds(NOW + 86400)
    with store.transaction() as tx:
        overdue, silent, accepted = (tx.device_messages.add(message()) for _ in range(3))
        tx.device_messages.change(silent, MessageState.DELIVERED, NOW)
        tx.device_messages.change(accepted, MessageState.ANSWERED, NOW)
        tx.device_messages.expect_outcome(accepted, NOW)
        tx.scheduled.add("a:b:1", PPMID, NOW)
    messages = store.device_messages
    assert [row.id for row in messages.unanswered(later, earlier)] == [overdue]
    assert [row.id for row in messages.unanswered(NOW, NOW)] == [silent]
    assert [len(messages.without_outcome(utc)) for utc in (earlier, NOW)] == [0, 1]
    assert [len(store.scheduled.due(utc)) for utc in (earlier, NOW)] == [0, 1]


def test_a_command_takes_the_place_of_earlier_ones_of_its_device_alone(store):
    with store.transaction() as tx:
        earlier, of_another, newest = (tx.device_messages.add(message(device)) for device in (PPMID, ESME, PPMID))
        for number in (earlier, of_another, newest):
            tx.device_messages.expect_outcome(number, NOW)
        tx.device_messages.supersede(PPMID, newest)
    assert [row.id for row in store.device_messages.without_outcome(NOW)] == [of_another, newest]


def test_an_answer_is_that_of_the_newest_command_of_its_counter(store):
    with store.transaction() as tx:
        _first, again = (tx.device_messages.add(message()) for _ in range(2))
    assert store.device_messages.asked(PPMID, 2**64 - 1, 0x0129).id == again
