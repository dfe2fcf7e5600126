"""Whether a device may be updated to an image, and how: the one place that decides it, for hub, DCC side and CLI.

`judge` applies every check to what is known of a device; what is not known is no reason to refuse. Each caller says
which checks it enforces and puts the refusal into its own words: the hub's command into its result, the DCC side into
the lists of DUIS, the CLI onto the terminal. A finding of a check that is not enforced is a note, so that nothing is
passed over in silence.

Not here: who signed a request and in which role (chf.dcc.desk), and what a device says of itself when it asks for the
image: that is checked then (chf.update.transfer.transfers), and told with CCS08.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import Final, Protocol

from chf.clock import UtcSeconds
from chf.eui64 import Eui64, format_eui64
from chf.image.header import HardwareVersions, ImageType
from chf.image.image import FirmwareImage, ImageKind
from chf.update.model import ActivateAt, ActivateByCommand, ActivateNow, Activation, Update
from chf.update.recognition import NOTHING_KNOWN, Confidence, Recognition
from chf.update.transfer.appointment import cannot_promise
from chf.zcl.ota import UNKNOWN_FILE_VERSION

COMMANDED: Final = frozenset({"ESME", "GSME", "HCALCS"})
"""They activate on the signed command of their supplier (GBCS CS06, SR 11.3), never on the word of the hub."""

UPDATABLE: Final = COMMANDED | {"PPMID", "CAD"}
"""Not the stand-alone IHD: SECMP0007 leaves it out."""


_WHOSE: Final = {
    Confidence.UNKNOWN: "its OTA client, whose class is not known,",
    Confidence.LIKELY: "its OTA client, likely and not certainly of class {},",
    Confidence.CERTAIN: "its OTA client, of class {},",
}


class Check(Enum):
    """The names by which checks are switched, in the order in which they are made."""

    KNOWN = "known"
    """The device is in the device log, or in the inventory."""
    DEVICE_TYPE = "device-type"
    """The order is one that updates devices of this type."""
    METHOD = "method"
    """Type, kind of image and who decides the activation fit together."""
    COMMISSIONED = "commissioned"
    ON_HUB = "on-hub"
    """The device is one of this hub's, not only of the inventory."""
    IN_PROGRESS = "in-progress"
    GBCS_VERSION = "gbcs-version"
    DESTINATION = "destination"
    """The image's header names no device, or this one."""
    MANUFACTURER = "manufacturer"
    IMAGE_TYPE = "image-type"
    HARDWARE_VERSION = "hardware-version"
    SAME_VERSION = "same-version"
    """Another version runs: success could not be told from doing nothing."""
    DOWNGRADE = "downgrade"
    EARLY_ACTIVATION = "early-activation"
    """Nothing that its OTA client does by itself makes it activate before its time."""
    PRODUCT_LIST = "product-list"
    """Where there is a list: an Active entry with this hash, version and model, and an allowed upgrade path."""


LONG_AGO: Final = UtcSeconds(0)
"""Of an order whose time is not told: any wait from then on is a long one."""

HUB_ENFORCES: Final = frozenset(
    {
        *(Check.KNOWN, Check.DEVICE_TYPE, Check.METHOD, Check.IN_PROGRESS, Check.DESTINATION),
        *(Check.MANUFACTURER, Check.SAME_VERSION, Check.DOWNGRADE),
    }
)
"""The hub starts an update of a device that has yet to join. It leaves image type and hardware version to the device's
own Query Next Image: a device with several images asks for each, and may not have done so yet."""


@dataclass(frozen=True, slots=True)
class InProgress:
    """The update that the device has now. `number` is None where the hub has not seen it yet."""

    image: str
    distributed: bool = False
    number: int | None = None

    @classmethod
    def of(cls, update: Update) -> "InProgress":
        return cls(update.image, update.distributed, int(update.id))

    def gives_way(self, device_type: str, image: FirmwareImage) -> bool:
        """Whether the device may have this image instead.

        What it has whole it may have replaced, as a deployed meter's (HW). While it still loads, that takes
        ForceReplace: our reading of GBCS 11.2.2, since no public text says more than that the flag is for the hub.
        """
        if device_type not in COMMANDED or image.kind is not ImageKind.GBCS_SIGNED:
            return False
        return image.force_replace is True or (self.distributed and image.sha256 != self.image)


