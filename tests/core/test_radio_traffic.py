"""The messages of an EZSP link without a dongle: what is handed over when, and what becomes of it."""

from dataclasses import replace

import pytest

from chf.eui64 import Eui64
from chf.radio.ezsp.frames import ApsFrame, IncomingMessage, MessageSent
from chf.radio.ezsp.link import FragmentAck, Nop, Unicast
from chf.radio.ezsp.traffic import EzspTraffic
from chf.radio.interface import Delivery, Urgency
from chf.radio.outbox import Acceptance, Places
from chf.radio.traffic import CONFIRM_LIMIT_S, FULL_LIMIT_S, FULL_PAUSE_S, MAXIMUM_MESSAGE_BYTES, SUPERSEDED_S
from tests.support.radio_listener import TrafficRig

A, B = TrafficRig.A, TrafficRig.B
TAKEN, FULL, REFUSED = Acceptance.TAKEN, Acceptance.FULL, Acceptance.REFUSED
COUNTER = 0x2A


class Rig(TrafficRig):
    def __init__(self) -> None:
        super().__init__(EzspTraffic)
        self.traffic.opened(Places(), 82)

    def hand_over(self, answer=TAKEN):
        """The next sendUnicast, answered, or None where nothing is to be sent."""
        command = self.traffic.next_command()
        if command is None:
            return None
        assert isinstance(command, Unicast)
        command.accepted(answer, COUNTER)
        return command

    def confirm(self, sent, delivered=True) -> None:
        assert self.traffic.message_sent(MessageSent(sent.destination, sent.tag, delivered))


@pytest.fixture
def rig() -> Rig:
    return Rig()


def heard(sender=0x1001, payload=b"?", eui64=None, unicast=True, **aps) -> IncomingMessage:
    frame = ApsFrame(0x0109, 0x0019, 3, 11, 0x0160, 0, 9)._replace(**aps)
    return IncomingMessage(unicast, frame, sender, eui64, 200, -50, payload)


def test_options_say_security_acknowledgement_and_route_discovery(rig):
    rig.post()
    assert rig.hand_over().aps.options == 0x0160


def test_no_room_in_the_dongle_holds_all_back_until_something_leaves_it(rig):
    rig.post(A)
    first = rig.hand_over()
    rig.post(B)
    assert rig.hand_over(FULL) is not None
    assert rig.hand_over() is None
    rig.confirm(first)
    assert rig.hand_over().destination == 0x1002
    assert rig.fates == [Delivery.DELIVERED]


def test_no_room_although_nothing_is_under_way_is_tried_again_a_little_later(rig):
    rig.post()
    rig.hand_over(FULL)
    assert rig.hand_over() is None
    rig.pass_time(FULL_PAUSE_S)
    assert rig.hand_over() is not None
    assert rig.fates == []


def test_no_room_for_long_is_a_refusal(rig):
    rig.post()
    rig.hand_over(FULL)
    rig.pass_time(FULL_LIMIT_S)
    rig.hand_over(FULL)
    assert rig.fates == [Delivery.REFUSED]


def test_a_refusal_is_told_and_frees_the_place(rig):
    rig.post()
    rig.post()
    rig.hand_over(REFUSED)
    assert rig.fates == [Delivery.REFUSED]
    assert rig.hand_over() is not None


def test_a_refusal_of_a_message_whose_fate_was_told_already_is_nothing(rig):
    rig.post()
    command = rig.traffic.next_command()
    rig.confirm(command)
    command.accepted(REFUSED, 0)
    assert rig.fates == [Delivery.DELIVERED]


def test_a_confirm_that_never_comes_is_a_loss_after_a_while_and_holds_up_nobody(rig):
    rig.post(A)
    lost = rig.hand_over()
    rig.post(B)
    rig.confirm(rig.hand_over())
    rig.pass_time(CONFIRM_LIMIT_S)
    rig.traffic.tick(silent=False)
    assert rig.fates == [Delivery.DELIVERED, Delivery.NOT_DELIVERED]
    rig.confirm(lost)  # too late: nothing happens
    assert len(rig.fates) == 2


