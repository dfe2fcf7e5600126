"""What every emulated device does that takes firmware and has GBCS messages: boot, OTA client, tunnel, clock.

This is wiring: cores decide (`ota_client`, `tunnel_server`, `image_bank`, and the `Messages` of the device's kind),
`clusters` and `tunnel_cluster` hand them frames and carry out what they want, and this class has the device's power,
boot and network. Joining, polling and ZDP answers are the stack's. What makes a PPMID or a meter of it is in `ppmid`
and `commanded`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from devices.nodes import events
from devices.nodes.clusters import BasicCluster, OtaCluster, TimeCluster
from devices.nodes.image_bank import ImageBanks
from devices.nodes.journal import Journal
from devices.nodes.key_cluster import KeyCluster
from devices.nodes.node import BASIC, Node
from devices.nodes.ota_states import State
from devices.nodes.tunnel_cluster import TunnelCluster
from devices.nodes.tunnel_server import TunnelServer
from devices.wire import key_establishment, ota, time_cluster, tunneling
from devices.wire.ota_file import OtaHeader

if TYPE_CHECKING:
    from random import Random

    from devices.nodes.events import NodeListener
    from devices.nodes.flash import Flash
    from devices.nodes.messages import Messages
    from devices.nodes.node import Cluster
    from devices.nodes.settings import DeviceSettings, GbcsSettings
    from devices.nodes.tunnel_client import TunnelClient
    from devices.stack.interface import ApsIndication, DeviceStack, NwkAddress
    from devices.time import Scheduler

_EXPECTING = frozenset({State.QUERYING, State.FETCHING, State.ENDING, State.FAILING})
_LAST_ANSWERS_S = 0.1
_FACTORY_BODY = b"factory image\0\0\0"


def factory_image(settings: DeviceSettings) -> bytes:
    """The firmware that the device leaves production with: a GBCS image whose only content is its version."""
    header = OtaHeader(
        settings.manufacturer_code,
        settings.image_type,
        settings.file_version,
        total_bytes=60 + len(_FACTORY_BODY),
        text=b"factory",
        hardware_versions=(0x0000, 0xFFFF),
    )
    return header.to_bytes() + _FACTORY_BODY


class UpdatableNode(Node, ABC):
    """A device on its stack. It is a `DeviceListener`: give it to the stack, then `power_on`.

    What must survive a reboot is in `flash`; everything else is made anew by `power_on`.
    """

    server_clusters: tuple[int, ...] = (BASIC, tunneling.CLUSTER)
    client_clusters: tuple[int, ...] = (ota.CLUSTER, time_cluster.CLUSTER)

    def __init__(
        self,
        stack: DeviceStack,
        scheduler: Scheduler,
        random: Random,
        settings: GbcsSettings,
        *,
        flash: Flash,
        listener: NodeListener,
    ) -> None:
        super().__init__(stack, scheduler, settings, listener)
        self.gbcs_settings = settings
        self.random = random
        self.flash = flash
        keyed = () if settings.credentials is None else (key_establishment.CLUSTER,)
        self.declare_endpoint(self.server_clusters, (*self.client_clusters, *keyed))
        self.keys: KeyCluster | None = None
        self.ota: OtaCluster | None = None
        self.tunnel: TunnelCluster | None = None
        self.time = TimeCluster(self)
        self._poll_interval_s: float | None = None  # as the stack has it; a stack starts with its receiver on

    def power_on(self) -> None:
        """Boot from flash, and look for the network."""
        if self.powered:
            return
        self.forget_timers()
        self.flash.restore_power()
        self.powered = True
        self.powered_run(self._boot)

    def restart(self) -> None:
        """Reboot by itself; what is under way still leaves before."""
        self.at("restart", self.now() + _LAST_ANSWERS_S, self.reboot)

    def reboot(self) -> None:
        """Off at once, on again after `reboot_s` unless somebody switches it on, or off, before."""
        self.power_off()
        self.at_power_off("power", self.now() + self.settings.reboot_s, self.power_on)

    @abstractmethod
    def make_messages(self, journal: Journal, banks: ImageBanks) -> Messages:
        """Called at each boot: what a device of this kind has to say, and what it obeys."""

    def make_tunnel(self) -> TunnelServer | TunnelClient:
        """Called at each boot: the device's end of the tunnel."""
        settings = self.gbcs_settings
        return TunnelServer(
            self.random.randrange(0xFFFF),
            self.next_sequence,
            retry_s=settings.alert_retry_s,
            retry_max_s=settings.alert_retry_max_s,
        )

    def more_clusters(self) -> dict[int, Cluster]:
        """Called at each boot: those that only this kind of device has."""
        return {}

    def file_version(self) -> int | None:
        """The version that runs now; None while nothing runs."""
        return None if self.ota is None else self.ota.banks.running_header().file_version

    def _boot(self) -> None:
        journal = Journal(self.flash)
        banks = ImageBanks(self.flash, journal)
        if banks.is_blank():
            banks.install_factory_image(factory_image(self.gbcs_settings))
        boot = banks.boot()
        if boot.on_trial:
            if self.settings.faults.firmware_does_not_boot:
                self.reboot()  # its watchdog does
                return
            banks.confirm()
            if self.settings.faults.reverts_after_activation and banks.fall_back():
                self.reboot()
                return
        self.time.forget()
        self.ota = OtaCluster(self, banks)
        self.tunnel = TunnelCluster(self, self.make_messages(journal, banks), self.make_tunnel())
        clusters: dict[int, Cluster] = {
            BASIC: BasicCluster(self),
            ota.CLUSTER: self.ota,
            time_cluster.CLUSTER: self.time,
            tunneling.CLUSTER: self.tunnel,
            **self.more_clusters(),
        }
        if self.settings.credentials is not None:
            self.keys = clusters[key_establishment.CLUSTER] = KeyCluster(self, self.settings.credentials)
        self.clusters = clusters
        self.note(events.Booted(banks.running_header().file_version, boot.bank.name, boot.rolled_back))
        self._poll_at(self.settings.poll_interval_s)
        self.stack.power_on()

    # What the stack tells.

    def joined(self, address: NwkAddress, *, rejoined: bool) -> None:
        self.powered_run(lambda: self._joined(address, rejoined=rejoined))

    def left(self) -> None:
        self.powered_run(self._left)

    def join_failed(self, reason: str) -> None:
        self.note(events.JoinFailed(reason))

    def _joined(self, address: NwkAddress, *, rejoined: bool) -> None:
        self.note(events.Joined(address, rejoined))
        if self.keys is not None and not self.stack.key_established:
            self.keys.start()
            self.settled()
        else:
            self.operate()

    def operate(self) -> None:
        """On the network, with the link key that it is to live with."""
        if self.settings.personality.has_time:
            self.time.ask()
        if self.ota is not None:
            self.ota.start()
        if self.tunnel is not None:
            self.tunnel.start()
        self.settled()

    def _left(self) -> None:
        self.note(events.Left())
        if self.keys is not None:
            self.keys.stop()
        if self.ota is not None:
            self.ota.client.stop()
        self.settled()

    def settled(self) -> None:
        """A sleepy device polls fast while it expects an answer."""
        if self.settings.poll_interval_s is None or self.ota is None or self.tunnel is None:
            return
        expecting = self.ota.client.state in _EXPECTING or self.tunnel.core.expects_answer or self.time.expecting
        expecting = expecting or self.expects_more() or (self.keys is not None and self.keys.busy)
        self._poll_at(self.settings.fast_poll_interval_s if expecting else self.settings.poll_interval_s)

    def expects_more(self) -> bool:
        """Whether a cluster that only this kind of device has waits for an answer."""
        return False

    def is_protected(self, indication: ApsIndication) -> bool:
        """A device with a certificate believes no link key but the one that it established."""
        return super().is_protected(indication) and (self.keys is None or self.stack.key_established)

    def _poll_at(self, interval_s: float | None) -> None:
        if interval_s != self._poll_interval_s:
            self._poll_interval_s = interval_s
            self.stack.set_poll_interval(interval_s)

    def now(self) -> float:
        return self._scheduler.now()
