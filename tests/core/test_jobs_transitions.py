"""The rules of the job table, one by one."""

from dataclasses import replace

import pytest

from chf.clock import Instant, Now, UtcSeconds
from chf.eui64 import Eui64
from chf.image.image import ImageId
from chf.update.effects import Offer, RaiseTransferAlert, ReadVersion, Withdraw
from chf.update.model import (
    ENDS,
    ActivateAt,
    ActivateByCommand,
    ActivateHold,
    ActivateNow,
    ActivationGiven,
    ActivationOrdered,
    ActivationReport,
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
    Update,
    UpdateEvent,
    UpdateId,
    UpdateState,
    VerificationTimedOut,
    VersionObserved,
    WaitingFor,
    WaitReason,
    accept,
)
from chf.update.transitions import FIRST_READ_S, UPDATE, apply, cancel_refusal

OLD, NEW, OTHER = 0x10, 0x20, 0x30
T0 = UtcSeconds(1_800_000_000.0)
SUCCESS = TransferEnded(TransferOutcome.SUCCESS)


def at(seconds: float) -> Now:
    return Now(Instant(seconds), UtcSeconds(T0 + seconds))


def new_job(**changes) -> Update:
    job = accept(
        number=UpdateId(7),
        device=Eui64(0x90B3D51F30000002),
        image=ImageId("ab" * 32),
        file_version=NEW,
        activation=ActivateNow(),
        origin="cli",
        version_before=OLD,
        now_utc=T0,
        lifetime_s=100.0,
    )
    return replace(job, **changes)


def run(job: Update, *events: UpdateEvent, start_s: float = 1.0):
    """The job after the events, one a second, and every action that they caused."""
    done = []
    for second, event in enumerate(events):
        job, actions = apply(job, event, at(start_s + second))
        done += actions
    return job, done


DOWNLOADED = (Stored(), Announced(), DownloadStarted(), SUCCESS)
ACTIVATING = (*DOWNLOADED, ActivationGiven(UtcSeconds(T0 + 5)))


def test_an_update_that_works_passes_through_every_state_and_ends_when_the_new_version_is_read():
    job, states = new_job(), []
    for event in (*ACTIVATING, DeviceRejoined(), ActivationReported(success=True, file_version=NEW)):
        job, _ = apply(job, event, at(10))
        states.append(job.state)
    assert states == [
        UpdateState.STORED,
        UpdateState.ANNOUNCED,
        UpdateState.DOWNLOADING,
        UpdateState.DOWNLOADED,
        UpdateState.ACTIVATING,
        UpdateState.ACTIVATING,
        UpdateState.ACTIVATING,
    ]
    job, actions = apply(job, VersionObserved(NEW), at(12))
    assert (job.state, job.reason, job.ended) == (UpdateState.ACTIVATED, "", T0 + 12)
    assert actions == (Withdraw(job),)


def test_a_success_alert_alone_does_not_end_the_job_but_asks_the_device():
    job, _ = run(new_job(), *ACTIVATING)
    job, actions = apply(job, ActivationReported(success=True, file_version=NEW), at(10))
    assert job.state is UpdateState.ACTIVATING
    assert actions == (ReadVersion(job, FIRST_READ_S),)


@pytest.mark.parametrize("alert_first", [True, False])
@pytest.mark.parametrize(
    ("claims_success", "runs", "end"),
    [
        (True, NEW, UpdateState.ACTIVATED),
        (True, OLD, UpdateState.REVERTED),
        (True, OTHER, UpdateState.REVERTED),
        (False, OLD, UpdateState.FAILED),
        (False, NEW, UpdateState.ACTIVATED),
    ],
)
def test_alert_and_read_back_end_the_job_alike_in_either_order(alert_first, claims_success, runs, end):
    job, _ = run(new_job(), *ACTIVATING)
    alert, reading = ActivationReported(claims_success, NEW), VersionObserved(runs)
    # The alert asks for another reading, so that a reading always follows it unless the job has ended.
    order = (alert, reading) if alert_first else (reading, alert, reading)
    job, _ = run(job, *order, start_s=20)
    assert (job.state, job.report) == (end, ActivationReport(claims_success, NEW))
    silent = end is UpdateState.ACTIVATED and (claims_success or not alert_first)  # an end's reason is final too
    assert (job.reason == "") is silent


