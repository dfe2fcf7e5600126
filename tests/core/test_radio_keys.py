"""Link keys on EZSP v8, v13 and v14, which each have other commands for them."""

from types import SimpleNamespace

import bellows.types as ember
import pytest

from chf.errors import RadioRefusedError
from chf.eui64 import Eui64
from chf.radio.application import eui64_of, zigpy_eui64
from chf.radio.ezsp.keys import establish_link_key, install_link_key, read_keys, remove_link_key

METER, OTHER, THIRD = Eui64(0x00DB1234567890A4), Eui64(0xB), Eui64(0xC)
KEY, OTHER_KEY = bytes(range(16)), bytes(range(16, 32))
OK, NOT_FOUND, FULL = ember.sl_Status.OK, ember.sl_Status.NOT_FOUND, ember.sl_Status.ALLOCATION_FAILED
TABLE_SIZE = 3


def first_free(table) -> int:
    return next((index for index in range(TABLE_SIZE) if index not in table), 0xFF)


class KeyTableDongle:
    """The key commands of one EZSP version, over a table of three places."""

    def __init__(self, version: int, transient_status=OK) -> None:
        self.ezsp_version = version
        self.table: dict[int, tuple[Eui64, bytes]] = {}
        self.transient: dict[Eui64, bytes] = {}
        self.transient_status = transient_status
        self.free = first_free

    async def add_transient_link_key(self, eui64, key):
        self.transient[eui64_of(eui64)] = key.serialize()
        return self.transient_status

    async def addOrUpdateKeyTableEntry(self, *, address, linkKey, keyData):  # noqa: N802, N803
        assert self.ezsp_version < 13
        assert linkKey
        free = next(
            (i for i in range(TABLE_SIZE) if self.table.get(i, (eui64_of(address),))[0] == eui64_of(address)), None
        )
        if free is None:
            return (ember.EmberStatus.TABLE_FULL,)
        self.table[free] = (eui64_of(address), keyData.serialize())
        return (ember.EmberStatus.SUCCESS,)

    async def importLinkKey(self, *, index, address, key):  # noqa: N802
        assert self.ezsp_version >= 13
        self.table[index] = (eui64_of(address), key.serialize())
        return (OK,)

    async def findKeyTableEntry(self, *, address, linkKey):  # noqa: N802, N803
        assert linkKey
        wanted = eui64_of(address)
        if wanted == 0:
            return (self.free(self.table),)
        return (next((i for i, (holder, _) in self.table.items() if holder == wanted), 0xFF),)

    async def getKeyTableEntry(self, *, index):  # noqa: N802
        assert self.ezsp_version < 13
        return (OK, SimpleNamespace(key=ember.KeyData(self.table[index][1])))

    async def eraseKeyTableEntry(self, *, index):  # noqa: N802
        del self.table[index]
        return (OK,)

    async def size_of(self, number):
        assert number == ember.EzspConfigId.CONFIG_KEY_TABLE_SIZE
        return TABLE_SIZE

    async def exportLinkKeyByIndex(self, *, index):  # noqa: N802
        status = OK if index in self.table else NOT_FOUND
        holder, key = self.table.get(index, (Eui64(0), bytes(16)))
        if self.ezsp_version < 14:
            return (zigpy_eui64(holder), ember.KeyData(key), "metadata", status)
        return (status, "context", ember.KeyData(key), "metadata")

    async def get_network_key(self):
        return SimpleNamespace(key=ember.KeyData(b"N" * 16))

    async def read_link_keys(self):
        for holder, key in self.table.values():
            yield SimpleNamespace(partner_ieee=zigpy_eui64(holder), key=ember.KeyData(key))


@pytest.mark.parametrize("version", [8, 13, 14])
async def test_a_key_goes_into_both_tables_and_overwrites_nobodys(version):
    dongle = KeyTableDongle(version)
    dongle.table[0] = (OTHER, OTHER_KEY)
    await install_link_key(dongle, METER, KEY)
    assert dongle.transient == {METER: KEY}
    assert dongle.table == {0: (OTHER, OTHER_KEY), 1: (METER, KEY)}


@pytest.mark.parametrize("free", [lambda _table: 0, lambda _table: 0xFF], ids=["one that is taken", "none"])
async def test_what_a_dongle_says_of_its_free_places_is_looked_at(free):
    dongle = KeyTableDongle(14)
    dongle.table[0] = (OTHER, OTHER_KEY)
    dongle.free = free
    await install_link_key(dongle, METER, KEY)
    assert dongle.table == {0: (OTHER, OTHER_KEY), 1: (METER, KEY)}


@pytest.mark.parametrize("version", [8, 13, 14])
async def test_a_devices_new_key_takes_the_place_of_its_old_one(version):
    dongle = KeyTableDongle(version)
    await install_link_key(dongle, METER, OTHER_KEY)
    await install_link_key(dongle, METER, KEY)
    assert list(dongle.table.values()) == [(METER, KEY)]


@pytest.mark.parametrize("version", [8, 13, 14])
async def test_a_full_table_is_refused_and_stays_as_it_is(version):
    dongle = KeyTableDongle(version)
    before = {n: (Eui64(100 + n), OTHER_KEY) for n in range(TABLE_SIZE)}
    dongle.table |= before
    with pytest.raises(RadioRefusedError):
        await install_link_key(dongle, METER, KEY)
    assert dongle.table == before


@pytest.mark.parametrize("version", [8, 13, 14])
async def test_an_established_key_takes_the_place_of_the_install_codes_in_the_key_table_alone(version):
    dongle = KeyTableDongle(version)
    dongle.table[0] = (OTHER, OTHER_KEY)
    await install_link_key(dongle, METER, OTHER_KEY)
    await establish_link_key(dongle, METER, KEY)
    assert dongle.table == {0: (OTHER, OTHER_KEY), 1: (METER, KEY)}
    assert dongle.transient == {METER: OTHER_KEY}


@pytest.mark.parametrize("version", [8, 13, 14])
async def test_an_established_key_that_is_there_is_not_written_again(version):
    """Writing resets the frame counters: what was recorded before could be played again."""
    dongle = KeyTableDongle(version)
    await establish_link_key(dongle, METER, KEY)
    dongle.addOrUpdateKeyTableEntry = dongle.importLinkKey = None
    await establish_link_key(dongle, METER, KEY)
    assert list(dongle.table.values()) == [(METER, KEY)]


async def test_a_refused_transient_key_is_told_by_its_status_and_not_by_its_value():
    with pytest.raises(RadioRefusedError, match="ALLOCATION_FAILED") as refusal:
        await install_link_key(KeyTableDongle(13, transient_status=FULL), METER, KEY)
    assert KEY.hex() not in str(refusal.value)


async def test_removing_takes_out_this_devices_key_alone():
    dongle = KeyTableDongle(13)
    dongle.table |= {0: (OTHER, OTHER_KEY), 2: (METER, KEY)}
    await remove_link_key(dongle, METER)
    await remove_link_key(dongle, THIRD)
    assert dongle.table == {0: (OTHER, OTHER_KEY)}


async def test_exported_keys_are_labelled_for_people():
    dongle = KeyTableDongle(14)
    dongle.table[2] = (METER, KEY)
    assert await read_keys(dongle) == (("network", "nwk", b"N" * 16), ("00-DB-12-34-56-78-90-A4", "link", KEY))
