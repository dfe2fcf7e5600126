"""The class of a device's OTA client in the running hub: recognised, set, written, traced, and shown to people."""

import json
from itertools import cycle

import pytest
from click.testing import CliRunner

from chf.cli.main import chf
from chf.eui64 import Eui64, format_eui64
from chf.image.image import parse_image
from chf.store import Store
from chf.store.images import record_of
from chf.store.inbox import CommandState, Verb
from chf.trace import Kind
from chf.update.clients import CLASSES, UNKNOWN
from chf.update.model import UpdateState
from chf.update.recognition import NOTHING_SHOWN, Confidence, Traits
from chf.zcl import ota
from chf.zcl.frame import Frame
from tests.support.damaged_store import sql
from tests.support.memory_radio import MemoryRadio, hub_on_desk, on_the_network, order_update
from tests.support.programs import image_file

DEVICE, OTHER = Eui64(0x00DB1234567890A4), Eui64(0x00DB1234567890A5)
IMAGE_IDS = (0x10D4, 1)
OLD, NEW = 1, 2
HOLD = {"kind": "hold", "strategy": "hold"}
SHOWN = Traits(manufacturer_code=IMAGE_IDS[0], block_bytes=48, field_control=2)
TELINK = CLASSES["telink"]
SEQUENCES = cycle(range(256))


@pytest.fixture
def store(tmp_path):
    image = parse_image(image_file(tmp_path / "new.ota", size_bytes=500).read_bytes())
    with Store.open(tmp_path / "home", hub=True) as opened:
        on_the_network(opened, DEVICE, OTHER)
        order_update(opened, image, DEVICE)
        yield opened


@pytest.fixture
def held(tmp_path):
    """A store where the update is ordered to hold."""
    image = parse_image(image_file(tmp_path / "new.ota", size_bytes=500).read_bytes())
    with Store.open(tmp_path / "held", hub=True) as opened:
        on_the_network(opened, DEVICE)
        with opened.transaction() as tx:
            tx.images.add(record_of(image, "new", 0.0), image.content)
            body = {"devices": [format_eui64(DEVICE)], "image": image.sha256, "activation": HOLD}
            tx.inbox.submit(Verb.UPDATE_START, body, 0.0)
        yield opened


def say(desk, body, device=DEVICE):
    desk.radio.says(device, ota.CLUSTER, ota.command(body, next(SEQUENCES)))


def download(desk):
    """A client of Telink asks for the first blocks."""
    say(desk, ota.QueryNextImageRequest(*IMAGE_IDS, OLD, 1))
    for offset in range(0, 240, 48):
        say(desk, ota.ImageBlockRequest(*IMAGE_IDS, NEW, offset, 48, minimum_block_period=0))


async def announced(desk):
    await desk.until(lambda: [update.state for update in desk.store.updates.list()] == [UpdateState.ANNOUNCED])


async def do(desk, verb, body):
    with desk.store.transaction() as tx:
        number = tx.inbox.submit(verb, body, 0.0)
    await desk.until(lambda: desk.store.inbox.get(number).state is not CommandState.PENDING)
    return desk.store.inbox.get(number)


def set_class(desk, name, device=DEVICE):
    return do(desk, Verb.DEVICE_SET_CLASS, {"device": format_eui64(device), "class": name})


def traced(desk):
    events = [event for event in desk.told if event.kind is Kind.CLIENT_RECOGNISED]
    return [(event.device, event.fields["client_class"], event.fields["confidence"]) for event in events]


def client(store, device=DEVICE):
    return store.devices.get(device).client


async def test_a_class_is_recognised_by_the_first_blocks_and_survives_the_process(store):
    async with hub_on_desk(store, MemoryRadio()) as desk:
        await announced(desk)
        download(desk)
        assert store.devices.get(DEVICE).client_traits == SHOWN
        assert (client(store).client, client(store).confidence) == (TELINK, Confidence.LIKELY)
        assert traced(desk) == [(DEVICE, "telink", "likely")]
        assert store.devices.get(OTHER).client_traits == NOTHING_SHOWN
    async with hub_on_desk(store, MemoryRadio()) as desk:
        say(desk, ota.QueryNextImageRequest(*IMAGE_IDS, OLD, 1))
        assert store.devices.get(DEVICE).client_traits == SHOWN
        assert traced(desk) == [], "nothing that was not known"


