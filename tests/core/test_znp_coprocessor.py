"""The TI co-processor in memory, with devices on the air: what a host hears for what it says, octet for octet."""

import struct
from random import Random
from typing import Any

import pytest

from devices.stack.end_device import EndDevice
from devices.stack.interface import ApsIndication, ApsRequest, ApsStatus, Endpoint, Eui64, NwkAddress
from tests.support.znp_host import (
    BDB_NOTIFICATION,
    DATA_CONFIRM,
    DEVICE_ANNOUNCE_IND,
    DONGLE,
    EXTENDED_PAN,
    INCOMING_MSG,
    INCOMING_MSG_EXT,
    LEAVE_IND,
    MSG_CB_INCOMING,
    STATE_CHANGE_IND,
    TC_DEVICE_IND,
    ZnpHost,
)

DEVICE = Eui64(0x00DB_1234_5678_90A4)
KEY = bytes.fromhex("66B6900981E1EE3CA4206B6B861C02BB")
WELL_KNOWN_KEY = b"ZigBeeAlliance09"
ACKNOWLEDGED, SECURED = 0x10, 0x40
NO_KEY, NO_ACK, INVALID_REQUEST, NO_ROUTE, MAC_NO_ACK, EXPIRED = 0xA1, 0xB7, 0xC2, 0xCD, 0xE9, 0xF0


class Device:
    """An end device that keeps what it hears."""

    def __init__(self, host: ZnpHost, ieee: Eui64 = DEVICE, key: bytes = KEY, **options: Any) -> None:
        self.received: list[ApsIndication] = []
        self.confirms: list[ApsStatus] = []
        self.failures: list[str] = []
        self.stack = EndDevice(ieee, key, host.medium, host.queue, Random(9), listener=self, **options)
        self.stack.endpoints[5] = Endpoint(5, 0x0109, 0x0502, client_clusters=(0x0019,))

    def joined(self, address: NwkAddress, *, rejoined: bool) -> None: ...
    def left(self) -> None: ...

    def join_failed(self, reason: str) -> None:
        self.failures.append(reason)

    def message_received(self, indication: ApsIndication) -> None:
        self.received.append(indication)

    def send(self, payload: bytes, *, secured: bool = True, endpoint: int = 3, cluster: int = 0x0019) -> None:
        request = ApsRequest(NwkAddress(0), 0x0109, cluster, 5, endpoint, payload, secured=secured)
        self.stack.send(request, self.confirms.append)


@pytest.fixture
def host() -> ZnpHost:
    host = ZnpHost()
    host.form()
    return host


def add_install_code(host: ZnpHost, ieee: int = DEVICE, key: bytes = KEY) -> None:
    assert host.call(0x2F04, struct.pack("<BQ", 2, ieee) + key) == b"\x00"


def joined(host: ZnpHost, **options: Any) -> Device:
    """A device that is in."""
    add_install_code(host)
    host.permit()
    device = Device(host, **options)
    device.stack.power_on()
    host.run(10.0)
    assert device.stack.joined
    return device


def data(
    destination: int,
    payload: bytes,
    *,
    options: int = ACKNOWLEDGED | SECURED,
    source: int = 3,
    endpoint: int = 5,
    sequence: int = 7,
    cluster: int = 0x0019,
) -> bytes:
    """The parameters of AF_DATA_REQUEST."""
    head = struct.pack("<HBBHBBB", destination, endpoint, source, cluster, sequence, options, 30)
    return head + bytes([len(payload)]) + payload


def data_ext(
    mode: int, address: int, payload: bytes, *, length: int | None = None, options: int = 0x30, endpoint: int = 5
) -> bytes:
    """The parameters of AF_DATA_REQUEST_EXT."""
    head = struct.pack("<BQBHBHBBB", mode, address, endpoint, 0, 3, 0x0019, 9, options, 30)
    return head + struct.pack("<H", len(payload) if length is None else length) + payload


# The network


