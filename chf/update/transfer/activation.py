"""Upgrade End and activation: what a finished device is told, and when.

A real time is given only when it is near, and is never taken back: fielded clients cut a far one short, and no client
can be called back from a countdown. Until then a finished device is told to wait, each time it asks. Every answer here
is urgent: a client that hears nothing activates by itself within seconds.
"""

from typing import assert_never

from chf.clock import Instant, Now, UtcSeconds
from chf.update.clients import UNKNOWN
from chf.update.effects import AlarmKind, Send, Token, Told, Urgency
from chf.update.model import ActivateAt, ActivateHold, ActivationGiven, TransferOutcome, TransferState
from chf.update.transfer import blocks
from chf.update.transfer.appointment import Due, cannot_promise, hold_s, left_s, time_form, write_times
from chf.update.transfer.offering import sent_away
from chf.update.transfer.session import Session
from chf.update.transitions import Input
from chf.zcl import ota as zcl
from chf.zcl.frame import Frame, Status, status_name

_UNPROVEN_ENDS_BEFORE_FAILURE = 3  # our choice
# Two clocks that tick together need not round together: no decision hangs on less than this.
_ROUNDING_S = 0.001
# The states in which an answer of this kind is still what the device should hear.
_SAID_IN = {Token.HOLD: (TransferState.HELD, TransferState.MISSED), Token.COMMIT: (TransferState.COMMITTED,)}


def upgrade_end(session: Session, frame: Frame, request: zcl.UpgradeEndRequest, now: Now, out: list[Told]) -> None:
    """Answer an Upgrade End Request of a live session whose ids match."""
    session.page = None
    session.end_sequence = frame.sequence
    if request.status != Status.SUCCESS:
        _gave_up(session, request.status, now, out)
        blocks.answer_default(session, frame, Status.SUCCESS, out)
        return
    if not session.downloaded and not session.end_served:
        if not session.policy.believe_stored_image:
            _unproven(session, frame, now, out)
            return
        _believe(session, now, out)
    session.resends = 0
    session.asks_in_vain = False
    if not session.downloaded:
        session.downloaded = True
        out += (session.changed(), session.end(TransferOutcome.SUCCESS, "the device has the whole image"))
        if session.end_served and session.coverage.contiguous < session.size_bytes:
            text = (
                "says that it has the whole image, and the end was sent to it: bytes from"
                f" {session.coverage.contiguous} on were not all asked for"
            )
            out.append(session.alarm(AlarmKind.PART_NOT_SERVED, text))
    decide(session, now, out)
    out.append(answer(session, now, frame.sequence))


def _believe(session: Session, now: Now, out: list[Told]) -> None:
    """The policy takes a device's word for having had the whole image already."""
    blocks.began(session, now, out)
    if session.state is not TransferState.MISSED:
        session.move(Input.SERVE_LAST, now, out)


def _unproven(session: Session, frame: Frame, now: Now, out: list[Told]) -> None:
    """Upgrade End for an image whose end was not sent: the device is sent back to asking, a few times."""
    session.unproven_ends += 1
    text = f"Upgrade End with {session.coverage.contiguous} of {session.size_bytes} bytes served: refused"
    out.append(session.alarm(AlarmKind.UNPROVEN_DOWNLOAD, text))
    if not session.whole:
        blocks.claim(session, now, out)
    if session.unproven_ends >= _UNPROVEN_ENDS_BEFORE_FAILURE:
        _fail(session, "claims a download that was never served", now, out)
    blocks.answer_default(session, frame, Status.ABORT, out)


def _gave_up(session: Session, status: int, now: Now, out: list[Told]) -> None:
    if status == Status.REQUIRE_MORE_IMAGE:
        # The file arrived, so that its transfer has not failed; and it will not be activated, so that it is no success.
        reason = f"the device says that it needs a further image file ({status_name(status)})"
        _fail(session, reason, now, out, TransferOutcome.IMAGE_DISCARDED)
        return
    if status == Status.ABORT and sent_away(session, now):
        return  # it says that it was
    if status == Status.ABORT and not session.downloaded and session.aborts < session.policy.retries_after_abort:
        session.aborts += 1
        session.coverage = type(session.coverage)()
        session.end_served = session.claims_image = False
        if session.state is not TransferState.OFFERED:
            session.move(Input.RETRY, now, out)
        session.announce(now)
        return
    _fail(session, f"the device ended the download with {status_name(status)}", now, out)


