"""Key establishment in the hub: who gets what before and after, and what a crash or a lost dongle leaves behind.

The device is the emulated one's initiator; what a real dongle would do with keys is told by `MemoryRadio.installed`.
"""

import asyncio
import shutil
from dataclasses import replace
from random import Random

import pytest

from chf.clock import SystemClock
from chf.crypto.ecqv import Suite
from chf.crypto.mmo import aes_mmo
from chf.errors import RadioGoneError, RadioRefusedError, StoreError, UsageError
from chf.eui64 import Eui64, parse_eui64
from chf.hub import Hub, HubSettings
from chf.hub.batch import DeviceChange
from chf.hub.handler import HubContext
from chf.hub.keys import Keys
from chf.hub.settings import SecurityMode, SecuritySettings
from chf.pki.zigbee import ZigbeePki, seeded_numbers
from chf.radio.interface import HUB_ENDPOINT, Inbound, RadioState
from chf.store import Store
from chf.store.device_log import DeviceEntry, DeviceStatus, DeviceType
from chf.store.inbox import Verb
from chf.trace import Kind
from chf.zcl import basic, key_establishment, ota, time, tunneling
from chf.zcl.frame import DefaultResponse, Frame, FrameType, Status
from devices.nodes.cluster import Discover, Send, TakeLinkKey
from devices.nodes.events import KeyEstablished
from devices.nodes.key_establishment import KeyEstablishmentClient, State
from devices.wire.key_establishment import Command, Initiate, TerminateStatus
from devices.wire.zcl import ZclFrame
from tests.support.client_bench import heard
from tests.support.memory_radio import HUB, MemoryRadio, desk_pki, hub_on_desk

PPMID = parse_eui64("00-DB-12-34-56-78-90-A4")
STRANGER = parse_eui64("00-DB-12-34-56-78-90-FF")
INSTALL_KEY = bytes(range(16))
CBKE = HubSettings(security=SecuritySettings(SecurityMode.CBKE))
READ_TIME = Frame(FrameType.GLOBAL, 0x00, 9, b"\0\0").to_bytes()
QUERY = Frame(FrameType.CLUSTER, ota.QueryNextImageRequest.COMMAND, 7, b"\0\xd8\x10\4\0\1\0\0\0").to_bytes()


@pytest.fixture(scope="module")
def issued(tmp_path_factory):
    """Certificates of hub and device, made once."""
    pki = ZigbeePki(tmp_path_factory.mktemp("pki") / "zigbee")
    for subject in (HUB, PPMID):
        pki.issue(subject, seeded_numbers(b"hub keys"))
    return pki.path


@pytest.fixture
def store(tmp_path, issued):
    with Store.open(tmp_path / "home", hub=True) as opened:
        shutil.copytree(issued, desk_pki(opened.home).path / "zigbee")
        with opened.transaction() as tx:
            tx.devices.add(DeviceEntry(PPMID, DeviceType.PPMID, 0.0, INSTALL_KEY))
        yield opened


class Device:
    """The initiator behind a memory radio: `turn` takes what the hub posted since, until both have nothing to say."""

    def __init__(self, desk, suite=Suite.TWO, credentials=None):
        pki = ZigbeePki(desk.store.home / "pki" / "zigbee")
        sequence = iter(range(1, 256))
        self.client = KeyEstablishmentClient(
            credentials or pki.credentials(PPMID, suite), Random(3), lambda: next(sequence)
        )
        self.desk, self.radio, self.heard, self.taken, self.failed = desk, desk.radio, 0, [], []
        self.heard = len(self.radio.to_cluster(key_establishment.CLUSTER))

    def does(self, effects):
        for effect in effects:
            match effect:
                case Send(frame=frame):
                    self.radio.says(PPMID, key_establishment.CLUSTER, frame.to_bytes(), secured=False)
                case Discover():
                    self.does(self.client.found(3, 0.0))
                case TakeLinkKey(link_key):
                    self.taken.append(link_key)
                case KeyEstablished():
                    pass
                case event:
                    self.failed.append(event)

    def turn(self):
        answers = self.radio.to_cluster(key_establishment.CLUSTER)
        for message in answers[self.heard :]:
            assert not message.aps_secured
            self.heard += 1
            if message.destination != PPMID:
                continue
            frame = ZclFrame.from_bytes(message.payload)
            if frame.cluster_specific:
                self.does(self.client.receive(frame, heard(source_ieee=HUB, secured=False), 0.0)[1])

    async def establish(self):
        self.does(self.client.start(0.0))
        await self.until(lambda: self.taken or self.failed)

    async def until(self, condition):
        def turned():
            self.turn()
            return condition()

        await self.desk.until(turned)


