"""The Key Establishment cluster of a device: the shell of `KeyEstablishmentClient`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from devices.nodes import events, key_establishment
from devices.nodes.node import is_unicast
from devices.stack.interface import COORDINATOR
from devices.wire import key_establishment as wire
from devices.wire import zcl
from devices.wire.zcl import DataType, General, Status, ZclFrame

if TYPE_CHECKING:
    from chf.crypto.ecqv import Credentials
    from devices.nodes.updatable import UpdatableNode
    from devices.stack.interface import ApsIndication


class KeyCluster:
    """Client of Key Establishment. One object from boot to boot."""

    from_server = True

    def __init__(self, node: UpdatableNode, credentials: Credentials) -> None:
        self._node = node
        self._endpoint = 0
        self.client = key_establishment.KeyEstablishmentClient(credentials, node.random, node.next_sequence)

    @property
    def busy(self) -> bool:
        return self.client.state not in {
            key_establishment.State.IDLE,
            key_establishment.State.WAITING,
            key_establishment.State.ESTABLISHED,
        }

    def start(self) -> None:
        self._carry_out(self.client.start(self._node.now()))

    def stop(self) -> None:
        self.client.stop()
        self._carry_out([])

    def attributes(self) -> tuple[zcl.Attribute, ...]:
        return (zcl.Attribute(wire.SUITE_ATTRIBUTE, DataType.ENUM16, self.client.suite.value),)

    def receive(self, frame: ZclFrame, indication: ApsIndication) -> int | None:
        # Never under a link key (SE 1.4 C.3); and a broadcast of it means nothing.
        if indication.source != COORDINATOR or indication.secured or not is_unicast(indication):
            return Status.NOT_AUTHORIZED
        status, effects = self.client.receive(frame, indication.source_ieee, self._node.now())
        self._carry_out(effects)
        return status

    def receive_general(self, frame: ZclFrame, indication: ApsIndication) -> None:
        if frame.command == General.DEFAULT_RESPONSE and indication.source == COORDINATOR:
            response = zcl.DefaultResponse.from_bytes(frame.payload)
            now = self._node.now()
            self._carry_out(self.client.receive_default_response(response.command, response.status, now))

    def _carry_out(self, effects: list[key_establishment.KeyEffect]) -> None:
        node = self._node
        for effect in effects:
            match effect:
                case key_establishment.Transmit(octets):
                    node.send(wire.CLUSTER, COORDINATOR, self._endpoint, octets, secured=False)
                case key_establishment.Discover():
                    node.stack.match_descriptor(
                        node.settings.profile,
                        (wire.CLUSTER,),
                        lambda found: node.powered_run(lambda: self._found(found)),
                    )
                case key_establishment.TakeKey(link_key):
                    node.stack.establish_link_key(link_key)
                    node.note(events.KeyEstablished(self.client.suite.value))
                    node.operate()
                case event:
                    node.note(event)
        node.at("key", self.client.deadline, self._due)

    def _found(self, endpoints: tuple[int, ...]) -> None:
        if self._node.keys is not self:  # asked before a reboot
            return
        now = self._node.now()
        if endpoints:
            self._endpoint = endpoints[0]
        self._carry_out(self.client.server_found(now) if endpoints else self.client.server_not_found(now))
        self._node.settled()

    def _due(self) -> None:
        self._carry_out(self.client.handle_deadline(self._node.now()))
        self._node.settled()
