"""The installed zigpy-znp is one that the radio was written for: what it has, and its faults."""

from types import SimpleNamespace
from typing import Any

import zigpy_znp.commands as mt
import zigpy_znp.types as znp
from zigpy_znp.api import ZNP
from zigpy_znp.zigbee.application import ControllerApplication


def config() -> dict[str, Any]:
    return ControllerApplication.SCHEMA({"device": {"path": "/dev/null"}, "database_path": None})


def test_what_is_overridden_is_there():
    for owner, names in (
        (ZNP, ("connect", "disconnect", "connection_lost", "request", "reset", "frame_received")),
        (
            ControllerApplication,
            ("connect", "disconnect", "load_network_info", "start_network", "energy_scan", "permit"),
        ),
    ):
        assert [name for name in names if not hasattr(owner, name)] == []


async def test_closing_cancels_whoever_waits_which_is_why_a_session_tells_a_loss_before():
    """The fault that `LinkLife` works around; when this fails, it may go."""
    waiting = ZNP(config()).wait_for_response(mt.SYS.Ping.Rsp(partial=True))
    assert not waiting.done()
    dongle = ZNP(config())
    waiting = dongle.wait_for_response(mt.SYS.Ping.Rsp(partial=True))
    dongle.close()
    assert waiting.cancelled()


async def test_the_key_of_an_install_code_is_misread_which_is_why_the_radio_reads_keys_itself():
    """The fault that `znp/keys.py` works around; when this fails, it may go."""
    entry = znp.TCLKDevEntry(
        txFrmCntr=0,
        rxFrmCntr=0,
        extAddr=znp.EUI64.convert("00:db:12:34:56:78:90:a4"),
        keyAttributes=znp.KeyAttributes.PROVISIONAL_KEY,
        keyType=znp.KeyType.NONE,
        SeedShift_IcIndex=0,
    )

    async def table(**_):
        yield entry

    from zigpy_znp.znp import security

    dongle = SimpleNamespace(version=3.30, nvram=SimpleNamespace(read_table=table))
    (key,) = [key async for key in security.read_hashed_link_keys(dongle, znp.KeyData(bytes(16)))]
    assert key.key.serialize() == entry.extAddr.serialize() * 2
