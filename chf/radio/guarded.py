"""A `RadioListener` whose failures do not reach the radio: a fault in the hub must not cost it its dongle."""

import logging
from collections.abc import Callable
from typing import ParamSpec

from chf.eui64 import Eui64
from chf.radio.interface import Delivery, Inbound, Outbound, RadioListener, RadioState

_LOG = logging.getLogger(__name__)

_Told = ParamSpec("_Told")


class GuardedListener:
    """Passes everything on."""

    def __init__(self, listener: RadioListener) -> None:
        self._listener = listener

    def message_received(self, message: Inbound) -> None:
        tell(self._listener.message_received, message)

    def message_sent(self, message: Outbound, delivery: Delivery) -> None:
        tell(self._listener.message_sent, message, delivery)

    def device_joined(self, device: Eui64, network_address: int) -> None:
        tell(self._listener.device_joined, device, network_address)

    def device_left(self, device: Eui64) -> None:
        tell(self._listener.device_left, device)

    def radio_state_changed(self, state: RadioState, reason: str) -> None:
        tell(self._listener.radio_state_changed, state, reason)


def tell(listener: Callable[_Told, None], *args: _Told.args, **kwargs: _Told.kwargs) -> None:
    """Where the radio calls the hub, the hub's outermost loop is."""
    try:
        listener(*args, **kwargs)
    except Exception:  # noqa: BLE001
        _LOG.exception("the hub failed on what the radio told it")
