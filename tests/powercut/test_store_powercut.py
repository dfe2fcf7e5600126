"""A hub that is killed at any moment, and a disk that kept only some of it: what was committed is there, whole.

The workload is one transaction after another, each of which writes to several tables; a store holds a transaction
wholly or not at all, and holds every one that was acknowledged.
"""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import chf.store.database
from chf.clock import UtcSeconds
from chf.eui64 import Eui64
from chf.store import CommandState, NewAlert, Store, alert_id
from chf.trace import Event, Kind
from chf.update.model import UpdateId, UpdateState
from tests.support.damaged_store import connection_of
from tests.support.updates import accepted

T0 = UtcSeconds(1_800_000_000.0)
DEVICE = Eui64(0x90B3D51F30000002)


def one_transaction(store: Store) -> int:
    """A update that changes, the alert and the audit event that this causes, and a command that is answered."""
    with store.transaction() as tx:
        number = tx.counters.take("chf")
        update_id = UpdateId(number)
        tx.updates.add(accepted(number, DEVICE))
        tx.updates.update(replace(tx.updates.get(update_id), state=UpdateState.FAILED, reason="x" * (number % 7 * 300)))
        tx.alerts.add(
            NewAlert(alert_id(DEVICE, number, 0x0128), DEVICE, "CCS08", 0x8F89, "failure", b"\xdf" * 142, True, T0)
        )
        tx.audit.append(Event(T0, Kind.UPDATE_STATE, DEVICE, number, {"to": "failed"}))
        tx.inbox.finish(tx.inbox.submit("update.start", {"n": number}, T0), {"update": number}, T0)
    return number


def whole_transactions(home: Path) -> int:
    """Open the store as a hub does, check that it hangs together, and say how many transactions it holds."""
    with Store.open(home, hub=True) as store:
        count = (store.counters.peek("chf") or 1) - 1
        numbers = list(range(1, count + 1))
        assert [update.id for update in store.updates.list()] == numbers
        assert all(update.state is UpdateState.FAILED for update in store.updates.list())
        assert [alert.msg_id for alert in store.alerts.undelivered(limit=10_000)] == [
            alert_id(DEVICE, number, 0x0128) for number in numbers
        ]
        assert [record.event.update for record in store.audit.tail(limit=10_000)] == numbers
        assert store.audit.verify() is None
        assert store.inbox.pending() == ()
        assert all(store.inbox.get(number).state is CommandState.DONE for number in numbers)
    return count


class DyingConnection(sqlite3.Connection):
    """Kills its process, as a power cut would, right before the statement whose turn it is."""

    statements_left = 0

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.set_trace_callback(self.count)

    @classmethod
    def count(cls, _sql):
        cls.statements_left -= 1
        if cls.statements_left < 0:
            os.kill(os.getpid(), signal.SIGKILL)


def dies_after(statements: int, home: Path, transactions: int) -> bool:
    """Whether a process that opens the store and works was killed after so many statements, or came to its end."""
    child = os.fork()
    if child == 0:
        DyingConnection.statements_left = statements
        connect = sqlite3.connect
        chf.store.database.sqlite3.connect = lambda *args, **kwargs: connect(*args, factory=DyingConnection, **kwargs)
        try:
            with Store.open(home, hub=True) as store:
                for _ in range(transactions):
                    one_transaction(store)
        except BaseException:  # noqa: BLE001 - nothing of the child may get back into the test run
            os._exit(1)
        os._exit(0)
    _pid, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def test_a_process_that_dies_before_any_statement_of_its_life_leaves_whole_transactions(tmp_path):
    """Making the file, migrating it, opening it and two transactions: killed before each single statement."""
    statements, counts = 0, []
    while dies_after(statements, tmp_path / str(statements), 2):
        counts.append(whole_transactions(tmp_path / str(statements)))
        statements += 1
    assert statements > 40
    assert counts == sorted(counts)
    assert set(counts) == {0, 1}
    assert whole_transactions(tmp_path / str(statements)) == 2


