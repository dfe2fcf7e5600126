"""An update: one image, one device, from acceptance to one of five ends. Data only.

What may follow what stands in transitions.py; when something is due stands in scheduler.py. Times are UTC, because an
update outlives the process that began it.
"""

from dataclasses import dataclass, fields, replace
from enum import StrEnum
from math import isfinite
from typing import Any, Final, NewType, TypeAlias

from chf.clock import UtcSeconds
from chf.eui64 import Eui64
from chf.image.header import ImageType
from chf.image.image import ImageId

UpdateId = NewType("UpdateId", int)


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
    """Not before somebody orders it (`ActivationOrdered`)."""

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


class TransferState(StrEnum):
    """Where the transfer of an image and its activation stand, by what the device can do."""

    OFFERED = "offered"  # announced, or waiting to be asked
    DOWNLOADING = "downloading"
    PARKED = "parked"  # all but the last block is out; that one waits for the activation time or for a release
    SERVED = "served"  # every byte was sent; the device verifies, and Upgrade End is due
    HELD = "held"  # Upgrade End was answered "wait for a command"
    MISSED = "missed"  # the appointment passed beyond its grace; kept from activating until released or cancelled
    COMMITTED = "committed"  # a real time was given
    RUNNING = "running"  # the device reports the new version
    CANCELLED = "cancelled"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class TransferRecord:
    """All of a transfer that must survive the process, beside what the update's row says anyway."""

    state: TransferState
    activation: Activation  # as the transfer has it: now, where the time had passed when the image was offered
    endpoint: int | None = None  # where the device's OTA client was heard
    sleepy: bool = False
    served_bytes: int = 0  # every byte below was sent, or said to be held already
    blocks: int = 0  # that were sent
    downloaded: bool = False  # the device said that the download is complete, and that was believed
    aborts: int = 0
    end_served: bool = False  # the last byte was sent: the device may have every other one as well
    claims_image: bool = False  # it says that it has every byte, though it was not sent the last one
    ignores_wait: bool = False  # it asked again and again inside the time that it was told to wait
    download_s: float | None = None  # how long it needs; set once it was sent away to begin again near its time
    committed_utc: UtcSeconds | None = None  # the activation time that was given
    commit_delivered: bool = False
    offers_again: int = 0  # since that time was given

    @property
    def whole(self) -> bool:
        """The device has every byte, or may have, so that it can activate by itself; and has not activated."""
        return (self.end_served or self.downloaded or self.claims_image) and self.state not in (
            TransferState.RUNNING,
            TransferState.FAILED,
        )

    def to_json(self) -> dict[str, Any]:
        fields_ = {item.name: getattr(self, item.name) for item in fields(self)}
        return fields_ | {"state": self.state.value, "activation": activation_to_json(self.activation)}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> "TransferRecord":
        """Raises KeyError, TypeError or ValueError for what `to_json` does not write."""
        known = {item.name: record[item.name] for item in fields(cls)}
        for name, value in known.items():
            allowed = _RECORD_TYPES.get(name)
            if allowed is not None and (
                type(value) not in allowed or (isinstance(value, float) and not isfinite(value))
            ):
                raise ValueError(f"{name} is {value!r}")
        known["state"] = TransferState(record["state"])
        known["activation"] = activation_from_json(record["activation"])
        return cls(**known)


_RECORD_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "endpoint": (int, type(None)),
    "sleepy": (bool,),
    "served_bytes": (int,),
    "blocks": (int,),
    "downloaded": (bool,),
    "aborts": (int,),
    "end_served": (bool,),
    "claims_image": (bool,),
    "ignores_wait": (bool,),
    "download_s": (int, float, type(None)),
    "committed_utc": (int, float, type(None)),
    "commit_delivered": (bool,),
    "offers_again": (int,),
}


@dataclass(frozen=True, slots=True)
class DamagedRecord:
    """A transfer's record that cannot be read: the update goes on without a transfer, and can be cancelled."""

    text: str | bytes
    reason: str


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
            return ActivateAt(UtcSeconds(value["utc"]), Strategy(value["strategy"]), TimeForm(value["time_form"]))
        case "hold":
            return ActivateHold(Strategy(value["strategy"]))
        case "by command":
            return ActivateByCommand()
        case kind:
            raise ValueError(f"activation {kind!r}")