def link_key(store):
    return store.devices.get(PPMID).link_key


def last_refusal(radio, cluster):
    """The status of the newest answer, which is in the clear."""
    message = radio.to_cluster(cluster)[-1]
    assert not message.aps_secured
    return DefaultResponse.from_bytes(Frame.from_bytes(message.payload).payload).status


@pytest.mark.parametrize("suite", Suite)
async def test_a_device_gets_its_key_and_then_everything_else(store, suite):
    async with hub_on_desk(store, MemoryRadio(), CBKE) as desk:
        desk.radio.joins(PPMID)
        assert not desk.radio.to_cluster(tunneling.CLUSTER)
        device = Device(desk, suite)
        await device.establish()
        assert device.taken == [link_key(store)]
        assert desk.radio.installed == [(PPMID, link_key(store))]
        assert store.devices.get(PPMID).key_suite == suite.value
        await desk.until(lambda: desk.radio.to_cluster(tunneling.CLUSTER))
        desk.radio.says(PPMID, time.CLUSTER, READ_TIME)
        assert desk.radio.to_cluster(time.CLUSTER)[-1].aps_secured
        assert Kind.KEY_ESTABLISHED in desk.kinds()
        await desk.until(lambda: store.alerts.list(use_case="CS14"))
        (told,) = store.alerts.list(use_case="CS14")  # GBCS CS14: a hashed link key changed in the device log
        assert told.outcome == "00-DB-12-34-56-78-90-A4 has a new link key"
        assert aes_mmo(link_key(store)) in told.message


@pytest.mark.parametrize("cluster", [ota.CLUSTER, time.CLUSTER, tunneling.CLUSTER, 0x0702, 0x0999])
async def test_before_its_key_a_device_gets_nothing_even_under_its_install_codes_key(store, cluster):
    async with hub_on_desk(store, MemoryRadio(), CBKE) as desk:
        desk.radio.joins(PPMID)
        for secured in (True, False):
            desk.radio.says(PPMID, cluster, QUERY, secured=secured)
            assert last_refusal(desk.radio, cluster) == Status.FAILURE
        await desk.until(lambda: store.devices.get(PPMID).refused_frames == 2)
        assert store.devices.get(PPMID).images == ()


async def test_before_its_key_a_device_gets_basic(store):
    async with hub_on_desk(store, MemoryRadio(), CBKE) as desk:
        desk.radio.joins(PPMID)
        desk.radio.says(PPMID, basic.CLUSTER, READ_TIME, secured=False)
        assert Frame.from_bytes(desk.radio.to_cluster(basic.CLUSTER)[-1].payload).command == 0x01


async def test_an_ota_query_under_the_network_key_alone_is_refused(store):
    async with hub_on_desk(store, MemoryRadio(), CBKE) as desk:
        desk.radio.joins(PPMID)
        await Device(desk).establish()
        desk.radio.says(PPMID, ota.CLUSTER, QUERY, secured=False)
        assert last_refusal(desk.radio, ota.CLUSTER) == Status.FAILURE
        assert store.devices.get(PPMID).images == ()


