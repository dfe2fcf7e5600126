"""The hub's OTA server and tunnel client against the emulated PPMID: two codecs that were written apart, no radio.

What the hub promises is asked of it with every client personality: no device activates before its time.
"""

from __future__ import annotations

import pytest

from chf.clock import ZIGBEE_EPOCH, Instant, Now, UtcSeconds
from chf.eui64 import Eui64
from chf.gbcs import GbcsMessage, parse_payload
from chf.image.image import parse_image
from chf.tunnel import TunnelClient
from chf.tunnel import effects as tunnel
from chf.update import model
from chf.update.effects import Send
from chf.update.transfer.policy import OtaPolicy
from chf.update.transfer.transfers import Transfers
from devices.nodes import events
from devices.nodes.personalities import OUT_OF_BAND, PERSONALITIES
from devices.nodes.settings import AlertFault, Faults
from devices.wire import ota, time_cluster, tunneling, zcl
from devices.wire.zcl import General, ZclFrame
from tests.support.model_hub import DEVICE, NEW, OLD, START_UTC, Rig, image
from tests.support.updates import accepted

PEER = Eui64(DEVICE)


class HubCores:
    """Carries out what the two cores want, over the wire stack of the rig."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.server = Transfers(OtaPolicy())
        self.tunnel = TunnelClient()
        self.versions: list[int] = []
        self.messages: list[bytes] = []
        self.timer = None
        rig.stack.hub = self

    def now(self) -> Now:
        at = self.rig.queue.now
        return Now(Instant(at), UtcSeconds(ZIGBEE_EPOCH + START_UTC + at))

    def serves(self, clusters: tuple[int, ...]) -> bool:
        return set(clusters) <= {ota.CLUSTER, time_cluster.CLUSTER}

    def offer(self, octets: bytes, activation) -> None:
        reference = parse_image(octets)
        how = {"activation": activation, "now_utc": self.now().utc, "lifetime_s": 1e7}
        update = accepted(1, PEER, reference.sha256, file_version=NEW, version_before=OLD, **how)
        self.ota_does(self.server.offer(update, reference, self.now()))

    def _tick(self) -> None:
        """Keep the deadlines of both cores, as they move."""
        now = self.now()
        for _peer, told in self.server.handle_deadline(now):
            self.ota_does(told)
        self._tunnel(self.tunnel.handle_deadline(now.instant))
        self._arm()

    def _arm(self) -> None:
        deadlines = [each for each in (self.server.deadline(), self.tunnel.deadline()) if each is not None]
        if self.timer is not None:
            self.timer.cancel()
        self.timer = self.rig.queue.call_at(min(deadlines), self._tick) if deadlines else None

    def device_joined(self) -> None:
        self._tunnel(self.tunnel.device_joined(PEER, self.now().instant))

    def received(self, request) -> None:
        if request.cluster == ota.CLUSTER:
            self.ota_does(self.server.receive(PEER, request.source_endpoint, request.payload, self.now()))
        elif request.cluster == tunneling.CLUSTER:
            self._tunnel(
                self.tunnel.receive(
                    PEER, request.source_endpoint, request.payload, self.now().instant, secured=request.secured
                )
            )
        elif request.cluster == time_cluster.CLUSTER:
            frame = ZclFrame.from_bytes(request.payload)
            value = zcl.Attribute(0, zcl.DataType.UTC_TIME, int(START_UTC + self.rig.queue.now))
            answer = ZclFrame(
                frame.sequence,
                General.READ_ATTRIBUTES_RESPONSE,
                zcl.attribute_record(0, value),
                cluster_specific=False,
                from_server=True,
            )
            self.rig.stack.deliver(time_cluster.CLUSTER, answer)

    def ota_does(self, effects) -> None:
        for effect in effects:
            if isinstance(effect, Send):
                self.rig.stack.deliver(ota.CLUSTER, None, octets=effect.payload)
                self.ota_does(self.server.delivered(PEER, effect.token, True, self.now()))
            elif isinstance(effect, model.VersionObserved):
                self.versions.append(effect.file_version)
        self._arm()

    def _tunnel(self, effects) -> None:
        for effect in effects:
            match effect:
                case tunnel.Send():
                    self.rig.stack.deliver(tunneling.CLUSTER, None, octets=effect.payload)
                case tunnel.DiscoverEndpoint():
                    self._tunnel(self.tunnel.endpoints_found(PEER, (3,), self.now().instant))
                case tunnel.MessageReceived():
                    self.messages.append(effect.data)
                    self._tunnel(self.tunnel.accepted(effect.token))
        self._arm()


def world(**changes) -> tuple[Rig, HubCores, list[tuple[float, events.NodeEvent]]]:
    rig = Rig(query_interval_s=60.0, **changes)
    hub = HubCores(rig)
    told: list[tuple[float, events.NodeEvent]] = []

    def happened(eui64, event) -> None:
        told.append((rig.queue.now, event))
        if isinstance(event, events.Joined):
            rig.queue.call_later(0.5, hub.device_joined)

    rig.recorder.happened = happened
    rig.device.power_on()
    rig.run(2)
    return rig, hub, told


def first(told, kind: type) -> float | None:
    return next((at for at, event in told if isinstance(event, kind)), None)


DECIDING = sorted(set(PERSONALITIES) - {OUT_OF_BAND.name})


@pytest.mark.parametrize("page_bytes", [0, 512])
@pytest.mark.parametrize("name", DECIDING)
def test_now_ends_in_an_alert_and_the_version_read_back(name, page_bytes) -> None:
    rig, hub, told = world(personality=PERSONALITIES[name], page_bytes=page_bytes)
    hub.offer(image(), model.ActivateNow())
    rig.run(300)
    assert rig.device.file_version() == NEW
    (message,) = set(hub.messages)
    alert = parse_payload(GbcsMessage.from_bytes(message))
    assert (alert.firmware_version, alert.result) == (NEW, 0)
    assert first(told, events.AlertTaken) is not None
    hub.versions.clear()
    hub.ota_does((hub.server.ask_version(PEER, rig.device.settings.endpoint),))
    rig.run(1)
    assert hub.versions == [NEW]


@pytest.mark.parametrize(
    ("name", "in_s"), [(name, in_s) for name in DECIDING for in_s in (600, 5400, 8 * 3600, 3 * 86400)]
)
def test_no_personality_activates_before_its_time(name, in_s) -> None:
    rig, hub, told = world(personality=PERSONALITIES[name])
    due = rig.queue.now + in_s
    hub.offer(image(), model.ActivateAt(UtcSeconds(ZIGBEE_EPOCH + START_UTC + due)))
    rig.run(in_s + 3600)
    at = first(told, events.Activating)
    assert at is not None
    assert due - 1.5 <= at <= due + 300
    assert rig.device.file_version() == NEW


@pytest.mark.parametrize("name", ["spec-strict", "spec-strict-no-time", "silicon-labs"])
def test_a_hold_lasts_until_it_is_released(name) -> None:
    rig, hub, told = world(personality=PERSONALITIES[name])
    hub.offer(image(), model.ActivateHold(model.Strategy.HOLD))
    rig.run(3 * 86400)
    assert first(told, events.Activating) is None
    hub.ota_does(hub.server.release(PEER, model.ActivateNow(), hub.now()))
    rig.run(7200)
    assert rig.device.file_version() == NEW


def test_a_device_that_reverts_is_seen_to_run_the_old_version() -> None:
    rig, hub, _ = world(faults=Faults(reverts_after_activation=True))
    hub.offer(image(), model.ActivateNow())
    rig.run(60)
    hub.versions.clear()
    hub.ota_does((hub.server.ask_version(PEER, rig.device.settings.endpoint),))
    rig.run(1)
    assert hub.versions == [OLD]


def test_an_alert_sent_twice_arrives_twice_with_the_same_octets() -> None:
    rig, hub, _ = world(faults=Faults(alert=AlertFault.TWICE))
    hub.offer(image(), model.ActivateNow())
    rig.run(300)
    assert len(hub.messages) == 2
    assert len(set(hub.messages)) == 1
