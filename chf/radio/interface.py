"""What the hub needs of a dongle, and no more: everything above this file is radio-blind.

A `Radio` carries APS data of the Smart Energy profile between the hub's endpoint and devices that are known by their
EUI-64. It never interprets a cluster. What comes in is told to a `RadioListener`, by plain calls in the event loop's
thread, in the order of the air; a listener must not block.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Any, Final, Protocol

from chf.clock import UtcSeconds, isoformat
from chf.eui64 import Eui64, format_eui64

SMART_ENERGY_PROFILE = 0x0109  # SE1.4, profile identifier
HUB_ENDPOINT = 0x0B  # our choice: not 1, so that a device that does not ask by Match Descriptor is found out


class Urgency(Enum):
    """Which of two waiting messages leaves first; within one class, devices take turns."""

    URGENT = 0  # a device acts on its own unless it hears this soon (Upgrade End Response)
    NORMAL = 1
    BULK = 2  # image blocks


class Delivery(Enum):
    """What became of a message that was handed to the dongle."""

    DELIVERED = "delivered"
    NOT_DELIVERED = "not delivered"  # no acknowledgement from the device
    REFUSED = "refused"  # the dongle did not take it: no key, unknown device, too long
    RADIO_GONE = "radio gone"


class RadioState(Enum):
    STOPPED = "stopped"
    CONNECTING = "connecting"
    UP = "up"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Outbound:
    """One APS message to a device, from the hub's endpoint on profile 0x0109; the radio fragments long ones."""

    destination: Eui64
    destination_endpoint: int
    cluster: int
    payload: bytes
    urgency: Urgency = Urgency.NORMAL
    aps_secured: bool = True
    acknowledged: bool = True
    reference: object = None
    """Comes back to the sender with the message's fate; the radio does not look at it."""


@dataclass(frozen=True, slots=True)
class Inbound:
    """One APS message from a device, whole (fragments put together)."""

    source: Eui64
    source_endpoint: int
    destination_endpoint: int
    profile: int
    cluster: int
    payload: bytes
    aps_secured: bool
    broadcast: bool
    lqi: int
    rssi: int | None
    """None for a dongle that does not say."""


@dataclass(frozen=True, slots=True)
class NetworkInfo:
    """The formed network, without its keys."""

    channel: int
    pan_id: int
    extended_pan_id: int
    coordinator: Eui64


@dataclass(frozen=True, slots=True)
class RadioLimits:
    """How many devices find room on a dongle, as its build has its tables; None is what it does not say."""

    devices: int | None = None
    """Devices of the hub: each needs a link key in the dongle."""
    established_keys: int | None = None
    """Of those, devices whose key was established by certificates (CBKE)."""
    children: int | None = None
    """End devices that join at the dongle itself; further ones need a router."""

    def __str__(self) -> str:
        if self.devices is None:
            return "how many devices find room on it is not known"
        few = self.established_keys is not None and self.established_keys < self.devices
        keys = f", {self.established_keys} of them with a key established by certificates" if few else ""
        room = "1 device finds" if self.devices == 1 else f"{self.devices} devices find"
        return f"{room} room on it{keys}"

    @classmethod
    def from_json(cls, known: dict[str, Any]) -> "RadioLimits":
        """Of a radio note, which an older hub may have written."""
        return cls(known.get("most_devices"), known.get("most_established_keys"), known.get("most_children"))

    def as_json(self) -> dict[str, int | None]:
        return {
            "most_devices": self.devices,
            "most_established_keys": self.established_keys,
            "most_children": self.children,
        }


@dataclass(frozen=True, slots=True)
class RadioInfo:
    """What answered at the other end of the cable. `network` is None where none is formed."""

    kind: str  # "ezsp" | "znp"
    firmware: str  # as the dongle words it
    protocol_version: int
    network: NetworkInfo | None
    limits: RadioLimits = RadioLimits()

    def as_json(self) -> dict[str, str | int | None]:
        network = self.network
        return {
            "kind": self.kind,
            "firmware": self.firmware,
            "protocol_version": self.protocol_version,
            "channel": None if network is None else network.channel,
            "pan_id": None if network is None else f"0x{network.pan_id:04X}",
            "extended_pan_id": None if network is None else f"{network.extended_pan_id:016X}",
            "coordinator": None if network is None else format_eui64(network.coordinator),
            **self.limits.as_json(),
        }


class Standing(StrEnum):
    """How far a question on which key establishment hangs is answered by the stick alone."""

    ANSWERED = "answered"
    PARTLY = "partly answered"
    OPEN = "not answerable without a device or a sniffer"


