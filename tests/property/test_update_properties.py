"""Updates by the rules of their table, whatever happens to them in whatever order, on a hub that is killed meanwhile.

The devices here have no client: what happens to their updates is drawn. A device that has one, and the air between, are
in `test_never_early`.
"""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from chf.clock import Instant, Now, UtcSeconds
from chf.errors import RefusedError
from chf.eui64 import Eui64
from chf.image.header import ImageType
from chf.image.image import ImageId
from chf.update import model
from chf.update.effects import Happened, LoadImage, Persist, RaiseTransferAlert, Withdraw
from chf.update.machine import About, Accepted, ImageReady, UpdateMachine
from chf.update.scheduler import SchedulePolicy
from chf.update.transfer.policy import OtaPolicy
from chf.update.transitions import UPDATE, apply
from tests.support.ota_bench import IMAGE_TYPE, MANUFACTURER, NEW, OLD, PPMID, START_UTC, image

IMAGE = image(400)
OTHER = 3
DEVICES = (PPMID, Eui64(2), Eui64(3))
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
    st.builds(
        model.VersionObserved,
        st.none() | versions,
        st.sampled_from((IMAGE.header.made_for, ImageType(MANUFACTURER, IMAGE_TYPE + 1), None)),
        first=st.booleans(),
    ),
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
    if isinstance(event, model.VersionObserved) and event.image_type != update.image_type:
        assert (update.state, update.reason) == (before.state, before.reason)
    if isinstance(event, model.VerificationTimedOut) and update.state is model.UpdateState.ACTIVATED:
        assert update.superseded is not None
    elif update.state is model.UpdateState.ACTIVATED:
        assert (event.file_version, event.image_type) == (update.file_version, update.image_type)
    if update.state is model.UpdateState.REVERTED:
        assert isinstance(event, model.VersionObserved)
        assert event.file_version not in (None, update.file_version)
        assert (update.report.success, update.report.file_version) == (True, update.file_version)
    if before.state is model.UpdateState.ACTIVATING:
        assert update.state not in {model.UpdateState.CANCELLED, model.UpdateState.EXPIRED}


def new_update(number, device, activation, utc):
    return model.accept(
        number=model.UpdateId(number),
        device=device,
        image=ImageId(IMAGE.sha256),
        image_type=IMAGE.header.made_for,
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


class Hub(RuleBasedStateMachine):
    """More devices than may be served at a time. What is written survives a kill, and nothing else does."""

    @initialize(concurrent=st.integers(1, 3))
    def begin(self, concurrent):
        self.instant, self.utc = 100.0, float(START_UTC)
        self.schedule = SchedulePolicy(concurrent=concurrent, lifetime_s=30.0 * DAY_S)
        self.machine = UpdateMachine(self.schedule, OtaPolicy())
        self.rows, self.alerts = {}, {}

    @property
    def now(self) -> Now:
        return Now(Instant(self.instant), UtcSeconds(self.utc))

    def newest(self, device):
        return max((row for row in self.rows.values() if row.device == device), key=lambda row: row.id, default=None)

    def handle(self, event) -> None:
        self.carry_out(self.machine.handle(event, self.now))

    def carry_out(self, effects) -> None:
        latest = {}  # of what was changed
        kinds = [isinstance(effect, Persist) for effect in effects]
        assert kinds == sorted(kinds, reverse=True), "the rows come first"
        written = [effect.update for effect in effects if isinstance(effect, Persist)]
        assert len({update.id for update in written}) == len(written), "each once"
        before, self.rows = self.rows, self.rows | {update.id: update for update in written}
        for effect in effects:
            match effect:
                case Happened(old, update, event):
                    known = latest.get(old.id) or before[old.id]
                    assert replace(known, record=None) == replace(old, record=None)
                    if update != old:
                        check_step(old, update, event)
                    latest[update.id] = update
                case RaiseTransferAlert(update, outcome):
                    assert update.id not in self.alerts
                    assert update.transfer is outcome
                    self.alerts[update.id] = outcome
        for number, row in latest.items():
            assert replace(self.rows[number], record=None) == replace(row, record=None), "the row is the last word"
        for effect in effects:
            if isinstance(effect, LoadImage):
                assert self.rows[effect.update].active
                self.handle(ImageReady(effect.update, IMAGE))

    @rule()
    def it_is_killed(self):
        self.machine = UpdateMachine(self.schedule, OtaPolicy())
        self.carry_out(self.machine.restore([(row, IMAGE) for row in self.rows.values()], self.now))

    @rule(seconds=st.sampled_from((0.05, 4, 400, 3600)))
    def time_passes(self, seconds):
        end, calls_now = self.instant + seconds, 0
        while (deadline := self.machine.deadline()) is not None and deadline <= end:
            calls_now = 0 if deadline > self.instant else calls_now + 1
            # A hub that was killed while it did what was due finds something due when it comes back: a few, not for ever.
            assert calls_now < 10, "a deadline that stays due"
            self.utc += max(deadline - self.instant, 0)
            self.instant = max(deadline, self.instant)
            self.carry_out(self.machine.handle_deadline(self.now))
        self.utc += end - self.instant
        self.instant = end

    @rule(device=st.sampled_from(DEVICES), activation=activations)
    def an_update_is_accepted(self, device, activation):
        update = self.newest(device)
        if update is None or not update.active:
            update = new_update(len(self.rows) + 1, device, activation, self.now.utc)
            self.rows[update.id] = update
            self.handle(Accepted(update))

    @rule(device=st.sampled_from(DEVICES), event=events)
    def anything_happens(self, device, event):
        """To the device's newest update, whether or not it has ended."""
        try:
            self.handle(About(device, event))
        except RefusedError:
            assert isinstance(event, model.Cancelled | model.ActivationOrdered)

    @rule(device=st.sampled_from(DEVICES), delay_s=st.floats(0.0, 5000.0), steps=st.integers(1, 6))
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

    @invariant()
    def the_rows_are_what_the_machine_knows(self):
        for device in DEVICES if hasattr(self, "machine") else ():
            assert self.machine.for_device(device) == self.newest(device)

    @invariant()
    def every_end_was_told_and_only_what_happened_was(self):
        for row in getattr(self, "rows", {}).values():
            assert self.alerts.get(row.id) is row.transfer
            assert row.active or row.transfer is not None
            assert row.state is not model.UpdateState.ACTIVATED or row.version_seen == row.file_version
            assert (row.ended is None) is row.active


def test_whatever_happens_to_many_updates_their_rows_obey_the_table():
    run_state_machine_as_test(
        Hub, settings=settings(derandomize=True, deadline=None, max_examples=150, stateful_step_count=25)
    )
