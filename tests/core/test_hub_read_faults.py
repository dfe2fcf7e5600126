"""A fault in what the hub reads harms only its own story: everybody else goes on, and people are told."""

import pytest

from chf.errors import StoreCorruptError, StoreUnavailableError
from chf.eui64 import Eui64, format_eui64, parse_eui64
from chf.hub import HubSettings
from chf.hub.tunnels import Tunnels
from chf.store import Store
from chf.store.device_log import DeviceEntry, DeviceStatus, DeviceType
from chf.store.inbox import CommandState, Inbox, Verb
from chf.trace import Kind
from chf.tunnel import TunnelSettings
from chf.zcl import time
from tests.support.memory_radio import MemoryRadio, hub_on_desk

PPMID = parse_eui64("00-DB-12-34-56-78-90-A4")
OTHER = Eui64(PPMID + 1)
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


@pytest.mark.parametrize(
    "error", [StoreUnavailableError("the disk fails"), StoreCorruptError("no rows"), ZeroDivisionError("a bug")]
)
async def test_an_inbox_that_cannot_be_read_once_ends_nothing_and_is_read_again(store, monkeypatch, caplog, error):
    read, failures = Inbox.pending, [error, error]

    def sometimes(inbox):
        if failures:
            raise failures.pop()
        return read(inbox)

    monkeypatch.setattr(Inbox, "pending", sometimes)
    monkeypatch.setattr("chf.background.FIRST_RETRY_S", 0.05)
    async with hub_on_desk(store, MemoryRadio()) as desk:
        number = permit(store)
        await desk.until(lambda: store.inbox.get(number).state is CommandState.DONE)
        assert answers_time(desk)
        assert alarms(desk) == [f"taking commands failed, and is tried again: {error}"]
    assert f"taking commands failed, and is tried again: {error}" in caplog.text


async def test_a_deadline_that_cannot_be_handled_ends_nothing(store, monkeypatch, caplog):
    """The other handlers' deadlines are due as well, and this one again a little later."""
    handle, failures = Tunnels.handle_deadline, [ZeroDivisionError("a bug")]

    def sometimes(tunnels, now):
        if failures:
            raise failures.pop()
        return handle(tunnels, now)

    monkeypatch.setattr(Tunnels, "handle_deadline", sometimes)
    monkeypatch.setattr("chf.hub.deadlines.RETRY_S", 0.05)
    radio = MemoryRadio()
    radio.unreachable = True
    settings = HubSettings(tunnel=TunnelSettings(first_retry_s=0.05))
    async with hub_on_desk(store, radio, settings) as desk:
        await desk.until(lambda: not failures)
        await desk.until(lambda: radio.asked > 2)
        assert alarms(desk) == ["what was due failed, and is tried again: a bug"]
    assert "a bug" in caplog.text
