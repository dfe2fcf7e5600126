"""One device's update in memory: what is remembered, what was heard, and when to look again.

It changes state by the table, and writes the record before anything else. What to answer is decided in `blocks` and
`activation`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from itertools import count
from typing import Final

from chf.clock import Instant, Now, UtcSeconds
from chf.eui64 import Eui64
from chf.image.image import FirmwareImage
from chf.machine import next_state
from chf.update.clients import UNKNOWN, ClientClass
from chf.update.effects import Alarm, AlarmKind, Progress, Send, Token, Told, TransferChanged, TransferMoved, Urgency
from chf.update.model import Activation, TransferEnded, TransferOutcome, TransferRecord, TransferState, UpdateId
from chf.update.transfer.appointment import Due, due
from chf.update.transfer.policy import OtaPolicy
from chf.update.transitions import TRANSFER, TRANSFER_ENDS, Input
from chf.zcl import ota as zcl

EVERY_ENDPOINT: Final = 0xFF  # Zigbee R22 2.2: the broadcast endpoint
_SEQUENCES: Final = 256  # an octet, ZCL8 2.4.1
REMEMBERED: Final = tuple(item.name for item in fields(TransferRecord) if item.name != "served_bytes")
"""What of a session is in its record by the same name."""
_MAXIMUM_ISLANDS: Final = 64  # a device that asks all over the place may not fill our memory (our choice)
_LONG_AGO: Final = Instant(float("-inf"))


def sequence_numbers() -> Callable[[], int]:
    """ZCL sequence numbers for what nobody asked for; the devices of a hub share them."""
    numbers = count()
    return lambda: next(numbers) % _SEQUENCES


class Coverage:
    """Which bytes of an image a device was sent: the proof that its Upgrade End is about our download.

    Sent, not received: the radio gives no better evidence, and the device checks the image itself. The first range
    counts as if all before it were sent too: a device resumes at the offset that it stored, perhaps under an earlier
    offer, or before this process began.
    """

    __slots__ = ("_islands", "_may_resume", "contiguous")

    def __init__(self, contiguous: int = 0) -> None:
        self.contiguous = contiguous
        self._islands: list[tuple[int, int]] = []
        self._may_resume = True

    def add(self, start: int, end: int) -> None:
        if self._may_resume:
            self._may_resume = False
            self.contiguous = max(self.contiguous, start)
        if start > self.contiguous:
            if len(self._islands) < _MAXIMUM_ISLANDS:
                self._islands = sorted({*self._islands, (start, end)})
        else:
            self.contiguous = max(self.contiguous, end)
            while self._islands and self._islands[0][0] <= self.contiguous:
                self.contiguous = max(self.contiguous, self._islands.pop(0)[1])


@dataclass(slots=True)
class Page:
    """An Image Page Request that is being answered."""

    endpoint: int
    next_bytes: int
    end_bytes: int
    block_bytes: int
    spacing_s: float
    due: Instant


@dataclass(slots=True)
class LateAnswer:
    """To a request for a block that it may not have yet; a newer one takes its place, and the time stays."""

    sequence: int
    wait_s: int
    due: Instant


@dataclass(frozen=True, slots=True)
class ToldToWait:
    """The last WAIT_FOR_DATA of a device that is kept from the last block, and how many blocks it was sent before."""

    at: Instant
    wait_s: int
    blocks: int


@dataclass(slots=True, eq=False)
class Session:
    update: UpdateId
    peer: Eui64
    image: FirmwareImage
    activation: Activation
    policy: OtaPolicy
    next_sequence: Callable[[], int]
    client: ClientClass = UNKNOWN
    state: TransferState = TransferState.OFFERED
    endpoint: int | None = None
    sleepy: bool = False
    allow_downgrade: bool = False
    coverage: Coverage = field(default_factory=Coverage)
    blocks: int = 0
    downloaded: bool = False
    aborts: int = 0
    end_served: bool = False
    claims_image: bool = False
    ignores_wait: bool = False
    download_s: float | None = None
    committed_utc: UtcSeconds | None = None
    commit_delivered: bool = False
    offers_again: int = 0

    # From here on: not remembered over a restart.
    page: Page | None = None
    end_sequence: int = 0  # of the last Upgrade End Request
    unproven_ends: int = 0
    time_owed: bool = False  # committed, and told to wait because the wall clock went back
    asks_in_vain: bool = False  # it was told that there is no image, and has to be notified when there is
    time_has_come: bool = False  # and what that brings was done
    answered_at: Instant = _LONG_AGO  # the last Upgrade End Response
    warned: str = ""  # of what its class of client cannot promise
    told_to_wait: ToldToWait | None = None
    impatience: int = 0  # how often in a row it asked again inside a wait
    late: LateAnswer | None = None
    sent_away_at: Instant = _LONG_AGO
    first_block: tuple[Instant, int] | None = None  # of the download that goes on: when, and at which offset
    measured_s: float | None = None  # the whole download, by the pace of this one
    last_block: tuple[int, Send] | None = None  # that was asked for singly, and its offset
    loses_blocks: bool = False  # and the dongle does not notice
    takes_fragments: bool = True  # as far as is known
    in_flight: int = 0
    in_flight_since: Instant = _LONG_AGO
    flood_answer_at: Instant = _LONG_AGO
    flood_alarm_at: Instant = _LONG_AGO
    last_heard: Instant = _LONG_AGO
    expected_at: Instant = _LONG_AGO  # until when the device was told to keep quiet
    reported_silence: Instant | None = None  # `last_heard` of the silence that was told
    offset_bytes: int = 0  # where the device was when its progress was told last
    progress_at: Instant = _LONG_AGO
    checkpoint_at: Instant = _LONG_AGO
    notify_interval_s: float = 0.0
    announced_at: Instant = _LONG_AGO
    notified_at: Instant = _LONG_AGO
    resends: int = 0
    reminders: int = 0
    other_image_told: bool = False
    # What to wake for; the earliest of them is `wake`, as the server's heap knows it.
    notify_at: Instant | None = None
    silence_at: Instant | None = None
    appointment_at: Instant | None = None
    resend_at: Instant | None = None
    wake: Instant | None = None
    # For the block path: plain attributes instead of properties.
    ids: tuple[int, int, int] = field(init=False)
    size_bytes: int = field(init=False)

    def __post_init__(self) -> None:
        header = self.image.header
        self.ids = (header.manufacturer_code, header.image_type, header.file_version)
        self.size_bytes = len(self.image.content)

    @property
    def ended(self) -> bool:
        return self.state in TRANSFER_ENDS

    @property
    def whole(self) -> bool:
        """The device has every byte, or may have: from here on it can activate by itself."""
        return self.end_served or self.downloaded or self.claims_image

    @property
    def patient(self) -> bool:
        """It keeps quiet for as long as it is told to."""
        return self.client.honours_wait and not self.ignores_wait

    @property
    def window_s(self) -> float:
        """A real activation time is given only when it is nearer than this."""
        return min(self.client.commit_window_s, self.policy.commit_window_s)

    def due(self, now: Now) -> Due:
        return due(self.activation, now, self.window_s, self.policy.grace_s)

    def record(self) -> TransferRecord:
        remembered = {name: getattr(self, name) for name in REMEMBERED}
        return TransferRecord(**remembered, served_bytes=self.coverage.contiguous)

    def changed(self) -> TransferChanged:
        return TransferChanged(self.record())

    def move(self, given: Input, now: Now, out: list[Told], reason: str = "") -> None:
        """Change state by the table; the record comes first."""
        self.state = next_state(TRANSFER, self.state, given)
        self.notify_at = self.silence_at = self.appointment_at = self.resend_at = None
        self.late, self.time_has_come = None, False
        self.checkpoint_at = Instant(now.instant + self.policy.checkpoint_interval_s)
        if self.ended:
            self.page = None
        self.watch_silence(now)
        out += (self.changed(), TransferMoved(self.state, reason))

    def miss(self, how: str, now: Now, out: list[Told]) -> None:
        """The appointment passed: a person has to decide again, for nothing that is so late starts by itself."""
        self.move(Input.MISS, now, out)
        out.append(self.alarm(AlarmKind.MISSED, how))

    def end(self, outcome: TransferOutcome, reason: str) -> TransferEnded:
        return TransferEnded(outcome, reason, self.blocks, self.offset_bytes)

    def send(self, body: zcl.ServerCommand, token: Token, urgency: Urgency, sequence: int | None = None) -> Send:
        """A command to where the device's client was heard, or to all its endpoints before that."""
        payload = zcl.command(body, self.next_sequence() if sequence is None else sequence)
        return Send(self.peer, EVERY_ENDPOINT if self.endpoint is None else self.endpoint, payload, urgency, token)

    def alarm(self, kind: AlarmKind, text: str) -> Alarm:
        return Alarm(self.peer, kind, text, self.update)

    def progress(self, offset_bytes: int, now: Now, out: list[Told]) -> None:
        """Tell where the download stands, from `progress_at` on, and write it down now and then."""
        self.progress_at = Instant(now.instant + self.policy.progress_interval_s)
        if now.instant >= self.checkpoint_at:
            self.checkpoint_at = Instant(now.instant + self.policy.checkpoint_interval_s)
            out.append(self.changed())
        self.offset_bytes = offset_bytes
        out.append(Progress(self.update, self.peer, offset_bytes, self.size_bytes, self.blocks))

    # Image Notify

    def announce(self, now: Now, delay_s: float = 0.0) -> None:
        """Start to notify, unless the device sleeps and would not hear it."""
        if not self.sleepy:
            self.announced_at = now.instant
            self.notify_interval_s = self.policy.notify_interval_s
            self.notify_at = Instant(max(now.instant + delay_s, self.notified_at + self.notify_interval_s))

    def notify(self, now: Now, out: list[Told]) -> None:
        """The notify that is due, unless the device was heard since it was announced; and the next one."""
        heard_at = self.last_heard + self.policy.notify_interval_s
        if self.last_heard > self.announced_at and now.instant < heard_at:
            self.notify_interval_s = self.policy.notify_interval_s
            self.notify_at = Instant(heard_at)
            return
        out.append(self.send(zcl.ImageNotify(), Token.NOTIFY, Urgency.NORMAL))
        self.notified_at = now.instant
        self.notify_at = Instant(now.instant + self.notify_interval_s)
        self.notify_interval_s = min(2 * self.notify_interval_s, self.policy.notify_interval_limit_s)

    # Silence

    def watch_silence(self, now: Now) -> None:
        limit_s = self._silence_limit_s()
        self.silence_at = None if limit_s is None else Instant(now.instant + limit_s)

    def check_silence(self, now: Now, out: list[Told]) -> None:
        """Report a silence once; it ends nothing, the update's own deadline does."""
        limit_s = self._silence_limit_s()
        assert limit_s is not None
        due = max(self.last_heard, self.expected_at) + limit_s
        if now.instant < due:
            self.silence_at = Instant(due)
            return
        self.silence_at = Instant(now.instant + limit_s)
        if self.reported_silence != self.last_heard:
            self.reported_silence = self.last_heard
            out.append(self.alarm(AlarmKind.STALLED, f"not heard for {limit_s:.0f} s while {self.state}"))

    def _silence_limit_s(self) -> float | None:
        if self.state in (TransferState.DOWNLOADING, TransferState.PARKED):
            return self.policy.stall_s
        return self.policy.verify_s if self.state is TransferState.SERVED else None

    # What the server sorts sessions by

    def next_wake(self) -> Instant | None:
        page_due = None if self.page is None else self.page.due
        late_due = None if self.late is None else self.late.due
        times = (self.notify_at, self.silence_at, self.appointment_at, self.resend_at, page_due, late_due)
        return min((time for time in times if time is not None), default=None)
