"""A full disk under the hub: devices are served on, nothing that happened is lost, and it recovers by itself."""

import time as time_

import pytest

from chf.eui64 import format_eui64, parse_eui64
from chf.image.image import parse_image
from chf.store import Store
from chf.store.device_log import DeviceEntry, DeviceStatus, DeviceType
from chf.store.inbox import CommandState, Verb
from chf.trace import Kind
from chf.update.model import UpdateState
from chf.zcl import ota, time
from chf.zcl.frame import Frame, Status
from tests.support.damaged_store import fill_disk, free_disk
from tests.support.memory_radio import MemoryRadio, hub_on_desk, on_the_network, order_update
from tests.support.programs import image_file

PPMID = parse_eui64("00-DB-12-34-56-78-90-A4")
OTHER = parse_eui64("00-DB-12-34-56-78-90-A5")
READ_TIME = bytes.fromhex("00 07 00 0000")
QUERY = bytes.fromhex("01 01 01 01 d410 0100 01000000 0100")


@pytest.fixture
def store(tmp_path):
    image = parse_image(image_file(tmp_path / "new.ota", size_bytes=500).read_bytes())
    with Store.open(tmp_path / "home", hub=True) as opened:
        on_the_network(opened, PPMID)
        order_update(opened, image, PPMID)
        yield opened


def fall_behind(store, radio) -> None:
    """Until no page has room left."""
    fill_disk(store)
    for _ in range(200):
        radio.joins(PPMID)
        radio.says(PPMID, time.CLUSTER, READ_TIME)


async def test_a_full_disk_stops_no_device_and_loses_nothing(store):
    radio = MemoryRadio()
    async with hub_on_desk(store, radio) as desk:
        await desk.until(lambda: store.updates.list() and store.updates.list()[0].state is UpdateState.ANNOUNCED)
        fill_disk(store)
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
        assert store.updates.list()[0].state is UpdateState.ANNOUNCED
        free_disk(store)
        await desk.until(lambda: store.updates.list()[0].state is UpdateState.DOWNLOADING)
        assert [event.kind for event in desk.told].count(Kind.DEVICE_JOINED) == 200
        await desk.until(lambda: store.devices.get(PPMID).refused_frames == 200)


async def test_no_device_is_told_to_activate_before_that_is_written_however_often_it_asks(store):
    radio = MemoryRadio()
    image = parse_image(store.images.open(store.images.list()[0].sha256))
    ids = (image.header.manufacturer_code, image.header.image_type, image.header.file_version)
    async with hub_on_desk(store, radio) as desk:
        await desk.until(lambda: store.updates.list() and store.updates.list()[0].state is UpdateState.ANNOUNCED)
        radio.says(PPMID, ota.CLUSTER, QUERY)
        for offset in range(0, len(image.content), 40):
            radio.says(PPMID, ota.CLUSTER, ota.command(ota.ImageBlockRequest(*ids, offset, 40), 2))
        await desk.until(lambda: store.updates.list()[0].state is UpdateState.DOWNLOADING)
        fall_behind(store, radio)
        for sequence in (3, 4, 5):
            radio.says(PPMID, ota.CLUSTER, ota.command(ota.UpgradeEndRequest(Status.SUCCESS, *ids), sequence))
        assert store.updates.list()[0].state is UpdateState.DOWNLOADING
        assert answers_to_the_end(radio) == [
            (3, ota.WAIT_FOR_COMMAND),
            (4, ota.WAIT_FOR_COMMAND),
            (5, ota.WAIT_FOR_COMMAND),
        ]
        free_disk(store)
        await desk.until(lambda: len(answers_to_the_end(radio)) > 3)
        assert answers_to_the_end(radio)[3:] == [(3, 0), (4, 0), (5, 0)]
        assert store.updates.list()[0].state is UpdateState.ACTIVATING


