"""The kinds of emulated device, each as the clusters that it is made of: the place to add one."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from devices.nodes.clusters import BASIC, METERING, BasicCluster, MirrorCluster, TimeCluster
from devices.nodes.device import Device, Parts
from devices.nodes.firmware import Firmware
from devices.nodes.firmware_commands import FirmwareCommands
from devices.nodes.key_establishment import KeyEstablishmentClient
from devices.nodes.messages import ActivationAlerts
from devices.nodes.ota_client import OtaClient
from devices.nodes.personalities import OUT_OF_BAND, SPEC_STRICT
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
    from devices.nodes.image_bank import ImageBanks
    from devices.nodes.journal import Journal
    from devices.nodes.messages import Messages
    from devices.nodes.personality import Personality
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


def ppmid(settings: PpmidSettings, parts: Parts) -> Clusters:
    """The hub decides when it activates; it tells the ACB how that went."""
    return _updatable(settings, parts, ActivationAlerts, _tunnel_server(settings, parts))


def commanded(settings: CommandedSettings, parts: Parts) -> Clusters:
    """An HCALCS or an ESME: images come from the hub, the word to activate from the supplier (CS06)."""
    return _updatable(settings, parts, FirmwareCommands, _tunnel_server(settings, parts))


def gsme(settings: CommandedSettings, parts: Parts) -> Clusters:
    """Commanded by its supplier, and asleep. It opens the tunnel itself, and looks at its mirror."""
    end = TunnelClient(parts.next_sequence, retry_s=settings.alert_retry_s, retry_max_s=settings.alert_retry_max_s)
    mirror = MirrorCluster(settings.mirror_interval_s, parts.next_sequence)
    return {**_updatable(settings, parts, FirmwareCommands, end), METERING: mirror}


def _updatable(
    settings: GbcsSettings,
    parts: Parts,
    messages: Callable[[Journal, Any, ImageBanks], Messages],
    end: TunnelServer | TunnelClient,
) -> Clusters:
    """A device that takes firmware, and says in GBCS messages how that went."""
    assert parts.firmware is not None
    journal, banks = parts.firmware.journal, parts.firmware.banks
    client = OtaClient(settings, banks, parts.random, clock=parts.clock, next_sequence=parts.next_sequence)
    return {
        **plain_clusters(settings, parts),
        ota.CLUSTER: client,
        tunneling.CLUSTER: TunnelCluster(end, messages(journal, settings, banks), parts.clock),
    }


def _tunnel_server(settings: GbcsSettings, parts: Parts) -> TunnelServer:
    first_id, retry_s = parts.random.randrange(0xFFFF), settings.alert_retry_s
    return TunnelServer(first_id, parts.next_sequence, retry_s=retry_s, retry_max_s=settings.alert_retry_max_s)


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
    compose = partial(KINDS[settings.kind].clusters, settings)
    return Device(stack, scheduler, random, settings, compose, listener=listener, firmware=firmware)
