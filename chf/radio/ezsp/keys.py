"""Link keys in an EZSP dongle: put one in, take one out, list them. EZSP v8 to v12 and v13 onwards differ.

A key goes into two places: the transient table, which lets the device join, and the key table, which is what secures
APS data between the hub and the device from then on.
"""

from typing import Any

import bellows.types as ember
from zigpy.types import KeyData

from chf.errors import RadioRefusedError
from chf.eui64 import Eui64, format_eui64
from chf.radio.application import eui64_of, zigpy_eui64
from chf.radio.ezsp.link import HubEzsp, is_ok, status_name

SECURITY_MANAGER_VERSION = 13  # from here importLinkKey and exportLinkKeyByIndex, before the EmberKeyStruct commands
_NO_INDEX = 0xFF  # UG100, findKeyTableEntry
_NOBODY = zigpy_eui64(Eui64(0))  # the same: finds the first entry that is free


async def install_link_key(ezsp: HubEzsp, device: Eui64, link_key: bytes) -> None:
    """Let the device join with this key and secure its APS data with it; a key that it had is replaced."""
    (index,) = await ezsp.findKeyTableEntry(address=zigpy_eui64(device), linkKey=True)
    await _write_link_key(ezsp, device, link_key, index)  # first: a device that finds no place here must not get in
    added = await ezsp.add_transient_link_key(zigpy_eui64(device), KeyData(link_key))
    _require_ok(added, "the key of the joining device")


async def establish_link_key(ezsp: HubEzsp, device: Eui64, link_key: bytes) -> None:
    """Into the key table alone. Writing a key resets its counters, so that one that is there already stays."""
    (index,) = await ezsp.findKeyTableEntry(address=zigpy_eui64(device), linkKey=True)
    if index == _NO_INDEX or await _key_at(ezsp, index) != link_key:
        await _write_link_key(ezsp, device, link_key, index)


async def _key_at(ezsp: HubEzsp, index: int) -> bytes:
    if ezsp.ezsp_version < SECURITY_MANAGER_VERSION:
        _, entry = await ezsp.getKeyTableEntry(index=index)
        return bytes(entry.key.serialize())
    answer = await ezsp.exportLinkKeyByIndex(index=index)
    return next(bytes(field.serialize()) for field in answer if isinstance(field, KeyData))


async def _write_link_key(ezsp: HubEzsp, device: Eui64, link_key: bytes, index: int) -> None:
    """`index` is that of the device's entry, or `_NO_INDEX`."""
    eui64, key = zigpy_eui64(device), KeyData(link_key)
    if ezsp.ezsp_version < SECURITY_MANAGER_VERSION:
        (status,) = await ezsp.addOrUpdateKeyTableEntry(address=eui64, linkKey=True, keyData=key)
    else:
        # bellows' own write_link_keys starts at index 0 and overwrites the keys of other devices
        place = await _free_index(ezsp) if index == _NO_INDEX else index
        (status,) = await ezsp.importLinkKey(index=place, address=eui64, key=key)
    _require_ok(status, f"the link key of {format_eui64(device)}", "; where its table is full, forget a device first")


async def remove_link_key(ezsp: HubEzsp, device: Eui64) -> None:
    (index,) = await ezsp.findKeyTableEntry(address=zigpy_eui64(device), linkKey=True)
    if index != _NO_INDEX:
        await ezsp.eraseKeyTableEntry(index=index)


async def read_keys(ezsp: HubEzsp) -> tuple[tuple[str, str, bytes], ...]:
    """(label, "nwk" | "link", key): the network key, and the link key of each device."""
    network = await ezsp.get_network_key()
    links = [
        (format_eui64(eui64_of(key.partner_ieee)), "link", bytes(key.key.serialize()))
        async for key in ezsp.read_link_keys()
    ]
    return (("network", "nwk", bytes(network.key.serialize())), *links)


async def _free_index(ezsp: HubEzsp) -> int:
    """As the dongle finds it; looked at before it is used, because an entry that is written over is another's key."""
    size = await ezsp.size_of(ember.EzspConfigId.CONFIG_KEY_TABLE_SIZE)
    (found,) = await ezsp.findKeyTableEntry(address=_NOBODY, linkKey=True)
    for free in (found, *range(size)):
        if free < size and not is_ok(await _status_at(ezsp, free)):
            return int(free)
    raise RadioRefusedError(f"the dongle's key table is full ({size} entries): forget a device first")


async def _status_at(ezsp: HubEzsp, index: int) -> Any:
    answer = await ezsp.exportLinkKeyByIndex(index=index)
    return next(field for field in answer if isinstance(field, ember.sl_Status))


def _require_ok(status: Any, what: str, advice: str = "") -> None:
    if not is_ok(status):
        raise RadioRefusedError(f"the dongle refused {what}: {status_name(status)}{advice}")
