"""A fault in what the hub reads harms only its own story: everybody else goes on, and people are told."""

import asyncio
import threading

import pytest

from chf.clock import SystemClock
from chf.errors import StoreCorruptError, StoreError, StoreUnavailableError
from chf.eui64 import Eui64, format_eui64, parse_eui64
from chf.hub import Hub, HubSettings
from chf.hub.tunnels import Tunnels
from chf.image.image import parse_image
from chf.radio.interface import RadioState
from chf.store import Store
from chf.store.device_log import DeviceEntry, DeviceLog, DeviceStatus, DeviceType
from chf.store.device_messages import NewDeviceMessage
from chf.store.images import record_of
from chf.store.inbox import CommandState, Inbox, Verb
from chf.store.update_table import UpdatesWriter as UpdatesTable
from chf.trace import Event, Kind
from chf.tunnel import TunnelSettings
from chf.update.model import UpdateState
from chf.zcl import ota, time
from tests.support.damaged_store import connection_of
from tests.support.memory_radio import MemoryRadio, desk_pki, hub_on_desk
from tests.support.programs import image_file

PPMID = parse_eui64("00-DB-12-34-56-78-90-A4")
OTHER = Eui64(PPMID + 1)
QUERY = bytes.fromhex("01 01 01 01 d410 0100 01000000 0100")
READ_TIME = bytes.fromhex("00 07 00 0000")


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "home", hub=True) as opened:
        with opened.transaction() as tx:
            for device in (PPMID, OTHER):
                tx.devices.add(DeviceEntry(device, DeviceType.PPMID, 0.0, bytes(16), status=DeviceStatus.JOINED))
        yield opened


def permit(store, device=PPMID):
    with store.transaction() as tx:
        return tx.inbox.submit(Verb.DEVICE_PERMIT, {"device": format_eui64(device), "seconds": 60}, 0.0)


def answers_time(desk, device=OTHER):
    before = len(desk.radio.to_cluster(time.CLUSTER))
    desk.radio.says(device, time.CLUSTER, READ_TIME)
    return len(desk.radio.to_cluster(time.CLUSTER)) == before + 1


def alarms(desk):
    return [str(event.fields["reason"]) for event in desk.told if event.kind is Kind.ALARM]


def fails_at_first(monkeypatch, owner, name, *errors):
    """Have a method raise these before it does its work again; what it returns empties meanwhile."""
    does, failures = getattr(owner, name), list(errors)

    def sometimes(*arguments):
        if failures:
            raise failures.pop()
        return does(*arguments)

    monkeypatch.setattr(owner, name, sometimes)
    return failures


@pytest.mark.parametrize(
    "error", [StoreUnavailableError("the disk fails"), StoreCorruptError("no rows"), ZeroDivisionError("a bug")]
)
async def test_an_inbox_that_cannot_be_read_once_ends_nothing_and_is_read_again(store, monkeypatch, caplog, error):
    fails_at_first(monkeypatch, Inbox, "pending", error, error)
    monkeypatch.setattr("chf.background.FIRST_RETRY_S", 0.05)
    async with hub_on_desk(store, MemoryRadio()) as desk:
        number = permit(store)
        await desk.until(lambda: store.inbox.get(number).state is CommandState.DONE)
        assert answers_time(desk)
        assert alarms(desk) == [f"taking commands failed, and is tried again: {error}"]
    assert f"taking commands failed, and is tried again: {error}" in caplog.text


async def test_a_command_waits_for_a_store_that_cannot_be_read_now_and_is_not_refused(store, monkeypatch):
    fails_at_first(monkeypatch, DeviceLog, "get", StoreUnavailableError("the disk fails"))
    monkeypatch.setattr("chf.background.FIRST_RETRY_S", 0.05)
    async with hub_on_desk(store, MemoryRadio()) as desk:
        number = permit(store)
        await desk.until(lambda: store.inbox.get(number).state is not CommandState.PENDING)
        assert store.inbox.get(number).state is CommandState.DONE
        assert alarms(desk) == ["taking commands failed, and is tried again: the disk fails"]


async def test_a_deadline_that_cannot_be_handled_ends_nothing(store, monkeypatch, caplog):
    """The other handlers' deadlines are due as well, and this one again a little later."""
    failures = fails_at_first(monkeypatch, Tunnels, "handle_deadline", ZeroDivisionError("a bug"))
    monkeypatch.setattr("chf.hub.deadlines.RETRY_S", 0.05)
    radio = MemoryRadio()
    radio.unreachable = True
    settings = HubSettings(tunnel=TunnelSettings(first_retry_s=0.05))
    async with hub_on_desk(store, radio, settings) as desk:
        await desk.until(lambda: not failures)
        await desk.until(lambda: radio.asked > 2)
        assert alarms(desk) == ["what was due failed, and is tried again: a bug"]
    assert "a bug" in caplog.text


