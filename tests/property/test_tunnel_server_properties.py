"""The hub's tunnel server takes anything from a device and never raises; a device's client takes anything from a hub."""

from hypothesis import given, settings
from hypothesis import strategies as st

from chf.clock import Instant
from chf.eui64 import Eui64
from chf.tunnel import MessageDelivered, MessageFailed, TunnelServer
from chf.zcl import metering, tunneling
from chf.zcl.frame import DefaultResponse, Frame, FrameType
from devices.nodes.tunnel_client import TunnelClient
from devices.nodes.tunnel_server import Peer
from devices.stack.interface import COORDINATOR
from devices.wire.errors import MalformedFrameError
from devices.wire.zcl import DefaultResponse as DeviceDefaultResponse
from devices.wire.zcl import ZclFrame

GSME = Eui64(0x00DB1234567890A1)

commands = st.one_of(
    st.builds(
        tunneling.RequestTunnel,
        protocol=st.sampled_from([0, 6]),
        flow_control=st.booleans(),
        maximum_incoming_transfer_size=st.integers(0, 1500),
    ),
    st.builds(tunneling.CloseTunnel, st.integers(0, 3)),
    st.builds(tunneling.TransferData, st.integers(0, 3), st.sampled_from([b"\x01", b"\x03alert", b"", b"\x02\x00"])),
    st.builds(tunneling.TransferDataError, st.integers(0, 3), st.integers(0, 3)),
)
sequences = st.integers(0, 12)
frames = st.one_of(
    st.binary(max_size=40),
    st.builds(lambda body, sequence: tunneling.command(body, sequence, to_client=False), commands, sequences),
    st.builds(
        lambda number, status, sequence: Frame(
            FrameType.GLOBAL, 0x0B, sequence, DefaultResponse(number, status).to_bytes()
        ).to_bytes(),
        st.sampled_from([1, 2]),
        st.sampled_from([0, 1]),
        sequences,
    ),
)


@settings(derandomize=True, max_examples=200)
@given(st.lists(st.one_of(frames, st.sampled_from(["queue", "leave", "time"])), max_size=30))
def test_whatever_a_device_does_each_message_has_one_fate(steps):
    server, now, queued, fates = TunnelServer(), 0.0, 0, []
    server.serve(GSME)

    def tell(effects) -> None:
        fates.extend(effect.message_id for effect in effects if isinstance(effect, MessageDelivered | MessageFailed))

    for step in steps:
        if step == "queue":
            tell(server.send(GSME, str(queued), bytes(queued + 1), Instant(now), lifetime_s=100))
            queued += 1
        elif step == "leave":
            tell(server.device_left(GSME))
        elif step == "time":
            now += 40.0
            tell(server.handle_deadline(Instant(now)))
        else:
            tell(server.receive(GSME, 3, step))
    assert len(set(fates)) == len(fates)
    tell(server.forget(GSME))
    assert sorted(fates, key=int) == [str(number) for number in range(queued)]


@settings(derandomize=True, max_examples=200)
@given(st.binary(max_size=40), st.integers(0, 0xFFFF_FFFF))
def test_the_mirror_takes_anything(octets, flags):
    answer = metering.answer(octets, metering.NotificationFlag(flags))
    assert answer is None or isinstance(Frame.from_bytes(answer), Frame)


def _device(steps: list[bytes]) -> None:
    sequence = iter(range(10_000))
    client = TunnelClient(lambda: next(sequence) % 256, retry_s=5, retry_max_s=60)
    now = 0.0
    client.start(now)
    client.found(0x0B, now)
    client.send(b"alert", now)
    for step in steps:
        now += 1.0
        try:
            frame = ZclFrame.from_bytes(step)
            if frame.cluster_specific:
                client.receive(frame, Peer(COORDINATOR, 0x0B), now)
            else:
                response = DeviceDefaultResponse.from_bytes(frame.payload)
                client.receive_default_response(frame.sequence, response)
        except MalformedFrameError:
            continue
        client.handle_deadline(now)


hub_frames = st.one_of(
    st.binary(max_size=40),
    st.builds(
        lambda body, sequence: tunneling.command(body, sequence, to_client=True),
        st.one_of(
            st.builds(tunneling.RequestTunnelResponse, st.integers(0, 3), st.integers(0, 5)),
            st.builds(
                tunneling.TransferData, st.integers(0, 3), st.sampled_from([b"\x02\x00", b"\x02\x01x", b"\x02", b""])
            ),
            st.builds(tunneling.TransferDataError, st.integers(0, 3), st.integers(0, 3)),
            st.builds(tunneling.TunnelClosureNotification, st.integers(0, 3)),
        ),
        sequences,
    ),
)


@settings(derandomize=True, max_examples=200)
@given(st.lists(hub_frames, max_size=30))
def test_a_device_survives_any_hub(steps):
    _device(steps)
