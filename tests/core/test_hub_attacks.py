"""Attacks on a download that the hub serves: by a device that is struck from the log, and by another device."""

import pytest

from chf.eui64 import format_eui64, parse_eui64
from chf.image.header import OtaHeader
from chf.image.image import parse_image
from chf.store import Store
from chf.store.images import record_of
from chf.store.inbox import CommandState, Verb
from chf.update.model import UpdateState
from chf.zcl import ota
from chf.zcl.frame import Status
from tests.support.memory_radio import MemoryRadio, hub_on_desk, on_the_network, order_update
from tests.support.programs import image_file

DEVICE = parse_eui64("00-DB-12-34-56-78-90-A4")
INTRUDER = parse_eui64("00-DB-12-34-56-78-90-A5")
QUERY = bytes.fromhex("01 01 01 01 d410 0100 01000000 0100")
BLOCK_BYTES = 40


@pytest.fixture
def image(tmp_path):
    return parse_image(image_file(tmp_path / "new.ota", size_bytes=500).read_bytes())


@pytest.fixture
def store(tmp_path, image):
    with Store.open(tmp_path / "home", hub=True) as opened:
        on_the_network(opened, DEVICE, INTRUDER)
        order_update(opened, image, DEVICE)
        yield opened


class Fetcher:
    """A device that asks for blocks by hand."""

    def __init__(self, desk, image, device):
        self.radio, self.image, self.device, self.sequence = desk.radio, image, device, 0

    def asks(self, offset):
        """Says what it got: (status, data), or None for no answer."""
        before = len(self.radio.posted)
        self.sequence += 1
        header = self.image.header
        body = b"\0" + header.manufacturer_code.to_bytes(2, "little") + header.image_type.to_bytes(2, "little")
        body += header.file_version.to_bytes(4, "little") + offset.to_bytes(4, "little") + bytes((BLOCK_BYTES,))
        self.radio.says(self.device, ota.CLUSTER, bytes((1, self.sequence, ota.ImageBlockRequest.COMMAND)) + body)
        answers = [message for message in self.radio.posted[before:] if message.cluster == ota.CLUSTER]
        if not answers:
            return None
        (answer,) = answers
        assert answer.destination == self.device
        return answer.payload[3], answer.payload[17:]


async def downloading(desk, image):
    await desk.until(lambda: desk.store.updates.list() and desk.store.updates.list()[0].state is UpdateState.ANNOUNCED)
    desk.radio.says(DEVICE, ota.CLUSTER, QUERY)
    fetcher = Fetcher(desk, image, DEVICE)
    assert fetcher.asks(0) == (Status.SUCCESS, image.content[:BLOCK_BYTES])
    return fetcher


async def command(desk, verb, body):
    """What came of it."""
    with Store.open(desk.store.home) as beside:
        with beside.transaction() as tx:
            number = tx.inbox.submit(verb, body, 0.0)
        await desk.until(lambda: beside.inbox.get(number).state is not CommandState.PENDING)
        return beside.inbox.get(number).state


async def test_a_device_forgotten_in_mid_download_gets_nothing_more(store, image):
    forget = (Verb.DEVICE_FORGET, {"device": format_eui64(DEVICE)})
    async with hub_on_desk(store, MemoryRadio()) as desk:
        fetcher = await downloading(desk, image)
        assert await command(desk, *forget) is CommandState.REFUSED  # not while its update runs
        assert fetcher.asks(40) == (Status.SUCCESS, image.content[40:80])
        assert await command(desk, Verb.UPDATE_CANCEL, {"update": int(store.updates.list()[0].id)}) is CommandState.DONE
        assert await command(desk, *forget) is CommandState.DONE
        assert fetcher.asks(80) is None
        before = len(desk.radio.posted)
        desk.radio.says(DEVICE, ota.CLUSTER, QUERY)
        assert [message for message in desk.radio.posted[before:] if message.destination == DEVICE] == []
        assert store.devices.get(DEVICE) is None


async def test_a_block_request_of_another_device_gets_no_block_and_does_not_disturb_the_download(store, image):
    async with hub_on_desk(store, MemoryRadio()) as desk:
        fetcher, intruder = await downloading(desk, image), Fetcher(desk, image, INTRUDER)
        for offset in (0, 40, 480):
            status, data = intruder.asks(offset)
            assert status not in {Status.SUCCESS, 0x97}  # neither data nor a wait for them
            assert image.content[offset : offset + BLOCK_BYTES] not in data + bytes(1)
        assert fetcher.asks(40) == (Status.SUCCESS, image.content[40:80])
        (update,) = store.updates.list()
        assert (update.device, update.state) == (DEVICE, UpdateState.DOWNLOADING)


async def test_an_image_for_another_device_only_is_refused_before_anything_is_sent(store):
    header = OtaHeader(0x10D4, 1, 2, bytes(32), 64 + 7, destination=INTRUDER)
    image = parse_image(header.to_bytes() + b"\0\0" + (1).to_bytes(4, "little") + b"x")
    with store.transaction() as tx:
        tx.images.add(record_of(image, "for the other", 0.0), image.content)
        tx.inbox.finish(1, {}, 0.0)  # the update of the other tests
    body = {"devices": [format_eui64(DEVICE), format_eui64(INTRUDER)], "image": image.sha256}
    async with hub_on_desk(store, MemoryRadio()) as desk:
        with Store.open(desk.store.home) as beside:
            with beside.transaction() as tx:
                number = tx.inbox.submit(Verb.UPDATE_START, body | {"activation": {"kind": "now"}}, 0.0)
            await desk.until(lambda: beside.inbox.get(number).result is not None)
            answer = beside.inbox.get(number).result
    assert answer is not None
    assert [line["device"] for line in answer["started"]] == [format_eui64(INTRUDER)]
    (refused,) = answer["refused"]
    assert refused["reason"] == "00-DB-12-34-56-78-90-A4: the image is for 00-DB-12-34-56-78-90-A5 only"


@pytest.mark.parametrize(
    "order",
    [
        {"activation": {"kind": "at", "utc": 2.6e11, "strategy": "park", "time_form": "relative"}},
        {"activation": {"kind": "at", "utc": float("nan"), "strategy": "park", "time_form": "relative"}},
        {"activation": {"kind": "now"}, "lifetime_s": float("inf")},
        {"activation": {"kind": "now"}, "lifetime_s": -1},
    ],
)
async def test_a_time_that_nobody_can_write_is_refused(store, image, order):
    with store.transaction() as tx:
        tx.inbox.finish(1, {}, 0.0)  # the update of the other tests
        number = tx.inbox.submit(
            Verb.UPDATE_START, {"devices": [format_eui64(DEVICE)], "image": image.sha256, **order}, 0.0
        )
    async with hub_on_desk(store, MemoryRadio()) as desk:
        await desk.until(lambda: store.inbox.get(number).state is CommandState.REFUSED)
    assert store.updates.list() == ()
