"""What people order of a transfer under way: another activation, or its end; and what they are warned of."""

from chf.clock import Now, isoformat
from chf.errors import RefusedError
from chf.update.effects import Send, Token, Told, Urgency
from chf.update.model import ActivateAt, ActivateByCommand, ActivateNow, Activation, TransferOutcome, TransferState
from chf.update.transfer.activation import answer, decide, hold, warn
from chf.update.transfer.appointment import Due
from chf.update.transfer.offering import invite
from chf.update.transfer.session import Session
from chf.update.transitions import Input
from chf.zcl import ota as zcl
from chf.zcl.frame import DefaultResponse, Frame, FrameType, Status


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
    session.time_has_come = False
    out.append(session.changed())
    warn(session, now, out)
    if session.downloaded:
        _decide_again(session, now, out)
    elif session.state is TransferState.MISSED:
        # The last block, if it is still to come, goes out when its time is near.
        session.move(Input.SERVE_LAST if session.end_served else Input.WITHHOLD, now, out)
    if session.state is TransferState.COMMITTED:
        out.append(answer(session, now))
    invite(session, now)


def _decide_again(session: Session, now: Now, out: list[Told]) -> None:
    if session.state is TransferState.MISSED and session.due(now) in (Due.FAR, Due.NOT_OURS):
        hold(session, now, out)
    else:
        decide(session, now, out)


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
