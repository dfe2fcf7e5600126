"""Upgrade End, waiting, appointments, release and cancel: nothing activates before its time."""

import pytest

from chf.errors import RefusedError, UsageError
from chf.ota.effects import (
    ActivationGiven,
    AlarmKind,
    Persist,
    Send,
    StateChanged,
    Token,
    TransferEnded,
    Urgency,
)
from chf.ota.model import (
    ActivateAt,
    ActivateByCommand,
    ActivateHold,
    ActivateNow,
    Strategy,
    TimeForm,
    TransferOutcome,
)
from chf.ota.policy import OtaPolicy
from chf.ota.transitions import State
from chf.zcl import ota as zcl
from chf.zcl.frame import DefaultResponse, Frame, FrameType, Status
from tests.support.ota_bench import (
    IDS,
    NEW,
    OLD,
    PPMID,
    START_UTC,
    Bench,
    alarms,
    block_response,
    default_response,
    end_response,
    end_responses,
    image,
    only,
    query_response,
)

HOUR = 3600
WINDOW = OtaPolicy().commit_window_s
WAIT = zcl.WAIT_FOR_COMMAND


def at(seconds: float, **how) -> ActivateAt:
    return ActivateAt(START_UTC + seconds, **how)


def finished(activation, policy: OtaPolicy | None = None) -> Bench:
    """A device that was sent every byte and is about to say so."""
    bench = Bench(policy)
    bench.offer(activation)
    bench.served()
    return bench


# Now


def test_upgrade_end_of_an_immediate_update_is_answered_with_zero_and_zero():
    response = end_response(finished(ActivateNow()).end())
    assert response == zcl.UpgradeEndResponse(*IDS, 0, 0)


def test_what_is_told_is_written_down_first_and_the_transfer_ends_before_the_answer():
    effects = finished(ActivateNow()).end()
    kinds = [type(effect) for effect in effects if not isinstance(effect, Persist)]
    assert kinds == [TransferEnded, StateChanged, ActivationGiven, Send]
    assert isinstance(effects[0], Persist)
    assert only(TransferEnded, effects)[0].outcome is TransferOutcome.SUCCESS


def test_upgrade_end_is_answered_urgently_and_with_the_sequence_of_the_request():
    bench = finished(ActivateNow())
    (send,) = only(Send, bench.hear_octets(zcl.command(zcl.UpgradeEndRequest(0, *IDS), 0xA5)))
    assert (send.urgency, send.token) == (Urgency.URGENT, Token.COMMIT)
    assert Frame.from_bytes(send.payload).sequence == 0xA5


def test_the_transfer_ends_once_however_often_the_device_says_so():
    bench = finished(ActivateNow())
    outcomes = [effect for _ in range(5) for effect in only(TransferEnded, bench.end())]
    assert len(outcomes) == 1


def test_re_asks_are_answered_for_ever():
    bench = finished(ActivateHold())
    for _ in range(50):
        assert end_response(bench.end()).upgrade_time == WAIT
        bench.advance(HOUR)


# Who is believed


def test_upgrade_end_without_a_download_is_refused_and_reported():
    bench = Bench()
    bench.offer()
    bench.query()
    effects = bench.end()
    assert default_response(effects) == DefaultResponse(zcl.UpgradeEndRequest.COMMAND, Status.ABORT)
    assert alarms(effects) == [AlarmKind.UNPROVEN_DOWNLOAD]
    assert not only(TransferEnded, effects)
    assert bench.state is State.DOWNLOADING


def test_a_device_that_keeps_claiming_a_download_fails():
    bench = Bench()
    bench.offer()
    effects = bench.end() + bench.end() + bench.end()
    assert [effect.outcome for effect in only(TransferEnded, effects)] == [TransferOutcome.FILE_TRANSFER_FAILURE]
    assert bench.state is State.FAILED


