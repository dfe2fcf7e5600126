"""Who may say what under which protection: the one table of it, by cluster, and the rule that reads it.

It is about frames that come in; what the hub sends follows the same table, since it answers under the protection of the
question and begins nothing that is not secured. ZDP is the stack's and comes before all of this.
"""

from dataclasses import dataclass
from enum import Enum, StrEnum
from types import MappingProxyType
from typing import Final

from chf.zcl import basic, key_establishment, ota, time, tunneling


class SecurityMode(StrEnum):
    LAB = "lab"
    """A device is as trustworthy as its install code: its link key is the one made from that."""
    CBKE = "cbke"
    """A device has proved by certificate who it is, before it gets anything else."""


class Protection(Enum):
    LINK_KEY = "APS link-key security"
    NETWORK_KEY = "the network key alone"
    ANY = "either"


@dataclass(frozen=True, slots=True)
class Rule:
    protection: Protection
    source: str


_SE = "SE 5.4.6"

CLUSTERS: Final = MappingProxyType(
    {
        basic.CLUSTER: Rule(Protection.ANY, _SE),
        0x0003: Rule(Protection.ANY, _SE),  # Identify
        0x0015: Rule(Protection.LINK_KEY, _SE),  # Commissioning
        time.CLUSTER: Rule(Protection.LINK_KEY, _SE),
        ota.CLUSTER: Rule(Protection.LINK_KEY, _SE),  # the broadcast Image Notify is exempt, and is the hub's own
        0x0700: Rule(Protection.LINK_KEY, _SE),  # Price
        0x0701: Rule(Protection.LINK_KEY, _SE),  # Demand Response and Load Control
        0x0702: Rule(Protection.LINK_KEY, _SE),  # Metering
        0x0703: Rule(Protection.LINK_KEY, _SE),  # Messaging
        tunneling.CLUSTER: Rule(Protection.LINK_KEY, _SE),
        key_establishment.CLUSTER: Rule(Protection.NETWORK_KEY, "SE1.4 C.3"),
    }
)
OTHERS: Final = Rule(Protection.LINK_KEY, "our choice: the clusters that Smart Energy added later want it too")

BEFORE_A_KEY: Final = frozenset({key_establishment.CLUSTER, basic.CLUSTER})
"""What a device gets that has not finished key establishment, where that is demanded (and ZDP, below us)."""


def refusal(cluster: int, mode: SecurityMode, *, aps_secured: bool, established: bool) -> str | None:
    """Why a frame is refused, None where it is not."""
    if mode is SecurityMode.CBKE and not established and cluster not in BEFORE_A_KEY:
        return "before key establishment"
    match CLUSTERS.get(cluster, OTHERS).protection:
        case Protection.LINK_KEY if not aps_secured:
            return "without APS link-key security"
        case Protection.NETWORK_KEY if aps_secured:
            return "under a link key, where there is to be none"
        case _:
            return None