async def test_key_establishment_under_the_old_key_is_refused(store):
    async with hub_on_desk(store, MemoryRadio(), CBKE) as desk:
        desk.radio.joins(PPMID)
        device = Device(desk)
        device.radio.says = lambda *arguments, **_: MemoryRadio.says(device.radio, *arguments, secured=True)
        device.does(device.client.start(0.0))
        assert last_refusal(desk.radio, key_establishment.CLUSTER) == Status.FAILURE
        assert device.client.state is State.INITIATING


async def test_a_flood_of_devices_is_told_to_wait_and_disturbs_nobody(store):
    """Twenty devices of the log initiate and say nothing more; one that was there before goes on."""
    flood = [Eui64(0x00DB_F100_0000_0000 + number) for number in range(20)]
    pki = ZigbeePki(store.home / "pki" / "zigbee")
    with store.transaction() as tx:
        for device in flood:
            tx.devices.add(DeviceEntry(device, DeviceType.PPMID, 0.0, INSTALL_KEY))
    for device in flood:
        pki.issue(device, seeded_numbers(b"flood"))
    async with hub_on_desk(store, MemoryRadio(), CBKE) as desk:
        desk.radio.joins(PPMID)
        honest = Device(desk)
        honest.does(honest.client.start(0.0))
        heard = len(desk.radio.to_cluster(key_establishment.CLUSTER))
        for device in flood:
            certificate = pki.credentials(device, Suite.TWO).certificate.octets
            octets = ZclFrame(1, Command.INITIATE, Initiate(2, 5, 5, certificate).to_bytes()).to_bytes()
            desk.radio.says(device, key_establishment.CLUSTER, octets, secured=False)
        answers = desk.radio.to_cluster(key_establishment.CLUSTER)[heard:]
        turned_away = [message for message in answers if message.payload[2] == Command.TERMINATE]
        assert len(answers) == 20
        assert len(turned_away) == 5  # sixteen at once, and the honest one was the first
        assert {message.payload[3] for message in turned_away} == {TerminateStatus.NO_RESOURCES}
        assert all(message.payload[4] > 0 for message in turned_away)  # how long to wait
        await honest.until(lambda: honest.taken)
        assert honest.taken == [link_key(store)]


async def test_a_strangers_key_establishment_is_not_answered(store):
    async with hub_on_desk(store, MemoryRadio(), CBKE) as desk:
        octets = ZclFrame(1, Command.INITIATE, bytes(78)).to_bytes()
        desk.radio.says(STRANGER, key_establishment.CLUSTER, octets, secured=False)
        assert not desk.radio.to_cluster(key_establishment.CLUSTER)


async def test_a_device_with_a_certificate_of_another_authority_gets_no_key(store, tmp_path):
    foreign = ZigbeePki(tmp_path / "foreign")
    foreign.issue(PPMID)
    async with hub_on_desk(store, MemoryRadio(), CBKE) as desk:
        desk.radio.joins(PPMID)
        device = Device(desk, credentials=foreign.credentials(PPMID, Suite.TWO))
        await device.establish()
        assert [event.status for event in device.failed] == [TerminateStatus.BAD_KEY_CONFIRM]
        assert link_key(store) is None
        assert not desk.radio.installed
        (failed,) = [event for event in desk.told if event.kind is Kind.KEY_FAILED]
        assert failed.fields["status"] == "BAD_KEY_CONFIRM"