def test_half_a_download_is_not_a_download():
    bench = Bench()
    bench.offer()
    bench.query()
    bench.ask_block(0)
    assert default_response(bench.end()).status == Status.ABORT


def test_a_parked_device_that_claims_the_last_block_is_refused():
    bench = Bench()
    bench.offer(at(4 * HOUR))
    bench.served()
    assert default_response(bench.end()).status == Status.ABORT
    assert bench.state is State.PARKED


def test_a_download_that_resumes_in_the_middle_is_believed():
    bench = Bench()
    bench.offer()
    bench.query()
    bench.download(start=500)
    assert end_response(bench.end()).upgrade_time == 0


@pytest.mark.parametrize("asked_first", [True, False])
def test_a_policy_can_believe_devices_that_have_the_image_already(asked_first):
    bench = Bench(OtaPolicy(believe_stored_image=True))
    bench.offer()
    if asked_first:
        bench.query()
    effects = bench.end()
    assert end_response(effects).upgrade_time == 0
    assert [effect.outcome for effect in only(TransferEnded, effects)] == [TransferOutcome.SUCCESS]


def test_belief_does_not_undo_a_missed_appointment():
    bench = Bench(OtaPolicy(believe_stored_image=True))
    bench.offer(at(4 * HOUR))
    bench.served()
    bench.advance(6 * HOUR)
    bench.restart()
    assert end_response(bench.end()).upgrade_time == WAIT
    assert bench.state is State.MISSED


def test_upgrade_end_of_an_image_that_is_not_offered_is_aborted():
    bench = finished(ActivateNow())
    effects = bench.hear(zcl.UpgradeEndRequest(0, *IDS[:2], NEW + 1))
    assert default_response(effects) == DefaultResponse(zcl.UpgradeEndRequest.COMMAND, Status.ABORT)
    assert bench.state is State.SERVED


def test_a_failed_upgrade_end_of_a_device_without_an_update_is_acknowledged():
    octets = Frame(FrameType.CLUSTER, 6, 1, zcl.UpgradeEndRequest(Status.ABORT, *IDS).to_bytes()).to_bytes()
    assert default_response(Bench().hear_octets(octets)).status == Status.SUCCESS


@pytest.mark.parametrize("status", [Status.INVALID_IMAGE, Status.REQUIRE_MORE_IMAGE, Status.ABORT, 0x01])
def test_a_device_that_refuses_the_image_is_acknowledged_and_the_transfer_has_failed(status):
    bench = finished(ActivateNow())
    octets = Frame(FrameType.CLUSTER, 6, 1, zcl.UpgradeEndRequest(status, *IDS).to_bytes()).to_bytes()
    effects = bench.hear_octets(octets)
    assert default_response(effects) == DefaultResponse(6, Status.SUCCESS)
    (ended,) = only(TransferEnded, effects)
    assert ended.outcome is TransferOutcome.FILE_TRANSFER_FAILURE
    assert f"0x{status:02X}" in ended.reason
    assert bench.state is State.FAILED
    assert query_response(bench.query()).status == Status.NO_IMAGE_AVAILABLE
    assert block_response(bench.ask_block(0)) == zcl.BlockRefused(Status.ABORT)


def test_a_device_that_refuses_the_image_while_held_ends_no_second_transfer():
    bench = finished(ActivateHold())
    bench.end()
    assert not only(TransferEnded, bench.end(Status.INVALID_IMAGE))
    assert bench.state is State.FAILED


def test_a_policy_can_invite_a_device_that_gave_up_to_try_again():
    bench = Bench(OtaPolicy(retries_after_abort=1))
    bench.offer()
    bench.query()
    bench.ask_block(0)
    effects = bench.end(Status.ABORT)
    assert not only(TransferEnded, effects)
    assert bench.state is State.OFFERED
    assert only(Send, bench.run(30)), "notified again"
    bench.query()
    bench.download(start=50)
    assert end_response(bench.end()).upgrade_time == 0


