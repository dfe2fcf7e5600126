"""Commands that come to nothing: the user who sent one is told, once, whichever process dies when."""

from dataclasses import replace

import pytest

from chf import gbcs
from chf.clock import UtcSeconds
from chf.dcc.desk import Desk
from chf.dcc.firmware_commands import cs06, row
from chf.dcc.settings import DccSettings, DeskPolicy
from chf.dcc.signers import ResponseSigner
from chf.dcc.unanswered import HUB_PATIENCE_S, Unanswered
from chf.duis import RequestId
from chf.duis.device_request import ReadFirmwareVersionRequest
from chf.store.alerts import NewAlert
from chf.store.device_messages import MessageState
from chf.trace import Kind
from tests.support.dcc_bench import ESME, KEYS, NOW, PPMID, SUPPLIER, field
from tests.support.desk_bench import DeskBench, S, desk_bench, later

LIFETIME_S, RESPONSE_S = 86_400.0, 3600.0
REQUEST = RequestId(SUPPLIER, PPMID, 1000)


@pytest.fixture
def sent(tmp_path):
    """A desk, and an SR 11.2 that was acknowledged."""
    with desk_bench(tmp_path, Sent) as made:
        assert made.ask(ReadFirmwareVersionRequest(REQUEST), S).code.value == "I99"
        yield made


class Sent(DeskBench):
    @property
    def message(self):
        return self.store.device_messages.get(1)

    def fate(self, state: MessageState, after_s: float, reason: str = "") -> None:
        with self.store.transaction() as tx:
            tx.device_messages.change(self.message.id, state, UtcSeconds(NOW.utc + after_s), reason)

    def told(self, after_s: float, policy: DeskPolicy | None = None):
        return self.convert(later(after_s), policy)

    def cs06(self, tx, state: MessageState) -> tuple[int, bytes]:
        """A command of the command line for the ESME, which has come so far; the one before it was answered."""
        octets = cs06(self.pki, ESME, 71, bytes(32))
        number = tx.device_messages.add(row(ESME, gbcs.MessageCode.ACTIVATE_FIRMWARE, 71, octets, NOW))
        tx.device_messages.change(number, state, NOW.utc)
        tx.device_messages.change(self.message.id, MessageState.ANSWERED, NOW.utc)
        return number, octets

    def state(self) -> MessageState:
        return self.store.device_messages.get(self.message.id).state


@pytest.mark.parametrize("state", [MessageState.FAILED, MessageState.EXPIRED])
def test_unanswered_command_that_never_arrived_is_told_with_e20(sent, state):
    sent.fate(state, 5.0, "the device was not there in time")
    (document,) = sent.told(6.0)
    assert (document.recipient, document.device, document.kind) == (SUPPLIER, PPMID, "response")
    fields = ("RequestID", "ResponseCode", "ServiceReference")
    assert [field(document.document, name) for name in fields] == [str(REQUEST), "E20", "11.2"]


def test_unanswered_command_expires_by_no_clock_that_is_not_trusted(sent):
    late = replace(later(LIFETIME_S + HUB_PATIENCE_S), distrust="it was set")
    assert sent.convert(late) == ()
    sent.fate(MessageState.FAILED, 5.0)
    assert len(sent.convert(late)) == 1, "what the hub says needs no clock"


@pytest.mark.parametrize("state", [MessageState.WAITING, MessageState.DELIVERED])
def test_unanswered_command_has_as_long_left_after_a_clock_step_as_before(sent, state):
    sent.fate(state, 0.0)
    day = 86_400.0
    with sent.store.transaction() as tx:
        tx.device_messages.postpone(10 * day)
    left_s = LIFETIME_S + HUB_PATIENCE_S if state is MessageState.WAITING else RESPONSE_S
    assert sent.told(10 * day + left_s - 1) == ()
    assert len(sent.told(10 * day + left_s)) == 1


def test_unanswered_command_whose_hub_is_down_expires_all_the_same(sent):
    """`chf dcc serve` without a hub: nobody else would ever say so."""
    assert sent.told(LIFETIME_S + HUB_PATIENCE_S - 1) == ()
    (document,) = sent.told(LIFETIME_S + HUB_PATIENCE_S)
    assert field(document.document, "ResponseCode") == "E20"
    assert sent.state() is MessageState.EXPIRED
    kinds = [record.event.kind for record in sent.store.audit.tail()]
    assert kinds.count(Kind.MESSAGE_FAILED) == 1


