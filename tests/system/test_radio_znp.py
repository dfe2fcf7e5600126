"""What is particular to the radio on Z-Stack dongles, on the real zigpy-znp and the virtual co-processor."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from unittest.mock import ANY

import pytest

from chf.errors import RadioGoneError, RadioRefusedError
from chf.eui64 import format_eui64, parse_eui64
from chf.radio.interface import Delivery, RadioState
from chf.radio.znp import ZnpRadio, ZnpSettings, frames
from chf.radio.znp.dongle import ZnpDongle
from devices.ncp.sticks import ZSTACK_3_30
from devices.ncp.znp.items import Table
from devices.ncp.znp.nvram import ZSTACK, NvKey, Nvram
from devices.ncp.znp.status import ZStatus
from devices.stack.interface import ApsStatus, Eui64
from tests.contract.radio_bench import KEY, METER, block, message
from tests.support.radio_dongle import Dongle, Loses, MemoryDevice, MemoryStack, Noise, plugged_dongle
from tests.support.radio_listener import RecordingListener

TUNNELING = 0x0704
pytestmark = pytest.mark.usefixtures("no_complaints")


@pytest.fixture
async def dongle() -> AsyncIterator[Dongle]:
    async with plugged_dongle(ZSTACK_3_30) as plugged:
        yield plugged


@pytest.fixture
def listener() -> RecordingListener:
    return RecordingListener()


@pytest.fixture
async def radio(dongle, listener) -> AsyncIterator[ZnpRadio]:
    radio = ZnpRadio(ZnpSettings(dongle.port))
    await radio.start(listener, form=True)
    yield radio
    await radio.stop()


async def invited(dongle, radio, ieee=METER, address=0x1001, **settings) -> MemoryDevice:
    await radio.permit(ieee, KEY, 60)
    return dongle.add(MemoryDevice(ieee, address, **settings))


@pytest.mark.parametrize("size", [223, 224, 240, 241, 247, 1000, 4096])
async def test_long_messages_come_in_whole_and_the_dongle_forgets_them(dongle, radio, listener, size):
    device = dongle.add(MemoryDevice(METER, 0x1001))
    payload = bytes(n % 251 for n in range(size))
    dongle.says(device, payload, cluster=TUNNELING)
    await listener.until(lambda: bool(listener.received))
    message = listener.received[0]
    assert (message.payload, message.cluster, message.aps_secured) == (payload, TUNNELING, True)
    await dongle.until(lambda: not dongle.held_messages)


async def test_a_long_message_that_the_dongle_lost_costs_no_other(dongle, radio, listener):
    device = dongle.add(MemoryDevice(METER, 0x1001))
    await radio.send(message(device, b"hello", aps_secured=False))
    dongle.ncp.receive(b"")
    for payload in (bytes(300), b"short"):
        dongle.says(device, payload, cluster=TUNNELING)
        dongle.held_messages.clear()
    await listener.until(lambda: bool(listener.received))
    assert [m.payload for m in listener.received] == [b"short"]


async def test_a_message_longer_than_anybody_means_is_dropped_in_the_dongle(dongle, radio, listener):
    device = dongle.add(MemoryDevice(METER, 0x1001))
    dongle.says(device, bytes(5000), cluster=TUNNELING)
    dongle.says(device, bytes(300), cluster=TUNNELING, to_endpoint=0xFF)
    await dongle.until(lambda: not dongle.held_messages)
    await listener.until(lambda: bool(listener.received))
    assert [len(m.payload) for m in listener.received] == [300]


async def test_a_search_that_the_dongle_refuses_is_told(dongle, radio, listener, monkeypatch):
    monkeypatch.setattr("chf.radio.session.SEARCH_LIMIT_S", 0.05)
    dongle.refuse_sends(lambda _request: ZStatus.BUFFER_FULL)
    radio.post(block(MemoryDevice(METER, 0x1001)))
    await listener.until(lambda: bool(listener.sent))
    assert listener.fates() == [Delivery.REFUSED]


@pytest.mark.parametrize(
    ("status", "attempts", "fate"),
    [
        (ApsStatus.BUFFERS_FULL, 2, Delivery.DELIVERED),
        (ApsStatus.UNKNOWN_DESTINATION, 2, Delivery.DELIVERED),
        (ApsStatus.EXPIRED, 1, Delivery.NOT_DELIVERED),
        (ApsStatus.NO_LINK_KEY, 1, Delivery.REFUSED),
    ],
)
async def test_what_is_made_of_a_confirm(dongle, radio, listener, monkeypatch, status, attempts, fate):
    monkeypatch.setattr("chf.radio.znp.traffic.ROUTE_S", 0.01)
    device = await invited(dongle, radio, delivery=status)
    radio.post(block(device))
    await dongle.until(lambda: bool(device.received))
    device.delivery = ApsStatus.SUCCESS
    await listener.until(lambda: bool(listener.sent))
    assert listener.fates() == [fate]
    assert len(device.received) == attempts


async def test_a_noisy_cable_costs_messages_and_never_the_link(dongle, radio, listener, monkeypatch):
    """MT repeats nothing: what noise hits is lost, and the hub says so."""
    monkeypatch.setattr("chf.radio.session.TICK_S", 0.01)
    monkeypatch.setattr("chf.radio.znp.link.ANSWER_LIMIT_S", 0.1)
    monkeypatch.setattr("chf.radio.traffic.CONFIRM_LIMIT_S", 0.5)
    monkeypatch.setattr("chf.radio.traffic.SUPERSEDED_S", 0.5)  # `tick` does not look at younger frames
    device = await invited(dongle, radio)
    dongle.line = noise = Noise(0.1)
    for n in range(60):
        radio.post(block(device, n))
    await listener.until(lambda: len(listener.sent) == 60)
    dongle.line = lambda octets: octets
    assert noise.hits > 2
    assert [m.payload[0] for m in device.received] == list(range(60))
    assert 0 < listener.fates().count(Delivery.NOT_DELIVERED) < 30
    assert await radio.send(block(device)) is Delivery.DELIVERED
    assert radio.state is RadioState.UP


async def test_a_dongle_that_hangs_while_nobody_wants_anything_is_noticed(dongle, radio, listener, monkeypatch):
    monkeypatch.setattr("chf.radio.znp.link.ANSWER_LIMIT_S", 0.05)
    monkeypatch.setattr("chf.radio.session.TICK_S", 0.02)
    monkeypatch.setattr("chf.radio.session.SILENCE_S", 0.1)
    dongle.mute = True
    await listener.until(lambda: (RadioState.GONE, "the dongle stopped answering") in listener.states)


@pytest.mark.parametrize("old_layout", [False, True], ids=["since SDK 5.30", "before"])
async def test_each_install_code_is_read_with_its_own_key(dongle, radio, old_layout):
    if old_layout:
        present = Nvram()
        present.restore(dongle.ncp.nvram.retained())
        dongle.ncp.keys.mirror(present)

        def as_before(slot: int) -> bytes:
            octets = present.get(NvKey(ZSTACK, Table.TCLK, slot))
            return octets[:18] + bytes((octets[18] | octets[19] & 0x7F, 0))

        dongle.ncp.nvram.mirror(ZSTACK, Table.TCLK, as_before)
    codes = {format_eui64(Eui64(METER + n)): bytes((0x20 + n,)) * 16 for n in range(3)}
    for eui64, key in codes.items():
        await radio.permit(parse_eui64(eui64), key, 60)
    assert {label: key for label, kind, key in await radio.export_keys() if kind == "link"} == codes


async def test_a_build_that_cannot_remove_a_device_is_rid_of_its_key_by_its_memory(dongle, radio, listener):
    device = await invited(dongle, radio)
    dongle.lacks("secDeviceRemove")
    await radio.forget(device.ieee)
    dongle.reboot()
    await listener.until(lambda: len(listener.states) == 5)
    assert [kind for _, kind, _ in await radio.export_keys()] == ["nwk"]
    assert dongle.ncp.keys.for_data(METER) is None


async def test_a_build_without_address_lookups_asks_the_devices(dongle, radio, listener):
    dongle.lacks("addrMgrExtAddrLookup", "addrMgrNwkAddrLookup")
    device = await invited(dongle, radio)
    assert await radio.send(block(device)) is Delivery.DELIVERED


async def test_a_build_without_install_codes_is_told_without_the_key(dongle, radio):
    dongle.lacks("bdbAddInstallCode")
    with pytest.raises(RadioRefusedError, match="does not know") as refused:
        await radio.permit(METER, KEY, 60)
    assert KEY.hex() not in str(refused.value).lower().replace(":", "")
    assert refused.value.__cause__ is None or KEY.hex() not in str(refused.value.__cause__).lower().replace(":", "")


async def test_who_joins_is_not_removed_for_asking_for_no_other_key(listener):
    """Neither after the first start nor after a later one, for the dongle does not keep what it is told."""
    async with plugged_dongle(replace(ZSTACK_3_30, join_timeout_s=0.0)) as dongle:
        radio = ZnpRadio(ZnpSettings(dongle.port))
        await radio.start(listener, form=True)
        dongle.joins(MemoryDevice(METER, 0x1001))
        dongle.reboot()
        await listener.until(lambda: listener.state_names()[-2:] == ["CONNECTING", "UP"] and len(listener.states) > 2)
        dongle.joins(MemoryDevice(Eui64(METER + 1), 0x1002))
        assert dongle.stack.removed == []
        await radio.stop()


async def test_a_build_that_cannot_spare_joiners_serves_as_it_was_made(listener):
    without = replace(ZSTACK_3_30, join_timeout_s=0.0, lacks=frozenset({"bdbSetTcRequireKeyExchange"}))
    async with plugged_dongle(without) as dongle:
        radio = ZnpRadio(ZnpSettings(dongle.port))
        await radio.start(listener, form=True)
        dongle.joins(MemoryDevice(METER, 0x1001))
        assert dongle.stack.removed == [METER]
        await radio.stop()


async def test_a_device_that_does_not_announce_itself_is_told_a_little_later(dongle, radio, listener, monkeypatch):
    monkeypatch.setattr("chf.radio.session.ANNOUNCE_LIMIT_S", 0.05)
    dongle.joins(MemoryDevice(METER, 0x1001))
    await listener.until(lambda: bool(listener.joined))
    assert listener.joined == [(METER, 0x1001)]


async def test_forming_on_a_set_channel_makes_no_network_to_scan_from(dongle, listener, monkeypatch):
    channels = []
    form = MemoryStack.form
    monkeypatch.setattr(MemoryStack, "form", lambda stack, net: (channels.append(net.channel), form(stack, net)))
    radio = ZnpRadio(ZnpSettings(dongle.port, channel=20))
    await radio.start(listener, form=True)
    await radio.stop()
    assert len(channels) == 1  # zigpy-znp's template, whose settings it then overwrites
    assert dongle.stack.network.channel == 20


async def test_only_the_hubs_endpoint_is_registered(dongle, radio):
    assert list(dongle.stack.endpoints) == [0x0B]


async def test_probing_resets_nothing(dongle, radio):
    await radio.permit(METER, KEY, 60)
    await radio.stop()
    network = dongle.stack.network
    info = await ZnpRadio(ZnpSettings(dongle.port)).probe()
    assert info.network is not None
    assert dongle.stack.network is network
    assert dongle.stack.permitting
    assert list(dongle.stack.endpoints) == [0x0B]


async def test_a_word_that_is_lost_while_a_dongle_comes_back_costs_one_attempt(dongle, radio, listener, monkeypatch):
    """Without it zigpy-znp says that no network could be formed, which is none of its usual errors."""
    monkeypatch.setattr("zigpy_znp.api.STARTUP_TIMEOUT", 0.2)
    dongle.line = line = Loses(frames.frame(frames.STATE_CHANGE_IND, b"\x09"))
    dongle.cut()
    await listener.until(lambda: listener.state_names()[-2:] == ["CONNECTING", "UP"] and line.lost == 1)
    device = await invited(dongle, radio)
    assert await radio.send(block(device)) is Delivery.DELIVERED


@pytest.mark.parametrize("command", [0x211C, 0x2132, 0x2133, 0x2102, 0x253E], ids=hex)
async def test_an_answer_that_is_lost_while_a_dongle_comes_back_costs_a_moment(
    dongle, radio, listener, monkeypatch, command
):
    monkeypatch.setattr("chf.radio.znp.link.ANSWER_LIMIT_S", 0.1)
    lost, answer = [], (command ^ frames.RESPONSE).to_bytes(2, "big")

    def line(octets: bytes) -> bytes:
        if octets[2:4] == answer and not lost:
            lost.append(octets)
            return b""
        return octets

    dongle.line = line
    connections = dongle.connections
    dongle.cut()
    await listener.until(lambda: listener.state_names()[-3:] == ["GONE", "CONNECTING", "UP"])
    assert (len(lost), dongle.connections) == (1, connections + 1)


async def test_a_word_that_is_lost_at_the_first_start_costs_one_attempt(dongle, listener, monkeypatch):
    monkeypatch.setattr("zigpy_znp.api.STARTUP_TIMEOUT", 0.2)
    dongle.line = line = Loses(frames.frame(frames.STATE_CHANGE_IND, b"\x09"), times=2)
    radio = ZnpRadio(ZnpSettings(dongle.port))
    info = await radio.start(listener, form=True)
    await radio.stop()
    assert info.network is not None
    assert (line.lost, listener.state_names()) == (2, ["CONNECTING", "UP", "STOPPED"])


async def test_an_error_that_nobody_foresaw_costs_one_attempt(dongle, radio, listener, monkeypatch, caplog):
    bring_up, failed = ZnpDongle.bring_up, []

    async def stumble(self, *, form):
        if not failed:
            failed.append(1)
            raise ZeroDivisionError
        return await bring_up(self, form=form)

    monkeypatch.setattr(ZnpDongle, "bring_up", stumble)
    dongle.cut()
    await listener.until(lambda: listener.state_names()[-2:] == ["CONNECTING", "UP"] and bool(failed))
    assert [record.exc_info[0] for record in caplog.records if record.levelname == "ERROR"] == [ZeroDivisionError]
    caplog.clear()


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ({0x2101: b"\x79\x02"}, "Z-Stack 1.2"),
        ({0x2101: b"\x59\x06", 0x2749: bytes(28), 0x2132: None}, "Z-Stack 3.0"),
        ({0x2101: b"\x59\x06", 0x2749: bytes(7)}, "tables are not known"),
    ],
)
async def test_an_older_z_stack_is_refused_with_what_to_do(answers, reason):
    async def old(reader, writer) -> None:
        buffer = bytearray()
        while octets := await reader.read(100):
            buffer += octets
            while (found := frames.take_frame(buffer)) is not None:
                command = found[0]
                answer = answers[command]
                if answer is None:
                    writer.write(frames.frame(0x6000, b"\x02" + command.to_bytes(2, "big")))
                else:
                    writer.write(frames.frame(command ^ frames.RESPONSE, answer))
        writer.close()

    async with await asyncio.start_server(old, "127.0.0.1", 0) as server:
        port = f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(RadioRefusedError, match=reason):
            await ZnpRadio(ZnpSettings(port)).probe()


async def test_a_port_that_closes_while_a_dongle_is_being_woken_is_told_plainly(monkeypatch):
    """At the first word to it, and when zigpy-znp's own way of waking it is tried."""
    monkeypatch.setattr("chf.radio.znp.link.PING_LIMIT_S", 0.05)
    for closes_at in (1, 2):
        pings = 0

        async def closing(reader, writer, closes_at=closes_at) -> None:
            nonlocal pings
            while pings < closes_at:
                await reader.readexactly(len(frames.frame(frames.PING, b"")))
                pings += 1
            writer.close()

        async with await asyncio.start_server(closing, "127.0.0.1", 0) as server:
            port = f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            with pytest.raises(RadioGoneError, match=port):
                await ZnpRadio(ZnpSettings(port)).probe()
            assert pings == closes_at


