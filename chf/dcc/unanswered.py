"""Tells users of commands that their device will not answer any more.

E20: the command never reached its device. E21: the device has it, and says nothing. E30: either of these for a dated
request, and a command that the device accepted for a time and of which it reports no outcome. When each is sent is our
choice. Each command is told of once, in the transaction that notes it; an answer that comes later is still passed on.
"""

from collections.abc import Callable
from typing import Final

from chf.clock import Now, UtcSeconds
from chf.dcc.firmware_commands import request_of, service_of
from chf.dcc.settings import DeskPolicy
from chf.duis.codes import ResponseCode
from chf.duis.envelope import ServiceResponse
from chf.errors import MalformedMessageError
from chf.store import Store
from chf.store.device_messages import DeviceMessage, MessageState
from chf.store.store import Transaction
from chf.store.uplink import NewDocument
from chf.trace import Event, Kind

HUB_PATIENCE_S: Final = 60.0
"""How long the hub may take to say itself that a command's time is over; after that it is taken to be down."""
_BATCH: Final = 100  # so that the hub never waits long for the store
_OUT_OF_TIME: Final = "its time was over, and no hub had delivered it"


class Unanswered:
    """Two on one store do no harm: the second finds that a user has been told."""

    def __init__(self, store: Store, sign: Callable[[bytes], bytes], policy: DeskPolicy) -> None:
        self._store, self._sign, self._policy = store, sign, policy

    def run(self, now: Now) -> int:
        """Tell of what is due; returns how many commands were dealt with. Call again until it is 0.

        No time is over by a clock that is not trusted.
        """
        utc = now.utc if now.trusted else 0.0
        overdue, silent = UtcSeconds(utc - HUB_PATIENCE_S), UtcSeconds(utc - self._policy.device_response_s)
        messages = self._store.device_messages
        dealt_with = 0
        for rows in (messages.unanswered(overdue, silent, _BATCH), messages.without_outcome(UtcSeconds(utc), _BATCH)):
            for row in rows:
                self._tell(row, now)
            for damaged in rows.unreadable:
                with self._store.transaction() as tx:
                    tx.device_messages.told(int(damaged.key), now.utc)
                    reason = f"nobody can be told of a message that came to nothing: {damaged}"
                    tx.audit.append(Event(now.utc, Kind.ALARM, None, None, {"reason": reason}))
            dealt_with += len(rows) + len(rows.unreadable)
        return dealt_with

    def _tell(self, row: DeviceMessage, now: Now) -> None:
        code = self._code(row)
        try:
            request = request_of(row)
        except MalformedMessageError as error:
            with self._store.transaction() as tx:
                tx.device_messages.told(row.id, now.utc)
                reason = f"nobody can be told of message {row.id}, which came to nothing: {error}"
                tx.audit.append(Event(now.utc, Kind.ALARM, row.device, None, {"reason": reason}))
            return
        if request is None:  # it was sent by `chf dcc cs08` or the like: `chf dcc command list` shows it
            with self._store.transaction() as tx:
                tx.device_messages.told(row.id, now.utc)
            return
        response = ServiceResponse(request, service_of(row.message_code), code, int(now.utc))
        document = self._sign(response.to_bytes())
        with self._store.transaction() as tx:
            read_again = tx.device_messages.get(row.id)
            if read_again is None or read_again.state is not row.state:
                return  # the hub was faster, or the device: what it is now is for the next look
            if not tx.device_messages.told(row.id, now.utc):
                return
            if row.state is MessageState.WAITING:
                _expire(tx, row, now)
            name = f"{request}/message-{row.id}/{code.value}"
            tx.uplink.add(NewDocument(name, request.originator, row.device, "response", document, now.utc))

    def _code(self, row: DeviceMessage) -> ResponseCode:
        accepted_for_later = row.state is MessageState.ANSWERED
        if accepted_for_later or self._store.scheduled.dated(row.request):
            return ResponseCode.TIMED_OUT
        silent = row.state is MessageState.DELIVERED
        return ResponseCode.NO_RESPONSE if silent else ResponseCode.CANNOT_COMMUNICATE


def _expire(tx: Transaction, row: DeviceMessage, now: Now) -> None:
    """As the hub does; without this, one that starts later and whose clock is slow would still deliver it."""
    tx.device_messages.change(row.id, MessageState.EXPIRED, now.utc, _OUT_OF_TIME)
    fields = row.as_fields() | {"state": MessageState.EXPIRED.value, "reason": _OUT_OF_TIME}
    tx.audit.append(Event(now.utc, Kind.MESSAGE_FAILED, row.device, None, fields))
