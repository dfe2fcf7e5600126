"""When updates move: places on the air, read-backs, ends of time, restarts."""

import itertools
from dataclasses import replace

import pytest

from chf.clock import Instant, Now, UtcSeconds
from chf.errors import UsageError
from chf.eui64 import Eui64
from chf.image.header import ImageType
from chf.image.image import ImageId
from chf.update import model
from chf.update.effects import Happened, Offer, RaiseTransferAlert, ReadVersion
from chf.update.scheduler import SchedulePolicy, Scheduler
from chf.update.transitions import FIRST_READ_S
from tests.support.updates import MADE_FOR, told

T0 = 1_800_000_000.0
OLD, NEW, DAY_S = 1, 2, 86400.0
OTHER_TYPE = ImageType(MADE_FOR.manufacturer_code, 9)
SUCCESS = model.TransferEnded(model.TransferOutcome.SUCCESS)


def at(seconds: float, step_s: float = 0.0) -> Now:
    return Now(Instant(seconds), UtcSeconds(T0 + seconds + step_s))


def new_update(number: int, **changes) -> model.Update:
    update = model.accept(
        number=model.UpdateId(number),
        device=Eui64(number),
        image=ImageId("cd" * 32),
        image_type=MADE_FOR,
        file_version=NEW,
        activation=model.ActivateNow(),
        origin="cli",
        version_before=OLD,
        now_utc=UtcSeconds(T0),
        lifetime_s=7 * 86400.0,
    )
    return replace(update, **changes)


def stored(number: int, **changes) -> model.Update:
    return new_update(number, state=model.UpdateState.STORED, **changes)


def offers(effects) -> list[int]:
    return [effect.update.id for effect in effects if isinstance(effect, Offer)]


def reads(effects) -> list[int]:
    return [effect.update.id for effect in effects if isinstance(effect, ReadVersion)]


def tell(scheduler: Scheduler, number: int, *events, seconds: float = 0.0):
    effects = []
    for event in events:
        effects += scheduler.handle(model.UpdateId(number), event, at(seconds))
    return effects


def test_a_row_is_saved_before_anything_is_done_about_it():
    scheduler = Scheduler(SchedulePolicy())
    scheduler.add(new_update(1), at(0))
    effects = tell(scheduler, 1, model.Stored())
    assert isinstance(effects[0], Happened)
    assert (effects[0].before.state, effects[0].update.state) == (model.UpdateState.ACCEPTED, model.UpdateState.STORED)
    assert offers(effects) == [1]
    effects = tell(scheduler, 1, model.Announced(), model.DownloadStarted(), SUCCESS)
    kinds = [type(effect) for effect in effects]
    assert kinds.index(RaiseTransferAlert) == len(kinds) - 1
    assert kinds[-2] is Happened


def test_updates_run_in_the_order_of_their_making_as_many_as_are_allowed():
    scheduler = Scheduler(SchedulePolicy(concurrent=2))
    assert offers(scheduler.load([stored(n) for n in (1, 2, 3, 4)], at(0))) == [1, 2]
    assert offers(tell(scheduler, 1, model.Announced(), model.DownloadStarted())) == []
    assert offers(tell(scheduler, 1, SUCCESS)) == [3]
    assert offers(tell(scheduler, 2, model.Refused("no"))) == [4]
    assert offers(tell(scheduler, 3, model.Announced(), model.Announced())) == []


def test_a_device_that_keeps_silent_loses_its_place_and_may_come_back():
    policy = SchedulePolicy(concurrent=1, slot_s=600.0)
    scheduler = Scheduler(policy)
    scheduler.load([stored(1), stored(2)], at(0))
    tell(scheduler, 1, model.Announced(), seconds=1)
    assert scheduler.deadline() == 601.0
    assert offers(scheduler.handle_deadline(at(601))) == [2]
    effects = tell(scheduler, 1, model.DownloadStarted(), seconds=700)
    assert effects[0].update.state is model.UpdateState.DOWNLOADING


def test_progress_keeps_the_place():
    scheduler = Scheduler(SchedulePolicy(concurrent=1, slot_s=600.0))
    scheduler.load([stored(1), stored(2)], at(0))
    tell(scheduler, 1, model.Announced(), model.DownloadStarted(), seconds=1)
    assert tell(scheduler, 1, model.DownloadStarted(), seconds=500) == []
    assert offers(scheduler.handle_deadline(at(650))) == []
    assert offers(scheduler.handle_deadline(at(1100))) == [2]