async def test_a_restart_between_confirm_and_installation_makes_both_start_again(store):
    """The hub dies with the key on disk, the dongle and the device without it."""
    radio = MemoryRadio()
    installing = asyncio.Event()

    async def never(*_, **__):
        installing.set()
        await asyncio.get_running_loop().create_future()

    radio.install_link_key = never
    async with hub_on_desk(store, radio, CBKE) as desk:
        radio.joins(PPMID)
        device = Device(desk)
        device.does(device.client.start(0.0))
        await device.until(installing.is_set)
        half = link_key(store)
        assert half is not None
        assert not device.taken
    async with hub_on_desk(store, MemoryRadio(), CBKE) as desk:
        await desk.until(lambda: desk.radio.installed)
        assert desk.radio.installed == [(PPMID, half)]  # put back; the device, which has it not, must start again
        device.desk, device.radio, device.heard = desk, desk.radio, 0
        desk.radio.says(
            PPMID, key_establishment.CLUSTER, ZclFrame(9, Command.CONFIRM_KEY_DATA, bytes(16)).to_bytes(), secured=False
        )
        await device.until(lambda: device.failed)
        assert device.failed[0].by_hub
        assert not device.taken
        device.failed.clear()
        await device.establish()
        assert device.taken == [link_key(store)] == [desk.radio.installed[-1][1]]
        assert device.taken != [half]


async def test_a_disk_that_does_not_take_the_key_leaves_everybody_with_the_old_one(store, monkeypatch):
    """The row is written without waiting; nothing is sent to dongle or device before the disk has it."""

    def full(self):
        raise StoreError("input/output error")

    async with hub_on_desk(store, MemoryRadio(), CBKE) as desk:
        desk.radio.joins(PPMID)
        monkeypatch.setattr(Store, "sync", full)
        device = Device(desk)
        await device.establish()
        assert [event.status for event in device.failed] == [TerminateStatus.NO_RESOURCES]
        assert not desk.radio.installed
        await desk.until(lambda: link_key(store) is None)


async def test_the_key_is_on_disk_before_the_dongle_has_it(store, monkeypatch):
    synced = []
    sync = Store.sync
    monkeypatch.setattr(Store, "sync", lambda self: (synced.append(len(radio.installed)), sync(self))[1])
    radio = MemoryRadio()
    async with hub_on_desk(store, radio, CBKE) as desk:
        radio.joins(PPMID)
        await Device(desk).establish()
    assert 0 in synced


async def test_a_dongle_that_refuses_the_key_leaves_everybody_with_the_old_one(store):
    old = bytes(range(50, 66))
    with store.transaction() as tx:
        tx.devices.update(replace(tx.devices.get(PPMID), link_key=old, key_suite=1, key_utc=5.0))
    radio = MemoryRadio()

    async def refuse(device, key, **_):
        if key != old:
            raise RadioGoneError("the table is full")

    radio.install_link_key = refuse
    async with hub_on_desk(store, radio, CBKE) as desk:
        radio.joins(PPMID)
        device = Device(desk)
        await device.establish()
        assert [event.status for event in device.failed] == [TerminateStatus.NO_RESOURCES]
        await desk.until(lambda: link_key(store) == old)
        assert store.devices.get(PPMID).key_suite == 1


class SlowRadio(MemoryRadio):
    """It takes a new key when it is told to, or refuses it."""

    def __init__(self):
        super().__init__()
        self.asked_to = []

    async def install_link_key(self, device, link_key, *, fresh=False):
        if fresh:
            self.asked_to.append(asyncio.get_running_loop().create_future())
            await self.asked_to[-1]
        await super().install_link_key(device, link_key, fresh=fresh)

    def refuse(self, number):
        self.asked_to[number].set_exception(RadioGoneError("the port was pulled"))


async def begins_anew(desk, radio):
    """A device that confirmed a key, and another time with another key while the dongle had not taken the first."""
    desk.radio.joins(PPMID)
    for turn in range(2):
        device = Device(desk)
        device.does(device.client.start(0.0))
        written = link_key(desk.store)
        await device.until(lambda before=written: link_key(desk.store) != before)
        if not turn:
            await device.until(lambda: radio.asked_to)
    return device


