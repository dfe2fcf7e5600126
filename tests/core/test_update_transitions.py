"""The rules of the update table, one by one."""

from dataclasses import replace

import pytest

from chf.clock import Instant, Now, UtcSeconds
from chf.eui64 import Eui64
from chf.image.header import ImageType
from chf.image.image import ImageId
from chf.update import model
from chf.update.effects import Offer, RaiseTransferAlert, ReadVersion, Withdraw
from chf.update.transitions import FIRST_READ_S, UPDATE, apply, too_late
from tests.support.updates import MADE_FOR, told

OLD, NEW, OTHER = 0x10, 0x20, 0x30
OTHER_TYPE = ImageType(MADE_FOR.manufacturer_code, 9)
T0 = UtcSeconds(1_800_000_000.0)
SUCCESS = model.TransferEnded(model.TransferOutcome.SUCCESS)


def at(seconds: float) -> Now:
    return Now(Instant(seconds), UtcSeconds(T0 + seconds))


def new_update(**changes) -> model.Update:
    update = model.accept(
        number=model.UpdateId(7),
        device=Eui64(0x90B3D51F30000002),
        image=ImageId("ab" * 32),
        image_type=MADE_FOR,
        file_version=NEW,
        activation=model.ActivateNow(),
        origin="cli",
        version_before=OLD,
        now_utc=T0,
        lifetime_s=100.0,
    )
    return replace(update, **changes)


def run(update: model.Update, *events: model.UpdateEvent, start_s: float = 1.0):
    """The update after the events, one a second, and every action that they caused."""
    done = []
    for second, event in enumerate(events):
        update, actions = apply(update, event, at(start_s + second))
        done += actions
    return update, done


DOWNLOADED = (model.Stored(), model.Announced(), model.DownloadStarted(), SUCCESS)
ACTIVATING = (*DOWNLOADED, model.ActivationGiven(UtcSeconds(T0 + 5)))


def test_an_update_that_works_passes_through_every_state_and_ends_when_the_new_version_is_read():
    update, states = new_update(), []
    for event in (*ACTIVATING, model.DeviceRejoined(), model.ActivationReported(success=True, file_version=NEW)):
        update, _ = apply(update, event, at(10))
        states.append(update.state)
    assert states == [
        model.UpdateState.STORED,
        model.UpdateState.ANNOUNCED,
        model.UpdateState.DOWNLOADING,
        model.UpdateState.DOWNLOADED,
        model.UpdateState.ACTIVATING,
        model.UpdateState.ACTIVATING,
        model.UpdateState.ACTIVATING,
    ]
    update, actions = apply(update, told(NEW), at(12))
    assert (update.state, update.reason, update.ended) == (model.UpdateState.ACTIVATED, "", T0 + 12)
    assert actions == (Withdraw(update),)


def test_a_success_alert_alone_does_not_end_the_update_but_asks_the_device():
    update, _ = run(new_update(), *ACTIVATING)
    update, actions = apply(update, model.ActivationReported(success=True, file_version=NEW), at(10))
    assert update.state is model.UpdateState.ACTIVATING
    assert actions == (ReadVersion(update, FIRST_READ_S),)


@pytest.mark.parametrize("alert_first", [True, False])
@pytest.mark.parametrize(
    ("claims_success", "runs", "end"),
    [
        (True, NEW, model.UpdateState.ACTIVATED),
        (True, OLD, model.UpdateState.REVERTED),
        (True, OTHER, model.UpdateState.REVERTED),
        (False, OLD, model.UpdateState.FAILED),
        (False, NEW, model.UpdateState.ACTIVATED),
    ],
)
def test_alert_and_read_back_end_the_update_alike_in_either_order(alert_first, claims_success, runs, end):
    update, _ = run(new_update(), *ACTIVATING)
    alert, reading = model.ActivationReported(claims_success, NEW), told(runs)
    # The alert asks for another reading, so that a reading always follows it unless the update has ended.
    order = (alert, reading) if alert_first else (reading, alert, reading)
    update, _ = run(update, *order, start_s=20)
    assert (update.state, update.report) == (end, model.ActivationReport(claims_success, NEW))
    silent = end is model.UpdateState.ACTIVATED and (claims_success or not alert_first)  # an end's reason is final too
    assert (update.reason == "") is silent


