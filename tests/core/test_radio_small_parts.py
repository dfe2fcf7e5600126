"""Addresses, ZDP frames, serial ports."""

from contextlib import suppress

import pytest
import serialx
from hypothesis import given, settings
from hypothesis import strategies as st

from chf.errors import MalformedFrameError
from chf.eui64 import Eui64
from chf.radio import ports, zdp
from chf.radio.ezsp.frames import HEADER_BYTES, Dialect
from chf.radio.traffic import Addresses

A, B = Eui64(0xA), Eui64(0xB)


def test_the_newest_word_about_an_address_wins():
    addresses = Addresses()
    assert addresses.learn(A, 1)
    assert not addresses.learn(A, 1)
    assert addresses.learn(A, 2)
    assert (addresses.network(A), addresses.device(1), addresses.device(2)) == (2, None, A)
    assert addresses.learn(B, 2)
    assert (addresses.network(A), addresses.network(B), addresses.device(2)) == (None, 2, B)
    addresses.forget(B)
    addresses.forget(B)
    assert addresses.device(2) is None


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4).map(Eui64), st.integers(0, 4))))
def test_addresses_are_one_to_one_whatever_is_learned(words):
    addresses = Addresses()
    for device, network_address in words:
        addresses.learn(device, network_address)
        assert (addresses.network(device), addresses.device(network_address)) == (network_address, device)
        known = [(d, addresses.network(Eui64(d))) for d in range(5) if addresses.network(Eui64(d)) is not None]
        assert all(addresses.device(a) == d for d, a in known)
        assert len({a for _, a in known}) == len(known)


def test_zdp_requests_octet_by_octet():
    device = Eui64(0x00DB1234567890A4)
    assert zdp.match_descriptor_request(7, 0x1001, 0x0109, [0x0019, 0x0704]) == bytes.fromhex("0701100901021900040700")
    assert zdp.leave_request(7, device) == bytes.fromhex("07 a490785634 12db00 00")
    assert zdp.nwk_address_request(7, device) == bytes.fromhex("07a490785634 12db00 0000")
    assert zdp.ieee_address_request(7, 0x1001) == bytes.fromhex("0701100000")


def test_zdp_answers_are_read():
    announcement = zdp.DeviceAnnounce.from_bytes(bytes.fromhex("01 0110 a490785634 12db00 8e"))
    assert announcement == zdp.DeviceAnnounce(0x1001, Eui64(0x00DB1234567890A4), sleepy=False)
    assert zdp.DeviceAnnounce.from_bytes(bytes.fromhex("01 0110 a490785634 12db00 80")).sleepy
    found = zdp.AddressResponse.from_bytes(bytes.fromhex("01 00 a490785634 12db00 0110"))
    assert found == zdp.AddressResponse(0, Eui64(0x00DB1234567890A4), 0x1001)
    assert zdp.MatchDescriptorResponse.from_bytes(bytes.fromhex("01 00 0110 02 0307")).endpoints == (3, 7)


@settings(derandomize=True, max_examples=300, deadline=None)
@given(st.binary(max_size=24))
def test_junk_is_malformed_and_nothing_else(junk):
    for kind in (zdp.DeviceAnnounce, zdp.AddressResponse, zdp.MatchDescriptorResponse):
        with suppress(MalformedFrameError):
            assert isinstance(kind.from_bytes(junk), kind)


@settings(derandomize=True, max_examples=300, deadline=None)
@given(st.sampled_from([8, 13, 14, 19]), st.binary(max_size=60))
def test_junk_from_a_dongle_is_malformed_and_nothing_else(version, junk):
    dialect = Dialect(version)
    for read in (dialect.incoming, dialect.message_sent):
        with suppress(MalformedFrameError):
            read(bytes(HEADER_BYTES) + junk)


def test_a_frame_that_says_more_than_it_holds_is_malformed():
    frame = bytes(HEADER_BYTES) + bytes(18) + b"\x09abc"
    with pytest.raises(MalformedFrameError, match="9 bytes announced, 3 there"):
        Dialect(13).incoming(frame)


def test_ports_are_listed_by_names_that_last_those_on_usb_first(monkeypatch):
    def port(device, resolved, vid, product):
        return serialx.SerialPortInfo(
            device=device,
            resolved_device=resolved,
            vid=vid,
            pid=0xEA60 if vid else None,
            serial_number="0001" if vid else None,
            manufacturer="Silicon Labs" if vid else None,
            product=product,
            bcd_device=None,
            interface_description=None,
            interface_num=None,
        )

    listed = [
        port("/dev/ttyS0", "/dev/ttyS0", None, None),
        port("/dev/serial/by-id/x", "/dev/ttyUSB0", 0x10C4, "CP2102"),
    ]
    monkeypatch.setattr(serialx, "list_serial_ports", lambda: listed)
    usb, plain = ports.list_ports()
    assert (usb.path, usb.device, usb.usb_id, usb.product) == (
        "/dev/serial/by-id/x",
        "/dev/ttyUSB0",
        "10c4:ea60",
        "CP2102",
    )
    assert (plain.path, plain.usb_id) == ("/dev/ttyS0", None)