def test_an_old_version_that_was_read_before_the_alert_reverts_nothing():
    job, _ = run(new_job(), *ACTIVATING, VersionObserved(OLD))
    job, actions = apply(job, ActivationReported(success=True, file_version=NEW), at(30))
    assert job.state is UpdateState.ACTIVATING
    assert actions == (ReadVersion(job, FIRST_READ_S),)


def test_success_reported_for_another_version_reverts_nothing_and_fails_in_the_end():
    job, _ = run(new_job(), *ACTIVATING)
    job, _ = run(job, ActivationReported(success=True, file_version=OTHER), VersionObserved(OLD), start_s=20)
    assert job.state is UpdateState.ACTIVATING
    job, _ = apply(job, VerificationTimedOut(), at(900))
    assert job.state is UpdateState.FAILED
    assert "0x00000030" in job.reason
    assert "0x00000010" in job.reason


def test_an_alert_about_another_version_before_the_upgrade_time_is_not_about_this_job():
    job, _ = run(new_job(), *DOWNLOADED, ActivationGiven(UtcSeconds(T0 + 1000)))
    job, _ = run(job, ActivationReported(success=False, file_version=OLD), VersionObserved(OLD), start_s=20)
    assert (job.state, job.report) == (UpdateState.ACTIVATING, None)


@pytest.mark.parametrize(
    ("heard", "words"),
    [
        ((), "reported nothing, and its version could not be read"),
        ((VersionObserved(OLD),), "reported nothing, and ran version 0x00000010 when last asked"),
        ((ActivationReported(success=True, file_version=NEW),), "reported success for version 0x00000020"),
        ((ActivationReported(success=False, file_version=NEW),), "reported failure"),
    ],
)
def test_a_device_that_does_not_show_the_new_version_in_time_fails_the_job_with_what_is_known(heard, words):
    job, _ = run(new_job(), *ACTIVATING)
    job, _ = run(job, *heard, VerificationTimedOut(), start_s=20)
    assert job.state is UpdateState.FAILED
    assert words in job.reason


def test_what_was_claimed_or_told_before_the_activation_says_nothing_about_it():
    claim = ActivationReported(success=True, file_version=NEW)
    early = (Stored(), Announced(), DownloadStarted(), claim, VersionObserved(OLD), SUCCESS)
    job, _ = run(new_job(), *early, ActivationGiven(UtcSeconds(T0 + 9)))
    assert (job.report, job.version_seen) == (None, None)
    job, _ = apply(job, VersionObserved(OLD), at(8))
    assert job.state is UpdateState.ACTIVATING


@pytest.mark.parametrize("outcome", list(TransferOutcome))
def test_the_end_of_the_transfer_is_told_upward_once(outcome):
    event = TransferEnded(outcome, "because")
    job, actions = run(new_job(), Stored(), Announced(), DownloadStarted(), event, event)
    told = [action for action in actions if isinstance(action, RaiseTransferAlert)]
    assert [action.outcome for action in told] == [outcome]
    if outcome is TransferOutcome.SUCCESS:
        assert job.state is UpdateState.DOWNLOADED
    else:
        assert (job.state, job.reason) == (UpdateState.FAILED, "because")


