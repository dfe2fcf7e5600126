"""The messages of a Z-Stack link without a dongle: what is handed over when, and what becomes of it."""

import pytest

from chf.eui64 import Eui64
from chf.radio.interface import Delivery, Urgency
from chf.radio.traffic import CONFIRM_LIMIT_S, MAXIMUM_MESSAGE_BYTES
from chf.radio.znp import frames
from chf.radio.znp.frames import DataConfirm, IncomingMessage, Outcome
from chf.radio.znp.traffic import ROUTE_S, ZnpTraffic
from tests.support.radio_listener import TrafficRig

A, B = TrafficRig.A, TrafficRig.B
TAKEN, FULL, NO_KEY = b"\x00", b"\x11", b"\xa1"


class Rig(TrafficRig):
    def __init__(self) -> None:
        super().__init__(ZnpTraffic)
        self.traffic.opened()

    def hand_over(self, answer=TAKEN):
        """The next request, answered; None where nothing is to be sent."""
        request = self.traffic.next_request()
        if request is not None:
            request.answered(answer)
        return request

    def confirm(self, tag, outcome=Outcome.DELIVERED) -> None:
        self.traffic.confirmed(DataConfirm(tag, outcome))


@pytest.fixture
def rig() -> Rig:
    return Rig()


def heard(payload=b"?", sender=0x1001, length=None, timestamp=7, endpoint=11) -> IncomingMessage:
    size = len(payload) if length is None else length
    return IncomingMessage(sender, 3, endpoint, 0x19, False, 200, True, timestamp, size, payload)


def tag_of(request) -> int:
    return request.data[6]


def test_options_say_security_and_acknowledgement(rig):
    rig.post()
    assert rig.hand_over().data[7] == 0x70
    assert rig.traffic.next_request() is None


def test_no_transaction_number_comes_back_before_all_others_had_their_turn(rig):
    seen = []
    for _ in range(300):
        rig.post()
        seen.append(tag_of(rig.hand_over()))
        rig.confirm(seen[-1])
    assert sorted(seen[:256]) == list(range(256))
    assert seen[256:] == seen[:44]
    assert rig.fates == [Delivery.DELIVERED] * 300


def test_a_confirm_of_nobodys_message_is_nothing(rig):
    rig.post()
    tag = tag_of(rig.hand_over())
    rig.confirm((tag + 1) % 256)
    assert rig.fates == []
    rig.confirm(tag)
    rig.confirm(tag)
    assert rig.fates == [Delivery.DELIVERED]


def test_a_refusal_of_a_message_whose_fate_was_told_already_is_nothing(rig):
    rig.post()
    request = rig.traffic.next_request()
    rig.confirm(tag_of(request))
    request.answered(NO_KEY)
    assert rig.fates == [Delivery.DELIVERED]


def test_a_message_without_a_confirm_is_lost_after_a_while(rig):
    rig.post()
    tag = tag_of(rig.hand_over())
    rig.time = CONFIRM_LIMIT_S
    rig.traffic.tick(silent=False)
    assert rig.fates == [Delivery.NOT_DELIVERED]
    rig.confirm(tag)
    assert rig.fates == [Delivery.NOT_DELIVERED]


def test_what_the_dongle_says_at_once(rig):
    for answer, fate in ((NO_KEY, Delivery.REFUSED), (None, Delivery.REFUSED), (b"", Delivery.REFUSED)):
        rig.post()
        rig.hand_over(answer)
        assert rig.fates.pop() is fate
        assert rig.hand_over(bytes(14)).command == frames.GET_DEVICE_INFO
    rig.post()
    rig.hand_over(FULL)
    assert rig.traffic.next_request() is None
    rig.pass_time(1.0)
    assert rig.hand_over().command == frames.DATA_REQUEST


def test_a_full_dongle_is_asked_again_when_something_leaves_it(rig):
    rig.post(A)
    first = tag_of(rig.hand_over())
    rig.post(B)
    rig.hand_over(FULL)
    assert rig.traffic.next_request() is None
    rig.confirm(first)
    assert rig.hand_over().data[:2] == b"\x02\x10"


def test_a_zdp_request_counts_as_delivered_when_it_is_taken(rig):
    rig.post(profile=0)
    tag = tag_of(rig.hand_over())
    assert rig.fates == [Delivery.DELIVERED]
    rig.confirm(tag)
    assert rig.fates == [Delivery.DELIVERED]


def test_a_long_message_goes_in_pieces_with_nothing_in_between_and_its_last_answer_counts(rig):
    payload = bytes(n % 251 for n in range(500))
    rig.post(A, payload)
    rig.post(B, urgency=Urgency.URGENT)
    rig.hand_over()  # the urgent one is first; then the long one, whole
    rig.post(B, urgency=Urgency.URGENT)
    requests = [rig.hand_over() for _ in range(6)]
    assert requests[0].command == frames.DATA_REQUEST  # the second urgent one
    header, *pieces, last = requests[1:]
    assert header.command == frames.DATA_REQUEST_EXT
    assert header.data[-2:] == (500).to_bytes(2, "little")
    assert b"".join(piece.data[3:] for piece in pieces) == payload
    assert (last.command, last.data) == (frames.DATA_STORE, b"\0\0\0")
    assert rig.fates == []


@pytest.mark.parametrize("step", range(5))
def test_a_long_message_that_is_refused_at_any_step_is_told_once_and_the_next_goes(rig, step):
    rig.post(A, bytes(500))
    for _ in range(step):
        rig.hand_over()
    rig.hand_over(NO_KEY)
    assert rig.fates == [Delivery.REFUSED]
    rig.post(B)
    assert rig.hand_over().command == frames.GET_DEVICE_INFO  # is it still on its network?
    assert rig.hand_over().command == frames.DATA_REQUEST


