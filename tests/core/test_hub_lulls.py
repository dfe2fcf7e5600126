"""What the hub puts off until a block has arrived: in order, once, and never for long."""

import asyncio
import logging
from functools import partial

import pytest

from chf.clock import Instant, Now, UtcSeconds
from chf.eui64 import format_eui64, parse_eui64
from chf.hub.lulls import DOWNLOADING_S, MOST, PATIENCE_S, Lulls
from chf.image.image import parse_image
from chf.store import Store
from chf.store.device_log import DeviceEntry, DeviceStatus, DeviceType
from chf.store.images import record_of
from chf.store.inbox import Verb
from chf.update.model import UpdateState
from chf.zcl import ota, time
from tests.support.memory_radio import MemoryRadio, hub_on_desk
from tests.support.programs import image_file
from tests.support.virtual_time import VirtualClock, virtual_time

DEVICE = parse_eui64("00-DB-12-34-56-78-90-A4")
OTHER = parse_eui64("00-DB-12-34-56-78-90-A5")
QUERY = bytes.fromhex("01 01 01 01 d410 0100 01000000 0100")
READ_TIME = bytes.fromhex("00 07 00 0000")
EPSILON_S = 1e-6


@pytest.fixture
def run(monkeypatch):
    with virtual_time(monkeypatch) as run:
        yield run


def downloading() -> tuple[Lulls, list[str]]:
    """A block has just arrived."""
    lulls = Lulls(VirtualClock())
    lulls.begin(VirtualClock().instant())
    return lulls, []


def test_while_nobody_downloads_nothing_waits(run):
    async def story():
        lulls, done = Lulls(VirtualClock()), []
        lulls.do(lambda: done.append("a"))
        assert done == ["a"]
        before = VirtualClock().instant()
        await lulls.wait()
        assert VirtualClock().instant() == before

    run(story())


def test_a_task_that_waits_lets_others_go_first_though_nobody_downloads(run):
    async def story():
        lulls, done = Lulls(VirtualClock()), []
        asyncio.get_running_loop().call_soon(done.append, "other")
        await lulls.wait()
        assert done == ["other"]

    run(story())


def test_one_thing_is_done_after_each_block_in_order_and_not_within_it(run):
    async def story():
        lulls, done = downloading()
        for name in "abc":
            lulls.do(partial(done.append, name))
        for expected in ("a", "ab"):
            lulls.begin(VirtualClock().instant())
            lulls.begin(VirtualClock().instant())  # another device's, in the same turn
            assert "".join(done) == expected[:-1]
            await asyncio.sleep(0)
            assert "".join(done) == expected

    run(story())


def test_a_lull_that_the_next_block_ends_is_left_to_it(run):
    async def story():
        lulls, done = downloading()
        lulls.do(lambda: done.append("a"))
        lulls.begin(VirtualClock().instant())
        lulls.end()
        await asyncio.sleep(0)
        assert done == []
        lulls.begin(VirtualClock().instant())
        await asyncio.sleep(0)
        assert done == ["a"]

    run(story())


def test_where_there_is_always_a_block_under_way_nothing_waits_longer(run):
    async def story():
        lulls, done = downloading()
        start = VirtualClock().instant()
        for _ in range(2):
            lulls.do(lambda: done.append(VirtualClock().instant() - start))
        for _ in range(30):
            lulls.begin(VirtualClock().instant())
            lulls.end()
            await asyncio.sleep(PATIENCE_S / 10)
        assert done == pytest.approx([PATIENCE_S, 2 * PATIENCE_S], abs=PATIENCE_S / 9)

    run(story())


def test_where_no_block_comes_each_waits_so_long_and_no_longer(run):
    async def story():
        lulls, done = downloading()
        start = VirtualClock().instant()
        for _ in range(3):
            lulls.do(lambda: done.append(VirtualClock().instant() - start))
        await asyncio.sleep(4 * PATIENCE_S)
        assert done == pytest.approx([PATIENCE_S, 2 * PATIENCE_S, 3 * PATIENCE_S])

    run(story())


def test_the_rest_is_done_when_the_download_has_ended(run):
    async def story():
        lulls, done = downloading()
        count = int(DOWNLOADING_S / PATIENCE_S) + 20
        for _ in range(count):
            lulls.do(lambda: done.append(VirtualClock().instant()))
        await asyncio.sleep(DOWNLOADING_S + PATIENCE_S + EPSILON_S)
        assert len(done) == count

    run(story())


def test_tasks_and_callbacks_take_turns_in_the_order_in_which_they_came(run):
    async def story():
        lulls, done = downloading()

        async def task(name):
            await lulls.wait()
            done.append(name)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(task("first"))
            await asyncio.sleep(0)
            lulls.do(lambda: done.append("second"))
            cancelled = tasks.create_task(task("never"))
            await asyncio.sleep(0)
            cancelled.cancel()
            tasks.create_task(task("third"))
            for _ in range(4):
                await asyncio.sleep(PATIENCE_S)
        assert done == ["first", "second", "third"]

    run(story())


