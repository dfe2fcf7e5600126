"""A dongle on loopback TCP for tests of the radio adapters: a virtual co-processor over devices in memory.

There is no air: a message reaches its device at once and is confirmed when the test says. The test sees every message
that left the dongle, lets devices speak, join and leave, and pulls the plug. Runs in the test's own event loop.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from devices.ncp.ezsp.ash_frames import ResetCode
from devices.ncp.ezsp.coprocessor import EzspCoprocessor
from devices.ncp.ezsp.personality import Personality as EzspPersonality
from devices.ncp.sticks import V13
from devices.ncp.znp.commands import commands
from devices.ncp.znp.coprocessor import ZnpCoprocessor
from devices.ncp.znp.items import Item
from devices.ncp.znp.nvram import legacy
from devices.ncp.znp.personality import Personality as ZnpPersonality
from devices.ncp.znp.status import ZStatus
from devices.stack.interface import (
    COORDINATOR,
    ApsIndication,
    ApsRequest,
    ApsStatus,
    Confirm,
    CoordinatorListener,
    Endpoint,
    Eui64,
    Fragment,
    JoinKind,
    LinkKeys,
    NetworkState,
    NwkAddress,
)
from devices.time import EventQueue

Personality = EzspPersonality | ZnpPersonality

LIMIT_S = 60.0
DONGLE = Eui64(0x00_12_4B_00_01_02_03_04)
ANNOUNCE = 0x0013
NWK_ADDR_REQ = 0x0000
NODE_DESC_REQ = 0x0002
NODE_DESCRIPTOR = bytes.fromhex("00408f49105252 00412c520000")


@dataclass
class MemoryDevice:
    """One device in range. `confirms_after_s` None: it never acknowledges, and the dongle never says so."""

    ieee: Eui64
    address: int
    confirms_after_s: float | None = 0.0
    delivery: ApsStatus = ApsStatus.SUCCESS
    received: list[ApsRequest] = field(default_factory=list)
    on_message: Callable[[ApsRequest], None] = lambda request: None
    acknowledged_fragments: list[int] = field(default_factory=list)


class MemoryStack:
    """A `devices.stack.interface.Coordinator` without a radio."""

    def __init__(
        self, listener: CoordinatorListener, link_keys: LinkKeys, queue: EventQueue, ieee: Eui64 = DONGLE
    ) -> None:
        self.ieee = ieee
        self.address = COORDINATOR
        self.endpoints: dict[int, Endpoint] = {}
        self.network: NetworkState | None = None
        self.permitting_until = 0.0
        self.parent = SimpleNamespace(indirect=SimpleNamespace(persistence_s=7.68))
        self.trust_centre = SimpleNamespace(unsecured_rejoin_allowed=False)
        self.link_keys = link_keys
        self.devices: dict[int, MemoryDevice] = {}
        self.broadcasts: list[ApsRequest] = []
        self.permits: list[float] = []
        self.removed: list[Eui64] = []
        self.stopped = 0
        self._listener = listener
        self._queue = queue
        self._counter = 0

    def form(self, network: NetworkState) -> None:
        self.network = network
        self._queue.call_later(0, self._listener.network_up)

    def resume(self) -> bool:
        if self.network is None:
            return False
        self._queue.call_later(0, self._listener.network_up)
        return True

    def stop(self) -> None:
        self.stopped += 1

    def leave(self) -> None:
        self.network = None
        self._queue.call_later(0, self._listener.network_down)

    def permit(self, seconds: float) -> None:
        self.permits.append(seconds)
        self.permitting_until = self._queue.now + seconds

    @property
    def permitting(self) -> bool:
        return self._queue.now < self.permitting_until

    @property
    def network_frame_counter(self) -> int:
        return 0

    def maximum_payload(self, *, secured: bool) -> int:
        return 73 if secured else 82

    def energy(self, channel: int) -> int:
        return -90 + channel % 3

    def remove(self, ieee: Eui64) -> None:
        self.removed.append(ieee)

    def device(self, ieee: int) -> MemoryDevice | None:
        return next((device for device in self.devices.values() if device.ieee == ieee), None)

    def address_of(self, ieee: Eui64) -> NwkAddress | None:
        device = self.device(ieee)
        return None if device is None else NwkAddress(device.address)

    def parent_of(self, ieee: Eui64) -> NwkAddress:
        return COORDINATOR

    def ieee_of(self, address: NwkAddress) -> Eui64 | None:
        device = self.devices.get(address)
        return None if device is None else device.ieee

    def acknowledge_fragments(self, indication: ApsIndication) -> None:
        assert indication.fragment is not None
        self.devices[indication.source].acknowledged_fragments.append(indication.fragment.index)

    def send(self, request: ApsRequest, confirm: Confirm | None = None) -> int:
        if request.counter is None:
            self._counter = (self._counter + 1) % 256
        counter = self._counter if request.counter is None else request.counter
        if request.destination == COORDINATOR:
            self._queue.call_later(0, lambda: self._answer_own_zdo(request))
        device = self.devices.get(request.destination)
        if device is None:
            self.broadcasts.append(request)
            self._queue.call_later(0, lambda: self._answer_search(request))
            self._confirm(confirm, 0.0, ApsStatus.SUCCESS)
            return counter
        device.received.append(request)
        if device.delivery is ApsStatus.SUCCESS:
            self._queue.call_later(0, lambda: device.on_message(request))
        if device.confirms_after_s is not None:
            self._confirm(confirm, device.confirms_after_s, device.delivery)
        return counter

    def _answer_search(self, request: ApsRequest) -> None:
        """A device that is asked for by its EUI-64 answers."""
        asked = Eui64(int.from_bytes(request.payload[1:9], "little"))
        device = self.device(asked) if request.profile == 0 and request.cluster == NWK_ADDR_REQ else None
        if device is not None:
            found = asked.to_bytes(8, "little") + device.address.to_bytes(2, "little")
            self._answer(request, NwkAddress(device.address), device.ieee, found)

    def _answer_own_zdo(self, request: ApsRequest) -> None:
        """Hosts ask the dongle for its node descriptor while they start."""
        if request.cluster == NODE_DESC_REQ:
            self._answer(request, COORDINATOR, self.ieee, b"\x00\x00" + NODE_DESCRIPTOR)

    def _answer(self, request: ApsRequest, source: NwkAddress, ieee: Eui64, payload: bytes) -> None:
        """A response of the device object that says success."""
        told, cluster = request.payload[:1] + b"\0" + payload, request.cluster | 0x8000
        answer = ApsIndication(source, ieee, COORDINATOR, 0, cluster, 0, 0, told, counter=1, secured=False)
        self._listener.message_received(answer)

    def _confirm(self, confirm: Confirm | None, delay_s: float, status: ApsStatus) -> None:
        if confirm is not None:
            self._queue.call_later(delay_s, lambda: confirm(status))


class Noise:
    """A cable that now and then changes a bit of what the dongle says."""

    def __init__(self, chance: float) -> None:
        self.chance, self.hits = chance, 0
        self._random = random.Random(7)

    def __call__(self, octets: bytes) -> bytes:
        if self._random.random() > self.chance:
            return octets
        self.hits += 1
        place = self._random.randrange(len(octets))
        return octets[:place] + bytes((octets[place] ^ 0x20,)) + octets[place + 1 :]


class Loses:
    """A cable on which one word is lost, the first time that the dongle says it, or the first times."""

    def __init__(self, word: bytes, times: int = 1) -> None:
        self.word, self.times, self.lost = word, times, 0

    def __call__(self, octets: bytes) -> bytes:
        if self.word not in octets or self.lost == self.times:
            return octets
        self.lost += 1
        return octets.replace(self.word, b"")


class Dongle:
    """The served co-processor, as a test holds it."""

    def __init__(self, personality: Personality = V13) -> None:
        self._queue = EventQueue(asyncio.get_running_loop().time())
        self._random = random.Random(1)
        self._stacks: list[MemoryStack] = []

        def make_stack(listener: CoordinatorListener, link_keys: LinkKeys, ieee: Eui64 = DONGLE) -> MemoryStack:
            stack = MemoryStack(listener, link_keys, self._queue, ieee)
            if self._stacks:
                stack.devices = self._stacks[-1].devices
            self._stacks.append(stack)
            return stack

        if isinstance(personality, ZnpPersonality):
            self.ncp = ZnpCoprocessor(make_stack, DONGLE, self._queue, self._random, personality)
        else:
            self.ncp = EzspCoprocessor(make_stack, DONGLE, self._queue, self._random, personality)
        self.mute = False  # takes what the host writes and answers nothing, as a hung dongle does
        self.line: Callable[[bytes], bytes] = lambda octets: octets  # what the cable makes of it
        self.port = ""
        self.connections = 0
        self._writer: asyncio.StreamWriter | None = None
        self._server: asyncio.Server | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._counter = 0
        self._whole: dict[int, Any] = {}
        self._news = asyncio.Event()

    @property
    def stack(self) -> MemoryStack:
        """The present one: a dongle that is given another address makes another."""
        return self._stacks[-1]

    def wipe(self) -> None:
        """No network, as from the factory."""
        if isinstance(self.ncp, ZnpCoprocessor):
            self.ncp.nvram.put(legacy(Item.STARTUP_OPTION), b"\x03")
            self.reboot()
        else:
            self.stack.network = None

    def swap(self) -> None:
        """Another stick, which has been on another network."""
        if isinstance(self.ncp, ZnpCoprocessor):
            self.wipe()
        else:
            assert self.stack.network is not None
            self.stack.network.pan_id ^= 1

    # What a co-processor is made to do wrong

    def lacks(self, *names: str) -> None:
        """A build of Z-Stack that was made without these commands, until it reboots; without names, whole again."""
        assert isinstance(self.ncp, ZnpCoprocessor)
        self._whole = self._whole or self.ncp._handlers
        missing = {commands()[name].id for name in names}
        self.ncp._handlers = {number: entry for number, entry in self._whole.items() if number not in missing}

    @property
    def held_messages(self) -> MutableMapping[int, bytes]:
        """Long ones, which wait until a host of Z-Stack fetches them."""
        assert isinstance(self.ncp, ZnpCoprocessor)
        return self.ncp._messaging._held

    def refuse_sends(self, status_of: Callable[[Any], ZStatus]) -> None:
        """Sending is answered with this status, and done where it is SUCCESS."""
        messaging = self.ncp._messaging
        send = messaging._send
        messaging._send = lambda request: status_of(request) or send(request)

    async def plug_in(self) -> None:
        host, _, port = self.port.removeprefix("tcp://").rpartition(":")
        self._server = await asyncio.start_server(self._serve, host or "127.0.0.1", int(port or 0))
        self.port = f"tcp://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def pull_out(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
        if self._writer is not None:
            self._writer.transport.abort()
            self._writer = None
        await asyncio.sleep(0)

    def cut(self) -> None:
        """The connection breaks; the dongle can be had again at once."""
        if self._writer is not None:
            self._writer.transport.abort()
            self._writer = None

    def reboot(self) -> None:
        """A watchdog bites."""
        self._catch_up()
        if isinstance(self.ncp, ZnpCoprocessor):
            self.ncp.reboot()
        else:
            self.ncp.reboot(ResetCode.WATCHDOG)
        self._flush()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self.connections += 1
        self._news.set()
        try:
            while octets := await reader.read(4096):
                self._catch_up()
                if not self.mute:
                    self.ncp.receive(octets)
                self._flush()
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for the condition, looking whenever the dongle did something."""
        async with asyncio.timeout(LIMIT_S):
            while not condition():
                self._news.clear()
                await self._news.wait()

    def _catch_up(self) -> None:
        self._queue.run_until(asyncio.get_running_loop().time())

    def _flush(self) -> None:
        self._catch_up()
        self._news.set()
        octets = self.ncp.data_to_send()
        if octets and self._writer is not None and not self._writer.is_closing() and not self.mute:
            self._writer.write(self.line(octets))
        due = [when for when in (self._queue.next_due(), self.ncp.deadline()) if when is not None]
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(min(due), self._timed) if due else None

    def _timed(self) -> None:
        self._catch_up()
        deadline = self.ncp.deadline()
        if deadline is not None and deadline <= self._queue.now:
            self.ncp.handle_deadline()
        self._flush()

    # What devices do

    def add(self, device: MemoryDevice) -> MemoryDevice:
        """A device that is on the network already."""
        self.stack.devices[device.address] = device
        return device

    def announces(self, device: MemoryDevice, capability: int = 0x8E) -> None:
        """Joined (0x8E: receiver always on, 0x80: sleepy) and tells everybody."""
        self.add(device)
        body = device.address.to_bytes(2, "little") + device.ieee.to_bytes(8, "little") + bytes((capability,))
        self.says(device, b"\x01" + body, cluster=ANNOUNCE, profile=0, endpoint=0, to_endpoint=0, secured=False)

    def joins(self, device: MemoryDevice, kind: JoinKind = JoinKind.ASSOCIATED) -> None:
        self.add(device)
        self._catch_up()
        self.ncp.device_joined(device.ieee, NwkAddress(device.address), kind)
        self._flush()

    def keeps_out(self, device: MemoryDevice, kind: JoinKind, *, ignored: bool) -> None:
        """By its policy: refused, or left without an answer."""
        self._catch_up()
        self.ncp.keys.policy.ignore_rejoins = ignored
        self.ncp.join_refused(device.ieee, "by policy", kind)
        self._flush()

    def leaves(self, device: MemoryDevice) -> None:
        del self.stack.devices[device.address]
        self._catch_up()
        self.ncp.device_left(device.ieee, NwkAddress(device.address))
        self._flush()

    def says(
        self,
        device: MemoryDevice,
        payload: bytes,
        *,
        cluster: int = 0x0019,
        profile: int = 0x0109,
        endpoint: int = 3,
        to_endpoint: int = 0x0B,
        secured: bool = True,
        fragment: Fragment | None = None,
        counter: int | None = None,
        destination: int = COORDINATOR,
    ) -> None:
        self._counter = (self._counter + 1) % 256
        self._catch_up()
        addresses = (NwkAddress(device.address), device.ieee, NwkAddress(destination))
        application = (profile, cluster, endpoint, to_endpoint, payload, self._counter if counter is None else counter)
        self.ncp.message_received(ApsIndication(*addresses, *application, secured, fragment=fragment))
        self._flush()


@asynccontextmanager
async def plugged_dongle(personality: Personality = V13) -> AsyncIterator[Dongle]:
    dongle = Dongle(personality)
    await dongle.plug_in()
    try:
        yield dongle
    finally:
        await dongle.pull_out()
