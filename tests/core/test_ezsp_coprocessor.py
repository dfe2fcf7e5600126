"""The co-processor in memory: what a host hears for what it says, octet for octet (UG100)."""

import struct
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.ncp.ezsp.ash_frames import ResetCode
from devices.ncp.ezsp.commands import FIRST_VERSION, LAST_VERSION, ROWS, commands
from devices.ncp.ezsp.personality import Personality
from devices.ncp.sticks import V8, V13, V18
from devices.stack.interface import ApsRequest, NwkAddress
from tests.support.ezsp_device import (
    DEVICE,
    KEY,
    SECURED,
    SL_INVALID_INDEX,
    SL_NOT_FOUND,
    SL_OK,
    Device,
    joined,
    link_key,
    sl,
    transient,
)
from tests.support.ezsp_host import (
    CHILD_JOIN,
    DONGLE,
    INCOMING_MESSAGE,
    INVALID_COMMAND,
    STACK_STATUS,
    TRUST_CENTER_JOIN,
    EzspHost,
    aps,
    parameters,
    unicast,
)

EVERYBODY = 0xFFFF_FFFF_FFFF_FFFF


@pytest.fixture
def host() -> EzspHost:
    host = EzspHost()
    host.form()
    return host


# before the version


def test_nothing_works_before_the_version_is_agreed() -> None:
    host = EzspHost()
    host.reset()
    assert host.resets == 1
    reply = host.call_raw(0x0018)
    assert (reply.id, reply.parameters) == (INVALID_COMMAND, b"\x30")  # ERROR_VERSION_NOT_SET
    answer = host.send_frame(bytes([5, 0, 0, 4]))  # another version than ours, in the oldest format
    assert (answer.sequence, answer.legacy, answer.parameters) == (5, True, bytes.fromhex("0D024074"))
    assert host.call_raw(0x0018).parameters == b"\x30"
    assert host.call(0x0000, bytes([13])) == bytes.fromhex("0D024074")
    assert host.call(0x0018) == b"\x00"


def test_a_version_command_in_the_oldest_format_may_settle_it() -> None:
    host = EzspHost()
    host.reset()
    assert host.send_frame(bytes([0, 0, 0, 13])).legacy
    assert host.call(0x0018) == b"\x00"


def test_a_host_that_speaks_the_oldest_format_is_refused_in_it() -> None:
    host = EzspHost()
    host.negotiate()
    reply = host.send_frame(bytes([1, 0, 0x18]))
    assert (reply.legacy, reply.id, reply.parameters) == (True, 0x58, b"\x31")


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (struct.pack("<BBBH", 1, 0, 1, 0x01FF), 0x31),  # unknown frame id
        (struct.pack("<BBBH", 1, 0, 1, INCOMING_MESSAGE), 0x31),  # a callback is not a command
        (struct.pack("<BBBH", 1, 0x80, 1, 0x0018), 0x32),  # a response from the host
        (struct.pack("<BBBHB", 1, 0, 1, 0x0053, 0x1E), 0x33),  # parameters cut off
        (struct.pack("<BBBHB", 1, 0, 1, 0x0081, 9) + b"abc", 0x33),  # a count that promises more
    ],
)
def test_what_makes_no_sense_is_an_invalid_command(frame: bytes, reason: int) -> None:
    host = EzspHost()
    host.negotiate()
    reply = host.send_frame(frame)
    assert (reply.sequence, reply.id, reply.parameters) == (1, INVALID_COMMAND, bytes([reason]))
    assert host.call(0x0081, b"\x03abc") == b"\x03abc"


def test_the_network_index_comes_back() -> None:
    host = EzspHost()
    host.negotiate()
    assert host.send_frame(struct.pack("<BBBH", 1, 0x20, 1, 0x0018)).control == 0xA0


# the table