def test_a_block_without_a_fate_is_given_up_once_its_device_was_heard_since(rig):
    """A dongle that forgets to tell holds nobody up; a device that says nothing may still be on its way to hear."""
    rig.post(A, urgency=Urgency.BULK)
    rig.post(B, urgency=Urgency.BULK)
    rig.post(A)
    for _ in range(3):
        assert rig.hand_over() is not None
    rig.pass_time(SUPERSEDED_S / 2)
    rig.traffic.incoming(heard())
    rig.traffic.tick(silent=False)
    assert rig.fates == []
    rig.pass_time(SUPERSEDED_S / 2)
    rig.traffic.tick(silent=False)
    assert rig.fates == [Delivery.NOT_DELIVERED]  # A's block, and neither its other message nor B's block
    rig.pass_time(CONFIRM_LIMIT_S - SUPERSEDED_S)
    rig.traffic.tick(silent=False)
    assert rig.fates == [Delivery.NOT_DELIVERED] * 3


def test_a_late_confirm_does_not_name_a_newer_message(rig):
    rig.post()
    late = rig.hand_over()
    rig.pass_time(CONFIRM_LIMIT_S)
    rig.traffic.tick(silent=False)
    for _ in range(150):
        rig.post()
        sent = rig.hand_over()
        assert sent.tag != late.tag
        rig.confirm(sent)


def test_a_confirm_for_another_destination_names_nobody(rig):
    rig.post()
    sent = rig.hand_over()
    rig.confirm(replace(sent, destination=0x7777))
    assert rig.fates == []


def test_the_fates_of_bellows_own_messages_are_bellows_business(rig):
    assert not rig.traffic.message_sent(MessageSent(0x0000, 1, delivered=True))
    assert not rig.traffic.message_sent(MessageSent(0xFFFC, 1, delivered=True))


def test_fragments_carry_the_count_once_and_the_counter_that_the_dongle_gave(rig):
    rig.post(payload=bytes(182))
    places = []
    for _ in range(3):
        sent = rig.hand_over()
        assert sent.aps.options & 0x8040 == 0x8040
        places.append((sent.aps.group, sent.aps.sequence))
        rig.confirm(sent)
    assert places == [(3 << 8, 0), (3 << 8 | 1, 0x2A), (3 << 8 | 2, 0x2A)]
    assert rig.fates == [Delivery.DELIVERED]


def test_the_counter_is_kept_where_a_fragment_is_confirmed_before_it_is_accepted(rig):
    """bellows tells the answer to a command a turn of the event loop later than the fate that came with it."""
    rig.post(payload=bytes(100))
    first = rig.traffic.next_command()
    rig.confirm(first)
    first.accepted(TAKEN, COUNTER)
    assert rig.hand_over().aps == first.aps._replace(group=2 << 8 | 1, sequence=COUNTER)


def test_what_acknowledges_a_fragment_leaves_before_a_block(rig):
    rig.post(urgency=Urgency.BULK)
    rig.traffic.incoming(heard(payload=b"GB", options=0x8160, group=2 << 8))
    assert isinstance(rig.traffic.next_command(), FragmentAck)
    assert isinstance(rig.traffic.next_command(), Unicast)


def test_messages_of_others_go_between_two_fragments(rig):
    rig.post(A, payload=bytes(182))
    first = rig.hand_over()
    rig.post(B)
    assert rig.hand_over().destination == 0x1002
    rig.confirm(first)
    assert rig.hand_over().aps.group == 3 << 8 | 1


def test_a_message_beyond_all_measure_is_refused(rig):
    rig.post(payload=bytes(MAXIMUM_MESSAGE_BYTES + 1))
    assert rig.traffic.next_command() is None
    assert rig.fates == [Delivery.REFUSED]


def test_a_device_that_left_while_messages_waited_refuses_them(rig):
    rig.post()
    rig.addresses.forget(A)
    assert rig.traffic.next_command() is None
    assert rig.fates == [Delivery.REFUSED]


def test_messages_to_an_unknown_device_wait_for_one_search(rig):
    rig.addresses.forget(A)
    rig.post()
    rig.post()
    assert rig.queries.asked == [("locate", A)]
    rig.addresses.learn(A, 0x3003)
    rig.traffic.located(A)
    assert rig.hand_over().destination == 0x3003


