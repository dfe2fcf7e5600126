"""The co-processor's address, binding and multicast tables, and who waits longer for a sleepy device (UG100 8)."""

from dataclasses import dataclass

from devices.ncp.ezsp.configuration import ADDRESS_TABLE_SIZE, BINDING_TABLE_SIZE, MULTICAST_TABLE_SIZE, Settings
from devices.ncp.ezsp.status import EmberStatus
from devices.ncp.layout import Handler
from devices.stack.coordinator import ZigbeeCoordinator
from devices.stack.interface import Eui64, NwkAddress

UNUSED_NODE = 0xFFFF  # EMBER_TABLE_ENTRY_UNUSED_NODE_ID
_UNKNOWN_NODE = 0xFFFD  # EMBER_UNKNOWN_NODE_ID
NO_INDEX = 0xFF  # UG100 8, incomingMessageHandler: no address table entry
_NOBODY = Eui64(0)
_UNUSED_BINDING = bytes(14)  # EmberBindingTableEntry, of type EMBER_UNUSED_BINDING


@dataclass(slots=True)
class _Address:
    ieee: Eui64 = _NOBODY
    node: int = UNUSED_NODE


class AddressTable:
    """Handlers of the address table and the lookups. RAM: a reset empties it."""

    def __init__(self, stack: ZigbeeCoordinator, settings: Settings) -> None:
        self._stack = stack
        self._settings = settings
        self._entries: dict[int, _Address] = {}
        self._extended: set[Eui64] = set()

    def handlers(self) -> dict[str, Handler]:
        return {
            "addressTableEntryIsActive": self.is_active,
            "setAddressTableRemoteEui64": self.set_eui64,
            "setAddressTableRemoteNodeId": self.set_node_id,
            "getAddressTableRemoteEui64": self.get_eui64,
            "getAddressTableRemoteNodeId": self.get_node_id,
            "setAddressTableInfo": self.set_info,
            "getAddressTableInfo": self.get_info,
            "setExtendedTimeout": self.set_extended_timeout,
            "getExtendedTimeout": self.get_extended_timeout,
            "replaceAddressTableEntry": self.replace,
            "lookupNodeIdByEui64": self.lookup_node,
            "lookupEui64ByNodeId": self.lookup_eui64,
        }

    def node_at(self, index: int) -> int | None:
        entry = self._entries.get(index)
        return None if entry is None or entry.node >= _UNKNOWN_NODE else entry.node

    def index_of(self, node: int) -> int:
        return next((index for index, entry in self._entries.items() if entry.node == node), NO_INDEX)

    def is_active(self, index: int) -> tuple[bool]:
        """An active entry has messages on their way; nothing here keeps one that long."""
        del index
        return (False,)

    def set_eui64(self, index: int, ieee: int) -> tuple[int]:
        if index >= self._settings[ADDRESS_TABLE_SIZE]:
            return (EmberStatus.ADDRESS_TABLE_INDEX_OUT_OF_RANGE,)
        known = self._node_of(Eui64(ieee))
        self._entries[index] = _Address(Eui64(ieee), _UNKNOWN_NODE if known is None else known)
        return (EmberStatus.SUCCESS,)

    def set_node_id(self, index: int, node: int) -> tuple[()]:
        if index < self._settings[ADDRESS_TABLE_SIZE]:
            self._entries.setdefault(index, _Address()).node = node
        return ()

    def get_eui64(self, index: int) -> tuple[int]:
        entry = self._entries.get(index)
        return (0 if entry is None else entry.ieee,)

    def get_node_id(self, index: int) -> tuple[int]:
        entry = self._entries.get(index)
        return (UNUSED_NODE if entry is None else entry.node,)

    def set_info(self, index: int, ieee: int, node: int) -> tuple[int]:
        if index >= self._settings[ADDRESS_TABLE_SIZE]:
            return (EmberStatus.ADDRESS_TABLE_INDEX_OUT_OF_RANGE,)
        self._entries[index] = _Address(Eui64(ieee), node)
        return (EmberStatus.SUCCESS,)

    def get_info(self, index: int) -> tuple[int, int, int]:
        if index >= self._settings[ADDRESS_TABLE_SIZE]:
            return EmberStatus.ADDRESS_TABLE_INDEX_OUT_OF_RANGE, UNUSED_NODE, 0
        entry = self._entries.get(index, _Address())
        return EmberStatus.SUCCESS, entry.node, entry.ieee

    def replace(self, index: int, ieee: int, node: int, extended: bool) -> tuple[int, int, int, bool]:
        """Answers what stood there before."""
        if index >= self._settings[ADDRESS_TABLE_SIZE]:
            return EmberStatus.ADDRESS_TABLE_INDEX_OUT_OF_RANGE, 0, UNUSED_NODE, False
        before = self._entries.get(index, _Address())
        was_extended = before.ieee in self._extended
        self._extended.discard(before.ieee)
        self._entries[index] = _Address(Eui64(ieee), node)
        self._mark(Eui64(ieee), extended=extended)
        return EmberStatus.SUCCESS, before.ieee, before.node, was_extended

    def set_extended_timeout(self, ieee: int, extended: bool) -> tuple[int]:
        """Remembered for devices that some table knows, as on the chip."""
        if self._node_of(Eui64(ieee)) is not None:
            self._mark(Eui64(ieee), extended=extended)
        return (EmberStatus.SUCCESS,)

    def get_extended_timeout(self, ieee: int) -> tuple[bool, int]:
        extended = ieee in self._extended
        return extended, EmberStatus.SUCCESS if extended else EmberStatus.ERR_FATAL

    def _mark(self, ieee: Eui64, *, extended: bool) -> None:
        if extended:
            self._extended.add(ieee)
        else:
            self._extended.discard(ieee)

    def _node_of(self, ieee: Eui64) -> int | None:
        if ieee == self._stack.ieee:
            return self._stack.address
        address = self._stack.address_of(ieee)
        if address is not None:
            return address
        return next((entry.node for entry in self._entries.values() if entry.ieee == ieee), None)

    def lookup_node(self, ieee: int) -> tuple[int, int]:
        node = self._node_of(Eui64(ieee))
        return (EmberStatus.NOT_FOUND, UNUSED_NODE) if node is None else (EmberStatus.SUCCESS, node)

    def lookup_eui64(self, node: int) -> tuple[int, int]:
        if node == self._stack.address:
            return EmberStatus.SUCCESS, self._stack.ieee
        ieee = self._stack.ieee_of(NwkAddress(node))
        if ieee is None:
            ieee = next((entry.ieee for entry in self._entries.values() if entry.node == node), None)
        return (EmberStatus.ERR_FATAL, 0) if ieee is None else (EmberStatus.SUCCESS, ieee)


