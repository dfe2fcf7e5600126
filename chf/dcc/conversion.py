"""Converts what the hub wrote into DUIS documents for users: each alert and each answer once.

It reads the alert queue behind a cursor, the commands whose outcome a user waits for, and the commands that nobody
answered. Documents go into the uplink in the same transaction that moves the cursor, so a crash neither repeats nor
loses one. An alert whose signature or MAC cannot be verified is not converted: it stays in the alert queue,
undelivered, and an alarm in the audit says why.

The recipient is the originator of the request that an alert belongs to; without one, the device's supplier in the
inventory; without that, the supplier of the test PKI. A message that names its recipient goes to that recipient.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from chf import gbcs
from chf.clock import Now, UtcSeconds
from chf.dcc.firmware_commands import request_of, service_of
from chf.dcc.reads import DatedReads
from chf.dcc.settings import DeskPolicy
from chf.dcc.smi import Smi
from chf.dcc.unanswered import Unanswered
from chf.duis.alerts import (
    AlertContent,
    AlertDocument,
    CommsHubAlert,
    CspFirmwareDeliveryStatus,
    DeviceAlert,
    PpmidAlert,
)
from chf.duis.codes import ResponseCode
from chf.duis.envelope import Content, FutureDatedDeviceAlert, GbcsResponse, ServiceResponse
from chf.duis.identifiers import RequestId
from chf.errors import DamagedRowError, MalformedError, MalformedRequestError, RefusedError, UsageError
from chf.eui64 import Eui64, parse_eui64
from chf.pki.certificates import Usage
from chf.pki.gbcs import Pki
from chf.store import Store
from chf.store.alerts import Alert
from chf.store.device_messages import DeviceMessage, MessageState
from chf.store.inbox import Command, CommandState, Followed, Verb
from chf.store.rows import Unreadable
from chf.store.store import Transaction
from chf.store.uplink import NewDocument
from chf.trace import Event, Kind
from chf.update.model import UpdateId

CURSOR: Final = "dcc converted"
DCC_ALERT_COUNTER: Final = "dcc alert counter"
_BATCH: Final = 100  # so that the hub never waits long for the store


@dataclass(frozen=True, slots=True)
class _Converted:
    """What an alert became: for whom, what kind of thing, and the document that is not signed yet."""

    recipient: Eui64
    kind: str
    document: bytes


class Conversion:
    """A second one on the same store would do no harm, because document ids are unique."""

    def __init__(
        self, store: Store, pki: Pki, sign: Callable[[bytes], bytes], policy: DeskPolicy | None = None
    ) -> None:
        self._store, self._pki, self._sign, self._smi = store, pki, sign, Smi(store.home)
        self._policy = policy or DeskPolicy()
        self._unanswered = Unanswered(store, sign, self._policy)
        self._dated_reads = DatedReads(store, pki, sign, self._policy)

    def run(self, now: Now) -> int:
        """Convert what is new; returns how many alerts and commands were dealt with. Call again until it is 0.

        Raises StoreError and UsageError (an inventory that cannot be read): nothing is passed over, try again later.
        """
        ended = self._store.followed.ended(_BATCH)
        for followed in ended:
            self._ended(followed, now)
        for row in ended.unreadable:
            self._unreadable(row, now, partial(_no_longer_followed, int(row.key)))
        alerts = self._store.alerts.tail(self._store.meta.number(CURSOR), _BATCH)
        for alert in alerts:
            self._alert(alert, now)
        for row in alerts.unreadable:
            self._unreadable(row, now, lambda tx: tx.meta.set(CURSOR, str(alerts.through)))
        read = len(alerts) + len(alerts.unreadable)
        dealt_with = len(ended) + len(ended.unreadable) + read + self._dated_reads.run(now)
        if not read:  # an answer that is here already goes first
            dealt_with += self._unanswered.run(now)
        return dealt_with

    def _unreadable(self, row: Unreadable, now: Now, pass_over: Callable[[Transaction], object]) -> None:
        """The row stays, so that a copy of it can be restored; the others go on."""
        with self._store.transaction() as tx:
            pass_over(tx)
            tx.audit.append(Event(now.utc, Kind.ALARM, None, None, {"reason": f"not passed on: {row}"}))

    # Alerts and answers of devices, and the hub's alerts

    def _alert(self, alert: Alert, now: Now) -> None:
        try:
            with self._store.transaction() as tx:
                converted = self._converted(tx, alert, now)
                if converted is None:
                    tx.alerts.delivered(alert.msg_id, now.utc)
                else:
                    document, kind = self._sign(converted.document), converted.kind
                    tx.uplink.add(
                        NewDocument(alert.msg_id, converted.recipient, alert.device, kind, document, now.utc, alert.seq)
                    )
                tx.meta.set(CURSOR, str(alert.seq))
        except (MalformedError, RefusedError, DamagedRowError) as error:
            reason = f"alert {alert.msg_id} is kept and not passed on: {error}"
            with self._store.transaction() as tx:
                tx.meta.set(CURSOR, str(alert.seq))
                tx.audit.append(Event(now.utc, Kind.ALARM, alert.device, alert.update, {"reason": reason}))

    def _converted(self, tx: Transaction, alert: Alert, now: Now) -> _Converted | None:
        """None where no user is told: it is for the ACB itself, or for who asked at this desk (our choice).

        Raises MalformedMessageError, RefusedError, or DamagedRowError of a row that it belongs to, where it is not
        passed on.
        """
        message = gbcs.GbcsMessage.from_bytes(alert.message)
        self._verify(message, alert)
        if message.header.message_code == gbcs.MessageCode.CHF_DEVICE_LOG_ALERT:
            return None
        payload = gbcs.parse_payload(message)
        match message.header.cra:
            case gbcs.CraFlag.RESPONSE:
                return self._answer(tx, message, payload, now)
            case gbcs.CraFlag.ALERT:
                return self._alert_for_user(tx, alert, message, payload, now)
            case gbcs.CraFlag.COMMAND:
                raise RefusedError("it is a command, and a device sends none")

    def _verify(self, message: gbcs.GbcsMessage, alert: Alert) -> None:
        header = message.header
        sender = self._pki.chf if header.message_code == gbcs.MessageCode.FIRMWARE_TRANSFER_ALERT else alert.device
        if header.originator != sender:
            raise RefusedError("it is signed in the name of another device than the one that it came from")
        if message.mac is None:
            self._pki.verify(message)
            return
        recipient = Eui64(header.recipient)
        if recipient != self._pki.acb and not self._pki.has_private_key(recipient, Usage.KEY_AGREEMENT):
            return  # a meter's answer to a supplier whose key is not here: only that supplier can check it
        try:
            public = self._pki.public_key(Eui64(header.originator), Usage.KEY_AGREEMENT)
            private = self._pki.private_key(recipient, Usage.KEY_AGREEMENT)
        except UsageError as error:
            raise RefusedError(f"its MAC cannot be checked: {error}") from None
        if not gbcs.verify_mac(message, gbcs.mac_key(private, public, header)):
            raise RefusedError("its MAC is not right")

    def _answer(self, tx: Transaction, message: gbcs.GbcsMessage, payload: gbcs.Payload, now: Now) -> _Converted | None:
        """A device's answer to a command goes to who sent the command, under the id of that request."""
        header = message.header
        asked = tx.device_messages.asked(Eui64(header.originator), header.counter, header.message_code)
        request: RequestId | None
        if asked is not None:
            request = request_of(asked)
        elif header.recipient != self._pki.acb:
            # The counter of a critical command is that of its request.
            request = RequestId(Eui64(header.recipient), Eui64(header.originator), header.counter)
        else:
            raise RefusedError("it answers a command that was not sent from here")
        if request is None:
            return None
        if asked is not None:
            command = gbcs.parse_payload(gbcs.GbcsMessage.from_bytes(asked.message))
            _answered(tx, asked, command, payload, self._policy, now)
        service = service_of(header.message_code)
        return _Converted(
            request.originator, "response", _response(request, service, GbcsResponse(message.to_bytes()), now)
        )

    def _alert_for_user(
        self, tx: Transaction, alert: Alert, message: gbcs.GbcsMessage, payload: gbcs.Payload, now: Now
    ) -> _Converted:
        header = message.header
        sender, recipient = Eui64(header.originator), Eui64(header.recipient)
        match payload:
            case gbcs.FirmwareTransferAlert():
                request = _request_of_update(tx, alert)
                responsible, hub_alert = self._responsible(alert, request), CommsHubAlert(sender, payload, request)
                return _Converted(responsible, "CommsHubAlert", self._numbered(tx, responsible, hub_alert, now))
            case gbcs.PpmidFirmwareActivationAlert():
                responsible = self._responsible(alert, _request_of_update(tx, alert))
                octets = self._numbered(tx, responsible, PpmidAlert(sender, payload), now)
                return _Converted(responsible, "PPMIDAlert", octets)
            case gbcs.FutureDatedFirmwareActivationAlert():
                counter = payload.originator_counter
                asked = tx.device_messages.asked(sender, counter, gbcs.MessageCode.ACTIVATE_FIRMWARE)
                request = None if asked is None else request_of(asked)
                if asked is not None:
                    tx.device_messages.expect_outcome(asked.id, None)
                content = FutureDatedDeviceAlert(payload.alert_code, alert.message)
                octets = _response(request or RequestId(recipient, sender, counter), "11.3", content, now)
                return _Converted(recipient, "FutureDatedDeviceAlertMessage", octets)
            case gbcs.GbzFirmwareDistributionReceiptAlert() | gbcs.DlmsFirmwareDistributionReceiptAlert():
                device_alert = DeviceAlert(payload.alert_code, alert.message)
                response_id = RequestId(sender, recipient, header.counter)
                octets = AlertDocument(response_id, int(now.utc), device_alert).to_bytes()
                return _Converted(recipient, "DeviceAlertMessage", octets)
            case _:
                raise RefusedError(f"message code 0x{header.message_code:04X} is no alert that is passed on here")

    def _numbered(self, tx: Transaction, recipient: Eui64, content: AlertContent, now: Now) -> bytes:
        """A DCC Alert under a counter of the ACB that is never used again."""
        counter = tx.counters.take(DCC_ALERT_COUNTER, first=int(now.utc * 1000))
        return AlertDocument(RequestId(self._pki.acb, recipient, counter), int(now.utc), content).to_bytes()

    def _responsible(self, alert: Alert, request: RequestId | None) -> Eui64:
        if request is not None:
            return request.originator
        known = (self._smi.devices() or {}).get(alert.device)
        return known.supplier if known is not None and known.supplier is not None else self._pki.supplier

    # Outcomes of commands

    def _ended(self, followed: Followed, now: Now) -> None:
        try:
            command = self._store.inbox.get(followed.command)
            if command is not None:
                self._outcome(followed, command, now)
                return
            error: Exception = UsageError("its command is not there")
        except (DamagedRowError, MalformedRequestError, LookupError, TypeError, UsageError) as damage:
            error = damage
        row = Unreadable("followed", str(followed.command), str(error))
        self._unreadable(row, now, partial(_no_longer_followed, followed.command))

    def _outcome(self, followed: Followed, command: Command, now: Now) -> None:
        request = RequestId.parse(followed.request)
        finished = int(now.utc if command.finished is None else command.finished)
        with self._store.transaction() as tx:
            if command.verb == Verb.UPDATE_START:
                for device, delivered in _deliveries(command):
                    status = CspFirmwareDeliveryStatus(
                        request, self._pki.chf, device, followed.file_version, finished, delivered
                    )
                    octets = self._sign(self._numbered(tx, request.originator, status, now))
                    name = f"{request}/{device:016X}/delivery"
                    kind = "CSPFirmwareDeliveryStatus"
                    tx.uplink.add(NewDocument(name, request.originator, device, kind, octets, now.utc))
            else:
                done = command.state is CommandState.DONE
                code = ResponseCode.SUCCESS if done else ResponseCode.CANNOT_COMMUNICATE
                octets = self._sign(_response(request, followed.service, None, now, code))
                device = parse_eui64(command.body["device"])
                name = f"{request}/outcome"
                tx.uplink.add(NewDocument(name, request.originator, device, "response", octets, now.utc))
            tx.followed.remove(followed.command)


