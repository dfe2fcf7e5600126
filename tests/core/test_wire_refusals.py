"""Octets that no codec of the air may take, each with the place of its fault."""

import pytest

from devices.stack.interface import LinkKey, NetworkState
from devices.stack.nwk_layer import RESERVE, FrameCounter
from devices.stack.persisted import DeviceState
from devices.wire import aps, aps_commands, mac, nwk, routing, zdp
from devices.wire.aps import ApsFrame
from devices.wire.errors import MalformedFrameError
from devices.wire.inter_pan import InterPanFrame
from devices.wire.mac import MacFrame
from devices.wire.nwk import NwkFrame
from devices.wire.security import MAX_FRAME_COUNTER

REFUSED = [
    (MacFrame, "6188", 2, "shorter"),
    (MacFrame, "0500 01", 0, "reserved frame type"),
    (MacFrame, "0908 01", 0, "MAC security"),
    (MacFrame, "8108 01", 1, "reserved bits"),
    (MacFrame, "0120 01", 1, "frame version"),
    (MacFrame, "0104 01", 1, "addressing mode"),
    (MacFrame, "4108 01 ffff ffff", 0, "compression"),
    (MacFrame, "6188 01 621a 34", 6, "addresses"),
    (mac.AssociationResponse, "02 3412", 0, "association response"),
    (mac.Beacon, "ffcf 00 00 00 2284 aa000000004b1200 ffffff", 18, "19 octets"),
    (mac.Beacon, "ffcf 01 00 00 2284 aa000000004b1200 ffffff 00", 2, "time slots"),
    (mac.Beacon, "ffcf 00 00 00 2184 aa000000004b1200 ffffff 00", 4, "ZigBee PRO"),
    (NwkFrame, "0800 3412 0000 1e", 7, "shorter"),
    (NwkFrame, "0c00 3412 0000 1e 05", 0, "version"),
    (NwkFrame, "0a00 3412 0000 1e 05", 0, "frame type"),
    (NwkFrame, "0809 3412 0000 1e 05 01 00", 0, "multicast"),
    (NwkFrame, "0804 3412 0000 1e 05 01", 9, "source route"),
    (NwkFrame, "0804 3412 0000 1e 05 02 01 7856 21", 13, "2 relays"),
    (NwkFrame, "0810 3412 0000 1e 05 01 00", 10, "IEEE"),
    (nwk.Leave, "06 00", 0, "LEAVE"),
    (nwk.RejoinResponse, "07 34", 2, "early"),
    (routing.RouteRequest, "02 00 01 3412 00", 0, "ROUTE_REQUEST"),
    (routing.RouteRequest, "01 00 01 3412", 5, "early"),
    (routing.RouteRequest, "01 18 01 3412 00", 1, "many-to-one"),
    (routing.RouteRequest, "01 20 01 3412 00 d1000000004b12", 13, "IEEE"),
    (routing.RouteReply, "02 00 01 0000 3412", 7, "early"),
    (routing.RouteReply, "02 30 01 0000 3412 02 d1000000004b1200 00", 17, "IEEE"),
    (routing.NetworkStatus, "03 0c 34", 3, "early"),
    (routing.RouteRecord, "05 02 3412 78", 5, "2 relays"),
    (routing.LinkStatus, "08 62 3412 11 7856", 7, "early"),
    (ApsFrame, "40 07 1900", 4, "shorter"),
    (ApsFrame, "01 07 1900 0901 03 09", 0, "neither data"),
    (ApsFrame, "12 07 1900 0901 03 09", 0, "neither data"),
    (ApsFrame, "04 07 1900 0901 03 09", 0, "delivery"),
    (ApsFrame, "0c 07 1900 0901 03 09", 8, "shorter"),
    (ApsFrame, "80 07 1900 0901 03 09", 8, "extended"),
    (ApsFrame, "80 07 1900 0901 03 09 03", 8, "reserved"),
    (ApsFrame, "80 07 1900 0901 03 09 01", 9, "extended"),
    (ApsFrame, "80 07 1900 0901 03 09 01 00", 9, "no blocks"),
    (aps.ApsCommandFrame, "21", 1, "shorter"),
    (aps.ApsCommandFrame, "02 01", 0, "control"),
    (aps.ApsCommandFrame, "09 01", 0, "control"),
    (aps_commands.TransportNetworkKey, "05 01", 2, "35 octets"),
    (aps_commands.TransportNetworkKey, "05 04" + 33 * "00", 0, "begins with 0504"),
    (aps_commands.TransportLinkKey, "05 04" + 31 * "00", 33, "34 octets"),
    (aps_commands.UpdateDevice, "06 d1000000004b1200 3412", 11, "12 octets"),
    (aps_commands.RemoveDevice, "07 d1", 2, "9 octets"),
    (aps_commands.RequestLinkKey, "08 02", 0, "begins with 0802"),
    (aps_commands.Tunnel, "0e d1000000004b12", 8, "9 octets"),
    (aps_commands.VerifyKey, "0f 04 d1000000004b1200 00", 11, "26 octets"),
    (aps_commands.ConfirmKey, "10 00 04", 3, "11 octets"),
    (NwkFrame, "0b00 0b 1900 0901 00", 0, "inter-PAN"),
    (InterPanFrame, "0b00", 2, "shorter"),
    (InterPanFrame, "0800 03 1900 0901", 0, "NWK control"),
    (InterPanFrame, "0b00 00 1900 0901", 2, "APS control"),
    (InterPanFrame, "0b00 07 1900 0901", 2, "APS control"),
    (InterPanFrame, "0b00 0f 0100 1900 09", 8, "shorter"),
    (NwkFrame, "0802 3412 0000 1e 05 28 0100", 11, "ends within"),
    (NwkFrame, "0802 3412 0000 1e 05 28 01000000 0100000000000000", 21, "ends within"),
    (NwkFrame, "0802 3412 0000 1e 05 68 01000000 0100000000000000 00", 8, "no network key"),
    (NwkFrame, "0802 3412 0000 1e 05 08 01000000 0100000000000000 00", 8, "no network key"),
    (NwkFrame, "0802 3412 0000 1e 05 20 01000000 0100000000000000 00", 8, "no network key"),
    (ApsFrame, "20 07 1900 0901 03 09 00 0100", 11, "ends within"),
    (ApsFrame, "20 07 1900 0901 03 09 40 01000000", 8, "reserved"),
    (ApsFrame, "20 07 1900 0901 03 09 08 01000000", 8, "network key"),
    (ApsFrame, "20 07 1900 0901 03 09 20 01000000 01000000", 17, "ends within"),
    (aps.ApsCommandFrame, "21 01 30 01000000 01000000", 11, "ends within"),
    (zdp.NwkAddressRequest, "0000000000000000 02 00", 8, "request type"),
    (zdp.MatchDescriptorRequest, "0000 0901 05 1900", 7, "octets expected"),
    (zdp.BindRequest, "d1000000004b1200 07 1900 02 0100", 11, "address mode"),
]


