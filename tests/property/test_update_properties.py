"""One update after another, against devices that behave like those in the field, on a bad radio, with a hub that dies.

The machine may lose, repeat and delay every frame in both directions, kill and restart the hub between what it writes and
each message that it sends, set the wall clock, cancel, release, and have any event happen at any time. What must hold all
the same: the device ends up with the image byte for byte, it never acts before its time, what is said was written down
first, an update is either cancelled or activated, and every row obeys the rules of its table.

The first device is of one of the kinds that the activation rules were made for. Silicon Labs: cuts each wait to an hour,
then acts. Telink: acts two hours after its first hold. Patient: keeps to the standard. A device that goes unanswered for
too long acts by itself in the field; no hub can prevent that from outside, so here the device re-asks without giving up.
The other devices have no client: what happens to their updates is drawn.
"""

from dataclasses import dataclass, field, replace
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from chf.clock import Instant, Now, UtcSeconds
from chf.errors import RefusedError
from chf.eui64 import Eui64
from chf.image.image import ImageId
from chf.update import model
from chf.update.effects import Happened, LoadImage, Persist, RaiseTransferAlert, Send, Token, Withdraw
from chf.update.machine import About, Accepted, Delivered, FrameReceived, ImageReady, UpdateMachine
from chf.update.scheduler import SchedulePolicy
from chf.update.transfer.policy import OtaPolicy
from chf.update.transitions import UPDATE, apply
from chf.zcl import ota as zcl
from chf.zcl.attributes import ReadAttributes
from chf.zcl.frame import DefaultResponse, Frame, FrameType
from tests.support.ota_bench import ENDPOINT, HARDWARE, IDS, IMAGE_TYPE, MANUFACTURER, NEW, OLD, PPMID, START_UTC, image

IMAGE = image(400)
BLOCK = 50
CLAMP_S = 3600
HOLD_LIMIT_S = 7200
OTHER = 3
OTHERS = (Eui64(2), Eui64(3))
DAY_S = 86_400
T0 = START_UTC

utc = st.floats(T0 - 10_000, T0 + 10_000).map(UtcSeconds)
versions = st.sampled_from((OLD, NEW, OTHER))
activations = st.one_of(st.just(model.ActivateNow()), st.just(model.ActivateHold()), st.builds(model.ActivateAt, utc))
events = st.one_of(
    st.builds(model.Stored),
    st.builds(model.Announced),
    st.builds(model.DownloadStarted),
    st.builds(model.TransferEnded, st.sampled_from(model.TransferOutcome), st.sampled_from(("", "why"))),
    st.builds(model.WaitingFor, st.sampled_from(model.WaitReason), st.none() | utc),
    st.builds(model.ActivationOrdered, activations),
    st.builds(model.ActivationGiven, utc),
    st.builds(model.DeviceRejoined),
    st.builds(model.VersionObserved, versions),
    st.builds(model.ActivationReported, st.booleans(), versions),
    st.builds(model.Cancelled),
    st.builds(model.Refused, st.sampled_from(("", "no"))),
    st.builds(model.DeadlinePassed),
    st.builds(model.VerificationTimedOut),
)


def check_step(before, update, event):
    """What holds for every change of a row."""
    assert update.active or update.reason or update.state in {model.UpdateState.ACTIVATED, model.UpdateState.CANCELLED}
    assert update.active or update.transfer is not None
    assert before.transfer in {None, update.transfer}
    assert (update.ended is None) is update.active
    assert (update.waiting_for is None) or update.state is model.UpdateState.WAITING
    if before.state in model.ENDS:
        assert (update.state, update.reason, update.ended) == (before.state, before.reason, before.ended)
        return
    if update.state is not before.state:
        assert update.state in {case.to for case in UPDATE[before.state, type(event)]}
    if update.state is model.UpdateState.ACTIVATED:
        assert event == model.VersionObserved(update.file_version)
    if update.state is model.UpdateState.REVERTED:
        assert isinstance(event, model.VersionObserved)
        assert event.file_version != update.file_version
        assert (update.report.success, update.report.file_version) == (True, update.file_version)
    if before.state is model.UpdateState.ACTIVATING:
        assert update.state not in {model.UpdateState.CANCELLED, model.UpdateState.EXPIRED}