class UpdateState(StrEnum):
    ACCEPTED = "accepted"
    STORED = "stored"
    ANNOUNCED = "announced"
    DOWNLOADING = "downloading"
    DOWNLOADED = "downloaded"
    WAITING = "waiting"
    ACTIVATING = "activating"
    ACTIVATED = "activated"
    REVERTED = "reverted"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


ENDS: Final = frozenset(
    {UpdateState.ACTIVATED, UpdateState.REVERTED, UpdateState.FAILED, UpdateState.CANCELLED, UpdateState.EXPIRED}
)


class WaitReason(StrEnum):
    """What an update in state *waiting* waits for."""

    TIME = "time"
    COMMAND = "command"


@dataclass(frozen=True, slots=True)
class ActivationReport:
    """What the device claims in its Firmware Activation Alert (CS09)."""

    success: bool
    file_version: int


@dataclass(frozen=True, slots=True)
class Update:
    """One row of the store.

    `image` is the SHA-256 of the file in lower-case hex, `origin` the service request's id or "cli". `transfer` is set
    exactly when a CCS08 was raised; `record` is the transfer itself, None before the image is offered. `version_seen`
    is what the device said last that it runs: None again when the activation begins, and perhaps the new version on an
    update that failed because that was not seen in time. Where it cannot be known, `doubt` says why.

    `image_type` is what the file is for: what the device runs of another type is no news of this update. It is None on
    an update of an older program whose image is gone. `successor` is the type by which the new firmware seems to go.
    """

    id: UpdateId
    device: Eui64
    image: ImageId
    file_version: int
    activation: Activation
    origin: str
    created: UtcSeconds
    deadline: UtcSeconds
    changed: UtcSeconds
    allow_downgrade: bool = False
    state: UpdateState = UpdateState.ACCEPTED
    reason: str = ""
    version_before: int | None = None
    version_seen: int | None = None
    transfer: TransferOutcome | None = None
    report: ActivationReport | None = None
    waiting_for: WaitReason | None = None
    waiting_until: UtcSeconds | None = None
    activation_at: UtcSeconds | None = None
    download_started: UtcSeconds | None = None
    download_ended: UtcSeconds | None = None
    ended: UtcSeconds | None = None
    record: TransferRecord | DamagedRecord | None = None
    image_type: ImageType | None = None
    doubt: str = ""
    successor: ImageType | None = None

    @property
    def unverified(self) -> bool:
        """The device was due to run the new version long ago, and nobody knows what it runs."""
        return self.state is UpdateState.ACTIVATING and self.reason != ""

    @property
    def superseded(self) -> ImageType | None:
        """The image type that the device went by until this update."""
        return self.image_type if self.state is UpdateState.ACTIVATED and self.successor is not None else None

    @property
    def active(self) -> bool:
        return self.state not in ENDS

    @property
    def distributed(self) -> bool:
        """The device holds the image, and its supplier has not activated it: another image may replace it at any time.

        So a deployed meter has it (HW).
        """
        waits = self.state is UpdateState.WAITING and self.transfer is TransferOutcome.SUCCESS
        return waits and isinstance(self.activation, ActivateByCommand)


def accept(
    *,
    number: UpdateId,
    device: Eui64,
    image: ImageId,
    image_type: ImageType,
    file_version: int,
    activation: Activation,
    origin: str,
    version_before: int | None,
    now_utc: UtcSeconds,
    lifetime_s: float,
    allow_downgrade: bool = False,
) -> Update:
    """A new update, with `lifetime_s` from now or from the appointed time. Whether it may be is `eligibility`'s."""
    return Update(
        id=number,
        device=device,
        image=image,
        file_version=file_version,
        activation=activation,
        origin=origin,
        created=now_utc,
        deadline=UtcSeconds(_begins(activation, now_utc) + lifetime_s),
        changed=now_utc,
        version_before=version_before,
        allow_downgrade=allow_downgrade,
        image_type=image_type,
    )


