"""The TI dongle's flash: both sets of commands, the items and their layouts, and what a reset makes of them."""

import struct

import pytest

from devices.stack.interface import Eui64, JoinKind, NwkAddress
from tests.support.znp_host import DONGLE, EXTENDED_PAN, FORMING, KEY, STATE_CHANGE_IND, ZnpHost

SUCCESS, INVALID, UNINIT, FAILED, BAD_LENGTH = 0x00, 0x02, 0x09, 0x0A, 0x0C
NOT_FOUND = 0x0A  # of the newer commands
NIB, NWKKEY, ACTIVE_KEY, ON_A_NETWORK = 0x0021, 0x0082, 0x003A, 0x0055
ADDRMGR, DEVICE_LIST, TCLK, TCLK_IC, APS_KEY, SEC_MATERIAL = 1, 3, 4, 5, 6, 7
DEVICE = 0x00DB_1234_5678_90A4
SEED = bytes(range(16))


@pytest.fixture
def host() -> ZnpHost:
    return ZnpHost()


def length(host: ZnpHost, item: int, sub: int) -> int:
    return int(struct.unpack("<I", host.call(0x2132, struct.pack("<BHH", 1, item, sub)))[0])


# The commands


def test_an_item_is_made_written_read_and_deleted(host: ZnpHost) -> None:
    number = struct.pack("<H", 0x0301)
    assert host.call(0x2113, number) == b"\x00\x00"
    assert host.call(0x2107, number + struct.pack("<HB", 4, 2) + b"ab") == bytes([UNINIT])  # it was made now
    assert host.call(0x2107, number + struct.pack("<HB", 4, 2) + b"xy") == bytes([SUCCESS])  # and left alone now
    assert host.call(0x2113, number) == b"\x04\x00"
    assert host.call(0x2108, number + b"\x00") == b"\x00\x04ab\xff\xff"
    assert host.call(0x211D, number + b"\x02\x00\x02\x00cd") == bytes([SUCCESS])
    assert host.call(0x211C, number + b"\x01\x00") == b"\x00\x03bcd"
    assert host.call(0x211D, number + b"\x03\x00\x02\x00ef") == bytes([INVALID])
    assert host.call(0x2109, number + b"\x03\x02ef") == bytes([INVALID])
    assert host.call(0x2109, number + b"\x02\x02gh") == bytes([SUCCESS])  # the short form minds no offset
    assert host.call(0x2108, number + b"\x00") == b"\x00\x04ghcd"
    assert host.call(0x2108, number + b"\x04") == bytes([INVALID, 0])  # nothing is left
    assert host.call(0x2112, number + b"\x03\x00") == bytes([BAD_LENGTH])
    assert host.call(0x2112, number + b"\x04\x00") == bytes([SUCCESS])
    assert host.call(0x2112, number + b"\x04\x00") == bytes([UNINIT])
    assert host.call(0x211C, number + b"\x00\x00") == bytes([INVALID, 0])
    assert host.call(0x211D, number + b"\x00\x00\x01\x00a") == bytes([INVALID])


def test_an_item_of_another_length_is_made_anew(host: ZnpHost) -> None:
    number = struct.pack("<H", 0x0060)
    assert host.call(0x2107, number + struct.pack("<HB", 1, 1) + b"U") == bytes([UNINIT])
    assert host.call(0x2107, number + struct.pack("<HB", 3, 1) + b"V") == bytes([UNINIT])
    assert host.get(0x0060) == b"V\xff\xff"
    assert host.call(0x2107, number + struct.pack("<HB", 2, 4) + b"WXYZ") == bytes([UNINIT])
    assert host.get(0x0060) == b"WX"


@pytest.mark.parametrize("number", [0x0400, 0x0F00, 0xFFFF])
def test_numbers_that_the_header_of_an_item_cannot_hold_are_refused(host: ZnpHost, number: int) -> None:
    assert host.call(0x2107, struct.pack("<HHB", number, 1, 0)) == bytes([FAILED])
    assert host.call(0x2130, struct.pack("<BHHI", 1, 2, number, 1)) == bytes([FAILED])
    assert host.get(number) is None


