"""What an EZSP stick says of its security: libraries, certificates, key table, and what became of a key written by us.

One key is written, at an index that is free and for an EUI-64 that nobody has, read back, and erased again. Everything
else only reads. No key of the stick is kept or shown.
"""

import secrets
from dataclasses import dataclass
from typing import Any

import bellows.types as ember
from bellows.exception import InvalidCommandError
from zigpy.types import KeyData

from chf.errors import RadioRefusedError
from chf.eui64 import Eui64
from chf.radio.application import zigpy_eui64
from chf.radio.ezsp.keys import SECURITY_MANAGER_VERSION
from chf.radio.ezsp.link import HubEzsp, is_ok, status_name
from chf.radio.interface import Observation, Question, Standing

_LIBRARIES = (  # library ids of getLibraryStatus, which firmware of 2013 numbers otherwise above 0x0D
    (0x06, "CBKE library, suite 1"),
    (0x08, "ECC library, suite 1"),
    (0x0D, "CBKE library, suite 2"),
    (0x0E, "ECC library, suite 2"),
)
_LIBRARY_PRESENT = 0x80  # UG100, EmberLibraryStatus
_LIBRARY_ERROR = 0xFF  # UG100, EmberLibraryStatus
_AUTHORIZED = 0x0010  # UG100, EmberKeyStructBitmask: KEY_IS_AUTHORIZED
_SUITE_2_INITIATE_BYTES = 81  # SE1.4 annex C: Initiate Key Establishment Response with a suite 2 certificate
_LOCAL = 0x02 << 56  # of an EUI-64 that no maker gave out


@dataclass(frozen=True, slots=True)
class _Trial:
    """`written` and `bitmask` of the throw-away key; bitmask is None where it could not be read back."""

    written: str
    bitmask: int | None = None


async def ask(ezsp: HubEzsp, *, on_network: bool) -> tuple[tuple[Observation, ...], tuple[Question, ...]]:
    """Raises RadioRefusedError where the key that was written cannot be erased."""
    observations = [Observation(name, await _library(ezsp, number)) for number, name in _LIBRARIES]
    observations += [
        Observation("certificate, suite 1", await _certificate(ezsp, "getCertificate")),
        Observation("certificate, suite 2", await _certificate(ezsp, "getCertificate283k1")),
        Observation("own EUI-64", await _own_eui64(ezsp)),
    ]
    size = await _key_table_size(ezsp)
    observations.append(Observation("key table", f"{size} entries", "E1"))
    trial = await _try_key(ezsp, size)
    observations.append(Observation("a throw-away link key, written", trial.written, "E1"))
    if trial.bitmask is not None:
        observations.append(Observation("its bitmask, read back", f"0x{trial.bitmask:04X}", "E1"))
    (payload_bytes,) = await ezsp.maximumPayloadLength()
    where = "" if on_network else " (without a network)"
    observations.append(Observation("maximum payload", f"{payload_bytes} octets{where}", "E6"))
    return tuple(observations), _questions(ezsp.ezsp_version, trial, int(payload_bytes))


async def _library(ezsp: HubEzsp, number: int) -> str:
    try:
        (status,) = await ezsp.getLibraryStatus(libraryId=number)
    except InvalidCommandError:
        return "the firmware does not know the command"
    if status == _LIBRARY_ERROR:
        return "error (0xFF)"
    return f"{'present' if status & _LIBRARY_PRESENT else 'not present'} (0x{int(status):02X})"


async def _certificate(ezsp: HubEzsp, command: str) -> str:
    try:
        answer = await getattr(ezsp, command)()
    except InvalidCommandError:
        return "the firmware does not know the command"
    return "there is one" if is_ok(answer[0]) else status_name(answer[0])


async def _own_eui64(ezsp: HubEzsp) -> str:
    if await ezsp.can_rewrite_custom_eui64():
        return "can be written any number of times"
    return "can be written once for life" if await ezsp.can_burn_userdata_custom_eui64() else "cannot be written"


async def _key_table_size(ezsp: HubEzsp) -> int:
    status, size = await ezsp.getConfigurationValue(configId=ember.EzspConfigId.CONFIG_KEY_TABLE_SIZE)
    return int(size) if is_ok(status) else 0