@pytest.mark.parametrize(
    ("event", "end"), [(Cancelled(), UpdateState.CANCELLED), (DeadlinePassed(), UpdateState.EXPIRED)]
)
@pytest.mark.parametrize("before", [DOWNLOADED[:k] for k in range(5)])
def test_until_a_time_was_given_an_update_can_be_called_off_and_expires(before, event, end):
    job, actions = run(new_job(), *before)
    assert cancel_refusal(job) is None
    job, actions = run(job, event, start_s=50)
    assert job.state is end
    assert Withdraw(job) in actions
    told = [action.outcome for action in actions if isinstance(action, RaiseTransferAlert)]
    assert told == ([] if before == DOWNLOADED else [TransferOutcome.IMAGE_DISCARDED])


@pytest.mark.parametrize("event", [Cancelled(), DeadlinePassed(), Refused("no"), WaitingFor(WaitReason.COMMAND)])
def test_once_a_time_was_given_there_is_no_way_back(event):
    job, _ = run(new_job(), *ACTIVATING)
    assert apply(job, event, at(50)) == (job, ())
    assert "cannot be called back" in cancel_refusal(job)


def test_a_cancelled_job_says_why_it_cannot_be_cancelled_again():
    job, _ = run(new_job(), Cancelled())
    assert cancel_refusal(job) == "the update has ended: cancelled"


def test_a_parked_download_waits_goes_on_and_ends():
    parked = WaitingFor(WaitReason.TIME, UtcSeconds(T0 + 9000))
    job, _ = run(new_job(), Stored(), Announced(), DownloadStarted(), parked)
    assert (job.state, job.waiting_for, job.waiting_until) == (UpdateState.WAITING, WaitReason.TIME, T0 + 9000)
    job, actions = run(job, DownloadStarted(), SUCCESS, ActivationGiven(UtcSeconds(T0 + 9000)), start_s=8000)
    assert (job.state, job.waiting_for, job.waiting_until) == (UpdateState.ACTIVATING, None, None)
    assert isinstance(actions[0], RaiseTransferAlert)
    assert actions[-1] == ReadVersion(job, 9000 - 8002 + FIRST_READ_S)


def test_a_held_device_is_not_sent_back_by_repetitions():
    held = (*DOWNLOADED, WaitingFor(WaitReason.COMMAND))
    job, _ = run(new_job(), *held)
    for event in (SUCCESS, DownloadStarted(), Announced(), Stored(), VersionObserved(OLD)):
        after, actions = apply(job, event, at(60))
        assert (after.state, actions) == (UpdateState.WAITING, ())


def test_a_held_device_that_reboots_is_asked_what_it_runs():
    job, _ = run(new_job(activation=ActivateHold()), *DOWNLOADED, WaitingFor(WaitReason.COMMAND))
    job, actions = apply(job, DeviceRejoined(), at(60))
    assert actions == (ReadVersion(job, FIRST_READ_S),)
    job, _ = apply(job, VersionObserved(NEW), at(61))
    assert (job.state, job.reason) == (UpdateState.ACTIVATED, "the device activated by itself, before it was told to")


def test_a_meter_that_runs_the_new_version_was_told_to_by_its_supplier():
    job, _ = run(new_job(activation=ActivateByCommand()), *DOWNLOADED, WaitingFor(WaitReason.COMMAND))
    job, _ = apply(job, VersionObserved(NEW), at(61))
    assert (job.state, job.reason) == (UpdateState.ACTIVATED, "")


def test_a_held_device_that_tried_by_itself_and_lies_is_found_out():
    job, _ = run(new_job(), *DOWNLOADED, WaitingFor(WaitReason.COMMAND))
    job, actions = run(job, ActivationReported(success=True, file_version=NEW), start_s=60)
    assert (job.state, actions) == (UpdateState.ACTIVATING, [ReadVersion(job, FIRST_READ_S)])
    job, _ = run(job, VersionObserved(OLD), start_s=70)
    assert job.state is UpdateState.REVERTED


def test_an_alert_during_the_download_proves_nothing_about_the_transfer():
    job, actions = run(
        new_job(), Stored(), Announced(), DownloadStarted(), ActivationReported(success=False, file_version=OLD)
    )
    assert (job.state, job.report, job.transfer) == (UpdateState.DOWNLOADING, None, None)
    assert actions == [ReadVersion(job, FIRST_READ_S)]


