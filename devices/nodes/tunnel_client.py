"""The client side of the Tunneling cluster as a GSME has it (GBCS 10.2.2.1): it opens the tunnel, and fetches.

    GET 01 -> GET-RESPONSE 02 || remaining || message, until nothing remains; PUT 03 || message for its own.

It has the verbs of `tunnel_server.TunnelServer`, so that one shell serves both, and three more: `start` when the device
is on its network, `found`, and `fetch` when its mirror says that a message waits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from devices.nodes.cluster import Discover, Send
from devices.nodes.events import TunnelOpened
from devices.nodes.tunnel_server import Arrived, Peer, TunnelEffects, TunnelEnd
from devices.stack.interface import COORDINATOR
from devices.wire import tunneling
from devices.wire.tunneling import ClientCommand, ServerCommand, TransferError, TunnelStatus
from devices.wire.zcl import Status, ZclFrame

if TYPE_CHECKING:
    from collections.abc import Callable

GET, GET_RESPONSE, PUT = 0x01, 0x02, 0x03  # GBCS 10.2.2.1 (SL-CHF)
HEADER_BYTES = 2  # of GET-RESPONSE, before the message (GBCS 10.2.2.1, SL-CHF)
BUSY_RETRY_S = 180.0  # SL-CHF: ask again after three minutes
_ANSWER_TIMEOUT_S = 10.0  # our choice


class TunnelClient(TunnelEnd):
    """`deadline` is the one moment at which it wants `handle_deadline`."""

    transfer = ClientCommand.TRANSFER_DATA

    def __init__(self, next_sequence: Callable[[], int], *, retry_s: float, retry_max_s: float) -> None:
        super().__init__(next_sequence, retry_s=retry_s, retry_max_s=retry_max_s)
        self._endpoint = 0
        self._tunnel_id: int | None = None
        self._reopen_at: float | None = None
        self._wants_get = True  # what waited while the device was away
        self._get_at: float | None = None  # not before the last message's Default Response has left
        self._get_answer_by: float | None = None

    @property
    def deadline(self) -> float | None:
        waits = [self._reopen_at, self._get_at, self._get_answer_by, self._retry_at]
        return min((wait for wait in waits if wait is not None), default=None)

    @property
    def expects_answer(self) -> bool:
        opening = self._tunnel_id is None and self._reopen_at is not None
        return opening or super().expects_answer or self._get_answer_by is not None or self._get_at is not None

    # What the device tells

    def start(self, now: float) -> TunnelEffects:
        """On the network: open a tunnel, for the hub drops the one before."""
        self._tunnel_id = self._get_at = self._get_answer_by = None
        self._reopen_at = now + _ANSWER_TIMEOUT_S
        return [Discover()]

    def found(self, endpoint: int | None, now: float) -> TunnelEffects:
        if endpoint is None or self._tunnel_id is not None or self._reopen_at is None:
            return []
        self._endpoint = endpoint
        self._reopen_at = now + _ANSWER_TIMEOUT_S
        request = tunneling.RequestTunnel(
            tunneling.GB_HRGP, tunneling.NO_MANUFACTURER, False, tunneling.GBCS_TRANSFER_BYTES
        )
        return [self._command(ClientCommand.REQUEST_TUNNEL, request.to_bytes())]

    def fetch(self, now: float) -> TunnelEffects:
        """A message waits at the hub."""
        self._wants_get = True
        return self._get(now)

    # What comes in

    def receive(self, frame: ZclFrame, peer: Peer, now: float) -> tuple[int | None, TunnelEffects]:
        """Take a command of the server. Raises MalformedFrameError for a payload that cannot be read."""
        if peer.address != COORDINATOR:
            return Status.NOT_AUTHORIZED, []
        match frame.command:
            case ServerCommand.REQUEST_TUNNEL_RESPONSE:
                response = tunneling.RequestTunnelResponse.from_bytes(frame.payload)
                return Status.SUCCESS, self._opened(response, now)
            case ServerCommand.TRANSFER_DATA:
                return self._transfer(tunneling.TransferData.from_bytes(frame.payload), now)
            case ServerCommand.TRANSFER_DATA_ERROR:
                error = tunneling.TransferDataError.from_bytes(frame.payload)
                lost = error.tunnel_id == self._tunnel_id and error.status != TransferError.DATA_OVERFLOW
                return Status.SUCCESS, self.start(now) if lost else []
            case ServerCommand.TUNNEL_CLOSURE_NOTIFICATION:
                closed = tunneling.parse_tunnel_id("TunnelClosureNotification", frame.payload) == self._tunnel_id
                return Status.SUCCESS, self.start(now) if closed else []
            case _:
                return Status.UNSUP_CLUSTER_COMMAND, []

    def handle_deadline(self, now: float) -> TunnelEffects:
        if self._reopen_at is not None and now >= self._reopen_at:
            return self.start(now)
        effects: TunnelEffects = []
        if self._get_answer_by is not None and now >= self._get_answer_by:
            self._get_answer_by = None
            effects += self._get(now)
        if self._get_at is not None and now >= self._get_at:
            effects += self._get(now)
        if self._retry_at is not None and now >= self._retry_at:
            effects += self._attempt(now)
        return effects

    # Inside

    def _opened(self, response: tunneling.RequestTunnelResponse, now: float) -> TunnelEffects:
        if self._tunnel_id is not None or self._reopen_at is None:
            return []
        if response.status != TunnelStatus.SUCCESS:
            self._reopen_at = now + BUSY_RETRY_S
            return []
        self._tunnel_id, self._reopen_at = response.tunnel_id, None
        return [TunnelOpened(response.tunnel_id), *self._get(now), *self._attempt(now)]

    def _transfer(self, transfer: tunneling.TransferData, now: float) -> tuple[int | None, TunnelEffects]:
        """GET-RESPONSE: a Default Response SUCCESS tells the hub that the message may be forgotten."""
        if transfer.tunnel_id != self._tunnel_id or self._tunnel_id is None:
            error = tunneling.TransferDataError(transfer.tunnel_id, TransferError.NO_SUCH_TUNNEL)
            return None, [self._command(ClientCommand.TRANSFER_DATA_ERROR, error.to_bytes())]
        if len(transfer.data) < HEADER_BYTES or transfer.data[0] != GET_RESPONSE:
            return Status.MALFORMED_COMMAND, []
        self._get_answer_by = None
        remaining, message = transfer.data[1], transfer.data[HEADER_BYTES:]
        self._wants_get = remaining > 0
        self._get_at = now if remaining else None
        return Status.SUCCESS, [Arrived(message)] if message else []

    def _get(self, now: float) -> TunnelEffects:
        self._get_at = None
        if not self._wants_get or self._tunnel_id is None or self._get_answer_by is not None:
            return []
        self._get_answer_by = now + _ANSWER_TIMEOUT_S
        data = tunneling.TransferData(self._tunnel_id, bytes((GET,)))
        return [self._command(ClientCommand.TRANSFER_DATA, data.to_bytes(), quiet=True)]

    def _attempt(self, now: float) -> TunnelEffects:
        """Without a tunnel the message waits for one."""
        message, self._retry_at = self._message, None
        if message is None or self._tunnel_id is None:
            return []
        data = tunneling.TransferData(self._tunnel_id, bytes((PUT,)) + message)
        return self._attempted(self._command(ClientCommand.TRANSFER_DATA, data.to_bytes()), now)

    def _command(self, command: ClientCommand, payload: bytes, *, quiet: bool = False) -> Send:
        frame = ZclFrame(self._next_sequence(), command, payload, disable_default_response=quiet)
        return Send(frame, self._endpoint)
