"""Image blocks: which bytes go out, which wait, and the pages.

Every request is answered for itself: from any offset, as often as it comes, whatever answers are still under way.
`plain_block` is the same as `serve_block` where nothing but the block happens; a property test holds them together.
"""

from math import ceil
from struct import Struct
from typing import Final

from chf.clock import Instant, Now
from chf.update.model import TimeForm
from chf.update.transfer.appointment import Due, due, parks, time_form, wait_s
from chf.update.transfer.effects import AlarmKind, Effect, Effects, Send, Token, Urgency
from chf.update.transfer.session import Page, Session
from chf.update.transfer.transitions import Input, State
from chf.zcl import ota as zcl
from chf.zcl.frame import Frame, Status

_BULK = Urgency.BULK
_BLOCK = Token.BLOCK
_FLOOD_WAIT_S: Final = 1
_FLOOD_ALARM_INTERVAL_S: Final = 60.0
_LATE_S: Final = 0.002  # event loops count in milliseconds

# Header and payload of a plain Image Block Request and of its response in one piece.
_REQUEST = Struct("<BBBBHHIIB")
_REQUEST_SIZE = 17
_PERIOD_SIZE = 2
_RESPONSE = Struct("<BBBBHHIIB")
_RESPONSE_BYTES: Final = 17  # of a plain Image Block Response but for its data
assert _REQUEST.size == _REQUEST_SIZE
assert _RESPONSE.size == _RESPONSE_BYTES
_unpack = _REQUEST.unpack_from
_pack = _RESPONSE.pack
_TYPE_AND_DIRECTION = 0b0000_1111  # frame type, manufacturer specific, direction
_CLUSTER_TO_SERVER = 0b0000_0001
_CLUSTER_TO_CLIENT = 0b0001_1001  # and no Default Response wanted
_PERIOD_PRESENT = 1 << 1
_REQUEST_COMMAND = zcl.ImageBlockRequest.COMMAND
_RESPONSE_COMMAND = zcl.ImageBlock.COMMAND
_SUCCESS = int(Status.SUCCESS)
# Where an ordinary block is just served; in the other states it changes something, or is refused.
_STREAMING: Final = frozenset(
    {State.DOWNLOADING, State.PARKED, State.MISSED, State.SERVED, State.HELD, State.COMMITTED}
)


def plain_block(session: Session, endpoint: int, octets: bytes, now: Now) -> Effects | None:
    """What an ordinary Image Block Request in the middle of a download causes; None for everything else."""
    payload = _plain_payload(session, endpoint, octets, now.instant)
    if payload is None:
        return None
    return (Send(session.peer, endpoint, payload, _BULK, _BLOCK, session.policy.acknowledge_blocks),)


def _plain_payload(session: Session, endpoint: int, octets: bytes, instant: Instant) -> bytes | None:
    """The answer to an ordinary Image Block Request in the middle of a download; None for everything else.

    This is what happens thousands of times per update, so no frame objects are made.
    """
    if len(octets) < _REQUEST_SIZE:
        return None
    control, sequence, command, fields, manufacturer, image_type, version, offset, maximum = _unpack(octets)
    policy = session.policy
    length = min(policy.block_bytes, maximum)
    end = offset + length
    coverage = session.coverage
    if (
        command != _REQUEST_COMMAND
        or control & _TYPE_AND_DIRECTION != _CLUSTER_TO_SERVER
        or (fields and (fields != _PERIOD_PRESENT or len(octets) < _REQUEST_SIZE + _PERIOD_SIZE))
        or (manufacturer, image_type, version) != session.ids
        or not maximum
        or end >= session.size_bytes
        or endpoint != session.endpoint
        or session.page is not None
        or session.state not in _STREAMING
        or session.in_flight >= policy.blocks_in_flight
        or offset > coverage.contiguous
        or not coverage.simple
        or instant >= session.progress_at
    ):
        return None
    coverage.contiguous = max(coverage.contiguous, end)
    session.last_heard = instant
    if not session.in_flight:
        session.in_flight_since = instant
    session.in_flight += 1
    header = _pack(
        _CLUSTER_TO_CLIENT, sequence, _RESPONSE_COMMAND, _SUCCESS, manufacturer, image_type, version, offset, length
    )
    return header + session.image.content[offset:end]


def serve_block(session: Session, frame: Frame, request: zcl.ImageBlockRequest, now: Now, out: list[Effect]) -> None:
    """Answer a block request of a live session whose ids match."""
    session.page = None
    if request.offset_bytes >= session.size_bytes or request.maximum_bytes == 0:
        refuse(session, frame, out)
        return
    if not admit(session, frame, now, out):
        return
    began(session, now, out, request.offset_bytes)
    end = min(request.offset_bytes + min(request.maximum_bytes, session.policy.block_bytes), session.size_bytes)
    _send_block(
        session,
        frame.sequence,
        range(request.offset_bytes, end),
        now,
        out,
        acknowledged=session.policy.acknowledge_blocks,
    )


def serve_page(session: Session, frame: Frame, request: zcl.ImagePageRequest, now: Now, out: list[Effect]) -> None:
    """Begin to answer a page request; it takes the place of one that is under way.

    A client that gets blocks of another size than it asked for in a page aborts, so a size that our frames cannot carry
    is refused: UNSUP_CLUSTER_COMMAND makes clients go on with single blocks.
    """
    session.page = None
    if request.offset_bytes >= session.size_bytes or request.maximum_bytes == 0 or request.page_bytes == 0:
        refuse(session, frame, out)
        return
    if request.maximum_bytes > session.policy.block_bytes:
        answer_default(session, frame, Status.UNSUP_CLUSTER_COMMAND, out)
        return
    if not admit(session, frame, now, out):
        return
    began(session, now, out, request.offset_bytes)
    assert session.endpoint is not None
    session.page = Page(
        session.endpoint,
        request.offset_bytes,
        min(request.offset_bytes + request.page_bytes, session.size_bytes),
        request.maximum_bytes,
        max(request.spacing_ms / 1000, session.policy.minimum_spacing_s),
        now.instant,
    )
    continue_page(session, now, out)


