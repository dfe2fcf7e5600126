"""Key Establishment frames: the hub's codec, the device's codec, and whether the one reads what the other writes."""

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st

from chf.clock import Instant, Now, UtcSeconds
from chf.crypto.ecqv import CertificateAuthority, Suite
from chf.errors import MalformedFrameError
from chf.eui64 import Eui64
from chf.keys import Responder
from chf.zcl import key_establishment as hub
from chf.zcl.frame import Frame
from devices.wire import key_establishment as device
from devices.wire.errors import MalformedFrameError as DeviceMalformedFrameError
from devices.wire.zcl import ZclFrame

u8, u16 = st.integers(0, 0xFF), st.integers(0, 0xFFFF)
often = settings(max_examples=150, deadline=None, derandomize=True)
OWN = CertificateAuthority.generate(Suite.TWO, 0xCA, 1 << 400).issue(0xDB_0001, 1 << 400, 1 << 401)

commands = st.one_of(
    st.builds(hub.InitiateKeyEstablishment, u16, u8, u8, st.binary(max_size=80)),
    st.builds(hub.EphemeralData, st.binary(max_size=40)),
    st.builds(hub.ConfirmKeyData, st.binary(min_size=16, max_size=16)),
    st.builds(hub.TerminateKeyEstablishment, u8, u8, u16),
)


@often
@given(commands, u8, st.booleans(), st.booleans())
def test_a_command_survives_its_octets(body, sequence, to_client, answered):
    octets = hub.command(body, sequence, to_client=to_client, answered=answered)
    frame = Frame.from_bytes(octets)
    assert hub.parse(frame) == body
    assert (frame.sequence, frame.to_client, frame.disable_default_response) == (sequence, to_client, not answered)


@often
@given(commands, u8)
def test_the_device_reads_what_the_hub_writes(body, sequence):
    frame = ZclFrame.from_bytes(hub.command(body, sequence, to_client=True))
    assert frame.from_server
    match body:
        case hub.InitiateKeyEstablishment():
            read = device.Initiate.from_bytes(frame.payload)
            assert frame.command == device.Command.INITIATE
            assert (read.suite, read.ephemeral_s, read.confirm_s, read.certificate) == (
                body.suite,
                body.ephemeral_time_s,
                body.confirm_time_s,
                body.certificate,
            )
            assert read.to_bytes() == body.to_bytes()
        case hub.TerminateKeyEstablishment():
            read = device.Terminate.from_bytes(frame.payload)
            assert frame.command == device.Command.TERMINATE
            assert (read.status, read.wait_s, read.suites) == (body.status, body.wait_time_s, body.suites)
            assert read.to_bytes() == body.to_bytes()
        case _:
            assert frame.payload == body.to_bytes()


@often
@given(st.integers(0, 5), st.binary(max_size=12))
def test_any_payload_is_read_or_refused(number, payload):
    with contextlib.suppress(MalformedFrameError):
        hub.parse(Frame.from_bytes(bytes((0x01, 1, number)) + payload))
    for kind in (device.Initiate, device.Terminate):
        with contextlib.suppress(DeviceMalformedFrameError):
            kind.from_bytes(payload)


@often
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=90),
            st.builds(lambda n, p: bytes((1, 1, n)) + p, st.integers(0, 4), st.binary(max_size=80)),
        ),
        max_size=8,
    )
)
def test_the_responder_takes_any_octets_in_any_order(frames):
    responder = Responder()
    responder.equip([OWN.certificate])
    for number, octets in enumerate(frames):
        now = Now(Instant(float(number)), UtcSeconds(1.8e9 + number))
        for effect in responder.receive(Eui64(0xDB_0002), 3, octets, now):
            assert effect
    assert responder.deadline() is None  # nothing here bears a certificate of the issuer