@pytest.mark.parametrize("version", range(FIRST_VERSION, LAST_VERSION + 1))
def test_every_row_can_be_compiled_and_has_its_id_once(version: int) -> None:
    table = commands(version)
    assert len({command.id for command in table.values()}) == len(table)
    rows = [row for row in ROWS if row.first <= version <= row.last]
    assert len(rows) == len(table)


@given(
    st.sampled_from([V8, V13, V18]),
    st.sampled_from([row.id for row in ROWS if row.request is not None]),
    st.binary(max_size=80),
)
@settings(max_examples=600, deadline=None, derandomize=True)
def test_no_parameters_bring_it_down(personality: Personality, command: int, octets: bytes) -> None:
    host = EzspHost(personality)
    host.form()
    frame = struct.pack("<BBBH", 77, 0, 1, command) + octets
    if command != 0x0104:  # resetNode answers with a reset
        host.send_frame(frame)
    host.run(20.0)
    host.negotiate()
    assert host.call(0x0081, b"\x03abc") == b"\x03abc"


# configuration


def test_configuration_is_forgotten_at_a_reset_and_fixed_while_the_network_is_up(host: EzspHost) -> None:
    assert host.call(0x0052, b"\x1e") == b"\x00\x08\x00"
    assert host.call(0x0053, b"\x1e\x09\x00") == b"\x38"  # ERROR_INVALID_CALL
    assert host.call(0x0053, b"\xee\x09\x00") == b"\x37"  # ERROR_INVALID_ID
    assert host.call(0x0002, struct.pack("<BHHBBB", 1, 0x0104, 5, 0, 0, 0)) == b"\x38"
    host.negotiate()
    assert host.call(0x0052, b"\x1e") == b"\x00\x04\x00"
    assert host.dongle.stack.endpoints == {}
    assert host.call(0x0053, b"\x1e\xff\x01") == b"\x36"  # ERROR_INVALID_VALUE: the table is counted in one octet


def test_the_endpoint_lists_are_split_by_their_counts(host: EzspHost) -> None:
    endpoint = host.dongle.stack.endpoints[0x0B]
    assert (endpoint.server_clusters, endpoint.client_clusters) == ((0x0019, 0x000A), ())
    host.negotiate()
    host.call(0x0002, struct.pack("<BHHBBBHHH", 1, 0x0104, 5, 0, 1, 2, 0x0000, 0x0006, 0x0008))
    endpoint = host.dongle.stack.endpoints[1]
    assert (endpoint.server_clusters, endpoint.client_clusters) == ((0x0000,), (0x0006, 0x0008))


def test_values() -> None:
    host = EzspHost()
    host.negotiate()
    assert host.call(0x00AA, b"\x11") == bytes.fromhex("00 07 0000 07 04 04 00 AA")
    assert host.call(0x00AB, b"\x23\x04\x10\x27\x00\x00") == b"\x00"
    assert host.call(0x00AA, b"\x23") == bytes.fromhex("00 04 10270000")
    assert host.call(0x00AA, b"\xee") == b"\x37\x00"
    host2 = EzspHost()
    host2.form()
    assert host2.call(0x00AB, b"\x23\x04\x10\x27\x00\x00") == b"\x38"


# the network


def test_forming_needs_security_a_channel_and_no_network() -> None:
    host = EzspHost()
    host.negotiate()
    assert host.call(0x001E, parameters()) == b"\xa8"  # SECURITY_STATE_NOT_SET
    host.call(0x0068, struct.pack("<H16s16sBQ", 0x1BC4, b"\x77" * 16, b"\x33" * 16, 0, 0))
    assert host.call(0x001E, parameters(channel=27)) == b"\x8a"  # PHY_INVALID_CHANNEL
    assert host.call(0x001E, parameters()) == b"\x00"
    host.run()
    assert host.call(0x001E, parameters()) == b"\x70"  # INVALID_CALL
    assert host.call(0x0028) == b"\x00\x01" + parameters()
    assert host.call(0x0027) == b"\x00\x00"
    assert host.call(0x0069) == struct.pack("<BHQ", 0, 0x0084, DONGLE)
    assert host.call(0x0114, struct.pack("<B17x", 1)) == b"\x33" * 16 + bytes(4)
    assert host.call(0x0114, struct.pack("<B17x", 2)) == b"\x77" * 16 + bytes(4)


