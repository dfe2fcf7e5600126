"""The TI co-processor in memory, its network and who joins: what a host hears for what it says, octet for octet."""

import struct
from dataclasses import replace

import pytest

from devices.ncp.sticks import CC2652R
from devices.stack.interface import ApsRequest, ApsStatus, NwkAddress
from tests.support.znp_air import DEVICE, WELL_KNOWN_KEY, add_install_code, joined, switched_on
from tests.support.znp_host import (
    BDB_NOTIFICATION,
    DEVICE_ANNOUNCE_IND,
    DONGLE,
    EXTENDED_PAN,
    FORMING,
    LEAVE_IND,
    MSG_CB_INCOMING,
    RESET_IND,
    STATE_CHANGE_IND,
    TC_DEVICE_IND,
    ZnpHost,
)


@pytest.fixture
def host() -> ZnpHost:
    host = ZnpHost()
    host.form()
    return host


# The network


def test_forming_is_told_step_by_step(host: ZnpHost) -> None:
    assert host.heard(STATE_CHANGE_IND) == FORMING
    assert [host.callbacks[at].command for at in (0, 1, 2)] == [STATE_CHANGE_IND, BDB_NOTIFICATION, STATE_CHANGE_IND]
    assert host.heard(BDB_NOTIFICATION) == [bytes([1, 2, 4]), bytes([0, 2, 0])]


def test_restoring_is_told_otherwise(host: ZnpHost) -> None:
    host.restart()
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
    host.restart()
    assert host.call(0x254A, struct.pack("<BH", 3, 0x0B84)) == struct.pack("<BHB", 1, 0x0B84, 0)
    assert not host.dongle.stack.permitting
    host.register(3)  # it is not there any more


def test_endpoints_are_registered_once(host: ZnpHost) -> None:
    layout = struct.pack("<HHBBBB", 0x0109, 0x0500, 0, 0, 0, 0)
    assert host.call(0x2400, b"\x03" + layout) == b"\x02"
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
    assert switched_on(host, key=WELL_KNOWN_KEY).stack.joined
    assert struct.unpack("<IIQBBBx", host.entry(4, 0))[2:] == (DEVICE, 0xFF, 0, 0)


def test_nor_does_it_where_install_codes_are_required(host: ZnpHost) -> None:
    assert host.call(0x2F06, b"\x01") == b"\x00"
    device = switched_on(host, 9.0, key=WELL_KNOWN_KEY)
    assert device.failures
    assert host.heard(TC_DEVICE_IND) == []
    add_install_code(host, key=WELL_KNOWN_KEY)
    host.run(20.0)
    assert device.stack.joined


def test_nobody_joins_a_closed_network(host: ZnpHost) -> None:
    add_install_code(host)
    device = switched_on(host, 5.0, permitted=False)
    assert set(device.failures) == {"no network that lets devices join"}
    host.permit(2)
    host.run(3.0)
    host.permit(0)
    assert not host.dongle.stack.permitting


def test_a_device_that_finds_the_tables_full_stays_outside(host: ZnpHost) -> None:
    for index in range(4):
        assert host.call(0x2542, struct.pack("<HQ16s", 1 + index, 0x100 + index, b"k" * 16)) == b"\x00"
    assert not switched_on(host, 5.0, key=WELL_KNOWN_KEY).stack.joined


@pytest.mark.parametrize(("mode", "destination"), [(2, 0xFFFC), (15, 0xFFFC)])
def test_permission_for_all_and_for_the_dongle_alone(host: ZnpHost, mode: int, destination: int) -> None:
    host.callbacks.clear()
    heard: list[bytes] = []
    host.medium.taps.append(lambda *frame: heard.append(frame[-1]))
    assert host.call(0x2536, struct.pack("<BHBB", mode, destination, 60, 1)) == b"\x00"
    host.run(0.01)
    assert host.heard(0x45B6) == [b"\x00\x00\x00"]
    assert host.dongle.stack.permitting
    assert bool(heard) == (mode == 15)


@pytest.mark.parametrize(("destination", "told_to_all"), [(0xFFFC, True), (0x0000, False)])
def test_permission_as_hosts_of_older_stacks_ask_for_it(host: ZnpHost, destination: int, told_to_all: bool) -> None:
    """Without the address mode, which came with Z-Stack 2.7."""
    heard: list[bytes] = []
    host.medium.taps.append(lambda *frame: heard.append(frame[-1]))
    assert host.call(0x2536, struct.pack("<HBB", destination, 60, 0)) == b"\x00"
    host.run(0.01)
    assert host.dongle.stack.permitting
    assert bool(heard) == told_to_all


def test_a_reset_may_be_sent_as_a_request_and_is_not_answered(host: ZnpHost) -> None:
    host.post(0x2100, b"\x01")
    assert host.answers() == []
    host.run(0.1)
    assert len(host.heard(RESET_IND)) == 1


def test_a_real_stick_takes_its_time_to_form_and_is_no_coordinator_before() -> None:
    host = ZnpHost(replace(CC2652R, command_s=0.0))
    assert host.call(0x2F05, b"\x04") == b"\x00"
    host.run(1.19)
    assert host.heard(STATE_CHANGE_IND) == FORMING[:-1]
    assert host.call(0x2700)[12] == 0x08  # UTIL_GET_DEVICE_INFO: still starting
    host.run(0.02)
    assert host.heard(STATE_CHANGE_IND) == FORMING
    host.reset()
    assert host.call(0x2F05, b"\x04") == b"\x00"
    host.run()
    assert host.heard(STATE_CHANGE_IND) == FORMING[-1:]  # what is restored needs no scan


def test_a_reset_ends_a_network_that_is_being_formed() -> None:
    host = ZnpHost(replace(CC2652R, command_s=0.0))
    assert host.call(0x2F05, b"\x04") == b"\x00"
    host.run(0.5)
    host.reset()
    host.run(2.0)
    assert b"\x09" not in host.heard(STATE_CHANGE_IND)


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


def test_the_end_of_an_earlier_permission_does_not_close_a_later_one(host: ZnpHost) -> None:
    host.permit(10)
    host.run(5.0)
    host.permit(60)
    host.run(20.0)
    assert host.dongle.stack.permitting
    host.run(50.0)
    assert not host.dongle.stack.permitting


def test_a_factory_new_device_under_the_well_known_key_is_heard_from_its_first_message_on(host: ZnpHost) -> None:
    first = switched_on(host, key=WELL_KNOWN_KEY)
    for _ in range(3):
        first.send(b"so far")
        host.run(0.1)
    first.stack.power_off()
    again = switched_on(host, key=WELL_KNOWN_KEY)
    again.send(b"anew")
    host.run(0.1)
    assert again.confirms == [ApsStatus.SUCCESS]
