"""A radio of each kind beside the dongle that it is to drive. A new radio adds itself to `RADIOS` and passes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial

from chf.radio.ezsp import EzspRadio, EzspSettings
from chf.radio.interface import Outbound, Radio, RadioInfo, Urgency
from chf.radio.znp import ZnpRadio, ZnpSettings
from devices.ncp.ezsp.personality import Personality
from devices.ncp.sticks import CC2652R, DONGLE_E_7_4, SKYCONNECT_7_1, V8, V13, V18, ZBT_2, ZSTACK_3_30
from devices.stack.interface import Eui64, NetworkState
from tests.support.radio_dongle import Dongle, MemoryDevice, plugged_dongle
from tests.support.radio_listener import RecordingListener

METER = Eui64(0x00_DB_12_34_56_78_90_A4)
OTHER = Eui64(0x00_DB_12_34_56_78_90_A5)
KEY = bytes.fromhex("66B6900981E1EE3CA4206B6B861C02BB")
OTA = 0x0019


def ezsp(port: str, **settings) -> Radio:
    return EzspRadio(EzspSettings(port, **settings))


def znp(port: str, **settings) -> Radio:
    return ZnpRadio(ZnpSettings(port, **settings))


def sized(stick: Personality) -> Personality:
    """With its tables, and without the time that it takes."""
    return replace(stick, command_s=0.0, reset_s=0.0, scan_takes_time=False)


EZSP_STICKS = (V8, V13, V18, *map(sized, (SKYCONNECT_7_1, DONGLE_E_7_4, ZBT_2)))
RADIOS = {
    **{f"ezsp {stick.name}": (partial(plugged_dongle, stick), ezsp) for stick in EZSP_STICKS},
    "znp": (partial(plugged_dongle, ZSTACK_3_30), znp),
    "znp cc2652r": (partial(plugged_dongle, replace(CC2652R, command_s=0.0, state_s=0.0)), znp),
}
AT_NIGHT = {"ezsp v8", "ezsp v18", "ezsp dongle-e-7.4"}
"""By day others of their kind run."""


class Bench:
    def __init__(self, dongle: Dongle, make_radio) -> None:
        self.dongle, self.make_radio = dongle, make_radio
        self.radio: Radio = make_radio(dongle.port)
        self.listener = RecordingListener()
        self.info: RadioInfo | None = None

    def device(self, ieee: Eui64 = METER, address: int = 0x1001, **settings) -> MemoryDevice:
        return self.dongle.add(MemoryDevice(ieee, address, **settings))

    def install_codes_alone(self) -> bool:
        """Whether the dongle lets nobody in but who has a key of an install code."""
        keys = self.dongle.ncp.keys
        return keys.install_codes_only if self.make_radio is znp else keys.policy.install_code_keys_only

    async def invited(self, ieee: Eui64 = METER, address: int = 0x1001, **settings) -> MemoryDevice:
        """A device whose link key the dongle has, and which is on the network."""
        device = self.device(ieee, address, **settings)
        await self.radio.permit(ieee, KEY, 60)
        return device


@asynccontextmanager
async def started(bench: Bench, *, form: bool = True) -> AsyncIterator[Bench]:
    bench.info = await bench.radio.start(bench.listener, form=form)
    try:
        yield bench
    finally:
        await bench.radio.stop()


def message(device: MemoryDevice, payload: bytes = b"\x09\x01\x05", **settings) -> Outbound:
    return Outbound(device.ieee, 3, OTA, payload, **settings)


def block(device: MemoryDevice, n: int = 0) -> Outbound:
    return message(device, bytes((n,)) * 67, urgency=Urgency.BULK)


def identity(network: NetworkState) -> tuple[object, ...]:
    return network.channel, network.pan_id, network.extended_pan_id, network.network_key