@pytest.mark.parametrize("old", [None, bytes(range(50, 66))])
async def test_an_installation_that_fails_late_leaves_the_next_key_alone(store, old):
    radio = SlowRadio()
    with store.transaction() as tx:
        tx.devices.update(replace(tx.devices.get(PPMID), link_key=old, key_suite=old and 1))
    async with hub_on_desk(store, radio, CBKE) as desk:
        device = await begins_anew(desk, radio)
        radio.refuse(0)
        await device.until(lambda: len(radio.asked_to) == 2)
        radio.asked_to[1].set_result(None)
        await device.until(lambda: device.taken)
        await desk.two_looks()
        assert device.taken == [link_key(store)] == [radio.installed[-1][1]]
        desk.radio.says(PPMID, time.CLUSTER, READ_TIME)
        assert desk.radio.to_cluster(time.CLUSTER)[-1].aps_secured


@pytest.mark.parametrize("first", ["refused", "taken"])
async def test_after_two_installations_that_came_to_nothing_the_key_that_the_device_has_is_back(
    store, established, first
):
    radio = SlowRadio()
    async with hub_on_desk(store, radio, CBKE) as desk:
        device = await begins_anew(desk, radio)
        if first == "refused":
            radio.refuse(0)
        else:
            radio.asked_to[0].set_result(None)
        await device.until(lambda: len(radio.asked_to) == 2)
        radio.refuse(1)
        await device.until(lambda: device.failed)
        await desk.until(lambda: link_key(store) == established == radio.installed[-1][1])
        assert not device.taken


async def test_a_key_that_the_device_gave_up_before_the_dongle_took_it_is_taken_back(store, established):
    """The device said so, and uses the key that it had."""
    radio = SlowRadio()
    async with hub_on_desk(store, radio, CBKE) as desk:
        desk.radio.joins(PPMID)
        device = Device(desk)
        device.does(device.client.start(0.0))
        await device.until(lambda: radio.asked_to)
        no_room = key_establishment.TerminateStatus.NO_RESOURCES
        gives_up = key_establishment.TerminateKeyEstablishment(no_room, 0, 3)
        octets = key_establishment.command(gives_up, 9, to_client=False)
        desk.radio.says(PPMID, key_establishment.CLUSTER, octets, secured=False)
        radio.asked_to[0].set_result(None)
        await desk.until(lambda: link_key(store) == established == radio.installed[-1][1])


async def test_a_device_that_is_to_join_anew_keeps_no_key_of_an_installation_that_failed(store, established):
    radio = SlowRadio()
    async with hub_on_desk(store, radio, CBKE) as desk:
        desk.radio.joins(PPMID)
        device = Device(desk)
        device.does(device.client.start(0.0))
        await device.until(lambda: radio.asked_to)
        with Store.open(store.home) as beside, beside.transaction() as tx:
            tx.inbox.submit(Verb.DEVICE_PERMIT, {"device": "00-DB-12-34-56-78-90-A4", "seconds": 60}, 0.0)
        await desk.until(lambda: Kind.COMMAND_FINISHED in desk.kinds())
        radio.refuse(0)
        await device.until(lambda: device.failed)
        await desk.two_looks()
        assert link_key(store) is None


async def test_a_device_that_does_it_again_gets_another_key(store):
    async with hub_on_desk(store, MemoryRadio(), CBKE) as desk:
        desk.radio.joins(PPMID)
        for _ in range(2):
            device = Device(desk)
            await device.establish()
        first, second = [key for _, key in desk.radio.installed]
        assert first != second == link_key(store)


async def test_keys_are_put_back_into_a_dongle_that_comes_up(store):
    async with hub_on_desk(store, MemoryRadio(), CBKE) as desk:
        desk.radio.joins(PPMID)
        await Device(desk).establish()
    kept = (PPMID, link_key(store))
    for settings in (CBKE, HubSettings()):
        async with hub_on_desk(store, MemoryRadio(), settings) as desk:
            await desk.until(lambda: desk.radio.installed == [kept])
            desk.radio.become(RadioState.GONE)
            desk.radio.become(RadioState.UP)
            await desk.until(lambda: desk.radio.installed == [kept, kept])


