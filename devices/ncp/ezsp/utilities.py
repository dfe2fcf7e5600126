"""What belongs to no network: tokens, counters, random numbers, echo, and what this firmware lacks (UG100 5)."""

import struct
from collections import Counter as CounterOf
from enum import IntEnum
from typing import TYPE_CHECKING

from devices.ncp.ezsp.status import EmberStatus
from devices.ncp.layout import Handler

if TYPE_CHECKING:
    from random import Random

    from devices.ncp.ezsp.personality import Personality

_TOKEN_BYTES = 16  # UG100 3.3, MFG_STRING and MFG_BOARD_NAME
_NO_BOOTLOADER = 0xFFFF  # UG100 12, getStandaloneBootloaderVersionPlatMicroPhy
_LIBRARY_ABSENT = 0x00  # EmberLibraryStatus
_CERTIFICATE_BYTES = 48  # EmberCertificateData
_CERTIFICATE_283K1_BYTES = 74  # EmberCertificate283k1Data
_COUNTERS = 40  # UG100 3.3, EmberCounterType


class Counter(IntEnum):
    """The counters that this stack can tell (UG100 3.3, EmberCounterType); the others stay at zero."""

    APS_RX_BROADCAST = 6
    APS_TX_BROADCAST = 7
    APS_RX_UNICAST = 8
    APS_TX_UNICAST_SUCCESS = 9
    APS_TX_UNICAST_FAILED = 11
    JOIN_INDICATION = 16
    BUFFER_FAILURE = 27


class Utilities:
    """Handlers of UG100 5, and of what is accepted without effect."""

    def __init__(self, personality: "Personality", random: "Random") -> None:
        self.counters: CounterOf[int] = CounterOf()
        self._random = random
        self._mfg_tokens = {
            0x00: b"\xff\xff",  # MFG_CUSTOM_VERSION, unset
            0x01: _padded(personality.manufacturer),  # MFG_STRING
            0x02: _padded(personality.board),  # MFG_BOARD_NAME
            0x03: b"\xff\xff",  # MFG_MANUF_ID
            0x0C: b"\xff" * 8,  # MFG_CUSTOM_EUI_64
        }

    def handlers(self) -> dict[str, Handler]:
        return {
            "readCounters": self.read_counters,
            "readAndClearCounters": self.read_and_clear_counters,
            "nop": lambda: (),
            "callback": lambda: (),  # UART hosts are called back by themselves
            "echo": lambda data: (data,),
            "getRandomNumber": lambda: (EmberStatus.SUCCESS, self._random.getrandbits(16)),
            "getMfgToken": lambda token: (self._mfg_tokens.get(token, b""),),
            "setMfgToken": lambda _token, _value: (EmberStatus.INVALID_CALL,),  # written in the factory
            "customFrame": lambda _payload: (EmberStatus.ERR_FATAL, b""),  # no XNCP extensions
            "getXncpInfo": lambda: (EmberStatus.INVALID_CALL, 0, 0),  # the same
            "getTimer": lambda _timer: (0, 0, False),  # none runs
            "getStandaloneBootloaderVersionPlatMicroPhy": lambda: (_NO_BOOTLOADER, 0, 0, 0),
            "getLibraryStatus": lambda _library: (_LIBRARY_ABSENT,),  # no CBKE, no ECC
            "getCertificate": lambda: (EmberStatus.LIBRARY_NOT_PRESENT, bytes(_CERTIFICATE_BYTES)),
            "getCertificate283k1": lambda: (EmberStatus.LIBRARY_NOT_PRESENT, bytes(_CERTIFICATE_283K1_BYTES)),
            "getTokenData": lambda _token, _index: (EmberStatus.ERR_FATAL,),
            "setTokenData": lambda _token, _index, _value: (EmberStatus.ERR_FATAL,),
            "setPowerDescriptor": lambda _descriptor: (EmberStatus.SUCCESS,),
            "setConcentrator": lambda *_: (EmberStatus.SUCCESS,),
            "setSourceRouteDiscoveryMode": lambda _mode: (0,),
            "gpSinkTableClearAll": lambda: (),
            "gpClearProxyTable": lambda: (),
        }

    def read_counters(self) -> tuple[bytes]:
        """They have sixteen bits and wrap."""
        return (struct.pack(f"<{_COUNTERS}H", *(self.counters[number] & 0xFFFF for number in range(_COUNTERS))),)

    def read_and_clear_counters(self) -> tuple[bytes]:
        values = self.read_counters()
        self.counters.clear()
        return values


def _padded(text: str) -> bytes:
    return text.encode("ascii")[:_TOKEN_BYTES].ljust(_TOKEN_BYTES, b"\xff")
