"""A device that has every byte is told nothing that lets it start before its time, whatever class its client is of."""

from itertools import pairwise

import pytest

from chf.update import model
from chf.update.clients import CLASSES, UNKNOWN, ClientClass, OnReboot
from chf.update.effects import Alarm, AlarmKind
from chf.update.transfer.policy import OtaPolicy
from chf.zcl import ota as zcl
from chf.zcl.frame import Status
from tests.support.ota_bench import (
    OLD,
    PPMID,
    START_UTC,
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
    notifies,
    only,
    query_response,
)

HOUR = 3600
WAIT = zcl.WAIT_FOR_COMMAND
HOLD, PARK = model.Strategy.HOLD, model.Strategy.PARK
TELINK = CLASSES["telink"]
PATIENT = [row for row in CLASSES.values() if row.honours_wait]
EVERY_CLASS = pytest.mark.parametrize("client", CLASSES.values(), ids=lambda row: row.name)


def offered(bench: Bench) -> bool:
    return query_response(bench.query()).status == Status.SUCCESS


def with_every_byte(client: ClientClass, seconds: float) -> Bench:
    """A device that was told to hold by a promise that its class keeps no longer: the worst that can have happened."""
    bench = answered(at(seconds, strategy=HOLD))
    bench.client = client
    bench.carry_out(bench.server.client_known(PPMID, client, bench.now))
    return bench


def test_a_power_cut_ten_minutes_into_a_wait_of_45_starts_nothing():
    bench = with_every_byte(TELINK, 45 * 60)
    bench.run(600)
    assert not offered(bench), "it would start at once with the image that it has"
    effects = ()
    while bench.utc < START_UTC + 45 * 60 - 300:
        effects += bench.run(290) + bench.query(version=OLD)
    assert not notifies(effects)
    bench.run(START_UTC + 45 * 60 - bench.utc - 1)
    assert len(notifies(bench.run(2))) == 1
    assert offered(bench)
    assert end_response(bench.end()).upgrade_time == 0


@EVERY_CLASS
@pytest.mark.parametrize("restarts", [False, True], ids=["", "and the hub restarts"])
@pytest.mark.parametrize("left_s", [4 * HOUR, 50, 10], ids=["held", "held, near", "committed"])
def test_whoever_has_every_byte_is_offered_nothing_before_its_time(client, restarts, left_s):
    bench = with_every_byte(client, 8 * HOUR)
    bench.run(START_UTC + 8 * HOUR - left_s - bench.utc)
    if restarts:
        bench.restart(down_s=1)
    assert not offered(bench)
    assert not notifies(bench.run(START_UTC + 8 * HOUR - bench.utc - 1))
    assert not offered(bench)
    assert notifies(bench.run(40))
    assert offered(bench)
    assert end_response(bench.end()).upgrade_time == 0


@pytest.mark.parametrize("client", PATIENT, ids=lambda row: row.name)
def test_a_parked_device_gets_the_end_when_its_class_can_be_told_its_time(client):
    bench = Bench(client=client)
    bench.offer(at(4 * HOUR, strategy=HOLD if client.can_hold(4 * HOUR) else PARK))
    bench.carry_out(bench.server.release(PPMID, at(4 * HOUR), bench.now))
    bench.served()
    while isinstance(response := block_response(bench.ask_block(950)), zcl.WaitForData):
        bench.run(response.request_time)
    left_s = START_UTC + 4 * HOUR - bench.utc
    assert client.commit_window_s - 2 <= left_s <= client.commit_window_s
    assert left_s - 1 <= end_response(bench.end()).upgrade_time <= left_s + 1


def test_a_device_that_restarts_before_its_upgrade_end_is_invited_at_its_time():
    bench = finished(at(30))
    assert bench.state is model.TransferState.SERVED
    assert not offered(bench)
    assert not notifies(bench.run(START_UTC + 29 - bench.utc))
    assert len(notifies(bench.run(2))) == 1
    assert offered(bench)


def test_a_device_that_never_comes_back_to_say_that_it_is_complete_has_missed_its_time():
    bench = finished(at(30))
    bench.run(30 + bench.policy.grace_s + 2)
    assert bench.state is model.TransferState.MISSED
    assert not offered(bench)


