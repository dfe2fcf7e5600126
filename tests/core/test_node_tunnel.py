"""The Tunneling server of a device: who gets a tunnel, what comes through it, and what a stale one is told."""

import pytest

from devices.nodes.cluster import Discover, Send
from devices.nodes.events import AlertSent, TunnelOpened
from devices.nodes.tunnel_client import TunnelClient
from devices.nodes.tunnel_server import CLOSE_TIMEOUT_S, MAXIMUM_TUNNELS, Arrived, Peer, Taken, TunnelServer
from devices.stack.interface import NwkAddress
from devices.wire import tunneling
from devices.wire.errors import MalformedFrameError
from devices.wire.tunneling import ClientCommand, ServerCommand, TransferError, TunnelStatus
from devices.wire.zcl import DefaultResponse, Status, ZclFrame

HUB = Peer(NwkAddress(0), 0x0B)
STRANGER = Peer(NwkAddress(0x4321), 1)
GOOD = tunneling.RequestTunnel(6, 0xFFFF, flow_control=False, maximum_incoming_bytes=1500)


class Hub:
    """The client's side, by hand."""

    def __init__(self, first_tunnel_id: int = 7) -> None:
        self._sequence = 0
        self.server = TunnelServer(first_tunnel_id, self._next, retry_s=10.0, retry_max_s=60.0)
        self.now = 0.0

    def _next(self) -> int:
        self._sequence += 1
        return self._sequence

    def give(self, command: int, payload: bytes = b"", *, peer: Peer = HUB) -> tuple[int | None, list]:
        return self.server.receive(ZclFrame(99, command, payload), peer, self.now)

    def request(self, request: tunneling.RequestTunnel = GOOD, *, peer: Peer = HUB) -> tunneling.RequestTunnelResponse:
        status, effects = self.give(ClientCommand.REQUEST_TUNNEL, request.to_bytes(), peer=peer)
        assert status is None
        frame = effects[0].frame
        assert (frame.command, frame.sequence, frame.from_server) == (ServerCommand.REQUEST_TUNNEL_RESPONSE, 99, True)
        return tunneling.RequestTunnelResponse.from_bytes(frame.payload)

    def transfer(self, tunnel_id: int, data: bytes, *, peer: Peer = HUB) -> tuple[int | None, list]:
        return self.give(ClientCommand.TRANSFER_DATA, tunneling.TransferData(tunnel_id, data).to_bytes(), peer=peer)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (GOOD, TunnelStatus.SUCCESS),
        (tunneling.RequestTunnel(0, 0xFFFF, flow_control=False, maximum_incoming_bytes=1500), 3),
        (tunneling.RequestTunnel(6, 0x121D, flow_control=False, maximum_incoming_bytes=1500), 3),
        (tunneling.RequestTunnel(6, 0xFFFF, flow_control=True, maximum_incoming_bytes=1500), 4),
    ],
)
def test_only_gb_hrgp_without_flow_control_gets_a_tunnel(request_, status) -> None:
    response = Hub().request(request_)
    assert (response.status, response.maximum_incoming_bytes) == (status, 1500)
    assert (response.tunnel_id == 7) is (status == 0)


def test_a_client_that_asks_again_has_lost_its_tunnel() -> None:
    hub = Hub()
    first, second = hub.request().tunnel_id, hub.request().tunnel_id
    assert first != second
    status, (error,) = hub.transfer(first, b"x")
    assert status is None
    assert tunneling.TransferDataError.from_bytes(error.frame.payload) == tunneling.TransferDataError(
        first, TransferError.NO_SUCH_TUNNEL
    )


def test_tunnels_are_bounded() -> None:
    hub = Hub()
    for number in range(MAXIMUM_TUNNELS):
        assert hub.request(peer=Peer(NwkAddress(number), 1)).status == TunnelStatus.SUCCESS
    assert hub.request(peer=STRANGER).status == TunnelStatus.NO_MORE_TUNNEL_IDS


def test_a_message_arrives_whole_and_errors_are_told() -> None:
    hub = Hub()
    tunnel_id = hub.request().tunnel_id
    assert hub.transfer(tunnel_id, b"m" * 1500) == (Status.SUCCESS, [Arrived(b"m" * 1500)])
    for data, peer, expected in [
        (b"x", STRANGER, TransferError.WRONG_DEVICE),
        (b"m" * 1501, HUB, TransferError.DATA_OVERFLOW),
    ]:
        status, (error,) = hub.transfer(tunnel_id, data, peer=peer)
        assert (status, error.destination, error.endpoint) == (None, peer.address, peer.endpoint)
        assert error.frame.command == ServerCommand.TRANSFER_DATA_ERROR
        assert tunneling.TransferDataError.from_bytes(error.frame.payload).status == expected