def test_the_newer_commands_see_the_same_items(host: ZnpHost) -> None:
    key = struct.pack("<BHH", 1, 0, 0x0301)
    assert host.call(0x2130, key + struct.pack("<I", 3)) == bytes([UNINIT])
    assert host.call(0x2130, key + struct.pack("<I", 3)) == bytes([SUCCESS])
    assert host.get(0x0301) == bytes(3)
    assert host.call(0x2134, key + b"\x00\x00\x03abc") == bytes([SUCCESS])
    assert host.get(0x0301) == b"abc"
    assert host.call(0x2133, key + b"\x01\x00\x09") == b"\x00\x02bc"
    assert host.call(0x2133, key + b"\x04\x00\x01") == bytes([INVALID, 0])
    assert length(host, 0, 0x0301) == 3
    assert host.call(0x2131, key) == bytes([SUCCESS])
    assert host.call(0x2131, key) == bytes([NOT_FOUND])
    assert host.call(0x2133, key + b"\x00\x00\x09") == bytes([NOT_FOUND, 0])
    assert host.call(0x2134, key + b"\x00\x00\x01a") == bytes([NOT_FOUND])
    assert length(host, 0, 0x0301) == 0


def test_the_old_poll_rate_has_no_length_and_can_be_read(host: ZnpHost) -> None:
    """As on the chip; zigpy-znp's nvram_read tool counts on it."""
    number = struct.pack("<H", 0x0024)
    assert host.call(0x2113, number) == b"\x00\x00"
    assert host.call(0x2108, number + b"\x00") == b"\x00\x02\xb8\x0b"
    assert host.call(0x2107, number + struct.pack("<HB", 2, 2) + b"ab") == bytes([SUCCESS])
    assert host.call(0x2112, number + b"\x02\x00") == bytes([SUCCESS])
    assert host.call(0x2109, number + b"\x00\x02\x10\x27") == bytes([SUCCESS])
    assert host.call(0x2108, number + b"\x00") == b"\x00\x02\x10\x27"
    assert (host.get(0x0035) or b"")[:8] == bytes.fromhex("10270000 b8010000")  # where it really is
    assert host.call(0x2112, struct.pack("<HH", 0x0035, 40)) == bytes([SUCCESS])
    assert host.call(0x2108, number + b"\x00") == b"\x01\x00"
    assert host.call(0x211D, number + b"\x00\x00\x02\x00\x10\x27") == bytes([INVALID])


def test_a_long_item_takes_several_reads(host: ZnpHost) -> None:
    value = bytes(range(256)) * 2
    assert host.call(0x2130, struct.pack("<BHHI", 1, 0, 0x0302, len(value))) == bytes([UNINIT])
    for at in range(0, len(value), 244):
        part = value[at : at + 244]
        assert host.call(0x211D, struct.pack("<HHH", 0x0302, at, len(part)) + part) == bytes([SUCCESS])
    assert host.get(0x0302) == value


@pytest.mark.parametrize("size", [0, 4097, 0xFFFFFFFF])
def test_items_have_a_size_that_flash_can_hold(host: ZnpHost, size: int) -> None:
    assert host.call(0x2130, struct.pack("<BHHI", 1, 9, 0, size)) == bytes([FAILED])
    assert length(host, 9, 0) == 0


def test_the_number_of_items_is_limited(host: ZnpHost) -> None:
    answers = {host.call(0x2130, struct.pack("<BHHI", 7, 1, sub, 1)) for sub in range(5000)}
    assert answers == {bytes([UNINIT]), bytes([FAILED])}


# What is there


@pytest.mark.parametrize(
    ("number", "size"),
    [
        *((0x0001, 8), (0x004C, 2 + 4 * 6), (0x0082, 24), (0x0101, 16)),
        *((number, 1) for number in (0x0003, 0x0030, 0x0032, 0x0033, 0x0036, 0x0038, 0x003E, 0x0087, 0x008F)),
    ],
)
def test_a_new_chip_has_what_hosts_take_for_granted(host: ZnpHost, number: int, size: int) -> None:
    value = host.get(number)
    assert value is not None
    assert len(value) == size


def test_a_new_chip_has_no_network(host: ZnpHost) -> None:
    """As the public dump of a new CC2652R has it: items for a network's settings, and nothing in them."""
    for number in (NIB, 0x0060):
        assert host.get(number) is None
    for number, size in ((ON_A_NETWORK, 1), (ACTIVE_KEY, 17), (NWKKEY, 24), (0x0084, 4), (0x0047, 8), (0x0063, 1)):
        assert host.get(number) == bytes(size)
    assert host.get(0x0083) == b"\xff\xff"
    assert struct.unpack("<Q", host.get(0x0001) or b"") == (DONGLE,)
    assert host.get(0x002D) == host.get(0x0001)  # the extended PAN ID, unless another is asked for
    assert len(set(host.get(0x0062) or b"")) > 4  # and the network key
    host.start()
    assert (host.get(ACTIVE_KEY) or b"")[1:] == host.get(0x0062)


