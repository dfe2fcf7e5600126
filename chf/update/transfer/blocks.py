"""Image blocks, one by one and in pages; whether the last one may go out is decided in `parking`.

Every request is answered for itself: from any offset, as often as it comes, whatever answers are still under way.
Which answers a device need not acknowledge is argued in docs/adr/0018.
"""

from dataclasses import replace
from struct import Struct
from typing import Final

from chf.clock import Instant, Now
from chf.update.effects import AlarmKind, Send, Token, Told, Urgency
from chf.update.model import TransferState
from chf.update.transfer import parking
from chf.update.transfer.offering import on_offer, sent_away
from chf.update.transfer.session import Page, Session
from chf.update.transitions import Input
from chf.zcl import ota as zcl
from chf.zcl.frame import Frame, Status

_BULK = Urgency.BULK
_BLOCK = Token.BLOCK
# Three and two whole APS fragments of 71 octets, less the 17 of ZCL; a Z-Stack dongle takes either in one frame.
_FRAGMENTED_BYTES: Final = (196, 125)
_FLOOD_WAIT_S: Final = 1  # our choice: long enough that a flood stops, too short to be noticed in a download
_FLOOD_ALARM_INTERVAL_S: Final = 60.0  # our choice
_LATE_S: Final = 0.002  # event loops count in milliseconds

# ZCL8 2.4.1 (header: frame control, sequence, command) and 11.13.6 (field control, manufacturer code, image type,
# file version, file offset, maximum data size) in one piece: this is parsed thousands of times in each update.
_REQUEST = Struct("<BBBBHHIIB")
# ZCL8 2.4.1 and 11.13.8 (status, manufacturer code, image type, file version, file offset, data size); the data follow.
_RESPONSE = Struct("<BBBBHHIIB")
assert _REQUEST.size == 17
assert _RESPONSE.size == 17
_unpack = _REQUEST.unpack_from
_pack = _RESPONSE.pack
_TYPE_AND_DIRECTION: Final = 0b0000_1111  # frame type, manufacturer specific, direction, ZCL8 2.4.1.1
_CLUSTER_TO_SERVER: Final = 0b0000_0001  # ZCL8 2.4.1.1
_CLUSTER_TO_CLIENT: Final = 0b0001_1001  # and no Default Response wanted, ZCL8 2.4.1.1
_OPTIONAL_BYTES: Final = (0, 8, 2, 10)  # none, node address, minimum block period, both, ZCL8 11.13.6
_REQUEST_COMMAND = zcl.ImageBlockRequest.COMMAND
_RESPONSE_COMMAND = zcl.ImageBlock.COMMAND
_SUCCESS = int(Status.SUCCESS)
_BEFORE_THE_END: Final = (TransferState.DOWNLOADING, TransferState.PARKED, TransferState.MISSED)


def serve_block(session: Session, endpoint: int, octets: bytes, now: Now, out: list[Told]) -> bool:
    """Answer an Image Block Request for the image of a live session; False, and nothing done, for any other frame.

    No frame objects are made, because this is most of what a hub does.
    """
    if len(octets) < _REQUEST.size:
        return False
    control, sequence, command, fields, manufacturer, image_type, version, offset, maximum = _unpack(octets)
    if (
        command != _REQUEST_COMMAND
        or control & _TYPE_AND_DIRECTION != _CLUSTER_TO_SERVER
        or (manufacturer, image_type, version) != session.ids
        or (fields and len(octets) < _REQUEST.size + _OPTIONAL_BYTES[fields & 0b11])
    ):
        return False
    session.endpoint, session.last_heard, session.page = endpoint, now.instant, None
    if offset >= session.size_bytes or not maximum:
        if offset == session.size_bytes and not session.whole:
            claim(session, now, out)
        refuse(session, Frame.from_bytes(octets), out)
    elif session.in_flight < session.policy.blocks_in_flight or admit(session, sequence, now, out):
        if session.state is TransferState.OFFERED:
            if sent_away(session, now):
                parking.send_away(session, sequence, now, out)
                return True
            began(session, now, out)
        if session.last_block is not None and session.last_block[0] == offset:
            _doubt(session, session.last_block[1])
        room = _block_room(session, maximum)
        end = min(offset + room, session.size_bytes)
        careful = session.loses_blocks or session.sleepy or room > session.policy.block_bytes
        acknowledged = careful or end == session.size_bytes
        block = _send_block(session, sequence, offset, end, now, out, acknowledged=acknowledged)
        session.last_block = None if block is None else (offset, block)
    return True