@pytest.mark.parametrize(
    ("lacks", "kept"),
    [((), True), (("secAddLinkKey",), True), (("setLinkKey",), True), (("secAddLinkKey", "setLinkKey"), False)],
    ids=["both", "ZDO_SET_LINK_KEY", "ZDO_SEC_ADD_LINK_KEY", "neither"],
)
async def test_a_link_key_goes_in_by_the_command_that_the_build_has(dongle, radio, lacks, kept):
    device = dongle.add(MemoryDevice(METER, 0x1001))
    assert await radio.locate(device.ieee)
    dongle.lacks(*lacks)
    if kept:
        await radio.install_link_key(device.ieee, KEY, fresh=True)
    else:
        with pytest.raises(RadioRefusedError, match=r"takes no link key.*ZDO_SET_LINK_KEY") as refused:
            await radio.install_link_key(device.ieee, KEY, fresh=True)
        assert KEY.hex() not in str(refused.value).lower().replace(":", "")
    held = await radio.export_keys()
    assert [key for _, kind, key in held if kind == "link"] == [KEY] * kept


async def test_a_fresh_key_is_not_looked_for_in_the_dongles_tables(dongle, radio):
    device = dongle.add(MemoryDevice(METER, 0x1001))
    assert await radio.locate(device.ieee)
    dongle.lacks("osalNvRead", "osalNvReadExt", "nvRead")
    await radio.install_link_key(device.ieee, KEY, fresh=True)
    dongle.lacks()
    assert await radio.export_keys() == (ANY, (format_eui64(device.ieee), "link", KEY))


