"""Which devices of a service request may have its image: the DCC side's checks as pure rules (DUIS-XSD).

A request is refused as a whole (`RequestRefusal`), or decided device by device: acceptance is partial, and refused
devices come back in the five lists of DUIS with the reason in words. Every check has a name. One that is not enforced
still speaks: its finding becomes a note, so that nothing is passed over in silence.

Not here: who signed the request and in which role (`desk`), and the hardware version range as a reason to refuse, which
is for the hub to report with CCS08 `hardwareVersionMismatch`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from chf.dcc.products import ProductList
from chf.duis import (
    FirmwareResponse,
    FirmwareWarning,
    ResponseCode,
    ServiceReference,
    UpdateFirmwareRequest,
)
from chf.errors import MalformedImageError
from chf.eui64 import Eui64, format_eui64
from chf.image.image import DEFAULT_LIMIT_BYTES, FirmwareImage, ImageKind, parse_image

ACCESS_CONTROL_BROKER = Eui64(0x90B3D51F30000002)  # the target of every non-device request (DUIS-T)


class Check(Enum):
    """The names by which checks are switched."""

    SERVICE = "service"
    """The hub behind this intake does this kind of update."""
    TARGET = "target"
    """A non-device request is addressed to the ACB."""
    COUNTER = "counter"
    """The originator's counter is higher than that of every request before."""
    IMAGE_SIGNATURE = "image-signature"
    """A PPMID image has no supplier signature, any other has one."""
    IMAGE_VERSION = "image-version"
    """The request's FirmwareVersion is the header's file version, in hex. The public samples break this rule."""
    KNOWN = "known"
    DEVICE_TYPE = "device-type"
    COMMISSIONED = "commissioned"
    ON_HUB = "on-hub"
    """The device is one of this hub's, not only of the inventory."""
    GBCS_VERSION = "gbcs-version"
    IN_PROGRESS = "in-progress"
    DESTINATION = "destination"
    """The image's header names no device, or this one."""
    MANUFACTURER = "manufacturer"
    IMAGE_TYPE = "image-type"
    HARDWARE_VERSION = "hardware-version"
    SAME_VERSION = "same-version"
    DOWNGRADE = "downgrade"
    PRODUCT_LIST = "product-list"
    """Where there is one: an Active entry with this hash, version and model, and an allowed upgrade path."""


_NOTED_ONLY = frozenset({Check.IMAGE_VERSION, Check.HARDWARE_VERSION})


@dataclass(frozen=True, slots=True)
class IntakePolicy:
    """What is enforced. The defaults are our choice, where no public text rules."""

    enforced: frozenset[Check] = frozenset(Check) - _NOTED_ONLY
    services: frozenset[ServiceReference] = frozenset(ServiceReference)
    image_limit_bytes: int = DEFAULT_LIMIT_BYTES
    image_kind: ImageKind | None = None
    """Read the image as this kind; None for what its bytes say, which two kinds of PPMID images belie
    (docs/image-format.md)."""
    acb: Eui64 = ACCESS_CONTROL_BROKER
    minimum_gbcs_version: str = ""
    """Devices of an older one are refused, those of an unknown one are not; "" for no such rule."""


@dataclass(frozen=True, slots=True)
class InventoryDevice:
    """One device as the DCC side sees it: the inventory's record and the hub's device log; None is not known yet."""

    eui64: Eui64
    device_type: str  # as DUIS spells it: PPMID, ESME, IHD...
    commissioned: bool
    update_in_progress: bool = False
    manufacturer_code: int | None = None
    image_type: int | None = None
    hardware_version: int | None = None
    file_version: int | None = None
    status: str = ""
    """The inventory's word for it, where there is an inventory."""
    model: tuple[str, str] | None = None
    """Manufacturer and model, the keys of the product list."""
    gbcs_version: str = ""
    on_hub: bool = True