def test_what_a_host_deletes_is_there_again_after_a_reset(host: ZnpHost) -> None:
    """As zigpy-znp's nvram_reset does with all of it."""
    host.form()
    before = {number: host.get(number) for number in range(0x0400)}
    for number, value in before.items():
        if value is not None:
            assert host.call(0x2112, struct.pack("<HH", number, len(value))) == bytes([SUCCESS])
    for item in range(1, 8):
        for sub in range(5):
            host.call(0x2131, struct.pack("<BHH", 1, item, sub))
    host.reset()
    fresh = ZnpHost()
    new = {number: fresh.get(number) for number in range(0x0400)}
    secrets = (0x0062, 0x0101)
    assert {number: host.get(number) for number in new if number not in secrets} == {
        number: value for number, value in new.items() if number not in secrets
    }
    assert None not in [host.get(number) for number in secrets]
    assert host.get(0x0062) != KEY
    assert [[length(host, item, sub) for sub in range(6)] for item in range(8)] == [
        [length(fresh, item, sub) for sub in range(6)] for item in range(8)
    ]
    host.form()
    assert host.heard(STATE_CHANGE_IND) == FORMING


@pytest.mark.parametrize(
    ("item", "size", "entries"),
    [(ADDRMGR, 12, 4), (DEVICE_LIST, 16, 4), (TCLK, 20, 4), (TCLK_IC, 16, 4), (APS_KEY, 24, 4), (SEC_MATERIAL, 12, 5)],
)
def test_tables_end_where_a_length_is_zero(host: ZnpHost, item: int, size: int, entries: int) -> None:
    assert [length(host, item, sub) for sub in range(entries + 1)] == [size] * entries + [0]


def test_forming_writes_the_network_in_the_layouts_of_the_chip(host: ZnpHost) -> None:
    host.form()
    nib = host.get(NIB) or b""
    assert len(nib) == 116
    assert nib[12] == 5  # security level
    constant = bytes.fromhex("0502331433001e0000000105018f00070002051e000000")  # of a CC2652R's dump
    assert nib[1:24] == constant
    assert nib[44:57] == bytes.fromhex("0f0f04000100000001000000 00".replace(" ", ""))
    assert nib[102:110] == bytes.fromhex("0f030001780a0100")
    assert nib[24] == 15  # channel
    assert struct.unpack_from("<HBB", nib, 36) == (0x1A62, 8, 0)  # PAN, running
    assert struct.unpack_from("<I", nib, 40) == (1 << 15,)
    assert struct.unpack_from("<QB", nib, 57) == (EXTENDED_PAN, 1)
    assert nib[26:36] == bytes(10)  # a coordinator has no parent
    assert host.get(ON_A_NETWORK) == b"\x01"
    assert host.get(ACTIVE_KEY) == host.get(0x003B) == b"\x00" + KEY
    assert host.call(0x2536, struct.pack("<BHBB", 15, 0xFFFC, 60, 1)) == b"\x00"  # a broadcast
    host.run()
    counter, network = struct.unpack("<IQ", host.entry(SEC_MATERIAL, 0))
    assert network == EXTENDED_PAN
    assert counter > 0
    assert host.get(NWKKEY) == b"\x00" + KEY + bytes(3) + struct.pack("<I", counter)


def test_what_the_host_does_not_ask_for_is_chosen(host: ZnpHost) -> None:
    host.start()
    nib = host.get(NIB) or b""
    assert nib[24] == 11
    assert 0 < struct.unpack_from("<H", nib, 36)[0] < 0xFFF0
    assert struct.unpack_from("<Q", nib, 57) == (DONGLE,)
    assert len(set(host.get(ACTIVE_KEY) or b"")) > 4


# What a reset makes of it


def test_the_network_comes_back_as_it_was_and_counts_on(host: ZnpHost) -> None:
    host.form()
    host.permit()
    before = host.get(NIB), host.get(ACTIVE_KEY)
    (counter,) = struct.unpack_from("<I", host.entry(SEC_MATERIAL, 0))
    host.reset()
    assert host.call(0x2700)[12] == 0  # nothing runs yet
    assert struct.unpack_from("<I", host.entry(SEC_MATERIAL, 0)) == (counter,)
    host.start()
    assert host.heard(STATE_CHANGE_IND) == [b"\x09"]  # restored, not formed
    assert (host.get(NIB), host.get(ACTIVE_KEY)) == before
    assert host.dongle.stack.network is not None
    assert host.dongle.stack.network.network_frame_counter >= counter