@pytest.mark.parametrize("complete", [True, False])
def test_a_missed_device_is_offered_nothing_until_it_is_released(complete):
    bench = finished(at(30)) if complete else Bench()
    if not complete:
        bench.offer(at(4 * HOUR))
        bench.served()
    bench.restart(down_s=8 * HOUR)
    assert bench.state is model.TransferState.MISSED
    assert not offered(bench)
    assert not notifies(bench.run(HOUR))
    effects = bench.carry_out(bench.server.release(PPMID, model.ActivateNow(), bench.now))
    assert bench.state is (model.TransferState.SERVED if complete else model.TransferState.PARKED)
    assert len(notifies(effects + bench.run(1))) == 1
    assert offered(bench)
    bench.download(start=900)
    assert end_response(bench.end()).upgrade_time == 0


def test_a_held_device_is_offered_nothing_until_it_is_released():
    bench = answered(model.ActivateHold())
    bench.run(24 * HOUR)
    assert not offered(bench)
    effects = bench.carry_out(bench.server.release(PPMID, model.ActivateNow(), bench.now))
    assert end_response(effects).upgrade_time == 0, "it may be listening"
    assert len(notifies(bench.run(1))) == 1, "and it may not"
    assert offered(bench)


def test_a_device_without_a_clock_to_trust_is_offered_nothing():
    bench = with_every_byte(TELINK, 4 * HOUR)
    bench.utc, bench.trusted = START_UTC + 5 * HOUR, False
    assert not offered(bench)
    assert not notifies(bench.run(HOUR))


@pytest.mark.parametrize("left_s", [4 * HOUR, 10], ids=["held", "committed"])
def test_a_time_that_only_an_untrusted_clock_shows_has_not_come(left_s):
    bench = with_every_byte(TELINK, 8 * HOUR)
    bench.run(START_UTC + 8 * HOUR - left_s - bench.utc)
    bench.utc, bench.trusted = START_UTC + 8 * HOUR + 1, False
    assert not offered(bench)
    bench.trusted = True
    bench.run(61)
    assert offered(bench)


def test_a_device_that_says_again_that_it_is_complete_needs_no_notify():
    bench = answered(at(1800))
    bench.query()
    bench.end()
    assert not notifies(bench.run(START_UTC + 1829 - bench.utc))
    assert len(notifies(bench.run(2))) == 1, "with the first reminder: perhaps it restarted unheard"


def test_nobody_is_notified_of_what_is_not_offered_any_more():
    bench = answered(model.ActivateNow())
    assert notifies(bench.run(40))
    assert [offered(bench) for _ in range(4)] == [True, True, True, False]
    assert not notifies(bench.run(HOUR))


def test_a_time_that_is_moved_after_the_notify_brings_another_at_the_new_one():
    bench = finished(at(30))
    assert len(notifies(bench.run(31))) == 1
    bench.carry_out(bench.server.release(PPMID, at(HOUR), bench.now))
    assert not offered(bench)
    assert not notifies(bench.run(START_UTC + HOUR - 1 - bench.utc))
    assert len(notifies(bench.run(2))) == 1


def test_a_device_that_gave_its_download_up_has_nothing_and_is_offered_it_again():
    bench = finished(at(30), OtaPolicy(retries_after_abort=1))
    bench.end(Status.ABORT)
    assert offered(bench)
    assert default_response(bench.end()).status == Status.ABORT


def test_a_meter_may_fetch_what_it_lost_until_it_says_that_it_is_complete():
    bench = finished(model.ActivateByCommand())
    assert offered(bench)
    bench.end()
    assert not offered(bench)


# Who says so itself


@pytest.mark.parametrize("how", ["Upgrade End", "a block behind the end"])
def test_a_device_that_says_that_it_has_every_byte_is_believed_as_far_as_this_goes(how):
    bench = Bench()
    bench.offer(at(4 * HOUR))
    bench.query()
    effects = bench.end() if how == "Upgrade End" else bench.ask_block(1000)
    assert default_response(effects).status != Status.SUCCESS
    assert AlarmKind.HAS_IMAGE in alarms(effects)
    bench.restart(down_s=5)
    assert not offered(bench)
    assert not notifies(bench.run(4 * HOUR - 10 - (bench.utc - START_UTC)))
    bench.run(11)
    assert offered(bench)


@pytest.mark.parametrize("wanted", [at(8 * HOUR), model.ActivateHold()], ids=["at", "hold"])
@pytest.mark.parametrize("restarts", [False, True])
def test_what_a_cancelled_update_left_with_the_device_is_not_offered_before_the_time_of_the_next(wanted, restarts):
    bench = with_every_byte(TELINK, 4 * HOUR)
    bench.carry_out(bench.server.cancel(PPMID, bench.now))
    if restarts:
        bench.begin()
        bench.server.left(PPMID, bench.image.sha256)
    effects = bench.offer(wanted, update=2)
    assert AlarmKind.HAS_IMAGE in alarms(effects)
    assert not notifies(bench.run(HOUR))
    assert not offered(bench)
    effects = bench.carry_out(bench.server.release(PPMID, model.ActivateNow(), bench.now)) + bench.run(1)
    assert len(notifies(effects)) == 1
    assert offered(bench)