def _fail(
    session: Session,
    reason: str,
    now: Now,
    out: list[Told],
    outcome: TransferOutcome = TransferOutcome.FILE_TRANSFER_FAILURE,
) -> None:
    session.move(Input.FAIL, now, out, reason)
    if not session.downloaded:
        out.append(session.end(outcome, reason))


def decide(session: Session, now: Now, out: list[Told]) -> None:
    """The change of state that a finished device's question brings, if any."""
    if session.state is TransferState.COMMITTED:
        return
    due_now = session.due(now)
    match due_now:
        case Due.NOW | Due.NEAR:
            commit(session, now, out)
        case Due.MISSED:
            if session.state is not TransferState.MISSED:
                session.miss("the activation time and its grace have passed", now, out)
        case Due.FAR | Due.NOT_OURS:
            if session.state in (TransferState.HELD, TransferState.MISSED):
                return
            hold(session, now, out)
        case _:
            assert_never(due_now)


def hold(session: Session, now: Now, out: list[Told]) -> None:
    session.move(Input.HOLD, now, out)
    warn(session, now, out)


def warn(session: Session, now: Now, out: list[Told]) -> None:
    """Say once what the device's class of client does not let us promise, for the activation as it stands."""
    text = _cannot_promise(session, now)
    if text != session.warned:
        session.warned = text
        if text:
            out.append(session.alarm(AlarmKind.HOLD_LIMIT, text))


def _cannot_promise(session: Session, now: Now) -> str:
    activation, client = session.activation, session.client
    who = "a client of unknown class" if client.name == UNKNOWN.name else f"its client ({client.title})"
    may_hold = client.can_hold(hold_s(activation, now, session.window_s))
    if isinstance(activation, ActivateAt | ActivateHold) and session.whole and not may_hold:
        return f"{who} has the whole image, and may activate it by itself before its time"
    told = cannot_promise(client, activation, left_s(activation, now), session.window_s)
    return f"{who} {told}" if told else ""


def commit(session: Session, now: Now, out: list[Told]) -> None:
    """Decide on a real time; the caller sends it."""
    at = session.activation.utc if isinstance(session.activation, ActivateAt) else now.utc
    session.committed_utc = UtcSeconds(max(at, now.utc))
    session.commit_delivered = False
    session.resends = 0
    session.move(Input.COMMIT, now, out)
    out.append(ActivationGiven(session.committed_utc))


def answer(session: Session, now: Now, sequence: int | None = None) -> Send:
    """The Upgrade End Response that the state asks for; without `sequence` it is one that nobody asked for."""
    session.answered_at = now.instant
    current, upgrade = zcl.NO_CURRENT_TIME, zcl.WAIT_FOR_COMMAND
    if session.committed_utc is not None:
        early = session.committed_utc - now.utc > session.window_s + _ROUNDING_S
        session.time_owed = early or waits_for_clock(session, now)
        if not session.time_owed:
            form = time_form(session.activation, session.policy)
            current, upgrade = write_times(form, now, session.committed_utc)
    body = zcl.UpgradeEndResponse(*session.ids, current, upgrade)
    token = Token.HOLD if upgrade == zcl.WAIT_FOR_COMMAND else Token.COMMIT
    return session.send(body, token, Urgency.URGENT, sequence)


def answer_delivered(session: Session, token: Token, delivered: bool, now: Now, out: list[Told]) -> None:
    """What became of an Upgrade End Response: a lost one is said again soon, for the device may act without it."""
    if session.state not in _SAID_IN.get(token, ()):
        return
    if not delivered:
        if session.resends < session.policy.resends:
            session.resend_at = Instant(now.instant + session.policy.resend_s * 2**session.resends)
            session.resends += 1
        return
    session.resend_at = None
    if token is Token.COMMIT and not session.commit_delivered:
        session.commit_delivered = True
        out.append(session.changed())


def waits_for_clock(session: Session, now: Now) -> bool:
    """An appointment is kept by a clock that is trusted, or not yet."""
    return isinstance(session.activation, ActivateAt) and not now.trusted
