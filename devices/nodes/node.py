"""What every emulated device does, whatever it is: its endpoint, ZCL manners, APS security, power and timers.

A device is a `Node` with a set of `Cluster`s. This class decides which frame reaches a cluster and answers what the
standard asks of all of them: Default Responses, Read Attributes, refusals. It knows nothing of firmware.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from devices.nodes import events
from devices.nodes.flash import PowerLostError
from devices.stack.interface import ApsRequest, Endpoint, NwkAddress
from devices.wire import ota, time_cluster, tunneling, zcl
from devices.wire.errors import MalformedFrameError
from devices.wire.zcl import General, Status, ZclFrame

if TYPE_CHECKING:
    from collections.abc import Callable

    from devices.nodes.events import NodeEvent, NodeListener
    from devices.nodes.settings import DeviceSettings
    from devices.stack.interface import ApsIndication, DeviceStack
    from devices.time import Scheduler, Timer

BASIC = 0x0000
METERING = 0x0702
IN_HOME_DISPLAY = 0x0502  # the SE device id of an in-premises display

LINK_KEY_CLUSTERS = frozenset({ota.CLUSTER, time_cluster.CLUSTER, tunneling.CLUSTER, METERING})  # SE 5.4.6
_FIRST_BROADCAST = 0xFFF8
_ANY_ENDPOINT = 0xFF


def is_unicast(indication: ApsIndication) -> bool:
    return indication.destination < _FIRST_BROADCAST and indication.group is None


class Cluster(Protocol):
    """One side of one cluster on the device's endpoint."""

    from_server: bool  # the direction bit of the commands that it takes

    def attributes(self) -> tuple[zcl.Attribute, ...]: ...

    def receive(self, frame: ZclFrame, indication: ApsIndication) -> int | None:
        """Take a cluster command; the status of its Default Response, None where a response was sent instead."""
        ...

    def receive_general(self, frame: ZclFrame, indication: ApsIndication) -> None:
        """Take an answer to something that this side sent: Default Response, Read Attributes Response."""
        ...