class AddresslessRadio(MemoryRadio):
    """As a Z-Stack dongle that is new to the network: it takes no key of a device whose address it does not know."""

    def __init__(self):
        super().__init__()
        self.attempts = 0

    async def install_link_key(self, device, link_key, **how):
        self.attempts += 1
        if device not in self.located:
            raise RadioRefusedError("the dongle wants an address with the key")
        await super().install_link_key(device, link_key, **how)


@pytest.fixture
def established(store):
    """The store of a hub whose device established a key before."""
    key = bytes(range(50, 66))
    with store.transaction() as tx:
        entry = tx.devices.get(PPMID)
        joined = replace(entry, status=DeviceStatus.JOINED, link_key=key, key_suite=2, key_utc=5.0)
        tx.devices.update(joined)
    return key


@pytest.mark.parametrize("sign", ["its announcement", "its first frame"])
async def test_a_key_that_the_dongle_had_no_address_for_is_put_back_when_the_device_is_heard(store, established, sign):
    async with hub_on_desk(store, AddresslessRadio(), CBKE) as desk:
        await desk.until(lambda: desk.radio.attempts)
        assert not desk.radio.installed
        desk.radio.located.add(PPMID)
        if sign == "its announcement":
            desk.radio.joins(PPMID)
        else:
            desk.radio.says(PPMID, basic.CLUSTER, READ_TIME, secured=False)
        await desk.until(lambda: desk.radio.installed)
        assert desk.radio.installed == [(PPMID, established)]
        await desk.until(lambda: desk.radio.to_cluster(tunneling.CLUSTER))  # and what was refused meanwhile is tried


async def test_a_key_that_the_dongle_had_no_address_for_is_put_back_when_a_search_finds_the_device(store, established):
    radio = AddresslessRadio()

    async def locate(device):
        radio.located.add(device)
        return True

    radio.locate = locate
    async with hub_on_desk(store, radio, CBKE) as desk:
        await desk.until(lambda: radio.installed)
        assert radio.installed == [(PPMID, established)]
        assert radio.attempts == 2


async def test_a_dongle_that_refuses_a_key_is_not_asked_at_every_frame(store, established):
    async with hub_on_desk(store, AddresslessRadio(), CBKE) as desk:
        await desk.until(lambda: desk.radio.attempts)
        for _ in range(20):
            desk.radio.says(PPMID, basic.CLUSTER, READ_TIME, secured=False)
        await desk.until(lambda: desk.radio.attempts == 2)
        await asyncio.sleep(0)
        assert desk.radio.attempts == 2


async def test_a_device_that_has_its_key_and_rejoins_gets_a_new_tunnel(store, established):
    async with hub_on_desk(store, MemoryRadio(), CBKE) as desk:
        await desk.until(lambda: desk.radio.to_cluster(tunneling.CLUSTER))
        asked = desk.radio.asked
        desk.radio.joins(PPMID)
        await desk.until(lambda: desk.radio.asked > asked)


async def test_what_the_hub_would_begin_by_itself_waits_for_the_key_too(store, established):
    """The tunnel that it keeps to every device that is on the network: this one's key was taken back meanwhile."""
    with store.transaction() as tx:
        tx.devices.update(replace(tx.devices.get(PPMID), link_key=None))
    async with hub_on_desk(store, MemoryRadio(), CBKE) as desk:
        await desk.until(lambda: desk.radio.asked)
        await desk.two_looks()
        assert desk.radio.posted == []


@pytest.mark.parametrize("change", [DeviceChange.FORGOTTEN, DeviceChange.UNWRITTEN])
def test_an_exchange_of_a_device_that_is_forgotten_or_begins_again_goes_no_further(store, change):
    context = HubContext.of(store, MemoryRadio(), SystemClock(), CBKE, desk_pki(store.home))
    keys, now = Keys(context), context.clock.now()
    keys.started(context.radio.info.network, now)
    certificate = ZigbeePki(store.home / "pki" / "zigbee").credentials(PPMID, Suite.TWO).certificate.octets
    initiate = key_establishment.InitiateKeyEstablishment(Suite.TWO.value, 10, 10, certificate)
    octets = key_establishment.command(initiate, 1, to_client=False)
    said = Inbound(PPMID, 3, HUB_ENDPOINT, 0x0109, key_establishment.CLUSTER, octets, False, False, 255, None)
    assert len(keys.receive(said, now).messages) == 1
    assert keys.deadline() is not None
    keys.device_changed(PPMID, change, now)
    assert keys.deadline() is None


