"""Keys in a Z-Stack dongle: list them, take one out. Putting one in is a command of its own (`znp/dongle.py`).

Z-Stack keeps a device's key in one of two places. The trust centre's table has an entry for each device that joined or
may: its key is that of an install code, which lies in a third table, or comes from a seed. The APS link key table has
what was restored or established. zigpy-znp 1.1.1 takes every entry of the first for one from the seed.
"""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import zigpy_znp.commands as mt
import zigpy_znp.types as znp
from zigpy.state import Key
from zigpy_znp.exceptions import CommandNotRecognized
from zigpy_znp.types.nvids import ExNvIds, OsalNvIds
from zigpy_znp.znp import security

from chf.eui64 import Eui64, format_eui64
from chf.radio.application import eui64_of, zigpy_eui64
from chf.radio.znp.link import HubZnp

_NOBODY = frozenset({0, 0xFFFF_FFFF_FFFF_FFFF})  # of an entry that is free
_KEY_BYTES = 16  # AES-128
_INSTALL_CODE_PLACE = 0x7F  # TI's APSMEDE.h, APSME_IC_INDEX_MASK: bit 7 beside it says that a code is held
_EMPTY_TRUST_CENTER_ENTRY = znp.TCLKDevEntry(
    txFrmCntr=0,
    rxFrmCntr=0,
    extAddr=znp.EUI64.convert("00:00:00:00:00:00:00:00"),
    keyAttributes=znp.KeyAttributes.DEFAULT_KEY,
    keyType=znp.KeyType.NONE,
    SeedShift_IcIndex=0,
)


@dataclass(frozen=True, slots=True)
class _TrustCenterKey:
    place: int
    entry: Any
    key: Key


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
    addresses = await security.read_addr_manager_entries(dongle)
    keys = {key.key.partner_ieee: key.key async for key in _trust_center_keys(dongle)}
    async for key in security.read_unhashed_link_keys(dongle, addresses):
        keys[key.partner_ieee] = key
    return list(keys.values())


async def holds_link_key(dongle: HubZnp, device: Eui64, link_key: bytes) -> bool:
    """In the APS link key table: a key of the same octets among the trust centre's is good for joining only."""
    addresses = await security.read_addr_manager_entries(dongle)
    async for key in security.read_unhashed_link_keys(dongle, addresses):
        if eui64_of(key.partner_ieee) == device:
            return bool(key.key.serialize() == link_key)
    return False


async def remove_link_key(dongle: HubZnp, device: Eui64) -> None:
    """By the dongle's own command, which not every build has, and which may leave the trust centre's entry."""
    wire = zigpy_eui64(device)
    with contextlib.suppress(CommandNotRecognized):
        await dongle.request(mt.ZDO.SecDeviceRemove.Req(IEEE=wire))
    async for found in _trust_center_keys(dongle):
        if found.entry.extAddr == wire:
            await dongle.nvram.write(
                item_id=ExNvIds.TCLK_TABLE, sub_id=found.place, value=_EMPTY_TRUST_CENTER_ENTRY, create=False
            )


async def _trust_center_keys(dongle: HubZnp) -> AsyncIterator[_TrustCenterKey]:
    """Of devices that have a key of their own; the well-known one is left out."""
    seed = await dongle.nvram.osal_read(OsalNvIds.TCLK_SEED, item_type=znp.KeyData)
    place = 0
    async for octets in dongle.nvram.read_table(item_id=ExNvIds.TCLK_TABLE, item_type=znp.Bytes):
        entry = dongle.nvram.deserialize(octets, znp.TCLKDevEntry)
        attributes, index = entry.keyAttributes, entry.SeedShift_IcIndex
        if eui64_of(entry.extAddr) not in _NOBODY and attributes != znp.KeyAttributes.DEFAULT_KEY:
            if attributes == znp.KeyAttributes.PROVISIONAL_KEY:
                # Since its SDK 5.30, TI has the place of this key in the octet that was padding, and 0 before it.
                key = await _install_code_key(dongle, (index or octets[-1]) & _INSTALL_CODE_PLACE)
            else:
                key = security.compute_key(entry.extAddr, seed, index)
            if key is not None:
                described = Key(
                    key=key,
                    tx_counter=entry.txFrmCntr,
                    rx_counter=entry.rxFrmCntr,
                    seq=znp.uint8_t(0),
                    partner_ieee=entry.extAddr,
                )
                yield _TrustCenterKey(place, entry, described)
        place += 1


async def _install_code_key(dongle: HubZnp, index: int) -> Any:
    try:
        held = await dongle.nvram.read(item_id=ExNvIds.TCLK_IC_TABLE, sub_id=index, item_type=znp.Bytes)
    except KeyError:
        return None
    return znp.KeyData(held[:_KEY_BYTES]) if len(held) >= _KEY_BYTES else None
