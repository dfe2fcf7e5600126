"""Every command of bellows' tables, with arguments in range, on every EZSP version that the virtual dongle plays.

bellows reads an answer by its own schemas. What our table has must be readable by them with nothing left over; what it
has not is answered with invalidCommand, as by a co-processor whose build has no such command.
"""

import asyncio
import logging
from pathlib import Path
from typing import Any

import bellows.types as t
import pytest
from bellows.exception import InvalidCommandError
from bellows.ezsp import EZSP

from devices.ncp.ezsp.commands import ROWS
from devices.ncp.sticks import ROOMY_EZSP
from tests.support.virtual_dongle import local_dongle

LIMIT_S = 20.0
NOT_ASKED = frozenset({"resetNode", "version"})
"""One restarts the chip without an answer, the other has been asked when the link opened."""
MISSPELT = frozenset({"gpTranslationTableClear"})  # bellows 1.2.1 has a schema there that it cannot write itself


class Ears:
    """What EZSP wants of an application."""

    def ezsp_callback_handler(self, *_: object) -> None: ...
    def connection_lost(self, _: object) -> None: ...


def arguments(schema: Any, octet: int) -> dict[str, Any]:
    """Values that bellows itself reads out of nothing but `octet`; lists are empty, or a counted one has one element."""
    fields = schema if isinstance(schema, dict) else {field.name: field.type for field in schema.fields}
    counts_itself = (t.LVBytes, t.LVList)
    values = {}
    for name, kind in fields.items():
        open_ended = (
            issubclass(kind, list) and not issubclass(kind, counts_itself) and getattr(kind, "_length", None) is None
        )
        octets = bytes((octet,)) + bytes((octet,)) * 400
        if issubclass(kind, t.LVBytes32):
            octets = bytes((octet, 0, 0, 0)) + octets
        values[name] = kind([]) if open_ended else kind.deserialize(octets)[0]
    return values


async def walk(ezsp: EZSP, octet: int, caplog: pytest.LogCaptureFixture) -> tuple[set[int], set[int]]:
    """The ids that were answered, and those that were refused."""
    answered, refused = set(), set()
    for name, (number, schema, _) in ezsp.COMMANDS.items():
        if name in NOT_ASKED | MISSPELT:
            continue
        caplog.clear()
        positional = isinstance(schema, tuple)
        values = arguments(dict(enumerate(schema)) if positional else schema, octet)
        try:
            async with asyncio.timeout(LIMIT_S):
                if positional:
                    await ezsp.command(name, *values.values())
                else:
                    await ezsp.command(name, **values)
        except InvalidCommandError:
            refused.add(number)
        else:
            answered.add(number)
        assert not [record for record in caplog.records if "trailing data" in record.getMessage()], name
    return answered, refused


@pytest.mark.parametrize("octet", [0x00, 0x01])
@pytest.mark.parametrize("personality", ROOMY_EZSP.values(), ids=ROOMY_EZSP)
async def test_every_command_is_answered_so_that_bellows_can_read_it(
    tmp_path: Path, personality: Any, octet: int, caplog: pytest.LogCaptureFixture
) -> None:
    version = personality.version
    known = {row.id for row in ROWS if row.first <= version <= row.last and row.request is not None}
    async with local_dongle(tmp_path, f'[ncp]\nstick = "{personality.name}"\n') as bench:
        ezsp = EZSP({"path": bench.port.url, "baudrate": 115200, "flow_control": None}, Ears())
        await ezsp.connect(use_thread=False)
        assert ezsp.ezsp_version == version
        caplog.set_level(logging.DEBUG, "bellows.ezsp.protocol")
        answered, refused = await walk(ezsp, octet, caplog)
        await ezsp.disconnect()
    not_asked = {number for name, (number, _, _) in ezsp.COMMANDS.items() if name in NOT_ASKED}
    assert answered == known - not_asked
    assert len(refused) > 50
