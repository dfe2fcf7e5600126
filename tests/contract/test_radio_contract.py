"""What every `Radio` must do with its network, its devices and its dongle, whatever dongle that is."""

import asyncio
import json
import logging
from dataclasses import replace

import pytest

from chf.errors import RadioGoneError, RadioRefusedError, TimedOutError, UsageError
from chf.radio.interface import HUB_ENDPOINT, Delivery, Outbound, RadioState, Urgency
from devices.stack.interface import ApsStatus, Eui64, JoinKind
from tests.contract.radio_bench import KEY, METER, OTA, OTHER, identity, message, started
from tests.support.radio_dongle import DONGLE, MemoryDevice


async def test_probing_forms_nothing_and_lets_go_of_the_port(cold):
    info = await cold.radio.probe()
    assert info.network is None
    assert info.protocol_version > 0
    assert cold.radio.state is RadioState.STOPPED
    assert await cold.radio.probe() == info
    assert cold.dongle.stack.network is None


async def test_probing_tells_of_the_network_and_leaves_it(cold):
    async with started(cold):
        pass
    before = cold.dongle.stack.network
    info = await cold.radio.probe()
    assert info.network is not None
    assert info.network.channel == before.channel
    assert identity(cold.dongle.stack.network) == identity(before)


async def test_a_dongle_without_a_network_is_refused_unless_one_may_be_formed(cold):
    with pytest.raises(RadioRefusedError):
        await cold.radio.start(cold.listener, form=False)
    assert cold.radio.state is RadioState.STOPPED
    assert cold.dongle.stack.network is None


async def test_a_formed_network_has_the_hub_as_its_extended_pan_id_and_random_keys(cold):
    keys = set()
    for _ in range(2):
        cold.dongle.wipe()
        info = await cold.radio.start(cold.listener, form=True)
        exported = await cold.radio.export_keys()
        await cold.radio.stop()
        assert info.network is not None
        assert info.network.extended_pan_id == info.network.coordinator == DONGLE
        assert 0 < info.network.pan_id < 0xFFFF
        keys.add(exported[0][2])
    assert len(keys) == 2


async def test_a_stored_network_comes_back_as_it_was(cold):
    first = await cold.radio.start(cold.listener, form=True)
    keys = await cold.radio.export_keys()
    await cold.radio.stop()
    second = await cold.radio.start(cold.listener, form=True)
    assert second == first
    assert await cold.radio.export_keys() == keys
    await cold.radio.stop()


async def test_leaving_forgets_the_network_and_its_keys_and_another_can_be_formed(cold):
    async with started(cold):
        await cold.radio.permit(METER, KEY, 60)
        before = await cold.radio.export_keys()
    await cold.radio.leave()
    assert (await cold.radio.probe()).network is None
    with pytest.raises(RadioRefusedError):
        await cold.radio.leave()
    async with started(cold):
        ((_, _, key),) = await cold.radio.export_keys()
    assert key != before[0][2]


async def test_a_network_that_is_put_back_is_the_one_that_was_backed_up(cold):
    formed = await cold.radio.start(cold.listener, form=True)
    await cold.invited()
    await cold.invited(OTHER, 0x1002)
    keys = await cold.radio.export_keys()
    await cold.radio.stop()
    backup = json.loads(json.dumps(await cold.radio.backup()))
    await cold.radio.leave()
    assert (await cold.radio.restore(backup)).network == formed.network
    again = await cold.radio.start(cold.listener, form=False)
    assert again == formed
    assert sorted(await cold.radio.export_keys()) == sorted(keys)
    assert await cold.radio.send(message(cold.dongle.stack.devices[0x1001])) is Delivery.DELIVERED
    await cold.radio.stop()


@pytest.mark.parametrize("backup", [{}, {"network_info": 1}, {"metadata": {"version": 1}, "coordinator_ieee": "x"}])
async def test_what_is_no_backup_is_refused_before_anything_is_touched(cold, backup):
    formed = await cold.radio.start(cold.listener, form=True)
    await cold.radio.stop()
    with pytest.raises(UsageError):
        await cold.radio.restore(backup)
    assert await cold.radio.probe() == formed


async def test_the_hubs_endpoint_is_found_on_the_smart_energy_profile(bench):
    endpoint = bench.dongle.stack.endpoints[HUB_ENDPOINT]
    assert endpoint.profile == 0x0109
    assert {0x0000, 0x000A, OTA} <= set(endpoint.server_clusters)
    assert 0x0704 in endpoint.client_clusters
    others = [e for e in bench.dongle.stack.endpoints.values() if e.number != HUB_ENDPOINT]
    assert all(OTA not in e.server_clusters for e in others)


