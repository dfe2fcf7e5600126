"""Messages through the co-processor in memory, octet for octet (UG100 8)."""

import struct

import pytest

from devices.stack.interface import ApsRequest, ApsStatus, NwkAddress
from tests.support.ezsp_device import DEVICE, SECURED, joined
from tests.support.ezsp_host import INCOMING_MESSAGE, MESSAGE_SENT, EzspHost, aps, unicast


@pytest.fixture
def host() -> EzspHost:
    host = EzspHost()
    host.form()
    return host


@pytest.mark.parametrize("options", [0x0140, SECURED])
def test_a_unicast_is_answered_and_confirmed_when_it_was_delivered(host: EzspHost, options: int) -> None:
    device = joined(host)
    frame = aps(options=options)
    answer = host.call(0x0034, unicast(device.stack.address, frame, b"hello", tag=0x0E))
    assert answer[0] == 0
    assert host.heard(MESSAGE_SENT) == []
    host.run(1.0)
    sent = struct.pack("<BH", 0, device.stack.address) + frame[:-1] + answer[1:] + bytes([0x0E, 0, 0])
    assert host.heard(MESSAGE_SENT) == [sent]
    (indication,) = device.received
    assert (indication.payload, indication.secured) == (b"hello", options == SECURED)
    assert (indication.cluster, indication.source_endpoint, indication.destination_endpoint) == (0x0019, 0x0B, 3)


def test_a_message_comes_in_with_its_security_told(host: EzspHost) -> None:
    device = joined(host)
    for secured in (False, True):
        host.callbacks.clear()
        counter = device.stack.send(ApsRequest(NwkAddress(0), 0x0109, 0x0019, 3, 0x0B, b"hi", secured=secured))
        host.run(1.0)
        (message,) = host.heard(INCOMING_MESSAGE)
        options = SECURED if secured else 0x0140
        expected = struct.pack("<B", 0) + struct.pack("<HHBBHHB", 0x0109, 0x0019, 3, 0x0B, options, 0, counter)
        assert message[: len(expected)] == expected
        assert message[14:] == struct.pack("<HBBB", device.stack.address, 0xFF, 0xFF, 2) + b"hi"


def test_a_callback_carries_the_sequence_of_the_last_answered_command(host: EzspHost) -> None:
    device = joined(host)
    for _ in range(3):
        host.call(0x0005)
    device.stack.send(ApsRequest(NwkAddress(0), 0x0109, 0x0019, 3, 0x0B, b"hi"))
    host.run(1.0)
    (callback,) = host.callbacks
    assert callback.sequence == host.sequence
    assert callback.control == 0x90


def test_no_key_no_secured_message(host: EzspHost) -> None:
    device = joined(host)
    host.call(0x0076, b"\x00")
    assert host.call(0x0034, unicast(device.stack.address, aps(options=SECURED), b"hello"))[0] == 0xA6
    host.run(1.0)
    assert device.received == []
    assert host.heard(MESSAGE_SENT) == []


def test_a_message_to_nobody_is_not_delivered(host: EzspHost) -> None:
    assert host.call(0x0034, unicast(0x1234, aps(), b"hello"))[0] == 0
    host.run(10.0)
    (sent,) = host.heard(MESSAGE_SENT)
    assert sent[15] == 0x66  # DELIVERY_FAILED


def test_a_silent_device_costs_its_retries(host: EzspHost) -> None:
    device = joined(host)
    address = device.stack.address
    device.stack.power_off()
    host.call(0x0034, unicast(address, aps(), b"hello"))
    host.run(30.0)
    assert [sent[15] for sent in host.heard(MESSAGE_SENT)] == [0x66]


def test_only_so_many_unicasts_at_a_time(host: EzspHost) -> None:
    device = joined(host)
    statuses = [host.call(0x0034, unicast(device.stack.address, aps(), b"hello", tag=tag))[0] for tag in range(12)]
    assert statuses == [0] * 10 + [0x72] * 2  # MAX_MESSAGE_LIMIT_REACHED
    assert host.call(0x0034, unicast(device.stack.address, aps(options=0x0100), b"hello"))[0] == 0  # asks for no ack
    host.run(5.0)
    assert len(host.heard(MESSAGE_SENT)) == 11
    assert host.call(0x0034, unicast(device.stack.address, aps(), b"hello"))[0] == 0


@pytest.mark.parametrize(("options", "room"), [(0x0140, 82), (SECURED, 73)])
def test_what_does_not_fit_one_frame_is_too_long(host: EzspHost, options: int, room: int) -> None:
    device = joined(host)
    assert host.call(0x0034, unicast(device.stack.address, aps(options=options), bytes(room + 1)))[0] == 0x74
    assert host.call(0x0034, unicast(device.stack.address, aps(options=options), bytes(room)))[0] == 0
    host.run(1.0)
    assert [len(indication.payload) for indication in device.received] == [room]


def test_nothing_is_sent_without_a_network() -> None:
    host = EzspHost()
    host.negotiate()
    assert host.call(0x0034, unicast(0x1234, aps(), b"hello"))[0] == 0x91
    assert host.call(0x0036, struct.pack("<H", 0xFFFD) + aps() + b"\x00\x07\x05hello")[0] == 0x91


def test_contents_come_back_where_the_policy_asks_for_them(host: EzspHost) -> None:
    device = joined(host)
    host.call(0x0055, b"\x04\x21")
    host.call(0x0034, unicast(device.stack.address, aps(), b"hello"))
    host.run(1.0)
    assert host.heard(MESSAGE_SENT)[0].endswith(b"\x05hello")


