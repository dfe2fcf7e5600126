"""An OTA server against a device that behaves like the ones in the field, on a bad radio, with a hub that dies.

The machine may lose, repeat and delay every frame in both directions, kill and restart the hub between any two effects,
set the wall clock, cancel and release. What must hold all the same: the device ends up with the image byte for byte, it
never acts before its time, what was told was written down first, and an update is either cancelled or activated.

The device is of one of the kinds that the activation rules were made for. Silicon Labs: cuts each wait to an hour, then
acts. Telink: acts two hours after its first hold. Patient: keeps to the standard. A device that goes unanswered for too
long acts by itself in the field; no server can prevent that from outside, so here the device re-asks without giving up.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

import pytest
from hypothesis import settings
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
from chf.update.effects import Send, Token, Told, TransferChanged, TransferMoved
from chf.update.model import (
    ActivateAt,
    ActivateHold,
    ActivateNow,
    ActivationGiven,
    Strategy,
    TimeForm,
    TransferEnded,
    TransferRecord,
    TransferState,
    UpdateId,
)
from chf.update.transfer.policy import OtaPolicy
from chf.update.transfer.transfers import Transfers
from chf.zcl import ota as zcl
from chf.zcl.frame import DefaultResponse, Frame, FrameType
from tests.support.ota_bench import ENDPOINT, HARDWARE, IDS, IMAGE_TYPE, MANUFACTURER, NEW, OLD, PPMID, START_UTC, image

IMAGE = image(400)
BLOCK = 50
CLAMP_S = 3600
HOLD_LIMIT_S = 7200


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
    seen_times: bool = False

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


class OtaMachine(RuleBasedStateMachine):
    policy: ClassVar[OtaPolicy] = OtaPolicy(believe_stored_image=False)

    def __init__(self, kind: str, hours: float | None) -> None:
        super().__init__()
        self.kind, self.hours = kind, hours

    @initialize(
        hold=st.booleans(),
        form=st.sampled_from(TimeForm),
        troubles=st.sets(st.sampled_from(("loss", "kill", "clock", "cancel", "release"))),
    )
    def begin(self, hold, form, troubles):
        kind, hours = self.kind, self.hours
        self.troubles = troubles  # not all in every run: a cancel, for one, ends the story
        self.instant, self.utc, self.skew = 100.0, float(START_UTC), 0.0
        self.device = Device(kind)
        self.server = Transfers(self.policy)
        self.stored: TransferRecord | None = None
        self.air_up: list[bytes] = []
        self.air_down: list[bytes] = []
        self.acted_at: float | None = None
        self.cancelled = False
        self.given_utc: float | None = None
        self.transfers = 0
        self.crash_after: int | None = None
        # Telink clients act two hours into a hold, whatever a server says: hold is not for them, which the alarm says.
        strategy = Strategy.HOLD if hold and kind != "telink" else Strategy.PARK
        activation = (
            (ActivateNow() if kind == "telink" or not hold else ActivateHold())
            if hours is None
            else ActivateAt(UtcSeconds(self.utc + hours * 3600), strategy, form)
        )
        self.earliest_utc = None if hours is None or hours <= 0 else self.utc + hours * 3600
        self.released = not isinstance(activation, ActivateHold)
        self.clock_was_set = False
        self.carry_out(self.server.offer(UpdateId(1), PPMID, IMAGE, activation, self.now))

    @property
    def now(self) -> Now:
        return Now(Instant(self.instant), UtcSeconds(self.utc))

    def carry_out(self, effects: tuple[Told, ...]) -> None:
        """In their order; a crash may come between any two, taking with it what was not written down."""
        for effect in effects:
            if self.crash_after is not None:
                self.crash_after -= 1
                if self.crash_after < 0:
                    self.restart()
                    return
            match effect:
                case TransferChanged(record=record):
                    self.stored = TransferRecord.from_json(record.to_json())
                case TransferMoved(new=state):
                    assert self.stored is not None
                    assert self.stored.state is state
                case ActivationGiven(at_utc=at):
                    assert self.stored is not None
                    assert self.stored.committed_utc == at
                    assert not self.cancelled
                    self.given_utc = at
                case TransferEnded():
                    self.transfers += 1
                case Send(payload=payload, token=token):
                    self.check_send(payload, token)
                    self.air_down.append(payload)

    def check_send(self, payload: bytes, token: Token) -> None:
        assert self.stored is not None
        if token is Token.COMMIT:
            assert self.stored.state is TransferState.COMMITTED
            assert not self.cancelled
            response = zcl.UpgradeEndResponse.from_bytes(payload[3:])
            assert response.upgrade_time - response.current_time <= self.policy.commit_window_s + 1
        if token is Token.BLOCK:
            block = zcl.parse_image_block_response(payload[3:])
            assert isinstance(block, zcl.ImageBlock)
            end = block.offset_bytes + len(block.data)
            assert block.data == IMAGE.content[block.offset_bytes : end]
            if end == len(IMAGE.content):
                assert self.stored.state in (TransferState.SERVED, TransferState.HELD, TransferState.COMMITTED), (
                    "sent before it was written"
                )

    def restart(self) -> None:
        self.crash_after = None
        self.server = Transfers(self.policy)
        self.air_up.clear()
        assert self.stored is not None
        self.carry_out(self.server.restore(UpdateId(1), PPMID, self.stored, IMAGE, self.now))

    # The radio

    @rule()
    def device_speaks(self):
        octets = self.device.wants(self.instant)
        if octets is not None:
            self.air_up.append(octets)

    @precondition(lambda self: self.air_up)
    @rule(data=st.data(), keep=st.booleans())
    def hub_hears(self, data, keep):
        octets = data.draw(st.sampled_from(self.air_up))
        if not keep:
            self.air_up.remove(octets)
        self.carry_out(self.server.receive(PPMID, ENDPOINT, octets, self.now))

    @precondition(lambda self: self.air_down)
    @rule(data=st.data(), keep=st.booleans())
    def device_hears(self, data, keep):
        octets = data.draw(st.sampled_from(self.air_down))
        if not keep:
            self.air_down.remove(octets)
        self.device.take(octets, self.instant)
        for token in (Token.BLOCK, Token.HOLD, Token.COMMIT):
            self.carry_out(self.server.delivered(PPMID, token, True, self.now))

    @precondition(lambda self: "loss" in self.troubles)
    @rule()
    def frames_are_lost(self):
        self.air_up.clear()
        self.air_down.clear()
        for token in (Token.BLOCK, Token.HOLD, Token.COMMIT):
            self.carry_out(self.server.delivered(PPMID, token, False, self.now))

    @rule(rounds=st.integers(1, 20))
    def a_quiet_while(self, rounds):
        """A radio that works, for a change."""
        for _ in range(rounds):
            self.device_speaks()
            while self.air_up:
                self.carry_out(self.server.receive(PPMID, ENDPOINT, self.air_up.pop(0), self.now))
            while self.air_down:
                self.device.take(self.air_down.pop(0), self.instant)
                self.carry_out(self.server.delivered(PPMID, Token.BLOCK, True, self.now))
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
            deadline = self.server.deadline()
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
                for _peer, told in self.server.handle_deadline(self.now):
                    self.carry_out(told)

    def activate(self) -> None:
        assert bytes(self.device.flash) == IMAGE.content
        assert self.acted_at is None
        self.acted_at = self.utc
        self.device.phase, self.device.version = "done", NEW
        assert self.stored is not None
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

    @precondition(lambda self: "cancel" in self.troubles)
    @rule()
    def somebody_cancels(self):
        assert self.stored is not None
        if self.crash_after is not None:
            return
        before = self.stored.state
        try:
            effects = self.server.cancel(PPMID, self.now)
        except RefusedError:
            assert before in (
                TransferState.COMMITTED,
                TransferState.RUNNING,
                TransferState.CANCELLED,
                TransferState.FAILED,
            )
            return
        assert before is not TransferState.COMMITTED
        assert self.given_utc is None
        self.carry_out(effects)
        self.cancelled = True

    @precondition(lambda self: "release" in self.troubles)
    @rule(hours=st.none() | st.sampled_from((0.5, 3)))
    def somebody_releases(self, hours):
        if self.crash_after is not None:
            return
        strategy = Strategy.PARK if self.device.kind == "telink" else Strategy.HOLD
        activation = ActivateNow() if hours is None else ActivateAt(UtcSeconds(self.utc + hours * 3600), strategy)
        try:
            effects = self.server.release(PPMID, activation, self.now)
        except RefusedError:
            return
        self.released = True
        self.earliest_utc = None if hours is None else self.utc + hours * 3600
        self.carry_out(effects)

    # What always holds

    @invariant()
    def the_flash_is_a_prefix_of_the_image(self):
        if hasattr(self, "device"):
            assert IMAGE.content.startswith(bytes(self.device.flash))

    @invariant()
    def cancelled_and_given_exclude_each_other(self):
        if hasattr(self, "device"):
            assert not (self.cancelled and self.given_utc is not None)

    def teardown(self):
        """On a good radio, and with a hub that lives, every update that may come to an end does."""
        if not hasattr(self, "device"):
            return
        self.crash_after = None
        self.air_up.clear()
        self.air_down.clear()
        try:
            self.carry_out(self.server.release(PPMID, ActivateNow(), self.now))
        except RefusedError:
            pass
        else:
            self.released, self.earliest_utc = True, None
        for _ in range(60):
            self.a_quiet_while(3)
            self.pass_time(601)
        assert self.stored is not None
        if self.cancelled or self.stored.state is TransferState.FAILED:
            return
        if self.given_utc is None or not self.clock_was_set:
            assert self.device.version == NEW
            assert self.server.get(PPMID).state in (TransferState.RUNNING, TransferState.COMMITTED)


@pytest.mark.parametrize("kind", ["silicon labs", "telink", "patient"])
@pytest.mark.parametrize("hours", [None, -1, 0.5, 2, 30])
def test_whatever_happens_the_image_is_whole_and_nothing_acts_before_its_time(kind, hours):
    """`hours` from the offer to the activation; None for at once, or for a hold until somebody releases it."""
    run_state_machine_as_test(
        partial(OtaMachine, kind, hours),
        settings=settings(derandomize=True, deadline=None, max_examples=40, stateful_step_count=25),
    )
