"""The Tunneling client: opening, refusals, losing, messages both ways, and its deadlines; no radio, no clock."""

from itertools import pairwise

import pytest

from chf.clock import Instant
from chf.errors import UsageError
from chf.eui64 import Eui64
from chf.machine import next_state
from chf.tunnel import (
    Alarm,
    DiscoverEndpoint,
    MessageDelivered,
    MessageFailed,
    MessageReceived,
    Send,
    State,
    TunnelClient,
    TunnelLost,
    TunnelOpened,
    TunnelRecord,
    TunnelSettings,
)
from chf.tunnel.transitions import TRANSITIONS, Input
from chf.zcl.frame import DefaultResponse, Frame, FrameType, Status
from chf.zcl.tunneling import (
    CloseTunnel,
    RequestTunnel,
    RequestTunnelResponse,
    SupportedTunnelProtocolsResponse,
    TransferData,
    TransferDataError,
    TransferDataStatus,
    TunnelClosureNotification,
    TunnelStatus,
    command,
    parse,
)

PPMID, OTHER = Eui64(0x00DB1234567890A4), Eui64(0x00DB1234567890A5)
ENDPOINT = 0x2A
SETTINGS = TunnelSettings(requests_at_once=1)


def at(seconds: float) -> Instant:
    return Instant(float(seconds))


class Bench:
    """A client, and the far end's frames by one-liners. Not a model of a device: it answers what a test says."""

    def __init__(self, settings: TunnelSettings = SETTINGS) -> None:
        self.client = TunnelClient(settings)
        self.now = 0.0
        self.effects: list = []

    def did(self, effects) -> tuple:
        self.effects = list(effects)
        return tuple(effects)

    def sent(self) -> list:
        """The commands among the last effects."""
        return [parse(Frame.from_bytes(effect.payload)) for effect in self.effects if isinstance(effect, Send)]

    def sequence(self) -> int:
        return next(Frame.from_bytes(effect.payload).sequence for effect in self.effects if isinstance(effect, Send))

    def from_device(self, body, sequence: int = 0x77, *, peer: Eui64 = PPMID, answered: bool = False, **how) -> tuple:
        octets = command(body, sequence, to_client=True, answered=answered)
        return self.octets(octets, peer=peer, **how)

    def octets(self, octets: bytes, *, peer: Eui64 = PPMID, secured: bool = True) -> tuple:
        return self.did(self.client.receive(peer, ENDPOINT, octets, at(self.now), secured=secured))

    def default_response(self, status: int, sequence: int, number: int = 0x02, *, peer: Eui64 = PPMID) -> tuple:
        payload = DefaultResponse(number, status).to_bytes()
        frame = Frame(FrameType.GLOBAL, DefaultResponse.COMMAND, sequence, payload, True, True)
        return self.octets(frame.to_bytes(), peer=peer)

    def join(self, peer: Eui64 = PPMID) -> tuple:
        return self.did(self.client.device_joined(peer, at(self.now)))

    def found(self, *endpoints: int, peer: Eui64 = PPMID) -> tuple:
        return self.did(self.client.endpoints_found(peer, endpoints, at(self.now)))

    def asked(self) -> None:
        """The device joined, and is asked for a tunnel."""
        self.join()
        self.found(ENDPOINT)

    def send(self, message_id: str, data: bytes = b"message", **how) -> tuple:
        return self.did(self.client.send(PPMID, message_id, data, at(self.now), **how))

    def until_deadline(self) -> tuple:
        deadline = self.client.deadline()
        assert deadline is not None
        assert deadline >= self.now
        self.now = deadline
        return self.did(self.client.handle_deadline(at(self.now)))

    def open(self, tunnel_id: int = 5, peer: Eui64 = PPMID) -> None:
        self.join(peer)
        self.found(ENDPOINT, peer=peer)
        self.from_device(RequestTunnelResponse(tunnel_id, TunnelStatus.SUCCESS), self.sequence(), peer=peer)
        assert self.client.state(peer) is State.OPEN


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_tunnel_opens_as_gbcs_asks(bench):
    assert bench.join() == (DiscoverEndpoint(PPMID),)
    (sent,) = bench.found(ENDPOINT, 0x33)
    assert (sent.peer, sent.endpoint) == (PPMID, ENDPOINT)
    frame = Frame.from_bytes(sent.payload)
    assert parse(frame) == RequestTunnel(6, 0xFFFF, False, 1500)
    assert not frame.to_client
    opened = bench.from_device(RequestTunnelResponse(5, TunnelStatus.SUCCESS), frame.sequence)
    assert opened == (TunnelOpened(TunnelRecord(PPMID, ENDPOINT, 5, 1500)),)
    assert bench.client.deadline() is None