def test_an_old_version_that_was_read_before_the_alert_reverts_nothing():
    update, _ = run(new_update(), *ACTIVATING, told(OLD))
    update, actions = apply(update, model.ActivationReported(success=True, file_version=NEW), at(30))
    assert update.state is model.UpdateState.ACTIVATING
    assert actions == (ReadVersion(update, FIRST_READ_S),)


def test_success_reported_for_another_version_reverts_nothing_and_fails_in_the_end():
    update, _ = run(new_update(), *ACTIVATING)
    update, _ = run(update, model.ActivationReported(success=True, file_version=OTHER), told(OLD), start_s=20)
    assert update.state is model.UpdateState.ACTIVATING
    update, _ = apply(update, model.VerificationTimedOut(), at(900))
    assert update.state is model.UpdateState.FAILED
    assert "0x00000030" in update.reason
    assert "0x00000010" in update.reason


def test_an_alert_about_another_version_before_the_upgrade_time_is_not_about_this_update():
    update, _ = run(new_update(), *DOWNLOADED, model.ActivationGiven(UtcSeconds(T0 + 1000)))
    update, _ = run(update, model.ActivationReported(success=False, file_version=OLD), told(OLD), start_s=20)
    assert (update.state, update.report) == (model.UpdateState.ACTIVATING, None)


@pytest.mark.parametrize(
    ("heard", "words"),
    [
        ((), "reported nothing, and its version could not be read"),
        ((told(OLD),), "reported nothing, and ran version 0x00000010 when last asked"),
        ((told(OLD), told(None, doubt="it does not tell")), "reported nothing, and it does not tell"),
        ((told(OLD), told(None, None, doubt="it does not tell")), "reported nothing, and it does not tell"),
        ((told(OLD), told(NEW, None, doubt="whose?")), "reported nothing, and ran version 0x00000010 when last asked"),
        ((told(NEW, None, doubt="whose?"),), "reported nothing, and whose?"),
        ((model.ActivationReported(success=True, file_version=NEW),), "reported success for version 0x00000020"),
        ((model.ActivationReported(success=False, file_version=NEW),), "reported failure"),
    ],
)
def test_a_device_that_does_not_show_the_new_version_in_time_fails_the_update_with_what_is_known(heard, words):
    """Where it is known that another version runs; else the update is unverified, and open until its deadline."""
    update, _ = run(new_update(), *ACTIVATING)
    update, _ = run(update, *heard, model.VerificationTimedOut(), start_s=20)
    if "when last asked" not in words:
        assert (update.state, update.unverified) == (model.UpdateState.ACTIVATING, True)
        assert update.reason.startswith("unverified: the device ")
        update, actions = apply(update, model.DeadlinePassed(), at(900))
        assert actions == (Withdraw(update),)
    assert update.state is model.UpdateState.FAILED
    assert update.reason.startswith("the new version was not seen in time: the device ")
    assert words in update.reason


def test_nothing_expires_before_its_read_backs_had_their_time():
    update, _ = run(new_update(), *ACTIVATING)
    assert apply(update, model.DeadlinePassed(), at(900)) == (update, ())
    assert apply(update, model.Cancelled(), at(900)) == (update, ())


def test_an_unverified_update_can_be_given_up_and_not_be_activated_otherwise():
    update, _ = run(new_update(), *ACTIVATING, told(None, doubt="it does not tell"), model.VerificationTimedOut())
    assert too_late(update, model.Cancelled()) is None
    assert "nothing calls it back" in too_late(update, model.ActivationOrdered(model.ActivateNow()))
    update, actions = apply(update, model.Cancelled(), at(900))
    assert update.state is model.UpdateState.FAILED
    assert update.reason == "given up, unverified: the device reported nothing, and it does not tell"
    assert actions == (Withdraw(update),)


