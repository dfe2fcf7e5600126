"""The real zigpy-znp as a host of the virtual dongle."""

from contextlib import AbstractAsyncContextManager

from zigpy_znp.zigbee.application import ControllerApplication

from tests.support.virtual_dongle import VirtualDongle
from tests.support.zigpy_host import Ear, config, running

_ZNP_CONFIG = {"prefer_endpoint_1": False, "skip_bootloader": False}


class Host(Ear, ControllerApplication):
    """zigpy-znp, with an ear at what it receives."""


def host(dongle: VirtualDongle, **network: object) -> AbstractAsyncContextManager[Host]:
    return running(Host({**config(dongle.port, **network), "znp_config": _ZNP_CONFIG}))
