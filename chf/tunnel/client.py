"""The Tunneling client of the hub: opens a tunnel to each PPMID, ESME and HCALCS, and carries GBCS messages through it.

Which devices it serves is the caller's decision (the device log), who says when they come and go. It never reads a
message: octets in, octets out. A message from a device is answered only after `accepted`, so that a device repeats
what a hub that died had not stored; a message to a device is sent again until the device's application took it, or its
time is up. The GSME's way, where the hub is the server, is in `server`.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import assert_never

from chf.clock import Instant
from chf.errors import MalformedFrameError, UsageError
from chf.eui64 import Eui64, format_eui64
from chf.machine import next_state
from chf.tunnel.effects import (
    Alarm,
    DiscoverEndpoint,
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
from chf.tunnel.session import Outgoing, Session, TunnelSettings
from chf.tunnel.transitions import TRANSITIONS, Input, State
from chf.zcl.frame import DefaultResponse, Frame, FrameType, Status, status_name
from chf.zcl.tunneling import (
    GBCS_TRANSFER_SIZE,
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


class TunnelClient:
    """Time comes in as `now`; everything to be done comes out as effects, in their order."""

    def __init__(self, settings: TunnelSettings | None = None) -> None:
        self._settings = settings or TunnelSettings()
        self._sessions: dict[Eui64, Session] = {}
        self._turns: deque[Eui64] = deque()
        self._sequence = 0

    # From the caller.

    def restore(self, records: Iterable[TunnelRecord]) -> None:
        """Take tunnels up again that were open when the hub stopped.

        A device that restarted since knows its tunnel no more, and cannot say so unasked: a hub that may have missed a
        rejoin asks for a new one (`device_joined`).
        """
        for record in records:
            self._sessions[record.peer] = Session(
                record.peer,
                State.OPEN,
                endpoint=record.endpoint,
                tunnel_id=record.tunnel_id,
                maximum_transfer_size=record.maximum_transfer_size,
            )

    def state(self, peer: Eui64) -> State | None:
        """None for a device that `device_joined` and `send` never named."""
        session = self._sessions.get(peer)
        return session.state if session else None

    def device_joined(self, peer: Eui64, now: Instant, reason: str = "the device rejoined") -> Effects:
        """A device of the log joined, rejoined, or is to have a new tunnel; `reason`: why the old one is given up."""
        session = self._sessions.setdefault(peer, Session(peer))
        if session.state is State.DISCOVERING:
            return ()  # the radio reports a joining more than once
        lost = self._drop(session, reason)
        session.attempts = 0
        return (*lost, *self._discover(session, Input.JOIN, now), *self._next_turn(now))

    def device_left(self, peer: Eui64, now: Instant) -> Effects:
        """The device left the network. Messages for it wait for its return, as long as they live."""
        session = self._sessions.get(peer)
        if session is None:
            return ()
        lost = self._drop(session, "the device left")
        self._become(session, Input.LEAVE, None)
        return (*lost, *self._next_turn(now))

    def forget(self, peer: Eui64, now: Instant) -> Effects:
        """The device was removed from the device log: its tunnel is closed and its messages are dropped."""
        session = self._sessions.pop(peer, None)
        if session is None:
            return ()
        if peer in self._turns:
            self._turns.remove(peer)
        closing = self._close(session) if session.state is State.OPEN else ()
        failed = tuple(MessageFailed(peer, message.message_id, "no access") for message in session.outgoing)
        return (*closing, *failed, *self._next_turn(now))

    def endpoints_found(self, peer: Eui64, endpoints: Sequence[int], now: Instant) -> Effects:
        """The answer to DiscoverEndpoint; none for a device that did not answer or serves no tunnel."""
        session = self._sessions.get(peer)
        if session is None or session.state is not State.DISCOVERING:
            return ()
        if not endpoints:
            return self._not_found(session, now)
        session.endpoint = endpoints[0]  # SL-CHF: the first endpoint of the answer
        session.attempts = 0
        return self._queue(session, Input.FOUND, now)

    def send(
        self, peer: Eui64, message_id: str, data: bytes, now: Instant, *, lifetime_s: float | None = None
    ) -> Effects:
        """Queue a message. It ends in one MessageDelivered or MessageFailed under its id.

        Raises UsageError for a device that is not served, and where the queue is full.
        """
        session = self._sessions.get(peer)
        if session is None:
            raise UsageError(f"no tunnel is kept for {format_eui64(peer)}: it is not in the device log")
        if len(session.outgoing) >= self._settings.queue_length:
            raise UsageError(f"{self._settings.queue_length} messages wait for {format_eui64(peer)} already")
        if len(data) > session.maximum_transfer_size:
            reason = f"{len(data)} octets; the device takes {session.maximum_transfer_size}"
            return (MessageFailed(peer, message_id, reason),)
        expires = Instant(now + (self._settings.message_lifetime_s if lifetime_s is None else lifetime_s))
        session.outgoing.append(Outgoing(message_id, data, expires))
        if session.state is State.RESTING:
            session.attempts = 0
            return self._discover(session, Input.WAKE, now)
        return self._transmit(session, now)

    def accepted(self, token: ReplyToken) -> Effects:
        """The message behind the token is stored; the device may forget it."""
        return () if token.response is None else (Send(token.peer, token.endpoint, token.response),)

    def receive(self, peer: Eui64, endpoint: int, octets: bytes, now: Instant, *, secured: bool) -> Effects:
        """One ZCL frame of cluster 0x0704. Never raises: what is wrong is answered, and reported as an Alarm."""
        session = self._sessions.get(peer)
        if session is None:
            return (Alarm(peer, "a tunnel frame of a device that is not in the device log was dropped"),)
        if not secured:  # Smart Energy 5.4.6
            return (Alarm(peer, "a tunnel frame without APS link-key security was dropped"),)
        try:
            frame = Frame.from_bytes(octets)
        except MalformedFrameError as error:
            return (Alarm(peer, f"not a ZCL frame: {error}"),)
        if frame.frame_type is FrameType.GLOBAL:
            return self._receive_global(session, endpoint, frame, now)
        try:
            body = parse(frame)
        except MalformedFrameError as error:
            return (
                *self._answer(peer, endpoint, frame.default_response(Status.MALFORMED_COMMAND)),
                Alarm(peer, f"malformed tunnel command 0x{frame.command:02X}: {error}"),
            )
        if body is None or not frame.to_client:
            return self._answer(peer, endpoint, frame.unsupported())
        return self._receive_command(session, endpoint, frame, body, now)

    def deadline(self) -> Instant | None:
        """When `handle_deadline` is due next."""
        return min((due for session in self._sessions.values() for due in session.deadlines()), default=None)

    def handle_deadline(self, now: Instant) -> Effects:
        effects: list[Effect] = []
        for session in tuple(self._sessions.values()):
            effects += self._expire(session, now)
            if session.deadline is not None and session.deadline <= now:
                effects += self._state_timed_out(session, now)
            effects += self._transmit(session, now)
        return tuple(effects)

    # Opening.

    def _discover(self, session: Session, given: Input, now: Instant) -> Effects:
        session.endpoint = None
        session.attempts += 1
        self._become(session, given, Instant(now + self._settings.discovery_timeout_s))
        return (DiscoverEndpoint(session.peer),)

    def _not_found(self, session: Session, now: Instant) -> Effects:
        if session.attempts >= self._settings.discovery_attempts:
            return self._give_up(session, "no endpoint of the device serves the Tunneling cluster", now)
        self._become(session, Input.NOT_FOUND, Instant(now + self._settings.retry_after_s(session.attempts)))
        return ()

    def _queue(self, session: Session, given: Input, now: Instant) -> Effects:
        self._become(session, given, None)
        self._turns.append(session.peer)
        return self._next_turn(now)

    def _next_turn(self, now: Instant) -> Effects:
        """Rule 2: the next device asks when few enough are waiting for their answers."""
        requesting = sum(session.state is State.REQUESTING for session in self._sessions.values())
        if not self._turns or requesting >= self._settings.requests_at_once:
            return ()
        session = self._sessions[self._turns.popleft()]
        session.attempts += 1
        session.request_sequence = self._next_sequence()
        self._become(session, Input.TURN, Instant(now + self._settings.response_timeout_s))
        return (self._command(session, RequestTunnel(), session.request_sequence),)

    def _answered(self, session: Session, frame: Frame, response: RequestTunnelResponse, now: Instant) -> Effects:
        expected = session.state in (State.REQUESTING, State.WAITING) and frame.sequence == session.request_sequence
        if response.status == TunnelStatus.SUCCESS:
            if expected:
                return (*self._granted(session, response, now), *self._next_turn(now))
            if response.tunnel_id != session.tunnel_id:
                session.stale_ids.add(response.tunnel_id)  # the answer to a request that was given up
            return ()
        if not expected or session.state is not State.REQUESTING:
            return ()
        return (*self._not_granted(session, response.status, now), *self._next_turn(now))

    def _granted(self, session: Session, response: RequestTunnelResponse, now: Instant) -> Effects:
        session.tunnel_id = response.tunnel_id
        session.stale_ids.discard(response.tunnel_id)
        session.maximum_transfer_size = response.maximum_incoming_transfer_size
        session.attempts = 0
        self._become(session, Input.GRANT, None)
        effects: list[Effect] = [TunnelOpened(session.record())]
        if response.maximum_incoming_transfer_size < GBCS_TRANSFER_SIZE:
            size = response.maximum_incoming_transfer_size
            effects.append(Alarm(session.peer, f"the device takes messages of {size} octets only; GBCS asks for 1500"))
        effects += self._fail_too_long(session)
        return (*effects, *self._transmit(session, now))

    def _not_granted(self, session: Session, status: int, now: Instant) -> Effects:
        if status == TunnelStatus.BUSY:
            session.attempts = 0  # it answers; it may be busy for as long as it likes
            self._become(session, Input.POSTPONE, Instant(now + self._settings.busy_retry_s))
            return ()
        if status == TunnelStatus.NO_MORE_TUNNEL_IDS and session.stale_ids:
            closing = tuple(self._command(session, CloseTunnel(stale)) for stale in sorted(session.stale_ids))
            session.stale_ids.clear()
            self._become(session, Input.POSTPONE, Instant(now + self._settings.no_more_ids_retry_s))
            return closing
        known = status in tuple(TunnelStatus)
        name = TunnelStatus(status).name if known else f"status 0x{status:02X}"
        return self._give_up(session, f"the device refuses a tunnel: {name}", now)

    def _give_up(self, session: Session, reason: str, now: Instant) -> Effects:
        session.attempts = 0
        self._become(session, Input.GIVE_UP, Instant(now + self._settings.check_interval_s))
        return (Alarm(session.peer, f"{reason}; tried again in {self._settings.check_interval_s:.0f} s"),)

    def _state_timed_out(self, session: Session, now: Instant) -> Effects:
        match session.state:
            case State.DISCOVERING:
                return self._not_found(session, now)
            case State.REQUESTING if session.attempts >= self._settings.request_attempts:
                return (*self._give_up(session, "no answer to RequestTunnel", now), *self._next_turn(now))
            case State.REQUESTING:
                retry = Instant(now + self._settings.retry_after_s(session.attempts))
                self._become(session, Input.POSTPONE, retry)
                return self._next_turn(now)
            case State.WAITING if session.endpoint is None:
                return self._discover(session, Input.LOOK_AGAIN, now)
            case State.WAITING:
                return self._queue(session, Input.ASK_AGAIN, now)
            case State.RESTING:
                return self._discover(session, Input.WAKE, now)
            case State.QUEUED | State.OPEN | State.GONE:
                raise AssertionError(f"{session.state.name} has no deadline")
            case _:
                assert_never(session.state)

    # Messages.

    def _transmit(self, session: Session, now: Instant) -> Effects:
        """Send the first message, or send it again: one at a time, in their order."""
        if session.state is not State.OPEN or not session.outgoing:
            return ()
        message = session.outgoing[0]
        if message.due is not None and message.due > now:
            return ()
        if message.in_flight:  # its Default Response did not come; it may still, so the sequence stays known
            message.in_flight = False
            message.due = Instant(now + self._settings.retry_after_s(message.attempts))
            return ()
        assert session.tunnel_id is not None
        message.attempts += 1
        message.in_flight = True
        message.sequence = self._next_sequence()
        message.due = Instant(now + self._settings.response_timeout_s)
        return (self._command(session, TransferData(session.tunnel_id, message.data), message.sequence, answered=True),)

    def _receive_global(self, session: Session, endpoint: int, frame: Frame, now: Instant) -> Effects:
        if frame.command != DefaultResponse.COMMAND:
            return self._answer(session.peer, endpoint, frame.unsupported())
        try:
            response = DefaultResponse.from_bytes(frame.payload)
        except MalformedFrameError as error:
            return (Alarm(session.peer, f"malformed Default Response: {error}"),)
        message = session.outgoing[0] if session.outgoing else None
        if message is not None and message.sequence == frame.sequence:
            return self._confirmed(session, message, response, now)
        if session.state is State.REQUESTING and frame.sequence == session.request_sequence:
            if response.status == Status.SUCCESS:
                return ()  # the answer proper follows
            refused = f"the device refuses RequestTunnel: {status_name(response.status)}"
            return (*self._give_up(session, refused, now), *self._next_turn(now))
        return ()

    def _confirmed(self, session: Session, message: Outgoing, response: DefaultResponse, now: Instant) -> Effects:
        if response.status == Status.SUCCESS:
            session.outgoing.popleft()
            session.losses = 0
            return (MessageDelivered(session.peer, message.message_id), *self._transmit(session, now))
        message.in_flight = False
        message.due = Instant(now + self._settings.retry_after_s(message.attempts))
        if message.attempts > 1:
            return ()  # one alarm is enough
        return (Alarm(session.peer, f"the device did not take a message: {status_name(response.status)}"),)

    def _receive_command(
        self, session: Session, endpoint: int, frame: Frame, body: TunnelingCommand, now: Instant
    ) -> Effects:
        match body:
            case RequestTunnelResponse():
                return self._answered(session, frame, body, now)
            case TransferData():
                return self._receive_data(session, endpoint, frame, body, now)
            case TransferDataError():
                return self._receive_error(session, body, now)
            case TunnelClosureNotification():
                if not self._is_open(session, body.tunnel_id):
                    session.stale_ids.discard(body.tunnel_id)
                    return ()
                return self._lose(session, "the device closed it", now)
            case SupportedTunnelProtocolsResponse():
                return ()  # never asked for
            case RequestTunnel() | CloseTunnel() | GetSupportedTunnelProtocols():
                raise AssertionError("commands to a server do not come in this direction")
            case _:
                assert_never(body)

    def _receive_data(self, session: Session, endpoint: int, frame: Frame, body: TransferData, now: Instant) -> Effects:
        peer = session.peer
        if self._may_be_granted(session, body.tunnel_id):
            return ()  # it asks again for what was not answered; by then the grant is here, or our next request is
        if not self._is_open(session, body.tunnel_id):
            error = TransferDataError(body.tunnel_id, TransferDataStatus.NO_SUCH_TUNNEL)
            refusal = Send(peer, endpoint, command(error, self._next_sequence(), to_client=False))
            return (refusal, *self._heard_without_tunnel(session, now))
        if len(body.data) > GBCS_TRANSFER_SIZE:
            error = TransferDataError(body.tunnel_id, TransferDataStatus.DATA_OVERFLOW)
            return (
                Send(peer, endpoint, command(error, self._next_sequence(), to_client=False)),
                Alarm(peer, f"a message of {len(body.data)} octets was refused: 1500 were agreed"),
            )
        session.losses = 0
        return (MessageReceived(peer, body.data, ReplyToken(peer, endpoint, frame.default_response(Status.SUCCESS))),)

    def _heard_without_tunnel(self, session: Session, now: Instant) -> Effects:
        """A device that talks is there, whatever we thought, and wants a tunnel."""
        if session.state is State.GONE:
            return self._discover(session, Input.JOIN, now)
        if session.state is State.RESTING:
            return self._discover(session, Input.WAKE, now)
        return ()

    def _receive_error(self, session: Session, body: TransferDataError, now: Instant) -> Effects:
        if not self._is_open(session, body.tunnel_id):
            session.stale_ids.discard(body.tunnel_id)
            return ()
        if body.status != TransferDataStatus.DATA_OVERFLOW:
            return self._lose(session, "the device knows no such tunnel", now)
        if not session.outgoing or session.outgoing[0].sequence is None:
            return ()
        refused = session.outgoing.popleft()
        failed = MessageFailed(session.peer, refused.message_id, "too long for the device (DATA_OVERFLOW)")
        return (failed, *self._transmit(session, now))

    def _expire(self, session: Session, now: Instant) -> Effects:
        late = [message for message in session.outgoing if message.expires <= now]
        for message in late:
            session.outgoing.remove(message)
        return tuple(
            MessageFailed(
                session.peer,
                message.message_id,
                "never taken by the device" if message.attempts else "no tunnel to the device in time",
                expired=True,
            )
            for message in late
        )

    def _fail_too_long(self, session: Session) -> Effects:
        limit = session.maximum_transfer_size
        too_long = [message for message in session.outgoing if len(message.data) > limit]
        for message in too_long:
            session.outgoing.remove(message)
        return tuple(
            MessageFailed(session.peer, message.message_id, f"{len(message.data)} octets; the device takes {limit}")
            for message in too_long
        )

    # Losing.

    def _lose(self, session: Session, reason: str, now: Instant) -> Effects:
        """Rule 4, after the device itself said so; one that does it again and again is asked less and less often."""
        self._unsend(session)
        session.tunnel_id = None
        session.losses += 1
        lost = TunnelLost(session.peer, reason)
        if session.losses == 1:
            return (lost, *self._queue(session, Input.LOSE, now))
        self._become(session, Input.POSTPONE, Instant(now + self._settings.retry_after_s(session.losses)))
        return (lost,)

    def _drop(self, session: Session, reason: str) -> Effects:
        """Rule 3: back to knowing nothing, but for the id that the device may still hold."""
        if session.peer in self._turns:
            self._turns.remove(session.peer)
        session.endpoint = None
        session.request_sequence = None
        self._unsend(session)
        if session.tunnel_id is None:
            return ()
        session.stale_ids.add(session.tunnel_id)
        session.tunnel_id = None
        return (TunnelLost(session.peer, reason),)

    def _close(self, session: Session) -> Effects:
        assert session.tunnel_id is not None
        return (
            self._command(session, CloseTunnel(session.tunnel_id)),
            TunnelLost(session.peer, "the device was removed from the device log"),
        )

    @staticmethod
    def _unsend(session: Session) -> None:
        """The message in flight is sent again through the next tunnel."""
        if session.outgoing:
            message = session.outgoing[0]
            message.sequence = message.due = None
            message.in_flight = False

    @staticmethod
    def _is_open(session: Session, tunnel_id: int) -> bool:
        return session.state is State.OPEN and session.tunnel_id == tunnel_id

    @staticmethod
    def _may_be_granted(session: Session, tunnel_id: int) -> bool:
        """Data can overtake the answer that grants their tunnel: on NO_SUCH_TUNNEL the device would give it up."""
        asked = session.state in (State.REQUESTING, State.WAITING) and session.request_sequence is not None
        return asked and tunnel_id not in session.stale_ids

    @staticmethod
    def _become(session: Session, given: Input, deadline: Instant | None) -> None:
        session.state = next_state(TRANSITIONS, session.state, given)
        session.deadline = deadline

    # Frames.

    def _command(
        self, session: Session, body: TunnelingCommand, sequence: int | None = None, *, answered: bool = False
    ) -> Send:
        assert session.endpoint is not None
        sequence = self._next_sequence() if sequence is None else sequence
        return Send(session.peer, session.endpoint, command(body, sequence, to_client=False, answered=answered))

    @staticmethod
    def _answer(peer: Eui64, endpoint: int, payload: bytes | None) -> Effects:
        return () if payload is None else (Send(peer, endpoint, payload),)

    def _next_sequence(self) -> int:
        self._sequence = (self._sequence + 1) % 0x100
        return self._sequence
