"""An update job: one image, one device, from acceptance to one of five ends. Data only.

What may follow what stands in transitions.py; when something is due stands in scheduler.py. Times are UTC, because a
job outlives the process that began it.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NewType, TypeAlias

from chf.clock import UtcSeconds
from chf.errors import RefusedError
from chf.eui64 import Eui64, format_eui64
from chf.image.image import ImageId
from chf.ota.model import ActivateAt, ActivateByCommand, Activation, TransferOutcome

JobId = NewType("JobId", int)


class JobState(StrEnum):
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
    {JobState.ACTIVATED, JobState.REVERTED, JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED},
)


class WaitReason(StrEnum):
    """What a job in state *waiting* waits for."""

    TIME = "time"
    COMMAND = "command"
    DEVICE = "device"


@dataclass(frozen=True, slots=True)
class ActivationReport:
    """What the device claims in its Firmware Activation Alert (CS09)."""

    success: bool
    file_version: int


@dataclass(frozen=True, slots=True)
class Job:
    """One row of the job table.

    `image` is the SHA-256 of the file in lower-case hex, `origin` the service request's id or "cli". `transfer` is set
    exactly when a CCS08 was raised. `version_seen` is what the device said last that it runs: it begins anew when the
    activation does, and may be the new version on a job that failed because that was not seen in time.
    """

    id: JobId
    device: Eui64
    image: ImageId
    file_version: int
    activation: Activation
    origin: str
    created: UtcSeconds
    deadline: UtcSeconds
    changed: UtcSeconds
    allow_downgrade: bool = False
    state: JobState = JobState.ACCEPTED
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

    @property
    def active(self) -> bool:
        return self.state not in ENDS

    @property
    def distributed(self) -> bool:
        """The device holds the image, and its supplier has not activated it: another image may replace it at any time.

        So a deployed meter has it (HW).
        """
        waits = self.state is JobState.WAITING and self.transfer is TransferOutcome.SUCCESS
        return waits and isinstance(self.activation, ActivateByCommand)


def accept(
    *,
    job_id: JobId,
    device: Eui64,
    image: ImageId,
    file_version: int,
    activation: Activation,
    origin: str,
    version_before: int | None,
    now_utc: UtcSeconds,
    lifetime_s: float,
    allow_downgrade: bool = False,
) -> Job:
    """A new job, with `lifetime_s` from now or from the appointed time.

    Raises RefusedError where the device already runs the version: its success could not be told from doing nothing.
    """
    if version_before == file_version:
        raise RefusedError(f"{format_eui64(device)} already runs version 0x{file_version:08X}")
    latest_start = max(now_utc, activation.utc) if isinstance(activation, ActivateAt) else now_utc
    return Job(
        id=job_id,
        device=device,
        image=image,
        file_version=file_version,
        activation=activation,
        origin=origin,
        created=now_utc,
        deadline=UtcSeconds(latest_start + lifetime_s),
        changed=now_utc,
        version_before=version_before,
        allow_downgrade=allow_downgrade,
    )


@dataclass(frozen=True, slots=True)
class Stored:
    """The image is in the store, and its delivery to the hub was told to the sender."""


@dataclass(frozen=True, slots=True)
class Announced:
    """The image is on offer to the device."""


@dataclass(frozen=True, slots=True)
class DownloadStarted:
    """The device asked for a block of the image."""


@dataclass(frozen=True, slots=True)
class TransferEnded:
    """The device sent Upgrade End, or the transfer was given up."""

    outcome: TransferOutcome
    reason: str = ""


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
    """The device itself told which version it runs (attribute read-back, or Query Next Image)."""

    file_version: int


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
    """The job's lifetime is over."""


@dataclass(frozen=True, slots=True)
class VerificationTimedOut:
    """The device was due to run the new version, and has not shown that it does."""


JobEvent: TypeAlias = (
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


@dataclass(frozen=True, slots=True)
class Offer:
    """Have the OTA server offer the job's image to its device; again with another activation if already on offer."""

    job: Job


@dataclass(frozen=True, slots=True)
class CancelOffer:
    """Have the OTA server take the offer back."""

    job: Job


@dataclass(frozen=True, slots=True)
class ReadVersion:
    """Read the running version (OTA attribute CurrentFileVersion) from the device, not before `after_s` from now."""

    job: Job
    after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class RaiseCcs08:
    """Make, sign and queue the Firmware Transfer Alert. Exactly once for each job."""

    job: Job
    outcome: TransferOutcome


Action: TypeAlias = Offer | CancelOffer | ReadVersion | RaiseCcs08
