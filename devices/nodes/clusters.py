"""The clusters of an emulated device: each is the shell of a core, and carries out what that core decides.

Which frames reach them, and the manners that all clusters share, are in `node`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from devices.nodes import events, ota_client
from devices.nodes.node import is_unicast
from devices.stack.interface import COORDINATOR
from devices.wire import ota, time_cluster, zcl
from devices.wire.zcl import DataType, General, Status, ZclFrame

if TYPE_CHECKING:
    from devices.nodes.image_bank import ImageBanks
    from devices.nodes.updatable import UpdatableNode
    from devices.stack.interface import ApsIndication

_ENDS = events.DownloadComplete | events.DownloadFailed
_TIME_RETRY_S = 10.0
_TIME_ATTEMPTS = 3  # then it goes by its own clock, and asks less often
_TIME_LATER_S = 300.0
_TIME_INTERVAL_S = 24 * 3600.0


class BasicCluster:
    """Server of Basic (ZCL8 3.2): who made it."""

    from_server = False

    def __init__(self, node: UpdatableNode) -> None:
        self._node = node

    def attributes(self) -> tuple[zcl.Attribute, ...]:
        settings = self._node.settings
        version = self._node.file_version() or 0
        return (
            zcl.Attribute(0x0000, DataType.UINT8, 8),  # ZCLVersion
            zcl.Attribute(0x0001, DataType.UINT8, version & 0xFF),  # ApplicationVersion
            zcl.Attribute(0x0002, DataType.UINT8, 2),  # StackVersion
            zcl.Attribute(0x0003, DataType.UINT8, settings.hardware_version & 0xFF),  # HWVersion
            zcl.Attribute(0x0004, DataType.CHARACTER_STRING, settings.manufacturer_name),
            zcl.Attribute(0x0005, DataType.CHARACTER_STRING, settings.model_identifier),
            zcl.Attribute(0x0007, DataType.ENUM8, 0x01 if settings.poll_interval_s is None else 0x03),  # PowerSource
            zcl.Attribute(0x4000, DataType.CHARACTER_STRING, f"{version:08X}"),  # SWBuildID
        )

    def receive(self, frame: ZclFrame, indication: ApsIndication) -> int | None:
        del frame, indication
        return Status.UNSUP_CLUSTER_COMMAND

    def receive_general(self, frame: ZclFrame, indication: ApsIndication) -> None:
        """It asks nothing."""


class TimeCluster:
    """Client of Time: sets the device's clock."""

    from_server = True

    def __init__(self, node: UpdatableNode) -> None:
        self._node = node
        self._offset: float | None = None  # of ZigBee time from simulated time
        self._attempts = 0
        self.expecting = False

    def forget(self) -> None:
        """A reboot: what the Time server said is lost, the device's own clock goes on."""
        self._offset = None
        self._attempts = 0
        self.expecting = False

    @property
    def given_up(self) -> bool:
        """The device has to go by its own clock."""
        return not self._node.settings.personality.has_time or self._attempts >= _TIME_ATTEMPTS

    def known(self, now: float) -> int | None:
        """The time as the Time server gave it."""
        return None if self._offset is None else int(now + self._offset)

    def best(self, now: float) -> float:
        return now + (self._node.settings.clock_at_start if self._offset is None else self._offset)

    def ask(self) -> None:
        node = self._node
        self._attempts += 1
        self.expecting = self._attempts <= _TIME_ATTEMPTS
        retry_s = _TIME_RETRY_S if self.expecting else _TIME_LATER_S
        node.at("time", node.now() + retry_s, self.ask)
        node.stack.match_descriptor(
            node.settings.profile, (time_cluster.CLUSTER,), lambda found: node.powered_run(lambda: self._found(found))
        )
        if self.given_up and node.tunnel is not None:
            node.tunnel.serve_outbox()
        node.settled()

    def _found(self, endpoints: tuple[int, ...]) -> None:
        if not endpoints:
            return
        node = self._node
        frame = ZclFrame(
            node.next_sequence(), General.READ_ATTRIBUTES, time_cluster.read_time(), cluster_specific=False
        )
        node.send(time_cluster.CLUSTER, COORDINATOR, endpoints[0], frame.to_bytes())

    def attributes(self) -> tuple[zcl.Attribute, ...]:
        return ()

    def receive(self, frame: ZclFrame, indication: ApsIndication) -> int | None:
        del frame, indication
        return Status.UNSUP_CLUSTER_COMMAND

    def receive_general(self, frame: ZclFrame, indication: ApsIndication) -> None:
        if frame.command != General.READ_ATTRIBUTES_RESPONSE or indication.source != COORDINATOR:
            return
        zigbee_time = time_cluster.parse_time(frame.payload)
        if zigbee_time is None:
            return
        node = self._node
        self._offset = zigbee_time - node.now()
        self._attempts = 0
        self.expecting = False
        node.at("time", node.now() + _TIME_INTERVAL_S, self.ask)
        if node.tunnel is not None:
            node.tunnel.serve_outbox()


