"""The real zigpy-znp against the virtual TI dongle, over TCP and over a PTY."""

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest
import zigpy.types as t
import zigpy_znp.commands as znp_commands
import zigpy_znp.types as znp_types
from zigpy.exceptions import DeliveryError
from zigpy_znp.exceptions import CommandNotRecognized

from tests.support.virtual_dongle import EUI64, LINK_KEY, VirtualDongle, ppmid, virtual_dongle
from tests.support.znp_zigpy import Host, host

DEVICE = t.EUI64.convert(EUI64.replace("-", ":").lower())


@pytest.fixture(params=["tcp://127.0.0.1:0", "pty"])
def dongle(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    with virtual_dongle(tmp_path, "seed = 5\n", "--ncp", "znp", listen=request.param) as running:
        yield running


async def let_in(app: Host) -> None:
    """Until the device asks for an image. zigpy-znp's permit lasts for the whole window: it is cut short here."""
    permit = asyncio.create_task(app.permit_with_link_key(DEVICE, t.KeyData(LINK_KEY), 60))
    await app.until(lambda: bool(app.of_cluster(0x0019)))
    permit.cancel()


def to_device(app: Host, address: int, payload: bytes, *, secured: bool = True) -> t.ZigbeePacket:
    options = t.TransmitOptions.ACK | (t.TransmitOptions.APS_Encryption if secured else t.TransmitOptions.NONE)
    return t.ZigbeePacket(
        src=t.AddrModeAddress(t.AddrMode.NWK, 0x0000),
        src_ep=3,
        dst=t.AddrModeAddress(t.AddrMode.NWK, address),
        dst_ep=3,
        tsn=app.get_sequence(),
        profile_id=0x0109,
        cluster_id=0x0019,
        data=t.SerializableBytes(payload),
        tx_options=options,
        radius=30,
    )


async def test_forms_scans_for_a_channel_and_comes_up_again(dongle: VirtualDongle) -> None:
    assert dongle.ready["version"] == "zstack-3.30"
    async with host(dongle) as app:  # no channel given: zigpy asks for an energy scan on a temporary network first
        formed = app.state.network_info
        assert formed.channel in {11, 15, 20, 25}
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
        await app.load_network_info()
        changed = app.state.network_info.network_key.key
        assert changed != before
    async with host(dongle) as app:
        assert app.state.network_info.network_key.key == changed


async def test_a_device_joins_with_its_install_code_and_speaks_under_its_link_key(tmp_path: Path) -> None:
    with virtual_dongle(tmp_path, ppmid(), "--ncp", "znp") as dongle:
        async with host(dongle, channel=15) as app:
            await let_in(app)
            assert (await asyncio.to_thread(dongle.wait_for, "server_found"))["endpoint"] == 3
            query = app.of_cluster(0x0019)[0]
            assert (query.profile_id, query.dst_ep) == (0x0109, 3)
            assert t.TransmitOptions.APS_Encryption in query.tx_options
            await _answers_under_the_link_key(app)
        async with host(dongle) as app:  # everything comes back: the network, the child, its key and its counters
            dongle.command(do="reboot", eui64=EUI64)
            await app.until(lambda: bool(app.of_cluster(0x0019)))
            await _answers_under_the_link_key(app)


async def _answers_under_the_link_key(app: Host) -> None:
    query = app.of_cluster(0x0019)[-1]
    app.received.clear()
    # A request that an OTA client does not know: it says so in a default response, under the same protection.
    await app.send_packet(to_device(app, query.src.address, b"\x01\x55\x77"))
    await app.until(lambda: any(p.data.serialize() == b"\x18\x55\x0b\x77\x81" for p in app.of_cluster(0x0019)))
    answer = next(p for p in app.of_cluster(0x0019) if p.data.serialize()[1] == 0x55)
    assert t.TransmitOptions.APS_Encryption in answer.tx_options


async def test_a_device_that_went_silent_is_told_as_such(tmp_path: Path) -> None:
    with virtual_dongle(tmp_path, ppmid(), "--ncp", "znp") as dongle:
        async with host(dongle, channel=15) as app:
            await let_in(app)
            address = app.of_cluster(0x0019)[0].src.address
            dongle.command(do="power_off", eui64=EUI64)
            with pytest.raises(DeliveryError) as told:
                await app.send_packet(to_device(app, address, b"\x01\x01\x77"))
            assert told.value.status == znp_types.Status.APS_NO_ACK
            with pytest.raises(DeliveryError) as told:
                await app.send_packet(to_device(app, 0x4242, b"\x01\x01\x77"))
            assert told.value.status == znp_types.Status.NWK_NO_ROUTE


async def test_a_device_without_a_key_stays_outside(tmp_path: Path) -> None:
    with virtual_dongle(tmp_path, ppmid(), "--ncp", "znp") as dongle:
        async with host(dongle, channel=15) as app:
            other = t.EUI64.convert("00:db:12:34:56:78:90:a5")
            permit = asyncio.create_task(app.permit_with_link_key(other, t.KeyData(LINK_KEY), 60))
            await asyncio.to_thread(dongle.wait_for, "join_failed")
            permit.cancel()
            assert [record["event"] for record in dongle.events()].count("joined") == 0


async def test_a_backup_moves_the_network_to_another_stick(tmp_path: Path) -> None:
    """The key of an establishment included, which only lives in the APS link key table."""
    with virtual_dongle(tmp_path, "", "--ncp", "znp") as dongle:
        async with host(dongle, channel=20) as app:
            znp = app._znp
            added = await znp.request(
                znp_commands.ZDO.SecAddLinkKey.Req(NWK=0x1234, IEEE=DEVICE, LinkKeyData=t.KeyData(b"k" * 16))
            )
            assert added.Status == znp_types.Status.SUCCESS
            saved = await app.backups.create_backup(load_devices=True)
    new = '[ncp]\neui64 = "00-DB-12-34-56-78-00-02"\n'
    with virtual_dongle(tmp_path, new, "--ncp", "znp") as dongle:
        async with host(dongle, channel=11) as app:
            await app.backups.restore_backup(saved)
        async with host(dongle) as app:
            assert app.state.node_info.ieee == saved.node_info.ieee
            assert app.state.network_info.network_key.key == saved.network_info.network_key.key
            assert app.state.network_info.channel == 20
            (key,) = (await app.backups.create_backup(load_devices=True)).network_info.key_table
            assert (key.key, key.partner_ieee) == (t.KeyData(b"k" * 16), DEVICE)


async def test_a_missing_command_is_a_clean_probe(dongle: VirtualDongle) -> None:
    async with host(dongle, channel=15) as app:
        with pytest.raises(CommandNotRecognized):
            await app._znp.request(
                znp_commands.ZDO.SetLinkKey.Req(NWK=0x1234, IEEE=DEVICE, LinkKeyData=t.KeyData(b"k" * 16))
            )


def test_a_watchdog_reset_is_told_unasked(tmp_path: Path) -> None:
    with virtual_dongle(tmp_path, "", "--ncp", "znp") as dongle:
        address = dongle.port.removeprefix("tcp://").split(":")
        with socket.create_connection((address[0], int(address[1])), timeout=5.0) as line:
            line.sendall(bytes.fromhex("FE00210120"))
            assert line.recv(64) == bytes.fromhex("FE02610159063D")
            assert dongle.command(do="restart_dongle")["event"] == "control"
            assert line.recv(64) == bytes.fromhex("FE064180000201020701C0")


async def test_starts_on_a_line_full_of_noise(tmp_path: Path) -> None:
    with virtual_dongle(tmp_path, "", "--ncp", "znp") as dongle:
        address = dongle.port.removeprefix("tcp://").split(":")
        for noise in (b"\xfe\xfa\x24\x02", b"\xef" * 256, b"\x1a\xc0\x38\xbc\x7e", b"\xfe\x00\x21"):
            _reader, writer = await asyncio.open_connection(address[0], int(address[1]))
            writer.write(noise)
            await writer.drain()
            writer.close()
            await writer.wait_closed()
        async with host(dongle, channel=15) as app:
            assert app.state.network_info.channel == 15
