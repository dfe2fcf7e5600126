"""The codec of the usual frame says what the general ones say, octet for octet, and leaves everything else to them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.wire import mac, secured_data, security
from devices.wire.aps import ApsFrame, ApsType
from devices.wire.errors import FrameSecurityError
from devices.wire.mac import AddressMode, MacFrame, MacType
from devices.wire.nwk import NwkFrame, NwkType
from devices.wire.security import AuxiliaryHeader, KeyIdentifier

KEY = bytes(range(16))
OTHER_KEY = bytes(range(1, 17))
CIPHER = security.cipher_for(KEY)

u8, u16, u32, u64 = (st.integers(0, 2**bits - 1) for bits in (8, 16, 32, 64))
payloads = st.binary(max_size=60)
short_frames = st.tuples(u16, u16, u8, u8, payloads).map(lambda fields: NwkFrame(*fields, secured=True))
any_frames = st.tuples(
    u16,
    u16,
    u8,
    u8,
    payloads,
    st.sampled_from(NwkType),
    st.just(True),
    st.none() | u64,
    st.none() | u64,
    st.booleans(),
    st.booleans(),
).map(lambda fields: NwkFrame(*fields))
keys = st.sampled_from((KeyIdentifier.NETWORK, KeyIdentifier.DATA))


@st.composite
def secured_mac_frames(draw) -> bytes:
    """Of every kind that the general codecs write, most of them of the usual shape."""
    frame = draw(short_frames | any_frames)
    auxiliary = AuxiliaryHeader(draw(keys), draw(u32), draw(u64), draw(u8))
    if auxiliary.key is not KeyIdentifier.NETWORK:
        auxiliary = auxiliary._replace(key_sequence=0)
    sealed = security.seal(CIPHER, frame.header_to_bytes(), auxiliary, frame.payload, auxiliary.source or 0)
    pan = draw(u16)
    return MacFrame(
        MacType.DATA,
        draw(u8),
        AddressMode.SHORT,
        pan,
        draw(u16),
        AddressMode.SHORT,
        draw(st.just(pan) | u16),
        draw(u16),
        sealed,
        draw(st.booleans()),
        draw(st.booleans()),
    ).to_bytes()


@st.composite
def damaged(draw, frames: st.SearchStrategy[bytes]) -> bytes:
    octets = bytearray(draw(frames))
    for _ in range(draw(st.integers(0, 2))):
        octets[draw(st.integers(0, min(len(octets) - 1, 35)))] ^= 1 << draw(st.integers(0, 7))
    return bytes(octets[: draw(st.integers(0, len(octets)) | st.just(len(octets)))])


@given(damaged(secured_mac_frames()))
def test_reading_the_network_layer(octets: bytes) -> None:
    headers = secured_data.read_nwk(octets)
    if headers is None:
        return
    outer = MacFrame.from_bytes(octets)
    frame = NwkFrame.from_bytes(outer.payload)
    auxiliary = AuxiliaryHeader.from_bytes(outer.payload, 8)
    assert is_usual(frame)
    assert outer.destination_mode is outer.source_mode is AddressMode.SHORT
    assert auxiliary.key is KeyIdentifier.NETWORK
    assert auxiliary.source is not None
    assert (headers[1], *headers[2:5]) == (outer.sequence, outer.source_pan, outer.destination, outer.source)
    assert bool(headers[0] & mac.PENDING) is outer.pending
    assert headers[6:10] == (frame.destination, frame.source, frame.radius, frame.sequence)
    assert headers[11:] == (auxiliary.frame_counter, auxiliary.source, auxiliary.key_sequence)
    for key in (KEY, OTHER_KEY):
        cipher = security.cipher_for(key)
        general = opened(security.unseal, cipher, outer.payload, 8, auxiliary, auxiliary.source)
        assert opened(secured_data.unseal_nwk, cipher, octets, headers[11], headers[12]) == general


@given(secured_mac_frames())
def test_nothing_of_the_usual_shape_is_left_to_the_general_codecs(octets: bytes) -> None:
    outer = MacFrame.from_bytes(octets)
    frame = NwkFrame.from_bytes(outer.payload)
    auxiliary = AuxiliaryHeader.from_bytes(outer.payload, len(outer.payload) - len(frame.payload))
    within_a_pan = outer.source_pan == outer.destination_pan
    usual = within_a_pan and is_usual(frame) and auxiliary.key is KeyIdentifier.NETWORK
    assert (secured_data.read_nwk(octets) is not None) is usual


@given(short_frames, u32, u64, u8)
def test_writing_the_network_layer(frame: NwkFrame, counter: int, ieee: int, key_sequence: int) -> None:
    auxiliary = AuxiliaryHeader(KeyIdentifier.NETWORK, counter, ieee, key_sequence)
    written = secured_data.seal_nwk(CIPHER, *frame[:4], counter, ieee, key_sequence, frame.payload)
    assert written == security.seal(CIPHER, frame.header_to_bytes(), auxiliary, frame.payload, ieee)


@st.composite
def aps_frames(draw) -> ApsFrame:
    addressing = draw(st.tuples(u8, u16, u16, u8, u8, payloads))
    kind = draw(st.sampled_from((ApsType.DATA, ApsType.ACK)))
    return ApsFrame(*addressing, kind, secured=True, ack_request=draw(st.booleans()))


@given(damaged(st.tuples(aps_frames(), u32).map(lambda drawn: sealed_aps(*drawn))), u64)
def test_reading_the_application_support_layer(octets: bytes, source: int) -> None:
    headers = secured_data.read_aps(octets)
    if headers is None:
        return
    frame = ApsFrame.from_bytes(octets)
    auxiliary = AuxiliaryHeader.from_bytes(octets, 8)
    assert (auxiliary.key, auxiliary.source, auxiliary.frame_counter) == (KeyIdentifier.DATA, None, headers[7])
    assert frame[:5] == headers[1:6]
    assert secured_data.is_acknowledgement(headers) is (frame.type is ApsType.ACK)
    assert secured_data.wants_acknowledgement(headers) is frame.ack_request
    assert (frame.secured, frame.delivery, frame.group, frame.extended) == (True, 0, 0, None)
    general = opened(security.unseal, CIPHER, octets, 8, auxiliary, source)
    assert opened(secured_data.unseal_aps, CIPHER, octets, headers[7], source) == general


@given(aps_frames(), u32, u64)
def test_writing_the_application_support_layer(frame: ApsFrame, counter: int, ieee: int) -> None:
    written = secured_data.seal_aps(CIPHER, frame.header_to_bytes(), counter, frame.payload, ieee)
    assert written == sealed_aps(frame, counter, ieee)
    acknowledges_an_acknowledgement = frame.type is ApsType.ACK and frame.ack_request
    assert (secured_data.read_aps(written) is None) is acknowledges_an_acknowledgement


def is_usual(frame: NwkFrame) -> bool:
    return frame == NwkFrame(*frame[:5], secured=True)


def sealed_aps(frame: ApsFrame, counter: int, ieee: int = 0) -> bytes:
    auxiliary = AuxiliaryHeader(KeyIdentifier.DATA, counter)
    return security.seal(CIPHER, frame.header_to_bytes(), auxiliary, frame.payload, ieee)


def opened(unseal, *arguments) -> bytes | None:
    try:
        return unseal(*arguments)
    except FrameSecurityError:
        return None


@pytest.mark.parametrize("length", [0, 13, 34])
def test_what_is_too_short_is_left_to_the_general_codecs(length: int) -> None:
    usual = NwkFrame(1, 0, 30, 1, b"", secured=True)
    sealed = secured_data.seal_nwk(CIPHER, *usual[:4], 1, 2, 0, b"")
    whole = mac.data_frame(1, 0x1A62, 1, 0, sealed)
    assert secured_data.read_nwk(whole) is not None
    assert secured_data.read_nwk(whole[:length]) is None
    assert secured_data.read_aps(whole[:length][:16]) is None