def continue_page(session: Session, now: Now, out: list[Effect]) -> None:
    """Send the block of the page that is due; the next one is due a spacing later."""
    page = session.page
    assert page is not None
    if _crowded(session, now):
        page.due = Instant(now.instant + max(page.spacing_s, session.policy.crowded_retry_s))
        return
    if page.spacing_s > session.policy.minimum_spacing_s:
        page.due = Instant(now.instant + page.spacing_s)
    else:  # nobody asked for a spacing: what a late timer missed is made good
        page.due = Instant(max(page.due, now.instant - _LATE_S) + page.spacing_s)
    start = page.next_bytes
    page.next_bytes = min(start + page.block_bytes, page.end_bytes)
    sequence = session.next_sequence()
    withheld = not _send_block(session, sequence, range(start, page.next_bytes), now, out, acknowledged=False)
    if withheld or page.next_bytes == page.end_bytes:
        session.page = None


def refuse(session: Session, frame: Frame, out: list[Effect]) -> None:
    """ZCL8 11.13.6.4, 11.13.7.4: an offset past the end, or a size of nothing. The download may go on."""
    answer_default(session, frame, Status.MALFORMED_COMMAND, out)


def answer_default(session: Session, frame: Frame, status: Status, out: list[Effect]) -> None:
    payload = frame.default_response(status)
    if payload is not None:
        assert session.endpoint is not None
        out.append(Send(session.peer, session.endpoint, payload, Urgency.NORMAL, Token.ANSWER))


def began(session: Session, now: Now, out: list[Effect], offset_bytes: int | None = None) -> None:
    if session.state is State.OFFERED:
        detail = "asked for the image" if offset_bytes is None else f"asks for blocks from {offset_bytes}"
        session.move(Input.ASK, detail, now, out)
        session.announce(now, session.policy.notify_interval_s)  # should it fall silent again


def admit(session: Session, frame: Frame, now: Now, out: list[Effect]) -> bool:
    """Whether there is room for another answer to this device; else it is told to wait, and a flood is cut off."""
    if not _crowded(session, now):
        return True
    if now.instant >= session.flood_alarm_at:
        session.flood_alarm_at = Instant(now.instant + _FLOOD_ALARM_INTERVAL_S)
        text = f"asks on and on with {session.in_flight} answers still under way: told to wait"
        out.append(session.alarm(AlarmKind.FLOOD, text))
    if now.instant >= session.flood_answer_at:
        session.flood_answer_at = Instant(now.instant + _FLOOD_WAIT_S)
        out.append(_wait(session, frame.sequence, _FLOOD_WAIT_S, now))
    return False


def _crowded(session: Session, now: Now) -> bool:
    policy = session.policy
    if session.in_flight < policy.blocks_in_flight:
        return False
    if now.instant - session.in_flight_since > policy.in_flight_expiry_s:
        session.in_flight = 0
        return False
    return True


def _send_block(
    session: Session, sequence: int, span: range, now: Now, out: list[Effect], *, acknowledged: bool
) -> bool:
    """Send these bytes, or WAIT_FOR_DATA where they would complete the file too early. Says whether they went."""
    start, end = span.start, span.stop
    if end == session.size_bytes and session.state in (State.DOWNLOADING, State.PARKED, State.MISSED):
        wait = _withhold_s(session, now, out)
        if wait is not None:
            out.append(_wait(session, sequence, wait, now))
            return False
    session.coverage.add(start, end)
    if session.coverage.contiguous >= session.size_bytes and session.state in (State.DOWNLOADING, State.PARKED):
        session.move(Input.SERVE_LAST, "every byte was sent", now, out)
    session.progress(end, now, out)
    image = session.image
    body = zcl.ImageBlock(
        image.manufacturer_code, image.image_type, image.file_version, start, image.content[start:end]
    )
    if not session.in_flight:
        session.in_flight_since = now.instant
    session.in_flight += 1
    assert session.endpoint is not None
    out.append(Send(session.peer, session.endpoint, zcl.command(body, sequence), _BULK, _BLOCK, acknowledged))
    return True


def _withhold_s(session: Session, now: Now, out: list[Effect]) -> int | None:
    """For how long the block that completes the file has to wait, None for not at all."""
    due_now = due(session.activation, now, session.policy)
    if session.state is not State.MISSED:
        if not parks(session.activation, due_now):
            return None
        if due_now is Due.MISSED:
            session.move(
                Input.MISS, "the activation time and its grace passed before the download was complete", now, out
            )
        elif session.state is State.DOWNLOADING:
            session.move(Input.WITHHOLD, "the last block waits for the activation time", now, out)
    wait = wait_s(session.activation, due_now, now, session.policy)
    session.expected_at = Instant(now.instant + wait)
    return wait


def _wait(session: Session, sequence: int, wait: int, now: Now) -> Send:
    policy = session.policy
    current = now.zigbee_time() if time_form(session.activation, policy) is TimeForm.ABSOLUTE else zcl.NO_CURRENT_TIME
    period = policy.minimum_block_period if policy.wait_carries_minimum_block_period else None
    body = zcl.WaitForData(current, current + ceil(wait), period)
    return session.send(body, Token.ANSWER, Urgency.NORMAL, sequence)
