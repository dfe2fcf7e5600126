"""Whom the co-processor knows: the address manager, the associated devices, and the link keys of each.

Three kinds of link keys, as on the chip. The trust-centre table has one entry for every device that joined or may: its
key comes from an install code (kept in a table of its own), from the seed, or is the well-known one. The APS link key
table has what ZDO_SEC_ADD_LINK_KEY put there, which is where a Smart Energy host leaves the key of an establishment.

Which of two keys serves is our choice, since TI does not say: data take the APS link key before the trust centre's, a
join the other way round, and a new install code drops the APS link key of its device, who must be starting anew.

A device that finds the tables full is not let in.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from devices.ncp.znp import items
from devices.ncp.znp.items import AddressUser, Item, KeyAttributes, NodeRelation, Table
from devices.ncp.znp.nvram import ZSTACK, NvKey, Nvram, legacy
from devices.stack.interface import Eui64, JoinKind, LinkKey, Neighbour, NwkAddress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from devices.ncp.znp.personality import TableSizes

T = TypeVar("T")
WELL_KNOWN_KEY = b"ZigBeeAlliance09"  # default global trust centre link key of the base device behaviour
_MAX_OFFERED = 16  # joins under way; our choice
_FIRST_BROADCAST = 0xFFF8  # Zigbee PRO table 3.60


@dataclass(slots=True)
class Address:
    """An entry of the address manager."""

    ieee: Eui64
    address: int = items.NO_ADDRESS
    awaited: bool = False
    """A child by what a host restored, whose address is not known: no part of the network until it is back."""


@dataclass(slots=True)
class TrustCenterEntry:
    """`shift_or_place`: by how much the seed is rotated, or which entry of the install-code table it is."""

    ieee: Eui64
    key: LinkKey = field(repr=False)
    attributes: int
    key_type: int = 0
    shift_or_place: int = 0

    @property
    def has_install_code(self) -> bool:
        return self.attributes == KeyAttributes.PROVISIONAL


@dataclass(slots=True)
class ApsLinkKey:
    ieee: Eui64
    key: LinkKey = field(repr=False)
    authentication: int = items.AUTHENTICATED_CBCK


class DeviceTables:
    """The `LinkKeys` of devices/stack/interface.py. `sizes` are those of the build.

    `load` reads them from flash at boot; from then on flash mirrors what is here. `children` are those of the running
    network.
    """

    def __init__(self, sizes: "TableSizes") -> None:
        self.sizes = sizes
        self.install_codes_only = False
        self._nvram: Nvram | None = None
        self.children: dict[Eui64, Neighbour] = {}
        self.disowned: set[Eui64] = set()
        """Children that the host struck off the association list: no route leads to them until they are back on it."""
        self.revision = 0  # counts every key that came in
        self._addresses: list[Address | None] = [None] * sizes.addresses
        self._trust_center: list[TrustCenterEntry | None] = [None] * sizes.trust_center_keys
        self._aps_keys: list[ApsLinkKey | None] = [None] * sizes.aps_keys
        self._trust_center_of: dict[Eui64, TrustCenterEntry] = {}
        self._aps_key_of: dict[Eui64, ApsLinkKey] = {}
        self._offered: dict[Eui64, LinkKey] = {}

    # LinkKeys, for the stack

    def for_data(self, partner: Eui64) -> LinkKey | None:
        aps_key = self._aps_key_of.get(partner)
        if aps_key is not None:
            return aps_key.key
        entry = self._trust_center_of.get(partner)
        return None if entry is None else entry.key

    def for_join(self, partner: Eui64, *, rejoining: bool = False) -> LinkKey | None:
        del rejoining  # by the same keys
        if self.index_of(partner) is None and None not in self._addresses:
            return None
        entry = self._trust_center_of.get(partner)
        if entry is not None and not (self.install_codes_only and entry.attributes == KeyAttributes.DEFAULT):
            return entry.key
        if aps_key := self._aps_key_of.get(partner):
            return aps_key.key
        if self.install_codes_only:
            return None
        if None not in self._trust_center:
            return None
        # An entry is made when it is in: many may ask.
        key = self._offered.setdefault(partner, LinkKey(WELL_KNOWN_KEY))
        if len(self._offered) > _MAX_OFFERED:
            del self._offered[next(iter(self._offered))]
        return key

    def offer(self, partner: Eui64) -> LinkKey | None:
        """One made of the seed, as ZDSecMgr.c makes it (unrotated: our choice)."""
        if partner not in self._trust_center_of or self._nvram is None:
            return None
        seed = (self._nvram.get(legacy(Item.TCLK_SEED)) or b"").ljust(16, b"\0")[:16]
        return LinkKey(items.key_from_seed(seed, partner, 0))

    def accept(self, partner: Eui64, key: LinkKey) -> None:
        entry = self._trust_center_of[partner]
        entry.key, entry.attributes, entry.shift_or_place = key, KeyAttributes.VERIFIED, 0
        self.revision += 1

    def has_key_of_its_own(self, partner: Eui64) -> bool:
        """Whether it asked for one, and proved that it holds it."""
        entry = self._trust_center_of.get(partner)
        return entry is not None and entry.attributes == KeyAttributes.VERIFIED

    # keys

    def add_install_code_key(self, partner: Eui64, key: bytes) -> bool:
        """False when the table is full. The same key again keeps its counter, so that no value is used twice."""
        self.remove_aps_key(partner)
        before = self._trust_center_of.get(partner)
        counter = before.key.outgoing_counter if before is not None and before.key.key == key else 0
        self._remove_from_trust_center(partner)
        return self._add_to_trust_center(partner, LinkKey(key, counter), KeyAttributes.PROVISIONAL) is not None

    def _add_to_trust_center(self, partner: Eui64, key: LinkKey, attributes: int) -> TrustCenterEntry | None:
        slot = _free(self._trust_center)
        place = self._free_install_code_place() if attributes == KeyAttributes.PROVISIONAL else 0
        if slot is None or place is None:
            return None
        entry = TrustCenterEntry(partner, key, attributes, shift_or_place=place)
        self._trust_center[slot] = self._trust_center_of[partner] = entry
        self.revision += 1
        return entry

    def _free_install_code_place(self) -> int | None:
        taken = {entry.shift_or_place for entry in self._trust_center if entry is not None and entry.has_install_code}
        return next((place for place in range(self.sizes.install_codes) if place not in taken), None)

    def _remove_from_trust_center(self, partner: Eui64) -> bool:
        entry = self._trust_center_of.pop(partner, None)
        if entry is not None:
            self._trust_center[self._trust_center.index(entry)] = None
        return entry is not None

    def add_aps_key(self, partner: Eui64, address: int, key: bytes) -> bool:
        """False when a table is full."""
        held = self._aps_key_of.get(partner)
        slot = _free(self._aps_keys) if held is None else self._aps_keys.index(held)
        if slot is None or not self.meet(partner, address):
            return False
        self._aps_keys[slot] = self._aps_key_of[partner] = ApsLinkKey(partner, LinkKey(key))
        self.revision += 1
        return True

    def remove_aps_key(self, partner: Eui64) -> bool:
        entry = self._aps_key_of.pop(partner, None)
        if entry is not None:
            self._aps_keys[self._aps_keys.index(entry)] = None
            self._tidy(partner)
        return entry is not None

    def remove_keys(self, partner: Eui64) -> bool:
        """ZDO_SEC_DEVICE_REMOVE. False where there was none."""
        removed = self._remove_from_trust_center(partner)
        removed = self.remove_aps_key(partner) or removed
        self._tidy(partner)
        return removed

    def aps_key(self, partner: Eui64) -> bytes | None:
        entry = self._aps_key_of.get(partner)
        return None if entry is None else entry.key.key

    def aps_key_slot(self, partner: Eui64) -> int | None:
        entry = self._aps_key_of.get(partner)
        return None if entry is None else self._aps_keys.index(entry)

    def in_use(self) -> dict[Eui64, bytes]:
        """Every key in use, for a capture's key file."""
        keys = {partner: entry.key.key for partner, entry in self._trust_center_of.items()}
        return keys | {partner: entry.key.key for partner, entry in self._aps_key_of.items()}

    # devices

    def meet(self, ieee: Eui64, address: int) -> bool:
        """Note where a device is. False when there is no room."""
        index = self.index_of(ieee)
        if index is None:
            index = _free(self._addresses)
            if index is None:
                return False
            self._addresses[index] = Address(ieee)
        entry = self._addresses[index]
        assert entry is not None
        if address != items.NO_ADDRESS:
            entry.address, entry.awaited = address, False
        return True

    def joined(self, ieee: Eui64, address: NwkAddress, kind: JoinKind) -> None:
        self.meet(ieee, address)
        self.disowned.discard(ieee)
        offered = self._offered.pop(ieee, None)
        if offered is not None and kind is not JoinKind.REJOINED_SECURED and self.for_data(ieee) is None:
            self._add_to_trust_center(ieee, offered, KeyAttributes.DEFAULT)
        entry = self._trust_center_of.get(ieee)
        if kind is JoinKind.ASSOCIATED and entry is not None and entry.attributes == KeyAttributes.DEFAULT:
            entry.key.incoming_counter = -1  # it may have been reset to factory; and everybody knows this key

    def refused(self, ieee: Eui64) -> None:
        """It was let in too early, or asked in vain; a child that asks in vain stays what it is."""
        if ieee not in self.children:
            self.left(ieee)

    def left(self, ieee: Eui64) -> None:
        self.disowned.discard(ieee)
        entry = self._trust_center_of.get(ieee)
        if entry is not None and entry.attributes == KeyAttributes.DEFAULT:
            self._remove_from_trust_center(ieee)
        index = self.index_of(ieee)
        if index is not None and (address := self._addresses[index]) is not None:
            address.awaited = False
        self._tidy(ieee)

    def _tidy(self, ieee: Eui64) -> None:
        """Nobody uses the address of a device that is no child and has no key."""
        index = self.index_of(ieee)
        if index is not None and (entry := self._addresses[index]) is not None and not self._users(entry):
            self._addresses[index] = None

    def _users(self, entry: Address) -> int:
        ieee = entry.ieee
        associated = entry.awaited or (ieee in self.children and ieee not in self.disowned)
        keys = ieee in self._aps_key_of or ieee in self._trust_center_of
        return (AddressUser.ASSOCIATED if associated else 0) | (AddressUser.SECURITY if keys else 0)

    def index_of(self, ieee: Eui64) -> int | None:
        return next((index for index, entry in enumerate(self._addresses) if entry and entry.ieee == ieee), None)

    def address_of(self, ieee: Eui64) -> int:
        index = self.index_of(ieee)
        entry = None if index is None else self._addresses[index]
        return items.NO_ADDRESS if entry is None else entry.address

    def association_list(self) -> list[Neighbour]:
        return [child for child in self.children.values() if child.ieee not in self.disowned and child.via is None]

    def associated(self, child: Neighbour) -> bytes:
        """associated_devices_t."""
        index = self.index_of(child.ieee)
        return items.ASSOCIATED.pack(
            child.address, 0xFFFF if index is None else index, relation(child), 0, 0, 0, bytes(12), bytes(8), 0, 0, 0
        )

    # flash

    def contents(self) -> tuple[object, ...]:
        """All that flash shows of this, to be compared: cheaper than the octets."""
        return (
            [(child.ieee, child.address, child.receiver_on_when_idle) for child in self.children.values()],
            set(self.disowned),
            [None if entry is None else (entry.ieee, entry.address, entry.awaited) for entry in self._addresses],
            [
                (entry.ieee, entry.key.key, entry.key.outgoing_counter, entry.key.incoming_counter)
                for entry in (*self._trust_center, *self._aps_keys)
                if entry is not None
            ],
            self.revision,
        )

    def mirror(self, nvram: Nvram) -> None:
        """From now on, flash shows what is here."""
        nvram.mirror(ZSTACK, Table.ADDRMGR, self._address_item)
        nvram.mirror(ZSTACK, Table.DEVICE_LIST, self._device_item)
        nvram.mirror(ZSTACK, Table.TCLK, self._trust_center_item)
        nvram.mirror(ZSTACK, Table.TCLK_IC, self._install_code_item)
        nvram.mirror(ZSTACK, Table.APS_KEY_DATA, self._aps_key_item)
        nvram.mirror_one(legacy(Item.APS_LINK_KEY_TABLE), self._link_key_table)

    def _address_item(self, index: int) -> bytes:
        entry = _at(self._addresses, index)
        if entry is None:
            return items.EMPTY_ADDRESS
        return items.ADDRESS.pack(self._users(entry), items.PADDING, entry.address, entry.ieee)

    def _device_item(self, slot: int) -> bytes:
        child = _at(self.association_list(), slot)
        index = None if child is None else self.index_of(child.ieee)
        if child is None or index is None:
            return items.EMPTY_LISTED
        return items.LISTED.pack(child.address, index, relation(child), 0, 0, 0, bytes(8))

    def _trust_center_item(self, slot: int) -> bytes:
        entry = _at(self._trust_center, slot)
        if entry is None:
            return items.TCLK.pack(0, 0, 0, KeyAttributes.DEFAULT, 0, 0, 0)
        key = entry.key
        place = entry.shift_or_place
        shift, index = (0, items.INSTALL_CODE_HELD | place) if entry.has_install_code else (place, 0)
        counters = key.outgoing_counter, key.incoming_counter + 1
        return items.TCLK.pack(*counters, entry.ieee, entry.attributes, entry.key_type, shift, index)

    def _install_code_item(self, place: int) -> bytes:
        for entry in self._trust_center:
            if entry is not None and entry.has_install_code and entry.shift_or_place == place:
                return entry.key.key
        return bytes(items.INSTALL_CODE_KEY_BYTES)

    def _aps_key_item(self, slot: int) -> bytes:
        entry = _at(self._aps_keys, slot)
        if entry is None:
            return bytes(items.LINK_KEY.size)
        # Flash has the next counter that is accepted, not the last.
        return items.LINK_KEY.pack(entry.key.key, entry.key.outgoing_counter, entry.key.incoming_counter + 1)

    def _link_key_table(self) -> bytes:
        entries = [
            items.LINK_KEY_ENTRY.pack(self.index_of(entry.ieee) or 0, slot, entry.authentication, items.PADDING)
            for slot, entry in enumerate(self._aps_keys)
            if entry is not None
        ]
        table = len(entries).to_bytes(2, "little") + b"".join(entries)
        return table.ljust(items.link_key_table_bytes(self.sizes.aps_keys), b"\0")

    def load(self, nvram: Nvram, seed: bytes) -> None:
        """What flash holds, at boot. Entries that make no sense are passed over."""
        self._nvram = nvram
        self._addresses = [None] * self.sizes.addresses
        self._trust_center = [None] * self.sizes.trust_center_keys
        self._aps_keys = [None] * self.sizes.aps_keys
        self._trust_center_of.clear()
        self._aps_key_of.clear()
        self.children = {}
        self.disowned.clear()
        self._offered.clear()
        self.install_codes_only = False
        relations = {}
        for _, octets in _entries(nvram, Table.DEVICE_LIST, self.sizes.children, items.LISTED.size):
            _, index, kind, *_ = items.LISTED.unpack(octets)
            relations[index] = kind
        for index, octets in _entries(nvram, Table.ADDRMGR, self.sizes.addresses, items.ADDRESS.size):
            users, _, address, ieee = items.ADDRESS.unpack(octets)
            if ieee not in items.NOBODY and users != 0xFF:
                child = bool(users & AddressUser.ASSOCIATED)
                known = address < _FIRST_BROADCAST
                self._addresses[index] = Address(ieee, address, awaited=child and not known)
                if child and known:
                    # A host that restores a network writes no device list, which says who sleeps.
                    awake = relations.get(index) != NodeRelation.CHILD_SLEEPING
                    self.children[ieee] = Neighbour(ieee, address, receiver_on_when_idle=awake)
        for slot, octets in _entries(nvram, Table.TCLK, self.sizes.trust_center_keys, items.TCLK.size):
            self._load_trust_center_entry(nvram, slot, octets, seed)
        self._load_aps_keys(nvram)
        self.revision += 1

    def _load_trust_center_entry(self, nvram: Nvram, slot: int, octets: bytes, seed: bytes) -> None:
        outgoing, incoming, ieee, attributes, key_type, shift, index = items.TCLK.unpack(octets)
        if ieee in items.NOBODY or ieee in self._trust_center_of:
            return
        shift_or_place = shift
        if attributes == KeyAttributes.PROVISIONAL:
            shift_or_place = shift or index & items.INSTALL_CODE_PLACE  # before SDK 5.30 one octet was for both
            held = nvram.get(NvKey(ZSTACK, Table.TCLK_IC, shift_or_place)) or b""
            if len(held) < items.INSTALL_CODE_KEY_BYTES:
                return
            key = held[: items.INSTALL_CODE_KEY_BYTES]
        elif attributes == KeyAttributes.DEFAULT:
            key = WELL_KNOWN_KEY
        else:
            key = items.key_from_seed(seed, ieee, shift_or_place)
        entry = TrustCenterEntry(ieee, LinkKey(key, outgoing, incoming - 1), attributes, key_type, shift_or_place)
        self._trust_center[slot] = self._trust_center_of[ieee] = entry

    def _load_aps_keys(self, nvram: Nvram) -> None:
        table = nvram.get(legacy(Item.APS_LINK_KEY_TABLE)) or b""
        count = min(int.from_bytes(table[:2], "little"), (len(table) - 2) // items.LINK_KEY_ENTRY.size)
        for place in range(max(count, 0)):
            at = 2 + place * items.LINK_KEY_ENTRY.size
            index, slot, authentication, _ = items.LINK_KEY_ENTRY.unpack_from(table, at)
            held = nvram.get(NvKey(ZSTACK, Table.APS_KEY_DATA, slot)) or b""
            address = _at(self._addresses, index)
            if address is None or address.ieee in self._aps_key_of or slot >= self.sizes.aps_keys:
                continue
            if len(held) != items.LINK_KEY.size or self._aps_keys[slot] is not None:
                continue
            key, outgoing, incoming = items.LINK_KEY.unpack(held)
            entry = ApsLinkKey(address.ieee, LinkKey(key, outgoing, incoming - 1), authentication)
            self._aps_keys[slot] = self._aps_key_of[address.ieee] = entry


def relation(child: Neighbour) -> NodeRelation:
    return NodeRelation.CHILD_RX_ON if child.receiver_on_when_idle else NodeRelation.CHILD_SLEEPING


def _entries(nvram: Nvram, table: Table, size: int, entry_bytes: int) -> "Iterator[tuple[int, bytes]]":
    for sub in range(size):
        octets = nvram.get(NvKey(ZSTACK, table, sub))
        if octets is not None and len(octets) == entry_bytes:
            yield sub, octets


def _at(table: Sequence[T | None], place: int) -> T | None:
    return table[place] if place < len(table) else None


def _free(table: "list[Address | None] | list[TrustCenterEntry | None] | list[ApsLinkKey | None]") -> int | None:
    return next((slot for slot, entry in enumerate(table) if entry is None), None)