def test_closing() -> None:
    hub = Hub()
    identifier = tunneling.tunnel_id_bytes(hub.request().tunnel_id)
    assert hub.give(ClientCommand.CLOSE_TUNNEL, identifier, peer=STRANGER)[0] == Status.NOT_FOUND
    assert hub.give(ClientCommand.CLOSE_TUNNEL, identifier)[0] == Status.SUCCESS
    assert hub.give(ClientCommand.CLOSE_TUNNEL, identifier)[0] == Status.NOT_FOUND
    assert hub.server.deadline is None


def test_an_idle_tunnel_is_closed_with_notice() -> None:
    hub = Hub()
    tunnel_id = hub.request().tunnel_id
    assert hub.server.deadline == CLOSE_TIMEOUT_S
    (notice,) = hub.server.handle_deadline(float(CLOSE_TIMEOUT_S))
    assert notice.frame.command == ServerCommand.TUNNEL_CLOSURE_NOTIFICATION
    assert tunneling.parse_tunnel_id("", notice.frame.payload) == tunnel_id
    assert hub.server.deadline is None


def test_a_message_waits_for_a_tunnel_and_is_repeated_at_growing_intervals_until_it_is_taken() -> None:
    hub = Hub()
    assert hub.server.send(b"alert", 0.0) == []
    _, effects = hub.give(ClientCommand.REQUEST_TUNNEL, GOOD.to_bytes())
    _, opened, outbound, sent = effects
    assert (opened, sent) == (TunnelOpened(7), AlertSent(1))
    waits, frames = [], [outbound.frame]
    for _ in range(5):
        waits.append(hub.server.deadline - hub.now)
        hub.now = hub.server.deadline
        outbound, _ = hub.server.handle_deadline(hub.now)
        frames.append(outbound.frame)
    assert waits == [10, 20, 40, 60, 60]
    assert len({frame.sequence for frame in frames}) == 6
    assert {frame.payload for frame in frames} == {tunneling.TransferData(7, b"alert").to_bytes()}
    assert all(frame.command == ServerCommand.TRANSFER_DATA and frame.from_server for frame in frames)
    success = DefaultResponse(ServerCommand.TRANSFER_DATA, 0)
    assert hub.server.receive_default_response(200, success) == []  # of no attempt of ours
    assert hub.server.receive_default_response(frames[0].sequence, DefaultResponse(1, Status.FAILURE)) == []
    assert hub.server.expects_answer
    assert hub.server.receive_default_response(frames[0].sequence, success) == [Taken(b"alert")]
    assert hub.server.receive_default_response(frames[1].sequence, success) == []
    assert not hub.server.expects_answer


def test_a_transfer_error_closes_the_tunnel_and_the_next_one_carries_the_message() -> None:
    hub = Hub()
    tunnel_id = hub.request().tunnel_id
    hub.server.send(b"alert", 0.0)
    error = tunneling.TransferDataError(tunnel_id, TransferError.NO_SUCH_TUNNEL)
    assert hub.give(ClientCommand.TRANSFER_DATA_ERROR, error.to_bytes()) == (Status.SUCCESS, [])
    hub.now = hub.server.deadline
    assert hub.server.handle_deadline(hub.now) == []
    _, effects = hub.give(ClientCommand.REQUEST_TUNNEL, GOOD.to_bytes())
    assert any(isinstance(each, Send) and each.frame.payload[2:] == b"alert" for each in effects)


def test_a_client_that_takes_less_gets_no_message_that_is_longer() -> None:
    hub = Hub()
    small = tunneling.RequestTunnel(6, 0xFFFF, flow_control=False, maximum_incoming_bytes=4)
    hub.request(small)
    assert hub.server.send(b"alert", 0.0) == []
    assert hub.server.send(b"four", 0.0)[1] == AlertSent(1)


def test_protocols_unknown_commands_and_short_frames() -> None:
    hub = Hub()
    _, (answer,) = hub.give(ClientCommand.GET_SUPPORTED_TUNNEL_PROTOCOLS, b"\0")
    assert answer.frame.payload == bytes.fromhex("0101ffff06")
    assert hub.give(0x55) == (Status.UNSUP_CLUSTER_COMMAND, [])
    for command in (0, 1, 2, 3):
        with pytest.raises(MalformedFrameError):
            hub.give(command, b"\0")


