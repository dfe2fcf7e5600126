"""What each table of the store takes, gives back and refuses."""

import hashlib
from dataclasses import replace

import pytest

from chf.clock import UtcSeconds
from chf.errors import DamagedRowError, RefusedError, StoreCorruptError, StoreError, UsageError
from chf.eui64 import Eui64
from chf.store import (
    BrokenLink,
    CommandState,
    DeviceEntry,
    DeviceType,
    ImageRecord,
    NewAlert,
    Store,
    alert_id,
    progress,
    rows,
)
from chf.store.schema import ACTIVE_UPDATE
from chf.trace import Event, Kind
from chf.update import model
from tests.support.damaged_store import sql
from tests.support.updates import accepted

PPMID = Eui64(0x90B3D51F30000002)  # the highest bit set: no SQLite integer holds it
OTHER = Eui64(0x00DB1234567890A4)
T0 = UtcSeconds(1_800_000_000.0)
LINK_KEY = bytes(range(16))


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path / "home") as opened:
        yield opened


def new_update(number=1, **changes):
    return replace(accepted(number, PPMID), **changes)


def image(content: bytes, name="a.ota") -> ImageRecord:
    return ImageRecord(
        hashlib.sha256(content).hexdigest(), name, "ota", 0x1234, 0x0001, 2, None, None, len(content), T0
    )


# --- device log


def test_a_link_key_is_in_no_repr():
    text = repr(DeviceEntry(PPMID, DeviceType.PPMID, T0, install_code_link_key=LINK_KEY))
    assert "link_key" not in text
    assert LINK_KEY.hex() not in text
    with pytest.raises(UsageError) as refusal:
        DeviceEntry(PPMID, DeviceType.PPMID, T0, install_code_link_key=LINK_KEY[:-1])
    assert repr(LINK_KEY[:-1]) not in str(refusal.value)


def test_the_device_log_refuses_what_makes_no_sense(store):
    with store.transaction() as tx:
        tx.devices.add(DeviceEntry(PPMID, DeviceType.PPMID, T0))
        with pytest.raises(RefusedError, match="90-B3-D5-1F-30-00-00-02 is in the device log already"):
            tx.devices.add(DeviceEntry(PPMID, DeviceType.PPMID, T0))
        with pytest.raises(RefusedError, match="not in the device log"):
            tx.devices.update(DeviceEntry(OTHER, DeviceType.PPMID, T0))
        with pytest.raises(RefusedError, match="not in the device log"):
            tx.devices.remove(OTHER)
        tx.updates.add(new_update())
        with pytest.raises(RefusedError, match="update 1 in progress"):
            tx.devices.remove(PPMID)
    assert store.devices.get(PPMID) is not None, "a refusal undoes nothing but itself"


# --- images


def test_an_image_is_stored_once_and_checked_whenever_it_is_opened(store):
    content = b"firmware" * 1000
    record = image(content)
    with store.transaction() as tx:
        assert tx.images.add(record, content) is True
        assert tx.images.add(replace(record, name="again.ota"), content) is False
    assert store.images.list() == (record,)
    assert store.images.get(record.sha256) == record
    assert store.images.open(record.sha256) == content


def test_an_image_that_was_altered_in_the_file_is_not_served(store, tmp_path):
    content = b"firmware" * 1000
    record = image(content, "b.ota")
    with store.transaction() as tx:
        tx.images.add(record, content)
    store.close()
    path = tmp_path / "home" / "chf.db"
    raw = path.read_bytes()
    place = raw.index(b"firmwarefirmware")
    path.write_bytes(raw[:place] + b"F" + raw[place + 1 :])
    with Store.open(tmp_path / "home") as again:
        with pytest.raises(StoreCorruptError, match=rf"{record.sha256} \('b.ota'\) was altered"):
            again.images.open(record.sha256)
        with again.transaction() as tx:
            tx.images.remove(record.sha256)
            tx.images.add(record, content)
        assert again.images.open(record.sha256) == content


