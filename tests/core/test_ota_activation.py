"""Upgrade End, waiting, appointments: nothing activates before its time."""

import pytest

from chf.update import model
from chf.update.effects import AlarmKind, Send, Token, TransferChanged, TransferMoved, Urgency
from chf.update.transfer.policy import OtaPolicy
from chf.zcl import ota as zcl
from chf.zcl.frame import DefaultResponse, Frame, FrameType, Status
from tests.support.ota_bench import (
    IDS,
    NEW,
    PPMID,
    START_UTC,
    Bench,
    alarms,
    answered,
    at,
    block_response,
    default_response,
    end_response,
    finished,
    image,
    only,
    query_response,
)

HOUR = 3600
WINDOW = OtaPolicy().commit_window_s
WAIT = zcl.WAIT_FOR_COMMAND


# Now


def test_upgrade_end_of_an_immediate_update_is_answered_with_zero_and_zero():
    response = end_response(finished(model.ActivateNow()).end())
    assert response == zcl.UpgradeEndResponse(*IDS, 0, 0)


def test_what_is_told_is_written_down_first_and_the_transfer_ends_before_the_answer():
    effects = finished(model.ActivateNow()).end()
    kinds = [type(effect) for effect in effects if not isinstance(effect, TransferChanged)]
    assert kinds == [model.TransferEnded, TransferMoved, model.ActivationGiven, Send]
    assert isinstance(effects[0], TransferChanged)
    assert only(model.TransferEnded, effects)[0].outcome is model.TransferOutcome.SUCCESS


def test_upgrade_end_is_answered_urgently_and_with_the_sequence_of_the_request():
    bench = finished(model.ActivateNow())
    (send,) = only(Send, bench.hear_octets(zcl.command(zcl.UpgradeEndRequest(0, *IDS), 0xA5)))
    assert (send.urgency, send.token) == (Urgency.URGENT, Token.COMMIT)
    assert Frame.from_bytes(send.payload).sequence == 0xA5


def test_the_transfer_ends_once_however_often_the_device_says_so():
    bench = finished(model.ActivateNow())
    outcomes = [effect for _ in range(5) for effect in only(model.TransferEnded, bench.end())]
    assert len(outcomes) == 1


def test_re_asks_are_answered_for_ever():
    bench = finished(model.ActivateHold())
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
    assert not only(model.TransferEnded, effects)
    assert bench.state is model.TransferState.DOWNLOADING


def test_a_device_that_keeps_claiming_a_download_fails():
    bench = Bench()
    bench.offer()
    effects = bench.end() + bench.end() + bench.end()
    assert [effect.outcome for effect in only(model.TransferEnded, effects)] == [
        model.TransferOutcome.FILE_TRANSFER_FAILURE
    ]
    assert bench.state is model.TransferState.FAILED


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
    assert bench.state is model.TransferState.PARKED


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
    assert [effect.outcome for effect in only(model.TransferEnded, effects)] == [model.TransferOutcome.SUCCESS]


def test_belief_does_not_undo_a_missed_appointment():
    bench = Bench(OtaPolicy(believe_stored_image=True))
    bench.offer(at(4 * HOUR))
    bench.served()
    bench.advance(6 * HOUR)
    bench.restart()
    assert end_response(bench.end()).upgrade_time == WAIT
    assert bench.state is model.TransferState.MISSED


def test_upgrade_end_of_an_image_that_is_not_offered_is_aborted():
    bench = finished(model.ActivateNow())
    effects = bench.hear(zcl.UpgradeEndRequest(0, *IDS[:2], NEW + 1))
    assert default_response(effects) == DefaultResponse(zcl.UpgradeEndRequest.COMMAND, Status.ABORT)
    assert bench.state is model.TransferState.SERVED


def test_a_failed_upgrade_end_of_a_device_without_an_update_is_acknowledged():
    octets = Frame(FrameType.CLUSTER, 6, 1, zcl.UpgradeEndRequest(Status.ABORT, *IDS).to_bytes()).to_bytes()
    assert default_response(Bench().hear_octets(octets)).status == Status.SUCCESS


@pytest.mark.parametrize("status", [Status.INVALID_IMAGE, Status.ABORT, 0x01])
def test_a_device_that_refuses_the_image_is_acknowledged_and_the_transfer_has_failed(status):
    bench = finished(model.ActivateNow())
    octets = Frame(FrameType.CLUSTER, 6, 1, zcl.UpgradeEndRequest(status, *IDS).to_bytes()).to_bytes()
    effects = bench.hear_octets(octets)
    assert default_response(effects) == DefaultResponse(6, Status.SUCCESS)
    (ended,) = only(model.TransferEnded, effects)
    assert ended.outcome is model.TransferOutcome.FILE_TRANSFER_FAILURE
    assert f"0x{status:02X}" in ended.reason
    assert bench.state is model.TransferState.FAILED
    assert query_response(bench.query()).status == Status.NO_IMAGE_AVAILABLE
    assert block_response(bench.ask_block(0)) == zcl.BlockRefused(Status.ABORT)


def test_a_device_that_needs_a_further_file_says_so_and_its_file_is_discarded():
    (ended,) = only(model.TransferEnded, finished(model.ActivateNow()).end(Status.REQUIRE_MORE_IMAGE))
    assert ended.outcome is model.TransferOutcome.IMAGE_DISCARDED, "neither a success nor a transfer that failed"
    assert ended.reason == "the device says that it needs a further image file (REQUIRE_MORE_IMAGE (0x99))"