def test_one_update_per_device():
    scheduler = Scheduler(SchedulePolicy())
    scheduler.add(new_update(1), at(0))
    with pytest.raises(UsageError, match="update 1 in progress"):
        scheduler.add(new_update(2, device=Eui64(1)), at(0))
    tell(scheduler, 1, model.Cancelled())
    scheduler.add(new_update(2, device=Eui64(1)), at(0))
    assert scheduler.for_device(Eui64(1)).id == 2


def activating(scheduler: Scheduler, *, at_s: float = 0.0) -> None:
    scheduler.load([stored(1)], at(0))
    tell(
        scheduler, 1, model.Announced(), model.DownloadStarted(), SUCCESS, model.ActivationGiven(UtcSeconds(T0 + at_s))
    )


def due_reads(scheduler: Scheduler, until_s: float) -> list[float]:
    """The seconds at which a read-back is asked for."""
    times = []
    while (deadline := scheduler.deadline()) is not None and deadline <= until_s:
        times += [deadline] * len(reads(scheduler.handle_deadline(at(deadline))))
    return times


def test_read_backs_come_ever_more_rarely_until_the_device_has_had_its_time():
    scheduler = Scheduler(SchedulePolicy(read_interval_s=3, read_interval_limit_s=60, verify_s=200))
    activating(scheduler, at_s=1000)
    tell(scheduler, 1, told(OLD), seconds=1001)
    assert due_reads(scheduler, 1199) == [1002, 1005, 1011, 1023, 1047, 1095, 1155]
    effects = scheduler.handle_deadline(at(1200))
    assert effects[0].update.state is model.UpdateState.FAILED
    assert scheduler.deadline() is None


def test_who_tells_no_version_is_asked_ever_more_rarely_until_the_deadline_of_the_update():
    scheduler = Scheduler(SchedulePolicy(read_interval_s=3, read_interval_limit_s=60, verify_s=200))
    activating(scheduler)
    due_reads(scheduler, 199)
    reason = "unverified: the device reported nothing, and its version could not be read"
    (said,) = [item.update for item in scheduler.handle_deadline(at(200)) if isinstance(item, Happened)]
    assert (said.state, said.reason) == (model.UpdateState.ACTIVATING, reason)
    read_at = due_reads(scheduler, DAY_S)
    assert {later - earlier for earlier, later in itertools.pairwise(read_at[-10:])} == {3600.0}
    assert due_reads(scheduler, 7 * DAY_S)
    ended = scheduler.for_device(said.device)
    assert (ended.state, ended.ended) == (model.UpdateState.FAILED, ended.deadline)
    assert ended.reason == f"the new version was not seen in time: {reason.removeprefix('unverified: ')}"
    assert scheduler.deadline() is None


def test_who_tells_its_version_after_the_time_for_that_ends_the_update_then():
    for version, state in ((NEW, model.UpdateState.ACTIVATED), (OLD, model.UpdateState.FAILED)):
        scheduler = Scheduler(SchedulePolicy(verify_s=200))
        activating(scheduler)
        due_reads(scheduler, 1000)
        device = tell(scheduler, 1, told(version), seconds=1001)[0].update.device
        due_reads(scheduler, 1200)
        assert scheduler.for_device(device).state is state


def test_a_hub_that_was_down_for_a_lifetime_gives_an_unverified_device_its_whole_time_again():
    scheduler = Scheduler(SchedulePolicy(verify_s=200))
    row = new_update(1, state=model.UpdateState.ACTIVATING, reason="unverified", deadline=T0 - 5)
    scheduler.load([row], at(0))
    assert due_reads(scheduler, 199)
    tell(scheduler, 1, told(NEW), seconds=199)
    assert scheduler.deadline() is None


def test_another_image_type_just_before_the_deadline_is_given_its_whole_time():
    scheduler = Scheduler(SchedulePolicy(verify_s=200))
    activating(scheduler)
    due_reads(scheduler, 7 * DAY_S - 10)
    device = tell(scheduler, 1, told(NEW, OTHER_TYPE, first=True), seconds=7 * DAY_S - 10)[0].update.device
    due_reads(scheduler, 7 * DAY_S + 189)
    assert scheduler.for_device(device).active
    due_reads(scheduler, 7 * DAY_S + 190)
    assert scheduler.for_device(device).state is model.UpdateState.ACTIVATED