async def test_states_are_told_in_order(cold):
    async with started(cold):
        assert cold.radio.state is RadioState.UP
    assert cold.listener.state_names() == ["CONNECTING", "UP", "STOPPED"]
    assert cold.radio.state is RadioState.STOPPED


async def test_joining_and_leaving_are_told(bench):
    device = MemoryDevice(METER, 0x1001)
    bench.dongle.joins(device)
    bench.dongle.announces(device)
    await bench.listener.until(lambda: bool(bench.listener.joined))
    assert bench.listener.joined == [(METER, 0x1001)]
    bench.dongle.leaves(device)
    await bench.listener.until(lambda: bool(bench.listener.left))
    assert bench.listener.left == [METER]


async def test_a_device_that_rejoins_under_another_address_is_reached_there(bench):
    device = await bench.invited()
    await bench.radio.send(message(device))
    bench.dongle.leaves(device)
    again = MemoryDevice(METER, 0x2222)
    bench.dongle.joins(again, JoinKind.REJOINED_SECURED)
    bench.dongle.announces(again)
    await bench.listener.until(lambda: (METER, 0x2222) in bench.listener.joined)
    assert await bench.radio.send(message(again)) is Delivery.DELIVERED
    assert len(again.received) == 1


async def test_a_device_that_lost_the_network_key_is_let_back_in_before_and_while_others_may_join(bench):
    assert bench.dongle.stack.trust_centre.unsecured_rejoin_allowed
    await bench.radio.permit(METER, KEY, 180)
    assert bench.dongle.stack.trust_centre.unsecured_rejoin_allowed


async def test_permit_opens_the_network_for_this_device_alone_and_returns_at_once(bench):
    await bench.radio.permit(METER, KEY, 180)
    keys = bench.dongle.stack.link_keys
    assert bench.dongle.stack.permitting
    assert keys.for_join(METER).key == KEY
    assert keys.for_join(OTHER) is None
    assert keys.for_data(METER).key == KEY
    assert (await bench.radio.export_keys())[1:] == (("00-DB-12-34-56-78-90-A4", "link", KEY),)


async def test_before_any_permit_nobody_can_join(bench):
    assert not bench.dongle.stack.permitting


async def test_the_keys_of_other_devices_survive_a_permit(bench):
    other_key = bytes(range(16))
    await bench.radio.permit(METER, KEY, 60)
    await bench.radio.permit(OTHER, other_key, 60)
    await bench.radio.permit(METER, KEY, 60)
    exported = await bench.radio.export_keys()
    assert sorted(key for _, kind, key in exported if kind == "link") == sorted((KEY, other_key))


async def test_a_key_of_a_device_that_was_not_heard_yet_goes_in_once_the_device_is_located(bench):
    assert not await bench.radio.locate(OTHER)
    bench.device()
    assert await bench.radio.locate(METER)
    await bench.radio.install_link_key(METER, KEY)
    assert (await bench.radio.export_keys())[1:] == (("00-DB-12-34-56-78-90-A4", "link", KEY),)


async def test_a_fresh_key_takes_the_place_of_the_one_before(bench):
    bench.device()
    assert await bench.radio.locate(METER)
    await bench.radio.install_link_key(METER, KEY[::-1])
    await bench.radio.install_link_key(METER, KEY, fresh=True)
    assert (await bench.radio.export_keys())[1:] == (("00-DB-12-34-56-78-90-A4", "link", KEY),)


async def test_match_descriptor_tells_the_devices_endpoints_in_its_order(bench):
    device = bench.device()

    def answer(request):
        assert request.cluster == 0x0006
        assert request.payload[1:] == bytes.fromhex("0110 0901 01 0207 00")
        found = request.payload[:1] + bytes.fromhex("00 0110 02 0907")
        bench.dongle.says(device, found, cluster=0x8006, profile=0, endpoint=0, to_endpoint=0, secured=False)

    device.on_message = answer
    assert await bench.radio.match_descriptor(METER, 0x0109, [0x0702]) == (9, 7)


async def test_match_descriptor_of_a_silent_device_times_out(bench, monkeypatch):
    monkeypatch.setattr("chf.radio.session.ZDP_LIMIT_S", 0.05)
    bench.device()
    with pytest.raises(TimedOutError):
        await bench.radio.match_descriptor(METER, 0x0109, [OTA])


