"""What a Z-Stack stick says of its security. Only reads: a command that writes is asked for by its reading companion.

TI builds SecAddLinkKey and SecEntryLookupExt under one option (MT_ZDO_EXTENSIONS), SetLinkKey and GetLinkKey under
another (MT_SYS_KEY_MANAGEMENT). A command that is not in the build is answered with CommandNotRecognized, so the one
that reads tells of both, and nothing has to be taken back.
"""

import secrets
from typing import Any

import zigpy_znp.commands as mt
import zigpy_znp.types as znp
from zigpy_znp.commands.zdo import SecurityEntry
from zigpy_znp.exceptions import CommandNotRecognized
from zigpy_znp.types.nvids import ExNvIds

from chf.radio.interface import Observation, Question, Standing
from chf.radio.znp.link import HubZnp

_TABLES = (
    ("address manager", ExNvIds.ADDRMGR),
    ("trust-centre link keys", ExNvIds.TCLK_TABLE),
    ("APS link keys", ExNvIds.APS_KEY_DATA_TABLE),
)
_PRESENT, _ABSENT = "in this build", "not in this build (CommandNotRecognized)"
_INFERRED = "inferred from {}, not asked: it would write"


async def ask(dongle: HubZnp) -> tuple[tuple[Observation, ...], tuple[Question, ...]]:
    nobody = znp.EUI64.deserialize(secrets.token_bytes(6) + b"\x00\x02")[0]
    lookup = await _in_build(
        dongle, mt.ZDO.SecEntryLookupExt.Req(IEEE=nobody, Entry=SecurityEntry.deserialize(bytes(16))[0])
    )
    key_management = await _in_build(dongle, mt.ZDO.GetLinkKey.Req(IEEE=nobody))
    observations = [
        Observation("SecEntryLookupExt", _presence(present=lookup), "Z1"),
        Observation("SecAddLinkKey", f"{_presence(present=lookup)}: {_INFERRED.format('SecEntryLookupExt')}", "Z1"),
        Observation("GetLinkKey", _presence(present=key_management), "Z1"),
        Observation("SetLinkKey", f"{_presence(present=key_management)}: {_INFERRED.format('GetLinkKey')}", "Z1"),
    ]
    for name, table in _TABLES:
        observations.append(
            Observation(f"table of {name}", await _size(dongle, table), "Z5" if "trust" in name else "")
        )
    return tuple(observations), _questions(lookup=lookup)


async def _in_build(dongle: HubZnp, request: Any) -> bool:
    try:
        await dongle.request(request)
    except CommandNotRecognized:
        return False
    return True


def _presence(*, present: bool) -> str:
    return _PRESENT if present else _ABSENT


async def _size(dongle: HubZnp, table: Any) -> str:
    """Z-Stack 3.0 keeps its tables under other ids, which say nothing of their size."""
    entries = 0
    try:
        async for _ in dongle.nvram.read_table(item_id=table, item_type=znp.Bytes):
            entries += 1
    except KeyError:
        return "not found"
    return f"{entries} entries"


def _questions(*, lookup: bool) -> tuple[Question, ...]:
    return (
        Question(
            "Z1",
            "does this firmware answer SecAddLinkKey?",
            Standing.PARTLY,
            "its companion of the same build option is there" if lookup else "its companion of the same option is not",
        ),
        Question(
            "Z2", "which of two keys of a device encrypts: the APS link key or the trust centre's?", Standing.OPEN
        ),
        Question("Z3", "is TC_LINKKEY_JOIN on, and does the authentication state gate APS data?", Standing.OPEN),
        Question("Z4", "what becomes of the APS frame counters when a key is replaced?", Standing.OPEN),
        Question("Z5", "must the trust centre's entry of an install-code join be removed first?", Standing.OPEN),
        Question("Z6", "is there room for the 81 octets of a suite 2 Initiate, with source routing?", Standing.OPEN),
    )