def test_tunnel_message_is_answered_only_when_it_is_stored(bench):
    bench.open()
    (received,) = bench.from_device(TransferData(5, b"\xdf\x09"), 0x41, answered=True)
    assert isinstance(received, MessageReceived)
    assert (received.peer, received.data) == (PPMID, b"\xdf\x09")
    (answer,) = bench.client.accepted(received.token)
    frame = Frame.from_bytes(answer.payload)
    assert (answer.endpoint, frame.sequence, frame.command) == (ENDPOINT, 0x41, DefaultResponse.COMMAND)
    assert DefaultResponse.from_bytes(frame.payload) == DefaultResponse(0x01, Status.SUCCESS)


def test_tunnel_message_of_a_device_that_wants_no_answer_gets_none(bench):
    bench.open()
    (received,) = bench.from_device(TransferData(5, b"x"))
    assert bench.client.accepted(received.token) == ()


def test_tunnel_repeated_message_is_told_again(bench):
    """Whether it is new is the hub's to say, which has the store; here it only must not be lost."""
    bench.open()
    first = bench.from_device(TransferData(5, b"x"), 1, answered=True)
    assert bench.from_device(TransferData(5, b"x"), 1, answered=True) == first


def test_tunnel_message_of_1500_octets_is_taken_and_of_1501_refused(bench):
    bench.open()
    (taken,) = bench.from_device(TransferData(5, bytes(1500)))
    assert len(taken.data) == 1500
    assert [type(effect) for effect in bench.from_device(TransferData(5, bytes(1501)))] == [Send, Alarm]
    assert bench.sent() == [TransferDataError(5, TransferDataStatus.DATA_OVERFLOW)]


def test_tunnel_message_goes_out_and_is_delivered_when_the_application_said_so(bench):
    bench.open()
    (sent,) = bench.send("m1", b"hello")
    frame = Frame.from_bytes(sent.payload)
    assert parse(frame) == TransferData(5, b"hello")
    assert not frame.disable_default_response
    assert bench.default_response(Status.SUCCESS, frame.sequence) == (MessageDelivered(PPMID, "m1"),)
    assert bench.client.deadline() is None


def test_tunnel_messages_keep_their_order_one_at_a_time(bench):
    bench.open()
    bench.send("m1", b"1")
    first = bench.sequence()
    assert bench.send("m2", b"2") == ()
    delivered, second = bench.default_response(Status.SUCCESS, first)
    assert delivered == MessageDelivered(PPMID, "m1")
    assert parse(Frame.from_bytes(second.payload)) == TransferData(5, b"2")


def test_tunnel_message_without_answer_is_sent_again_and_a_late_answer_still_counts(bench):
    bench.open()
    bench.send("m1", b"1")
    first = bench.sequence()
    assert bench.until_deadline() == ()  # overdue: wait a little
    assert bench.now == SETTINGS.response_timeout_s
    bench.until_deadline()
    assert bench.now == SETTINGS.response_timeout_s + SETTINGS.first_retry_s
    assert bench.sent() == [TransferData(5, b"1")]
    assert bench.sequence() != first
    bench.until_deadline()
    again = bench.effects
    assert again == []
    second = (first + 1) % 256
    assert bench.default_response(Status.SUCCESS, second) == (MessageDelivered(PPMID, "m1"),)


def test_tunnel_message_that_the_device_refuses_is_tried_again_and_told_once(bench):
    bench.open()
    bench.send("m1", b"1")
    (alarm,) = bench.default_response(Status.FAILURE, bench.sequence())
    assert "FAILURE" in alarm.text
    bench.until_deadline()
    assert bench.sent() == [TransferData(5, b"1")]
    assert bench.default_response(Status.FAILURE, bench.sequence()) == ()


def test_tunnel_message_expires_once(bench):
    bench.open()
    bench.send("m1", b"1", lifetime_s=15)
    told = []
    while bench.client.deadline() is not None:
        told += [effect for effect in bench.until_deadline() if not isinstance(effect, Send)]
    assert told == [MessageFailed(PPMID, "m1", "never taken by the device", expired=True)]
    assert bench.now == 15


