"""Every command that a public EZSP host sends is answered as the command that it is, and not as an unknown frame.

Those of bellows and of zigbee-herdsman's ember adapter were read in their code. Of others (zsmartsystems, libezsp) here
are those that they asked of the virtual dongle and were refused, with their like. Left out because nothing behind them could be honest here: a change of the network key
(broadcastNextNetworkKey 0x73, broadcastNetworkKeySwitch 0x74), the bootloader (launchStandaloneBootloader 0x8F), the
radio's test modes (mfglib 0x83 to 0x8E) and its CCA mode (0x95), key establishment by the chip (0x9F to 0xA8).
"""

import struct

import pytest

from devices.ncp.sticks import V8, V13, V18
from tests.support.ezsp_host import EzspHost

# By UG100's numerical list of frames. Those of one range of versions stand below.
BELLOWS = (
    *(0x0000, 0x0002, 0x0005, 0x000B, 0x0010, 0x0015, 0x0017, 0x0018, 0x001A, 0x001E, 0x0020, 0x0022, 0x0026, 0x0027),
    *(0x0028, 0x0034, 0x0036, 0x0038, 0x0047, 0x004A, 0x0052, 0x0053, 0x0055, 0x005A, 0x0060, 0x0061, 0x0063, 0x0064),
    *(0x0065, 0x0068, 0x0069, 0x0075, 0x0076, 0x007E, 0x007F, 0x0082, 0x0099, 0x00A8, 0x00AA, 0x00AB, 0x00AE, 0x00B1),
    *(0x00E2, 0x00F1),
)
HERDSMAN = (
    *(0x0000, 0x0002, 0x0003, 0x0010, 0x0015, 0x0017, 0x0018, 0x001E, 0x0020, 0x0022, 0x0026, 0x0028, 0x0034, 0x0036),
    *(0x0038, 0x0051, 0x0052, 0x0053, 0x0055, 0x005A, 0x0064, 0x0065, 0x0068, 0x006B, 0x0076, 0x0099, 0x00AA, 0x00AB),
    *(0x00B1, 0x00B9),
)
OTHERS = (
    *(0x0001, 0x0008, 0x0013, 0x0029, 0x002A, 0x002B, 0x002C, 0x002D, 0x002E, 0x003C, 0x0041, 0x004E, 0x0056, 0x005E),
    *(0x0079, 0x007A, 0x007B, 0x0091, 0x00A5, 0x00BA, 0x00C1, 0x00C2, 0x00C3, 0x00EC, 0x00FD),
)
BEFORE_13 = (0x006A, 0x0071, 0x0072, 0x0066, 0x00AF, 0x00CE, 0x006D)  # keys as EmberKeyStruct
SINCE_9, SINCE_13 = (0x0102, 0x0103), (0x0077, 0x010C, 0x010D, 0x010E, 0x010F, 0x0111, 0x0112, 0x0114, 0x0116)
BEFORE_14 = (0x0096, 0x003D, 0x0004, 0x005C, 0x005D, 0x005F)


def asked_of(version: int) -> set[int]:
    asked = {*BELLOWS, *HERDSMAN, *OTHERS}
    ranges = ((BEFORE_13, version < 13), (SINCE_9, version >= 9), (SINCE_13, version >= 13), (BEFORE_14, version < 14))
    return asked.union(*(ids for ids, there in ranges if there))


@pytest.mark.parametrize("stick", [V8, V13, V18], ids=lambda stick: stick.name)
def test_no_command_of_a_public_host_is_unknown(stick) -> None:
    host = EzspHost(stick)
    for command in sorted(asked_of(stick.version)):
        host.negotiate()
        reply = host.call_raw(command, bytes([stick.version]) + bytes(99))
        assert reply.id == command, f"0x{command:04X}"


# what the later ones among them do


@pytest.fixture
def host() -> EzspHost:
    host = EzspHost()
    host.form()
    return host


def test_nothing_is_claimed_that_is_not_there(host: EzspHost) -> None:
    assert host.call(0x0013) == b"\x70\0\0\0\0"  # getXncpInfo: INVALID_CALL
    assert host.call(0x0091) == b"\xff\xff\0\0\0"  # no bootloader
    assert host.call(0x004E, b"\0") == bytes(4)  # getTimer: none runs
    assert host.call(0x0008) == b"\0"  # getNumStoredBeacons
    assert host.call(0x00C2) == b"\0"  # getSourceRouteTableFilledSize
    assert host.call(0x00C1, b"\0")[0] == 0x03  # NOT_FOUND
    assert host.call(0x00FD, b"\0") == bytes([0, 8, 0, 15])  # getRadioParameters: 8 dBm, page 0, channel 15
    assert host.call(0x00FD, b"\1")[0] != 0  # a second radio


def test_bindings_are_read_as_they_were_written(host: EzspHost) -> None:
    entry = bytes(range(1, 15))
    assert host.call(0x002B, b"\0" + entry) == b"\xb1"  # INDEX_OUT_OF_RANGE: the table has no entries
    host.negotiate()
    host.call(0x0053, struct.pack("<BH", 0x04, 2))
    assert host.call(0x002B, b"\1" + entry) == b"\0"
    assert [host.call(0x002C, bytes([index])) for index in range(3)] == [bytes(15), b"\0" + entry, b"\xb1" + bytes(14)]
    assert host.call(0x002D, b"\1") == b"\0"
    assert host.call(0x002C, b"\1") == bytes(15)
    host.call(0x002B, b"\0" + entry)
    host.call(0x002A)
    assert host.call(0x002C, b"\0") == bytes(15)


def test_a_frame_of_the_hosts_own_goes_out_on_the_channel_that_it_chose(host: EzspHost) -> None:
    heard = []
    host.medium.taps.append(lambda _at, channel, _rssi, frame: heard.append((channel, frame[:-2])))
    frame = bytes.fromhex("01c8 00 ffff ffff") + b"touchlink"
    assert host.call(0x00B9, b"\x0b") == b"\0"
    assert host.call(0x0096, bytes([len(frame)]) + frame) == b"\0"
    host.run(0.1)
    assert host.heard(0x0098) == [b"\0"]
    assert heard == [(11, frame)]
    assert host.call(0x00B9, b"\x0a") == b"\x8a"  # PHY_INVALID_CHANNEL
    assert host.call(0x0096, b"\x02ab") == b"\x02"  # BAD_ARGUMENT
    assert host.call(0x0096, b"\x7e" + bytes(126)) == b"\x02"
    assert host.call(0x00BA) == b"\x0f"  # the network stays where it is


@pytest.mark.parametrize(("command", "body"), [(0x0096, b"\x03abc"), (0x00B9, b"\x0b"), (0x0041, bytes(3))])
def test_without_a_network_nothing_is_sent(command: int, body: bytes) -> None:
    host = EzspHost()
    host.negotiate()
    assert host.call(command, body) == b"\x91"  # NETWORK_DOWN