def test_forming_is_told_step_by_step(host: ZnpHost) -> None:
    assert host.heard(STATE_CHANGE_IND) == [b"\x08", b"\x09"]
    assert host.heard(BDB_NOTIFICATION) == [bytes([1, 2, 4]), bytes([0, 2, 0])]


def test_restoring_is_told_otherwise(host: ZnpHost) -> None:
    host.reset()
    host.start()
    assert host.heard(STATE_CHANGE_IND) == [b"\x09"]
    assert host.heard(BDB_NOTIFICATION) == [bytes([0x0D, 0, 4]), bytes([0, 4, 0])]


def test_starting_by_the_older_command(host: ZnpHost) -> None:
    host.reset()
    assert host.call(0x2540, b"\x64\x00") == b"\x00"  # restored
    host.run()
    assert host.heard(STATE_CHANGE_IND) == [b"\x09"]
    assert host.heard(BDB_NOTIFICATION) == []
    fresh = ZnpHost()
    assert fresh.call(0x2540, b"\x00\x00") == b"\x01"  # a new one
    fresh.run()
    assert fresh.heard(STATE_CHANGE_IND) == [b"\x08", b"\x09"]


def test_forming_again_fails_while_it_runs(host: ZnpHost) -> None:
    host.callbacks.clear()
    assert host.call(0x2F05, b"\x04") == b"\x00"
    host.run()
    assert host.heard(BDB_NOTIFICATION) == [bytes([8, 4, 0])]
    assert host.call(0x2F05, b"\x01") == b"\x02"  # touchlink


def test_steering_opens_the_network(host: ZnpHost) -> None:
    assert host.call(0x2F05, b"\x02") == b"\x00"
    assert host.heard(BDB_NOTIFICATION)[-1] == bytes([0, 2, 0])
    assert host.dongle.stack.permitting


def test_what_the_network_is(host: ZnpHost) -> None:
    info = struct.unpack("<HBHHQQB", host.call(0x2550))
    assert info == (0, 9, 0x1A62, 0, EXTENDED_PAN, 0, 15)
    assert host.call(0x2700) == struct.pack("<BQHBBB", 0, DONGLE, 0, 7, 9, 0)
    host.reset()
    assert struct.unpack("<HB", host.call(0x2550)[:3]) == (0xFFFE, 0)


def test_a_reset_forgets_endpoints_groups_and_permission(host: ZnpHost) -> None:
    host.call(0x254B, struct.pack("<BHB", 3, 0x0B84, 0))
    host.permit()
    host.reset()
    host.start()
    assert host.call(0x254A, struct.pack("<BH", 3, 0x0B84)) == struct.pack("<BHB", 1, 0x0B84, 0)
    assert not host.dongle.stack.permitting
    host.register(3)  # it is not there any more


def test_endpoints_are_registered_once(host: ZnpHost) -> None:
    layout = struct.pack("<HHBBBB", 0x0109, 0x0500, 0, 0, 0, 0)
    assert host.call(0x2400, b"\x03" + layout) == b"\xb8"
    assert host.call(0x2400, b"\x00" + layout) == b"\x02"
    assert host.call(0x2400, b"\xff" + layout) == b"\x02"
    assert host.call(0x2404, b"\x03") == b"\x00"
    assert host.call(0x2404, b"\x03") == b"\x02"


def test_groups(host: ZnpHost) -> None:
    named = struct.pack("<BHB", 3, 5, 2) + b"ab"
    assert host.call(0x254B, named) == b"\x00"
    assert host.call(0x254B, named) == b"\xb8"
    assert host.call(0x254A, named[:3]) == b"\x00\x05\x00\x02ab"
    assert host.call(0x254C) == b"\x01"
    assert host.call(0x2547, named[:3]) == b"\x00"
    assert host.call(0x2547, named[:3]) == b"\x01"
    for group in range(64):
        assert host.call(0x254B, struct.pack("<BHB", 3, group, 0)) == b"\x00"
    assert host.call(0x254B, struct.pack("<BHB", 3, 64, 0)) == b"\xb2"
    assert host.call(0x2548, b"\x03") == b"\x00"
    assert host.call(0x254C) == b"\x00"


