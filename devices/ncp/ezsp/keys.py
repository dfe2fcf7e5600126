"""The co-processor's link keys: a table that outlives resets, transient keys that do not, and what each is good for.

The key table holds as many entries as KEY_TABLE_SIZE says; entries above stay in flash, out of reach. A transient key
serves a join and the first traffic after it, for TRANSIENT_KEY_TIMEOUT_S; a host that wants APS security for longer
must import the key into the table. Which key joins is the trust-centre policy's decision.

Left out: keys derived by hashing for devices that update their trust-centre key (TRUST_CENTER_USES_HASHED_LINK_KEY);
certificates.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from devices.ncp.ezsp.status import SlStatus
from devices.stack.interface import Eui64, LinkKey
from devices.stack.persisted import Persisted, link_key_from_json, link_key_to_json

if TYPE_CHECKING:
    from random import Random

    from devices.time import Scheduler

ANY_DEVICE = Eui64(0xFFFF_FFFF_FFFF_FFFF)
NO_INDEX = 0xFF  # UG100 9, findKeyTableEntry
SEND_CURRENT_KEY, GENERATE_NEW_KEY = 0x51, 0x52  # UG100 3.3, EzspDecisionId of TC_KEY_REQUEST_POLICY
_UNUSABLE_KEYS = frozenset({bytes(16), b"\xff" * 16})


@dataclass(slots=True)
class TransientKey:
    key: LinkKey = field(repr=False)
    expires_at: float


@dataclass(slots=True)
class JoinPolicy:
    """EzspDecisionBitmask of TRUST_CENTER_POLICY (UG100 3.3): a bit for those who join, two for those who rejoin."""

    allow_joins: bool = False
    allow_rejoins: bool = False
    ignore_rejoins: bool = False
    install_code_keys_only: bool = False

    @classmethod
    def from_decision(cls, decision: int) -> "JoinPolicy":
        return cls(*(bool(decision & bit) for bit in (0x01, 0x02, 0x08, 0x10)))


class KeyTables:
    """The `LinkKeys` of devices/stack/interface.py; sizes and policy are set by the host."""

    def __init__(self, own: Eui64, scheduler: "Scheduler", random: "Random") -> None:
        self.size = 0
        self.transient_timeout_s = 300.0
        self.policy = JoinPolicy()
        self.key_requests = 0  # TC_KEY_REQUEST_POLICY
        self._random = random
        self.first_outgoing_counter = 0
        self.revision = 0  # counts every key that came in
        self._own = own
        self._scheduler = scheduler
        self._table: dict[int, tuple[Eui64, LinkKey]] = {}
        self._found_at: dict[Eui64, int] = {}  # where a partner's key was last, to be looked at first
        self._transient: dict[Eui64, TransientKey] = {}

    def retained(self) -> dict[int, Persisted]:
        """The entries that flash holds, by index, those out of reach too."""
        return {index: {"partner": partner, **link_key_to_json(key)} for index, (partner, key) in self._table.items()}

    def restore(self, kept: dict[int, Persisted]) -> None:
        self._table = {index: (Eui64(int(each["partner"])), link_key_from_json(each)) for index, each in kept.items()}
        self.revision += 1

    def forget_transient(self) -> None:
        self._transient.clear()

    def boot(self) -> None:
        """RAM is empty: transient keys are gone, and what counters of partners were accepted."""
        self.forget_transient()
        for _, key in self._table.values():
            key.incoming_counter = -1

    # LinkKeys, for the stack

    def for_data(self, partner: Eui64) -> LinkKey | None:
        index = self.find(partner)
        return self._table[index][1] if index != NO_INDEX else self._transient_for(partner)

    def for_join(self, partner: Eui64, *, rejoining: bool = False) -> LinkKey | None:
        if not (rejoining or self.policy.allow_joins):
            return None
        if key := self.for_data(partner):
            return key
        return None if self.policy.install_code_keys_only else self._transient_for(ANY_DEVICE)

    def offer(self, partner: Eui64) -> LinkKey | None:
        if self.key_requests == GENERATE_NEW_KEY:
            return LinkKey(self._random.randbytes(16), self.first_outgoing_counter)
        return self.for_data(partner) if self.key_requests == SEND_CURRENT_KEY else None

    def accept(self, partner: Eui64, key: LinkKey) -> None:
        """Into the table, where there is room (UG100, ALLOW_TC_KEY_REQUEST_AND_GENERATE_NEW_KEY)."""
        if key is self.for_data(partner):
            return
        index = self.find(partner)
        index = self.find(Eui64(0)) if index == NO_INDEX else index
        if index == NO_INDEX:
            self._transient[partner] = TransientKey(key, self._scheduler.now + self.transient_timeout_s)
        else:
            self._table[index] = (partner, key)
        self.revision += 1

    def _transient_for(self, partner: Eui64) -> LinkKey | None:
        held = self._transient.get(partner)
        if held is None:
            return None
        if self._scheduler.now >= held.expires_at:
            del self._transient[partner]
            return None
        return held.key

    # the commands' side

    def import_link_key(self, index: int, partner: Eui64, key: bytes) -> SlStatus:
        """Write one entry; importing resets its counters (UG100, setKeyTableEntry)."""
        if index >= self.size:
            return SlStatus.INVALID_INDEX
        if key in _UNUSABLE_KEYS:
            return SlStatus.INVALID_KEY
        elsewhere = self.find(partner) not in {NO_INDEX, index}
        if partner in {0, ANY_DEVICE, self._own} or elsewhere:
            return SlStatus.INVALID_PARAMETER
        self.revision += 1
        self._table[index] = (partner, LinkKey(key, self.first_outgoing_counter))
        return SlStatus.OK

    def import_transient_key(self, partner: Eui64, key: bytes) -> SlStatus:
        if key in _UNUSABLE_KEYS:
            return SlStatus.INVALID_KEY
        self.revision += 1
        self._transient[partner] = TransientKey(
            LinkKey(key, self.first_outgoing_counter), self._scheduler.now + self.transient_timeout_s
        )
        return SlStatus.OK

    def find(self, partner: Eui64) -> int:
        """Index of the partner's key, of the first free entry for partner 0, else NO_INDEX."""
        if partner == 0:
            return next((index for index in range(self.size) if index not in self._table), NO_INDEX)
        index = self._found_at.get(partner, NO_INDEX)
        entry = self._table.get(index)
        if entry is not None and entry[0] == partner and index < self.size:
            return index
        for index, (holder, _) in self._table.items():
            if holder == partner and index < self.size:
                self._found_at[partner] = index
                return index
        return NO_INDEX

    def entry(self, index: int) -> tuple[Eui64, LinkKey] | SlStatus:
        if index >= self.size:
            return SlStatus.INVALID_INDEX
        return self._table.get(index, SlStatus.NOT_FOUND)

    def erase(self, index: int) -> bool:
        """False where there is no such index; erasing an empty entry is no error."""
        if index >= self.size:
            return False
        self._table.pop(index, None)
        return True

    def clear(self) -> None:
        self._table.clear()

    def transient(self, partner: Eui64) -> tuple[Eui64, LinkKey, int] | None:
        """Partner, key and seconds to live."""
        key = self._transient_for(partner)
        if key is None:
            return None
        return partner, key, max(0, int(self._transient[partner].expires_at - self._scheduler.now))

    def transient_at(self, index: int) -> tuple[Eui64, LinkKey, int] | None:
        alive = [entry for partner in tuple(self._transient) if (entry := self.transient(partner))]
        return alive[index] if index < len(alive) else None

    def in_use(self) -> dict[Eui64, bytes]:
        """Every key in use, for a capture's key file."""
        keys = {partner: held.key.key for partner, held in self._transient.items()}
        return keys | {partner: key.key for partner, key in self._table.values()}
