"""Frames written out by hand, the sizes on air of the standard, and AES-CCM against its published vector."""

import struct

import pytest

from chf.crypto.mmo import key_transport_key
from devices.wire import aps, aps_commands, mac, nwk, routing, security, zdp
from devices.wire.aps import ApsCommandFrame, ApsFrame, ApsSecurity, ApsType, ExtendedHeader, Fragmentation
from devices.wire.inter_pan import InterPanFrame
from devices.wire.mac import AddressMode, MacFrame, MacType, fcs
from devices.wire.nwk import NwkFrame, NwkSecurity, NwkType, SourceRoute
from devices.wire.security import KeyIdentifier, cipher_for

COORDINATOR, DEVICE = 0x00124B0000000001, 0x00124B00000000D1
NETWORK_KEY, LINK_KEY = bytes(range(0x10, 0x20)), bytes(range(0xA0, 0xB0))


def on_air(payload: bytes, *, aps_secured: bool = True, type_: ApsType = ApsType.DATA) -> bytes:
    """The whole PSDU of a message from the coordinator, FCS included."""
    security = ApsSecurity(1) if aps_secured else None
    frame = ApsFrame(7, 0x0019, 0x0109, 3, 1, payload, type_, security=security)
    octets = aps.seal(frame, cipher_for(LINK_KEY), COORDINATOR) if aps_secured else frame.to_bytes()
    outer = NwkFrame(0x1234, 0x0000, 30, 1, octets, security=NwkSecurity(1, COORDINATOR))
    mpdu = mac.data_frame(1, 0x1A62, 0x1234, 0x0000, outer.seal(cipher_for(NETWORK_KEY)))
    return mpdu + fcs(mpdu)


@pytest.mark.parametrize(
    ("zcl_bytes", "expected"),
    [
        (3 + 14 + 56, 127),  # Image Block Response with 56 octets of the image: full to the brim
        (3 + 14 + 48, 119),
        (3 + 2 + 0 + 0, 59),  # Image Notify, payload type 0: type and jitter
        (3 + 9, 66),  # Upgrade End Request
        (3 + 16, 73),  # Upgrade End Response
        (3 + 14, 71),  # Image Block Request
        (3 + 18, 75),  # Image Page Request
        (3 + 13, 70),  # Query Next Image Response
    ],
)
def test_sizes_of_secured_ota_frames(zcl_bytes, expected):
    assert len(on_air(bytes(zcl_bytes))) == expected


def test_sizes_of_acknowledgements_and_of_what_the_network_key_alone_protects():
    assert len(on_air(b"", type_=ApsType.ACK)) == 54
    assert len(on_air(b"", type_=ApsType.ACK, aps_secured=False)) == 45
    assert len(on_air(bytes(82), aps_secured=False)) == mac.MAX_PSDU_BYTES
    assert len(on_air(bytes(73))) == mac.MAX_PSDU_BYTES


def test_transport_key_is_73_octets_on_air_and_opens_with_the_key_transport_key():
    command = aps_commands.TransportNetworkKey(NETWORK_KEY, 0, DEVICE, COORDINATOR)
    frame = ApsCommandFrame(9, command.to_bytes(), ApsSecurity(5, COORDINATOR, KeyIdentifier.KEY_TRANSPORT))
    cipher = cipher_for(key_transport_key(LINK_KEY))
    octets = aps.seal(frame, cipher, COORDINATOR)
    assert octets[:3] == bytes.fromhex("210930")
    mpdu = mac.data_frame(1, 0x1A62, 0x1234, 0, NwkFrame(0x1234, 0, 30, 1, octets).to_bytes())
    assert len(mpdu) + 2 == 73
    read = ApsCommandFrame.from_bytes(octets)
    assert read.security == frame.security
    assert aps_commands.TransportNetworkKey.from_bytes(aps.unseal(read, octets, cipher, COORDINATOR)) == command
    assert NETWORK_KEY.hex() not in repr(command)


def test_fcs_check_value_of_crc_16_kermit():
    assert fcs(b"123456789") == bytes.fromhex("8921")
    # An acknowledgement, worked through bit by bit.
    crc = 0
    for octet in b"\x02\x00\x56":
        crc ^= octet
        for _ in range(8):
            crc = crc >> 1 ^ 0x8408 if crc & 1 else crc >> 1
    assert fcs(b"\x02\x00\x56") == crc.to_bytes(2, "little")


