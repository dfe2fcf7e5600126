"""The hub's quick end of ASH takes and says what bellows' own takes and says, whatever comes."""

import asyncio

from bellows.ash import AckFrame, AshProtocol, DataFrame, NakFrame
from hypothesis import given, settings
from hypothesis import strategies as st

from chf.radio.ash_line import AshLine, randomise, unwrap, wrap

RESERVED = b"\x7e\x7d\x11\x13\x18\x1a"
payloads = st.one_of(st.binary(min_size=3, max_size=120), st.lists(st.sampled_from(RESERVED), max_size=40).map(bytes))
numbers = st.integers(0, 7)

pieces = st.one_of(
    st.builds(
        lambda number, again, ack, payload: ("data", number, again, ack, payload),
        st.integers(-1, 1),  # less or more than the number that is expected
        st.booleans(),
        numbers,
        payloads,
    ),
    st.builds(lambda ack: ("octets", on_the_line(AckFrame(res=0, ncp_ready=0, ack_num=ack))), numbers),
    st.builds(lambda ack: ("octets", on_the_line(NakFrame(res=0, ncp_ready=0, ack_num=ack))), numbers),
    # Without escapes: of a broken one bellows decides by the octet that happened to be read first whether it says NAK
    st.builds(lambda junk: ("octets", junk.replace(b"\x7d", b"")), st.binary(max_size=30)),
    st.builds(lambda octet: ("octets", bytes((octet,))), st.sampled_from(RESERVED.replace(b"\x7d", b""))),
)


def on_the_line(frame) -> bytes:
    return AshProtocol._stuff_bytes(frame.to_bytes()) + b"\x7e"


class Gateway:
    def __init__(self) -> None:
        self.taken: list[bytes] = []

    def connection_made(self, transport) -> None: ...

    def data_received(self, data: bytes) -> None:
        self.taken.append(data)


class Transport:
    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, octets: bytes) -> None:
        self.written.append(bytes(octets))

    def is_closing(self) -> bool:
        return False


def said(transport: Transport) -> list[bytes]:
    """The frames, without acknowledgements that later ones make superfluous."""
    frames = b"".join(transport.written).split(b"\x7e")[:-1]
    return [
        frame
        for frame, following in zip(frames, [*frames, b""][1:], strict=True)
        if not (is_ack(frame) and is_ack(following))
    ]


def is_ack(frame: bytes) -> bool:
    return bool(frame) and frame[0] & 0xE0 == 0x80


@given(st.lists(pieces, max_size=25), st.lists(st.integers(1, 60), min_size=1, max_size=40))
@settings(max_examples=400, deadline=None)
def test_it_takes_what_bellows_takes_and_answers_alike(line: list[tuple], cuts: list[int]) -> None:
    async def run() -> None:
        theirs, ours = Gateway(), Gateway()
        bellows, hub = AshProtocol(theirs), AshLine(ours, lambda: None)
        wires = Transport(), Transport()
        bellows.connection_made(wires[0])
        hub.connection_made(wires[1])
        for piece in line:
            if piece[0] == "data":
                _, offset, again, ack, payload = piece
                number = (bellows._rx_seq + offset) % 8
                octets = on_the_line(DataFrame(frm_num=number, re_tx=again, ack_num=ack, ezsp_frame=payload))
            else:
                octets = piece[1]
            for cut in cuts:
                bellows.data_received(octets[:cut])
                hub.data_received(octets[:cut])
                octets = octets[cut:]
            bellows.data_received(octets)
            hub.data_received(octets)
            assert ours.taken == theirs.taken
            assert hub._rx_seq == bellows._rx_seq
            assert hub._in_reject_condition == bellows._in_reject_condition
        assert said(wires[1]) == said(wires[0])

    asyncio.run(run())


@given(numbers, st.booleans(), numbers, payloads)
def test_frames_are_written_as_bellows_writes_them(number: int, again: bool, ack: int, payload: bytes) -> None:
    frame = DataFrame(frm_num=number, re_tx=again, ack_num=ack, ezsp_frame=payload)
    octets = wrap(number << 4 | again << 3 | ack, randomise(payload))
    assert octets == on_the_line(frame)
    assert unwrap(octets[:-1]) == frame.to_bytes()[:-2]
