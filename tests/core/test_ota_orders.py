"""Hold, release and cancel, and what a meter is told: nothing activates that is not released."""

import pytest

from chf.errors import RefusedError
from chf.update import model
from chf.update.effects import AlarmKind, Send, Token, TransferChanged, Urgency
from chf.update.transfer.policy import OtaPolicy
from chf.zcl import ota as zcl
from chf.zcl.frame import DefaultResponse, Frame, Status
from tests.support.ota_bench import (
    IDS,
    NEW,
    PPMID,
    Bench,
    alarms,
    answered,
    at,
    block_response,
    default_response,
    end_response,
    end_responses,
    finished,
    image,
    only,
    query_response,
)

HOUR = 3600
WINDOW = OtaPolicy().commit_window_s
WAIT = zcl.WAIT_FOR_COMMAND


# Holding


def test_a_far_time_with_hold_is_given_when_it_is_near_without_being_asked():
    bench = finished(at(4 * HOUR, strategy=model.Strategy.HOLD))
    assert end_response(bench.end()).upgrade_time == WAIT
    assert bench.state is model.TransferState.HELD
    assert not end_responses(bench.run(4 * HOUR - WINDOW - 10))
    effects = bench.run(100)
    (send,) = only(Send, effects)
    assert send.urgency is Urgency.URGENT
    assert WINDOW - 60 <= end_response(effects).upgrade_time <= WINDOW
    assert bench.state is model.TransferState.COMMITTED


def test_a_lost_answer_is_said_again_soon_and_not_for_ever():
    bench = finished(model.ActivateHold())
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
        sends = only(Send, bench.carry_out(bench.due(), report=False))
    assert times[:3] == [2, 6, 14]
    assert len(times) == bench.policy.resends


def test_a_device_that_asks_again_is_answered_with_as_many_tries_again():
    bench = finished(model.ActivateHold())
    for _ in range(2):
        bench.hear(zcl.UpgradeEndRequest(0, *IDS), report=False)
        for tries in range(bench.policy.resends):
            bench.server.delivered(PPMID, Token.HOLD, False, bench.now)
            bench.advance(bench.policy.resend_s * 2**tries)
            assert len(only(Send, bench.due())) == 1
        bench.server.delivered(PPMID, Token.HOLD, False, bench.now)
        assert bench.server.deadline() is None


def test_a_time_is_said_again_however_often_the_hold_was():
    bench = finished(model.ActivateHold())
    bench.hear(zcl.UpgradeEndRequest(0, *IDS), report=False)
    for _ in range(bench.policy.resends):
        bench.server.delivered(PPMID, Token.HOLD, False, bench.now)
    bench.carry_out(bench.server.release(PPMID, model.ActivateNow(), bench.now), report=False)
    bench.server.delivered(PPMID, Token.COMMIT, False, bench.now)
    bench.advance(bench.policy.resend_s)
    assert end_response(bench.due()).upgrade_time == 0


def test_an_answer_that_arrived_is_not_said_again():
    bench = finished(model.ActivateHold())
    bench.hear(zcl.UpgradeEndRequest(0, *IDS), report=False)
    bench.server.delivered(PPMID, Token.HOLD, False, bench.now)
    bench.server.delivered(PPMID, Token.HOLD, True, bench.now)
    assert not only(Send, bench.run(600))


def test_the_fate_of_an_answer_that_no_longer_matters_changes_nothing():
    bench = answered(model.ActivateHold())
    assert bench.server.delivered(PPMID, Token.COMMIT, False, bench.now) == ()
    assert bench.server.delivered(PPMID, Token.ANSWER, False, bench.now) == ()
    assert bench.server.delivered(0x42, Token.HOLD, False, bench.now) == ()


# Release


def test_a_hold_is_released_now():
    bench = answered(model.ActivateHold())
    effects = bench.carry_out(bench.server.release(PPMID, model.ActivateNow(), bench.now))
    assert end_response(effects).upgrade_time == 0
    assert bench.state is model.TransferState.COMMITTED


def test_a_hold_is_released_to_a_far_time_and_stays_held():
    bench = answered(model.ActivateHold())
    effects = bench.carry_out(bench.server.release(PPMID, at(4 * HOUR), bench.now))
    assert [type(effect) for effect in effects] == [TransferChanged]
    assert bench.state is model.TransferState.HELD
    bench.run(4 * HOUR - WINDOW + 60)
    assert bench.state is model.TransferState.COMMITTED


def test_a_parked_hold_is_released_at_the_next_question():
    bench = Bench()
    bench.offer(model.ActivateHold(model.Strategy.PARK))
    bench.served()
    assert block_response(bench.ask_block(950)) == zcl.WaitForData(0, bench.policy.hold_wait_s)
    bench.carry_out(bench.server.release(PPMID, model.ActivateNow(), bench.now))
    assert block_response(bench.ask_block(950)).data == image().content[950:]
    assert end_response(bench.end()).upgrade_time == 0


def test_an_appointment_can_be_moved_while_nothing_was_given():
    bench = answered(at(4 * HOUR, strategy=model.Strategy.HOLD))
    bench.carry_out(bench.server.release(PPMID, at(8 * HOUR, strategy=model.Strategy.HOLD), bench.now))
    assert not end_responses(bench.run(5 * HOUR))