class BindingTable:
    """What the host writes there it reads again; nothing is sent by it. RAM here, flash on a chip."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._entries: dict[int, bytes] = {}

    def handlers(self) -> dict[str, Handler]:
        return {
            "clearBindingTable": self.clear,
            "setBinding": self.set,
            "getBinding": self.get,
            "deleteBinding": lambda index: self.set(index, _UNUSED_BINDING),
            "bindingIsActive": lambda _index: (False,),
        }

    def clear(self) -> tuple[int]:
        self._entries.clear()
        return (EmberStatus.SUCCESS,)

    def set(self, index: int, entry: bytes) -> tuple[int]:
        if index >= self._settings[BINDING_TABLE_SIZE]:
            return (EmberStatus.INDEX_OUT_OF_RANGE,)
        self._entries[index] = entry
        return (EmberStatus.SUCCESS,)

    def get(self, index: int) -> tuple[int, bytes]:
        if index >= self._settings[BINDING_TABLE_SIZE]:
            return EmberStatus.INDEX_OUT_OF_RANGE, _UNUSED_BINDING
        return EmberStatus.SUCCESS, self._entries.get(index, _UNUSED_BINDING)


class MulticastTable:
    """The groups that the coordinator's endpoints are members of. RAM, and endpoint 0 marks a free entry."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._entries: dict[int, tuple[int, int, int]] = {}

    def handlers(self) -> dict[str, Handler]:
        return {"getMulticastTableEntry": self.get, "setMulticastTableEntry": self.set}

    def is_member(self, group: int) -> bool:
        return any(held == group and endpoint for held, endpoint, _ in self._entries.values())

    def get(self, index: int) -> tuple[int, int, int, int]:
        if index >= self._settings[MULTICAST_TABLE_SIZE]:
            return EmberStatus.INDEX_OUT_OF_RANGE, 0, 0, 0
        return EmberStatus.SUCCESS, *self._entries.get(index, (0, 0, 0))

    def set(self, index: int, group: int, endpoint: int, network: int) -> tuple[int]:
        if index >= self._settings[MULTICAST_TABLE_SIZE]:
            return (EmberStatus.INDEX_OUT_OF_RANGE,)
        self._entries[index] = (group, endpoint, network)
        return (EmberStatus.SUCCESS,)