def test_another_image_type_is_taken_for_the_new_firmware_after_a_whole_time_without_the_old_one():
    for again, state in (
        ((), model.UpdateState.ACTIVATED),
        ((told(OLD),), model.UpdateState.FAILED),
        ((told(None, doubt="it does not tell"),), model.UpdateState.FAILED),
    ):
        scheduler = Scheduler(SchedulePolicy(verify_s=200))
        activating(scheduler)
        due_reads(scheduler, 190)
        device = tell(scheduler, 1, told(NEW, OTHER_TYPE, first=True), seconds=190)[0].update.device
        due_reads(scheduler, 389)
        assert scheduler.for_device(device).state is model.UpdateState.ACTIVATING
        tell(scheduler, 1, *again, seconds=389)
        due_reads(scheduler, 7 * DAY_S)
        assert scheduler.for_device(device).state is state


def test_a_device_that_comes_back_is_asked_soon_and_again():
    scheduler = Scheduler(SchedulePolicy(read_interval_s=3, verify_s=600))
    activating(scheduler)
    due_reads(scheduler, 100)
    tell(scheduler, 1, model.DeviceRejoined(), seconds=100)
    assert due_reads(scheduler, 110) == [100 + FIRST_READ_S, 100 + FIRST_READ_S + 3]
    effects = tell(scheduler, 1, told(NEW), seconds=111)
    assert effects[0].update.state is model.UpdateState.ACTIVATED
    assert scheduler.deadline() is None


def test_a_second_sign_of_life_postpones_no_read_back():
    scheduler = Scheduler(SchedulePolicy())
    activating(scheduler)
    due_reads(scheduler, 100)
    tell(scheduler, 1, model.DeviceRejoined(), seconds=100)
    tell(scheduler, 1, model.DeviceRejoined(), seconds=101)
    assert scheduler.deadline() == 100 + FIRST_READ_S


def test_a_device_that_counts_down_is_read_beyond_the_lifetime_of_its_update():
    scheduler = Scheduler(SchedulePolicy(verify_s=600))
    scheduler.load([stored(1, deadline=UtcSeconds(T0 + 50))], at(0))
    tell(scheduler, 1, model.Announced(), SUCCESS, model.ActivationGiven(UtcSeconds(T0 + 100)), seconds=1)
    assert due_reads(scheduler, 110) == [102, 105]
    assert scheduler.get(model.UpdateId(1)).state is model.UpdateState.ACTIVATING


def test_a_device_that_reboots_before_its_time_is_asked_once_and_then_at_its_time():
    scheduler = Scheduler(SchedulePolicy())
    activating(scheduler, at_s=1000)
    tell(scheduler, 1, model.DeviceRejoined(), seconds=10)
    assert due_reads(scheduler, 1004) == [12, 1002]


def test_the_alert_asks_for_a_read_back():
    scheduler = Scheduler(SchedulePolicy())
    activating(scheduler)
    due_reads(scheduler, 60)
    tell(scheduler, 1, model.ActivationReported(success=True, file_version=NEW), seconds=60)
    assert scheduler.deadline() == 60 + FIRST_READ_S


def test_an_update_expires_at_its_deadline_unless_the_device_counts_down():
    scheduler = Scheduler(SchedulePolicy())
    scheduler.load([stored(1, deadline=UtcSeconds(T0 + 50)), stored(2, deadline=UtcSeconds(T0 + 50))], at(0))
    tell(scheduler, 1, model.Announced(), SUCCESS, model.ActivationGiven(UtcSeconds(T0 + 5)), seconds=1)
    effects = scheduler.handle_deadline(at(50))
    assert [(e.update.id, e.update.state) for e in effects if isinstance(e, Happened)] == [
        (2, model.UpdateState.EXPIRED)
    ]
    assert scheduler.get(model.UpdateId(1)).state is model.UpdateState.ACTIVATING


@pytest.mark.parametrize("step_s", [3600, -3600, 10 * 365 * 86400, -10 * 365 * 86400])
def test_a_stepped_wall_clock_expires_nothing_and_prolongs_nothing(step_s):
    scheduler = Scheduler(SchedulePolicy())
    scheduler.load([stored(1, deadline=UtcSeconds(T0 + 50))], at(0))
    assert scheduler.handle_deadline(at(49, step_s)) == ()
    assert scheduler.handle_deadline(at(50, step_s))[0].update.state is model.UpdateState.EXPIRED


