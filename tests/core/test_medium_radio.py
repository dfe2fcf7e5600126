"""The medium by itself: two or three radios and no stack."""

from dataclasses import replace
from itertools import pairwise
from random import Random

import pytest

from devices.medium.medium import Medium, MediumSettings
from devices.time import EventQueue
from devices.wire import mac
from devices.wire.mac import fcs

PAN = 0x1A62
INSTANT = MediumSettings(airtime=False)


class Pair:
    """Radio 1 and radio 2 on channel 15, and everything they heard."""

    def __init__(self, settings: MediumSettings | None = None, seed: int = 3) -> None:
        self.queue = EventQueue()
        self.medium = Medium(self.queue, Random(seed), settings)
        self.heard: dict[int, list[tuple[float, bytes, int, int]]] = {1: [], 2: [], 3: []}
        self.air: list[tuple[float, int, float, bytes]] = []
        self.medium.taps.append(lambda *frame: self.air.append(frame))
        self.radios = {number: self.attach(number) for number in (1, 2, 3)}
        self.done: list[tuple[bool, bool]] = []

    def attach(self, number: int):
        def receive(octets: bytes, lqi: int, rssi: int) -> None:
            self.heard[number].append((self.queue.now, octets, lqi, rssi))

        radio = self.medium.attach(number, receive)
        radio.tune(15, PAN, number)
        radio.listening = True
        return radio

    def send(self, payload: bytes = b"hello", destination: int = 2, sequence: int = 1) -> None:
        frame = mac.data_frame(sequence, PAN, destination, 1, payload)
        self.radios[1].transmit(frame, lambda acked, pending: self.done.append((acked, pending)))

    def payloads(self, number: int) -> list[bytes]:
        return [octets[9:] for _, octets, _, _ in self.heard[number]]


def test_a_frame_is_heard_by_its_destination_alone_and_acknowledged():
    pair = Pair(INSTANT)
    pair.send()
    assert (pair.done, pair.heard[2]) == ([], [])
    pair.queue.run_until(0.0)
    assert pair.done == [(True, False)]
    assert pair.payloads(2) == [b"hello"]
    assert pair.heard[3] == []
    assert [octets[:-2] for *_, octets in pair.air][1] == mac.ack_frame(1)
    assert all(fcs(octets[:-2]) == octets[-2:] and channel == 15 for _, channel, _, octets in pair.air)


def test_nobody_there_means_four_transmissions_and_no_acknowledgement():
    pair = Pair()
    pair.radios[2].listening = False
    pair.send()
    pair.queue.run_until(1.0)
    assert pair.done == [(False, False)]
    assert len(pair.air) == 4


def test_a_broadcast_is_heard_by_all_on_the_channel_and_not_acknowledged():
    pair = Pair()
    pair.radios[3].tune(16, PAN, 3)
    pair.send(destination=mac.BROADCAST)
    pair.queue.run_until(1.0)
    assert (len(pair.heard[2]), len(pair.heard[3])) == (1, 0)
    assert pair.done == [(True, False)]
    assert len(pair.air) == 1


def test_another_pan_with_the_same_address_hears_nothing():
    pair = Pair()
    pair.radios[3].tune(15, 0x2222, 2)
    pair.send()
    pair.queue.run_until(1.0)
    assert (len(pair.heard[2]), len(pair.heard[3])) == (1, 0)


def test_frames_of_one_radio_keep_their_order_through_retries():
    pair = Pair(MediumSettings(loss=0.4))
    for number in range(100):
        pair.send(bytes((number,)), sequence=number)
    pair.queue.run_until(1.0)
    first_seen = list(dict.fromkeys(pair.payloads(2)))
    assert first_seen == sorted(first_seen)
    assert len(pair.done) == 100
    assert 60 < sum(acked for acked, _ in pair.done) < 100
    assert len(pair.payloads(2)) > len(first_seen)  # lost acknowledgements repeat frames


def test_airtime_of_a_full_frame_and_its_acknowledgement():
    pair = Pair()
    pair.send(bytes(116))
    pair.queue.run_until(1.0)
    at = pair.heard[2][0][0]
    # 127 octets and 6 of preamble and header at 32 us, CCA and turnaround, 0 to 7 backoff units.
    fixed = 133 * 32e-6 + 320e-6
    assert fixed <= at <= fixed + 7 * 320e-6
    backoffs = (at - fixed) / 320e-6
    assert backoffs == pytest.approx(round(backoffs))


