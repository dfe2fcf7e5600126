"""What a device does at its time or does not, clocks that are set, and times that have passed."""

import pytest

from chf.errors import UsageError
from chf.update import model
from chf.update.effects import AlarmKind, Send
from chf.update.transfer.policy import OtaPolicy
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
    answered,
    at,
    block_response,
    end_response,
    end_responses,
    finished,
    image,
    notifies,
    only,
    query_response,
)

HOUR = 3600
WINDOW = OtaPolicy().commit_window_s
WAIT = zcl.WAIT_FOR_COMMAND


# After the time


def test_a_device_that_does_not_act_is_reminded_a_few_times_and_reported():
    bench = answered(model.ActivateNow())
    effects = bench.run(4 * HOUR)
    assert [response.upgrade_time for response in end_responses(effects)] == [0] * bench.policy.reminders
    assert alarms(effects) == [AlarmKind.NOT_ACTIVATED]


def test_reminders_come_at_doubling_intervals_from_the_time_on():
    bench = answered(at(1800))
    times = []
    while len(times) < bench.policy.reminders:
        before = bench.utc
        bench.run(max(bench.server.deadline() - bench.instant, 0))
        if before < START_UTC + 1800:
            assert bench.utc - before <= bench.policy.clock_check_s + 1e-6, "looked at the clock now and then"
        times += [bench.utc - START_UTC - 1800] * (len(end_responses(tuple(bench.history))) - 1 - len(times))
    assert times == pytest.approx([30, 90, 210, 450, 930], abs=0.01)


def test_a_device_that_runs_the_new_version_is_left_alone():
    bench = answered(model.ActivateNow())
    bench.query(version=NEW)
    assert bench.state is model.TransferState.RUNNING
    assert bench.run(4 * HOUR) == ()


def test_a_device_is_not_reminded_before_its_time():
    bench = answered(at(3000))
    assert not end_responses(bench.run(2990))


def test_a_device_that_comes_back_with_the_old_version_after_its_time_is_offered_it_again_a_few_times():
    bench = answered(model.ActivateNow())
    offered = []
    for _ in range(6):
        bench.restart(down_s=20)
        offered.append(query_response(bench.query(version=OLD)).status == Status.SUCCESS)
    assert offered == [True] * 3 + [False] * 3, "firmware that does not boot is not tried for ever"
    assert not notifies(bench.run(4 * HOUR))
    assert bench.state is model.TransferState.COMMITTED, "what to conclude is for the update"


def test_a_device_that_lost_its_image_in_the_countdown_fetches_it_again_at_its_time():
    bench = answered(at(1800))
    assert query_response(bench.query()).status == Status.NO_IMAGE_AVAILABLE
    assert not notifies(bench.run(1800 - 1 - (bench.utc - START_UTC)))
    assert len(notifies(bench.run(2))) == 1
    assert query_response(bench.query()).status == Status.SUCCESS
    assert bench.download() == image().content
    assert end_response(bench.end()).upgrade_time == 0


def test_a_device_that_never_heard_the_time_may_fetch_the_image_again():
    bench = finished(model.ActivateNow())
    bench.hear(zcl.UpgradeEndRequest(0, *IDS), report=False)
    bench.advance(20)
    assert query_response(bench.query()).status == Status.SUCCESS


@pytest.mark.parametrize(
    ("activation", "early"),
    [
        (model.ActivateHold(), True),
        (at(4 * HOUR, strategy=model.Strategy.HOLD), True),
        (at(1800), True),
        (model.ActivateNow(), False),
    ],
)
def test_an_activation_before_its_time_is_reported(activation, early):
    bench = answered(activation)
    effects = bench.query(version=NEW)
    assert bench.state is model.TransferState.RUNNING
    assert alarms(effects) == ([AlarmKind.ACTIVATED_EARLY] if early else [])


def test_a_finished_device_that_turns_out_to_be_the_wrong_one_ends_no_second_transfer():
    bench = answered(model.ActivateHold())
    effects = bench.query(hardware=9)
    assert bench.state is model.TransferState.FAILED
    assert not only(model.TransferEnded, effects)


def test_a_device_that_refuses_the_time_is_reported():
    bench = answered(model.ActivateNow())
    response = DefaultResponse(zcl.UpgradeEndResponse.COMMAND, Status.NOT_AUTHORIZED).to_bytes()
    effects = bench.hear_octets(Frame(FrameType.GLOBAL, DefaultResponse.COMMAND, 1, response).to_bytes())
    assert alarms(effects) == [AlarmKind.ACTIVATION_REFUSED]
    assert not only(Send, effects)


# Clocks that are set


@pytest.mark.parametrize("strategy", model.Strategy)
def test_no_appointment_falls_due_or_is_missed_by_a_clock_that_is_not_trusted(strategy):
    bench = answered(at(4 * HOUR, strategy=strategy))
    bench.trusted = False
    for utc in (START_UTC + 4 * HOUR, START_UTC + 400 * 24 * HOUR, 3.0):
        bench.utc = utc
        assert not [response for response in end_responses(bench.run(HOUR)) if response.upgrade_time != WAIT]
        assert bench.state in (model.TransferState.HELD, model.TransferState.PARKED)
    bench.utc, bench.trusted = START_UTC + 4 * HOUR, True
    bench.run(61)
    if strategy is model.Strategy.PARK:
        bench.ask_block(950)
        bench.end()
    assert end_responses(tuple(bench.history))[-1].upgrade_time == 0