def test_retries_are_counted():
    bench = Bench(OtaPolicy(retries_after_abort=1))
    bench.offer()
    bench.end(Status.ABORT)
    assert bench.state is State.OFFERED
    bench.end(Status.ABORT)
    assert bench.state is State.FAILED


# A time that is near


def test_a_near_time_is_given_as_an_offset():
    bench = finished(at(1800))
    effects = bench.end()
    response = end_response(effects)
    assert response.current_time == 0
    assert bench.now.utc + response.upgrade_time >= START_UTC + 1800
    assert bench.now.utc + response.upgrade_time < START_UTC + 1801
    assert [effect.at_utc for effect in only(ActivationGiven, effects)] == [START_UTC + 1800]


def test_an_absolute_time_is_given_as_utc():
    bench = finished(at(1800, time_form=TimeForm.ABSOLUTE))
    response = end_response(bench.end())
    assert response.current_time == bench.now.zigbee_time()
    assert response.upgrade_time == bench.now.zigbee_time() + 1800 - int(bench.utc - START_UTC)


def test_an_absolute_time_is_never_early_by_a_fraction_of_a_second():
    bench = finished(at(1800.4, time_form=TimeForm.ABSOLUTE))
    response = end_response(bench.end())
    assert response.upgrade_time - response.current_time >= START_UTC + 1800.4 - bench.utc


def test_a_hub_without_a_clock_gives_offsets_whatever_was_asked():
    bench = Bench()
    bench.utc = 0.0
    bench.offer(ActivateAt(1800.0, time_form=TimeForm.ABSOLUTE))
    bench.served()
    response = end_response(bench.end())
    assert (response.current_time, response.upgrade_time) == (0, 1800)


def test_no_real_time_beyond_what_clients_wait_for():
    bench = finished(at(WINDOW + 60, strategy=Strategy.HOLD))
    assert end_response(bench.end()).upgrade_time == WAIT
    bench.advance(61)
    assert end_response(bench.end()).upgrade_time <= WINDOW


def test_a_re_ask_in_the_countdown_gets_what_is_left():
    bench = finished(at(1800))
    bench.end()
    bench.advance(600)
    assert end_response(bench.end()).upgrade_time in (1199, 1200)


def test_a_re_ask_after_the_time_gets_now():
    bench = finished(at(1800))
    bench.end()
    bench.advance(1900)
    assert end_response(bench.end()).upgrade_time == 0


def test_a_slow_download_past_the_time_activates_at_once_and_says_how_late():
    bench = Bench()
    bench.offer(at(600))
    bench.query()
    bench.advance(900)
    bench.download()
    effects = bench.end()
    assert end_response(effects).upgrade_time == 0
    assert "s late" in only(StateChanged, effects)[0].detail


# Parking: a far time, and a device that cannot act before it


def test_the_last_block_waits_for_a_far_time():
    bench = Bench()
    bench.offer(at(4 * HOUR))
    bench.query()
    assert bench.download() == image().content[:950]
    assert bench.state is State.PARKED
    response = block_response(bench.ask_block(950))
    assert response == zcl.WaitForData(0, bench.policy.park_wait_s)


@pytest.mark.parametrize(("offset", "size"), [(999, 1), (944, 56), (999, 255)])
def test_no_block_that_reaches_the_end_goes_out_early(offset, size):
    bench = Bench()
    bench.offer(at(4 * HOUR))
    bench.query()
    assert isinstance(block_response(bench.ask_block(offset, size)), zcl.WaitForData)


def test_a_parked_device_is_still_served_everything_else():
    bench = Bench()
    bench.offer(at(4 * HOUR))
    bench.served()
    assert block_response(bench.ask_block(0)).data == image().content[:50]
    assert bench.state is State.PARKED


