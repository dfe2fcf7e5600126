"""What EZSP v8 and v18 have otherwise than v13, octet for octet (UG100 of EmberZNet 6, UG600)."""

import struct

import pytest

from devices.ncp.ezsp.personality import Personality
from devices.ncp.sticks import V8, V18
from devices.stack.interface import ApsRequest, ApsStatus, NwkAddress
from tests.support.ezsp_device import DEVICE, KEY, SECURED, let_in
from tests.support.ezsp_host import (
    DONGLE,
    INCOMING_MESSAGE,
    INVALID_COMMAND,
    MESSAGE_SENT,
    STACK_STATUS,
    TRUST_CENTER_JOIN,
    EzspHost,
    aps,
)

NETWORK_KEY = b"\x33" * 16
APP_LINK = 4


@pytest.fixture
def old() -> EzspHost:
    host = EzspHost(V8)
    host.form()
    return host


@pytest.fixture
def new() -> EzspHost:
    host = EzspHost(V18)
    host.form()
    return host


def status(number: int) -> bytes:
    return number.to_bytes(4, "little")


def context(kind: int, index: int, eui64: int) -> bytes:
    return struct.pack("<BBHQBBI", kind, index, 0, eui64, 0, 0, 0)


@pytest.mark.parametrize(("personality", "said"), [(V8, "0802506A"), (V18, "12020082")], ids=["v8", "v18"])
def test_each_says_what_it_is(personality: Personality, said: str) -> None:
    host = EzspHost(personality)
    host.reset()
    assert host.send_frame(bytes([0, 0, 0, 4])).parameters == bytes.fromhex(said)
    assert host.call(0x0000, bytes([personality.version])) == bytes.fromhex(said)


# v8


@pytest.mark.parametrize("command", [0x010E, 0x010F, 0x0111, 0x0114, 0x0116, 0x0077, 0x0102, 0x0104])
def test_v8_does_not_know_what_came_later(old: EzspHost, command: int) -> None:
    reply = old.call_raw(command, bytes(40))
    assert (reply.id, reply.parameters) == (INVALID_COMMAND, b"\x31")


def test_v8_keeps_keys_as_structures(old: EzspHost) -> None:
    assert old.call(0x0066, struct.pack("<QB16s", DEVICE, 1, KEY)) == b"\x00"
    assert old.call(0x0066, struct.pack("<QB16s", DEVICE, 1, KEY[::-1])) == b"\x00"  # replaced, not added
    assert old.call(0x0075, struct.pack("<QB", DEVICE, 1)) == b"\x00"
    entry = old.call(0x0071, b"\x00")
    assert entry == b"\x00" + struct.pack("<HB16sIIBQ", 0x001E, 5, KEY[::-1], 0, 0, 0, DEVICE)
    assert old.call(0x0071, b"\x01") == b"\xb6" + bytes(36)  # TABLE_ENTRY_ERASED
    assert old.call(0x0071, b"\x08") == b"\xb1" + bytes(36)  # INDEX_OUT_OF_RANGE
    assert old.call(0x0072, struct.pack("<BQB16s", 1, DEVICE, 1, KEY)) == b"\xb3"  # it is elsewhere
    assert old.call(0x0072, struct.pack("<BQB16s", 1, DEVICE + 1, 1, bytes(16))) == b"\xb2"  # KEY_INVALID


def test_v8_says_when_its_key_table_is_full(old: EzspHost) -> None:
    answers = [old.call(0x0066, struct.pack("<QB16s", DEVICE + number, 1, KEY)) for number in range(9)]
    assert answers == [b"\x00"] * 8 + [b"\xb4"]


def test_v8_tells_its_own_keys(old: EzspHost) -> None:
    network = old.call(0x006A, b"\x03")
    assert network[0] == 0
    assert struct.unpack_from("<HB16s", network, 1) == (0x0003, 3, NETWORK_KEY)
    trust_center = old.call(0x006A, b"\x01")
    assert struct.unpack_from("<HB16s", trust_center, 1) == (0x001A, 1, b"\x77" * 16)
    assert struct.unpack_from("<Q", trust_center, 29) == (DONGLE,)
    assert old.call(0x006A, b"\x04")[0] != 0  # no alternate network key
    fresh = EzspHost(V8)
    fresh.negotiate()
    assert fresh.call(0x006A, b"\x03") == b"\x93" + bytes(36)  # NOT_JOINED


