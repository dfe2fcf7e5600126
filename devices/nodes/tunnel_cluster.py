"""The Tunneling cluster of an emulated device: carries GBCS messages between its tunnel and its `Messages`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from devices.nodes import events
from devices.nodes.cluster import Cluster, Effects, Signal
from devices.nodes.tunnel_client import TunnelClient
from devices.nodes.tunnel_server import CLOSE_TIMEOUT_S, Arrived, Peer, Taken, TunnelEffects, TunnelServer
from devices.wire import tunneling, zcl
from devices.wire.zcl import DataType, ZclFrame

if TYPE_CHECKING:
    from devices.nodes.cluster import Clock
    from devices.nodes.messages import Messages
    from devices.stack.interface import ApsIndication

_SERVED_ON = frozenset({Signal.CLOCK_SETTLED, Signal.DOWNLOAD_ENDED})


class TunnelCluster(Cluster):
    """`end` is the device's end of the tunnel: a GSME opens it itself, all others wait for the hub to do so."""

    def __init__(self, end: TunnelServer | TunnelClient, messages: Messages, clock: Clock) -> None:
        self.from_server = isinstance(end, TunnelClient)
        self._end = end
        self._messages = messages
        self._clock = clock
        self._sending = False
        self._due_at: float | None = None  # when the device has something to do at a time of its own

    @property
    def deadline(self) -> float | None:
        wakes = (self._end.deadline, self._due_at)
        return min((when for when in wakes if when is not None), default=None)

    @property
    def expects_answer(self) -> bool:
        return self._end.expects_answer

    def attributes(self) -> tuple[zcl.Attribute, ...]:
        if self.from_server:
            return ()
        return (zcl.Attribute(tunneling.CLOSE_TUNNEL_TIMEOUT, DataType.UINT16, CLOSE_TIMEOUT_S),)

    def start(self, now: float) -> Effects:
        opening = self._after(self._end.start(now), now) if isinstance(self._end, TunnelClient) else []
        return [*opening, *self._serve(now)]

    def found(self, endpoint: int | None, now: float) -> Effects:
        return self._after(self._end.found(endpoint, now), now) if isinstance(self._end, TunnelClient) else []

    def receive(self, frame: ZclFrame, indication: ApsIndication, now: float) -> tuple[int | None, Effects]:
        peer = Peer(indication.source, indication.source_endpoint)
        status, effects = self._end.receive(frame, peer, now)
        return status, self._after(effects, now)

    def receive_default_response(self, sequence: int, response: zcl.DefaultResponse, now: float) -> Effects:
        return self._after(self._end.receive_default_response(sequence, response), now)

    def signalled(self, signal: Signal, now: float) -> Effects:
        if signal is Signal.MESSAGE_WAITS and isinstance(self._end, TunnelClient):
            return self._after(self._end.fetch(now), now)
        return self._serve(now) if signal in _SERVED_ON else []

    def handle_deadline(self, now: float) -> Effects:
        effects = self._after(self._end.handle_deadline(now), now)
        if self._due_at is not None and now >= self._due_at:
            effects += self._serve(now)
        return effects

    def _serve(self, now: float) -> Effects:
        """Make the messages that are due, once the clock is settled, and see that one is being sent."""
        effects: Effects = []
        if self._clock.settled:
            effects += self._messages.settle(self._clock.best(now))
            due = self._messages.deadline
            self._due_at = None if due is None else now + max(due - self._clock.best(now), 0.0)
        message = self._messages.outbox.waiting()
        if message is not None and not self._sending:
            self._sending = True
            effects += self._after(self._end.send(message, now), now)
        return effects

    def _after(self, tunnel: TunnelEffects, now: float) -> Effects:
        """What the device does, beside what its end of the tunnel wants, about a message that came or was taken."""
        effects: Effects = []
        for effect in tunnel:
            match effect:
                case Arrived(message):
                    effects.append(events.MessageReceived(message))
                    effects += self._messages.receive(message, self._clock.best(now))
                    effects += self._serve(now)
                case Taken(message):
                    self._messages.outbox.taken(message)
                    self._sending = False
                    effects += [events.AlertTaken(message), *self._serve(now)]
                case _:
                    effects.append(effect)
        return effects
