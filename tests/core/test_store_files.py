"""The store as a file: made whole, locked, migrated, and never silently replaced."""

import contextlib
import fcntl
import hashlib
import os
import sqlite3
import stat
import subprocess
import sys

import pytest

from chf.clock import UtcSeconds
from chf.errors import StoreCorruptError, StoreError, StoreInUseError, StoreUnavailableError
from chf.eui64 import Eui64
from chf.store import Store, database, hub_pid, hub_running
from chf.store.lock import Only, StoreLock, holder_pid
from chf.store.schema import APPLICATION_ID, MIGRATIONS, migrate
from tests.support.damaged_store import connection_of, sql

T0 = UtcSeconds(1_800_000_000.0)


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


def write(home, key="k", value="v") -> None:
    with Store.open(home) as store, store.transaction() as tx:
        tx.meta.set(key, value)


def mode(path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_only_the_owner_can_read_the_store(home):
    previous = os.umask(0)
    try:
        with Store.open(home, hub=True) as store:
            with store.transaction() as tx:
                tx.meta.set("k", "v")
            assert mode(home) == 0o700
            assert {path.name: mode(path) for path in home.iterdir()} == dict.fromkeys(
                ("chf.db", "chf.db-wal", "chf.db-shm", "hub.lock"), 0o600
            )
    finally:
        os.umask(previous)


@pytest.mark.parametrize("others", [0o640, 0o604])
def test_a_store_that_others_can_read_is_closed_to_them(home, others):
    write(home)
    (home / "chf.db").chmod(others)
    (home / "chf.db-wal").touch()
    (home / "chf.db-wal").chmod(others)
    with Store.open(home):
        assert mode(home / "chf.db") == mode(home / "chf.db-wal") == 0o600


@pytest.mark.parametrize("durable", [True, False])
def test_a_transaction_is_all_or_nothing(home, durable):
    with Store.open(home) as store:

        def interrupted():
            with store.transaction(durable=durable) as tx:
                tx.meta.set("a", "1")
                tx.counters.take("n")
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert store.meta.get("a") is None
        assert store.counters.peek("n") is None
        with store.transaction() as tx:
            tx.meta.set("a", "2")
            with pytest.raises(StoreError, match="within a transaction"), store.transaction():
                pass
        assert store.meta.get("a") == "2"


def test_a_write_after_its_transaction_is_refused(home):
    with Store.open(home) as store:
        with store.transaction() as tx:
            pass
        with pytest.raises(StoreError, match="outside of a transaction"):
            tx.meta.set("a", "1")


# --- the hub's lock


def test_a_second_hub_is_told_who_has_the_store(home):
    with Store.open(home, hub=True):
        assert hub_pid(home) == os.getpid()
        with pytest.raises(StoreInUseError, match=rf"process {os.getpid()}"):
            Store.open(home, hub=True)
        write(home)  # a command of the CLI is welcome
    assert not hub_running(home)
    with Store.open(home, hub=True) as store:
        assert store.meta.get("k") == "v"


def next_descriptor() -> int:
    descriptor = os.dup(0)
    os.close(descriptor)
    return descriptor


def test_a_hub_and_a_dcc_side_do_not_shut_each_other_out(home):
    with Store.open(home, hub=True), StoreLock.acquire(home, Only.DCC_SIDE):
        assert holder_pid(home, Only.DCC_SIDE) == hub_pid(home) == os.getpid()
        free = next_descriptor()
        with pytest.raises(StoreInUseError, match=rf"a DCC side runs on .* \(process {os.getpid()}\)"):
            StoreLock.acquire(home, Only.DCC_SIDE)
        assert next_descriptor() == free, "nothing stays open"
    assert holder_pid(home, Only.DCC_SIDE) is None


def test_two_that_look_at_a_lock_take_each_other_for_no_holder(tmp_path):
    StoreLock.acquire(tmp_path, Only.HUB).release()
    with (tmp_path / Only.HUB.value).open() as looked_at:
        fcntl.flock(looked_at, fcntl.LOCK_SH)
        assert hub_pid(tmp_path) is None


def test_a_longer_number_of_a_process_that_was_killed_leaves_nothing_behind(tmp_path):
    (tmp_path / Only.HUB.value).write_text("99999999999")
    assert hub_pid(tmp_path) is None
    with StoreLock.acquire(tmp_path, Only.HUB):
        assert hub_pid(tmp_path) == os.getpid()


def test_a_lock_that_somebody_looks_at_is_tried_again(tmp_path, monkeypatch):
    StoreLock.acquire(tmp_path, Only.HUB).release()
    with (tmp_path / Only.HUB.value).open() as looked_at:
        fcntl.flock(looked_at, fcntl.LOCK_SH)
        monkeypatch.setattr("chf.store.lock.time.sleep", lambda _s: fcntl.flock(looked_at, fcntl.LOCK_UN))
        StoreLock.acquire(tmp_path, Only.HUB).release()


def test_no_hub_runs_where_there_is_nothing(home):
    assert not hub_running(home)


def test_the_lock_of_another_process_ends_with_it(home):
    code = (
        "import sys, pathlib; from chf.store import Store\n"
        "store = Store.open(pathlib.Path(sys.argv[1]), hub=True); print('open', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout.readline() == b"open\n"
        assert hub_pid(home) == other.pid
        with pytest.raises(StoreInUseError, match=str(other.pid)):
            Store.open(home, hub=True)
        other.kill()
        other.wait()
    assert not hub_running(home)
    Store.open(home, hub=True).close()


def test_a_hub_that_cannot_open_its_store_lets_the_lock_go(home):
    home.mkdir()
    (home / "chf.db").write_bytes(b"not a database at all, but long enough to be one" * 100)
    with pytest.raises(StoreCorruptError):
        Store.open(home, hub=True)
    assert not hub_running(home)


def test_many_processes_may_be_the_first(home):
    code = (
        "import sys, pathlib; from chf.store import Store\n"
        "sys.stdin.read()\n"
        "with Store.open(pathlib.Path(sys.argv[1])) as store:\n"
        "    for n in range(20):\n"
        "        with store.transaction() as tx: tx.inbox.submit('x', {}, 1.0); tx.counters.take('n')"
    )
    command = [sys.executable, "-c", code, str(home)]
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE) for _ in range(4)]
    for process in processes:
        process.stdin.close()  # all of them start now
    assert [process.wait(timeout=60) for process in processes] == [0, 0, 0, 0]
    with Store.open(home, hub=True) as store:
        assert len(store.inbox.pending()) == 80
        assert store.counters.peek("n") == 81
    assert not list(home.glob("*.new"))


