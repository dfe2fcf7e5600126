"""A radio of each kind beside the dongle that it is to drive. A new radio adds itself to `RADIOS` and passes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from chf.radio.ezsp import EzspRadio, EzspSettings
from chf.radio.interface import Outbound, Radio, Urgency
from chf.radio.znp import ZnpRadio, ZnpSettings
from devices.ncp.sticks import V8, V18, ZSTACK_3_30
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


RADIOS = {
    "ezsp v8": (partial(plugged_dongle, V8), ezsp),
    "ezsp v13": (plugged_dongle, ezsp),
    "ezsp v18": (partial(plugged_dongle, V18), ezsp),
    "znp": (partial(plugged_dongle, ZSTACK_3_30), znp),
}


class Bench:
    def __init__(self, dongle: Dongle, make_radio) -> None:
        self.dongle, self.make_radio = dongle, make_radio
        self.radio: Radio = make_radio(dongle.port)
        self.listener = RecordingListener()

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
    await bench.radio.start(bench.listener, form=form)
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