@pytest.mark.parametrize(("reader", "hexadecimal", "offset", "reason"), REFUSED)
def test_refused_with_place_and_reason(reader, hexadecimal, offset, reason):
    with pytest.raises(MalformedFrameError) as caught:
        reader.from_bytes(bytes.fromhex(hexadecimal))
    assert caught.value.offset == offset
    assert reason in caught.value.reason
    assert f"(at octet {offset})" in str(caught.value)


def test_an_extended_header_may_say_that_nothing_is_fragmented():
    frame = ApsFrame.from_bytes(bytes.fromhex("80 07 1900 0901 03 09 00 7a"))
    assert frame.extended is None
    assert frame.payload == b"z"


def test_address_responses_with_no_children_and_node_descriptor_responses():
    response = zdp.AddressResponse(0, 1, 2, ())
    assert zdp.AddressResponse.from_bytes(response.to_bytes()) == response
    described = zdp.DescriptorResponse(0, 2, b"thirteen-octs", counted=False)
    assert zdp.DescriptorResponse.from_bytes(described.to_bytes(), counted=False) == described


def test_no_representation_shows_a_key():
    key = bytes(range(0x30, 0x40))
    holders = (
        LinkKey(key),
        NetworkState(15, 1, 2, key),
        DeviceState(LinkKey(key), network_key=key),
        aps_commands.TransportNetworkKey(key, 0, 1, 2),
        aps_commands.TransportLinkKey(key, 1, 2),
    )
    for holder in holders:
        assert repr(key) not in repr(holder)
        assert key.hex() not in repr(holder)


def test_counters_are_written_ahead_of_use():
    stored: list[int] = []
    counter = FrameCounter(100, stored.append)
    assert [counter.take() for _ in range(RESERVE + 1)] == list(range(100, 101 + RESERVE))
    assert stored == [100 + RESERVE, 100 + 2 * RESERVE]
    assert stored[-1] > counter.next - 1


def test_a_counter_ends_and_does_not_wrap():
    stored: list[int] = []
    counter = FrameCounter(MAX_FRAME_COUNTER, stored.append)
    assert counter.take() == MAX_FRAME_COUNTER
    assert counter.take() is None
    assert stored == [MAX_FRAME_COUNTER + 1]
