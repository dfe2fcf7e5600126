"""The TI dongle under junk: on the line, in the parameters, in flash, from the air."""

import struct
from functools import cache
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from devices.ncp.layout import Layout
from devices.ncp.znp.commands import commands
from devices.ncp.znp.items import Nib
from devices.ncp.znp.mt_frames import MAX_DATA_BYTES, MtFrame, MtReceiver
from devices.stack.interface import ApsIndication, Eui64, NwkAddress
from tests.support.znp_host import ZnpHost, line

frames = st.builds(MtFrame, st.integers(0, 0xFFFF), st.binary(max_size=MAX_DATA_BYTES))
quiet = st.binary(max_size=60).map(lambda octets: octets.replace(b"\xfe", b"\x00"))
REPEATABLE = settings(derandomize=True, deadline=None)
REQUESTS = sorted(command.id for command in commands().values() if command.request is not None)


@given(frames)
@REPEATABLE
def test_a_frame_round_trip(frame: MtFrame) -> None:
    octets = frame.to_bytes()
    assert MtFrame.from_bytes(octets) == frame
    assert octets == line(frame.command, frame.data)


@given(frames, st.integers(0, 10_000))
@REPEATABLE
def test_a_flipped_bit_is_found(frame: MtFrame, where: int) -> None:
    octets = bytearray(frame.to_bytes())
    octets[where // 8 % len(octets)] ^= 1 << where % 8
    try:
        damaged = MtFrame.from_bytes(bytes(octets))
    except ValueError:
        return
    raise AssertionError(damaged)


@given(st.lists(st.tuples(quiet, frames), max_size=6), st.integers(1, 50))
@REPEATABLE
def test_frames_between_junk_are_all_found_however_they_are_cut(pieces: list[tuple[bytes, MtFrame]], cut: int) -> None:
    octets = b"".join(junk + frame.to_bytes() for junk, frame in pieces)
    receiver = MtReceiver()
    found = [frame for at in range(0, len(octets), cut) for frame in receiver.receive(octets[at : at + cut])]
    assert found == [frame for _, frame in pieces]
    assert receiver.damaged_frames == 0


@given(st.lists(st.binary(max_size=80), max_size=12))
@REPEATABLE
def test_after_any_junk_a_host_that_fills_up_the_line_is_heard(pieces: list[bytes]) -> None:
    host = ZnpHost()
    for piece in pieces:
        host.dongle.receive(piece)
    host.run(1.0)  # it may have been a request for a reset
    host.answers()
    host.write(b"\xef" * 256)
    host.run(1.0)
    host.answers()
    assert host.call(0x2101) == b"\x59\x06"


@given(st.integers(0, 0xFFFF), st.lists(st.integers(0, 0xFFFF), max_size=20), st.binary(max_size=255))
@REPEATABLE
def test_a_layout_round_trip(number: int, words: list[int], octets: bytes) -> None:
    layout = Layout("number:u16 words:words short:lv long:lv16 key:key rest:rest")
    values = (number, tuple(words), octets, octets, bytes(16), octets)
    assert tuple(layout.decode(layout.encode(values))) == values


@given(
    st.integers(0, 255),
    st.integers(0, 0xFFFF),
    st.integers(0, 2**64 - 1),
    st.integers(0, 0xFFFF_FFFF),
    st.integers(0, 0xFFFF),
    st.integers(0, 255),
    st.booleans(),
)
@REPEATABLE
def test_a_nib_round_trip(
    channel: int, pan: int, extended: int, channels: int, manager: int, update: int, loaded: bool
) -> None:
    nib = Nib(channel, pan, extended, channels, manager, update, loaded)
    assert Nib.from_bytes(nib.to_bytes()) == nib
    assert len(nib.to_bytes()) == 116


@cache
def _running() -> ZnpHost:
    host = ZnpHost()
    host.form()
    host.call(0x253E, b"\xff\xff")
    return host


@given(st.lists(st.tuples(st.sampled_from(REQUESTS), st.binary(max_size=60)), min_size=1, max_size=20))
@settings(REPEATABLE, max_examples=300)
def test_any_parameters_are_answered_once(requests: list[tuple[int, bytes]]) -> None:
    """On one dongle for all examples: whatever state junk has brought it into, it goes on."""
    host = _running()
    for command, data in requests:
        host.post(command, data)
        (answer,) = host.answers()
        assert answer.command in {command ^ 0x4000, 0x6000}
        host.run(0.01)
    host.callbacks.clear()


@given(st.lists(st.tuples(st.integers(0, 0x110), st.binary(max_size=120)), max_size=8), st.integers(0, 255))
@settings(REPEATABLE, max_examples=200)
def test_it_boots_and_starts_whatever_the_host_left_in_flash(items: list[tuple[int, bytes]], seed: int) -> None:
    host = ZnpHost(seed=seed)
    host.form()
    random = Random(seed)
    for number, value in items:
        if value:
            held = host.get(number)
            if held is not None:
                host.call(0x2112, struct.pack("<HH", number, len(held)))
            host.put(number, value)
    for table in (1, 3, 4, 5, 6, 7):
        size = len(host.entry(table, 0))
        host.set_entry(table, random.randrange(4), random.randbytes(size))
    host.put(0x0003, bytes([random.randrange(4)]))
    host.restart()
    assert host.dongle.stack.network is not None


@given(
    st.integers(0, 0xFFFF),
    st.integers(0, 0xFFFF),
    st.integers(0, 255),
    st.one_of(st.binary(max_size=120), st.sampled_from([235, 240, 241, 300, 1500]).map(bytes)),
    st.booleans(),
    st.one_of(st.none(), st.integers(0, 0xFFFF)),
)
@settings(REPEATABLE, max_examples=200)
def test_anything_from_the_air_makes_whole_frames(
    profile: int, cluster: int, endpoint: int, payload: bytes, secured: bool, group: int | None
) -> None:
    host = _running()
    for known_profile in (profile, 0):
        addresses = (NwkAddress(0x1234), Eui64(5), NwkAddress(0))
        head = (*addresses, known_profile, cluster, 5, endpoint if known_profile else 0)
        host.dongle.message_received(ApsIndication(*head, payload, 1, secured, group))
    host.drain()
    host.run(0.01)