# Joining


def test_a_device_joins_under_its_install_code(host: ZnpHost) -> None:
    device = joined(host)
    address = device.stack.address
    assert host.heard(TC_DEVICE_IND) == [struct.pack("<HQH", address, DEVICE, 0)]
    assert host.heard(DEVICE_ANNOUNCE_IND) == [struct.pack("<HHQB", address, address, DEVICE, 0x8C)]
    assert host.heard(MSG_CB_INCOMING) == []  # nobody registered
    assert host.call(0x2700)[13:] == b"\x01" + struct.pack("<H", address)
    assert struct.unpack("<BxHQ", host.entry(1, 0)) == (3, address, DEVICE)
    found = host.call(0x274A, struct.pack("<QH", DEVICE, 0))
    assert len(found) == 36
    assert struct.unpack_from("<HHB", found) == (address, 0, 2)
    assert host.call(0x2749, b"\x00") == found
    assert host.call(0x2749, b"\x01") == b"\xff" * 36
    assert host.call(0x274A, struct.pack("<QH", 0, address)) == found
    assert host.call(0x274A, struct.pack("<QH", DEVICE + 1, address)) == b"\xff" * 36
    assert host.call(0x2740, struct.pack("<Q", DEVICE)) == struct.pack("<H", address)
    assert host.call(0x2741, struct.pack("<H", address)) == struct.pack("<Q", DEVICE)


def test_a_registered_host_hears_of_announcements(host: ZnpHost) -> None:
    assert host.call(0x253E, b"\x13\x00") == b"\x00"
    device = joined(host)
    (heard,) = host.heard(MSG_CB_INCOMING)
    source, broadcast, cluster, security, _sequence, _destination = struct.unpack_from("<HBHBBH", heard)
    assert (source, broadcast, cluster, security) == (device.stack.address, 1, 0x0013, 0)
    assert heard[9:] == struct.pack("<HQB", source, DEVICE, 0x8C)
    assert host.call(0x253F, b"\x13\x00") == b"\x00"
    assert host.call(0x253F, b"\x13\x00") == b"\x01"


def test_without_direct_callbacks_only_registered_clusters_are_heard() -> None:
    host = ZnpHost()
    host.put(0x008F, b"\x00")
    host.start()
    host.call(0x253E, b"\xff\xff")
    joined(host)
    assert host.heard(DEVICE_ANNOUNCE_IND) == []
    assert [struct.unpack_from("<3xH", heard)[0] for heard in host.heard(MSG_CB_INCOMING)][-1] == 0x0013


def test_a_device_without_an_install_code_joins_under_the_well_known_key(host: ZnpHost) -> None:
    host.permit()
    device = Device(host, key=WELL_KNOWN_KEY)
    device.stack.power_on()
    host.run(10.0)
    assert device.stack.joined
    assert struct.unpack("<IIQBBBx", host.entry(4, 0))[2:] == (DEVICE, 0xFF, 0, 0)


def test_nor_does_it_where_install_codes_are_required(host: ZnpHost) -> None:
    assert host.call(0x2F06, b"\x01") == b"\x00"
    host.permit()
    device = Device(host, key=WELL_KNOWN_KEY)
    device.stack.power_on()
    host.run(9.0)
    assert device.failures
    assert host.heard(TC_DEVICE_IND) == []
    add_install_code(host, key=WELL_KNOWN_KEY)
    host.run(20.0)
    assert device.stack.joined


def test_nobody_joins_a_closed_network(host: ZnpHost) -> None:
    add_install_code(host)
    device = Device(host)
    device.stack.power_on()
    host.run(5.0)
    assert set(device.failures) == {"no network that lets devices join"}
    host.permit(2)
    host.run(3.0)
    host.permit(0)
    assert not host.dongle.stack.permitting


def test_a_device_that_finds_the_tables_full_stays_outside(host: ZnpHost) -> None:
    for index in range(4):
        assert host.call(0x2542, struct.pack("<HQ16s", 1 + index, 0x100 + index, b"k" * 16)) == b"\x00"
    host.permit()
    device = Device(host, key=WELL_KNOWN_KEY)
    device.stack.power_on()
    host.run(5.0)
    assert not device.stack.joined


@pytest.mark.parametrize(("mode", "destination"), [(2, 0xFFFC), (15, 0xFFFC)])
def test_permission_for_all_and_for_the_dongle_alone(host: ZnpHost, mode: int, destination: int) -> None:
    host.callbacks.clear()
    heard: list[bytes] = []
    host.medium.taps.append(lambda *frame: heard.append(frame[-1]))
    assert host.call(0x2536, struct.pack("<BHBB", mode, destination, 60, 1)) == b"\x00"
    host.run()
    assert host.heard(0x45B6) == [b"\x00\x00\x00"]
    assert host.dongle.stack.permitting
    assert bool(heard) == (mode == 15)


def test_a_device_cannot_open_the_network(host: ZnpHost) -> None:
    device = joined(host)
    host.permit(0)
    device.stack.send(ApsRequest(NwkAddress(0), 0, 0x0036, 0, 0, b"\x01\xff\x01"))
    host.run(1.0)
    assert not host.dongle.stack.permitting
    assert device.received[-1].payload == b"\x01\x84"  # not supported


def test_a_leave_is_told(host: ZnpHost) -> None:
    device = joined(host)
    address = device.stack.address
    assert host.call(0x2534, struct.pack("<HQB", address, DEVICE, 0)) == b"\x00"
    host.run(5.0)
    assert host.heard(0x45B4) == [struct.pack("<HB", address, 0)]
    assert host.heard(LEAVE_IND) == [struct.pack("<HQBBB", address, DEVICE, 0, 0, 0)]
    assert host.call(0x2748, b"\x00\xff") == b"\x00\x00"
    assert struct.unpack_from("<BxH", host.entry(1, 0))[0] == 2  # its install code stays


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
    host.call(0x2401, data(address, b"x", options=options))
    host.run(30.0)
    assert host.heard(DATA_CONFIRM) == [bytes([status, 3, 7])]


def test_an_unknown_device_has_no_route(host: ZnpHost) -> None:
    assert host.call(0x2401, data(0x4242, b"x")) == b"\x00"
    host.run(30.0)
    assert host.heard(DATA_CONFIRM) == [bytes([NO_ROUTE, 3, 7])]
    assert host.call(0x2546, struct.pack("<HBB", 0x4242, 0, 3)) == b"\x01"
    assert host.call(0x2545, struct.pack("<HBB", 0x4242, 0, 30)) == b"\x00"


def test_a_sleeping_device_that_does_not_ask(host: ZnpHost) -> None:
    device = joined(host, poll_interval_s=100.0, mains_powered=False)
    address = device.stack.address
    host.run(30.0)
    host.call(0x2401, data(address, b"x"))
    host.run(30.0)
    assert host.heard(DATA_CONFIRM) == [bytes([EXPIRED, 3, 7])]
    # What zigpy-znp does about it: strike it off the association list, try again, put it back.
    assert host.call(0x2546, struct.pack("<HBB", address, 0, 3)) == b"\x00"
    assert host.call(0x2763, struct.pack("<Q", DEVICE)) == b"\x00"
    assert host.call(0x2763, struct.pack("<Q", DEVICE)) == b"\x01"
    assert host.call(0x274A, struct.pack("<QH", DEVICE, 0))[4] == 0xFF
    assert host.call(0x2546, struct.pack("<HBB", address, 0, 3)) == b"\x01"
    host.call(0x2401, data(address, b"x"))
    host.run(1.0)
    assert host.heard(DATA_CONFIRM)[-1] == bytes([NO_ROUTE, 3, 7])
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
    assert heard == [(0, 3, 1, b"all"), (0, 8, 1, b"all"), (5, 8, 0, b"five")]
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
    assert host.call(0x2411, b"\x00\x00\x01x") == b"\x02"  # nothing was announced
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


# Keys


def test_the_key_of_an_establishment_takes_the_place_of_the_install_code(host: ZnpHost) -> None:
    device = joined(host)
    established = b"E" * 16
    assert host.call(0x2542, struct.pack("<HQ16s", device.stack.address, DEVICE, established)) == b"\x00"
    host.call(0x2401, data(device.stack.address, b"x"))
    host.run(30.0)
    assert host.heard(DATA_CONFIRM) == [bytes([NO_ACK, 3, 7])]  # the device does not have it
    device.stack.persistent_state.link_key.key = established
    host.call(0x2401, data(device.stack.address, b"y"))
    host.run(1.0)
    assert host.heard(DATA_CONFIRM)[-1] == bytes([0, 3, 7])
    add_install_code(host)  # it starts anew
    assert host.call(0x2543, struct.pack("<Q", DEVICE))[:2] == b"\xff\xff"


def test_counters_of_link_keys_outlive_a_reset(host: ZnpHost) -> None:
    device = joined(host)
    for payload in (b"a", b"b"):
        host.call(0x2401, data(device.stack.address, payload))
        device.send(payload)
        host.run(1.0)
    before = struct.unpack("<II", host.entry(5, 0)[16:])
    assert min(before) > 0
    assert struct.unpack_from("<II", host.entry(4, 0)) == before
    host.reset()
    host.start()
    host.register(3)
    assert struct.unpack("<II", host.entry(5, 0)[16:]) == before
    host.call(0x2401, data(device.stack.address, b"c"))
    device.send(b"c")
    host.run(5.0)
    assert host.heard(DATA_CONFIRM) == [bytes([0, 3, 7])]
    assert [received.payload for received in device.received] == [b"a", b"b", b"c"]
    assert host.heard(INCOMING_MSG)[-1][17:18] == b"c"


def test_the_same_install_code_again_counts_on(host: ZnpHost) -> None:
    device = joined(host)
    host.call(0x2401, data(device.stack.address, b"a"))
    host.run(1.0)
    before = struct.unpack_from("<I", host.entry(4, 0))
    add_install_code(host)
    assert struct.unpack_from("<I", host.entry(4, 0)) == before
    add_install_code(host, key=b"other key of 16.")
    assert struct.unpack_from("<I", host.entry(4, 0)) == (0,)


def test_devices_come_back_after_the_dongle_was_away(host: ZnpHost) -> None:
    device = joined(host)
    address = device.stack.address
    host.reset()
    host.run(60.0)
    host.start()
    host.register(3)
    host.run(60.0)
    assert host.call(0x2748, b"\x00\xff") == b"\x01\x00"
    assert device.stack.address == address
    host.call(0x2401, data(address, b"there?"))
    host.run(1.0)
    assert host.heard(DATA_CONFIRM) == [bytes([0, 3, 7])]


def test_unsecured_rejoins_can_be_forbidden(host: ZnpHost) -> None:
    assert host.call(0x2F03, b"\x00") == b"\x00"
    assert not host.dongle.stack.unsecured_rejoin_allowed


# The device object


def zdp(host: ZnpHost, command: int, parameters: bytes, answer: int) -> bytes:
    host.callbacks.clear()
    assert host.call(command, parameters) == b"\x00"
    host.run(2.0)
    (heard,) = host.heard(answer)
    return heard


@pytest.mark.parametrize("to_itself", [True, False])
def test_questions_about_a_node(host: ZnpHost, to_itself: bool) -> None:
    device = joined(host)
    address = 0 if to_itself else device.stack.address
    ieee = DONGLE if to_itself else DEVICE
    endpoint = 3 if to_itself else 5
    asked = struct.pack("<HH", address, address)
    head = struct.pack("<HBH", address, 0, address)
    assert zdp(host, 0x2502, asked, 0x4582)[:5] == head
    assert zdp(host, 0x2505, asked, 0x4585) == head + bytes([1, endpoint])
    described = zdp(host, 0x2504, asked + bytes([endpoint]), 0x4584)
    assert described[:5] == head
    assert described[6:9] == bytes([endpoint, 0x09, 0x01])
    lists = bytes([1, 0x19, 0, 0]) if to_itself else bytes([0, 1, 0x19, 0])
    assert zdp(host, 0x2506, asked + struct.pack("<H", 0x0109) + lists, 0x4586) == head + bytes([1, endpoint])
    assert zdp(host, 0x2501, struct.pack("<HBB", address, 0, 0), 0x4581) == struct.pack(
        "<BQHBB", 0, ieee, address, 0, 0
    )
    assert zdp(host, 0x2500, struct.pack("<QBB", ieee, 0, 0), 0x4580) == struct.pack("<BQHBB", 0, ieee, address, 0, 0)
    target = struct.pack("<HQBHBQB", address, ieee, endpoint, 0x0019, 3, DONGLE, 3)
    assert zdp(host, 0x2521, target, 0x45A1)[:2] == struct.pack("<H", address)
    assert zdp(host, 0x2522, target, 0x45A2)[:2] == struct.pack("<H", address)


def test_the_dongle_lists_its_neighbours_and_empty_tables(host: ZnpHost) -> None:
    device = joined(host)
    neighbours = zdp(host, 0x2531, b"\x00\x00\x00", 0x45B1)
    assert neighbours[:6] == bytes([0, 0, 0, 1, 0, 1])
    assert struct.unpack_from("<QQH", neighbours, 6) == (EXTENDED_PAN, DEVICE, device.stack.address)
    assert zdp(host, 0x2532, b"\x00\x00\x00", 0x45B2) == bytes([0, 0, 0, 0, 0, 0])
    assert zdp(host, 0x2533, b"\x00\x00\x05", 0x45B3) == bytes([0, 0, 0, 0, 5, 0])


def test_an_energy_scan(host: ZnpHost) -> None:
    scan = struct.pack("<HBIBBH", 0, 2, 0x07FFF800, 2, 1, 0)
    heard = zdp(host, 0x2537, scan, 0x45B8)
    assert struct.unpack_from("<HBIHHB", heard) == (0, 0, 0x07FFF800, 0, 0, 16)
    assert len(heard) == 12 + 16
    assert host.call(0x2537, struct.pack("<HBIBBH", 0, 2, 1 << 20, 0xFE, 0, 0)) == b"\x02"  # no change of channel


def test_a_bad_binding_is_refused(host: ZnpHost) -> None:
    head = struct.pack("<HQBHB", 0, DONGLE, 3, 0x0019, 3)
    assert host.call(0x2521, head + bytes(8)) == b"\x02"
    assert host.call(0x2521, head[:-1] + b"\x02" + bytes(9)) == b"\x02"


def test_an_address_question_about_a_stranger_goes_to_all_and_finds_nobody(host: ZnpHost) -> None:
    host.callbacks.clear()
    assert host.call(0x2500, struct.pack("<QBB", DEVICE, 0, 0)) == b"\x00"
    host.run(5.0)
    assert host.callbacks == []


def test_device_profile_messages_through_af(host: ZnpHost) -> None:
    """As zigpy-znp sends them: with their sequence number, and answered through the registered callback."""
    device = joined(host)
    host.call(0x253E, b"\xff\xff")
    host.callbacks.clear()
    for address in (0, device.stack.address):
        request = struct.pack("<BQBHBHBBBHB", 2, address, 0, 0, 0, 0x0005, 0x42, 0x20, 30, 3, 0x42)
        assert host.call(0x2402, request + struct.pack("<H", address)) == b"\x00"
        host.run(1.0)
    heard = host.heard(MSG_CB_INCOMING)
    assert [struct.unpack_from("<HBHBB", message) for message in heard] == [
        (0, 0, 0x8005, 0, 0x42),
        (device.stack.address, 0, 0x8005, 0, 0x42),
    ]
    assert heard[1][9:] == struct.pack("<BHBB", 0, device.stack.address, 1, 5)
    assert host.heard(DATA_CONFIRM) == []
    permit = struct.pack("<BQBHBHBBBH", 15, 0xFFFC, 0, 0, 0, 0x0036, 0x43, 0x20, 30, 3) + bytes([0x43, 0, 1])
    assert host.dongle.stack.permitting
    assert host.call(0x2402, permit) == b"\x00"
    assert not host.dongle.stack.permitting


def test_the_device_object_is_silent_off_the_network() -> None:
    host = ZnpHost()
    off = bytes([INVALID_REQUEST])
    assert host.call(0x2505, b"\x00\x00\x00\x00") == off
    assert host.call(0x2536, struct.pack("<BHBB", 2, 0, 60, 1)) == off
    assert host.call(0x2500, struct.pack("<QBB", DEVICE, 0, 0)) == off
    assert host.call(0x2545, struct.pack("<HBB", 0, 0, 30)) == off


# Utilities


def test_utilities(host: ZnpHost) -> None:
    assert host.call(0x270A, b"\xff\x00") == b"\x00"
    assert host.call(0x2114, b"\x05") == b"\x00"
    assert host.call(0x2114, b"\x7f") == b"\x02"
    assert host.call(0x210F, b"\x00\x09") == b"\x09"
    assert host.call(0x210C) != host.call(0x210C)
    host.run(90.0)
    assert struct.unpack("<I", host.call(0x2709)) == (90,)
    assert host.call(0x2F09, b"\x00") == host.call(0x2F01, b"\x08") == b"\x00"
    assert host.call(0x2413, b"\x03\x32\x01") == b"\x00"
    assert host.call(0x2413, b"\x09\x32\x01") == b"\x02"
    assert host.call(0x2740, struct.pack("<Q", DEVICE)) == b"\xfe\xff"
    assert host.call(0x2741, b"\x34\x12") == bytes(8)


def test_forming_and_steering_in_one_go() -> None:
    host = ZnpHost()
    assert host.call(0x2F05, b"\x06") == b"\x00"
    assert host.call(0x2F05, b"\x04") == b"\x00"  # it is at it
    host.run()
    assert host.heard(STATE_CHANGE_IND) == [b"\x08", b"\x09"]
    assert host.heard(BDB_NOTIFICATION) == [bytes([1, 2, 4]), bytes([0, 2, 2]), bytes([0, 2, 0])]
    assert host.dongle.stack.permitting


def test_steering_without_a_network() -> None:
    host = ZnpHost()
    assert host.call(0x2F05, b"\x02") == b"\x00"
    assert host.heard(BDB_NOTIFICATION) == [bytes([2, 2, 0])]


def test_a_device_that_never_gets_in_leaves_no_entry(host: ZnpHost) -> None:
    host.permit(254)
    device = Device(host)  # its install code is not known here: the well-known key does not open what it is sent
    device.stack.power_on()
    host.run(8.0)
    device.stack.power_off()
    host.run(30.0)
    assert host.call(0x2748, b"\x00\xff") == b"\x00\x00"
    assert host.entry(1, 0) == b"\xff" * 12
    assert struct.unpack_from("<Q", host.entry(4, 0), 8) == (0,)


def test_strangers_that_only_ask_fill_no_table(host: ZnpHost) -> None:
    for index in range(100):
        assert host.dongle.keys.for_join(Eui64(0x1000 + index)) is not None
    assert [struct.unpack_from("<Q", host.entry(4, slot), 8)[0] for slot in range(4)] == [0, 0, 0, 0]
    for index in range(4):
        add_install_code(host, ieee=0x2000 + index)
    assert host.dongle.keys.for_join(Eui64(0x1000)) is None


