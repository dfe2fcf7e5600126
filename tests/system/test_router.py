"""Two hops: a PPMID that routes, and a device that hears nobody else, on both virtual dongles in virtual time."""

import hashlib
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from chf.eui64 import parse_eui64
from chf.update.model import UpdateState
from tests.support.virtual_desk import DEVICE, Desk, desk_with_hub
from tests.support.virtual_dongle import EUI64, ppmid
from tests.support.virtual_time import virtual_time

ROUTER_EUI64 = "00-DB-12-34-56-78-90-B1"
ROUTER = parse_eui64(ROUTER_EUI64)
ROUTES = ppmid(ROUTER_EUI64, router=True)
KINDS = pytest.mark.parametrize("kind", ["ezsp", "znp"])
BEHIND = [pytest.param({}, id="listening"), pytest.param({"sleepy": True, "poll_interval_s": 2}, id="asleep")]


def behind(**settings: object) -> str:
    return ppmid(EUI64, hears=[ROUTER_EUI64], power_on_s=20, **settings)


def run_desk(
    monkeypatch: pytest.MonkeyPatch,
    path: Path,
    kind: str,
    scenario: str,
    story: Callable[[Desk], Coroutine[Any, Any, None]],
) -> None:
    async def on_desk() -> None:
        async with desk_with_hub(path, kind, scenario) as desk:
            await story(desk)

    with virtual_time(monkeypatch) as run:
        run(on_desk())


@KINDS
@pytest.mark.parametrize("settings", BEHIND)
def test_a_device_behind_a_router_joins_and_is_updated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, settings: dict[str, object]
) -> None:
    async def story(desk: Desk) -> None:
        await desk.admit(ROUTER)
        await desk.admit(DEVICE)
        content = desk.start_update(DEVICE, size_bytes=4000)
        await desk.until(lambda: desk.states_of_updates().get(DEVICE) is UpdateState.ACTIVATED, 3600)
        done = desk.devices_told("download_complete")
        assert [record["sha256"] for record in done] == [hashlib.sha256(content).hexdigest()]

    run_desk(monkeypatch, tmp_path, kind, ROUTES + behind(**settings), story)