@pytest.mark.parametrize("utc", [START_UTC + 4 * HOUR, START_UTC + 400 * 24 * HOUR, 3.0])
def test_a_restart_on_a_clock_that_is_not_trusted_keeps_and_misses_no_appointment(utc):
    bench = answered(at(4 * HOUR, strategy=model.Strategy.HOLD))
    bench.utc, bench.trusted = utc, False
    assert [response.upgrade_time for response in end_responses(bench.restart())] == [WAIT]
    assert bench.state is model.TransferState.HELD


def test_a_time_that_was_given_is_not_said_again_while_the_clock_is_not_trusted():
    bench = finished(at(1800))
    assert 0 < end_response(bench.end()).upgrade_time < WAIT
    bench.utc, bench.trusted = START_UTC + 1799, False
    assert end_response(bench.end()).upgrade_time == WAIT
    assert not end_responses(bench.run(HOUR))
    bench.utc, bench.trusted = START_UTC + 1741, True
    assert end_responses(bench.run(61))[0].upgrade_time == 0


def test_what_activates_at_once_needs_no_clock():
    bench = finished(model.ActivateNow())
    bench.trusted = False
    assert end_response(bench.end()).upgrade_time == 0


def test_a_parked_device_is_not_made_to_ask_every_second_by_a_clock_that_is_not_trusted():
    bench = finished(at(4 * HOUR))
    bench.utc, bench.trusted = START_UTC + 400 * 24 * HOUR, False
    assert block_response(bench.ask_block(950)).request_time == bench.policy.hold_wait_s


def test_a_time_that_a_clock_without_trust_calls_past_is_kept_for_later():
    bench = Bench()
    bench.trusted = False
    assert not alarms(bench.offer(at(-HOUR)))
    bench.served()
    assert bench.state is model.TransferState.PARKED


def test_a_clock_set_back_in_a_hold_moves_the_appointment():
    bench = answered(at(4 * HOUR, strategy=model.Strategy.HOLD))
    bench.run(3 * HOUR - 60)
    bench.utc -= 2 * HOUR
    assert not end_responses(bench.run(HOUR))
    assert len(end_responses(bench.run(2 * HOUR))) == 1


def test_a_clock_set_forward_in_a_hold_is_noticed_within_a_minute():
    bench = answered(at(4 * HOUR, strategy=model.Strategy.HOLD))
    bench.run(60)
    bench.utc += 4 * HOUR - WINDOW
    assert len(end_responses(bench.run(61))) == 1


def test_a_clock_set_far_beyond_the_time_has_missed_it():
    bench = answered(at(4 * HOUR, strategy=model.Strategy.HOLD))
    bench.utc += 10 * 365 * 24 * HOUR
    bench.run(61)
    assert bench.state is model.TransferState.MISSED


def test_a_clock_set_back_after_the_time_was_given_makes_no_offset_that_clients_cut():
    bench = answered(at(1800))
    bench.utc -= 3 * HOUR
    assert end_response(bench.end()).upgrade_time == WAIT
    responses = end_responses(bench.run(3 * HOUR))
    assert 0 < responses[0].upgrade_time <= WINDOW


# Missed


def missed_while_held() -> Bench:
    bench = answered(at(4 * HOUR, strategy=model.Strategy.HOLD))
    bench.restart(down_s=6 * HOUR)
    assert bench.state is model.TransferState.MISSED
    return bench


def test_a_missed_device_is_kept_waiting():
    bench = missed_while_held()
    assert end_response(bench.end()).upgrade_time == WAIT
    assert not end_responses(bench.run(HOUR))


def test_a_missed_device_is_released_by_a_person():
    bench = missed_while_held()
    effects = bench.carry_out(bench.server.release(PPMID, model.ActivateNow(), bench.now))
    assert end_response(effects).upgrade_time == 0


@pytest.mark.parametrize("activation", [model.ActivateHold(), at(24 * HOUR)])
def test_a_missed_device_can_get_another_appointment(activation):
    bench = missed_while_held()
    bench.carry_out(bench.server.release(PPMID, activation, bench.now))
    assert bench.state is model.TransferState.HELD
    assert end_response(bench.end()).upgrade_time == WAIT


def test_a_missed_and_parked_device_can_get_another_appointment():
    bench = Bench()
    bench.offer(at(4 * HOUR))
    bench.served()
    bench.restart(down_s=6 * HOUR)
    assert bench.state is model.TransferState.MISSED
    bench.carry_out(bench.server.release(PPMID, at(24 * HOUR), bench.now))
    assert bench.state is model.TransferState.PARKED


def test_a_missed_device_can_be_cancelled():
    bench = missed_while_held()
    bench.carry_out(bench.server.cancel(PPMID, bench.now))
    assert bench.state is model.TransferState.CANCELLED


def test_a_download_that_ends_beyond_the_grace_is_missed():
    bench = Bench()
    bench.offer(at(1800))
    bench.query()
    bench.ask_block(0)
    bench.run(3 * HOUR)
    assert bench.download(start=50) == image().content[50:950]
    assert bench.state is model.TransferState.MISSED


def test_an_upgrade_end_beyond_the_grace_is_missed_and_told_to_wait():
    bench = finished(at(1800))
    bench.run(3 * HOUR)
    effects = bench.end()
    assert end_response(effects).upgrade_time == WAIT
    assert bench.state is model.TransferState.MISSED
    assert only(model.TransferEnded, effects)[0].outcome is model.TransferOutcome.SUCCESS


# Settings


@pytest.mark.parametrize(
    "setting",
    [{"commit_window_s": 3600}, {"commit_window_s": 0}, {"park_wait_s": 3601}, {"hold_wait_s": 0}, {"block_bytes": 0}],
)
def test_a_setting_that_real_clients_would_turn_against_us_is_refused(setting):
    with pytest.raises(UsageError):
        OtaPolicy(**setting)
