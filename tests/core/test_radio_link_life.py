"""Whoever waits for a dongle is told when its link is lost, once the port is closed, and by nothing else."""

import asyncio

import pytest

from chf.radio.session import LinkLife


async def forever() -> None:
    await asyncio.get_running_loop().create_future()


async def asked(life: LinkLife, work=forever) -> None:
    async with life.lasting():
        await work()


async def test_what_waits_goes_on_until_the_port_is_closed_and_is_told_why():
    life = LinkLife()
    waits = [asyncio.ensure_future(asked(life)) for _ in range(2)]
    await asyncio.sleep(0)
    life.end("unplugged")
    life.end("the port was closed")
    await asyncio.sleep(0)
    assert not any(wait.done() for wait in waits)
    life.release()
    for wait in waits:
        with pytest.raises(ConnectionResetError, match="unplugged"):
            await wait


async def test_what_is_asked_within_another_question_ends_with_it():
    life = LinkLife()
    waiting = asyncio.ensure_future(asked(life, lambda: asked(life)))
    await asyncio.sleep(0)
    life.end("unplugged")
    life.release()
    life.release()
    with pytest.raises(ConnectionResetError, match="unplugged"):
        await waiting
    assert not waiting.cancelling()


async def test_nothing_is_asked_of_a_link_that_is_lost():
    life = LinkLife()
    life.end("unplugged")
    with pytest.raises(ConnectionResetError, match="unplugged"):
        await asked(life)


async def test_a_timeout_of_the_library_is_its_own():
    async def slow() -> None:
        async with asyncio.timeout(0):
            await forever()

    with pytest.raises(TimeoutError):
        await asked(LinkLife(), slow)


async def test_whoever_is_cancelled_stays_cancelled():
    life = LinkLife()
    waiting = asyncio.ensure_future(asked(life))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    life.end("unplugged")
    life.release()


async def test_whoever_a_library_cancels_when_it_closes_is_told_of_the_loss():
    """As zigpy-znp does to what waits for an answer: nobody has cancelled the caller."""
    life, answer = LinkLife(), asyncio.get_running_loop().create_future()
    waiting = asyncio.ensure_future(asked(life, lambda: answer))
    await asyncio.sleep(0)
    life.end("unplugged")
    answer.cancel()
    with pytest.raises(ConnectionResetError, match="unplugged"):
        await waiting
