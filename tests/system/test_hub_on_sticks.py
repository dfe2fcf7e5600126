"""The hub on the sticks that people have: how many commands it asks of them, at 12 ms each.

The sticks answer at once here, so that only the commands are counted.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from chf.errors import RadioRefusedError
from chf.radio.ezsp import EzspRadio, EzspSettings
from chf.radio.interface import RadioInfo, RadioLimits
from chf.radio.znp import ZnpRadio, ZnpSettings
from devices.ncp.ezsp.configuration import KEY_TABLE_SIZE as KEYS
from devices.ncp.ezsp.configuration import MAX_END_DEVICE_CHILDREN as CHILDREN
from devices.ncp.ezsp.personality import Personality
from devices.ncp.sticks import CC2652R, DONGLE_E_7_4, SKYCONNECT_7_1, V8, V13, V18, ZBT_2
from devices.ncp.znp.personality import TableSizes
from devices.stack.interface import Eui64
from tests.contract.radio_bench import KEY, METER
from tests.support.radio_dongle import Dongle, MemoryDevice, plugged_dongle
from tests.support.radio_listener import RecordingListener

pytestmark = pytest.mark.usefixtures("no_complaints")

# At most, of 12 ms each: 1.3 s and 0.6 s, beside three resets and one.
FORMING, RESTARTING = 105, 50
# findKeyTableEntry and importLinkKey, with a look at a free place before; the transient key; the policy, twice permit
ADMITTING = 8


@pytest.fixture(params=[V8, V13, V18, SKYCONNECT_7_1, DONGLE_E_7_4, ZBT_2], ids=lambda stick: stick.name)
def stick(request) -> Personality:
    return replace(request.param, command_s=0.0, reset_s=0.0)


@asynccontextmanager
async def running(dongle: Dongle) -> AsyncIterator[tuple[EzspRadio, RadioInfo]]:
    radio = EzspRadio(EzspSettings(dongle.port))
    dongle.ncp.asked.clear()
    info = await radio.start(RecordingListener(), form=True)
    try:
        yield radio, info
    finally:
        await radio.stop()


async def test_the_hub_asks_few_commands_of_a_stick(stick):
    async with plugged_dongle(stick) as dongle:
        async with running(dongle):
            assert dongle.ncp.asked.total() <= FORMING, dongle.ncp.asked
        async with running(dongle) as (radio, info):
            keys, children = stick.configuration.get(KEYS, 64), stick.configuration.get(CHILDREN, 32)
            assert info.limits == RadioLimits(keys, keys, children)
            assert dongle.ncp.asked.total() <= RESTARTING, dongle.ncp.asked
            for number in range(10):
                dongle.ncp.asked.clear()
                await radio.permit(Eui64(METER + number), KEY, 60)
                assert dongle.ncp.asked.total() <= ADMITTING, dongle.ncp.asked
            dongle.ncp.asked.clear()
            await radio.forget(METER)
            assert dongle.ncp.asked.total() <= 6, dongle.ncp.asked
        dongle.ncp.asked.clear()
        backup = await EzspRadio(EzspSettings(dongle.port)).backup()
        assert len(backup["devices"]) == 9
        assert dongle.ncp.asked["getChildData"] == 0


async def test_the_hub_asks_few_requests_of_a_z_stack_stick():
    """Its tables have 460 entries, which are read once where all must be seen, and not for the key of one device.

    At 12 ms each, and 1.2 s to form: a network in 8 s, a start in half a second.
    """
    async with plugged_dongle(replace(CC2652R, command_s=0.0, state_s=0.0)) as dongle:
        asked = dongle.ncp.asked

        @asynccontextmanager
        async def at_most(requests: int) -> AsyncIterator[None]:
            asked.clear()
            yield
            assert asked.total() <= requests, asked

        radio = ZnpRadio(ZnpSettings(dongle.port))
        async with at_most(580):
            await radio.start(RecordingListener(), form=True)
        await radio.stop()
        radio = ZnpRadio(ZnpSettings(dongle.port))
        async with at_most(36):
            await radio.start(RecordingListener(), form=True)
        for number in range(3):
            device = dongle.add(MemoryDevice(Eui64(METER + number), 0x1001 + number))
            async with at_most(4):
                await radio.permit(device.ieee, KEY, 60)
            assert await radio.locate(device.ieee)
            for _ in range(2):
                async with at_most(8):
                    await radio.install_link_key(device.ieee, bytes(range(16)))
        async with at_most(220):
            assert len(await radio.export_keys()) == 4
        async with at_most(12):
            await radio.forget(METER)
        await radio.stop()
        async with at_most(24):
            await ZnpRadio(ZnpSettings(dongle.port)).probe()
        async with at_most(700):
            backup = await ZnpRadio(ZnpSettings(dongle.port)).backup()
        async with at_most(560 + 700):  # the network in its place is read first, to be put back where a write fails
            await ZnpRadio(ZnpSettings(dongle.port)).restore(backup)


@pytest.mark.parametrize(
    ("tables", "limits"),
    [
        (CC2652R.tables, RadioLimits(40, 3, 51)),
        (TableSizes(257, 51, 200, 3, 0), RadioLimits(200, 3, 51)),  # no install code was ever used
        (TableSizes.alike(1), RadioLimits(1, 1, 1)),
        (TableSizes(10, 7, 8, 9, 127), RadioLimits(8, 9, 7)),
        (TableSizes(500, 100, 400, 65, 64), RadioLimits(64, 65, 100)),
    ],
    ids=repr,
)
async def test_a_z_stack_stick_says_what_it_has_room_for(tables, limits):
    async with plugged_dongle(replace(CC2652R, command_s=0.0, state_s=0.0, tables=tables)) as dongle:
        assert (await ZnpRadio(ZnpSettings(dongle.port)).probe()).limits == limits


async def test_the_device_too_many_for_its_established_keys_is_told_and_costs_the_others_nothing():
    async with plugged_dongle(replace(CC2652R, command_s=0.0, state_s=0.0)) as dongle:
        radio = ZnpRadio(ZnpSettings(dongle.port))
        assert (await radio.start(RecordingListener(), form=True)).limits.established_keys == 3
        devices = [dongle.add(MemoryDevice(Eui64(METER + number), 0x1001 + number)) for number in range(4)]
        for device in devices[:3]:
            assert await radio.locate(device.ieee)
            await radio.install_link_key(device.ieee, bytes(range(16)))
        assert await radio.locate(devices[3].ieee)
        with pytest.raises(RadioRefusedError, match=r"BUFFER_FULL.*forget a device first"):
            await radio.install_link_key(devices[3].ieee, bytes(range(16)))
        assert len(await radio.export_keys()) == 4
        await radio.forget(devices[0].ieee)
        await radio.install_link_key(devices[3].ieee, bytes(range(16)))
        await radio.stop()
