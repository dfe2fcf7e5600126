"""What is known of real sticks, chips and captures (tests/vectors/real), held against the virtual ones and the hub."""

import importlib
import struct
import tomllib
from pathlib import Path
from pkgutil import resolve_name

import pytest

from devices.ncp.ezsp.personality import Personality
from devices.ncp.sticks import EZSP_STICKS
from devices.ncp.znp import items
from tests.support.ezsp_device import DEVICE, KEY, let_in
from tests.support.ezsp_host import EzspHost
from tests.support.znp_host import ZnpHost

REAL = Path(__file__).parent / "real"
FACTS = {path.stem: tomllib.loads(path.read_text()) for path in REAL.glob("*.toml")}
SHAPES, SIZES, FRAMES = FACTS["shapes"], FACTS["sizes"], FACTS["frames"]["frame"]


def what(row: object) -> str | None:
    return str(row.get("what") or row.get("stick") or row.get("table")) if isinstance(row, dict) else None


def stick(version: int) -> Personality:
    return EZSP_STICKS[f"v{version}"]


@pytest.mark.parametrize("kind", FACTS)
def test_each_fact_says_where_it_was_read(kind):
    rows = [row for table in FACTS[kind].values() for row in table]
    assert rows
    assert [row for row in rows if not row.get("source")] == []


@pytest.fixture(scope="module")
def hosts() -> dict[int, EzspHost]:
    """Of each version, one whose network is up, with a device that has joined and was spoken to."""
    made = {}
    for version in sorted({row["version"] for row in SHAPES["ezsp"]}):
        host = made[version] = EzspHost(stick(version))
        host.form()
        host.call(0x00AF, struct.pack("<Q16s", DEVICE, KEY))
        device = let_in(host)
        aps = struct.pack("<HHBBHHB", 0x0109, 0x0019, 0x0B, 3, 0, 0, 0)
        host.call(0x0034, struct.pack("<BH", 0, device.stack.address) + aps + bytes((7, 1, 0)))
        host.run(5.0)
    return made


@pytest.mark.parametrize("row", SHAPES["ezsp"], ids=what)
def test_an_ezsp_answer_is_as_long_as_a_real_one(hosts, row):
    host = hosts[row["version"]]
    if "request" in row:
        assert len(host.call(row["command"], bytes.fromhex(row["request"]))) == row["octets"]
    else:
        assert {len(heard) for heard in host.heard(row["command"])} == {row["octets"]}


@pytest.mark.parametrize("row", SHAPES["znp"], ids=what)
def test_an_mt_answer_is_as_long_as_a_real_one(row):
    host = ZnpHost()
    host.form()
    if "request" in row:
        assert len(host.call(row["command"], bytes.fromhex(row["request"]))) == row["octets"]
        return
    host.call(0x2401, bytes.fromhex("3412 03 03 1900 07 10 1e 01 00"))  # to somebody unknown
    host.run(20.0)
    assert {len(heard) for heard in host.heard(row["command"])} == {row["octets"]}


@pytest.mark.parametrize("row", SIZES["ezsp"], ids=what)
def test_a_stick_that_a_scenario_names_has_the_room_of_the_real_one(row):
    host = EzspHost(EZSP_STICKS[row["stick"]])
    found = host.dongle.personality.configuration
    assert {identifier: found[int(identifier, 0)] for identifier in row["sizes"]} == row["sizes"]


@pytest.mark.parametrize("row", SIZES["znp"], ids=what)
def test_an_item_of_a_z_stack_table_is_as_long_as_in_a_real_dump(row):
    lengths = {
        items.Table.ADDRMGR: items.ADDRESS.size,
        items.Table.TCLK: items.TCLK.size,
        items.Table.DEVICE_LIST: items.LISTED.size,
    }
    assert lengths[items.Table[row["table"]]] == row["octets"]


@pytest.mark.parametrize("row", FACTS["habits"]["habit"], ids=what)
def test_a_figure_lies_where_the_real_ones_do(row):
    module, _, name = row["where"].partition(".sticks.ZSTACK_3_30.")
    value = resolve_name(f"{module}.sticks:ZSTACK_3_30.{name}" if name else row["where"])
    assert row.get("least", value) <= value <= row.get("most", value)


@pytest.mark.parametrize("row", FRAMES, ids=what)
def test_a_frame_of_a_capture_is_read_and_written_again(row):
    module, _, name = row["reader"].partition(".")
    reader = getattr(importlib.import_module(f"devices.wire.{module}"), name)
    octets = bytes.fromhex(row["octets"])
    assert reader.from_bytes(octets).to_bytes().hex() == bytes.fromhex(row.get("written", row["octets"])).hex()