class Inventory(Protocol):
    """What the rules ask; a shell answers from its store."""

    def device(self, eui64: Eui64) -> InventoryDevice | None: ...
    def last_counter(self, originator: Eui64) -> int | None:
        """The highest counter of an accepted request of this originator, or None."""
        ...


class RefusalList(Enum):
    """The five lists of DUIS; the value is the field of FirmwareWarning."""

    INVALID_DEVICE_ID = "invalid"
    NOT_COMMISSIONED = "not_commissioned"
    NOT_APPLICABLE_FIRMWARE = "not_applicable_firmware"
    OTHER_REQUEST_IN_PROGRESS = "other_request_in_progress"
    INVALID_GBCS_VERSION = "invalid_gbcs_version"


@dataclass(frozen=True, slots=True)
class DeviceRefusal:
    device: Eui64
    check: Check
    reason: str
    in_list: RefusalList

    def __str__(self) -> str:
        return f"{format_eui64(self.device)}: {self.reason}"


@dataclass(frozen=True, slots=True)
class RequestRefusal:
    """Nothing of the request was taken."""

    code: ResponseCode
    reason: str


@dataclass(frozen=True, slots=True)
class IntakeDecision:
    """What becomes of a request. `image` is None exactly where the request was refused before or for its image."""

    request: UpdateFirmwareRequest
    image: FirmwareImage | None
    accepted: tuple[Eui64, ...] = ()
    refused: tuple[DeviceRefusal, ...] = ()
    request_refusal: RequestRefusal | None = None
    notes: tuple[str, ...] = ()
    """Findings of checks that are not enforced."""

    def response(self, utc_s: int) -> FirmwareResponse:
        """The DCC's synchronous answer."""
        reference = self.request.service_reference
        warning = FirmwareWarning(
            **{
                refusal_list.value: tuple(refusal.device for refusal in self.refused if refusal.in_list is refusal_list)
                for refusal_list in RefusalList
            }
        )
        if self.request_refusal is not None:
            code = self.request_refusal.code
        elif not self.refused:
            code = ResponseCode.ACKNOWLEDGED
        else:
            code = (_PARTIAL if self.accepted else _NO_DEVICE)[reference]
        return FirmwareResponse(reference, self.request.request_id, code, utc_s, warning)


_PARTIAL = {
    ServiceReference.UPDATE_FIRMWARE: ResponseCode.UPDATE_FIRMWARE_PARTIAL,
    ServiceReference.UPDATE_PPMID_FIRMWARE: ResponseCode.UPDATE_PPMID_FIRMWARE_PARTIAL,
}
_NO_DEVICE = {
    ServiceReference.UPDATE_FIRMWARE: ResponseCode.UPDATE_FIRMWARE_NO_DEVICE,
    ServiceReference.UPDATE_PPMID_FIRMWARE: ResponseCode.UPDATE_PPMID_FIRMWARE_NO_DEVICE,
}
_IMAGE = {
    ServiceReference.UPDATE_FIRMWARE: ResponseCode.UPDATE_FIRMWARE_IMAGE,
    ServiceReference.UPDATE_PPMID_FIRMWARE: ResponseCode.UPDATE_PPMID_FIRMWARE_IMAGE,
}
_TAKES = {
    ServiceReference.UPDATE_FIRMWARE: ("ESME", "GSME", "HCALCS"),
    ServiceReference.UPDATE_PPMID_FIRMWARE: ("PPMID",),
}

DEFAULT_POLICY = IntakePolicy()


