"""Takes an update request in: decides, and hands what was accepted to the hub.

The image, the used counter and the command to the hub are written in one transaction, so a request that is answered as
taken survives a crash, and any other leaves nothing behind. Who may ask, and who signed, is checked in `desk`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from chf.clock import Now
from chf.dcc.intake import DEFAULT_POLICY, IntakeDecision, IntakePolicy, decide
from chf.dcc.inventory import StoreInventory
from chf.dcc.products import ProductList
from chf.duis import RequestId, ServiceResponse, UpdateFirmwareRequest
from chf.errors import RefusedError
from chf.eui64 import format_eui64
from chf.image.image import FirmwareImage
from chf.store import Store
from chf.store.images import record_of
from chf.store.inbox import Followed, Verb
from chf.store.store import Transaction
from chf.trace import Event, Kind
from chf.update.eligibility import Check
from chf.update.model import ActivateNow, Activation, activation_to_json

MOST_NAMED_REFUSALS: Final = 100
"""So many refused devices of one request get an audit record each; the rest are counted in one."""


@dataclass(frozen=True, slots=True)
class Reception:
    """`command` is the hub's command for the accepted devices, None where there are none."""

    decision: IntakeDecision
    response: ServiceResponse
    command: int | None


def take_update(
    store: Store,
    request: UpdateFirmwareRequest,
    now: Now,
    inventory: Callable[[], StoreInventory],
    products: ProductList | None,
    *,
    activation: Activation | None = None,
    policy: IntakePolicy = DEFAULT_POLICY,
    allow_downgrade: bool = False,
) -> Reception:
    """Take a request in. `activation` is the hub's own decision, because the request has no word for it.

    With `allow_downgrade`, a newer running version is noted only.
    """
    if allow_downgrade:
        policy = replace(policy, enforced=policy.enforced - {Check.DOWNGRADE})
    # An image of 10 MB and 50,000 devices are judged before the transaction, so that the hub need not wait for that.
    version = store.version_of_others()
    decision, command = decide(request, inventory(), policy, products, activation, now.utc), None
    with store.transaction() as tx:
        if store.version_of_others() != version:  # the hub or another process, since it was decided
            decision = decide(request, inventory(), policy, products, activation, now.utc)
        if decision.request_refusal is None and decision.image is not None:
            tx.requests.note(request.request_id.originator, request.request_id.counter, now.utc)
            command = _write(tx, decision, decision.image, activation or ActivateNow(), now, policy)
        else:
            reason = "" if decision.request_refusal is None else decision.request_refusal.reason
            fields = {"request": str(request.request_id), "reason": reason}
            tx.audit.append(Event(now.utc, Kind.REQUEST_REFUSED, None, None, fields))
    return Reception(decision, decision.response(int(now.utc)), command)


def check_counter(tx: Transaction, request_id: RequestId) -> None:
    """A counter is used once, and by requests in their order. Raises RefusedError."""
    last = tx.requests.highest(request_id.originator)
    if last is not None and request_id.counter <= last:
        raise RefusedError(f"the counter {request_id.counter} is not above {last}: replayed, or out of order")


def _write(
    tx: Transaction,
    decision: IntakeDecision,
    image: FirmwareImage,
    activation: Activation,
    now: Now,
    policy: IntakePolicy,
) -> int | None:
    """The hub's command for what was accepted, if anything was."""
    request = decision.request
    _note_refusals(tx, decision, now)
    if not decision.accepted:
        return None
    tx.images.add(record_of(image, f"of {request.request_id}", now.utc), request.image)
    body = {
        "devices": [format_eui64(device) for device in decision.accepted],
        "image": image.sha256,
        "activation": activation_to_json(activation),
        "origin": str(request.request_id),
        "allow_downgrade": Check.DOWNGRADE not in policy.enforced,
    }
    command = tx.inbox.submit(Verb.UPDATE_START, body, now.utc)
    version = image.header.file_version
    tx.followed.add(Followed(command, str(request.request_id), request.service_reference.value, version))
    return command


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
