"""Whatever is put, taken, confirmed and put back, in whatever order: nothing is lost, doubled or starved."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from chf.eui64 import Eui64
from chf.radio.interface import Urgency
from chf.radio.outbox import Outbox, Places

PLACES = Places(together=5, kept_from_bulk=1, normal_together=2, urgent=2, normal=1, bulk=3, waiting=6)


class OutboxMachine(RuleBasedStateMachine):
    taken = Bundle("taken")

    def __init__(self) -> None:
        super().__init__()
        self.outbox: Outbox[tuple[Eui64, Urgency, int]] = Outbox(PLACES)
        self.waiting: dict[tuple[Eui64, Urgency], list[int]] = {}
        self.under_way: dict[tuple[Eui64, Urgency], int] = {}
        self.count = 0

    @rule(device=st.integers(1, 4).map(Eui64), urgency=st.sampled_from(Urgency))
    def put(self, device, urgency):
        self.count += 1
        lane = self.waiting.setdefault((device, urgency), [])
        accepted = self.outbox.put(device, urgency, (device, urgency, self.count))
        assert accepted == (len(lane) < PLACES.waiting)
        if accepted:
            lane.append(self.count)

    @rule(target=taken)
    def take(self):
        item = self.outbox.take()
        may_send = [
            urgency
            for (device, urgency), lane in self.waiting.items()
            if lane
            and self.under_way.get((device, urgency), 0) < PLACES.of_one_device(urgency)
            and sum(self.under_way.values())
            < PLACES.together - (PLACES.kept_from_bulk if urgency is Urgency.BULK else 0)
            and (urgency is not Urgency.NORMAL or self.normal_under_way() < PLACES.normal_together)
        ]
        if item is None:
            assert not may_send
            return None
        device, urgency, number = item
        assert urgency.value == min(u.value for u in may_send)
        assert self.waiting[device, urgency].pop(0) == number
        self.under_way[device, urgency] = self.under_way.get((device, urgency), 0) + 1
        return item

    def normal_under_way(self):
        return sum(count for (_, urgency), count in self.under_way.items() if urgency is Urgency.NORMAL)

    @rule(item=consumes(taken))
    def done(self, item):
        if item is not None:
            self.under_way[item[:2]] -= 1
            self.outbox.done(item[0], item[1])

    @rule(item=consumes(taken))
    def put_back(self, item):
        if item is not None:
            self.under_way[item[:2]] -= 1
            self.waiting[item[:2]].insert(0, item[2])
            self.outbox.put_back(item[0], item[1], item)

    @invariant()
    def the_counts_agree(self):
        assert len(self.outbox) == sum(len(lane) for lane in self.waiting.values())
        assert self.outbox.under_way == sum(self.under_way.values())


TestOutbox = OutboxMachine.TestCase
TestOutbox.settings = settings(max_examples=60, stateful_step_count=40, derandomize=True, deadline=None)
