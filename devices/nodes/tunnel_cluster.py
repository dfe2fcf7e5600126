"""The Tunneling cluster of an emulated device: carries GBCS messages between its tunnel and its `Messages`."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from devices.nodes import events, tunnel_client, tunnel_server
from devices.nodes.messages import Restart
from devices.nodes.tunnel_client import TunnelClient
from devices.wire import tunneling, zcl
from devices.wire.zcl import DataType, General, ZclFrame

if TYPE_CHECKING:
    from collections.abc import Sequence

    from devices.nodes.messages import Effects, Messages
    from devices.nodes.tunnel_server import TunnelServer
    from devices.nodes.updatable import UpdatableNode
    from devices.stack.interface import ApsIndication


class TunnelCluster:
    """The shell of a `TunnelServer` or, in a GSME, of a `TunnelClient`, and what goes through it."""

    def __init__(self, node: UpdatableNode, messages: Messages, core: TunnelServer | TunnelClient) -> None:
        self.core = core
        self.from_server = isinstance(core, TunnelClient)
        self._node = node
        self._messages = messages
        self._sending = False

    def start(self) -> None:
        """On the network."""
        if isinstance(self.core, TunnelClient):
            self._carry_out(self.core.start(self._node.now()))
        self.serve_outbox()

    def fetch(self) -> None:
        """The mirror says that a message waits at the hub."""
        if isinstance(self.core, TunnelClient):
            self._carry_out(self.core.fetch(self._node.now()))

    def serve_outbox(self) -> None:
        """Make what is due, once the time is known or cannot be had, and see that a message is being sent."""
        node = self._node
        now = node.now()
        if node.time.known(now) is not None or node.time.given_up:
            self._tell(self._messages.settle(node.time.best(now)))
            self._arm()
        message = self._messages.outbox.waiting()
        if message is not None and not self._sending:
            self._sending = True
            self._carry_out(self.core.send(message, now))

    def attributes(self) -> tuple[zcl.Attribute, ...]:
        if self.from_server:
            return ()
        return (zcl.Attribute(tunneling.CLOSE_TUNNEL_TIMEOUT, DataType.UINT16, tunnel_server.CLOSE_TIMEOUT_S),)

    def receive(self, frame: ZclFrame, indication: ApsIndication) -> int | None:
        peer = tunnel_server.Peer(indication.source, indication.source_endpoint)
        status, effects = self.core.receive(frame, peer, self._node.now())
        self._carry_out(effects)
        return status

    def receive_general(self, frame: ZclFrame, indication: ApsIndication) -> None:
        del indication
        if frame.command == General.DEFAULT_RESPONSE:
            response = zcl.DefaultResponse.from_bytes(frame.payload)
            self._carry_out(self.core.receive_default_response(frame.sequence, response))

    def _found(self, endpoints: tuple[int, ...]) -> None:
        if self._node.tunnel is self and endpoints and isinstance(self.core, TunnelClient):  # else of an earlier boot
            self._carry_out(self.core.server_found(endpoints[0], self._node.now()))
            self._node.settled()

    def _carry_out(self, effects: Sequence[tunnel_server.TunnelEffect | tunnel_client.Discover]) -> None:
        node = self._node
        for effect in effects:
            match effect:
                case tunnel_server.Outbound(peer, frame):
                    node.send(tunneling.CLUSTER, peer.address, peer.endpoint, frame.to_bytes())
                case tunnel_server.Opened(tunnel_id):
                    node.note(events.TunnelOpened(tunnel_id))
                case tunnel_server.Arrived(message):
                    node.note(events.MessageReceived(message))
                    self._tell(self._messages.receive(message, node.time.best(node.now())))
                    self.serve_outbox()
                case tunnel_server.Sent(attempt):
                    node.note(events.AlertSent(attempt))
                case tunnel_server.Taken(message):
                    self._messages.outbox.taken(message)
                    node.note(events.AlertTaken(message))
                    self._sending = False
                    self.serve_outbox()
                case tunnel_client.Discover():
                    node.stack.match_descriptor(
                        node.settings.profile,
                        (tunneling.CLUSTER,),
                        lambda found: node.powered_run(lambda: self._found(found)),
                    )
                case _:
                    assert_never(effect)
        node.at("tunnel", self.core.deadline, self._due)

    def _tell(self, effects: Effects) -> None:
        for effect in effects:
            if isinstance(effect, Restart):
                self._node.restart()
            else:
                self._node.note(effect)

    def _arm(self) -> None:
        """One timer for what the device has to do at a time of its own; set anew whenever its clock is corrected."""
        node, deadline = self._node, self._messages.deadline
        now = node.now()
        wait_s = None if deadline is None else max(deadline - node.time.best(now), 0.0)
        node.at("messages", None if wait_s is None else now + wait_s, self.serve_outbox)

    def _due(self) -> None:
        self._carry_out(self.core.handle_deadline(self._node.now()))
        self._node.settled()
