"""An end device in memory that keeps what it hears, for tests of a co-processor."""

from random import Random
from typing import Any, Protocol

from devices.medium.medium import Medium
from devices.stack.end_device import EndDevice
from devices.stack.interface import ApsIndication, Endpoint, Eui64, NwkAddress
from devices.time import EventQueue


class World(Protocol):
    medium: Medium
    queue: EventQueue


class HeardDevice:
    def __init__(self, world: World, ieee: Eui64, key: bytes, endpoint: int, **options: Any) -> None:
        self.received: list[ApsIndication] = []
        self.failures: list[str] = []
        self.stack = EndDevice(ieee, key, world.medium, world.queue, Random(9), listener=self, **options)
        self.stack.endpoints[endpoint] = Endpoint(endpoint, 0x0109, 0x0502, client_clusters=(0x0019,))

    def joined(self, address: NwkAddress, *, rejoined: bool) -> None: ...
    def left(self) -> None: ...

    def join_failed(self, reason: str) -> None:
        self.failures.append(reason)

    def message_received(self, indication: ApsIndication) -> None:
        self.received.append(indication)
