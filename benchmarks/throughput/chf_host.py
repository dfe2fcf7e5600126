"""Tells a running `chf run` what to do, as the other `chf` commands do it: by its store."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

from chf.clock import SystemClock
from chf.eui64 import Eui64, format_eui64
from chf.image.image import parse_image
from chf.store import Store
from chf.store.device_log import DeviceEntry, DeviceType
from chf.store.images import record_of
from chf.store.inbox import CommandState, Verb
from chf.update.model import ActivateNow, activation_to_json
from throughput.fleet import LINK_KEY, Fleet
from throughput.processes import Process

_ANSWER_LIMIT_S = 120.0
_POLL_S = 0.02
_JOIN_WINDOW_S = 3600


@dataclass(frozen=True, slots=True)
class ChfHost:
    process: Process
    fleet: Fleet
    home: Path

    async def is_up(self, limit_s: float) -> None:
        """`chf run` says so on standard error, which is for people; for programs the store has the radio's state."""
        try:
            async with asyncio.timeout(limit_s):
                while not self._radio_is_up():
                    self.process.insist()
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            raise self.process.broken(f"was not up in {limit_s:.0f} s") from None

    async def permit(self) -> None:
        utc = SystemClock().now().utc
        with Store.open(self.home) as store:
            with store.transaction() as tx:
                for eui64 in self.fleet.eui64s:
                    tx.devices.add(DeviceEntry(Eui64(eui64), DeviceType.PPMID, utc, LINK_KEY))
                permits = [
                    tx.inbox.submit(
                        Verb.DEVICE_PERMIT, {"device": format_eui64(Eui64(eui64)), "seconds": _JOIN_WINDOW_S}, utc
                    )
                    for eui64 in self.fleet.eui64s
                ]
            await self._answered(store, permits)

    async def joined(self) -> None:
        """Whatever `chf run` asks of a new device, it asks by itself."""

    async def start_updates(self) -> None:
        utc = SystemClock().now().utc
        image = parse_image(self.fleet.image())
        body = {
            "devices": [format_eui64(Eui64(eui64)) for eui64 in self.fleet.eui64s],
            "image": image.sha256,
            "activation": activation_to_json(ActivateNow()),
            "origin": "benchmark",
        }
        with Store.open(self.home) as store:
            with store.transaction() as tx:
                tx.images.add(record_of(image, "benchmark", utc), image.content)
                started = tx.inbox.submit(Verb.UPDATE_START, body, utc)
            await self._answered(store, [started])

    def _radio_is_up(self) -> bool:
        with Store.open(self.home) as store:
            note = store.meta.get("radio")
            return note is not None and '"state": "up"' in note

    async def _answered(self, store: Store, commands: list[int]) -> None:
        try:
            async with asyncio.timeout(_ANSWER_LIMIT_S):
                while any(_state(store, command) is CommandState.PENDING for command in commands):  # noqa: ASYNC110
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            raise self.process.broken("did not answer its commands") from None
        if any(_state(store, command) is not CommandState.DONE for command in commands):
            raise self.process.broken("refused a command")


def _state(store: Store, command: int) -> CommandState | None:
    row = store.inbox.get(command)
    return None if row is None else row.state
