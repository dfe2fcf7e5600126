"""What became of updates, for those who were not there: a fold of the store, the same for every format of `chf report`.

It reads rows and the audit, judges nothing anew and writes nothing. How it looks is for report_html, report_junit and
the command; `Report.record` is the JSON, whose members docs/report.md lists.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from chf import __version__
from chf.clock import UtcSeconds, isoformat
from chf.errors import UsageError
from chf.eui64 import Eui64, format_eui64
from chf.hub.hub import RADIO_NOTE
from chf.store import Store, progress
from chf.store.alerts import Alert
from chf.store.device_log import DeviceType
from chf.store.images import ImageRecord
from chf.store.progress import TransferProgress
from chf.trace import Event, Kind
from chf.update.model import TransferRecord, Update, UpdateId, UpdateState
from chf.view.records import alert_record, event_detail, event_record, time_text, update_record, version_text

SCHEMA: Final = 1

COLUMNS: Final = ("update", "device", "type", "versions", "state", "download", "alerts", "reason")
REFUSAL_COLUMNS: Final = ("time", "device", "detail")

_RADIO: Final = ("kind", "firmware", "protocol_version", "channel", "coordinator")
_AUDIT_PAGE: Final = 1000


class Verdict(StrEnum):
    ACTIVATED = "activated"
    NOT_ACTIVATED = "not activated"
    UNDER_WAY = "under way"


@dataclass(frozen=True, slots=True)
class Selection:
    """Which updates: these numbers, or those that were begun since then, or all."""

    numbers: tuple[UpdateId, ...] = ()
    since: UtcSeconds | None = None

    def takes(self, job: Update) -> bool:
        if self.numbers:
            return job.id in self.numbers
        return self.since is None or job.created >= self.since

    def takes_refusal(self, event: Event, jobs: tuple[Update, ...]) -> bool:
        """With numbers: those of the service requests that the updates come from. `cli` is everybody's origin."""
        if self.numbers:
            return event.fields.get("request") in {job.origin for job in jobs if job.origin != "cli"}
        return self.since is None or event.utc >= self.since


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

    job: Update
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
        if self.job.active:
            return Verdict.UNDER_WAY
        return Verdict.ACTIVATED if self.job.state is UpdateState.ACTIVATED else Verdict.NOT_ACTIVATED

    @property
    def versions(self) -> str:
        return f"{version_text(self.job.version_before) or '?'} -> {version_text(self.job.file_version)}"

    @property
    def alert_codes(self) -> str:
        return ", ".join(f"{alert.use_case} 0x{alert.alert_code:04X}" for alert in self.alerts)

    @property
    def summary(self) -> str:
        """The state, and the reason where there is one."""
        return f"{self.job.state.value}: {self.job.reason}" if self.job.reason else self.job.state.value

    @property
    def cells(self) -> tuple[str, ...]:
        """As COLUMNS, for a table."""
        job = self.job
        download = "-" if self.download is None else str(self.download)
        return (
            str(job.id),
            format_eui64(job.device),
            self.device_type or "-",
            self.versions,
            job.state.value,
            download,
            self.alert_codes or "-",
            job.reason or "-",
        )

    @property
    def record(self) -> dict[str, Any]:
        download = self.download
        return {
            **update_record(self.job, self.moved),
            "verdict": self.verdict.value,
            "device_type": None if self.device_type is None else self.device_type.value,
            "image_name": None if self.image is None else self.image.name,
            "image_bytes": None if self.image is None else self.image.size_bytes,
            "seconds": round(self.seconds, 3),
            "download_started": time_text(self.job.download_started),
            "download_ended": time_text(self.job.download_ended),
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
    """`radio` is the dongle that the hub ran on last, as far as it told; `refusals` are of devices and requests."""

    made: UtcSeconds
    selection: Selection
    radio: Mapping[str, str | int | None]
    updates: tuple[UpdateReport, ...]
    refusals: tuple[Event, ...]
    program: str = f"chf {__version__}"

    @classmethod
    def read(cls, store: Store, selection: Selection, now: UtcSeconds) -> "Report":
        """Raises UsageError for the number of an update that there is not."""
        jobs = tuple(job for job in store.jobs.list() if selection.takes(job))
        missing = set(selection.numbers) - {job.id for job in jobs}
        if missing:
            raise UsageError(f"there is no update {min(missing)}")
        histories, refusals = _audit(store, selection, jobs, now)
        updates = tuple(_update(store, job, histories[job.id], now) for job in jobs)
        note = json.loads(store.meta.get(RADIO_NOTE) or "{}")
        return cls(now, selection, {name: note.get(name) for name in _RADIO}, updates, refusals)

    @property
    def activated(self) -> int:
        return sum(update.verdict is Verdict.ACTIVATED for update in self.updates)

    @property
    def good(self) -> bool:
        """Whether every update ended activated; where there is none, nothing was shown to work."""
        return 0 < self.activated == len(self.updates)

    @property
    def headline(self) -> str:
        return f"{self.activated} of {len(self.updates)} updates ended as activated"

    @property
    def record(self) -> dict[str, Any]:
        counts = {state.value: 0 for state in UpdateState}
        for update in self.updates:
            counts[update.job.state.value] += 1
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
            "refusals": [{**event_record(event), "device": _device(event)} for event in self.refusals],
        }


