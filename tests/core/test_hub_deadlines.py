"""One timer for the deadlines of all handlers: it rests for a second after a failure, which is told once."""

import pytest

from chf.clock import Instant
from chf.hub.batch import Batch
from chf.hub.deadlines import RETRY_S, Deadlines
from chf.hub.handler import Handler
from tests.support.virtual_time import VirtualClock, let_pass, virtual_time


class Due(Handler):
    """Has something to do at these times, the first of which is tried until it does not fail."""

    def __init__(self, *due: float, fails: bool = False) -> None:
        self.due, self.fails, self.times = list(due), fails, []

    def deadline(self):
        return Instant(self.due[0]) if self.due else None

    def handle_deadline(self, now):
        self.times.append(now.instant)
        if self.fails:
            raise ValueError("no")
        del self.due[0]
        return Batch(now)


def test_a_handler_that_fails_is_tried_once_a_second_and_the_others_get_their_turn(monkeypatch):
    failing, other, done, alarms = Due(0.0, fails=True), Due(0.0, 3.2), [], []

    async def story():
        start = VirtualClock().instant()
        failing.due = [start]
        other.due = [start, start + 3.2]
        deadlines = Deadlines([failing, other], VirtualClock(), done.append, alarms.append)
        deadlines.plan()
        await let_pass(3.5 * RETRY_S)
        deadlines.close()
        await let_pass(5)
        return start

    with virtual_time(monkeypatch) as run:
        start = run(story())
    assert [time - start for time in failing.times] == pytest.approx([0, 1, 2, 3], abs=0.1)
    assert len(done) == len(other.times) == 1, "what falls due meanwhile waits for the next turn"
    assert len(alarms) == 1
    assert "no" in alarms[0]