def test_seal_is_ccm_star_by_hand():
    """CCM* of one frame from single AES blocks: nonce, counter blocks and CBC-MAC as annex A of the standard has them."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    def aes(block: bytes) -> bytes:
        return Cipher(algorithms.AES(LINK_KEY), modes.ECB()).encryptor().update(block)  # noqa: S305 one block

    def xor(left: bytes, right: bytes) -> bytes:
        return bytes(a ^ b for a, b in zip(left, right, strict=False))

    header, payload, counter = bytes.fromhex("2007190009010301"), b"seven..", 0x01020304
    nonce = struct.pack("<QIB", COORDINATOR, counter, 0x05)
    authenticated = header + b"\x05" + counter.to_bytes(4, "little")
    padded = len(authenticated).to_bytes(2, "big") + authenticated
    padded += bytes(-len(padded) % 16) + payload + bytes(-len(payload) % 16)
    tag = aes(bytes((0x49,)) + nonce + len(payload).to_bytes(2, "big"))  # Adata, M = 4, L = 2
    for start in range(0, len(padded), 16):
        tag = aes(xor(tag, padded[start : start + 16]))
    ciphertext = xor(payload, aes(b"\x01" + nonce + b"\x00\x01"))
    mic = xor(tag[:4], aes(b"\x01" + nonce + b"\x00\x00"))
    expected = header + b"\x00" + counter.to_bytes(4, "little") + ciphertext + mic
    frame = ApsFrame(7, 0x0019, 0x0109, 3, 1, payload, security=ApsSecurity(counter))
    assert aps.seal(frame, cipher_for(LINK_KEY), COORDINATOR) == expected


GOLDEN = [
    (
        MacFrame(MacType.DATA, 7, AddressMode.SHORT, 0x1A62, 0x1234, AddressMode.SHORT, 0x1A62, 0, b"\xaa", True),
        "6188 07 621a 3412 0000 aa",
    ),
    (MacFrame(MacType.ACK, 0x56), "0200 56"),
    (MacFrame(MacType.ACK, 0x56, pending=True), "1200 56"),
    (
        MacFrame(MacType.COMMAND, 1, AddressMode.SHORT, 0xFFFF, 0xFFFF, payload=b"\x07"),
        "0308 01 ffff ffff 07",  # beacon request
    ),
    (
        MacFrame(
            MacType.COMMAND, 2, AddressMode.SHORT, 0x1A62, 0, AddressMode.EXTENDED, 0xFFFF, DEVICE, b"\x01\x8c", True
        ),
        "23c8 02 621a 0000 ffff d1000000004b1200 018c",  # association request
    ),
    (
        MacFrame(
            MacType.COMMAND,
            3,
            AddressMode.EXTENDED,
            0x1A62,
            DEVICE,
            AddressMode.EXTENDED,
            0x1A62,
            COORDINATOR,
            mac.AssociationResponse(0x1234, 0).to_bytes(),
            True,
        ),
        "63cc 03 621a d1000000004b1200 01000000004b1200 02 3412 00",
    ),
    (
        MacFrame(MacType.COMMAND, 4, AddressMode.SHORT, 0x1A62, 0, AddressMode.SHORT, 0x1A62, 0x1234, b"\x04", True),
        "6388 04 621a 0000 3412 04",  # data request
    ),
    (mac.Beacon(True, 0x00124B00000000AA), "ffcf 00 00 00 2284 aa000000004b1200 ffffff 00"),
    (
        NwkFrame(0x1234, 0, 30, 5, b"x", security=NwkSecurity(0x01020304, COORDINATOR, 2)),
        "0802 3412 0000 1e 05 28 04030201 01000000004b1200 02 78",
    ),
    (
        NwkFrame(0, 0x1234, 1, 6, b"\x06\x80", NwkType.COMMAND, None, COORDINATOR, DEVICE),
        "0918 0000 3412 01 06 01000000004b1200 d1000000004b1200 0680",
    ),
    (
        NwkFrame(0x1234, 0, 30, 5, b"x", source_route=SourceRoute((0x5678, 0x9ABC), 1)),
        "0804 3412 0000 1e 05 02 01 7856 bc9a 78",
    ),
    (routing.RouteRequest(7, 0x1234, destination_ieee=DEVICE), "01 20 07 3412 00 d1000000004b1200"),
    (routing.RouteRequest(7, 0xFFFC, 2, routing.ManyToOne.WITH_ROUTE_RECORDS), "01 08 07 fcff 02"),
    (
        routing.RouteReply(7, 0, 0x1234, 3, COORDINATOR, DEVICE),
        "02 30 07 0000 3412 03 01000000004b1200 d1000000004b1200",
    ),
    (routing.NetworkStatus(routing.NetworkStatusCode.MANY_TO_ONE_ROUTE_FAILURE, 0x1234), "03 0c 3412"),
    (routing.RouteRecord((0x5678, 0x9ABC)), "05 02 7856 bc9a"),
    (routing.LinkStatus((routing.Link(0, 1, 3), routing.Link(0x5678, 7, 0)), last=False), "08 22 0000 31 7856 07"),
    (ApsFrame(7, 0x0019, 0x0109, 3, 9, b"z", ack_request=True), "40 07 1900 0901 03 09 7a"),
    (
        ApsFrame(7, 0x0704, 0x0109, 3, 9, b"z", extended=ExtendedHeader(Fragmentation.FIRST, 4)),
        "80 07 0407 0901 03 09 01 04 7a",
    ),
    (
        ApsFrame(7, 0x0704, 0x0109, 3, 9, b"", ApsType.ACK, extended=ExtendedHeader(Fragmentation.PART, 2, 0xFF)),
        "82 07 0407 0901 03 09 02 02 ff",
    ),
    (nwk.Leave(request=True, rejoin=True), "0460"),
    (nwk.RejoinResponse(0x1234, 0), "07 3412 00"),
    (nwk.EndDeviceTimeoutRequest(8), "0b 08 00"),
    (ApsFrame(7, 0x0019, 0x0109, 3, 9, b"z", security=ApsSecurity(1)), "20 07 1900 0901 03 09 00 01000000 7a"),
    (
        ApsFrame(7, 0x0019, 0x0109, 3, 9, b"z", security=ApsSecurity(1, COORDINATOR)),
        "20 07 1900 0901 03 09 20 01000000 01000000004b1200 7a",
    ),
    (
        ApsCommandFrame(9, b"z", ApsSecurity(1, COORDINATOR, KeyIdentifier.KEY_TRANSPORT)),
        "21 09 30 01000000 01000000004b1200 7a",
    ),
    (
        ApsCommandFrame(9, b"z", ApsSecurity(1, COORDINATOR, KeyIdentifier.KEY_LOAD), ack_request=True),
        "61 09 38 01000000 01000000004b1200 7a",
    ),
    (ApsCommandFrame(9, b"z", ack_request=True), "41 09 7a"),
    (ApsCommandFrame(9, b"", ApsSecurity(1), type=ApsType.ACK), "32 09 00 01000000"),
    (
        aps_commands.TransportLinkKey(LINK_KEY, DEVICE, COORDINATOR),
        "05 04 a0a1a2a3a4a5a6a7a8a9aaabacadaeaf d1000000004b1200 01000000004b1200",
    ),
    (aps_commands.UpdateDevice(DEVICE, 0x1234, 1), "06 d1000000004b1200 3412 01"),
    (aps_commands.RemoveDevice(DEVICE), "07 d1000000004b1200"),
    (aps_commands.RequestLinkKey(), "08 04"),
    (aps_commands.Tunnel(DEVICE, b"zz"), "0e d1000000004b1200 7a7a"),
    (aps_commands.VerifyKey(DEVICE, LINK_KEY), "0f 04 d1000000004b1200 a0a1a2a3a4a5a6a7a8a9aaabacadaeaf"),
    (aps_commands.ConfirmKey(0xAD, 4, DEVICE), "10 ad 04 d1000000004b1200"),
    (InterPanFrame(0x1000, 0xC05E, b"z"), "0b00 03 0010 5ec0 7a"),
    (InterPanFrame(0x1000, 0xC05E, b"z", aps.Delivery.GROUP, 7), "0b00 0f 0700 0010 5ec0 7a"),
    (zdp.DeviceAnnounce(0x1234, DEVICE, 0x8C), "3412 d1000000004b1200 8c"),
    (zdp.MatchDescriptorRequest(0, 0x0109, (0x0019,)), "0000 0901 01 1900 00"),
    (zdp.DescriptorResponse(0, 0, b"\x03"), "00 0000 01 03"),
    (zdp.MgmtLeaveRequest(DEVICE), "d1000000004b1200 00"),
    (zdp.BindRequest(DEVICE, 7, 0x0019, COORDINATOR, 3), "d1000000004b1200 07 1900 03 01000000004b1200 03"),
]


@pytest.mark.parametrize(("frame", "hexadecimal"), GOLDEN, ids=lambda value: type(value).__name__)
def test_golden_octets(frame, hexadecimal):
    octets = bytes.fromhex(hexadecimal)
    assert frame.to_bytes() == octets
    assert type(frame).from_bytes(octets) == frame


def test_a_key_has_sixteen_octets():
    with pytest.raises(ValueError, match="16 octets"):
        cipher_for(bytes(15))
    assert security.NWK_OVERHEAD_BYTES == 18
