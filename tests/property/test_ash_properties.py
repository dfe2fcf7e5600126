"""ASH under junk, and over a line that loses, damages and repeats."""

import binascii
from collections import deque
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from devices.ncp.ezsp.ash import WINDOW_BYTES, Ash, PayloadReceived
from devices.ncp.ezsp.ash_frames import MAX_DATA_FIELD_BYTES, DataFrame, parse_frame, randomise, stuff, unstuff

payloads = st.binary(min_size=3, max_size=MAX_DATA_FIELD_BYTES)


@given(st.binary(max_size=400))
def test_stuffing_round_trip(octets: bytes) -> None:
    stuffed = stuff(octets)
    assert not set(stuffed) & {0x7E, 0x11, 0x13, 0x18, 0x1A}
    assert unstuff(stuffed) == octets


@given(payloads)
def test_randomising_twice_is_nothing(octets: bytes) -> None:
    assert randomise(randomise(octets)) == octets


@given(st.integers(0, 7), st.integers(0, 7), payloads, st.booleans())
def test_data_frame_round_trip(number: int, acknowledged: int, payload: bytes, again: bool) -> None:
    frame = DataFrame(number, acknowledged, payload, again)
    assert parse_frame(frame.to_bytes()[:-1]) == frame


@given(payloads, st.integers(0, 10_000))
def test_a_flipped_bit_is_found(payload: bytes, where: int) -> None:
    line = bytearray(DataFrame(0, 0, payload).to_bytes()[:-1])
    line[where // 8 % len(line)] ^= 1 << where % 8
    assert parse_frame(bytes(line)) != DataFrame(0, 0, payload)


@given(
    st.lists(st.one_of(st.binary(max_size=60), st.binary(max_size=20).map(lambda junk: junk + b"\x7e")), max_size=20)
)
@settings(max_examples=300)
def test_no_junk_raises(pieces: list[bytes]) -> None:
    ash = Ash()
    now = 0.0
    for piece in pieces:
        ash.receive(piece, now)
        ash.send(b"callback", is_callback=True)
        ash.data_to_send(now)
        now += 0.5
        ash.handle_deadline(now)


class SmallHost:
    """A host's end of ASH, window 1, written for this test from UG101 alone: no code in common with the dongle's."""

    def __init__(self) -> None:
        self.taken: list[bytes] = []
        self.to_send: deque[bytes] = deque()
        self._number = 0
        self._expected = 0
        self._in_flight: bytes | None = None
        self._sent_at = 0.0
        self._attempt = 0
        self._held = b""

    def receive(self, octets: bytes) -> bytes:
        out = b""
        self._held += octets
        while b"\x7e" in self._held:
            piece, self._held = self._held.split(b"\x7e", 1)
            body = self._clean(piece)
            if body is not None:
                out += self._frame(body)
        return out

    @staticmethod
    def _clean(piece: bytes) -> bytes | None:
        body, escaped = bytearray(), False
        for octet in piece:
            if octet == 0x7D:
                escaped = True
            else:
                body.append(octet ^ 0x20 if escaped else octet)
                escaped = False
        if len(body) < 3 or binascii.crc_hqx(bytes(body[:-2]), 0xFFFF).to_bytes(2, "big") != bytes(body[-2:]):
            return None
        return bytes(body[:-2])

    def _frame(self, body: bytes) -> bytes:
        control = body[0]
        if control < 0xC0 and self._in_flight is not None and control & 7 == (self._number + 1) % 8:
            self._in_flight = None
            self._number = (self._number + 1) % 8
        if control >= 0x80:
            return b""
        if control >> 4 == self._expected:
            self._expected = (self._expected + 1) % 8
            self.taken.append(self._scramble(body[1:]))
        elif not control & 8:
            return self._line(bytes([0xA0 | self._expected]))
        return self._line(bytes([0x80 | self._expected]))

    def tick(self, now: float) -> bytes:
        if self._in_flight is None and self.to_send:
            self._in_flight, self._attempt = self.to_send.popleft(), 0
        elif self._in_flight is None or now < self._sent_at + 0.7:
            return b""
        self._sent_at = now
        control = self._number << 4 | (8 if self._attempt else 0) | self._expected
        self._attempt += 1
        return self._line(bytes([control]) + self._scramble(self._in_flight))

    @staticmethod
    def _scramble(octets: bytes) -> bytes:
        out, register = bytearray(), 0x42
        for octet in octets:
            out.append(octet ^ register)
            register = (register >> 1) ^ 0xB8 if register % 2 else register >> 1
        return bytes(out)

    @staticmethod
    def _line(body: bytes) -> bytes:
        body += binascii.crc_hqx(body, 0xFFFF).to_bytes(2, "big")
        out = bytearray()
        for octet in body:
            out += bytes([0x7D, octet ^ 0x20]) if octet in b"\x7e\x7d\x11\x13\x18\x1a" else bytes([octet])
        return bytes(out) + b"\x7e"


class BadLine:
    """Loses or damages one frame in so many, and no three in a row."""

    def __init__(self, random: Random, chance: float) -> None:
        self._random = random
        self._chance = chance
        self._spoiled = 0

    def carry(self, octets: bytes) -> bytes:
        out = b""
        for piece in octets.split(b"\x7e")[:-1]:
            frame = bytearray(piece + b"\x7e")
            if self._random.random() < self._chance and self._spoiled < 2:
                self._spoiled += 1
                if self._random.random() < 0.5:
                    continue
                frame[self._random.randrange(len(frame))] ^= 1 << self._random.randrange(8)
            else:
                self._spoiled = 0
            out += bytes(frame)
        return out


@given(st.integers(0, 2**32), st.floats(0.0, 0.4), st.lists(payloads, max_size=20), st.lists(payloads, max_size=20))
@settings(max_examples=150, deadline=None)
def test_everything_arrives_once_and_in_order_or_the_link_says_that_it_failed(
    seed: int, chance: float, from_dongle: list[bytes], from_host: list[bytes]
) -> None:
    random = Random(seed)
    ash, host = Ash(), SmallHost()
    up, down = BadLine(random, chance), BadLine(random, chance)
    taken: list[bytes] = []
    for payload in from_dongle:
        ash.send(payload, is_callback=True)
    host.to_send.extend(from_host)
    now = 0.0
    while (len(host.taken) < len(from_dongle) or len(taken) < len(from_host)) and now < 600.0:
        to_host = down.carry(ash.data_to_send(now))
        assert len(to_host) < WINDOW_BYTES + 64
        to_dongle = up.carry(host.receive(to_host) + host.tick(now))
        events = ash.receive(to_dongle, now)
        taken += [event.payload for event in events if isinstance(event, PayloadReceived)]
        now += 0.05
        ash.handle_deadline(now)
        if ash.failed:  # the same frame was lost five times: rare, and not on a good line
            assert chance > 0.1
            break
    assert host.taken == from_dongle[: len(host.taken)]
    assert taken == from_host[: len(taken)]
    assert ash.failed or (host.taken == from_dongle and taken == from_host)
