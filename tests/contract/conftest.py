"""Every test of this folder runs on every radio."""

from collections.abc import AsyncIterator

import pytest

from tests.contract.radio_bench import RADIOS, Bench, started


@pytest.fixture(params=RADIOS)
async def cold(request) -> AsyncIterator[Bench]:
    dongles, make_radio = RADIOS[request.param]
    async with dongles() as dongle:
        yield Bench(dongle, make_radio)


@pytest.fixture
async def bench(cold) -> AsyncIterator[Bench]:
    async with started(cold):
        yield cold