async def test_contradicting_evidence_makes_it_unknown_again(store):
    async with hub_on_desk(store, MemoryRadio()) as desk:
        await announced(desk)
        download(desk)
        say(desk, ota.QueryNextImageRequest(*IMAGE_IDS, OLD, 1))
        say(desk, ota.ImageBlockRequest(*IMAGE_IDS, NEW, 0, 63))
        assert traced(desk)[1:] == [(DEVICE, "unknown", "unknown")]
        assert client(store).client is UNKNOWN


async def test_a_class_that_was_set_stays_over_evidence_and_restart_until_it_is_taken_back(store):
    async with hub_on_desk(store, MemoryRadio()) as desk:
        await announced(desk)
        assert (await set_class(desk, "nxp")).result == {"device": format_eui64(DEVICE), "class": "nxp"}
        assert traced(desk) == [(DEVICE, "nxp", "certain")]
        download(desk)
        assert len(traced(desk)) == 1, "what it shows is kept, and changes nothing"
    async with hub_on_desk(store, MemoryRadio()) as desk:
        assert (client(store).client, client(store).confidence) == (CLASSES["nxp"], Confidence.CERTAIN)
        await set_class(desk, None)
        assert traced(desk) == [(DEVICE, "telink", "likely")]
        assert store.devices.get(DEVICE).client_class is None


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"device": format_eui64(Eui64(9)), "class": "ti"}, "is not in the device log"),
        ({"device": format_eui64(DEVICE), "class": "zx81"}, "there is no class 'zx81' of OTA clients"),
        ({"device": format_eui64(DEVICE)}, "the command is malformed"),
        ({"device": format_eui64(DEVICE), "class": 7}, "there is no class 7"),
    ],
)
async def test_what_cannot_be_set_is_refused(store, body, reason):
    async with hub_on_desk(store, MemoryRadio()) as desk:
        command = await do(desk, Verb.DEVICE_SET_CLASS, body)
        assert command.state is CommandState.REFUSED
        assert reason in command.result["reason"]
        assert traced(desk) == []


def last_block(desk, device=DEVICE):
    """Whether it is sent, or the device told to wait."""
    say(desk, ota.QueryNextImageRequest(*IMAGE_IDS, OLD, 1), device)
    size = desk.store.images.list()[0].size_bytes
    for offset in range(0, size, 50):
        say(desk, ota.ImageBlockRequest(*IMAGE_IDS, NEW, offset, 50), device)
    frame = Frame.from_bytes(desk.radio.to_cluster(ota.CLUSTER)[-1].payload)
    return type(ota.parse_image_block_response(frame.payload))


@pytest.mark.parametrize(("name", "answered"), [("silicon-labs", ota.ImageBlock), (None, ota.WaitForData)])
async def test_the_hub_goes_by_the_class_of_a_device_from_its_start(held, name, answered):
    """Who would hold for ever is sent the last block, and who may not is kept from it."""
    async with hub_on_desk(held, MemoryRadio()) as desk:
        await set_class(desk, name)
    async with hub_on_desk(held, MemoryRadio()) as desk:
        await announced(desk)
        assert last_block(desk) is answered


async def test_the_hub_goes_by_a_class_that_is_set_in_mid_update(held):
    async with hub_on_desk(held, MemoryRadio()) as desk:
        await announced(desk)
        assert last_block(desk) is ota.WaitForData
        await set_class(desk, "silicon-labs")
        assert last_block(desk) is ota.ImageBlock


async def test_who_does_not_heed_its_waits_is_taken_for_the_class_that_does_not(held):
    async with hub_on_desk(held, MemoryRadio()) as desk:
        await announced(desk)
        assert last_block(desk) is ota.WaitForData
        last = (held.images.list()[0].size_bytes - 1) // 50 * 50
        for _ in range(3):
            say(desk, ota.ImageBlockRequest(*IMAGE_IDS, NEW, last, 50))
        assert traced(desk) == [(DEVICE, "microchip", "likely")]
        assert not client(held).limits.honours_wait


async def test_a_class_goes_with_its_device_out_of_the_log(held):
    async with hub_on_desk(held, MemoryRadio()) as desk:
        await announced(desk)
        await set_class(desk, "silicon-labs")
        await do(desk, Verb.UPDATE_CANCEL, {"update": 1})
        await do(desk, Verb.DEVICE_FORGET, {"device": format_eui64(DEVICE)})
        on_the_network(held, DEVICE)
        body = {"devices": [format_eui64(DEVICE)], "image": held.images.list()[0].sha256}
        await do(desk, Verb.UPDATE_START, body | {"activation": HOLD})
        await desk.until(lambda: held.updates.list()[-1].state is UpdateState.ANNOUNCED)
        assert last_block(desk) is ota.WaitForData


