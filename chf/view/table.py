"""The live table: a fold of the store for people. Reads, never writes."""

from dataclasses import dataclass
from pathlib import Path

from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from chf.clock import Clock, SystemClock, isoformat
from chf.errors import DamagedRowError
from chf.eui64 import format_eui64
from chf.radio.interface import RADIO_NOTE
from chf.store import Store, progress
from chf.store.device_log import DeviceEntry
from chf.store.lock import hub_running
from chf.store.progress import TransferProgress
from chf.trace import Event
from chf.trust import REMEDY
from chf.update.model import Update, UpdateId
from chf.view import printable

_BAR_CHARACTERS = 20  # our choice
_RATE_WINDOW_S = 10.0  # long enough that a rate does not jump (our choice)

COLUMNS = ("device", "version now -> target", "state", "transfer", "%", "kB/s", "time left", "last event")

_DEVICE, _VERSION, _STATE, _BAR, _PERCENT, _RATE, _LEFT, _EVENT = range(len(COLUMNS))
_IN_THIS_ORDER = (_DEVICE, _STATE, _PERCENT, _VERSION, _RATE, _LEFT, _EVENT, _BAR)
_EVENT_CHARACTERS = 20
_RULE_CHARACTERS = 3  # a rule and a blank on each side
_FRAME_LINES = 6  # three of the head, one below, the caption, and the cursor's


@dataclass(frozen=True, slots=True)
class _Line:
    """One device. `numbers` are percent, kB/s and time left."""

    device: str
    version: str
    state: str
    progress: TransferProgress | None
    numbers: tuple[str, str, str]
    event: str
    active: bool = False

    def cells(self) -> tuple[str, ...]:
        """As COLUMNS; blanks where the bar goes."""
        bar = " " * _BAR_CHARACTERS if self.progress is not None else ""
        event = self.event[len("2026-11-23T") :]  # who watches knows the day
        return (self.device, self.version, self.state, bar, *self.numbers, event)


def _that_fit(widths: list[int], width: int) -> dict[int, int]:
    """Which columns, and how wide, by their widest cells. The last event gets what is left, if it can be read then."""
    left, chosen = width - 1, dict[int, int]()
    for at in _IN_THIS_ORDER:
        wanted = min(widths[at], _EVENT_CHARACTERS) if at == _EVENT else widths[at]
        if wanted + _RULE_CHARACTERS <= left or not chosen:
            left -= wanted + _RULE_CHARACTERS
            chosen[at] = wanted
    if _EVENT in chosen:
        chosen[_EVENT] = min(chosen[_EVENT] + left, widths[_EVENT])
    return dict(sorted(chosen.items()))


