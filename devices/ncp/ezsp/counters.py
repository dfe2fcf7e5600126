"""The counters of readCounters (UG100 3.3, EmberCounterType). Only those that this stack can tell are counted."""

import struct

from devices.ncp.ezsp.layout import Handler

_COUNT = 40
_APS_RX_BROADCAST, _APS_TX_BROADCAST, _APS_RX_UNICAST = 6, 7, 8
_APS_TX_UNICAST_SUCCESS, _APS_TX_UNICAST_FAILED = 9, 11
_JOIN_INDICATION, _BUFFER_FAILURE = 16, 27


class Counters:
    """Sixteen-bit counters that wrap."""

    def __init__(self) -> None:
        self._values = [0] * _COUNT

    def handlers(self) -> dict[str, Handler]:
        return {
            "readCounters": self.read,
            "readAndClearCounters": self.read_and_clear,
        }

    def _count(self, counter: int) -> None:
        self._values[counter] = self._values[counter] + 1 & 0xFFFF

    def received(self, *, unicast: bool) -> None:
        self._count(_APS_RX_UNICAST if unicast else _APS_RX_BROADCAST)

    def unicast_sent(self, *, delivered: bool) -> None:
        self._count(_APS_TX_UNICAST_SUCCESS if delivered else _APS_TX_UNICAST_FAILED)

    def broadcast_sent(self) -> None:
        self._count(_APS_TX_BROADCAST)

    def joined(self) -> None:
        self._count(_JOIN_INDICATION)

    def dropped(self) -> None:
        self._count(_BUFFER_FAILURE)

    def read(self) -> tuple[bytes]:
        return (struct.pack(f"<{_COUNT}H", *self._values),)

    def read_and_clear(self) -> tuple[bytes]:
        values = self.read()
        self._values = [0] * _COUNT
        return values
