"""Taking a service request in: parse, decide, and hand what was accepted to the hub, all or nothing.

The image, the counter that makes a replay known, and the command to the hub are one transaction: a request is either
taken, and survives everything, or it was never here.
"""

from dataclasses import dataclass, replace

from chf.clock import Now
from chf.dcc.intake import DEFAULT_POLICY, Check, IntakeDecision, IntakePolicy, InventoryDevice, decide
from chf.duis import FirmwareResponse, UpdateFirmwareRequest
from chf.duis.schema import DuisSchema
from chf.eui64 import Eui64, format_eui64
from chf.ota.model import ActivateNow, Activation, activation_to_json
from chf.store import Store
from chf.store.device_log import DeviceStatus
from chf.store.images import record_of
from chf.store.inbox import Verb
from chf.store.store import Transaction
from chf.trace import Event, Kind


class StoreInventory:
    """The device log, as the intake rules ask for it. A device that has joined counts as commissioned."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def device(self, eui64: Eui64) -> InventoryDevice | None:
        entry = self._store.devices.get(eui64)
        if entry is None:
            return None
        return InventoryDevice(
            eui64,
            entry.device_type.value,
            commissioned=entry.status is DeviceStatus.JOINED,
            update_in_progress=self._store.jobs.active_for(eui64) is not None,
            manufacturer_code=entry.manufacturer,
            image_type=entry.image_type,
            hardware_version=entry.hardware_version,
            file_version=entry.file_version,
        )

    def last_counter(self, originator: Eui64) -> int | None:
        return self._store.requests.highest(originator)


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

    With `allow_downgrade`, a newer running version is noted and not refused.
    Raises MalformedRequestError for what is not such a request, RefusedError for a service that is not taken in here.
    """
    if allow_downgrade:
        policy = replace(policy, enforced=policy.enforced - {Check.DOWNGRADE})
    if schema is not None:
        schema.check(document)
    request = UpdateFirmwareRequest.from_bytes(document)
    decision = decide(request, StoreInventory(store), policy)
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
    return Reception(decision, response, command)


def _reason(decision: IntakeDecision) -> str:
    return "" if decision.request_refusal is None else decision.request_refusal.reason


def _note_refusals(tx: Transaction, decision: IntakeDecision, now: Now) -> None:
    for refusal in decision.refused:
        fields = {"request": str(decision.request.request_id), "reason": refusal.reason}
        tx.audit.append(Event(now.utc, Kind.REQUEST_REFUSED, refusal.device, None, fields))
