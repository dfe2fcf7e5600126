"""Devices that take no firmware: what a device is without an OTA client, a tunnel and flash."""

from functools import partial
from random import Random

import pytest

from chf.crypto.ecqv import CertificateAuthority, Suite
from devices.nodes import events
from devices.nodes.cluster import Clock, Cluster, Discover, Effects, Send, Signal, is_unicast
from devices.nodes.clusters import BASIC, BasicCluster, MirrorCluster, TimeCluster
from devices.nodes.device import Device, Parts
from devices.nodes.kinds import Clusters, plain_clusters
from devices.nodes.settings import DeviceSettings
from devices.stack.interface import COORDINATOR
from devices.wire import key_establishment, ota, time_cluster, zcl
from devices.wire.zcl import Status, ZclFrame
from tests.support.client_bench import heard
from tests.support.model_hub import DEVICE, HUB_ENDPOINT, START_UTC, Rig

BIG = 1 << 400


class PlainRig(Rig):
    """A device of `compose`, on the wire of `model_hub`."""

    def __init__(self, compose=plain_clusters, **changes) -> None:
        self.compose = compose
        super().__init__(**changes)

    def make_device(self, changes: dict) -> Device:
        fields = {"kind": "plain", "eui64": DEVICE, "link_key": bytes(16)} | changes
        settings = DeviceSettings(**{"manufacturer_code": 0x121D, "hardware_version": 0x1111} | fields)
        composed = partial(self.compose, settings)
        return Device(self.stack, self.queue, Random(1), settings, composed, listener=self.recorder)


def test_a_device_without_firmware_joins_sets_its_clock_and_answers() -> None:
    rig = PlainRig.on(5, model_identifier="Thermometer")
    assert rig.recorder.all(events.Joined) == [events.Joined(0x1234, rejoined=False)]
    assert rig.device.clock.known(rig.queue.now) in {START_UTC + 4, START_UTC + 5}
    assert rig.device.file_version() is None
    endpoint = rig.stack.endpoints[3]
    assert (endpoint.server_clusters, endpoint.client_clusters) == ((BASIC,), (time_cluster.CLUSTER,))
    rig.hub.read_attributes(BASIC, 0x0005)
    rig.hub.notify()
    rig.run(1)
    assert rig.hub.read[BASIC] == {0x0005: "Thermometer"}
    assert rig.hub.default_responses == [(ota.CLUSTER, zcl.DefaultResponse(0, Status.UNSUPPORTED_CLUSTER))]


def test_it_boots_again_without_flash() -> None:
    rig = PlainRig.on(5)
    rig.device.reboot()
    assert not rig.device.powered
    rig.run(5)
    assert [event.rejoined for event in rig.recorder.all(events.Joined)] == [False, True]


def test_a_bare_device_with_a_certificate_asks_for_its_key_before_anything_else() -> None:
    authority = CertificateAuthority.generate(Suite.TWO, 0xCA, BIG)
    rig = PlainRig(credentials=authority.issue(DEVICE, BIG + 1, BIG * 2))
    rig.hub.clusters = (time_cluster.CLUSTER, key_establishment.CLUSTER)
    asked: list[int] = []
    rig.hub.received = lambda request: asked.append(request.cluster)
    rig.stack.key_established = False
    rig.device.power_on()
    rig.run(5)
    assert asked == [key_establishment.CLUSTER]
    rig.device.power_off()
    rig.stack.key_established = True  # as flash has it
    rig.device.power_on()
    rig.run(5)
    assert asked == [key_establishment.CLUSTER, time_cluster.CLUSTER]
    assert rig.stack.endpoints[3].client_clusters == (time_cluster.CLUSTER, key_establishment.CLUSTER)


