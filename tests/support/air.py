"""A whole network in memory: a coordinator, its key table, devices, and a record of everything that was said."""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from devices.medium.medium import Medium, MediumSettings
from devices.stack.aps_layer import ApsLayer
from devices.stack.coordinator import ZigbeeCoordinator
from devices.stack.end_device import EndDevice
from devices.stack.interface import (
    ApsIndication,
    ApsRequest,
    ApsStatus,
    Endpoint,
    Eui64,
    JoinKind,
    LinkKey,
    NetworkState,
    NwkAddress,
)
from devices.stack.node import ZigbeeNode
from devices.stack.nwk_layer import NwkLayer, is_broadcast
from devices.time import EventQueue

COORDINATOR_IEEE = Eui64(0x00124B0000000001)
DEVICE_IEEE = Eui64(0x00124B00000000D1)
NETWORK_KEY = bytes(range(0x10, 0x20))
LINK_KEY = bytes(range(0xA0, 0xB0))
SMART_ENERGY = 0x0109
OTA = 0x0019
CHANNEL = 15


@dataclass
class KeyTable:
    """One link key per device, for joining and for data."""

    keys: dict[Eui64, LinkKey] = field(default_factory=dict)
    offered: dict[Eui64, LinkKey] = field(default_factory=dict)

    def for_data(self, partner: Eui64) -> LinkKey | None:
        return self.keys.get(partner)

    def offer(self, partner: Eui64) -> LinkKey | None:
        return self.offered.get(partner)

    def accept(self, partner: Eui64, key: LinkKey) -> None:
        self.keys[partner] = key

    def for_join(self, partner: Eui64, *, rejoining: bool = False) -> LinkKey | None:
        return self.keys.get(partner)


@dataclass
class CoordinatorLog:
    """A co-processor that only writes down what it is told."""

    ups: int = 0
    downs: int = 0
    messages: list[ApsIndication] = field(default_factory=list)
    joins: list[tuple[Eui64, NwkAddress, JoinKind]] = field(default_factory=list)
    refusals: list[tuple[Eui64, str]] = field(default_factory=list)
    leaves: list[Eui64] = field(default_factory=list)
    gone: list[Eui64] = field(default_factory=list)  # from the child table, for whatever reason
    on_message: Callable[[ApsIndication], None] | None = None

    def network_up(self) -> None:
        self.ups += 1

    def network_down(self) -> None:
        self.downs += 1

    def message_received(self, indication: ApsIndication) -> None:
        self.messages.append(indication)
        if self.on_message is not None:
            self.on_message(indication)

    def device_joined(self, ieee: Eui64, address: NwkAddress, kind: JoinKind) -> None:
        self.joins.append((ieee, address, kind))

    def join_refused(self, ieee: Eui64, reason: str, _kind: JoinKind) -> None:
        self.refusals.append((ieee, reason))

    def device_left(self, ieee: Eui64, address: NwkAddress) -> None:
        self.leaves.append(ieee)

    def child_gone(self, ieee: Eui64, address: NwkAddress) -> None:
        self.gone.append(ieee)

    def data(self) -> list[ApsIndication]:
        """Without the device profile."""
        return [message for message in self.messages if message.profile]


@dataclass
class DeviceLog:
    joins: list[bool] = field(default_factory=list)  # whether it was a rejoin
    lefts: int = 0
    failures: list[str] = field(default_factory=list)
    messages: list[ApsIndication] = field(default_factory=list)
    on_message: Callable[[ApsIndication], None] | None = None

    def joined(self, address: NwkAddress, *, rejoined: bool) -> None:
        self.joins.append(rejoined)

    def left(self) -> None:
        self.lefts += 1

    def join_failed(self, reason: str) -> None:
        self.failures.append(reason)

    def message_received(self, indication: ApsIndication) -> None:
        self.messages.append(indication)
        if self.on_message is not None:
            self.on_message(indication)