def decide(
    request: UpdateFirmwareRequest,
    inventory: Inventory,
    policy: IntakePolicy = DEFAULT_POLICY,
    products: ProductList | None = None,
) -> IntakeDecision:
    """Apply every rule. The caller records the counter of a request that was not refused as a whole."""
    notes: list[str] = []
    for check, refusal in _request_findings(request, inventory, policy):
        if check in policy.enforced:
            return IntakeDecision(request, None, request_refusal=refusal, notes=tuple(notes))
        notes.append(_note(check, refusal.reason))
    code = _IMAGE[request.service_reference]
    try:
        image = parse_image(request.image, kind=policy.image_kind, limit_bytes=policy.image_limit_bytes)
    except MalformedImageError as error:
        return IntakeDecision(request, None, request_refusal=RequestRefusal(code, f"the image: {error}"))
    for check, reason in _image_findings(request, image):
        if check in policy.enforced:
            return IntakeDecision(request, None, request_refusal=RequestRefusal(code, reason), notes=tuple(notes))
        notes.append(_note(check, reason))
    rules = _Rules(request, image, policy, products, notes)
    accepted, refused = [], []
    for eui64 in dict.fromkeys(request.device_ids):  # named twice is asked once
        verdict = rules.refusal(eui64, inventory.device(eui64))
        if verdict is None:
            accepted.append(eui64)
        else:
            refused.append(verdict)
    return IntakeDecision(request, image, tuple(accepted), tuple(refused), notes=tuple(notes))


def _request_findings(
    request: UpdateFirmwareRequest, inventory: Inventory, policy: IntakePolicy
) -> Iterator[tuple[Check, RequestRefusal]]:
    reference = request.service_reference
    if reference not in policy.services:
        served = ", ".join(sorted(service.value for service in policy.services))
        reason = f"service request {reference.value} is not among those that this hub serves: {served}"
        yield Check.SERVICE, RequestRefusal(ResponseCode.VALIDATION, reason)
    if request.request_id.target != policy.acb:
        found = format_eui64(request.request_id.target)
        reason = f"the RequestID is addressed to {found}; a non-device request goes to {format_eui64(policy.acb)}"
        yield Check.TARGET, RequestRefusal(ResponseCode.VALIDATION, reason)
    last = inventory.last_counter(request.request_id.originator)
    if last is not None and request.request_id.counter <= last:
        reason = (
            f"the counter {request.request_id.counter} of {format_eui64(request.request_id.originator)} was "
            f"{'used before' if request.request_id.counter == last else f'passed by {last}'}: replayed, or out of order"
        )
        yield Check.COUNTER, RequestRefusal(ResponseCode.VALIDATION, reason)


def _image_findings(request: UpdateFirmwareRequest, image: FirmwareImage) -> Iterator[tuple[Check, str]]:
    for_ppmid = request.service_reference is ServiceReference.UPDATE_PPMID_FIRMWARE
    if for_ppmid and image.kind is ImageKind.GBCS_SIGNED:
        yield Check.IMAGE_SIGNATURE, "the image ends in a supplier's signature, which a PPMID image does not have"
    if not for_ppmid and image.kind is not ImageKind.GBCS_SIGNED:
        yield Check.IMAGE_SIGNATURE, "the image has no supplier's signature at its end"
    version = request.firmware_version.upper().rjust(8, "0")
    if version != f"{image.header.file_version:08X}":
        yield (
            Check.IMAGE_VERSION,
            f"FirmwareVersion is {request.firmware_version}, the image's header says {image.header.file_version:08X}",
        )


