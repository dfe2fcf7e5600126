"""The real bellows against the virtual dongle, over TCP and over a PTY."""

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest
import zigpy.types as t

from tests.support.bellows_host import host
from tests.support.virtual_dongle import LINK_KEY, VirtualDongle, ppmid, virtual_dongle


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


async def test_a_chip_by_the_book_forgets_its_endpoints_and_keeps_its_network(tmp_path: Path) -> None:
    with virtual_dongle(tmp_path, "[ncp]\nendpoints_survive_reset = false\n") as dongle:
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


async def test_endpoints_survive_the_resets_of_forming(tmp_path: Path) -> None:
    with virtual_dongle(tmp_path) as dongle:
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