BEFORE_STATES = {
    model.UpdateState.ACCEPTED: (),
    model.UpdateState.STORED: DOWNLOADED[:1],
    model.UpdateState.ANNOUNCED: DOWNLOADED[:2],
    model.UpdateState.DOWNLOADING: DOWNLOADED[:3],
    model.UpdateState.DOWNLOADED: DOWNLOADED,
    model.UpdateState.WAITING: (*DOWNLOADED, model.WaitingFor(model.WaitReason.COMMAND)),
    model.UpdateState.ACTIVATING: ACTIVATING,
}
TOLD_OF_OTHERS = [
    *(told(version, OTHER_TYPE, first=first) for version in (OLD, NEW, OTHER, None) for first in (False, True)),
    told(NEW, ImageType(MADE_FOR.manufacturer_code + 1, MADE_FOR.number), queried=True),
    *(told(version, None, doubt="whose?") for version in (OLD, NEW, OTHER, None)),
    told(None, doubt="it does not tell"),
]


@pytest.mark.parametrize("claim", [None, True, False])
@pytest.mark.parametrize("other", TOLD_OF_OTHERS)
@pytest.mark.parametrize("state", BEFORE_STATES)
def test_what_is_not_known_of_its_image_type_moves_no_update_in_any_state(state, other, claim):
    """In either order with what the device says of the type of the file."""
    assert {state for state, _event in UPDATE} == set(BEFORE_STATES), "each of them"
    report = () if claim is None else (model.ActivationReported(claim, NEW),)
    update, _ = run(new_update(), *BEFORE_STATES[state], *report, start_s=20)
    heard, actions = apply(update, other, at(40))
    assert (heard.state, heard.reason, heard.version_before, actions) == (update.state, update.reason, OLD, ())
    for version in (OLD, NEW):
        alone, after_it = apply(update, told(version), at(50)), apply(heard, told(version), at(50))
        assert after_it == alone, "and what it says of that does the same, before and after"


@pytest.mark.parametrize("missing", ["first", "version", "time", "silence", "success"])
def test_a_new_image_type_is_the_new_firmware_only_if_all_of_it_fits(missing):
    other = told(NEW if missing != "version" else OTHER, OTHER_TYPE, first=missing != "first")
    update, _ = run(new_update(), *DOWNLOADED, model.ActivationGiven(UtcSeconds(T0 + 100)))
    update, _ = apply(update, other, at(99 if missing == "time" else 101))
    if missing == "silence":
        update, _ = run(update, told(None, doubt="it does not tell"), start_s=110)
    if missing == "success":
        update, _ = run(update, model.ActivationReported(success=False, file_version=NEW), start_s=110)
    update, _ = apply(update, model.VerificationTimedOut(), at(900))
    assert update.unverified


@pytest.mark.parametrize("claims", [True, False])
def test_a_device_that_goes_by_another_image_type_after_its_update_is_activated(claims):
    update, _ = run(new_update(), *ACTIVATING, told(OLD))
    update, _ = run(update, told(NEW, OTHER_TYPE, first=True), start_s=20)
    assert (update.state, update.superseded) == (model.UpdateState.ACTIVATING, None)
    if claims:
        update, _ = run(update, model.ActivationReported(success=True, file_version=NEW), start_s=30)
    update, actions = apply(update, model.VerificationTimedOut(), at(900))
    assert (update.state, update.superseded) == (model.UpdateState.ACTIVATED, MADE_FOR)
    assert update.reason == "the new firmware asks for images of manufacturer 0x10D4, type 0x0009"
    assert actions == (Withdraw(update),)