def test_v8_lets_a_device_in_by_its_transient_key(old: EzspHost) -> None:
    assert old.call(0x00AF, struct.pack("<Q16s", DEVICE, KEY)) == b"\x00"
    assert old.call(0x00CE, struct.pack("<Q", DEVICE)) == b"\x00" + struct.pack("<Q16sHH", DEVICE, KEY, 0, 300)
    assert old.call(0x006D, b"\x00")[1:25] == struct.pack("<Q16s", DEVICE, KEY)
    assert old.call(0x006D, b"\x01") == b"\x03" + bytes(28)
    device = let_in(old)
    assert old.heard(TRUST_CENTER_JOIN)[0][10] == 1
    child = old.call(0x004A, b"\x00")
    assert (len(child), struct.unpack_from("<Q", child, 1)[0]) == (1 + 14, device.stack.ieee)


# v18


def test_v18_refuses_with_four_octets(new: EzspHost) -> None:
    assert new.call_raw(0x006A, b"\x03").parameters == status(0x31)  # an EzspStatus still
    assert new.call(0x0053, b"\xee\x09\x00") == status(0x0C1E)  # ZIGBEE_EZSP_ERROR
    assert new.call(0x0052, b"\x1e") == status(0) + b"\x08\x00"
    assert new.call(0x001E, bytes(20)) == status(0x0002)  # INVALID_STATE
    assert new.call(0x0020, b"\x00") == status(0)
    new.run()
    assert new.heard(STACK_STATUS)[-1] == status(0x16)  # NETWORK_DOWN
    assert new.call(0x0028)[:4] == status(0x17)  # NOT_JOINED


def test_v18_has_its_statuses_first_in_the_security_manager(new: EzspHost) -> None:
    assert new.call(0x010E, struct.pack("<BQ16s", 2, DEVICE, KEY)) == status(0)
    metadata = struct.pack("<HIIH", 0x001E, 0, 0, 0)
    expected = status(0) + context(APP_LINK, 2, DEVICE) + KEY + metadata
    assert new.call(0x010F, b"\x02") == expected
    assert new.call(0x010D, struct.pack("<Q", DEVICE)) == expected
    assert new.call(0x010F, b"\x03") == status(0x2D) + bytes(18 + 16 + 12)
    asked = context(1, 0, 0)
    assert new.call(0x0114, asked) == status(0) + NETWORK_KEY + asked
    asked = context(APP_LINK, 0, DEVICE)
    assert new.call(0x010C, asked) == status(0) + metadata + asked
    assert new.call(0x0116)[:8] == status(0) + b"\x01\x00\x00\x00"
    assert new.call(0x0111, struct.pack("<Q16s", DEVICE, KEY)) == status(0)
    transient = status(0) + context(3, 0, DEVICE) + KEY + struct.pack("<HIIH", 0x001E, 0, 0, 300)
    assert new.call(0x0112, b"\x00") == transient
    assert new.call(0x0113, struct.pack("<Q", DEVICE)) == transient


def test_v18_address_table_is_read_in_one(new: EzspHost) -> None:
    assert new.call(0x005E, b"\x03") == status(0) + b"\xff\xff" + bytes(8)
    assert new.call(0x005C, struct.pack("<BQH", 3, DEVICE, 0x1234)) == status(0)
    assert new.call(0x005E, b"\x03") == status(0) + struct.pack("<HQ", 0x1234, DEVICE)
    assert new.call(0x005E, b"\x08")[:4] == new.call(0x005C, struct.pack("<BQH", 8, 0, 0)) == status(0x28)
    assert new.call(0x0060, struct.pack("<Q", DEVICE)) == status(0) + b"\x34\x12"
    assert new.call(0x0060, struct.pack("<Q", DEVICE + 1)) == status(0x2D) + b"\xff\xff"
    assert new.call(0x007F, struct.pack("<Q", DEVICE)) == status(1)  # FAIL: the normal timeout
    assert new.call(0x007E, struct.pack("<QB", DEVICE, 1)) == status(0)
    assert new.call(0x007F, struct.pack("<Q", DEVICE)) == status(0)