def test_a_device_that_refuses_the_image_while_held_ends_no_second_transfer():
    bench = answered(model.ActivateHold())
    assert not only(model.TransferEnded, bench.end(Status.INVALID_IMAGE))
    assert bench.state is model.TransferState.FAILED


def test_a_policy_can_invite_a_device_that_gave_up_to_try_again():
    bench = Bench(OtaPolicy(retries_after_abort=1))
    bench.offer()
    bench.query()
    bench.ask_block(0)
    effects = bench.end(Status.ABORT)
    assert not only(model.TransferEnded, effects)
    assert bench.state is model.TransferState.OFFERED
    assert only(Send, bench.run(30)), "notified again"
    bench.query()
    bench.download(start=50)
    assert end_response(bench.end()).upgrade_time == 0


def test_retries_are_counted():
    bench = Bench(OtaPolicy(retries_after_abort=2))
    bench.offer()
    for _ in range(2):
        bench.end(Status.ABORT)
        assert bench.state is model.TransferState.OFFERED
    bench.end(Status.ABORT)
    assert bench.state is model.TransferState.FAILED


# A time that is near


def test_a_near_time_is_given_as_an_offset():
    bench = finished(at(1800))
    effects = bench.end()
    response = end_response(effects)
    assert response.current_time == 0
    assert bench.now.utc + response.upgrade_time >= START_UTC + 1800
    assert bench.now.utc + response.upgrade_time < START_UTC + 1801
    assert [effect.at_utc for effect in only(model.ActivationGiven, effects)] == [START_UTC + 1800]


def test_an_absolute_time_is_given_as_utc():
    bench = finished(at(1800, time_form=model.TimeForm.ABSOLUTE))
    response = end_response(bench.end())
    assert response.current_time == bench.now.zigbee_time()
    assert response.upgrade_time == bench.now.zigbee_time() + 1800 - int(bench.utc - START_UTC)


def test_an_absolute_time_is_never_early_by_a_fraction_of_a_second():
    bench = finished(at(1800.4, time_form=model.TimeForm.ABSOLUTE))
    response = end_response(bench.end())
    assert response.upgrade_time - response.current_time >= START_UTC + 1800.4 - bench.utc


def test_a_hub_without_a_clock_gives_offsets_whatever_was_asked():
    bench = Bench(OtaPolicy(time_form=model.TimeForm.ABSOLUTE))
    bench.trusted = False
    bench.offer(model.ActivateHold(model.Strategy.PARK))
    bench.served()
    assert block_response(bench.ask_block(950)).current_time == 0
    bench.server.release(PPMID, model.ActivateNow(), bench.now)
    bench.ask_block(950)
    response = end_response(bench.end())
    assert (response.current_time, response.upgrade_time) == (0, 0)


def test_no_real_time_beyond_what_clients_wait_for():
    bench = finished(at(WINDOW + 60, strategy=model.Strategy.HOLD))
    assert end_response(bench.end()).upgrade_time == WAIT
    bench.advance(61)
    assert end_response(bench.end()).upgrade_time <= WINDOW


def test_a_re_ask_in_the_countdown_gets_what_is_left():
    bench = answered(at(1800))
    bench.advance(600)
    assert end_response(bench.end()).upgrade_time in (1199, 1200)


def test_a_re_ask_after_the_time_gets_now():
    bench = answered(at(1800))
    bench.advance(1900)
    assert end_response(bench.end()).upgrade_time == 0


def test_a_slow_download_past_the_time_activates_at_once():
    bench = Bench()
    bench.offer(at(600))
    bench.query()
    bench.advance(900)
    bench.download()
    effects = bench.end()
    assert end_response(effects).upgrade_time == 0
    assert bench.record().committed_utc == bench.now.utc, "what is told is when it can be, not when it should have been"
    assert [effect.at_utc for effect in only(model.ActivationGiven, effects)] == [bench.now.utc]


# Parking: a far time, and a device that cannot act before it


def test_the_last_block_waits_for_a_far_time():
    bench = Bench()
    bench.offer(at(4 * HOUR))
    bench.query()
    assert bench.download() == image().content[:950]
    assert bench.state is model.TransferState.PARKED
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
    assert bench.state is model.TransferState.PARKED


def test_a_page_stops_before_the_last_block():
    bench = Bench()
    bench.offer(at(4 * HOUR))
    effects = bench.ask_page(900, 100, 50) + bench.run(10)
    responses = [zcl.parse_image_block_response(send.payload[3:]) for send in only(Send, effects)]
    assert [type(response) for response in responses] == [zcl.ImageBlock, zcl.WaitForData]
    assert bench.state is model.TransferState.PARKED


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
    assert bench.state is model.TransferState.SERVED
    assert 0 < end_response(bench.end()).upgrade_time <= WINDOW


def test_a_wait_in_absolute_times():
    bench = Bench()
    bench.offer(at(4 * HOUR, time_form=model.TimeForm.ABSOLUTE))
    bench.served()
    response = block_response(bench.ask_block(950))
    assert response.current_time == bench.now.zigbee_time()
    assert response.request_time == response.current_time + 1800


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
    assert bench.state is model.TransferState.MISSED
    assert block_response(bench.ask_block(950)) == zcl.WaitForData(0, 60)


def test_a_parked_device_can_be_cancelled():
    bench = Bench()
    bench.offer(at(4 * HOUR))
    bench.served()
    effects = bench.carry_out(bench.server.cancel(PPMID, bench.now))
    assert only(model.TransferEnded, effects)[0].outcome is model.TransferOutcome.IMAGE_DISCARDED
    assert block_response(bench.ask_block(950)) == zcl.BlockRefused(Status.ABORT)
    assert bench.state is model.TransferState.CANCELLED