def refusal_cells(event: Event) -> tuple[str, str, str]:
    """As REFUSAL_COLUMNS."""
    return isoformat(event.utc), _device(event) or "-", event_detail(event)


def _update(store: Store, job: Update, history: list[Event], now: UtcSeconds) -> UpdateReport:
    entry = store.devices.get(job.device)
    moved = progress.read(store.meta, job.id)
    return UpdateReport(
        job=job,
        device_type=None if entry is None else entry.device_type,
        image=store.images.get(job.image),
        moved=moved,
        download=_download(job, moved, history),
        retries=_retries(job),
        alerts=store.alerts.list(job=int(job.id)),
        history=tuple(history),
        seconds=max((now if job.ended is None else job.ended) - job.created, 0.0),
    )


def _download(job: Update, moved: TransferProgress | None, history: list[Event]) -> Download | None:
    """What the end of the transfer told; before that, how far it is."""
    ended = [event for event in history if event.kind is Kind.OTA_TRANSFER_ENDED]
    if ended:
        blocks, octets, seconds = (_number(ended[-1], name) for name in ("blocks", "bytes", "seconds"))
        return Download(int(blocks), int(octets), seconds)
    if moved is None or job.download_started is None:
        return None
    return Download(moved.blocks, moved.offset_bytes, max(moved.utc - job.download_started, 0.0))


def _number(event: Event, name: str) -> float:
    value = event.fields.get(name)
    return float(value) if isinstance(value, int | float) else 0.0


def _retries(job: Update) -> int | None:
    """None where there was no transfer, or its record cannot be read, which has its alarm in the history."""
    return job.record.aborts if isinstance(job.record, TransferRecord) else None


def _audit(
    store: Store, selection: Selection, jobs: tuple[Update, ...], now: UtcSeconds
) -> tuple[dict[UpdateId, list[Event]], tuple[Event, ...]]:
    """The history of each update, and the refusals, in one walk."""
    histories: dict[UpdateId, list[Event]] = {job.id: [] for job in jobs}
    of_device: dict[Eui64, list[Update]] = defaultdict(list)
    for job in jobs:
        of_device[job.device].append(job)
    refusals = []
    for event in _events(store):
        if event.job is not None:
            if event.job in histories:
                histories[UpdateId(event.job)].append(event)
        elif event.kind is Kind.REQUEST_REFUSED:
            if selection.takes_refusal(event, jobs):
                refusals.append(event)
        elif event.device in of_device:
            for job in of_device[event.device]:
                if _milliseconds(job.created) <= _milliseconds(event.utc) <= _milliseconds(job.ended or now):
                    histories[job.id].append(event)
    return histories, tuple(refusals)


def _events(store: Store) -> Iterator[Event]:
    after = 0
    while page := store.audit.tail(after, _AUDIT_PAGE):
        yield from (record.event for record in page)
        after = page[-1].seq


def _milliseconds(utc: UtcSeconds) -> int:
    """As events keep it."""
    return round(utc * 1000)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)


def _device(event: Event) -> str | None:
    return None if event.device is None else format_eui64(event.device)
