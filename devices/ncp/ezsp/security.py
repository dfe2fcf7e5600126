"""Keys and the trust centre as the host sees them (UG100 9 and 10, and the security manager of EmberZNet 7)."""

import struct
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

from devices.ncp.coprocessor import Coprocessor
from devices.ncp.ezsp.keys import NO_INDEX, KeyTables
from devices.ncp.ezsp.status import EmberStatus, SlStatus
from devices.ncp.layout import Handler
from devices.stack.interface import Eui64, LinkKey

if TYPE_CHECKING:
    from devices.ncp.ezsp.configuration import FrameCounters

_CONTEXT = struct.Struct("<BBHQBBI")  # sl_zb_sec_man_context: type, index, derived, partner, network, flags, algorithm
assert _CONTEXT.size == 18
_METADATA = struct.Struct("<HIIH")  # key bitmask, outgoing and incoming counter, seconds to live
assert _METADATA.size == 12
_NETWORK_KEY_INFO = struct.Struct(
    "<??BBI"
)  # sl_zb_sec_man_network_key_info_t: set, alternate set, sequence numbers, counter
assert _NETWORK_KEY_INFO.size == 8

_HAVE_NETWORK_KEY = 0x0200  # EmberInitialSecurityBitmask
_HAVE_PRECONFIGURED_KEY = 0x0100  # UG100 3.2, EmberInitialSecurityBitmask
_KEPT_OPTIONS = 0x0084  # EmberCurrentSecurityBitmask: global link key 0x04, with hashed link keys 0x80
_HAS_COUNTERS_AND_PARTNER = 0x001E  # EmberKeyStructBitmask: outgoing, incoming, partner, authorised


class KeyType(IntEnum):
    """sl_zb_sec_man_key_type."""

    NETWORK = 1
    TC_LINK = 2
    TC_LINK_WITH_TIMEOUT = 3
    APP_LINK = 4


@dataclass(slots=True)
class TrustCenterTokens:
    """What flash keeps of the trust centre's own security."""

    options: int = 0
    preconfigured_key: bytes = field(default=bytes(16), repr=False)


@dataclass(frozen=True, slots=True)
class FormingKey:
    key: bytes = field(repr=False)
    sequence: int
    frame_counter: int


@dataclass(frozen=True, slots=True)
class _InitialState:
    options: int
    preconfigured_key: bytes = field(repr=False)
    network_key: bytes = field(repr=False)
    key_sequence: int


