"""A `RadioListener` that remembers, for tests to wait on; and what a `Traffic` has around it, without a link."""

import asyncio
from collections.abc import Callable

from chf.clock import Instant
from chf.eui64 import Eui64
from chf.radio.interface import Delivery, Inbound, Outbound, RadioState, Urgency
from chf.radio.traffic import Addresses, OutgoingFrame, Surroundings

LIMIT_S = 60.0


class RecordingListener:
    def __init__(self) -> None:
        self.received: list[Inbound] = []
        self.sent: list[tuple[Outbound, Delivery]] = []
        self.joined: list[tuple[Eui64, int]] = []
        self.left: list[Eui64] = []
        self.states: list[tuple[RadioState, str]] = []
        self.order: list[str] = []
        self._news = asyncio.Event()

    def message_received(self, message: Inbound) -> None:
        self._record("received", self.received, message)

    def message_sent(self, message: Outbound, delivery: Delivery) -> None:
        self._record("sent", self.sent, (message, delivery))

    def device_joined(self, device: Eui64, network_address: int) -> None:
        self._record("joined", self.joined, (device, network_address))

    def device_left(self, device: Eui64) -> None:
        self._record("left", self.left, device)

    def radio_state_changed(self, state: RadioState, reason: str) -> None:
        self._record(state.name, self.states, (state, reason))

    def fates(self) -> list[Delivery]:
        return [delivery for _, delivery in self.sent]

    def state_names(self) -> list[str]:
        return [state.name for state, _ in self.states]

    async def until(self, condition: Callable[[], bool], limit_s: float = LIMIT_S) -> None:
        """Wait for the condition, looking whenever something is told."""
        async with asyncio.timeout(limit_s):
            while not condition():
                self._news.clear()
                await self._news.wait()

    def _record(self, what, where, value) -> None:
        self.order.append(what)
        where.append(value)
        self._news.set()


class RecordingQueries:
    """The `DongleQueries` of a `Traffic` that has no link: what it asked for, in order."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    def locate(self, device: Eui64) -> None:
        self.asked.append(("locate", device))

    def identify(self, network_address: int) -> None:
        self.asked.append(("identify", network_address))

    def extend_timeout(self, device: Eui64, network_address: int) -> None:
        del network_address
        self.asked.append(("extend", device))

    def announced(self, device: Eui64, network_address: int) -> None:
        del network_address
        self.asked.append(("announced", device))

    def zdp_response(self, cluster: int, sender: int, frame: bytes) -> None:
        del sender, frame
        self.asked.append(("zdp", cluster))


class TrafficRig:
    """A link's messages, whose time and fates the test holds. A is at 0x1001 and B at 0x1002."""

    A, B = Eui64(0xA1), Eui64(0xB2)

    def __init__(self, make: Callable) -> None:
        self.time = 0.0
        self.timers: list[tuple[float, Callable]] = []
        self.listener, self.queries, self.addresses = RecordingListener(), RecordingQueries(), Addresses()
        self.fates: list[Delivery] = []
        self.traffic = make(
            Surroundings(
                listener=self.listener,
                addresses=self.addresses,
                queries=self.queries,
                now=lambda: Instant(self.time),
                wake=lambda: None,
                call_later=lambda delay_s, call: self.timers.append((self.time + delay_s, call)),
            )
        )
        self.addresses.learn(self.A, 0x1001)
        self.addresses.learn(self.B, 0x1002)

    def post(self, device=A, payload=b"hello", urgency=Urgency.NORMAL, profile=0x0109) -> None:
        self.traffic.post(OutgoingFrame(device, profile, 0x19, 11, 3, payload, urgency, True, True, self.fates.append))

    def pass_time(self, seconds: float) -> None:
        self.time += seconds
        due, self.timers = [t for t in self.timers if t[0] <= self.time], [t for t in self.timers if t[0] > self.time]
        for _, call in due:
            call()
