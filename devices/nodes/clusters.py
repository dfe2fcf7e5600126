"""The clusters of an emulated PPMID: each is the shell of a core, and carries out what that core decides.

Which frames reach them, and the manners that all clusters share, are in `node`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from devices.nodes import events, ota_client, tunnel_server
from devices.nodes.node import is_unicast
from devices.stack.interface import COORDINATOR
from devices.wire import ota, time_cluster, tunneling, zcl
from devices.wire.zcl import DataType, General, Status, ZclFrame

if TYPE_CHECKING:
    from devices.nodes.alerts import ActivationAlerts
    from devices.nodes.image_bank import ImageBanks
    from devices.nodes.ppmid import Ppmid
    from devices.stack.interface import ApsIndication

_LAST_ANSWERS_S = 0.1  # what is under way still leaves before a reboot
_TIME_RETRY_S = 10.0
_TIME_ATTEMPTS = 3  # then it goes by its own clock, and asks less often
_TIME_LATER_S = 300.0
_TIME_INTERVAL_S = 24 * 3600.0


class BasicCluster:
    """Server of Basic (ZCL8 3.2): who made it."""

    from_server = False

    def __init__(self, ppmid: Ppmid) -> None:
        self._ppmid = ppmid

    def attributes(self) -> tuple[zcl.Attribute, ...]:
        settings = self._ppmid.settings
        version = self._ppmid.file_version() or 0
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

    def __init__(self, ppmid: Ppmid) -> None:
        self._ppmid = ppmid
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
        return not self._ppmid.settings.personality.has_time or self._attempts >= _TIME_ATTEMPTS

    def known(self, now: float) -> int | None:
        """The time as the Time server gave it."""
        return None if self._offset is None else int(now + self._offset)

    def best(self, now: float) -> float:
        return now + (self._ppmid.settings.clock_at_start if self._offset is None else self._offset)

    def ask(self) -> None:
        node = self._ppmid
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
        node = self._ppmid
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
        node = self._ppmid
        self._offset = zigbee_time - node.now()
        self._attempts = 0
        self.expecting = False
        node.at("time", node.now() + _TIME_INTERVAL_S, self.ask)
        if node.tunnel is not None:
            node.tunnel.serve_outbox()


class OtaCluster:
    """The shell of `OtaClient`: carries out its effects."""

    from_server = True

    def __init__(self, ppmid: Ppmid, banks: ImageBanks) -> None:
        self.banks = banks
        self.client = ota_client.OtaClient(
            ppmid.settings, banks, ppmid.random, next_sequence=ppmid.next_sequence, zigbee_time=ppmid.time.known
        )
        self._ppmid = ppmid
        self._endpoint = 0
        self._server_ieee = 0xFFFF_FFFF_FFFF_FFFF
        self._armed_for: float | None = None

    def start(self) -> None:
        self._carry_out(self.client.start(self._ppmid.now()))

    def attributes(self) -> tuple[zcl.Attribute, ...]:
        server = zcl.Attribute(ota.AttributeId.UPGRADE_SERVER_ID, DataType.EUI64, self._server_ieee)
        return (server, *self.client.attributes())

    def receive(self, frame: ZclFrame, indication: ApsIndication) -> int | None:
        if indication.source != COORDINATOR:
            return Status.NOT_AUTHORIZED
        if indication.source_ieee is not None:
            self._server_ieee = indication.source_ieee
        status, effects = self.client.receive(
            frame, self._ppmid.now(), unicast=is_unicast(indication), secured=indication.secured
        )
        self._carry_out(effects)
        return status

    def receive_general(self, frame: ZclFrame, indication: ApsIndication) -> None:
        if frame.command == General.DEFAULT_RESPONSE and indication.source == COORDINATOR:
            response = zcl.DefaultResponse.from_bytes(frame.payload)
            self._carry_out(self.client.receive_default_response(response, self._ppmid.now()))

    def _carry_out(self, effects: ota_client.Effects) -> None:
        node = self._ppmid
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
                    node.at("activate", node.now() + _LAST_ANSWERS_S, self._activate)
                case event:
                    node.note(event)
        self._arm()

    def _activate(self) -> None:
        self.banks.request_trial()
        self._ppmid.reboot()

    def _found(self, endpoints: tuple[int, ...]) -> None:
        if self._ppmid.ota is not self:  # asked before a reboot
            return
        now = self._ppmid.now()
        if not endpoints:
            self._carry_out(self.client.server_not_found(now))
            return
        self._endpoint = endpoints[0]
        self._ppmid.note(events.ServerFound(self._endpoint))
        self._carry_out(self.client.server_found(now))
        self._ppmid.settled()

    def _arm(self) -> None:
        """One timer. A deadline that moves later, as it does with every block, is looked at again when it fires."""
        deadline = self.client.deadline
        if deadline is None or (self._armed_for is not None and self._armed_for <= deadline):
            return
        self._armed_for = deadline
        self._ppmid.at("ota", deadline, self._due)

    def _due(self) -> None:
        self._armed_for = None
        self._carry_out(self.client.handle_deadline(self._ppmid.now()))
        self._ppmid.settled()


class TunnelCluster:
    """The shell of `TunnelServer`, and what goes through it."""

    from_server = False

    def __init__(self, ppmid: Ppmid, alerts: ActivationAlerts, banks: ImageBanks) -> None:
        settings = ppmid.ppmid_settings
        self.server = tunnel_server.TunnelServer(
            ppmid.random.randrange(0xFFFF),
            ppmid.next_sequence,
            retry_s=settings.alert_retry_s,
            retry_max_s=settings.alert_retry_max_s,
        )
        self._ppmid = ppmid
        self._alerts = alerts
        self._banks = banks
        self._sending = False

    def serve_outbox(self) -> None:
        """Make the alert that is due, once the time is known or cannot be had, and see that one is being sent."""
        node = self._ppmid
        outcome = self._banks.outcome()
        now = node.now()
        if outcome is not None and (node.time.known(now) is not None or node.time.given_up):
            made = self._alerts.make(outcome, node.time.best(now))
            if made is not None:
                node.note(made)
        message = self._alerts.waiting()
        if message is not None and not self._sending:
            self._sending = True
            self._carry_out(self.server.send(message, now))

    def attributes(self) -> tuple[zcl.Attribute, ...]:
        return (zcl.Attribute(tunneling.CLOSE_TUNNEL_TIMEOUT, DataType.UINT16, tunnel_server.CLOSE_TIMEOUT_S),)

    def receive(self, frame: ZclFrame, indication: ApsIndication) -> int | None:
        peer = tunnel_server.Peer(indication.source, indication.source_endpoint)
        status, effects = self.server.receive(frame, peer, self._ppmid.now())
        self._carry_out(effects)
        return status

    def receive_general(self, frame: ZclFrame, indication: ApsIndication) -> None:
        del indication
        if frame.command == General.DEFAULT_RESPONSE:
            response = zcl.DefaultResponse.from_bytes(frame.payload)
            self._carry_out(self.server.receive_default_response(frame.sequence, response))

    def _carry_out(self, effects: list[tunnel_server.TunnelEffect]) -> None:
        node = self._ppmid
        for effect in effects:
            match effect:
                case tunnel_server.Outbound(peer, frame):
                    node.send(tunneling.CLUSTER, peer.address, peer.endpoint, frame.to_bytes())
                case tunnel_server.Opened(tunnel_id):
                    node.note(events.TunnelOpened(tunnel_id))
                case tunnel_server.Arrived(message):
                    node.note(events.MessageReceived(message))
                case tunnel_server.Sent(attempt):
                    node.note(events.AlertSent(attempt))
                case tunnel_server.Taken(message):
                    self._alerts.taken(message)
                    node.note(events.AlertTaken(message))
                    self._sending = False
                    self.serve_outbox()
                case _:
                    assert_never(effect)
        node.at("tunnel", self.server.deadline, self._due)

    def _due(self) -> None:
        self._carry_out(self.server.handle_deadline(self._ppmid.now()))
        self._ppmid.settled()
