"""`chf watch` on terminals of every size: what is shown can be read."""

import re
from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from chf.eui64 import Eui64, format_eui64
from chf.image.image import parse_image
from chf.store import DeviceEntry, DeviceType, Store, progress
from chf.store.images import record_of
from chf.store.progress import TransferProgress
from chf.trace import Event, Kind
from chf.update.model import UpdateId, UpdateState
from chf.view.table import COLUMNS, Board
from tests.support.programs import image_file
from tests.support.updates import accepted

FIRST = 0x00DB123456780000


@pytest.fixture(params=[0, 1, 20])
def board(tmp_path, request):
    image = parse_image(image_file(tmp_path / "new.ota", size_bytes=940).read_bytes())
    with Store.open(tmp_path / "home") as store:
        with store.transaction() as tx:
            tx.images.add(record_of(image, "new", 0.0), image.content)
            for number in range(request.param):
                device = Eui64(FIRST + number)
                tx.devices.add(DeviceEntry(device, DeviceType.PPMID, 0.0, bytes(16)))
                tx.updates.add(accepted(number + 1, device, image.sha256, now_utc=0.0))
                progress.write(tx.meta, UpdateId(number + 1), TransferProgress(420, 1000, 9, 0.0))
                tx.audit.append(Event(0.0, Kind.ALARM, device, number + 1, {"reason": "\x1b[31m[bold]red[/bold]"}))
        board = Board(store, tmp_path / "home")
        board.devices, board.store = request.param, store
        yield board


def shown(board, width, height):
    """The lines of a terminal."""
    stream = StringIO()
    Console(file=stream, width=width, height=height, color_system=None).print(board.render(width, height))
    return stream.getvalue().splitlines()


@pytest.mark.parametrize("width", [30, 40, 60, 80, 100, 140, 200])
@pytest.mark.parametrize("height", [10, 24, 50])
def test_nothing_but_the_last_event_is_cut(board, width, height):
    lines = shown(board, width, height)
    assert "\x1b" not in "".join(lines)
    assert "\u2026" not in "".join(line.rsplit("\u2502", 2)[0] for line in lines)
    assert max(map(len, lines)) <= width
    named = [name for name in (format_eui64(FIRST + at) for at in range(board.devices)) if name in "".join(lines)]
    if width >= 140:
        assert all(column in lines[1] for column in COLUMNS)
        assert "alarm" in "".join(lines) or board.devices == 0
    if width >= 80:
        assert len(lines) < height
    hidden = re.search(r"and (\d+) more", "".join(lines))
    assert len(named) + (int(hidden[1]) if hidden else 0) == board.devices
    if width >= 80:
        assert all(column in lines[1] for column in ("state", "%", "version now -> target"))


def test_an_empty_log_says_what_to_do(board):
    assert any("chf device add" in line for line in shown(board, 100, 24)) == (board.devices == 0)


@pytest.mark.parametrize("board", [20], indirect=True)
def test_what_is_under_way_is_shown_first_where_not_all_fits(board):
    with board.store.transaction() as tx:
        for number in range(1, 20):
            update = tx.updates.get(UpdateId(number))
            tx.updates.update(replace(update, state=UpdateState.FAILED, ended=1.0))
    lines = shown(board, 100, 10)
    assert format_eui64(FIRST + 19) in lines[3]