def test_a_network_that_the_host_wrote_counts_from_the_next_reset_on(host: ZnpHost) -> None:
    host.form()
    nib = bytearray(host.get(NIB) or b"")
    nib[24] = 20
    struct.pack_into("<H", nib, 36, 0x4321)
    struct.pack_into("<Q", nib, 57, 0x8877665544332211)
    struct.pack_into("<H", nib, 110, 0x0000)
    nib[114] = 7
    host.put(NIB, bytes(nib))
    host.put(ACTIVE_KEY, b"\x02" + b"K" * 16)
    host.set_entry(SEC_MATERIAL, 0, struct.pack("<IQ", 5000, 0x8877665544332211))
    network = host.dongle.stack.network
    assert network is not None
    assert network.channel == 15  # until then the old one runs
    assert struct.unpack("<IQ", host.entry(SEC_MATERIAL, 0)) == (5000, 0x8877665544332211)
    host.restart()
    network = host.dongle.stack.network
    assert network is not None
    assert (network.channel, network.pan_id, network.extended_pan_id) == (20, 0x4321, 0x8877665544332211)
    assert (network.network_key, network.network_key_sequence, network.update_id) == (b"K" * 16, 2, 7)
    assert (host.get(NWKKEY) or b"")[:17] == b"\x02" + b"K" * 16
    assert network.network_frame_counter >= 5000


def test_the_counter_of_any_network_serves_where_there_is_no_own_one(host: ZnpHost) -> None:
    host.form()
    host.reset()
    host.set_entry(SEC_MATERIAL, 0, struct.pack("<IQ", 77, 1))
    host.set_entry(SEC_MATERIAL, 1, struct.pack("<IQ", 9000, 0xFFFFFFFFFFFFFFFF))
    host.restart()
    counter, network = struct.unpack("<IQ", host.entry(SEC_MATERIAL, 0))
    assert (counter >= 9000, network) == (True, EXTENDED_PAN)
    assert struct.unpack("<IQ", host.entry(SEC_MATERIAL, 1)) == (77, 1)  # the others are kept


@pytest.mark.parametrize(
    ("number", "value"),
    [
        (ON_A_NETWORK, b"\x00"),
        (NIB, bytes(116)),
        (NIB, bytes(110)),  # packed, as on another chip
        (ACTIVE_KEY, bytes(16)),
    ],
)
def test_a_network_that_makes_no_sense_is_formed_anew(host: ZnpHost, number: int, value: bytes) -> None:
    host.form()
    held = host.get(number) or b""
    assert host.call(0x2112, struct.pack("<HH", number, len(held))) == bytes([SUCCESS])
    host.put(number, value)
    host.restart()
    assert host.heard(STATE_CHANGE_IND) == FORMING


def test_the_startup_option_forgets_the_state(host: ZnpHost) -> None:
    host.form()
    assert host.call(0x2542, struct.pack("<HQ16s", 0x1234, DEVICE, b"k" * 16)) == b"\x00"
    (counter,) = struct.unpack_from("<I", host.entry(SEC_MATERIAL, 0))
    host.put(0x0003, b"\x02")
    host.reset()
    assert host.get(0x0003) == b"\x00"
    assert (host.get(NIB), host.get(ON_A_NETWORK)) == (None, b"\0")
    assert (host.get(ACTIVE_KEY), host.get(0x003B), host.get(NWKKEY)) == (bytes(17), bytes(17), bytes(24))
    assert host.get(0x0062) == KEY
    assert host.entry(ADDRMGR, 0) == b"\xff" * 12
    assert host.entry(APS_KEY, 0) == bytes(24)
    # Not the counter: the same key may come back, and no value of it is used twice.
    assert struct.unpack_from("<I", host.entry(SEC_MATERIAL, 0)) == (counter,)


def test_the_startup_option_forgets_the_configuration(host: ZnpHost) -> None:
    host.form()
    host.put(0x0030, b"\x05")
    host.put(0x002D, bytes(8))
    host.put(0x0003, b"\x01")
    host.reset()
    assert (host.get(0x0083), host.get(0x0047), host.get(0x0030)) == (b"\xff\xff", bytes(8), b"\x1e")
    assert host.get(0x002D) == host.get(0x0001)
    assert len(set(host.get(0x0062) or b"")) > 4
    assert host.get(0x0062) != KEY
    assert host.get(ON_A_NETWORK) == b"\x00"
    assert host.get(NIB) is not None


