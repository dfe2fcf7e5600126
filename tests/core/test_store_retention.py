"""Retention: what is over goes, in portions; what is not never does, and the audit's chain still holds."""

import pytest
from click.testing import CliRunner

from chf.cli.main import chf
from chf.clock import UtcSeconds
from chf.errors import UsageError
from chf.eui64 import Eui64
from chf.hub import HubSettings
from chf.image.image import ImageId
from chf.store import BrokenLink, DeviceEntry, DeviceType, NewAlert, Store
from chf.store.device_messages import MessageState, NewDeviceMessage
from chf.store.inbox import Followed
from chf.store.progress import TransferProgress, read, write
from chf.store.retention import DAY_S, PORTION, Retention
from chf.store.uplink import NewDocument
from chf.trace import Event, Kind
from chf.update.model import ActivateNow, Update, UpdateId, UpdateState
from tests.support.damaged_store import connection_of, sql
from tests.support.memory_radio import MemoryRadio, hub_on_desk

NOW = UtcSeconds(1_800_000_000.0)
OLD, YOUNG = UtcSeconds(NOW - 500 * DAY_S), UtcSeconds(NOW - 300 * DAY_S)
BORDER = UtcSeconds(NOW - 400 * DAY_S)
DEVICE, OTHER, USER = Eui64(0xA4), Eui64(0xA5), Eui64(0x90)


@pytest.fixture
def store(tmp_path):
    with Store.open(tmp_path) as opened:
        yield opened


def alert(name: str) -> NewAlert:
    return NewAlert(name, DEVICE, "CS09", 0x8F8B, "", b"\xdf", True, OLD)


def update(number: int, device: Eui64, ended: UtcSeconds | None) -> Update:
    state = UpdateState.ANNOUNCED if ended is None else UpdateState.ACTIVATED
    return Update(
        *(UpdateId(number), device, ImageId("ab" * 32), 2, ActivateNow(), "cli", OLD, NOW, OLD),
        state=state,
        ended=ended,
    )


def prune(store: Store) -> dict[str, int]:
    gone: dict[str, int] = {}
    while portion := store.prune(BORDER, NOW):
        gone = {table: gone.get(table, 0) + portion.get(table, 0) for table in {*gone, *portion}}
    return gone


def test_only_alerts_and_documents_that_were_taken_so_long_ago_go(store):
    taken = {"old": OLD, "young": YOUNG, "never": None}
    with store.transaction() as tx:
        for number, (name, delivered) in enumerate(taken.items(), 1):
            tx.alerts.add(alert(name))
            tx.uplink.add(NewDocument(name, USER, DEVICE, "alert", b"<a/>", OLD))
            if delivered is not None:
                tx.alerts.delivered(name, delivered)
                tx.uplink.delivered(number, delivered)
        tx.uplink.add(NewDocument("parked", USER, DEVICE, "alert", b"<a/>", OLD))
        tx.uplink.failed(4, "answered 400", OLD, park=True)
    assert prune(store) == {"alerts": 1, "uplink": 1}
    assert [row.msg_id for row in store.alerts.list()] == ["young", "never"]
    assert [row.msg_id for row in store.uplink.list()] == ["young", "never", "parked"]


def test_what_was_over_at_the_border_stays_and_what_was_a_second_earlier_goes(store):
    earlier = UtcSeconds(BORDER - 1)
    with store.transaction() as tx:
        for number, over in enumerate((earlier, BORDER, NOW), 1):
            tx.alerts.add(alert(f"{over}"))
            tx.alerts.delivered(f"{over}", over)
            tx.requests.note(USER, number, over)
    audited(store, [earlier, BORDER, NOW])
    tables = ("alerts", "requests", "audit")
    assert [store.pruning.count(table, BORDER) for table in tables] == [1, 1, 1]
    assert prune(store) == dict.fromkeys(tables, 1)


def test_of_each_device_the_last_update_stays_and_so_does_the_highest_number(store):
    progress = TransferProgress(5, 10, 1, OLD)
    with store.transaction() as tx:
        for number, (device, ended) in enumerate([(DEVICE, OLD), (DEVICE, YOUNG), (OTHER, OLD), (OTHER, OLD)], 1):
            tx.updates.add(update(number, device, ended))
            write(tx.meta, UpdateId(number), progress)
        tx.updates.add(update(5, DEVICE, None))
    assert prune(store) == {"updates": 2}
    assert [int(update.id) for update in store.updates.list()] == [2, 4, 5]
    assert [read(store.meta, UpdateId(number)) is None for number in range(1, 5)] == [True, False, True, False]
    assert store.updates.next_id() == 6


