"""Link keys as hosts handled them before the security manager: EZSP up to version 12 (UG100 for EmberZNet 6).

The same tables as in `keys.py` and `security.py`, in the shape of EmberKeyStruct.
"""

import struct
from enum import IntEnum

from devices.ncp.ezsp.keys import NO_INDEX, KeyTables
from devices.ncp.ezsp.security import TrustCenterTokens
from devices.ncp.ezsp.status import EmberStatus, SlStatus
from devices.ncp.layout import Handler
from devices.stack.coordinator import ZigbeeCoordinator
from devices.stack.interface import Eui64, LinkKey

_KEY = struct.Struct("<HB16sIIBQ")  # EmberKeyStruct: bitmask, type, key, counters out and in, sequence, partner
assert _KEY.size == 36
_TRANSIENT = struct.Struct("<Q16sHH")  # EmberTransientKeyData: partner, key, bitmask, seconds to live
assert _TRANSIENT.size == 28

_HAS_SEQUENCE = 0x0001  # EmberKeyStructBitmask
_OF_TRUST_CENTER = 0x001A  # outgoing counter, partner, authorised: as a stick answers (home-assistant/core issue 79832)
_HAS_OUTGOING_COUNTER = 0x0002  # UG100 3.2, EmberKeyStructBitmask
_HAS_COUNTERS_AND_PARTNER = 0x001E  # both counters, the partner, and authorised


class EmberKeyType(IntEnum):
    TRUST_CENTER_LINK_KEY = 1
    CURRENT_NETWORK_KEY = 3
    APPLICATION_LINK_KEY = 5


_AS_EMBER_STATUS = {
    SlStatus.OK: EmberStatus.SUCCESS,
    SlStatus.INVALID_INDEX: EmberStatus.INDEX_OUT_OF_RANGE,
    SlStatus.INVALID_KEY: EmberStatus.KEY_INVALID,
    SlStatus.INVALID_PARAMETER: EmberStatus.KEY_TABLE_INVALID_ADDRESS,
    SlStatus.NOT_FOUND: EmberStatus.TABLE_ENTRY_ERASED,
}


class KeyStructs:
    """Handlers of UG100 9 as EmberZNet 6 has them."""

    def __init__(self, stack: ZigbeeCoordinator, keys: KeyTables, tokens: TrustCenterTokens) -> None:
        self._stack = stack
        self._keys = keys
        self._tokens = tokens

    def handlers(self) -> dict[str, Handler]:
        return {
            "getKey": self.get_key,
            "getKeyTableEntry": self.get_key_table_entry,
            "setKeyTableEntry": self.set_key_table_entry,
            "addOrUpdateKeyTableEntry": self.add_or_update_key_table_entry,
            "addTransientLinkKey": self.add_transient_link_key,
            "getTransientLinkKey": self.get_transient_link_key,
            "getTransientKeyTableEntry": self.get_transient_key_table_entry,
        }

    def get_key(self, kind: int) -> tuple[int, bytes]:
        network = self._stack.network
        if network is None:
            return EmberStatus.NOT_JOINED, bytes(_KEY.size)
        match kind:
            case EmberKeyType.CURRENT_NETWORK_KEY:
                bitmask = _HAS_SEQUENCE | _HAS_OUTGOING_COUNTER
                sequence, counter = network.network_key_sequence, network.network_frame_counter
                return EmberStatus.SUCCESS, _KEY.pack(bitmask, kind, network.network_key, counter, 0, sequence, 0)
            case EmberKeyType.TRUST_CENTER_LINK_KEY:
                key, partner = self._tokens.preconfigured_key, self._stack.ieee
                return EmberStatus.SUCCESS, _KEY.pack(_OF_TRUST_CENTER, kind, key, 0, 0, 0, partner)
            case _:
                return EmberStatus.ERR_FATAL, bytes(_KEY.size)

    def get_key_table_entry(self, index: int) -> tuple[int, bytes]:
        entry = self._keys.entry(index)
        if isinstance(entry, SlStatus):
            return _AS_EMBER_STATUS[entry], bytes(_KEY.size)
        return EmberStatus.SUCCESS, _key_struct(*entry)

    def set_key_table_entry(self, index: int, partner: int, _link_key: bool, key: bytes) -> tuple[int]:
        return (_AS_EMBER_STATUS[self._keys.import_link_key(index, Eui64(partner), key)],)

    def add_or_update_key_table_entry(self, partner: int, link_key: bool, key: bytes) -> tuple[int]:
        index = self._keys.find(Eui64(partner)) if partner else NO_INDEX
        if index == NO_INDEX:
            index = self._keys.find(Eui64(0))
        if index == NO_INDEX:
            return (EmberStatus.TABLE_FULL,)
        return self.set_key_table_entry(index, partner, link_key, key)

    def add_transient_link_key(self, partner: int, key: bytes) -> tuple[int]:
        return (_AS_EMBER_STATUS[self._keys.import_transient_key(Eui64(partner), key)],)

    def get_transient_link_key(self, partner: int) -> tuple[int, bytes]:
        return _transient(self._keys.transient(Eui64(partner)))

    def get_transient_key_table_entry(self, index: int) -> tuple[int, bytes]:
        return _transient(self._keys.transient_at(index))


def _key_struct(partner: Eui64, key: LinkKey) -> bytes:
    # The chip keeps the next counter that it accepts, not the last.
    incoming = key.incoming_counter + 1
    kind = EmberKeyType.APPLICATION_LINK_KEY
    return _KEY.pack(_HAS_COUNTERS_AND_PARTNER, kind, key.key, key.outgoing_counter, incoming, 0, partner)


def _transient(found: tuple[Eui64, LinkKey, int] | None) -> tuple[int, bytes]:
    if found is None:
        return EmberStatus.NOT_FOUND, bytes(_TRANSIENT.size)
    partner, key, seconds = found
    return EmberStatus.SUCCESS, _TRANSIENT.pack(partner, key.key, 0, seconds)