def test_whatever_goes_through_a_tunnel_keeps_it_open() -> None:
    hub = Hub()
    tunnel_id = hub.request().tunnel_id
    hub.now = 100.0
    hub.transfer(tunnel_id, b"down")
    assert hub.server.deadline == 100 + CLOSE_TIMEOUT_S
    outbound, sent = hub.server.send(b"up", 250.0)
    assert sent == AlertSent(1)
    hub.server.receive_default_response(outbound.frame.sequence, DefaultResponse(ServerCommand.TRANSFER_DATA, 0))
    assert hub.server.deadline == 250 + CLOSE_TIMEOUT_S


def test_a_message_goes_through_the_newest_tunnel() -> None:
    hub = Hub()
    for number in range(3):
        hub.request(peer=Peer(NwkAddress(number), 1))
    outbound, _ = hub.server.send(b"up", 0.0)
    assert outbound.destination == 2


# The other end, which a GSME has.


class Fetcher:
    """A tunnel client that knows its server; `open` gives it a tunnel."""

    def __init__(self) -> None:
        sequence = iter(range(1, 256))
        self.client = TunnelClient(lambda: next(sequence), retry_s=10.0, retry_max_s=60.0)
        assert self.client.start(0.0) == [Discover()]
        self.client.found(0x0B, 0.0)

    def hears(self, command: int, payload: bytes, now: float = 0.0) -> list:
        return self.client.receive(ZclFrame(1, command, payload, from_server=True), HUB, now)[1]

    def answer(self, status: int) -> list:
        response = tunneling.RequestTunnelResponse(5, status)
        return self.hears(ServerCommand.REQUEST_TUNNEL_RESPONSE, response.to_bytes())


def test_a_busy_hub_is_asked_for_a_tunnel_again_after_three_minutes() -> None:
    fetcher = Fetcher()
    assert fetcher.answer(TunnelStatus.BUSY) == []
    assert fetcher.client.deadline == 180
    assert fetcher.client.handle_deadline(179.9) == []
    assert fetcher.client.handle_deadline(180.0) == [Discover()]


def test_a_tunnel_that_was_not_asked_for_is_not_taken() -> None:
    client = TunnelClient(lambda: 1, retry_s=10.0, retry_max_s=60.0)
    response = tunneling.RequestTunnelResponse(5, TunnelStatus.SUCCESS).to_bytes()
    frame = ZclFrame(1, ServerCommand.REQUEST_TUNNEL_RESPONSE, response, from_server=True)
    assert client.receive(frame, HUB, 0.0) == (Status.SUCCESS, [])


def test_one_get_at_a_time() -> None:
    fetcher = Fetcher()
    opened, get = fetcher.answer(TunnelStatus.SUCCESS)
    assert (opened, get.frame.payload[2:]) == (TunnelOpened(5), b"\x01")
    assert fetcher.client.fetch(1.0) == []
    assert fetcher.client.expects_answer
    (again,) = fetcher.client.handle_deadline(10.0)  # nobody answered
    assert again.frame.payload[2:] == b"\x01"


def test_a_tunnel_client_hears_the_hub_alone() -> None:
    fetcher = Fetcher()
    response = ZclFrame(1, ServerCommand.REQUEST_TUNNEL_RESPONSE, tunneling.RequestTunnelResponse(5, 0).to_bytes())
    assert fetcher.client.receive(response, STRANGER, 0.0) == (Status.NOT_AUTHORIZED, [])


@pytest.mark.parametrize("status", [TransferError.NO_SUCH_TUNNEL, TransferError.WRONG_DEVICE])
def test_a_lost_tunnel_is_opened_again_and_one_that_was_asked_too_much_is_not(status) -> None:
    fetcher = Fetcher()
    fetcher.answer(TunnelStatus.SUCCESS)
    overflow = tunneling.TransferDataError(5, TransferError.DATA_OVERFLOW)
    assert fetcher.hears(ServerCommand.TRANSFER_DATA_ERROR, overflow.to_bytes()) == []
    lost = tunneling.TransferDataError(5, status)
    assert fetcher.hears(ServerCommand.TRANSFER_DATA_ERROR, lost.to_bytes()) == [Discover()]
