"""When the hub asks a device for a new tunnel: always when the device may have restarted behind its back."""

import json
from dataclasses import asdict

import pytest

from chf.eui64 import parse_eui64
from chf.hub import HubSettings
from chf.radio.interface import RadioState
from chf.store import Store
from chf.store.device_log import DeviceEntry, DeviceStatus, DeviceType
from chf.tunnel import TunnelRecord, TunnelSettings
from chf.zcl import ota, tunneling
from tests.support.memory_radio import HubOnDesk, MemoryRadio, hub_on_desk

PPMID = parse_eui64("00-DB-12-34-56-78-90-A4")
REQUEST_TUNNEL = 0x00


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "home", hub=True) as opened:
        entry = DeviceEntry(PPMID, DeviceType.PPMID, 0.0, bytes(16), status=DeviceStatus.JOINED)
        with opened.transaction() as tx:
            tx.devices.add(entry)
        yield opened


def requests(radio: MemoryRadio) -> list[bytes]:
    sent = radio.to_cluster(tunneling.CLUSTER)
    return [message.payload for message in sent if message.payload[2] == REQUEST_TUNNEL]


async def grant(desk: HubOnDesk, tunnel: int) -> None:
    """Answer the newest RequestTunnel, and wait until the hub has it on record."""
    sequence = requests(desk.radio)[-1][1]
    answer = (
        bytes((0x09, sequence, 0x00)) + tunnel.to_bytes(2, "little") + bytes((0x00,)) + (1500).to_bytes(2, "little")
    )
    desk.radio.says(PPMID, tunneling.CLUSTER, answer)
    await desk.until(lambda: json.loads(desk.store.meta.get(KEY) or "{}").get("tunnel_id") == tunnel)


KEY = "tunnel of 00-DB-12-34-56-78-90-A4"


async def test_a_hub_that_was_away_asks_for_a_new_tunnel(store):
    """Its device may have restarted meanwhile: it then knows the old tunnel no more, and cannot say so unasked."""
    with store.transaction() as tx:
        tx.meta.set(KEY, json.dumps(asdict(TunnelRecord(PPMID, 3, 77, 1500))))
    async with hub_on_desk(store, MemoryRadio()) as desk:
        await desk.until(lambda: len(requests(desk.radio)) == 1)
        await grant(desk, 78)


async def test_a_radio_that_was_away_makes_the_hub_ask_again(store):
    async with hub_on_desk(store, MemoryRadio()) as desk:
        await desk.until(lambda: len(requests(desk.radio)) == 1)
        await grant(desk, 77)
        for state in (RadioState.GONE, RadioState.CONNECTING, RadioState.UP):
            desk.radio.become(state)
        await desk.until(lambda: len(requests(desk.radio)) == 2)


async def test_a_rejoin_and_its_announcement_are_one_arrival(store):
    async with hub_on_desk(store, MemoryRadio()) as desk:
        await desk.until(lambda: len(requests(desk.radio)) == 1)
        await grant(desk, 77)
        desk.radio.joins(PPMID)
        await desk.until(lambda: len(requests(desk.radio)) == 2)
        await grant(desk, 78)  # heard of it: what comes now is another arrival, however soon
        desk.radio.joins(PPMID)
        desk.radio.joins(PPMID)
        await desk.until(lambda: len(requests(desk.radio)) == 3)
        await grant(desk, 79)
        assert len(requests(desk.radio)) == 3
        assert [event.kind.value for event in desk.told].count("device.joined") == 2


def query(version: int) -> bytes:
    return bytes.fromhex("01 01 01 01 d410 0100") + version.to_bytes(4, "little") + bytes.fromhex("0100")


async def test_a_device_whose_new_version_shows_a_restart_that_nobody_announced_gets_a_new_tunnel(store):
    async with hub_on_desk(store, MemoryRadio()) as desk:
        await desk.until(lambda: len(requests(desk.radio)) == 1)
        await grant(desk, 77)
        desk.radio.says(PPMID, ota.CLUSTER, query(1))
        desk.radio.says(PPMID, ota.CLUSTER, query(1))
        desk.radio.says(PPMID, ota.CLUSTER, query(2))  # its announcement was lost on the air
        await desk.until(lambda: len(requests(desk.radio)) == 2)
        await grant(desk, 78)
        assert len(requests(desk.radio)) == 2


async def test_a_version_that_is_not_told_or_of_another_image_shows_no_restart(store):
    async with hub_on_desk(store, MemoryRadio()) as desk:
        await desk.until(lambda: len(requests(desk.radio)) == 1)
        await grant(desk, 77)
        for version in (1, 0xFFFF_FFFF, 1):
            desk.radio.says(PPMID, ota.CLUSTER, query(version))
        desk.radio.says(PPMID, ota.CLUSTER, query(7).replace(bytes.fromhex("d4100100"), bytes.fromhex("d4100200")))
        await desk.until(lambda: [image.file_version for image in store.devices.get(PPMID).images] == [1, 7])
        await desk.two_looks()
        assert len(requests(desk.radio)) == 1


async def test_an_announced_restart_gets_no_second_new_tunnel(store):
    async with hub_on_desk(store, MemoryRadio()) as desk:
        await desk.until(lambda: len(requests(desk.radio)) == 1)
        await grant(desk, 77)
        desk.radio.says(PPMID, ota.CLUSTER, query(1))
        desk.radio.joins(PPMID)
        await desk.until(lambda: len(requests(desk.radio)) == 2)
        await grant(desk, 78)
        desk.radio.says(PPMID, ota.CLUSTER, query(2))
        await desk.until(lambda: [image.file_version for image in store.devices.get(PPMID).images] == [2])
        assert len(requests(desk.radio)) == 2


async def test_a_device_that_cannot_be_reached_is_asked_again_and_harms_nobody(store):
    radio = MemoryRadio()
    radio.unreachable = True
    settings = HubSettings(tunnel=TunnelSettings(first_retry_s=0.05))
    async with hub_on_desk(store, radio, settings) as desk:
        await desk.until(lambda: radio.asked >= 2)
        radio.unreachable = False
        await desk.until(lambda: len(requests(radio)) == 1)