def test_the_network_outlives_a_reset_and_comes_up_by_network_init(host: EzspHost) -> None:
    host.negotiate()
    assert host.call(0x0018) == b"\x00"
    assert host.call(0x0017, b"\x00\x00") == b"\x00"
    assert host.callbacks == []  # the status comes after the answer
    host.run()
    assert host.heard(STACK_STATUS) == [b"\x90"]
    assert host.call(0x0018) == b"\x02"
    assert host.call(0x0028) == b"\x00\x01" + parameters()


def test_leaving_forgets_it(host: EzspHost) -> None:
    assert host.call(0x0020) == b"\x00"
    host.run()
    assert host.heard(STACK_STATUS)[-1] == b"\x91"
    assert host.call(0x0018) == b"\x00"
    assert host.call(0x0017, b"\x00\x00") == b"\x93"  # NOT_JOINED
    assert host.call(0x0020) == b"\x93"


def test_a_factory_reset_takes_effect_at_the_reset(host: EzspHost) -> None:
    assert sl(host.call(0x010E, link_key(0, DEVICE, KEY))) == SL_OK
    host.call(0x0077, b"\x00\x00")
    assert host.call(0x0018) == b"\x02"
    host.negotiate()
    assert host.call(0x0017, b"\x00\x00") == b"\x93"
    assert host.call(0x0075, struct.pack("<Q?", DEVICE, True)) == b"\xff"


def test_opening_and_closing_is_told(host: EzspHost) -> None:
    assert host.call(0x0022, bytes([2])) == b"\x00"
    host.run(1.0)
    assert host.heard(STACK_STATUS)[1:] == [b"\x9c"]  # NETWORK_OPENED
    host.run(2.0)
    assert host.heard(STACK_STATUS)[1:] == [b"\x9c", b"\x9d"]


def test_an_energy_scan(host: EzspHost) -> None:
    assert host.call(0x001A, struct.pack("<BIB", 0, 1 << 11 | 1 << 26, 2)) == b"\x00"
    host.run()
    assert [result[0] for result in host.heard(0x0048)] == [11, 26]
    assert all(struct.unpack("<Bb", result)[1] < -80 for result in host.heard(0x0048))
    assert [status[1] for status in host.heard(0x001C)] == [0]
    assert host.call(0x001A, struct.pack("<BIB", 0, 0, 2)) == b"\x35"  # MAC_INVALID_CHANNEL_MASK
    assert host.call(0x001A, struct.pack("<BIB", 9, 1 << 11, 2)) == b"\x34"  # MAC_INCORRECT_SCAN_TYPE


def test_a_scan_takes_its_time_where_that_is_wanted() -> None:
    host = EzspHost(replace(V13, scan_takes_time=True))
    host.form()
    host.call(0x001A, struct.pack("<BIB", 0, 1 << 11 | 1 << 12, 2))
    host.run(0.15)
    assert len(host.heard(0x0048)) == 1  # (2^2 + 1) * 15.36 ms each
    host.run(0.01)
    assert len(host.heard(0x001C)) == 1


# keys


