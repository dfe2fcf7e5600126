"""An emulated device: a stack, power, timers, and the clusters that its kind is made of.

It decides which frame reaches a cluster, answers what the standard asks of every device (Default Responses, Read
Attributes, refusals), and carries out what clusters want, in one place. What the clusters are is `kinds`' business; a
device knows of firmware only that it boots, and of key establishment only that other clusters wait for the key.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING

from devices.nodes import events
from devices.nodes.cluster import Clock, Discover, Restart, Send, Signal, TakeLinkKey, is_unicast
from devices.nodes.clusters import METERING
from devices.nodes.flash import PowerLostError
from devices.stack.interface import COORDINATOR, ApsRequest, Endpoint
from devices.wire import key_establishment, ota, time_cluster, tunneling, zcl
from devices.wire.errors import MalformedFrameError
from devices.wire.zcl import General, Status, ZclFrame

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from devices.nodes.cluster import Cluster, Effects
    from devices.nodes.firmware import Firmware
    from devices.nodes.settings import DeviceSettings
    from devices.stack.interface import ApsIndication, DeviceStack, NwkAddress
    from devices.time import Scheduler, Timer

_IN_HOME_DISPLAY = 0x0502  # the device id of an in-premises display in the Smart Energy profile; our choice for all
_LINK_KEY_CLUSTERS = frozenset({ota.CLUSTER, time_cluster.CLUSTER, tunneling.CLUSTER, METERING})  # SE 5.4.6
_ANY_ENDPOINT = 0xFF  # Zigbee R22: the broadcast endpoint
_READ_RESPONSE_HEADER_BYTES = 5  # ZCL8 2.4.1, with a manufacturer code
_LAST_ANSWERS_S = 0.1  # our choice: what is under way leaves before a restart


@dataclass(frozen=True, slots=True)
class Parts:
    """What a device hands its clusters at each boot. `firmware` is None for one that takes none."""

    random: Random
    clock: Clock
    next_sequence: Callable[[], int]
    firmware: Firmware | None


class Device:
    """A `DeviceListener`: give it to its stack, then `power_on`. What must survive a reboot is in flash.

    `compose` is called at each boot and makes the clusters, by their id; they are started in that order.
    """

    def __init__(
        self,
        stack: DeviceStack,
        scheduler: Scheduler,
        random: Random,
        settings: DeviceSettings,
        compose: Callable[[Parts], dict[int, Cluster]],
        *,
        listener: events.NodeListener,
        firmware: Firmware | None = None,
    ) -> None:
        self.stack = stack
        self.settings = settings
        self.firmware = firmware
        self.powered = False
        self.clock = Clock(settings.clock_at_start)
        self.clusters: dict[int, Cluster] = {}
        self.unsecured_refused = 0
        self._scheduler = scheduler
        self._random = random
        self._compose = compose
        self._listener = listener
        self._next_sequence = cycle(range(256)).__next__
        self._timers: dict[int | str, tuple[float, Timer]] = {}
        self._poll_interval_s: float | None = None  # as the stack has it; a stack starts with its receiver on

    def file_version(self) -> int | None:
        """The version that runs; None for a device without firmware, or one that was never switched on."""
        return None if self.firmware is None else self.firmware.version

    # Power

    def power_on(self) -> None:
        """Boot, and look for the network."""
        if self.powered:
            return
        self.powered = True
        self._run(self._boot)

    def reboot(self) -> None:
        """Off at once, on again after `reboot_s` unless somebody switches it on, or off, before."""
        self.power_off()
        self._call_at("power", self._scheduler.now + self.settings.reboot_s, self.power_on)

    def power_off(self) -> None:
        self.powered = False
        for name in tuple(self._timers):
            self._cancel(name)
        self.stack.power_off()

    def _boot(self) -> None:
        booted = None
        if self.firmware is not None:
            booted = self.firmware.boot()
            if booted is None:
                self.reboot()
                return
        self.clock = Clock(self.settings.clock_at_start)
        self.clusters = self._compose(Parts(self._random, self.clock, self._next_sequence, self.firmware))
        self.stack.endpoints[self.settings.endpoint] = Endpoint(
            self.settings.endpoint,
            self.settings.profile,
            _IN_HOME_DISPLAY,
            server_clusters=tuple(each for each, cluster in self.clusters.items() if not cluster.from_server),
            client_clusters=tuple(each for each, cluster in self.clusters.items() if cluster.from_server),
        )
        if booted is not None:
            self._note(booted)
        self._poll_at(self.settings.poll_interval_s)
        self.stack.power_on()

    def _run(self, work: Callable[..., None], *arguments: object) -> None:
        """Everything that a device does comes through here: not without power, and no further once it is cut."""
        if not self.powered:
            return
        try:
            work(*arguments)
        except PowerLostError:
            self.power_off()
            self._note(events.PowerLost())
        if self.settings.poll_interval_s is not None and self.powered:
            expecting = any(cluster.expects_answer for cluster in self.clusters.values())
            self._poll_at(self.settings.fast_poll_interval_s if expecting else self.settings.poll_interval_s)

    def _poll_at(self, interval_s: float | None) -> None:
        if interval_s != self._poll_interval_s:
            self._poll_interval_s = interval_s
            self.stack.set_poll_interval(interval_s)

    # What the stack tells

    def joined(self, address: NwkAddress, *, rejoined: bool) -> None:
        self._run(self._joined, events.Joined(address, rejoined))

    def _joined(self, joined: events.Joined) -> None:
        self._note(joined)
        if key_establishment.CLUSTER in self.clusters and not self.stack.key_established:
            now = self._scheduler.now
            self._carry_out(key_establishment.CLUSTER, self.clusters[key_establishment.CLUSTER].start(now))
        else:
            self._operate()

    def _operate(self) -> None:
        """On the network, with the link key that the device lives with from here on."""
        for identifier, cluster in self.clusters.items():
            if identifier != key_establishment.CLUSTER:
                self._carry_out(identifier, cluster.start(self._scheduler.now))

    def left(self) -> None:
        self._run(self._left)

    def _left(self) -> None:
        self._note(events.Left())
        for identifier, cluster in self.clusters.items():
            cluster.stop()
            self._cancel(identifier)  # looked at again when the device is back, and the cluster was started

    def join_failed(self, reason: str) -> None:
        self._note(events.JoinFailed(reason))

    def message_received(self, indication: ApsIndication) -> None:
        self._run(self._receive, indication)

    # Frames

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
        if not self._is_protected(indication) and self._security_demanded(frame, indication):
            self.unsecured_refused += 1
            self._note(events.UnsecuredRefused(indication.cluster, self.unsecured_refused))
            if is_unicast(indication):
                self._default_response(frame, indication, Status.FAILURE, secured=False)
            return
        cluster = self.clusters.get(indication.cluster)
        try:
            if cluster is None:
                status: int | None = Status.UNSUPPORTED_CLUSTER
            elif not frame.cluster_specific:
                status = self._general_command(cluster, frame, indication)
            elif frame.manufacturer is not None:
                status = Status.UNSUP_MANUF_CLUSTER_COMMAND
            elif frame.from_server != cluster.from_server:
                status = Status.UNSUP_CLUSTER_COMMAND
            else:
                status, effects = cluster.receive(frame, indication, self._scheduler.now)
                self._carry_out(indication.cluster, effects)
        except MalformedFrameError:
            status = Status.MALFORMED_COMMAND
        # ZCL8 2.5.12.2: the disable bit silences success only.
        if status is None or (status == Status.SUCCESS and frame.disable_default_response):
            return
        if is_unicast(indication):
            self._default_response(frame, indication, status, secured=indication.secured)

    def _is_protected(self, indication: ApsIndication) -> bool:
        """A device with a certificate believes no link key but the one that it established."""
        return indication.secured and (key_establishment.CLUSTER not in self.clusters or self.stack.key_established)

    def _security_demanded(self, frame: ZclFrame, indication: ApsIndication) -> bool:
        cluster = indication.cluster
        if not self.settings.aps_security_required or cluster not in _LINK_KEY_CLUSTERS:
            return False
        notify = cluster == ota.CLUSTER and frame.cluster_specific and frame.command == ota.Command.IMAGE_NOTIFY
        return is_unicast(indication) or not notify

    def _general_command(self, cluster: Cluster, frame: ZclFrame, indication: ApsIndication) -> int | None:
        match frame.command:
            case General.READ_ATTRIBUTES:
                # Hosts of the home-automation kind ask either side of a cluster; on Smart Energy the side must be ours.
                if self.settings.aps_security_required and frame.from_server != cluster.from_server:
                    return Status.UNSUPPORTED_CLUSTER
                self._read_attributes(cluster, frame, indication)
            case General.DEFAULT_RESPONSE | General.READ_ATTRIBUTES_RESPONSE:
                # A device asks nobody but the hub, and an answer is never answered.
                if indication.source == COORDINATOR:
                    with suppress(MalformedFrameError):
                        self._carry_out(indication.cluster, self._answered(cluster, frame))
            case _:
                return Status.UNSUP_GENERAL_COMMAND
        return None

    def _answered(self, cluster: Cluster, frame: ZclFrame) -> Effects:
        now = self._scheduler.now
        if frame.command == General.READ_ATTRIBUTES_RESPONSE:
            return cluster.receive_attributes(frame.payload, now)
        return cluster.receive_default_response(frame.sequence, zcl.DefaultResponse.from_bytes(frame.payload), now)

    def _read_attributes(self, cluster: Cluster, frame: ZclFrame, indication: ApsIndication) -> None:
        """Answer in one frame, as many of the attributes as it takes."""
        known = {} if frame.manufacturer is not None else {each.identifier: each for each in cluster.attributes()}
        room = self.stack.maximum_payload(secured=indication.secured) - _READ_RESPONSE_HEADER_BYTES
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

    def _default_response(self, frame: ZclFrame, indication: ApsIndication, status: int, *, secured: bool) -> None:
        if frame.cluster_specific or frame.command != General.DEFAULT_RESPONSE:
            self._reply(indication, frame.default_response(status), secured=secured)

    def _reply(self, indication: ApsIndication, frame: ZclFrame, *, secured: bool) -> None:
        """Under the protection that the request had."""
        self._send(indication.cluster, Send(frame, indication.source_endpoint, indication.source, secured))

    def _send(self, cluster: int, wanted: Send) -> None:
        secured = wanted.secured
        if secured is None:
            secured = self.settings.aps_security_required and cluster in _LINK_KEY_CLUSTERS
        self.stack.send(
            ApsRequest(
                wanted.destination,
                self.settings.profile,
                cluster,
                self.settings.endpoint,
                wanted.endpoint,
                wanted.frame.to_bytes(),
                secured=secured,
            )
        )

    # What clusters want

    def _carry_out(self, identifier: int, effects: Effects) -> None:
        """Do what this cluster wants, and look at its deadline."""
        for effect in effects:
            match effect:
                case Send():
                    self._send(identifier, effect)
                case Discover():
                    self._discover(identifier)
                case Restart():
                    self._call_at("restart", self._scheduler.now + _LAST_ANSWERS_S, self._run, self.reboot)
                case TakeLinkKey(link_key):
                    self.stack.establish_link_key(link_key)
                    self._operate()
                case Signal():
                    for other, cluster in self.clusters.items():
                        self._carry_out(other, cluster.signalled(effect, self._scheduler.now))
                case event:
                    self._note(event)
        self._arm(identifier)

    def _discover(self, identifier: int) -> None:
        asking = self.clusters[identifier]

        def found(endpoints: tuple[int, ...]) -> None:
            if self.clusters[identifier] is asking:  # else it was asked before a reboot
                effects = asking.found(endpoints[0] if endpoints else None, self._scheduler.now)
                self._carry_out(identifier, effects)

        self.stack.match_descriptor(self.settings.profile, (identifier,), lambda endpoints: self._run(found, endpoints))

    def _arm(self, identifier: int) -> None:
        """One timer. A deadline that moves later, as it does with every block, is looked at again when it fires."""
        deadline = self.clusters[identifier].deadline
        armed = self._timers.get(identifier)
        if deadline is not None and (armed is None or deadline < armed[0]):
            self._call_at(identifier, deadline, self._run, self._due, identifier)

    def _due(self, identifier: int) -> None:
        del self._timers[identifier]
        cluster, now = self.clusters[identifier], self._scheduler.now
        reached = cluster.deadline is not None and now >= cluster.deadline
        self._carry_out(identifier, cluster.handle_deadline(now) if reached else [])

    def _call_at(self, name: int | str, when: float, work: Callable[..., None], *arguments: object) -> None:
        """In place of what was set under this name."""
        self._cancel(name)
        self._timers[name] = when, self._scheduler.call_at(when, lambda: work(*arguments))

    def _cancel(self, name: int | str) -> None:
        if name in self._timers:
            self._timers.pop(name)[1].cancel()

    def _note(self, event: events.NodeEvent) -> None:
        self._listener.happened(self.settings.eui64, event)
