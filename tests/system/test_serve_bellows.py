"""The real bellows against the virtual dongle, over TCP and over a PTY."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import zigpy.types as t
from bellows.zigbee.application import ControllerApplication

from tests.support.virtual_dongle import LINK_KEY, VirtualDongle, ppmid, virtual_dongle

SMART_ENERGY_ENDPOINT = {
    "endpoint": 3,
    "profile": 0x0109,
    "device_type": 0x0500,
    "device_version": 0,
    "input_clusters": [0x0019, 0x000A],
    "output_clusters": [],
}


class Host(ControllerApplication):
    """bellows, with an ear at what it receives."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        self.received: list[t.ZigbeePacket] = []
        self.joins: list[t.EUI64] = []
        self.changed = asyncio.Event()

    async def until(self, condition: Callable[[], bool], timeout_s: float = 15.0) -> None:
        """Wait for something that packets and joins make true."""
        async with asyncio.timeout(timeout_s):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    def packet_received(self, packet: t.ZigbeePacket) -> None:
        self.received.append(packet)
        self.changed.set()
        super().packet_received(packet)

    def handle_join(self, nwk: t.NWK, ieee: t.EUI64, parent_nwk: t.NWK, **kwargs: Any) -> None:
        self.joins.append(ieee)
        self.changed.set()
        super().handle_join(nwk, ieee, parent_nwk, **kwargs)


def config(port: str, **network: object) -> dict[str, Any]:
    return {
        "device": {"path": port, "baudrate": 115200, "flow_control": None},
        "use_thread": False,
        "database_path": None,
        "ota": {"enabled": False, "providers": []},
        "topology_scan_enabled": False,
        "backup_enabled": False,
        "watchdog_enabled": False,
        "network": network,
        "additional_endpoints": [SMART_ENERGY_ENDPOINT],
    }


@asynccontextmanager
async def host(dongle: VirtualDongle, **network: object) -> AsyncIterator[Host]:
    app = Host(config(dongle.port, **network))
    await app.startup(auto_form=True)
    try:
        yield app
    finally:
        await app.shutdown()


@pytest.fixture(params=["tcp://127.0.0.1:0", "pty"])
def dongle(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    with virtual_dongle(tmp_path, "seed = 5\n", listen=request.param) as running:
        yield running


async def test_forms_scans_for_a_channel_and_comes_up_again(dongle: VirtualDongle) -> None:
    async with host(dongle) as app:  # no channel given: bellows asks for an energy scan first
        formed = app.state.network_info
        assert formed.channel in {11, 15, 20, 25}
        assert app.state.node_info.model == "virtual dongle"
        assert str(app.state.node_info.ieee) == "00:db:12:34:56:78:00:01"
        assert set(await app.energy_scan(t.Channels.ALL_CHANNELS, 2, 1)) == set(range(11, 27))
    async with host(dongle) as app:
        again = app.state.network_info
        assert (again.pan_id, again.extended_pan_id, again.channel) == (
            formed.pan_id,
            formed.extended_pan_id,
            formed.channel,
        )
        assert again.network_key.key == formed.network_key.key
        assert again.network_key.tx_counter >= formed.network_key.tx_counter


async def test_forms_anew_over_a_live_network(dongle: VirtualDongle) -> None:
    async with host(dongle, channel=15) as app:
        before = app.state.network_info.network_key.key
        await app.form_network()
        assert app.state.network_info.network_key.key != before
        changed = app.state.network_info.network_key.key
    async with host(dongle) as app:
        assert app.state.network_info.network_key.key == changed


async def test_a_reset_keeps_the_network_and_forgets_the_endpoints(dongle: VirtualDongle) -> None:
    async with host(dongle, channel=20) as app:
        extended_pan_id = app.state.network_info.extended_pan_id
        await app._reset()
        await app._ensure_network_running()
        await app.load_network_info()
        assert app.state.network_info.extended_pan_id == extended_pan_id
        # UG100 4, addEndpoint: "does not remember these settings after a reset"
        app.received.clear()
        await app._device.zdo.Active_EP_req(0)
        await app.until(lambda: any(packet.cluster_id == 0x8005 for packet in app.received))
        answer = next(packet for packet in app.received if packet.cluster_id == 0x8005)
        assert answer.data.serialize()[4] == 0  # how many endpoints
    async with host(dongle) as app:
        app.received.clear()
        await app._device.zdo.Active_EP_req(0)
        await app.until(lambda: any(packet.cluster_id == 0x8005 for packet in app.received))
        answer = next(packet for packet in app.received if packet.cluster_id == 0x8005)
        assert set(answer.data.serialize()[5:]) >= {1, 3}


async def test_endpoints_survive_where_the_scenario_says_so(tmp_path: Path) -> None:
    with virtual_dongle(tmp_path, "[ncp]\nendpoints_survive_reset = true\n") as dongle:
        async with host(dongle, channel=15) as app:
            app.received.clear()
            await app._device.zdo.Active_EP_req(0)
            await app.until(lambda: any(packet.cluster_id == 0x8005 for packet in app.received))
            answer = next(packet for packet in app.received if packet.cluster_id == 0x8005)
            assert set(answer.data.serialize()[5:]) >= {1, 3}


async def test_a_device_joins_with_its_install_code(tmp_path: Path) -> None:
    device = "00:db:12:34:56:78:90:a4"
    with virtual_dongle(tmp_path, ppmid()) as dongle:
        async with host(dongle, channel=15):
            pass  # formed; the endpoints of the first session went with the resets in it
        async with host(dongle) as app:
            await app.permit_with_link_key(t.EUI64.convert(device), t.KeyData(LINK_KEY), 60)
            await app.until(lambda: t.EUI64.convert(device) in app.joins)
            await asyncio.to_thread(dongle.wait_for, "server_found")
            found = dongle.wait_for("server_found")
            assert found["endpoint"] == 3
            await app.until(lambda: any(packet.cluster_id == 0x0019 for packet in app.received))
            query = next(packet for packet in app.received if packet.cluster_id == 0x0019)
            assert query.profile_id == 0x0109
            assert t.TransmitOptions.APS_Encryption in query.tx_options


async def test_a_device_without_a_key_stays_outside(tmp_path: Path) -> None:
    with virtual_dongle(tmp_path, ppmid()) as dongle:
        async with host(dongle, channel=15) as app:
            await app.permit_with_link_key(t.EUI64.convert("00:db:12:34:56:78:90:a5"), t.KeyData(LINK_KEY), 60)
            await asyncio.to_thread(dongle.wait_for, "join_failed")
            assert [record["event"] for record in dongle.events()].count("joined") == 0


def test_a_host_vanishes_in_the_middle_of_a_frame_and_the_next_is_served(tmp_path: Path) -> None:
    with virtual_dongle(tmp_path) as dongle:
        address = dongle.port.removeprefix("tcp://").split(":")
        for _ in range(3):
            with socket.create_connection((address[0], int(address[1]))) as line:
                line.sendall(b"\x1a\xc0\x38\xbc\x7e\x00\x42\x21\xa8")
        asyncio.run(_starts(dongle))
        # and of two at once the later one gets the dongle
        with socket.create_connection((address[0], int(address[1]))) as idle:
            asyncio.run(_starts(dongle))
            idle.settimeout(5.0)
            assert not idle.recv(64)


async def _starts(dongle: VirtualDongle) -> None:
    async with host(dongle, channel=15) as app:
        assert app.state.network_info.channel == 15