def test_commands_go_when_they_are_done_and_nobody_waits_for_their_outcome(store):
    with store.transaction() as tx:
        done, followed, pending = (tx.inbox.submit("device.permit", {}, OLD) for _ in range(3))
        tx.inbox.finish(done, {}, OLD)
        tx.inbox.refuse(followed, "no", OLD)
        tx.followed.add(Followed(followed, "a:b:1", "8.11", 0))
        store._database.write("update inbox set finished_utc = 5 where id = ?", (pending,))  # by whatever fault
    assert prune(store) == {"inbox": 1}
    assert [command.id for command in store.inbox.pending()] == [3]
    assert store.inbox.get(followed) is not None


def test_messages_go_when_their_sender_has_his_answer(store):
    with store.transaction() as tx:
        for number in range(1, 8):
            tx.device_messages.add(NewDeviceMessage(DEVICE, "r", 0xCA, number, b"", OLD, OLD))
        tx.device_messages.change(1, MessageState.ANSWERED, OLD)
        tx.device_messages.change(2, MessageState.ANSWERED, OLD)
        tx.device_messages.expect_outcome(2, NOW)
        tx.device_messages.change(3, MessageState.EXPIRED, OLD)
        tx.device_messages.change(4, MessageState.EXPIRED, OLD)
        tx.device_messages.told(4, OLD)
        tx.device_messages.change(5, MessageState.ANSWERED, YOUNG)
        tx.device_messages.told(7, OLD)  # overdue, and still to be sent
        tx.scheduled.add("done", DEVICE, OLD)
        tx.scheduled.add("due", DEVICE, OLD)
        tx.scheduled.done(1, OLD)
    assert prune(store) == {"device_messages": 2, "scheduled_reads": 1}
    assert [row.id for row in store.device_messages.list()] == [7, 6, 5, 3, 2]
    assert store.scheduled.dated("due")


def test_the_highest_counter_of_each_originator_stays_so_that_a_replay_is_known(store):
    with store.transaction() as tx:
        for counter in (1, 2, 3):
            tx.requests.note(USER, counter, OLD)
        tx.requests.note(OTHER, 9, OLD)
    assert prune(store) == {"requests": 2}
    assert (store.requests.highest(USER), store.requests.highest(OTHER)) == (3, 9)


def audited(store: Store, times: list[UtcSeconds]) -> None:
    with store.transaction() as tx:
        for number, time in enumerate(times):
            tx.audit.append(Event(time, Kind.ALARM, DEVICE, fields={"reason": f"no. {number}"}))


def test_the_audits_chain_holds_from_where_it_was_pruned(store):
    audited(store, [OLD] * (PORTION + 10) + [YOUNG] * 5)
    assert store.pruning.count("audit", BORDER) == PORTION + 10
    first = store.prune(BORDER, NOW)
    assert first == {"audit": PORTION}, "a portion, so that the hub goes on"
    pruned = store.audit.checkpoint()
    assert (pruned.through, pruned.utc) == (PORTION, NOW)
    assert prune(store) == {"audit": 10}
    assert store.audit.verify() is None
    assert [record.seq for record in store.audit.tail()] == list(range(PORTION + 11, PORTION + 16))
    audited(store, [NOW])
    assert store.audit.verify() is None


@pytest.mark.parametrize(
    ("tampering", "seq"),
    [
        ("update audit_checkpoint set hash = zeroblob(32)", 4),
        ("update audit_checkpoint set through = 2", 3),
        ("delete from audit_checkpoint", 1),
        ("update audit_checkpoint set hash = 'x'", 1),
    ],
)
def test_a_checkpoint_that_was_forged_is_noticed(store, tampering, seq):
    audited(store, [OLD] * 3 + [YOUNG] * 3)
    prune(store)
    sql(store.home, tampering)
    broken = store.audit.verify()
    assert isinstance(broken, BrokenLink)
    assert broken.seq == seq


def test_nobody_cuts_the_audit_beyond_its_checkpoint(store):
    audited(store, [OLD] * 3 + [YOUNG] * 3)
    prune(store)
    with pytest.raises(Exception, match="append-only"):
        sql(store.home, "delete from audit where seq = 4")


def test_nothing_of_an_audit_goes_whose_chain_is_broken(store):
    audited(store, [OLD] * 3 + [YOUNG])
    sql(store.home, "drop trigger audit_is_never_edited", "update audit set hash = zeroblob(32) where seq = 2")
    assert prune(store) == {}
    assert store.audit.verify().seq == 2


def test_the_last_record_stays_and_one_that_is_unreadable_goes_with_the_next(store):
    audited(store, [OLD] * 3)
    sql(store.home, "drop trigger audit_is_never_edited", "update audit set utc = null where seq = 1")
    assert prune(store) == {"audit": 2}
    assert store.audit.head()[0] == 3


def test_a_time_that_is_damage_lets_nothing_go(store):
    for name, damage in (("a", "-1e300"), ("b", "'x'"), ("c", "x'00'")):
        with store.transaction() as tx:
            tx.alerts.add(alert(name))
        sql(store.home, f"update alerts set delivered_utc = {damage} where msg_id = ?", given=(name,))  # noqa: S608
    assert prune(store) == {}


