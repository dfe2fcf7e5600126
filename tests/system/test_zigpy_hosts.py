"""The real bellows and the real zigpy-znp against the virtual dongle, over TCP and over a PTY."""

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import zigpy.types as t
import zigpy_znp.api
import zigpy_znp.commands as znp_commands
import zigpy_znp.config
import zigpy_znp.types as znp_types
from zigpy.exceptions import DeliveryError
from zigpy_znp.exceptions import CommandNotRecognized

from tests.support.virtual_dongle import EUI64, VirtualDongle, ppmid, virtual_dongle
from tests.support.zigpy_hosts import IEEE, Ear, config, host, inviting

OTA = 0x0019
both_kinds = pytest.mark.parametrize("ncp", ["ezsp", "znp"])
VERSIONS = {"ezsp": "v13", "znp": "zstack-3.30"}


@pytest.fixture(params=["tcp://127.0.0.1:0", "pty"])
def dongle(request: pytest.FixtureRequest, tmp_path: Path, ncp: str) -> Iterator[VirtualDongle]:
    with virtual_dongle(tmp_path, "seed = 5\n", "--ncp", ncp, listen=request.param) as running:
        yield running


async def let_in(app: Ear) -> int:
    """The device comes in and asks for an image; its address."""
    async with inviting(app):
        await app.until(lambda: bool(app.of_cluster(OTA)))
    return int(app.of_cluster(OTA)[0].src.address)


def to_device(app: Ear, address: int, payload: bytes) -> t.ZigbeePacket:
    return t.ZigbeePacket(
        src=t.AddrModeAddress(t.AddrMode.NWK, 0x0000),
        src_ep=3,
        dst=t.AddrModeAddress(t.AddrMode.NWK, address),
        dst_ep=3,
        tsn=app.get_sequence(),
        profile_id=0x0109,
        cluster_id=OTA,
        data=t.SerializableBytes(payload),
        tx_options=t.TransmitOptions.ACK | t.TransmitOptions.APS_Encryption,
        radius=30,
    )


@both_kinds
async def test_forms_scans_for_a_channel_and_comes_up_again(dongle: VirtualDongle, ncp: str) -> None:
    assert dongle.ready["version"] == VERSIONS[ncp]
    async with host(dongle) as app:  # no channel given: zigpy asks for an energy scan first
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


@both_kinds
async def test_forms_anew_over_a_live_network(dongle: VirtualDongle, ncp: str) -> None:
    async with host(dongle, channel=15) as app:
        before = app.state.network_info.network_key.key
        await app.form_network()
        await app.load_network_info()
        changed = app.state.network_info.network_key.key
        assert changed != before
    async with host(dongle) as app:
        assert app.state.network_info.network_key.key == changed


@pytest.mark.parametrize("survive", [True, False], ids=["resets spare them", "by the book"])
async def test_bellows_endpoints_are_there_once_it_is_up(tmp_path: Path, survive: bool) -> None:
    """Forming resets the dongle, and UG100 4, addEndpoint, "does not remember these settings after a reset"."""
    with virtual_dongle(tmp_path, f"[ncp]\nendpoints_survive_reset = {str(survive).lower()}\n") as dongle:
        async with host(dongle, channel=20) as app:
            assert survive is (await endpoints(app) >= {1, 3})
        async with host(dongle) as app:
            assert await endpoints(app) >= {1, 3}


async def endpoints(app: Ear) -> set[int]:
    """By the dongle's own device profile."""
    app.received.clear()
    await app.devices[app.state.node_info.ieee].zdo.Active_EP_req(0)
    await app.until(lambda: any(packet.cluster_id == 0x8005 for packet in app.received))
    answer = next(packet for packet in app.received if packet.cluster_id == 0x8005)
    return set(answer.data.serialize()[5:])


@both_kinds
async def test_a_device_joins_with_its_install_code_and_speaks_under_its_link_key(tmp_path: Path, ncp: str) -> None:
    with virtual_dongle(tmp_path, ppmid(), "--ncp", ncp) as dongle:
        async with host(dongle, channel=15) as app:
            await let_in(app)
            assert IEEE in app.joins
            assert (await asyncio.to_thread(dongle.wait_for, "server_found"))["endpoint"] == 3
            query = app.of_cluster(OTA)[0]
            assert (query.profile_id, query.dst_ep) == (0x0109, 3)
            assert t.TransmitOptions.APS_Encryption in query.tx_options
            await _answers_under_the_link_key(app)
        if ncp == "ezsp":
            return  # bellows leaves the device's key in the transient table, which a reset empties
        async with host(dongle) as app:  # everything comes back: the network, the child, its key and its counters
            dongle.command(do="reboot", eui64=EUI64)
            await app.until(lambda: bool(app.of_cluster(OTA)))
            await _answers_under_the_link_key(app)