def test_a_release_to_a_time_that_has_passed_means_now():
    bench = answered(model.ActivateHold())
    effects = bench.carry_out(bench.server.release(PPMID, at(-10 * HOUR), bench.now))
    assert end_response(effects).upgrade_time == 0


def test_a_release_after_the_time_was_given_is_refused_truthfully():
    bench = answered(at(1800))
    with pytest.raises(RefusedError, match="was told to activate at 2027-01-15T08:30:00Z"):
        bench.server.release(PPMID, at(3000), bench.now)


def test_a_release_cannot_hand_a_device_to_the_supplier():
    bench = finished(model.ActivateHold())
    with pytest.raises(RefusedError, match="supplier's command"):
        bench.server.release(PPMID, model.ActivateByCommand(), bench.now)


# Cancel


@pytest.mark.parametrize("ask_first", [False, True])
def test_an_update_is_cancelled_before_and_in_the_download(ask_first):
    bench = Bench()
    bench.offer()
    if ask_first:
        bench.query()
        bench.ask_block(0)
    bench.carry_out(bench.server.cancel(PPMID, bench.now))
    assert bench.state is model.TransferState.CANCELLED
    assert query_response(bench.query()).status == Status.NO_IMAGE_AVAILABLE
    assert not only(Send, bench.run(HOUR))


def test_a_held_device_is_told_to_drop_the_image():
    bench = answered(model.ActivateHold())
    sequence = bench.sequence
    effects = bench.carry_out(bench.server.cancel(PPMID, bench.now))
    assert default_response(effects) == DefaultResponse(zcl.UpgradeEndRequest.COMMAND, Status.ABORT)
    (send,) = only(Send, effects)
    assert Frame.from_bytes(send.payload).sequence == sequence
    assert not only(model.TransferEnded, effects), "the transfer had ended well"
    assert default_response(bench.end()).status == Status.ABORT


def test_a_countdown_is_not_cancelled():
    bench = answered(at(1800))
    with pytest.raises(RefusedError, match="nothing calls it back"):
        bench.server.cancel(PPMID, bench.now)
    assert bench.state is model.TransferState.COMMITTED


def test_what_has_ended_cannot_be_cancelled():
    bench = Bench()
    bench.offer()
    bench.carry_out(bench.server.cancel(PPMID, bench.now))
    with pytest.raises(RefusedError, match="cancelled already"):
        bench.server.cancel(PPMID, bench.now)


def test_a_device_that_failed_and_runs_the_version_all_the_same_stays_failed():
    bench = finished(model.ActivateNow())
    bench.end(Status.INVALID_IMAGE)
    bench.query(version=NEW)
    assert bench.state is model.TransferState.FAILED


def test_a_device_that_activates_after_a_cancel_is_reported():
    bench = answered(model.ActivateHold())
    bench.carry_out(bench.server.cancel(PPMID, bench.now))
    effects = bench.query(version=NEW)
    assert alarms(effects) == [AlarmKind.ACTIVATED_AFTER_CANCEL]
    assert bench.state is model.TransferState.CANCELLED


@pytest.mark.parametrize("finished_first", [False, True])
def test_the_transfer_of_an_update_that_has_ended_ends_or_is_forgotten(finished_first):
    bench = finished(model.ActivateNow())
    if finished_first:
        bench.end()
    told = bench.carry_out(bench.server.withdraw(PPMID, bench.now))
    assert bool(only(model.TransferEnded, told)) is not finished_first
    assert (bench.server.get(PPMID) is None) is finished_first
    assert block_response(bench.ask_block(0)) == zcl.BlockRefused(Status.ABORT)
    assert bench.server.withdraw(PPMID, bench.now) == ()


# Meters


def test_a_meter_is_always_told_to_wait_for_the_command():
    bench = finished(model.ActivateByCommand())
    for _ in range(3):
        assert end_response(bench.end()) == zcl.UpgradeEndResponse(*IDS, 0, WAIT)
        bench.run(24 * HOUR)
    assert bench.state is model.TransferState.HELD


def test_a_meter_that_has_the_image_cannot_be_cancelled_here():
    bench = answered(model.ActivateByCommand())
    with pytest.raises(RefusedError, match="supplier's command decides"):
        bench.server.cancel(PPMID, bench.now)


@pytest.mark.parametrize("wanted", [model.ActivateNow(), model.ActivateHold(), at(3000)], ids=["now", "hold", "at"])
def test_a_meter_is_released_by_nobody_here_not_even_before_its_download(wanted):
    bench = Bench()
    bench.offer(model.ActivateByCommand())
    bench.query()
    with pytest.raises(RefusedError, match="supplier's command"):
        bench.server.release(PPMID, wanted, bench.now)
    bench.download()
    assert end_response(bench.end()) == zcl.UpgradeEndResponse(*IDS, 0, WAIT)


def test_a_meter_activates_at_any_time_without_an_alarm():
    bench = answered(model.ActivateByCommand())
    effects = bench.query(version=NEW)
    assert bench.state is model.TransferState.RUNNING
    assert not alarms(effects)