async def test_a_hub_that_restarts_asks_for_no_new_key(store):
    async with hub_on_desk(store, MemoryRadio(), CBKE) as desk:
        desk.radio.joins(PPMID)
        await Device(desk).establish()
    async with hub_on_desk(store, MemoryRadio(), CBKE) as desk:
        desk.radio.says(PPMID, time.CLUSTER, READ_TIME)
        assert desk.radio.to_cluster(time.CLUSTER)


async def test_letting_a_device_join_anew_begins_with_its_install_code(store):
    async with hub_on_desk(store, MemoryRadio(), CBKE) as desk:
        desk.radio.joins(PPMID)
        await Device(desk).establish()
        with Store.open(store.home) as beside, beside.transaction() as tx:
            tx.inbox.submit(Verb.DEVICE_PERMIT, {"device": "00-DB-12-34-56-78-90-A4", "seconds": 60}, 0.0)
        await desk.until(lambda: link_key(store) is None)
        assert desk.radio.permitted == [(PPMID, INSTALL_KEY, 60)]
        await desk.until(lambda: Kind.COMMAND_FINISHED in desk.kinds())
        desk.radio.says(PPMID, time.CLUSTER, READ_TIME)
        assert last_refusal(desk.radio, time.CLUSTER) == Status.FAILURE


async def test_a_forgotten_device_is_a_stranger_in_the_middle_of_its_exchange(store):
    async with hub_on_desk(store, MemoryRadio(), CBKE) as desk:
        desk.radio.joins(PPMID)
        device = Device(desk)
        device.does(device.client.start(0.0))
        with Store.open(store.home) as beside, beside.transaction() as tx:
            tx.inbox.submit(Verb.DEVICE_FORGET, {"device": "00-DB-12-34-56-78-90-A4"}, 0.0)
        await desk.until(lambda: store.devices.get(PPMID) is None)
        answered = len(desk.radio.to_cluster(key_establishment.CLUSTER))
        device.turn()
        await asyncio.sleep(0)
        assert len(desk.radio.to_cluster(key_establishment.CLUSTER)) == answered


async def test_in_lab_mode_there_is_no_key_establishment(store):
    async with hub_on_desk(store, MemoryRadio()) as desk:
        desk.radio.joins(PPMID)
        device = Device(desk)
        device.does(device.client.start(0.0))
        (answer,) = desk.radio.to_cluster(key_establishment.CLUSTER)
        assert Frame.from_bytes(answer.payload).command == DefaultResponse.COMMAND
        desk.radio.says(PPMID, time.CLUSTER, READ_TIME)
        assert desk.radio.to_cluster(time.CLUSTER)


async def test_a_hub_without_a_certificate_for_its_dongle_does_not_start(store):
    for path in (store.home / "pki" / "zigbee").glob(f"{HUB:016x}-*"):
        path.unlink()
    hub = Hub(store, MemoryRadio(), desk_pki(store.home), SystemClock(), CBKE)
    with pytest.raises(UsageError, match="chf dcc pki issue 00-DB-12-34-56-78-90-A2"):
        await hub.run(form=True)


async def test_no_key_is_in_the_audit(store):
    async with hub_on_desk(store, MemoryRadio(), CBKE) as desk:
        desk.radio.joins(PPMID)
        await Device(desk).establish()
        lines = "".join(record.event.to_json() for record in store.audit.tail(limit=-1))
        assert "key.established" in lines
        assert link_key(store).hex() not in lines.lower()