def test_broadcasts_and_groups(host: EzspHost) -> None:
    device = joined(host)
    assert host.call(0x0036, struct.pack("<H", 0xFFFD) + aps() + b"\x00\x07\x05hello")[0] == 0
    host.run(1.0)
    assert [indication.payload for indication in device.received] == [b"hello"]
    assert host.heard(MESSAGE_SENT)[0][:3] == b"\x06\xfd\xff"
    assert host.call(0x0038, aps(group=0x0042) + b"\x00\x07\x09\x05hello")[0] == 0
    host.run(1.0)
    assert host.heard(MESSAGE_SENT)[1][0] == 3

    host.callbacks.clear()
    group = ApsRequest(NwkAddress(0xFFFD), 0x0109, 0x0019, 3, 0xFF, b"all", acknowledged=False, group=0x0042)
    device.stack.send(group)
    host.run(1.0)
    assert host.heard(INCOMING_MESSAGE) == []
    assert host.call(0x0064, struct.pack("<BHBB", 0, 0x0042, 0x0B, 0)) == b"\x00"
    device.stack.send(group)
    host.run(1.0)
    (message,) = host.heard(INCOMING_MESSAGE)
    assert message[0] == 2
    assert struct.unpack_from("<H", message, 9) == (0x0042,)


def test_a_message_by_the_address_table(host: EzspHost) -> None:
    device = joined(host)
    assert host.call(0x005C, struct.pack("<BQ", 2, DEVICE)) == b"\x00"
    assert host.call(0x005F, b"\x02") == struct.pack("<H", device.stack.address)
    assert host.call(0x0034, b"\x01\x02\x00" + aps() + b"\x07\x05hello")[0] == 0
    assert host.call(0x0034, b"\x01\x03\x00" + aps() + b"\x07\x05hello")[0] == 0x70
    host.run(1.0)
    assert [indication.payload for indication in device.received] == [b"hello"]
    device.stack.send(ApsRequest(NwkAddress(0), 0x0109, 0x0019, 3, 0x0B, b"hi"))
    host.run(1.0)
    assert host.heard(INCOMING_MESSAGE)[0][17] == 2  # the sender's address index
    replaced = host.call(0x0082, struct.pack("<BQH?", 2, 5, 0x0005, True))
    assert replaced == struct.pack("<BQH?", 0, DEVICE, device.stack.address, False)


def test_extended_timeouts_are_remembered_for_devices_that_are_known(host: EzspHost) -> None:
    joined(host)
    for eui64, remembered in ((DEVICE, b"\x01"), (5, b"\x00")):
        host.call(0x007E, struct.pack("<Q?", eui64, True))
        assert host.call(0x007F, struct.pack("<Q", eui64)) == remembered


@pytest.mark.parametrize("in_each", [True, False], ids=["the count in each", "the count in the first"])
def test_the_host_cuts_a_long_message(host: EzspHost, in_each: bool) -> None:
    device = joined(host)
    sequence = 0
    for index, block in enumerate((b"a" * 60, b"b" * 60, b"c" * 9)):
        frame = aps(options=SECURED | 0x8000, group=3 << 8 | index if in_each else index or 3 << 8, sequence=sequence)
        answer = host.call(0x0034, unicast(device.stack.address, frame, block))
        assert answer[0] == 0
        assert index == 0 or answer[1] == sequence
        sequence = answer[1]
        host.run(2.0)
        assert [sent[15] for sent in host.heard(MESSAGE_SENT)] == [0] * (index + 1)
    (indication,) = device.received
    assert indication.payload == b"a" * 60 + b"b" * 60 + b"c" * 9


def test_the_host_puts_a_long_message_together_and_acknowledges_its_blocks(host: EzspHost) -> None:
    device = joined(host)
    fates: list[ApsStatus] = []
    device.stack.send(ApsRequest(NwkAddress(0), 0x0109, 0x0704, 3, 0x0B, bytes(range(180)), secured=True), fates.append)
    together = b""
    groups: list[int] = []
    for _ in range(8):
        host.run(0.2)
        for message in host.heard(INCOMING_MESSAGE):
            profile, cluster, source, destination, options, group, sequence = struct.unpack_from("<HHBBHHB", message, 1)
            assert options & 0x8020 == 0x8020
            together += message[19:]
            sender = struct.unpack_from("<H", message, 14)[0]
            groups.append(group)
            reply = struct.pack(
                "<HHHBBHHB", sender, profile, cluster, destination, source, options, 0xFF00 | group & 0xFF, sequence
            )
            assert host.call(0x0039, reply + b"\x00") == b"\x00"
            assert host.call(0x0039, reply + b"\x00") == b"\x70"  # once is enough
        host.callbacks.clear()
    assert together == bytes(range(180))
    assert groups == [3 << 8, 1, 2]  # how many there are, then the place of each
    assert fates == [ApsStatus.SUCCESS]


def test_a_secured_message_to_the_dongle_itself_needs_no_key(host: EzspHost) -> None:
    assert host.call(0x0034, unicast(0x0000, aps(options=SECURED), b"to myself"))[0] == 0
    host.run()
    assert [message[-9:] for message in host.heard(INCOMING_MESSAGE)] == [b"to myself"]


def test_an_entry_of_the_multicast_table_without_endpoint_is_free(host: EzspHost) -> None:
    device = joined(host)
    group = ApsRequest(NwkAddress(0xFFFD), 0x0109, 0x0019, 3, 0xFF, b"all", acknowledged=False, group=0x0042)
    for endpoint, heard in ((0, 0), (0x0B, 1)):
        assert host.call(0x0064, struct.pack("<BHBB", 0, 0x0042, endpoint, 0)) == b"\x00"
        device.stack.send(group)
        host.run(1.0)
        assert len(host.heard(INCOMING_MESSAGE)) == heard