def test_unanswered_command_that_arrived_is_told_with_e21(sent):
    sent.fate(MessageState.DELIVERED, 100.0)
    assert sent.told(100.0 + RESPONSE_S - 1) == ()
    (document,) = sent.told(100.0 + RESPONSE_S)
    assert field(document.document, "ResponseCode") == "E21"
    assert sent.state() is MessageState.DELIVERED


def test_unanswered_patience_is_a_setting(sent):
    sent.fate(MessageState.DELIVERED, 0.0)
    assert len(sent.told(10.0, DeskPolicy(device_response_s=10.0))) == 1


def test_unanswered_command_is_told_of_once_whoever_looks_and_however_often(sent):
    sent.fate(MessageState.EXPIRED, 5.0)
    first = sent.told(6.0)
    for after_s in (6.0, 7.0, 1e6):
        assert sent.told(after_s) == first
    sent.fate(MessageState.DELIVERED, 8.0)  # a hub whose clock ran slow
    assert sent.told(1e7) == first


def test_unanswered_command_that_was_answered_is_not_told_of(sent):
    sent.fate(MessageState.ANSWERED, 5.0)
    assert sent.told(1e7) == ()


def test_unanswered_tells_nothing_while_the_store_refuses_and_all_of_it_later(sent, monkeypatch):
    """Killed between looking and writing: the transaction is all or nothing."""
    sent.fate(MessageState.EXPIRED, 5.0)
    with pytest.raises(RuntimeError):
        Unanswered(sent.store, ResponseSigner(sent.pki), DeskPolicy())._tell(
            _Trap(sent.store.device_messages.get(sent.message.id)), later(6.0)
        )
    assert sent.store.uplink.list() == ()
    assert len(sent.told(6.0)) == 1


class _Trap:
    """A row that breaks off the transaction in the middle."""

    def __init__(self, row) -> None:
        self._row = row

    def __getattr__(self, name):
        if name == "device":
            raise RuntimeError("killed")
        return getattr(self._row, name)


def test_unanswered_hub_that_delivers_meanwhile_wins(sent):
    row_as_seen = sent.store.device_messages.get(sent.message.id)
    sent.fate(MessageState.DELIVERED, LIFETIME_S)
    Unanswered(sent.store, ResponseSigner(sent.pki), DeskPolicy())._tell(row_as_seen, later(LIFETIME_S + 100))
    assert sent.store.uplink.list() == ()
    assert sent.state() is MessageState.DELIVERED


def test_unanswered_command_of_the_command_line_is_told_to_the_supplier(sent):
    with sent.store.transaction() as tx:
        sent.cs06(tx, MessageState.FAILED)
    (document,) = sent.told(1.0)
    assert field(document.document, "RequestID") == str(RequestId(SUPPLIER, ESME, 71))
    assert field(document.document, "ServiceReference") == "11.3"


def test_unanswered_answer_that_comes_too_late_is_passed_on_all_the_same(sent):
    with sent.store.transaction() as tx:
        number, octets = sent.cs06(tx, MessageState.DELIVERED)
    command = gbcs.GbcsMessage.from_bytes(octets).header
    assert len(sent.told(RESPONSE_S)) == 1
    answer = gbcs.make_cs06_response(command, gbcs.CommandAccepted(), NOW.utc, KEYS(f"{ESME:016x}-ds"))
    with sent.store.transaction() as tx:
        tx.alerts.add(NewAlert("late", ESME, "CS06", 0, "", answer, True, NOW.utc))
    documents = sent.told(RESPONSE_S + 60)
    assert [field(document.document, "ResponseCode") for document in documents] == ["E21", "I0"]
    assert sent.store.device_messages.get(number).state is MessageState.ANSWERED


def test_unanswered_answer_that_is_here_already_goes_before_any_verdict(sent):
    """More alerts than one batch before it: the answer is looked at first."""
    with sent.store.transaction() as tx:
        _, octets = sent.cs06(tx, MessageState.DELIVERED)
        for n in range(150):
            tx.alerts.add(NewAlert(f"junk {n}", ESME, "x", 0, "", b"junk", False, NOW.utc))
        command = gbcs.GbcsMessage.from_bytes(octets).header
        answer = gbcs.make_cs06_response(command, gbcs.CommandAccepted(), NOW.utc, KEYS(f"{ESME:016x}-ds"))
        tx.alerts.add(NewAlert("here", ESME, "CS06", 0, "", answer, True, NOW.utc))
    (document,) = sent.told(1e6)
    assert field(document.document, "ResponseCode") == "I0"