def test_v18_carries_messages_both_ways(new: EzspHost) -> None:
    new.call(0x010E, struct.pack("<BQ16s", 0, DEVICE, KEY))
    device = let_in(new)
    address = device.stack.address
    assert address is not None
    unicast = struct.pack("<BH", 0, address) + aps(options=SECURED) + struct.pack("<HB", 0x0123, 5) + b"block"
    answer = new.call(0x0034, unicast)
    assert answer[:4] == status(0)
    sent = aps(options=SECURED, sequence=answer[4])
    new.callbacks.clear()
    new.run(1.0)
    assert [heard.payload for heard in device.received] == [b"block"]
    assert new.heard(MESSAGE_SENT) == [status(0) + struct.pack("<BH", 0, address) + sent + b"\x23\x01\x00"]
    device.stack.send(ApsRequest(NwkAddress(0), 0x0109, 0x0019, 3, 0x0B, b"request", secured=True))
    new.run(1.0)
    (message,) = new.heard(INCOMING_MESSAGE)
    assert message[:5] == b"\x00\x09\x01\x19\x00"
    assert struct.unpack_from("<HQBB", message, 12) == (address, DEVICE, 0xFF, 0xFF)
    assert message[30:] == b"\x07request"


def test_v18_broadcasts_have_an_alias(new: EzspHost) -> None:
    new.call(0x0111, struct.pack("<Q16s", DEVICE, KEY))
    device = let_in(new)
    body = struct.pack("<HHB", 0xFFFF, 0xFFFD, 0) + aps(options=0) + struct.pack("<BHB", 0, 0x0456, 5) + b"hello"
    answer = new.call(0x0036, body)
    assert answer[:4] == status(0)
    new.callbacks.clear()
    new.run(1.0)
    assert [heard.payload for heard in device.received] == [b"hello"]
    (sent,) = new.heard(MESSAGE_SENT)
    assert sent == status(0) + struct.pack("<BH", 6, 0xFFFD) + aps(options=0, sequence=answer[4]) + b"\x56\x04\x00"
    group = aps(options=0, group=0x0B84) + struct.pack("<BHHBHB", 0, 0xFFFD, 0xFFFF, 0, 0x0457, 2) + b"hi"
    assert new.call(0x0038, group)[:4] == status(0)


@pytest.mark.parametrize("personality", [V8, V18], ids=lambda personality: personality.name)
def test_long_messages_go_in_blocks_on_every_version(personality: Personality) -> None:
    host = EzspHost(personality)
    host.form()
    install = (0x0066, struct.pack("<QB16s", DEVICE, 1, KEY))
    if personality is V18:
        install = (0x010E, struct.pack("<BQ16s", 0, DEVICE, KEY))
    assert not any(host.call(*install))
    device = let_in(host)
    address = device.stack.address
    assert address is not None
    counter = 0
    for index, block in enumerate((b"a" * 60, b"b" * 60)):
        place = index or 2 << 8
        frame = aps(options=SECURED | 0x8000, group=place, sequence=counter)
        tag = bytes([7, 60]) if host.status_bytes == 1 else bytes([7, 0, 60])
        answer = host.call(0x0034, struct.pack("<BH", 0, address) + frame + tag + block)
        assert not any(answer[: host.status_bytes])
        counter = answer[host.status_bytes]
        host.run(1.0)
    assert [heard.payload for heard in device.received] == [b"a" * 60 + b"b" * 60]
    fates: list[ApsStatus] = []
    host.callbacks.clear()
    device.stack.send(ApsRequest(NwkAddress(0), 0x0109, 0x0704, 3, 0x0B, bytes(range(150)), secured=True), fates.append)
    head = 18 if host.status_bytes == 1 else 30  # where the count of the contents stands
    together = b""
    for _ in range(6):
        host.run(0.2)
        for message in host.heard(INCOMING_MESSAGE):
            profile, cluster, source, destination, options, group, sequence = struct.unpack_from("<HHBBHHB", message, 1)
            together += message[head + 1 :]
            reply = struct.pack(
                "<HHHBBHHB", address, profile, cluster, destination, source, options, 0xFF00 | group & 0xFF, sequence
            )
            assert not any(host.call(0x0039, reply + b"\x00"))
        host.callbacks.clear()
    assert together == bytes(range(150))
    assert fates == [ApsStatus.SUCCESS]