def test_the_key_table(host: EzspHost) -> None:
    find = struct.pack("<Q?", DEVICE, True)
    assert host.call(0x0075, find) == b"\xff"
    assert host.call(0x0075, struct.pack("<Q?", 0, True)) == b"\x00"  # the first free entry
    assert sl(host.call(0x010E, link_key(2, DEVICE, KEY))) == SL_OK
    assert host.call(0x0075, find) == b"\x02"
    exported = host.call(0x010F, b"\x02")
    assert exported == struct.pack("<Q16sHIIHI", DEVICE, KEY, 0x001E, 0, 0, 0, 0)
    assert len(host.call(0x010F, b"\x03")) == len(exported)
    assert sl(host.call(0x010F, b"\x03")[-4:]) == SL_NOT_FOUND
    assert sl(host.call(0x010F, b"\x08")[-4:]) == SL_INVALID_INDEX
    assert host.call(0x010D, struct.pack("<Q", DEVICE))[:17] == KEY + b"\x02"
    assert host.call(0x0114, struct.pack("<BBHQ6x", 4, 0, 0, DEVICE)) == KEY + bytes(4)
    assert host.call(0x0076, b"\x02") == b"\x00"
    assert host.call(0x0076, b"\x08") == b"\xb1"  # INDEX_OUT_OF_RANGE
    assert host.call(0x0075, find) == b"\xff"


@pytest.mark.parametrize(
    ("index", "eui64", "key", "status"),
    [
        (8, DEVICE, KEY, 0x27),  # no such index
        (0, DEVICE, bytes(16), 0x29),  # no key
        (0, DEVICE, b"\xff" * 16, 0x29),
        (0, DONGLE, KEY, 0x21),  # itself
        (0, 0, KEY, 0x21),
        (0, EVERYBODY, KEY, 0x21),
        (1, 5, KEY, 0x21),  # the partner is in another entry
    ],
)
def test_keys_that_the_table_refuses(host: EzspHost, index: int, eui64: int, key: bytes, status: int) -> None:
    assert sl(host.call(0x010E, link_key(0, 5, KEY))) == SL_OK
    assert sl(host.call(0x010E, link_key(index, eui64, key))) == status


def test_the_table_outlives_a_reset_and_its_size_does_not(host: EzspHost) -> None:
    host.call(0x010E, link_key(1, 5, KEY))
    host.call(0x010E, link_key(7, 6, KEY))
    host.negotiate()
    assert sl(host.call(0x010F, b"\x01")[-4:]) == SL_OK
    assert sl(host.call(0x010F, b"\x07")[-4:]) == SL_INVALID_INDEX
    host.call(0x0053, b"\x1e\x08\x00")
    assert sl(host.call(0x010F, b"\x07")[-4:]) == SL_OK


def test_transient_keys_end_by_time_and_by_reset(host: EzspHost) -> None:
    by_eui = struct.pack("<Q", DEVICE)
    assert sl(host.call(0x0111, transient(DEVICE, KEY))) == SL_OK
    host.run(299.0)
    exported = host.call(0x0113, by_eui)
    assert exported[18:34] == KEY
    assert struct.unpack_from("<H", exported, 44) == (1,)  # seconds to live
    assert host.call(0x0112, b"\x00") == exported
    host.run(2.0)
    assert sl(host.call(0x0113, by_eui)[-4:]) == SL_NOT_FOUND
    host.call(0x0111, transient(DEVICE, KEY))
    host.negotiate()
    assert sl(host.call(0x0113, by_eui)[-4:]) == SL_NOT_FOUND


def test_the_answer_that_brings_the_network_up_says_that_a_callback_follows(host: EzspHost) -> None:
    host.negotiate()
    assert host.call_raw(0x0017, b"\x00\x00").control == 0x84
    assert host.call_raw(0x0005).control == 0x80
    host.run(1.0)
    assert len(host.heard(STACK_STATUS)) == 1
    assert host.call_raw(0x0017, b"\x00\x00").control == 0x80  # it is up


