"""An image is read and hashed once for each digest, however many devices get it, and not on the event loop's thread."""

import threading

import pytest

from chf.errors import StoreCorruptError, UsageError
from chf.eui64 import Eui64, format_eui64, parse_eui64
from chf.hub.images import MOST_HELD, ImageCache
from chf.image.image import parse_image
from chf.store import Store
from chf.store.device_log import DeviceEntry, DeviceStatus, DeviceType
from chf.store.images import Images, record_of
from chf.store.inbox import Verb
from chf.trace import Kind
from chf.update.model import UpdateState
from tests.support.damaged_store import sql
from tests.support.memory_radio import MemoryRadio, hub_on_desk
from tests.support.programs import image_file

DEVICES = [Eui64(parse_eui64("00-DB-12-34-56-78-90-A4") + number) for number in range(8)]


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "home", hub=True) as opened:
        with opened.transaction() as tx:
            for device in DEVICES:
                tx.devices.add(DeviceEntry(device, DeviceType.PPMID, 0.0, bytes(16), status=DeviceStatus.JOINED))
        yield opened


@pytest.fixture
def reads(monkeypatch):
    """(digest, thread) of every reading of an image file, which hashes it."""
    noted = []
    read = Images.open

    def counted(images, sha256):
        noted.append((sha256, threading.current_thread()))
        return read(images, sha256)

    monkeypatch.setattr(Images, "open", counted)
    return noted


def add_image(store, tmp_path, size_bytes=500):
    image = parse_image(image_file(tmp_path / f"{size_bytes}.ota", size_bytes=size_bytes).read_bytes())
    with store.transaction() as tx:
        tx.images.add(record_of(image, f"{size_bytes}", 0.0), image.content)
    return image.sha256


def order(store, sha256, devices=DEVICES):
    body = {"devices": [*map(format_eui64, devices)], "image": sha256, "activation": {"kind": "now"}}
    with store.transaction() as tx:
        tx.inbox.submit(Verb.UPDATE_START, body, 0.0)


def damage(store, sha256):
    sql(store.home, "update images set content = x'00' where sha256 = ?", given=(sha256,))


def states(store):
    return [update.state for update in store.updates.list()]


async def test_many_updates_read_their_image_once_and_so_does_a_restart(store, tmp_path, reads):
    sha256 = add_image(store, tmp_path)
    order(store, sha256)
    for started in (1, 2):
        async with hub_on_desk(store, MemoryRadio()) as desk:
            await desk.until(lambda: states(store) == [UpdateState.ANNOUNCED] * len(DEVICES))
        assert [digest for digest, _ in reads] == [sha256] * started
    assert threading.main_thread() not in {thread for _, thread in reads}


async def test_an_image_that_was_damaged_meanwhile_ends_its_updates_alone(store, tmp_path):
    good, bad = add_image(store, tmp_path), add_image(store, tmp_path, 600)
    order(store, good, DEVICES[:2])
    order(store, bad, DEVICES[2:4])
    async with hub_on_desk(store, MemoryRadio()) as desk:
        await desk.until(lambda: states(store) == [UpdateState.ANNOUNCED] * 4)
    damage(store, bad)
    async with hub_on_desk(store, MemoryRadio()) as desk:
        alarms = [event for event in desk.told if event.kind is Kind.ALARM]
        assert [event.device for event in alarms] == DEVICES[2:4]
        assert all(bad in str(event.fields["reason"]) for event in alarms)
        order(store, good, DEVICES[4:5])
        await desk.until(lambda: states(store).count(UpdateState.ANNOUNCED) >= 3)


async def test_few_images_are_held_and_one_that_is_used_is_not_let_go(store, tmp_path, reads):
    digests = [add_image(store, tmp_path, 500 + number) for number in range(MOST_HELD + 1)]
    cache = ImageCache(store.home)
    for sha256 in digests:
        await cache.load(sha256)
        assert cache.get(digests[0]) is not None
    assert [sha256 for sha256 in digests if cache.get(sha256) is None] == [digests[1]]
    assert len(reads) == len(digests)


async def test_an_image_that_is_not_there_or_not_what_was_stored_is_said_to_be_so(store, tmp_path):
    cache, sha256 = ImageCache(store.home), add_image(store, tmp_path)
    damage(store, sha256)
    with pytest.raises(StoreCorruptError, match="was altered"):
        await cache.load(sha256)
    with pytest.raises(UsageError, match="no stored image"):
        await cache.load("ab" * 32)
    assert await cache.load_all([sha256, "ab" * 32]) == {}
