"""The live table: a fold of the store for people. Reads, never writes."""

import json
from pathlib import Path

from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from chf.clock import Clock, SystemClock, isoformat
from chf.eui64 import format_eui64
from chf.hub import progress
from chf.hub.hub import RADIO_NOTE
from chf.hub.progress import TransferProgress
from chf.jobs.model import Job, JobId
from chf.store import Store
from chf.store.device_log import DeviceEntry
from chf.store.lock import hub_running
from chf.trace import Event

_BAR_CHARACTERS = 20
_RATE_WINDOW_S = 10.0


class Board:
    """Remembers the last progress of each update, so that a rate can be told."""

    def __init__(self, store: Store, home: Path, clock: Clock | None = None) -> None:
        self._store, self._home = store, home
        self._clock = clock or SystemClock()
        self._before: dict[JobId, list[TransferProgress]] = {}

    def render(self) -> Table:
        jobs = {job.device: job for job in self._store.jobs.list()}  # the last one of each device
        last = self._last_events()
        radio = self._radio()
        running = "hub runs" if hub_running(self._home) else "no hub runs: commands are queued"
        table = Table(caption=f"{running} · {radio}", caption_justify="left", expand=False)
        for column in ("device", "version now → target", "state", "transfer", "%", "kB/s", "time left", "last event"):
            table.add_column(column, no_wrap=column != "last event")
        for entry in self._store.devices.list():
            table.add_row(*self._row(entry, jobs.get(entry.eui64), last.get(entry.eui64)))
        return table

    def _radio(self) -> str:
        text = self._store.meta.get(RADIO_NOTE)
        if text is None:
            return "radio not seen yet"
        note = json.loads(text)
        return f"radio {note['state']} since {note['since']} ({note['reason']})"

    def _row(self, entry: DeviceEntry, job: Job | None, event: Event | None) -> tuple[Text | ProgressBar | str, ...]:
        now = "?" if entry.file_version is None else f"{entry.file_version:08X}"
        happened = Text("" if event is None else f"{isoformat(event.utc)} {_sentence(event)}")
        if job is None:
            return (format_eui64(entry.eui64), now, entry.status.value, "", "", "", "", happened)
        known = progress.read(self._store.meta, job.id)
        target = f"{now} → {job.file_version:08X}"
        state = job.state.value + (f" ({job.waiting_for.value})" if job.waiting_for is not None and job.active else "")
        if known is None:
            return (format_eui64(entry.eui64), target, state, "", "", "", "", happened)
        rate = self._rate(job.id, known)
        left = (known.size_bytes - known.offset_bytes) / rate if rate else None
        return (
            format_eui64(entry.eui64),
            target,
            state,
            ProgressBar(known.size_bytes, known.offset_bytes, width=_BAR_CHARACTERS),
            f"{100 * known.offset_bytes / known.size_bytes:.0f}",
            f"{rate / 1000:.1f}" if rate else "-",
            _duration(left) if left is not None and job.active else "-",
            happened,
        )

    def _rate(self, job: JobId, known: TransferProgress) -> float:
        """Bytes per second over the last seconds; 0 where nothing moved."""
        seen = self._before.setdefault(job, [])
        if not seen or seen[-1] != known:
            seen.append(known)
        while len(seen) > 1 and seen[-1].utc - seen[0].utc > _RATE_WINDOW_S:
            seen.pop(0)
        elapsed = self._clock.now().utc - seen[0].utc
        return max(known.offset_bytes - seen[0].offset_bytes, 0) / elapsed if elapsed > 0 else 0.0

    def _last_events(self) -> dict[int, Event]:
        head, _hash = self._store.audit.head()
        events = (record.event for record in self._store.audit.tail(max(head - 1000, 0)))
        return {event.device: event for event in events if event.device is not None}


def _sentence(event: Event) -> str:
    detail = " ".join(str(value) for value in event.fields.values() if value not in ("", None))
    return f"{event.kind.value} {detail}".strip()


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
