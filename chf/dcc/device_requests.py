"""Service requests about one device: SR 11.2, 11.3 and 8.11.

Each function checks first, and returns a refusal with its code, or writes what follows and returns the answer, within
the transaction that notes the request. A message for a device is refused as long as the hub serves no device of its
type, because nobody would carry it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, TypeAlias

from chf.clock import Now, UtcSeconds, isoformat
from chf.crypto.install_code import link_key, with_crc
from chf.dcc import firmware_commands
from chf.dcc.firmware_commands import VERSION_USE_CASES, mac_key_for
from chf.dcc.intake import RequestRefusal
from chf.dcc.inventory import StoreInventory
from chf.dcc.reads import supplier_of
from chf.dcc.settings import DeskPolicy
from chf.dcc.smi import SmiDevice
from chf.duis.codes import ResponseCode
from chf.duis.device_request import (
    ActivateFirmwareRequest,
    ReadFirmwareVersionRequest,
    SignedPreCommandRequest,
    UpdateHanDeviceLogRequest,
)
from chf.duis.envelope import Content, PreCommand
from chf.errors import MalformedMessageError, RefusedError, UsageError
from chf.eui64 import Eui64, format_eui64
from chf.gbcs import CANCELLED_UTC_S, ActivateFirmwareCommand, GbcsMessage, add_mac, make_cs06_precommand, parse_payload
from chf.pki.certificates import Usage
from chf.pki.gbcs import Pki
from chf.store.device_log import DeviceEntry, DeviceStatus, DeviceType
from chf.store.device_messages import NewDeviceMessage
from chf.store.inbox import Followed, Verb
from chf.store.store import Transaction
from chf.trace import Event, Kind
from chf.trust import insist_on_trust
from chf.update.eligibility import Candidate

CANCELLATION_UTC_S: Final = int(datetime(3000, 12, 31, tzinfo=UTC).timestamp())
"""The ExecutionDateTime that cancels a future-dated activation (DUIS-T)."""
_LARGEST_COUNTER: Final = 2**63 - 1  # originatorCounter of CS06

_ACTIVATED_BY_COMMAND: Final = frozenset({"ESME", "GSME", "HCALCS"})  # SECAS: a PPMID is activated by its hub


@dataclass(frozen=True, slots=True)
class RequestContext:
    """What the functions of this module look at, and where they write."""

    tx: Transaction
    pki: Pki
    inventory: StoreInventory
    smi: Mapping[Eui64, SmiDevice] | None
    policy: DeskPolicy
    carried: frozenset[str]
    """The device types for which the hub carries GBCS messages."""
    now: Now


@dataclass(frozen=True, slots=True)
class Taken:
    """`replayable` requests change nothing."""

    code: ResponseCode
    content: Content = None
    replayable: bool = False


Outcome: TypeAlias = Taken | RequestRefusal


def transform(request: ActivateFirmwareRequest, context: RequestContext) -> Outcome:
    """SR 11.3, command variant 4: a CS06 pre-command for the supplier to sign."""
    refusal = _device_refusal(request.request_id.target, context, _ACTIVATED_BY_COMMAND) or _time_refusal(
        request.execution_utc_s, context
    )
    if refusal is not None:
        return refusal
    counter, when = request.request_id.counter, request.execution_utc_s
    if counter > _LARGEST_COUNTER:
        return RequestRefusal(ResponseCode.VALIDATION, "the counter does not fit the originator counter of a command")
    if when == CANCELLATION_UTC_S:
        when = CANCELLED_UTC_S
    command = make_cs06_precommand(
        request.request_id.originator, request.request_id.target, counter, request.firmware_hash, when
    )
    # The Green Book has a pre-command end with an empty signature field; signers that expect none strip it.
    payload = replace(command, signature=b"").to_bytes()
    return Taken(ResponseCode.SUCCESS, PreCommand(context.policy.gbcs_version, payload), replayable=True)


def signed_pre_command(request: SignedPreCommandRequest, context: RequestContext) -> Outcome:
    """SR 11.3, command variant 5: the supplier's signed command, which gets the ACB's MAC and goes to the device."""
    device = request.request_id.target
    refusal = _device_refusal(device, context, _ACTIVATED_BY_COMMAND)
    if refusal is not None:
        return refusal
    try:
        message = _checked_command(request, context)
        key = mac_key_for(context.pki, message.header)
    except (MalformedMessageError, RefusedError) as error:
        return RequestRefusal(ResponseCode.VALIDATION, f"the signed pre-command: {error}")
    except UsageError as error:
        return RequestRefusal(ResponseCode.CANNOT_COMMUNICATE, str(error))
    return _for_device(str(request.request_id), add_mac(message, key), context)


def read_version(request: ReadFirmwareVersionRequest, context: RequestContext) -> Outcome:
    """SR 11.2: CS08 for a PPMID or HCALCS, ECS52 for an ESME, GCS38 for a GSME."""
    device = request.request_id.target
    refusal = _device_refusal(device, context, frozenset(map(str, VERSION_USE_CASES)))
    if refusal is not None:
        return refusal
    when = request.execution_utc_s
    if when == CANCELLATION_UTC_S:
        return RequestRefusal(ResponseCode.VALIDATION, "a dated read is not taken back: no public text says how")
    refusal = _time_refusal(when, context)
    if refusal is not None:
        return refusal
    known = context.inventory.device(device)
    assert known is not None, "checked above"
    if known.device_type not in context.carried:
        return _not_carried(known)
    try:
        context.pki.certificate(device, Usage.KEY_AGREEMENT)
    except UsageError as error:
        return RequestRefusal(ResponseCode.CANNOT_COMMUNICATE, str(error))

    if when is None:
        message = firmware_commands.read_version(
            context.tx,
            context.pki,
            device,
            DeviceType(known.device_type),
            context.now,
            asked=request.request_id,
            supplier=supplier_of(device, context.smi, context.pki),
            lifetime_s=context.policy.device_message_lifetime_s,
        )
        context.tx.device_messages.add(message)
    else:
        context.tx.scheduled.add(str(request.request_id), device, UtcSeconds(when))
    return Taken(ResponseCode.ACKNOWLEDGED)


def update_device_log(request: UpdateHanDeviceLogRequest, context: RequestContext) -> Outcome:
    """SR 8.11: into the hub's device log and the join window opened, or out of it."""
    if request.request_id.target != context.pki.chf:
        found = format_eui64(request.request_id.target)
        return RequestRefusal(ResponseCode.DEVICE_DOES_NOT_EXIST, f"{found} is not this hub")
    if request.execution_utc_s is not None:
        return RequestRefusal(ResponseCode.VALIDATION, "future-dating by the DSP is not served")
    entry = context.tx.devices.get(request.device)
    if request.add is None:
        if entry is None:
            reason = f"{format_eui64(request.device)} is not in the device log"
            return RequestRefusal(ResponseCode.DEVICE_DOES_NOT_EXIST, reason)
        return _submit(request, Verb.DEVICE_FORGET, {"device": format_eui64(request.device)}, context)
    known = None if context.smi is None else context.smi.get(request.device)
    if entry is None and known is None:
        reason = f"{format_eui64(request.device)} is not in the inventory, which is where its type comes from"
        return RequestRefusal(ResponseCode.DEVICE_DOES_NOT_EXIST, reason)
    if entry is not None and entry.status is DeviceStatus.JOINED:
        return RequestRefusal(ResponseCode.DEVICE_STATUS, f"{format_eui64(request.device)} has joined already")
    key = link_key(with_crc(request.add.install_code))
    if entry is not None:
        context.tx.devices.update(replace(entry, install_code_link_key=key))
    elif known is not None:
        context.tx.devices.add(DeviceEntry(request.device, known.device_type, context.now.utc, key))
        fields = {"device_type": known.device_type.value}
        context.tx.audit.append(Event(context.now.utc, Kind.DEVICE_ADDED, request.device, None, fields))
    body = {"device": format_eui64(request.device), "seconds": str(request.add.join_time_s)}
    return _submit(request, Verb.DEVICE_PERMIT, body, context)