WEEK = 7 * 86400.0


def dated(at_s: float, **changes) -> model.Update:
    return stored(1, activation=model.ActivateAt(T0 + at_s), **changes)


@pytest.mark.parametrize("step_s", [-WEEK * 52, -3600.0, 3600.0, WEEK * 52])
def test_a_row_has_as_long_left_after_a_clock_step_as_before(step_s):
    scheduler = Scheduler(SchedulePolicy())
    scheduler.load([stored(1), stored(2, deadline=T0 + 5000)], at(0))
    moved = scheduler.clock_stepped(T0 + 1000, T0 + 1000 + step_s, at(1000, step_s))
    assert [row.deadline for row in moved] == [T0 + WEEK + step_s, T0 + 5000 + step_s]
    restarted = Scheduler(SchedulePolicy())
    restarted.load(moved, at(1000, step_s))
    for each in (scheduler, restarted):
        assert each.get(model.UpdateId(1)) == moved[0]
        assert each.handle_deadline(at(4999, step_s)) == ()
        assert [item.update.id for item in each.handle_deadline(at(5000, step_s)) if isinstance(item, Happened)] == [2]


@pytest.mark.parametrize(
    ("step_s", "deadline_s"),
    [
        (-WEEK, 10_000 + WEEK),  # the appointment is as far off as the clock now says, and the lifetime begins there
        (5_000, 10_000 + WEEK),
        (20_000, 21_000 + WEEK),  # it has passed: the whole lifetime is left
    ],
)
def test_an_appointment_does_not_move_with_the_clock_and_its_lifetime_begins_there(step_s, deadline_s):
    scheduler = Scheduler(SchedulePolicy())
    scheduler.load([dated(10_000, deadline=T0 + 10_000 + WEEK)], at(0))
    scheduler.clock_stepped(T0 + 1000, T0 + 1000 + step_s, at(1000, step_s))
    row = scheduler.get(model.UpdateId(1))
    assert (row.deadline, row.activation.utc) == (T0 + deadline_s, T0 + 10_000)
    ends_s = deadline_s - step_s  # by the monotonic clock
    assert scheduler.handle_deadline(at(ends_s - 1, step_s)) == ()
    assert scheduler.handle_deadline(at(ends_s, step_s))


@pytest.mark.parametrize(
    ("activation", "order", "deadline_s"),
    [
        (model.ActivateHold(), model.ActivateAt(T0 + 10_000), 10_000 + WEEK - 1000),
        (model.ActivateAt(T0 + 10_000), model.ActivateAt(T0 + 5000), 5000 + WEEK),
        (model.ActivateAt(T0 + 10_000), model.ActivateNow(), 1000 + WEEK),
        (model.ActivateHold(), model.ActivateNow(), WEEK),
    ],
)
def test_what_is_left_of_a_lifetime_counts_from_the_time_that_was_ordered(activation, order, deadline_s):
    begins_s = activation.utc - T0 if isinstance(activation, model.ActivateAt) else 0.0
    row = new_update(1, state=model.UpdateState.ANNOUNCED, activation=activation, deadline=T0 + begins_s + WEEK)
    scheduler = Scheduler(SchedulePolicy())
    scheduler.load([row], at(0))
    tell(scheduler, 1, model.ActivationOrdered(order), seconds=1000)
    assert scheduler.get(model.UpdateId(1)).deadline == T0 + deadline_s
    ended = model.UpdateState.EXPIRED
    assert not any(
        isinstance(e, Happened) and e.update.state is ended for e in scheduler.handle_deadline(at(deadline_s - 1))
    )
    assert any(isinstance(e, Happened) and e.update.state is ended for e in scheduler.handle_deadline(at(deadline_s)))


def test_a_lifetime_that_runs_since_its_appointment_goes_on_from_there_when_the_clock_goes_back():
    scheduler = Scheduler(SchedulePolicy())
    scheduler.load([dated(10_000, deadline=T0 + 10_000 + WEEK)], at(11_000))
    (row,) = scheduler.clock_stepped(T0 + 11_000, T0 + 1000, at(11_000, -10_000))
    assert row.deadline == T0 + 10_000 + WEEK - 1000