def test_block_exchanges_take_as_long_as_the_formula_says():
    """Request of 71 octets, response of 127, nothing else on the channel: 12.0 ms on average (facts section 12)."""
    pair = Pair()
    answers = 0

    def ask() -> None:
        pair.radios[1].transmit(mac.data_frame(1, PAN, 2, 1, bytes(60)))

    def answer(_octets: bytes, _lqi: int, _rssi: int) -> None:
        pair.radios[2].transmit(mac.data_frame(1, PAN, 1, 2, bytes(116)))

    def next_one(_octets: bytes, _lqi: int, _rssi: int) -> None:
        nonlocal answers
        answers += 1
        ask()

    pair.radios[2]._receive, pair.radios[1]._receive = answer, next_one
    ask()
    pair.queue.run_until(12.0)
    assert 12.0 / answers == pytest.approx(0.0120, rel=0.02)


def test_frames_of_two_radios_take_turns_on_the_channel():
    pair = Pair()
    for number in range(20):
        pair.send(bytes((number,)) * 60)
        pair.radios[3].transmit(mac.data_frame(number, PAN, 2, 3, bytes(60)))
    pair.queue.run_until(1.0)
    times = [at for at, _, _, octets in pair.air if len(octets) > 5]
    shortest = (71 + 6) * 32e-6
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert len(times) == 40
    assert min(gaps) >= shortest
    assert 40 / (times[-1] - times[0]) < 250


def test_range_ends_where_the_signal_drops_below_the_sensitivity():
    pair = Pair(MediumSettings(sensitivity_dbm=-90.0))
    pair.radios[2].position_m = (20.0, 0.0)
    pair.send()
    pair.queue.run_until(1.0)
    ((_, _, lqi, rssi),) = pair.heard[2]
    assert rssi == round(-40.2 - 27 * 1.30103)
    assert 0 < lqi < 255
    pair.radios[2].position_m = (200.0, 0.0)
    pair.send()
    pair.queue.run_until(2.0)
    assert pair.done == [(True, False), (False, False)]


def test_delay_duplication_and_reordering():
    pair = Pair(replace(INSTANT, delay_s=0.01))
    pair.send()
    pair.queue.run_until(1.0)
    assert pair.heard[2][0][0] == pytest.approx(0.01)
    pair = Pair(MediumSettings(duplication=1.0))
    pair.send()
    pair.queue.run_until(1.0)
    assert pair.payloads(2) == [b"hello", b"hello"]
    pair = Pair(MediumSettings(reordering=0.5))
    for number in range(40):
        pair.send(bytes((number,)), sequence=number)
    pair.queue.run_until(1.0)
    assert sorted(pair.payloads(2)) == [bytes((number,)) for number in range(40)]
    assert pair.payloads(2) != sorted(pair.payloads(2))


def test_the_same_seed_gives_the_same_air():
    def record(seed: int) -> list:
        pair = Pair(MediumSettings(loss=0.3, duplication=0.1, reordering=0.1), seed)
        for number in range(50):
            pair.send(bytes((number,)))
        pair.queue.run_until(5.0)
        return pair.air

    assert record(5) == record(5)
    assert record(5) != record(6)


def test_a_radio_that_is_switched_off_sends_and_hears_nothing_more():
    pair = Pair()
    pair.send()
    pair.send()
    pair.radios[1].switch_off()
    pair.queue.run_until(1.0)
    assert (pair.done, pair.air) == ([], [])
    pair.radios[1].listening = True
    pair.send()
    pair.queue.run_until(2.0)
    assert pair.done == [(True, False)]


def test_the_pending_bit_comes_from_the_receiver():
    pair = Pair(INSTANT)
    pair.radios[2].pending_for = lambda octets: octets[-1:] == b"\x04"
    poll = mac.MacFrame(
        mac.MacType.COMMAND, 9, mac.AddressMode.SHORT, PAN, 2, mac.AddressMode.SHORT, PAN, 1, b"\x04", ack_request=True
    )
    pair.radios[1].transmit(poll.to_bytes(), lambda acked, pending: pair.done.append((acked, pending)))
    pair.queue.run_until(0.0)
    assert pair.done == [(True, True)]
    assert pair.air[1][3][:3] == mac.ack_frame(9, pending=True)


def test_what_does_not_fit_a_frame_is_the_callers_mistake():
    pair = Pair()
    with pytest.raises(ValueError, match="do not fit"):
        pair.radios[1].transmit(bytes(126))


@pytest.mark.parametrize("wrong", [{"loss": 1.5}, {"duplication": -0.1}, {"delay_s": -1.0}, {"loss": float("nan")}])
def test_settings_refuse_nonsense(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        MediumSettings(**wrong)
