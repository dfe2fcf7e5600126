"""The bad cable, and the moments at which things happen to a dongle."""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.bench.dongles import cut_ash, cut_mt
from devices.bench.faults import REORDER_HOLD_S, DisturbedLine, FaultSettings, FaultyDongle, LineFaults, ScheduledFault
from devices.bench.recordings import NoEvents
from devices.bench.scenario import Scenario
from devices.bench.world import build_world
from devices.time import EventQueue

FRAMES = [bytes([number]) * 3 + b"\x7e" for number in range(1, 60)]


def cable(faults: LineFaults, seed: int = 1) -> tuple[DisturbedLine, EventQueue, list[bytes]]:
    queue, late = EventQueue(), []
    return DisturbedLine(faults, cut_ash, Random(seed), queue, late.append), queue, late


def carried(faults: LineFaults, seed: int = 1) -> list[bytes]:
    line, queue, late = cable(faults, seed)
    arrived = [piece for frame in FRAMES for piece in line.carry(frame)]
    queue.run_until(1.0)
    return arrived + late


def test_ash_frames_end_in_a_flag() -> None:
    assert cut_ash(b"\x1a\xc0\x7e\x7eab") == ([b"\x1a\xc0\x7e", b"\x7e"], b"ab")


def test_mt_frames_have_a_length_and_noise_is_a_piece_of_its_own() -> None:
    ping, longer = b"\xfe\x00\x21\x01\x20", b"\xfe\x02\x21\x01ab\x20"
    assert cut_mt(b"\x00\x01" + ping + longer + b"\xfe\x09") == ([b"\x00\x01", ping, longer], b"\xfe\x09")
    assert cut_mt(b"\xfe") == ([], b"\xfe")


@given(st.lists(st.binary(max_size=40), max_size=6), st.sampled_from([cut_ash, cut_mt]))
@settings(derandomize=True)
def test_a_good_cable_changes_nothing_wherever_it_is_cut(pieces, cut) -> None:
    line = DisturbedLine(LineFaults(), cut, Random(1), EventQueue(), lambda _: None)
    assert b"".join(b"".join(line.carry(piece)) for piece in pieces) == b"".join(pieces)[: -len(line.begun) or None]


def test_frames_are_lost_and_doubled_by_chance_and_seed() -> None:
    lost = carried(LineFaults(drop=0.3))
    assert 0 < len(lost) < len(FRAMES)
    assert set(lost) <= set(FRAMES)
    assert lost == carried(LineFaults(drop=0.3))
    assert lost != carried(LineFaults(drop=0.3), seed=2)
    assert carried(LineFaults(drop=1.0)) == []
    assert carried(LineFaults(duplicate=1.0)) == [frame for frame in FRAMES for _ in range(2)]


def test_frames_are_damaged_in_one_bit() -> None:
    for before, after in zip(FRAMES, carried(LineFaults(corrupt=1.0)), strict=True):
        assert (int.from_bytes(before, "big") ^ int.from_bytes(after, "big")).bit_count() == 1


def test_noise_stands_before_the_frame() -> None:
    for before, after in zip(FRAMES, carried(LineFaults(noise=1.0)), strict=True):
        assert after.endswith(before)
        assert 1 <= len(after) - len(before) <= 4


def test_frames_overtake_each_other_and_none_is_lost() -> None:
    arrived = carried(LineFaults(reorder=0.5))
    assert sorted(arrived) == FRAMES
    assert arrived != FRAMES


def test_a_frame_that_nothing_overtakes_comes_late() -> None:
    line, queue, late = cable(LineFaults(reorder=1.0))
    assert line.carry(FRAMES[0]) == []
    queue.run_until(REORDER_HOLD_S / 2)
    assert late == []
    queue.run_until(REORDER_HOLD_S)
    assert late == [FRAMES[0]]


def test_the_cable_is_good_until_its_time() -> None:
    line, queue, _ = cable(LineFaults(drop=1.0, from_s=3.0))
    assert line.carry(FRAMES[0]) == [FRAMES[0]]
    queue.run_until(3.0)
    assert line.carry(FRAMES[1]) == []


@pytest.mark.parametrize("kind", ["ezsp", "znp"])
def test_things_happen_at_their_time_and_at_their_frame(kind: str) -> None:
    frame = b"\x1a\xc0\x38\xbc\x7e" if kind == "ezsp" else b"\xfe\x00\x21\x01\x20"
    world = build_world(Scenario(), NoEvents(), ncp=kind)
    events = (
        ScheduledFault("exhaust", after_frames=3, for_s=1.0),
        ScheduledFault("restart_dongle", after_frames=2),
        ScheduledFault("crash_dongle", at_s=2.0, for_s=1.0),
    )
    seen: list[str] = []
    dongle = FaultyDongle(world.dongle, FaultSettings(events=events), Random(1), world.queue)
    dongle.happen = lambda fault: seen.append(fault.what)
    dongle.receive(frame + frame[:2])
    assert seen == []
    dongle.receive(frame[2:])
    assert seen == ["restart_dongle"]
    dongle.receive(frame * 2)
    world.queue.run_until(2.0)
    assert seen == ["restart_dongle", "exhaust", "crash_dongle"]


def test_a_dead_dongle_hears_and_says_nothing() -> None:
    world = build_world(Scenario(), NoEvents())
    dongle = FaultyDongle(world.dongle, FaultSettings(), Random(1), world.queue)
    dongle.happen(ScheduledFault("crash_dongle", for_s=1.0))
    dongle.receive(b"\x1a\xc0\x38\xbc\x7e")
    assert (dongle.data_to_send(), dongle.deadline()) == (b"", None)
    world.queue.run_until(1.0)
    assert dongle.data_to_send() == bytes.fromhex("1AC102029B7B7E")  # power on
    dongle.receive(b"\xc0\x38\xbc\x7e")
    assert dongle.data_to_send() == bytes.fromhex("1AC1020B0A527E")