def test_the_address_may_be_changed_and_comes_back_when_it_is_deleted(host: ZnpHost) -> None:
    host.put(0x0001, struct.pack("<Q", 0x00124B0011223344))
    host.reset()
    assert struct.unpack("<Q", host.call(0x2104)) == (0x00124B0011223344,)
    assert host.call(0x2112, struct.pack("<HH", 0x0001, 8)) == bytes([SUCCESS])
    host.reset()
    assert struct.unpack("<Q", host.call(0x2104)) == (DONGLE,)
    assert struct.unpack("<Q", host.get(0x0001) or b"") == (DONGLE,)
    assert host.call(0x2103, struct.pack("<Q", 0x00124B0011223355)) == b"\x00"
    host.restart()
    assert struct.unpack("<Q", host.call(0x2104)) == (0x00124B0011223355,)


# Tables


def test_an_added_link_key_lies_where_hosts_look_for_it(host: ZnpHost) -> None:
    host.form()
    assert host.call(0x2542, struct.pack("<HQ16s", 0x1234, DEVICE, b"k" * 16)) == b"\x00"
    assert struct.unpack("<BxHQ", host.entry(ADDRMGR, 0)) == (0x02, 0x1234, DEVICE)
    assert host.entry(APS_KEY, 0) == b"k" * 16 + bytes(8)
    table = host.get(0x004C) or b""
    assert len(table) == 26
    assert struct.unpack_from("<HHHB", table) == (1, 0, 0, 1)
    assert host.call(0x2543, struct.pack("<Q", DEVICE)) == struct.pack("<HHB", 0, 0, 1)
    assert host.call(0x2543, struct.pack("<Q", DEVICE + 1)) == struct.pack("<HHB", 0xFFFF, 0xFFFF, 0)
    host.reset()
    assert host.call(0x2744, struct.pack("<Q", DEVICE)) == b"\x00" + b"k" * 16 + bytes(8)
    assert host.call(0x2544, struct.pack("<Q", DEVICE)) == b"\x00"
    assert host.call(0x2544, struct.pack("<Q", DEVICE)) == bytes([INVALID])
    assert host.entry(ADDRMGR, 0) == b"\xff" * 12


def test_an_install_code_makes_a_trust_center_entry(host: ZnpHost) -> None:
    code = bytes.fromhex("83FED3407A939723A5C639B26916D505C3B5")
    key = bytes.fromhex("66B6900981E1EE3CA4206B6B861C02BB")
    assert host.call(0x2F04, struct.pack("<BQ", 1, DEVICE) + code) == b"\x00"
    assert struct.unpack("<IIQBBBB", host.entry(TCLK, 0)) == (0, 0, DEVICE, 0, 0, 0, 0x80)
    assert host.entry(TCLK_IC, 0) == key
    assert host.call(0x2F04, struct.pack("<BQ", 2, DEVICE) + key) == b"\x00"  # the same, derived
    assert struct.unpack_from("<II", host.entry(TCLK, 1), 0) == (0, 0)
    host.reset()
    assert host.call(0x2744, struct.pack("<Q", DEVICE))[1:17] == key


def test_where_the_key_of_an_install_code_is_has_an_octet_of_its_own(host: ZnpHost) -> None:
    """Since SDK 5.30 of TI, with a flag that it is held; an entry of before, with one octet for both, is read as well."""
    keys = [bytes([0x10 + place]) * 16 for place in range(2)]
    for place, key in enumerate(keys):
        assert host.call(0x2F04, struct.pack("<BQ", 2, DEVICE + place) + key) == b"\x00"
    assert host.entry(TCLK, 1)[16:] == bytes([0, 0, 0, 0x81])
    host.set_entry(TCLK, 1, host.entry(TCLK, 1)[:18] + bytes([1, 0]))
    for _ in range(2):
        host.reset()
        assert host.call(0x2744, struct.pack("<Q", DEVICE + 1))[1:17] == keys[1]
        assert host.entry(TCLK, 1)[16:] == bytes([0, 0, 0, 0x81])


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (1, bytes.fromhex("83FED3407A939723A5C639B26916D505C3B4")),  # a CRC that does not fit
        (1, bytes(16)),
        (2, bytes(15)),
        (2, bytes(16)),
        (3, bytes(16)),
        (2, b"\xff" * 16),
    ],
)
def test_a_bad_install_code_is_refused(host: ZnpHost, kind: int, code: bytes) -> None:
    assert host.call(0x2F04, struct.pack("<BQ", kind, DEVICE) + code) == bytes([INVALID])
    assert struct.unpack_from("<Q", host.entry(TCLK, 0), 8) == (0,)


