"""A block that the hub answers at once is one that it would have answered, with the same octets and the same notes."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chf.clock import Instant, Now, UtcSeconds
from chf.eui64 import Eui64
from chf.hub import Hub, HubSettings
from chf.hub.admission import SecurityMode
from chf.hub.settings import SecuritySettings
from chf.hub.updates import Transfer
from chf.radio.interface import HUB_ENDPOINT, SMART_ENERGY_PROFILE, Inbound, Outbound, Urgency
from chf.store import Store
from chf.store.device_log import DeviceEntry, DeviceStatus, DeviceType
from chf.update.model import ActivateNow, UpdateId
from chf.update.transfer.policy import OtaPolicy
from chf.zcl import ota as zcl
from tests.support.memory_radio import MemoryRadio, desk_pki
from tests.support.ota_bench import ENDPOINT, IDS, PPMID, START_UTC, image

SIZE = 1000
IMAGE = image(SIZE)
NOW = Now(Instant(1000.0), START_UTC)
ENTRY = DeviceEntry(PPMID, DeviceType.PPMID, UtcSeconds(0.0), bytes(16), status=DeviceStatus.JOINED)
ROOM = 73


class StoppedClock:
    def now(self) -> Now:
        return NOW

    def instant(self) -> Instant:
        return NOW.instant


class KeptRadio(MemoryRadio):
    def post(self, message: Outbound) -> None:
        self.posted.append(message)


class Side:
    """A hub that does not run, in the middle of a download."""

    def __init__(self, store: Store, mode: SecurityMode, policy: OtaPolicy, entry: DeviceEntry | None) -> None:
        self.radio = KeptRadio()
        wanted = HubSettings(ota=policy, security=SecuritySettings(mode=mode))
        self.hub = Hub(store, self.radio, desk_pki(store.home), StoppedClock(), wanted)
        self.hub._devices._entries = {} if entry is None else {PPMID: entry}
        server = self.hub._updates.server
        server.offer("1", PPMID, IMAGE, ActivateNow(), NOW)
        server.receive(PPMID, ENDPOINT, zcl.command(zcl.ImageBlockRequest(*IDS, 0, 50), 1), NOW)
        self.session = server._sessions[PPMID]
        self.hub._updates.transfers[PPMID] = Transfer(UpdateId(1))

    def hear(self, cluster: int, endpoint: int, payload: bytes) -> None:
        message = Inbound(PPMID, endpoint, HUB_ENDPOINT, SMART_ENERGY_PROFILE, cluster, payload, True, False, 255, None)
        self.hub.message_received(message)

    def hear_quick(self, cluster: int, endpoint: int, payload: bytes, room: int) -> bool:
        before = self.notes()
        answer = self.hub.answer_at_once(PPMID, endpoint, cluster, payload, room)
        if answer is None:
            assert self.notes() == before
            self.hear(cluster, endpoint, payload)
            return False
        octets, acknowledged, reference = answer
        assert len(octets) <= room
        out = Outbound(PPMID, endpoint, cluster, octets, Urgency.BULK, acknowledged=acknowledged, reference=reference)
        self.radio.post(out)
        self.hub.answered(out)
        return True

    def notes(self) -> object:
        session, devices = self.session, self.hub._devices
        return (
            list(self.radio.posted),
            {device: repr(heard) for device, heard in devices._heard.items()},
            dict(devices._arrivals),
            dict(devices.strangers),
            self.hub._updates.transfers[PPMID].blocks,
            dict(self.hub._updates.server.refusals),
            (session.record(), session.in_flight, session.in_flight_since, session.last_heard, session.wake),
            dict(self.hub._keys._missing),
        )


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with Store.open(tmp_path_factory.mktemp("at-once") / "home", hub=True) as opened:
        yield opened


def mostly(usual: st.SearchStrategy, odd: st.SearchStrategy, times: int = 7) -> st.SearchStrategy:
    return st.integers(0, times).flatmap(lambda number: odd if number == times // 2 else usual)


rarely = mostly(st.just(False), st.just(True))
entries = mostly(
    st.builds(lambda key: replace(ENTRY, link_key=key), mostly(st.just(bytes(16)), st.none(), 3)),
    st.sampled_from((None, replace(ENTRY, status=DeviceStatus.LEFT), replace(ENTRY, status=DeviceStatus.PENDING))),
)
frames = st.builds(
    lambda offset, maximum, sequence, wrong: zcl.command(
        zcl.ImageBlockRequest(IDS[0] + wrong, *IDS[1:], offset, maximum), sequence
    ),
    mostly(st.sampled_from((0, 50, 100, 150)), st.integers(0, SIZE), 4),
    mostly(st.sampled_from((20, 50, 255)), st.integers(0, 255), 4),
    st.integers(0, 255),
    rarely,
)
policies = mostly(
    st.sampled_from((OtaPolicy(), OtaPolicy(acknowledge_blocks=False))), st.just(OtaPolicy(block_bytes=57))
)


@settings(derandomize=True, deadline=None, max_examples=150)
@given(
    st.sampled_from(SecurityMode),
    policies,
    entries,
    rarely,
    st.booleans(),
    st.lists(st.tuples(rarely, rarely, mostly(frames, st.binary(max_size=20))), min_size=1, max_size=6),
)
def test_what_is_answered_at_once_is_what_would_be_answered(store, mode, policy, entry, due, missing, heard):
    quick, long = Side(store, mode, policy, entry), Side(store, mode, policy, entry)
    for side in (quick, long):
        side.session.progress_at = Instant(NOW.instant if due else 1e9)
        if missing:
            side.hub._keys._missing[PPMID] = Instant(NOW.instant - 1)
        side.hub._devices._arrivals[PPMID] = (1, NOW.instant)
    for other_cluster, other_endpoint, payload in heard:
        cluster = 0x0000 if other_cluster else zcl.CLUSTER
        endpoint = ENDPOINT + other_endpoint
        quick.hear_quick(cluster, endpoint, payload, ROOM)
        long.hear(cluster, endpoint, payload)
        assert quick.notes() == long.notes()


def ordinary(store: Store, mode: SecurityMode, entry: DeviceEntry | None, device: Eui64 = PPMID, room: int = ROOM):
    side = Side(store, mode, OtaPolicy(), entry)
    side.session.progress_at = Instant(1e9)
    payload = zcl.command(zcl.ImageBlockRequest(*IDS, 50, 50), 2)
    return side.hub.answer_at_once(device, ENDPOINT, zcl.CLUSTER, payload, room)


KEYED = replace(ENTRY, link_key=bytes(16))


def test_an_ordinary_block_is_answered_at_once(store):
    assert ordinary(store, SecurityMode.LAB, ENTRY) is not None
    assert ordinary(store, SecurityMode.CBKE, KEYED) is not None


@pytest.mark.parametrize("entry", [None, replace(KEYED, status=DeviceStatus.LEFT)])
def test_a_device_that_is_not_in_the_log_or_not_on_the_network_is_not(store, entry):
    assert ordinary(store, SecurityMode.LAB, entry) is None


def test_a_device_without_a_key_by_certificate_is_not(store):
    assert ordinary(store, SecurityMode.CBKE, ENTRY) is None


def test_a_device_without_an_update_is_not(store):
    assert ordinary(store, SecurityMode.LAB, ENTRY, Eui64(1)) is None


def test_an_answer_that_has_no_room_in_one_frame_is_not_given(store):
    assert ordinary(store, SecurityMode.LAB, ENTRY, room=72) is None
