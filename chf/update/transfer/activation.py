"""Upgrade End and activation: what a finished device is told, and when.

A real time is given only when it is near, and is never taken back: fielded clients cut a far one short, and no client
can be called back from a countdown. Until then a finished device is told to wait, each time it asks. Every answer here
is urgent: a client that hears nothing activates by itself within seconds.
"""

from typing import assert_never

from chf.clock import Instant, Now, UtcSeconds, isoformat
from chf.errors import RefusedError
from chf.update.effects import AlarmKind, Send, Token, Told, Urgency
from chf.update.model import (
    ActivateAt,
    ActivateByCommand,
    ActivateNow,
    Activation,
    ActivationGiven,
    TransferOutcome,
    TransferState,
)
from chf.update.transfer import blocks
from chf.update.transfer.appointment import Due, due, time_form, write_times
from chf.update.transfer.policy import HOLD_LIMIT_S
from chf.update.transfer.session import Session
from chf.update.transitions import Input
from chf.zcl import ota as zcl
from chf.zcl.frame import DefaultResponse, Frame, FrameType, Status, status_name

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
    if not session.downloaded and session.state is not TransferState.SERVED:
        if not session.policy.believe_stored_image:
            _unproven(session, frame, now, out)
            return
        _believe(session, now, out)
    session.resends = 0
    if not session.downloaded:
        session.downloaded = True
        out += (session.changed(), session.end(TransferOutcome.SUCCESS, "the device has the whole image"))
    _decide(session, now, out)
    out.append(answer(session, now, frame.sequence))


def _believe(session: Session, now: Now, out: list[Told]) -> None:
    """The policy takes a device's word for having had the whole image already."""
    blocks.began(session, now, out)
    if session.state is not TransferState.MISSED:
        session.move(Input.SERVE_LAST, now, out)


def _unproven(session: Session, frame: Frame, now: Now, out: list[Told]) -> None:
    """Upgrade End for an image that was not sent: the device is sent back to asking, a few times."""
    session.unproven_ends += 1
    text = f"Upgrade End with {session.coverage.contiguous} of {session.size_bytes} bytes served: refused"
    out.append(session.alarm(AlarmKind.UNPROVEN_DOWNLOAD, text))
    if session.unproven_ends >= _UNPROVEN_ENDS_BEFORE_FAILURE:
        _fail(session, "claims a download that was never served", now, out)
    blocks.answer_default(session, frame, Status.ABORT, out)


def _gave_up(session: Session, status: int, now: Now, out: list[Told]) -> None:
    if status == Status.ABORT and not session.downloaded and session.aborts < session.policy.retries_after_abort:
        session.aborts += 1
        session.coverage = type(session.coverage)()
        if session.state is not TransferState.OFFERED:
            session.move(Input.RETRY, now, out)
        session.announce(now)
        return
    _fail(session, f"the device ended the download with {status_name(status)}", now, out)


def _fail(session: Session, reason: str, now: Now, out: list[Told]) -> None:
    session.move(Input.FAIL, now, out, reason)
    if not session.downloaded:
        out.append(session.end(TransferOutcome.FILE_TRANSFER_FAILURE, reason))


def _decide(session: Session, now: Now, out: list[Told]) -> None:
    """The change of state that a finished device's question brings, if any."""
    if session.state is TransferState.COMMITTED:
        return
    due_now = due(session.activation, now, session.policy)
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
    activation = session.activation
    if isinstance(activation, ActivateAt) and (
        activation.utc - session.policy.commit_window_s - now.utc > HOLD_LIMIT_S
    ):
        text = f"held until {isoformat(activation.utc)}: some clients activate {HOLD_LIMIT_S} s after the first hold"
        out.append(session.alarm(AlarmKind.HOLD_LIMIT, text))


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
    current, upgrade = zcl.NO_CURRENT_TIME, zcl.WAIT_FOR_COMMAND
    if session.committed_utc is not None:
        early = session.committed_utc - now.utc > session.policy.commit_window_s + _ROUNDING_S
        session.time_owed = early or _waits_for_clock(session, now)
        if not session.time_owed:
            form = time_form(session.activation, session.policy)
            current, upgrade = write_times(form, now, session.committed_utc)
    body = zcl.UpgradeEndResponse(*session.ids, current, upgrade)
    token = Token.HOLD if upgrade == zcl.WAIT_FOR_COMMAND else Token.COMMIT
    return session.send(body, token, Urgency.URGENT, sequence)


def plan(session: Session, now: Now) -> None:
    """When to look again: at the next moment by the wall clock as it stands, or sooner, to see whether it was set."""
    target = _next_moment(session)
    if target is None:
        session.appointment_at = None
    elif _waits_for_clock(session, now):
        session.appointment_at = Instant(now.instant + session.policy.clock_check_s)
    else:
        soonest_s = _ROUNDING_S if target > now.utc else 0.0
        wait_s = min(max(target - now.utc, soonest_s), session.policy.clock_check_s)
        session.appointment_at = Instant(now.instant + wait_s)


