"""Which devices of a service request may have its image: the DCC side's checks as pure rules (DUIS-XSD).

A request is refused as a whole (`RequestRefusal`), or decided device by device (`chf.update.eligibility`): acceptance
is partial, and refused devices come back in the five lists of DUIS with the reason in words. Every check has a name.
One that is not enforced still speaks: its finding becomes a note, so that nothing is passed over in silence.

Not here: who signed the request and in which role (`desk`), and the hardware version range as a reason to refuse, which
is for the hub to report with CCS08 `hardwareVersionMismatch`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol

from chf.clock import UtcSeconds
from chf.dcc.products import ProductList
from chf.duis import FirmwareWarning, ResponseCode, ServiceReference, ServiceResponse, UpdateFirmwareRequest
from chf.errors import MalformedImageError
from chf.eui64 import Eui64, format_eui64
from chf.image.image import DEFAULT_LIMIT_BYTES, FirmwareImage, ImageKind, parse_image
from chf.update.eligibility import COMMANDED, LONG_AGO, Candidate, Check, Order, judge
from chf.update.model import ActivateNow, Activation

ACCESS_CONTROL_BROKER = Eui64(0x90B3D51F30000002)  # the target of every non-device request (DUIS-T)


class RequestCheck(Enum):
    """Checks of a request as a whole; those of each device are `chf.update.eligibility.Check`."""

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


EVERY_CHECK: Final[frozenset[RequestCheck | Check]] = frozenset((*RequestCheck, *Check))
_NOTED_ONLY = frozenset({RequestCheck.IMAGE_VERSION, Check.HARDWARE_VERSION, Check.EARLY_ACTIVATION})


@dataclass(frozen=True, slots=True)
class IntakePolicy:
    """What is enforced. The defaults are our choice, where no public text rules."""

    enforced: frozenset[RequestCheck | Check] = EVERY_CHECK - _NOTED_ONLY
    services: frozenset[ServiceReference] = frozenset(ServiceReference)
    image_limit_bytes: int = DEFAULT_LIMIT_BYTES
    image_kind: ImageKind | None = None
    """Read the image as this kind; None for what its bytes say, which two kinds of PPMID images belie
    (docs/image-format.md)."""
    acb: Eui64 = ACCESS_CONTROL_BROKER
    minimum_gbcs_version: str = ""
    """Devices of an older one are refused, those of an unknown one are not; "" for no such rule."""


class Inventory(Protocol):
    """What the rules ask; a shell answers from its store."""

    def device(self, eui64: Eui64) -> Candidate | None: ...
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


_LISTS: Final = {
    Check.KNOWN: RefusalList.INVALID_DEVICE_ID,
    Check.DEVICE_TYPE: RefusalList.INVALID_DEVICE_ID,
    Check.ON_HUB: RefusalList.INVALID_DEVICE_ID,
    Check.COMMISSIONED: RefusalList.NOT_COMMISSIONED,
    Check.IN_PROGRESS: RefusalList.OTHER_REQUEST_IN_PROGRESS,
    Check.GBCS_VERSION: RefusalList.INVALID_GBCS_VERSION,
}
"""The list of a device that a check refuses; all others are of firmware that is not applicable to it."""


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

    def response(self, utc_s: int) -> ServiceResponse:
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
        return ServiceResponse(self.request.request_id, reference.value, code, utc_s, warning or None)


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
_TAKES = {ServiceReference.UPDATE_FIRMWARE: COMMANDED, ServiceReference.UPDATE_PPMID_FIRMWARE: frozenset({"PPMID"})}

DEFAULT_POLICY = IntakePolicy()


def decide(
    request: UpdateFirmwareRequest,
    inventory: Inventory,
    policy: IntakePolicy = DEFAULT_POLICY,
    products: ProductList | None = None,
    activation: Activation | None = None,
    utc: UtcSeconds = LONG_AGO,
) -> IntakeDecision:
    """Apply every rule. The caller records the counter of a request that was not refused as a whole.

    `activation` is what the hub will be told, None for at once, because the request has no word for it; `utc` is now.
    """
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
    name = f"service request {request.service_reference.value}"
    takes = _TAKES[request.service_reference]
    order = Order(image, activation or ActivateNow(), takes, name, policy.minimum_gbcs_version, products, utc)
    enforced = frozenset(check for check in policy.enforced if isinstance(check, Check))
    accepted, refused = [], []
    for eui64 in dict.fromkeys(request.device_ids):  # named twice is asked once
        verdict = judge(inventory.device(eui64), order, enforced)
        notes += (_note(note.check, f"{format_eui64(eui64)}: {note.reason}") for note in verdict.notes)
        if (found := verdict.refusal) is None:
            accepted.append(eui64)
        else:
            in_list = _LISTS.get(found.check, RefusalList.NOT_APPLICABLE_FIRMWARE)
            refused.append(DeviceRefusal(eui64, found.check, found.reason, in_list))
    return IntakeDecision(request, image, tuple(accepted), tuple(refused), notes=tuple(notes))


def _request_findings(
    request: UpdateFirmwareRequest, inventory: Inventory, policy: IntakePolicy
) -> Iterator[tuple[RequestCheck, RequestRefusal]]:
    reference = request.service_reference
    if reference not in policy.services:
        served = ", ".join(sorted(service.value for service in policy.services))
        reason = f"service request {reference.value} is not among those that this hub serves: {served}"
        yield RequestCheck.SERVICE, RequestRefusal(ResponseCode.VALIDATION, reason)
    if request.request_id.target != policy.acb:
        found = format_eui64(request.request_id.target)
        reason = f"the RequestID is addressed to {found}; a non-device request goes to {format_eui64(policy.acb)}"
        yield RequestCheck.TARGET, RequestRefusal(ResponseCode.VALIDATION, reason)
    last = inventory.last_counter(request.request_id.originator)
    if last is not None and request.request_id.counter <= last:
        reason = (
            f"the counter {request.request_id.counter} of {format_eui64(request.request_id.originator)} was "
            f"{'used before' if request.request_id.counter == last else f'passed by {last}'}: replayed, or out of order"
        )
        yield RequestCheck.COUNTER, RequestRefusal(ResponseCode.VALIDATION, reason)


def _image_findings(request: UpdateFirmwareRequest, image: FirmwareImage) -> Iterator[tuple[RequestCheck, str]]:
    for_ppmid = request.service_reference is ServiceReference.UPDATE_PPMID_FIRMWARE
    if for_ppmid and image.kind is ImageKind.GBCS_SIGNED:
        yield (RequestCheck.IMAGE_SIGNATURE, "the image ends in a supplier's signature, which a PPMID image has not")
    if not for_ppmid and image.kind is not ImageKind.GBCS_SIGNED:
        yield RequestCheck.IMAGE_SIGNATURE, "the image has no supplier's signature at its end"
    version = request.firmware_version.upper().rjust(8, "0")
    if version != f"{image.header.file_version:08X}":
        yield (
            RequestCheck.IMAGE_VERSION,
            f"FirmwareVersion is {request.firmware_version}, the image's header says {image.header.file_version:08X}",
        )


def _note(check: RequestCheck | Check, reason: str) -> str:
    return f"{reason} (check {check.value} is not enforced)"
