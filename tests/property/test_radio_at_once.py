"""A block that takes the quick way through the radio leaves the octets, and the state, that the long way leaves."""

from dataclasses import fields
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chf.clock import Instant
from chf.eui64 import Eui64
from chf.radio.addresses import Addresses
from chf.radio.ezsp import frames as ezsp_frames
from chf.radio.ezsp.traffic import EzspTraffic
from chf.radio.interface import Delivery, Inbound, Outbound, Urgency
from chf.radio.outbox import Places
from chf.radio.traffic import FULL_PAUSE_S, Letter, Surroundings, letter_of
from chf.radio.znp import frames as znp_frames
from chf.radio.znp.traffic import ZnpTraffic
from tests.support.radio_listener import RecordingErrands

DEVICES = (Eui64(0xA1), Eui64(0xB2), Eui64(0xC3))
ADDRESSES = (0x1001, 0x1002, 0x1003)  # the last is not known
OTA, HUB, PROFILE = 0x0019, 0x0B, 0x0109
ROOM = 82
PLACES = Places(together=5, kept_from_bulk=1)
SEQUENCE = 0x21
ANSWERS = {
    "ezsp v13": {"taken": b"\x00\x2a", "full": b"\x72\x00", "refused": b"\x74\x00"},
    "ezsp v18": {"taken": bytes(4) + b"\x2a", "full": b"\x19" + bytes(4), "refused": b"\x02" + bytes(4)},
    "znp": {"taken": b"\x00", "full": b"\x11", "refused": b"\xa1"},
}


class Hub:
    """Answers what is asked under a link key by octets that begin with 1, as a block; what is posted comes back."""

    def __init__(self) -> None:
        self.traffic: EzspTraffic | ZnpTraffic
        self.told: list[tuple[Outbound, Delivery]] = []
        self.heard: list[object] = []
        self.quick = 0

    def message_received(self, message: Inbound) -> None:
        answer = answer_to(message.payload)
        is_asked = message.aps_secured and not message.broadcast and message.cluster == OTA
        is_ours = message.profile == PROFILE and message.destination_endpoint == HUB
        if answer is None or not is_asked or not is_ours:
            self.heard.append(message)
            return
        out = Outbound(message.source, message.source_endpoint, OTA, *answer, reference="block")
        self.traffic.post(letter_of(out, partial(self.message_sent, out)))

    def answer_at_once(self, device, endpoint, cluster, payload, room_bytes):
        answer = answer_to(payload)
        if answer is None or cluster != OTA or len(answer[0]) > room_bytes:
            return None
        self.quick += 1
        block, _, _, acknowledged = answer
        return block, acknowledged, "block"

    def answered(self, message: Outbound) -> None: ...

    def message_sent(self, message: Outbound, delivery: Delivery) -> None:
        self.told.append((message, delivery))


def answer_to(payload: bytes) -> tuple[bytes, Urgency, bool, bool] | None:
    """Payload, urgency, secured, acknowledged."""
    if payload[:1] != b"\x01":
        return None
    return 9 * payload, Urgency.BULK, True, payload[-1] % 2 == 0