class Button(Cluster):
    """Server of a made-up cluster: pressed after 3 s, and says so to its other clusters and to the hub."""

    deadline: float | None = None

    def __init__(self, parts: Parts) -> None:
        self.parts = parts

    def start(self, now: float) -> Effects:
        self.deadline = now + 3
        return []

    def handle_deadline(self, now: float) -> Effects:
        del now
        self.deadline = None
        pressed = ZclFrame(self.parts.next_sequence(), 0x00, b"", from_server=True)
        return [Signal.MESSAGE_WAITS, Send(pressed, HUB_ENDPOINT)]


class Lamp(Cluster):
    """Goes on for a second when the button says so."""

    deadline: float | None = None

    def __init__(self) -> None:
        self.lit: list[float] = []

    def signalled(self, signal: Signal, now: float) -> Effects:
        assert signal is Signal.MESSAGE_WAITS
        self.lit.append(now)
        self.deadline = now + 1
        return []

    def handle_deadline(self, now: float) -> Effects:
        self.lit.append(now)
        self.deadline = None
        return []


def test_what_a_cluster_returns_is_carried_out_and_its_deadline_kept_by_the_device_alone() -> None:
    lamp = Lamp()

    def compose(settings: DeviceSettings, parts: Parts) -> Clusters:
        return {BASIC: BasicCluster(settings), 0xFC00: Button(parts), 0xFC01: lamp}

    rig = PlainRig.on(10, compose=compose)
    assert [round(when, 1) for when in lamp.lit] == [3.1, 4.1]
    (request,) = rig.stack.sent
    assert (request.cluster, request.destination, request.secured) == (0xFC00, COORDINATOR, False)


def test_a_deadline_that_moved_later_is_waited_for_and_one_that_moved_earlier_is_not_late() -> None:
    fired: list[float] = []

    class Moving(Cluster):
        deadline: float | None = None

        def start(self, now: float) -> Effects:
            self.deadline = now + 2
            return []

        def receive(self, frame, indication, now):
            del indication
            self.deadline = now + frame.command
            return Status.SUCCESS, []

        def handle_deadline(self, now: float) -> Effects:
            fired.append(now)
            self.deadline = None
            return []

    rig = PlainRig.on(1, compose=lambda _settings, _parts: {0xFC00: Moving()})
    rig.hub.command(5, b"", cluster=0xFC00, from_server=False)
    rig.run(4.5)
    assert fired == []
    rig.run(1)
    assert [round(when) for when in fired] == [6]
    rig.hub.command(9, b"", cluster=0xFC00, from_server=False)
    rig.run(1)
    rig.hub.command(1, b"", cluster=0xFC00, from_server=False)
    rig.run(20)
    assert [round(when, 1) for when in fired] == [6.0, 8.5]


def test_what_was_asked_before_a_reboot_is_not_answered_after_it() -> None:
    rig = PlainRig()
    rig.stack.match_descriptor = lambda _profile, _clusters, answer: rig.queue.call_later(3, lambda: answer((11,)))
    rig.device.power_on()
    rig.run(1)
    rig.device.reboot()
    rig.run(3)  # the first answer has come
    assert rig.stack.sent == []
    rig.run(2)
    assert len(rig.stack.sent) == 1


def test_a_broadcast_that_cannot_be_obeyed_is_not_answered() -> None:
    rig = PlainRig.on(1)
    for cluster in (0x0500, BASIC):
        rig.hub.command(0x55, b"", cluster=cluster, from_server=False, destination=0xFFFD)
    rig.run(1)
    assert rig.hub.default_responses == []


def test_until_it_has_its_own_key_a_device_with_a_certificate_believes_no_other() -> None:
    credentials = CertificateAuthority.generate(Suite.TWO, 0xCA, BIG).issue(DEVICE, BIG + 1, BIG * 2)
    for established in (False, True):
        rig = PlainRig(credentials=credentials)
        rig.stack.key_established = established
        rig.device.power_on()
        rig.run(1)
        rig.hub.read_attributes(time_cluster.CLUSTER, 0x0000, from_server=True)
        rig.run(0.1)
        assert (rig.device.unsecured_refused == 0) is established