def test_a_stick_that_restarted_has_forgotten_what_it_accepted(host: EzspHost) -> None:
    def counters() -> tuple[int, int]:
        return struct.unpack("<II", host.call(0x010F, b"\0")[26:34])  # outgoing, incoming

    device = joined(host)
    host.call(0x0034, unicast(device.stack.address, aps(options=SECURED), b"hello"))
    device.stack.send(ApsRequest(NwkAddress(0), 0x0109, 0x0019, 3, 0x0B, b"hi", secured=True))
    host.run(1.0)
    outgoing, incoming = counters()
    assert incoming > 0
    host.negotiate()
    host.call(0x0053, struct.pack("<BH", 0x1E, 8))
    after, forgotten = counters()
    assert after >= outgoing > 0
    assert forgotten == 0


# joining


def test_a_join_with_a_transient_key(host: EzspHost) -> None:
    host.call(0x0055, bytes([0, 0x11]))  # ALLOW_JOINS | JOINS_USE_INSTALL_CODE_KEY
    host.call(0x0111, transient(DEVICE, KEY))
    host.call(0x0022, bytes([60]))
    device = Device(host)
    device.stack.power_on()
    host.run(8.0)
    assert device.stack.joined
    address = device.stack.address
    assert host.heard(CHILD_JOIN)[0] == struct.pack("<B?HQB", 0, True, address, DEVICE, 3)
    assert host.heard(TRUST_CENTER_JOIN)[0] == struct.pack("<HQBBH", address, DEVICE, 1, 0, 0)
    assert host.call(0x004A, b"\x00") == struct.pack("<BQBHBBBI", 0, DEVICE, 3, address, 0, 0, 0, 0)
    assert host.call(0x004A, b"\x01") == b"\x93" + bytes(18)
    assert host.call(0x0060, struct.pack("<Q", DEVICE)) == struct.pack("<H", address)
    assert host.call(0x0061, struct.pack("<H", address)) == struct.pack("<BQ", 0, DEVICE)
    assert host.call(0x0061, b"\x34\x12") == struct.pack("<BQ", 1, 0)
    host.callbacks.clear()
    device.stack.power_off()
    host.run(257 * 60.0)  # END_DEVICE_POLL_TIMEOUT, and the next look at the children
    assert host.heard(CHILD_JOIN) == [struct.pack("<B?HQB", 0, False, address, DEVICE, 3)]
    assert host.heard(TRUST_CENTER_JOIN) == []  # it has not left


@pytest.mark.parametrize(
    ("policy", "key", "decision"),
    [
        (0x00, transient(DEVICE, KEY), 2),  # nobody may: DENY_JOIN
        (0x11, transient(EVERYBODY, KEY), 2),  # its own install code or nothing
        (0x01, transient(5, KEY), 2),  # somebody else's key
        (0x01, transient(EVERYBODY, KEY), 0),  # with the key that it has
    ],
)
def test_a_device_joins_as_the_policy_says(host: EzspHost, policy: int, key: bytes, decision: int) -> None:
    host.call(0x0055, bytes([0, policy]))
    host.call(0x0111, key)
    host.call(0x0022, bytes([60]))
    device = Device(host)
    device.stack.power_on()
    host.run(8.0)
    assert device.stack.joined is (decision == 0)
    assert {callback[11] for callback in host.heard(TRUST_CENTER_JOIN)} == {decision}


@pytest.mark.parametrize(
    ("policy", "decision"),
    [
        (0x01, 2),  # joins alone: DENY_JOIN
        (0x11, 2),
        (0x02, 0),  # rejoins alone
        (0x03, 0),
        (0x13, 0),
        (0x09, 3),  # NO_ACTION
        (0x0B, 3),  # as Silicon Labs' host has it who ignores them
    ],
)
def test_a_device_that_lost_the_network_key_rejoins_as_the_policy_says(host: EzspHost, policy: int, decision: int):
    device = joined(host)
    host.call(0x0055, bytes([0, policy]))
    device.stack.power_off()
    device.stack.persistent_state.network_key = bytes(16)
    device.stack.power_on()
    host.run(5.0)
    assert device.stack.joined is (decision == 0)
    told = {(callback[10], callback[11]) for callback in host.heard(TRUST_CENTER_JOIN)}
    assert told == {(3, decision)}  # STANDARD_SECURITY_UNSECURED_REJOIN