async def _answers_under_the_link_key(app: Ear) -> None:
    query = app.of_cluster(OTA)[-1]
    app.received.clear()
    # A request that an OTA client does not know: it says so in a default response, under the same protection.
    await app.send_packet(to_device(app, query.src.address, b"\x01\x55\x77"))
    await app.until(lambda: any(p.data.serialize() == b"\x18\x55\x0b\x77\x81" for p in app.of_cluster(OTA)))
    answer = next(p for p in app.of_cluster(OTA) if p.data.serialize()[1] == 0x55)
    assert t.TransmitOptions.APS_Encryption in answer.tx_options


@both_kinds
async def test_a_device_without_a_key_stays_outside(tmp_path: Path, ncp: str) -> None:
    with virtual_dongle(tmp_path, ppmid(), "--ncp", ncp) as dongle:
        other = t.EUI64.convert("00:db:12:34:56:78:90:a5")
        async with host(dongle, channel=15) as app, inviting(app, other):
            await asyncio.to_thread(dongle.wait_for, "join_failed")
            assert [record["event"] for record in dongle.events()].count("joined") == 0


async def test_zigpy_znp_tells_a_device_that_went_silent_as_such(tmp_path: Path) -> None:
    with virtual_dongle(tmp_path, ppmid(), "--ncp", "znp") as dongle:
        async with host(dongle, channel=15) as app:
            address = await let_in(app)
            dongle.command(do="power_off", eui64=EUI64)
            for destination, status in ((address, "APS_NO_ACK"), (0x4242, "NWK_NO_ROUTE")):
                with pytest.raises(DeliveryError) as told:
                    await app.send_packet(to_device(app, destination, b"\x01\x01\x77"))
                assert told.value.status == znp_types.Status[status]


async def add_link_key(dongle: VirtualDongle, command: type) -> znp_types.Status:
    """By one of the two commands for it, without a host behind it."""
    znp = zigpy_znp.api.ZNP(zigpy_znp.config.CONFIG_SCHEMA(config(dongle.port)))
    await znp.connect()
    try:
        asked = command.Req(NWK=0x1234, IEEE=IEEE, LinkKeyData=t.KeyData(b"k" * 16))  # type: ignore[attr-defined]
        return (await znp.request(asked)).Status
    finally:
        await znp.disconnect()


async def test_a_backup_of_zigpy_znp_moves_the_network_to_another_stick(tmp_path: Path) -> None:
    """The key of an establishment included, which only lives in the APS link key table."""
    with virtual_dongle(tmp_path, "", "--ncp", "znp") as dongle:
        async with host(dongle, channel=20):
            pass
        assert await add_link_key(dongle, znp_commands.ZDO.SecAddLinkKey) == znp_types.Status.SUCCESS
        async with host(dongle) as app:
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
            assert (key.key, key.partner_ieee) == (t.KeyData(b"k" * 16), IEEE)


async def test_a_missing_command_is_a_clean_probe(tmp_path: Path) -> None:
    with (
        virtual_dongle(tmp_path, '[ncp]\nlacks = ["setLinkKey"]\n', "--ncp", "znp") as dongle,
        pytest.raises(CommandNotRecognized),
    ):
        await add_link_key(dongle, znp_commands.ZDO.SetLinkKey)


@both_kinds
async def test_a_home_automation_device_joins_by_the_key_that_everybody_knows(tmp_path: Path, ncp: str) -> None:
    device = ppmid(install_code="well-known", profile="home-automation")
    with virtual_dongle(tmp_path, device, "--ncp", ncp) as dongle:
        async with host(dongle, channel=15) as app:
            await app.permit(60)
            await app.until(lambda: bool(app.of_cluster(OTA)))
            assert IEEE in app.joins


def address_of(dongle: VirtualDongle) -> tuple[str, int]:
    name, _, port = dongle.port.removeprefix("tcp://").rpartition(":")
    return name, int(port)


NOISE = {
    "ezsp": [b"\x1a\xc0\x38\xbc\x7e\x00\x42\x21\xa8"] * 3,  # a host vanishes in the middle of a frame
    "znp": [b"\xfe\xfa\x24\x02", b"\xef" * 256, b"\x1a\xc0\x38\xbc\x7e", b"\xfe\x00\x21"],
}


@both_kinds
async def test_starts_on_a_line_that_others_left_in_a_mess(tmp_path: Path, ncp: str) -> None:
    with virtual_dongle(tmp_path, "", "--ncp", ncp) as dongle:
        for noise in NOISE[ncp]:
            with socket.create_connection(address_of(dongle)) as line:
                line.sendall(noise)
                line.shutdown(socket.SHUT_WR)
                while line.recv(64):  # until the dongle has read it all: the next host would cut it off
                    pass
        async with host(dongle, channel=15) as app:
            assert app.state.network_info.channel == 15


@both_kinds
async def test_of_two_hosts_at_once_the_later_one_gets_the_dongle(tmp_path: Path, ncp: str) -> None:
    with (
        virtual_dongle(tmp_path, "", "--ncp", ncp) as dongle,
        socket.create_connection(address_of(dongle), timeout=5.0) as idle,
    ):
        async with host(dongle, channel=15) as app:
            assert app.state.network_info.channel == 15
        assert not idle.recv(64)
