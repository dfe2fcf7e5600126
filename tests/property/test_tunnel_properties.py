"""The Tunneling client under any order of events: it never fails, asks one device at a time, and loses no message."""

from hypothesis import given, settings
from hypothesis import strategies as st

from chf.clock import Instant
from chf.errors import UsageError
from chf.eui64 import Eui64
from chf.tunnel import MessageDelivered, MessageFailed, Send, State, TunnelClient, TunnelSettings
from chf.zcl.frame import DefaultResponse, Frame, FrameType
from chf.zcl.tunneling import RequestTunnelResponse, TransferData, TransferDataError, TunnelClosureNotification, command

PEERS = [Eui64(number) for number in (1, 2, 3)]
SETTINGS = TunnelSettings(message_lifetime_s=600.0, queue_length=4)
peers = st.sampled_from(PEERS)
small = st.integers(0, 3)
events = st.one_of(
    st.tuples(st.just("join"), peers),
    st.tuples(st.just("leave"), peers),
    st.tuples(st.just("forget"), peers),
    st.tuples(st.just("found"), peers, st.lists(st.integers(1, 240), max_size=2)),
    st.tuples(
        st.just("grant"), peers, small, st.sampled_from([0, 0, 0, 1, 2, 3, 4, 0x80]), st.sampled_from([1500, 20])
    ),
    st.tuples(st.just("data"), peers, small, st.binary(max_size=5)),
    st.tuples(st.just("error"), peers, small, small),
    st.tuples(st.just("closed"), peers, small),
    st.tuples(st.just("default"), peers, st.sampled_from([0, 0, 1, 0x81])),
    st.tuples(st.just("octets"), peers, st.binary(max_size=12)),
    st.tuples(st.just("send"), peers, st.binary(max_size=30)),
    st.tuples(st.just("deadline")),
)


class Run:
    def __init__(self) -> None:
        self.client = TunnelClient(SETTINGS)
        self.now = 0.0
        self.last_sequence = dict.fromkeys(PEERS, 0)
        self.sent: list[str] = []
        self.fates: list[str] = []

    def take(self, effects) -> None:
        for effect in effects:
            if isinstance(effect, Send):
                frame = Frame.from_bytes(effect.payload)
                if frame.frame_type is FrameType.CLUSTER:
                    self.last_sequence[effect.peer] = frame.sequence
            if isinstance(effect, (MessageDelivered, MessageFailed)):
                self.fates.append(effect.message_id)

    def from_device(self, peer, body) -> None:
        octets = command(body, self.last_sequence[peer], to_client=True)
        self.take(self.client.receive(peer, 1, octets, Instant(self.now), secured=True))

    def deadline(self) -> None:
        due = self.client.deadline()
        if due is not None:
            assert due >= self.now
            self.now = due
            self.take(self.client.handle_deadline(Instant(self.now)))
            after = self.client.deadline()
            assert after is None or after > self.now, "the same deadline again: a busy loop"

    def apply(self, event) -> None:
        now = Instant(self.now)
        match event:
            case ("join", peer):
                self.take(self.client.device_joined(peer, now))
            case ("leave", peer):
                self.take(self.client.device_left(peer, now))
            case ("forget", peer):
                self.take(self.client.forget(peer, now))
            case ("found", peer, endpoints):
                self.take(self.client.endpoints_found(peer, endpoints, now))
            case ("grant", peer, tunnel, status, size):
                self.from_device(peer, RequestTunnelResponse(tunnel, status, size))
            case ("data", peer, tunnel, data):
                self.from_device(peer, TransferData(tunnel, data))
            case ("error", peer, tunnel, status):
                self.from_device(peer, TransferDataError(tunnel, status))
            case ("closed", peer, tunnel):
                self.from_device(peer, TunnelClosureNotification(tunnel))
            case ("default", peer, status):
                payload = DefaultResponse(2, status).to_bytes()
                frame = Frame(FrameType.GLOBAL, DefaultResponse.COMMAND, self.last_sequence[peer], payload, True, True)
                self.take(self.client.receive(peer, 1, frame.to_bytes(), now, secured=True))
            case ("octets", peer, octets):
                self.take(self.client.receive(peer, 1, octets, now, secured=True))
            case ("send", peer, data):
                self.send(peer, data)
            case _:
                self.deadline()

    def send(self, peer, data) -> None:
        message_id = f"m{len(self.sent)}"
        try:
            effects = self.client.send(peer, message_id, data, Instant(self.now))
        except UsageError:
            return
        self.sent.append(message_id)
        self.take(effects)

    def check(self) -> None:
        states = [self.client.state(peer) for peer in PEERS]
        assert states.count(State.REQUESTING) <= 1
        if State.QUEUED in states:
            assert State.REQUESTING in states, "a device waits for its turn, and nobody has it"
        timed = {State.DISCOVERING, State.REQUESTING, State.WAITING}
        if timed & set(states):
            assert self.client.deadline() is not None


@settings(derandomize=True, deadline=None, max_examples=150)
@given(st.lists(events, max_size=60))
def test_tunnel_any_order_of_events(sequence):
    run = Run()
    for event in sequence:
        run.apply(event)
        run.check()
    for _ in range(2000):  # every message meets its fate, once, before or at the end of its life
        if set(run.fates) == set(run.sent):
            break
        run.deadline()
    assert sorted(run.fates) == sorted(run.sent)