def new_update(number, device, activation, utc):
    return model.accept(
        number=model.UpdateId(number),
        device=device,
        image=ImageId(IMAGE.sha256),
        file_version=NEW,
        activation=activation,
        origin="cli",
        version_before=OLD,
        now_utc=utc,
        lifetime_s=30.0 * DAY_S,
    )


BEGINNING = (
    model.Stored(),
    model.Announced(),
    model.DownloadStarted(),
    model.TransferEnded(model.TransferOutcome.SUCCESS),
    model.ActivationGiven(UtcSeconds(T0)),
    model.ActivationReported(success=True, file_version=NEW),
)


@settings(derandomize=True, max_examples=1500, deadline=None)
@given(begun=st.integers(0, len(BEGINNING)), waits=st.booleans(), rest=st.lists(events, min_size=1, max_size=12))
def test_any_events_after_any_beginning(begun, waits, rest):
    update, told = new_update(1, PPMID, model.ActivateNow(), UtcSeconds(T0)), 0
    wait = [model.WaitingFor(model.WaitReason.COMMAND)] if waits and begun in {3, 4} else []
    for second, event in enumerate([*BEGINNING[:begun], *wait, *rest]):
        now = Now(Instant(second), UtcSeconds(T0 + second))
        before = update
        update, actions = apply(before, event, now)
        check_step(before, update, event)
        told += sum(isinstance(action, RaiseTransferAlert) for action in actions)
        assert told == (update.transfer is not None)
        assert all(action.update == update for action in actions)
        assert update != before or not any(isinstance(action, Withdraw | RaiseTransferAlert) for action in actions)


@dataclass
class Device:
    """An OTA client; its clock is the machine's instant, so that setting the hub's clock does not touch it."""

    kind: str
    flash: bytearray = field(default_factory=bytearray)
    phase: str = "query"  # query, download, end, countdown, done
    version: int = OLD
    ask_at: float = 0.0
    act_at: float | None = None
    held_since: float | None = None
    sequence: int = 0
    answers: list[bytes] = field(default_factory=list)

    def wants(self, instant: float) -> bytes | None:
        if self.phase in ("countdown", "done") or instant < self.ask_at:
            return None
        self.sequence = (self.sequence + 1) % 256
        self.ask_at = instant + 3
        if self.phase == "query":
            body: zcl.ClientCommand = zcl.QueryNextImageRequest(MANUFACTURER, IMAGE_TYPE, self.version, HARDWARE)
        elif self.phase == "download":
            body = zcl.ImageBlockRequest(*IDS, len(self.flash), BLOCK)
        else:
            body = zcl.UpgradeEndRequest(0, *IDS)
        return zcl.command(body, self.sequence)

    def take(self, octets: bytes, instant: float) -> None:
        frame = Frame.from_bytes(octets)
        if frame.frame_type is FrameType.GLOBAL and frame.command == ReadAttributes.COMMAND:
            body = b"\x02\0\0\x23" + self.version.to_bytes(4, "little")  # CurrentFileVersion, SUCCESS, uint32
            self.answers.append(bytes((0x10, frame.sequence, 0x01)) + body)
            return
        if frame.frame_type is FrameType.GLOBAL:
            response = DefaultResponse.from_bytes(frame.payload)
            if response.command == zcl.UpgradeEndRequest.COMMAND and response.status and self.phase == "end":
                self._start_over(instant)
            return
        match frame.command:
            case zcl.ImageNotify.COMMAND if self.phase == "query":
                self.ask_at = instant
            case zcl.QueryNextImageResponse.COMMAND if self.phase == "query":
                found = zcl.QueryNextImageResponse.from_bytes(frame.payload).image
                if found is not None and found.file_version != self.version:
                    self.phase, self.ask_at = "download", instant
                else:
                    self.ask_at = instant + 300
            case zcl.ImageBlock.COMMAND if self.phase == "download":
                self._take_block(zcl.parse_image_block_response(frame.payload), instant)
            case zcl.UpgradeEndResponse.COMMAND if self.phase == "end":
                self._take_end(zcl.UpgradeEndResponse.from_bytes(frame.payload), instant)

    def _take_block(self, response: zcl.ImageBlockResponse, instant: float) -> None:
        match response:
            case zcl.ImageBlock(offset_bytes=offset, data=data):
                if offset == len(self.flash):
                    self.flash += data
                    self.ask_at = instant
                    if len(self.flash) >= len(IMAGE.content):
                        self.phase = "end"
            case zcl.WaitForData(current, request):
                wait = request - current
                self.ask_at = instant + (min(wait, CLAMP_S) if self.kind == "silicon labs" else wait)
            case zcl.BlockRefused():
                self._start_over(instant)

    def _take_end(self, response: zcl.UpgradeEndResponse, instant: float) -> None:
        if response.upgrade_time == zcl.WAIT_FOR_COMMAND:
            if self.held_since is None:
                self.held_since = instant
            self.ask_at = instant + CLAMP_S
            return
        wait = response.upgrade_time - response.current_time
        assert wait >= 0
        self.act_at = instant + (min(wait, CLAMP_S) if self.kind == "silicon labs" else wait)
        self.phase = "countdown"

    def _start_over(self, instant: float) -> None:
        self.phase, self.ask_at, self.held_since = "query", instant + 300, None
        self.flash.clear()

    def due(self) -> float | None:
        if self.phase == "countdown":
            return self.act_at
        if self.kind == "telink" and self.phase == "end" and self.held_since is not None:
            return self.held_since + HOLD_LIMIT_S
        return None


