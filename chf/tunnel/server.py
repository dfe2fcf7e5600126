"""The Tunneling server of the hub, for the GSME alone: a sleepy device opens the tunnel and fetches what waits for it.

    device                        hub            (first octet of each TransferData: SL-CHF, HG)
    GET  01                  ->
                             <-   GET-RESPONSE  02 || how many remain || message, or `02 00`
    PUT  03 || message       ->                  a response or alert

A message leaves the queue when the device's application took it, not when it was sent: a GET that comes before that
gets it again. It never reads a message. Which devices it serves is the caller's decision.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Final, assert_never

from chf.clock import Instant
from chf.errors import MalformedFrameError, UsageError
from chf.eui64 import Eui64, format_eui64
from chf.tunnel.effects import (
    Alarm,
    Effect,
    Effects,
    MessageDelivered,
    MessageFailed,
    MessageReceived,
    ReplyToken,
    Send,
    TunnelLost,
    TunnelOpened,
    TunnelRecord,
)
from chf.tunnel.session import TunnelSettings
from chf.zcl.frame import DefaultResponse, Frame, FrameType, Status
from chf.zcl.tunneling import (
    GB_HRGP,
    GBCS_TRANSFER_SIZE,
    MANUFACTURER_NOT_USED,
    CloseTunnel,
    GetSupportedTunnelProtocols,
    RequestTunnel,
    RequestTunnelResponse,
    SupportedTunnelProtocolsResponse,
    TransferData,
    TransferDataError,
    TransferDataStatus,
    TunnelClosureNotification,
    TunnelingCommand,
    TunnelStatus,
    command,
    parse,
)

GET: Final = 0x01
GET_RESPONSE: Final = 0x02
PUT: Final = 0x03
GET_RESPONSE_OVERHEAD: Final = 2  # its header and the count

_TRANSFER_DATA_TO_CLIENT: Final = 0x01
_TUNNEL_IDS: Final = 0xFFFF
_MOST_REMAINING: Final = 0xFF  # the count is one octet


@dataclass(slots=True)
class _Waiting:
    message_id: str
    data: bytes
    expires: Instant
    sequences: set[int] = field(default_factory=set)
    """Of the GET-RESPONSEs that carried it."""


@dataclass(slots=True)
class _Session:
    peer: Eui64
    endpoint: int = 0
    tunnel_id: int | None = None
    maximum_transfer_size: int = GBCS_TRANSFER_SIZE
    outgoing: deque[_Waiting] = field(default_factory=deque)


class TunnelServer:
    """Time comes in as `now`; everything to be done comes out as effects, in their order."""

    def __init__(self, settings: TunnelSettings | None = None) -> None:
        self._settings = settings or TunnelSettings()
        self._sessions: dict[Eui64, _Session] = {}
        self._sequence = 0
        self._next_tunnel_id = 0

    # What the shell tells

    def serve(self, peer: Eui64) -> None:
        """This device may open a tunnel, and messages for it may be queued."""
        self._sessions.setdefault(peer, _Session(peer))

    def device_left(self, peer: Eui64) -> Effects:
        """It left or rejoined, and may have forgotten its tunnel. Messages wait for it, as long as they live."""
        session = self._sessions.get(peer)
        return () if session is None else self._close(session, "the device left or rejoined")

    def forget(self, peer: Eui64) -> Effects:
        """It was removed from the device log."""
        session = self._sessions.pop(peer, None)
        if session is None:
            return ()
        closing: Effects = ()
        if session.tunnel_id is not None:
            closing = (self._to_device(session, TunnelClosureNotification(session.tunnel_id)),)
        failed = tuple(MessageFailed(peer, waiting.message_id, "no access") for waiting in session.outgoing)
        return (*closing, *self._close(session, "the device was removed from the device log"), *failed)

    def send(
        self, peer: Eui64, message_id: str, data: bytes, now: Instant, *, lifetime_s: float | None = None
    ) -> Effects:
        """Queue a message until the device fetches it. Its fate is told once, under its id.

        Raises UsageError for a device that is not served, and where the queue is full.
        """
        session = self._sessions.get(peer)
        if session is None:
            raise UsageError(f"no tunnel is kept for {format_eui64(peer)}: it is not in the device log")
        if len(session.outgoing) >= min(self._settings.queue_length, _MOST_REMAINING):
            raise UsageError(f"{len(session.outgoing)} messages wait for {format_eui64(peer)} already")
        limit = session.maximum_transfer_size - GET_RESPONSE_OVERHEAD
        if len(data) > limit:
            return (MessageFailed(peer, message_id, f"{len(data)} octets; the device takes {limit}"),)
        expires = Instant(now + (self._settings.message_lifetime_s if lifetime_s is None else lifetime_s))
        session.outgoing.append(_Waiting(message_id, data, expires))
        return ()

    def pending(self, peer: Eui64) -> bool:
        """Whether something waits for the device: its Functional Notification Flag "Tunnel Message Pending"."""
        session = self._sessions.get(peer)
        return session is not None and bool(session.outgoing)

    def accepted(self, token: ReplyToken) -> Effects:
        """The message behind the token is stored; the device may forget it."""
        return () if token.response is None else (Send(token.peer, token.endpoint, token.response),)

    def receive(self, peer: Eui64, endpoint: int, octets: bytes) -> Effects:
        """One ZCL frame of cluster 0x0704. Never raises: what is wrong with it is answered, and told as an Alarm."""
        session = self._sessions.get(peer)
        if session is None:
            return (Alarm(peer, "a tunnel frame of a device that is not served was dropped"),)
        try:
            frame = Frame.from_bytes(octets)
        except MalformedFrameError as error:
            return (Alarm(peer, f"not a ZCL frame: {error}"),)
        try:
            if frame.frame_type is FrameType.GLOBAL:
                return self._receive_global(session, endpoint, frame)
            body = parse(frame)
        except MalformedFrameError as error:
            return (
                *_answer(peer, endpoint, frame.default_response(Status.MALFORMED_COMMAND)),
                Alarm(peer, f"malformed tunnel command 0x{frame.command:02X}: {error}"),
            )
        session.endpoint = endpoint
        match body:
            case RequestTunnel():
                return self._request(session, frame, body)
            case CloseTunnel(tunnel_id):
                known = tunnel_id == session.tunnel_id
                told = _answer(peer, endpoint, frame.default_response(Status.SUCCESS if known else Status.NOT_FOUND))
                return (*told, *self._close(session, "the device closed it")) if known else told
            case TransferData():
                return self._receive_data(session, frame, body)
            case TransferDataError(tunnel_id):
                return self._close(session, "the device knows no such tunnel") if tunnel_id == session.tunnel_id else ()
            case GetSupportedTunnelProtocols():
                listed = command(SupportedTunnelProtocolsResponse(True), frame.sequence, to_client=True)
                return (Send(peer, endpoint, listed),)
            case RequestTunnelResponse() | SupportedTunnelProtocolsResponse() | TunnelClosureNotification() | None:
                return _answer(peer, endpoint, frame.unsupported())
            case _:
                assert_never(body)

    def deadline(self) -> Instant | None:
        """When `handle_deadline` is due next."""
        waits = (waiting.expires for session in self._sessions.values() for waiting in session.outgoing)
        return min(waits, default=None)

    def handle_deadline(self, now: Instant) -> Effects:
        effects: list[Effect] = []
        for session in self._sessions.values():
            late = [waiting for waiting in session.outgoing if waiting.expires <= now]
            for waiting in late:
                session.outgoing.remove(waiting)
                reason = "never taken by the device" if waiting.sequences else "never fetched by the device"
                effects.append(MessageFailed(session.peer, waiting.message_id, reason, expired=True))
        return tuple(effects)

    # Frames

    def _receive_global(self, session: _Session, endpoint: int, frame: Frame) -> Effects:
        if frame.command != DefaultResponse.COMMAND:
            return _answer(session.peer, endpoint, frame.unsupported())
        response = DefaultResponse.from_bytes(frame.payload)
        head = session.outgoing[0] if session.outgoing else None
        if head is None or response.command != _TRANSFER_DATA_TO_CLIENT or frame.sequence not in head.sequences:
            return ()
        if response.status != Status.SUCCESS:
            return (Alarm(session.peer, f"did not take message {head.message_id}: status 0x{response.status:02X}"),)
        session.outgoing.popleft()
        return (MessageDelivered(session.peer, head.message_id),)

    def _request(self, session: _Session, frame: Frame, request: RequestTunnel) -> Effects:
        """Only GBCS's own protocol; one tunnel for each device: who asks again has lost the one it had."""
        status = TunnelStatus.SUCCESS
        if (request.protocol, request.manufacturer_code) != (GB_HRGP, MANUFACTURER_NOT_USED):
            status = TunnelStatus.PROTOCOL_NOT_SUPPORTED
        elif request.flow_control:
            status = TunnelStatus.FLOW_CONTROL_NOT_SUPPORTED
        if status is not TunnelStatus.SUCCESS:
            refused = command(RequestTunnelResponse(_TUNNEL_IDS, status), frame.sequence, to_client=True)
            return (Send(session.peer, session.endpoint, refused),)
        lost = self._close(session, "the device asked for another")
        session.tunnel_id, self._next_tunnel_id = self._next_tunnel_id, (self._next_tunnel_id + 1) % _TUNNEL_IDS
        session.maximum_transfer_size = request.maximum_incoming_transfer_size
        granted = command(RequestTunnelResponse(session.tunnel_id, status), frame.sequence, to_client=True)
        limit = session.maximum_transfer_size
        record = TunnelRecord(session.peer, session.endpoint, session.tunnel_id, limit)
        return (
            *lost,
            TunnelOpened(record),
            Send(session.peer, session.endpoint, granted),
            *self._fail_too_long(session),
        )

    def _receive_data(self, session: _Session, frame: Frame, body: TransferData) -> Effects:
        peer = session.peer
        if body.tunnel_id != session.tunnel_id:
            error = TransferDataError(body.tunnel_id, TransferDataStatus.NO_SUCH_TUNNEL)
            return (self._to_device(session, error),)
        if len(body.data) > GBCS_TRANSFER_SIZE:
            error = TransferDataError(body.tunnel_id, TransferDataStatus.DATA_OVERFLOW)
            alarm = Alarm(peer, f"a transfer of {len(body.data)} octets was refused: 1500 were agreed")
            return (self._to_device(session, error), alarm)
        taken = frame.default_response(Status.SUCCESS)
        header, message = body.data[:1], body.data[1:]
        if header == bytes((GET,)) and not message:
            return (*_answer(peer, session.endpoint, taken), self._next_message(session))
        if header == bytes((PUT,)) and message:
            return (MessageReceived(peer, message, ReplyToken(peer, session.endpoint, taken)),)
        refused = frame.default_response(Status.MALFORMED_COMMAND)
        alarm = Alarm(peer, f"a transfer that is neither GET nor PUT was refused: {body.data[:8].hex()}")
        return (*_answer(peer, session.endpoint, refused), alarm)

    def _next_message(self, session: _Session) -> Send:
        """GET-RESPONSE: the oldest message, again if the device did not say that it took it."""
        assert session.tunnel_id is not None
        data = bytes((GET_RESPONSE, 0))
        if session.outgoing:
            head = session.outgoing[0]
            data = bytes((GET_RESPONSE, len(session.outgoing) - 1)) + head.data
            head.sequences.add((self._sequence + 1) % 0x100)
        return self._to_device(session, TransferData(session.tunnel_id, data), answered=bool(session.outgoing))

    def _fail_too_long(self, session: _Session) -> Effects:
        limit = session.maximum_transfer_size - GET_RESPONSE_OVERHEAD
        too_long = [waiting for waiting in session.outgoing if len(waiting.data) > limit]
        for waiting in too_long:
            session.outgoing.remove(waiting)
        return tuple(
            MessageFailed(session.peer, waiting.message_id, f"{len(waiting.data)} octets; the device takes {limit}")
            for waiting in too_long
        )

    @staticmethod
    def _close(session: _Session, reason: str) -> Effects:
        if session.tunnel_id is None:
            return ()
        session.tunnel_id = None
        for waiting in session.outgoing:
            waiting.sequences.clear()
        return (TunnelLost(session.peer, reason),)

    def _to_device(self, session: _Session, body: TunnelingCommand, *, answered: bool = False) -> Send:
        self._sequence = (self._sequence + 1) % 0x100
        return Send(session.peer, session.endpoint, command(body, self._sequence, to_client=True, answered=answered))


def _answer(peer: Eui64, endpoint: int, payload: bytes | None) -> Effects:
    return () if payload is None else (Send(peer, endpoint, payload),)