def test_a_command_in_the_wrong_direction_is_not_one_of_this_side() -> None:
    rig = PlainRig.on(1)
    for cluster, from_server in ((BASIC, True), (time_cluster.CLUSTER, False)):
        rig.hub.command(0x00, b"", cluster=cluster, from_server=from_server, secured=True)
    rig.run(1)
    assert [response.status for _, response in rig.hub.default_responses] == [Status.UNSUP_CLUSTER_COMMAND] * 2

    class Takes(Cluster):
        def receive(self, frame, indication, now):
            del frame, indication, now
            return Status.SUCCESS, []

    rig = PlainRig.on(1, compose=lambda _settings, _parts: {0xFC00: Takes()})
    for from_server in (True, False):
        rig.hub.command(0x00, b"", cluster=0xFC00, from_server=from_server, quiet=False)
    rig.run(1)
    statuses = [response.status for _, response in rig.hub.default_responses]
    assert statuses == [Status.UNSUP_CLUSTER_COMMAND, Status.SUCCESS]


def test_a_group_is_no_unicast_whatever_its_address() -> None:
    assert is_unicast(heard(destination=0xFFF7))
    assert not is_unicast(heard(destination=0xFFF8))
    assert not is_unicast(heard()._replace(group=1))


@pytest.mark.parametrize(("changes", "source"), [({}, 0x01), ({"poll_interval_s": 5.0}, 0x03)])
def test_an_answer_with_attributes_wants_none_and_says_where_the_power_comes_from(changes, source) -> None:
    rig = PlainRig.on(5, **changes)
    rig.hub.read_attributes(BASIC, 0x0007)
    rig.run(1)
    assert rig.hub.read[BASIC] == {0x0007: source}  # ZCL8 3.2.2.2.8: mains, or battery
    assert ZclFrame.from_bytes(rig.stack.sent[-1].payload).disable_default_response


def test_attributes_fill_a_frame_to_the_octet_and_no_further() -> None:
    for length, fits in ((21, True), (22, False)):
        rig = PlainRig.on(1, manufacturer_name="M" * 32, model_identifier="m" * length)
        rig.hub.read_attributes(BASIC, 0x0000, 0x0004, 0x0005)
        rig.run(0.1)
        assert (0x0005 in rig.hub.read[BASIC]) is fits


def test_a_clock_asks_three_times_quickly_and_so_again_after_it_was_set() -> None:
    clock = Clock(0)
    cluster = TimeCluster(clock, lambda: 1)
    answer = zcl.attribute_record(0, zcl.Attribute(0, zcl.DataType.UTC_TIME, START_UTC))
    now = 0.0
    for _ in range(2):
        waits = []
        for _ in range(4):
            cluster.handle_deadline(now)
            waits.append((cluster.deadline - now, cluster.expects_answer))
        assert waits == [(10, True), (10, True), (10, True), (300, False)]
        assert cluster.receive_attributes(answer, now) == [Signal.CLOCK_SETTLED]
        assert (cluster.deadline - now, cluster.expects_answer) == (86_400, False)
        now = cluster.deadline


@pytest.mark.parametrize(("interval_s", "answer_s"), [(60.0, 10.0), (5.0, 5.0)])
def test_a_mirror_that_nobody_serves_lets_the_device_sleep(interval_s: float, answer_s: float) -> None:
    mirror = MirrorCluster(interval_s, lambda: 1)
    assert mirror.start(0.0) == [Discover()]
    assert (mirror.deadline, mirror.expects_answer) == (answer_s, True)
    assert mirror.handle_deadline(answer_s) == []
    assert (mirror.deadline, mirror.expects_answer) == (answer_s + interval_s, False)
    assert mirror.handle_deadline(mirror.deadline) == [Discover()]


def test_a_clock_that_nobody_sets_is_its_own_from_the_start() -> None:
    clock = Clock(100)
    TimeCluster(clock, lambda: 1, asks=False)
    assert (clock.settled, clock.known(5.0), clock.best(5.0)) == (True, None, 105.0)
    TimeCluster(clock, lambda: 1)
    assert not clock.settled
