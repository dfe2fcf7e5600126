"""What a store of years costs: start, memory and each command, beside a store that is young. At most 1.5 times.

python benchmarks/old_store.py [--old 100000] [--young 1000] [--runs 3] [--json]

Each store has as many alerts, audit records, commands of the inbox, documents, messages for devices and ended updates;
both have 64 devices, 8 active updates and 20 documents that wait. Two lines have no goal, because they read everything:
`chf doctor`, and the hub's check of its file, which it makes in a thread while its dongle starts.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

from chf.clock import UtcSeconds
from chf.eui64 import Eui64, format_eui64
from chf.hub.device_log_alerts import TOLD
from chf.image.image import ImageId
from chf.store import DeviceEntry, DeviceStatus, DeviceType, Store
from chf.store.database import Database
from chf.trace import Event, Kind, utc_text
from chf.update.model import ActivateNow, Update, UpdateId, UpdateState

GOAL: Final = 1.5
DEVICES: Final = 64
ACTIVE: Final = 8
WAITING: Final = 20
NOW: Final = UtcSeconds(time.time() - 60)
SPAN_S: Final = 390 * 86_400  # younger than retention
IMAGE: Final = ImageId("ab" * 32)
USER: Final = format_eui64(Eui64(0x90B3D51F30010000))

CHECK: Final = """
import sys, time
from pathlib import Path
from chf.store import Store
with Store.open(Path(sys.argv[1]), hub=True) as store:
    before = time.process_time()
    store.check()
    print(time.process_time() - before)
"""

HUB: Final = """
import sys, time
from pathlib import Path
from chf.hub import Hub
from chf.hub.device_log_alerts import TOLD
from chf.store import Store
from chf.store.retention import Retention
before = time.process_time()
with Store.open(Path(sys.argv[1]), hub=True) as store:
    store.devices.list(), store.updates.list(active_only=True), store.updates.last_of_each_device()
    store.inbox.pending(), store.device_messages.waiting(), store.audit.tail(store.meta.number(TOLD), 50)
    store.followed.ended(100), store.alerts.tail(store.meta.number("dcc converted"), 100), store.uplink.heads()
    store.prune(Retention().older_than(time.time()), time.time())
    print(time.process_time() - before)
