"""Takes in service requests: one document in, one signed answer out, for every service and every way in.

The checks come in this order: hard limits of XML, the schema where there is one, the signature, the address, the user
and the user's role, the counter, then the service's own checks. A document whose sender can be told gets an answer with
a code; any other raises. An answer that says "taken" is given after the store has it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Final, Generic, TypeVar, assert_never

from chf.clock import Now
from chf.dcc import device_requests
from chf.dcc.device_requests import Outcome, RequestContext, Taken
from chf.dcc.intake import IntakeDecision, IntakePolicy, RequestRefusal
from chf.dcc.inventory import StoreInventory
from chf.dcc.products import Cpl
from chf.dcc.reception import check_counter, take_update
from chf.dcc.register_file import RegisterFile
from chf.dcc.settings import SERVICE_ROLES, DccSettings
from chf.dcc.signers import NOBODY, ResponseSigner, Signers
from chf.dcc.smi import Smi
from chf.duis.codes import ResponseCode
from chf.duis.device_request import (
    ActivateFirmwareRequest,
    ReadFirmwareVersionRequest,
    SignedPreCommandRequest,
    UpdateHanDeviceLogRequest,
)
from chf.duis.document import parse_document
from chf.duis.envelope import ServiceResponse
from chf.duis.header import Asked, CommandVariantError, RequestHeader, peek
from chf.duis.identifiers import RequestId
from chf.duis.request import UpdateFirmwareRequest
from chf.duis.schema import DuisSchema
from chf.duis.service_request import ReadRequest, read_service_request
from chf.duis.xml_signature import detach
from chf.errors import MalformedRequestError, RefusedError
from chf.eui64 import format_eui64
from chf.pki.gbcs import Pki
from chf.store import Store
from chf.trace import Event, Kind
from chf.trust import insist_on_trust
from chf.update.model import ActivateAt, Activation

_T = TypeVar("_T")


class Address(Enum):
    """Where a document was posted (DCC-B); the value is the last part of the path."""

    NON_DEVICE = "serviceD"
    SEND_COMMAND = "serviceS"
    TRANSFORM = "serviceT"


_TAKES: Final = {
    Address.NON_DEVICE: frozenset({("11.1", 8), ("11.4", 8), ("8.11", 1)}),
    # SR 8.11 has command variant 1, which is sent, and is about the hub's log and no device: both addresses take it.
    Address.SEND_COMMAND: frozenset({("11.2", 1), ("11.3", 5), ("8.11", 1)}),
    Address.TRANSFORM: frozenset({("11.3", 4)}),
}


@dataclass(frozen=True, slots=True)
class Answer:
    """`document` is the signed response; `reason` says in words why something was refused, or is empty."""

    document: bytes
    request_id: RequestId
    service: str
    code: ResponseCode
    reason: str = ""
    command: int | None = None
    """The command that the hub was given for an update."""
    decision: IntakeDecision | None = None
    """Of an update request, device by device."""
    notes: tuple[str, ...] = ()


CARRIED: Final = frozenset({"PPMID", "ESME", "GSME", "HCALCS"})
"""The types of device that the hub of this program carries GBCS messages to."""


class Desk:
    """One for each process. Files of the operator are read again when they change."""

    def __init__(
        self,
        store: Store,
        pki: Pki,
        settings: DccSettings | None = None,
        *,
        signers: Signers = NOBODY,
        schema: DuisSchema | None = None,
        intake: IntakePolicy | None = None,
        carried: frozenset[str] = CARRIED,
    ) -> None:
        self._store, self._pki, self._sign = store, pki, ResponseSigner(pki)
        self._settings, self._signers, self._schema = settings or DccSettings(), signers, schema
        self._intake = intake or self._settings.policy.intake()
        self._carried = carried
        smi, cpl = Smi(store.home), Cpl(store.home)
        self._smi, self._cpl = _Fresh(smi.file, smi.devices), _Fresh(cpl.file, cpl.products)

    def take(
        self,
        document: bytes,
        now: Now,
        *,
        address: Address | None = None,
        activation: Activation | None = None,
        allow_downgrade: bool = False,
    ) -> Answer:
        """`address` is None where the document came as a file, which has none.

        Raises MalformedRequestError for a document that cannot be answered: nobody can tell what it asked for.
        """
        root = parse_document(document)
        sender = peek(root)
        try:
            if self._schema is not None:
                self._schema.check_tree(root)
            signature = detach(root)
            read = read_service_request(root)
        except (MalformedRequestError, RefusedError) as error:
            if sender is None:
                raise
            return self._refused(sender, RequestRefusal(_code_of(error), str(error)), now)
        note = None
        try:
            note = self._signers.check(root, signature, read.header.request_id.originator)
        except RefusedError as error:
            refusal: RequestRefusal | None = RequestRefusal(ResponseCode.UNKNOWN_SENDER, str(error))
        else:
            refusal = self._sender_refusal(read.header, address)
        if refusal is not None:
            return self._refused(read.header.asked, refusal, now)
        notes = () if note is None else (note,)
        if isinstance(read.request, UpdateFirmwareRequest):
            if isinstance(activation, ActivateAt):
                insist_on_trust(now)
            return self._update(read.request, now, notes, activation, allow_downgrade=allow_downgrade)
        return self._device_request(read, now, notes)

    def _sender_refusal(self, header: RequestHeader, address: Address | None) -> RequestRefusal | None:
        if address is not None and (header.service, header.command_variant) not in _TAKES[address]:
            reason = (
                f"service request {header.service} with command variant {header.command_variant} is not taken at "
                f"{address.value}"
            )
            return RequestRefusal(ResponseCode.ADDRESS, reason)
        originator, users = header.request_id.originator, self._settings.users
        if users and originator not in users:
            return RequestRefusal(ResponseCode.UNKNOWN_SENDER, f"{format_eui64(originator)} is not a user here")
        if users and not users[originator].roles & SERVICE_ROLES[header.service]:
            roles = ", ".join(sorted(SERVICE_ROLES[header.service]))
            reason = f"{format_eui64(originator)} has no role for service request {header.service}: {roles}"
            return RequestRefusal(ResponseCode.ROLE, reason)
        return None

    def _update(
        self,
        request: UpdateFirmwareRequest,
        now: Now,
        notes: tuple[str, ...],
        activation: Activation | None,
        *,
        allow_downgrade: bool,
    ) -> Answer:
        reception = take_update(
            self._store,
            request,
            now,
            partial(StoreInventory, self._store, self._smi.get()),
            self._cpl.get(),
            activation=activation,
            policy=self._intake,
            allow_downgrade=allow_downgrade,
        )
        decision, response = reception.decision, reception.response
        if decision.request_refusal is not None:
            reason = decision.request_refusal.reason
        else:
            reason = "; ".join(str(refusal) for refusal in decision.refused[:3])
            more = len(decision.refused) - 3
            reason += f"; and {more} more" if more > 0 else ""
        signed = self._sign(response.to_bytes())
        service = request.service_reference.value
        told = (*notes, *decision.notes)
        return Answer(signed, request.request_id, service, response.code, reason, reception.command, decision, told)

    def _device_request(self, read: ReadRequest, now: Now, notes: tuple[str, ...]) -> Answer:
        """Looked at, decided and written in one transaction: neither the hub nor another process can come between."""
        request_id, service = read.header.request_id, read.header.service
        smi = self._smi.get()
        with self._store.transaction() as tx:
            inventory = StoreInventory(self._store, smi)
            outcome = self._outcome(
                read, RequestContext(tx, self._pki, inventory, smi, self._settings.policy, self._carried, now)
            )
            if isinstance(outcome, Taken) and not outcome.replayable:
                tx.requests.note(request_id.originator, request_id.counter, now.utc)
                fields = {"request": str(request_id), "sha256": ""}
                tx.audit.append(Event(now.utc, Kind.REQUEST_ACCEPTED, request_id.target, None, fields))
        if isinstance(outcome, RequestRefusal):
            return self._refused(read.header.asked, outcome, now)
        response = ServiceResponse(request_id, service, outcome.code, int(now.utc), outcome.content)
        return Answer(self._sign(response.to_bytes()), request_id, service, response.code, notes=notes)

    def _outcome(self, read: ReadRequest, context: RequestContext) -> Outcome:
        try:
            check_counter(context.tx, read.header.request_id)
        except RefusedError as error:
            return RequestRefusal(ResponseCode.VALIDATION, str(error))
        match read.request:
            case ActivateFirmwareRequest() as request:
                return device_requests.transform(request, context)
            case SignedPreCommandRequest() as request:
                return device_requests.signed_pre_command(request, context)
            case ReadFirmwareVersionRequest() as request:
                return device_requests.read_version(request, context)
            case UpdateHanDeviceLogRequest() as request:
                return device_requests.update_device_log(request, context)
            case UpdateFirmwareRequest():
                raise AssertionError("update requests are taken in by _update")
            case _:
                assert_never(read.request)

    def _refused(self, asked: Asked, refusal: RequestRefusal, now: Now) -> Answer:
        request_id, service = asked.request_id, asked.service
        fields = {"request": str(request_id), "reason": refusal.reason}
        with self._store.transaction() as tx:
            tx.audit.append(Event(now.utc, Kind.REQUEST_REFUSED, None, None, fields))
        response = ServiceResponse(request_id, service, refusal.code, int(now.utc), None, asked.service_variant)
        return Answer(self._sign(response.to_bytes()), request_id, service, refusal.code, refusal.reason)


def _code_of(fault: MalformedRequestError | RefusedError) -> ResponseCode:
    """Of a request that could not be read; RefusedError means a service that is not taken in here."""
    match fault:
        case RefusedError():
            return ResponseCode.ROLE
        case CommandVariantError():
            return ResponseCode.COMMAND_VARIANT
        case _:
            return ResponseCode.VALIDATION


class _Fresh(Generic[_T]):
    """What a file says, read again only when the file has changed."""

    def __init__(self, file: RegisterFile, read: Callable[[], _T]) -> None:
        self._file, self._read = file, read
        self._known: tuple[object, _T] | None = None

    def get(self) -> _T:
        stamp = self._file.stamp()
        if self._known is None or self._known[0] != stamp:
            self._known = stamp, self._read()
        return self._known[1]
