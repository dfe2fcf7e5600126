"""A coordinator's two halves, each alone: the parent of its children, and the trust centre that admits them."""

from random import Random

import pytest

from devices.medium.medium import Medium
from devices.stack.aps_layer import ApsLayer
from devices.stack.interface import ApsStatus, Eui64, JoinKind, LinkKey, Neighbour, NetworkState, NwkAddress
from devices.stack.nwk_layer import Counters, FrameCounter, NwkLayer
from devices.stack.parent import AGEING_INTERVAL_S, Parent
from devices.stack.trust_centre import AUTHENTICATION_S, TrustCentre
from devices.time import EventQueue
from devices.wire.mac import AddressMode, Capability, MacFrame, MacType
from tests.support.air import COORDINATOR_IEEE, DEVICE_IEEE, LINK_KEY, CoordinatorLog, KeyTable

ADDRESS = NwkAddress(0x1234)
AWAKE = Capability(receiver_on_when_idle=True)
POLL = MacFrame(MacType.COMMAND, 1, AddressMode.SHORT, 1, 0, AddressMode.SHORT, 1, ADDRESS, b"\x04", ack_request=True)


class Halves:
    """Both, and beneath them a NWK layer whose radio nobody hears."""

    def __init__(self) -> None:
        self.queue = EventQueue()
        self.counters = Counters()
        self.log = CoordinatorLog()
        self.keys = KeyTable()
        self.gone: list[Neighbour] = []
        self.nwk = NwkLayer(None, COORDINATOR_IEEE, Medium(self.queue, Random(1)), self.counters)
        self.nwk.install_key(bytes(16), 0, FrameCounter(0, lambda _value: None))
        aps = ApsLayer(None, self.nwk, COORDINATOR_IEEE, self.queue, self.counters, link_key=self.keys.for_data)
        self.parent = Parent(self.nwk, self.queue, Random(1), self.counters, self.gone.append)
        self.trust_centre = TrustCentre(
            COORDINATOR_IEEE, self.nwk, aps, self.parent, self.queue, link_keys=self.keys, listener=self.log
        )
        self.network = NetworkState(15, 0x1A62, 0xAA, bytes(16))
        self.parent.start(self.network.children)
        self.trust_centre.start(self.network)

    def run(self, seconds: float) -> None:
        self.queue.run_until(self.queue.now + seconds)


@pytest.fixture
def halves() -> Halves:
    return Halves()


def test_a_child_is_kept_for_as_long_as_it_said_and_no_longer(halves: Halves) -> None:
    halves.parent.adopt(Neighbour(DEVICE_IEEE, ADDRESS, receiver_on_when_idle=False, timeout_s=100.0))
    halves.run(90.0)
    halves.parent.polled(POLL)
    halves.run(100.0)
    assert halves.parent.child(DEVICE_IEEE) is not None
    halves.run(AGEING_INTERVAL_S + 1)
    assert halves.parent.child(DEVICE_IEEE) is None
    assert halves.network.children == halves.nwk.neighbours == {}
    assert [child.ieee for child in halves.gone] == [DEVICE_IEEE]


def test_a_frame_for_a_sleeper_waits_for_its_poll_and_then_expires(halves: Halves) -> None:
    halves.parent.adopt(Neighbour(DEVICE_IEEE, ADDRESS, receiver_on_when_idle=False))
    fates: list[ApsStatus] = []
    assert not halves.parent.has_pending(POLL.to_bytes())
    halves.parent.forward(halves.nwk.frame(ADDRESS, b"x"), fates.append)
    assert halves.parent.has_pending(POLL.to_bytes())
    halves.run(halves.parent.indirect.persistence_s + 0.1)
    assert fates == [ApsStatus.EXPIRED]
    assert halves.counters.indirect_expired == 1


def test_an_address_is_the_one_that_is_asked_for_unless_another_has_it(halves: Halves) -> None:
    halves.parent.adopt(Neighbour(DEVICE_IEEE, ADDRESS, receiver_on_when_idle=True))
    other = Eui64(DEVICE_IEEE + 1)
    assert halves.parent.address_for(DEVICE_IEEE, ADDRESS) == ADDRESS
    assert halves.parent.address_for(other, 0x2345) == 0x2345
    for wanted in (ADDRESS, 0x0000, 0xFFF8):
        assert halves.parent.address_for(other, wanted) not in {wanted, ADDRESS}


def test_whoever_has_no_key_is_not_admitted(halves: Halves) -> None:
    halves.trust_centre.admit(DEVICE_IEEE, ADDRESS, AWAKE, JoinKind.ASSOCIATED)
    assert halves.log.refusals == [(DEVICE_IEEE, "no link key for this device")]
    assert (halves.log.joins, halves.parent.child(DEVICE_IEEE)) == ([], None)


@pytest.mark.parametrize("proves", [True, False])
def test_who_was_sent_the_network_key_must_use_it(halves: Halves, proves: bool) -> None:
    halves.keys.keys[DEVICE_IEEE] = LinkKey(LINK_KEY)
    halves.trust_centre.admit(DEVICE_IEEE, ADDRESS, AWAKE, JoinKind.ASSOCIATED)
    assert halves.log.joins == [(DEVICE_IEEE, ADDRESS, JoinKind.ASSOCIATED)]
    assert halves.keys.keys[DEVICE_IEEE].outgoing_counter == 1  # it protected the network key
    if proves:
        halves.trust_centre.proved(DEVICE_IEEE)
    halves.run(AUTHENTICATION_S + 1)
    assert (halves.parent.child(DEVICE_IEEE) is not None) is proves
    assert bool(halves.log.refusals) is not proves


def test_a_key_that_is_used_up_brings_nobody_the_network_key(halves: Halves) -> None:
    halves.keys.keys[DEVICE_IEEE] = LinkKey(LINK_KEY, outgoing_counter=0xFFFFFFFF)
    halves.trust_centre.admit(DEVICE_IEEE, ADDRESS, AWAKE, JoinKind.ASSOCIATED)
    assert halves.keys.keys[DEVICE_IEEE].outgoing_counter == 0xFFFFFFFF