async def _try_key(ezsp: HubEzsp, size: int) -> _Trial:
    index = await _free_index(ezsp, size)
    if index is None:
        return _Trial("not tried: no index is free")
    device = Eui64(_LOCAL | secrets.randbits(48))
    status = await _write(ezsp, index, zigpy_eui64(device), KeyData(secrets.token_bytes(16)))
    try:
        if not is_ok(status):
            return _Trial(f"refused: {status_name(status)}")
        return _Trial(f"taken at index {index}, and erased again", await _bitmask(ezsp, index))
    finally:
        await _erase(ezsp, index)


async def _free_index(ezsp: HubEzsp, size: int) -> int | None:
    """The last one, far from where firmware and hosts look first."""
    for index in reversed(range(size)):
        if not is_ok(_status(await _entry(ezsp, index))):
            return index
    return None


async def _entry(ezsp: HubEzsp, index: int) -> Any:
    if ezsp.ezsp_version < SECURITY_MANAGER_VERSION:
        return await ezsp.getKeyTableEntry(index=index)
    return await ezsp.exportLinkKeyByIndex(index=index)


def _status(answer: Any) -> Any:
    """First or last in the answer, as the version has it."""
    return next(field for field in answer if isinstance(field, ember.sl_Status | ember.EmberStatus))


async def _write(ezsp: HubEzsp, index: int, device: Any, key: KeyData) -> Any:
    if ezsp.ezsp_version < SECURITY_MANAGER_VERSION:
        (status,) = await ezsp.setKeyTableEntry(index=index, address=device, linkKey=True, keyData=key)
    else:
        (status,) = await ezsp.importLinkKey(index=index, address=device, key=key)
    return status


async def _bitmask(ezsp: HubEzsp, index: int) -> int | None:
    answer = await _entry(ezsp, index)
    if not is_ok(_status(answer)):
        return None
    if ezsp.ezsp_version < SECURITY_MANAGER_VERSION:
        return int(answer[1].bitmask)
    return next(int(field.bitmask) for field in answer if isinstance(field, ember.SecurityManagerAPSKeyMetadata))


async def _erase(ezsp: HubEzsp, index: int) -> None:
    await ezsp.eraseKeyTableEntry(index=index)
    if is_ok(_status(await _entry(ezsp, index))):
        raise RadioRefusedError(f"the dongle did not erase the throw-away key at index {index} of its key table")


def _questions(version: int, trial: _Trial, payload_bytes: int) -> tuple[Question, ...]:
    authorized = trial.bitmask is not None and bool(trial.bitmask & _AUTHORIZED)
    said = "the bit is set" if authorized else "the bit is not set"
    by_import = version >= SECURITY_MANAGER_VERSION
    early = "the key of a device that has not joined was taken" if trial.bitmask is not None else trial.written
    return (
        Question(
            "E1",
            "does a key that the host wrote count as authorised for APS data (KEY_IS_AUTHORIZED)?",
            Standing.OPEN if trial.bitmask is None else Standing.PARTLY,
            trial.written if trial.bitmask is None else f"{said}; whether the firmware heeds it, a device tells",
        ),
        Question("E2", "does a key-table entry win over the hashed key of the same EUI-64?", Standing.OPEN),
        Question(
            "E3",
            "may the install code's key be in the key table before the join?",
            Standing.PARTLY if by_import and trial.bitmask is not None else Standing.OPEN,
            f"{early}; which key encrypts the Transport-Key, a sniffer tells"
            if by_import
            else "asked of v13 and later",
        ),
        Question("E4", "what becomes of the APS frame counters when a key is replaced?", Standing.OPEN),
        Question("E5", "do the trust-centre policies suit a device that follows Smart Energy?", Standing.OPEN),
        Question(
            "E6",
            "is there room for the 81 octets of a suite 2 Initiate, with source routing?",
            Standing.PARTLY,
            f"{payload_bytes} octets at most, {'enough' if payload_bytes >= _SUITE_2_INITIATE_BYTES else 'too few'}"
            " without relays; with them, a multi-hop network tells",
        ),
        Question("E7", "which status does a send with APS security get, without a key?", Standing.OPEN),
    )