async def test_forget_asks_the_device_to_leave_and_drops_its_key(bench):
    device = await bench.invited()
    await bench.radio.forget(METER)
    leave = device.received[-1]
    assert (leave.profile, leave.cluster) == (0, 0x0034)
    assert leave.payload[1:9] == METER.to_bytes(8, "little")
    assert len(await bench.radio.export_keys()) == 1


async def test_forget_drops_the_key_of_a_device_that_does_not_hear(bench):
    await bench.invited(delivery=ApsStatus.NO_ACK)
    await bench.radio.forget(METER)
    assert len(await bench.radio.export_keys()) == 1


async def test_nobody_at_the_port_is_radio_gone(cold):
    await cold.dongle.pull_out()
    for attempt in (cold.radio.probe(), cold.radio.start(cold.listener, form=True)):
        with pytest.raises(RadioGoneError):
            await attempt
    assert cold.radio.state is RadioState.STOPPED
    assert "GONE" not in cold.listener.state_names()
    await cold.radio.stop()


async def test_a_lost_dongle_is_told_once_after_which_pending_messages_are_and_it_comes_back(bench):
    device = await bench.invited(confirms_after_s=None)
    for n in range(6):
        bench.radio.post(message(device, bytes((n,)), urgency=Urgency.BULK))
    bench.radio.post(message(device, bytes(200)))
    before = bench.dongle.stack.network
    await bench.dongle.pull_out()
    await bench.listener.until(lambda: bench.radio.state is RadioState.CONNECTING)
    assert bench.listener.fates() == [Delivery.RADIO_GONE] * 7
    assert bench.listener.order.index("GONE") < bench.listener.order.index("sent")
    bench.radio.post(message(device))
    await bench.listener.until(lambda: len(bench.listener.sent) == 8)
    assert bench.listener.fates()[-1] is Delivery.RADIO_GONE
    with pytest.raises(RadioGoneError):
        await bench.radio.export_keys()

    device.confirms_after_s = 0.0
    await bench.dongle.plug_in()
    await bench.listener.until(lambda: bench.radio.state is RadioState.UP)
    assert bench.listener.state_names() == ["CONNECTING", "UP", "GONE", "CONNECTING", "UP"]
    assert identity(bench.dongle.stack.network) == identity(before)
    assert HUB_ENDPOINT in bench.dongle.stack.endpoints
    assert await bench.radio.send(message(device)) is Delivery.DELIVERED