def _submit(request: UpdateHanDeviceLogRequest, verb: Verb, body: Mapping[str, str], context: RequestContext) -> Taken:
    command = context.tx.inbox.submit(verb, body, context.now.utc)
    context.tx.followed.add(Followed(command, str(request.request_id), request.SERVICE, 0))
    return Taken(ResponseCode.ACKNOWLEDGED)


def _device_refusal(device: Eui64, context: RequestContext, types: frozenset[str]) -> RequestRefusal | None:
    known = context.inventory.device(device)
    name = format_eui64(device)
    if known is None:
        return RequestRefusal(ResponseCode.DEVICE_DOES_NOT_EXIST, f"{name} is not known")
    if known.device_type not in types:
        reason = f"{name} is of type {known.device_type}; this service is for {', '.join(sorted(types))}"
        return RequestRefusal(ResponseCode.VALIDATION, reason)
    if not known.commissioned:
        status = known.status or "not joined"
        return RequestRefusal(ResponseCode.DEVICE_STATUS, f"{name} is not commissioned: {status}")
    return None


def _time_refusal(when: int | None, context: RequestContext) -> RequestRefusal | None:
    furthest = context.policy.furthest_execution_s
    if when is None or when == CANCELLATION_UTC_S:
        return None
    try:
        insist_on_trust(context.now)
    except RefusedError as error:
        return RequestRefusal(ResponseCode.VALIDATION, str(error))
    if when <= context.now.utc:
        return RequestRefusal(ResponseCode.VALIDATION, f"{isoformat(UtcSeconds(when))} has passed")
    if furthest and when > context.now.utc + furthest:
        days = furthest / 86_400
        return RequestRefusal(ResponseCode.VALIDATION, f"{isoformat(UtcSeconds(when))} is over {days:g} days ahead")
    return None


