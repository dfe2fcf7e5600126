"""The TI co-processor in memory: keys, the device object, utilities."""

import struct
from dataclasses import replace

import pytest

from devices.stack.interface import ApsIndication, ApsRequest, Eui64, JoinKind, NwkAddress
from tests.support.znp_air import (
    DEVICE,
    INVALID_REQUEST,
    KEY,
    NO_ACK,
    WELL_KNOWN_KEY,
    Device,
    add_install_code,
    confirms,
    data,
    joined,
    switched_on,
)
from tests.support.znp_host import (
    BDB_NOTIFICATION,
    DATA_CONFIRM,
    DONGLE,
    EXTENDED_PAN,
    FORMING,
    INCOMING_MSG,
    INCOMING_MSG_EXT,
    LEAVE_IND,
    MSG_CB_INCOMING,
    SMALL,
    STATE_CHANGE_IND,
    TC_DEVICE_IND,
    ZnpHost,
)


@pytest.fixture
def host() -> ZnpHost:
    host = ZnpHost()
    host.form()
    return host


# Keys


def test_the_key_of_an_establishment_takes_the_place_of_the_install_code(host: ZnpHost) -> None:
    device = joined(host)
    established = b"E" * 16
    assert host.call(0x2542, struct.pack("<HQ16s", device.stack.address, DEVICE, established)) == b"\x00"
    assert confirms(host, data(device.stack.address, b"x"), 30.0) == [
        bytes([NO_ACK, 3, 7])
    ]  # the device does not have it
    device.stack.establish_link_key(established)
    assert confirms(host, data(device.stack.address, b"y"))[-1] == bytes([0, 3, 7])
    add_install_code(host)  # it starts anew
    assert host.call(0x2543, struct.pack("<Q", DEVICE))[:2] == b"\xff\xff"


def test_counters_of_link_keys_outlive_a_reset(host: ZnpHost) -> None:
    device = joined(host)
    for payload in (b"a", b"b"):
        host.call(0x2401, data(device.stack.address, payload))
        device.send(payload)
        host.run(1.0)
    before = struct.unpack_from("<II", host.entry(4, 0))
    assert min(before) > 0
    host.restart()
    host.register(3)
    assert struct.unpack_from("<II", host.entry(4, 0)) == before
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
    assert confirms(host, data(address, b"there?")) == [bytes([0, 3, 7])]


@pytest.mark.parametrize(("said", "stays"), [(None, False), (b"\x01", False), (b"\x00", True)])
def test_who_joins_and_asks_for_no_other_key_is_removed_unless_the_host_spares_them(
    said: bytes | None, stays: bool
) -> None:
    """The chip does not keep what the host said: it must be said after each reset."""
    host = ZnpHost(replace(SMALL, requires_key_exchange=True))
    host.form()
    if said is not None:
        assert host.call(0x2F09, said) == b"\x00"
    device = joined(host)
    assert host.heard(LEAVE_IND) == []
    assert host.call(0x2536, struct.pack("<BHBB", 2, 0, 0, 1)) == b"\x00"  # closed: who is out stays out
    host.run(10.0)
    assert device.stack.joined is stays
    assert len(host.heard(LEAVE_IND)) == (0 if stays else 1)
    if stays:
        host.restart()
        host.run(60.0)
        assert device.stack.joined  # what is asked of joiners is not asked of who is in
        switched_on(host, 20.0, ieee=Eui64(DEVICE + 1), key=WELL_KNOWN_KEY)
        assert host.heard(TC_DEVICE_IND)
        assert host.heard(LEAVE_IND)


def test_unsecured_rejoins_can_be_forbidden(host: ZnpHost) -> None:
    assert host.call(0x2F03, b"\x00") == b"\x00"
    assert not host.dongle.stack.trust_centre.unsecured_rejoin_allowed


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


def test_the_dongle_describes_itself_as_a_cc2652_does(host: ZnpHost) -> None:
    described = zdp(host, 0x2502, bytes(4), 0x4582)
    assert described == bytes.fromhex("0000 00 0000 00 40 8f 0000 50 a000 012c a000 00")
    host.register(8)
    assert zdp(host, 0x2505, bytes(4), 0x4585)[-3:] == bytes([2, 8, 3])  # the newest first


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


def test_a_search_for_other_networks_finds_none(host: ZnpHost) -> None:
    search = struct.pack("<IB", 0x07FFF800, 2)
    assert host.call(0x2526, search) == bytes([INVALID_REQUEST])
    host.reset()
    assert host.call(0x2526, search) == b"\x00"
    assert host.heard(0x45C7) == [b"\x00"]
    assert host.call(0x2526, bytes(5)) == b"\x02"


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
    assert host.heard(STATE_CHANGE_IND) == FORMING
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
    device = switched_on(host, key=WELL_KNOWN_KEY)
    host.dongle.join_refused(DEVICE, "unsecured rejoin is not allowed", JoinKind.REJOINED_UNSECURED)
    assert struct.unpack_from("<Q", host.entry(4, 0), 8) == (DEVICE,)
    assert confirms(host, data(device.stack.address, b"x")) == [bytes([0, 3, 7])]
    assert host.call(0x2534, struct.pack("<HQB", device.stack.address, DEVICE, 0)) == b"\x00"
    host.run(5.0)
    assert struct.unpack_from("<Q", host.entry(4, 0), 8) == (0,)
    assert host.entry(1, 0) == b"\xff" * 12


def test_a_device_joins_again_under_the_key_of_its_establishment(host: ZnpHost) -> None:
    assert host.call(0x2542, struct.pack("<HQ16s", 0xFFFE, DEVICE, KEY)) == b"\x00"
    assert host.call(0x2F06, b"\x01") == b"\x00"
    device = switched_on(host)
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
    host.dongle.exhausted_until = host.queue.now + 5.0
    assert host.call(0x2401, data(device.stack.address, b"x")) == b"\x11"
    host.run(5.0)
    assert confirms(host, data(device.stack.address, b"x")) == [bytes([0, 3, 7])]