def test_a_page_stops_before_the_last_block():
    bench = Bench()
    bench.offer(at(4 * HOUR))
    effects = bench.ask_page(900, 100, 50) + bench.run(10)
    responses = [zcl.parse_image_block_response(send.payload[3:]) for send in only(Send, effects)]
    assert [type(response) for response in responses] == [zcl.ImageBlock, zcl.WaitForData]
    assert bench.state is State.PARKED


def test_the_waits_of_a_parked_device_end_when_the_time_is_near():
    bench = Bench()
    bench.offer(at(4 * HOUR))
    bench.served()
    waits = []
    while isinstance(response := block_response(bench.ask_block(950)), zcl.WaitForData):
        assert 1 <= response.request_time <= 1800
        waits.append(response.request_time)
        bench.run(response.request_time)
    assert WINDOW - 2 <= START_UTC + 4 * HOUR - bench.utc <= WINDOW
    assert len(waits) == 7
    assert bench.state is State.SERVED
    assert 0 < end_response(bench.end()).upgrade_time <= WINDOW


def test_a_wait_in_absolute_times():
    bench = Bench()
    bench.offer(at(4 * HOUR, time_form=TimeForm.ABSOLUTE))
    bench.served()
    response = block_response(bench.ask_block(950))
    assert response.current_time == bench.now.zigbee_time()
    assert response.request_time == response.current_time + 1800


def test_a_wait_without_the_period_is_a_setting():
    bench = Bench(OtaPolicy(wait_carries_minimum_block_period=False))
    bench.offer(at(4 * HOUR))
    bench.served()
    assert block_response(bench.ask_block(950)) == zcl.WaitForData(0, 1800, None)


def test_a_parked_device_that_keeps_asking_is_no_alarm():
    bench = Bench()
    bench.offer(at(24 * HOUR))
    bench.served()
    for _ in range(20):
        bench.ask_block(950)
        assert not alarms(bench.run(1800))


def test_a_parked_device_that_disappears_is_reported():
    bench = Bench()
    bench.offer(at(24 * HOUR))
    bench.served()
    assert alarms(bench.run(1800 + 901)) == [AlarmKind.STALLED]


def test_a_parked_device_that_stays_away_past_the_grace_has_missed():
    bench = Bench()
    bench.offer(at(4 * HOUR))
    bench.served()
    bench.run(5 * HOUR + 120)
    assert bench.state is State.MISSED
    assert block_response(bench.ask_block(950)) == zcl.WaitForData(0, 300)


def test_a_parked_device_can_be_cancelled():
    bench = Bench()
    bench.offer(at(4 * HOUR))
    bench.served()
    effects = bench.carry_out(bench.server.cancel(PPMID, bench.now))
    assert only(TransferEnded, effects)[0].outcome is TransferOutcome.IMAGE_DISCARDED
    assert block_response(bench.ask_block(950)) == zcl.BlockRefused(Status.ABORT)
    assert bench.state is State.CANCELLED


# Holding


def test_a_far_time_with_hold_is_given_when_it_is_near_without_being_asked():
    bench = finished(at(4 * HOUR, strategy=Strategy.HOLD))
    assert end_response(bench.end()).upgrade_time == WAIT
    assert bench.state is State.HELD
    assert not end_responses(bench.run(4 * HOUR - WINDOW - 10))
    effects = bench.run(100)
    (send,) = only(Send, effects)
    assert send.urgency is Urgency.URGENT
    assert WINDOW - 60 <= end_response(effects).upgrade_time <= WINDOW
    assert bench.state is State.COMMITTED


def test_a_hold_that_some_clients_do_not_keep_is_reported():
    assert alarms(finished(at(4 * HOUR, strategy=Strategy.HOLD)).end()) == [AlarmKind.HOLD_LIMIT]
    assert alarms(finished(at(2 * HOUR, strategy=Strategy.HOLD)).end()) == []


