"""Which wall clocks are trusted: unset, set while we look, set while nobody looked."""

import pytest

from chf.clock import Instant, Now, UtcSeconds
from chf.errors import RefusedError
from chf.trust import GAP_S, SETTLE_S, ClockRecord, WatchedClock, insist_on_trust

DAY = 86_400.0
MORNING = 1_800_000_000.0
HALF_A_SECOND = 0.5


class Machine:
    """Two clocks, one of which people set."""

    def __init__(self, utc: float = MORNING) -> None:
        self.instant, self.utc, self.boot = 1000.0, utc, "this start of the machine"
        self.watched = WatchedClock(self, None)
        self.watched.now()

    def now(self) -> Now:
        return Now(Instant(self.instant), UtcSeconds(self.utc), boot=self.boot)

    def pass_(self, seconds: float) -> Now:
        """As time passes, with looks."""
        for _ in range(int(seconds // 60)):
            self._tick(60)
            self.watched.now()
        self._tick(seconds % 60)
        return self.watched.now()

    def _tick(self, seconds: float) -> None:
        self.instant += seconds
        self.utc += seconds

    def steps(self) -> list[float]:
        return [step.seconds for step in self.watched.take_steps()]

    def die(self, *, down_s: float = 0.0, reboot: bool = False) -> Now:
        """The process ends and another begins; with `reboot`, the machine with it."""
        record = ClockRecord.from_json(self.watched.record().to_json())
        assert record == self.watched.record()
        self._tick(down_s)
        if reboot:
            self.instant, self.boot = 3.0, self.boot + " and another"
        self.watched = WatchedClock(self, record)
        return self.watched.now()


def test_a_clock_that_runs_on_is_trusted_and_steps_never():
    machine = Machine()
    assert machine.pass_(10 * DAY).trusted
    assert machine.die(down_s=10 * DAY).trusted
    assert machine.die(down_s=10 * DAY, reboot=True).trusted
    assert not machine.steps()


def test_a_clock_that_is_slewed_has_not_stepped():
    machine = Machine()
    for _ in range(1000):
        machine.utc += 0.0005 * 60
        assert machine.pass_(60).trusted
    assert not machine.steps()


@pytest.mark.parametrize("seconds", [10 * DAY, 3.0, -3.0])
def test_a_step_is_measured_at_once_and_the_clock_trusted_again_after_ten_minutes(seconds):
    machine = Machine()
    machine.pass_(HALF_A_SECOND)
    machine.utc += seconds
    assert not machine.pass_(HALF_A_SECOND).trusted
    assert machine.steps() == pytest.approx([seconds])
    assert not machine.pass_(SETTLE_S - 1).trusted
    assert machine.pass_(1).trusted
    assert not machine.steps()


def test_another_step_begins_the_ten_minutes_anew():
    machine = Machine()
    machine.utc += 10 * DAY
    machine.pass_(SETTLE_S - 60)
    machine.utc += 60
    machine.pass_(0)
    assert not machine.pass_(SETTLE_S - 1).trusted
    assert machine.pass_(1).trusted
    assert machine.steps() == pytest.approx([10 * DAY, 60])


def test_a_clock_that_nobody_set_is_not_trusted_however_long_it_runs_and_is_after_it_was_set():
    machine = Machine(utc=0.0)
    assert "nobody has set it" in machine.pass_(DAY).distrust
    with pytest.raises(RefusedError, match="set it"):
        machine.watched.confirm()
    machine.utc = MORNING
    assert "was set forward" in machine.pass_(1).distrust
    assert machine.pass_(SETTLE_S).trusted


def test_a_clock_that_went_back_is_trusted_once_time_has_caught_up():
    machine = Machine()
    machine.utc -= DAY
    assert machine.pass_(SETTLE_S).distrust.startswith("it is behind 2027-01-15T08:00:00Z")
    assert not machine.pass_(DAY - SETTLE_S - 60).trusted
    assert machine.pass_(60).trusted


def test_a_clock_far_beyond_what_was_seen_is_not_trusted_until_a_person_says_that_it_is_right():
    machine = Machine()
    machine.utc += 365 * DAY
    assert "more than 90 days beyond" in machine.pass_(DAY).distrust
    machine.watched.confirm()
    assert machine.pass_(0).trusted
    assert machine.die().trusted


def test_a_person_need_not_wait_for_ten_minutes():
    machine = Machine()
    machine.utc -= DAY
    machine.pass_(1)
    machine.watched.confirm()
    assert machine.pass_(0).trusted
    assert machine.pass_(DAY).trusted


# Processes that follow one another


@pytest.mark.parametrize("seconds", [-10 * DAY, 10 * DAY, 365 * DAY])
def test_a_step_while_the_hub_was_down_is_measured_as_long_as_the_machine_runs(seconds):
    machine = Machine()
    machine.utc += seconds
    assert not machine.die(down_s=3600).trusted
    assert machine.steps() == pytest.approx([seconds])
    machine.die(down_s=3600)
    assert machine.steps() == [], "once"


@pytest.mark.parametrize("utc", [0.0, MORNING - DAY, MORNING + GAP_S + DAY])
def test_a_machine_that_starts_with_a_clock_that_cannot_be_right_lets_no_lifetime_pass(utc):
    machine = Machine()
    machine.utc = utc
    assert not machine.die(reboot=True).trusted
    assert machine.steps() == pytest.approx([utc - MORNING])
    machine.pass_(60)
    machine.utc = MORNING + 5 * DAY
    machine.pass_(1)
    assert machine.steps() == pytest.approx([MORNING + 5 * DAY - utc - 60]), "the way back to where it was"
    assert machine.pass_(SETTLE_S).trusted


def test_a_clock_that_was_set_during_a_reboot_of_a_hub_that_did_not_trust_it_has_stepped():
    machine = Machine(utc=0.0)
    machine.pass_(DAY)
    machine.utc = MORNING
    assert not machine.die(reboot=True).trusted
    assert machine.steps() == pytest.approx([MORNING - DAY])
    assert machine.pass_(SETTLE_S).trusted


def test_a_restart_does_not_make_a_clock_trusted():
    machine = Machine()
    machine.utc += DAY
    assert "was set forward by 1 day, 0:00:00" in machine.pass_(1).distrust
    assert "was set forward by 1 day, 0:00:00" in machine.die(down_s=2).distrust
    assert "was set forward by 1 day, 0:00:00" in machine.die(down_s=SETTLE_S - 3).distrust
    assert machine.die(down_s=SETTLE_S).trusted, "it ran on all the time"


@pytest.mark.parametrize(
    "damage",
    [
        {"utc": "noon"},
        {"utc": float("nan")},
        {"instant": None},
        {"boot": 1},
        {"distrust": None},
        {"trusted_utc": -1.0},
        {"mood": "good"},
    ],
)
def test_a_damaged_record_is_no_knowledge(damage):
    assert ClockRecord.from_json(Machine().watched.record().to_json() | damage) is None
    assert ClockRecord.from_json(None) is None


def test_no_appointment_is_made_by_a_clock_that_is_not_trusted():
    machine = Machine()
    insist_on_trust(machine.watched.now())
    machine.utc += DAY
    with pytest.raises(RefusedError, match=r"was set forward by 1 day.*chf clock trust"):
        insist_on_trust(machine.watched.now())