def test_unanswered_lifetime_is_the_policys(sent):
    settings = DccSettings(policy=DeskPolicy(device_message_lifetime_s=60.0))
    request = ReadFirmwareVersionRequest(replace(REQUEST, counter=1001))
    Desk(sent.store, sent.pki, settings).take(request.to_bytes(), NOW)
    assert [field(document.document, "RequestID") for document in sent.told(60.0 + HUB_PATIENCE_S)] == [
        str(request.request_id)
    ]


# Accepted for a time


class Appointed:
    """CS06 commands that an ESME accepted, at times after now; one that is 0 is to be carried out at once."""

    def __init__(self, sent) -> None:
        self.sent = sent
        sent.fate(MessageState.ANSWERED, 0.0)

    def command(self, counter: int, when: float | None, outcome) -> None:
        date = None if when is None else UtcSeconds(NOW.utc + when)
        octets = cs06(self.sent.pki, ESME, counter, bytes(32), date)
        with self.sent.store.transaction() as tx:
            tx.device_messages.add(row(ESME, gbcs.MessageCode.ACTIVATE_FIRMWARE, counter, octets, NOW))
            answer = gbcs.make_cs06_response(gbcs.GbcsMessage.from_bytes(octets).header, outcome, NOW.utc, self.key)
            tx.alerts.add(NewAlert(f"answer {counter}", ESME, "CS06", 0, "", answer, True, NOW.utc))
        self.sent.told(1.0)

    def outcome(self, counter: int) -> None:
        told = gbcs.FutureDatedFirmwareActivationAlert(int(NOW.utc), counter, SUCCESS)
        octets = gbcs.make_future_dated_alert(ESME, SUPPLIER, counter, told, self.key)
        with self.sent.store.transaction() as tx:
            tx.alerts.add(NewAlert(f"outcome {counter}", ESME, "0x00CA", 0, "", octets, True, NOW.utc))

    key = property(lambda _self: KEYS(f"{ESME:016x}-ds"))

    def timed_out(self, after_s: float) -> list[str]:
        """The requests that are answered with E30 up to then."""
        documents = [document.document for document in self.sent.told(after_s)]
        return [field(octets, "RequestID") for octets in documents if field(octets, "ResponseCode") == "E30"]


SUCCESS = gbcs.ExecutionOutcome(gbcs.ActivateImageResponseCode.SUCCESS, 2)
FAILURE = gbcs.ExecutionOutcome(gbcs.ActivateImageResponseCode.HASH_MISMATCH, 1)
DUE_S = 3600.0


@pytest.fixture
def appointed(sent):
    return Appointed(sent)


def test_unanswered_appointment_whose_outcome_never_comes_is_told_with_e30(appointed):
    appointed.command(71, DUE_S, gbcs.CommandAccepted())
    assert appointed.timed_out(DUE_S + LIFETIME_S - 1) == []
    assert appointed.timed_out(DUE_S + LIFETIME_S) == [str(RequestId(SUPPLIER, ESME, 71))]
    assert len(appointed.timed_out(10 * LIFETIME_S)) == 1


def test_unanswered_appointment_whose_outcome_came_is_not_told_of(appointed):
    appointed.command(71, DUE_S, gbcs.CommandAccepted())
    assert appointed.timed_out(DUE_S) == []
    appointed.outcome(71)
    assert appointed.timed_out(10 * LIFETIME_S) == []


@pytest.mark.parametrize(
    ("when", "outcome"),
    [(None, SUCCESS), (gbcs.CANCELLED_UTC_S - NOW.utc, gbcs.CommandAccepted())],
    ids=["carried out at once", "cancelled"],
)
def test_unanswered_appointment_that_another_command_replaced_is_not_told_of(appointed, when, outcome):
    appointed.command(71, DUE_S, gbcs.CommandAccepted())
    appointed.command(72, when, outcome)
    assert appointed.timed_out(10 * LIFETIME_S) == []


def test_unanswered_appointment_outlives_a_command_that_the_device_refused(appointed):
    appointed.command(71, DUE_S, gbcs.CommandAccepted())
    appointed.command(72, None, FAILURE)
    assert appointed.timed_out(10 * LIFETIME_S) == [str(RequestId(SUPPLIER, ESME, 71))]


def test_unanswered_appointment_that_was_moved_is_told_of_for_the_later_one(appointed):
    appointed.command(71, DUE_S, gbcs.CommandAccepted())
    appointed.command(72, 2 * DUE_S, gbcs.CommandAccepted())
    assert appointed.timed_out(10 * LIFETIME_S) == [str(RequestId(SUPPLIER, ESME, 72))]