def test_tunnel_message_waits_for_the_tunnel(bench):
    bench.join()
    assert bench.send("m1", b"1") == ()
    bench.found(ENDPOINT)
    opened, sent = bench.from_device(RequestTunnelResponse(9, 0), bench.sequence())
    assert isinstance(opened, TunnelOpened)
    assert parse(Frame.from_bytes(sent.payload)) == TransferData(9, b"1")


def test_tunnel_message_longer_than_the_device_takes_fails_at_once(bench):
    bench.open()
    (failed,) = bench.send("m1", bytes(1501))
    assert failed == MessageFailed(PPMID, "m1", "1501 octets; the device takes 1500")
    assert len(bench.send("m2", bytes(1500))) == 1


def test_tunnel_device_that_takes_less_than_1500_is_told_of_and_its_long_messages_fail(bench):
    bench.join()
    bench.send("m1", bytes(200))
    bench.found(ENDPOINT)
    effects = bench.from_device(RequestTunnelResponse(9, 0, 100), bench.sequence())
    assert [type(effect) for effect in effects] == [TunnelOpened, Alarm, MessageFailed]


def test_tunnel_device_overflow_fails_the_message_and_goes_on(bench):
    bench.open()
    bench.send("m1", b"1")
    bench.send("m2", b"2")
    failed, _ = bench.from_device(TransferDataError(5, TransferDataStatus.DATA_OVERFLOW))
    assert failed == MessageFailed(PPMID, "m1", "too long for the device (DATA_OVERFLOW)")
    assert bench.sent() == [TransferData(5, b"2")]


def test_tunnel_busy_is_asked_again_after_three_minutes_for_ever(bench):
    bench.asked()
    for _ in range(20):
        assert bench.from_device(RequestTunnelResponse(0, TunnelStatus.BUSY), bench.sequence()) == ()
        before = bench.now
        bench.until_deadline()
        assert bench.now - before == 180
        assert bench.sent() == [RequestTunnel()]


def test_tunnel_busy_answers_do_not_count_as_silence(bench):
    bench.asked()
    for _ in range(2 * SETTINGS.request_attempts):
        bench.from_device(RequestTunnelResponse(0, TunnelStatus.BUSY), bench.sequence())
        bench.until_deadline()
    asked = [bench.now]
    while bench.client.state(PPMID) is not State.RESTING:  # from here on it is silent
        if any(isinstance(effect, Send) for effect in bench.until_deadline()):
            asked.append(bench.now)
    assert len(asked) == SETTINGS.request_attempts
    assert asked[1] - asked[0] == SETTINGS.response_timeout_s + SETTINGS.first_retry_s


def test_tunnel_a_message_does_not_hurry_a_busy_device(bench):
    bench.asked()
    bench.from_device(RequestTunnelResponse(0, TunnelStatus.BUSY), bench.sequence())
    assert bench.send("m1") == ()
    assert bench.client.deadline() == SETTINGS.busy_retry_s


def test_tunnel_no_more_ids_closes_the_ones_we_had_and_asks_again_after_five_seconds(bench):
    bench.open(tunnel_id=5)
    bench.asked()
    bench.from_device(RequestTunnelResponse(0, TunnelStatus.NO_MORE_TUNNEL_IDS), bench.sequence())
    assert bench.sent() == [CloseTunnel(5)]
    bench.until_deadline()
    assert bench.now == 5
    assert bench.sent() == [RequestTunnel()]


@pytest.mark.parametrize(
    "status",
    [
        TunnelStatus.NO_MORE_TUNNEL_IDS,  # and none of ours to close
        TunnelStatus.PROTOCOL_NOT_SUPPORTED,
        TunnelStatus.FLOW_CONTROL_NOT_SUPPORTED,
        0x77,
    ],
)
def test_tunnel_refused_rests_until_the_check_or_a_message(bench, status):
    bench.asked()
    (alarm,) = bench.from_device(RequestTunnelResponse(0, status), bench.sequence())
    assert isinstance(alarm, Alarm)
    assert bench.client.state(PPMID) is State.RESTING
    assert bench.client.deadline() == SETTINGS.check_interval_s
    assert bench.send("m1") == (DiscoverEndpoint(PPMID),)


def test_tunnel_request_refused_by_default_response(bench):
    bench.asked()
    asked = bench.sequence()
    assert bench.default_response(Status.SUCCESS, asked, 0x00) == ()
    assert bench.client.state(PPMID) is State.REQUESTING
    (alarm,) = bench.default_response(Status.UNSUP_CLUSTER_COMMAND, asked, 0x00)
    assert "UNSUP_CLUSTER_COMMAND" in alarm.text
    assert bench.client.state(PPMID) is State.RESTING