class Side:
    """One traffic and its link, which hands over a message at a time."""

    def __init__(self, kind: str, *, quick: bool) -> None:
        self.time = 100.0
        self.timers: list[tuple[float, object]] = []
        self.hub, self.errands, self.addresses = Hub(), RecordingErrands(), Addresses()
        around = Surroundings(
            listener=self.hub,
            addresses=self.addresses,
            errands=self.errands,
            now=lambda: Instant(self.time),
            wake=lambda: None,
            call_later=lambda delay_s, call: self.timers.append((self.time + delay_s, call)),
        )
        self.kind = kind
        self.dialect = ezsp_frames.Dialect(18 if kind == "ezsp v18" else 13)
        if kind == "znp":
            self.traffic = ZnpTraffic(around)
            self.traffic.opened()
            self.traffic._outbox = type(self.traffic._outbox)(PLACES)
        else:
            self.traffic = EzspTraffic(around)
            self.traffic.opened(self.dialect, PLACES, ROOM)
        self.traffic.answers_at_once = quick
        self.hub.traffic = self.traffic
        for device, address in list(zip(DEVICES, ADDRESSES, strict=True))[:2]:
            self.addresses.learn(device, address)
        self.left: list[bytes] = []
        self.waiting = None  # for the dongle's answer

    # What the link does; when it was woken outside of a turn, its own turn comes a little later (`send_next`)

    def hears(self, frame: bytes, *, taken: bool) -> None:
        """`taken`: the line is, by a command of the library's own."""
        if self.waiting is None and not taken and self._answered_at_once(frame):
            return
        if self.kind == "znp":
            self.traffic.incoming(znp_frames.incoming(frame))
        elif (message := self.dialect.incoming(frame)) is not None:
            self.traffic.incoming(message)
        if not taken:
            self.send_next()

    def _answered_at_once(self, frame: bytes) -> bool:
        if self.kind == "znp":
            octets = self.traffic.answer_at_once(frame)
        else:
            octets = self.traffic.answer_at_once(frame, SEQUENCE)
        if octets is None:
            return False
        self.left.append(octets)
        self.waiting = self.traffic.handed_over()
        return True

    def send_next(self) -> None:
        if self.waiting is not None:
            return
        if self.kind == "znp":
            self.waiting = request = self.traffic.next_request()
            if request is not None:
                self.left.append(znp_frames.frame(request.command, request.data))
        else:
            self.waiting = command = self.traffic.next_command()
            if command is not None:
                self.left.append(ezsp_frames.header(SEQUENCE, command.frame_id) + command.body)

    def answers(self, word: str) -> None:
        if self.waiting is not None:
            waiting, self.waiting = self.waiting, None
            waiting.answered(ANSWERS[self.kind][word])
            self.send_next()

    def confirms(self, index: int, *, delivered: bool) -> None:
        tags = list(self.traffic._under_way)
        if not tags:
            return
        tag = tags[index % len(tags)]
        if self.kind == "znp":
            outcome = znp_frames.Outcome.DELIVERED if delivered else znp_frames.Outcome.NOT_DELIVERED
            self.traffic.confirmed(znp_frames.DataConfirm(tag, outcome))
        else:
            address = self.traffic._under_way[tag].network_address
            self.traffic.message_sent(ezsp_frames.MessageSent(address, tag, delivered))

    def posts(self, device: Eui64, urgency: Urgency, size: int) -> None:
        out = Outbound(device, 3, OTA, bytes(size), urgency)
        self.traffic.post(letter_of(out, partial(self.hub.message_sent, out)))

    def passes(self, seconds: float, *, silent: bool) -> None:
        self.time += seconds
        due, self.timers = [t for t in self.timers if t[0] <= self.time], [t for t in self.timers if t[0] > self.time]
        for _, call in due:
            call()
        self.traffic.tick(silent=silent)

    def forgets(self, device: Eui64) -> None:
        self.addresses.forget(device)

    def state(self) -> object:
        traffic = self.traffic
        lanes = {
            (urgency, device): ([plain(letter) for letter in lane.waiting], lane.under_way, lane.in_ring)
            for urgency, lanes in traffic._outbox._lanes.items()
            for device, lane in lanes.items()
        }
        return (
            self.left,
            self.hub.told,
            self.hub.heard,
            self.errands.asked,
            lanes,
            (traffic._outbox.under_way, traffic._outbox._normal_under_way, traffic._full, traffic._nop_due),
            [(tag, plain(e.letter), e.network_address, e.deadline) for tag, e in traffic._under_way.items()],
            list(traffic._tags),
            traffic._heard_at,
            self.waiting is None,
        )


def plain(letter: Letter) -> tuple[object, ...]:
    return tuple(getattr(letter, field.name) for field in fields(letter) if field.name != "told")


def ezsp_frame(side: Side, device: int, asked: dict) -> bytes:
    kind = 0 if not asked["broadcast"] else 4
    options = 0x0140 | (0x20 if asked["secured"] else 0) | (0x8000 if asked["fragment"] else 0)
    group = 0x0200 if asked["fragment"] else 0
    aps = (asked["profile"], asked["cluster"], 3, asked["endpoint"], options, group, 9)
    payload = asked["payload"]
    tail = (ADDRESSES[device],)
    if side.kind == "ezsp v18":
        told = {"own": DEVICES[device], "none": 0, "another": DEVICES[device - 1]}[asked["told"]]
        fields_ = (kind, *aps, *tail, told, 0xFF, 0xFF, 200, -50, 0, len(payload) + asked["short"])
    else:
        fields_ = (kind, *aps, 200, -50, *tail, 0xFF, 0xFF, len(payload) + asked["short"])
    head = ezsp_frames.header(7, ezsp_frames.INCOMING_MESSAGE_HANDLER)
    return head + side.dialect._incoming.pack(*fields_) + payload


def znp_frame(device: int, asked: dict) -> bytes:
    payload = asked["payload"]
    return (
        znp_frames._INCOMING.pack(
            0,
            asked["cluster"],
            ADDRESSES[device],
            3,
            asked["endpoint"],
            asked["broadcast"],
            200,
            asked["secured"],
            7,
            0,
            len(payload) + asked["short"],
        )
        + payload
    )


