"""docs/clients.md says what the data say: of each class what it does, and what it shows."""

from pathlib import Path

import pytest

from chf.update.clients import CLASSES
from chf.update.recognition import SHOWS

TEXT = (Path(__file__).parents[2] / "docs" / "clients.md").read_text(encoding="utf-8")
CARRIED = {0: "nothing", 2: "period", 3: "address and period"}


def row(*cells):
    return "| " + " | ".join(cells) + " |"


def several(values, write=str):
    return "-" if values is None else " or ".join(map(write, sorted(values))) or "none"


def does(client):
    return row(
        f"`{client.name}`",
        client.title,
        f"{client.commit_window_s:.0f} s before",
        "for ever" if client.hold_limit_s is None else f"{client.hold_limit_s / 3600:.0f} h",
        "yes" if client.honours_wait else "no",
        f"{client.answer_limit_s:.0f} s",
        client.resume.value,
        client.on_reboot.value,
        client.source,
    )


def shown(name, shows):
    return row(
        f"`{name}`",
        several(shows.manufacturer_codes, "0x{:04X}".format),
        several(shows.block_bytes),
        several(shows.field_control, CARRIED.get),
        several(shows.page_block_bytes),
        "-" if shows.retry_s is None else f"{shows.retry_s} s",
        {None: "-", True: "yes", False: "no"}[shows.keeps_offset],
        shows.source,
    )


@pytest.mark.parametrize("client", CLASSES.values(), ids=list(CLASSES))
def test_what_a_class_does_is_in_the_table(client):
    assert does(client) in TEXT.splitlines()


@pytest.mark.parametrize("name", SHOWS)
def test_what_a_class_shows_is_in_the_table(name):
    assert shown(name, SHOWS[name]) in TEXT.splitlines()


def test_the_tables_have_no_other_rows():
    rows = [line for line in TEXT.splitlines() if line.startswith("| `")]
    assert len(rows) == len(CLASSES) + len(SHOWS) + 3, "and the three confidences"


def test_only_the_classes_that_the_page_names_do_what_no_column_tells():
    assert [name for name, shows in SHOWS.items() if not shows.heeds_wait] == ["microchip"]
    assert [name for name, shows in SHOWS.items() if shows.starts_over is not False] == ["esp-v1", "esp-v2"]
    told = "`microchip` alone asks again within a wait, and `esp-v1` and `esp-v2` alone may begin at the first octet"
    assert told in " ".join(TEXT.split())