@dataclass(frozen=True, slots=True)
class _Rules:
    """The rules for each device of one request."""

    request: UpdateFirmwareRequest
    image: FirmwareImage
    policy: IntakePolicy
    products: ProductList | None
    notes: list[str]

    def refusal(self, eui64: Eui64, device: InventoryDevice | None) -> DeviceRefusal | None:
        """The first reason against it. Findings of checks that are not enforced become notes."""
        if device is None:
            reason = "it is not in the device log"
            return DeviceRefusal(eui64, Check.KNOWN, reason, RefusalList.INVALID_DEVICE_ID)
        for check, in_list, reason in self._findings(device):
            if check in self.policy.enforced:
                return DeviceRefusal(eui64, check, reason, in_list)
            self.notes.append(_note(check, f"{format_eui64(eui64)}: {reason}"))
        return None

    def _findings(self, device: InventoryDevice) -> Iterator[tuple[Check, RefusalList, str]]:
        reference = self.request.service_reference
        if device.device_type not in _TAKES[reference]:
            yield Check.DEVICE_TYPE, RefusalList.INVALID_DEVICE_ID, _wrong_type(device, reference)
        if not device.commissioned:
            status = f"its status is {device.status}" if device.status else "it has not joined, or has left"
            yield Check.COMMISSIONED, RefusalList.NOT_COMMISSIONED, status
        if not device.on_hub:
            yield Check.ON_HUB, RefusalList.INVALID_DEVICE_ID, "it is in the inventory, and not on this hub"
        if device.update_in_progress and not self.image.force_replace:  # which the hub lets pass
            yield Check.IN_PROGRESS, RefusalList.OTHER_REQUEST_IN_PROGRESS, "another update of it is in progress"
        if is_older(device.gbcs_version, self.policy.minimum_gbcs_version):
            reason = f"its GBCS version is {device.gbcs_version}, at least {self.policy.minimum_gbcs_version} is wanted"
            yield Check.GBCS_VERSION, RefusalList.INVALID_GBCS_VERSION, reason
        for check, reason in _applicability(device, self.image):
            yield check, RefusalList.NOT_APPLICABLE_FIRMWARE, reason
        objection = self._objection(device)
        if objection is not None:
            yield Check.PRODUCT_LIST, RefusalList.NOT_APPLICABLE_FIRMWARE, objection

    def _objection(self, device: InventoryDevice) -> str | None:
        if self.products is None:
            return None
        version = self.image.header.file_version
        return self.products.objection(
            self.image.manufacturer_image_hash, version, device.device_type, device.model, device.file_version
        )


def is_older(version: str, minimum: str) -> bool:
    """Of versions such as `4.1`; an unknown one is not older."""
    return bool(version and minimum) and _version_parts(version) < _version_parts(minimum)


def _version_parts(version: str) -> tuple[int, ...]:
    return tuple(int(part) if part.isascii() and part.isdigit() else 0 for part in version.split("."))


def _wrong_type(device: InventoryDevice, reference: ServiceReference) -> str:
    if device.device_type == "IHD":
        return "it is a stand-alone IHD, whose firmware is not updated over the network (SECMP0007)"
    wanted = "a PPMID" if reference is ServiceReference.UPDATE_PPMID_FIRMWARE else "an ESME, GSME or HCALCS"
    return f"it is of type {device.device_type}; service request {reference.value} updates {wanted}"


def _applicability(device: InventoryDevice, image: FirmwareImage) -> Iterator[tuple[Check, str]]:
    header = image.header
    if header.destination is not None and header.destination != device.eui64:
        yield Check.DESTINATION, f"the image is for {format_eui64(header.destination)} only"
    manufacturer, image_type, running = device.manufacturer_code, device.image_type, device.file_version
    if manufacturer is not None and manufacturer != header.manufacturer_code:
        made_for = f"0x{header.manufacturer_code:04X}"
        yield Check.MANUFACTURER, f"its manufacturer is 0x{manufacturer:04X}, the image's {made_for}"
    if image_type is not None and image_type != header.image_type:
        yield Check.IMAGE_TYPE, f"its image type is 0x{image_type:04X}, the image's 0x{header.image_type:04X}"
    hardware, versions = device.hardware_version, header.hardware_versions
    if hardware is not None and versions is not None and hardware not in versions:
        fits = f"0x{versions.minimum:04X} to 0x{versions.maximum:04X}"
        yield Check.HARDWARE_VERSION, f"its hardware version 0x{hardware:04X} is not in {fits}"
    if running is not None and running == header.file_version:
        yield Check.SAME_VERSION, f"it runs version 0x{running:08X} already"
    if running is not None and running > header.file_version:
        yield Check.DOWNGRADE, f"it runs version 0x{running:08X}, which is newer than 0x{header.file_version:08X}"


def _note(check: Check, reason: str) -> str:
    return f"{reason} (check {check.value} is not enforced)"