def test_a_device_that_activated_unheard_ends_the_job_and_its_transfer_is_told():
    job, actions = run(new_job(), Stored(), Announced(), DownloadStarted(), VersionObserved(NEW))
    assert job.state is UpdateState.ACTIVATED
    assert actions[0] == RaiseTransferAlert(job, TransferOutcome.SUCCESS)


@pytest.mark.parametrize("before", [DOWNLOADED[:k] for k in range(3)])
def test_a_device_that_runs_the_version_before_the_transfer_fails_the_job(before):
    job, actions = run(new_job(version_before=None), *before, VersionObserved(NEW))
    assert job.state is UpdateState.FAILED
    assert job.reason == "the device already runs version 0x00000020; nothing was transferred"
    assert actions[0] == RaiseTransferAlert(job, TransferOutcome.IMAGE_DISCARDED)


def test_the_lifetime_counts_from_the_appointed_time():
    job = accept(
        number=UpdateId(1),
        device=Eui64(1),
        image=ImageId("ab" * 32),
        file_version=NEW,
        activation=ActivateAt(UtcSeconds(T0 + 10_000)),
        origin="cli",
        version_before=OLD,
        now_utc=T0,
        lifetime_s=60.0,
    )
    assert job.deadline == T0 + 10_060


def test_the_version_before_is_learnt_from_the_device():
    job, _ = run(new_job(version_before=None), Stored(), Announced(), VersionObserved(OLD))
    assert (job.version_before, job.version_seen) == (OLD, OLD)
    job, _ = run(job, DownloadStarted(), SUCCESS, VersionObserved(OTHER), start_s=9)
    assert (job.version_before, job.version_seen) == (OLD, OTHER)


def test_a_change_of_mind_renews_the_offer_until_it_is_too_late():
    order = ActivationOrdered(ActivateAt(UtcSeconds(T0 + 50)))
    job, actions = run(new_job(activation=ActivateHold()), *DOWNLOADED, order)
    assert job.activation == order.activation
    assert actions[-1] == Offer(job)
    late, _ = run(new_job(), *ACTIVATING)
    assert apply(late, order, at(60)) == (late, ())


def test_a_late_alert_is_written_down_and_changes_no_end():
    job, _ = run(new_job(), *ACTIVATING, VersionObserved(NEW))
    late, actions = apply(job, ActivationReported(success=False, file_version=NEW), at(500))
    assert late == replace(job, report=ActivationReport(success=False, file_version=NEW))
    assert actions == ()
    assert apply(late, ActivationReported(success=True, file_version=NEW), at(501)) == (late, ())


def test_the_new_version_that_is_seen_too_late_is_written_down_and_changes_no_end():
    job, _ = run(new_job(), *ACTIVATING, VerificationTimedOut())
    assert job.reason.endswith("the device reported nothing, and its version could not be read")
    late, actions = apply(job, VersionObserved(NEW), at(5000))
    assert late == replace(job, version_seen=NEW)
    assert late.state is UpdateState.FAILED
    assert actions == ()
    assert apply(late, VersionObserved(OTHER), at(9000)) == (late, ())


def test_a_second_transfer_that_fails_ends_a_waiting_job_without_a_second_alert():
    job, _ = run(new_job(), *DOWNLOADED, WaitingFor(WaitReason.COMMAND))
    job, actions = run(job, TransferEnded(TransferOutcome.FILE_TRANSFER_FAILURE), start_s=70)
    assert (job.state, job.reason) == (UpdateState.FAILED, "file transfer failure")
    assert actions == [Withdraw(job)]


def test_no_way_leads_out_of_an_end_and_every_other_state_is_reached():
    assert not ENDS & {state for state, _event in UPDATE}
    reached = {case.to for cases in UPDATE.values() for case in cases}
    assert reached | {UpdateState.ACCEPTED} == set(UpdateState)
