"""Any events in any order, with restarts in between: the promises of the job table hold throughout."""

import hypothesis.strategies as st
from hypothesis import given, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from chf.clock import Instant, Now, UtcSeconds
from chf.eui64 import Eui64
from chf.image.image import ImageId
from chf.update.effects import Happened, Offer, RaiseTransferAlert, ReadVersion, Withdraw
from chf.update.model import (
    ENDS,
    ActivateAt,
    ActivateHold,
    ActivateNow,
    ActivationGiven,
    ActivationOrdered,
    ActivationReported,
    Announced,
    Cancelled,
    DeadlinePassed,
    DeviceRejoined,
    DownloadStarted,
    Refused,
    Stored,
    TransferEnded,
    TransferOutcome,
    UpdateId,
    UpdateState,
    VerificationTimedOut,
    VersionObserved,
    WaitingFor,
    WaitReason,
    accept,
)
from chf.update.scheduler import SchedulePolicy, Scheduler
from chf.update.transitions import UPDATE, apply

T0 = 1_800_000_000.0
OLD, NEW, OTHER = 1, 2, 3
DEVICES = (Eui64(1), Eui64(2), Eui64(3))

utc = st.floats(T0 - 10_000, T0 + 10_000).map(UtcSeconds)
versions = st.sampled_from((OLD, NEW, OTHER))
activations = st.one_of(st.just(ActivateNow()), st.just(ActivateHold()), st.builds(ActivateAt, utc))
events = st.one_of(
    st.builds(Stored),
    st.builds(Announced),
    st.builds(DownloadStarted),
    st.builds(TransferEnded, st.sampled_from(TransferOutcome), st.sampled_from(("", "why"))),
    st.builds(WaitingFor, st.sampled_from(WaitReason), st.none() | utc),
    st.builds(ActivationOrdered, activations),
    st.builds(ActivationGiven, utc),
    st.builds(DeviceRejoined),
    st.builds(VersionObserved, versions),
    st.builds(ActivationReported, st.booleans(), versions),
    st.builds(Cancelled),
    st.builds(Refused, st.sampled_from(("", "no"))),
    st.builds(DeadlinePassed),
    st.builds(VerificationTimedOut),
)


def check_step(before, job, event):
    """What holds for every change of a row."""
    assert job.active or job.reason or job.state in {UpdateState.ACTIVATED, UpdateState.CANCELLED}
    assert job.active or job.transfer is not None
    assert before.transfer in {None, job.transfer}
    assert (job.ended is None) is job.active
    assert (job.waiting_for is None) or job.state is UpdateState.WAITING
    if before.state in ENDS:
        assert (job.state, job.reason, job.ended) == (before.state, before.reason, before.ended)
        return
    if job.state is not before.state:
        assert job.state in {case.to for case in UPDATE[before.state, type(event)]}
    if job.state is UpdateState.ACTIVATED:
        assert event == VersionObserved(job.file_version)
    if job.state is UpdateState.REVERTED:
        assert isinstance(event, VersionObserved)
        assert event.file_version != job.file_version
        assert (job.report.success, job.report.file_version) == (True, job.file_version)
    if before.state is UpdateState.ACTIVATING:
        assert job.state not in {UpdateState.CANCELLED, UpdateState.EXPIRED}


def new_job(number, device, activation, utc):
    return accept(
        number=UpdateId(number),
        device=device,
        image=ImageId("ef" * 32),
        file_version=NEW,
        activation=activation,
        origin="cli",
        version_before=OLD,
        now_utc=utc,
        lifetime_s=86400.0,
    )


BEGINNING = (
    Stored(),
    Announced(),
    DownloadStarted(),
    TransferEnded(TransferOutcome.SUCCESS),
    ActivationGiven(UtcSeconds(T0)),
    ActivationReported(success=True, file_version=NEW),
)


@settings(derandomize=True, max_examples=1500, deadline=None)
@given(begun=st.integers(0, len(BEGINNING)), waits=st.booleans(), rest=st.lists(events, min_size=1, max_size=12))
def test_any_events_after_any_beginning(begun, waits, rest):
    job, told = new_job(1, DEVICES[0], ActivateNow(), UtcSeconds(T0)), 0
    wait = [WaitingFor(WaitReason.COMMAND)] if waits and begun in {3, 4} else []
    for second, event in enumerate([*BEGINNING[:begun], *wait, *rest]):
        now = Now(Instant(second), UtcSeconds(T0 + second))
        before = job
        job, actions = apply(before, event, now)
        check_step(before, job, event)
        told += sum(isinstance(action, RaiseTransferAlert) for action in actions)
        assert told == (job.transfer is not None)
        assert all(action.update == job for action in actions)
        assert job != before or not any(isinstance(action, Withdraw | RaiseTransferAlert) for action in actions)


