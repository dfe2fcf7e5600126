"""The rules of the update table, one by one."""

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
from chf.update.transitions import FIRST_READ_S, UPDATE, apply, too_late

OLD, NEW, OTHER = 0x10, 0x20, 0x30
T0 = UtcSeconds(1_800_000_000.0)
SUCCESS = TransferEnded(TransferOutcome.SUCCESS)


def at(seconds: float) -> Now:
    return Now(Instant(seconds), UtcSeconds(T0 + seconds))


def new_update(**changes) -> Update:
    update = accept(
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
    return replace(update, **changes)


def run(update: Update, *events: UpdateEvent, start_s: float = 1.0):
    """The update after the events, one a second, and every action that they caused."""
    done = []
    for second, event in enumerate(events):
        update, actions = apply(update, event, at(start_s + second))
        done += actions
    return update, done


DOWNLOADED = (Stored(), Announced(), DownloadStarted(), SUCCESS)
ACTIVATING = (*DOWNLOADED, ActivationGiven(UtcSeconds(T0 + 5)))


def test_an_update_that_works_passes_through_every_state_and_ends_when_the_new_version_is_read():
    update, states = new_update(), []
    for event in (*ACTIVATING, DeviceRejoined(), ActivationReported(success=True, file_version=NEW)):
        update, _ = apply(update, event, at(10))
        states.append(update.state)
    assert states == [
        UpdateState.STORED,
        UpdateState.ANNOUNCED,
        UpdateState.DOWNLOADING,
        UpdateState.DOWNLOADED,
        UpdateState.ACTIVATING,
        UpdateState.ACTIVATING,
        UpdateState.ACTIVATING,
    ]
    update, actions = apply(update, VersionObserved(NEW), at(12))
    assert (update.state, update.reason, update.ended) == (UpdateState.ACTIVATED, "", T0 + 12)
    assert actions == (Withdraw(update),)


def test_a_success_alert_alone_does_not_end_the_update_but_asks_the_device():
    update, _ = run(new_update(), *ACTIVATING)
    update, actions = apply(update, ActivationReported(success=True, file_version=NEW), at(10))
    assert update.state is UpdateState.ACTIVATING
    assert actions == (ReadVersion(update, FIRST_READ_S),)


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
def test_alert_and_read_back_end_the_update_alike_in_either_order(alert_first, claims_success, runs, end):
    update, _ = run(new_update(), *ACTIVATING)
    alert, reading = ActivationReported(claims_success, NEW), VersionObserved(runs)
    # The alert asks for another reading, so that a reading always follows it unless the update has ended.
    order = (alert, reading) if alert_first else (reading, alert, reading)
    update, _ = run(update, *order, start_s=20)
    assert (update.state, update.report) == (end, ActivationReport(claims_success, NEW))
    silent = end is UpdateState.ACTIVATED and (claims_success or not alert_first)  # an end's reason is final too
    assert (update.reason == "") is silent


def test_an_old_version_that_was_read_before_the_alert_reverts_nothing():
    update, _ = run(new_update(), *ACTIVATING, VersionObserved(OLD))
    update, actions = apply(update, ActivationReported(success=True, file_version=NEW), at(30))
    assert update.state is UpdateState.ACTIVATING
    assert actions == (ReadVersion(update, FIRST_READ_S),)


def test_success_reported_for_another_version_reverts_nothing_and_fails_in_the_end():
    update, _ = run(new_update(), *ACTIVATING)
    update, _ = run(update, ActivationReported(success=True, file_version=OTHER), VersionObserved(OLD), start_s=20)
    assert update.state is UpdateState.ACTIVATING
    update, _ = apply(update, VerificationTimedOut(), at(900))
    assert update.state is UpdateState.FAILED
    assert "0x00000030" in update.reason
    assert "0x00000010" in update.reason


def test_an_alert_about_another_version_before_the_upgrade_time_is_not_about_this_update():
    update, _ = run(new_update(), *DOWNLOADED, ActivationGiven(UtcSeconds(T0 + 1000)))
    update, _ = run(update, ActivationReported(success=False, file_version=OLD), VersionObserved(OLD), start_s=20)
    assert (update.state, update.report) == (UpdateState.ACTIVATING, None)


@pytest.mark.parametrize(
    ("heard", "words"),
    [
        ((), "reported nothing, and its version could not be read"),
        ((VersionObserved(OLD),), "reported nothing, and ran version 0x00000010 when last asked"),
        ((ActivationReported(success=True, file_version=NEW),), "reported success for version 0x00000020"),
        ((ActivationReported(success=False, file_version=NEW),), "reported failure"),
    ],
)
def test_a_device_that_does_not_show_the_new_version_in_time_fails_the_update_with_what_is_known(heard, words):
    update, _ = run(new_update(), *ACTIVATING)
    update, _ = run(update, *heard, VerificationTimedOut(), start_s=20)
    assert update.state is UpdateState.FAILED
    assert words in update.reason


def test_what_was_claimed_or_told_before_the_activation_says_nothing_about_it():
    claim = ActivationReported(success=True, file_version=NEW)
    early = (Stored(), Announced(), DownloadStarted(), claim, VersionObserved(OLD), SUCCESS)
    update, _ = run(new_update(), *early, ActivationGiven(UtcSeconds(T0 + 9)))
    assert (update.report, update.version_seen) == (None, None)
    update, _ = apply(update, VersionObserved(OLD), at(8))
    assert update.state is UpdateState.ACTIVATING


@pytest.mark.parametrize("outcome", list(TransferOutcome))
def test_the_end_of_the_transfer_is_told_upward_once(outcome):
    event = TransferEnded(outcome, "because")
    update, actions = run(new_update(), Stored(), Announced(), DownloadStarted(), event, event)
    told = [action for action in actions if isinstance(action, RaiseTransferAlert)]
    assert [action.outcome for action in told] == [outcome]
    if outcome is TransferOutcome.SUCCESS:
        assert update.state is UpdateState.DOWNLOADED
    else:
        assert (update.state, update.reason) == (UpdateState.FAILED, "because")


@pytest.mark.parametrize(
    ("event", "end"), [(Cancelled(), UpdateState.CANCELLED), (DeadlinePassed(), UpdateState.EXPIRED)]
)
@pytest.mark.parametrize("before", [DOWNLOADED[:k] for k in range(5)])
def test_until_a_time_was_given_an_update_can_be_called_off_and_expires(before, event, end):
    update, actions = run(new_update(), *before)
    assert too_late(update) is None
    update, actions = run(update, event, start_s=50)
    assert update.state is end
    assert Withdraw(update) in actions
    told = [action.outcome for action in actions if isinstance(action, RaiseTransferAlert)]
    assert told == ([] if before == DOWNLOADED else [TransferOutcome.IMAGE_DISCARDED])


@pytest.mark.parametrize("event", [Cancelled(), DeadlinePassed(), Refused("no"), WaitingFor(WaitReason.COMMAND)])
def test_once_a_time_was_given_there_is_no_way_back(event):
    update, _ = run(new_update(), *ACTIVATING)
    assert apply(update, event, at(50)) == (update, ())
    assert "cannot be called back" in too_late(update)


def test_a_cancelled_update_says_why_it_cannot_be_cancelled_again():
    update, _ = run(new_update(), Cancelled())
    assert too_late(update) == "the update has ended: cancelled"


def test_a_parked_download_waits_goes_on_and_ends():
    parked = WaitingFor(WaitReason.TIME, UtcSeconds(T0 + 9000))
    update, _ = run(new_update(), Stored(), Announced(), DownloadStarted(), parked)
    assert (update.state, update.waiting_for, update.waiting_until) == (UpdateState.WAITING, WaitReason.TIME, T0 + 9000)
    update, actions = run(update, DownloadStarted(), SUCCESS, ActivationGiven(UtcSeconds(T0 + 9000)), start_s=8000)
    assert (update.state, update.waiting_for, update.waiting_until) == (UpdateState.ACTIVATING, None, None)
    assert isinstance(actions[0], RaiseTransferAlert)
    assert actions[-1] == ReadVersion(update, 9000 - 8002 + FIRST_READ_S)


def test_a_held_device_is_not_sent_back_by_repetitions():
    held = (*DOWNLOADED, WaitingFor(WaitReason.COMMAND))
    update, _ = run(new_update(), *held)
    for event in (SUCCESS, DownloadStarted(), Announced(), Stored(), VersionObserved(OLD)):
        after, actions = apply(update, event, at(60))
        assert (after.state, actions) == (UpdateState.WAITING, ())


def test_a_held_device_that_reboots_is_asked_what_it_runs():
    update, _ = run(new_update(activation=ActivateHold()), *DOWNLOADED, WaitingFor(WaitReason.COMMAND))
    update, actions = apply(update, DeviceRejoined(), at(60))
    assert actions == (ReadVersion(update, FIRST_READ_S),)
    update, _ = apply(update, VersionObserved(NEW), at(61))
    assert (update.state, update.reason) == (
        UpdateState.ACTIVATED,
        "the device activated by itself, before it was told to",
    )


def test_a_meter_that_runs_the_new_version_was_told_to_by_its_supplier():
    update, _ = run(new_update(activation=ActivateByCommand()), *DOWNLOADED, WaitingFor(WaitReason.COMMAND))
    update, _ = apply(update, VersionObserved(NEW), at(61))
    assert (update.state, update.reason) == (UpdateState.ACTIVATED, "")


def test_a_held_device_that_tried_by_itself_and_lies_is_found_out():
    update, _ = run(new_update(), *DOWNLOADED, WaitingFor(WaitReason.COMMAND))
    update, actions = run(update, ActivationReported(success=True, file_version=NEW), start_s=60)
    assert (update.state, actions) == (UpdateState.ACTIVATING, [ReadVersion(update, FIRST_READ_S)])
    update, _ = run(update, VersionObserved(OLD), start_s=70)
    assert update.state is UpdateState.REVERTED


def test_a_held_device_that_reports_on_another_version_has_not_tried_this_one():
    update, _ = run(new_update(), *DOWNLOADED, WaitingFor(WaitReason.COMMAND))
    update, actions = run(update, ActivationReported(success=False, file_version=OTHER), start_s=60)
    assert (update.state, update.report) == (UpdateState.WAITING, None)
    assert actions == [ReadVersion(update, FIRST_READ_S)]


def test_an_alert_during_the_download_proves_nothing_about_the_transfer():
    update, actions = run(
        new_update(), Stored(), Announced(), DownloadStarted(), ActivationReported(success=False, file_version=OLD)
    )
    assert (update.state, update.report, update.transfer) == (UpdateState.DOWNLOADING, None, None)
    assert actions == [ReadVersion(update, FIRST_READ_S)]


def test_a_device_that_activated_unheard_ends_the_update_and_its_transfer_is_told():
    update, actions = run(new_update(), Stored(), Announced(), DownloadStarted(), VersionObserved(NEW))
    assert update.state is UpdateState.ACTIVATED
    assert actions[0] == RaiseTransferAlert(update, TransferOutcome.SUCCESS)


@pytest.mark.parametrize("before", [DOWNLOADED[:k] for k in range(3)])
def test_a_device_that_runs_the_version_before_the_transfer_fails_the_update(before):
    update, actions = run(new_update(version_before=None), *before, VersionObserved(NEW))
    assert update.state is UpdateState.FAILED
    assert update.reason == "the device already runs version 0x00000020; nothing was transferred"
    assert actions[0] == RaiseTransferAlert(update, TransferOutcome.IMAGE_DISCARDED)


def test_the_lifetime_counts_from_the_appointed_time():
    update = accept(
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
    assert update.deadline == T0 + 10_060


def test_the_version_before_is_learnt_from_the_device():
    update, _ = run(new_update(version_before=None), Stored(), Announced(), VersionObserved(OLD))
    assert (update.version_before, update.version_seen) == (OLD, OLD)
    update, _ = run(update, DownloadStarted(), SUCCESS, VersionObserved(OTHER), start_s=9)
    assert (update.version_before, update.version_seen) == (OLD, OTHER)


def test_the_version_before_is_not_learnt_once_the_device_has_the_image():
    update, _ = run(
        new_update(version_before=None), *DOWNLOADED, WaitingFor(WaitReason.COMMAND), VersionObserved(OTHER)
    )
    assert (update.version_before, update.version_seen) == (None, OTHER)


def test_a_change_of_mind_renews_the_offer_until_it_is_too_late():
    order = ActivationOrdered(ActivateAt(UtcSeconds(T0 + 50)))
    update, actions = run(new_update(activation=ActivateHold()), *DOWNLOADED, order)
    assert update.activation == order.activation
    assert actions[-1] == Offer(update)
    late, _ = run(new_update(), *ACTIVATING)
    assert apply(late, order, at(60)) == (late, ())


def test_a_late_alert_is_written_down_and_changes_no_end():
    update, _ = run(new_update(), *ACTIVATING, VersionObserved(NEW))
    late, actions = apply(update, ActivationReported(success=False, file_version=NEW), at(500))
    assert late == replace(update, report=ActivationReport(success=False, file_version=NEW))
    assert actions == ()
    assert apply(late, ActivationReported(success=True, file_version=NEW), at(501)) == (late, ())


def test_the_new_version_that_is_seen_too_late_is_written_down_and_changes_no_end():
    update, _ = run(new_update(), *ACTIVATING, VerificationTimedOut())
    assert update.reason.endswith("the device reported nothing, and its version could not be read")
    late, actions = apply(update, VersionObserved(NEW), at(5000))
    assert late == replace(update, version_seen=NEW)
    assert late.state is UpdateState.FAILED
    assert actions == ()
    assert apply(late, VersionObserved(OTHER), at(9000)) == (late, ())


def test_a_second_transfer_that_fails_ends_a_waiting_update_without_a_second_alert():
    update, _ = run(new_update(), *DOWNLOADED, WaitingFor(WaitReason.COMMAND))
    update, actions = run(update, TransferEnded(TransferOutcome.FILE_TRANSFER_FAILURE), start_s=70)
    assert (update.state, update.reason) == (UpdateState.FAILED, "file transfer failure")
    assert actions == [Withdraw(update)]


def test_no_way_leads_out_of_an_end_and_every_other_state_is_reached():
    assert not ENDS & {state for state, _event in UPDATE}
    reached = {case.to for cases in UPDATE.values() for case in cases}
    assert reached | {UpdateState.ACCEPTED} == set(UpdateState)