def test_an_image_is_found_by_the_beginning_of_its_hash_or_by_its_name(store):
    first, second = image(b"1", "one.ota"), image(b"2", "two.ota")
    with store.transaction() as tx:
        tx.images.add(first, b"1")
        tx.images.add(second, b"2")
    assert store.images.find(first.sha256[:6]) == first
    assert store.images.find(second.sha256.upper()) == second
    assert store.images.find("two.ota") == second
    for text in ("", "%", "_" * 64, "zzz"):
        with pytest.raises(UsageError):
            store.images.find(text)


def test_an_image_that_an_update_needs_stays(store):
    record = image(b"x")
    with store.transaction() as tx:
        tx.images.add(record, b"x")
        tx.updates.add(new_update(image=record.sha256))
        with pytest.raises(RefusedError, match="needed by update 1"):
            tx.images.remove(record.sha256)
        tx.updates.update(new_update(image=record.sha256, state=model.UpdateState.CANCELLED))
        tx.images.remove(record.sha256)
        with pytest.raises(UsageError, match="no stored image"):
            tx.images.remove(record.sha256)
    with pytest.raises(UsageError, match="no stored image"):
        store.images.open(record.sha256)
    assert store.images.get(record.sha256) is None


def test_a_record_that_is_not_of_its_content_is_refused(store):
    with store.transaction() as tx, pytest.raises(UsageError, match="not of this content"):
        tx.images.add(image(b"x"), b"y")
    with pytest.raises(UsageError), store.transaction() as tx:
        tx.images.add(replace(image(b"x"), size_bytes=2), b"x")


def test_a_name_that_two_images_have_names_neither(store):
    with store.transaction() as tx:
        for content in (b"1", b"2"):
            tx.images.add(replace(image(content), name="same.ota"), content)
    with pytest.raises(UsageError, match="more than one"):
        store.images.find("same.ota")


# --- updates


@pytest.mark.parametrize("state", list(model.UpdateState))
def test_a_device_has_at_most_one_active_update(store, state):
    with store.transaction() as tx:
        tx.updates.add(new_update(1, state=state))
        assert tx.updates.next_id() == 2
        if state in model.ENDS:
            tx.updates.add(new_update(2))
        else:
            with pytest.raises(RefusedError, match="has update 1 in progress"):
                tx.updates.add(new_update(2))
        tx.updates.add(new_update(3, device=OTHER))
    active = [2, 3] if state in model.ENDS else [1, 3]
    assert [update.id for update in store.updates.list(active_only=True)] == active
    assert [store.updates.active_for(device).id for device in (PPMID, OTHER)] == active


def test_the_schema_and_the_model_agree_on_what_is_active():
    assert (
        f"state not in ({', '.join(repr(state.value) for state in model.UpdateState if state in model.ENDS)})"
        == ACTIVE_UPDATE
    )


def test_updates_that_are_not_there_are_missed(store):
    assert store.updates.get(model.UpdateId(9)) is None
    with store.transaction() as tx:
        with pytest.raises(StoreError, match="no update 9"):
            tx.updates.update(new_update(9))
        tx.updates.add(new_update(1))
        with pytest.raises(StoreError, match="cannot be written"):
            tx.updates.add(new_update(1, device=OTHER))


@pytest.mark.parametrize("damage", ["activation = '{}'", "activation = 'x'", "device = 'x'", "transfer = 'x'"])
def test_a_row_that_makes_no_sense_is_reported_as_damage(store, damage):
    with store.transaction() as tx:
        tx.updates.add(new_update(1))
    sql(store.home, "update updates set " + damage)  # noqa: S608
    with pytest.raises(DamagedRowError, match=f"row 1 of updates is unreadable, because {damage.split()[0]}: "):
        store.updates.get(model.UpdateId(1))


# --- audit


