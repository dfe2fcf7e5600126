"""When the hub takes a device for joined: what the radio tells, and what can be heard."""

import pytest

from chf.eui64 import parse_eui64
from chf.store import Store
from chf.store.device_log import DeviceEntry, DeviceStatus, DeviceType
from chf.trace import Kind
from chf.zcl import ota
from tests.support.memory_radio import MemoryRadio, hub_on_desk

PPMID = parse_eui64("00-DB-12-34-56-78-90-A4")
STRANGER = parse_eui64("00-DB-12-34-56-78-90-FF")
QUERY = bytes.fromhex("01 01 01 01 d410 0100 01000000 0100")  # Query Next Image with a hardware version


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "home", hub=True) as opened:
        with opened.transaction() as tx:
            tx.devices.add(DeviceEntry(PPMID, DeviceType.PPMID, 0.0, bytes(16)))
        yield opened


async def test_a_device_whose_announcement_was_lost_is_there_once_it_speaks_under_its_key(store):
    async with hub_on_desk(store, MemoryRadio()) as desk:
        desk.radio.says(PPMID, ota.CLUSTER, QUERY)
        await desk.until(lambda: store.devices.get(PPMID).status is DeviceStatus.JOINED)
        desk.radio.says(PPMID, ota.CLUSTER, QUERY)
        await desk.until(lambda: len(desk.radio.to_cluster(ota.CLUSTER)) == 2)
        assert desk.kinds().count(Kind.DEVICE_JOINED) == 1
        desk.radio.joins(PPMID, 0x4321)  # the announcement came after all
        await desk.until(lambda: store.devices.get(PPMID).network_address == 0x4321)


async def test_a_frame_without_the_link_key_proves_nothing(store):
    async with hub_on_desk(store, MemoryRadio()) as desk:
        desk.radio.says(PPMID, ota.CLUSTER, QUERY, secured=False)
        await desk.until(lambda: Kind.FRAME_REFUSED in desk.kinds())
        assert store.devices.get(PPMID).status is not DeviceStatus.JOINED


async def test_a_device_that_is_not_in_the_log_gets_nothing(store):
    radio = MemoryRadio()
    async with hub_on_desk(store, radio) as desk:
        desk.radio.joins(STRANGER)
        for _ in range(3):
            desk.radio.says(STRANGER, ota.CLUSTER, QUERY)
        await desk.until(lambda: Kind.FRAME_REFUSED in desk.kinds())
        assert radio.posted == []
        assert desk.kinds().count(Kind.FRAME_REFUSED) == 1
        assert desk.kinds().count(Kind.ALARM) == 1
