"""What the store's cells, lists and files take at their very edges."""

import pytest

from chf.clock import UtcSeconds
from chf.eui64 import Eui64
from chf.store import DeviceEntry, DeviceType, Store, progress, rows


@pytest.mark.parametrize(
    ("cell", "largest", "too_much"),
    [(rows.unsigned(16), 0xFFFF, 0x10000), (rows.unsigned(32), 0xFFFF_FFFF, 1 << 32), (rows.flag, 1, 2)],
)
def test_a_cell_holds_its_largest_value_and_no_more(cell, largest, too_much):
    assert cell(largest) == largest
    for value in (too_much, -1):
        with pytest.raises(ValueError, match=r"belongs|is no number"):
            cell(value)


def test_the_progress_of_nothing_is_damage():
    with pytest.raises(ValueError, match="octet 0 of 0"):
        progress.cell('{"offset_bytes": 0, "size_bytes": 0, "blocks": 0, "utc": 1}')


def test_devices_are_listed_in_the_order_in_which_they_were_added(tmp_path):
    with Store.open(tmp_path) as store:
        with store.transaction() as tx:
            for eui64, added in ((2, 1.0), (1, 2.0)):
                tx.devices.add(DeviceEntry(Eui64(eui64), DeviceType.PPMID, UtcSeconds(added)))
        assert [entry.eui64 for entry in store.devices.list()] == [2, 1]


@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_a_store_that_others_may_read_is_closed_to_them(tmp_path, mode):
    Store.open(tmp_path).close()
    file = tmp_path / "chf.db"
    file.chmod(mode)
    Store.open(tmp_path).close()
    assert file.stat().st_mode & 0o777 == 0o600
