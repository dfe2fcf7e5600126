"""The PPMID on the real device stack, through real frames and keys, against the model hub on the coordinator's stack."""

from __future__ import annotations

from random import Random

import pytest

from devices.medium.medium import MediumSettings
from devices.nodes import events
from devices.nodes.flash import Flash
from devices.nodes.kinds import make_device
from devices.stack.end_device import EndDevice
from devices.stack.interface import ApsRequest, Endpoint, LinkKey
from devices.wire import ota, time_cluster
from tests.support.air import LINK_KEY, Air
from tests.support.model_hub import DEVICE, HUB_ENDPOINT, NEW, ModelHub, Recorder, image, settings


class OverTheAir:
    """What `ModelHub` needs of a stack, on a coordinator."""

    def __init__(self, air: Air, endpoint: int) -> None:
        self._air = air
        self._endpoint = endpoint
        self.secured = True

    def deliver(self, cluster, frame, *, secured=None, destination=None) -> None:
        address = self._air.coordinator.address_of(DEVICE) if destination is None else destination
        if address is None:
            return
        how = {"acknowledged": destination is None, "secured": self.secured if secured is None else secured}
        request = ApsRequest(address, 0x0109, cluster, HUB_ENDPOINT, self._endpoint, frame.to_bytes(), **how)
        self._air.coordinator.send(request)


class Home:
    """One network with one PPMID."""

    def __init__(self, medium: MediumSettings | None = None, **changes) -> None:
        self.air = Air(medium)
        self.air.keys.keys[DEVICE] = LinkKey(LINK_KEY)
        self.settings = settings(link_key=LINK_KEY, **changes)
        coordinator = self.air.coordinator
        coordinator.endpoints = {
            HUB_ENDPOINT: Endpoint(HUB_ENDPOINT, 0x0109, 0x0500, server_clusters=(ota.CLUSTER, time_cluster.CLUSTER))
        }
        surroundings = (self.air.medium, self.air.queue, self.air.random)
        interval_s = self.settings.poll_interval_s
        self.stack = EndDevice(DEVICE, LINK_KEY, *surroundings, channels=(15,), poll_interval_s=interval_s)
        self.recorder = Recorder()
        self.device = make_device(
            self.stack, self.air.queue, Random(3), self.settings, flash=Flash(sectors=42), listener=self.recorder
        )
        self.stack.listener = self.device
        self.hub = ModelHub(OverTheAir(self.air, self.settings.endpoint), self.air.queue, image=image(body_bytes=4000))
        self.air.log.on_message = lambda indication: self.hub.received(indication) if indication.profile else None
        coordinator.permit(120)

    def update(self) -> None:
        self.device.power_on()
        self.air.run_until(lambda: self.device.file_version() == NEW, 900)
        self.air.run_until(lambda: any(isinstance(event, events.AlertMade) for event in self.recorder.events), 900)
        self.air.run(3)
        self.hub.open_tunnel()
        self.air.run_until(lambda: self.recorder.all(events.AlertTaken), 900)


@pytest.mark.parametrize(
    "changes",
    [{}, {"page_bytes": 800}, {"poll_interval_s": 3.0}, {"block_size": 56}, {"think_time_s": 0.01}],
    ids=["blocks", "pages", "sleepy", "full-frames", "thinking"],
)
def test_an_update_over_the_air(changes) -> None:
    home = Home(**changes)
    home.update()
    assert [end.status for end in home.hub.ends] == [0]
    assert len(home.hub.alerts) == 1
    assert home.hub.alerts[0] == home.recorder.all(events.AlertMade)[0].message
    ota_frames = [message for message in home.air.log.data() if message.cluster == ota.CLUSTER]
    assert {(message.secured, message.source_endpoint) for message in ota_frames} == {(True, 0x03)}


def test_an_update_over_bad_air() -> None:
    home = Home(MediumSettings(loss=0.15, duplication=0.05, reordering=0.02))
    home.update()
    complete = home.recorder.all(events.DownloadComplete)
    assert [event.size_bytes for event in complete] == [4060]
