"""Every codec of the air: what it writes it reads back, and junk raises its own error and nothing else."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from devices.wire import aps, aps_commands, mac, nwk, routing, zdp
from devices.wire.aps import ApsFrame, ApsSecurity, ApsType, Delivery, ExtendedHeader, Fragmentation
from devices.wire.errors import FrameSecurityError, MalformedFrameError
from devices.wire.inter_pan import InterPanFrame
from devices.wire.mac import AddressMode, MacFrame, MacType
from devices.wire.nwk import NwkFrame, NwkSecurity, NwkType, SourceRoute
from devices.wire.security import KeyIdentifier, cipher_for

u8, u16, u32, u64 = (st.integers(0, 2**bits - 1) for bits in (8, 16, 32, 64))
flag = st.booleans()
sixteen = st.binary(min_size=16, max_size=16)
octets = st.binary(max_size=40)
relays = st.lists(u16, max_size=9).map(tuple)
clusters = st.lists(u16, max_size=8).map(tuple)


aps_keys = st.sampled_from((KeyIdentifier.DATA, KeyIdentifier.KEY_TRANSPORT, KeyIdentifier.KEY_LOAD))
aps_security = st.none() | st.builds(ApsSecurity, u32, st.none() | u64, aps_keys)
nwk_security = st.builds(NwkSecurity, u32, u64, u8)
nwk_frames = st.builds(
    NwkFrame,
    *(u16, u16, u8, u8, octets, st.sampled_from(NwkType), st.none() | nwk_security, st.none() | u64, st.none() | u64),
    st.none() | st.builds(SourceRoute, relays, u8),
)


@st.composite
def mac_frames(draw):
    modes = st.sampled_from(AddressMode)
    destination_mode, source_mode = draw(modes), draw(modes)
    width = {AddressMode.NONE: st.just(0), AddressMode.SHORT: u16, AddressMode.EXTENDED: u64}
    return MacFrame(
        draw(st.sampled_from(MacType)),
        draw(u8),
        destination_mode,
        draw(u16) if destination_mode else 0,
        draw(width[destination_mode]),
        source_mode,
        draw(u16) if source_mode else 0,
        draw(width[source_mode]),
        draw(octets),
        draw(flag),
        draw(flag),
    )


@st.composite
def aps_frames(draw):
    type_ = draw(st.sampled_from((ApsType.DATA, ApsType.ACK)))
    delivery = draw(st.sampled_from(Delivery))
    block = st.integers(1, 255) if type_ is ApsType.DATA else u8
    received = u8 if type_ is ApsType.ACK else st.none()
    kinds = st.sampled_from((Fragmentation.FIRST, Fragmentation.PART))
    extended = draw(st.none() | st.builds(ExtendedHeader, kinds, block, received))
    group = draw(u16) if delivery is Delivery.GROUP else 0
    endpoint = 0 if delivery is Delivery.GROUP else draw(u8)
    return ApsFrame(
        endpoint,
        draw(u16),
        draw(u16),
        draw(u8),
        draw(u8),
        draw(octets),
        type_,
        delivery,
        group,
        draw(aps_security),
        draw(flag),
        extended,
    )


neighbours = st.builds(
    zdp.Neighbour, u64, u64, u16, st.integers(0, 3), flag, st.integers(0, 7), st.integers(0, 3), u8, u8
)
links = st.builds(routing.Link, u16, st.integers(0, 7), st.integers(0, 7))
CODECS = {
    MacFrame: mac_frames(),
    ApsFrame: aps_frames(),
    mac.AssociationResponse: st.builds(mac.AssociationResponse, u16, u8),
    mac.Beacon: st.builds(mac.Beacon, flag, u64, st.integers(0, 15), u8, flag),
    NwkFrame: nwk_frames,
    nwk.Leave: st.builds(nwk.Leave, flag, flag, flag),
    nwk.RejoinRequest: st.builds(nwk.RejoinRequest, u8),
    nwk.RejoinResponse: st.builds(nwk.RejoinResponse, u16, u8),
    nwk.EndDeviceTimeoutRequest: st.builds(nwk.EndDeviceTimeoutRequest, u8, u8),
    nwk.EndDeviceTimeoutResponse: st.builds(nwk.EndDeviceTimeoutResponse, u8, u8),
    routing.RouteRequest: st.builds(
        routing.RouteRequest, u8, u16, u8, st.sampled_from(routing.ManyToOne), st.none() | u64
    ),
    routing.RouteReply: st.builds(routing.RouteReply, u8, u16, u16, u8, st.none() | u64, st.none() | u64),
    routing.NetworkStatus: st.builds(routing.NetworkStatus, u8, u16),
    routing.RouteRecord: st.builds(routing.RouteRecord, relays),
    routing.LinkStatus: st.builds(routing.LinkStatus, st.lists(links, max_size=31).map(tuple), flag, flag),
    aps.ApsCommandFrame: st.builds(
        *(aps.ApsCommandFrame, u8, octets, aps_security, flag, st.sampled_from((ApsType.COMMAND, ApsType.ACK)))
    ),
    aps_commands.TransportNetworkKey: st.builds(aps_commands.TransportNetworkKey, sixteen, u8, u64, u64),
    aps_commands.TransportLinkKey: st.builds(aps_commands.TransportLinkKey, sixteen, u64, u64),
    aps_commands.UpdateDevice: st.builds(aps_commands.UpdateDevice, u64, u16, u8),
    aps_commands.RemoveDevice: st.builds(aps_commands.RemoveDevice, u64),
    aps_commands.RequestLinkKey: st.builds(aps_commands.RequestLinkKey),
    aps_commands.Tunnel: st.builds(aps_commands.Tunnel, u64, octets),
    aps_commands.VerifyKey: st.builds(aps_commands.VerifyKey, u64, sixteen),
    aps_commands.ConfirmKey: st.builds(aps_commands.ConfirmKey, u8, u8, u64),
    InterPanFrame: st.builds(InterPanFrame, u16, u16, octets, st.sampled_from((Delivery.UNICAST, Delivery.BROADCAST)))
    | st.builds(InterPanFrame, u16, u16, octets, st.just(Delivery.GROUP), u16),
    zdp.DeviceAnnounce: st.builds(zdp.DeviceAnnounce, u16, u64, u8),
    zdp.NwkAddressRequest: st.builds(zdp.NwkAddressRequest, u64, flag, u8),
    zdp.IeeeAddressRequest: st.builds(zdp.IeeeAddressRequest, u16, flag, u8),
    zdp.AddressResponse: st.builds(zdp.AddressResponse, u8, u64, u16)
    | st.builds(zdp.AddressResponse, u8, u64, u16, st.lists(u16, min_size=1, max_size=9).map(tuple), u8),
    zdp.AddressOfInterest: st.builds(zdp.AddressOfInterest, u16),
    zdp.SimpleDescriptorRequest: st.builds(zdp.SimpleDescriptorRequest, u16, u8),
    zdp.SimpleDescriptor: st.builds(zdp.SimpleDescriptor, u8, u16, u16, st.integers(0, 15), clusters, clusters),
    zdp.NodeDescriptor: st.builds(zdp.NodeDescriptor, st.integers(0, 7), u8, u16, u16, u8, u16, u16),
    zdp.MatchDescriptorRequest: st.builds(zdp.MatchDescriptorRequest, u16, u16, clusters, clusters),
    zdp.DescriptorResponse: st.builds(zdp.DescriptorResponse, u8, u16, octets),
    zdp.BindRequest: st.builds(zdp.BindRequest, u64, u8, u16, u64, u8)
    | st.builds(zdp.BindRequest, u64, u8, u16, u16, st.none()),
    zdp.MgmtLeaveRequest: st.builds(zdp.MgmtLeaveRequest, u64, flag, flag),
    zdp.MgmtLqiResponse: st.builds(zdp.MgmtLqiResponse, u8, u8, u8, st.lists(neighbours, max_size=3).map(tuple)),
    zdp.MgmtNwkUpdateRequest: st.builds(zdp.MgmtNwkUpdateRequest, u32, st.integers(0, 5), u8)
    | st.builds(zdp.MgmtNwkUpdateRequest, u32, st.integers(6, 255)),
    zdp.MgmtNwkUpdateNotify: st.builds(
        zdp.MgmtNwkUpdateNotify, u8, u32, u16, u16, st.lists(u8, max_size=16).map(tuple)
    ),
}
FRAMES = st.one_of(CODECS.values())


@settings(derandomize=True, max_examples=600)
@given(FRAMES)
def test_what_is_written_is_read_back(frame):
    assert type(frame).from_bytes(frame.to_bytes()) == frame


@settings(derandomize=True, max_examples=200)
@given(FRAMES, st.data())
def test_a_frame_that_is_cut_short_is_read_or_refused(frame, data):
    whole = frame.to_bytes()
    cut = whole[: data.draw(st.integers(0, len(whole)))]
    with suppress(MalformedFrameError):
        type(frame).from_bytes(cut)


@pytest.mark.parametrize("reader", CODECS, ids=lambda reader: reader.__name__)
@settings(derandomize=True, max_examples=120)
@given(st.binary(max_size=60))
def test_junk_is_read_or_refused_and_what_is_read_is_stable(reader, junk):
    try:
        frame = reader.from_bytes(junk)
    except MalformedFrameError:
        return
    assert reader.from_bytes(frame.to_bytes()) == frame


CIPHER, OTHER_CIPHER = cipher_for(bytes(range(16))), cipher_for(bytes(range(1, 17)))


@settings(derandomize=True, max_examples=300)
@given(nwk_frames, nwk_security, st.data())
def test_a_sealed_nwk_frame_opens_with_its_key_and_is_authenticated_to_the_last_octet(frame, security, data):
    sealed = frame._replace(security=security).seal(CIPHER)
    read = NwkFrame.from_bytes(sealed)
    assert read._replace(payload=frame.payload) == frame._replace(security=security)
    assert NwkFrame.from_bytes(sealed, CIPHER) == frame._replace(security=security)
    with pytest.raises(FrameSecurityError):
        NwkFrame.from_bytes(sealed, OTHER_CIPHER)
    damaged = flipped(sealed, data)
    level_at = len(sealed) - len(read.payload) - 14  # what is on the air in its place is of no account
    with suppress(MalformedFrameError):
        again = NwkFrame.from_bytes(damaged)
        if again.security is None or damaged[level_at] != sealed[level_at]:
            return
        with pytest.raises(FrameSecurityError):
            NwkFrame.from_bytes(damaged, CIPHER)


@settings(derandomize=True, max_examples=300)
@given(aps_frames(), st.builds(ApsSecurity, u32, st.none() | u64, aps_keys), u64, st.data())
def test_a_sealed_aps_frame_opens_with_its_key_and_is_authenticated_to_the_last_octet(frame, security, ieee, data):
    sealed = aps.seal(frame._replace(security=security), CIPHER, ieee)
    read = ApsFrame.from_bytes(sealed)
    assert read._replace(payload=frame.payload) == frame._replace(security=security)
    assert aps.unseal(read, sealed, CIPHER, ieee) == frame.payload
    for cipher, originator in ((OTHER_CIPHER, ieee), (CIPHER, ieee ^ 1)):
        with pytest.raises(FrameSecurityError):
            aps.unseal(read, sealed, cipher, originator)
    damaged = flipped(sealed, data)
    level_at = len(sealed) - len(read.payload) - (5 if security.source is None else 13)
    with suppress(MalformedFrameError):
        again = ApsFrame.from_bytes(damaged)
        if again.security is None or damaged[level_at] != sealed[level_at]:
            return
        with pytest.raises(FrameSecurityError):
            aps.unseal(again, damaged, CIPHER, ieee)


def flipped(octets: bytes, data) -> bytes:
    """One bit is another."""
    at = data.draw(st.integers(0, len(octets) - 1))
    return octets[:at] + bytes((octets[at] ^ 1 << data.draw(st.integers(0, 7)),)) + octets[at + 1 :]