def test_what_a_device_must_not_overtake_is_done_at_once_with_all_before_it(run):
    async def story():
        lulls, done = downloading()
        for name, device in (("a", None), ("b", DEVICE), ("c", None)):
            lulls.do(partial(done.append, name), device)
        lulls.catch_up_with(OTHER)
        assert done == []
        lulls.catch_up_with(DEVICE)
        assert done == ["a", "b", "c"]
        await asyncio.sleep(DOWNLOADING_S * 2)
        assert done == ["a", "b", "c"]

    run(story())


def test_a_flood_is_kept_in_order_and_does_not_fill_the_memory(run):
    async def story():
        lulls, done = downloading()
        for number in range(10 * MOST):
            lulls.do(partial(done.append, number), DEVICE)
        assert done == list(range(9 * MOST))
        lulls.catch_up_with(DEVICE)
        assert done == list(range(10 * MOST))

    run(story())


def test_a_failure_is_logged_and_holds_nothing_up(run, caplog):
    async def story():
        lulls, done = downloading()
        lulls.do(lambda: 1 / 0)
        lulls.do(lambda: done.append("next"), DEVICE)
        with caplog.at_level(logging.ERROR):
            lulls.catch_up_with(DEVICE)
        assert done == ["next"]

    run(story())
    assert "ZeroDivisionError" in caplog.text


def test_nothing_waits_after_the_end(run):
    async def story():
        lulls, done = downloading()
        lulls.do(lambda: done.append("before"))
        lulls.close()
        assert done == ["before"]
        lulls.do(lambda: done.append("after"))
        await lulls.wait()
        assert done == ["before", "after"]

    run(story())


# --- on the hub


class StoppedClock:
    """No download ever ends."""

    def now(self) -> Now:
        return Now(self.instant(), UtcSeconds(1_800_000_000.0))

    def instant(self) -> Instant:
        return Instant(1000.0)


def block_request(image, offset: int) -> bytes:
    header = image.header
    ids = header.manufacturer_code.to_bytes(2, "little") + header.image_type.to_bytes(2, "little")
    ids += header.file_version.to_bytes(4, "little")
    return bytes((1, 2, ota.ImageBlockRequest.COMMAND)) + b"\0" + ids + offset.to_bytes(4, "little") + bytes((40,))


@pytest.fixture
def served(tmp_path):
    """A store with an update of DEVICE, and its image."""
    image = parse_image(image_file(tmp_path / "new.ota", size_bytes=500).read_bytes())
    with Store.open(tmp_path / "home", hub=True) as store:
        with store.transaction() as tx:
            for device, status in ((DEVICE, DeviceStatus.JOINED), (OTHER, DeviceStatus.PENDING)):
                tx.devices.add(DeviceEntry(device, DeviceType.PPMID, 0.0, bytes(16), status=status))
            tx.images.add(record_of(image, "new", 0.0), image.content)
            body = {"devices": [format_eui64(DEVICE)], "image": image.sha256, "activation": {"kind": "now"}}
            tx.inbox.submit(Verb.UPDATE_START, body, 0.0)
        yield store, image


async def begin_download(desk, image) -> None:
    await desk.until(lambda: desk.store.jobs.list() and desk.store.jobs.list()[0].state is UpdateState.ANNOUNCED)
    desk.radio.says(DEVICE, ota.CLUSTER, QUERY)
    desk.radio.says(DEVICE, ota.CLUSTER, block_request(image, 0))
    await asyncio.sleep(0)  # in which it is told that the block arrived
    assert desk.store.jobs.list()[0].state is UpdateState.DOWNLOADING


async def test_what_a_device_asks_beside_a_download_is_answered_once_a_block_has_arrived(served):
    store, image = served
    async with hub_on_desk(store, MemoryRadio(), clock=StoppedClock()) as desk:
        await begin_download(desk, image)
        desk.radio.posted.clear()
        desk.radio.says(DEVICE, time.CLUSTER, READ_TIME)
        assert desk.radio.posted == []
        desk.radio._listener._lulls.begin(Instant(1000.0))
        await asyncio.sleep(0)
        assert [message.cluster for message in desk.radio.posted] == [time.CLUSTER]


async def test_a_request_of_the_ota_cluster_overtakes_nothing(served):
    store, image = served
    async with hub_on_desk(store, MemoryRadio(), clock=StoppedClock()) as desk:
        await begin_download(desk, image)
        desk.radio.posted.clear()
        desk.radio.joins(OTHER)
        desk.radio.says(OTHER, time.CLUSTER, READ_TIME)
        assert store.devices.get(OTHER).status is DeviceStatus.PENDING
        desk.radio.says(OTHER, ota.CLUSTER, QUERY)
        assert store.devices.get(OTHER).status is DeviceStatus.JOINED
        answered = [message.cluster for message in desk.radio.posted if message.destination == OTHER]
        assert answered[:2] == [time.CLUSTER, ota.CLUSTER]


async def test_what_waits_when_the_hub_stops_is_still_done(served):
    store, image = served
    async with hub_on_desk(store, MemoryRadio(), clock=StoppedClock()) as desk:
        await begin_download(desk, image)
        desk.radio.joins(OTHER)
        assert store.devices.get(OTHER).status is DeviceStatus.PENDING
    assert store.devices.get(OTHER).status is DeviceStatus.JOINED
