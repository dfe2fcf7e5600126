"""What an EZSP stick answers to ZDP requests by itself, and what its host hears of them (UG100 3.3)."""

import struct

import pytest

from devices.stack.interface import ApsRequest, NwkAddress
from tests.support.ezsp_device import joined
from tests.support.ezsp_host import INCOMING_MESSAGE, STACK_STATUS, EzspHost, unicast

ZDP = struct.Struct("<HHBBHHB")
NODE_DESC, MGMT_RTG, MGMT_BIND, PERMIT, USER_DESC = 0x0002, 0x0032, 0x0033, 0x0036, 0x0011
RESPONSE_REQUIRED = 0x4000  # EmberApsOption
NOT_SUPPORTED = 0x84  # Zigbee PRO 2.4.5


def stick(flags: int) -> EzspHost:
    host = EzspHost()
    host.negotiate()
    assert host.call(0x0053, struct.pack("<BH", 0x2A, flags)) == b"\x00"  # APPLICATION_ZDO_FLAGS
    host.call(0x0053, struct.pack("<BH", 0x1E, 8))
    host.call(0x0055, b"\x00\x01")
    host.call(0x0068, struct.pack("<H16s16sBQ", 0x1BC4, b"\x77" * 16, b"\x33" * 16, 0, 0))
    host.call(0x001E, struct.pack("<QHbBBHBI", 0x1122334455667788, 0x1A62, 8, 15, 0, 0, 0, 0x07FFF800))
    host.run()
    host.callbacks.clear()
    return host


def ask(host: EzspHost, cluster: int, body: bytes) -> dict[int, tuple[bytes, int]]:
    """What the host hears after it asked the stick: body and APS options by cluster."""
    host.callbacks.clear()
    host.call(0x0034, unicast(0x0000, ZDP.pack(0, cluster, 0, 0, 0x0140, 0, 0), b"\x55" + body))
    host.run(1.0)
    return heard(host)


def heard(host: EzspHost) -> dict[int, tuple[bytes, int]]:
    told = {}
    for message in host.heard(INCOMING_MESSAGE):
        _, cluster, _, _, options, _, _ = ZDP.unpack_from(message, 1)
        assert message[19] == 0x55, message.hex()
        told[cluster] = message[20:], options
    return told


@pytest.mark.parametrize(
    ("cluster", "body", "answer"),
    [
        (MGMT_RTG, b"\x00", b"\x00\x00\x00\x00"),
        (MGMT_BIND, b"\x02", b"\x00\x00\x02\x00"),
        (PERMIT, b"\x3c\x00", b"\x00"),
        (NODE_DESC, b"\x00\x00", None),
    ],
)
@pytest.mark.parametrize("flags", [0, 1, 2, 3])
def test_what_a_stick_answers_itself_its_host_hears_only_by_flag(flags: int, cluster: int, body: bytes, answer) -> None:
    told = ask(stick(flags), cluster, body)
    assert told.keys() == ({cluster, cluster | 0x8000} if flags & 1 else {cluster | 0x8000})
    assert answer in {None, told[cluster | 0x8000][0]}
    assert not any(options & RESPONSE_REQUIRED for _, options in told.values())


@pytest.mark.parametrize("flags", [0, 1, 2, 3])
def test_what_a_stick_does_not_support_it_refuses_unless_its_host_answers(flags: int) -> None:
    told = ask(stick(flags), USER_DESC, b"\x00\x00")
    if flags & 2:
        assert told.keys() == {USER_DESC}
        assert told[USER_DESC][1] & RESPONSE_REQUIRED
    else:
        assert told == {USER_DESC | 0x8000: (bytes([NOT_SUPPORTED]), 0x0140)}


@pytest.mark.parametrize("broadcast", [False, True])
def test_the_hosts_own_permit_opens_and_closes_the_network(broadcast: bool) -> None:
    host = stick(0)
    for seconds, status in ((60, 0x9C), (0, 0x9D)):  # NETWORK_OPENED, NETWORK_CLOSED
        body = bytes((seconds, 0))
        if broadcast:
            host.callbacks.clear()
            message = ZDP.pack(0, PERMIT, 0, 0, 0, 0, 0) + b"\x00\x07\x03\x55" + body
            assert host.call(0x0036, struct.pack("<H", 0xFFFC) + message)[0] == 0
            host.run(1.0)
        else:
            ask(host, PERMIT, body)
        assert host.dongle.stack.permitting is (seconds > 0)
        assert host.heard(STACK_STATUS) == [bytes([status])]


@pytest.mark.parametrize("flags", [0, 3])
def test_a_device_does_not_open_the_network(flags: int) -> None:
    host = stick(flags)
    device = joined(host)
    host.call(0x0022, b"\x00")
    host.callbacks.clear()
    device.stack.send(ApsRequest(NwkAddress(0), 0, PERMIT, 0, 0, b"\x55\x3c\x00"))
    host.run(1.0)
    assert not host.dongle.stack.permitting
    assert bool(heard(host)) is (flags == 3)


def test_nobody_is_to_answer_a_broadcast() -> None:
    host = stick(3)
    device = joined(host)
    for destination, wanted in ((0x0000, True), (0xFFFD, False)):
        host.callbacks.clear()
        device.stack.send(ApsRequest(NwkAddress(destination), 0, USER_DESC, 0, 0, b"\x55\0\0", acknowledged=False))
        host.run(1.0)
        assert bool(heard(host)[USER_DESC][1] & RESPONSE_REQUIRED) is wanted
