"""Keys in a Z-Stack dongle: list them, take one out. Putting one in is a command of its own (`znp/dongle.py`).

Z-Stack keeps a device's key in one of two places. The trust centre's table has an entry for each device that joined or
may: its key is that of an install code, which lies in a third table, or comes from a seed. The APS link key table has
what was restored or established. zigpy-znp 1.1.1 takes every entry of the first for one from the seed.
"""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import zigpy_znp.commands as mt
import zigpy_znp.types as znp
from zigpy.backups import NetworkBackup
from zigpy.state import Key
from zigpy_znp.exceptions import CommandNotRecognized
from zigpy_znp.types.nvids import ExNvIds, OsalNvIds
from zigpy_znp.znp import security

from chf.eui64 import Eui64, format_eui64
from chf.radio.application import eui64_of, zigpy_eui64
from chf.radio.interface import RadioLimits
from chf.radio.znp.link import HubZnp

_NOBODY = frozenset({0, 0xFFFF_FFFF_FFFF_FFFF})  # of an entry that is free
_KEY_BYTES = 16  # AES-128
_TRUST_CENTER_ENTRY_BYTES, _ADDRESS_ENTRY_BYTES, _APS_KEY_ENTRY_BYTES = 20, 12, 24  # Z-Stack 3.30, aligned
_INSTALL_CODE_PLACE = 0x7F  # TI's APSMEDE.h, APSME_IC_INDEX_MASK: bit 7 beside it says that a code is held
_COUNT_BYTES, _LISTED_KEY_BYTES = 2, 6  # the same: ZDSecMgrEntry_t behind their count
_LIKELY_SIZES = {ExNvIds.TCLK_TABLE: 200, ExNvIds.TCLK_IC_TABLE: 40, ExNvIds.DEVICE_LIST: 51}
"""Of a CC2652R's dump; of install codes, TI's header. Any other size is found, with more requests."""
_LIKELY_ADDRESSES = 257  # of the same dump
_EMPTY_TRUST_CENTER_ENTRY = znp.TCLKDevEntry(
    txFrmCntr=0,
    rxFrmCntr=0,
    extAddr=znp.EUI64.convert("00:00:00:00:00:00:00:00"),
    keyAttributes=znp.KeyAttributes.DEFAULT_KEY,
    keyType=znp.KeyType.NONE,
    SeedShift_IcIndex=0,
)


async def read_limits(dongle: HubZnp) -> RadioLimits:
    """A device needs an entry of the trust centre, and that a place for the key of its install code.

    A build that has never had an install code may have no table of them yet, and then does not say how many it takes.
    """
    try:
        listed = len(await dongle.nvram.osal_read(OsalNvIds.APS_LINK_KEY_TABLE, item_type=znp.Bytes))
    except KeyError:
        return RadioLimits()
    sizes = {table: await dongle.nvram.size(table, likely) for table, likely in _LIKELY_SIZES.items()}
    devices, codes = sizes[ExNvIds.TCLK_TABLE], sizes[ExNvIds.TCLK_IC_TABLE]
    return RadioLimits(
        devices=min(devices, codes or devices) or None,
        established_keys=(listed - _COUNT_BYTES) // _LISTED_KEY_BYTES,
        children=sizes[ExNvIds.DEVICE_LIST] or None,
    )


async def room(dongle: HubZnp, backup: NetworkBackup) -> AsyncIterator[tuple[str, int, int]]:
    """(what, how many the backup has, how many find room). Keys of one seed and other keys lie in different tables.

    zigpy-znp 1.1.1 finds out that a table is too short when the network that was there is gone.
    """
    network, nvram = backup.network_info, dongle.nvram
    devices = {*network.children, *(key.partner_ieee for key in network.key_table)}
    yield "devices", len(devices), await nvram.size(ExNvIds.ADDRMGR, _LIKELY_ADDRESSES)
    told = network.stack_specific.get("zstack", {}).get("tclk_seed")
    seed = znp.KeyData(bytes.fromhex(told)) if told else znp.KeyData(bytes(_KEY_BYTES))
    keyed = [security.StoredDevice(node_info=None, key=key) for key in network.key_table]
    of_seed = security.count_seed_matches(network.key_table, security.find_optimal_tclk_seed(keyed, seed))
    yield "link keys of one seed", of_seed, await nvram.size(ExNvIds.TCLK_TABLE, _LIKELY_SIZES[ExNvIds.TCLK_TABLE])
    try:
        listed = len(await nvram.osal_read(OsalNvIds.APS_LINK_KEY_TABLE, item_type=znp.Bytes))
    except KeyError:
        return  # made when the stick forms its first network
    yield "link keys of no common seed", len(network.key_table) - of_seed, (listed - _COUNT_BYTES) // _LISTED_KEY_BYTES


async def read_keys(dongle: HubZnp) -> tuple[tuple[str, str, bytes], ...]:
    """(label, "nwk" | "link", key): the network key, and the link key of each device."""
    network = await dongle.nvram.osal_read(OsalNvIds.NWK_ACTIVE_KEY_INFO, item_type=znp.NwkKeyDesc)
    links = await read_link_keys(dongle)
    return (
        ("network", "nwk", network.Key.serialize()),
        *((format_eui64(eui64_of(key.partner_ieee)), "link", key.key.serialize()) for key in links),
    )


