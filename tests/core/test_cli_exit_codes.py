"""What ends a command becomes one line for a person and an exit code, also where a task group wrapped it."""

import asyncio
from pathlib import Path

import pytest

from chf.cli import main as cli
from chf.clock import SystemClock
from chf.errors import RadioGoneError, StoreError, UsageError
from chf.hub import Hub
from chf.store import Store
from tests.support.memory_radio import MemoryRadio, desk_pki


def ended(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> int:
    def fails(**_options: object) -> None:
        raise error

    monkeypatch.setattr(cli.chf, "main", fails)
    with pytest.raises(SystemExit) as done:
        cli.main([])
    assert isinstance(done.value.code, int)
    return done.value.code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ExceptionGroup("", [RadioGoneError("no port")]), 5),
        (ExceptionGroup("", [ExceptionGroup("", [UsageError("no certificate")])]), 2),
        (BaseExceptionGroup("", [asyncio.CancelledError(), RadioGoneError("no port")]), 5),
        (ExceptionGroup("", [OSError(28, "No space left on device")]), 1),
        (RadioGoneError("no port"), 5),
        (StoreError("no store"), 1),
        (KeyboardInterrupt(), 130),
        (BrokenPipeError(), 0),
    ],
)
def test_an_error_becomes_its_exit_code_and_one_line(error, code, monkeypatch, capsys):
    assert ended(error, monkeypatch) == code
    told = capsys.readouterr().err
    assert told.count("\n") <= 1
    assert "Traceback" not in told


def test_a_bug_in_a_task_is_shown_itself_and_not_its_group(monkeypatch):
    with pytest.raises(ZeroDivisionError):
        ended(ExceptionGroup("", [ZeroDivisionError()]), monkeypatch)


async def test_the_hub_names_one_error_for_a_dongle_that_is_not_there(tmp_path: Path):
    class Nowhere(MemoryRadio):
        async def start(self, *_: object, **__: object):
            raise RadioGoneError("there is no port /dev/nowhere")

        async def stop(self) -> None:
            pass

    with Store.open(tmp_path, hub=True) as store:
        hub = Hub(store, Nowhere(), desk_pki(tmp_path), SystemClock())
        with pytest.raises(RadioGoneError, match="/dev/nowhere"):
            await hub.run(form=True)