def _next_moment(session: Session) -> UtcSeconds | None:
    policy = session.policy
    if session.state is TransferState.COMMITTED:
        assert session.committed_utc is not None
        if session.time_owed:
            return UtcSeconds(session.committed_utc - policy.commit_window_s)
        if session.reminders > policy.reminders:
            return None
        return UtcSeconds(session.committed_utc + policy.reminder_s * (2 ** (session.reminders + 1) - 1))
    if isinstance(session.activation, ActivateAt):
        if session.state is TransferState.HELD:
            return UtcSeconds(session.activation.utc - policy.commit_window_s)
        if session.state is TransferState.PARKED:
            return UtcSeconds(session.activation.utc + policy.grace_s + 1)
    return None


def keep_appointment(session: Session, now: Now, out: list[Told]) -> None:
    """The wall clock may have come to a moment that matters; if it went back, nothing happens but another look."""
    target = _next_moment(session)
    if target is None or now.utc < target or _waits_for_clock(session, now):
        return
    if session.state is TransferState.COMMITTED:
        _remind(session, now, out)
    elif due(session.activation, now, session.policy) is Due.MISSED:
        session.miss("the activation time and its grace have passed", now, out)
    else:
        commit(session, now, out)
        out.append(answer(session, now))


def _waits_for_clock(session: Session, now: Now) -> bool:
    """An appointment is kept by a clock that is trusted, or not yet."""
    return isinstance(session.activation, ActivateAt) and not now.trusted


def _remind(session: Session, now: Now, out: list[Told]) -> None:
    if session.time_owed:
        out.append(answer(session, now))
        return
    session.reminders += 1
    if session.reminders > session.policy.reminders:
        text = "was given its activation time and has not been heard to run the new version"
        out.append(session.alarm(AlarmKind.NOT_ACTIVATED, text))
    else:
        out.append(answer(session, now))


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


def unless_past(activation: Activation, now: Now) -> Activation:
    """A time that has passed when it is given means now; only an appointment that was made can be missed."""
    passed = isinstance(activation, ActivateAt) and now.trusted and activation.utc <= now.utc
    return ActivateNow() if passed else activation


def release(session: Session, activation: Activation, now: Now, out: list[Told]) -> None:
    """Give another activation while that is possible. Raises RefusedError once it is not."""
    _refuse_if_decided(session, "released")
    if ActivateByCommand in (type(activation), type(session.activation)):
        raise RefusedError("the supplier's command activates this device, not a release")
    session.activation = unless_past(activation, now)
    out.append(session.changed())
    if session.downloaded:
        _decide_again(session, now, out)
    elif session.state is TransferState.MISSED:
        session.move(Input.WITHHOLD, now, out)  # the last block goes out when its time is near
    if session.state is TransferState.COMMITTED:
        out.append(answer(session, now))


def _decide_again(session: Session, now: Now, out: list[Told]) -> None:
    if session.state is TransferState.MISSED and due(session.activation, now, session.policy) in (
        Due.FAR,
        Due.NOT_OURS,
    ):
        hold(session, now, out)
    else:
        _decide(session, now, out)


def cancel(session: Session, now: Now, out: list[Told]) -> None:
    """End it before a time was given. Raises RefusedError once one was: the countdown is in the device."""
    _refuse_if_decided(session, "cancelled")
    held = session.downloaded
    session.move(Input.CANCEL, now, out)
    if not held:
        out.append(session.end(TransferOutcome.IMAGE_DISCARDED, "cancelled"))
        return
    # Silicon Labs clients go back to asking on this; for others it is the most that can be said.
    body = DefaultResponse(zcl.UpgradeEndRequest.COMMAND, Status.ABORT)
    frame = Frame(
        FrameType.GLOBAL,
        body.COMMAND,
        session.end_sequence,
        body.to_bytes(),
        to_client=True,
        disable_default_response=True,
    )
    assert session.endpoint is not None
    out.append(Send(session.peer, session.endpoint, frame.to_bytes(), Urgency.URGENT, Token.ANSWER))


def _refuse_if_decided(session: Session, verb: str) -> None:
    if session.ended:
        raise RefusedError(f"cannot be {verb}: the update is {session.state} already")
    if session.state is TransferState.COMMITTED:
        assert session.committed_utc is not None
        raise RefusedError(
            f"cannot be {verb}: the device was told to activate at {isoformat(session.committed_utc)},"
            " and nothing calls it back"
        )
    if session.downloaded and isinstance(session.activation, ActivateByCommand):
        raise RefusedError(f"cannot be {verb}: the device has the image, and the supplier's command decides over it")


def restored(session: Session, now: Now, out: list[Told]) -> None:
    """Take up a session that another process left: late appointments are kept or missed, finished devices told."""
    match session.state:
        case TransferState.HELD | TransferState.PARKED if due(session.activation, now, session.policy) is Due.MISSED:
            session.miss("the activation time passed while the hub was down", now, out)
            if session.downloaded:
                out.append(answer(session, now))
        case TransferState.HELD:
            _decide(session, now, out)
            out.append(answer(session, now))
        case TransferState.COMMITTED if not session.commit_delivered:
            out.append(answer(session, now))
        case TransferState.OFFERED | TransferState.DOWNLOADING:
            session.announce(now)
        case _:
            pass
    session.watch_silence(now)
