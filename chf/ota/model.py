"""What the OTA server is told and what it remembers: images, activations, outcomes, and the record of a session.

Values only; nothing here decides.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from chf.clock import LAST_ZIGBEE_UTC, UtcSeconds
from chf.errors import StoreCorruptError, UsageError
from chf.eui64 import Eui64, format_eui64, parse_eui64
from chf.ota.transitions import State

RECORD_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class ImageRef:
    """An image as it is served. `content` is the whole OTA file, and what `sha256` (hex) is of."""

    sha256: str
    manufacturer_code: int
    image_type: int
    file_version: int
    minimum_hardware: int | None
    maximum_hardware: int | None
    content: bytes = field(repr=False)

    @property
    def size_bytes(self) -> int:
        return len(self.content)


class Strategy(StrEnum):
    """How a device is kept from activating before its time."""

    PARK = "park"  # it does not get the last block: nothing it does by itself can activate anything
    HOLD = "hold"  # it gets everything, and is told to wait: clients with a time limit of their own may not


class TimeForm(StrEnum):
    """How times are written in a frame, ZCL8 table 11-15."""

    RELATIVE = "relative"  # an offset in seconds: right for every client
    ABSOLUTE = "absolute"  # UTC: needs a client that keeps the hub's time


@dataclass(frozen=True, slots=True)
class ActivateNow:
    """As soon as the download is complete."""


@dataclass(frozen=True, slots=True)
class ActivateAt:
    utc: UtcSeconds
    strategy: Strategy = Strategy.PARK
    time_form: TimeForm = TimeForm.RELATIVE


@dataclass(frozen=True, slots=True)
class ActivateHold:
    """Not before `OtaServer.release`."""

    strategy: Strategy = Strategy.HOLD


@dataclass(frozen=True, slots=True)
class ActivateByCommand:
    """Meters: the supplier's signed command activates, never the hub, which always answers 0xFFFFFFFF."""


Activation = ActivateNow | ActivateAt | ActivateHold | ActivateByCommand


class TransferOutcome(StrEnum):
    """How a transfer ended, in the four words of the hub's transfer alert (GBCS CCS08)."""

    SUCCESS = "success"
    IMAGE_DISCARDED = "image discarded"
    HARDWARE_VERSION_MISMATCH = "hardware version mismatch"
    FILE_TRANSFER_FAILURE = "file transfer failure"


@dataclass(frozen=True, slots=True)
class SessionRecord:
    """All of a session that must survive the process; `to_json` is what a store keeps."""

    job: str
    peer: Eui64
    state: State
    image_sha256: str
    activation: Activation
    endpoint: int | None = None  # where the device's OTA client was heard
    sleepy: bool = False
    allow_downgrade: bool = False
    served_bytes: int = 0  # every byte below was sent, or said to be held already
    downloaded: bool = False  # the device said that the download is complete, and that was believed
    aborts: int = 0
    committed_utc: UtcSeconds | None = None  # the activation time that was given
    commit_delivered: bool = False

    def to_json(self) -> dict[str, Any]:
        return {
            "version": RECORD_VERSION,
            "job": self.job,
            "peer": format_eui64(self.peer),
            "state": self.state.value,
            "image_sha256": self.image_sha256,
            "activation": activation_to_json(self.activation),
            "endpoint": self.endpoint,
            "sleepy": self.sleepy,
            "allow_downgrade": self.allow_downgrade,
            "served_bytes": self.served_bytes,
            "downloaded": self.downloaded,
            "aborts": self.aborts,
            "committed_utc": self.committed_utc,
            "commit_delivered": self.commit_delivered,
        }

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> "SessionRecord":
        """Raises StoreCorruptError for a record of another version, or one that lacks something."""
        if record.get("version") != RECORD_VERSION:
            raise StoreCorruptError(
                f"an OTA session record of version {record.get('version')!r}: this is {RECORD_VERSION}"
            )
        try:
            return cls(
                job=record["job"],
                peer=parse_eui64(str(record["peer"])),
                state=State(record["state"]),
                image_sha256=record["image_sha256"],
                activation=activation_from_json(record["activation"]),
                endpoint=record["endpoint"],
                sleepy=record["sleepy"],
                allow_downgrade=record["allow_downgrade"],
                served_bytes=record["served_bytes"],
                downloaded=record["downloaded"],
                aborts=record["aborts"],
                committed_utc=record["committed_utc"],
                commit_delivered=record["commit_delivered"],
            )
        except (KeyError, TypeError, ValueError, UsageError) as error:
            raise StoreCorruptError(f"an OTA session record that cannot be read: {error!r}") from error


def activation_to_json(activation: Activation) -> dict[str, Any]:
    match activation:
        case ActivateNow():
            return {"kind": "now"}
        case ActivateAt(utc, strategy, time_form):
            return {"kind": "at", "utc": utc, "strategy": strategy.value, "time_form": time_form.value}
        case ActivateHold(strategy):
            return {"kind": "hold", "strategy": strategy.value}
        case ActivateByCommand():
            return {"kind": "by command"}


def activation_from_json(value: dict[str, Any]) -> Activation:
    """Raises KeyError or ValueError for what `activation_to_json` does not write."""
    match value["kind"]:
        case "now":
            return ActivateNow()
        case "at":
            if not 0 <= value["utc"] <= LAST_ZIGBEE_UTC:  # from 0, because a hub without a clock counts from there
                raise ValueError(f"the activation time {value['utc']} is none that a device can be told")
            return ActivateAt(UtcSeconds(value["utc"]), Strategy(value["strategy"]), TimeForm(value["time_form"]))
        case "hold":
            return ActivateHold(Strategy(value["strategy"]))
        case "by command":
            return ActivateByCommand()
        case kind:
            raise ValueError(f"activation {kind!r}")