def _response(
    request: RequestId, service: str, content: Content, now: Now, code: ResponseCode = ResponseCode.SUCCESS
) -> bytes:
    return ServiceResponse(request, service, code, int(now.utc), content).to_bytes()


def _request_of_update(tx: Transaction, alert: Alert) -> RequestId | None:
    """The service request that the update came from; None where it was started at the hub."""
    try:
        update = None if alert.update is None else tx.updates.get(UpdateId(alert.update))
        return None if update is None else RequestId.parse(update.origin)
    except (DamagedRowError, MalformedRequestError):
        return None


def _answered(
    tx: Transaction, asked: DeviceMessage, command: gbcs.Payload, answer: gbcs.Payload, policy: DeskPolicy, now: Now
) -> None:
    """One that was accepted for a time is waited for beyond its answer; one that is obeyed replaces the others."""
    tx.device_messages.change(asked.id, MessageState.ANSWERED, now.utc)
    accepted = isinstance(answer, gbcs.CommandAccepted)
    obeyed = accepted or (
        isinstance(answer, gbcs.ExecutionOutcome) and answer.response_code is gbcs.ActivateImageResponseCode.SUCCESS
    )
    if not isinstance(command, gbcs.ActivateFirmwareCommand) or not obeyed:
        return
    tx.device_messages.supersede(asked.device, asked.id)
    when = command.execution_utc_s
    if accepted and when is not None and when != gbcs.CANCELLED_UTC_S:
        due = UtcSeconds(max(float(when), now.utc) + policy.device_message_lifetime_s)
        tx.device_messages.expect_outcome(asked.id, due)


def _no_longer_followed(command: int, tx: Transaction) -> None:
    tx.followed.remove(command)


def _deliveries(command: Command) -> Sequence[tuple[Eui64, bool]]:
    """Of each device of an update command whether the hub has taken the image for it."""
    if command.state is not CommandState.DONE:
        return [(parse_eui64(device), False) for device in command.body["devices"]]
    result: Mapping[str, Any] = command.result or {}
    started = [(parse_eui64(line["device"]), True) for line in result["started"]]
    return started + [(parse_eui64(line["device"]), False) for line in result["refused"]]
