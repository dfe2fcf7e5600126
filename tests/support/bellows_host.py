"""The real bellows as a host of the virtual dongle."""

from contextlib import AbstractAsyncContextManager

from bellows.zigbee.application import ControllerApplication

from tests.support.virtual_dongle import VirtualDongle
from tests.support.zigpy_host import Ear, config, running


class Host(Ear, ControllerApplication):
    """bellows, with an ear at what it receives."""


def host(dongle: VirtualDongle, **network: object) -> AbstractAsyncContextManager[Host]:
    return running(Host(config(dongle.port, **network)))