def _checked_command(request: SignedPreCommandRequest, context: RequestContext) -> GbcsMessage:
    """Raises MalformedMessageError or RefusedError."""
    message = GbcsMessage.from_bytes(request.gbcs_payload)
    header = message.header
    command = parse_payload(message)
    if not isinstance(command, ActivateFirmwareCommand):
        raise RefusedError(f"it is not a CS06 command but message code 0x{header.message_code:04X}")
    if message.mac is not None:
        raise RefusedError("it has a MAC already, which is the ACB's to add")
    if (header.originator, header.recipient) != (request.request_id.originator, request.request_id.target):
        raise RefusedError("its originator and recipient are not those of the RequestID")
    if command.originator_counter != header.counter:
        raise RefusedError("its originatorCounter is not the counter of its header")
    signer = context.pki.verify(message)
    if signer.eui64 != request.request_id.originator:
        raise RefusedError("it is signed by another than its originator")
    when = command.execution_utc_s
    told = CANCELLED_UTC_S if request.execution_utc_s == CANCELLATION_UTC_S else request.execution_utc_s
    if told is not None and told != when:
        raise RefusedError("its executionDateTime is not the ExecutionDateTime of the request")
    if when is not None and when != CANCELLED_UTC_S:
        insist_on_trust(context.now)
    return message


def _for_device(request: str, message: GbcsMessage, context: RequestContext) -> Outcome:
    header = message.header
    device = Eui64(header.recipient)
    known = context.inventory.device(device)
    assert known is not None, "checked before"
    if known.device_type not in context.carried or not known.on_hub:
        return _not_carried(known)
    now, octets = context.now.utc, message.to_bytes()
    expires = UtcSeconds(now + context.policy.device_message_lifetime_s)
    context.tx.device_messages.add(
        NewDeviceMessage(device, request, header.message_code, header.counter, octets, now, expires)
    )
    return Taken(ResponseCode.ACKNOWLEDGED)


def _not_carried(known: Candidate) -> RequestRefusal:
    where = f"the hub carries no messages for devices of type {known.device_type} yet" if known.on_hub else "not here"
    return RequestRefusal(ResponseCode.CANNOT_COMMUNICATE, f"{format_eui64(known.eui64)}: {where}")
