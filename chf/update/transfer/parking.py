"""The last block, which is withheld while it is too early: a device without it can do nothing by itself.

The device is told to wait. One that asks again and again inside that time would ask at the speed of the air until its
time comes: it is answered late, just before it would give the answer up for lost, and its download is ended with ABORT,
to begin again when its time is near. Nothing else paces a client: MinimumBlockPeriod is milliseconds to some and
seconds to others, and a status that a client does not know stops it for ever.
"""

from math import ceil
from typing import Final

from chf.clock import Instant, Now
from chf.update.effects import AlarmKind, Send, Token, Told, Urgency
from chf.update.model import TransferState
from chf.update.transfer.appointment import Due, current_time, hold_s, parks, time_form, wait_s
from chf.update.transfer.offering import starts_later
from chf.update.transfer.session import LateAnswer, Session, ToldToWait
from chf.update.transitions import Input
from chf.zcl import ota as zcl
from chf.zcl.frame import Status

_IMPATIENT_AFTER: Final = 3  # requests inside a wait, our choice: two can be the repetitions of a lost answer
_EARLY: Final = 0.5  # of the wait, our choice: clocks of devices are not as bad as that
_LATE: Final = 0.9  # of the time after which the client repeats its request, our choice
_REPEATED_S: Final = 60.0  # our choice: who was sent away and asks again so soon is answered late as well
_SLOWEST_BYTES_S: Final = 160.0  # NXP clients in pages, the slowest known: for a download that nobody measured


def keep_back(session: Session, sequence: int, now: Now, out: list[Told]) -> bool:
    """Whether the block that completes the file has to wait; if so, its request is answered here."""
    due_now = session.due(now)
    if session.state is not TransferState.MISSED:
        if not parks(session.activation, due_now, session.client, hold_s(session.activation, now, session.window_s)):
            return False
        _measure(session, now)
        if due_now is Due.MISSED:
            session.miss("the activation time and its grace passed before the download was complete", now, out)
        elif session.state is TransferState.DOWNLOADING:
            session.move(Input.WITHHOLD, now, out)
    seconds = wait_s(session.activation, due_now, now, session.window_s, session.policy)
    session.expected_at = Instant(now.instant + seconds)
    _watch_patience(session, seconds, now, out)
    if session.patient:
        out.append(wait(session, sequence, seconds, now))
        return True
    if session.download_s is None:
        session.download_s = session.measured_s or session.size_bytes / _SLOWEST_BYTES_S
        out.append(session.changed())
    if starts_later(session, now):
        if session.state is not TransferState.MISSED:
            session.move(Input.RETRY, now, out)
        send_away(session, sequence, now, out)
    else:
        _answer_late(session, sequence, seconds, now)
    return True


def send_away(session: Session, sequence: int, now: Now, out: list[Told]) -> None:
    """ABORT, at once, or late where it was not heeded."""
    session.asks_in_vain = True
    if now.instant - session.sent_away_at < _REPEATED_S:
        _answer_late(session, sequence, 0, now)
    else:
        session.sent_away_at = now.instant
        out.append(session.send(zcl.BlockRefused(Status.ABORT), Token.ANSWER, Urgency.NORMAL, sequence))


def answer_late(session: Session, now: Now, out: list[Told]) -> None:
    """The answer that was put off is due."""
    late, session.late = session.late, None
    assert late is not None
    if late.wait_s:
        out.append(wait(session, late.sequence, late.wait_s, now))
    else:
        out.append(session.send(zcl.BlockRefused(Status.ABORT), Token.ANSWER, Urgency.NORMAL, late.sequence))


def wait(session: Session, sequence: int, seconds: int, now: Now) -> Send:
    current = current_time(time_form(session.activation, session.policy), now)
    body = zcl.WaitForData(current, current + ceil(seconds))
    return session.send(body, Token.ANSWER, Urgency.NORMAL, sequence)


def _answer_late(session: Session, sequence: int, seconds: int, now: Now) -> None:
    if session.late is None:
        due = Instant(now.instant + _LATE * session.client.answer_limit_s)
        session.late = LateAnswer(sequence, seconds, due)
    else:
        session.late.sequence, session.late.wait_s = sequence, seconds


def _watch_patience(session: Session, seconds: int, now: Now, out: list[Told]) -> None:
    before = session.told_to_wait
    session.told_to_wait = ToldToWait(now.instant, seconds, session.blocks)
    if not session.patient or before is None or before.blocks != session.blocks:
        session.impatience = 0
        return
    if now.instant >= before.at + _EARLY * before.wait_s:
        session.impatience = 0
        return
    session.impatience += 1
    if session.impatience >= _IMPATIENT_AFTER:
        session.ignores_wait = True
        text = (
            "asks again inside the time that it was told to wait: it is answered late, and its download begins again"
            " when its time is near"
        )
        out += (session.changed(), session.alarm(AlarmKind.IGNORES_WAIT, text))


def _measure(session: Session, now: Now) -> None:
    """How long the whole download would take, by one that had at least half of it to fetch."""
    if session.state is not TransferState.DOWNLOADING or session.first_block is None:
        return
    since, start = session.first_block
    covered = session.size_bytes - start
    if 2 * covered >= session.size_bytes:
        session.measured_s = (now.instant - since) * session.size_bytes / covered