def test_a_store_that_is_killed_again_and_again_goes_on_each_time(tmp_path):
    home, before = tmp_path / "home", 0
    for statements in range(0, 90, 3):
        dies_after(statements, home, 3)
        after = whole_transactions(home)
        assert before <= after <= before + 3
        before = after
    assert before > 10


def test_what_was_acknowledged_survives_a_kill_at_any_moment(tmp_path):
    """No chosen moments here: the process is killed while it works, and what it had said was committed is there."""
    home, chance = tmp_path / "home", random.Random(20261123)
    code = (
        "import sys, pathlib; sys.path[:0] = sys.argv[2:]; from test_store_powercut import *\n"
        "store = Store.open(pathlib.Path(sys.argv[1]), hub=True)\n"
        "while True: print(one_transaction(store), flush=True)"
    )
    root = Path(__file__).parents[2]
    for _ in range(8):
        with subprocess.Popen(
            [sys.executable, "-c", code, str(home), str(root), str(Path(__file__).parent)],
            stdout=subprocess.PIPE,
            text=True,
        ) as writer:
            acknowledged = [int(writer.stdout.readline()) for _ in range(chance.randint(1, 30))]
            writer.kill()
            acknowledged += [int(line) for line in writer.stdout.read().split("\n")[:-1]]
        assert whole_transactions(home) >= acknowledged[-1]


@pytest.fixture(scope="module")
def crashed(tmp_path_factory):
    """Database and log as they lie on the disk after 12 transactions, none of them written back yet."""
    home = tmp_path_factory.mktemp("crashed")
    with Store.open(home) as store:
        connection_of(store).execute("pragma wal_autocheckpoint = 0")
        ends = []
        for _ in range(12):
            one_transaction(store)
            ends.append((home / "chf.db-wal").stat().st_size)
        copy = tmp_path_factory.mktemp("copy")
        for name in ("chf.db", "chf.db-wal"):
            shutil.copy(home / name, copy / name)
    return copy, ends


def left_over(crashed: Path, home: Path, log: bytes) -> int:
    home.mkdir()
    shutil.copy(crashed / "chf.db", home / "chf.db")
    (home / "chf.db-wal").write_bytes(log)
    return whole_transactions(home)


def test_a_log_that_was_cut_anywhere_holds_the_transactions_before_the_cut(crashed, tmp_path):
    copy, ends = crashed
    log = (copy / "chf.db-wal").read_bytes()
    assert len(log) == ends[-1]
    chance = random.Random(26)
    near = [end + offset for end in ends for offset in (-4096, -1, 0, 1) if 0 <= end + offset <= len(log)]
    for number, length in enumerate(sorted({0, 31, 32, *near, *chance.sample(range(len(log)), 20)})):
        count = left_over(copy, tmp_path / str(number), log[:length])
        assert count == sum(end <= length for end in ends), f"cut at {length} of {len(log)}"


@pytest.mark.parametrize("sector_bytes", [512, 4096])
def test_a_torn_last_sector_costs_no_more_than_the_last_transaction(crashed, tmp_path, sector_bytes):
    copy, ends = crashed
    log = (copy / "chf.db-wal").read_bytes()
    rubbish = random.Random(sector_bytes).randbytes(sector_bytes)
    for number, tail in enumerate((bytes(sector_bytes), rubbish, log[:sector_bytes])):
        count = left_over(copy, tmp_path / str(number), log[:-sector_bytes] + tail)
        assert count == len(ends) - 1


def test_a_hole_in_the_log_ends_it_there(crashed, tmp_path):
    copy, ends = crashed
    log = (copy / "chf.db-wal").read_bytes()
    for number, end in enumerate(ends[:-1]):
        hole = end + 24  # within the first page after the commit
        count = left_over(copy, tmp_path / str(number), log[:hole] + bytes(512) + log[hole + 512 :])
        assert count == number + 1
