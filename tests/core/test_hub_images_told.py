"""What devices tell of their images, in the running hub: kept by image type, shown to people, told from each other."""

import json

import pytest
from click.testing import CliRunner

from chf.cli.main import chf
from chf.clock import Instant, Now, UtcSeconds
from chf.eui64 import Eui64, format_eui64
from chf.image.header import ImageType
from chf.image.image import parse_image
from chf.store import Store
from chf.trace import Kind
from chf.update.model import UpdateState
from chf.update.versions import MOST_IMAGE_TYPES
from chf.view.table import Board
from chf.zcl import ota
from tests.support.memory_radio import MemoryRadio, hub_on_desk, on_the_network, order_update
from tests.support.programs import image_file

DEVICE = Eui64(0x00DB1234567890A4)
OURS, ANOTHER = ImageType(0x10D4, 1), ImageType(0x10D4, 9)
OLD, NEW = 1, 2
READ_BACK = "10 00 01 0200 00 23 02000000"
T0 = 1_800_000_000.0


class Clock:
    def __init__(self):
        self.seconds = 0.0

    def now(self):
        return Now(self.instant(), UtcSeconds(T0 + self.seconds))

    def instant(self):
        return Instant(1000.0 + self.seconds)


@pytest.fixture
def image(tmp_path):
    return parse_image(image_file(tmp_path / "new.ota", size_bytes=100).read_bytes())


@pytest.fixture
def store(tmp_path, image):
    assert (image.header.made_for, image.header.file_version) == (OURS, NEW)
    with Store.open(tmp_path / "home", hub=True) as opened:
        on_the_network(opened, DEVICE)
        order_update(opened, image, DEVICE)
        yield opened


def say(desk, body):
    desk.radio.says(DEVICE, ota.CLUSTER, ota.command(body, 7))


def query(desk, image_type, version, hardware=None):
    say(desk, ota.QueryNextImageRequest(image_type.manufacturer_code, image_type.number, version, hardware))


def versions(store):
    return {image.image_type: image.file_version for image in store.devices.get(DEVICE).images}


def row(store):
    return store.updates.list()[-1]


async def activating(desk, image):
    """The device loads the image and is told to activate it."""
    await desk.until(lambda: [update.state for update in desk.store.updates.list()] == [UpdateState.ANNOUNCED])
    query(desk, OURS, OLD)
    for offset in range(0, len(image.content), 50):
        say(desk, ota.ImageBlockRequest(OURS.manufacturer_code, OURS.number, NEW, offset, 50))
    say(desk, ota.UpgradeEndRequest(0, OURS.manufacturer_code, OURS.number, NEW))
    await desk.until(lambda: row(desk.store).state is UpdateState.ACTIVATING)


async def test_each_image_of_a_device_has_its_version(store):
    async with hub_on_desk(store, MemoryRadio(), clock=Clock()) as desk:
        for told in ((OURS, OLD, 4), (ANOTHER, 7), (ANOTHER, 0xFFFF_FFFF), (ANOTHER, 7), (OURS, 0xFFFF_FFFF)):
            query(desk, *told)
        desk.radio.says(DEVICE, ota.CLUSTER, bytes.fromhex(READ_BACK))
        await desk.two_looks()
        assert versions(store) == {OURS: OLD, ANOTHER: 7}, "what is not told anew stays, of what does not say whose"
        assert [image.hardware_version for image in store.devices.get(DEVICE).images] == [4, None]
        seen = [dict(event.fields) for event in desk.told if event.kind is Kind.VERSION_OBSERVED]
        ours = "manufacturer 0x10D4, type 0x0001"
        assert seen[0] == {"file_version": "0x00000001", "image_type": ours, "by": "query"}
        assert len(seen) == 2, "and what was known is not told again"


async def test_a_restart_of_the_hub_knows_of_which_images_a_device_spoke(store, image):
    async with hub_on_desk(store, MemoryRadio(), clock=Clock()) as desk:
        query(desk, ANOTHER, 7)
        await activating(desk, image)
        await desk.two_looks()
    async with hub_on_desk(store, MemoryRadio(), clock=Clock()) as desk:
        desk.radio.says(DEVICE, ota.CLUSTER, bytes.fromhex(READ_BACK))
        await desk.until(lambda: row(store).doubt)
        assert row(store).doubt == "it has several images, and does not say of which its version is"
        query(desk, ANOTHER, NEW)
        query(desk, OURS, NEW)
        await desk.until(lambda: row(store).state is UpdateState.ACTIVATED)
        assert (row(store).reason, versions(store)) == ("", {OURS: NEW, ANOTHER: NEW})


