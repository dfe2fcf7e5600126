"""The moments at which a transfer does something unasked: appointments, reminders, and what a restart found due.

Appointments are kept by the wall clock as it stands when it is looked at; reminders also by the time since the last
one, so that neither a clock that was set nor a hub that was down brings several at once.
"""

from math import inf

from chf.clock import Instant, Now, UtcSeconds
from chf.update.effects import AlarmKind, Told
from chf.update.model import ActivateAt, TransferState
from chf.update.transfer.activation import answer, commit, decide, waits_for_clock
from chf.update.transfer.appointment import Due
from chf.update.transfer.offering import invite, on_offer, start_utc
from chf.update.transfer.session import Session

_ROUNDING_S = 0.001  # two clocks that tick together need not round together


def plan(session: Session, now: Now) -> None:
    """When to look again: at the next moment by the wall clock as it stands, or sooner, to see whether it was set."""
    target = _next_moment(session)
    if target is None:
        session.appointment_at = None
    elif waits_for_clock(session, now):
        session.appointment_at = Instant(now.instant + session.policy.clock_check_s)
    else:
        wait_s = min(max(target - now.utc, _ROUNDING_S), session.policy.clock_check_s)
        session.appointment_at = Instant(max(now.instant + wait_s, _not_before(session)))


def keep_appointment(session: Session, now: Now, out: list[Told]) -> None:
    """The wall clock may have come to a moment that matters; if it went back, nothing happens but another look."""
    target = _next_moment(session)
    if target is None or now.utc < target or waits_for_clock(session, now) or now.instant < _not_before(session):
        return
    missed = session.due(now) is Due.MISSED
    match session.state:
        case TransferState.COMMITTED if session.time_owed:
            out.append(answer(session, now))
        case TransferState.COMMITTED if not session.time_has_come:
            session.time_has_come = True
            invite(session, now)
        case TransferState.COMMITTED:
            _remind(session, now, out)
        case TransferState.OFFERED | TransferState.SERVED if not missed:
            session.time_has_come = True
            session.announce(now)
        case TransferState.HELD if not missed:
            commit(session, now, out)
            out.append(answer(session, now))
        case _:
            session.miss("the activation time and its grace have passed", now, out)


def restored(session: Session, now: Now, out: list[Told]) -> None:
    """Take up a session that another process left: late appointments are kept or missed, finished devices told."""
    session.answered_at = now.instant  # by that process, as far as is known
    match session.state:
        case TransferState.HELD | TransferState.PARKED | TransferState.SERVED if session.due(now) is Due.MISSED:
            session.miss("the activation time passed while the hub was down", now, out)
            if session.downloaded:
                out.append(answer(session, now))
        case TransferState.HELD:
            decide(session, now, out)
            out.append(answer(session, now))
        case TransferState.COMMITTED if not session.commit_delivered:
            out.append(answer(session, now))
        case TransferState.OFFERED if on_offer(session, now):
            session.announce(now)
        case TransferState.DOWNLOADING if on_offer(session, now):
            session.announce(now, session.policy.notify_interval_s)  # it may ask any moment
        case _:
            pass
    session.watch_silence(now)


def _next_moment(session: Session) -> UtcSeconds | None:
    policy, activation = session.policy, session.activation
    if session.state is TransferState.COMMITTED:
        assert session.committed_utc is not None
        if session.time_owed:
            return UtcSeconds(session.committed_utc - session.window_s)
        if not session.time_has_come:
            return session.committed_utc
        if session.reminders > policy.reminders:
            return None
        return UtcSeconds(session.committed_utc + policy.reminder_s * (2 ** (session.reminders + 1) - 1))
    if not isinstance(activation, ActivateAt):
        return None
    match session.state:
        case TransferState.HELD:
            return UtcSeconds(activation.utc - session.window_s)
        case TransferState.OFFERED if not session.whole and session.download_s is None:
            return None  # it has yet to come for the first time
        case TransferState.OFFERED if not session.whole and not session.time_has_come:
            return start_utc(session)
        case TransferState.OFFERED | TransferState.SERVED if not session.time_has_come:
            return activation.utc
        case TransferState.OFFERED | TransferState.SERVED | TransferState.PARKED:
            return UtcSeconds(activation.utc + policy.grace_s + 1)
        case _:
            return None


def _not_before(session: Session) -> float:
    """The instant before which no reminder is said, whatever the wall clock shows."""
    if session.state is TransferState.COMMITTED and session.time_has_come and not session.time_owed:
        return session.answered_at + session.policy.reminder_s * 2.0**session.reminders
    return -inf


def _remind(session: Session, now: Now, out: list[Told]) -> None:
    """Say the time again, and notify the device too: it may have restarted, and wait to be offered the image."""
    session.reminders += 1
    if session.reminders > session.policy.reminders:
        text = "was given its activation time and has not been heard to run the new version"
        out.append(session.alarm(AlarmKind.NOT_ACTIVATED, text))
        return
    out.append(answer(session, now))
    if session.notify_at is None and on_offer(session, now):
        session.announce(now)