def event(number: int) -> Event:
    return Event(UtcSeconds(T0 + number), Kind.ALARM, PPMID, fields={"reason": f"no. {number}"})


def audited(store, count: int) -> None:
    with store.transaction() as tx:
        assert [tx.audit.append(event(n)) for n in range(1, count + 1)] == list(range(1, count + 1))


def test_the_audit_gives_back_what_happened_in_order(store):
    assert store.audit.head() == (0, bytes(32))
    assert store.audit.verify() is None
    audited(store, 5)
    assert [record.event for record in store.audit.tail()] == [event(n) for n in range(1, 6)]
    assert [record.seq for record in store.audit.tail(after_seq=2, limit=2)] == [3, 4]
    assert store.audit.verify() is None
    assert store.audit.head()[0] == 5


@pytest.mark.parametrize(
    ("tampering", "seq", "words"),
    [
        ("update audit set event = replace(event, '3', '4') where seq = 3", 3, "not what was written"),
        ("update audit set hash = zeroblob(32) where seq = 2", 2, "not what was written"),
        ("delete from audit where seq = 2", 2, "record 2 is missing: record 3 comes in its place"),
        ("delete from audit where seq = 1", 1, "record 1 is missing"),
        ("delete from audit where seq > 3", 4, "records 4 to 5 are missing at the end"),
        ("delete from audit", 1, "records 1 to 5 are missing at the end"),
    ],
)
def test_a_tampered_audit_names_the_first_broken_link(store, tampering, seq, words):
    audited(store, 5)
    with pytest.raises(Exception, match="append-only"):
        sql(store.home, tampering)
    sql(store.home, "drop trigger audit_is_never_edited", "drop trigger audit_is_never_cut", tampering)
    broken = store.audit.verify()
    assert isinstance(broken, BrokenLink)
    assert broken.seq == seq
    assert words in broken.reason


def test_a_swapped_pair_is_noticed(store):
    audited(store, 4)
    moves = [f"update audit set seq = {new} where seq = {old}" for old, new in ((2, 99), (3, 2), (99, 3))]  # noqa: S608
    sql(store.home, "drop trigger audit_is_never_edited", *moves)
    assert store.audit.verify().seq == 2


@pytest.mark.parametrize(
    ("line", "words"), [("nonsense", "is not JSON"), ('{"schema":3,"kind":"new"}', "trace schema 3 is not 2")]
)
def test_a_record_that_this_program_cannot_read_is_named_and_stops_nobody(store, line, words):
    audited(store, 1)
    sql(store.home, "insert into audit (event, hash) values (?, zeroblob(32))", given=(line,))
    with store.transaction() as tx:
        tx.audit.append(event(3))
    records = store.audit.tail()
    assert [record.seq for record in records] == [1, 3]
    assert records.through == 3
    (damaged,) = records.unreadable
    assert (damaged.table, damaged.key) == ("audit", "2")
    assert words in damaged.because


def test_a_damaged_hash_at_the_end_does_not_stop_the_hub_from_writing(store):
    audited(store, 2)
    sql(store.home, "drop trigger audit_is_never_edited", "update audit set hash = 7 where seq = 2")
    with store.transaction() as tx:
        tx.audit.append(event(3))
    assert store.audit.head()[0] == 3
    assert store.audit.verify().seq == 2


def test_a_record_that_is_filed_under_another_update_is_noticed(store):
    audited(store, 3)
    sql(store.home, "drop trigger audit_is_never_edited", "update audit set update_id = 7 where seq = 2")
    assert store.audit.verify() == BrokenLink(2, "record 2 is filed under something else")


# --- inbox