class Board:
    """Remembers the last progress of each update, so that a rate can be told."""

    def __init__(self, store: Store, home: Path, clock: Clock | None = None) -> None:
        self._store, self._home = store, home
        self._clock = clock or SystemClock()
        self._before: dict[UpdateId, list[TransferProgress]] = {}

    def render(self, width: int, height: int) -> Table:
        """For a terminal of so many characters and lines. What does not fit is left out; only the last event is cut."""
        lines = self._lines()
        shown = lines
        if len(lines) > height - _FRAME_LINES:  # what is under way is what one watches
            shown = sorted(lines, key=lambda line: not line.active)[: max(height - _FRAME_LINES - 1, 1)]
        cells = [line.cells() for line in shown]
        columns = _that_fit([max(len(row[at]) for row in (COLUMNS, *cells)) for at in range(len(COLUMNS))], width)
        hidden = len(lines) - len(shown)
        caption = f"and {hidden} more: make the window taller\n" * (hidden > 0) + self.caption()
        table = Table(caption=caption, caption_justify="left", expand=False)
        for at, characters in columns.items():
            table.add_column(COLUMNS[at], no_wrap=True, min_width=characters, max_width=characters)
        for line, texts in zip(shown, cells, strict=True):
            row: list[Text | ProgressBar] = [Text(text) for text in texts]
            if line.progress is not None:
                row[_BAR] = ProgressBar(line.progress.size_bytes, line.progress.offset_bytes, width=_BAR_CHARACTERS)
            table.add_row(*(row[at] for at in columns))
        return table

    def plain(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Columns and rows for where there is no terminal."""
        rows: list[tuple[str, ...]] = [
            (line.device, line.version, line.state, *line.numbers, line.event) for line in self._lines()
        ]
        return tuple(column for column in COLUMNS if column != "transfer"), rows

    def records(self) -> list[dict[str, str]]:
        """The rows for programs."""
        columns, rows = self.plain()
        return [dict(zip(columns, row, strict=True)) for row in rows]

    def caption(self) -> str:
        if hub_running(self._home):
            said = f"hub runs; {self._radio('is')}"
        else:
            said = f"no hub runs: commands are queued; {self._radio('was')}"
        devices, updates = self._store.devices.list(), self._store.updates.last_of_each_device()
        now = self._store.watched(self._clock).now()
        if not now.trusted:
            said += f"\nthe clock is not trusted, and appointments wait: {now.distrust}; {REMEDY}"
        lines = [said, *map(str, (*devices.unreadable, *updates.unreadable))]
        if not devices:
            lines.append("no device is in the log: `chf device add` writes one there")
        return "\n".join(lines)

    def _radio(self, verb: str) -> str:
        try:
            note = self._store.meta.json(RADIO_NOTE)
        except DamagedRowError as error:
            return str(error)
        if note is None:
            return "radio not seen yet"
        return f"radio {verb} {note.get('state')} since {note.get('since')} ({note.get('reason')})"

    def _lines(self) -> list["_Line"]:
        updates = {update.device: update for update in self._store.updates.last_of_each_device()}
        return [self._line(entry, updates.get(entry.eui64)) for entry in self._store.devices.list()]

    def _line(self, entry: DeviceEntry, update: Update | None) -> "_Line":
        device = format_eui64(entry.eui64)
        running = _running(entry, update)
        last = self._store.audit.last_of_device(entry.eui64)
        happened = "" if last is None else f"{isoformat(last.event.utc)} {_sentence(last.event)}"
        if update is None:
            return _Line(device, running, entry.status.value, None, ("-", "-", "-"), happened)
        waiting = f" ({update.waiting_for.value})" if update.waiting_for is not None and update.active else ""
        moved = progress.read(self._store.meta, update.id)
        version, state = f"{running} -> {update.file_version:08X}", update.state.value + waiting
        if moved is None:
            return _Line(device, version, state, None, ("-", "-", "-"), happened, update.active)
        rate = self._rate(update.id, moved) if update.active else 0.0
        left = _duration((moved.size_bytes - moved.offset_bytes) / rate) if rate else "-"
        numbers = (f"{100 * moved.offset_bytes / moved.size_bytes:.0f}", f"{rate / 1000:.1f}" if rate else "-", left)
        return _Line(device, version, state, moved, numbers, happened, update.active)

    def _rate(self, update: UpdateId, known: TransferProgress) -> float:
        """Bytes per second over the last seconds; 0 where nothing moved."""
        seen = self._before.setdefault(update, [])
        if not seen or seen[-1] != known:
            seen.append(known)
        while len(seen) > 1 and seen[-1].utc - seen[0].utc > _RATE_WINDOW_S:
            seen.pop(0)
        elapsed = self._clock.now().utc - seen[0].utc
        return max(known.offset_bytes - seen[0].offset_bytes, 0) / elapsed if elapsed > 0 else 0.0


def _running(entry: DeviceEntry, update: Update | None) -> str:
    """The version of the image that its last update is of; of every one, where there was none."""
    chosen = entry.images
    if update is not None:
        image_type = update.successor if update.superseded is not None else update.image_type
        chosen = tuple(image for image in entry.images if image.image_type == image_type)
    versions = [f"{image.file_version:08X}" for image in chosen if image.file_version is not None]
    return ", ".join(versions) or "?"


def _sentence(event: Event) -> str:
    detail = " ".join(str(value) for value in event.fields.values() if value not in ("", None))
    return printable(f"{event.kind.value} {detail}".strip())


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