def mostly(usual: st.SearchStrategy, odd: st.SearchStrategy, times: int = 9) -> st.SearchStrategy:
    return st.integers(0, times).flatmap(lambda number: odd if number == times // 2 else usual)


rarely = mostly(st.just(False), st.just(True))
questions = st.fixed_dictionaries(
    {
        "payload": st.builds(
            lambda first, size, last: bytes((first, *range(size), last)),
            mostly(st.just(1), st.just(2)),
            mostly(st.integers(0, 6), st.integers(7, 20)),
            st.integers(0, 255),
        ),
        "secured": rarely.map(lambda rare: not rare),
        "broadcast": rarely,
        "fragment": rarely,
        "told": mostly(st.just("own"), st.sampled_from(("none", "another"))),
        "short": rarely.map(int),
        "taken": rarely,
        "profile": rarely.map(lambda rare: 0x0104 if rare else PROFILE),
        "cluster": rarely.map(lambda rare: 0x0000 if rare else OTA),
        "endpoint": mostly(st.just(HUB), st.sampled_from((0xFF, 1))),
    }
)
steps = st.integers(0, 11).flatmap(
    lambda number: {
        5: st.tuples(st.just("answers"), mostly(st.just("taken"), st.sampled_from(("full", "refused")), 5)),
        6: st.tuples(st.just("answers"), st.just("taken")),
        7: st.tuples(st.just("confirms"), st.integers(0, 9), st.booleans()),
        8: st.tuples(st.just("posts"), st.sampled_from(DEVICES), st.sampled_from(Urgency), st.sampled_from((5, 300))),
        9: st.tuples(st.just("passes"), st.sampled_from((0.001, FULL_PAUSE_S, 4.0, 25.0)), st.booleans()),
        10: st.tuples(st.just("forgets"), st.sampled_from(DEVICES)),
        11: st.just(("turns",)),
    }.get(number, st.tuples(st.just("hears"), st.sampled_from((0, 0, 0, 1, 1, 2)), questions))
)


def do(side: Side, step: tuple) -> None:
    match step:
        case ("hears", device, asked):
            frame = znp_frame(device, asked) if side.kind == "znp" else ezsp_frame(side, device, asked)
            try:
                side.hears(frame, taken=asked["taken"])
            except (ezsp_frames.MalformedFrameError, znp_frames.MalformedFrameError):
                side.left.append(b"malformed")
        case ("answers", word):
            side.answers(word)
        case ("confirms", index, delivered):
            side.confirms(index, delivered=delivered)
        case ("posts", device, urgency, size):
            side.posts(device, urgency, size)
        case ("turns",):
            side.send_next()
        case ("passes", seconds, silent):
            side.passes(seconds, silent=silent)
        case ("forgets", device):
            side.forgets(device)


@pytest.mark.parametrize("kind", list(ANSWERS))
@settings(derandomize=True, deadline=None, max_examples=150)
@given(st.lists(steps, min_size=8, max_size=40))
def test_the_quick_way_leaves_what_the_long_way_leaves(kind, way):
    quick, long = Side(kind, quick=True), Side(kind, quick=False)
    for step in way:
        do(quick, step)
        do(long, step)
        assert quick.state() == long.state()
    assert long.hub.quick == 0


ORDINARY = {
    "payload": b"\x01ask",
    "secured": True,
    "broadcast": False,
    "fragment": False,
    "told": "own",
    "short": 0,
    "taken": False,
    "profile": PROFILE,
    "cluster": OTA,
    "endpoint": HUB,
}


@pytest.mark.parametrize("kind", list(ANSWERS))
def test_the_quick_way_is_the_one_that_a_download_takes(kind):
    side = Side(kind, quick=True)
    for count in range(1, 300):
        do(side, ("hears", 0, ORDINARY))
        do(side, ("answers", "taken"))
        do(side, ("confirms", 0, True))
        assert side.hub.quick == count
    assert [delivery for _, delivery in side.hub.told] == [Delivery.DELIVERED] * 299


@pytest.mark.parametrize("kind", list(ANSWERS))
def test_what_waits_for_the_line_goes_before_a_block(kind):
    """The acknowledgement of a fragment, and the errand of fetching a long message."""
    side = Side(kind, quick=True)
    if kind == "znp":
        long = znp_frames.IncomingMessage(ADDRESSES[1], 3, HUB, OTA, False, 200, True, 7, 300, None)
        side.traffic.incoming(long)
    else:
        do(side, ("hears", 1, ORDINARY | {"fragment": True, "taken": True}))
    do(side, ("hears", 0, ORDINARY))
    assert side.hub.quick == 0
    assert len(side.left) == 1
    assert b"ask" not in side.left[0]
