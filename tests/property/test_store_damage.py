"""Any cell of any table may be damaged: whoever reads says which row, and everybody else's rows are shown.

The damage is what disks and hands do: octets, numbers, NULL or a text that is no UTF-8 where something else belongs.
"""

import hashlib
import json
import random
import shutil
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import pytest
from click.testing import CliRunner

from chf.cli.main import chf
from chf.clock import UtcSeconds
from chf.errors import ChfError
from chf.eui64 import Eui64, format_eui64
from chf.hub.hub import RADIO_NOTE
from chf.image.image import ImageId
from chf.store import DeviceEntry, DeviceType, ImageRecord, NewAlert, Store
from chf.store.device_messages import NewDeviceMessage
from chf.store.inbox import Followed
from chf.store.progress import TransferProgress, write
from chf.store.schema import migrate
from chf.store.uplink import NewDocument
from chf.trace import Event, Kind
from chf.update.model import ActivateNow, Update, UpdateId, UpdateState
from tests.support.updates import MADE_FOR, runs

T0 = UtcSeconds(1_800_000_000.0)
DEVICES = tuple(Eui64(0xA4 + number) for number in range(3))
SEEDS = range(100)
DAMAGES = (
    *["x'00DB12'", "x'ff'", "1e300", "-1", "-1e300", "9223372036854775807", "''", "'x'", "'🧿'", "'{}'", "'[1]'"],
    *("'{\"schema\":2}'", "'[' || hex(zeroblob(50000)) || ']'", "cast(x'ff' as text)", "cast(x'30fe' as text)", "null"),
)
COMMANDS = (
    ("alert", "list"),
    ("alert", "list", "--device", format_eui64(DEVICES[1])),
    ("alert", "tail", "--no-follow"),
    ("device", "list"),
    *(("device", "show", format_eui64(device)) for device in DEVICES),
    ("image", "list"),
    ("update", "list"),
    ("update", "list", "--active"),
    *(("update", "show", str(number)) for number in (1, 2, 3)),
    ("update", "wait", "1", "2", "--timeout", "0"),
    ("report",),
    ("report", "--html", "-"),
    ("report", "--junit", "-"),
    ("report", "--json", "-"),
    ("report", "--update", "2"),
    ("watch", "--once"),
    ("dcc", "queue", "list", "--all"),
    ("dcc", "queue", "show", "2"),
    ("dcc", "command", "list"),
    ("store", "prune", "--older-than", "1", "--dry-run"),
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """Three rows of everything."""
    home = tmp_path_factory.mktemp("whole")
    with Store.open(home) as store, store.transaction() as tx:
        tx.meta.set(RADIO_NOTE, json.dumps({"state": "up", "since": "2026", "reason": "", "kind": "ezsp"}))
        tx.meta.set("dcc converted", "2")
        tx.counters.take("chf")
        for number, device in enumerate(DEVICES, 1):
            tx.devices.add(DeviceEntry(device, DeviceType.PPMID, T0, bytes(16), images=runs(number)))
            tx.images.add(*image(number))
            state = UpdateState.DOWNLOADING if number == 3 else UpdateState.ACTIVATED
            ended = None if number == 3 else T0
            row = (UpdateId(number), device, ImageId(image(number)[0].sha256), 2, ActivateNow(), "cli", T0, T0, T0)
            tx.updates.add(Update(*row, state=state, ended=ended))
            write(tx.meta, UpdateId(number), TransferProgress(50, 100, 1, T0))
            tx.alerts.add(NewAlert(f"alert {number}", device, "CS09", 0x8F8B, "ok", b"\xdf", True, T0, number))
            tx.uplink.add(NewDocument(f"document {number}", device, device, "alert", b"<a/>", T0, number))
            tx.device_messages.add(NewDeviceMessage(device, "a:b:1", 0xCA, number, b"\xdf", T0, T0))
            tx.scheduled.add(f"read {number}", device, T0)
            tx.inbox.finish(tx.inbox.submit("device.permit", {"device": "x"}, T0), {}, T0)
            tx.followed.add(Followed(number, f"request {number}", "8.11", 0))
            tx.requests.note(device, number, T0)
            tx.audit.append(Event(T0, Kind.UPDATE_STATE, device, number, {"to": "activated"}))
    return home


def image(number: int) -> tuple[ImageRecord, bytes]:
    content = bytes([number]) * 100
    record = (hashlib.sha256(content).hexdigest(), f"image {number}", "ota", 1, 2, 3, None, None, 100, T0)
    return ImageRecord(*record), content


@pytest.fixture
def home(whole, tmp_path) -> Path:
    shutil.copytree(whole, tmp_path / "home")
    return tmp_path / "home"


def damage(home: Path, table: str, column: str, value: str, row: int = 1) -> None:
    """Without the rules of the schema, as a disk does."""
    with closing(sqlite3.connect(home / "chf.db", isolation_level=None)) as raw:
        for name in ("audit_is_never_edited", "audit_is_never_cut"):
            raw.execute(f"drop trigger {name}")
        raw.execute("pragma ignore_check_constraints = on")
        raw.execute("pragma writable_schema = on")
        raw.execute("update sqlite_master set sql = replace(sql, ' not null', '') where name = ?", (table,))
        raw.execute("pragma writable_schema = reset")
        key = raw.execute("select name from pragma_table_info(?) where pk = 1", (table,)).fetchone()[0]
        chosen = raw.execute(f"select {key} from {table} order by {key} limit 1 offset ?", (row,)).fetchone()  # noqa: S608
        with suppress(sqlite3.IntegrityError):  # a key that SQLite itself keeps whole
            raw.execute(f"update {table} set {column} = {value} where {key} = ?", chosen)  # noqa: S608


def cells() -> list[tuple[str, str]]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as raw:
        migrate(raw)
        tables = raw.execute("select name from sqlite_master where type = 'table' and name not like 'sqlite_%'")
        return [
            (table, column)
            for (table,) in tables.fetchall()
            if table != "audit_checkpoint"  # it has no row before something was pruned
            for (column,) in raw.execute("select name from pragma_table_info(?)", (table,))
        ]


def ran(home: Path, *command: str):
    result = CliRunner().invoke(chf, [*command, "--home", str(home)])
    if result.exception is not None and not isinstance(result.exception, SystemExit | ChfError):
        raise AssertionError(f"chf {' '.join(command)}") from result.exception
    return result


@pytest.mark.parametrize("seed", SEEDS)
def test_no_damage_of_a_cell_ends_in_a_foreign_exception(home, seed):
    chance = random.Random(seed)
    table, column = chance.choice(cells())
    row = 0 if table == "counters" else chance.randrange(3)
    damage(home, table, column, chance.choice(DAMAGES), row)
    for command in COMMANDS:
        ran(home, *command)
    with Store.open(home) as store:
        list(store.findings())


@pytest.mark.parametrize(
    ("table", "column", "command"),
    [
        ("alerts", "device", ("alert", "list")),
        ("alerts", "created_utc", ("alert", "list", "--json")),
        ("devices", "status", ("device", "list")),
        ("device_images", "manufacturer", ("device", "list")),
        ("images", "size_bytes", ("image", "list")),
        ("updates", "state", ("update", "list")),
        ("updates", "created_utc", ("report",)),
        ("updates", "activation", ("watch", "--once")),
        ("uplink", "recipient", ("dcc", "queue", "list")),
        ("device_messages", "counter", ("dcc", "command", "list")),
    ],
)
@pytest.mark.parametrize("value", ["x'00DB12'", "cast(x'ff' as text)", "null"])
def test_the_others_are_shown_and_the_damaged_row_is_named(home, table, column, command, value):
    before = ran(home, *command).stdout
    damage(home, table, column, value)
    result = ran(home, *command)
    key = (
        image_key(home)
        if table == "images"
        else format_eui64(DEVICES[1])
        if table in ("devices", "device_images")
        else "2"
    )
    assert f"{table} is unreadable, because {column}: " in result.stderr or '"unreadable": [{"table"' in result.stdout
    assert key in result.stderr + result.stdout
    if "--json" not in command:
        good = [line for line in before.splitlines() if format_eui64(DEVICES[0]) in line or "image 1" in line]
        assert good, "the table has a line for the first"
        shown = [line.split() for line in result.stdout.splitlines()]
        assert all(line.split() in shown for line in good)
        assert format_eui64(DEVICES[2]) in result.stdout or "image 3" in result.stdout


def test_an_image_of_a_device_that_cannot_be_read_is_not_known_and_harms_nothing_else(home):
    damage(home, "device_images", "file_version", "'x'")
    with Store.open(home) as store:
        (row,) = store.devices.list().unreadable
        assert (row.table, row.key) == ("device_images", format_eui64(DEVICES[1]))
        assert [entry.images for entry in store.devices.list()] == [runs(1), (), runs(3)]
        assert store.devices.get(DEVICES[1]).images == ()
        assert store.candidate(DEVICES[1]).running(MADE_FOR) is None
        assert [line for line in store.findings() if "device_images" in line]


def image_key(home: Path) -> str:
    return sorted(image(number)[0].sha256 for number in (1, 2, 3))[1]


def test_the_doctor_finds_damage_and_what_was_dropped(home):
    with Store.open(home) as store:
        assert list(store.findings()) == []
    with closing(sqlite3.connect(home / "chf.db", isolation_level=None)) as raw:
        raw.execute("update alerts set device = x'00' where seq = 2")
        raw.execute("drop table scheduled_reads")
        raw.execute("drop index alerts_open")
        raw.execute("drop trigger audit_is_never_cut")
        raw.execute("update meta set value = '{}' where key like 'progress%2'")
    with Store.open(home) as store:
        found = list(store.findings())
    assert {line for line in found if line.endswith(" is missing")} == {
        "the table scheduled_reads is missing",
        "the index scheduled_reads_open is missing",
        "the index alerts_open is missing",
        "the trigger audit_is_never_cut is missing",
    }
    assert any(line.startswith("row 2 of alerts is unreadable, because device: octets") for line in found)
    assert any(line.startswith("row progress of update 2 of meta is unreadable") for line in found)