@pytest.mark.parametrize(
    ("activation", "moves"),
    [
        (model.ActivateNow(), True),
        (model.ActivateAt(T0 + 600), True),
        (model.ActivateAt(T0 + 600, time_form=model.TimeForm.ABSOLUTE), False),
        (model.ActivateByCommand(), False),
    ],
)
def test_a_device_that_was_told_an_offset_activates_when_it_would_have_after_a_clock_step(activation, moves):
    told = new_update(1, activation=activation, state=model.UpdateState.ACTIVATING, activation_at=T0 + 600)
    scheduler = Scheduler(SchedulePolicy())
    scheduler.load([told], at(0))
    (row,) = scheduler.clock_stepped(T0 + 10, T0 + 10 + WEEK, at(10, WEEK))
    assert row.activation_at == T0 + 600 + (WEEK if moves else 0)
    restarted = Scheduler(SchedulePolicy())
    restarted.load([row], at(20, WEEK))
    if moves:
        assert due_reads(scheduler, 610) == due_reads(restarted, 610) == [600 + FIRST_READ_S]


def test_everything_comes_back_from_the_rows_alone():
    policy = SchedulePolicy(concurrent=2, verify_s=100)
    first = Scheduler(policy)
    first.load([stored(n) for n in (1, 2, 3)], at(0))
    tell(first, 1, model.Announced(), model.DownloadStarted(), SUCCESS, model.ActivationGiven(UtcSeconds(T0 + 10)))
    tell(first, 2, model.Announced())
    rows = [first.get(model.UpdateId(n)) for n in (1, 2, 3)]

    second = Scheduler(policy)
    effects = second.load(rows, at(5000))  # down at the time of activation, and long after
    assert offers(effects) == [2, 3]
    assert due_reads(second, 5003) == [5000 + FIRST_READ_S]
    assert second.get(model.UpdateId(1)).state is model.UpdateState.ACTIVATING  # it gets its time to show itself
    (said,) = [item.update for item in second.handle_deadline(at(5100)) if isinstance(item, Happened)]
    assert said.unverified


def test_an_update_that_was_cut_off_right_after_its_acceptance_goes_on():
    scheduler = Scheduler(SchedulePolicy())
    saved, offer = scheduler.load([new_update(1)], at(0))
    assert (saved.before.state, saved.update.state, offer.update.state) == (
        model.UpdateState.ACCEPTED,
        model.UpdateState.STORED,
        model.UpdateState.STORED,
    )
    effects = tell(scheduler, 1, model.Refused("there is no stored image"))
    assert effects[0].update.state is model.UpdateState.FAILED


def test_a_held_device_is_read_once_after_a_restart():
    scheduler = Scheduler(SchedulePolicy())
    scheduler.load([new_update(1, state=model.UpdateState.WAITING)], at(0))
    assert due_reads(scheduler, 1000) == [FIRST_READ_S]


def test_a_late_alert_reaches_the_row_of_the_update_that_ended():
    scheduler = Scheduler(SchedulePolicy())
    activating(scheduler)
    tell(scheduler, 1, told(NEW))
    report = model.ActivationReported(success=True, file_version=NEW)
    (saved,) = tell(scheduler, 1, report, seconds=900)
    assert (saved.update.state, saved.update.report.success) == (model.UpdateState.ACTIVATED, True)
    assert tell(scheduler, 1, report, seconds=901) == []
    again = Scheduler(SchedulePolicy())
    again.load([replace(saved.update, report=None)], at(0))
    assert again.for_device(Eui64(1)).state is model.UpdateState.ACTIVATED
    assert tell(again, 1, report) != []


def test_what_is_not_known_changes_nothing():
    scheduler = Scheduler(SchedulePolicy())
    assert scheduler.handle(model.UpdateId(9), model.Cancelled(), at(0)) == ()
    assert scheduler.for_device(Eui64(9)) is None
    assert scheduler.get(model.UpdateId(9)) is None
    assert scheduler.deadline() is None
    assert scheduler.handle_deadline(at(0)) == ()


@pytest.mark.parametrize("setting", [{"concurrent": 0}, {"verify_s": 0.0}, {"slot_s": -1.0}])
def test_a_policy_that_cannot_work_is_refused(setting):
    with pytest.raises(UsageError):
        SchedulePolicy(**setting)


def test_a_download_under_way_keeps_its_place_over_a_restart():
    scheduler = Scheduler(SchedulePolicy(concurrent=1, slot_s=600.0))
    loading = new_update(1, state=model.UpdateState.DOWNLOADING)
    assert offers(scheduler.load([loading, stored(2)], at(0))) == []
    assert offers(scheduler.handle_deadline(at(600))) == [2]