def test_closing_tells_everything_that_was_under_way_or_waiting(rig):
    rig.post(A)
    rig.hand_over()
    rig.post(A)
    rig.post(B, payload=bytes(182))
    rig.confirm(rig.hand_over())  # its second fragment is due
    rig.post(Eui64(0xC3))
    rig.traffic.closed()
    assert rig.fates == [Delivery.RADIO_GONE] * 4
    assert rig.traffic.next_command() is None
    rig.post(A)
    rig.pass_time(0)
    assert rig.fates == [Delivery.RADIO_GONE] * 5


def test_an_unknown_sender_is_identified_once_and_its_messages_are_kept_within_bounds(rig):
    for n in range(30):
        assert rig.traffic.incoming(heard(sender=0x4444, payload=bytes((n,))))
    assert rig.queries.asked == [("identify", 0x4444)]
    rig.addresses.learn(Eui64(0xD4), 0x4444)
    rig.traffic.identified(0x4444)
    assert [m.payload for m in rig.listener.received] == [bytes((n,)) for n in range(8)]


def test_a_storm_of_unknown_senders_is_bounded(rig):
    for sender in range(0x2000, 0x2100):
        rig.traffic.incoming(heard(sender=sender))
    assert len(rig.queries.asked) == 16


def test_a_dongle_that_tells_the_eui64_needs_no_search():
    rig = Rig()
    rig.traffic.incoming(heard(sender=0x5555, eui64=Eui64(0xE5)))
    assert rig.listener.received[0].source == Eui64(0xE5)
    assert rig.addresses.network(Eui64(0xE5)) == 0x5555
    assert rig.queries.asked == []


def test_received_fragments_are_acknowledged_each_and_delivered_once(rig):
    for index, count, payload in ((0, 2, b"GB"), (0, 2, b"GB"), (1, 0, b"CS"), (1, 0, b"CS")):
        rig.traffic.incoming(heard(payload=payload, options=0x8160, group=count << 8 | index))
    assert [m.payload for m in rig.listener.received] == [b"GBCS"]
    for index in (0, 0, 1, 1):
        assert rig.traffic.next_command() == FragmentAck(
            0x1001, ApsFrame(0x0109, 0x0019, 11, 3, 0x8160, 0xFF00 | index, 9)
        )
    assert rig.traffic.next_command() is None


def test_an_unsecured_fragment_never_passes_for_secured(rig):
    rig.traffic.incoming(heard(payload=b"forged ", options=0x8140, group=2 << 8))
    rig.traffic.incoming(heard(payload=b"ending", options=0x8160, group=1))
    assert rig.listener.received == []
    rig.traffic.incoming(heard(payload=b"plain ending", options=0x8140, group=1))
    assert [(m.payload, m.aps_secured) for m in rig.listener.received] == [(b"forged plain ending", False)]


def test_a_fragmented_broadcast_is_nothing(rig):
    rig.traffic.incoming(heard(options=0x8160, group=1 << 8, unicast=False))
    assert rig.listener.received == []
    assert rig.traffic.next_command() is None


def test_an_announcement_teaches_the_address_and_a_sleepy_device_gets_time(rig):
    sleepy = b"\x05\x34\x12" + Eui64(0xC3).to_bytes(8, "little") + b"\x80"
    rig.traffic.incoming(heard(payload=sleepy, profile=0, cluster=0x0013, destination_endpoint=0, unicast=False))
    assert rig.queries.asked == [("extend", Eui64(0xC3)), ("announced", Eui64(0xC3))]
    rig.traffic.incoming(heard(payload=sleepy[:5], profile=0, cluster=0x0013, destination_endpoint=0))
    assert len(rig.queries.asked) == 2


def test_the_dongles_own_zdo_is_left_to_bellows(rig):
    assert not rig.traffic.incoming(heard(sender=0, profile=0, cluster=0x8002, destination_endpoint=0))
    assert rig.traffic.incoming(heard(profile=0, cluster=0x8006, destination_endpoint=0))
    assert rig.queries.asked == [("zdp", 0x8006)]


def test_a_silent_dongle_is_asked_whether_it_lives(rig):
    rig.traffic.tick(silent=True)
    assert rig.traffic.next_command() == Nop()
    assert rig.traffic.next_command() is None
