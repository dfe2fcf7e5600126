"""A Z-Stack dongle as a `Link`: zigpy-znp's application and commands, each where the hub wants something of it."""

import contextlib
from collections.abc import AsyncIterator, Coroutine
from typing import Any

import zigpy.exceptions
import zigpy_znp.commands as mt
import zigpy_znp.types as znp
from zigpy.backups import NetworkBackup
from zigpy_znp.commands.af import TransmitOptions
from zigpy_znp.commands.app_config import InstallCodeFormat
from zigpy_znp.exceptions import CommandNotRecognized

from chf.errors import RadioRefusedError
from chf.eui64 import Eui64, format_eui64
from chf.radio.application import ZigpyDongle, eui64_of, zigpy_eui64
from chf.radio.interface import RadioInfo, RadioLimits, SecurityReport
from chf.radio.link import DongleEvents, DongleSettings
from chf.radio.traffic import Surroundings
from chf.radio.znp import frames, keys, security
from chf.radio.znp.application import HubApplication, zdp_request
from chf.radio.znp.traffic import ZnpTraffic

_NO_NODE = 0xFFFE  # and above: the same of a device
_NOBODY = frozenset({0, 0xFFFF_FFFF_FFFF_FFFF})  # what the address manager says of an address that it does not know
_RX_ON_WHEN_IDLE = 0xFFFD  # Zigbee R22, broadcast addresses


class ZnpDongle(ZigpyDongle[HubApplication]):
    def __init__(self, settings: DongleSettings, events: DongleEvents) -> None:
        self._events = events
        super().__init__(HubApplication(settings, self))
        self._traffic: ZnpTraffic | None = None
        self._known_limits: RadioLimits | None = None

    async def describe(self) -> RadioInfo:
        """From what is stored: whatever the dongle does, it goes on with."""
        try:
            await self._application.load_network_info(load_devices=False)
        except zigpy.exceptions.NetworkNotFormed:
            return await self._info(formed=False)
        return await self._info(formed=True)

    async def _info(self, *, formed: bool) -> RadioInfo:
        version = self._application.version
        return RadioInfo(
            kind="znp",
            firmware=f"Z-Stack {version.MajorRel}.{version.MinorRel}.{version.MaintRel} {version.CodeRevision}",
            protocol_version=int(version.TransportRev),
            network=self._network() if formed else None,
            limits=await self._limits(),
        )

    async def _limits(self) -> RadioLimits:
        """Its build's, which do not change while it is plugged in."""
        if self._known_limits is None:
            self._known_limits = await keys.read_limits(self._application.znp)
        return self._known_limits

    async def describe_security(self) -> SecurityReport:
        return SecurityReport(await self.describe(), *await security.ask(self._application.znp))

    def traffic(self, around: Surroundings) -> ZnpTraffic:
        self._traffic = ZnpTraffic(around)
        return self._traffic

    async def bring_up(self, *, form: bool) -> RadioInfo:
        assert self._traffic is not None
        await self._application.bring_up(form=form)
        info = await self._info(formed=True)
        self._traffic.opened()
        self._application.znp.attach(self._traffic)
        return info

    def _room(self, backup: NetworkBackup) -> AsyncIterator[tuple[str, int, int]]:
        return keys.room(self._application.znp, backup)

    async def leave(self) -> None:
        await self._application.leave()

    # While it serves

    def serve(self) -> Coroutine[Any, Any, None]:
        return self._application.znp.serve()

    def wake(self) -> None:
        self._application.znp.wake()

    @property
    def frames_received(self) -> int:
        return self._application.znp.frames_received

    async def address_of(self, device: Eui64) -> int | None:
        try:
            answer = await self._application.znp.request(mt.UTIL.AddrMgrExtAddrLookup.Req(IEEE=zigpy_eui64(device)))
        except CommandNotRecognized:
            return None
        return None if answer.NWK >= _NO_NODE else int(answer.NWK)

    async def device_at(self, network_address: int) -> Eui64 | None:
        try:
            answer = await self._application.znp.request(mt.UTIL.AddrMgwNwkAddrLookUp.Req(NWK=network_address))
        except CommandNotRecognized:
            return None
        device = eui64_of(answer.IEEE)
        return None if device in _NOBODY else device

    async def broadcast_zdp(self, cluster: int, frame: bytes) -> None:
        options = TransmitOptions.SUPPRESS_ROUTE_DISC_NETWORK
        request = zdp_request(znp.AddrMode.Broadcast, _RX_ON_WHEN_IDLE, cluster, frame, options)
        await self._application.znp.request(request, RspStatus=znp.Status.SUCCESS)

    async def extend_timeout(self, device: Eui64, network_address: int) -> None:
        """Z-Stack holds a message to a sleepy child for as long as its own settings say."""

    async def install_link_key(self, device: Eui64, link_key: bytes) -> None:
        """The dongle uses it for the join and, for want of another, for data from then on."""
        answer = await self._application.znp.request(
            mt.AppConfig.BDBAddInstallCode.Req(
                InstallCodeFormat=InstallCodeFormat.KeyDerivedFromInstallCode,
                IEEE=zigpy_eui64(device),
                InstallCode=znp.Bytes(link_key),
            )
        )
        if answer.Status != znp.Status.SUCCESS:
            raise _refused("key", device, answer)

    async def establish_link_key(
        self, device: Eui64, link_key: bytes, network_address: int | None, *, fresh: bool
    ) -> None:
        """By either of two commands for the same function of TI's stack, each under a build option of its own."""
        if not fresh and await keys.holds_link_key(self._application.znp, device, link_key):
            return
        if network_address is None:
            raise RadioRefusedError(f"the dongle wants an address with the key of {format_eui64(device)}")
        answer = await self._add_link_key(network_address, device, link_key)
        if answer.Status != znp.Status.SUCCESS:
            raise _refused("link key", device, answer)

    async def _add_link_key(self, network_address: int, device: Eui64, link_key: bytes) -> Any:
        for command in (mt.ZDO.SecAddLinkKey, mt.ZDO.SetLinkKey):
            with contextlib.suppress(CommandNotRecognized):
                return await self._application.znp.request(
                    command.Req(NWK=network_address, IEEE=zigpy_eui64(device), LinkKeyData=znp.KeyData(link_key))
                )
        raise RadioRefusedError(
            "the dongle's firmware takes no link key (it lacks ZDO_SEC_ADD_LINK_KEY and ZDO_SET_LINK_KEY): flash one"
            " that does"
        )

    async def remove_link_key(self, device: Eui64) -> None:
        await keys.remove_link_key(self._application.znp, device)

    async def read_keys(self) -> tuple[tuple[str, str, bytes], ...]:
        return await keys.read_keys(self._application.znp)

    async def invite_only(self, *, on: bool) -> None:
        await self._application.znp.request(
            mt.AppConfig.BDBSetJoinUsesInstallCodeKey.Req(BdbJoinUsesInstallCodeKey=on), RspStatus=znp.Status.SUCCESS
        )

    # MtEvents

    def device_joined(self, network_address: int, device: Eui64) -> None:
        self._events.joined(device, network_address, rejoined=None)

    def device_left(self, left: frames.DeviceLeft) -> None:
        if not left.rejoins:
            self._events.left(left.device)

    def line_lost(self, reason: str) -> None:
        self._events.link_lost(reason)


def _refused(what: str, device: Eui64, answer: Any) -> RadioRefusedError:
    return RadioRefusedError(
        f"the dongle refused the {what} of {format_eui64(device)} ({answer.Status.name}): where its table is full,"
        " forget a device first"
    )
