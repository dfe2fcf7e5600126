"""Whatever octets come, in whatever state: no more than one answer, and no byte that is not of the image."""

from hypothesis import given, settings
from hypothesis import strategies as st

from chf.update.effects import Progress, Send, Token
from chf.update.model import ActivateAt, ActivateHold, ActivateNow, Strategy
from chf.zcl import ota as zcl
from tests.support.ota_bench import IDS, START_UTC, Bench, image, only

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
    return bench


STATES = ("offered", "downloading", "served", "parked", "held", "far, held", "committed", "paging")


@repeatable
@given(st.sampled_from(STATES), st.lists(st.binary(max_size=40), max_size=5))
def test_no_octets_upset_the_server(state, frames):
    bench = bench_in(state)
    for octets in frames:
        bench.hear_octets(octets)


@repeatable
@given(st.sampled_from(STATES), st.integers(0, 255), st.integers(0, 0x10), st.booleans(), st.binary(max_size=30))
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