def test_a_command_waits_until_it_is_done_or_refused(store):
    with store.transaction() as tx:
        first = tx.inbox.submit("update.start", {"device": "x"}, T0)
        second = tx.inbox.submit("device.permit", {}, UtcSeconds(T0 + 1))
    assert [(c.id, c.verb, c.body) for c in store.inbox.pending()] == [
        (first, "update.start", {"device": "x"}),
        (second, "device.permit", {}),
    ]
    assert store.inbox.get(first).result is None
    with store.transaction() as tx:
        tx.inbox.finish(first, {"update": 1}, UtcSeconds(T0 + 2))
        tx.inbox.refuse(second, "no such device", UtcSeconds(T0 + 3))
        with pytest.raises(StoreError, match="not pending"):
            tx.inbox.finish(first, {}, T0)
    assert store.inbox.pending() == ()
    done, refused = store.inbox.get(first), store.inbox.get(second)
    assert (done.state, done.result, done.finished) == (CommandState.DONE, {"update": 1}, T0 + 2)
    assert (refused.state, refused.result) == (CommandState.REFUSED, {"reason": "no such device"})
    assert store.inbox.get(99) is None


def test_a_command_of_another_process_is_noticed(store, tmp_path):
    assert store.changed_by_others() is True
    assert store.changed_by_others() is False
    with store.transaction() as tx:
        tx.meta.set("own", "write")
    assert store.changed_by_others() is False
    with Store.open(tmp_path / "home") as cli, cli.transaction() as tx:
        tx.inbox.submit("x", {}, T0)
    assert store.changed_by_others() is True
    assert store.changed_by_others() is False
    assert len(store.inbox.pending()) == 1


# --- alerts


def alert(number: int, **changes) -> NewAlert:
    return replace(
        NewAlert(alert_id(PPMID, number, 0x012B), PPMID, "CS09", 0x8F8B, "success", b"\xdf\x09", True, T0, update=1),
        **changes,
    )


def test_an_alert_stays_open_until_it_is_acknowledged(store):
    with store.transaction() as tx:
        for number in range(3):
            tx.alerts.add(alert(number))
    first, second, _third = store.alerts.undelivered()
    assert (first.msg_id, first.attempts, first.delivered) == ("90-B3-D5-1F-30-00-00-02/0/012B", 0, None)
    assert store.alerts.get("none") is None
    with store.transaction() as tx:
        tx.alerts.attempted(first.msg_id)
        tx.alerts.attempted(first.msg_id)
        tx.alerts.delivered(first.msg_id, UtcSeconds(T0 + 9))
        tx.alerts.delivered(first.msg_id, UtcSeconds(T0 + 99))
        with pytest.raises(StoreError, match="no alert"):
            tx.alerts.delivered("none", T0)
    assert [a.seq for a in store.alerts.undelivered(limit=1)] == [second.seq]
    done = store.alerts.get(first.msg_id)
    assert (done.attempts, done.delivered) == (2, T0 + 9)


def test_alerts_are_listed_by_what_they_are_about(store):
    with store.transaction() as tx:
        tx.alerts.add(alert(1))
        tx.alerts.add(alert(2, device=OTHER, use_case="CCS08", update=2))
        tx.alerts.add(alert(3, update=2))
    by = store.alerts.list
    assert [a.seq for a in by()] == [1, 2, 3]
    assert [a.seq for a in by(device=OTHER)] == [2]
    assert [a.seq for a in by(use_case="CS09")] == [1, 3]
    assert [a.seq for a in by(update=2, use_case="CS09")] == [3]
    assert [a.seq for a in by(last=2)] == [2, 3]
    assert (by(last=2).left_out, by(last=3).left_out, by(last=1, update=2).left_out) == (1, 0, 1)
    assert [a.seq for a in by(since=UtcSeconds(T0 + 1e6))] == []
    assert [a.seq for a in store.alerts.tail(2)] == [3]


# --- counters, requests, meta


