"""A dongle that is unplugged for an hour in mid-download, with the hub, the libraries and the dongle in virtual time."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from chf.crypto.install_code import link_key, parse_install_code
from chf.dcc.pki import Pki, seeded_keys
from chf.eui64 import format_eui64, parse_eui64
from chf.hub import Hub
from chf.image.image import parse_image
from chf.jobs.model import JobState
from chf.radio.backoff import LONGEST_S
from chf.radio.ezsp import EzspRadio, EzspSettings
from chf.radio.znp import ZnpRadio, ZnpSettings
from chf.store import Store
from chf.store.device_log import DeviceEntry, DeviceStatus, DeviceType
from chf.store.images import record_of
from chf.store.inbox import Verb
from chf.trace import Event, Kind
from devices.bench.serve import Bench
from tests.support.programs import image_file, quick
from tests.support.virtual_dongle import EUI64, INSTALL_CODE, local_dongle
from tests.support.virtual_time import VirtualClock, virtual_time

pytestmark = pytest.mark.timeout(180)

DEVICE = parse_eui64(EUI64)
AWAY_S = 3600.0
SCENARIO = quick(think_time_s=0.05, query_interval_s=60.0)


class Desk:
    """The hub and the virtual dongle in one event loop."""

    def __init__(self, directory: Path, kind: str, bench: Bench, store: Store) -> None:
        self.directory, self.bench, self.store = directory, bench, store
        self.told: list[tuple[float, Event]] = []
        make = {"ezsp": (EzspRadio, EzspSettings), "znp": (ZnpRadio, ZnpSettings)}[kind]
        pki = Pki.create(
            directory / "home" / "pki", chf=parse_eui64("00-DB-12-34-56-78-90-A2"), keys=seeded_keys(b"an hour")
        )
        pki.issue(DEVICE, seeded_keys(b"an hour"))
        radio: Any = make[0](make[1](bench.port.url))
        self.hub = Hub(store, radio, pki, VirtualClock(), tell=self._tell)

    def _tell(self, event: Event) -> None:
        self.told.append((asyncio.get_running_loop().time(), event))

    def states(self) -> list[tuple[float, str]]:
        return [(at_s, str(event.fields["state"])) for at_s, event in self.told if event.kind is Kind.RADIO_STATE]

    def devices_told(self, name: str) -> list[dict[str, Any]]:
        lines = (self.directory / "events.jsonl").read_text().splitlines()
        return [record for record in map(json.loads, lines) if record["event"] == name]

    async def until(self, condition: Callable[[], object], limit_s: float) -> None:
        async with asyncio.timeout(limit_s):
            while not condition():  # noqa: ASYNC110 in virtual time
                await asyncio.sleep(0.05)

    def network(self) -> tuple[bytes, int, int]:
        """As the dongle has it."""
        network = self.bench.world.dongle.stack.network
        assert network is not None
        return network.network_key, network.pan_id, network.extended_pan_id

    def alerts(self) -> list[tuple[str, str]]:
        return [(alert.use_case, alert.outcome) for alert in self.store.alerts.list() if alert.use_case != "CS14"]

    def check_ended_well(self, content: bytes) -> None:
        """Nothing lost, nothing doubled."""
        (job,) = self.store.jobs.list()
        assert (job.state, job.reason) == (JobState.ACTIVATED, "")
        assert self.alerts() == [("CCS08", "success"), ("CS09", "success")]
        # The device gave up asking meanwhile, and goes on where it was when it asks again.
        first, *later = [record["offset_bytes"] for record in self.devices_told("download_started")]
        assert first == 0
        assert all(offset > 4000 for offset in later)
        done = self.devices_told("download_complete")
        assert [record["sha256"] for record in done] == [hashlib.sha256(content).hexdigest()]
        entry = self.store.devices.get(DEVICE)
        assert entry is not None
        assert (entry.status, entry.file_version) == (DeviceStatus.JOINED, 2)

    def order(self, **command: object) -> None:
        self.bench.command(json.dumps(command).encode() + b"\n")

    async def update_under_way(self) -> bytes:
        """One device has joined and has a third of its image."""
        image = parse_image(image_file(self.directory / "new.ota", size_bytes=12_000).read_bytes())
        now = VirtualClock().now().utc
        key = link_key(parse_install_code(INSTALL_CODE))
        with self.store.transaction() as tx:
            tx.devices.add(DeviceEntry(DEVICE, DeviceType.PPMID, now, key))
            tx.inbox.submit(Verb.DEVICE_PERMIT, {"device": format_eui64(DEVICE), "seconds": 180}, now)
        await self.until(lambda: (entry := self.store.devices.get(DEVICE)) and entry.file_version is not None, 120)
        with self.store.transaction() as tx:
            tx.images.add(record_of(image, "new", now), image.content)
            body = {"devices": [format_eui64(DEVICE)], "image": image.sha256, "activation": {"kind": "now"}}
            tx.inbox.submit(Verb.UPDATE_START, body, now)
        await self.until(lambda: any(e["offset_bytes"] > 4000 for e in self.devices_told("download_progress")), 120)
        return bytes(image.content)


@asynccontextmanager
async def desk_with_hub(directory: Path, kind: str) -> AsyncIterator[Desk]:
    options = {"ncp": kind, "events": str(directory / "events.jsonl")}
    with Store.open(directory / "home", hub=True) as store:
        async with local_dongle(directory, SCENARIO, **options) as bench:
            desk = Desk(directory, kind, bench, store)
            up = asyncio.Event()
            running = asyncio.ensure_future(desk.hub.run(form=True, ready=lambda _info: up.set()))
            try:
                await desk.until(up.is_set, 60)
                yield desk
            finally:
                running.cancel()
                with suppress(asyncio.CancelledError):
                    await running


async def story(directory: Path, kind: str) -> None:
    loop = asyncio.get_running_loop()
    async with desk_with_hub(directory, kind) as desk:
        content = await desk.update_under_way()
        before = desk.network()
        attempts = count_attempts(desk.bench)
        left_at_s = loop.time()
        desk.order(do="unplug", for_s=AWAY_S)
        await desk.until(lambda: desk.states()[-1][1] == "connecting", 60)
        await asyncio.sleep(AWAY_S - 60)
        assert desk.states()[-1][1] == "connecting"
        assert desk.store.jobs.list()[0].active
        check_bounded(attempts, left_at_s)
        await desk.until(lambda: desk.states()[-1][1] == "up", 60 + 2 * LONGEST_S)
        assert desk.states()[-1][0] - left_at_s < AWAY_S + 2 * LONGEST_S
        assert desk.network() == before
        await desk.until(lambda: len(desk.alerts()) >= 2, 600)
        await asyncio.sleep(120)  # for what would come twice
        desk.check_ended_well(content)


def count_attempts(bench: Bench) -> list[float]:
    """When somebody connected to the port."""
    loop, port = asyncio.get_running_loop(), bench.port
    times: list[float] = []
    connected = port.host_connected  # type: ignore[union-attr]

    def counted(host: Any) -> None:
        times.append(loop.time())
        connected(host)

    port.host_connected = counted  # type: ignore[union-attr,method-assign]
    return times


def check_bounded(attempts: list[float], since_s: float) -> None:
    """Soon at first, at most every ten seconds later, and never given up."""
    assert attempts[0] - since_s < 1.0
    waits = [later - earlier for earlier, later in pairwise(attempts)]
    assert max(waits) < LONGEST_S + 1.0
    assert min(waits[6:]) > LONGEST_S - 0.1
    assert len(attempts) < 20 + AWAY_S / LONGEST_S


@pytest.mark.parametrize("kind", ["ezsp", "znp"])
def test_a_port_that_is_gone_for_an_hour(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with virtual_time(monkeypatch) as run:
        run(story(tmp_path, kind))
