"""The hub's Tunneling server: a sleepy device opens, GETs and PUTs; every refusal, and what is lost."""

import pytest

from chf.clock import Instant
from chf.errors import UsageError
from chf.eui64 import Eui64
from chf.tunnel import (
    Alarm,
    MessageDelivered,
    MessageFailed,
    MessageReceived,
    Send,
    TunnelLost,
    TunnelOpened,
    TunnelServer,
)
from chf.zcl.frame import DefaultResponse, Frame, FrameType, Status
from chf.zcl.tunneling import (
    CloseTunnel,
    GetSupportedTunnelProtocols,
    RequestTunnel,
    RequestTunnelResponse,
    SupportedTunnelProtocolsResponse,
    TransferData,
    TransferDataError,
    TunnelClosureNotification,
    TunnelStatus,
    command,
    parse,
)

GSME, ENDPOINT = Eui64(0x00DB1234567890A1), 0x03
GET = b"\x01"


class Desk:
    def __init__(self) -> None:
        self.server = TunnelServer()
        self.server.serve(GSME)
        self.now = 0.0
        self.effects: tuple = ()

    def says(self, body, sequence: int = 0x21, *, answered: bool = True, peer: Eui64 = GSME) -> tuple:
        return self.octets(command(body, sequence, to_client=False, answered=answered), peer)

    def octets(self, octets: bytes, peer: Eui64 = GSME) -> tuple:
        self.effects = self.server.receive(peer, ENDPOINT, octets)
        return self.effects

    def open(self, **changes) -> int:
        self.says(RequestTunnel(**changes))
        (response,) = self.sent()
        assert response.status == TunnelStatus.SUCCESS
        return response.tunnel_id

    def sent(self) -> list:
        frames = [Frame.from_bytes(effect.payload) for effect in self.effects if isinstance(effect, Send)]
        return [
            DefaultResponse.from_bytes(frame.payload) if frame.frame_type is FrameType.GLOBAL else parse(frame)
            for frame in frames
        ]

    def get(self, tunnel_id: int) -> bytes:
        """What GET-RESPONSE holds."""
        self.says(TransferData(tunnel_id, GET), answered=False)
        (sent,) = self.sent()
        assert sent.tunnel_id == tunnel_id
        return sent.data

    def takes(self, status: Status = Status.SUCCESS) -> tuple:
        """The device's Default Response to the last GET-RESPONSE."""
        sequence = Frame.from_bytes(self.effects[-1].payload).sequence
        payload = DefaultResponse(0x01, status).to_bytes()
        return self.octets(Frame(FrameType.GLOBAL, DefaultResponse.COMMAND, sequence, payload).to_bytes())

    def queue(self, message_id: str, data: bytes, **how) -> tuple:
        return self.server.send(GSME, message_id, data, Instant(self.now), **how)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_a_tunnel_opens_for_the_protocol_of_gbcs(desk):
    desk.says(RequestTunnel())
    assert isinstance(desk.effects[0], TunnelOpened)
    assert desk.sent() == [RequestTunnelResponse(0, TunnelStatus.SUCCESS, 1500)]


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (RequestTunnel(protocol=0), TunnelStatus.PROTOCOL_NOT_SUPPORTED),
        (RequestTunnel(manufacturer_code=0x1234), TunnelStatus.PROTOCOL_NOT_SUPPORTED),
        (RequestTunnel(flow_control=True), TunnelStatus.FLOW_CONTROL_NOT_SUPPORTED),
    ],
    ids=["another protocol", "a manufacturer's own", "flow control"],
)
def test_any_other_tunnel_is_refused(desk, request_, status):
    desk.says(request_)
    assert [(sent.tunnel_id, sent.status) for sent in desk.sent()] == [(0xFFFF, status)]


def test_get_on_an_empty_queue(desk):
    assert desk.get(desk.open()) == b"\x02\x00"


def test_messages_are_fetched_in_order_with_the_count_of_what_remains(desk):
    tunnel = desk.open()
    for number in range(3):
        desk.queue(f"m{number}", bytes((number,)))
    for number in range(3):
        assert desk.get(tunnel) == bytes((0x02, 2 - number, number))
        assert desk.takes() == (MessageDelivered(GSME, f"m{number}"),)
    assert not desk.server.pending(GSME)
    assert desk.get(tunnel) == b"\x02\x00"


def test_a_message_stays_until_the_device_took_it(desk):
    tunnel = desk.open()
    desk.queue("m", b"x")
    assert desk.get(tunnel) == b"\x02\x00x"
    assert desk.get(tunnel) == b"\x02\x00x"
    assert desk.server.pending(GSME)
    assert desk.takes() == (MessageDelivered(GSME, "m"),)
    assert desk.server.pending(GSME) is False


def test_a_message_that_the_device_refuses_stays(desk):
    tunnel = desk.open()
    desk.queue("m", b"x")
    desk.get(tunnel)
    (alarm,) = desk.takes(Status.FAILURE)
    assert isinstance(alarm, Alarm)
    assert desk.get(tunnel) == b"\x02\x00x"


def test_a_default_response_to_something_else_delivers_nothing(desk):
    tunnel = desk.open()
    desk.queue("m", b"x")
    desk.get(tunnel)
    payload = DefaultResponse(0x01, Status.SUCCESS).to_bytes()
    assert desk.octets(Frame(FrameType.GLOBAL, DefaultResponse.COMMAND, 0xEE, payload).to_bytes()) == ()
    assert desk.server.pending(GSME)