async def test_blocks_do_not_wait_for_the_many_requests_of_an_export(dongle, radio):
    """The trust centre's table is read entry by entry, and each request could be a block."""
    device = await invited(dongle, radio)
    dongle.ncp.asked.clear()
    exporting = asyncio.ensure_future(radio.export_keys())
    await asyncio.sleep(0)
    for number in range(20):
        radio.post(block(device, number))
    await exporting
    assert dongle.ncp.asked["nvRead"] > 60
    assert len(device.received) == 20


async def test_an_entry_that_cannot_be_read_is_no_end_of_its_table(dongle, radio):
    """Z-Stack has one status for both: what lies behind would be taken for free, and be written over or left out."""
    for number in range(3):
        await radio.permit(Eui64(METER + number), KEY, 60)
    reads = 0

    def line(octets: bytes) -> bytes:
        nonlocal reads
        reads -= octets[2:4] == b"\x61\x33"  # SYS_NV_READ
        return frames.frame(0x6133, b"\x0a\x00") if octets[2:4] == b"\x61\x33" and reads == 0 else octets

    dongle.line = line
    reads = 3  # an entry, its key, the next entry
    with pytest.raises(RadioRefusedError, match=r"entry 1 of table .*TCLK_TABLE.* cannot be read"):
        await radio.export_keys()
    reads = 2
    with pytest.raises(RadioRefusedError, match=r"entry 1 of table .*TCLK_TABLE.* cannot be read"):
        await radio.forget(Eui64(METER + 2))
    assert len(await radio.export_keys()) == 4


async def test_what_a_forgotten_device_had_is_free_for_the_next(listener):
    """Also in a build that cannot remove a device, whose install codes have few places."""
    places = replace(
        ZSTACK_3_30, tables=replace(ZSTACK_3_30.tables, install_codes=2), lacks=frozenset({"secDeviceRemove"})
    )
    async with plugged_dongle(places) as dongle:
        radio = ZnpRadio(ZnpSettings(dongle.port))
        await radio.start(listener, form=True)
        for number in range(2):
            await radio.permit(Eui64(METER + number), KEY, 60)
        with pytest.raises(RadioRefusedError, match="forget a device first"):
            await radio.permit(Eui64(METER + 2), KEY, 60)
        await radio.forget(METER)
        assert dongle.ncp.nvram.get(NvKey(ZSTACK, Table.TCLK_IC, 0)) == bytes(16)
        assert dongle.ncp.nvram.get(NvKey(ZSTACK, Table.TCLK_IC, 1)) == KEY
        dongle.reboot()
        await listener.until(lambda: listener.state_names()[-2:] == ["CONNECTING", "UP"] and len(listener.states) > 2)
        await radio.permit(Eui64(METER + 2), KEY, 60)
        await radio.stop()