def test_tunnel_silent_device_is_asked_a_bounded_number_of_times_with_growing_waits(bench):
    bench.asked()
    asked = [bench.now]
    while bench.client.state(PPMID) is not State.RESTING:
        if any(isinstance(effect, Send) for effect in bench.until_deadline()):
            asked.append(bench.now)
    waits = [after - before for before, after in pairwise(asked)]
    assert len(asked) == SETTINGS.request_attempts
    assert waits == [12, 14, 18, 26]
    assert isinstance(bench.effects[-1], Alarm)
    assert bench.until_deadline() == (DiscoverEndpoint(PPMID),)


def test_tunnel_device_without_endpoint_is_looked_at_five_times_a_round(bench):
    discoveries = len(bench.join())
    while bench.client.state(PPMID) is not State.RESTING:
        effects = bench.found() if bench.client.state(PPMID) is State.DISCOVERING else bench.until_deadline()
        discoveries += sum(isinstance(effect, DiscoverEndpoint) for effect in effects)
    assert discoveries == 5


def test_tunnel_discovery_that_is_never_answered_is_taken_for_none(bench):
    bench.join()
    bench.until_deadline()
    assert bench.now == SETTINGS.discovery_timeout_s
    assert bench.client.state(PPMID) is State.WAITING


def test_tunnel_no_more_requests_are_outstanding_than_the_settings_say(bench):
    bench.join(PPMID)
    bench.join(OTHER)
    bench.found(ENDPOINT, peer=PPMID)
    asked = bench.sequence()
    assert bench.found(ENDPOINT, peer=OTHER) == ()
    assert bench.client.state(OTHER) is State.QUEUED
    bench.from_device(RequestTunnelResponse(1, TunnelStatus.BUSY), asked)
    assert [(effect.peer) for effect in bench.effects] == [OTHER]
    assert bench.client.state(OTHER) is State.REQUESTING


def test_tunnel_a_silent_device_keeps_nobody_waiting_unless_many_are():
    bench = Bench(TunnelSettings())
    bench.join(PPMID)
    bench.join(OTHER)
    bench.found(ENDPOINT, peer=PPMID)
    bench.found(ENDPOINT, peer=OTHER)
    assert bench.client.state(PPMID) is State.REQUESTING
    assert bench.client.state(OTHER) is State.REQUESTING


@pytest.mark.parametrize("how", ["leave", "forget", "rejoin", "silence"])
def test_tunnel_device_that_goes_away_does_not_keep_the_turn(bench, how):
    bench.join(PPMID)
    bench.join(OTHER)
    bench.found(ENDPOINT, peer=PPMID)
    bench.found(ENDPOINT, peer=OTHER)
    client = bench.client
    match how:
        case "leave":
            effects = client.device_left(PPMID, at(0))
        case "forget":
            effects = client.forget(PPMID, at(0))
        case "rejoin":
            effects = client.device_joined(PPMID, at(0))
        case _:
            effects = bench.until_deadline()
    assert any(isinstance(effect, Send) and effect.peer == OTHER for effect in effects)
    assert client.state(OTHER) is State.REQUESTING


def test_tunnel_rejoin_drops_the_tunnel_and_asks_for_a_new_one(bench):
    bench.open(tunnel_id=5)
    assert bench.join() == (TunnelLost(PPMID, "the device rejoined"), DiscoverEndpoint(PPMID))
    assert bench.join() == ()  # told twice for one joining
    bench.found(0x2B)
    assert bench.effects[0].endpoint == 0x2B


def test_tunnel_leaving_keeps_the_messages_for_the_return(bench):
    bench.open()
    bench.send("m1", b"1")
    assert bench.did(bench.client.device_left(PPMID, at(0))) == (TunnelLost(PPMID, "the device left"),)
    assert bench.client.device_left(PPMID, at(0)) == ()
    bench.asked()
    bench.from_device(RequestTunnelResponse(6, 0), bench.sequence())
    assert bench.sent() == [TransferData(6, b"1")]


def test_tunnel_forgotten_device_loses_its_tunnel_and_its_messages(bench):
    bench.open()
    bench.send("m1", b"1")
    bench.send("m2", b"2")
    effects = bench.did(bench.client.forget(PPMID, at(0)))
    assert bench.sent() == [CloseTunnel(5)]
    assert effects[1:] == (
        TunnelLost(PPMID, "the device was removed from the device log"),
        MessageFailed(PPMID, "m1", "no access"),
        MessageFailed(PPMID, "m2", "no access"),
    )
    assert isinstance(bench.from_device(TransferData(5, b"x"))[0], Alarm)
    with pytest.raises(UsageError, match="not in the device log"):
        bench.send("m3")
    assert bench.client.forget(PPMID, at(0)) == ()