@pytest.mark.parametrize(
    ("success", "version", "counts"),
    [(True, NEW, True), (True, OTHER, False), (False, NEW, True), (False, OLD, True), (False, OTHER, False)],
)
def test_an_alert_about_another_version_ends_nothing_and_takes_no_other_ones_place(success, version, counts):
    update, _ = run(new_update(), *ACTIVATING)
    update, _ = run(update, model.ActivationReported(success, version), told(OLD), start_s=20)
    ends = model.UpdateState.REVERTED if success else model.UpdateState.FAILED
    assert update.state is (ends if counts else model.UpdateState.ACTIVATING)
    right, _ = run(new_update(), *ACTIVATING, model.ActivationReported(success=True, file_version=NEW))
    right, _ = run(right, model.ActivationReported(success, OTHER), told(OLD), start_s=20)
    assert right.state is model.UpdateState.REVERTED


def test_what_was_not_told_before_the_activation_is_no_reason_afterwards():
    doubt = told(None, doubt="it does not tell")
    update, _ = run(new_update(), *DOWNLOADED, doubt, model.ActivationGiven(T0), model.VerificationTimedOut())
    assert update.reason.endswith("and its version could not be read")


def test_what_was_claimed_or_told_before_the_activation_says_nothing_about_it():
    claim = model.ActivationReported(success=True, file_version=NEW)
    early = (model.Stored(), model.Announced(), model.DownloadStarted(), claim, told(OLD), SUCCESS)
    update, _ = run(new_update(), *early, model.ActivationGiven(UtcSeconds(T0 + 9)))
    assert (update.report, update.version_seen) == (None, None)
    update, _ = apply(update, told(OLD), at(8))
    assert update.state is model.UpdateState.ACTIVATING


@pytest.mark.parametrize("outcome", list(model.TransferOutcome))
def test_the_end_of_the_transfer_is_told_upward_once(outcome):
    event = model.TransferEnded(outcome, "because")
    update, actions = run(new_update(), model.Stored(), model.Announced(), model.DownloadStarted(), event, event)
    told = [action for action in actions if isinstance(action, RaiseTransferAlert)]
    assert [action.outcome for action in told] == [outcome]
    if outcome is model.TransferOutcome.SUCCESS:
        assert update.state is model.UpdateState.DOWNLOADED
    else:
        assert (update.state, update.reason) == (model.UpdateState.FAILED, "because")


@pytest.mark.parametrize(
    ("event", "end"),
    [(model.Cancelled(), model.UpdateState.CANCELLED), (model.DeadlinePassed(), model.UpdateState.EXPIRED)],
)
@pytest.mark.parametrize("before", [DOWNLOADED[:k] for k in range(5)])
def test_until_a_time_was_given_an_update_can_be_called_off_and_expires(before, event, end):
    update, actions = run(new_update(), *before)
    assert too_late(update, model.Cancelled()) is None
    update, actions = run(update, event, start_s=50)
    assert update.state is end
    assert Withdraw(update) in actions
    told = [action.outcome for action in actions if isinstance(action, RaiseTransferAlert)]
    assert told == ([] if before == DOWNLOADED else [model.TransferOutcome.IMAGE_DISCARDED])


@pytest.mark.parametrize(
    "event",
    [model.Cancelled(), model.DeadlinePassed(), model.Refused("no"), model.WaitingFor(model.WaitReason.COMMAND)],
)
def test_once_a_time_was_given_there_is_no_way_back(event):
    update, _ = run(new_update(), *ACTIVATING)
    assert apply(update, event, at(50)) == (update, ())
    assert "nothing calls it back" in too_late(update, model.Cancelled())


def test_a_cancelled_update_says_why_it_cannot_be_cancelled_again():
    update, _ = run(new_update(), model.Cancelled())
    assert too_late(update, model.Cancelled()) == "the update has ended: cancelled"


def test_a_parked_download_waits_goes_on_and_ends():
    parked = model.WaitingFor(model.WaitReason.TIME, UtcSeconds(T0 + 9000))
    update, _ = run(new_update(), model.Stored(), model.Announced(), model.DownloadStarted(), parked)
    assert (update.state, update.waiting_for, update.waiting_until) == (
        model.UpdateState.WAITING,
        model.WaitReason.TIME,
        T0 + 9000,
    )
    update, actions = run(
        update, model.DownloadStarted(), SUCCESS, model.ActivationGiven(UtcSeconds(T0 + 9000)), start_s=8000
    )
    assert (update.state, update.waiting_for, update.waiting_until) == (model.UpdateState.ACTIVATING, None, None)
    assert isinstance(actions[0], RaiseTransferAlert)
    assert actions[-1] == ReadVersion(update, 9000 - 8002 + FIRST_READ_S)


