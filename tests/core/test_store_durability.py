"""What waits for the disk and what does not."""

import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from chf.errors import StoreError
from chf.store import Store

NORMAL, FULL = 1, 2  # https://sqlite.org/pragma.html#pragma_synchronous


def synchronous(store: Store) -> int:
    return int(store._database.read("pragma synchronous")[0][0])


def test_only_what_is_worth_little_does_not_wait_for_the_disk(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        with store.transaction(durable=False) as tx:
            tx.meta.set("progress", "1")
            assert synchronous(store) == NORMAL
        with store.transaction() as tx:  # and with it, everything before is on disk
            tx.meta.set("state", "2")
            assert synchronous(store) == FULL


def test_it_is_written_for_every_other_process(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store, Store.open(tmp_path) as other:
        with store.transaction(durable=False) as tx:
            tx.meta.set("progress", "1")
        assert other.meta.get("progress") == "1"


def test_it_is_all_or_nothing(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        with suppress(ZeroDivisionError), store.transaction(durable=False) as tx:
            tx.meta.set("progress", "1")
            raise ZeroDivisionError
        assert store.meta.get("progress") is None


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


def test_a_disk_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    with Store.open(tmp_path) as store:
        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(StoreError, match="Input/output error"):
            store.sync()
