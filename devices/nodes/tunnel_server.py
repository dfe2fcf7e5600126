"""The server side of the Tunneling cluster as ESME, HCALCS and PPMID have it (GBCS 10.2.2): the hub opens the tunnel.

One GBCS message travels per TransferData, whole; cutting it into APS fragments is the stack's business. A message that
is to go up is sent again, the same octets under a new ZCL sequence number, until a Default Response says SUCCESS.
No flow control, and protocols other than GB-HRGP are refused.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from devices.nodes.cluster import Effect, Send
from devices.nodes.events import AlertSent, TunnelOpened
from devices.wire import tunneling
from devices.wire.tunneling import ClientCommand, ServerCommand, TransferError, TunnelStatus
from devices.wire.zcl import Status, ZclFrame

if TYPE_CHECKING:
    from collections.abc import Callable

    from devices.stack.interface import NwkAddress
    from devices.wire.zcl import DefaultResponse

MAXIMUM_TUNNELS = 4  # our choice
CLOSE_TIMEOUT_S = 0xFFFF  # SE 1.2 D.6.2.2.1, the default
_TUNNEL_IDS = 0xFFFF  # our choice: 0xFFFF itself is what a refused client reads


@dataclass(frozen=True, slots=True)
class Peer:
    """A client: where its frames come from."""

    address: NwkAddress
    endpoint: int


@dataclass(frozen=True, slots=True)
class Arrived:
    """A whole GBCS message from the hub."""

    message: bytes


@dataclass(frozen=True, slots=True)
class Taken:
    """The hub has the message that was to be sent."""

    message: bytes


TunnelEffects = list[Effect | Arrived | Taken]


class TunnelEnd(ABC):
    """What both ends of a tunnel have: the one message that is being sent.

    It is sent again at growing intervals until one of its attempts is answered. `transfer` is the command that has it.
    """

    transfer: ClassVar[int]

    def __init__(self, next_sequence: Callable[[], int], *, retry_s: float, retry_max_s: float) -> None:
        self._next_sequence = next_sequence
        self._message: bytes | None = None
        self._retry_at: float | None = None
        self._retry_s = retry_s
        self._retry_max_s = retry_max_s
        self._attempts = 0
        self._sequences: set[int] = set()  # of the attempts at this message

    @property
    def expects_answer(self) -> bool:
        return bool(self._sequences)

    def send(self, message: bytes, now: float) -> TunnelEffects:
        """Send this message until it is taken; one at a time."""
        self._message = message
        self._attempts = 0
        self._sequences.clear()
        return self._attempt(now)

    def receive_default_response(self, sequence: int, response: DefaultResponse) -> TunnelEffects:
        """What the hub says to a message. Only SUCCESS takes it; anything else leaves it to the retry."""
        message = self._message
        answered = sequence in self._sequences and response.command == self.transfer
        if message is None or not answered or response.status != Status.SUCCESS:
            return []
        self._message = self._retry_at = None
        self._sequences.clear()
        return [Taken(message)]

    @abstractmethod
    def _attempt(self, now: float) -> TunnelEffects:
        """Send the message, if there is one and it can go now."""

    def _attempted(self, sent: Send, now: float) -> TunnelEffects:
        self._attempts += 1
        # 2 to the 16th is beyond any `retry_max_s`; it keeps the number small where nobody answers for years.
        self._retry_at = now + min(self._retry_s * 2 ** min(self._attempts - 1, 16), self._retry_max_s)
        self._sequences.add(sent.frame.sequence)
        return [sent, AlertSent(self._attempts)]


@dataclass(slots=True)
class _Tunnel:
    peer: Peer
    maximum_bytes: int  # that the client takes in one transfer
    used_at: float


class TunnelServer(TunnelEnd):
    """`first_tunnel_id` differs from boot to boot, so that an id from before a reboot is recognized as stale."""

    transfer = ServerCommand.TRANSFER_DATA

    def __init__(
        self, first_tunnel_id: int, next_sequence: Callable[[], int], *, retry_s: float, retry_max_s: float
    ) -> None:
        super().__init__(next_sequence, retry_s=retry_s, retry_max_s=retry_max_s)
        self._next_id = first_tunnel_id % _TUNNEL_IDS
        self._tunnels: dict[int, _Tunnel] = {}

    @property
    def deadline(self) -> float | None:
        closes = [tunnel.used_at + CLOSE_TIMEOUT_S for tunnel in self._tunnels.values()]
        return min(closes if self._retry_at is None else [*closes, self._retry_at], default=None)

    def receive(self, frame: ZclFrame, peer: Peer, now: float) -> tuple[int | None, TunnelEffects]:
        """Take a command of the client. Returns the status for a Default Response (None where a response goes out).

        Raises MalformedFrameError for a payload that cannot be read.
        """
        match frame.command:
            case ClientCommand.REQUEST_TUNNEL:
                return None, self._request_tunnel(frame, peer, now)
            case ClientCommand.CLOSE_TUNNEL:
                tunnel_id = tunneling.parse_tunnel_id("CloseTunnel", frame.payload)
                known = self._tunnel_of(tunnel_id, peer) is not None
                if known:
                    del self._tunnels[tunnel_id]
                return (Status.SUCCESS if known else Status.NOT_FOUND), []
            case ClientCommand.TRANSFER_DATA:
                return self._transfer(tunneling.TransferData.from_bytes(frame.payload), peer, now)
            case ClientCommand.TRANSFER_DATA_ERROR:
                error = tunneling.TransferDataError.from_bytes(frame.payload)
                if self._tunnel_of(error.tunnel_id, peer) is not None:
                    del self._tunnels[error.tunnel_id]
                return Status.SUCCESS, []
            case ClientCommand.GET_SUPPORTED_TUNNEL_PROTOCOLS:
                listed = tunneling.supported_protocols(((tunneling.NO_MANUFACTURER, tunneling.GB_HRGP),))
                return None, [_answer(frame, peer, ServerCommand.SUPPORTED_TUNNEL_PROTOCOLS_RESPONSE, listed)]
            case _:
                return Status.UNSUP_CLUSTER_COMMAND, []

    def handle_deadline(self, now: float) -> TunnelEffects:
        effects: TunnelEffects = []
        for tunnel_id, tunnel in list(self._tunnels.items()):
            if now >= tunnel.used_at + CLOSE_TIMEOUT_S:
                del self._tunnels[tunnel_id]
                effects.append(
                    self._command(
                        tunnel.peer, ServerCommand.TUNNEL_CLOSURE_NOTIFICATION, tunneling.tunnel_id_bytes(tunnel_id)
                    )
                )
        if self._retry_at is not None and now >= self._retry_at:
            effects += self._attempt(now)
        return effects

    def _request_tunnel(self, frame: ZclFrame, peer: Peer, now: float) -> TunnelEffects:
        request = tunneling.RequestTunnel.from_bytes(frame.payload)
        # One tunnel per client: a client that asks again has lost the one it had.
        self._tunnels = {at: tunnel for at, tunnel in self._tunnels.items() if tunnel.peer != peer}
        status = TunnelStatus.SUCCESS
        if request.protocol != tunneling.GB_HRGP or request.manufacturer != tunneling.NO_MANUFACTURER:
            status = TunnelStatus.PROTOCOL_NOT_SUPPORTED
        elif request.flow_control:
            status = TunnelStatus.FLOW_CONTROL_NOT_SUPPORTED
        elif len(self._tunnels) >= MAXIMUM_TUNNELS:
            status = TunnelStatus.NO_MORE_TUNNEL_IDS
        tunnel_id = self._next_id if status is TunnelStatus.SUCCESS else _TUNNEL_IDS
        response = tunneling.RequestTunnelResponse(tunnel_id, status).to_bytes()
        effects: TunnelEffects = [_answer(frame, peer, ServerCommand.REQUEST_TUNNEL_RESPONSE, response)]
        if status is TunnelStatus.SUCCESS:
            self._next_id = (tunnel_id + 1) % _TUNNEL_IDS
            self._tunnels[tunnel_id] = _Tunnel(peer, request.maximum_incoming_bytes, now)
            effects.append(TunnelOpened(tunnel_id))
            effects += self._attempt(now)
        return effects

    def _transfer(self, transfer: tunneling.TransferData, peer: Peer, now: float) -> tuple[int | None, TunnelEffects]:
        tunnel = self._tunnels.get(transfer.tunnel_id)
        error: TransferError | None = None
        if tunnel is None:
            error = TransferError.NO_SUCH_TUNNEL
        elif tunnel.peer != peer:
            error = TransferError.WRONG_DEVICE
        elif len(transfer.data) > tunneling.GBCS_TRANSFER_BYTES:
            error = TransferError.DATA_OVERFLOW
        if error is not None or tunnel is None:
            payload = tunneling.TransferDataError(transfer.tunnel_id, error or TransferError.NO_SUCH_TUNNEL)
            return None, [self._command(peer, ServerCommand.TRANSFER_DATA_ERROR, payload.to_bytes())]
        tunnel.used_at = now
        return Status.SUCCESS, [Arrived(transfer.data)]

    def _attempt(self, now: float) -> TunnelEffects:
        """Send the waiting message through the newest tunnel that can carry it; without one it waits for a tunnel."""
        message, self._retry_at = self._message, None
        for tunnel_id, tunnel in reversed(self._tunnels.items()):
            if message is not None and len(message) <= tunnel.maximum_bytes:
                tunnel.used_at = now
                data = tunneling.TransferData(tunnel_id, message).to_bytes()
                return self._attempted(self._command(tunnel.peer, ServerCommand.TRANSFER_DATA, data), now)
        return []

    def _tunnel_of(self, tunnel_id: int, peer: Peer) -> _Tunnel | None:
        tunnel = self._tunnels.get(tunnel_id)
        return tunnel if tunnel is not None and tunnel.peer == peer else None

    def _command(self, peer: Peer, command: ServerCommand, payload: bytes) -> Send:
        frame = ZclFrame(self._next_sequence(), command, payload, from_server=True)
        return Send(frame, peer.endpoint, peer.address)


def _answer(request: ZclFrame, peer: Peer, command: ServerCommand, payload: bytes) -> Send:
    frame = ZclFrame(request.sequence, command, payload, from_server=True, disable_default_response=True)
    return Send(frame, peer.endpoint, peer.address)