@pytest.mark.parametrize(
    "said",
    [
        TunnelClosureNotification(5),
        TransferDataError(5, TransferDataStatus.NO_SUCH_TUNNEL),
        TransferDataError(5, TransferDataStatus.WRONG_DEVICE),
    ],
)
def test_tunnel_lost_is_asked_for_again_and_the_message_in_flight_follows(bench, said):
    bench.open()
    bench.send("m1", b"1")
    lost, _ = bench.from_device(said)
    assert isinstance(lost, TunnelLost)
    assert bench.sent() == [RequestTunnel()]
    bench.from_device(RequestTunnelResponse(6, 0), bench.sequence())
    assert bench.sent() == [TransferData(6, b"1")]


def test_tunnel_that_is_lost_again_and_again_is_asked_for_less_and_less_often(bench):
    bench.open()
    waits = []
    for tunnel_id in range(5, 12):
        bench.from_device(TunnelClosureNotification(tunnel_id))
        before = bench.now
        if bench.client.state(PPMID) is State.WAITING:
            bench.until_deadline()
        waits.append(bench.now - before)
        bench.from_device(RequestTunnelResponse(tunnel_id + 1, 0), bench.sequence())
    assert waits == [0, 4, 8, 16, 32, 60, 60]
    bench.from_device(TransferData(12, b"x"))
    bench.from_device(TunnelClosureNotification(12))
    assert bench.client.state(PPMID) is State.REQUESTING


def test_tunnel_errors_about_other_tunnels_change_nothing(bench):
    bench.open()
    for said in (TunnelClosureNotification(6), TransferDataError(6, 0), SupportedTunnelProtocolsResponse(True)):
        assert bench.from_device(said) == ()
    assert bench.from_device(TransferDataError(5, TransferDataStatus.DATA_OVERFLOW)) == ()  # nothing was sent
    assert bench.client.state(PPMID) is State.OPEN


def test_tunnel_data_for_an_unknown_tunnel_is_told_so(bench):
    bench.open()
    bench.from_device(TransferData(6, b"x"))
    assert bench.sent() == [TransferDataError(6, TransferDataStatus.NO_SUCH_TUNNEL)]


def test_tunnel_data_that_overtakes_the_grant_is_not_refused_and_the_tunnel_opens(bench):
    """A device may speak as soon as it granted; a grant that is lost on the air is repeated behind its first words.

    Told NO_SUCH_TUNNEL, the device would give up the tunnel that we then take for open, and wait in silence for ever.
    """
    bench.asked()
    sequence = bench.sequence()
    assert bench.from_device(TransferData(6, b"alert"), 0x21, answered=True) == ()
    bench.from_device(RequestTunnelResponse(6, TunnelStatus.SUCCESS), sequence)
    assert bench.client.state(PPMID) is State.OPEN
    (received,) = bench.from_device(TransferData(6, b"alert"), 0x22, answered=True)
    assert received.data == b"alert"


def test_tunnel_data_for_the_tunnel_before_is_told_so_while_a_new_one_is_asked_for(bench):
    bench.open(5)
    bench.asked()
    bench.from_device(TransferData(5, b"alert"), answered=True)
    assert bench.sent() == [TransferDataError(5, TransferDataStatus.NO_SUCH_TUNNEL)]


def test_tunnel_device_that_talks_without_a_tunnel_gets_one(bench):
    bench.open()
    bench.client.device_left(PPMID, at(0))
    told, discover = bench.from_device(TransferData(5, b"x"))
    assert isinstance(told, Send)
    assert discover == DiscoverEndpoint(PPMID)


def test_tunnel_device_that_rests_and_talks_gets_one(bench):
    bench.asked()
    bench.from_device(RequestTunnelResponse(0, TunnelStatus.PROTOCOL_NOT_SUPPORTED), bench.sequence())
    assert bench.client.state(PPMID) is State.RESTING
    assert bench.from_device(TransferData(5, b"x"))[1] == DiscoverEndpoint(PPMID)
    assert bench.from_device(TransferData(5, b"x"))[1:] == ()