def test_what_an_update_left_that_nothing_calls_back_is_not_offered_before_the_time_of_the_next():
    bench = answered(model.ActivateNow())
    bench.carry_out(bench.server.withdraw(PPMID, bench.now))
    assert AlarmKind.HAS_IMAGE in alarms(bench.offer(at(8 * HOUR), update=2))
    assert not offered(bench)


def test_another_image_after_a_cancelled_one_is_offered():
    bench = with_every_byte(TELINK, 4 * HOUR)
    bench.carry_out(bench.server.cancel(PPMID, bench.now))
    bench.offer(at(8 * HOUR), of=image(1200), update=2)
    assert offered(bench)


def test_what_a_device_has_and_nobody_decided_over_in_time_has_missed_it():
    bench = with_every_byte(TELINK, 4 * HOUR)
    bench.carry_out(bench.server.cancel(PPMID, bench.now))
    bench.offer(at(8 * HOUR), update=2)
    bench.restart(down_s=10 * HOUR)
    bench.run(61)
    assert bench.state is model.TransferState.MISSED
    assert not offered(bench)


# What a class of client cannot be trusted with


@EVERY_CLASS
@pytest.mark.parametrize("wanted", [at(90 * 60, strategy=HOLD), at(9 * HOUR, strategy=HOLD), model.ActivateHold()])
def test_a_client_that_cannot_be_held_so_long_is_parked_and_that_is_said_at_the_order(client, wanted):
    wait_s = float("inf") if isinstance(wanted, model.ActivateHold) else wanted.utc - START_UTC
    bench = Bench(client=client)
    effects = bench.offer(wanted)
    if client.can_hold(wait_s - client.commit_window_s):
        assert alarms(effects) == []
        bench.served()
        assert end_response(bench.end()).upgrade_time == WAIT
    else:
        assert alarms(effects) == [AlarmKind.HOLD_LIMIT]
        assert "last block is kept back" in only(Alarm, effects)[0].text
        bench.served()
        assert not bench.record().end_served


@EVERY_CLASS
def test_a_restart_that_nothing_can_be_done_about_is_said_at_the_order(client):
    effects = Bench(client=client).offer(at(4 * HOUR))
    warned = [alarm.text for alarm in only(Alarm, effects)]
    assert bool(warned) is (client.on_reboot is OnReboot.ACTIVATES)
    assert all("a restart in the last 20 s before its time" in text for text in warned)


def test_a_hold_whose_end_no_trusted_clock_shows_is_one_without_end():
    bench = Bench(client=TELINK)
    bench.trusted = False
    assert alarms(bench.offer(at(HOUR, strategy=HOLD))) == [AlarmKind.HOLD_LIMIT]
    bench.served()
    assert bench.state is model.TransferState.PARKED


def test_a_promise_that_a_class_does_not_keep_is_taken_back_as_soon_as_the_class_is_known():
    bench = finished(at(9 * HOUR, strategy=HOLD))
    assert alarms(bench.end()) == []
    (alarm,) = only(Alarm, bench.carry_out(bench.server.client_known(PPMID, TELINK, bench.now)))
    assert "may activate it by itself before its time" in alarm.text
    assert bench.carry_out(bench.server.client_known(PPMID, TELINK, bench.now)) == (), "said once"


def test_a_warning_comes_with_the_order_that_it_is_about_and_once():
    bench = Bench(client=TELINK)
    assert alarms(bench.offer(at(4 * HOUR))) == []
    far = model.ActivateAt(START_UTC + 5 * HOUR, HOLD)
    assert alarms(bench.carry_out(bench.server.release(PPMID, far, bench.now))) == [AlarmKind.HOLD_LIMIT]
    farther = model.ActivateAt(START_UTC + 6 * HOUR, HOLD)
    assert alarms(bench.carry_out(bench.server.release(PPMID, farther, bench.now))) == []


@pytest.mark.parametrize("wanted", [model.ActivateNow(), model.ActivateByCommand()])
def test_what_has_no_time_needs_no_warning(wanted):
    assert alarms(Bench(client=UNKNOWN).offer(wanted)) == []