def test_a_child_that_is_refused_a_rejoin_stays_one(host: ZnpHost) -> None:
    host.permit()
    device = Device(host, key=WELL_KNOWN_KEY)
    device.stack.power_on()
    host.run(10.0)
    host.dongle.join_refused(DEVICE, "unsecured rejoin is not allowed")
    assert struct.unpack_from("<Q", host.entry(4, 0), 8) == (DEVICE,)
    host.call(0x2401, data(device.stack.address, b"x"))
    host.run(1.0)
    assert host.heard(DATA_CONFIRM) == [bytes([0, 3, 7])]
    assert host.call(0x2534, struct.pack("<HQB", device.stack.address, DEVICE, 0)) == b"\x00"
    host.run(5.0)
    assert struct.unpack_from("<Q", host.entry(4, 0), 8) == (0,)
    assert host.entry(1, 0) == b"\xff" * 12


def test_a_device_joins_again_under_the_key_of_its_establishment(host: ZnpHost) -> None:
    assert host.call(0x2542, struct.pack("<HQ16s", 0xFFFE, DEVICE, KEY)) == b"\x00"
    assert host.call(0x2F06, b"\x01") == b"\x00"
    host.permit()
    device = Device(host)
    device.stack.power_on()
    host.run(10.0)
    assert device.stack.joined
    assert host.call(0x2542, struct.pack("<HQ16s", device.stack.address, DEVICE, b"N" * 16)) == b"\x00"  # a new one
    assert host.call(0x2744, struct.pack("<Q", DEVICE))[1:17] == b"N" * 16
    assert host.dongle.keys.in_use() == {DEVICE: b"N" * 16}


def test_a_response_that_makes_no_sense_is_told_as_it_came_and_not_in_its_own_indication(host: ZnpHost) -> None:
    device = joined(host)
    host.call(0x253E, b"\xff\xff")
    host.callbacks.clear()
    device.stack.send(ApsRequest(NwkAddress(0), 0, 0x8000, 0, 0, b"\x01\x00cut"))
    device.stack.send(ApsRequest(NwkAddress(0), 0, 0x8002, 0, 0, b""))
    device.stack.send(ApsRequest(NwkAddress(0), 0, 0x8002, 0, 0, bytes(300)))
    host.run(5.0)
    assert host.heard(0x4580) == []
    assert [heard[9:] for heard in host.heard(MSG_CB_INCOMING)] == [b"\x00cut"]


def test_a_request_that_nobody_knows_is_refused_unless_it_was_broadcast(host: ZnpHost) -> None:
    device = joined(host)
    device.stack.send(ApsRequest(NwkAddress(0xFFFD), 0, 0x0008, 0, 0, b"\x01\x00\x00", acknowledged=False))
    host.run(1.0)
    assert device.received == []
    device.stack.send(ApsRequest(NwkAddress(0), 0, 0x0008, 0, 0, b"\x02\x00\x00"))
    host.run(1.0)
    assert [(heard.cluster, heard.payload) for heard in device.received] == [(0x8008, b"\x02\x84")]


def test_two_long_messages_in_one_tick_are_told_apart(host: ZnpHost) -> None:
    joined(host)
    host.callbacks.clear()
    for octet in b"ab":
        message = bytes([octet]) * 300
        host.dongle.message_received(
            ApsIndication(NwkAddress(1), DEVICE, NwkAddress(0), 0x0109, 0x0019, 5, 3, message, octet, True)
        )
    host.drain()
    stamps = [struct.unpack_from("<I", announced, 20)[0] for announced in host.heard(INCOMING_MSG_EXT)]
    assert [host.call(0x2412, struct.pack("<IHB", stamp, 0, 1))[2:] for stamp in stamps] == [b"a", b"b"]


def test_a_dongle_out_of_buffers_says_so_until_it_has_some(host: ZnpHost) -> None:
    device = joined(host)
    host.dongle.exhausted_until = host.queue.now() + 5.0
    assert host.call(0x2401, data(device.stack.address, b"x")) == b"\x11"
    host.run(5.0)
    assert host.call(0x2401, data(device.stack.address, b"x")) == b"\x00"
    host.run(1.0)
    assert host.heard(DATA_CONFIRM) == [bytes([0, 3, 7])]