def test_a_lost_answer_is_said_again_soon_and_not_for_ever():
    bench = finished(ActivateHold())
    times = []
    sends = only(Send, bench.hear(zcl.UpgradeEndRequest(0, *IDS), report=False))
    start = bench.instant
    while sends:
        assert sends[0].token is Token.HOLD
        bench.server.delivered(PPMID, Token.HOLD, False, bench.now)
        deadline = bench.server.deadline()
        if deadline is None:
            break
        bench.advance(deadline - bench.instant)
        times.append(bench.instant - start)
        sends = only(Send, bench.carry_out(bench.server.handle_deadline(bench.now), report=False))
    assert times[:3] == [2, 6, 14]
    assert len(times) == bench.policy.resends


def test_a_time_is_said_again_however_often_the_hold_was():
    bench = finished(ActivateHold())
    bench.hear(zcl.UpgradeEndRequest(0, *IDS), report=False)
    for _ in range(bench.policy.resends):
        bench.server.delivered(PPMID, Token.HOLD, False, bench.now)
    bench.carry_out(bench.server.release(PPMID, ActivateNow(), bench.now), report=False)
    bench.server.delivered(PPMID, Token.COMMIT, False, bench.now)
    bench.advance(bench.policy.resend_s)
    assert end_response(bench.server.handle_deadline(bench.now)).upgrade_time == 0


def test_an_answer_that_arrived_is_not_said_again():
    bench = finished(ActivateHold())
    bench.hear(zcl.UpgradeEndRequest(0, *IDS), report=False)
    bench.server.delivered(PPMID, Token.HOLD, False, bench.now)
    bench.server.delivered(PPMID, Token.HOLD, True, bench.now)
    assert not only(Send, bench.run(600))


def test_the_fate_of_an_answer_that_no_longer_matters_changes_nothing():
    bench = finished(ActivateHold())
    bench.end()
    assert bench.server.delivered(PPMID, Token.COMMIT, False, bench.now) == ()
    assert bench.server.delivered(PPMID, Token.ANSWER, False, bench.now) == ()
    assert bench.server.delivered(0x42, Token.HOLD, False, bench.now) == ()


# Release


def test_a_hold_is_released_now():
    bench = finished(ActivateHold())
    bench.end()
    effects = bench.carry_out(bench.server.release(PPMID, ActivateNow(), bench.now))
    assert end_response(effects).upgrade_time == 0
    assert bench.state is State.COMMITTED


def test_a_hold_is_released_to_a_far_time_and_stays_held():
    bench = finished(ActivateHold())
    bench.end()
    effects = bench.carry_out(bench.server.release(PPMID, at(4 * HOUR), bench.now))
    assert [type(effect) for effect in effects] == [Persist]
    assert bench.state is State.HELD
    bench.run(4 * HOUR - WINDOW + 60)
    assert bench.state is State.COMMITTED


def test_a_parked_hold_is_released_at_the_next_question():
    bench = Bench()
    bench.offer(ActivateHold(Strategy.PARK))
    bench.served()
    assert block_response(bench.ask_block(950)) == zcl.WaitForData(0, bench.policy.hold_wait_s)
    bench.carry_out(bench.server.release(PPMID, ActivateNow(), bench.now))
    assert block_response(bench.ask_block(950)).data == image().content[950:]
    assert end_response(bench.end()).upgrade_time == 0


def test_an_appointment_can_be_moved_while_nothing_was_given():
    bench = finished(at(4 * HOUR, strategy=Strategy.HOLD))
    bench.end()
    bench.carry_out(bench.server.release(PPMID, at(8 * HOUR, strategy=Strategy.HOLD), bench.now))
    assert not end_responses(bench.run(5 * HOUR))


def test_a_release_to_a_time_that_has_passed_means_now():
    bench = finished(ActivateHold())
    bench.end()
    effects = bench.carry_out(bench.server.release(PPMID, at(-10 * HOUR), bench.now))
    assert end_response(effects).upgrade_time == 0


