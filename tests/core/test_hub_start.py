"""A device that is done with its download is answered at once while the hub starts, whatever that still waits for."""

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from threading import Event

import pytest

from chf.errors import RefusedError
from chf.eui64 import format_eui64, parse_eui64
from chf.hub import Hub
from chf.image.image import parse_image
from chf.radio.interface import RadioState
from chf.store import Store
from chf.store.images import record_of
from chf.store.inbox import Verb
from chf.update.model import UpdateState
from chf.zcl import ota
from chf.zcl.frame import Frame, FrameType
from tests.support.memory_radio import MemoryRadio, desk_pki, hub_on_desk, on_the_network
from tests.support.programs import image_file
from tests.support.virtual_time import VirtualClock
from tests.support.waiting import until

PPMID, OTHER, STRANGER = (parse_eui64(f"00-DB-12-34-56-78-90-A{n}") for n in (4, 5, 6))
QUERY = bytes.fromhex("01 01 01 01 d410 0100 01000000 0100")
WAIT = ota.WAIT_FOR_COMMAND


class Slow:
    """A call that another thread makes, and that takes as long as the test says."""

    def __init__(self, call) -> None:
        self.call, self.begun, self.may_end = call, Event(), Event()

    def __call__(self, *args):
        self.begun.set()
        assert self.may_end.wait(60)
        return self.call(*args)


@pytest.fixture
def image(tmp_path):
    return parse_image(image_file(tmp_path / "new.ota", size_bytes=500).read_bytes())


@pytest.fixture
def store(tmp_path, image):
    with Store.open(tmp_path / "home", hub=True) as opened:
        on_the_network(opened, PPMID, OTHER)
        with opened.transaction() as tx:
            tx.images.add(record_of(image, "new", 0.0), image.content)
        yield opened


def upgrade_end(image, sequence: int, status: int = 0) -> bytes:
    header = image.header
    return ota.command(
        ota.UpgradeEndRequest(status, header.manufacturer_code, header.image_type, header.file_version), sequence
    )


def told(radio, device=PPMID) -> list[tuple[int, int]]:
    """Sequence and upgrade time of each Upgrade End Response."""
    sent = [message for message in radio.to_cluster(ota.CLUSTER) if message.destination == device]
    frames = [Frame.from_bytes(message.payload) for message in sent]
    ends = [frame for frame in frames if (frame.frame_type, frame.command) == (FrameType.CLUSTER, 0x07)]
    return [(end.sequence, ota.UpgradeEndResponse.from_bytes(end.payload).upgrade_time) for end in ends]


async def hold(store, image) -> None:
    """A device has the whole image, and was told to wait."""
    radio, ids = MemoryRadio(), (image.header.manufacturer_code, image.header.image_type, image.header.file_version)
    async with hub_on_desk(store, radio) as desk:
        body = {
            "devices": [format_eui64(PPMID)],
            "image": image.sha256,
            "activation": {"kind": "hold", "strategy": "hold"},
        }
        with store.transaction() as tx:
            tx.inbox.submit(Verb.UPDATE_START, body, 0.0)
        await desk.until(lambda: store.updates.list() and store.updates.list()[0].state is UpdateState.ANNOUNCED)
        radio.says(PPMID, ota.CLUSTER, QUERY)
        for offset in range(0, len(image.content), 40):
            radio.says(PPMID, ota.CLUSTER, ota.command(ota.ImageBlockRequest(*ids, offset, 40), 2))
        radio.says(PPMID, ota.CLUSTER, upgrade_end(image, 3))
        await desk.until(lambda: store.updates.list()[0].state is UpdateState.WAITING)


@asynccontextmanager
async def starting(store, radio):
    hub, up = Hub(store, radio, desk_pki(store.home), VirtualClock()), asyncio.Event()
    running = asyncio.ensure_future(hub.run(form=True, ready=lambda _info: up.set()))
    try:
        yield up
    finally:
        running.cancel()
        await asyncio.wait({running})