def test_a_long_message_for_which_there_is_no_room_begins_again(rig):
    rig.post(A, bytes(300))
    for _ in range(3):
        rig.hand_over()
    rig.hand_over(FULL)
    rig.pass_time(1.0)
    assert rig.hand_over().command == frames.DATA_REQUEST_EXT
    assert rig.fates == []


def test_a_message_that_is_too_long_for_anybody_is_refused(rig):
    rig.post(A, bytes(MAXIMUM_MESSAGE_BYTES + 1))
    assert rig.traffic.next_request() is None
    assert rig.fates == [Delivery.REFUSED]


def test_an_answer_that_is_lost_costs_the_link_only_in_the_midst_of_a_long_message(rig):
    rig.post(A)
    rig.traffic.next_request()
    assert rig.traffic.unanswered()
    rig.post(B, bytes(500))
    rig.traffic.next_request()
    assert not rig.traffic.unanswered()


def test_a_route_is_looked_for_once_and_never_for_a_link_that_is_gone(rig):
    rig.post()
    rig.confirm(tag_of(rig.hand_over()), Outcome.NO_ROUTE)
    search = rig.hand_over(b"\x01")
    assert (search.command, search.data) == (frames.EXT_ROUTE_DISC, b"\x01\x10\x00\x1e")
    assert rig.traffic.next_request() is None
    rig.pass_time(ROUTE_S)
    rig.confirm(tag_of(rig.hand_over()), Outcome.NO_ROUTE)
    assert rig.fates == [Delivery.NOT_DELIVERED]
    rig.post()
    rig.confirm(tag_of(rig.hand_over()), Outcome.NO_ROUTE)
    rig.traffic.closed()
    rig.pass_time(ROUTE_S)
    assert rig.fates[1:] == [Delivery.RADIO_GONE]
    assert rig.traffic.next_request() is None


def test_a_long_message_is_fetched_before_those_behind_it_are_told(rig):
    payload = bytes(n % 251 for n in range(300))
    rig.traffic.incoming(IncomingMessage(0x1001, 3, 11, 0x19, False, 1, True, 9, 300, None))
    rig.traffic.incoming(heard(b"behind"))
    assert rig.listener.received == []
    for index, size in ((0, 240), (240, 60)):
        request = rig.traffic.next_request()
        assert (request.command, request.data) == (frames.DATA_RETRIEVE, frames.data_retrieve(9, index, size))
        request.answered(bytes((0, size)) + payload[index : index + size])
    assert [m.payload for m in rig.listener.received] == [payload, b"behind"]
    assert rig.hand_over().data == frames.data_retrieve(9, 0, 0)
    assert rig.traffic.next_request() is None


@pytest.mark.parametrize("answer", [None, b"", b"\x01\x00", b"\x00\x05abc", b"\x00\x00"])
def test_a_piece_that_cannot_be_had_costs_its_message_only(rig, answer):
    rig.traffic.incoming(IncomingMessage(0x1001, 3, 11, 0x19, False, 1, True, 9, 300, None))
    rig.traffic.incoming(IncomingMessage(0x1001, 3, 11, 0x19, False, 1, True, 10, 3, None))
    rig.traffic.incoming(heard(b"behind"))
    rig.hand_over(answer)
    rig.hand_over(b"\x00\x03abc")
    assert [m.payload for m in rig.listener.received] == [b"abc", b"behind"]


def test_a_fetch_without_an_answer_costs_its_message_only(rig):
    rig.traffic.incoming(IncomingMessage(0x1001, 3, 11, 0x19, False, 1, True, 9, 300, None))
    rig.traffic.incoming(heard(b"behind"))
    rig.traffic.next_request()
    assert rig.traffic.unanswered()
    assert [m.payload for m in rig.listener.received] == [b"behind"]
    assert rig.traffic.next_request() is None


def test_the_queue_behind_a_fetch_has_an_end(rig):
    rig.traffic.incoming(IncomingMessage(0x1001, 3, 11, 0x19, False, 1, True, 9, 3, None))
    for n in range(200):
        rig.traffic.incoming(heard(bytes((n,))))
    rig.hand_over(b"\x00\x03abc")
    assert len(rig.listener.received) == 64


def test_what_is_for_nobody_here_is_forgotten_in_the_dongle(rig):
    rig.traffic.incoming(IncomingMessage(0x1001, 3, 1, 0x19, False, 1, True, 9, 300, None))
    assert rig.hand_over().data == frames.data_retrieve(9, 0, 0)
    rig.traffic.incoming(heard(endpoint=1))
    assert rig.listener.received == []


def test_a_silent_dongle_is_asked_whether_it_is_on_its_network(rig):
    rig.traffic.tick(silent=True)
    assert rig.hand_over(bytes(14)).command == frames.GET_DEVICE_INFO
    assert rig.traffic.next_request() is None


def test_closing_tells_every_message_whatever_it_waits_for(rig):
    rig.post(A)
    rig.hand_over()
    rig.post(A)
    rig.post(B, bytes(500))
    rig.hand_over()
    rig.post(Eui64(0xC3))
    rig.traffic.closed()
    assert rig.fates == [Delivery.RADIO_GONE] * 4
    rig.post(A)
    rig.pass_time(0)
    assert rig.fates[-1] is Delivery.RADIO_GONE
