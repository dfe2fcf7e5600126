"""Whatever blocks come when: what is put off is done once, in order, and none of it waits longer than it may."""

import asyncio
from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from chf.eui64 import Eui64
from chf.hub.lulls import MOST, PATIENCE_S, Lulls
from tests.support.virtual_time import VirtualClock, VirtualLoop

STEPS = st.lists(
    st.one_of(st.sampled_from(["do", "wait", "block", "next block", "turn", "catch up"]), st.floats(0.0, 0.1))
)


@given(STEPS)
def test_everything_is_done_once_in_order_and_in_time(steps):
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(play(steps))


async def play(steps) -> None:
    clock = VirtualClock()
    lulls, asked, done = Lulls(clock), [], []

    def finish(number: int) -> None:
        done.append((number, clock.instant()))

    async def wait(number: int) -> None:
        await lulls.wait()
        finish(number)

    async with asyncio.TaskGroup() as tasks:
        for step in steps:
            match step:
                case "do":
                    asked.append(clock.instant())
                    number = len(asked) - 1
                    lulls.do(partial(finish, number), Eui64(number % 3))
                case "wait":
                    asked.append(clock.instant())
                    tasks.create_task(wait(len(asked) - 1))
                    await asyncio.sleep(0)
                    await asyncio.sleep(0)
                case "block":
                    lulls.begin(clock.instant())
                case "next block":
                    lulls.end()
                case "turn":
                    await asyncio.sleep(0)
                case "catch up":
                    lulls.catch_up_with(Eui64(len(asked) % 3))
                    await asyncio.sleep(0)
                case seconds:
                    await asyncio.sleep(seconds)
        await asyncio.sleep((MOST + 1) * PATIENCE_S)
    numbers = [number for number, _ in done]
    assert sorted(numbers) == list(range(len(asked)))
    callbacks = [number for number in numbers if steps_that_ask(steps)[number] == "do"]
    assert callbacks == sorted(callbacks)
    for number, when in done:
        before = sum(1 for earlier in asked[:number] if asked[number] - earlier <= (MOST + 1) * PATIENCE_S)
        assert when - asked[number] <= (before + 1) * PATIENCE_S + 1e-9


def steps_that_ask(steps) -> list[str]:
    return [step for step in steps if step in ("do", "wait")]