def block_ended(session: Session, delivered: bool, now: Now, out: list[Told]) -> None:
    """What became of a block: the last one is sent again, once, where not even the next hop has it."""
    session.in_flight = max(session.in_flight - 1, 0)
    session.in_flight_since = now.instant
    if delivered or session.ended or session.in_flight or session.last_block is None:
        return  # with another under way, it asked again meanwhile
    _, block = session.last_block
    session.last_block = None
    if block.acknowledged:
        _doubt(session, block)
        return
    session.in_flight = 1
    out.append(replace(block, acknowledged=True))


def _doubt(session: Session, block: Send) -> None:
    """The device asks for it again, or never acknowledged it."""
    if len(block.payload) > _RESPONSE.size + session.policy.block_bytes:
        session.takes_fragments = False
    elif not block.acknowledged:
        session.loses_blocks = True


def _block_room(session: Session, maximum: int) -> int:
    if session.policy.fragmented_blocks and session.takes_fragments and not session.sleepy:
        for room in _FRAGMENTED_BYTES:
            if room <= maximum:
                return room
    return min(maximum, session.policy.block_bytes)


def serve_page(session: Session, frame: Frame, request: zcl.ImagePageRequest, now: Now, out: list[Told]) -> None:
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
    if not admit(session, frame.sequence, now, out):
        return
    if sent_away(session, now):
        parking.send_away(session, frame.sequence, now, out)
        return
    began(session, now, out)
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


def continue_page(session: Session, now: Now, out: list[Told]) -> None:
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
    block = _send_block(session, sequence, start, page.next_bytes, now, out, acknowledged=False)
    if block is None or page.next_bytes == page.end_bytes:
        session.page = None


def refuse(session: Session, frame: Frame, out: list[Told]) -> None:
    """ZCL8 11.13.6.4, 11.13.7.4: an offset past the end, or a size of nothing. The download may go on."""
    answer_default(session, frame, Status.MALFORMED_COMMAND, out)


def answer_default(session: Session, frame: Frame, status: Status, out: list[Told]) -> None:
    payload = frame.default_response(status)
    if payload is not None:
        assert session.endpoint is not None
        out.append(Send(session.peer, session.endpoint, payload, Urgency.NORMAL, Token.ANSWER))


def began(session: Session, now: Now, out: list[Told]) -> None:
    if session.state is TransferState.OFFERED:
        session.first_block = None
        session.move(Input.ASK, now, out)
        session.announce(now, session.policy.notify_interval_s)  # should it fall silent again


def claim(session: Session, now: Now, out: list[Told]) -> None:
    """The device says that it has every byte, though it was not sent the last one: from another server, or earlier."""
    session.claims_image = True
    out.append(session.changed())
    if not on_offer(session, now):
        text = "says that it has the whole image already: it is offered nothing before its time"
        out.append(session.alarm(AlarmKind.HAS_IMAGE, text))


def admit(session: Session, sequence: int, now: Now, out: list[Told]) -> bool:
    """Whether there is room for another answer to this device; else it is told to wait, and a flood is cut off."""
    if not _crowded(session, now):
        return True
    if now.instant >= session.flood_alarm_at:
        session.flood_alarm_at = Instant(now.instant + _FLOOD_ALARM_INTERVAL_S)
        text = f"asks on and on with {session.in_flight} answers still under way: told to wait"
        out.append(session.alarm(AlarmKind.FLOOD, text))
    if now.instant >= session.flood_answer_at:
        session.flood_answer_at = Instant(now.instant + _FLOOD_WAIT_S)
        out.append(parking.wait(session, sequence, _FLOOD_WAIT_S, now))
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
    session: Session, sequence: int, start: int, end: int, now: Now, out: list[Told], *, acknowledged: bool
) -> Send | None:
    """Send these bytes, or WAIT_FOR_DATA and None where they would complete the file too early."""
    session.last_block = None
    if end == session.size_bytes and session.state in _BEFORE_THE_END:
        if parking.keep_back(session, sequence, now, out):
            return None
        # Whatever it was not sent it may have from before, or need not: it can be complete with this.
        session.end_served = True
        session.coverage.add(start, end)
        session.move(Input.SERVE_LAST, now, out)
    else:
        session.coverage.add(start, end)
    if session.first_block is None:
        session.first_block = (now.instant, start)
    if not session.in_flight:
        session.in_flight_since = now.instant
    session.in_flight += 1
    session.blocks += 1
    if now.instant >= session.progress_at or end == session.size_bytes:
        session.progress(end, now, out)
    assert session.endpoint is not None
    header = _pack(_CLUSTER_TO_CLIENT, sequence, _RESPONSE_COMMAND, _SUCCESS, *session.ids, start, end - start)
    payload = header + session.image.content[start:end]
    block = Send(session.peer, session.endpoint, payload, _BULK, _BLOCK, acknowledged)
    out.append(block)
    return block