async def test_new_firmware_that_goes_by_another_type_takes_the_place_of_the_old_one(store, image):
    clock = Clock()
    async with hub_on_desk(store, MemoryRadio(), clock=clock) as desk:
        await activating(desk, image)
        query(desk, ANOTHER, NEW)
        await desk.until(lambda: row(store).successor == ANOTHER)
        assert versions(store) == {OURS: OLD, ANOTHER: NEW}
        assert Board(store, store.home).records()[0]["version now -> target"] == "00000001 -> 00000002"
    async with hub_on_desk(store, MemoryRadio(), clock=clock) as desk:
        await desk.two_looks()
        clock.seconds += 601
        query(desk, ANOTHER, NEW)
        await desk.until(lambda: row(store).state is UpdateState.ACTIVATED)
        assert row(store).version_seen == NEW
        await desk.until(lambda: versions(store) == {ANOTHER: NEW})
        assert Board(store, store.home).records()[0]["version now -> target"] == "00000002 -> 00000002"
        desk.radio.says(DEVICE, ota.CLUSTER, bytes.fromhex(READ_BACK.replace("02000000", "03000000")))
        await desk.until(lambda: versions(store) == {ANOTHER: 3})
        assert [update.state for update in store.updates.list()] == [UpdateState.ACTIVATED]


async def test_an_unverified_update_says_so_and_can_be_given_up(store, image):
    clock = Clock()
    async with hub_on_desk(store, MemoryRadio(), clock=clock) as desk:
        await activating(desk, image)
        desk.radio.says(DEVICE, ota.CLUSTER, bytes.fromhex("10 00 01 0200 00 23 ffffffff"))
        await desk.two_looks()
        clock.seconds += 601
        query(desk, ANOTHER, 7)
        reason = "unverified: the device reported nothing, and its version reads 0xFFFFFFFF, which is no version"
        await desk.until(lambda: row(store).reason == reason)
        said = [dict(event.fields) for event in desk.told if event.kind is Kind.UPDATE_STATE][-1]
        assert said == {"from": "activating", "to": "activating", "reason": reason}
        shown = CliRunner().invoke(chf, ["update", "show", "1", "--home", str(store.home)])
        assert reason in " ".join(shown.stdout.split())
        with store.transaction() as tx:
            tx.inbox.submit("update.cancel", {"update": 1}, 0.0)
        await desk.until(lambda: row(store).state is UpdateState.FAILED)
        assert row(store).reason == f"given up, {reason}"


async def test_a_device_that_makes_image_types_up_fills_no_store(store):
    async with hub_on_desk(store, MemoryRadio(), clock=Clock()) as desk:
        for number in range(100):
            query(desk, ImageType(0x10D4, number), OLD)
        await desk.two_looks()
        assert len(versions(store)) == MOST_IMAGE_TYPES
        query(desk, ImageType(0x10D4, 0), 5)
        await desk.until(lambda: versions(store)[ImageType(0x10D4, 0)] == 5)


async def test_a_device_that_is_forgotten_and_added_again_spoke_of_nothing(store):
    async with hub_on_desk(store, MemoryRadio(), clock=Clock()) as desk:
        query(desk, OURS, OLD)
        await desk.two_looks()
        with store.transaction() as tx:
            tx.inbox.submit("update.cancel", {"update": 1}, 0.0)
            tx.inbox.submit("device.forget", {"device": format_eui64(DEVICE)}, 0.0)
        await desk.until(lambda: store.devices.get(DEVICE) is None)
        on_the_network(store, DEVICE)
        await desk.two_looks()
        desk.radio.says(DEVICE, ota.CLUSTER, bytes.fromhex(READ_BACK))
        await desk.two_looks()
        assert versions(store) == {}


@pytest.mark.parametrize(("told", "before"), [(OURS, OLD), (ANOTHER, None)])
async def test_an_update_begins_with_the_version_of_its_image_type(store, image, told, before):
    async with hub_on_desk(store, MemoryRadio(), clock=Clock()) as desk:
        query(desk, told, OLD)
        await desk.until(lambda: versions(store) == {told: OLD})
        with store.transaction() as tx:
            tx.inbox.submit("update.cancel", {"update": 1}, 0.0)
            body = {"devices": [format_eui64(DEVICE)], "image": image.sha256, "activation": {"kind": "now"}}
            tx.inbox.submit("update.start", body, 0.0)
        await desk.until(lambda: len(store.updates.list()) == 2)
        assert row(store).version_before == before


async def test_people_are_shown_every_image(store):
    async with hub_on_desk(store, MemoryRadio(), clock=Clock()) as desk:
        query(desk, OURS, OLD, 4)
        await desk.two_looks()
        (line,) = [line for line in run(store, "list").splitlines() if "PPMID" in line]
        assert "0x00000001" in line.split()
        query(desk, ANOTHER, 0xFFFF_FFFF)
        await desk.two_looks()
    assert "0x0001: 0x00000001, 0x0009: unknown" in run(store, "list")
    shown = run(store, "show", format_eui64(DEVICE))
    told = "told at 2027-01-15T08:00:00Z"
    assert f"version 0x00000001, hardware version 0x0004, {told}" in " ".join(shown.split())
    assert f"image of manufacturer 0x10D4, type 0x0009 version unknown, {told}" in " ".join(shown.split())
    images = json.loads(run(store, "show", format_eui64(DEVICE), "--json"))["device"]["images"]
    assert images[0] == {
        "manufacturer": "0x10D4",
        "image_type": "0x0001",
        "file_version": "0x00000001",
        "hardware_version": "0x0004",
        "since": "2027-01-15T08:00:00Z",
    }
    assert (images[1]["image_type"], images[1]["file_version"]) == ("0x0009", None)


def run(store, *command):
    result = CliRunner().invoke(chf, ["device", *command, "--home", str(store.home)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout
