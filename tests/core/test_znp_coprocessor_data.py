"""The TI co-processor in memory, and data: what a host hears for what it sends, and of what comes in."""

import struct

import pytest

from devices.stack.interface import ApsRequest, ApsStatus, NwkAddress
from tests.support.znp_air import (
    ACKNOWLEDGED,
    DEVICE,
    EXPIRED,
    INVALID_REQUEST,
    MAC_NO_ACK,
    NO_ACK,
    NO_KEY,
    NO_ROUTE,
    SECURED,
    confirms,
    data,
    data_ext,
    joined,
)
from tests.support.znp_host import DATA_CONFIRM, INCOMING_MSG, INCOMING_MSG_EXT, ZnpHost


@pytest.fixture
def host() -> ZnpHost:
    host = ZnpHost()
    host.form()
    return host


# Data


def test_data_to_a_device_under_its_link_key(host: ZnpHost) -> None:
    device = joined(host)
    host.callbacks.clear()
    assert host.call(0x2401, data(device.stack.address, b"hello")) == b"\x00"
    assert host.heard(DATA_CONFIRM) == []
    host.run(1.0)
    assert host.heard(DATA_CONFIRM) == [bytes([0, 3, 7])]
    (received,) = device.received
    assert (received.profile, received.cluster, received.source_endpoint) == (0x0109, 0x0019, 3)
    assert (received.payload, received.secured) == (b"hello", True)


@pytest.mark.parametrize(("mode", "by_ieee"), [(2, False), (3, True)], ids=["by short address", "by IEEE address"])
def test_data_by_the_extended_request(host: ZnpHost, mode: int, by_ieee: bool) -> None:
    device = joined(host)
    address = DEVICE if by_ieee else device.stack.address
    assert host.call(0x2402, data_ext(mode, address, b"hi")) == b"\x00"
    host.run(1.0)
    assert host.heard(DATA_CONFIRM) == [bytes([0, 3, 9])]
    assert (device.received[-1].payload, device.received[-1].secured) == (b"hi", False)


def test_data_along_a_source_route(host: ZnpHost) -> None:
    device = joined(host)
    head = struct.pack("<HBBHBBBB", device.stack.address, 5, 3, 0x0019, 9, 0x10, 30, 1) + b"\x34\x12"
    assert host.call(0x2403, head + b"\x02hi") == b"\x00"
    host.run(1.0)
    assert host.heard(DATA_CONFIRM) == [bytes([0, 3, 9])]
    assert device.received[-1].payload == b"hi"


def test_the_profile_is_that_of_the_source_endpoint(host: ZnpHost) -> None:
    device = joined(host)
    host.register(1, profile=0x0104)
    host.call(0x2401, data(device.stack.address, b"a", source=1))
    host.call(0x2401, data(device.stack.address, b"b", options=ACKNOWLEDGED | 0x02))
    host.run(1.0)
    assert [(heard.profile, heard.payload) for heard in device.received] == [(0x0104, b"a"), (0xFFFF, b"b")]


def test_what_is_refused_at_once(host: ZnpHost) -> None:
    device = joined(host)
    address = device.stack.address
    assert host.call(0x2401, data(address, b"x", source=9)) == b"\x02"  # no such endpoint here
    assert host.call(0x2402, data_ext(0, address, b"x")) == b"\x02"  # by binding
    assert host.call(0x2402, data_ext(2, address, b"x", length=9)) == b"\x02"
    assert host.call(0x2402, data_ext(3, DEVICE + 1, b"x")) == bytes([NO_ROUTE])
    assert host.call(0x2402, data_ext(15, 0xFFFF, bytes(83))) == b"\x02"  # broadcasts are not fragmented
    assert host.call(0x2402, data_ext(1, 0x0005, bytes(82))) == b"\x02"
    elsewhere = bytearray(data_ext(2, address, b"x"))
    elsewhere[10:12] = b"\x01\x02"
    assert host.call(0x2402, bytes(elsewhere)) == b"\x02"  # another PAN
    assert host.call(0x2544, struct.pack("<Q", DEVICE)) == b"\x00"
    assert host.call(0x2401, data(address, b"x")) == bytes([NO_KEY])
    host.reset()
    host.register(3)
    assert host.call(0x2401, data(address, b"x")) == bytes([INVALID_REQUEST])
    host.run(5.0)
    assert host.heard(DATA_CONFIRM) == []


@pytest.mark.parametrize(("options", "status"), [(ACKNOWLEDGED, NO_ACK), (0, MAC_NO_ACK)])
def test_a_silent_device_is_told_as_such(host: ZnpHost, options: int, status: int) -> None:
    device = joined(host)
    address = device.stack.address
    device.stack.power_off()
    assert confirms(host, data(address, b"x", options=options), 30.0) == [bytes([status, 3, 7])]


def test_an_unknown_device_has_no_route(host: ZnpHost) -> None:
    assert confirms(host, data(0x4242, b"x"), 30.0) == [bytes([NO_ROUTE, 3, 7])]
    assert host.call(0x2546, struct.pack("<HBB", 0x4242, 0, 3)) == b"\x01"
    assert host.call(0x2545, struct.pack("<HBB", 0x4242, 0, 30)) == b"\x00"


def test_a_sleeping_device_that_does_not_ask(host: ZnpHost) -> None:
    device = joined(host, poll_interval_s=100.0, mains_powered=False)
    address = device.stack.address
    host.run(30.0)
    assert confirms(host, data(address, b"x"), 30.0) == [bytes([EXPIRED, 3, 7])]
    # What zigpy-znp does about it: strike it off the association list, try again, put it back.
    assert host.call(0x2546, struct.pack("<HBB", address, 0, 3)) == b"\x00"
    assert host.call(0x2763, struct.pack("<Q", DEVICE)) == b"\x00"
    assert host.call(0x2763, struct.pack("<Q", DEVICE)) == b"\x01"
    assert host.call(0x274A, struct.pack("<QH", DEVICE, 0))[4] == 0xFF
    assert host.call(0x2546, struct.pack("<HBB", address, 0, 3)) == b"\x01"
    assert confirms(host, data(address, b"x"))[-1] == bytes([NO_ROUTE, 3, 7])
    assert host.call(0x2764, struct.pack("<HQB", address, DEVICE, 1)) == b"\x00"
    assert host.call(0x2764, struct.pack("<HQB", address, DEVICE + 1, 1)) == b"\x01"
    assert host.call(0x274A, struct.pack("<QH", DEVICE, 0))[4] == 1


def test_data_from_a_device(host: ZnpHost) -> None:
    device = joined(host)
    host.callbacks.clear()
    device.send(b"secret")
    device.send(b"open", secured=False)
    device.send(b"nobody", endpoint=9)
    host.run(1.0)
    messages = host.heard(INCOMING_MSG)
    heads = [struct.unpack_from("<HHHBBBBB", message) for message in messages]
    assert heads == [(0, 0x0019, device.stack.address, 5, 3, 0, 255, secured) for secured in (1, 0)]
    assert [message[17 : 17 + message[16]] for message in messages] == [b"secret", b"open"]
    assert all(len(message) == 17 + message[16] + 3 for message in messages)
    assert device.confirms == [ApsStatus.SUCCESS] * 3


def test_broadcasts_and_groups(host: ZnpHost) -> None:
    device = joined(host)
    host.callbacks.clear()
    host.register(8)
    host.call(0x254B, struct.pack("<BHB", 8, 0x0005, 0))
    everybody = ApsRequest(NwkAddress(0xFFFD), 0x0109, 0x0019, 5, 0xFF, b"all", acknowledged=False)
    group = ApsRequest(NwkAddress(0xFFFD), 0x0109, 0x0019, 5, 0, b"five", acknowledged=False, group=5)
    other = ApsRequest(NwkAddress(0xFFFD), 0x0109, 0x0019, 5, 0, b"six", acknowledged=False, group=6)
    for request in (everybody, group, other):
        device.stack.send(request)
    host.run(1.0)
    heard = [(*struct.unpack_from("<H5xBB", message), message[17:-3]) for message in host.heard(INCOMING_MSG)]
    assert heard == [(0, 8, 1, b"all"), (0, 3, 1, b"all"), (5, 8, 0, b"five")]
    assert host.call(0x2402, data_ext(15, 0xFFFF, b"down", options=0x70, endpoint=0xFF)) == b"\x00"
    assert host.call(0x2402, data_ext(1, 0x0005, b"group", options=0, endpoint=0xFF)) == b"\x00"
    host.run(1.0)
    assert host.heard(DATA_CONFIRM) == [bytes([0, 3, 9])]  # a broadcast has none
    assert [(heard.payload, heard.secured, heard.group) for heard in device.received] == [
        (b"down", False, None),
        (b"group", False, 5),
    ]


def test_a_long_message_to_a_device_goes_through_the_store(host: ZnpHost) -> None:
    device = joined(host)
    message = bytes(range(256)) * 4
    head = data_ext(2, device.stack.address, b"", length=len(message), options=ACKNOWLEDGED | SECURED)
    assert host.call(0x2411, b"\x00\x00\x01x") == b"\x10"  # nothing was announced
    assert host.call(0x2402, head) == b"\x00"
    for at in range(0, len(message), 240):
        part = message[at : at + 240]
        assert host.call(0x2411, struct.pack("<HB", at, len(part)) + part) == b"\x00"
    assert host.call(0x2411, struct.pack("<HB", 1020, 5) + bytes(5)) == b"\x02"  # past its end
    assert device.received == []
    assert host.call(0x2411, struct.pack("<HB", 0, 0)) == b"\x00"
    host.run(5.0)
    assert host.heard(DATA_CONFIRM) == [bytes([0, 3, 9])]
    (received,) = device.received
    assert (received.payload, received.secured) == (message, True)


def test_a_middling_message_is_fragmented_too(host: ZnpHost) -> None:
    device = joined(host)
    message = bytes(range(230))
    assert host.call(0x2402, data_ext(2, device.stack.address, message, options=0x50)) == b"\x00"
    host.run(5.0)
    assert host.heard(DATA_CONFIRM) == [bytes([0, 3, 9])]
    assert device.received[0].payload == message


def test_a_long_message_from_a_device_is_announced_and_retrieved(host: ZnpHost) -> None:
    device = joined(host)
    host.callbacks.clear()
    message = bytes(range(251)) * 4
    device.send(message)
    host.run(10.0)
    assert device.confirms == [ApsStatus.SUCCESS]
    assert host.heard(INCOMING_MSG) == []
    (announced,) = host.heard(INCOMING_MSG_EXT)
    layout = struct.Struct("<HHBQBHBBBBIBHHB")
    assert len(announced) == layout.size
    fields = layout.unpack(announced)
    timestamp = fields[10]
    assert fields[:4] == (0, 0x0019, 2, device.stack.address)
    assert (fields[9], fields[12]) == (1, len(message))
    retrieved = b""
    while len(retrieved) < len(message):
        size = min(240, len(message) - len(retrieved))
        answer = host.call(0x2412, struct.pack("<IHB", timestamp, len(retrieved), size))
        assert answer[:2] == bytes([0, size])
        retrieved += answer[2:]
    assert retrieved == message
    assert host.call(0x2412, struct.pack("<IHB", timestamp, len(message), 1)) == b"\x01\x00"
    assert host.call(0x2412, struct.pack("<IHB", timestamp, 0, 0)) == b"\x00\x00"
    assert host.call(0x2412, struct.pack("<IHB", timestamp, 0, 1)) == b"\x01\x00"


def test_the_largest_message_in_one_frame(host: ZnpHost) -> None:
    device = joined(host)
    host.callbacks.clear()
    device.send(bytes(223))
    host.run(5.0)
    device.send(bytes(224))
    host.run(5.0)
    assert len(host.heard(INCOMING_MSG)) == len(host.heard(INCOMING_MSG_EXT)) == 1


def test_long_messages_that_nobody_fetches_do_not_pile_up(host: ZnpHost) -> None:
    device = joined(host)
    for _ in range(9):
        device.send(bytes(300))
        host.run(5.0)
    stamps = [struct.unpack_from("<I", announced, 20)[0] for announced in host.heard(INCOMING_MSG_EXT)]
    assert len(set(stamps)) == 9
    first = [host.call(0x2412, struct.pack("<IHB", stamp, 0, 1))[0] for stamp in stamps]
    assert first == [1] + [0] * 8


def test_what_comes_from_the_device_object_has_its_profile(host: ZnpHost) -> None:
    device = joined(host)
    assert host.call(0x2401, data(device.stack.address, b"x", source=0)) == b"\x00"
    host.run(1.0)
    assert [(message.profile, message.source_endpoint) for message in device.received[-1:]] == [(0x0000, 0)]
