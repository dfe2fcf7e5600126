"""What waits for the disk and what does not."""

from contextlib import suppress
from pathlib import Path

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