class World(RuleBasedStateMachine):
    policy = OtaPolicy(believe_stored_image=False)

    def __init__(self, kind: str, hours: float | None) -> None:
        super().__init__()
        self.kind, self.hours = kind, hours

    @initialize(
        hold=st.booleans(),
        form=st.sampled_from(model.TimeForm),
        troubles=st.sets(st.sampled_from(("loss", "kill", "clock", "cancel", "release", "others", "no patience"))),
        concurrent=st.integers(1, 3),
    )
    def begin(self, hold, form, troubles, concurrent):
        kind, hours = self.kind, self.hours
        self.troubles = troubles  # not all in every run: a cancel, for one, ends the story
        self.instant, self.utc = 100.0, float(START_UTC)
        patience = {} if "no patience" in troubles else {"verify_s": 30.0 * DAY_S, "read_interval_limit_s": 1800.0}
        self.schedule = SchedulePolicy(concurrent=concurrent, lifetime_s=30.0 * DAY_S, **patience)
        self.device = Device(kind)
        self.machine = UpdateMachine(self.schedule, self.policy)
        self.rows, self.alerts = {}, {}
        self.air_up: list[bytes] = []
        self.air_down: list[bytes] = []
        self.acted_at: float | None = None
        self.cancelled = False
        self.given_utc: float | None = None
        self.crash_after: int | None = None
        # Telink clients act two hours into a hold, whatever a hub says: hold is not for them, which the alarm says.
        strategy = model.Strategy.HOLD if hold and kind != "telink" else model.Strategy.PARK
        activation = (
            (model.ActivateNow() if kind == "telink" or not hold else model.ActivateHold())
            if hours is None
            else model.ActivateAt(UtcSeconds(self.utc + hours * 3600), strategy, form)
        )
        self.earliest_utc = None if hours is None or hours <= 0 else self.utc + hours * 3600
        self.released = not isinstance(activation, model.ActivateHold)
        self.clock_was_set = False
        self.accept(PPMID, activation)

    @property
    def now(self) -> Now:
        return Now(Instant(self.instant), UtcSeconds(self.utc))

    def newest(self, device):
        return max((row for row in self.rows.values() if row.device == device), key=lambda row: row.id, default=None)

    @property
    def row(self):
        return self.newest(PPMID)

    def accept(self, device, activation):
        update = new_update(len(self.rows) + 1, device, activation, self.now.utc)
        self.rows[update.id] = update
        self.handle(Accepted(update))

    def handle(self, event) -> None:
        self.carry_out(self.machine.handle(event, self.now))

    # What a shell does

    def carry_out(self, effects) -> None:
        """One transaction, then message by message; a crash may come before each, taking the rest with it."""
        if self.crashes():
            return
        self.write(effects)
        for effect in effects:
            if isinstance(effect, Send | LoadImage):
                if self.crashes():
                    return
                if isinstance(effect, Send):
                    self.send(effect)
                else:
                    assert self.rows[effect.update].active
                    self.handle(ImageReady(effect.update, IMAGE))

    def write(self, effects) -> None:
        latest = {}  # of what was changed
        kinds = [isinstance(effect, Persist) for effect in effects]
        assert kinds == sorted(kinds, reverse=True), "the rows come first"
        written = [effect.update for effect in effects if isinstance(effect, Persist)]
        assert len({update.id for update in written}) == len(written), "each once"
        before, self.rows = self.rows, self.rows | {update.id: update for update in written}
        for update in written:
            assert update.record is None or model.TransferRecord.from_json(update.record.to_json()) == update.record
        for effect in effects:
            match effect:
                case Happened(old, update, event):
                    known = latest.get(old.id) or before[old.id]
                    assert replace(known, record=None) == replace(old, record=None)
                    if update != old:
                        check_step(old, update, event)
                    latest[update.id] = update
                    if (
                        isinstance(event, model.ActivationGiven)
                        and update.device == PPMID
                        and "others" not in self.troubles
                    ):
                        assert self.rows[update.id].record.committed_utc == event.at_utc
                        assert not self.cancelled
                        self.given_utc = event.at_utc
                case RaiseTransferAlert(update, outcome):
                    assert update.id not in self.alerts
                    assert update.transfer is outcome
                    self.alerts[update.id] = outcome
        for number, row in latest.items():
            assert replace(self.rows[number], record=None) == replace(row, record=None), "the row is the last word"

    def crashes(self) -> bool:
        if self.crash_after is None:
            return False
        self.crash_after -= 1
        if self.crash_after < 0:
            self.restart()
            return True
        return False

    def send(self, send: Send) -> None:
        if send.peer != PPMID:
            return
        record = self.row.record
        if send.token is Token.COMMIT:
            assert record.state is model.TransferState.COMMITTED
            assert not self.cancelled
            response = zcl.UpgradeEndResponse.from_bytes(send.payload[3:])
            assert response.upgrade_time - response.current_time <= self.policy.commit_window_s + 1
        if send.token is Token.BLOCK:
            block = zcl.parse_image_block_response(send.payload[3:])
            assert isinstance(block, zcl.ImageBlock)
            end = block.offset_bytes + len(block.data)
            assert block.data == IMAGE.content[block.offset_bytes : end]
            if end == len(IMAGE.content):
                allowed = (model.TransferState.SERVED, model.TransferState.HELD, model.TransferState.COMMITTED)
                assert record.state in allowed, "sent before it was written"
        self.air_down.append(send.payload)

    def restart(self) -> None:
        self.crash_after = None
        self.machine = UpdateMachine(self.schedule, self.policy)
        self.air_up.clear()
        self.carry_out(self.machine.restore([(row, IMAGE) for row in self.rows.values()], self.now))

    # The radio

    @rule()
    def device_speaks(self):
        octets = self.device.wants(self.instant)
        if octets is not None:
            self.air_up.append(octets)
        self.air_up += self.device.answers
        self.device.answers.clear()

    @precondition(lambda self: self.air_up)
    @rule(data=st.data(), keep=st.booleans())
    def hub_hears(self, data, keep):
        octets = data.draw(st.sampled_from(self.air_up))
        if not keep:
            self.air_up.remove(octets)
        self.handle(FrameReceived(PPMID, ENDPOINT, octets))

    @precondition(lambda self: self.air_down)
    @rule(data=st.data(), keep=st.booleans())
    def device_hears(self, data, keep):
        octets = data.draw(st.sampled_from(self.air_down))
        if not keep:
            self.air_down.remove(octets)
        self.device.take(octets, self.instant)
        for token in (Token.BLOCK, Token.HOLD, Token.COMMIT):
            self.handle(Delivered(PPMID, token, True))

    @precondition(lambda self: "loss" in self.troubles)
    @rule()
    def frames_are_lost(self):
        self.air_up.clear()
        self.air_down.clear()
        for token in (Token.BLOCK, Token.HOLD, Token.COMMIT):
            self.handle(Delivered(PPMID, token, False))

    @rule(rounds=st.integers(1, 20))
    def a_quiet_while(self, rounds):
        """A radio that works, for a change."""
        for _ in range(rounds):
            self.device_speaks()
            while self.air_up:
                self.handle(FrameReceived(PPMID, ENDPOINT, self.air_up.pop(0)))
            while self.air_down:
                self.device.take(self.air_down.pop(0), self.instant)
                self.handle(Delivered(PPMID, Token.BLOCK, True))
            self.pass_time(0.1)

    @rule(hours=st.integers(1, 5))
    def good_hours(self, hours):
        for _ in range(6 * hours):
            self.a_quiet_while(3)
            self.pass_time(601)

    # Time

    def pass_time(self, seconds: float) -> None:
        end = self.instant + seconds
        calls_now = 0
        while True:
            deadline = self.machine.deadline()
            moments = [m for m in (deadline, self.device.due()) if m is not None and m <= end]
            moment = max(min(moments, default=end), self.instant)
            calls_now = calls_now + 1 if moment == self.instant else 0
            # A hub that was killed while it did what was due finds something due when it comes back: a few, not for ever.
            assert calls_now < 10, "a deadline that stays due"
            self.utc += moment - self.instant
            self.instant = moment
            if not moments:
                return
            if (due := self.device.due()) is not None and due <= moment:
                self.activate()
            if deadline is not None and deadline <= moment:
                self.carry_out(self.machine.handle_deadline(self.now))

    def activate(self) -> None:
        assert bytes(self.device.flash) == IMAGE.content
        assert self.acted_at is None
        self.acted_at = self.utc
        self.device.phase, self.device.version = "done", NEW
        assert self.released, "activated before it was released"
        if not self.clock_was_set and self.earliest_utc is not None:
            assert self.utc >= self.earliest_utc - 1e-3, "activated before its time"

    @rule(seconds=st.sampled_from((0.05, 1, 4, 40, 400, 1800, 3600)))
    def time_passes(self, seconds):
        self.pass_time(seconds)

    @precondition(lambda self: "clock" in self.troubles)
    @rule(seconds=st.sampled_from((-90_000, -3600, 3600, 90_000)))
    def the_clock_is_set(self, seconds):
        self.utc += seconds
        self.clock_was_set = True

    # The hub and its people

    @precondition(lambda self: "kill" in self.troubles)
    @rule()
    def the_hub_is_killed(self):
        self.restart()

    @precondition(lambda self: "kill" in self.troubles)
    @rule(effects=st.integers(0, 5))
    def the_hub_will_be_killed_soon(self, effects):
        self.crash_after = effects

    @precondition(lambda self: "cancel" in self.troubles and self.crash_after is None)
    @rule()
    def somebody_cancels(self):
        before = self.row
        try:
            self.handle(About(PPMID, model.Cancelled()))
        except RefusedError:
            assert before.state is model.UpdateState.ACTIVATING or before.state in model.ENDS
            return
        assert self.row.state is model.UpdateState.CANCELLED
        assert self.given_utc is None
        self.cancelled = True

    @precondition(lambda self: "release" in self.troubles and self.crash_after is None)
    @rule(hours=st.none() | st.sampled_from((0.5, 3)))
    def somebody_releases(self, hours):
        strategy = model.Strategy.PARK if self.device.kind == "telink" else model.Strategy.HOLD
        activation = (
            model.ActivateNow() if hours is None else model.ActivateAt(UtcSeconds(self.utc + hours * 3600), strategy)
        )
        self.release(activation, None if hours is None else self.utc + hours * 3600)

    def release(self, activation, earliest_utc) -> None:
        before = self.released, self.earliest_utc
        self.released, self.earliest_utc = True, earliest_utc  # the device may hear of it at once
        try:
            self.handle(About(PPMID, model.ActivationOrdered(activation)))
        except RefusedError:
            self.released, self.earliest_utc = before

    # Devices without a client, to which anything may happen

    @precondition(lambda self: "others" in self.troubles and self.crash_after is None)
    @rule(device=st.sampled_from(OTHERS), activation=activations)
    def another_update(self, device, activation):
        update = self.newest(device)
        if update is None or not update.active:
            self.accept(device, activation)

    @precondition(lambda self: "others" in self.troubles)
    @rule(device=st.sampled_from(OTHERS), event=events)
    def anything_happens(self, device, event):
        """To the device's newest update, whether or not it has ended."""
        try:
            self.handle(About(device, event))
        except RefusedError:
            assert isinstance(event, model.Cancelled | model.ActivationOrdered)

    @precondition(lambda self: "others" in self.troubles)
    @rule(device=st.sampled_from(OTHERS), delay_s=st.floats(0.0, 5000.0), steps=st.integers(1, 6))
    def all_goes_well(self, device, delay_s, steps):
        """Chance alone seldom gets beyond the download."""
        natural = {
            model.UpdateState.ACCEPTED: model.Stored(),
            model.UpdateState.STORED: model.Announced(),
            model.UpdateState.ANNOUNCED: model.DownloadStarted(),
            model.UpdateState.DOWNLOADING: model.TransferEnded(model.TransferOutcome.SUCCESS),
            model.UpdateState.DOWNLOADED: model.ActivationGiven(UtcSeconds(self.utc + delay_s)),
            model.UpdateState.WAITING: model.ActivationGiven(UtcSeconds(self.utc)),
            model.UpdateState.ACTIVATING: model.ActivationReported(delay_s < 2500.0, NEW),
        }
        for _step in range(steps):
            update = self.newest(device)
            if update is not None and update.active:
                self.handle(About(device, natural[update.state]))

    # What always holds

    @invariant()
    def the_flash_is_a_prefix_of_the_image(self):
        if hasattr(self, "device"):
            assert IMAGE.content.startswith(bytes(self.device.flash))

    @invariant()
    def cancelled_and_given_exclude_each_other(self):
        if hasattr(self, "device"):
            assert not (self.cancelled and self.given_utc is not None)

    @invariant()
    def the_rows_are_what_the_machine_knows(self):
        if hasattr(self, "device"):
            for device in (PPMID, *OTHERS):
                assert self.machine.for_device(device) == self.newest(device)

    @invariant()
    def every_end_was_told_and_only_what_happened_was(self):
        for row in getattr(self, "rows", {}).values():
            assert self.alerts.get(row.id) is row.transfer
            assert row.active or row.transfer is not None
            assert row.state is not model.UpdateState.ACTIVATED or row.version_seen == row.file_version
            assert (row.ended is None) is row.active

    def teardown(self):
        """On a good radio, and with a hub that lives, every update that may come to an end does."""
        if not hasattr(self, "device"):
            return
        self.crash_after = None
        self.air_up.clear()
        self.air_down.clear()
        if self.row.active:
            self.release(model.ActivateNow(), None)
        for _ in range(60):
            self.a_quiet_while(3)
            self.pass_time(601)
        row = self.row
        assert row.state is not model.UpdateState.ACTIVATED or self.device.version == NEW
        if self.cancelled or row.state is model.UpdateState.FAILED:
            assert self.cancelled or row.reason
            return
        if self.given_utc is None or not self.clock_was_set:
            assert (row.state, self.device.version) == (model.UpdateState.ACTIVATED, NEW)


@pytest.mark.parametrize("kind", ["silicon labs", "telink", "patient"])
@pytest.mark.parametrize("hours", [None, -1, 0.5, 2, 30])
def test_whatever_happens_the_image_is_whole_and_nothing_acts_before_its_time(kind, hours):
    """`hours` from the offer to the activation; None for at once, or for a hold until somebody releases it."""
    run_state_machine_as_test(
        partial(World, kind, hours),
        settings=settings(derandomize=True, deadline=None, max_examples=40, stateful_step_count=25),
    )