def test_a_counter_never_gives_a_number_twice(store, tmp_path):
    with store.transaction() as tx:
        assert [tx.counters.take("chf") for _ in range(3)] == [1, 2, 3]
        assert tx.counters.take("other", first=4000) == 4000
        assert tx.counters.take("chf", first=1000) == 1000
        assert tx.counters.take("chf") == 1001
    with Store.open(tmp_path / "home") as second:
        assert second.counters.peek("chf") == 1002
        assert second.counters.peek("unknown") is None
        with second.transaction() as tx:
            assert tx.counters.take("other") == 4001
            with pytest.raises(StoreError, match="used up"):
                tx.counters.take("other", first=2**63 - 1)


def test_a_request_is_taken_once(store):
    with store.transaction() as tx:
        assert tx.requests.note(PPMID, 2**64 - 1, T0) is True
        assert tx.requests.note(PPMID, 2**64 - 1, T0) is False
        assert tx.requests.note(OTHER, 2**64 - 1, T0) is True
        assert tx.requests.note(PPMID, 5, T0) is True
        with pytest.raises(UsageError, match="64-bit"):
            tx.requests.note(PPMID, 2**64, T0)
    assert store.requests.highest(PPMID) == 2**64 - 1
    assert store.requests.highest(Eui64(1)) is None
    assert store.requests.seen(PPMID, 5)
    assert not store.requests.seen(PPMID, 6)


@pytest.mark.parametrize("value", ["a\udcff.ota", 2**63])
def test_a_value_that_no_column_holds_is_refused_and_undoes_nothing(store, value):
    with store.transaction() as tx:
        tx.meta.set("before", "kept")
        with pytest.raises(UsageError, match="cannot hold"):
            tx.meta.set("k", value)
    assert store.meta.get("before") == "kept"


def test_settings_stay(store):
    assert store.meta.get("identity") is None
    with store.transaction() as tx:
        tx.meta.set("identity", "a")
        tx.meta.set("identity", "b")
    assert store.meta.get("identity") == "b"


def test_an_established_link_key_is_kept_and_never_shown(store):
    key = bytes(range(100, 116))
    with store.transaction() as tx:
        tx.devices.add(DeviceEntry(PPMID, DeviceType.PPMID, T0))
        entry = tx.devices.get(PPMID)
        assert entry.link_key is None
        tx.devices.update(replace(entry, link_key=key, key_suite=2, key_utc=T0))
    kept = store.devices.get(PPMID)
    assert (kept.link_key, kept.key_suite, kept.key_utc) == (key, 2, T0)
    assert repr(key)[2:-1] not in repr(kept)
    with pytest.raises(UsageError):
        replace(kept, link_key=b"short")


# --- cells


@pytest.mark.parametrize(
    ("cell", "largest", "too_much"),
    [(rows.unsigned(16), 0xFFFF, 0x10000), (rows.unsigned(32), 0xFFFF_FFFF, 1 << 32), (rows.flag, 1, 2)],
)
def test_a_cell_holds_its_largest_value_and_no_more(cell, largest, too_much):
    assert cell(largest) == largest
    for value in (too_much, -1):
        with pytest.raises(ValueError, match=r"belongs|is no number"):
            cell(value)


def test_the_progress_of_nothing_is_damage():
    with pytest.raises(ValueError, match="octet 0 of 0"):
        progress.cell('{"offset_bytes": 0, "size_bytes": 0, "blocks": 0, "utc": 1}')


def test_devices_are_listed_in_the_order_in_which_they_were_added_until_they_are_removed(store):
    with store.transaction() as tx:
        for eui64, added in ((2, 1.0), (PPMID, 2.0), (1, 2.0)):
            tx.devices.add(DeviceEntry(Eui64(eui64), DeviceType.PPMID, UtcSeconds(added)))
    assert [entry.eui64 for entry in store.devices.list()] == [2, 1, PPMID]
    with store.transaction() as tx:
        tx.devices.remove(PPMID)
    assert store.devices.get(PPMID) is None
    assert [entry.eui64 for entry in store.devices.list()] == [2, 1]