def _begins(activation: Activation, now_utc: UtcSeconds) -> UtcSeconds:
    """From when the lifetime of an update that lives at `now_utc` counts."""
    return max(now_utc, activation.utc) if isinstance(activation, ActivateAt) else now_utc


def ordered(update: Update, activation: Activation, now_utc: UtcSeconds) -> Update:
    """The same with another activation: what is left of its lifetime stays, counted from the new time on."""
    later_s = _begins(activation, now_utc) - _begins(update.activation, now_utc)
    return replace(update, activation=activation, deadline=UtcSeconds(update.deadline + later_s))


def after_clock_step(update: Update, before: UtcSeconds, after: UtcSeconds) -> Update:
    """An active update, once the wall clock was set from one time to another in one moment.

    What is left of its lifetime stays; that of a dated one begins at its appointment, which does not move. Nor does the
    moment at which a device activates that was told so as an offset: by the new clock that is another time.
    """
    activation, at = update.activation, update.activation_at
    dated = activation if isinstance(activation, ActivateAt) else None
    by_own_clock = isinstance(activation, ActivateByCommand) or (
        dated is not None and dated.time_form is TimeForm.ABSOLUTE
    )
    if at is not None and not by_own_clock:
        at = UtcSeconds(max(at + after - before, 0.0))
    later_s = _begins(activation, after) - _begins(activation, before)
    deadline = UtcSeconds(max(update.deadline + later_s, 0.0))
    return replace(update, deadline=deadline, activation_at=at)


@dataclass(frozen=True, slots=True)
class Stored:
    """The image is in the store, and its delivery to the hub was reported to the sender."""


@dataclass(frozen=True, slots=True)
class Announced:
    """The image is on offer to the device."""


@dataclass(frozen=True, slots=True)
class DownloadStarted:
    """The device asked for a block of the image."""


@dataclass(frozen=True, slots=True)
class TransferEnded:
    """The device sent Upgrade End, or the transfer was given up; after so many blocks, at this offset."""

    outcome: TransferOutcome
    reason: str = ""
    blocks: int = 0
    offset_bytes: int = 0


@dataclass(frozen=True, slots=True)
class WaitingFor:
    """The download is parked, or the device is on hold."""

    what: WaitReason
    until: UtcSeconds | None = None


@dataclass(frozen=True, slots=True)
class ActivationOrdered:
    """Somebody decided otherwise than at the start; takes effect until a real time was given to the device."""

    activation: Activation


@dataclass(frozen=True, slots=True)
class ActivationGiven:
    """The device was told when to activate, by the hub or by its supplier's command. There is no way back from here."""

    at_utc: UtcSeconds


@dataclass(frozen=True, slots=True)
class DeviceRejoined:
    """The device came back onto the network: it may have rebooted."""


@dataclass(frozen=True, slots=True)
class VersionObserved:
    """The device itself was heard on what it runs.

    `file_version` is None where it told none, `image_type` where it did not tell of which of its images; `doubt` says
    why. `queried`: by Query Next Image, which may name the hardware version too. `first`: it never spoke of this image
    type before.
    """

    file_version: int | None
    image_type: ImageType | None
    doubt: str = ""
    hardware_version: int | None = None
    queried: bool = False
    first: bool = False


@dataclass(frozen=True, slots=True)
class ActivationReported:
    """The device's CS09 came."""

    success: bool
    file_version: int


@dataclass(frozen=True, slots=True)
class Cancelled:
    """Somebody called the update off."""


@dataclass(frozen=True, slots=True)
class Refused:
    """The hub or the device will not go on with it."""

    reason: str


@dataclass(frozen=True, slots=True)
class DeadlinePassed:
    """The update's lifetime is over."""


@dataclass(frozen=True, slots=True)
class VerificationTimedOut:
    """The device was due to run the new version, and has not shown that it does."""


UpdateEvent: TypeAlias = (
    Stored
    | Announced
    | DownloadStarted
    | TransferEnded
    | WaitingFor
    | ActivationOrdered
    | ActivationGiven
    | DeviceRejoined
    | VersionObserved
    | ActivationReported
    | Cancelled
    | Refused
    | DeadlinePassed
    | VerificationTimedOut
)