class Node:
    """A powered or unpowered device on its stack; a `DeviceListener`."""

    def __init__(
        self, stack: DeviceStack, scheduler: Scheduler, settings: DeviceSettings, listener: NodeListener
    ) -> None:
        self.stack = stack
        self.settings = settings
        self.powered = False
        self.clusters: dict[int, Cluster] = {}
        self.unsecured_refused = 0
        self._scheduler = scheduler
        self._listener = listener
        self._sequence = 0
        self._timers: dict[str, Timer] = {}

    def declare_endpoint(self, server_clusters: tuple[int, ...], client_clusters: tuple[int, ...]) -> None:
        number, profile = self.settings.endpoint, self.settings.profile
        self.stack.endpoints[number] = Endpoint(
            number, profile, IN_HOME_DISPLAY, server_clusters=server_clusters, client_clusters=client_clusters
        )

    def note(self, event: NodeEvent) -> None:
        self._listener.happened(self.settings.eui64, event)

    def next_sequence(self) -> int:
        self._sequence = (self._sequence + 1) & 0xFF
        return self._sequence

    # Power and time.

    def powered_run(self, work: Callable[[], None]) -> None:
        """Everything that a device does comes through here: not without power, and no further once it is cut."""
        if not self.powered:
            return
        try:
            work()
        except PowerLostError:
            self.power_off()
            self.note(events.PowerLost())

    def power_off(self) -> None:
        self.powered = False
        self.forget_timers()
        self.stack.power_off()

    def forget_timers(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def at(self, name: str, when: float | None, work: Callable[[], None]) -> None:
        """Run `work` at `when`, in place of what was set under this name; None only takes that back."""
        timer = self._timers.pop(name, None)
        if timer is not None:
            timer.cancel()
        if when is not None:
            self._timers[name] = self._scheduler.call_at(when, lambda: self.powered_run(work))

    def at_power_off(self, name: str, when: float, work: Callable[[], None]) -> None:
        """Run `work` although the device is off: it stands for the world outside, such as a power supply."""
        self._timers[name] = self._scheduler.call_at(when, work)

    # Frames.

    def send(
        self, cluster: int, destination: NwkAddress, endpoint: int, octets: bytes, *, secured: bool | None = None
    ) -> None:
        """Send one ZCL frame; without `secured`, under the link key where the cluster wants it."""
        if secured is None:
            secured = self.settings.aps_security_required and cluster in LINK_KEY_CLUSTERS
        self.stack.send(
            ApsRequest(
                destination,
                self.settings.profile,
                cluster,
                self.settings.endpoint,
                endpoint,
                octets,
                secured=secured,
            )
        )

    def message_received(self, indication: ApsIndication) -> None:
        self.powered_run(lambda: self._receive(indication))

    def _receive(self, indication: ApsIndication) -> None:
        settings = self.settings
        if indication.profile != settings.profile:
            return
        if indication.destination_endpoint not in {settings.endpoint, _ANY_ENDPOINT}:
            return
        try:
            frame = ZclFrame.from_bytes(indication.payload)
        except MalformedFrameError:
            return
        unicast = is_unicast(indication)
        if not self.is_protected(indication) and self._security_demanded(frame, indication.cluster, unicast=unicast):
            self.unsecured_refused += 1
            self.note(events.UnsecuredRefused(indication.cluster, self.unsecured_refused))
            if unicast:
                self._default_response(frame, indication, Status.FAILURE, secured=False)
            return
        cluster = self.clusters.get(indication.cluster)
        try:
            if cluster is None:
                status: int | None = Status.UNSUPPORTED_CLUSTER
            elif frame.cluster_specific:
                status = self._cluster_command(cluster, frame, indication)
            else:
                status = self._general_command(cluster, frame, indication)
        except MalformedFrameError:
            status = Status.MALFORMED_COMMAND
        # ZCL8 2.5.12.2: the disable bit silences success only.
        if unicast and status is not None and not (status == Status.SUCCESS and frame.disable_default_response):
            self._default_response(frame, indication, status)
        self.settled()

    def settled(self) -> None:
        """Called after every frame, for timers that may have moved."""

    def is_protected(self, indication: ApsIndication) -> bool:
        """Whether a frame came under a link key that is good for everything."""
        return indication.secured

    def _security_demanded(self, frame: ZclFrame, cluster: int, *, unicast: bool) -> bool:
        if not self.settings.aps_security_required or cluster not in LINK_KEY_CLUSTERS:
            return False
        notify = cluster == ota.CLUSTER and frame.cluster_specific and frame.command == ota.Command.IMAGE_NOTIFY
        return unicast or not notify

    def _cluster_command(self, cluster: Cluster, frame: ZclFrame, indication: ApsIndication) -> int | None:
        if frame.manufacturer is not None:
            return Status.UNSUP_MANUF_CLUSTER_COMMAND
        if frame.from_server != cluster.from_server:
            return Status.UNSUP_CLUSTER_COMMAND
        return cluster.receive(frame, indication)

    def _general_command(self, cluster: Cluster, frame: ZclFrame, indication: ApsIndication) -> int | None:
        match frame.command:
            case General.READ_ATTRIBUTES:
                # Hosts of the home-automation kind ask either side of a cluster; on Smart Energy the side must be ours.
                if self.settings.aps_security_required and frame.from_server != cluster.from_server:
                    return Status.UNSUPPORTED_CLUSTER
                self._read_attributes(cluster, frame, indication)
                return None
            case General.DEFAULT_RESPONSE | General.READ_ATTRIBUTES_RESPONSE:
                try:
                    cluster.receive_general(frame, indication)
                except MalformedFrameError:
                    return None  # an answer is never answered
                return None
            case _:
                return Status.UNSUP_GENERAL_COMMAND

    def _read_attributes(self, cluster: Cluster, frame: ZclFrame, indication: ApsIndication) -> None:
        """Answer in one frame, as many of the attributes as it takes."""
        known = {} if frame.manufacturer is not None else {each.identifier: each for each in cluster.attributes()}
        room = self.stack.maximum_payload(secured=indication.secured) - 5
        records = b""
        for identifier in zcl.parse_read_attributes(frame.payload):
            record = zcl.attribute_record(identifier, known.get(identifier))
            if len(records) + len(record) > room:
                break
            records += record
        answer = ZclFrame(
            frame.sequence,
            General.READ_ATTRIBUTES_RESPONSE,
            records,
            cluster_specific=False,
            from_server=not frame.from_server,
            disable_default_response=True,
            manufacturer=frame.manufacturer,
        )
        self._reply(indication, answer, secured=indication.secured)

    def _default_response(
        self, frame: ZclFrame, indication: ApsIndication, status: int, *, secured: bool | None = None
    ) -> None:
        if frame.cluster_specific or frame.command != General.DEFAULT_RESPONSE:
            self._reply(
                indication,
                frame.default_response(status),
                secured=indication.secured if secured is None else secured,
            )

    def _reply(self, indication: ApsIndication, frame: ZclFrame, *, secured: bool) -> None:
        """Under the protection that the request had."""
        self.send(indication.cluster, indication.source, indication.source_endpoint, frame.to_bytes(), secured=secured)