def test_a_release_after_the_time_was_given_is_refused_truthfully():
    bench = finished(at(1800))
    bench.end()
    with pytest.raises(RefusedError, match="was told to activate at 2027-01-15T08:30:00Z"):
        bench.server.release(PPMID, at(3000), bench.now)


def test_a_release_cannot_hand_a_device_to_the_supplier():
    bench = finished(ActivateHold())
    with pytest.raises(RefusedError, match="supplier's command"):
        bench.server.release(PPMID, ActivateByCommand(), bench.now)


# Cancel


@pytest.mark.parametrize("ask_first", [False, True])
def test_an_update_is_cancelled_before_and_in_the_download(ask_first):
    bench = Bench()
    bench.offer()
    if ask_first:
        bench.query()
        bench.ask_block(0)
    bench.carry_out(bench.server.cancel(PPMID, bench.now))
    assert bench.state is State.CANCELLED
    assert query_response(bench.query()).status == Status.NO_IMAGE_AVAILABLE
    assert not only(Send, bench.run(HOUR))


def test_a_held_device_is_told_to_drop_the_image():
    bench = finished(ActivateHold())
    bench.end()
    sequence = bench.sequence
    effects = bench.carry_out(bench.server.cancel(PPMID, bench.now))
    assert default_response(effects) == DefaultResponse(zcl.UpgradeEndRequest.COMMAND, Status.ABORT)
    (send,) = only(Send, effects)
    assert Frame.from_bytes(send.payload).sequence == sequence
    assert not only(TransferEnded, effects), "the transfer had ended well"
    assert default_response(bench.end()).status == Status.ABORT


def test_a_countdown_is_not_cancelled():
    bench = finished(at(1800))
    bench.end()
    with pytest.raises(RefusedError, match="nothing calls it back"):
        bench.server.cancel(PPMID, bench.now)
    assert bench.state is State.COMMITTED


def test_what_has_ended_cannot_be_cancelled():
    bench = Bench()
    bench.offer()
    bench.carry_out(bench.server.cancel(PPMID, bench.now))
    with pytest.raises(RefusedError, match="cancelled already"):
        bench.server.cancel(PPMID, bench.now)


def test_a_device_that_failed_and_runs_the_version_all_the_same_stays_failed():
    bench = finished(ActivateNow())
    bench.end(Status.INVALID_IMAGE)
    bench.query(version=NEW)
    assert bench.state is State.FAILED


def test_a_device_that_activates_after_a_cancel_is_reported():
    bench = finished(ActivateHold())
    bench.end()
    bench.carry_out(bench.server.cancel(PPMID, bench.now))
    effects = bench.query(version=NEW)
    assert alarms(effects) == [AlarmKind.ACTIVATED_AFTER_CANCEL]
    assert bench.state is State.CANCELLED


def test_an_image_that_must_not_be_served_any_more_is_withdrawn():
    bench = Bench()
    bench.offer()
    bench.query()
    effects = bench.carry_out(bench.server.withdraw(PPMID, "the stored image has changed", bench.now))
    (ended,) = only(TransferEnded, effects)
    assert (ended.outcome, ended.reason) == (TransferOutcome.IMAGE_DISCARDED, "the stored image has changed")
    assert bench.state is State.FAILED
    assert block_response(bench.ask_block(0)) == zcl.BlockRefused(Status.ABORT)


# Meters


def test_a_meter_is_always_told_to_wait_for_the_command():
    bench = finished(ActivateByCommand())
    for _ in range(3):
        assert end_response(bench.end()) == zcl.UpgradeEndResponse(*IDS, 0, WAIT)
        bench.run(24 * HOUR)
    assert bench.state is State.HELD


def test_a_meter_that_has_the_image_cannot_be_cancelled_here():
    bench = finished(ActivateByCommand())
    bench.end()
    with pytest.raises(RefusedError, match="supplier's command decides"):
        bench.server.cancel(PPMID, bench.now)