@dataclass(frozen=True, slots=True)
class DeviceImage:
    """What a device told of one of its images. `since` is when it told this for the first time."""

    image_type: ImageType
    since: UtcSeconds
    file_version: int | None = None
    """None where it asks for images of this type, and does not say what it runs."""
    hardware_version: int | None = None


@dataclass(frozen=True, slots=True)
class Candidate:
    """One device as the caller knows it: from the hub's device log, with the inventory's record where there is one."""

    eui64: Eui64
    device_type: str  # as DUIS spells it: PPMID, ESME, IHD...
    commissioned: bool
    in_progress: InProgress | None = None
    images: tuple[DeviceImage, ...] = ()
    """What it told itself."""
    file_version: int | None = None
    """The inventory's word for it, of a device that has one image."""
    status: str = ""
    """The inventory's word for it, where there is an inventory."""
    model: tuple[str, str] | None = None
    """Manufacturer and model, the keys of the product list."""
    gbcs_version: str = ""
    on_hub: bool = True
    client: Recognition = NOTHING_KNOWN
    """Which class of OTA client it is."""

    def running(self, image_type: ImageType) -> int | None:
        """Which version of this image type it runs; None where nobody knows."""
        told = next((image.file_version for image in self.images if image.image_type == image_type), None)
        if told is None and all(image.image_type == image_type for image in self.images):
            return self.file_version
        return told


