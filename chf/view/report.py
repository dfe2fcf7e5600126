"""What became of updates, for those who were not there: a fold of the store, the same for every format of `chf report`.

It reads rows and the audit, judges nothing and writes nothing. How it looks is for report_html, report_junit and
the command; `Report.record` is the JSON, whose members docs/report.md lists.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from functools import partial
from typing import Any, Final, TypeVar

from chf import __version__
from chf.clock import UtcSeconds, isoformat
from chf.errors import DamagedRowError, UsageError
from chf.eui64 import format_eui64
from chf.radio.interface import RADIO_NOTE
from chf.store import Store, progress
from chf.store.alerts import Alert
from chf.store.audit import AuditRecord
from chf.store.device_log import DeviceType
from chf.store.images import ImageRecord
from chf.store.progress import TransferProgress
from chf.store.rows import Rows, Unreadable
from chf.trace import Event, Kind
from chf.update.model import TransferRecord, Update, UpdateId, UpdateState
from chf.view.records import alert_record, event_detail, event_record, time_text, update_record, version_text

SCHEMA: Final = 1  # docs/report.md; rises with a change that readers notice

COLUMNS: Final = ("update", "device", "type", "versions", "state", "download", "alerts", "reason")
REFUSAL_COLUMNS: Final = ("time", "device", "detail")

_RADIO: Final = ("kind", "firmware", "protocol_version", "channel", "coordinator")

Item = TypeVar("Item")


class Verdict(StrEnum):
    ACTIVATED = "activated"
    NOT_ACTIVATED = "not activated"
    UNDER_WAY = "under way"


@dataclass(frozen=True, slots=True)
class Selection:
    """Which updates: these numbers, or the last so many of those that were begun since then, or all."""

    numbers: tuple[UpdateId, ...] = ()
    since: UtcSeconds | None = None
    last: int | None = None

    def updates(self, store: Store) -> Rows[Update]:
        """Raises UsageError for the number of an update that there is not."""
        if not self.numbers:
            return store.updates.list(since=self.since, last=self.last)
        found, unreadable = [], []
        for number in sorted(self.numbers):
            try:
                update = store.updates.get(number)
            except DamagedRowError as error:
                unreadable.append(Unreadable(error.table, error.key, error.because))
                continue
            if update is None:
                raise UsageError(f"there is no update {number}")
            found.append(update)
        return Rows(found, unreadable)

    def refusals(self, store: Store, updates: Sequence[Update]) -> Rows[AuditRecord]:
        """With numbers: those of the service requests that the updates come from. `cli` is everybody's origin."""
        refused = store.audit.refused_requests(self.since, self.last)
        if not self.numbers:
            return refused
        origins = {update.origin for update in updates if update.origin != "cli"}
        return Rows((record for record in refused if record.event.fields.get("request") in origins), refused.unreadable)


@dataclass(frozen=True, slots=True)
class Download:
    """Blocks that were sent, repeated ones too; octets that the device has; the time from its first request on."""

    blocks: int
    octets: int
    seconds: float

    @property
    def octets_per_second(self) -> float | None:
        return self.octets / self.seconds if self.seconds > 0 else None

    def __str__(self) -> str:
        rate = self.octets_per_second
        speed = "" if rate is None else f", {rate / 1000:.1f} kB/s"
        return f"{self.octets / 1000:.1f} kB, {self.blocks} blocks, {self.seconds:.1f} s{speed}"


@dataclass(frozen=True, slots=True)
class UpdateReport:
    """One update. What is None is not known (any more): the device was forgotten, the image removed, nothing sent.

    `retries` counts the downloads that the device gave up and was let begin again. `history` is what the audit has of
    the update, and of its device while the update ran. `seconds` is its time until its end, or until now.
    """

    update: Update
    device_type: DeviceType | None
    image: ImageRecord | None
    moved: TransferProgress | None
    download: Download | None
    retries: int | None
    alerts: tuple[Alert, ...]
    history: tuple[Event, ...]
    seconds: float

    @property
    def verdict(self) -> Verdict:
        if self.update.active:
            return Verdict.UNDER_WAY
        return Verdict.ACTIVATED if self.update.state is UpdateState.ACTIVATED else Verdict.NOT_ACTIVATED

    @property
    def versions(self) -> str:
        return f"{version_text(self.update.version_before) or '?'} -> {version_text(self.update.file_version)}"

    @property
    def alert_codes(self) -> str:
        return ", ".join(f"{alert.use_case} 0x{alert.alert_code:04X}" for alert in self.alerts)

    @property
    def summary(self) -> str:
        """The state, and the reason where there is one."""
        return f"{self.update.state.value}: {self.update.reason}" if self.update.reason else self.update.state.value

    @property
    def cells(self) -> tuple[str, ...]:
        """As COLUMNS, for a table."""
        update = self.update
        download = "-" if self.download is None else str(self.download)
        return (
            str(update.id),
            format_eui64(update.device),
            self.device_type or "-",
            self.versions,
            update.state.value,
            download,
            self.alert_codes or "-",
            update.reason or "-",
        )

    @property
    def record(self) -> dict[str, Any]:
        download = self.download
        return {
            **update_record(self.update, self.moved),
            "verdict": self.verdict.value,
            "device_type": None if self.device_type is None else self.device_type.value,
            "image_name": None if self.image is None else self.image.name,
            "image_bytes": None if self.image is None else self.image.size_bytes,
            "seconds": round(self.seconds, 3),
            "download_started": time_text(self.update.download_started),
            "download_ended": time_text(self.update.download_ended),
            "blocks": None if download is None else download.blocks,
            "bytes": None if download is None else download.octets,
            "download_seconds": None if download is None else round(download.seconds, 3),
            "bytes_per_second": None if download is None else _rounded(download.octets_per_second),
            "retries": self.retries,
            "alerts": [
                {**alert_record(alert), "attempts": alert.attempts, "delivered": time_text(alert.delivered)}
                for alert in self.alerts
            ],
            "history": [event_record(event) for event in self.history],
        }