@pytest.mark.parametrize("wanted", [ActivateNow(), ActivateHold(), at(3000)], ids=["now", "hold", "at"])
def test_a_meter_is_released_by_nobody_here_not_even_before_its_download(wanted):
    bench = Bench()
    bench.offer(ActivateByCommand())
    bench.query()
    with pytest.raises(RefusedError, match="supplier's command"):
        bench.server.release(PPMID, wanted, bench.now)
    bench.download()
    assert end_response(bench.end()) == zcl.UpgradeEndResponse(*IDS, 0, WAIT)


def test_a_meter_activates_at_any_time_without_an_alarm():
    bench = finished(ActivateByCommand())
    bench.end()
    effects = bench.query(version=NEW)
    assert bench.state is State.RUNNING
    assert not alarms(effects)


# After the time


def test_a_device_that_does_not_act_is_reminded_a_few_times_and_reported():
    bench = finished(ActivateNow())
    bench.end()
    effects = bench.run(4 * HOUR)
    assert [response.upgrade_time for response in end_responses(effects)] == [0] * bench.policy.reminders
    assert alarms(effects) == [AlarmKind.NOT_ACTIVATED]


def test_a_device_that_runs_the_new_version_is_left_alone():
    bench = finished(ActivateNow())
    bench.end()
    bench.query(version=NEW)
    assert bench.state is State.RUNNING
    assert bench.run(4 * HOUR) == ()


def test_a_device_is_not_reminded_before_its_time():
    bench = finished(at(3000))
    bench.end()
    assert not end_responses(bench.run(2990))


def test_a_device_that_comes_back_with_the_old_version_is_not_served_again():
    bench = finished(ActivateNow())
    bench.end()
    bench.advance(20)
    assert query_response(bench.query(version=OLD)).status == Status.NO_IMAGE_AVAILABLE
    assert bench.state is State.COMMITTED, "what to conclude is for the job"


def test_a_device_that_lost_its_image_in_the_countdown_may_fetch_it_again():
    bench = finished(at(1800))
    bench.end()
    assert query_response(bench.query()).status == Status.SUCCESS
    assert bench.download() == image().content
    assert 0 < end_response(bench.end()).upgrade_time <= 1800


def test_a_device_that_never_heard_the_time_may_fetch_the_image_again():
    bench = finished(ActivateNow())
    bench.hear(zcl.UpgradeEndRequest(0, *IDS), report=False)
    bench.advance(20)
    assert query_response(bench.query()).status == Status.SUCCESS


@pytest.mark.parametrize(
    ("activation", "early"),
    [(ActivateHold(), True), (at(4 * HOUR, strategy=Strategy.HOLD), True), (at(1800), True), (ActivateNow(), False)],
)
def test_an_activation_before_its_time_is_reported(activation, early):
    bench = finished(activation)
    bench.end()
    effects = bench.query(version=NEW)
    assert bench.state is State.RUNNING
    assert alarms(effects) == ([AlarmKind.ACTIVATED_EARLY] if early else [])


def test_a_finished_device_that_turns_out_to_be_the_wrong_one_ends_no_second_transfer():
    bench = finished(ActivateHold())
    bench.end()
    effects = bench.query(hardware=9)
    assert bench.state is State.FAILED
    assert not only(TransferEnded, effects)


def test_a_device_that_refuses_the_time_is_reported():
    bench = finished(ActivateNow())
    bench.end()
    response = DefaultResponse(zcl.UpgradeEndResponse.COMMAND, Status.NOT_AUTHORIZED).to_bytes()
    effects = bench.hear_octets(Frame(FrameType.GLOBAL, DefaultResponse.COMMAND, 1, response).to_bytes())
    assert alarms(effects) == [AlarmKind.ACTIVATION_REFUSED]
    assert not only(Send, effects)


# Clocks that are set