def test_tunnel_grant_told_twice_changes_nothing(bench):
    bench.asked()
    asked = bench.sequence()
    bench.from_device(RequestTunnelResponse(5, 0), asked)
    assert bench.from_device(RequestTunnelResponse(5, 0), asked) == ()
    bench.send("m1", b"1")
    assert bench.sent() == [TransferData(5, b"1")]


@pytest.mark.parametrize("how", ["forget", "rejoin"])
def test_tunnel_device_that_waits_for_its_turn_can_give_it_up(bench, how):
    bench.join(PPMID)
    bench.join(OTHER)
    bench.found(ENDPOINT, peer=PPMID)
    asked = bench.sequence()
    bench.found(ENDPOINT, peer=OTHER)
    assert bench.client.state(OTHER) is State.QUEUED
    if how == "forget":
        assert bench.client.forget(OTHER, at(0)) == ()
    else:
        assert bench.join(OTHER) == (DiscoverEndpoint(OTHER),)
    assert [type(effect) for effect in bench.from_device(RequestTunnelResponse(1, 0), asked)] == [TunnelOpened]


def test_tunnel_late_grant_is_used_and_a_stale_one_closed_when_ids_run_out(bench):
    bench.asked()
    first = bench.sequence()
    bench.until_deadline()
    bench.until_deadline()  # asked a second time
    second = bench.sequence()
    assert second != first
    assert bench.from_device(RequestTunnelResponse(5, 0), first) == ()  # of the request before
    bench.from_device(RequestTunnelResponse(0, TunnelStatus.NO_MORE_TUNNEL_IDS), second)
    assert bench.sent() == [CloseTunnel(5)]
    assert isinstance(bench.from_device(RequestTunnelResponse(7, 0), second)[0], TunnelOpened)


def test_tunnel_frames_without_link_key_security_are_dropped(bench):
    bench.open()
    (alarm,) = bench.from_device(TransferData(5, b"x"), secured=False)
    assert "without APS link-key security" in alarm.text
    assert bench.client.state(PPMID) is State.OPEN


def test_tunnel_restored_after_a_restart_goes_on(bench):
    bench.asked()
    (opened,) = bench.from_device(RequestTunnelResponse(5, 0), bench.sequence())
    other = Bench()
    other.client.restore([opened.record])
    (received,) = other.from_device(TransferData(5, b"x"))
    assert received.data == b"x"
    other.send("m1", b"1")
    assert other.sent() == [TransferData(5, b"1")]
    other.from_device(TransferDataError(5, TransferDataStatus.NO_SUCH_TUNNEL))
    assert other.sent() == [RequestTunnel()]


def test_tunnel_queue_has_a_limit(bench):
    bench.join()
    for number in range(SETTINGS.queue_length):
        bench.send(f"m{number}")
    with pytest.raises(UsageError, match="64 messages wait"):
        bench.send("one more")


@pytest.mark.parametrize(
    ("octets", "answer"),
    [
        ("", None),
        ("09", None),
        ("0b0000", None),  # a reserved frame type... of two octets of payload
        ("090100", Status.MALFORMED_COMMAND),  # RequestTunnelResponse without its fields
        ("090101aa", Status.MALFORMED_COMMAND),  # TransferData with half an id
        ("09013f", Status.UNSUP_CLUSTER_COMMAND),
        ("0101000600ffff00dc05", Status.UNSUP_CLUSTER_COMMAND),  # RequestTunnel: we are no server
        ("0d5f10010100", Status.MALFORMED_COMMAND),  # manufacturer specific
        ("080100", Status.UNSUP_GENERAL_COMMAND),  # Read Attributes
        ("08010b", None),  # Default Response without its fields
    ],
)
def test_tunnel_malformed_and_foreign_frames_are_answered_as_zcl_says(bench, octets, answer):
    bench.open()
    effects = bench.octets(bytes.fromhex(octets))
    frames = [Frame.from_bytes(effect.payload) for effect in effects if isinstance(effect, Send)]
    statuses = [DefaultResponse.from_bytes(frame.payload).status for frame in frames]
    assert statuses == ([] if answer is None else [answer])
    assert effects
    assert bench.client.state(PPMID) is State.OPEN


def test_tunnel_table_is_closed_and_every_state_has_a_way_out():
    assert set(TRANSITIONS) == set(State)
    assert all(TRANSITIONS[state] for state in State)
    with pytest.raises(LookupError, match="OPEN has no transition for TURN"):
        next_state(TRANSITIONS, State.OPEN, Input.TURN)
