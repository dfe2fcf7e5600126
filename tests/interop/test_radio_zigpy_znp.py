"""The installed zigpy-znp is the one that the hub's radio was written for: its inside, its faults."""

from types import SimpleNamespace
from typing import Any

import pytest
import zigpy_znp.commands as mt
import zigpy_znp.types as znp
from zigpy_znp.api import ZNP
from zigpy_znp.uart import ZnpMtProtocol
from zigpy_znp.zigbee.application import ControllerApplication

from chf.errors import RadioRefusedError
from chf.radio.znp.link import HotZnp, refuse_unknown_zigpy_znp


class Ears:
    """`MtEvents` that nothing is told."""

    def device_joined(self, network_address, device):
        raise AssertionError

    device_left = line_lost = device_joined


def config() -> dict[str, Any]:
    return ControllerApplication.SCHEMA({"device": {"path": "/dev/null"}, "database_path": None})


async def test_the_installed_zigpy_znp_has_the_inside_that_the_fast_lane_uses():
    refuse_unknown_zigpy_znp(HotZnp(config(), Ears()))


async def test_another_zigpy_znp_is_refused_by_name():
    dongle = HotZnp(config(), Ears())
    del dongle._listeners
    with pytest.raises(RadioRefusedError, match=r"_listeners.*1\.1\.1"):
        refuse_unknown_zigpy_znp(dongle)


def test_what_is_overridden_is_there():
    for owner, names in (
        (
            ZNP,
            ("connect", "disconnect", "connection_lost", "request", "request_callback_rsp", "start_network", "reset"),
        ),
        (ZnpMtProtocol, ("data_received", "write", "close")),
        (
            ControllerApplication,
            ("connect", "disconnect", "load_network_info", "start_network", "energy_scan", "permit"),
        ),
    ):
        assert [name for name in names if not hasattr(owner, name)] == []


async def test_closing_cancels_whoever_waits_which_is_why_the_link_tells_a_loss_instead():
    """The fault that `_lost_is_told` works around; when this fails, it may go."""
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
