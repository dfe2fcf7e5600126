"""The kinds of emulated device, each as the clusters that it is made of: the place to add one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from devices.nodes.clusters import BASIC, METERING, BasicCluster, MirrorCluster, TimeCluster
from devices.nodes.device import Device, Parts
from devices.nodes.firmware import Firmware
from devices.nodes.firmware_commands import FirmwareCommands
from devices.nodes.key_establishment import KeyEstablishmentClient
from devices.nodes.messages import ActivationAlerts
from devices.nodes.ota_client import OtaClient
from devices.nodes.personalities import OUT_OF_BAND, SPEC_STRICT, Personality
from devices.nodes.settings import CommandedKind, CommandedSettings, FirmwareSettings, GbcsSettings, PpmidSettings
from devices.nodes.tunnel_client import TunnelClient
from devices.nodes.tunnel_cluster import TunnelCluster
from devices.nodes.tunnel_server import TunnelServer
from devices.wire import key_establishment, ota, time_cluster, tunneling

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random
    from typing import Any

    from devices.nodes.cluster import Cluster
    from devices.nodes.events import NodeListener
    from devices.nodes.flash import Flash
    from devices.nodes.messages import Messages
    from devices.nodes.settings import DeviceSettings
    from devices.stack.interface import DeviceStack
    from devices.time import Scheduler

Clusters = dict[int, "Cluster"]
"""By their id, in the order in which they are started."""


def plain_clusters(settings: DeviceSettings, parts: Parts) -> Clusters:
    """What a device has that does nothing: Basic, Time and, with credentials, key establishment."""
    version = parts.firmware.version if parts.firmware is not None else None
    asks = settings.personality.has_time if isinstance(settings, FirmwareSettings) else True
    clusters: Clusters = {
        BASIC: BasicCluster(settings, version or 0),
        time_cluster.CLUSTER: TimeCluster(parts.clock, parts.next_sequence, asks=asks),
    }
    if settings.credentials is not None:
        keys = KeyEstablishmentClient(settings.credentials, parts.random, parts.next_sequence)
        clusters[key_establishment.CLUSTER] = keys
    return clusters


def _updatable(settings: GbcsSettings, parts: Parts, messages: Messages, end: TunnelServer | TunnelClient) -> Clusters:
    """A device that takes firmware and says in GBCS messages how that went."""
    assert parts.firmware is not None
    return {
        **plain_clusters(settings, parts),
        ota.CLUSTER: OtaClient(
            settings, parts.firmware.banks, parts.random, clock=parts.clock, next_sequence=parts.next_sequence
        ),
        tunneling.CLUSTER: TunnelCluster(end, messages, parts.clock),
    }


def _tunnel_server(settings: GbcsSettings, parts: Parts) -> TunnelServer:
    return TunnelServer(
        parts.random.randrange(0xFFFF),
        parts.next_sequence,
        retry_s=settings.alert_retry_s,
        retry_max_s=settings.alert_retry_max_s,
    )


def _firmware_commands(settings: CommandedSettings, parts: Parts) -> FirmwareCommands:
    assert parts.firmware is not None
    return FirmwareCommands(parts.firmware.journal, settings, parts.firmware.banks)


def ppmid(settings: PpmidSettings, parts: Parts) -> Clusters:
    """The hub decides when it activates; it tells the ACB how that went."""
    assert parts.firmware is not None
    alerts = ActivationAlerts(parts.firmware.journal, settings, parts.firmware.banks)
    return _updatable(settings, parts, alerts, _tunnel_server(settings, parts))


def commanded(settings: CommandedSettings, parts: Parts) -> Clusters:
    """An HCALCS or an ESME: images come from the hub, the word to activate from the supplier (CS06)."""
    return _updatable(settings, parts, _firmware_commands(settings, parts), _tunnel_server(settings, parts))


def gsme(settings: CommandedSettings, parts: Parts) -> Clusters:
    """Commanded by its supplier, and asleep. It opens the tunnel itself, and looks at its mirror."""
    end = TunnelClient(parts.next_sequence, retry_s=settings.alert_retry_s, retry_max_s=settings.alert_retry_max_s)
    mirror = MirrorCluster(settings.mirror_interval_s, parts.next_sequence)
    return {**_updatable(settings, parts, _firmware_commands(settings, parts), end), METERING: mirror}


@dataclass(frozen=True, slots=True)
class Kind:
    """How devices of one kind are made: `clusters` is called at each boot, with `settings` of that class.

    `personality` and `sleepy` are what a scenario need not say.
    """

    settings: type[DeviceSettings]
    clusters: Callable[[Any, Parts], Clusters]
    personality: Personality = SPEC_STRICT
    sleepy: bool = False


KINDS: dict[str, Kind] = {
    "ppmid": Kind(PpmidSettings, ppmid),
    CommandedKind.HCALCS: Kind(CommandedSettings, commanded, OUT_OF_BAND),
    CommandedKind.ESME: Kind(CommandedSettings, commanded, OUT_OF_BAND),
    CommandedKind.GSME: Kind(CommandedSettings, gsme, OUT_OF_BAND, sleepy=True),
}
"""By the name that scenario files and `DeviceSettings.kind` use."""


def make_device(
    stack: DeviceStack,
    scheduler: Scheduler,
    random: Random,
    settings: DeviceSettings,
    *,
    flash: Flash,
    listener: NodeListener,
) -> Device:
    """A device of `settings.kind`, off. A kind without firmware leaves `flash` alone."""
    firmware = Firmware(flash, settings) if isinstance(settings, FirmwareSettings) else None
    clusters = KINDS[settings.kind].clusters
    return Device(
        stack,
        scheduler,
        random,
        settings,
        lambda parts: clusters(settings, parts),
        listener=listener,
        firmware=firmware,
    )
