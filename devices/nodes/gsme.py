"""The emulated GSME: commanded by its supplier, and asleep. It opens the tunnel itself, and looks at its mirror."""

from __future__ import annotations

from typing import TYPE_CHECKING

from devices.nodes.commanded import CommandedDevice
from devices.nodes.mirror import MirrorCluster
from devices.nodes.node import BASIC, METERING
from devices.nodes.settings import CommandedSettings
from devices.nodes.tunnel_client import TunnelClient
from devices.wire import ota, time_cluster, tunneling

if TYPE_CHECKING:
    from devices.nodes.node import Cluster


class Gsme(CommandedDevice):
    server_clusters = (BASIC, METERING)
    client_clusters = (ota.CLUSTER, time_cluster.CLUSTER, tunneling.CLUSTER)
    mirror: MirrorCluster | None = None

    def make_tunnel(self) -> TunnelClient:
        settings = self.gbcs_settings
        return TunnelClient(self.next_sequence, retry_s=settings.alert_retry_s, retry_max_s=settings.alert_retry_max_s)

    def more_clusters(self) -> dict[int, Cluster]:
        assert isinstance(self.gbcs_settings, CommandedSettings)
        self.mirror = MirrorCluster(self, self.gbcs_settings.mirror_interval_s)
        return {METERING: self.mirror}

    def operate(self) -> None:
        super().operate()
        if self.mirror is not None:
            self.mirror.wake()

    def expects_more(self) -> bool:
        return self.mirror is not None and self.mirror.expecting
