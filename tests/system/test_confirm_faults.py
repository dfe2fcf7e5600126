"""Updates while confirms of messages come late, or never. Each lost one is waited for, so in virtual time."""

from pathlib import Path

import pytest

from chf.eui64 import parse_eui64
from chf.update.model import UpdateState
from tests.support.programs import quick
from tests.support.virtual_desk import DEVICE, desk_with_hub
from tests.support.virtual_time import virtual_time

KINDS = ("ezsp", "znp")
OTHER = "00-DB-12-34-56-78-90-A5"


@pytest.mark.parametrize("kind", KINDS)
def test_confirms_that_come_late_or_never(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        async with desk_with_hub(tmp_path, kind, "seed = 1\n" + quick(think_time_s=0.005)) as desk:
            content = await desk.update_under_way(until_bytes=2000)
            desk.order(do="confirms", delay_s=0.2)
            await desk.until_offset(10_000)
            desk.order(do="confirms", loss=0.3)
            await desk.until_it_ended_well(content)
            assert len(desk.devices_told("download_started")) == 1

    with virtual_time(monkeypatch) as run:
        run(story())


@pytest.mark.parametrize("kind", KINDS)
def test_one_device_whose_confirms_never_come_does_not_hold_up_another(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = "seed = 4\n" + quick(think_time_s=0.005) + quick(OTHER, think_time_s=0.005)
    scenario += f'[[faults.confirms]]\neui64 = "{OTHER}"\nloss = 0.3\n'
    slow = parse_eui64(OTHER)

    async def story() -> None:
        async with desk_with_hub(tmp_path, kind, scenario) as desk:
            await desk.admit(DEVICE, slow)
            desk.start_update(DEVICE, slow, size_bytes=1500)
            await desk.until(lambda: desk.states_of_updates().get(DEVICE) is UpdateState.ACTIVATED, 15)
            assert desk.states_of_updates()[slow] is not UpdateState.ACTIVATED
            await desk.until(lambda: desk.states_of_updates()[slow] is UpdateState.ACTIVATED, 100)

    with virtual_time(monkeypatch) as run:
        run(story())