class Security:
    """Handlers of UG100 9 and 10."""

    def __init__(
        self, chip: Coprocessor, keys: KeyTables, tokens: TrustCenterTokens, counters: "FrameCounters"
    ) -> None:
        self._stack, self._random = chip.stack, chip.random
        self._keys, self._tokens, self._counters = keys, tokens, counters
        self._initial: _InitialState | None = None

    def handlers(self) -> dict[str, Handler]:
        return {
            "setInitialSecurityState": self.set_initial_security_state,
            "getCurrentSecurityState": self.get_current_security_state,
            "findKeyTableEntry": self.find_key_table_entry,
            "eraseKeyTableEntry": self.erase_key_table_entry,
            "clearKeyTable": self.clear_key_table,
            "clearTransientLinkKeys": self.clear_transient_link_keys,
            "getApsKeyInfo": self.get_aps_key_info,
            "exportLinkKeyByEui": self.export_link_key_by_eui,
            "importLinkKey": self.import_link_key,
            "exportLinkKeyByIndex": self.export_link_key_by_index,
            "importTransientKey": self.import_transient_key,
            "exportTransientKeyByIndex": self.export_transient_key_by_index,
            "exportTransientKeyByEui": self.export_transient_key_by_eui,
            "exportKey": self.export_key,
            "getNetworkKeyInfo": self.get_network_key_info,
        }

    def network_key_to_form_with(self) -> FormingKey | None:
        """What setInitialSecurityState left for formNetwork, and take it into flash; None before it was called."""
        initial = self._initial
        if initial is None:
            return None
        self._tokens.options = initial.options & _KEPT_OPTIONS
        self._tokens.preconfigured_key = (
            initial.preconfigured_key if initial.options & _HAVE_PRECONFIGURED_KEY else self._random.randbytes(16)
        )
        key = initial.network_key if initial.options & _HAVE_NETWORK_KEY else self._random.randbytes(16)
        return FormingKey(key, initial.key_sequence, self._counters.network)

    def set_initial_security_state(
        self, options: int, preconfigured_key: bytes, network_key: bytes, key_sequence: int, _trust_center: int
    ) -> tuple[int]:
        self._initial = _InitialState(options, preconfigured_key, network_key, key_sequence)
        return (EmberStatus.SUCCESS,)

    def get_current_security_state(self) -> tuple[int, int, int]:
        if self._stack.network is None:
            return EmberStatus.NOT_JOINED, 0, 0
        return EmberStatus.SUCCESS, self._tokens.options, self._stack.ieee

    # the key table

    def find_key_table_entry(self, partner: int, _link_key: bool) -> tuple[int]:
        return (self._keys.find(Eui64(partner)),)

    def erase_key_table_entry(self, index: int) -> tuple[int]:
        return (EmberStatus.SUCCESS if self._keys.erase(index) else EmberStatus.INDEX_OUT_OF_RANGE,)

    def clear_key_table(self) -> tuple[int]:
        self._keys.clear()
        return (EmberStatus.SUCCESS,)

    def clear_transient_link_keys(self) -> tuple[()]:
        self._keys.forget_transient()
        return ()

    def import_link_key(self, index: int, partner: int, key: bytes) -> tuple[int]:
        return (self._keys.import_link_key(index, Eui64(partner), key),)

    def export_link_key_by_index(self, index: int) -> tuple[bytes, int, bytes, bytes, int]:
        entry = self._keys.entry(index)
        if isinstance(entry, SlStatus):
            return bytes(_CONTEXT.size), 0, bytes(16), bytes(_METADATA.size), entry
        partner, key = entry
        return _link_context(index, partner), partner, key.key, _metadata(key), SlStatus.OK

    def export_link_key_by_eui(self, partner: int) -> tuple[bytes, bytes, int, bytes, int]:
        index = self._keys.find(Eui64(partner)) if partner else NO_INDEX
        entry = self._keys.entry(index)
        if isinstance(entry, SlStatus):
            return bytes(_CONTEXT.size), bytes(16), NO_INDEX, bytes(_METADATA.size), SlStatus.NOT_FOUND
        return _link_context(index, entry[0]), entry[1].key, index, _metadata(entry[1]), SlStatus.OK

    def import_transient_key(self, partner: int, key: bytes) -> tuple[int]:
        return (self._keys.import_transient_key(Eui64(partner), key),)

    def export_transient_key_by_index(self, index: int) -> tuple[bytes, bytes, bytes, int]:
        return _exported(self._keys.transient_at(index), index)

    def export_transient_key_by_eui(self, partner: int) -> tuple[bytes, bytes, bytes, int]:
        return _exported(self._keys.transient(Eui64(partner)), 0)

    # single keys

    def export_key(self, context: bytes) -> tuple[bytes, bytes, int]:
        key, status = self._key_of(context)
        return key, context, status

    def _key_of(self, context: bytes) -> tuple[bytes, int]:
        kind, index, _derived, partner, *_ = _CONTEXT.unpack(context)
        network = self._stack.network
        if kind == KeyType.NETWORK:
            return (bytes(16), SlStatus.NOT_FOUND) if network is None else (network.network_key, SlStatus.OK)
        if kind == KeyType.TC_LINK:
            return self._tokens.preconfigured_key, SlStatus.OK
        if kind == KeyType.TC_LINK_WITH_TIMEOUT:
            transient = self._keys.transient(partner)
            return (bytes(16), SlStatus.NOT_FOUND) if transient is None else (transient[1].key, SlStatus.OK)
        if kind == KeyType.APP_LINK:
            entry = self._keys.entry(self._keys.find(partner) if partner else index)
            return (bytes(16), entry) if isinstance(entry, SlStatus) else (entry[1].key, SlStatus.OK)
        return bytes(16), SlStatus.INVALID_TYPE

    def get_aps_key_info(self, context: bytes) -> tuple[int, bytes, bytes, int]:
        kind, index, _derived, partner, *_ = _CONTEXT.unpack(context)
        if kind != KeyType.APP_LINK:
            return 0, bytes(_METADATA.size), context, SlStatus.INVALID_TYPE
        entry = self._keys.entry(self._keys.find(partner) if partner else index)
        if isinstance(entry, SlStatus):
            return 0, bytes(_METADATA.size), context, entry
        return entry[0], _metadata(entry[1]), context, SlStatus.OK

    def get_network_key_info(self) -> tuple[int, bytes]:
        network = self._stack.network
        if network is None:
            return SlStatus.OK, _NETWORK_KEY_INFO.pack(False, False, 0, 0, self._counters.network)
        return SlStatus.OK, _NETWORK_KEY_INFO.pack(
            True, False, network.network_key_sequence, 0, network.network_frame_counter
        )


def _link_context(index: int, partner: Eui64) -> bytes:
    return _CONTEXT.pack(KeyType.APP_LINK, index, 0, partner, 0, 0, 0)


def _metadata(key: LinkKey, seconds: int = 0) -> bytes:
    # The chip keeps the next counter that it accepts, not the last.
    return _METADATA.pack(_HAS_COUNTERS_AND_PARTNER, key.outgoing_counter, key.incoming_counter + 1, seconds)


def _exported(found: tuple[Eui64, LinkKey, int] | None, index: int) -> tuple[bytes, bytes, bytes, int]:
    if found is None:
        return bytes(_CONTEXT.size), bytes(16), bytes(_METADATA.size), SlStatus.NOT_FOUND
    partner, key, seconds = found
    context = _CONTEXT.pack(KeyType.TC_LINK_WITH_TIMEOUT, index, 0, partner, 0, 0, 0)
    return context, key.key, _metadata(key, seconds), SlStatus.OK
