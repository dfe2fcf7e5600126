"""The stopwatch at the virtual dongle, and the device whose confirms come late."""

import json
from pathlib import Path
from random import Random

from benchmarks.throughput.block_times import BlockTimes
from devices.medium.medium import Medium, MediumSettings
from devices.stack.interface import Eui64
from devices.time import EventQueue

DEVICE = Eui64(0x00DB_1234_5678_90A4)


def test_a_request_that_is_repeated_is_still_the_same_request(tmp_path: Path) -> None:
    now = [10.0]
    path = tmp_path / "times.json"
    times = BlockTimes(path, lambda: now[0])
    times.heard(DEVICE)
    now[0] = 10.5
    times.heard(DEVICE)
    now[0] = 11.0
    times.answered(DEVICE)
    times.answered(DEVICE)  # a block that nobody asked for is no measurement
    now[0] = 12.0
    times.heard(DEVICE)
    now[0] = 12.25
    times.answered(DEVICE)
    times.write()
    assert json.loads(path.read_text())["devices"] == [
        {
            "eui64": "00-DB-12-34-56-78-90-A4",
            "first_request_s": 10.0,
            "last_answer_s": 12.25,
            "repeated": 1,
            "took_us": [1_000_000.0, 250_000.0],
            "answered_s": [11.0, 12.25],
            "turnaround_us": [],  # nothing went over a line
        }
    ]


def test_the_turnaround_is_from_octets_to_octets(tmp_path: Path) -> None:
    now = [10.0]
    path = tmp_path / "times.json"
    times = BlockTimes(path, lambda: now[0])
    dongle = times.on_the_line(Echo())
    times.heard(DEVICE)
    now[0] = 10.125  # the dongle makes a frame of it
    dongle.handle_deadline()
    assert dongle.data_to_send() == b"late"
    now[0] = 10.375
    assert dongle.data_to_send() == b""
    dongle.receive(b"answer")
    now[0] = 11.0  # the dongle reads it
    times.answered(DEVICE)
    times.write()
    (device,) = json.loads(path.read_text())["devices"]
    assert device["took_us"] == [1_000_000.0]
    assert device["turnaround_us"] == [250_000.0]


def test_an_answer_without_a_request_is_nothing(tmp_path: Path) -> None:
    times = BlockTimes(tmp_path / "times.json")
    times.answered(DEVICE)
    times.write()
    assert json.loads((tmp_path / "times.json").read_text())["devices"] == []


class Echo:
    def __init__(self) -> None:
        self._said = b""

    def receive(self, octets: bytes) -> None:
        self._said += octets * 2

    def data_to_send(self) -> bytes:
        said, self._said = self._said, b""
        return said

    def deadline(self) -> float | None:
        return 7.0

    def handle_deadline(self) -> None:
        self._said += b"late"


def test_octets_of_the_line_count_from_the_first_request_to_the_last_answer(tmp_path: Path) -> None:
    times = BlockTimes(tmp_path / "times.json")
    dongle = times.on_the_line(Echo())
    dongle.receive(b"before")
    assert dongle.data_to_send() == b"beforebefore"
    times.heard(DEVICE)
    dongle.receive(b"abc")
    assert dongle.data_to_send() == b"abcabc"
    assert dongle.deadline() == 7.0
    dongle.handle_deadline()
    assert dongle.data_to_send() == b"late"
    times.answered(DEVICE)
    dongle.receive(b"after")
    times.write()
    line = json.loads((tmp_path / "times.json").read_text())["line"]
    assert line == {"from_host_octets": 3, "to_host_octets": 10}


def test_a_slow_radio_acknowledges_in_time_and_hears_late() -> None:
    queue = EventQueue(0.0)
    medium = Medium(queue, Random(1), MediumSettings(airtime=False))
    heard: list[float] = []
    sender = medium.attach(1, lambda *_: None)
    receiver = medium.attach(2, lambda *_: heard.append(queue.now))
    receiver.delay_s = 0.2
    for radio, short in ((sender, 1), (receiver, 2)):
        radio.tune(15, 0x1234, short)
        radio.listening = True
    acknowledged: list[tuple[float, bool]] = []
    # data, wants an acknowledgement, PAN id compressed, both addresses short
    sender.transmit(bytes.fromhex("6188013412020001 00aa"), lambda acked, _: acknowledged.append((queue.now, acked)))
    queue.run_until(1.0)
    assert acknowledged == [(0.0, True)]
    assert heard == [0.2]