# Damaged rows: each is named in one alarm, and its neighbours go on


def damage(store, statement, *parameters):
    connection_of(store).execute(statement, parameters)


def add_message(store, device=OTHER):
    row = NewDeviceMessage(device, "request", 1, 7, b"\1", 0.0, 1e11)
    with store.transaction() as tx:
        return tx.device_messages.add(row)


async def test_a_damaged_row_of_the_device_log_harms_its_device_alone(store, caplog):
    damage(store, "update devices set last_seen_utc = 1e300 where eui64 = ?", format_eui64(PPMID))
    async with hub_on_desk(store, MemoryRadio()) as desk:
        assert answers_time(desk, OTHER)
        assert not answers_time(desk, PPMID)
        number = permit(store, OTHER)
        await desk.until(lambda: store.inbox.get(number).state is CommandState.DONE)
        (alarm,) = alarms(desk)
    assert f"row {format_eui64(PPMID)} of devices is unreadable, because last_seen_utc" in alarm
    assert alarm in caplog.text


async def test_a_row_of_the_device_log_that_is_damaged_under_the_running_hub_is_let_go_and_reported_once(store):
    async with hub_on_desk(store, MemoryRadio()) as desk:
        damage(store, "update devices set refused_frames = 'many' where eui64 = ?", format_eui64(PPMID))
        assert answers_time(desk, PPMID)  # it was good when it was read
        assert answers_time(desk, OTHER)
        await desk.until(lambda: store.devices.get(OTHER).last_seen)  # and what was heard is saved, of the other one
        await desk.until(lambda: not answers_time(desk, PPMID))
        await desk.until(lambda: [alarm for alarm in alarms(desk) if "refused_frames" in alarm][1:])
        before = alarms(desk)
        for _ in range(2):  # what is heard meanwhile is saved twice, without another word
            seen = store.devices.get(OTHER).last_seen
            assert answers_time(desk, OTHER)
            await desk.until(lambda seen=seen: store.devices.get(OTHER).last_seen != seen)
        assert alarms(desk) == before
        assert answers_time(desk, OTHER)


@pytest.mark.parametrize("column", ["body", "submitted_utc"])
async def test_a_damaged_command_is_refused_and_those_after_it_are_done(store, column):
    async with hub_on_desk(store, MemoryRadio()) as desk:
        with store.transaction() as tx:
            first = tx.inbox.submit(Verb.DEVICE_PERMIT, {}, 0.0)
            damage(store, f"update inbox set {column} = x'ff' where id = ?", first)  # noqa: S608
            second = tx.inbox.submit(Verb.DEVICE_PERMIT, {"device": format_eui64(OTHER), "seconds": 60}, 0.0)
        await desk.until(lambda: store.inbox.get(second).state is CommandState.DONE)
        (alarm,) = alarms(desk)
        assert f"row {first} of inbox is unreadable, because {column}" in alarm
        assert not store.inbox.pending().unreadable


async def test_a_damaged_message_fails_and_others_are_handed_over(store):
    damaged, good = add_message(store), add_message(store)
    damage(store, "update device_messages set message = 7 where id = ?", damaged)
    async with hub_on_desk(store, MemoryRadio()) as desk:
        await desk.until(lambda: Kind.MESSAGE_QUEUED in desk.kinds())
        (alarm,) = alarms(desk)
        assert f"row {damaged} of device_messages is unreadable, because message" in alarm
        assert [row.id for row in store.device_messages.waiting()] == [good]


async def test_an_audit_record_of_another_schema_version_does_not_stop_the_alerts_of_the_device_log(store):
    with store.transaction() as tx:
        tx.audit.append(Event(0.0, Kind.ALARM, PPMID, None, {"reason": "of another version"}))
    damage(store, "drop trigger audit_is_never_edited")
    damage(store, "update audit set event = replace(event, '\"schema\":2', '\"schema\":99')")
    with store.transaction() as tx:
        tx.audit.append(Event(0.0, Kind.DEVICE_ADDED, OTHER, None, {"device_type": "PPMID"}))
    async with hub_on_desk(store, MemoryRadio()) as desk:
        await desk.until(lambda: store.alerts.list(use_case="CS14"))
        assert [alert.outcome for alert in store.alerts.list(use_case="CS14")] == [f"{format_eui64(OTHER)} added"]
        (alarm,) = alarms(desk)
        assert "row 1 of audit is unreadable" in alarm


