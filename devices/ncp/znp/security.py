"""Who may join and with which key: install codes, link keys of the host, trust-centre policies (3.12, 3.14)."""

from typing import TYPE_CHECKING

from chf.crypto.install_code import CRC_BYTES, link_key, with_crc
from devices.ncp.coprocessor import Coprocessor
from devices.ncp.znp.status import ZStatus
from devices.stack.interface import Eui64, JoinKind

if TYPE_CHECKING:
    from devices.ncp.layout import Handler
    from devices.ncp.znp.device_tables import DeviceTables
    from devices.ncp.znp.personality import Personality
    from devices.time import Timer

_CODE_AND_CRC, _DERIVED_KEY = 1, 2  # formats of BDB_ADD_INSTALLCODE
_CODE_BYTES = 16  # an install code without its CRC, base device behaviour
_KEY_BYTES = 16  # AES-128
_UNUSABLE_KEYS = frozenset({bytes(16), b"\xff" * 16})
_NONE = 0xFFFF  # 3.12, ZDO_SEC_ENTRY_LOOKUP_EXT: no entry


class Security:
    """Handlers of what concerns keys, and the end of those who join and want no key of their own.

    Smart Energy devices ask for none (Request-Key), since theirs is established otherwise.
    """

    def __init__(self, chip: Coprocessor, personality: "Personality", tables: "DeviceTables") -> None:
        self._chip, self._stack = chip, chip.stack
        self._tables = tables
        self._join_timeout_s = personality.join_timeout_s
        self._requires_key_exchange = personality.requires_key_exchange
        self._joining: dict[Eui64, Timer] = {}
        self._stack.trust_centre.unsecured_rejoin_allowed = True

    def handlers(self) -> dict[str, "Handler"]:
        return {
            "bdbAddInstallCode": self.add_install_code,
            "bdbSetJoinUsesInstallCodeKey": self.set_join_uses_install_code_key,
            "bdbSetTcRequireKeyExchange": self.set_tc_require_key_exchange,
            "setAllowRejoinTcPolicy": self.set_allow_rejoin,
            "setDefaultRemoteEndDeviceTimeout": lambda _index: (ZStatus.SUCCESS,),  # children name their own
            "secAddLinkKey": self.sec_add_link_key,
            "setLinkKey": self.sec_add_link_key,  # the same function under another build option (mt_zdo.c)
            "getLinkKey": self.get_link_key,
            "secEntryLookupExt": self.sec_entry_lookup_ext,
            "secDeviceRemove": self.sec_device_remove,
            "apsmeLinkKeyDataGet": self.link_key_data_get,
        }

    def add_install_code(self, kind: int, ieee: int, code: bytes) -> tuple[int]:
        if kind == _CODE_AND_CRC:
            if len(code) != _CODE_BYTES + CRC_BYTES or with_crc(code[:-CRC_BYTES]) != code:
                return (ZStatus.INVALID_PARAMETER,)
            key = link_key(code)
        elif kind == _DERIVED_KEY and len(code) == _KEY_BYTES:
            key = code
        else:
            return (ZStatus.INVALID_PARAMETER,)
        if key in _UNUSABLE_KEYS:
            return (ZStatus.INVALID_PARAMETER,)
        added = self._tables.add_install_code_key(Eui64(ieee), key)
        return (ZStatus.SUCCESS if added else ZStatus.BUFFER_FULL,)

    def set_join_uses_install_code_key(self, required: int) -> tuple[int]:
        self._tables.install_codes_only = bool(required)
        return (ZStatus.SUCCESS,)

    def set_tc_require_key_exchange(self, required: int) -> tuple[int]:
        """Heeded when the time of a joiner is up (bdb.c)."""
        self._requires_key_exchange = bool(required)
        return (ZStatus.SUCCESS,)

    def device_joined(self, ieee: Eui64, kind: JoinKind) -> None:
        if kind is not JoinKind.ASSOCIATED:
            return
        self.device_left(ieee)
        self._joining[ieee] = self._chip.call_later(self._join_timeout_s, lambda: self._join_timed_out(ieee))

    def device_left(self, ieee: Eui64) -> None:
        if timer := self._joining.pop(ieee, None):
            timer.cancel()

    def _join_timed_out(self, ieee: Eui64) -> None:
        del self._joining[ieee]
        if self._requires_key_exchange and not self._tables.has_key_of_its_own(ieee):
            self._stack.remove(ieee)

    def set_allow_rejoin(self, allow: int) -> tuple[int]:
        self._stack.trust_centre.unsecured_rejoin_allowed = bool(allow)
        return (ZStatus.SUCCESS,)

    def sec_add_link_key(self, node: int, ieee: int, key: bytes) -> tuple[int]:
        if key in _UNUSABLE_KEYS:
            return (ZStatus.INVALID_PARAMETER,)
        added = self._tables.add_aps_key(Eui64(ieee), node, key)
        return (ZStatus.SUCCESS if added else ZStatus.BUFFER_FULL,)

    def sec_entry_lookup_ext(self, ieee: int) -> tuple[int, int, int]:
        index = self._tables.index_of(Eui64(ieee))
        slot = self._tables.aps_key_slot(Eui64(ieee))
        if index is None or slot is None:
            return _NONE, _NONE, 0
        return index, slot, 1

    def sec_device_remove(self, ieee: int) -> tuple[int]:
        return (ZStatus.SUCCESS if self._tables.remove_keys(Eui64(ieee)) else ZStatus.INVALID_PARAMETER,)

    def get_link_key(self, ieee: int) -> tuple[int, int, bytes]:
        """An APS link key; that of the trust centre is not told (mt_zdo.c)."""
        key = self._tables.aps_key(Eui64(ieee))
        return (ZStatus.FAILURE, ieee, bytes(16)) if key is None else (ZStatus.SUCCESS, ieee, key)

    def link_key_data_get(self, ieee: int) -> tuple[int, bytes, int, int]:
        key = self._tables.for_data(Eui64(ieee))
        if key is None:
            return ZStatus.SEC_NO_KEY, bytes(16), 0, 0
        return ZStatus.SUCCESS, key.key, key.outgoing_counter, key.incoming_counter + 1