def test_put_brings_a_message_and_is_answered_once_it_is_stored(desk):
    tunnel = desk.open()
    (received,) = desk.says(TransferData(tunnel, b"\x03alert"), 0x44)
    assert isinstance(received, MessageReceived)
    assert received.data == b"alert"
    desk.effects = desk.server.accepted(received.token)
    assert desk.sent() == [DefaultResponse(0x02, Status.SUCCESS)]
    assert Frame.from_bytes(desk.effects[0].payload).sequence == 0x44


@pytest.mark.parametrize("data", [b"", b"\x01x", b"\x02", b"\x03", b"\x04x"], ids=repr)
def test_what_is_neither_get_nor_put_is_refused(desk, data):
    tunnel = desk.open()
    desk.says(TransferData(tunnel, data))
    assert desk.sent() == [DefaultResponse(0x02, Status.MALFORMED_COMMAND)]
    assert isinstance(desk.effects[-1], Alarm)


def test_a_stale_tunnel_id_is_told(desk):
    tunnel = desk.open()
    desk.server.device_left(GSME)
    desk.says(TransferData(tunnel, GET))
    assert desk.sent() == [TransferDataError(tunnel, 0)]


def test_who_asks_again_gets_another_tunnel(desk):
    first = desk.open()
    desk.says(RequestTunnel())
    assert isinstance(desk.effects[0], TunnelLost)
    (second,) = desk.sent()
    assert second.tunnel_id != first
    desk.says(TransferData(first, GET))
    assert desk.sent() == [TransferDataError(first, 0)]


@pytest.mark.parametrize(("size", "taken"), [(1500, True), (1501, False)])
def test_a_transfer_of_1500_octets_and_one_more(desk, size, taken):
    tunnel = desk.open()
    effects = desk.says(TransferData(tunnel, b"\x03" + bytes(size - 1)))
    assert isinstance(effects[0], MessageReceived) is taken
    if not taken:
        assert desk.sent() == [TransferDataError(tunnel, 2)]


def test_a_message_that_does_not_fit_fails_at_once(desk):
    assert desk.queue("fits", bytes(1498)) == ()
    (failed,) = desk.queue("too long", bytes(1499))
    assert failed == MessageFailed(GSME, "too long", "1499 octets; the device takes 1498")


def test_a_device_that_takes_less_fails_what_waits(desk):
    desk.queue("m", bytes(200))
    desk.says(RequestTunnel(maximum_incoming_transfer_size=100))
    assert desk.effects[-1] == MessageFailed(GSME, "m", "200 octets; the device takes 98")


def test_the_queue_times_out(desk):
    desk.queue("m", b"x")
    assert desk.server.deadline() == 86_400
    assert desk.server.handle_deadline(Instant(86_399.0)) == ()
    (failed,) = desk.server.handle_deadline(Instant(86_400.0))
    assert failed == MessageFailed(GSME, "m", "never fetched by the device", expired=True)
    assert desk.server.deadline() is None


def test_a_message_that_was_sent_and_never_taken_says_so(desk):
    desk.queue("m", b"x", lifetime_s=5)
    desk.get(desk.open())
    (failed,) = desk.server.handle_deadline(Instant(5.0))
    assert failed.reason == "never taken by the device"


def test_messages_wait_over_a_rejoin(desk):
    tunnel = desk.open()
    desk.queue("m", b"x")
    desk.get(tunnel)
    assert isinstance(desk.server.device_left(GSME)[0], TunnelLost)
    assert desk.get(desk.open()) == b"\x02\x00x"


def test_a_forgotten_device_gets_nothing_more(desk):
    desk.open()
    desk.queue("m", b"x")
    desk.effects = desk.server.forget(GSME)
    assert isinstance(desk.sent()[0], TunnelClosureNotification)
    assert desk.effects[-1] == MessageFailed(GSME, "m", "no access")
    (alarm,) = desk.says(RequestTunnel())
    assert isinstance(alarm, Alarm)
    with pytest.raises(UsageError):
        desk.queue("m", b"x")


def test_a_full_queue_takes_no_more(desk):
    for number in range(64):
        desk.queue(str(number), b"x")
    with pytest.raises(UsageError):
        desk.queue("one more", b"x")


def test_close_tunnel_is_answered(desk):
    tunnel = desk.open()
    desk.says(CloseTunnel(tunnel))
    assert desk.sent() == [DefaultResponse(0x01, Status.SUCCESS)]
    assert isinstance(desk.effects[-1], TunnelLost)
    desk.says(CloseTunnel(tunnel))
    assert desk.sent() == [DefaultResponse(0x01, Status.NOT_FOUND)]


def test_the_protocols_are_told(desk):
    desk.says(GetSupportedTunnelProtocols())
    assert desk.sent() == [SupportedTunnelProtocolsResponse(True)]


def test_a_device_that_lost_the_tunnel_says_so(desk):
    tunnel = desk.open()
    assert desk.says(TransferDataError(tunnel + 1, 0)) == ()
    (lost,) = desk.says(TransferDataError(tunnel, 0))
    assert isinstance(lost, TunnelLost)


@pytest.mark.parametrize(
    "octets", [b"", b"\x01", b"\x01\x21\x00\x06", b"\x01\x21\x02\x01", b"\x03\x21\x00"], ids=bytes.hex
)
def test_junk_is_an_alarm_and_nothing_else(desk, octets):
    effects = desk.octets(octets)
    assert any(isinstance(effect, Alarm) for effect in effects)


def test_unknown_commands_are_answered(desk):
    desk.octets(b"\x01\x21\x42")
    assert desk.sent() == [DefaultResponse(0x42, Status.UNSUP_CLUSTER_COMMAND)]
    desk.octets(b"\x00\x21\x00\x00\x00")  # Read Attributes
    assert desk.sent() == [DefaultResponse(0x00, Status.UNSUP_GENERAL_COMMAND)]
