"""A frame that was recorded on the air before the hub restarted is no news after it."""

from pathlib import Path

import pytest

from chf.eui64 import parse_eui64
from chf.radio.ezsp import EzspRadio, EzspSettings
from chf.radio.interface import Delivery, Outbound
from chf.radio.znp import ZnpRadio, ZnpSettings
from devices.wire.mac import MacType
from tests.support.radio_listener import RecordingListener
from tests.support.virtual_dongle import EUI64, LINK_KEY, local_dongle, ppmid
from tests.support.waiting import until

DEVICE = parse_eui64(EUI64)
OTA = 0x0019
NO_IMAGE = bytes([0x09, 1, 0x02, 0x98])
RADIOS = {"ezsp": lambda port: EzspRadio(EzspSettings(port)), "znp": lambda port: ZnpRadio(ZnpSettings(port))}


@pytest.mark.parametrize("kind", RADIOS)
async def test_a_secured_frame_recorded_before_a_restart_of_the_hub_is_refused_after_it(tmp_path: Path, kind) -> None:
    async with local_dongle(tmp_path, "ideal = true\n" + ppmid(query_delay_s=0.1), ncp=kind) as bench:
        world, recorded = bench.world, []
        before = RecordingListener()
        radio = RADIOS[kind](bench.port.url)
        info = await radio.start(before, form=True)
        await radio.permit(DEVICE, LINK_KEY, 60)
        world.medium.taps.append(lambda _at, _channel, _rssi, octets: recorded.append(octets[:-2]))
        await until(lambda: any(message.cluster == OTA for message in before.received))
        assert next(message for message in before.received if message.cluster == OTA).aps_secured
        await radio.stop()

        after = RecordingListener()
        radio = RADIOS[kind](bench.port.url)
        again = await radio.start(after, form=False)
        assert again.network == info.network
        if kind == "ezsp":  # whose dongle holds the install code's key where a hub puts its keys back
            await radio.install_link_key(DEVICE, LINK_KEY)
        counters = world.dongle.stack.counters
        refused = counters.nwk_replays + counters.aps_replays
        attacker = world.medium.attach(0xBAD, lambda *_: None)
        attacker.tune(info.network.channel, info.network.pan_id, 0xBAD)
        frames = [octets for octets in tuple(recorded) if octets[0] & 7 == MacType.DATA]
        assert frames
        for octets in frames:
            attacker.transmit(octets)
        bench.runner.pump()
        # The device's answer to a fresh message comes behind all of that: until then everything was heard
        await until(lambda: counters.nwk_replays + counters.aps_replays > refused)
        assert await radio.send(Outbound(DEVICE, 3, OTA, NO_IMAGE)) is Delivery.DELIVERED
        old = {message.payload for message in before.received}
        assert [message for message in after.received if message.payload in old] == []
        await radio.stop()