class UpgradePaths(Protocol):
    """The product list, as far as it is asked here."""

    def objection(
        self, image_hash: str, file_version: int, device_type: str, model: tuple[str, str] | None, running: int | None
    ) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Order:
    """What is asked for, the same for each of its devices."""

    image: FirmwareImage
    activation: Activation
    updates: frozenset[str] = UPDATABLE
    """The types of device that this way of ordering is for, and its name in sentences."""
    name: str = "the hub"
    minimum_gbcs_version: str = ""
    """Devices of an older one are refused, those of an unknown one are not; "" for no such rule."""
    products: UpgradePaths | None = None
    utc: UtcSeconds = LONG_AGO
    """When it is asked for."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """`reason` is a sentence about "it", the device, without a full stop."""

    check: Check
    reason: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """`notes` are findings of checks that are not enforced, up to the one that refused."""

    refusal: Refusal | None
    notes: tuple[Refusal, ...] = ()


def judge(device: Candidate | None, order: Order, enforced: frozenset[Check]) -> Verdict:
    """The first reason against this device, None where it may be updated. A device that is not known is refused."""
    if device is None:
        return Verdict(Refusal(Check.KNOWN, "it is not in the device log"))
    notes: list[Refusal] = []
    for finding in _findings(device, order):
        if finding.check in enforced:
            return Verdict(finding, tuple(notes))
        notes.append(finding)
    return Verdict(None, tuple(notes))


def activation_for(device_type: str, wanted: Activation) -> Activation:
    """How a device of this type is activated where `judge` found nothing against the order."""
    return ActivateByCommand() if device_type in COMMANDED else wanted


def early_activation(client: Recognition, activation: Activation, utc: UtcSeconds) -> str | None:
    """What becomes of a promise of this activation, made at this time: None where the hub can keep it."""
    limits, left_s = client.limits, activation.utc - utc if isinstance(activation, ActivateAt) else inf
    told = cannot_promise(limits, activation, left_s, limits.commit_window_s)
    return f"{_WHOSE[client.confidence].format(limits.name)} {told}" if told else None


def hardware_objection(hardware: int, versions: HardwareVersions | None) -> str | None:
    if versions is None or hardware in versions:
        return None
    return f"hardware version 0x{hardware:04X} is not in 0x{versions.minimum:04X} to 0x{versions.maximum:04X}"


def is_older(version: str, minimum: str) -> bool:
    """Of versions such as `4.1`; an unknown one is not older."""
    return bool(version and minimum) and _version_parts(version) < _version_parts(minimum)


def _findings(device: Candidate, order: Order) -> Iterator[Refusal]:
    image, header = order.image, order.image.header
    running = device.running(header.made_for)
    if device.device_type not in order.updates:
        yield Refusal(Check.DEVICE_TYPE, _wrong_type(device, order))
    if (reason := _wrong_method(device.device_type, image.kind, order.activation)) is not None:
        yield Refusal(Check.METHOD, reason)
    if not device.commissioned:
        status = f"its status is {device.status}" if device.status else "it has not joined, or has left"
        yield Refusal(Check.COMMISSIONED, status)
    if not device.on_hub:
        yield Refusal(Check.ON_HUB, "it is in the inventory, and not on this hub")
    busy = device.in_progress
    if busy is not None and not busy.gives_way(device.device_type, image):
        which = "another update" if busy.number is None else f"update {busy.number}"
        yield Refusal(Check.IN_PROGRESS, f"it has {which} in progress")
    if is_older(device.gbcs_version, order.minimum_gbcs_version):
        reason = f"its GBCS version is {device.gbcs_version}, at least {order.minimum_gbcs_version} is wanted"
        yield Refusal(Check.GBCS_VERSION, reason)
    if header.destination not in (None, device.eui64):
        assert header.destination is not None
        yield Refusal(Check.DESTINATION, f"the image is for {format_eui64(header.destination)} only")
    told = [known.image_type for known in device.images]
    if told and header.manufacturer_code not in [image_type.manufacturer_code for image_type in told]:
        codes = _listed(image_type.manufacturer_code for image_type in told)
        reason = f"its manufacturer is {codes}, the image's 0x{header.manufacturer_code:04X}"
        yield Refusal(Check.MANUFACTURER, reason)
    numbers = _listed(image_type.number for image_type in told)
    if told and header.image_type not in [image_type.number for image_type in told]:
        yield Refusal(Check.IMAGE_TYPE, f"its image type is {numbers}, the image's 0x{header.image_type:04X}")
    for known in device.images:
        if known.image_type == header.made_for and known.hardware_version is not None:
            objection = hardware_objection(known.hardware_version, header.hardware_versions)
            if objection is not None:
                yield Refusal(Check.HARDWARE_VERSION, f"its {objection}")
    if header.file_version == UNKNOWN_FILE_VERSION:
        reason = "the image's version 0xFFFFFFFF is what a device says that does not know its version"
        yield Refusal(Check.SAME_VERSION, f"{reason}: nobody could see that it runs")
    if running == header.file_version:
        yield Refusal(Check.SAME_VERSION, f"it already runs version 0x{running:08X}")
    if running is not None and running > header.file_version:
        reason = f"it runs version 0x{running:08X}, newer than 0x{header.file_version:08X}"
        yield Refusal(Check.DOWNGRADE, f"{reason}: a downgrade must be asked for")
    early = early_activation(device.client, activation_for(device.device_type, order.activation), order.utc)
    if early is not None:
        yield Refusal(Check.EARLY_ACTIVATION, early)
    if order.products is not None:
        objection = order.products.objection(
            image.manufacturer_image_hash, header.file_version, device.device_type, device.model, running
        )
        if objection is not None:
            yield Refusal(Check.PRODUCT_LIST, objection)


def _listed(numbers: Iterable[int]) -> str:
    return ", ".join(f"0x{number:04X}" for number in sorted(set(numbers)))


def _wrong_type(device: Candidate, order: Order) -> str:
    if device.device_type == "IHD":
        return "it is a stand-alone IHD, whose firmware is not updated over the network (SECMP0007)"
    return f"it is of type {device.device_type}; {order.name} updates {', '.join(sorted(order.updates))}"


def _wrong_method(device_type: str, kind: ImageKind, wanted: Activation) -> str | None:
    if device_type not in COMMANDED:
        if isinstance(wanted, ActivateByCommand):
            return "it obeys no command of a supplier: the hub activates it"
        return None
    if kind is not ImageKind.GBCS_SIGNED:
        return f"it takes images that its supplier signed, not one of kind {kind.value}"
    if not isinstance(wanted, ActivateNow | ActivateByCommand):
        return "it is activated by its supplier's command CS06, at no time of the hub's"
    return None


def _version_parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) if part.isascii() and part.isdigit() else 0 for part in version.split("."))
