"""The header of a service request: who asks whom for which service, in which command variant.

Sequenced requests (FirstInSequence, PrecedingServiceRequestID) are refused: there is no sequencing here.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from lxml.etree import _Element

from chf.duis.document import NAMESPACE, ElementReader, add, new_root, refusal, refuse_attributes, text_of
from chf.duis.identifiers import RequestId
from chf.errors import MalformedRequestError, RefusedError

SCHEMA_VERSION: Final = "5.4"  # DUIS-XSD

COMMAND_VARIANTS: Final[Mapping[str, tuple[int, ...]]] = {
    "8.11": (1,),
    "11.1": (8,),
    "11.2": (1,),
    "11.3": (4, 5),
    "11.4": (8,),
}
"""The services of this bench, each with the command variants that it may have (DUIS-XSD, DUIS-T). The reference is also
the variant: none of these has several."""
_SERVED = ", ".join(COMMAND_VARIANTS)
_REFERENCE: Final = re.compile(r"[0-9]{1,2}(\.[0-9]{1,2}){1,2}")  # as all of DUIS-XSD's are written


class CommandVariantError(MalformedRequestError):
    """The command variant is none of those that the service may have."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a response names of the request that it answers. The two references are as the sender wrote them."""

    request_id: RequestId
    service: str
    service_variant: str


@dataclass(frozen=True, slots=True)
class RequestHeader:
    request_id: RequestId
    service: str
    """Both the ServiceReference and the ServiceReferenceVariant."""
    command_variant: int

    @property
    def asked(self) -> Asked:
        return Asked(self.request_id, self.service, self.service)


def read_header(element: _Element) -> RequestHeader:
    """Raises MalformedRequestError, and RefusedError for a service that is not served here."""
    refuse_attributes(element)
    header = ElementReader(element)
    request_id_element = header.required("RequestID")
    try:
        request_id = RequestId.parse(text_of(request_id_element, collapse=True))
    except MalformedRequestError as error:
        raise refusal(error.reason, request_id_element) from None
    for name in ("FirstInSequence", "PrecedingServiceRequestID"):
        sequenced = header.optional(name)
        if sequenced is not None:
            raise refusal("sequenced requests are not supported", sequenced)
    variant = header.required("CommandVariant")
    reference = header.required("ServiceReference")
    reference_variant = header.required("ServiceReferenceVariant")
    header.finish()
    asked = text_of(reference)
    if asked not in COMMAND_VARIANTS:
        raise RefusedError(f"service request {asked[:16]!r} is not taken in here; {_SERVED} are")
    if text_of(reference_variant) != asked:
        raise refusal(f"it does not belong to service reference {asked}", reference_variant)
    allowed = {str(number): number for number in COMMAND_VARIANTS[asked]}
    found = text_of(variant, collapse=True)
    if found not in allowed:
        reason = f"service request {asked} has command variant {' or '.join(allowed)}"
        raise CommandVariantError(reason, field=refusal(reason, variant).field)
    return RequestHeader(request_id, asked, allowed[found])


def peek(root: _Element) -> Asked | None:
    """RequestID and service of a request that may be wrong elsewhere, so that its refusal can be addressed.

    None where they cannot be told for certain. The service need not be one of this bench.
    """
    name = f"{{{NAMESPACE}}}"
    headers = root.findall(f"{name}Header")
    if root.tag != f"{name}Request" or len(headers) != 1:
        return None
    try:
        (request_id,), (service,), (variant,) = (
            headers[0].findall(f"{name}{wanted}")
            for wanted in ("RequestID", "ServiceReference", "ServiceReferenceVariant")
        )
        names = text_of(service).strip(), text_of(variant).strip()
        asked = Asked(RequestId.parse(text_of(request_id, collapse=True)), *names)
    except (ValueError, MalformedRequestError):  # none, several, or not one
        return None
    if not all(map(_REFERENCE.fullmatch, names)):
        return None
    return asked if names[0] not in COMMAND_VARIANTS else replace(asked, service_variant=names[0])


def new_request(header: RequestHeader) -> tuple[_Element, _Element]:
    """A document with its header, and the body to be filled."""
    root = new_root("Request", SCHEMA_VERSION)
    element = add(root, "Header")
    add(element, "RequestID", str(header.request_id))
    add(element, "CommandVariant", str(header.command_variant))
    add(element, "ServiceReference", header.service)
    add(element, "ServiceReferenceVariant", header.service)
    return root, add(root, "Body")