def test_a_clock_set_back_in_a_hold_moves_the_appointment():
    bench = finished(at(4 * HOUR, strategy=Strategy.HOLD))
    bench.end()
    bench.run(3 * HOUR - 60)
    bench.utc -= 2 * HOUR
    assert not end_responses(bench.run(HOUR))
    assert len(end_responses(bench.run(2 * HOUR))) == 1


def test_a_clock_set_forward_in_a_hold_is_noticed_within_a_minute():
    bench = finished(at(4 * HOUR, strategy=Strategy.HOLD))
    bench.end()
    bench.run(60)
    bench.utc += 4 * HOUR - WINDOW
    assert len(end_responses(bench.run(61))) == 1


def test_a_clock_set_far_beyond_the_time_has_missed_it():
    bench = finished(at(4 * HOUR, strategy=Strategy.HOLD))
    bench.end()
    bench.utc += 10 * 365 * 24 * HOUR
    bench.run(61)
    assert bench.state is State.MISSED


def test_a_clock_set_back_after_the_time_was_given_makes_no_offset_that_clients_cut():
    bench = finished(at(1800))
    bench.end()
    bench.utc -= 3 * HOUR
    assert end_response(bench.end()).upgrade_time == WAIT
    responses = end_responses(bench.run(3 * HOUR))
    assert 0 < responses[0].upgrade_time <= WINDOW


# Missed


def missed_while_held() -> Bench:
    bench = finished(at(4 * HOUR, strategy=Strategy.HOLD))
    bench.end()
    bench.restart(down_s=6 * HOUR)
    assert bench.state is State.MISSED
    return bench


def test_a_missed_device_is_kept_waiting():
    bench = missed_while_held()
    assert end_response(bench.end()).upgrade_time == WAIT
    assert not end_responses(bench.run(HOUR))


def test_a_missed_device_is_released_by_a_person():
    bench = missed_while_held()
    effects = bench.carry_out(bench.server.release(PPMID, ActivateNow(), bench.now))
    assert end_response(effects).upgrade_time == 0


@pytest.mark.parametrize("activation", [ActivateHold(), at(24 * HOUR)])
def test_a_missed_device_can_get_another_appointment(activation):
    bench = missed_while_held()
    bench.carry_out(bench.server.release(PPMID, activation, bench.now))
    assert bench.state is State.HELD
    assert end_response(bench.end()).upgrade_time == WAIT


def test_a_missed_and_parked_device_can_get_another_appointment():
    bench = Bench()
    bench.offer(at(4 * HOUR))
    bench.served()
    bench.restart(down_s=6 * HOUR)
    assert bench.state is State.MISSED
    bench.carry_out(bench.server.release(PPMID, at(24 * HOUR), bench.now))
    assert bench.state is State.PARKED


def test_a_missed_device_can_be_cancelled():
    bench = missed_while_held()
    bench.carry_out(bench.server.cancel(PPMID, bench.now))
    assert bench.state is State.CANCELLED


def test_a_download_that_ends_beyond_the_grace_is_missed():
    bench = Bench()
    bench.offer(at(1800))
    bench.query()
    bench.ask_block(0)
    bench.run(3 * HOUR)
    assert bench.download(start=50) == image().content[50:950]
    assert bench.state is State.MISSED


def test_an_upgrade_end_beyond_the_grace_is_missed_and_told_to_wait():
    bench = finished(at(1800))
    bench.run(3 * HOUR)
    effects = bench.end()
    assert end_response(effects).upgrade_time == WAIT
    assert bench.state is State.MISSED
    assert only(TransferEnded, effects)[0].outcome is TransferOutcome.SUCCESS


# Settings


@pytest.mark.parametrize(
    "setting",
    [{"commit_window_s": 3600}, {"commit_window_s": 0}, {"park_wait_s": 3601}, {"hold_wait_s": 0}, {"block_bytes": 0}],
)
def test_a_setting_that_real_clients_would_turn_against_us_is_refused(setting):
    with pytest.raises(UsageError):
        OtaPolicy(**setting)