class OtaCluster:
    """The shell of `OtaClient`: carries out its effects."""

    from_server = True

    def __init__(self, node: UpdatableNode, banks: ImageBanks) -> None:
        self.banks = banks
        self.client = ota_client.OtaClient(
            node.settings, banks, node.random, next_sequence=node.next_sequence, zigbee_time=node.time.known
        )
        self._node = node
        self._endpoint = 0
        self._server_ieee = 0xFFFF_FFFF_FFFF_FFFF
        self._armed_for: float | None = None

    def start(self) -> None:
        self._carry_out(self.client.start(self._node.now()))

    def query(self) -> None:
        """Ask for an image now."""
        self._carry_out(self.client.query_now(self._node.now()))
        self._node.settled()

    def attributes(self) -> tuple[zcl.Attribute, ...]:
        server = zcl.Attribute(ota.AttributeId.UPGRADE_SERVER_ID, DataType.EUI64, self._server_ieee)
        return (server, *self.client.attributes())

    def receive(self, frame: ZclFrame, indication: ApsIndication) -> int | None:
        if indication.source != COORDINATOR:
            return Status.NOT_AUTHORIZED
        if indication.source_ieee is not None:
            self._server_ieee = indication.source_ieee
        status, effects = self.client.receive(
            frame, self._node.now(), unicast=is_unicast(indication), secured=indication.secured
        )
        self._carry_out(effects)
        return status

    def receive_general(self, frame: ZclFrame, indication: ApsIndication) -> None:
        if frame.command == General.DEFAULT_RESPONSE and indication.source == COORDINATOR:
            response = zcl.DefaultResponse.from_bytes(frame.payload)
            self._carry_out(self.client.receive_default_response(response, self._node.now()))

    def _carry_out(self, effects: ota_client.Effects) -> None:
        node = self._node
        for effect in effects:
            match effect:
                case ota_client.Transmit(octets, secured):
                    node.send(ota.CLUSTER, COORDINATOR, self._endpoint, octets, secured=secured)
                case ota_client.Discover():
                    node.stack.match_descriptor(
                        node.settings.profile,
                        (ota.CLUSTER,),
                        lambda found: node.powered_run(lambda: self._found(found)),
                    )
                case ota_client.Activate():
                    self.banks.request_trial()
                    node.restart()
                case event:
                    node.note(event)
                    if isinstance(event, _ENDS) and node.tunnel is not None:
                        node.tunnel.serve_outbox()  # a receipt may be due
        self._arm()

    def _found(self, endpoints: tuple[int, ...]) -> None:
        if self._node.ota is not self:  # asked before a reboot
            return
        now = self._node.now()
        if not endpoints:
            self._carry_out(self.client.server_not_found(now))
            return
        self._endpoint = endpoints[0]
        self._node.note(events.ServerFound(self._endpoint))
        self._carry_out(self.client.server_found(now))
        self._node.settled()

    def _arm(self) -> None:
        """One timer. A deadline that moves later, as it does with every block, is looked at again when it fires."""
        deadline = self.client.deadline
        if deadline is None or (self._armed_for is not None and self._armed_for <= deadline):
            return
        self._armed_for = deadline
        self._node.at("ota", deadline, self._due)

    def _due(self) -> None:
        self._armed_for = None
        self._carry_out(self.client.handle_deadline(self._node.now()))
        self._node.settled()
