"""What waits for the disk and what does not."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from chf.errors import StoreError
from chf.store import Store
from tests.support.damaged_store import connection_of

NORMAL, FULL = 1, 2  # https://sqlite.org/pragma.html#pragma_synchronous


def synchronous(store: Store) -> int:
    return int(connection_of(store).execute("pragma synchronous").fetchone()[0])


def test_only_what_is_worth_little_does_not_wait_for_the_disk(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        with store.transaction(durable=False) as tx:
            tx.meta.set("progress", "1")
            assert synchronous(store) == NORMAL
        with store.transaction() as tx:  # and with it, everything before is on disk
            tx.meta.set("state", "2")
            assert synchronous(store) == FULL
        assert connection_of(store).execute("pragma journal_mode").fetchone() == ("wal",)


def test_it_is_written_for_every_other_process(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store, Store.open(tmp_path) as other:
        with store.transaction(durable=False) as tx:
            tx.meta.set("progress", "1")
        assert other.meta.get("progress") == "1"


def test_a_sync_brings_to_disk_what_did_not_wait_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []

    def fsync(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)

    monkeypatch.setattr(os, "fsync", fsync)
    with Store.open(tmp_path) as store:
        with store.transaction(durable=False) as tx:
            tx.meta.set("progress", "1")
        synced.clear()
        with ThreadPoolExecutor() as beside:
            beside.submit(store.sync).result()
        assert synced == ["chf.db-wal"]
        with store.transaction() as tx:  # the locks of this process are what they were
            tx.meta.set("state", "2")


def fill(store: Store, rows: int) -> None:
    """A page of the log for each, at least."""
    for number in range(rows):
        with store.transaction(durable=False) as tx:
            tx.meta.set("progress", f"{number:04000}")


def test_no_commit_of_the_hub_moves_the_log_but_a_thread_beside_it_does(tmp_path: Path) -> None:
    file, log = tmp_path / "chf.db", tmp_path / "chf.db-wal"
    with Store.open(tmp_path, hub=True) as store:
        before = file.read_bytes()
        fill(store, 1200)  # SQLite by itself does it at 1000 pages
        assert file.read_bytes() == before
        with ThreadPoolExecutor() as beside:
            beside.submit(store.checkpoint).result()
        assert file.read_bytes() != before
        length = log.stat().st_size
        fill(store, 100)
        assert log.stat().st_size == length  # it begins anew
        assert store.meta.get("progress") == f"{99:04000}"
    assert not log.exists()
    with Store.open(tmp_path) as store:
        assert store.meta.get("progress") == f"{99:04000}"


def test_a_log_that_somebody_reads_is_moved_as_far_as_he_allows(tmp_path: Path) -> None:
    with Store.open(tmp_path, hub=True) as store, Store.open(tmp_path) as reader:
        fill(store, 10)
        connection_of(reader).execute("begin")
        assert reader.meta.get("progress") == f"{9:04000}"
        fill(store, 20)
        store.checkpoint()
        assert reader.meta.get("progress") == f"{9:04000}"
        assert store.meta.get("progress") == f"{19:04000}"


def test_a_log_that_cannot_be_moved_is_told(tmp_path: Path) -> None:
    with Store.open(tmp_path, hub=True) as store:
        (tmp_path / "chf.db").rename(tmp_path / "elsewhere.db")
        with pytest.raises(StoreError, match=r"chf\.db"):
            store.checkpoint()
        (tmp_path / "elsewhere.db").rename(tmp_path / "chf.db")


def test_a_disk_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    with Store.open(tmp_path) as store:
        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(StoreError, match="Input/output error"):
            store.sync()
