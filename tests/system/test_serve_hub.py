"""The hub's own radio on the served dongle: an emulated PPMID joins and talks, over everything in between."""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from chf.eui64 import Eui64, parse_eui64
from chf.radio.ezsp import EzspRadio, EzspSettings
from chf.radio.interface import Delivery, Inbound, Outbound, RadioState
from devices.ncp.ezsp.ash_frames import ResetCode
from tests.support.oracles import missing
from tests.support.virtual_dongle import EUI64, LINK_KEY, local_dongle, ppmid

DEVICE = parse_eui64(EUI64)


class Ear:
    """A RadioListener that can be waited on."""

    def __init__(self) -> None:
        self.messages: list[Inbound] = []
        self.joined: list[Eui64] = []
        self.states: list[RadioState] = []
        self._changed = asyncio.Event()

    async def until(self, condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
        async with asyncio.timeout(timeout_s):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    def message_received(self, message: Inbound) -> None:
        self.messages.append(message)
        self._changed.set()

    def message_sent(self, message: Outbound, delivery: Delivery) -> None: ...

    def device_joined(self, device: Eui64, network_address: int) -> None:
        self.joined.append(device)
        self._changed.set()

    def device_left(self, device: Eui64) -> None: ...

    def radio_state_changed(self, state: RadioState, reason: str) -> None:
        self.states.append(state)
        self._changed.set()

    def heard(self, cluster: int) -> list[Inbound]:
        return [message for message in self.messages if message.cluster == cluster]


@pytest.mark.parametrize("listen", ["tcp://127.0.0.1:0", "pty"])
async def test_a_device_joins_asks_and_is_answered(tmp_path: Path, listen: str) -> None:
    pcap, keys = tmp_path / "air.pcap", tmp_path / "zigbee_pc_keys"
    async with local_dongle(tmp_path, ppmid(query_delay_s=0.1), listen=listen, pcap=pcap, keys=keys) as bench:
        radio, ear = EzspRadio(EzspSettings(bench.port.url)), Ear()
        info = await radio.start(ear, form=True)
        assert info.network is not None
        await radio.permit(DEVICE, LINK_KEY, 60)
        await ear.until(lambda: bool(ear.heard(0x0019)))
        assert ear.joined[0] == DEVICE
        query = ear.heard(0x0019)[0]
        assert (query.profile, query.destination_endpoint, query.aps_secured) == (0x0109, 0x0B, True)
        # 200 octets for a tunnel that is not open: cut by the hub, put together by the device, which refuses them
        transfer_data = bytes([0x01, 0x55, 0x02, 0x00, 0x00]) + bytes(195)
        delivery = await radio.send(Outbound(DEVICE, 3, 0x0704, transfer_data))
        assert delivery is Delivery.DELIVERED
        await ear.until(lambda: bool(ear.heard(0x0704)))
        no_image = bytes([0x09, query.payload[1], 0x02, 0x98])
        assert await radio.send(Outbound(DEVICE, 3, 0x0019, no_image)) is Delivery.DELIVERED
        await radio.stop()
    assert len(tshark(tmp_path, pcap, keys, "frame")) > 20
    assert tshark(tmp_path, pcap, keys, "_ws.expert || _ws.malformed || wpan.fcs_ok == 0") == []
    assert len(tshark(tmp_path, pcap, keys, "zbee_zcl_general.ota.cmd.srv_tx.id == 0x02")) == 1
    assert tshark(tmp_path, pcap, keys, "zbee_aps.cluster == 0x0704 && zbee_aps.fragments") != []


async def test_the_hub_outlives_a_restart_of_the_dongle(tmp_path: Path) -> None:
    async with local_dongle(tmp_path, ppmid(query_delay_s=0.1)) as bench:
        radio, ear = EzspRadio(EzspSettings(bench.port.url)), Ear()
        await radio.start(ear, form=True)
        await radio.permit(DEVICE, LINK_KEY, 60)
        await ear.until(lambda: bool(ear.heard(0x0019)))
        bench.world.dongle.reboot(ResetCode.WATCHDOG)
        bench.runner.pump()
        await ear.until(lambda: RadioState.GONE in ear.states and ear.states[-1] is RadioState.UP)
        assert await radio.send(Outbound(DEVICE, 3, 0x0019, bytes([0x09, 1, 0x02, 0x98]))) is Delivery.DELIVERED
        await radio.stop()


def tshark(directory: Path, pcap: Path, keys: Path, wanted: str) -> list[str]:
    """The frames that Wireshark finds in the capture, with the very file of keys that was written for it."""
    if shutil.which("tshark") is None:
        missing("tshark is not installed")
    assert keys.name == "zigbee_pc_keys"
    configuration = directory / "wireshark"
    configuration.mkdir(exist_ok=True)
    shutil.copy(keys, configuration / keys.name)
    command = ["tshark", "-r", str(pcap), "-Y", wanted]
    environment = {**os.environ, "WIRESHARK_CONFIG_DIR": str(configuration)}
    return subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=60, env=environment
    ).stdout.splitlines()
