"""Progress bars for the updates that a person waits for: a bar, the rate, the time left, the state. On stderr."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Column

from chf.eui64 import format_eui64
from chf.store.progress import TransferProgress
from chf.update.model import Update, UpdateId


class TransferBars:
    """Shows nothing but the last state where stderr is no terminal."""

    def __init__(self) -> None:
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(binary_units=True, table_column=Column(no_wrap=True)),
            TransferSpeedColumn(table_column=Column(no_wrap=True)),
            TimeRemainingColumn(table_column=Column(no_wrap=True)),
            TextColumn("{task.fields[state]}"),
            console=Console(stderr=True),
            refresh_per_second=8,
        )
        self._tasks: dict[UpdateId, TaskID] = {}

    def show(self, update: Update, progress: TransferProgress | None) -> None:
        if update.id not in self._tasks:
            self._tasks[update.id] = self._bars.add_task(
                format_eui64(update.device), total=None, state=update.state.value
            )
        task = self._tasks[update.id]
        if progress is not None:
            self._bars.update(task, total=progress.size_bytes, completed=progress.offset_bytes)
        self._bars.update(task, state=update.state.value)

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        self._bars.stop()