async def test_a_damaged_row_of_an_update_harms_its_device_alone(store, tmp_path):
    image = parse_image(image_file(tmp_path / "new.ota", size_bytes=500).read_bytes())
    with store.transaction() as tx:
        tx.images.add(record_of(image, "new", 0.0), image.content)
        body = {"devices": [format_eui64(PPMID), format_eui64(OTHER)], "image": image.sha256}
        tx.inbox.submit(Verb.UPDATE_START, body | {"activation": {"kind": "now"}}, 0.0)
    async with hub_on_desk(store, MemoryRadio()) as desk:
        await desk.until(lambda: [row.state for row in store.updates.list()] == [UpdateState.ANNOUNCED] * 2)
    damage(store, "update updates set created_utc = 'yesterday' where id = 1")
    async with hub_on_desk(store, MemoryRadio()) as desk:
        desk.radio.says(OTHER, ota.CLUSTER, QUERY)
        await desk.until(lambda: [row.state for row in store.updates.list()] == [UpdateState.DOWNLOADING])
        desk.radio.says(PPMID, ota.CLUSTER, QUERY)
        (alarm,) = alarms(desk)
        assert "row 1 of updates is unreadable, because created_utc" in alarm


@pytest.mark.parametrize("text", ["[1", '{"tunnel": 1}'])
async def test_a_damaged_record_of_a_tunnel_is_reported_and_the_device_gets_a_new_one(store, text):
    with store.transaction() as tx:
        tx.meta.set(f"tunnel of {format_eui64(PPMID)}", text)
    async with hub_on_desk(store, MemoryRadio()) as desk:
        await desk.until(lambda: {message.destination for message in desk.radio.posted} == {PPMID, OTHER})
        (alarm,) = alarms(desk)
        assert f"row tunnel of {format_eui64(PPMID)} of meta is unreadable" in alarm


# What can never be written: core and store agree afterwards


async def test_an_update_whose_new_state_is_refused_by_the_store_goes_on_from_what_is_written(
    store, tmp_path, monkeypatch
):
    image = parse_image(image_file(tmp_path / "new.ota", size_bytes=500).read_bytes())
    with store.transaction() as tx:
        tx.images.add(record_of(image, "new", 0.0), image.content)
        body = {"devices": [format_eui64(PPMID), format_eui64(OTHER)], "image": image.sha256}
        tx.inbox.submit(Verb.UPDATE_START, body | {"activation": {"kind": "now"}}, 0.0)
    write, refused = UpdatesTable.update, [PPMID]

    def sometimes(table, update):
        if update.state is UpdateState.DOWNLOADING and update.device in refused:
            refused.remove(update.device)
            raise StoreError("no such row")
        write(table, update)

    monkeypatch.setattr(UpdatesTable, "update", sometimes)
    async with hub_on_desk(store, MemoryRadio()) as desk:
        await desk.until(lambda: [row.state for row in store.updates.list()] == [UpdateState.ANNOUNCED] * 2)
        for device in (PPMID, OTHER):
            desk.radio.says(device, ota.CLUSTER, QUERY)
        assert [row.state for row in store.updates.list()] == [UpdateState.ANNOUNCED, UpdateState.DOWNLOADING]
        (alarm,) = alarms(desk)
        assert "no such row" in alarm

        def asked_again():  # had the core kept the new state, this would write nothing
            desk.radio.says(PPMID, ota.CLUSTER, QUERY)
            return [row.state for row in store.updates.list()] == [UpdateState.DOWNLOADING] * 2

        await desk.until(asked_again)


async def test_nobody_is_served_from_a_store_that_does_not_hang_together(store, monkeypatch):
    def damaged(_store):
        raise StoreCorruptError("chf.db is damaged: row 3 missing from index")

    monkeypatch.setattr(Store, "check", damaged)
    told: list[object] = []
    hub = Hub(store, MemoryRadio(), desk_pki(store.home), SystemClock())
    with pytest.raises(StoreCorruptError, match="row 3 missing"):
        await hub.run(form=True, ready=told.append)
    assert told == []


async def test_a_device_that_speaks_while_the_store_is_checked_is_not_answered_before(store, monkeypatch):
    """Its transfer is not taken up yet, and the hub would tell it that there is none."""
    checked = threading.Event()
    monkeypatch.setattr(Store, "check", lambda _store: checked.wait(60))
    radio, up = MemoryRadio(), asyncio.Event()
    hub = Hub(store, radio, desk_pki(store.home), SystemClock())
    running = asyncio.ensure_future(hub.run(form=True, ready=lambda _info: up.set()))
    while radio.state is not RadioState.UP:  # noqa: ASYNC110 it has no event to wait for
        await asyncio.sleep(0)
    radio.says(OTHER, time.CLUSTER, READ_TIME)
    assert radio.posted == []
    checked.set()
    await asyncio.wait_for(up.wait(), 60)
    radio.says(OTHER, time.CLUSTER, READ_TIME)
    assert len(radio.to_cluster(time.CLUSTER)) == 1
    running.cancel()
    await asyncio.wait({running})