"""
"""What the hub and the DCC side ask of the store until they are ready; without the dongle."""


def make(home: Path, rows: int) -> None:
    """As a hub would have filled it in the last 390 days, without waiting for the disk."""
    with Store.open(home) as store, store.transaction() as tx:
        for number in range(DEVICES):
            tx.devices.add(DeviceEntry(_device(number), DeviceType.PPMID, NOW, bytes(16), DeviceStatus.JOINED))
        _updates(tx.updates.add, rows)
        database = store._database
        _fill(
            database,
            "alerts",
            "msg_id, device, use_case, alert_code, outcome, message, verified, created_utc, update_id, delivered_utc",
            _alerts(rows),
        )
        _fill(
            database,
            "uplink",
            "msg_id, recipient, device, kind, document, created_utc, delivered_utc",
            _documents(rows),
        )
        _fill(database, "inbox", "verb, body, state, result, submitted_utc, finished_utc", _commands(rows))
        _fill(
            database,
            "device_messages",
            "device, request, message_code, counter, message, state, created_utc, expires_utc, changed_utc",
            _messages(rows),
        )
        _fill(database, "audit", "event, hash, update_id, device, kind, utc", _audit(rows))
        _fill(database, "meta", "key, value", _progress(rows))
        tx.meta.set(TOLD, str(rows))
        tx.meta.set("dcc converted", str(rows))


def _fill(database: Database, table: str, columns: str, rows: Iterator[tuple[Any, ...]]) -> None:
    marks = ", ".join("?" * len(columns.split(", ")))
    database._connection.executemany(f"insert into {table} ({columns}) values ({marks})", rows)  # noqa: S608


def _device(number: int) -> Eui64:
    return Eui64(0x00DB_1234_5678_0000 + number % DEVICES)


def _times(rows: int) -> Iterator[tuple[int, str, float]]:
    """Number, device and time of each."""
    for number in range(1, rows + 1):
        yield number, format_eui64(_device(number)), NOW - SPAN_S * (rows - number) / rows


def _updates(add: Callable[[Update], None], rows: int) -> None:
    for number, _device_text, at in _times(rows):
        active, utc = number > rows - ACTIVE, UtcSeconds(at)
        add(
            Update(
                *(UpdateId(number), _device(number), IMAGE, 2, ActivateNow(), "cli", utc, UtcSeconds(utc + 9e5), utc),
                state=UpdateState.ANNOUNCED if active else UpdateState.ACTIVATED,
                ended=None if active else utc,
            )
        )


def _alerts(rows: int) -> Iterator[tuple[Any, ...]]:
    for number, device, at in _times(rows):
        case, code = ("CCS08", 0x8F8A) if number % 2 else ("CS09", 0x8F8B)
        yield f"alert/{number}", device, case, code, "success", bytes(160), 1, at, number, at


def _documents(rows: int) -> Iterator[tuple[Any, ...]]:
    for number, device, at in _times(rows):
        waits = number > rows - WAITING
        yield f"alert/{number}", USER, device, "CommsHubAlert", b"<sr:Response/>" * 60, at, None if waits else at


def _commands(rows: int) -> Iterator[tuple[Any, ...]]:
    for _number, device, at in _times(rows):
        yield "update.start", json.dumps({"devices": [device], "image": IMAGE}), "done", '{"started": []}', at, at


def _messages(rows: int) -> Iterator[tuple[Any, ...]]:
    for number, device, at in _times(rows):
        yield device, "-", 0xCA, f"{number:016x}", bytes(100), "answered", at, at, at


def _audit(rows: int) -> Iterator[tuple[Any, ...]]:
    previous = bytes(32)
    for number, device, at in _times(rows):
        states = {"from": "announced", "to": "activated"}
        event = Event(UtcSeconds(at), Kind.UPDATE_STATE, _device(number), number, states)
        line = event.to_json()
        previous = hashlib.sha256(previous + line.encode()).digest()
        yield line, previous, number, device, event.kind.value, utc_text(event.utc)


def _progress(rows: int) -> Iterator[tuple[Any, ...]]:
    moved = json.dumps({"offset_bytes": 9000, "size_bytes": 9000, "blocks": 180, "utc": NOW})
    for number in range(1, rows + 1):
        yield f"progress of update {number}", moved


def commands(rows: int) -> dict[str, Sequence[str]]:
    device = format_eui64(_device(1))
    told: dict[str, Sequence[str]] = {
        " ".join(words): words
        for words in (
            *(("alert", "list"), ("alert", "list", "--device", device), ("alert", "list", "--since", "-7d")),
            *(("device", "list"), ("device", "show", device)),
            *(("update", "list"), ("update", "list", "--active")),
            *(("report",), ("report", "--last", "50"), ("watch", "--once", "--json")),
            *(("dcc", "queue", "list"), ("dcc", "queue", "list", "--all"), ("dcc", "command", "list")),
        )
    }
    told["update show N"] = ("update", "show", str(rows // 2))
    told["report --update N"] = ("report", "--update", str(rows // 2))
    told["doctor (reads every row)"] = ("doctor",)
    return told


def measure(home: Path, rows: int, runs: int) -> dict[str, dict[str, float]]:
    """Seconds of processor time and MB of memory, each the median of so many runs; of several, after one that warms up.

    Processor time, because what else the machine does is no matter of the store.
    """
    python = [sys.executable, "-m", "chf.cli.main"]
    figures = {
        name: _median(home, [sys.executable, "-c", code, str(home)], runs, told=True)
        for name, code in (("the hub's store: open, load, ready", HUB), ("the hub's check (in a thread)", CHECK))
    }
    for name, words in commands(rows).items():
        figures[name] = _median(home, [*python, *words, "--home", str(home)], runs)
    return figures


def _median(home: Path, command: Sequence[str], runs: int, *, told: bool = False) -> dict[str, float]:
    if runs > 1:
        _once(home, command, told=told)
    took = [_once(home, command, told=told) for _ in range(runs)]
    return {"seconds": median(second for second, _ in took), "megabytes": median(memory for _, memory in took)}


def _once(home: Path, command: Sequence[str], *, told: bool) -> tuple[float, float]:
    with (home / "out").open("w+b") as out:
        child = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        _pid, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        text = out.read().decode()
    if child.returncode not in {0, 1}:  # 1: updates that have not ended, or a doctor who finds no dongle
        raise SystemExit(f"{' '.join(command)} ended with {child.returncode}: {text}")
    return (float(text) if told else used.ru_utime + used.ru_stime), used.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--old", type=int, default=100_000)
    parser.add_argument("--young", type=int, default=1_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", action="store_true", dest="as_json")
    options = parser.parse_args()
    figures = {}
    for which, rows in (("young", options.young), ("old", options.old)):
        with tempfile.TemporaryDirectory() as directory:
            home = Path(directory) / "home"
            make(home, rows)
            figures[which] = measure(home, rows, options.runs)
    lines = [
        {"what": name, "young": young, "old": old, "ratio": round(old["seconds"] / young["seconds"], 2)}
        for (name, young), old in zip(figures["young"].items(), figures["old"].values(), strict=True)
    ]
    if options.as_json:
        print(json.dumps({"rows": {"young": options.young, "old": options.old}, "goal": GOAL, "lines": lines}))
        return
    print(f"| | {options.young:,} rows of each | {options.old:,} rows of each | ratio (goal {GOAL}) |")
    print("|---|---|---|---|")
    for line in lines:
        young, old = (
            f"{line[which]['seconds']:.3f} s, {line[which]['megabytes']:.0f} MB" for which in ("young", "old")
        )
        print(f"| {line['what']} | {young} | {old} | {line['ratio']} |")


if __name__ == "__main__":
    main()
