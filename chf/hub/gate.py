"""Who may say what to the hub, under which protection: one table, by cluster, and the rules that read it.

It is about messages that come in. What the hub sends follows the same table, since it answers under the protection of
the question and begins nothing that is not secured. ZDP is the stack's and comes before all of this.
"""

from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Final

from chf.clock import Now
from chf.errors import MalformedFrameError
from chf.hub.batch import Batch
from chf.hub.devices import KnownDevices
from chf.hub.settings import SecurityMode
from chf.radio.interface import HUB_ENDPOINT, SMART_ENERGY_PROFILE, Inbound, Outbound
from chf.trace import Kind
from chf.zcl import basic, key_establishment, ota, time, tunneling
from chf.zcl.frame import Frame, Status


class Protection(Enum):
    LINK_KEY = "APS link-key security"
    NETWORK_KEY = "the network key alone"
    ANY = "either"


@dataclass(frozen=True, slots=True)
class Rule:
    protection: Protection
    source: str
    before_key: bool = False
    """Whether a device gets it that has not finished key establishment, where that is demanded."""


_SE = "SE 5.4.6"

CLUSTERS: Final = MappingProxyType(
    {
        basic.CLUSTER: Rule(Protection.ANY, _SE, before_key=True),
        0x0003: Rule(Protection.ANY, _SE),  # Identify
        0x0015: Rule(Protection.LINK_KEY, _SE),  # Commissioning
        time.CLUSTER: Rule(Protection.LINK_KEY, _SE),
        ota.CLUSTER: Rule(Protection.LINK_KEY, _SE),  # the broadcast Image Notify is exempt, and is the hub's own
        0x0700: Rule(Protection.LINK_KEY, _SE),  # Price
        0x0701: Rule(Protection.LINK_KEY, _SE),  # Demand Response and Load Control
        0x0702: Rule(Protection.LINK_KEY, _SE),  # Metering
        0x0703: Rule(Protection.LINK_KEY, _SE),  # Messaging
        tunneling.CLUSTER: Rule(Protection.LINK_KEY, _SE),
        key_establishment.CLUSTER: Rule(Protection.NETWORK_KEY, "SE1.4 C.3", before_key=True),
    }
)
OTHERS: Final = Rule(Protection.LINK_KEY, "our choice: the clusters that Smart Energy added later want it too")


@dataclass(frozen=True, slots=True)
class Refusal:
    reason: str
    is_answered: bool = False
    """Whether the device gets a FAILURE, in the clear; one that is not in the log learns nothing."""


class Gate:
    def __init__(self, devices: KnownDevices, mode: SecurityMode) -> None:
        self._devices, self._mode = devices, mode

    def refusal(self, message: Inbound) -> Refusal | None:
        """Why a message is refused, None where it is not."""
        if self._devices.get(message.source) is None:
            return Refusal("not in the device log")
        if message.profile != SMART_ENERGY_PROFILE or message.destination_endpoint != HUB_ENDPOINT:
            return Refusal("not for the hub's Smart Energy endpoint")
        reason = self._unprotected(message)
        if reason is not None:
            return Refusal(reason, is_answered=not message.broadcast)
        if message.broadcast:
            return Refusal("a request by broadcast")
        return None

    def refuse(self, message: Inbound, refusal: Refusal, now: Now) -> Batch:
        """Count it, trace the first between two writes (a flood must not fill the audit), and change nothing."""
        batch = Batch(now)
        if self._devices.refuse(message.source, now) == 1:
            fields = {"cluster": f"0x{message.cluster:04X}", "reason": refusal.reason}
            batch.event(Kind.FRAME_REFUSED, fields, device=message.source)
        if refusal.is_answered and (payload := _failure(message.payload)) is not None:
            batch.send(reply(message, payload, secured=False, reference=refusal))
        return batch

    def lets_out(self, message: Outbound) -> bool:
        """What is begun, or was begun before the device lost its key, leaves under the same rules as it would come in.

        A refusal leaves always: Smart Energy stacks say FAILURE in the clear.
        """
        return isinstance(message.reference, Refusal) or self._unprotected(message) is None

    def _unprotected(self, message: Inbound | Outbound) -> str | None:
        device = message.source if isinstance(message, Inbound) else message.destination
        rule = CLUSTERS.get(message.cluster, OTHERS)
        if self._mode is SecurityMode.CBKE and not rule.before_key and not self._devices.has_key(device):
            return "before key establishment"
        match rule.protection:
            case Protection.LINK_KEY if not message.aps_secured:
                return "without APS link-key security"
            case Protection.NETWORK_KEY if message.aps_secured:
                return "under a link key, where there is to be none"
            case _:
                return None


def reply(message: Inbound, payload: bytes, *, secured: bool, reference: object = None) -> Outbound:
    return Outbound(
        message.source, message.source_endpoint, message.cluster, payload, aps_secured=secured, reference=reference
    )


def _failure(octets: bytes) -> bytes | None:
    try:
        return Frame.from_bytes(octets).default_response(Status.FAILURE)
    except MalformedFrameError:
        return None