@dataclass(frozen=True, slots=True)
class Report:
    """`radio` is the dongle that the hub ran on last, as far as it told; `refusals` are of devices and requests.

    `unreadable` are the rows of the store that should have told more, `left_out` is how many updates are older.
    """

    made: UtcSeconds
    selection: Selection
    radio: Mapping[str, str | int | None]
    updates: tuple[UpdateReport, ...]
    refusals: tuple[Event, ...]
    unreadable: tuple[Unreadable, ...] = ()
    left_out: int = 0
    program: str = f"chf {__version__}"

    @classmethod
    def read(cls, store: Store, selection: Selection, now: UtcSeconds) -> "Report":
        """Raises UsageError for the number of an update that there is not."""
        updates = selection.updates(store)
        refused = selection.refusals(store, updates)
        unreadable = [*updates.unreadable, *refused.unreadable]
        reports = tuple(_update(store, update, unreadable, now) for update in updates)
        note = _readable(partial(store.meta.json, RADIO_NOTE), unreadable) or {}
        radio = {name: note.get(name) for name in _RADIO}
        refusals = tuple(record.event for record in refused)
        return cls(now, selection, radio, reports, refusals, tuple(dict.fromkeys(unreadable)), updates.left_out)

    @property
    def activated(self) -> int:
        return sum(update.verdict is Verdict.ACTIVATED for update in self.updates)

    @property
    def good(self) -> bool:
        """Whether all ended activated, and none is unreadable; where there is none, nothing was shown to work."""
        damaged = any(row.table == "updates" for row in self.unreadable)
        return 0 < self.activated == len(self.updates) and not damaged

    @property
    def headline(self) -> str:
        older = f"; {self.left_out} older ones are left out" if self.left_out else ""
        return f"{self.activated} of {len(self.updates)} updates ended as activated{older}"

    @property
    def record(self) -> dict[str, Any]:
        counts = {state.value: 0 for state in UpdateState}
        for update in self.updates:
            counts[update.update.state.value] += 1
        return {
            "schema": SCHEMA,
            "program": self.program,
            "made": isoformat(self.made),
            "selection": {
                "updates": [int(number) for number in self.selection.numbers],
                "since": time_text(self.selection.since),
            },
            "good": self.good,
            "states": counts,
            "radio": dict(self.radio),
            "updates": [update.record for update in self.updates],
            "left_out": self.left_out,
            "unreadable": [asdict(row) for row in self.unreadable],
            "refusals": [{**event_record(event), "device": _device(event)} for event in self.refusals],
        }


def refusal_cells(event: Event) -> tuple[str, str, str]:
    """As REFUSAL_COLUMNS."""
    return isoformat(event.utc), _device(event) or "-", event_detail(event)


def _update(store: Store, update: Update, unreadable: list[Unreadable], now: UtcSeconds) -> UpdateReport:
    """What cannot be read is added to `unreadable`."""
    entry = _readable(partial(store.devices.get, update.device), unreadable)
    moved = progress.read(store.meta, update.id)
    alerts = store.alerts.list(update=int(update.id))
    of_update = store.audit.of_update(int(update.id))
    beside = store.audit.of_device(update.device, update.created, now if update.ended is None else update.ended)
    unreadable += (*alerts.unreadable, *of_update.unreadable, *beside.unreadable)
    records = sorted((*of_update, *beside), key=lambda record: record.seq)
    history = tuple(record.event for record in records if record.event.kind is not Kind.REQUEST_REFUSED)
    return UpdateReport(
        update=update,
        device_type=None if entry is None else entry.device_type,
        image=_readable(partial(store.images.get, update.image), unreadable),
        moved=moved,
        download=_download(update, moved, history),
        retries=_retries(update),
        alerts=alerts,
        history=history,
        seconds=max((now if update.ended is None else update.ended) - update.created, 0.0),
    )


def _readable(read: Callable[[], Item | None], unreadable: list[Unreadable]) -> Item | None:
    try:
        return read()
    except DamagedRowError as error:
        unreadable.append(Unreadable(error.table, error.key, error.because))
        return None


def _download(update: Update, moved: TransferProgress | None, history: Sequence[Event]) -> Download | None:
    """What the end of the transfer told; before that, how far it is."""
    ended = [event for event in history if event.kind is Kind.OTA_TRANSFER_ENDED]
    if ended:
        blocks, octets, seconds = (_number(ended[-1], name) for name in ("blocks", "bytes", "seconds"))
        return Download(int(blocks), int(octets), seconds)
    if moved is None or update.download_started is None:
        return None
    return Download(moved.blocks, moved.offset_bytes, max(moved.utc - update.download_started, 0.0))


def _number(event: Event, name: str) -> float:
    value = event.fields.get(name)
    return float(value) if isinstance(value, int | float) else 0.0


def _retries(update: Update) -> int | None:
    """None where there was no transfer, or its record cannot be read, which has its alarm in the history."""
    return update.record.aborts if isinstance(update.record, TransferRecord) else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def _device(event: Event) -> str | None:
    return None if event.device is None else format_eui64(event.device)