@dataclass(frozen=True, slots=True)
class Observation:
    """One thing that was asked of the stick. `question` is the one that it belongs to, "" where it is for all."""

    name: str
    value: str
    question: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    name: str  # "E1" to "E7" of EZSP, "Z1" to "Z6" of Z-Stack
    text: str
    standing: Standing
    answer: str = ""


@dataclass(frozen=True, slots=True)
class SecurityReport:
    info: RadioInfo
    observations: tuple[Observation, ...]
    questions: tuple[Question, ...]

    def as_json(self) -> dict[str, object]:
        return {
            **self.info.as_json(),
            "observations": [
                {"name": seen.name, "value": seen.value, "question": seen.question or None}
                for seen in self.observations
            ],
            "questions": [
                {
                    "question": question.name,
                    "text": question.text,
                    "standing": question.standing.value,
                    "answer": question.answer or None,
                }
                for question in self.questions
            ],
        }


RADIO_NOTE: Final = "radio"
"""Under this key the store's meta table says what the radio of the running hub is doing: `radio_note`."""


def radio_note(info: RadioInfo | None, state: RadioState, reason: str, since: UtcSeconds) -> str:
    """As JSON; of the dongle what is known."""
    known = {} if info is None else info.as_json()
    return json.dumps({"state": state.value, "reason": reason, "since": isoformat(since), **known})


class RadioListener(Protocol):
    def message_received(self, message: Inbound) -> None: ...
    def message_sent(self, message: Outbound, delivery: Delivery) -> None:
        """Told once for every message handed to `Radio.post`."""
        ...

    def device_joined(self, device: Eui64, network_address: int) -> None:
        """Joined or rejoined, possibly under a new address. May be told more than once."""
        ...

    def device_left(self, device: Eui64) -> None: ...
    def radio_state_changed(self, state: RadioState, reason: str) -> None: ...


class Radio(Protocol):
    """Errors: RadioGoneError when the dongle does not answer, RadioRefusedError when it refuses."""

    state: RadioState

    async def probe(self) -> RadioInfo:
        """Ask who answers, change nothing, and let go of the port again."""
        ...

    async def probe_security(self) -> SecurityReport:
        """What the dongle says of keys and certificates. Like `probe`; its tables are afterwards what they were."""
        ...

    async def start(self, listener: RadioListener, *, form: bool) -> RadioInfo:
        """Open the port and bring up the stored network; `form` a new one where there is none."""
        ...

    async def stop(self) -> None: ...

    async def leave(self) -> None:
        """Leave the network that is stored on the dongle and forget it with its keys. Like `probe`, while stopped."""
        ...

    async def backup(self) -> dict[str, Any]:
        """The stored network with its keys, in zigpy's backup format. Like `probe`, while stopped; for 0600 files."""
        ...

    async def restore(self, backup: dict[str, Any]) -> RadioInfo:
        """Make a network that was backed up, of a dongle of any kind, the dongle's own. Like `probe`, while stopped.

        What is no backup (UsageError) or does not fit the dongle (RadioRefusedError) is refused while nothing has
        changed. What fails after that leaves the dongle with half of it: see `chf.cli.network`.
        """
        ...

    async def check(self, backup: dict[str, Any]) -> None:
        """Raises what `restore` would raise of this backup before its first write, and changes nothing."""
        ...

    def post(self, message: Outbound) -> None:
        """Queue a message and return at once; its fate is told to `RadioListener.message_sent`."""
        ...

    async def send(self, message: Outbound, timeout_s: float = 10.0) -> Delivery:
        """The same, waiting for its fate."""
        ...

    async def permit(self, device: Eui64, link_key: bytes, seconds: int) -> None:
        """Let this device join within the window, with this preconfigured link key (16 octets). Returns at once."""
        ...

    async def install_link_key(self, device: Eui64, link_key: bytes, *, fresh: bool = False) -> None:
        """Secure data to and from this device with this key from now on; one that it had is replaced.

        A key that the dongle has already is left alone, with its frame counters; a `fresh` one was established just
        now, so that no dongle can have it, which spares some of them a search through hundreds of entries. Some dongles
        refuse the key of a device whose network address they do not know: see `locate`.
        """
        ...

    async def locate(self, device: Eui64) -> bool:
        """Look for the device's network address, in the dongle and then on the air; whether it is known now."""
        ...

    async def match_descriptor(self, device: Eui64, profile: int, server_clusters: Sequence[int]) -> tuple[int, ...]:
        """ZDP Match_Desc: the device's endpoints that serve one of the clusters, in the device's order."""
        ...

    async def forget(self, device: Eui64) -> None:
        """Ask the device to leave and drop its link key."""
        ...

    async def export_keys(self) -> tuple[tuple[str, str, bytes], ...]:
        """(label, "nwk" | "link", key) of every key in use, for a decoder such as Wireshark. For 0600 files only."""
        ...
