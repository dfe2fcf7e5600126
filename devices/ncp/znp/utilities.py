"""What belongs to no network: ping, version, power, chance, lights (3.8), and the association list (3.10)."""

from typing import TYPE_CHECKING

from devices.ncp.coprocessor import Coprocessor
from devices.ncp.znp import items
from devices.ncp.znp.device_tables import relation
from devices.ncp.znp.status import ZStatus
from devices.stack.interface import Eui64, NwkAddress

if TYPE_CHECKING:
    from devices.ncp.layout import Handler
    from devices.ncp.znp.device_tables import DeviceTables
    from devices.ncp.znp.personality import Personality

TRANSPORT_REVISION = 2  # 3.8.1.4
_CAPABILITIES = 0x0659  # SYS, AF, ZDO, UTIL, GP, APP_CNF (3.8.1.3), as the builds for sticks say
_MAX_POWER_DBM = 20  # of the CC2652P, the strongest
_NO_IEEE = 0  # our choice


class Utilities:
    """Handlers of SYS and UTIL."""

    def __init__(self, chip: Coprocessor, personality: "Personality", tables: "DeviceTables") -> None:
        self._stack, self._scheduler, self._random = chip.stack, chip.scheduler, chip.random
        self._personality = personality
        self._tables = tables
        self._booted_at = chip.scheduler.now

    def handlers(self) -> dict[str, "Handler"]:
        version = (TRANSPORT_REVISION, self._personality.product, *self._personality.version)
        return {
            "ping": lambda: (_CAPABILITIES,),
            "version": lambda: (*version, self._personality.revision, 0),  # built without a bootloader
            "random": lambda: (self._random.getrandbits(16),),
            "stackTune": lambda _operation, value: (value,),
            "setTxPower": lambda power: (
                ZStatus.SUCCESS if abs(power) <= _MAX_POWER_DBM else ZStatus.INVALID_PARAMETER,
            ),
            "ledControl": lambda _led, _mode: (ZStatus.SUCCESS,),
            "timeAlive": lambda: (int(self._scheduler.now - self._booted_at),),
            "addrMgrExtAddrLookup": lambda ieee: (self._tables.address_of(Eui64(ieee)),),
            "addrMgrNwkAddrLookup": lambda address: (self._stack.ieee_of(NwkAddress(address)) or _NO_IEEE,),
            "assocCount": self.assoc_count,
            "assocFindDevice": self.assoc_find_device,
            "assocGetWithAddress": self.assoc_get_with_address,
            "assocRemove": self.assoc_remove,
            "assocAdd": self.assoc_add,
        }

    def assoc_count(self, first: int, last: int) -> tuple[int]:
        return (sum(first <= relation(child) <= last for child in self._tables.association_list()),)

    def assoc_find_device(self, index: int) -> tuple[bytes]:
        children = self._tables.association_list()
        return (self._tables.associated(children[index]) if index < len(children) else items.EMPTY_ASSOCIATED,)

    def assoc_get_with_address(self, ieee: int, address: int) -> tuple[bytes]:
        """By IEEE address, where one is given."""
        for child in self._tables.association_list():
            if child.ieee == ieee or (ieee in items.NOBODY and child.address == address):
                return (self._tables.associated(child),)
        return (items.EMPTY_ASSOCIATED,)

    def assoc_remove(self, ieee: int) -> tuple[int]:
        if ieee not in self._tables.children or ieee in self._tables.disowned:
            return (ZStatus.FAILURE,)
        self._tables.disowned.add(Eui64(ieee))
        return (ZStatus.SUCCESS,)

    def assoc_add(self, _address: int, ieee: int, _relation: int) -> tuple[int]:
        """Puts back what was removed; a device that is no child has to join."""
        if ieee not in self._tables.children:
            return (ZStatus.FAILURE,)
        self._tables.disowned.discard(Eui64(ieee))
        return (ZStatus.SUCCESS,)