def test_the_download_begins_once_and_ends_once():
    update, _ = run(new_update(), *DOWNLOADED[:3], model.DownloadStarted(), SUCCESS, SUCCESS)
    assert (update.download_started, update.download_ended) == (T0 + 3, T0 + 5)


def test_a_held_device_is_not_sent_back_by_repetitions():
    held = (*DOWNLOADED, model.WaitingFor(model.WaitReason.COMMAND))
    update, _ = run(new_update(), *held)
    for event in (SUCCESS, model.DownloadStarted(), model.Announced(), model.Stored(), told(OLD)):
        after, actions = apply(update, event, at(60))
        assert (after.state, actions) == (model.UpdateState.WAITING, ())


def test_a_held_device_that_reboots_is_asked_what_it_runs():
    update, _ = run(
        new_update(activation=model.ActivateHold()), *DOWNLOADED, model.WaitingFor(model.WaitReason.COMMAND)
    )
    update, actions = apply(update, model.DeviceRejoined(), at(60))
    assert actions == (ReadVersion(update, FIRST_READ_S),)
    update, _ = apply(update, told(NEW), at(61))
    assert (update.state, update.reason) == (
        model.UpdateState.ACTIVATED,
        "the device activated by itself, before it was told to",
    )


def test_a_meter_that_runs_the_new_version_was_told_to_by_its_supplier():
    update, _ = run(
        new_update(activation=model.ActivateByCommand()), *DOWNLOADED, model.WaitingFor(model.WaitReason.COMMAND)
    )
    update, _ = apply(update, told(NEW), at(61))
    assert (update.state, update.reason) == (model.UpdateState.ACTIVATED, "")


def test_a_held_device_that_tried_by_itself_and_lies_is_found_out():
    update, _ = run(new_update(), *DOWNLOADED, model.WaitingFor(model.WaitReason.COMMAND))
    update, actions = run(update, model.ActivationReported(success=True, file_version=NEW), start_s=60)
    assert (update.state, actions) == (model.UpdateState.ACTIVATING, [ReadVersion(update, FIRST_READ_S)])
    update, _ = run(update, told(OLD), start_s=70)
    assert update.state is model.UpdateState.REVERTED


def test_a_held_device_that_reports_on_another_version_has_not_tried_this_one():
    update, _ = run(new_update(), *DOWNLOADED, model.WaitingFor(model.WaitReason.COMMAND))
    update, actions = run(update, model.ActivationReported(success=False, file_version=OTHER), start_s=60)
    assert (update.state, update.report) == (model.UpdateState.WAITING, None)
    assert actions == [ReadVersion(update, FIRST_READ_S)]


def test_an_alert_during_the_download_proves_nothing_about_the_transfer():
    update, actions = run(
        new_update(),
        model.Stored(),
        model.Announced(),
        model.DownloadStarted(),
        model.ActivationReported(success=False, file_version=OLD),
    )
    assert (update.state, update.report, update.transfer) == (model.UpdateState.DOWNLOADING, None, None)
    assert actions == [ReadVersion(update, FIRST_READ_S)]


def test_a_device_that_activated_unheard_ends_the_update_and_its_transfer_is_told():
    update, actions = run(new_update(), model.Stored(), model.Announced(), model.DownloadStarted(), told(NEW))
    assert update.state is model.UpdateState.ACTIVATED
    assert actions[0] == RaiseTransferAlert(update, model.TransferOutcome.SUCCESS)


