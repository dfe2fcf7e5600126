"""What many devices cause at one moment is written together, and no message leaves before that."""

from contextlib import contextmanager
from functools import partial

import pytest

from chf.eui64 import Eui64, format_eui64, parse_eui64
from chf.hub.batch import Batch
from chf.hub.journal import Journal
from chf.image.image import parse_image
from chf.jobs.model import JobState
from chf.store import Store
from chf.store.device_log import DeviceEntry, DeviceStatus, DeviceType
from chf.store.images import record_of
from chf.store.inbox import Verb
from chf.zcl import time
from tests.support.memory_radio import MemoryRadio, hub_on_desk
from tests.support.programs import image_file

FIRST = parse_eui64("00-DB-12-34-56-78-90-A4")
NOW = object()


class Paper:
    """A store that notes where its transactions end."""

    def __init__(self) -> None:
        self.said: list[str] = []

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
    journal = Journal(store, store.said.append, store.said.append)
    last = [lambda name=name: journal.carry_out(batch(f"end of {name}")) for name in "ab"]
    steps = [
        lambda name=name, end=end: journal.carry_out(batch(name, f"message {name}", end))
        for name, end in zip("ab", last, strict=True)
    ]
    journal.carry_out(batch("start", "message", *steps))
    assert store.said == [
        *("start", "on disk", "message"),
        *("a", "b", "on disk", "message a", "message b"),
        *("end of a", "end of b", "on disk"),
    ]


def test_a_step_that_fails_takes_nothing_of_the_others_with_it():
    store = Paper()
    journal = Journal(store, store.said.append, store.said.append)

    def fail() -> None:
        raise ZeroDivisionError

    try:
        journal.carry_out(batch("start", None, lambda: journal.carry_out(batch("a", "message a")), fail))
    except ZeroDivisionError:
        store.said.append("told")
    journal.carry_out(batch("later"))
    assert store.said == ["start", "on disk", "a", "on disk", "message a", "told", "later", "on disk"]


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("second", [True, False])
def test_what_is_written_together_waits_for_the_disk_where_a_part_of_it_must(first, second):
    store = Paper()
    journal = Journal(store, store.said.append, store.said.append)
    parts = [batch("a", "message a", durable=first), batch("b", "message b", durable=second)]
    journal.carry_out(batch(None, None, *(partial(journal.carry_out, part) for part in parts)))
    end = "on disk" if first or second else "committed"
    assert store.said == ["a", "b", end, "message a", "message b"]


async def test_many_updates_start_with_few_waits_for_the_disk(tmp_path):
    devices = [Eui64(FIRST + number) for number in range(20)]
    image = parse_image(image_file(tmp_path / "new.ota", size_bytes=500).read_bytes())
    with Store.open(tmp_path / "home", hub=True) as store:
        with store.transaction() as tx:
            for device in devices:
                tx.devices.add(DeviceEntry(device, DeviceType.PPMID, 0.0, bytes(16), status=DeviceStatus.JOINED))
            tx.images.add(record_of(image, "new", 0.0), image.content)
            names = [format_eui64(device) for device in devices]
            tx.inbox.submit(
                Verb.UPDATE_START, {"devices": names, "image": image.sha256, "activation": {"kind": "now"}}, 0.0
            )
        commits: list[str] = []
        store._database._connection.set_trace_callback(
            lambda statement: commits.append(statement) if statement.lower().startswith("commit") else None
        )
        async with hub_on_desk(store, MemoryRadio()) as desk:
            await desk.until(
                lambda: (
                    len(store.jobs.list()) == 20 and {job.state for job in store.jobs.list()} == {JobState.ANNOUNCED}
                )
            )
            assert 0 < len(commits) < 20


async def test_what_was_heard_of_many_devices_is_written_a_few_at_a_time_and_all_at_the_end(tmp_path):
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
            store._database._connection.set_trace_callback(note)
            for device in devices:
                radio.says(device, time.CLUSTER, bytes.fromhex("00 07 00 0000"))
            await desk.until(lambda: any(rows))
            assert [device for device in devices if store.devices.get(device).last_seen] == devices[: max(rows)]
            assert max(rows) < len(devices)
        assert all(store.devices.get(device).last_seen for device in devices)