async def test_a_hub_that_fails_on_a_message_keeps_its_dongle(bench, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError

    device = await bench.invited()
    monkeypatch.setattr(bench.listener, "message_received", fail)
    monkeypatch.setattr(bench.listener, "message_sent", fail)
    bench.dongle.says(device, b"x")
    bench.radio.post(message(device))
    assert await bench.radio.send(message(device)) is Delivery.DELIVERED
    assert bench.listener.state_names() == ["CONNECTING", "UP"]


async def test_a_dongle_that_reboots_is_taken_back_with_who_was_invited(bench):
    await bench.radio.permit(METER, KEY, 60)
    bench.dongle.reboot()
    await bench.listener.until(lambda: len(bench.listener.states) == 5)
    assert bench.dongle.stack.link_keys.for_join(METER).key == KEY
    assert bench.dongle.stack.permitting


async def test_stopping_while_the_dongle_is_away_ends_the_search(cold):
    await cold.radio.start(cold.listener, form=True)
    await cold.dongle.pull_out()
    await cold.listener.until(lambda: cold.radio.state is RadioState.CONNECTING)
    await cold.radio.stop()
    assert cold.radio.state is RadioState.STOPPED
    assert cold.listener.state_names()[-1] == "STOPPED"


async def test_stopping_tells_pending_messages_and_leaves_no_task(cold):
    before = asyncio.all_tasks()
    await cold.radio.start(cold.listener, form=True)
    device = await cold.invited(confirms_after_s=None)
    for _ in range(10):
        cold.radio.post(message(device, urgency=Urgency.BULK))
    await cold.radio.stop()
    assert cold.listener.fates() == [Delivery.RADIO_GONE] * 10
    assert {task for task in asyncio.all_tasks() - before if "serve" not in repr(task)} == set()


async def test_a_link_that_is_lost_again_and_again_is_opened_ever_later_and_the_likely_cause_is_told(
    bench, monkeypatch
):
    failures = []
    monkeypatch.setattr("chf.radio.reconnecting.backoff_s", lambda count, *_: failures.append(count) or 0.0)
    for lives in range(1, 5):
        bench.dongle.cut()
        await bench.listener.until(lambda lives=lives: bench.listener.state_names().count("UP") == lives + 1)
    assert max(failures) >= 4
    reasons = [reason for state, reason in bench.listener.states if state is RadioState.GONE]
    assert ["another program" in reason and "soon after" in reason for reason in reasons] == [False, False, True, True]


async def test_a_radio_can_be_started_again(cold):
    for _ in range(3):
        async with started(cold):
            device = await cold.invited()
            assert await cold.radio.send(message(device)) is Delivery.DELIVERED


@pytest.mark.parametrize("busy", [True, False], ids=["while it is asked", "while nobody wants anything"])
async def test_a_restart_that_was_not_heard_of_is_found_out(bench, monkeypatch, busy):
    """The word of it was lost on the cable. The dongle answers as before, and is on no network."""
    monkeypatch.setattr("chf.radio.session.TICK_S", 0.02)
    monkeypatch.setattr("chf.radio.session.SILENCE_S", 0.1)
    for name, seconds in (
        ("ash.T_RX_ACK_MIN", 0.02),
        ("ash.T_RX_ACK_MAX", 0.1),
        ("ezsp.protocol.EZSP_CMD_TIMEOUT", 0.5),
    ):
        monkeypatch.setattr(f"bellows.{name}", seconds)
    device = await bench.invited()
    assert await bench.radio.send(Outbound(METER, 3, OTA, b"x")) is Delivery.DELIVERED
    lost = []
    bench.dongle.line = lambda octets: lost.append(octets) or b""
    bench.dongle.reboot()
    await bench.dongle.until(lambda: bool(lost))
    bench.dongle.line = lambda octets: octets
    if busy:
        bench.radio.post(Outbound(METER, 3, OTA, b"y"))
    await bench.listener.until(lambda: bench.listener.state_names()[-3:] == ["GONE", "CONNECTING", "UP"])
    assert await bench.radio.send(Outbound(METER, 3, OTA, b"z")) is Delivery.DELIVERED
    assert device.received


@pytest.fixture
def impatient(monkeypatch):
    """Whoever waits for the dongle, a library or we, does it for a moment."""
    monkeypatch.setattr("bellows.ash.T_RX_ACK_MIN", 0.01)
    monkeypatch.setattr("bellows.ash.T_RX_ACK_MAX", 0.02)
    monkeypatch.setattr("bellows.uart.RESET_TIMEOUT", 0.05)
    monkeypatch.setattr("zigpy_znp.api.CONNECT_PROBE_TIMEOUT", 0.2)
    monkeypatch.setattr("chf.radio.znp.link.PING_LIMIT_S", 0.05)
    monkeypatch.setattr("chf.radio.znp.link.ANSWER_LIMIT_S", 0.05)
    monkeypatch.setattr("chf.radio.session.TICK_S", 0.02)


@pytest.mark.usefixtures("no_complaints", "impatient")
async def test_a_hung_dongle_is_noticed_and_its_messages_are_told(bench):
    device = await bench.invited()
    await bench.radio.send(message(device))
    bench.dongle.mute = True
    for _ in range(2):
        bench.radio.post(message(device, urgency=Urgency.BULK))
    await bench.listener.until(lambda: "GONE" in bench.listener.state_names())
    await bench.listener.until(lambda: len(bench.listener.sent) == 2)
    assert bench.listener.fates() == [Delivery.RADIO_GONE] * 2


@pytest.mark.usefixtures("no_complaints", "impatient")
async def test_a_port_where_something_else_answers_is_told_plainly(cold):
    async def chatter(reader, writer) -> None:
        while await reader.read(100):
            writer.write(b"login: ")
        writer.close()

    async with await asyncio.start_server(chatter, "127.0.0.1", 0) as server:
        radio = cold.make_radio(f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        with pytest.raises(RadioGoneError, match=r"answers as an? (EZSP|Z-Stack) dongle does"):
            await radio.start(cold.listener, form=True)


@pytest.mark.usefixtures("no_complaints")
async def test_the_network_stays_open_for_as_long_as_was_asked_and_the_policy_goes_back(bench, monkeypatch):
    for dongle in ("ezsp.dongle.EzspDongle", "znp.dongle.ZnpDongle"):
        monkeypatch.setattr(f"chf.radio.{dongle}.longest_permit_s", 3)
    monkeypatch.setattr("chf.radio.session.POLICY_LINGERS_S", 0.05)
    assert not bench.install_codes_alone()
    await bench.radio.permit(METER, KEY, 6)
    assert bench.install_codes_alone()
    await bench.dongle.until(lambda: not bench.install_codes_alone())
    assert bench.dongle.stack.permits[-2:] == [3, 3]


async def test_settings_of_the_network_are_taken(cold):
    radio = cold.make_radio(cold.dongle.port, channel=20, pan_id=0x1A62)
    info = await radio.start(cold.listener, form=True)
    await radio.stop()
    assert (info.network.channel, info.network.pan_id) == (20, 0x1A62)
    assert cold.dongle.stack.network.channel == 20


@pytest.mark.usefixtures("no_complaints")
async def test_another_dongle_at_the_same_port_is_not_taken_for_ours(bench):
    await bench.dongle.pull_out()
    await bench.listener.until(lambda: bench.radio.state is RadioState.CONNECTING)
    bench.dongle.swap()
    connections = bench.dongle.connections
    await bench.dongle.plug_in()
    await bench.dongle.until(lambda: bench.dongle.connections == connections + 2)
    assert bench.radio.state is RadioState.CONNECTING


async def test_no_key_is_logged_however_loud_the_log(cold, caplog, monkeypatch):
    caplog.set_level(logging.DEBUG)
    for name in ("zigpy", "bellows", "zigpy_znp", "zigpy_znp.api"):
        monkeypatch.setattr(logging.getLogger(name), "level", logging.NOTSET)
    async with started(cold):
        await cold.radio.permit(METER, KEY, 60)
        keys = [key for _, _, key in await cold.radio.export_keys()]
    assert len(keys) == 2
    backup = await cold.radio.backup()
    await cold.radio.restore(backup)
    keys += [bytes.fromhex(seed) for seed in backup["stack_specific"].get("zstack", {}).values()]
    written = "\n".join(record.getMessage() for record in caplog.records).lower().replace(":", "")
    assert written or logging.getLogger("zigpy_znp.uart").isEnabledFor(logging.INFO)  # which has nothing to say here
    for key in keys:
        assert key.hex() not in written
        assert repr(key) not in written


@pytest.mark.usefixtures("no_complaints")
async def test_a_dongle_that_fails_while_it_starts_is_told_plainly(cold):
    starting = asyncio.ensure_future(cold.radio.start(cold.listener, form=True))
    await cold.dongle.until(lambda: cold.dongle.connections == 1)
    await cold.dongle.pull_out()
    with pytest.raises(RadioGoneError, match=cold.dongle.port):
        await starting
    assert cold.radio.state is RadioState.STOPPED


@pytest.mark.usefixtures("no_complaints")
async def test_stopping_while_a_dongle_does_not_answer_ends_at_once(cold):
    async with started(cold):
        cold.dongle.mute = True
        connections = cold.dongle.connections
        cold.dongle.cut()
        await cold.dongle.until(lambda: cold.dongle.connections > connections)
        assert cold.radio.state is RadioState.CONNECTING
        async with asyncio.timeout(2):
            await cold.radio.stop()
        assert cold.radio.state is RadioState.STOPPED


@pytest.mark.usefixtures("no_complaints")
async def test_two_devices_that_confirm_late_do_not_slow_eight_others(bench):
    """Each device asks for its next block when the last one is there, as an OTA client does."""
    devices = [await bench.invited(Eui64(METER + n), 0x1001 + n) for n in range(10)]
    slow, quick = devices[:2], devices[2:]
    for device in devices:
        device.on_message = lambda _, device=device: bench.dongle.says(device, b"next")
    for device in slow:
        device.confirms_after_s = 30.0
    a_block = message(devices[0], bytes(67), urgency=Urgency.BULK)
    bench.listener.message_received = lambda inbound: bench.radio.post(replace(a_block, destination=inbound.source))
    for device in devices:
        bench.radio.post(replace(a_block, destination=device.ieee))
    await bench.dongle.until(lambda: all(len(device.received) >= 50 for device in quick))
    assert all(len(device.received) <= 2 for device in slow)


async def test_the_well_known_key_lets_nobody_in(bench):
    await bench.radio.permit(METER, KEY, 60)
    assert bench.dongle.ncp.keys.for_join(Eui64(0x1234)) is None
    assert b"ZigBeeAlliance09" not in {key for _, _, key in await bench.radio.export_keys()}