@pytest.mark.parametrize("before", [DOWNLOADED[:k] for k in range(3)])
def test_a_device_that_runs_the_version_before_the_transfer_fails_the_update(before):
    update, actions = run(new_update(version_before=None), *before, told(NEW))
    assert update.state is model.UpdateState.FAILED
    assert update.reason == "the device already runs version 0x00000020; nothing was transferred"
    assert actions[0] == RaiseTransferAlert(update, model.TransferOutcome.IMAGE_DISCARDED)


def test_the_lifetime_counts_from_the_appointed_time():
    update = model.accept(
        number=model.UpdateId(1),
        device=Eui64(1),
        image=ImageId("ab" * 32),
        image_type=MADE_FOR,
        file_version=NEW,
        activation=model.ActivateAt(UtcSeconds(T0 + 10_000)),
        origin="cli",
        version_before=OLD,
        now_utc=T0,
        lifetime_s=60.0,
    )
    assert update.deadline == T0 + 10_060


def test_the_version_before_is_learnt_from_the_device():
    update, _ = run(new_update(version_before=None), model.Stored(), model.Announced(), told(OLD))
    assert (update.version_before, update.version_seen) == (OLD, OLD)
    update, _ = run(update, model.DownloadStarted(), SUCCESS, told(OTHER), start_s=9)
    assert (update.version_before, update.version_seen) == (OLD, OTHER)


def test_the_version_before_is_not_learnt_once_the_device_has_the_image():
    update, _ = run(
        new_update(version_before=None), *DOWNLOADED, model.WaitingFor(model.WaitReason.COMMAND), told(OTHER)
    )
    assert (update.version_before, update.version_seen) == (None, OTHER)


def test_a_change_of_mind_renews_the_offer_until_it_is_too_late():
    order = model.ActivationOrdered(model.ActivateAt(UtcSeconds(T0 + 50)))
    update, actions = run(new_update(activation=model.ActivateHold()), *DOWNLOADED, order)
    assert update.activation == order.activation
    assert actions[-1] == Offer(update)
    late, _ = run(new_update(), *ACTIVATING)
    assert apply(late, order, at(60)) == (late, ())


def test_a_late_alert_is_written_down_and_changes_no_end():
    update, _ = run(new_update(), *ACTIVATING, told(NEW))
    late, actions = apply(update, model.ActivationReported(success=False, file_version=NEW), at(500))
    assert late == replace(update, report=model.ActivationReport(success=False, file_version=NEW))
    assert actions == ()
    assert apply(late, model.ActivationReported(success=True, file_version=NEW), at(501)) == (late, ())


def test_the_new_version_that_is_seen_too_late_is_written_down_and_changes_no_end():
    update, _ = run(new_update(), *ACTIVATING, model.VerificationTimedOut(), model.DeadlinePassed())
    assert update.reason.endswith("the device reported nothing, and its version could not be read")
    for other in (told(NEW, OTHER_TYPE), told(NEW, None, doubt="whose?"), told(None, doubt="it does not tell")):
        assert apply(update, other, at(4000)) == (update, ())
    late, actions = apply(update, told(NEW), at(5000))
    assert late == replace(update, version_seen=NEW)
    assert late.state is model.UpdateState.FAILED
    assert actions == ()
    assert apply(late, told(OTHER), at(9000)) == (late, ())


def test_a_second_transfer_that_fails_ends_a_waiting_update_without_a_second_alert():
    update, _ = run(new_update(), *DOWNLOADED, model.WaitingFor(model.WaitReason.COMMAND))
    update, actions = run(update, model.TransferEnded(model.TransferOutcome.FILE_TRANSFER_FAILURE), start_s=70)
    assert (update.state, update.reason) == (model.UpdateState.FAILED, "file transfer failure")
    assert actions == [Withdraw(update)]


def test_no_way_leads_out_of_an_end_and_every_other_state_is_reached():
    assert not model.ENDS & {state for state, _event in UPDATE}
    reached = {case.to for cases in UPDATE.values() for case in cases}
    assert reached | {model.UpdateState.ACCEPTED} == set(model.UpdateState)