def test_a_store_that_was_just_made_opens_while_another_process_writes(home, monkeypatch):
    def overtaken(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(database, "_set_up", overtaken)
        with pytest.raises(KeyboardInterrupt):
            Store.open(home)
    with contextlib.closing(sqlite3.connect(home / "chf.db", isolation_level=None)) as other:
        other.execute("begin immediate")
        with Store.open(home) as store:
            assert store.inbox.pending() == ()


# --- files that are not a store


@pytest.mark.parametrize("content", [b"", b"x", b"not a database" * 1000, b"SQLite format 3\0" + b"\xff" * 4096])
def test_a_foreign_file_is_refused_and_left_as_it_is(home, content):
    home.mkdir()
    (home / "chf.db").write_bytes(content)
    with pytest.raises(StoreCorruptError, match=r"chf\.db"):
        Store.open(home)
    assert (home / "chf.db").read_bytes() == content


def test_a_database_of_another_program_is_refused_and_left_as_it_is(home):
    home.mkdir()
    with sqlite3.connect(home / "chf.db") as other:
        other.execute("create table t (a)")
    other.close()
    before = (home / "chf.db").read_bytes()
    with pytest.raises(StoreCorruptError, match="not a store of this program"):
        Store.open(home)
    assert (home / "chf.db").read_bytes() == before


def test_a_destroyed_header_is_refused(home):
    write(home)
    path = home / "chf.db"
    path.write_bytes(b"\0" * 100 + path.read_bytes()[100:])
    with pytest.raises(StoreCorruptError):
        Store.open(home)


@pytest.mark.parametrize(
    "damage",
    [lambda octets: octets[: len(octets) // 2], lambda octets: octets[:-4096] + b"\xa5" * 4096],
    ids=["cut in two", "a page of rubbish"],
)
def test_a_damaged_store_is_found_by_the_hub(home, damage):
    with Store.open(home) as store, store.transaction() as tx:
        for number in range(500):
            tx.meta.set(f"key {number}", "x" * 200)
    path = home / "chf.db"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(StoreCorruptError), Store.open(home, hub=True) as store:
        store.check()


def test_a_log_without_its_database_is_not_taken_for_a_new_store(home):
    store = Store.open(home)
    with store.transaction() as tx:
        tx.meta.set("k", "v")
    wal = (home / "chf.db-wal").read_bytes()
    store.close()
    (home / "chf.db").unlink()
    (home / "chf.db-wal").write_bytes(wal)
    with pytest.raises(StoreCorruptError, match="is gone"):
        Store.open(home)
    assert not (home / "chf.db").exists()


def test_a_store_that_was_cut_off_while_it_was_made_is_made_anew(home):
    home.mkdir()
    for name in ("chf.new", "chf.new-wal", "chf.new-shm"):
        (home / name).write_bytes(b"half a store")
    write(home)
    assert [path.name for path in home.iterdir()] == ["chf.db"]


def test_a_home_that_cannot_be_made_is_reported(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot open the store"):
        Store.open(tmp_path / "file" / "home")
    with pytest.raises(StoreError, match="cannot"):
        Store.open(tmp_path / "file" / "home", hub=True)


# --- migrations


def raw(path):
    return sqlite3.connect(path, isolation_level=None)


def build(path, version: int) -> None:
    """A store as an older program of this schema version left it."""
    connection = raw(path)
    connection.execute(f"pragma application_id = {APPLICATION_ID}")
    connection.execute("pragma journal_mode = wal")
    migrate(connection, MIGRATIONS[:version])
    connection.close()


@pytest.mark.parametrize("version", range(len(MIGRATIONS) + 1))
def test_a_store_of_every_older_version_is_brought_up_to_date(home, version):
    home.mkdir()
    build(home / "chf.db", version)
    if version >= 1:
        with raw(home / "chf.db") as old:
            old.execute("insert into meta values ('k', 'kept')")
            old.execute(
                "insert into devices (eui64, device_type, status, refused_frames, added_utc)"
                " values ('00-DB-12-34-56-78-90-A4', 'PPMID', 'joined', 3, 1800000000.0)"
            )
        old.close()
    with Store.open(home, hub=True) as store:
        assert sql(home, "pragma user_version") == [(len(MIGRATIONS),)]
        assert store.meta.get("k") == ("kept" if version >= 1 else None)
        devices = store.devices.list()
        assert [(entry.refused_frames, entry.client.confidence) for entry in devices] == [(3, "unknown")][:version]


def test_a_store_from_before_indexes_keeps_its_audit_and_finds_its_records_by_update(home):
    home.mkdir()
    build(home / "chf.db", 4)
    lines = [
        '{"device":"00-00-00-00-00-00-00-A4","job":7,"kind":"job.state","schema":1,"utc":"2026-11-23T06:14:00.000Z"}',
        "nonsense",
        '{"fields":{"request":"a","reason":"b"},"kind":"request.refused","schema":1,"utc":"2026-11-23T06:15:00.000Z"}',
    ]
    with raw(home / "chf.db") as old:
        previous = bytes(32)
        for line in lines:
            previous = hashlib.sha256(previous + line.encode()).digest()
            old.execute("insert into audit (event, hash) values (?, ?)", (line, previous))
    old.close()
    with Store.open(home) as store:
        assert [record.seq for record in store.audit.of_update(7)] == [1]
        assert store.audit.last_of_device(Eui64(0xA4)).event.update == 7
        assert [record.seq for record in store.audit.refused_requests(None)] == [3]
        assert [row.key for row in store.audit.tail().unreadable] == ["2"]
        assert store.audit.verify() is None
        for tampering in ("update audit set update_id = 8", "delete from audit where seq = 1"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                sql(home, tampering)


def test_a_store_of_a_newer_program_is_refused_and_left_as_it_is(home):
    write(home)
    with raw(home / "chf.db") as newer:
        newer.execute(f"pragma user_version = {len(MIGRATIONS) + 1}")
    newer.close()
    before = (home / "chf.db").read_bytes()
    with pytest.raises(StoreError, match="newer chf"):
        Store.open(home)
    assert (home / "chf.db").read_bytes() == before


LATER = (
    *MIGRATIONS,
    ("create table later (a)", "insert into later values (1)"),
    ("alter table later add column b", "insert into later values (2, 2)"),
)


@pytest.mark.parametrize("fails_at", range(4))
def test_a_migration_that_was_cut_off_starts_again_from_the_last_whole_step(tmp_path, fails_at):
    build(tmp_path / "chf.db", len(MIGRATIONS))
    steps = [list(step) for step in LATER]
    flat = [(step, index) for step in (-2, -1) for index in range(2)]
    step, index = flat[fails_at]
    steps[step].insert(index, "select no_such_function()")
    connection = raw(tmp_path / "chf.db")
    with pytest.raises(sqlite3.OperationalError):
        migrate(connection, steps)
    assert connection.execute("pragma user_version").fetchone()[0] == len(MIGRATIONS) + (step == -1)
    connection.close()
    connection = raw(tmp_path / "chf.db")
    migrate(connection, LATER)
    assert connection.execute("select * from later").fetchall() == [(1, None), (2, 2)]
    connection.close()


def test_two_processes_that_migrate_do_each_step_once(tmp_path):
    build(tmp_path / "chf.db", len(MIGRATIONS))
    first, second = raw(tmp_path / "chf.db"), raw(tmp_path / "chf.db")
    migrate(first, LATER)
    migrate(second, LATER)
    assert second.execute("select count(*) from later").fetchone() == (2,)
    first.close()
    second.close()


# --- failures of the disk


def test_a_full_disk_loses_nothing_and_passes(home):
    with Store.open(home) as store:
        with store.transaction() as tx:
            tx.meta.set("before", "kept")
        database = connection_of(store)
        (pages,) = database.execute("pragma page_count").fetchone()
        database.execute(f"pragma max_page_count = {pages + 2}")

        def fill():
            with store.transaction() as tx:
                tx.meta.set("small", "undone too")
                tx.meta.set("large", "x" * 100_000)

        with pytest.raises(StoreUnavailableError, match="the disk is full"):
            fill()
        assert store.meta.get("before") == "kept"
        assert store.meta.get("small") is None
        with pytest.raises(StoreUnavailableError, match="the disk is full"):
            fill()
        database.execute("pragma max_page_count = 1000000")
        with store.transaction() as tx:
            tx.meta.set("large", "x" * 100_000)
        assert database.execute("pragma integrity_check").fetchall() == [("ok",)]
    with Store.open(home, hub=True) as again:
        assert (again.meta.get("before"), len(again.meta.get("large"))) == ("kept", 100_000)


def test_a_write_that_the_system_refuses_loses_nothing_and_passes(home):
    """RLIMIT_FSIZE makes the write itself fail (EFBIG, an I/O error to SQLite), in a process of its own."""
    code = (
        "import resource, signal, sys, pathlib; from chf.store import Store; from chf.errors import StoreError\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "store = Store.open(pathlib.Path(sys.argv[1]))\n"
        "def put(key, size):\n"
        "    with store.transaction() as tx: tx.meta.set(key, 'x' * size)\n"
        "put('before', 10)\n"
        "limits = resource.getrlimit(resource.RLIMIT_FSIZE)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (65536, limits[1]))\n"
        "try: put('large', 200_000)\n"
        "except StoreError as error: print(type(error).__name__, error)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, limits)\n"
        "assert store.meta.get('large') is None and store.meta.get('before')\n"
        "put('large', 200_000); store.close()\n"
        "print(len(Store.open(pathlib.Path(sys.argv[1]), hub=True).meta.get('large')))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(home)], capture_output=True, text=True, check=False, timeout=60
    )
    assert result.returncode == 0, result.stderr
    error, size = result.stdout.splitlines()
    assert error.startswith("StoreUnavailableError cannot use")
    assert size == "200000"


def test_a_write_that_breaks_a_rule_of_the_schema_will_not_do_later_either(home):
    with Store.open(home) as store:

        def break_a_rule():
            with store.transaction() as tx:
                tx.meta.set("k", "v")
                store._database.write("insert into meta (key, value) values (null, null)")

        with pytest.raises(StoreError, match="breaks a rule") as caught:
            break_a_rule()
        assert not isinstance(caught.value, StoreUnavailableError)
        assert store.meta.get("k") is None


def test_a_read_only_store_can_be_read_and_says_why_it_cannot_be_written(home):
    write(home)
    with Store.open(home) as store:
        connection_of(store).execute("pragma query_only = on")
        assert store.meta.get("k") == "v"
        with pytest.raises(StoreUnavailableError, match="read-only"), store.transaction() as tx:
            tx.meta.set("k", "w")


def test_a_hub_is_not_kept_waiting_by_a_command_that_hangs(home):
    with Store.open(home, hub=True) as hub, Store.open(home) as command:
        with command.transaction() as tx:
            tx.meta.set("k", "v")
            with (
                pytest.raises(StoreUnavailableError, match="another process is writing, and takes too long"),
                hub.transaction(),
            ):
                pass
        with hub.transaction() as tx:
            assert tx.meta.get("k") == "v"
