"""What is particular to the EZSP radio, on the real bellows and the virtual co-processor."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from chf.errors import UsageError
from chf.radio.ezsp import EzspRadio, EzspSettings
from chf.radio.interface import Delivery, Outbound, RadioState, Urgency
from devices.ncp.ezsp.ash import StartHabit
from devices.ncp.sticks import V13
from devices.stack.interface import ApsStatus, JoinKind
from tests.contract.radio_bench import KEY, METER, OTHER, block, message
from tests.support.radio_dongle import Dongle, MemoryDevice, Noise, plugged_dongle
from tests.support.radio_listener import RecordingListener

pytestmark = pytest.mark.usefixtures("no_complaints")


@pytest.fixture
async def dongle() -> AsyncIterator[Dongle]:
    async with plugged_dongle() as plugged:
        yield plugged


@pytest.fixture
def listener() -> RecordingListener:
    return RecordingListener()


@pytest.fixture
async def radio(dongle, listener) -> AsyncIterator[EzspRadio]:
    radio = EzspRadio(EzspSettings(dongle.port))
    await radio.start(listener, form=True)
    yield radio
    await radio.stop()


@pytest.mark.parametrize("habit", StartHabit)
async def test_the_hub_comes_up_on_a_stick_with_any_habit_of_starting(listener, monkeypatch, habit):
    monkeypatch.setattr("bellows.uart.RESET_TIMEOUT", 1.0)  # how long bellows waits for each of its resets
    async with plugged_dongle(replace(V13, start=habit, reset_s=0.2)) as dongle:
        radio = EzspRadio(EzspSettings(dongle.port))
        await radio.start(listener, form=True)
        try:
            assert await radio.send(message(await invited(dongle, radio))) is Delivery.DELIVERED
        finally:
            await radio.stop()


async def invited(dongle, radio, **settings) -> MemoryDevice:
    await radio.permit(METER, KEY, 60)
    return dongle.add(MemoryDevice(METER, 0x1001, **settings))


async def test_the_longest_message_of_one_frame_is_not_fragmented(dongle, radio, listener):
    device = await invited(dongle, radio)
    for secured, room in ((True, 73), (False, 82)):
        await radio.send(message(device, bytes(room), aps_secured=secured))
        await radio.send(message(device, bytes(room + 1), aps_secured=secured))
    assert [m.fragment is None for m in device.received] == [True, False, False, True, False, False]


async def test_a_lost_fragment_is_sent_again_and_too_many_losses_are_told(dongle, radio, listener):
    device = await invited(dongle, radio, delivery=ApsStatus.NO_ACK)
    radio.post(message(device, bytes(150)))
    await listener.until(lambda: bool(listener.sent))
    assert listener.fates() == [Delivery.NOT_DELIVERED]
    assert [m.fragment.index for m in device.received] == [0, 0, 0]


async def test_before_any_permit_not_even_the_well_known_key_lets_anybody_in(dongle, radio):
    assert dongle.ncp.keys.for_join(METER) is None


@pytest.mark.parametrize("ignored", [False, True])
async def test_a_device_that_was_kept_out_has_not_joined(dongle, radio, listener, ignored):
    dongle.keeps_out(MemoryDevice(METER, 0x1001), JoinKind.REJOINED_UNSECURED, ignored=ignored)
    dongle.joins(MemoryDevice(OTHER, 0x1002), JoinKind.REJOINED_SECURED)
    await listener.until(lambda: bool(listener.joined))
    assert listener.joined == [(OTHER, 0x1002)]


async def test_blocks_go_between_the_commands_of_a_long_series(dongle, radio, listener):
    device = await invited(dongle, radio)
    reading = asyncio.ensure_future(radio.export_keys())  # one command after the other, for each entry of the table
    read_before: list[bool] = []

    def ask_for_the_next(_request: object) -> None:
        read_before.append(reading.done())
        if len(read_before) < 10:
            radio.post(block(device, len(read_before)))

    device.on_message = ask_for_the_next
    radio.post(block(device))
    await listener.until(lambda: len(listener.sent) == 10)
    assert read_before == [False] * 10
    assert len(await reading) == 2


async def test_a_block_that_waited_for_a_command_leaves_before_who_gave_it_goes_on(dongle, radio, listener):
    device = await invited(dongle, radio)
    posted: list[bytes] = []

    def ask_for_the_next(_request: object) -> None:
        posted.append(bytes((len(posted),)) * 67)
        radio.post(Outbound(METER, 3, 0x0019, posted[-1], Urgency.BULK))

    device.on_message = ask_for_the_next
    ask_for_the_next(None)
    await radio.install_link_key(METER, KEY[::-1])
    waited = len(posted)
    radio.post(message(device, b"more urgent"))
    await listener.until(lambda: any(message.payload == b"more urgent" for message in device.received))
    device.on_message = lambda _request: None
    received = [message.payload for message in device.received]
    assert waited > 1
    assert posted[waited - 1] in received[: received.index(b"more urgent")]


async def test_a_noisy_cable_costs_time_and_no_message(dongle, radio, listener):
    device = dongle.add(MemoryDevice(METER, 0x1001))
    await radio.permit(METER, KEY, 60)
    dongle.line = noise = Noise(0.05)
    for n in range(60):
        radio.post(block(device, n))
    await listener.until(lambda: len(listener.sent) == 60)
    assert noise.hits > 2
    assert listener.fates() == [Delivery.DELIVERED] * 60
    assert [m.payload[0] for m in device.received] == list(range(60))


async def test_a_dongle_that_restarted_unheard_and_takes_frames_all_the_same_is_found_out(dongle, radio, listener):
    """Where its frame numbers happen to fit, only its answers tell: it knows no command before it is asked who it is."""
    dongle.ncp._agreed = False
    radio.post(Outbound(METER, 3, 0x0019, b"x"))
    await listener.until(lambda: listener.state_names()[-3:] == ["GONE", "CONNECTING", "UP"])
    assert (RadioState.GONE, "the dongle restarted without a word") in listener.states


async def test_the_key_table_is_made_large_enough(dongle, radio):
    assert dongle.ncp.keys.size == 64


@pytest.mark.parametrize("port", ["", "tcp://127.0.0.1", "tcp://:5000", "tcp://127.0.0.1:99999", "tcp://host:x"])
def test_what_is_no_port_is_the_users_mistake(port):
    with pytest.raises(UsageError, match="tcp://host:port"):
        EzspSettings(port)


async def test_an_error_of_the_hub_in_a_session_is_logged_and_the_radio_goes_on(
    dongle, radio, listener, monkeypatch, caplog
):
    def fail(_self, *, silent):
        del silent
        monkeypatch.undo()
        raise ZeroDivisionError

    monkeypatch.setattr("chf.radio.ezsp.traffic.EzspTraffic.tick", fail)
    await listener.until(lambda: listener.state_names()[-2:] == ["CONNECTING", "UP"] and len(listener.states) == 5)
    assert "ZeroDivisionError" in dict(listener.states)[RadioState.GONE]
    caplog.clear()
