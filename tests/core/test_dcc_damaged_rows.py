"""A damaged row of the store: whom it is about gets nothing and an alarm says why; everybody else goes on."""

import pytest

from chf.clock import UtcSeconds
from chf.duis.device_request import ReadFirmwareVersionRequest
from chf.gbcs import (
    ActivateImageResponseCode,
    ExecutionOutcome,
    make_cs06_precommand,
    make_cs06_response,
    make_cs09_alert,
)
from chf.store.alerts import NewAlert
from chf.store.device_messages import NewDeviceMessage
from tests.support.damaged_store import sql
from tests.support.dcc_bench import ACB, ESME, KEYS, NOW, PPMID, SECOND, SUPPLIER, update_request
from tests.support.desk_bench import D, S, desk_bench, later, to


@pytest.fixture
def bench(tmp_path):
    with desk_bench(tmp_path) as made:
        yield made


def damage(bench, statement):
    """As a disk does it: behind the back of the store, whose checks would refuse it."""
    sql(bench.home, "pragma ignore_check_constraints = on", statement)


def cs09(bench, device):
    octets = make_cs09_alert(
        device, ACB, 1, utc=NOW.utc, firmware_version=2, success=True, key=KEYS(f"{device:016x}-ds")
    )
    add_alert(bench, device, octets)


def add_alert(bench, device, octets):
    with bench.store.transaction() as tx:
        tx.alerts.add(NewAlert(f"of {device:016X}", device, "x", 0x8F8B, "", octets, True, NOW.utc))


def converted(bench, now=NOW):
    return [document.device for document in bench.convert(now)]


def test_an_alert(bench):
    cs09(bench, SECOND)
    cs09(bench, PPMID)
    damage(bench, "update alerts set created_utc = 1e300 where seq = 1")
    assert converted(bench) == [PPMID]
    assert "row 1 of alerts is unreadable, because created_utc" in bench.alarms()[0]


def test_the_command_that_an_answer_is_for(bench):
    command = make_cs06_precommand(SUPPLIER, ESME, 7, bytes(32))
    with bench.store.transaction() as tx:
        expires = UtcSeconds(NOW.utc + 60)
        tx.device_messages.add(NewDeviceMessage(ESME, "cli", 0x0012, 7, command.to_bytes(), NOW.utc, expires))
    success = ExecutionOutcome(ActivateImageResponseCode.SUCCESS, 2)
    add_alert(bench, ESME, make_cs06_response(command.header, success, NOW.utc, KEYS(f"{ESME:016x}-ds")))
    cs09(bench, PPMID)
    damage(bench, "update device_messages set message = 'text'")
    assert converted(bench) == [PPMID]
    assert "row 1 of device_messages is unreadable, because message" in bench.alarms()[0]


@pytest.mark.parametrize(
    "statement",
    [
        "update scheduled_reads set due_utc = -1e300 where id = 1",
        "update devices set added_utc = x'00' where eui64 like '%A5'",  # SECOND
    ],
)
def test_a_dated_read_and_its_device(bench, statement):
    for number, device in enumerate((SECOND, PPMID)):
        request = ReadFirmwareVersionRequest(to(device, 1000 + number), int(NOW.utc) + 100)
        assert bench.ask(request, S).code.value == "I99"
    damage(bench, statement)
    converted(bench, later(200))
    assert [row.device for row in bench.store.device_messages.list()] == [PPMID]
    assert "is unreadable, because" in bench.alarms()[0]


def test_a_command_that_the_hub_has_not_seen(bench):
    bench.ask(update_request(SECOND), D)
    damage(bench, """update inbox set body = '{"devices": 7}'""")
    assert bench.ask(update_request(PPMID, counter=1001), D).code.value == "I99"


def test_a_command_whose_outcome_a_user_waits_for(bench):
    bench.ask(update_request(SECOND), D)
    bench.ask(update_request(PPMID, counter=1001), D)
    with bench.store.transaction() as tx:
        for command in bench.store.inbox.pending():
            started = [{"device": device, "update": 1} for device in command.body["devices"]]
            tx.inbox.finish(command.id, {"started": started, "refused": []}, NOW.utc)
    damage(bench, "update followed set file_version = 'x' where command = 1")
    assert converted(bench) == [PPMID]
    assert "row 1 of followed is unreadable, because file_version" in bench.alarms()[0]
