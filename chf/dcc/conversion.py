"""From what the hub wrote to what users get: alerts and answers become DUIS documents, each exactly once.

It reads the alert queue behind a cursor, the commands that are followed and those that came to nothing, and writes
documents into the uplink in the transaction that moves the cursor: a crash repeats nothing and loses nothing. What
cannot be verified is not converted. It stays in the alert queue, undelivered, and an alarm in the audit says why.

Who is told: the originator of the request that an alert belongs to; else the device's supplier of the inventory; else
the supplier of the test PKI. A message that names its recipient goes to that one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from chf.clock import Now, UtcSeconds
from chf.dcc.asked import request_of, service_of
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
from chf.errors import MalformedError, MalformedRequestError, RefusedError, UsageError
from chf.eui64 import Eui64, parse_eui64
from chf.gbcs import (
    CANCELLED_UTC_S,
    ActivateFirmwareCommand,
    ActivateImageResponseCode,
    CommandAccepted,
    CraFlag,
    DlmsFirmwareDistributionReceiptAlert,
    ExecutionOutcome,
    FirmwareTransferAlert,
    FutureDatedFirmwareActivationAlert,
    GbcsMessage,
    GbzFirmwareDistributionReceiptAlert,
    MessageCode,
    Payload,
    PpmidFirmwareActivationAlert,
    mac_key,
    parse_payload,
    verify_mac,
)
from chf.pki.certificates import Usage
from chf.pki.gbcs import Pki
from chf.store import Store
from chf.store.alerts import Alert
from chf.store.device_messages import DeviceMessage, MessageState
from chf.store.followed import Followed
from chf.store.inbox import Command, CommandState, Verb
from chf.store.store import Transaction
from chf.store.uplink import NewDocument
from chf.trace import Event, Kind
from chf.update.model import UpdateId

CURSOR: Final = "dcc converted"
DCC_ALERT_COUNTER: Final = "dcc alert counter"
_BATCH: Final = 100  # so that the hub never waits long for the store


@dataclass(frozen=True, slots=True)
class _Converted:
    """What an alert became: for whom, what kind of thing, and the document once its ids are known."""

    recipient: Eui64
    kind: str
    document: Callable[[Transaction], bytes]
    effect: Callable[[Transaction], object] = lambda _tx: None
    """What it means for the message to the device that it is about."""


class Conversion:
    """One for each store; a second beside it would do no harm, because ids are unique."""

    def __init__(
        self, store: Store, pki: Pki, seal: Callable[[bytes], bytes], policy: DeskPolicy | None = None
    ) -> None:
        self._store, self._pki, self._seal, self._smi = store, pki, seal, Smi(store.home)
        self._policy = policy or DeskPolicy()
        self._unanswered = Unanswered(store, seal, self._policy)
        self._dated_reads = DatedReads(store, pki, seal, self._policy)

    def run(self, now: Now) -> int:
        """Convert what is new; returns how many alerts and commands were dealt with. Call again until it is 0.

        Raises StoreError and UsageError (an inventory that cannot be read): nothing is passed over, try again later.
        """
        dealt_with = 0
        for followed in self._store.followed.list()[:_BATCH]:
            command = self._store.inbox.get(followed.command)
            if command is None or command.state is CommandState.PENDING:
                continue
            self._outcome(followed, command, now)
            dealt_with += 1
        alerts = self._store.alerts.list(after_seq=self._cursor(), limit=_BATCH)
        for alert in alerts:
            self._alert(alert, now)
        dealt_with += self._dated_reads.run(now)
        if not alerts:  # an answer that is here already goes first
            dealt_with += self._unanswered.run(now)
        return dealt_with + len(alerts)

    def _cursor(self) -> int:
        return int(self._store.meta.get(CURSOR) or 0)

    # Alerts and answers of devices, and the hub's alerts

    def _alert(self, alert: Alert, now: Now) -> None:
        try:
            message = GbcsMessage.from_bytes(alert.message)
            if message.header.message_code == MessageCode.CHF_DEVICE_LOG_ALERT:
                self._keep(message, alert, now)
                return
            converted = self._converted(alert, now)
            if converted is None:
                self._keep(message, alert, now)
                return
        except (MalformedError, RefusedError) as error:
            reason = f"alert {alert.msg_id} is kept and not passed on: {error}"
            with self._store.transaction() as tx:
                tx.meta.set(CURSOR, str(alert.seq))
                tx.audit.append(Event(now.utc, Kind.ALARM, alert.device, alert.job, {"reason": reason}))
            return
        with self._store.transaction() as tx:
            document = self._seal(converted.document(tx))
            tx.uplink.add(
                NewDocument(
                    alert.msg_id, converted.recipient, alert.device, converted.kind, document, now.utc, alert.seq
                )
            )
            converted.effect(tx)
            tx.meta.set(CURSOR, str(alert.seq))

    def _keep(self, message: GbcsMessage, alert: Alert, now: Now) -> None:
        """It is for the ACB itself, or for who asked at this desk, who has it: no user is told (our choice)."""
        self._verify(message, alert)
        with self._store.transaction() as tx:
            tx.alerts.delivered(alert.msg_id, now.utc)
            tx.meta.set(CURSOR, str(alert.seq))

    def _converted(self, alert: Alert, now: Now) -> _Converted | None:
        """None where it is for no user. Raises MalformedMessageError or RefusedError: why it is not passed on."""
        message = GbcsMessage.from_bytes(alert.message)
        payload = parse_payload(message)
        self._verify(message, alert)
        match message.header.cra:
            case CraFlag.RESPONSE:
                return self._answer(message, payload, now)
            case CraFlag.ALERT:
                return self._alert_for_user(alert, message, payload, now)
            case CraFlag.COMMAND:
                raise RefusedError("it is a command, and a device sends none")

    def _verify(self, message: GbcsMessage, alert: Alert) -> None:
        header = message.header
        sender = self._pki.chf if header.message_code == MessageCode.FIRMWARE_TRANSFER_ALERT else alert.device
        if header.originator != sender:
            raise RefusedError("it is signed in the name of another device than the one that it came from")
        if message.mac is None:
            self._pki.verify(message)
            return
        recipient = Eui64(header.recipient)
        if recipient != self._pki.acb and not self._pki.has_private_key(recipient, Usage.KEY_AGREEMENT):
            return  # a meter's answer to a supplier whose key is not here: only he can check it
        try:
            public = self._pki.public_key(Eui64(header.originator), Usage.KEY_AGREEMENT)
            private = self._pki.private_key(recipient, Usage.KEY_AGREEMENT)
        except UsageError as error:
            raise RefusedError(f"its MAC cannot be checked: {error}") from None
        if not verify_mac(message, mac_key(private, public, header)):
            raise RefusedError("its MAC is not right")

    def _answer(self, message: GbcsMessage, payload: Payload, now: Now) -> _Converted | None:
        """A device's answer to a command: to whoever sent the command, under the id of his request."""
        header = message.header
        asked = self._store.device_messages.asked(Eui64(header.originator), header.counter, header.message_code)
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
        service = service_of(header.message_code)
        document = self._response(request, service, GbcsResponse(message.to_bytes()), now)
        if asked is None:
            return _Converted(request.originator, "response", document)
        command = parse_payload(GbcsMessage.from_bytes(asked.message))
        effect = partial(_answered, asked, command, payload, self._policy, now)
        return _Converted(request.originator, "response", document, effect)

    def _alert_for_user(self, alert: Alert, message: GbcsMessage, payload: Payload, now: Now) -> _Converted:
        header = message.header
        sender, recipient = Eui64(header.originator), Eui64(header.recipient)
        match payload:
            case FirmwareTransferAlert():
                request = self._request_of(alert)
                hub_alert = CommsHubAlert(sender, payload, request)
                return self._dcc_alert(self._responsible(alert, request), "CommsHubAlert", hub_alert, now)
            case PpmidFirmwareActivationAlert():
                responsible = self._responsible(alert, self._request_of(alert))
                return self._dcc_alert(responsible, "PPMIDAlert", PpmidAlert(sender, payload), now)
            case FutureDatedFirmwareActivationAlert():
                asked = self._store.device_messages.asked(
                    sender, payload.originator_counter, MessageCode.ACTIVATE_FIRMWARE
                )
                counter = payload.originator_counter
                request = None if asked is None else request_of(asked)
                if request is None:
                    request = RequestId(recipient, sender, counter)
                content = FutureDatedDeviceAlert(payload.alert_code, alert.message)
                document = self._response(request, "11.3", content, now)
                came = partial(_outcome_came, asked)
                return _Converted(recipient, "FutureDatedDeviceAlertMessage", document, came)
            case GbzFirmwareDistributionReceiptAlert() | DlmsFirmwareDistributionReceiptAlert():
                device_alert = DeviceAlert(payload.alert_code, alert.message)
                response_id = RequestId(sender, recipient, header.counter)
                octets = AlertDocument(response_id, int(now.utc), device_alert).to_bytes()
                return _Converted(recipient, "DeviceAlertMessage", lambda _tx: octets)
            case _:
                raise RefusedError(f"message code 0x{header.message_code:04X} is no alert that is passed on here")

    def _response(
        self, request: RequestId, service: str, content: Content, now: Now, code: ResponseCode = ResponseCode.SUCCESS
    ) -> Callable[[Transaction], bytes]:
        octets = ServiceResponse(request, service, code, int(now.utc), content).to_bytes()
        return lambda _tx: octets

    def _dcc_alert(self, recipient: Eui64, kind: str, content: AlertContent, now: Now) -> _Converted:
        return _Converted(recipient, kind, lambda tx: self._numbered(tx, recipient, content, now))

    def _numbered(self, tx: Transaction, recipient: Eui64, content: AlertContent, now: Now) -> bytes:
        """A DCC Alert under a counter of the ACB that is never used again."""
        counter = tx.counters.take(DCC_ALERT_COUNTER, first=int(now.utc * 1000))
        return AlertDocument(RequestId(self._pki.acb, recipient, counter), int(now.utc), content).to_bytes()

    def _request_of(self, alert: Alert) -> RequestId | None:
        """The service request that the update came from; None where it was started at the hub."""
        job = None if alert.job is None else self._store.jobs.get(UpdateId(alert.job))
        try:
            return None if job is None else RequestId.parse(job.origin)
        except MalformedRequestError:
            return None

    def _responsible(self, alert: Alert, request: RequestId | None) -> Eui64:
        if request is not None:
            return request.originator
        known = (self._smi.devices() or {}).get(alert.device)
        return known.supplier if known is not None and known.supplier is not None else self._pki.supplier

    # Outcomes of commands

    def _outcome(self, followed: Followed, command: Command, now: Now) -> None:
        request = RequestId.parse(followed.request)
        finished = int(now.utc if command.finished is None else command.finished)
        with self._store.transaction() as tx:
            if command.verb == Verb.UPDATE_START:
                for device, delivered in _deliveries(command):
                    status = CspFirmwareDeliveryStatus(
                        request, self._pki.chf, device, followed.file_version, finished, delivered
                    )
                    octets = self._seal(self._numbered(tx, request.originator, status, now))
                    name = f"{request}/{device:016X}/delivery"
                    kind = "CSPFirmwareDeliveryStatus"
                    tx.uplink.add(NewDocument(name, request.originator, device, kind, octets, now.utc))
            else:
                done = command.state is CommandState.DONE
                code = ResponseCode.SUCCESS if done else ResponseCode.CANNOT_COMMUNICATE
                octets = self._seal(self._response(request, followed.service, None, now, code)(tx))
                device = parse_eui64(command.body["device"])
                name = f"{request}/outcome"
                tx.uplink.add(NewDocument(name, request.originator, device, "response", octets, now.utc))
            tx.followed.remove(followed.command)


