"""The short way of a plain Image Block Request does what the long way does, and no octets upset the server."""

from hypothesis import given, settings
from hypothesis import strategies as st

from chf.update.model import ActivateAt, ActivateHold, ActivateNow, Strategy
from chf.update.transfer import blocks
from chf.update.transfer.effects import Progress, Send, Token
from chf.zcl import ota as zcl
from tests.support.ota_bench import ENDPOINT, IDS, PPMID, START_UTC, Bench, image, only

repeatable = settings(derandomize=True, deadline=None, max_examples=400)

SIZE = 1000
IMAGE = image(SIZE)


def bench_in(state: str) -> Bench:
    activation = {
        "parked": ActivateAt(START_UTC + 36_000),
        "held": ActivateHold(),
        "far, held": ActivateAt(START_UTC + 36_000, Strategy.HOLD),
    }.get(state, ActivateNow())
    bench = Bench()
    bench.offer(activation, of=IMAGE)
    if state != "offered":
        bench.query()
        bench.ask_block(0)
    if state in ("served", "parked", "held", "far, held", "committed"):
        bench.download()
    if state in ("held", "far, held", "committed"):
        bench.end()
    if state == "paging":
        bench.ask_page(0, 320)
    bench.server._sessions[PPMID].progress_at = 1e9
    return bench


STATES = ("offered", "downloading", "served", "parked", "held", "far, held", "committed", "paging")
requests = st.builds(
    zcl.ImageBlockRequest,
    st.sampled_from((IDS[0], IDS[0], IDS[0], 1)),
    st.just(IDS[1]),
    st.just(IDS[2]),
    st.integers(0, SIZE + 10) | st.integers(0, 100),
    st.integers(0, 255),
    st.none() | st.just(PPMID),
    st.none() | st.integers(0, 0xFFFF),
)


@repeatable
@given(
    st.sampled_from(STATES),
    st.lists(
        st.tuples(
            requests,
            st.sampled_from((0x11, 0x11, 0x11, 0x11, 0x01, 0x10, 0x15, 0x19, 0xF1)),
            st.integers(0, 255),
            st.binary(max_size=3),
        ),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from((0, 30, 32)),
)
def test_the_short_way_does_what_the_long_way_does(state, frames, in_flight):
    short, long = bench_in(state), bench_in(state)
    after_short, after_long = short.server._sessions[PPMID], long.server._sessions[PPMID]
    after_short.in_flight = after_long.in_flight = in_flight
    for request, control, sequence, rest in frames:
        octets = bytes((control,)) + zcl.command(request, sequence)[1:] + rest
        effects = blocks.plain_block(after_short, ENDPOINT, octets, short.now)
        if effects is None:
            effects = short.server.receive(PPMID, ENDPOINT, octets, short.now)
        assert effects == long.server._receive_any(PPMID, ENDPOINT, octets, long.now)
        assert after_short.record() == after_long.record()
        assert after_short.in_flight == after_long.in_flight
        assert after_short.last_heard == after_long.last_heard
        assert after_short.coverage._islands == after_long.coverage._islands


def test_the_short_way_is_the_one_that_a_download_takes():
    bench = bench_in("downloading")
    session = bench.server._sessions[PPMID]
    taken = 0
    for offset in range(0, SIZE, 50):
        octets = zcl.command(zcl.ImageBlockRequest(*IDS, offset, 50), offset % 256)
        effects = blocks.plain_block(session, ENDPOINT, octets, bench.now)
        taken += effects is not None
        bench.carry_out(effects or bench.server.receive(PPMID, ENDPOINT, octets, bench.now))
    assert taken == SIZE // 50 - 1, "all but the last"


@repeatable
@given(st.sampled_from(STATES), st.lists(st.binary(max_size=40), max_size=5))
def test_no_octets_upset_the_server(state, frames):
    bench = bench_in(state)
    for octets in frames:
        bench.hear_octets(octets)


@repeatable
@given(
    st.sampled_from(STATES),
    st.integers(0, 255),
    st.integers(0, 0x10),
    st.booleans(),
    st.binary(max_size=30),
)
def test_no_command_gets_more_than_one_answer_or_bytes_that_are_not_of_the_image(state, control, command, ids, rest):
    bench = bench_in(state)
    payload = (
        (b"\x00" + b"".join(n.to_bytes(s, "little") for n, s in zip(IDS, (2, 2, 4), strict=True)) + rest)
        if ids
        else rest
    )
    effects = bench.hear_octets(bytes((control, 7, command)) + payload)
    sends = only(Send, effects)
    assert len(sends) <= 1
    for send in sends:
        if send.token is Token.BLOCK:
            block = zcl.parse_image_block_response(send.payload[3:])
            assert isinstance(block, zcl.ImageBlock)
            assert block.data == IMAGE.content[block.offset_bytes : block.offset_bytes + len(block.data)]
            assert block.data
    assert all(0 < progress.offset_bytes <= SIZE for progress in only(Progress, effects))
