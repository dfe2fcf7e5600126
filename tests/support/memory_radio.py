"""A `Radio` in memory, and a hub on it: for what the hub decides by itself, without a dongle and without its waits.

It delivers what is posted unless it is told otherwise, keeps the order, and tells every fate in a later turn of the
event loop, as a dongle does.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from chf.clock import Clock, SystemClock
from chf.errors import NoNetworkError, RadioGoneError, TimedOutError
from chf.eui64 import Eui64, format_eui64, parse_eui64
from chf.hub import Hub, HubSettings
from chf.image.image import FirmwareImage
from chf.pki.gbcs import Pki, seeded_keys
from chf.radio.interface import (
    HUB_ENDPOINT,
    SMART_ENERGY_PROFILE,
    Delivery,
    Inbound,
    NetworkInfo,
    Outbound,
    RadioInfo,
    RadioListener,
    RadioState,
)
from chf.store import DeviceEntry, DeviceStatus, DeviceType, Store
from chf.store.images import record_of
from chf.store.inbox import Verb
from chf.trace import Event, Kind
from tests.support.waiting import LIMIT_S, until

HUB = parse_eui64("00-DB-12-34-56-78-90-A2")


class MemoryRadio:
    def __init__(self) -> None:
        self.state = RadioState.STOPPED
        self.posted: list[Outbound] = []
        self.permitted: list[tuple[Eui64, bytes, int]] = []
        self.forgotten: list[Eui64] = []
        self.installed: list[tuple[Eui64, bytes]] = []
        self.located: set[Eui64] = set()  # whom a search finds
        self.endpoints: tuple[int, ...] = (3,)  # of every device, in the answer to Match_Desc
        self.asked = 0  # for Match_Desc
        self.unreachable = False  # and gets no answer
        self.fate = Delivery.DELIVERED
        self.formed = True
        self.info = RadioInfo("memory", "none", 0, NetworkInfo(15, 0x1234, 1, HUB))
        self._listener: RadioListener | None = None

    # Radio

    async def probe(self) -> RadioInfo:
        return self.info

    async def start(self, listener: RadioListener, *, form: bool) -> RadioInfo:
        self._listener = listener
        if not (form or self.formed):
            raise NoNetworkError("none is formed")
        self.formed = True
        self.become(RadioState.CONNECTING)
        await asyncio.sleep(0)
        self.become(RadioState.UP)
        return self.info

    async def stop(self) -> None:
        self.become(RadioState.STOPPED)

    def post(self, message: Outbound) -> None:
        self.posted.append(message)
        fate = self.fate if self.state is RadioState.UP else Delivery.RADIO_GONE
        asyncio.get_running_loop().call_soon(self._tell(lambda listener: listener.message_sent(message, fate)))

    async def send(self, message: Outbound, timeout_s: float = 10.0) -> Delivery:
        self.posted.append(message)
        return self.fate

    async def permit(self, device: Eui64, link_key: bytes, seconds: int) -> None:
        self._insist()
        self.permitted.append((device, link_key, seconds))

    async def install_link_key(self, device: Eui64, link_key: bytes, *, fresh: bool = False) -> None:
        del fresh
        self._insist()
        self.installed.append((device, link_key))

    async def locate(self, device: Eui64) -> bool:
        self._insist()
        return device in self.located

    async def match_descriptor(self, device: Eui64, profile: int, server_clusters: Sequence[int]) -> tuple[int, ...]:
        self._insist()
        self.asked += 1
        if self.unreachable:
            raise TimedOutError("nobody answers")
        return self.endpoints

    async def forget(self, device: Eui64) -> None:
        self._insist()
        self.forgotten.append(device)

    async def export_keys(self) -> tuple[tuple[str, str, bytes], ...]:
        return ()

    def _insist(self) -> None:
        if self.state is not RadioState.UP:
            raise RadioGoneError("the radio is not up")

    def _tell(self, say: Callable[[RadioListener], None]) -> Callable[[], None]:
        assert self._listener is not None
        listener = self._listener
        return lambda: say(listener)

    # What the air does

    def become(self, state: RadioState) -> None:
        self.state = state
        self._tell(lambda listener: listener.radio_state_changed(state, "told so"))()

    def joins(self, device: Eui64, address: int = 0x1234) -> None:
        self._tell(lambda listener: listener.device_joined(device, address))()

    def says(self, device: Eui64, cluster: int, payload: bytes, *, secured: bool = True, endpoint: int = 3) -> None:
        message = Inbound(
            device, endpoint, HUB_ENDPOINT, SMART_ENERGY_PROFILE, cluster, payload, secured, False, 255, -40
        )
        self._tell(lambda listener: listener.message_received(message))()

    def to_cluster(self, cluster: int) -> list[Outbound]:
        return [message for message in self.posted if message.cluster == cluster]


class HubOnDesk:
    """A hub that runs in this event loop."""

    def __init__(self, store: Store, radio: MemoryRadio) -> None:
        self.store, self.radio = store, radio
        self.told: list[Event] = []
        self.up = asyncio.Event()

    def kinds(self) -> list[Kind]:
        return [event.kind for event in self.told]

    async def two_looks(self) -> None:
        """The hub has seen two commands that were given now, and all that was written before."""
        for _ in range(2):
            with Store.open(self.store.home) as beside, beside.transaction() as tx:
                tx.inbox.submit(Verb.UPDATE_CANCEL, {"update": 99}, 0.0)
            await self.until(lambda: not self.store.inbox.pending())

    async def until(self, condition: Callable[[], object]) -> None:
        await until(condition, explain=lambda: f"the hub told {self.told[-10:]}")


@asynccontextmanager
async def hub_on_desk(
    store: Store, radio: MemoryRadio, settings: HubSettings | None = None, clock: Clock | None = None
) -> AsyncIterator[HubOnDesk]:
    desk = HubOnDesk(store, radio)
    hub = Hub(store, radio, desk_pki(store.home), clock or SystemClock(), settings, desk.told.append)
    running = asyncio.ensure_future(hub.run(form=True, ready=lambda _info: desk.up.set()))
    try:
        async with asyncio.timeout(LIMIT_S):
            await desk.up.wait()
        yield desk
    finally:
        running.cancel()
        await asyncio.wait({running})
        if not running.cancelled() and (error := running.exception()) is not None:
            raise error


def on_the_network(store: Store, *devices: Eui64) -> None:
    with store.transaction() as tx:
        for device in devices:
            tx.devices.add(DeviceEntry(device, DeviceType.PPMID, 0.0, bytes(16), status=DeviceStatus.JOINED))


def order_update(store: Store, image: FirmwareImage, *devices: Eui64) -> int:
    """What `chf update start` writes; the number of the command."""
    body = {"devices": [*map(format_eui64, devices)], "image": image.sha256, "activation": {"kind": "now"}}
    with store.transaction() as tx:
        tx.images.add(record_of(image, "new", 0.0), image.content)
        return tx.inbox.submit(Verb.UPDATE_START, body, 0.0)


def desk_pki(home: Path) -> Pki:
    path = home / "pki"
    return Pki.open(path) if path.exists() else Pki.create(path, chf=HUB, keys=seeded_keys(b"hub tests"))