class Air:
    """`Air(settings, seed=1, host_fragments=False)`: the network is formed; `add_device` and `join` bring devices."""

    def __init__(self, settings: MediumSettings | None = None, seed: int = 1, *, host_fragments: bool = False) -> None:
        self.queue = EventQueue()
        self.random = Random(seed)
        self.medium = Medium(self.queue, self.random, settings)
        self.frames: list[tuple[float, int, float, bytes]] = []
        self.medium.taps.append(lambda *frame: self.frames.append(frame))
        self.keys = KeyTable()
        self.log = CoordinatorLog()
        self.coordinator = ZigbeeCoordinator(
            COORDINATOR_IEEE,
            self.medium,
            self.queue,
            self.random,
            link_keys=self.keys,
            listener=self.log,
            host_fragments=host_fragments,
        )
        self.coordinator.endpoints[3] = Endpoint(3, SMART_ENERGY, 0x0500, server_clusters=(OTA, 0x000A, 0x0704))
        self.coordinator.form(NetworkState(CHANNEL, 0x1A62, 0x00124B00000000AA, NETWORK_KEY))
        self.run(0.1)

    def run(self, seconds: float) -> None:
        self.queue.run_until(self.queue.now + seconds)

    def run_until(self, condition: Callable[[], object], seconds: float = 60.0) -> None:
        """Jump from event to event until it holds."""
        end = self.queue.now + seconds
        while not condition():
            due = self.queue.next_due()
            assert due is not None, "it never came true"
            assert due <= end, "it never came true in time"
            self.queue.run_until(due)

    def send(self, request: ApsRequest, sender: ZigbeeNode | None = None, *, seconds: float = 0.1) -> list[ApsStatus]:
        """By the coordinator, unless another is the sender. What it was told so much later."""
        confirms: list[ApsStatus] = []
        (sender or self.coordinator).send(request, confirms.append)
        self.run(seconds)
        return confirms

    # Below the services of a node: what only a frame of its own, or a look into a layer, can show

    @staticmethod
    def nwk(node: ZigbeeNode) -> NwkLayer:
        """`heard` takes any octets."""
        return node._nwk

    @staticmethod
    def aps(node: ZigbeeNode) -> ApsLayer:
        return node._aps

    @staticmethod
    def inject(
        node: ZigbeeNode, destination: int, payload: bytes, *, command: bool = False, secured: bool = True
    ) -> None:
        """A network frame in this node's name, under its own security."""
        layer = Air.nwk(node)
        layer.emit(layer.frame(NwkAddress(destination), payload, command=command, secured=secured), destination)

    @staticmethod
    def send_zdp(node: ZigbeeNode, destination: int, cluster: int, body: bytes, sequence: int = 1) -> None:
        """A question or an answer of the device profile."""
        to = NwkAddress(destination)
        acknowledged = not is_broadcast(to)
        node.send(ApsRequest(to, 0x0000, cluster, 0, 0, bytes([sequence]) + body, acknowledged=acknowledged))

    def asked(self, log, asker: ZigbeeNode, destination: int, cluster: int, question: bytes, sequence: int) -> bytes:
        """What the one answer says to the asker, whose log that is."""
        log.messages.clear()
        self.send_zdp(asker, destination, cluster, question, sequence)
        self.run(0.1)
        (response,) = log.messages
        assert response.cluster == cluster | 0x8000
        return response.payload

    def add_device(self, ieee: Eui64 = DEVICE_IEEE, *, known: bool = True, **options) -> tuple[EndDevice, DeviceLog]:
        log = DeviceLog()
        device = EndDevice(
            ieee, LINK_KEY, self.medium, self.queue, self.random, listener=log, channels=(11, CHANNEL), **options
        )
        device.endpoints[7] = Endpoint(7, SMART_ENERGY, 0x0502, client_clusters=(OTA,))
        if known:
            self.keys.keys[ieee] = LinkKey(LINK_KEY)
        return device, log

    def join(self, ieee: Eui64 = DEVICE_IEEE, **options) -> tuple[EndDevice, DeviceLog]:
        device, log = self.add_device(ieee, **options)
        self.coordinator.permit(60)
        device.join()
        self.run_until(lambda: device.joined)
        self.run(1.0)
        return device, log


class Deaf:
    """A node that hears nothing until `hears_again`."""

    def __init__(self, node: ZigbeeNode) -> None:
        radio = Air.nwk(node).radio
        self._hear, self._deaf = radio._receive, True
        radio._receive = lambda *frame: None if self._deaf else self._hear(*frame)

    def hears_again(self) -> None:
        self._deaf = False


def on_air(**options) -> tuple[Air, EndDevice, DeviceLog]:
    """One device that has joined."""
    air = Air()
    return air, *air.join(**options)


def to_device(device: EndDevice, payload: bytes, **options) -> ApsRequest:
    return ApsRequest(device.address, SMART_ENERGY, OTA, 3, 7, payload, secured=True)._replace(**options)


def to_hub(payload: bytes, **options) -> ApsRequest:
    return ApsRequest(NwkAddress(0), SMART_ENERGY, OTA, 7, 3, payload, secured=True)._replace(**options)


class Confirms(list[ApsStatus]):
    """Pass `.append` as confirm."""
