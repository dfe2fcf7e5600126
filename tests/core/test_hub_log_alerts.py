"""CS14: one alert for each change of the device log, whoever made it and whenever, and never a second one."""

from dataclasses import replace

import pytest

from chf.clock import SystemClock
from chf.crypto.mmo import aes_mmo
from chf.dcc.conversion import Conversion
from chf.errors import MalformedMessageError
from chf.eui64 import parse_eui64
from chf.gbcs import (
    CraFlag,
    DeviceLogChangedAlert,
    GbcsMessage,
    GroupingHeader,
    LoggedDevice,
    MessageCode,
    mac_key,
    parse_payload,
    verify_mac,
)
from chf.gbcs.cursor import Cursor
from chf.gbcs.describe import describe
from chf.hub.batch import Batch
from chf.hub.device_log_alerts import DeviceLogAlerts
from chf.hub.handler import HubContext
from chf.hub.journal import Journal
from chf.hub.settings import HubSettings, SecuritySettings
from chf.pki.certificates import Usage
from chf.store import Store
from chf.store.device_log import DeviceEntry, DeviceType
from chf.store.inbox import Verb
from chf.trace import Event, Kind
from tests.support.memory_radio import HUB, MemoryRadio, desk_pki, hub_on_desk

PPMID = parse_eui64("00-DB-12-34-56-78-90-A4")
OTHER = parse_eui64("00-DB-12-34-56-78-90-A5")
HASH = bytes(range(0xC0, 0xD0))


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "home", hub=True) as opened:
        yield opened


def add(store, device):
    """As `chf device add` and SR 8.11 do."""
    with store.transaction() as tx:
        tx.devices.add(DeviceEntry(device, DeviceType.PPMID, 0.0, bytes(range(16))))
        tx.audit.append(Event(0.0, Kind.DEVICE_ADDED, device, None, {"device_type": "PPMID"}))


def told(store):
    return [alert.outcome for alert in store.alerts.list(use_case="CS14")]


def payload_of(alert):
    return parse_payload(GbcsMessage.from_bytes(alert.message))


def logged(alert):
    return tuple(device.eui64 for device in payload_of(alert).devices)


async def test_a_device_added_while_the_hub_was_down_is_told_once_over_restarts(store):
    add(store, PPMID)
    for _ in range(2):
        async with hub_on_desk(store, MemoryRadio()) as desk:
            await desk.until(lambda: told(store))
            await desk.two_looks()
    assert told(store) == ["00-DB-12-34-56-78-90-A4 added"]


async def test_devices_added_beside_the_running_hub_are_told_one_by_one(store):
    async with hub_on_desk(store, MemoryRadio()) as desk:
        with Store.open(store.home) as beside:
            for device in (PPMID, OTHER):
                add(beside, device)
        await desk.until(lambda: len(told(store)) == 2)
        assert [event.device for event in desk.told if event.kind is Kind.ALERT_RAISED] == [PPMID, OTHER]
    assert told(store) == ["00-DB-12-34-56-78-90-A4 added", "00-DB-12-34-56-78-90-A5 added"]
    assert logged(store.alerts.list()[-1]) == (PPMID, OTHER)


def test_a_long_audit_is_looked_through_in_parts_and_once(store):
    context = HubContext.of(store, MemoryRadio(), SystemClock(), HubSettings(), desk_pki(store.home))
    alerts = DeviceLogAlerts(context, Journal(store, None))
    with store.transaction() as tx:
        for number in range(100):
            tx.audit.append(Event(0.0, Kind.ALARM, PPMID, None, {"reason": f"{number}"}))
    for device in (PPMID, OTHER):
        add(store, device)
    batch, parts = Batch(SystemClock().now()), 0
    while not batch.writes:
        assert alerts.raise_page(batch)
        parts += 1
    assert parts > 2
    for _ in range(2):  # the second time, the write had to wait, and another was faster
        with store.transaction() as tx:
            for write in batch.writes:
                write(tx)
    assert told(store) == ["00-DB-12-34-56-78-90-A4 added", "00-DB-12-34-56-78-90-A5 added"]
    assert alerts.raise_page(Batch(batch.now))  # what making them has left in the audit
    assert not alerts.raise_page(Batch(batch.now))


async def test_a_forgotten_device_is_told_in_the_transaction_that_forgets_it(store):
    add(store, PPMID)
    async with hub_on_desk(store, MemoryRadio()) as desk:
        await desk.until(lambda: told(store))
        with Store.open(store.home) as beside, beside.transaction() as tx:
            tx.inbox.submit(Verb.DEVICE_FORGET, {"device": "00-DB-12-34-56-78-90-A4"}, 0.0)
        await desk.until(lambda: store.devices.get(PPMID) is None)
        assert told(store)[1:] == ["00-DB-12-34-56-78-90-A4 removed"]  # there in the instant that the row is gone
        await desk.two_looks()
    assert len(told(store)) == 2
    assert logged(store.alerts.list()[-1]) == ()


async def test_the_alert_is_the_hubs_for_the_acb_and_bears_their_mac(store):
    add(store, PPMID)
    async with hub_on_desk(store, MemoryRadio()) as desk:
        await desk.until(lambda: told(store))
    (alert,) = store.alerts.list()
    message, pki = GbcsMessage.from_bytes(alert.message), desk_pki(store.home)
    assert (message.header.originator, message.header.recipient) == (HUB, pki.acb)
    key = mac_key(
        pki.private_key(pki.acb, Usage.KEY_AGREEMENT),
        pki.certificate(pki.chf, Usage.KEY_AGREEMENT).public_key(),
        message.header,
    )
    assert verify_mac(message, key)
    assert (alert.device, alert.alert_code) == (HUB, 0x8F12)
    assert bytes(range(16)) not in alert.message


