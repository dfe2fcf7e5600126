"""Whether a device is offered its image at this moment.

A device that has every byte is offered nothing before its time: of the clients in the field some take the same image,
offered again after their restart, as the word to start (docs/adr/0015-never-early.md). At its time it is notified,
offered the image, and told to activate when it says that it has it.
"""

from typing import Final

from chf.clock import Now, UtcSeconds
from chf.update.model import ActivateAt, ActivateByCommand, TransferState
from chf.update.transfer.appointment import Due
from chf.update.transfer.session import Session

_OFFERS_AGAIN: Final = 3
"""After a time was given, our choice: lost answers cost some, and firmware that does not boot is not tried for ever."""
_LEAD_S: Final = 60.0  # our choice: from a notify to the first block, with some tries
_MARGIN: Final = 1.5  # our choice: a second download may be that much slower than the first


def on_offer(session: Session, now: Now) -> bool:
    if session.state is TransferState.MISSED:
        return False
    if session.whole:
        return _time_has_come(session, now) and session.offers_again < _OFFERS_AGAIN
    return not sent_away(session, now)


def sent_away(session: Session, now: Now) -> bool:
    """It does not wait as it is told to, so its download begins again when its time is near."""
    return session.state is TransferState.OFFERED and session.download_s is not None and starts_later(session, now)


def starts_later(session: Session, now: Now) -> bool:
    """Whether a download that began now would be complete too early."""
    match session.due(now):
        case Due.NOW | Due.NEAR:
            return False
        case Due.MISSED | Due.NOT_OURS:
            return not isinstance(session.activation, ActivateByCommand)
        case Due.FAR:
            start = start_utc(session)
            return start is None or not now.trusted or now.utc < start


def start_utc(session: Session) -> UtcSeconds | None:
    """When the download has to begin to be complete in time; None where somebody decides."""
    if not isinstance(session.activation, ActivateAt):
        return None
    return UtcSeconds(session.activation.utc - session.window_s - _LEAD_S - _MARGIN * (session.download_s or 0.0))


def invite(session: Session, now: Now) -> None:
    """Notify a device that was told that there is no image, now that there is one."""
    if session.asks_in_vain and on_offer(session, now):
        session.announce(now)


def _time_has_come(session: Session, now: Now) -> bool:
    if isinstance(session.activation, ActivateByCommand):
        # Only the supplier's signed command activates it, so that what was lost before Upgrade End may come again.
        return not session.downloaded
    if session.committed_utc is None:
        return session.due(now) is Due.NOW
    return not isinstance(session.activation, ActivateAt) or (now.trusted and now.utc >= session.committed_utc)
