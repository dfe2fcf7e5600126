"""Every test of this folder runs on every radio."""

from collections.abc import AsyncIterator

import pytest

from tests.contract.radio_bench import AT_NIGHT, RADIOS, Bench, started


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.slow if name in AT_NIGHT else ()) for name in RADIOS])
async def cold(request) -> AsyncIterator[Bench]:
    dongles, make_radio = RADIOS[request.param]
    async with dongles() as dongle:
        yield Bench(dongle, make_radio)


@pytest.fixture
async def bench(cold) -> AsyncIterator[Bench]:
    async with started(cold):
        yield cold