async def read_link_keys(dongle: HubZnp) -> list[Key]:
    """With their counters; an APS link key goes before the trust centre's of the same device."""
    keys = {key.partner_ieee: key async for key in _trust_center_keys(dongle)}
    async for key in _aps_link_keys(dongle):
        keys[key.partner_ieee] = key
    return list(keys.values())


async def holds_link_key(dongle: HubZnp, device: Eui64, link_key: bytes) -> bool:
    """In the APS link key table: a key of the same octets among the trust centre's is good for joining only."""
    async for key in _aps_link_keys(dongle):
        if eui64_of(key.partner_ieee) == device:
            return bool(key.key.serialize() == link_key)
    return False


async def remove_link_key(dongle: HubZnp, device: Eui64) -> None:
    """By the dongle's own command, which not every build has, and which may leave the trust centre's entry."""
    wire = zigpy_eui64(device)
    place = await _place_in_trust_center(dongle, wire)
    with contextlib.suppress(CommandNotRecognized):
        await dongle.request(mt.ZDO.SecDeviceRemove.Req(IEEE=wire))
    if place is None:
        return
    octets = await dongle.nvram.entry(ExNvIds.TCLK_TABLE, place, _TRUST_CENTER_ENTRY_BYTES)
    if octets is None or (entry := _trust_center_entry(dongle, octets)).extAddr != wire:
        return
    await dongle.nvram.write_entry(ExNvIds.TCLK_TABLE, place, dongle.nvram.serialize(_EMPTY_TRUST_CENTER_ENTRY))
    if entry.keyAttributes == znp.KeyAttributes.PROVISIONAL_KEY:
        await dongle.nvram.write_entry(ExNvIds.TCLK_IC_TABLE, _install_code_place(entry, octets), bytes(_KEY_BYTES))


async def _place_in_trust_center(dongle: HubZnp, device: Any) -> int | None:
    place = 0
    async for octets in dongle.nvram.read_table(item_id=ExNvIds.TCLK_TABLE):
        if _trust_center_entry(dongle, octets).extAddr == device:
            return place
        place += 1
    return None


def _trust_center_entry(dongle: HubZnp, octets: bytes) -> Any:
    return dongle.nvram.deserialize(octets, znp.TCLKDevEntry)


def _install_code_place(entry: Any, octets: bytes) -> int:
    """Since its SDK 5.30, TI has the place in the octet that was padding, and 0 in that before it."""
    return int(entry.SeedShift_IcIndex or octets[-1]) & _INSTALL_CODE_PLACE


async def _trust_center_keys(dongle: HubZnp) -> AsyncIterator[Key]:
    """Of devices that have a key of their own; the well-known one is left out."""
    seed = await dongle.nvram.osal_read(OsalNvIds.TCLK_SEED, item_type=znp.KeyData)
    async for octets in dongle.nvram.read_table(item_id=ExNvIds.TCLK_TABLE):
        entry = _trust_center_entry(dongle, octets)
        attributes = entry.keyAttributes
        if eui64_of(entry.extAddr) in _NOBODY or attributes == znp.KeyAttributes.DEFAULT_KEY:
            continue
        if attributes == znp.KeyAttributes.PROVISIONAL_KEY:
            place = _install_code_place(entry, octets)
            held = await dongle.nvram.entry(ExNvIds.TCLK_IC_TABLE, place, _KEY_BYTES)
            key = None if held is None or len(held) < _KEY_BYTES else znp.KeyData(held)
        else:
            key = security.compute_key(entry.extAddr, seed, entry.SeedShift_IcIndex)
        if key is not None:
            yield _described(entry.extAddr, key, entry.txFrmCntr, entry.rxFrmCntr)


async def _aps_link_keys(dongle: HubZnp) -> AsyncIterator[Key]:
    """The table of them names its few devices by their places in the address manager, which has hundreds."""
    nvram = dongle.nvram
    octets = await nvram.osal_read(OsalNvIds.APS_LINK_KEY_TABLE, item_type=znp.Bytes)
    for listed in nvram.deserialize(octets, znp.APSLinkKeyTable, allow_trailing=True):
        if listed.AuthenticationState != znp.AuthenticationOption.AuthenticatedCBCK:
            continue
        address = await nvram.entry(ExNvIds.ADDRMGR, listed.AddressManagerIndex, _ADDRESS_ENTRY_BYTES)
        held = await nvram.entry(ExNvIds.APS_KEY_DATA_TABLE, listed.LinkKeyNvId, _APS_KEY_ENTRY_BYTES)
        if address is None or held is None:
            continue
        device = nvram.deserialize(address, znp.AddrMgrEntry).extAddr
        entry = nvram.deserialize(held, znp.APSKeyDataTableEntry)
        yield _described(device, entry.Key, entry.TxFrameCounter, entry.RxFrameCounter)


def _described(device: Any, key: Any, sent: Any, received: Any) -> Key:
    return Key(key=key, tx_counter=sent, rx_counter=received, seq=znp.uint8_t(0), partner_ieee=device)
