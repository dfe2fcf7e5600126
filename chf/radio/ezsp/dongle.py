"""An EZSP dongle as a `Link`: bellows' application and commands, each where the hub wants something of the dongle."""

from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from typing import Any

import bellows.types as ember
import zigpy.exceptions
from zigpy.backups import NetworkBackup
from zigpy.types import BroadcastAddress

from chf.eui64 import Eui64
from chf.radio.application import ZigpyDongle, eui64_of, zigpy_eui64
from chf.radio.ezsp import security
from chf.radio.ezsp.application import JOINS_AND_REJOINS, HubApplication
from chf.radio.ezsp.keys import establish_link_key, install_link_key, read_keys, remove_link_key
from chf.radio.ezsp.link import is_ok
from chf.radio.ezsp.traffic import EzspTraffic
from chf.radio.interface import RadioInfo, RadioLimits, SecurityReport
from chf.radio.link import DongleEvents, DongleSettings
from chf.radio.outbox import Places
from chf.radio.traffic import Surroundings

_DEFAULT_PAYLOAD_BYTES = 82  # IEEE 802.15.4: 127, less MAC, NWK with security, and APS headers
DEFAULT_UNICASTS = 8  # as bellows has it for a stick that does not say
_UNKNOWN = "unknown"
_NO_NODE = 0xFFFF  # UG100, lookupNodeIdByEui64


@dataclass(frozen=True, slots=True)
class EzspSettings(DongleSettings):
    key_table_size: int = 64  # an entry per device; a dongle with a larger table keeps it


class EzspDongle(ZigpyDongle[HubApplication]):
    def __init__(self, settings: EzspSettings, events: DongleEvents) -> None:
        super().__init__(HubApplication(settings, events, key_table_size=settings.key_table_size))
        self._traffic: EzspTraffic | None = None

    async def describe(self) -> RadioInfo:
        """A network that is there is brought up, as the dongle would itself, and left as it is."""
        application = self._application
        try:
            await application.load_network_info(load_devices=False)
        except zigpy.exceptions.NetworkNotFormed:
            _, _, firmware = await application.ezsp.get_board_info()
            version, limits = application.ezsp.ezsp_version, await self._limits()
            return RadioInfo("ezsp", firmware or _UNKNOWN, version, network=None, limits=limits)
        return await self._info()

    async def _limits(self) -> RadioLimits:
        """EmberZNet has one table for the keys of install codes and for those that were established."""
        ezsp, size = self._application.ezsp, ember.EzspConfigId
        keys = await ezsp.size_of(size.CONFIG_KEY_TABLE_SIZE) or None
        return RadioLimits(keys, keys, await ezsp.size_of(size.CONFIG_MAX_END_DEVICE_CHILDREN) or None)

    async def _info(self) -> RadioInfo:
        return RadioInfo(
            kind="ezsp",
            firmware=self._application.state.node_info.version or _UNKNOWN,
            protocol_version=self._application.ezsp.ezsp_version,
            network=self._network(),
            limits=await self._limits(),
        )

    async def describe_security(self) -> SecurityReport:
        info = await self.describe()
        return SecurityReport(info, *await security.ask(self._application.ezsp, on_network=info.network is not None))

    def traffic(self, around: Surroundings) -> EzspTraffic:
        self._traffic = EzspTraffic(around)
        return self._traffic

    async def bring_up(self, *, form: bool) -> RadioInfo:
        assert self._traffic is not None
        ezsp = self._application.ezsp
        ezsp.attach(self._traffic)
        await self._application.bring_up(form=form)
        unicasts = await self._configured(ember.EzspConfigId.CONFIG_APS_UNICAST_MESSAGE_COUNT, DEFAULT_UNICASTS)
        (payload_bytes,) = await ezsp.maximumPayloadLength()
        self._traffic.opened(Places(together=unicasts), payload_bytes or _DEFAULT_PAYLOAD_BYTES)
        return await self._info()

    async def _configured(self, config_id: Any, otherwise: int) -> int:
        status, value = await self._application.ezsp.getConfigurationValue(configId=config_id)
        return int(value) if is_ok(status) and value else otherwise

    async def _room(self, backup: NetworkBackup) -> AsyncIterator[tuple[str, int, int]]:
        """Children are not counted: those that find no room come back by themselves."""
        keys = await self._application.ezsp.size_of(ember.EzspConfigId.CONFIG_KEY_TABLE_SIZE)
        yield "link keys", len(backup.network_info.key_table), keys

    async def leave(self) -> None:
        await self._application.leave()

    # While it serves

    def serve(self) -> Coroutine[Any, Any, None]:
        return self._application.ezsp.serve()

    def wake(self) -> None:
        self._application.ezsp.wake()

    @property
    def frames_received(self) -> int:
        return self._application.ezsp.frames_received

    async def address_of(self, device: Eui64) -> int | None:
        *_, found = await self._application.ezsp.lookupNodeIdByEui64(eui64=zigpy_eui64(device))
        return None if found == _NO_NODE else int(found)

    async def device_at(self, network_address: int) -> Eui64 | None:
        status, eui64 = await self._application.ezsp.lookupEui64ByNodeId(nodeId=network_address)
        return eui64_of(eui64) if is_ok(status) else None

    async def broadcast_zdp(self, cluster: int, frame: bytes) -> None:
        await self._application.broadcast_zdp(cluster, frame, BroadcastAddress.RX_ON_WHEN_IDLE)

    async def extend_timeout(self, device: Eui64, network_address: int) -> None:
        await self._application.ezsp.set_extended_timeout(
            nwk=ember.NWK(network_address), ieee=zigpy_eui64(device), extended_timeout=True
        )

    async def install_link_key(self, device: Eui64, link_key: bytes) -> None:
        await install_link_key(self._application.ezsp, device, link_key)

    async def establish_link_key(
        self, device: Eui64, link_key: bytes, network_address: int | None, *, fresh: bool
    ) -> None:
        del network_address, fresh  # it finds a device's entry by itself
        await establish_link_key(self._application.ezsp, device, link_key)

    async def remove_link_key(self, device: Eui64) -> None:
        await remove_link_key(self._application.ezsp, device)

    async def read_keys(self) -> tuple[tuple[str, str, bytes], ...]:
        return await read_keys(self._application.ezsp)

    async def invite_only(self, *, on: bool) -> None:
        """By policy, which lets devices back in that lost the network key, whoever else may join meanwhile."""
        invited = ember.EzspDecisionBitmask.JOINS_USE_INSTALL_CODE_KEY if on else 0
        wanted = JOINS_AND_REJOINS | invited
        await self._application.ezsp.setPolicy(policyId=ember.EzspPolicyId.TRUST_CENTER_POLICY, decisionId=wanted)