async def test_a_link_key_that_is_taken_back_is_told_and_the_alert_has_hashes_of_established_keys_alone(store):
    key = bytes(range(0x30, 0x40))
    add(store, PPMID)
    add(store, OTHER)
    with store.transaction() as tx:
        tx.devices.update(replace(tx.devices.get(PPMID), link_key=key, key_suite=2, key_utc=1.0))
    async with hub_on_desk(store, MemoryRadio()) as desk:
        await desk.until(lambda: len(told(store)) == 2)
        before = payload_of(store.alerts.list()[-1])
        assert before.extended_pan_id == desk.radio.info.network.extended_pan_id == 1
        assert [device.hashed_link_key for device in before.devices] == [aes_mmo(key), b""]
        with Store.open(store.home) as beside, beside.transaction() as tx:
            for _ in range(2):  # the second takes nothing back
                tx.inbox.submit(Verb.DEVICE_PERMIT, {"device": "00-DB-12-34-56-78-90-A4", "seconds": 60}, 0.0)
        await desk.until(lambda: not store.inbox.pending())
    assert told(store)[2:] == ["00-DB-12-34-56-78-90-A4 has no link key any more"]
    assert [device.hashed_link_key for device in payload_of(store.alerts.list()[-1]).devices] == [b"", b""]


async def test_the_setting_switches_it_off(store):
    add(store, PPMID)
    quiet = HubSettings(security=SecuritySettings(device_log_alert=False))
    async with hub_on_desk(store, MemoryRadio(), quiet) as desk:
        await desk.two_looks()
    assert told(store) == []


async def test_the_acb_keeps_it_and_no_user_gets_a_document(store):
    add(store, PPMID)
    async with hub_on_desk(store, MemoryRadio()) as desk:
        await desk.until(lambda: told(store))
    conversion = Conversion(store, desk_pki(store.home), lambda octets: octets)
    assert conversion.run(SystemClock().now()) == 1
    assert conversion.run(SystemClock().now()) == 0
    assert store.alerts.list()[0].delivered is not None
    assert not [record for record in store.audit.tail() if record.event.kind is Kind.ALARM]


def test_the_payload_is_laid_out_as_the_reference_message_has_it():
    when = bytes.fromhex("07E80201FF0A0B0C008000FF")
    devices = (LoggedDevice(PPMID, HASH), LoggedDevice(OTHER))
    octets = DeviceLogChangedAlert(0x01_00_00_2A, when, 0x0001020304050607, devices).to_bytes()
    parts = (
        "0F2000002A00",  # data notification, invoke id with the counter's low octets, no date-time
        "0203128F12090C07E80201FF0A0B0C008000FF",  # code and time
        "0203090C07E80201FF0A0B0C008000FF09080001020304050607",  # the log: its time, the network
        "01020202090800DB1234567890A40910" + HASH.hex(),
        "0202090800DB1234567890A50900",  # GBCS CS14: a string of no length where no link key is established
    )
    assert octets == bytes.fromhex("".join(parts))
    assert DeviceLogChangedAlert.read(Cursor(octets)) == DeviceLogChangedAlert(0x2A, when, 0x0001020304050607, devices)
    assert HASH.hex() not in repr(devices)
    for cut in range(len(octets)):
        with pytest.raises(MalformedMessageError):
            DeviceLogChangedAlert.read(Cursor(octets[:cut]))


def test_a_log_with_a_time_of_its_own_is_written_back_and_no_key_hash_is_shown():
    when, logged = bytes.fromhex("07E80201FF0A0B0C008000FF"), bytes.fromhex("07E80201FF0A0B0B008000FF")
    devices = (LoggedDevice(PPMID, HASH), LoggedDevice(PPMID + 1))
    alert = DeviceLogChangedAlert(5, when, 0x0001020304050607, devices, logged)
    read = DeviceLogChangedAlert.read(Cursor(alert.to_bytes()))
    assert read == alert
    header = GroupingHeader(CraFlag.ALERT, 5, PPMID, PPMID, MessageCode.CHF_DEVICE_LOG_ALERT)
    told = {line.name: line.value for line in describe(GbcsMessage(header, alert.to_bytes(), b""))}
    assert (told["time"][11:19], told["log_time"][11:19]) == ("10:11:12", "10:11:11")
    assert repr(HASH)[2:-1] not in repr(read)


async def test_a_link_key_that_replaces_another_is_told_with_its_own_hash(store):
    keys = (bytes(range(0x30, 0x40)), bytes(range(0x40, 0x50)))
    add(store, PPMID)
    async with hub_on_desk(store, MemoryRadio()) as desk:
        await desk.until(lambda: len(told(store)) == 1)
        for number, key in enumerate(keys, 1):
            with Store.open(store.home) as beside, beside.transaction() as tx:
                tx.devices.update(replace(tx.devices.get(PPMID), link_key=key, key_suite=2, key_utc=float(number)))
                tx.audit.append(Event(float(number), Kind.KEY_ESTABLISHED, PPMID, None, {"suite": 2}))
            await desk.until(lambda: len(told(store)) == 1 + number)  # noqa: B023 waited for within the turn
            (device,) = payload_of(store.alerts.list()[-1]).devices
            assert device.hashed_link_key == aes_mmo(key)
