"""Taking an update request in: decide, and hand what was accepted to the hub, all or nothing.

The image, the counter that makes a replay known, and the command to the hub are one transaction: a request is either
taken, and survives everything, or it was never here. Who may ask, and whether the document is his, is for `desk`.
"""

from dataclasses import dataclass, replace
from typing import Final

from chf.clock import Now
from chf.dcc.intake import DEFAULT_POLICY, Check, IntakeDecision, IntakePolicy, decide
from chf.dcc.inventory import StoreInventory
from chf.dcc.products import Cpl, ProductList
from chf.dcc.smi import Smi
from chf.duis import FirmwareResponse, UpdateFirmwareRequest
from chf.duis.schema import DuisSchema
from chf.eui64 import format_eui64
from chf.ota.model import ActivateNow, Activation, activation_to_json
from chf.store import Store
from chf.store.followed import Followed
from chf.store.images import record_of
from chf.store.inbox import Verb
from chf.store.store import Transaction
from chf.trace import Event, Kind

MOST_NAMED_REFUSALS: Final = 100
"""So many refused devices of one request get an audit record each; the rest are counted in one."""


@dataclass(frozen=True, slots=True)
class Reception:
    """`command` is the hub's command for the accepted devices, None where there are none."""

    decision: IntakeDecision
    response: FirmwareResponse
    command: int | None


def receive(
    store: Store,
    document: bytes,
    now: Now,
    *,
    activation: Activation | None = None,
    policy: IntakePolicy = DEFAULT_POLICY,
    schema: DuisSchema | None = None,
    allow_downgrade: bool = False,
) -> Reception:
    """Take a DUIS document in. `activation` is the hub's own decision: the request has no word for it.

    Raises MalformedRequestError for what is not such a request, RefusedError for a service that is not taken in here.
    """
    if schema is not None:
        schema.check(document)
    request = UpdateFirmwareRequest.from_bytes(document)
    inventory = StoreInventory(store, Smi(store.home).devices())
    products = Cpl(store.home).products()
    return take_update(
        store, request, now, inventory, products, activation=activation, policy=policy, allow_downgrade=allow_downgrade
    )


def take_update(
    store: Store,
    request: UpdateFirmwareRequest,
    now: Now,
    inventory: StoreInventory,
    products: ProductList | None,
    *,
    activation: Activation | None = None,
    policy: IntakePolicy = DEFAULT_POLICY,
    allow_downgrade: bool = False,
) -> Reception:
    """The same, of a request that has been read. With `allow_downgrade`, a newer running version is noted only."""
    if allow_downgrade:
        policy = replace(policy, enforced=policy.enforced - {Check.DOWNGRADE})
    decision = decide(request, inventory, policy, products)
    response = decision.response(int(now.utc))
    if decision.request_refusal is not None or decision.image is None:
        fields = {"request": str(request.request_id), "reason": _reason(decision)}
        with store.transaction() as tx:
            tx.audit.append(Event(now.utc, Kind.REQUEST_REFUSED, None, None, fields))
        return Reception(decision, response, None)
    with store.transaction() as tx:
        tx.requests.note(request.request_id.originator, request.request_id.counter, now.utc)
        _note_refusals(tx, decision, now)
        if not decision.accepted:
            return Reception(decision, response, None)
        tx.images.add(record_of(decision.image, f"of {request.request_id}", now.utc), request.image)
        body = {
            "devices": [format_eui64(device) for device in decision.accepted],
            "image": decision.image.sha256,
            "activation": activation_to_json(activation or ActivateNow()),
            "origin": str(request.request_id),
            "allow_downgrade": allow_downgrade,
        }
        command = tx.inbox.submit(Verb.UPDATE_START, body, now.utc)
        version = decision.image.header.file_version
        tx.followed.add(Followed(command, str(request.request_id), request.service_reference.value, version))
    return Reception(decision, response, command)


def _reason(decision: IntakeDecision) -> str:
    return "" if decision.request_refusal is None else decision.request_refusal.reason


def _note_refusals(tx: Transaction, decision: IntakeDecision, now: Now) -> None:
    """Not one record for each of 50,000: the hub waits for this transaction."""
    request = str(decision.request.request_id)
    for refusal in decision.refused[:MOST_NAMED_REFUSALS]:
        fields = {"request": request, "reason": refusal.reason}
        tx.audit.append(Event(now.utc, Kind.REQUEST_REFUSED, refusal.device, None, fields))
    more = len(decision.refused) - MOST_NAMED_REFUSALS
    if more > 0:
        fields = {"request": request, "reason": f"{more} more devices, named in the response"}
        tx.audit.append(Event(now.utc, Kind.REQUEST_REFUSED, None, None, fields))