@pytest.mark.parametrize("slow", ["check", "images"])
async def test_upgrade_end_is_answered_while_store_and_images_are_read(store, image, monkeypatch, slow):
    await hold(store, image)
    kind = type(store.images)
    reading = Slow(store.check if slow == "check" else kind.load)

    def read(*args):
        return reading(*args)

    monkeypatch.setattr(*((store, "check") if slow == "check" else (kind, "load")), read)
    radio = MemoryRadio()
    async with starting(store, radio) as up:
        await until(lambda: reading.begun.is_set() and radio.state is RadioState.UP)
        for sequence in (7, 8):
            radio.says(PPMID, ota.CLUSTER, upgrade_end(image, sequence))
            assert told(radio)[-1] == (sequence, WAIT), "in the same turn"
        radio.says(OTHER, ota.CLUSTER, upgrade_end(image, 9))
        assert told(radio, OTHER) == [(9, WAIT)], "whose update it is not known to be, either"
        assert not up.is_set()
        reading.may_end.set()
        await up.wait()
        assert {time for _, time in told(radio)} == {WAIT}
        assert told(radio)[-1] == (8, WAIT), "held, and told so again"
        assert Frame.from_bytes(radio.to_cluster(ota.CLUSTER)[-1].payload).frame_type is FrameType.GLOBAL, (
            "the other: ABORT"
        )


async def test_upgrade_end_that_comes_before_the_radio_is_up_is_answered_once_it_is(store, image):
    class Talking(MemoryRadio):
        def become(self, state):
            if state is RadioState.UP:
                self.says(PPMID, ota.CLUSTER, upgrade_end(image, 7))
                self.posted.clear()  # it cannot send yet
            super().become(state)

    radio = Talking()
    async with starting(store, radio) as up:
        await up.wait()
        assert told(radio) == [(7, WAIT)]


async def test_nothing_else_is_answered_while_the_hub_starts(store, image, monkeypatch):
    check = Slow(store.check)
    monkeypatch.setattr(store, "check", check)
    radio = MemoryRadio()
    async with starting(store, radio) as up:
        await until(lambda: check.begun.is_set() and radio.state is RadioState.UP)
        radio.says(STRANGER, ota.CLUSTER, upgrade_end(image, 1))
        radio.says(PPMID, ota.CLUSTER, upgrade_end(image, 2), secured=False)
        radio.says(PPMID, ota.CLUSTER, upgrade_end(image, 3, status=0x95))
        radio.says(PPMID, ota.CLUSTER, QUERY)
        radio.says(PPMID, ota.CLUSTER, b"\x01")
        assert radio.posted == []
        check.may_end.set()
        await up.wait()
        assert radio.to_cluster(ota.CLUSTER) == []


async def run_once(store, radio, **settings):
    hub, up = Hub(store, radio, desk_pki(store.home), VirtualClock()), asyncio.Event()
    running = asyncio.ensure_future(hub.run(form=True, ready=lambda _info: up.set(), **settings))
    waiting = asyncio.ensure_future(up.wait())
    await asyncio.wait({running, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def test_another_dongle_under_a_home_with_devices_is_refused_unless_it_is_adopted(store):
    theirs, other = MemoryRadio(), MemoryRadio()
    other.info = replace(other.info, network=replace(other.info.network, extended_pan_id=2))
    await run_once(store, theirs)
    with pytest.raises(RefusedError, match="radio restore"):
        await run_once(store, other)
    await run_once(store, other, adopt=True)
    moved = replace(other.info.network, channel=20)  # as networks do that change their channel
    other.info = replace(other.info, network=moved)
    await run_once(store, other)
    with pytest.raises(RefusedError, match="0000000000000002"):
        await run_once(store, theirs)
    other.info = replace(other.info, network=replace(moved, pan_id=0x4321))  # the same stick, formed anew
    with pytest.raises(RefusedError, match="0x4321"):
        await run_once(store, other)


async def test_a_home_without_devices_takes_any_dongle(tmp_path):
    with Store.open(tmp_path / "empty", hub=True) as store:
        for extended_pan_id in (1, 2):
            radio = MemoryRadio()
            radio.info = replace(radio.info, network=replace(radio.info.network, extended_pan_id=extended_pan_id))
            await run_once(store, radio)
            assert radio.state is RadioState.STOPPED


async def test_a_wiped_dongle_under_a_home_with_devices_is_given_no_new_network(store):
    await run_once(store, MemoryRadio())
    wiped = MemoryRadio()
    wiped.formed = False
    with pytest.raises(RefusedError, match="no network"):
        await run_once(store, wiped)
    assert not wiped.formed
    await run_once(store, wiped, adopt=True)
    assert wiped.formed