def test_a_setting_makes_a_window_smaller_and_never_larger():
    small = finished(at(15), OtaPolicy(commit_window_s=10), client=CLASSES["silicon-labs"])
    assert small.state is model.TransferState.PARKED
    large = finished(at(60), OtaPolicy(commit_window_s=3000), client=UNKNOWN)
    assert large.state is model.TransferState.PARKED


# Who does not wait


def impatient(wanted: model.Activation, times: int = 4) -> tuple[Bench, tuple]:
    """A device that asks for the last block as soon as it is told to wait."""
    bench = Bench(client=UNKNOWN)
    bench.offer(wanted, of=image(100_000))
    bench.query()
    bench.download()
    bench.history.clear()
    for _ in range(times - 1):
        bench.advance(0.02)
        bench.ask_block(99_950)
    return bench, tuple(bench.history)


def test_a_device_that_asks_three_times_inside_its_wait_is_sent_away():
    bench, before = impatient(at(4 * HOUR), times=3)
    assert not only(Alarm, before)
    bench.advance(0.02)
    effects = bench.ask_block(99_950)
    assert alarms(effects) == [AlarmKind.IGNORES_WAIT]
    assert block_response(effects) == zcl.BlockRefused(Status.ABORT)
    assert bench.stored[PPMID].ignores_wait


def test_who_was_sent_away_begins_again_when_its_time_is_near():
    bench, _ = impatient(at(4 * HOUR))
    took_s = bench.record().download_s
    assert took_s == pytest.approx(20, rel=0.1)
    bench.restart(down_s=60)
    assert not offered(bench)
    due_s = 4 * HOUR - UNKNOWN.commit_window_s - 60 - 1.5 * took_s
    assert not notifies(bench.run(START_UTC + due_s - 1 - bench.utc))
    assert len(notifies(bench.run(2))) == 1
    assert offered(bench)
    bench.download()
    assert bench.state is model.TransferState.PARKED


def test_who_is_kept_waiting_close_to_its_time_is_answered_late_and_gets_the_end_in_time():
    bench, _ = impatient(at(4 * HOUR))
    bench.run(START_UTC + 4 * HOUR - 100 - bench.utc)
    bench.query()
    bench.download()
    asked, first = 1, bench.instant
    while not bench.record().end_served:
        late = bench.run(3)
        assert len(late) <= 1
        bench.ask_block(99_950)
        asked += 1
    assert asked <= (bench.instant - first) / 2.5 + 2
    assert 0 < end_response(bench.end()).upgrade_time <= UNKNOWN.commit_window_s


def test_who_was_sent_away_is_not_called_back_by_a_clock_that_is_not_trusted():
    bench, _ = impatient(at(4 * HOUR))
    bench.utc, bench.trusted = START_UTC + 4 * HOUR - 30, False
    assert not offered(bench)
    assert not notifies(bench.run(HOUR))


def test_who_was_sent_away_and_restarts_when_it_is_complete_is_invited_once_more():
    bench, _ = impatient(at(4 * HOUR))
    bench.run(START_UTC + 4 * HOUR - 15 - bench.utc)
    bench.query()
    bench.ask_block(99_950)
    assert bench.state is model.TransferState.SERVED
    assert not offered(bench)
    assert len(notifies(bench.run(31))) == 1


def test_who_was_sent_away_gets_no_page_either():
    bench, _ = impatient(at(4 * HOUR))
    bench.run(120)
    assert block_response(bench.ask_page(0, 1024)) == zcl.BlockRefused(Status.ABORT)
    assert bench.state is model.TransferState.OFFERED


def test_a_download_of_which_little_was_seen_is_taken_for_a_slow_one():
    bench = Bench()
    bench.offer(at(4 * HOUR), of=image(100_000))
    bench.query()
    bench.download(start=99_000)
    for _ in range(3):
        bench.ask_block(99_950)
    assert bench.record().download_s == pytest.approx(100_000 / 160)


def test_the_time_of_a_download_that_was_given_up_is_not_counted():
    bench = Bench(OtaPolicy(retries_after_abort=1))
    bench.offer(at(4 * HOUR), of=image(100_000))
    bench.query()
    bench.ask_block(0)
    bench.run(1000)
    bench.end(Status.ABORT)
    bench.query()
    bench.download()
    for _ in range(3):
        bench.ask_block(99_950)
    assert bench.record().download_s == pytest.approx(20, rel=0.1)