def _answered(
    asked: DeviceMessage, command: Payload, answer: Payload, policy: DeskPolicy, now: Now, tx: Transaction
) -> None:
    """One that was accepted for a time is waited for beyond its answer; one that is obeyed replaces the others."""
    tx.device_messages.change(asked.id, MessageState.ANSWERED, now.utc)
    accepted = isinstance(answer, CommandAccepted)
    obeyed = accepted or (
        isinstance(answer, ExecutionOutcome) and answer.response_code is ActivateImageResponseCode.SUCCESS
    )
    if not isinstance(command, ActivateFirmwareCommand) or not obeyed:
        return
    tx.device_messages.supersede(asked.device, asked.id)
    when = command.execution_utc_s
    if accepted and when is not None and when != CANCELLED_UTC_S:
        due = UtcSeconds(max(float(when), now.utc) + policy.device_message_lifetime_s)
        tx.device_messages.expect_outcome(asked.id, due)


def _outcome_came(asked: DeviceMessage | None, tx: Transaction) -> None:
    if asked is not None:
        tx.device_messages.expect_outcome(asked.id, None)


def _deliveries(command: Command) -> Sequence[tuple[Eui64, bool]]:
    """Of each device of an update command whether the hub has taken the image for it."""
    if command.state is not CommandState.DONE:
        return [(parse_eui64(device), False) for device in command.body["devices"]]
    result: Mapping[str, Any] = command.result or {}
    started = [(parse_eui64(line["device"]), True) for line in result["started"]]
    return started + [(parse_eui64(line["device"]), False) for line in result["refused"]]