async def test_new_firmware_is_another_client_and_what_was_set_is_not_forgotten(store):
    async with hub_on_desk(store, MemoryRadio()) as desk:
        await announced(desk)
        download(desk)
        for offset in range(240, 600, 48):
            say(desk, ota.ImageBlockRequest(*IMAGE_IDS, NEW, offset, 48, minimum_block_period=0))
        say(desk, ota.UpgradeEndRequest(0, *IMAGE_IDS, NEW))
        assert store.updates.list()[0].state is UpdateState.ACTIVATING
        say(desk, ota.QueryNextImageRequest(*IMAGE_IDS, NEW, 1))
        assert store.updates.list()[0].state is UpdateState.ACTIVATED
        assert store.devices.get(DEVICE).client_traits == Traits(manufacturer_code=IMAGE_IDS[0])
        assert traced(desk) == [(DEVICE, "telink", "likely"), (DEVICE, "unknown", "unknown")]
        await set_class(desk, "ti")
        assert client(store).confidence is Confidence.CERTAIN


async def test_a_device_that_is_forgotten_and_added_again_begins_with_nothing(store):
    async with hub_on_desk(store, MemoryRadio()) as desk:
        await announced(desk)
        say(desk, ota.ImageBlockRequest(*IMAGE_IDS, NEW, 0, 48), OTHER)
        await set_class(desk, "ti", OTHER)
        await do(desk, Verb.DEVICE_FORGET, {"device": format_eui64(OTHER)})
        on_the_network(store, OTHER)
        await desk.two_looks()
        assert client(store, OTHER).client is UNKNOWN
        say(desk, ota.QueryNextImageRequest(*IMAGE_IDS, OLD, 1), OTHER)
        assert store.devices.get(OTHER).client_traits == Traits(manufacturer_code=IMAGE_IDS[0])


@pytest.mark.parametrize(
    ("column", "value"),
    [("client_class", "zx81"), ("client_traits", "{"), ("client_traits", "[]"), ("client_traits", '{"colour": 1}')],
)
async def test_damage_harms_its_own_device_alone(store, column, value):
    sql(store.home, f"update devices set {column} = '{value}' where eui64 = '{format_eui64(DEVICE)}'")  # noqa: S608
    assert [entry.eui64 for entry in store.devices.list()] == [OTHER]
    async with hub_on_desk(store, MemoryRadio()) as desk:
        say(desk, ota.QueryNextImageRequest(*IMAGE_IDS, OLD, 1), OTHER)
        assert store.devices.get(OTHER).client_traits == Traits(manufacturer_code=IMAGE_IDS[0])


def run(home, *arguments):
    result = CliRunner().invoke(chf, ["device", *arguments, "--home", str(home)])
    return result.exit_code, result.output + str(result.exception or "")


async def test_people_see_the_class_how_sure_it_is_and_what_led_to_it(store):
    async with hub_on_desk(store, MemoryRadio()) as desk:
        await announced(desk)
        download(desk)
    described = json.loads(run(store.home, "show", format_eui64(DEVICE), "--json")[1])["device"]
    assert (described["client_class"], described["client_confidence"]) == ("telink", "likely")
    assert "it asks for blocks of 48 octets" in described["client_reasons"]
    _, shown = run(store.home, "show", format_eui64(DEVICE))
    assert "it asks for blocks of 48 octets; its block requests carry MinimumBlockPeriod" in " ".join(shown.split())
    described = json.loads(run(store.home, "show", format_eui64(OTHER), "--json")[1])["device"]
    assert (described["client_class"], described["client_confidence"]) == ("unknown", "unknown")


def test_set_class_is_a_command_that_waits_for_a_hub(tmp_path):
    with Store.open(tmp_path) as store:
        on_the_network(store, DEVICE)
    code, said = run(tmp_path, "set-class", format_eui64(DEVICE), "telink")
    assert (code, "queued" in said) == (0, True)
    assert run(tmp_path, "set-class", format_eui64(DEVICE), "auto")[0] == 0
    with Store.open(tmp_path) as store:
        assert [command.body["class"] for command in store.inbox.pending()] == ["telink", None]
    code, said = run(tmp_path, "set-class", format_eui64(DEVICE), "zx81")
    assert (code, "silicon-labs" in said) == (2, True)
    _, said = run(tmp_path, "set-class", format_eui64(OTHER), "ti")
    assert "is not in the device log" in said
