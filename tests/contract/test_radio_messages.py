"""What every `Radio` must do with messages, whatever dongle is behind it."""

import pytest

from chf.radio.interface import HUB_ENDPOINT, Delivery, Urgency
from devices.stack.interface import ApsStatus, Eui64
from tests.contract.radio_bench import METER, OTA, OTHER, message
from tests.support.radio_dongle import MemoryDevice


async def test_a_message_comes_in_with_its_security_as_it_was(bench):
    device = bench.device()
    bench.dongle.says(device, b"secured", secured=True)
    bench.dongle.says(device, b"plain", secured=False, endpoint=7)
    await bench.listener.until(lambda: len(bench.listener.received) == 2)
    secured, plain = bench.listener.received
    assert (secured.source, secured.payload, secured.aps_secured) == (METER, b"secured", True)
    assert (secured.profile, secured.cluster, secured.destination_endpoint) == (0x0109, OTA, HUB_ENDPOINT)
    assert (plain.payload, plain.aps_secured, plain.source_endpoint) == (b"plain", False, 7)
    assert not secured.broadcast


async def test_messages_of_an_unknown_address_come_in_the_order_of_the_air(bench):
    device = bench.device()
    for n in range(5):
        bench.dongle.says(device, bytes((n,)))
    await bench.listener.until(lambda: len(bench.listener.received) == 5)
    assert [m.payload for m in bench.listener.received] == [bytes((n,)) for n in range(5)]


async def test_what_is_not_for_the_hubs_endpoint_is_dropped(bench):
    device = bench.device()
    bench.dongle.says(device, b"other endpoint", to_endpoint=1)
    bench.dongle.says(device, b"ours")
    await bench.listener.until(lambda: bool(bench.listener.received))
    assert [m.payload for m in bench.listener.received] == [b"ours"]
    assert device.received == []  # nobody answered on our behalf


async def test_a_posted_message_goes_out_as_asked_and_its_fate_is_told_once(bench):
    device = await bench.invited()
    secured, plain = message(device, reference="mine"), message(device, aps_secured=False, acknowledged=False)
    bench.radio.post(secured)
    bench.radio.post(plain)
    await bench.listener.until(lambda: len(bench.listener.sent) == 2)
    assert bench.listener.sent == [(secured, Delivery.DELIVERED), (plain, Delivery.DELIVERED)]
    first, second = device.received
    assert (first.profile, first.cluster, first.source_endpoint) == (0x0109, OTA, HUB_ENDPOINT)
    assert (first.destination_endpoint, first.payload) == (3, b"\x09\x01\x05")
    assert (first.secured, first.acknowledged) == (True, True)
    assert (second.secured, second.acknowledged) == (False, False)


async def test_a_burst_is_answered_in_its_order(bench):
    device = await bench.invited(confirms_after_s=0.0)
    await bench.radio.send(message(device))
    bench.listener.message_received = lambda inbound: bench.radio.post(
        message(device, inbound.payload, urgency=Urgency.BULK)
    )
    asked = [bytes((n,)) for n in range(30)]
    for payload in asked:
        bench.dongle.says(device, payload)
    await bench.listener.until(lambda: len(bench.listener.sent) == len(asked))
    assert [request.payload for request in device.received[1:]] == asked
    assert set(bench.listener.fates()) == {Delivery.DELIVERED}


async def test_send_waits_for_the_fate_and_tells_the_listener_nothing(bench):
    device = await bench.invited()
    assert await bench.radio.send(message(device)) is Delivery.DELIVERED
    device.delivery = ApsStatus.NO_ACK
    assert await bench.radio.send(message(device)) is Delivery.NOT_DELIVERED
    assert bench.listener.sent == []


async def test_send_gives_up_when_its_time_is_over(bench):
    device = await bench.invited(confirms_after_s=None)
    assert await bench.radio.send(message(device), timeout_s=0.05) is Delivery.NOT_DELIVERED


async def test_a_device_that_nobody_knows_is_refused(bench, monkeypatch):
    monkeypatch.setattr("chf.radio.session.SEARCH_LIMIT_S", 0.05)
    stranger = MemoryDevice(OTHER, 0x2002)
    bench.radio.post(message(stranger))
    await bench.listener.until(lambda: bool(bench.listener.sent))
    assert bench.listener.fates() == [Delivery.REFUSED]


async def test_a_device_without_a_link_key_is_refused_secured_messages(bench):
    device = bench.device()
    assert await bench.radio.send(message(device)) is Delivery.REFUSED
    assert await bench.radio.send(message(device, aps_secured=False)) is Delivery.DELIVERED


async def test_an_unreachable_device_does_not_hold_up_another(bench):
    deaf = await bench.invited(confirms_after_s=None)
    other = await bench.invited(OTHER, 0x1002)
    for n in range(20):
        bench.radio.post(message(deaf, bytes((n,)), urgency=Urgency.BULK))
    for n in range(20):
        bench.radio.post(message(other, bytes((n,)), urgency=Urgency.BULK))
    await bench.listener.until(lambda: len(bench.listener.sent) == 20)
    assert {m.destination for m, _ in bench.listener.sent} == {OTHER}
    assert [m.payload for m in other.received] == [bytes((n,)) for n in range(20)]
    assert 0 < len(deaf.received) < 20


async def test_an_urgent_message_overtakes_waiting_blocks(bench):
    device = await bench.invited(confirms_after_s=0.001)
    for n in range(30):
        bench.radio.post(message(device, bytes((n,)), urgency=Urgency.BULK))
    bench.radio.post(message(device, b"end", urgency=Urgency.URGENT))
    await bench.listener.until(lambda: len(bench.listener.sent) == 31)
    order = [m.payload for m in device.received]
    assert order.index(b"end") == 0
    assert order[1:] == [bytes((n,)) for n in range(30)]


async def test_as_many_devices_as_find_room_at_once(bench):
    room = min(64, bench.info.limits.devices or 64)
    devices = [await bench.invited(Eui64(METER + n), 0x1001 + n, confirms_after_s=0.002) for n in range(room)]
    for n in range(4):
        for device in devices:
            bench.radio.post(message(device, bytes((n,)), urgency=Urgency.BULK))
    await bench.listener.until(lambda: len(bench.listener.sent) == 4 * room)
    assert set(bench.listener.fates()) == {Delivery.DELIVERED}
    assert all([m.payload for m in d.received] == [bytes((n,)) for n in range(4)] for d in devices)


@pytest.mark.parametrize("size", [73, 74, 182, 230, 231, 700])
async def test_a_long_message_arrives_whole(bench, size):
    device = await bench.invited(confirms_after_s=0.001)
    payload = bytes(n % 251 for n in range(size))
    assert await bench.radio.send(message(device, payload)) is Delivery.DELIVERED
    assert b"".join(m.payload for m in device.received) == payload
    assert all(m.acknowledged and m.secured for m in device.received)


async def test_a_long_message_that_is_not_acknowledged_is_told(bench):
    device = await bench.invited(delivery=ApsStatus.NO_ACK)
    for size in (150, 300):
        bench.radio.post(message(device, bytes(size)))
    await bench.listener.until(lambda: len(bench.listener.sent) == 2)
    assert bench.listener.fates() == [Delivery.NOT_DELIVERED] * 2
