"""A sleepy GSME's way to learn what waits for it: the Functional Notification Flags of its mirror in the hub.

The flags are an attribute of the client side of Metering, so the device, whose side is the server, asks in the server's
direction. Nothing of metering is emulated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from devices.nodes.node import METERING
from devices.stack.interface import COORDINATOR
from devices.wire import zcl
from devices.wire.zcl import General, Status, ZclFrame

if TYPE_CHECKING:
    from devices.nodes.gsme import Gsme
    from devices.stack.interface import ApsIndication

FLAGS = 0x0000  # FunctionalNotificationFlags, bitmap32
NEW_OTA_FIRMWARE = 1 << 0
TUNNEL_MESSAGE_PENDING = 1 << 21

_ANSWER_TIMEOUT_S = 10.0


class MirrorCluster:
    """Reads the flags whenever the device wakes for that, and does what they ask for."""

    from_server = False

    def __init__(self, gsme: Gsme, interval_s: float) -> None:
        self._gsme = gsme
        self._interval_s = interval_s
        self.expecting = False

    def wake(self) -> None:
        node = self._gsme
        self.expecting = True
        node.at("mirror", node.now() + min(self._interval_s, _ANSWER_TIMEOUT_S), self._sleep)
        node.stack.match_descriptor(
            node.settings.profile, (METERING,), lambda found: node.powered_run(lambda: self._found(found))
        )
        node.settled()

    def _sleep(self) -> None:
        """Nobody answered."""
        self.expecting = False
        self._gsme.at("mirror", self._gsme.now() + self._interval_s, self.wake)
        self._gsme.settled()

    def _found(self, endpoints: tuple[int, ...]) -> None:
        if not endpoints or self._gsme.mirror is not self:
            return
        node = self._gsme
        read = ZclFrame(
            node.next_sequence(),
            General.READ_ATTRIBUTES,
            zcl.read_attributes((FLAGS,)),
            cluster_specific=False,
            from_server=True,
        )
        node.send(METERING, COORDINATOR, endpoints[0], read.to_bytes())

    def attributes(self) -> tuple[zcl.Attribute, ...]:
        return ()

    def receive(self, frame: ZclFrame, indication: ApsIndication) -> int | None:
        del frame, indication
        return Status.UNSUP_CLUSTER_COMMAND

    def receive_general(self, frame: ZclFrame, indication: ApsIndication) -> None:
        if frame.command != General.READ_ATTRIBUTES_RESPONSE or indication.source != COORDINATOR:
            return
        flags = zcl.parse_read_attributes_response(frame.payload).get(FLAGS)
        if not isinstance(flags, int):
            return
        node = self._gsme
        self.expecting = False
        node.at("mirror", node.now() + self._interval_s, self.wake)
        if flags & NEW_OTA_FIRMWARE and node.ota is not None:
            node.ota.query()
        if flags & TUNNEL_MESSAGE_PENDING and node.tunnel is not None:
            node.tunnel.fetch()
