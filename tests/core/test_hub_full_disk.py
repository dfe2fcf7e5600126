"""A full disk under the hub: devices are served on, nothing that happened is lost, and it recovers by itself."""

import pytest

from chf.eui64 import parse_eui64
from chf.image.image import parse_image
from chf.jobs.model import JobState
from chf.store import Store
from chf.store.device_log import DeviceEntry, DeviceStatus, DeviceType
from chf.store.images import record_of
from chf.store.inbox import Verb
from chf.trace import Kind
from chf.zcl import ota, time
from tests.support.memory_radio import MemoryRadio, hub_on_desk
from tests.support.programs import image_file

PPMID = parse_eui64("00-DB-12-34-56-78-90-A4")
READ_TIME = bytes.fromhex("00 07 00 0000")
QUERY = bytes.fromhex("01 01 01 01 d410 0100 01000000 0100")


@pytest.fixture
def store(tmp_path):
    image = parse_image(image_file(tmp_path / "new.ota", size_bytes=500).read_bytes())
    with Store.open(tmp_path / "home", hub=True) as opened:
        with opened.transaction() as tx:
            tx.devices.add(DeviceEntry(PPMID, DeviceType.PPMID, 0.0, bytes(16), status=DeviceStatus.JOINED))
            tx.images.add(record_of(image, "new", 0.0), image.content)
            body = {"devices": ["00-DB-12-34-56-78-90-A4"], "image": image.sha256, "activation": {"kind": "now"}}
            tx.inbox.submit(Verb.UPDATE_START, body, 0.0)
        yield opened


def fill(store) -> None:
    """As SQLite has it when the disk is full: not one page more."""
    store._database._connection.execute("pragma max_page_count = 1")  # it stops at the present size


def free(store) -> None:
    store._database._connection.execute("pragma max_page_count = 1000000")


async def test_a_full_disk_stops_no_device_and_loses_nothing(store):
    radio = MemoryRadio()
    async with hub_on_desk(store, radio) as desk:
        await desk.until(lambda: store.jobs.list() and store.jobs.list()[0].state is JobState.ANNOUNCED)
        fill(store)
        for _ in range(200):  # until no page has room left
            radio.says(PPMID, time.CLUSTER, READ_TIME, secured=False)
            radio.joins(PPMID)
            radio.says(PPMID, time.CLUSTER, READ_TIME)
        told = len(desk.told)
        before = len(radio.to_cluster(time.CLUSTER))
        radio.says(PPMID, time.CLUSTER, READ_TIME)
        assert len(radio.to_cluster(time.CLUSTER)) == before + 1  # served on, though nothing can be written
        radio.says(PPMID, ota.CLUSTER, QUERY)
        assert len(desk.told) == told
        assert store.jobs.list()[0].state is JobState.ANNOUNCED
        free(store)
        await desk.until(lambda: store.jobs.list()[0].state is JobState.DOWNLOADING)
        assert [event.kind for event in desk.told].count(Kind.DEVICE_JOINED) == 200
        await desk.until(lambda: store.devices.get(PPMID).refused_frames == 200)
