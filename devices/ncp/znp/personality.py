"""What makes one Z-Stack stick different from another: versions, and what its build was given.

The sticks themselves are rows of `devices.ncp.sticks`.
"""

from dataclasses import dataclass
from typing import Self

from devices.ncp.znp.items import INSTALL_CODE_PLACE
from devices.wire.zdp import NodeDescriptor

_CC2652 = NodeDescriptor(
    logical_type=0,
    capability=0x8F,
    manufacturer=0x0000,
    server_mask=22 << 9 | 0x01,  # stack compliance revision 22, primary trust centre
    maximum_buffer=80,
    maximum_incoming=160,
    maximum_outgoing=160,
)
"""As recorded from one (ZNP-T)."""


@dataclass(frozen=True, slots=True)
class TableSizes:
    """How many entries each table of a build has."""

    addresses: int  # the address manager's
    children: int  # NWK_MAX_DEVICE_LIST
    trust_center_keys: int  # ZDSECMGR_TC_DEVICE_MAX
    aps_keys: int  # ZDSECMGR_DEVICE_MAX
    install_codes: int  # ZDSECMGR_TC_DEVICE_IC_MAX; the octet that holds a place has seven bits for it

    @classmethod
    def alike(cls, entries: int) -> Self:
        return cls(entries, entries, entries, entries, min(entries, INSTALL_CODE_PLACE))


_ROOM = TableSizes.alike(64)  # our choice: hosts read every entry, and write them all when they form a network


@dataclass(frozen=True, slots=True)
class Personality:
    name: str
    product: int  # 1: Z-Stack 3.x.0
    version: tuple[int, int, int]
    revision: int  # date of the build; hosts switch features by it
    tables: TableSizes = _ROOM
    command_s: float = 0.0
    """How long a request takes until it is answered, but for AF's: those messages have the line's time alone."""
    state_s: float = 0.0
    """How long each state lasts through which a coordinator forms its network: it scans."""
    reset_s: float = 0.02  # our choice; the chip needs longer
    """How long a reset takes."""
    node_descriptor: NodeDescriptor = _CC2652
    requires_key_exchange: bool = True  # bdb_interface.h: TRUE but for TP2_LEGACY_ZC; FALSE in a later SDK
    """Until the host says otherwise, whoever joins and asks for no other link key is removed."""
    lacks: frozenset[str] = frozenset()
    """Commands, by their names in `commands.py`, that the build was made without."""
    join_timeout_s: float = 15.0  # bdb_interface.h, BDB_DEFAULT_TC_NODE_JOIN_TIMEOUT