async def test_a_device_that_is_done_is_answered_while_another_process_keeps_the_store(store):
    radio = MemoryRadio()
    image = parse_image(store.images.open(store.images.list()[0].sha256))
    ids = (image.header.manufacturer_code, image.header.image_type, image.header.file_version)
    async with hub_on_desk(store, radio) as desk:
        await desk.until(lambda: store.updates.list() and store.updates.list()[0].state is UpdateState.ANNOUNCED)
        radio.says(PPMID, ota.CLUSTER, QUERY)
        for offset in range(0, len(image.content), 40):
            radio.says(PPMID, ota.CLUSTER, ota.command(ota.ImageBlockRequest(*ids, offset, 40), 2))
        with Store.open(store.home) as beside, beside.transaction():
            before = time_.monotonic()
            radio.says(PPMID, ota.CLUSTER, ota.command(ota.UpgradeEndRequest(Status.SUCCESS, *ids), 3))
            assert time_.monotonic() - before < 3.0, "what fielded clients wait"
            assert answers_to_the_end(radio) == [(3, ota.WAIT_FOR_COMMAND)]
        await desk.until(lambda: answers_to_the_end(radio)[1:] == [(3, 0)])


def answers_to_the_end(radio) -> list[tuple[int, int]]:
    """To which sequence, and the upgrade time."""
    frames = [Frame.from_bytes(message.payload) for message in radio.to_cluster(ota.CLUSTER)]
    ends = [frame for frame in frames if frame.command == ota.UpgradeEndResponse.COMMAND]
    return [(end.sequence, ota.UpgradeEndResponse.from_bytes(end.payload).upgrade_time) for end in ends]


async def test_a_device_that_speaks_while_the_disk_is_full_arrives_once(store):
    """Its announcement was lost: each of its messages shows that it is there, until that is written."""
    radio = MemoryRadio()
    with store.transaction() as tx:
        tx.devices.add(DeviceEntry(OTHER, DeviceType.PPMID, 0.0, bytes(16)))
    async with hub_on_desk(store, radio) as desk:
        fall_behind(store, radio)
        for _ in range(5):
            radio.says(OTHER, time.CLUSTER, READ_TIME)
        free_disk(store)

        def spoke():
            radio.says(OTHER, time.CLUSTER, READ_TIME)
            return store.devices.get(OTHER).status is DeviceStatus.JOINED

        await desk.until(spoke)
        joined = [event for event in desk.told if event.kind is Kind.DEVICE_JOINED and event.device == OTHER]
        assert len(joined) == 1


def count_polls(store, monkeypatch) -> list[bool]:
    """Grows each time that the hub looks for commands."""
    polls: list[bool] = []
    look = store.changed_by_others

    def counted() -> bool:
        polls.append(look())
        return polls[-1]

    monkeypatch.setattr(store, "changed_by_others", counted)
    return polls


async def test_commands_wait_their_turn_while_the_disk_is_full_and_are_done_once(store, monkeypatch):
    radio = MemoryRadio()
    image = store.images.list()[0].sha256
    async with hub_on_desk(store, radio) as desk:
        await desk.until(lambda: store.updates.list() and store.updates.list()[0].state is UpdateState.ANNOUNCED)
        with store.transaction() as tx:
            tx.devices.add(DeviceEntry(OTHER, DeviceType.PPMID, 0.0, bytes(16), status=DeviceStatus.JOINED))
            cancel = tx.inbox.submit(Verb.UPDATE_CANCEL, {"update": 1}, 0.0)
            order = {"image": image, "activation": {"kind": "now"}}
            started = [
                tx.inbox.submit(Verb.UPDATE_START, {"devices": [format_eui64(device)], **order}, 0.0)
                for device in (PPMID, OTHER)
            ]
        fall_behind(store, radio)
        polls = count_polls(store, monkeypatch)
        await desk.until(lambda: len(polls) > 2)
        free_disk(store)
        await desk.until(lambda: not store.inbox.pending())
        results = [store.inbox.get(number) for number in (cancel, *started)]
        assert [result.state for result in results] == [CommandState.DONE] * 3
        assert [update.device for update in store.updates.list()] == [PPMID, PPMID, OTHER]
