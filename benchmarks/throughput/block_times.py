"""How long a host takes for each image block, for benchmarks: from the request that the dongle heard to the answer.

Taken where the dongle's stack meets its co-processor, so it is the same for every kind of dongle and of host, and in
real time, whatever simulated time does. A device that asks again for want of an answer is still on its first request.
Beside that it counts the octets of the line, for the sake of real serial ports, whose time is octets, and takes the
turnaround of each block: from the request's octets, handed to the line, to those of the answer, read from it. That is
the host and what it costs to wake two processes, without the dongle and its devices.
"""

import json
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from devices.bench.runner import Dongle
from devices.bench.toml_section import format_eui64
from devices.stack.coordinator import ZigbeeCoordinator
from devices.stack.interface import ApsIndication, ApsRequest, Confirm, Eui64
from devices.wire import ota

_COMMAND = 2  # where a ZCL frame without manufacturer code has its command


@dataclass(slots=True)
class _Asked:
    """One device."""

    first_request_s: float
    last_answer_s: float = 0.0
    waiting_since_s: float | None = None
    told_s: float | None = None
    repeated: int = 0
    took_us: "array[float]" = field(default_factory=lambda: array("f"))
    answered_s: "array[float]" = field(default_factory=lambda: array("d"))
    turnaround_us: "array[float]" = field(default_factory=lambda: array("f"))


@dataclass(slots=True)
class _Octets:
    """Of the line, so far."""

    from_host: int = 0
    to_host: int = 0


class BlockTimes:
    """`coordinator` makes the stack that is watched, `on_the_line` what counts; `write` puts all of it into `path`."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.perf_counter) -> None:
        self._path = path
        self._clock = clock
        self._asked: dict[Eui64, _Asked] = {}
        self._untold: list[_Asked] = []  # their requests are not on the line yet
        self._read_s = 0.0  # when the line brought something last
        self._octets = _Octets()
        self._at_first_request: _Octets | None = None
        self._at_last_answer = _Octets()

    def coordinator(self, *arguments: Any, **settings: Any) -> ZigbeeCoordinator:
        return _WatchedCoordinator(self, *arguments, **settings)

    def on_the_line(self, dongle: Dongle) -> Dongle:
        return _CountedDongle(dongle, self._octets, self)

    def heard(self, device: Eui64) -> None:
        """A block request (or a page request, which its first block answers)."""
        now = self._clock()
        if self._at_first_request is None:
            self._at_first_request = replace(self._octets)
        asked = self._asked.get(device)
        if asked is None:
            asked = self._asked[device] = _Asked(now)
        if asked.waiting_since_s is None:
            asked.waiting_since_s, asked.told_s = now, None
            self._untold.append(asked)
        else:
            asked.repeated += 1

    def line_said(self) -> None:
        """The dongle has handed octets to the line."""
        if self._untold:
            now = self._clock()
            for asked in self._untold:
                asked.told_s = now
            self._untold.clear()

    def line_brought(self) -> None:
        self._read_s = self._clock()

    def answered(self, device: Eui64) -> None:
        asked = self._asked.get(device)
        if asked is None:
            return
        asked.last_answer_s = self._clock()
        self._at_last_answer.from_host, self._at_last_answer.to_host = self._octets.from_host, self._octets.to_host
        if asked.waiting_since_s is not None:
            asked.took_us.append((asked.last_answer_s - asked.waiting_since_s) * 1e6)
            asked.answered_s.append(asked.last_answer_s)
            asked.waiting_since_s = None
            if asked.told_s is not None:
                asked.turnaround_us.append((self._read_s - asked.told_s) * 1e6)

    def write(self) -> None:
        devices = [
            {
                "eui64": format_eui64(eui64),
                "first_request_s": asked.first_request_s,
                "last_answer_s": asked.last_answer_s,
                "repeated": asked.repeated,
                "took_us": [round(took, 1) for took in asked.took_us],
                "answered_s": [round(when, 6) for when in asked.answered_s],
                "turnaround_us": [round(took, 1) for took in asked.turnaround_us],
            }
            for eui64, asked in self._asked.items()
        ]
        first, last = self._at_first_request or _Octets(), self._at_last_answer
        line = {"from_host_octets": last.from_host - first.from_host, "to_host_octets": last.to_host - first.to_host}
        self._path.write_text(json.dumps({"devices": devices, "line": line}), encoding="utf-8")


class _CountedDongle:
    def __init__(self, dongle: Dongle, octets: _Octets, times: BlockTimes) -> None:
        self._dongle = dongle
        self._octets = octets
        self._times = times
        self.deadline = dongle.deadline
        self.handle_deadline = dongle.handle_deadline

    def receive(self, octets: bytes) -> None:
        self._times.line_brought()
        self._octets.from_host += len(octets)
        self._dongle.receive(octets)

    def data_to_send(self) -> bytes:
        octets = self._dongle.data_to_send()
        if octets:
            self._times.line_said()
            self._octets.to_host += len(octets)
        return octets


class _WatchedCoordinator(ZigbeeCoordinator):
    def __init__(self, times: BlockTimes, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._times = times

    def aps_indication(self, indication: ApsIndication) -> None:
        if indication.cluster == ota.CLUSTER and _command(indication.payload) in (
            ota.Command.IMAGE_BLOCK_REQUEST,
            ota.Command.IMAGE_PAGE_REQUEST,
        ):
            device = self.ieee_of(indication.source)
            if device is not None:
                self._times.heard(device)
        super().aps_indication(indication)

    def send(self, request: ApsRequest, confirm: Confirm | None = None) -> int:
        if request.cluster == ota.CLUSTER and _command(request.payload) == ota.Command.IMAGE_BLOCK_RESPONSE:
            device = self.ieee_of(request.destination)
            if device is not None:
                self._times.answered(device)
        return super().send(request, confirm)


def _command(payload: bytes) -> int | None:
    """Of a ZCL frame that is no global one (ZCL8 2.4.1.1.1) and has no manufacturer code."""
    return payload[_COMMAND] if len(payload) > _COMMAND and payload[0] & 0x07 == 0x01 else None