def test_retention_is_400_days_and_0_is_for_ever():
    assert Retention().older_than(NOW) == BORDER
    assert Retention(0.0).older_than(NOW) is None
    with pytest.raises(UsageError):
        Retention(-1.0)


def test_the_command_counts_before_it_prunes(tmp_path):
    with Store.open(tmp_path) as store, store.transaction() as tx:
        tx.alerts.add(alert("old"))
        tx.alerts.delivered("old", UtcSeconds(1_600_000_000.0))
    arguments = ["store", "prune", "--home", str(tmp_path), "--older-than", "400"]
    told = CliRunner().invoke(chf, [*arguments, "--dry-run", "--json"])
    assert '"dry_run": true, "rows": {"alerts": 1' in told.stdout
    done = CliRunner().invoke(chf, arguments)
    assert done.exit_code == 0
    assert "1 rows are gone" in done.stderr
    with Store.open(tmp_path) as store:
        assert store.alerts.list() == ()


async def test_a_hub_lets_it_go_by_itself_but_not_for_ever(tmp_path):
    for days, left in ((0.0, 1), (400.0, 0)):
        with Store.open(tmp_path, hub=True) as store:
            with store.transaction() as tx:
                tx.alerts.add(alert("old"))
                tx.alerts.delivered("old", UtcSeconds(1_600_000_000.0))
            async with hub_on_desk(store, MemoryRadio(), HubSettings(retention=Retention(days))) as desk:
                if not left:
                    await desk.until(lambda store=store: not store.alerts.list())
            assert len(store.alerts.list()) == left


def test_of_each_device_in_the_log_the_last_update_and_the_last_event_are_found(store):
    with store.transaction() as tx:
        for device in (DEVICE, OTHER):
            tx.devices.add(DeviceEntry(device, DeviceType.PPMID, OLD))
        for number, device in enumerate((DEVICE, OTHER, DEVICE, USER), 1):
            tx.updates.add(update(number, device, OLD))
    audited(store, [OLD, YOUNG, NOW])
    assert [int(update.id) for update in store.updates.last_of_each_device()] == [2, 3]
    assert store.audit.last_of_device(DEVICE).event.utc == NOW
    assert [record.seq for record in store.audit.of_device(DEVICE, OLD, YOUNG)] == [1, 2], "both ends included"


OFTEN = {
    "active updates": lambda store: store.updates.list(active_only=True),
    "the last update of each device": lambda store: store.updates.last_of_each_device(),
    "updates of a device": lambda store: store.updates.list(device=DEVICE, last=50),
    "the next number": lambda store: store.updates.next_id(),
    "commands": lambda store: store.inbox.pending(),
    "messages": lambda store: store.device_messages.waiting(),
    "messages of a device": lambda store: store.device_messages.waiting(DEVICE),
    "messages that came to nothing": lambda store: store.device_messages.unanswered(NOW, NOW, 100),
    "outcomes that are overdue": lambda store: store.device_messages.without_outcome(NOW, 100),
    "reads that are due": lambda store: store.scheduled.due(NOW, 100),
    "commands that ended": lambda store: store.followed.ended(100),
    "alerts": lambda store: store.alerts.undelivered(),
    "alerts of an update": lambda store: store.alerts.list(update=1),
    "alerts of a device": lambda store: store.alerts.list(device=DEVICE, last=50),
    "documents to send": lambda store: store.uplink.heads(),
    "documents on their way": lambda store: store.uplink.waiting(),
    "the history of an update": lambda store: store.audit.of_update(1),
    "the history of a device": lambda store: store.audit.of_device(DEVICE, OLD, NOW),
    "the last event of a device": lambda store: store.audit.last_of_device(DEVICE),
    "refused requests": lambda store: store.audit.refused_requests(OLD, 50),
    "the highest counter": lambda store: store.requests.highest(USER),
    "a portion of retention": lambda store: store.prune(BORDER, NOW),
}


@pytest.mark.parametrize("what", OFTEN)
def test_no_whole_table_is_read_for_what_is_asked_often(store, what):
    """Those that grow with the years; a scan in the order of their numbers ends at once where it has a limit."""
    asked: list[str] = []
    connection = connection_of(store)
    connection.set_trace_callback(asked.append)
    OFTEN[what](store)
    connection.set_trace_callback(None)
    questions = [text for text in asked if text.startswith(("select", "delete"))]
    assert questions
    for question in questions:
        for *_, step in connection.execute(f"explain query plan {question}"):
            scanned = step.removeprefix("SCAN ") in {
                "alerts",
                "uplink",
                "inbox",
                "updates",
                "device_messages",
                "audit",
                "requests",
            }
            assert not scanned or "seq < (select max(seq)" in question, (question, step)
