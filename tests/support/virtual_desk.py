"""The hub, one device and the virtual dongle in one event loop of virtual time: a desk on which hours take seconds.

async with desk_with_hub(tmp_path, "znp", scenario) as desk:
    content = await desk.update_under_way()
    desk.order(do="unplug", for_s=5)
    await desk.until_it_ended_well(content)
"""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from chf.crypto.install_code import link_key, parse_install_code
from chf.eui64 import Eui64, format_eui64, parse_eui64
from chf.hub import Hub
from chf.image.image import parse_image
from chf.pki.gbcs import Pki, seeded_keys
from chf.radio.ezsp import EzspRadio, EzspSettings
from chf.radio.znp import ZnpRadio, ZnpSettings
from chf.store import DeviceEntry, DeviceStatus, DeviceType, Store
from chf.store.images import record_of
from chf.store.inbox import CommandState, Verb
from chf.trace import Event, Kind
from chf.update.model import UpdateState
from devices.bench.serve import Bench
from tests.support.programs import image_file
from tests.support.virtual_dongle import EUI64, INSTALL_CODE, local_dongle
from tests.support.virtual_time import VirtualClock, let_pass
from tests.support.waiting import until

DEVICE = parse_eui64(EUI64)


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
        self.hub = Hub(store, radio, pki, VirtualClock(), trace=self._tell)

    def _tell(self, event: Event) -> None:
        self.told.append((asyncio.get_running_loop().time(), event))

    def states(self) -> list[tuple[float, str]]:
        return [(at_s, str(event.fields["state"])) for at_s, event in self.told if event.kind is Kind.RADIO_STATE]

    def events(self) -> list[dict[str, Any]]:
        """What the virtual side has told, as `python -m devices serve --events` writes it."""
        return [json.loads(line) for line in (self.directory / "events.jsonl").read_text().splitlines()]

    def devices_told(self, name: str) -> list[dict[str, Any]]:
        return [record for record in self.events() if record["event"] == name]

    async def until(self, condition: Callable[[], object], limit_s: float) -> None:
        await until(condition, limit_s=limit_s)

    def network(self) -> tuple[bytes, int, int]:
        """As the dongle has it."""
        network = self.bench.world.dongle.stack.network
        assert network is not None
        return network.network_key, network.pan_id, network.extended_pan_id

    def alerts(self) -> list[tuple[str, str]]:
        return [(alert.use_case, alert.outcome) for alert in self.store.alerts.list() if alert.use_case != "CS14"]

    async def until_it_ended_well(self, content: bytes) -> None:
        """Nothing lost, nothing doubled."""
        await self.until(lambda: len(self.alerts()) >= 2, 3600)
        await let_pass(300)  # for what would come twice
        (update,) = self.store.updates.list()
        assert (update.state, update.reason) == (UpdateState.ACTIVATED, "")
        assert self.alerts() == [("CCS08", "success"), ("CS09", "success")]
        # The device gave up asking meanwhile, and goes on where it was when it asks again.
        first, *later = [record["offset_bytes"] for record in self.devices_told("download_started")]
        assert first == 0
        assert all(offset > 0 for offset in later)
        done = self.devices_told("download_complete")
        assert [record["sha256"] for record in done] == [hashlib.sha256(content).hexdigest()]
        entry = self.store.devices.get(DEVICE)
        assert entry is not None
        assert (entry.status, entry.images[0].file_version) == (DeviceStatus.JOINED, 2)

    def order(self, **command: object) -> None:
        self.bench.command(json.dumps(command).encode() + b"\n")

    async def admit(self, *devices: Eui64) -> None:
        """They join, and say what they run."""
        for device in devices:
            await self.permit(device)
            await self.until(partial(self._told_version, device), 120)

    async def permit(self, device: Eui64) -> None:
        """It may join, with the install code of `tests.support.virtual_dongle`."""
        now = VirtualClock().now().utc
        key = link_key(parse_install_code(INSTALL_CODE))
        with self.store.transaction() as tx:
            tx.devices.add(DeviceEntry(device, DeviceType.PPMID, now, key))
            command = tx.inbox.submit(Verb.DEVICE_PERMIT, {"device": format_eui64(device), "seconds": 180}, now)
        await self.until(partial(self._done, command), 120)

    def _done(self, number: int) -> bool:
        command = self.store.inbox.get(number)
        return command is not None and command.state is CommandState.DONE

    def _told_version(self, device: Eui64) -> bool:
        entry = self.store.devices.get(device)
        return entry is not None and entry.images != ()

    def start_update(self, *devices: Eui64, size_bytes: int) -> bytes:
        """Gives the image."""
        content = image_file(self.directory / "new.ota", size_bytes=size_bytes).read_bytes()
        self.start_update_with(content, *devices)
        return content

    def start_update_with(self, content: bytes, *devices: Eui64) -> None:
        now = VirtualClock().now().utc
        image = parse_image(content)
        with self.store.transaction() as tx:
            tx.images.add(record_of(image, "new", now), image.content)
            names = [format_eui64(device) for device in devices]
            body = {"devices": names, "image": image.sha256, "activation": {"kind": "now"}}
            tx.inbox.submit(Verb.UPDATE_START, body, now)

    def states_of_updates(self) -> dict[Eui64, UpdateState]:
        return {update.device: update.state for update in self.store.updates.list()}

    async def update_under_way(self, until_bytes: int = 4000) -> bytes:
        """The device has joined and has so much of an image of 12 kB; gives the whole."""
        await self.admit(DEVICE)
        content = self.start_update(DEVICE, size_bytes=12_000)
        await self.until_offset(until_bytes)
        return content

    async def until_offset(self, offset_bytes: int) -> None:
        progress = partial(self.devices_told, "download_progress")
        await self.until(lambda: any(record["offset_bytes"] >= offset_bytes for record in progress()), 120)


@asynccontextmanager
async def desk_with_hub(directory: Path, kind: str, scenario: str) -> AsyncIterator[Desk]:
    options = {"ncp": kind, "events": str(directory / "events.jsonl")}
    with Store.open(directory / "home", hub=True) as store:
        async with local_dongle(directory, scenario, **options) as bench:
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