def test_full_tables_say_so(host: ZnpHost) -> None:
    full = b"\x11"
    keys = [host.call(0x2542, struct.pack("<HQ16s", 1 + index, DEVICE + index, b"k" * 16)) for index in range(5)]
    assert keys == [b"\x00"] * 4 + [full]
    codes = [host.call(0x2F04, struct.pack("<BQ16s", 2, DEVICE + index, b"c" * 16)) for index in range(5)]
    assert codes == [b"\x00"] * 4 + [full]


def test_keys_that_the_host_restores_serve_after_a_reset(host: ZnpHost) -> None:
    """As a backup is written back: one key from the seed, one of its own, one child."""
    derived, own = DEVICE + 1, DEVICE + 2
    host.put(0x0101, SEED)
    host.set_entry(ADDRMGR, 0, struct.pack("<BxHQ", 3, 0x1111, derived))
    host.set_entry(ADDRMGR, 1, struct.pack("<BxHQ", 2, 0x2222, own))
    host.set_entry(TCLK, 2, struct.pack("<IIQBBBx", 300, 40, derived, 2, 0, 3))
    host.set_entry(APS_KEY, 1, b"o" * 16 + struct.pack("<II", 500, 60))
    table = struct.pack("<HHHBB", 1, 1, 1, 1, 0xFF).ljust(26, b"\0")
    host.put(0x004C, table)
    assert host.call(0x2744, struct.pack("<Q", own))[0] != 0  # not before
    host.reset()
    shifted = SEED[3:] + SEED[:3]
    key = bytes(one ^ other for one, other in zip(shifted, struct.pack("<Q", derived) * 2, strict=True))
    assert host.call(0x2744, struct.pack("<Q", derived)) == b"\x00" + key + struct.pack("<II", 300, 40)
    assert host.call(0x2744, struct.pack("<Q", own)) == b"\x00" + b"o" * 16 + struct.pack("<II", 500, 60)
    assert host.get(0x004C) == table
    assert struct.unpack("<BxHQ", host.entry(ADDRMGR, 0)) == (3, 0x1111, derived)
    assert host.call(0x2748, b"\x01\x02") == b"\x01\x00"  # one associated device


def test_tables_of_nonsense_do_no_harm(host: ZnpHost) -> None:
    host.form()
    for sub in range(4):
        host.set_entry(ADDRMGR, sub, bytes([1, 0, 0x11, 0x11]) + struct.pack("<Q", DEVICE))
        host.set_entry(TCLK, sub, struct.pack("<IIQBBBx", 1, 2, DEVICE, 0, 9, 200))
        host.set_entry(APS_KEY, sub, b"\xaa" * 24)
    host.put(0x004C, b"\xff" * 26)
    host.put(0x008F, b"\x01")
    host.restart()
    assert host.call(0x2101)
    host.reset()


def test_a_child_whose_address_no_backup_has_stays_one_until_it_is_back(host: ZnpHost) -> None:
    entry, keyless = (struct.pack("<HHQ", 0xFF00 | users, 0xFFFE, DEVICE + users) for users in (3, 1))
    host.put(0x0101, SEED)
    host.set_entry(ADDRMGR, 0, entry)
    host.set_entry(ADDRMGR, 1, keyless)
    host.set_entry(TCLK, 0, struct.pack("<IIQBBBB", 1, 2, DEVICE + 3, 2, 0, 0, 0))
    for _ in range(2):
        host.reset()
        assert (host.entry(ADDRMGR, 0), host.entry(ADDRMGR, 1)) == (entry, keyless)
    assert host.call(0x2748, b"\x01\x02") == b"\x00\x00"  # nobody whom a message would reach
    host.dongle.device_left(Eui64(DEVICE + 3), NwkAddress(0xFFFE))
    assert host.entry(ADDRMGR, 0) == b"\x02" + entry[1:]  # it has a key
    host.dongle.device_joined(Eui64(DEVICE + 1), NwkAddress(0x1234), JoinKind.REJOINED_SECURED)
    host.dongle.device_left(Eui64(DEVICE + 1), NwkAddress(0x1234))
    assert host.entry(ADDRMGR, 1) == b"\xff" * 12