class JobTable(RuleBasedStateMachine):
    """A hub that writes rows, and may be killed after any of them."""

    @initialize(concurrent=st.integers(1, 3))
    def start(self, concurrent):
        self.policy = SchedulePolicy(concurrent=concurrent)
        self.scheduler = Scheduler(self.policy)
        self.instant, self.rows, self.told = 0.0, {}, {}

    def now(self):
        return Now(Instant(self.instant), UtcSeconds(T0 + self.instant))

    def newest(self, device):
        return max((job for job in self.rows.values() if job.device == device), key=lambda job: job.id, default=None)

    def carry_out(self, effects):
        for effect in effects:
            match effect:
                case Happened(before, job, event):
                    assert self.rows[job.id] == before
                    check_step(before, job, event)
                    self.rows[job.id] = job
                case RaiseTransferAlert(job, outcome):
                    assert job.id not in self.told
                    assert job.transfer is outcome
                    self.told[job.id] = outcome
                case ReadVersion(job, after_s):
                    assert (job.active, after_s) == (True, 0.0)
                case Offer(job) | Withdraw(job):
                    assert job == self.rows[job.id]

    @rule(device=st.sampled_from(DEVICES), activation=activations)
    def accept(self, device, activation):
        if any(job.active and job.device == device for job in self.rows.values()):
            return
        job = new_job(len(self.rows) + 1, device, activation, self.now().utc)
        self.rows[job.id] = job
        self.carry_out(self.scheduler.add(job, self.now()))

    @rule(device=st.sampled_from(DEVICES), event=events)
    def happen(self, device, event):
        """To the device's newest job, whether or not it has ended."""
        if (job := self.newest(device)) is not None:
            self.carry_out(self.scheduler.handle(job.id, event, self.now()))

    @rule(device=st.sampled_from(DEVICES), delay_s=st.floats(0.0, 5000.0), steps=st.integers(1, 6))
    def go_on(self, device, delay_s, steps):
        """What comes next when all goes well: chance alone seldom gets beyond the download."""
        natural = {
            UpdateState.ACCEPTED: Stored(),
            UpdateState.STORED: Announced(),
            UpdateState.ANNOUNCED: DownloadStarted(),
            UpdateState.DOWNLOADING: TransferEnded(TransferOutcome.SUCCESS),
            UpdateState.DOWNLOADED: ActivationGiven(UtcSeconds(self.now().utc + delay_s)),
            UpdateState.WAITING: ActivationGiven(UtcSeconds(self.now().utc)),
            UpdateState.ACTIVATING: ActivationReported(delay_s < 2500.0, NEW),
        }
        for _step in range(steps):
            job = self.newest(device)
            if job is not None and job.active:
                self.carry_out(self.scheduler.handle(job.id, natural[job.state], self.now()))

    @rule(seconds=st.floats(0.0, 5000.0))
    def wait(self, seconds):
        until = self.instant + seconds
        while (deadline := self.scheduler.deadline()) is not None and deadline <= until:
            self.instant = max(self.instant, deadline)
            before = self.instant
            self.carry_out(self.scheduler.handle_deadline(self.now()))
            following = self.scheduler.deadline()
            assert following is None or following > before, "a deadline that was handled must not stand"
        self.instant = until

    @rule()
    def restart(self):
        self.scheduler = Scheduler(self.policy)
        self.carry_out(self.scheduler.load(self.rows.values(), self.now()))

    @invariant()
    def the_rows_are_what_the_scheduler_knows(self):
        for job in self.rows.values():
            assert self.scheduler.get(job.id) == (job if job.active else None)

    @invariant()
    def every_end_was_told_and_only_what_happened_was(self):
        for job in self.rows.values():
            assert self.told.get(job.id) is job.transfer
            assert job.active or job.transfer is not None
            assert job.state is not UpdateState.ACTIVATED or job.version_seen == job.file_version
            assert (job.ended is None) is job.active


JobTable.TestCase.settings = settings(derandomize=True, max_examples=200, stateful_step_count=50, deadline=None)
TestJobTable = JobTable.TestCase
