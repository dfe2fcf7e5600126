"""What many devices cause at one moment is written together, and no message leaves before that."""

from contextlib import contextmanager
from dataclasses import fields, replace
from types import SimpleNamespace

import pytest

from chf.clock import Instant, SystemClock
from chf.errors import ChfError, RefusedError, StoreError, StoreUnavailableError, UsageError
from chf.eui64 import Eui64, format_eui64, parse_eui64
from chf.hub.batch import Batch, DeviceChange, together
from chf.hub.journal import AGAIN_S, Journal
from chf.image.image import parse_image
from chf.store import Store
from chf.store.device_log import DeviceEntry, DeviceStatus, DeviceType
from chf.store.inbox import CommandState, InboxWriter, Verb
from chf.trace import Event, Kind
from chf.update.model import UpdateState
from chf.zcl import time
from tests.support.damaged_store import connection_of
from tests.support.memory_radio import MemoryRadio, hub_on_desk, on_the_network, order_update
from tests.support.programs import image_file

FIRST = parse_eui64("00-DB-12-34-56-78-90-A4")
NOW = object()


class Paper:
    """A store that notes where its transactions end, and a carrier that notes what it is given to do."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.traced: list[Event] = []
        self.begun_again: list[Eui64] = []

    def post(self, message) -> None:
        self.said.append(message)

    def trace(self, event) -> None:
        self.traced.append(event)

    def start(self, work) -> None:
        raise AssertionError(f"no batch here starts {work}")

    def device_changed(self, device, change, now):
        assert change is DeviceChange.UNWRITTEN
        self.begun_again.append(device)
        return Batch(now)

    @contextmanager
    def transaction(self, *, durable: bool):
        yield self.said
        self.said.append("on disk" if durable else "committed")


def batch(write: str | None = None, message: str | None = None, *steps, durable: bool = True) -> Batch:
    made = Batch(NOW)
    if write is not None:
        made.write(lambda said: said.append(write), durable=durable)
    if message is not None:
        made.send(message)
    for step in steps:
        made.then(step)
    return made


def test_what_the_steps_of_a_batch_cause_is_one_transaction_and_its_messages_follow():
    store = Paper()
    journal = Journal(store, store)
    last = [lambda name=name: batch(f"end of {name}") for name in "ab"]
    steps = [
        lambda name=name, end=end: batch(name, f"message {name}", end) for name, end in zip("ab", last, strict=True)
    ]
    journal.carry_out(batch("start", "message", *steps))
    assert store.said == [
        *("start", "on disk", "message"),
        *("a", "b", "on disk", "message a", "message b"),
        *("end of a", "end of b", "on disk"),
    ]


def test_a_step_that_fails_takes_nothing_of_the_others_with_it():
    store = Paper()
    journal = Journal(store, store)

    def fail() -> None:
        raise ZeroDivisionError

    try:
        journal.carry_out(batch("start", None, lambda: batch("a", "message a"), fail))
    except ZeroDivisionError:
        store.said.append("told")
    journal.carry_out(batch("later"))
    assert store.said == ["start", "on disk", "a", "on disk", "message a", "told", "later", "on disk"]


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("second", [True, False])
def test_what_is_written_together_waits_for_the_disk_where_a_part_of_it_must(first, second):
    store = Paper()
    journal = Journal(store, store)
    parts = [batch("a", "message a", durable=first), batch("b", "message b", durable=second)]
    journal.carry_out(batch(None, None, *(lambda part=part: part for part in parts)))
    end = "on disk" if first or second else "committed"
    assert store.said == ["a", "b", end, "message a", "message b"]


def test_a_batch_that_takes_another_in_has_all_of_it():
    other = batch("a", "message a", lambda: None)
    other.start(lambda: pytest.fail("not begun here"))
    other.changed(FIRST, DeviceChange.LEFT)
    other.send("a decision", ordered=True)
    other.devices.add(FIRST)
    whole = Batch(NOW)
    whole.add(other)
    for item in fields(Batch):
        assert getattr(whole, item.name) == getattr(other, item.name), item.name
        assert item.name in {"parts", "alarm"} or getattr(whole, item.name) != getattr(Batch(object()), item.name)


class Refusing(Paper):
    """A store that refuses what it was told to, until it is not any more."""

    def __init__(self) -> None:
        super().__init__()
        self.disk_full = False

    @contextmanager
    def transaction(self, *, durable: bool):
        if self.disk_full:
            raise StoreUnavailableError("the disk is full")
        before = list(self.said)
        try:
            with super().transaction(durable=durable):
                yield self
        except ChfError:
            self.said[:] = before
            raise

    @property
    def audit(self):
        return SimpleNamespace(append=lambda event: self.said.append(f"audit: {event.fields['reason']}"))


def never(_tx) -> None:
    raise StoreError("command 5 is not pending")


def refusing_journal() -> tuple[Refusing, Journal, list[Event]]:
    store = Refusing()
    return store, Journal(store, store), store.traced


def written(name: str) -> Batch:
    made = Batch(SystemClock().now())
    made.write(lambda tx: tx.said.append(name))
    made.send(f"message {name}")
    return made


def impossible() -> Batch:
    made = written("half")
    made.event(Kind.ALARM, {"reason": "what happened"})
    made.write(never)
    made.then(lambda: pytest.fail("a step of what is not written"))
    return made


ALARM = "audit: set aside: 3 writes and 1 messages, because the store refuses them for good: command 5 is not pending"


def test_what_can_never_be_written_is_told_and_set_aside(caplog):
    store, journal, told = refusing_journal()
    journal.carry_out(impossible())
    journal.carry_out(written("later"))
    assert store.said == [ALARM, "committed", "later", "on disk", "message later"]
    assert [event.kind for event in told] == [Kind.ALARM]
    assert not journal.behind
    assert "what happened" in caplog.text


@pytest.mark.parametrize("error", [StoreError("no"), RefusedError("it was forgotten meanwhile"), UsageError("no text")])
def test_what_can_never_be_written_does_not_keep_what_waits_behind_it(error):
    store, journal, told = refusing_journal()

    def fail(_tx) -> None:
        raise error

    unlucky = Batch(SystemClock().now())
    unlucky.write(fail)
    store.disk_full = True
    for waiting in (written("first"), unlucky, written("last")):
        journal.carry_out(waiting)
    journal.retry()
    assert journal.behind
    store.disk_full = False
    journal.retry()
    assert store.said[:6] == ["first", "on disk", "message first", "last", "on disk", "message last"]
    assert [str(error) in event.fields["reason"] for event in told] == [True]
    assert not journal.behind


OTHER = Eui64(FIRST + 1)


def of_device(device, *, refused: bool) -> Batch:
    made = Batch(SystemClock().now())
    made.write(lambda tx: never(tx) if refused else tx.said.append(f"row of {device}"), device=device)
    made.send(f"message to {device}")
    return made


@pytest.mark.parametrize("full_at_first", [True, False])
def test_what_can_never_be_written_takes_nothing_with_it_that_was_to_be_written_together(full_at_first):
    store, journal, told = refusing_journal()
    store.disk_full = full_at_first
    parts = [of_device(FIRST, refused=True), of_device(OTHER, refused=False), written("last")]
    journal.carry_out(together(parts, parts[0].now))
    store.disk_full = False
    journal.retry()
    assert store.said.index(f"row of {OTHER}") < store.said.index("last"), "in their order"
    assert [f"row of {OTHER}" in store.said, f"message to {OTHER}" in store.said] == [True, True]
    assert f"message to {FIRST}" not in store.said
    assert [event.kind for event in told] == [Kind.ALARM]
    assert store.begun_again == [FIRST]


def test_a_device_whose_state_was_set_aside_begins_again_once_a_minute_at_most():
    store, journal, told = refusing_journal()
    first = of_device(FIRST, refused=True)
    for seconds in (0, AGAIN_S - 1, AGAIN_S):
        later = of_device(FIRST, refused=True)
        later.now = replace(first.now, instant=Instant(first.now.instant + seconds))
        journal.carry_out(later)
    assert store.begun_again == [FIRST, FIRST]
    assert len(told) == 3


def test_what_waits_is_bounded_and_what_came_beyond_that_begins_again_from_what_is_written(monkeypatch, caplog):
    monkeypatch.setattr("chf.hub.journal.MOST_WAITING", 3)
    store, journal, told = refusing_journal()
    store.disk_full = True
    for _ in range(3):
        journal.carry_out(of_device(FIRST, refused=False))
    unkept = of_device(OTHER, refused=False)
    unkept.event(Kind.DEVICE_LEFT, {}, device=OTHER)
    for _ in range(2):
        journal.carry_out(unkept)
    store.disk_full = False
    journal.retry()
    assert store.said.count(f"row of {FIRST}") == 3
    assert f"row of {OTHER}" not in store.said
    assert [event.fields["reason"] for event in told] == ["set aside: 2 batches, because 3 waited for the disk"]
    assert store.begun_again == [OTHER]
    assert caplog.text.count("device.left") == 2, "the log has what had happened"
    assert not journal.behind
    store.disk_full = True
    for _ in range(4):
        journal.carry_out(of_device(FIRST, refused=False))
    store.disk_full = False
    journal.retry()
    assert told[-1].fields["reason"].startswith("set aside: 1 batches"), "each alarm counts its own"


def test_a_full_disk_is_logged_once_and_again_when_it_is_something_else(caplog):
    store, journal, _told = refusing_journal()
    store.disk_full = True
    journal.carry_out(written("first"))
    for _ in range(3):
        journal.retry()
    assert caplog.text.count("the disk is full") == 1
    store.disk_full = False
    journal.retry()
    store.disk_full = True
    journal.carry_out(written("second"))
    assert caplog.text.count("the disk is full") == 2


def test_an_alarm_that_cannot_be_written_either_is_only_logged(caplog):
    store, journal, told = refusing_journal()
    store.__class__ = type("Hopeless", (Refusing,), {"audit": SimpleNamespace(append=never)})
    journal.carry_out(impossible())
    assert not journal.behind
    assert told == []
    assert caplog.text.count("can never be written") == 2


async def test_many_updates_start_with_few_waits_for_the_disk(tmp_path):
    devices = [Eui64(FIRST + number) for number in range(20)]
    image = parse_image(image_file(tmp_path / "new.ota", size_bytes=500).read_bytes())
    with Store.open(tmp_path / "home", hub=True) as store:
        on_the_network(store, *devices)
        order_update(store, image, *devices)
        commits: list[str] = []
        connection_of(store).set_trace_callback(
            lambda statement: commits.append(statement) if statement.lower().startswith("commit") else None
        )
        async with hub_on_desk(store, MemoryRadio()) as desk:
            await desk.until(
                lambda: (
                    len(store.updates.list()) == 20
                    and {update.state for update in store.updates.list()} == {UpdateState.ANNOUNCED}
                )
            )
            assert 0 < len(commits) < 20


async def test_what_was_heard_of_many_devices_is_written_together(tmp_path):
    devices = [Eui64(FIRST + number) for number in range(10)]
    with Store.open(tmp_path / "home", hub=True) as store:
        with store.transaction() as tx:
            for device in devices:
                tx.devices.add(DeviceEntry(device, DeviceType.PPMID, 0.0, bytes(16), status=DeviceStatus.JOINED))
        rows: list[int] = []  # of devices, in each transaction

        def note(statement: str) -> None:
            if statement.startswith("begin"):
                rows.append(0)
            elif statement.startswith("update devices"):
                rows[-1] += 1

        radio = MemoryRadio()
        async with hub_on_desk(store, radio) as desk:
            connection_of(store).set_trace_callback(note)
            for device in devices:
                radio.says(device, time.CLUSTER, bytes.fromhex("00 07 00 0000"))
            await desk.until(lambda: any(rows))
            assert max(rows) == len(devices)
        assert all(store.devices.get(device).last_seen for device in devices)


async def test_a_command_whose_decision_can_never_be_written_is_refused_and_not_taken_again(tmp_path, monkeypatch):
    with Store.open(tmp_path / "home", hub=True) as store:
        with store.transaction() as tx:
            tx.devices.add(DeviceEntry(FIRST, DeviceType.PPMID, 0.0, bytes(16)))
            number = tx.inbox.submit(Verb.DEVICE_PERMIT, {"device": format_eui64(FIRST), "seconds": 60}, 0.0)
        monkeypatch.setattr(InboxWriter, "finish", lambda *_: never(None))
        async with hub_on_desk(store, MemoryRadio()) as desk:
            await desk.until(lambda: not store.inbox.pending())
            assert store.inbox.get(number).state is CommandState.REFUSED
            assert desk.kinds().count(Kind.ALARM) == 1