def test_an_answer_that_was_put_off_is_dropped_with_its_update():
    bench, _ = impatient(at(4 * HOUR))
    bench.ask_block(99_950)
    bench.carry_out(bench.server.cancel(PPMID, bench.now))
    assert not bench.run(10)


def test_who_does_not_heed_an_abort_is_answered_late():
    bench, _ = impatient(at(4 * HOUR))
    answers = 0
    for _ in range(1000):
        answers += len(bench.ask_block(0)) + len(bench.run(0.02))
    assert 1 <= answers <= 20 / 2.5
    assert bench.state is model.TransferState.OFFERED


def test_who_was_sent_away_may_say_so():
    bench, _ = impatient(at(4 * HOUR))
    assert not only(model.TransferEnded, bench.end(Status.ABORT))
    assert bench.state is model.TransferState.OFFERED


@pytest.mark.parametrize("wanted", [model.ActivateHold(PARK), at(4 * HOUR)])
@pytest.mark.parametrize("asks", [True, False])
def test_who_was_sent_away_is_invited_when_it_is_released(wanted, asks):
    bench, _ = impatient(wanted)
    assert not asks or not offered(bench)
    effects = bench.carry_out(bench.server.release(PPMID, model.ActivateNow(), bench.now)) + bench.run(1)
    assert len(notifies(effects)) == 1
    assert offered(bench)
    bench.download()
    assert end_response(bench.end()).upgrade_time == 0


def test_who_missed_its_time_and_does_not_wait_is_sent_away_as_well():
    bench, _ = impatient(at(600))
    bench.run(START_UTC + 600 + bench.policy.grace_s + 10 - bench.utc)
    assert bench.state is model.TransferState.MISSED
    assert not offered(bench)
    assert block_response(bench.ask_block(99_950)) == zcl.BlockRefused(Status.ABORT)
    assert not bench.ask_block(99_950), "it is answered late"


def test_a_client_whose_class_waits_for_nothing_is_sent_away_at_once():
    bench = Bench(client=CLASSES["microchip"])
    bench.offer(at(4 * HOUR))
    bench.served()
    assert block_response(tuple(bench.history[-1:])) == zcl.BlockRefused(Status.ABORT)
    assert bench.state is model.TransferState.OFFERED


def test_a_repeated_request_now_and_then_is_no_impatience():
    bench = Bench()
    bench.offer(at(24 * HOUR))
    bench.served()
    for _ in range(10):
        for _ in range(2):  # the answer was lost
            assert isinstance(block_response(bench.ask_block(950)), zcl.WaitForData)
            bench.run(3)
        bench.run(1800)
    assert not bench.record().ignores_wait


@pytest.mark.parametrize("asks_first", [True, False])
def test_a_device_that_restarts_inside_its_wait_is_not_impatient(asks_first):
    bench = Bench()
    bench.offer(at(24 * HOUR))
    bench.served()
    for _ in range(6):
        bench.run(60)
        if asks_first:
            bench.query()
        else:
            bench.ask_block(900)
        assert isinstance(block_response(bench.ask_block(950)), zcl.WaitForData)
    assert not bench.record().ignores_wait


# What a clock or a stop of the hub may not bring about


@pytest.mark.parametrize("trouble", ["the clock is set", "the hub was down"])
def test_reminders_and_notifies_never_come_several_at_once(trouble):
    bench = answered(at(1800))
    if trouble == "the clock is set":
        bench.run(600)
        bench.utc += 5 * HOUR
    else:
        bench.restart(down_s=6 * HOUR)
        assert not end_responses(bench.run(29))
    times = []
    for _ in range(4 * HOUR):
        effects = bench.run(1)
        assert len(end_responses(effects)) <= 1
        assert len(notifies(effects)) <= 1
        times += [bench.instant] * len(end_responses(effects))
    assert len(times) == bench.policy.reminders
    spacings = [after - before for before, after in pairwise(times)]
    assert spacings == pytest.approx([60, 120, 240, 480], abs=1.01)


def test_orders_that_go_to_and_fro_notify_no_more_than_once_in_a_while():
    bench = finished(model.ActivateHold())
    times = []
    for _ in range(20):
        for wanted in (model.ActivateHold(), model.ActivateNow()):
            bench.carry_out(bench.server.release(PPMID, wanted, bench.now))
            times += [bench.instant] * len(notifies(bench.run(1)))
            bench.query()
    assert len(times) > 1
    assert min(after - before for before, after in pairwise(times)) >= bench.policy.notify_interval_s - 1
