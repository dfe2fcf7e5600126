"""What a killed hub knows when it comes back, and the table that it lives by."""

import json

import pytest

from chf.machine import next_state
from chf.update import model
from chf.update.effects import AlarmKind, Send
from chf.update.transitions import TRANSFER, TRANSFER_ENDS, Input
from chf.zcl import ota as zcl
from chf.zcl.frame import Frame
from tests.support.ota_bench import (
    IDS,
    PPMID,
    START_UTC,
    Bench,
    alarms,
    block_response,
    end_response,
    end_responses,
    image,
    only,
)

HOUR = 3600


@pytest.mark.parametrize(
    "activation",
    [
        model.ActivateNow(),
        model.ActivateAt(START_UTC, model.Strategy.HOLD, model.TimeForm.ABSOLUTE),
        model.ActivateHold(model.Strategy.PARK),
        model.ActivateByCommand(),
    ],
)
def test_an_activation_survives_json(activation):
    assert model.activation_from_json(json.loads(json.dumps(model.activation_to_json(activation)))) == activation


def test_an_unknown_activation_is_an_error():
    with pytest.raises(ValueError, match="sometime"):
        model.activation_from_json({"kind": "sometime"})


@pytest.mark.parametrize(
    "change",
    [
        *({"state": "dreaming"}, {"activation": {}}, {"activation": None}, {"served_bytes": "5"}, {"blocks": None}),
        *({"sleepy": 1}, {"endpoint": 1.5}, {"committed_utc": float("inf")}, {"aborts": True}),
    ],
)
def test_a_record_that_cannot_be_read_says_so(change):
    bench = Bench()
    bench.offer()
    with pytest.raises((KeyError, TypeError, ValueError)):
        model.TransferRecord.from_json(bench.stored[PPMID].to_json() | change)


def test_a_record_that_lacks_something_cannot_be_read():
    bench = Bench()
    bench.offer()
    record = bench.stored[PPMID].to_json()
    del record["blocks"]
    with pytest.raises(KeyError, match="blocks"):
        model.TransferRecord.from_json(record)


def test_a_restored_session_is_the_one_that_was_written_down():
    bench = Bench()
    bench.offer(model.ActivateHold(), sleepy=True, allow_downgrade=True)
    bench.served()
    bench.end()
    before = bench.record()
    bench.restart()
    assert bench.record() == before == bench.stored[PPMID]


def test_an_offer_is_announced_again():
    bench = Bench()
    bench.offer()
    bench.restart()
    assert only(Send, bench.run(1))


def test_a_download_goes_on_at_the_offset_of_the_device():
    bench = Bench()
    bench.offer()
    bench.query()
    for offset in range(0, 500, 50):
        bench.ask_block(offset)
    bench.restart(down_s=5)
    assert bench.stored[PPMID].served_bytes < 500, "the last blocks were not written down"
    assert bench.download(start=500) == image().content[500:]
    assert end_response(bench.end()).upgrade_time == 0


def test_a_silence_after_a_restart_is_reported():
    bench = Bench()
    bench.offer()
    bench.query()
    bench.restart()
    assert alarms(bench.run(bench.policy.stall_s + 1)) == [AlarmKind.STALLED]


def test_a_device_that_had_everything_is_answered_at_once():
    bench = Bench()
    bench.offer()
    bench.served()
    bench.restart(down_s=5)
    assert end_response(bench.end()).upgrade_time == 0


def test_a_held_device_is_told_again_to_wait_as_soon_as_the_hub_is_back():
    bench = Bench()
    bench.offer(model.ActivateHold())
    bench.served()
    bench.end()
    effects = bench.restart(down_s=20)
    assert end_response(effects).upgrade_time == zcl.WAIT_FOR_COMMAND


def test_a_held_device_whose_time_came_near_while_the_hub_was_down_gets_it_at_once():
    bench = Bench()
    bench.offer(model.ActivateAt(START_UTC + 4 * HOUR, model.Strategy.HOLD))
    bench.served()
    bench.end()
    effects = bench.restart(down_s=3 * HOUR + 1800)
    assert 0 < end_response(effects).upgrade_time <= 1800


def test_a_time_that_passed_within_the_grace_is_now():
    bench = Bench()
    bench.offer(model.ActivateAt(START_UTC + 4 * HOUR, model.Strategy.HOLD))
    bench.served()
    bench.end()
    assert end_response(bench.restart(down_s=4 * HOUR + 600)).upgrade_time == 0


def test_a_time_that_passed_beyond_the_grace_is_missed_and_the_device_told_to_wait():
    bench = Bench()
    bench.offer(model.ActivateAt(START_UTC + 4 * HOUR, model.Strategy.HOLD))
    bench.served()
    bench.end()
    assert end_response(bench.restart(down_s=6 * HOUR)).upgrade_time == zcl.WAIT_FOR_COMMAND
    assert bench.state is model.TransferState.MISSED


def test_a_time_that_was_written_down_but_never_sent_is_sent():
    bench = Bench()
    bench.offer(model.ActivateAt(START_UTC + 1800))
    bench.served()
    bench.hear(zcl.UpgradeEndRequest(0, *IDS), report=False)
    effects = bench.restart(down_s=10)
    assert 1780 <= end_response(effects).upgrade_time <= 1800


def test_a_time_that_arrived_is_not_said_again():
    bench = Bench()
    bench.offer(model.ActivateAt(START_UTC + 1800))
    bench.served()
    bench.end()
    assert not end_responses(bench.restart(down_s=10))
    assert not end_responses(bench.run(1000))


def test_an_ended_session_stays_ended():
    bench = Bench()
    bench.offer()
    bench.carry_out(bench.server.cancel(PPMID, bench.now))
    assert bench.restart() == ()
    assert block_response(bench.ask_block(0)) == zcl.BlockRefused(0x95)


def test_an_instant_of_another_process_means_nothing():
    bench = Bench()
    bench.instant = 1e9
    bench.offer()
    bench.query()
    bench.ask_block(0)
    bench.restart()
    (send,) = only(Send, bench.run(31))
    assert Frame.from_bytes(send.payload).command == zcl.ImageNotify.COMMAND


# The table


def test_every_state_is_reached_and_every_input_used():
    reached = {target for row in TRANSFER.values() for target in row.values()}
    assert reached | {model.TransferState.OFFERED} == set(model.TransferState)
    assert {given for row in TRANSFER.values() for given in row} == set(Input)
    assert set(TRANSFER) == set(model.TransferState)


def test_nothing_leads_from_a_given_time_to_cancelled():
    assert set(TRANSFER[model.TransferState.COMMITTED].values()) <= TRANSFER_ENDS - {model.TransferState.CANCELLED}


def test_what_the_table_does_not_name_is_a_mistake_of_the_caller():
    with pytest.raises(LookupError, match="COMMITTED has no transition for CANCEL"):
        next_state(TRANSFER, model.TransferState.COMMITTED, Input.CANCEL)