def test_no_policy_keeps_a_device_out_that_has_the_network_key(host: EzspHost):
    device = joined(host)
    host.call(0x0055, bytes([0, 0x08]))
    device.stack.power_off()
    device.stack.power_on()
    host.run(5.0)
    assert device.stack.joined


def test_a_device_that_leaves_is_told(host: EzspHost) -> None:
    device = joined(host)
    address = device.stack.address
    assert host.call(0x00A8, struct.pack("<HQQ", address, DEVICE, DEVICE)) == b"\x00"
    host.run(1.0)
    assert host.heard(TRUST_CENTER_JOIN)[-1] == struct.pack("<HQBBH", address, DEVICE, 2, 3, 0)
    assert host.call(0x00A8, struct.pack("<HQQ", 5, 5, 5)) == b"\x03"


# memory


def test_callbacks_beyond_the_buffers_are_lost_and_the_loss_is_told() -> None:
    host = EzspHost(replace(V13, callback_buffers=50))
    host.form()
    device = joined(host)
    for number in range(400):
        device.stack.send(ApsRequest(NwkAddress(0), 0x0109, 0x0019, 3, 0x0B, bytes([number % 256]), acknowledged=False))
    host.queue.run_until(host.queue.now + 5.0)  # the host does not read
    host.drain()
    heard = len(host.heard(INCOMING_MESSAGE))
    assert 50 <= heard <= 56
    reply = host.call_raw(0x0005)
    assert reply.control == 0x81  # overflow
    assert host.call_raw(0x0005).control == 0x80
    counters = struct.unpack("<40H", host.call(0x0065))
    assert counters[27] == 400 - heard  # ALLOCATE_PACKET_BUFFER_FAILURE
    assert struct.unpack("<40H", host.call(0x00F1))[27] == 0


def test_a_node_that_is_told_to_reset_does_so_instead_of_answering(host: EzspHost) -> None:
    resets = host.resets
    host.post(struct.pack("<BBBH", 9, 0, 1, 0x0104))
    assert host.resets == resets + 1
    assert host.answers == []
    host.negotiate()
    assert host.call(0x0018) == b"\x00"


def test_a_reboot_of_its_own_is_told(host: EzspHost) -> None:
    resets = host.resets
    host.dongle.reboot(ResetCode.WATCHDOG)
    assert host.dongle.data_to_send() == bytes.fromhex("1AC102038B5A7E")
    assert host.resets == resets


def test_the_end_of_an_earlier_permission_does_not_close_a_later_one(host: EzspHost) -> None:
    host.callbacks.clear()
    host.call(0x0022, bytes([10]))
    host.run(5.0)
    host.call(0x0022, bytes([60]))
    host.run(20.0)
    assert host.heard(STACK_STATUS) == [bytes([0x9C])]  # opened, once
    assert host.dongle.stack.permitting
    host.run(50.0)
    assert host.heard(STACK_STATUS) == [bytes([0x9C]), bytes([0x9D])]
    assert not host.dongle.stack.permitting


def test_what_a_command_causes_comes_after_its_answer(host: EzspHost) -> None:
    host.callbacks.clear()
    host.call(0x0005)
    host.call(0x0022, bytes([60]))
    (opened,) = host.callbacks
    assert (opened.id, opened.sequence) == (STACK_STATUS, host.call_raw(0x0005).sequence - 1)


def test_what_was_under_way_at_a_reset_is_not_told_after_it() -> None:
    host = EzspHost(replace(V13, scan_takes_time=True))
    host.form()
    host.call(0x001A, struct.pack("<BIB", 0, 1 << 11 | 1 << 12, 2))
    host.negotiate()
    host.run(5.0)
    assert host.heard(0x0048) == host.heard(0x001C) == []
