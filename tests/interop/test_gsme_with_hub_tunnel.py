"""An emulated GSME against the hub's own tunnel server and mirror: two codecs that share no line."""

import pytest

from chf.clock import Instant
from chf.eui64 import Eui64
from chf.gbcs import ActivateImageResponseCode, ExecutionOutcome
from chf.tunnel import Alarm, MessageDelivered, MessageReceived, Send, TunnelServer
from chf.zcl import metering
from chf.zcl.metering import NotificationFlag
from devices.nodes import events
from devices.nodes.clusters import METERING
from devices.nodes.kinds import gsme
from devices.nodes.settings import CommandedKind
from devices.stack.interface import ApsRequest
from devices.wire import ota, time_cluster, tunneling
from tests.support.commanded_rig import CommandedRig, image_hash, signed_image
from tests.support.model_hub import DEVICE, NEW, OLD

PEER = Eui64(DEVICE)
IMAGE = signed_image()
HASH = image_hash(IMAGE)


class GsmeRig(CommandedRig):
    """The hub of `model_hub`, with the tunnel and the mirror of `chf` in place of its own."""

    clusters = staticmethod(gsme)

    def __init__(self, **options) -> None:
        super().__init__(kind=CommandedKind.GSME, poll_interval_s=7.5, **options)
        self.tunnels = TunnelServer()
        self.tunnels.serve(PEER)
        self.delivered: list[str] = []
        self.alarms: list[str] = []
        self.announced = False
        self.hub.clusters = (ota.CLUSTER, time_cluster.CLUSTER, tunneling.CLUSTER, METERING)
        self.others = self.hub.received
        self.hub.received = self.received
        self.loses: set[int] = set()  # which frames of the hub's tunnel vanish, counted from 0
        self._sent = 0

    def received(self, request: ApsRequest) -> None:
        if request.cluster == tunneling.CLUSTER:
            self.do(self.tunnels.receive(PEER, request.source_endpoint, request.payload))
        elif request.cluster == METERING:
            flags = NotificationFlag.TUNNEL_MESSAGE_PENDING if self.tunnels.pending(PEER) else NotificationFlag(0)
            flags |= NotificationFlag.NEW_OTA_FIRMWARE if self.announced else NotificationFlag(0)
            answer = metering.answer(request.payload, flags)
            assert answer is not None
            self.stack.deliver(METERING, None, octets=answer)
        else:
            self.others(request)

    def do(self, effects) -> None:
        for effect in effects:
            match effect:
                case Send(payload=payload):
                    if self._sent not in self.loses:
                        self.stack.deliver(tunneling.CLUSTER, None, octets=payload)
                    self._sent += 1
                case MessageReceived(data=data, token=token):
                    self.hub.alerts.append(data)
                    self.do(self.tunnels.accepted(token))
                case MessageDelivered(message_id=message_id):
                    self.delivered.append(message_id)
                case Alarm(text=text):
                    self.alarms.append(text)

    def leave(self, message_id: str, message: bytes) -> None:
        """For the device to fetch when it wakes."""
        self.do(self.tunnels.send(PEER, message_id, message, Instant(self.queue.now)))


@pytest.fixture
def rig() -> GsmeRig:
    return GsmeRig.on(50, hub_image=IMAGE)


def test_it_opens_its_tunnel_and_puts_its_receipt(rig):
    assert len(rig.recorder.all(events.TunnelOpened)) == 1
    assert len(rig.hub.alerts) == 1
    assert rig.alarms == []


def test_it_sees_in_its_mirror_that_a_command_waits_fetches_and_obeys_it(rig):
    rig.leave("cs06", rig.cs06(HASH))
    rig.run(90)
    assert rig.delivered == ["cs06"]
    assert rig.device.file_version() == NEW
    assert rig.told()[1:] == [ExecutionOutcome(ActivateImageResponseCode.SUCCESS, NEW)]
    assert rig.alarms == []


def test_nothing_is_fetched_before_it_wakes(rig):
    rig.leave("cs06", rig.cs06(HASH))
    rig.run(0.5)
    assert rig.delivered == []


def test_all_that_waits_is_fetched_in_one_waking(rig):
    for number in range(3):
        rig.leave(f"m{number}", rig.cs06(bytes(32)))
    rig.run(61)
    assert rig.delivered == ["m0", "m1", "m2"]
    assert len(rig.told()) == 4


def test_it_hears_of_an_image_in_its_mirror():
    rig = GsmeRig.on(20)
    queries = len(rig.hub.queries)
    rig.hub.image, rig.announced = IMAGE, True
    rig.run(61)
    assert len(rig.hub.queries) > queries
    assert len(rig.hub.ends) >= 1
    assert rig.device.file_version() == OLD


@pytest.mark.parametrize("lost", range(6))
def test_a_lost_frame_of_the_tunnel_is_made_good(lost):
    rig = GsmeRig(hub_image=IMAGE)
    rig.loses = {lost}
    rig.device.power_on()
    rig.leave("cs06", rig.cs06(bytes(32)))
    rig.run(400)
    assert rig.delivered == ["cs06"]
    assert len({told.header.message_code for told in rig.messages()}) == 2


def test_a_hub_that_forgot_the_tunnel_is_asked_for_another(rig):
    rig.tunnels.device_left(PEER)
    rig.leave("cs06", rig.cs06(bytes(32)))
    rig.run(200)
    assert rig.delivered == ["cs06"]
    assert len(rig.recorder.all(events.TunnelOpened)) == 2


def test_it_polls_fast_only_while_it_expects_something(rig):
    assert rig.stack.poll_intervals[-1] == 7.5
    assert 0.1 in rig.stack.poll_intervals
