"""zigpy-znp's ControllerApplication, held to what the hub needs of it: connect, form, start; nobody speaks but the hub.

zigpy's device objects are not used at all: what comes in is the hub's, and nobody is interviewed, not even the
dongle. Switched off beside what `application.py` names: Green Power, the LED (which costs half a second on sticks that
have none), and the blind wait of zigpy-znp's permit for the whole joining window.

Names here that are not public in zigpy-znp (ADR 13): `_znp`, where its application keeps the connection, and without
which it can neither be given ours nor be asked for it; `_write_stack_settings`, which every start of its own calls.
"""

import asyncio
import contextlib
from typing import Any

import zigpy.config
import zigpy.exceptions
import zigpy_znp.commands as mt
import zigpy_znp.types as znp
from zigpy_znp.commands.af import TransmitOptions
from zigpy_znp.exceptions import CommandNotRecognized
from zigpy_znp.zigbee.application import ControllerApplication

from chf.radio import zdp
from chf.radio.application import configuration, endpoints
from chf.radio.interface import HUB_ENDPOINT
from chf.radio.link import DongleSettings
from chf.radio.znp.keys import read_link_keys
from chf.radio.znp.link import HubZnp, MtEvents

_EVERY_CLUSTER = 0xFFFF  # MT API, ZDO_MSG_CB_REGISTER
_SCAN_LIMIT_S = 15.0  # our choice
_SCAN_TRANSACTION = 1  # our choice: nothing else is asked then
_PERMIT_OPENS_COORDINATOR = 20210708  # as zigpy-znp has it: from this build a broadcast permit opens the dongle, too


def zdp_request(mode: Any, address: int, cluster: int, frame: bytes, options: Any) -> Any:
    """A ZDP frame, transaction first, by AF_DATA_REQUEST_EXT."""
    return mt.AF.DataRequestExt.Req(
        DstAddrModeAddress=znp.AddrModeAddress(mode=mode, address=address),
        DstEndpoint=zdp.ZDP_ENDPOINT,
        DstPanId=0,
        SrcEndpoint=zdp.ZDP_ENDPOINT,
        ClusterId=cluster,
        TSN=frame[0],
        Options=options,
        Radius=0,
        Data=frame,
    )


class HubApplication(ControllerApplication):  # type: ignore[misc]
    _znp: HubZnp | None

    def __init__(self, settings: DongleSettings, events: MtEvents) -> None:
        super().__init__(
            {**configuration(settings), "znp_config": {"led_mode": None, "prefer_endpoint_1": False, "tx_power": None}}
        )
        self._mt_events = events
        self._is_forming = False

    @property
    def znp(self) -> HubZnp:
        if self._znp is None:
            raise ConnectionResetError("the link was closed")
        return self._znp

    async def connect(self) -> None:
        dongle = self._znp = HubZnp(self.config, self._mt_events)
        await dongle.connect()
        self.version = await dongle.request(mt.SYS.Version.Req())

    async def disconnect(self) -> None:
        """Unlike zigpy-znp's, this leaves the dongle running: the hub may be back before its devices notice."""
        if self._znp is not None:
            await self._znp.disconnect()
            self._znp = None

    async def load_network_info(self, *, load_devices: bool = False) -> None:
        """zigpy-znp 1.1.1 takes the index of an install code for a rotation of the seed, and tells a wrong key.

        A network that is new has no devices, and zigpy would read all tables for them.
        """
        load_devices = load_devices and not self._is_forming
        await super().load_network_info(load_devices=load_devices)
        if load_devices:
            self.state.network_info.key_table = await read_link_keys(self.znp)

    async def bring_up(self, *, form: bool) -> None:
        """The stored network, or a new one. Raises zigpy's NetworkNotFormed."""
        try:
            await self.load_network_info()
        except zigpy.exceptions.NetworkNotFormed:
            if not form:
                raise
            await self._form()
        await self.start_network()

    async def _form(self) -> None:
        # GBCS: the GPF's entity identifier is the hub's EUI-64, and the network's extended PAN id is the same
        address = await self.znp.request(mt.SYS.GetExtAddr.Req())
        network = self.config[zigpy.config.CONF_NWK]
        network[zigpy.config.CONF_NWK_EXTENDED_PAN_ID] = address.ExtAddr
        self._is_forming = True
        try:
            await self.form_network()
        finally:
            self._is_forming = False
        await self.load_network_info()

    async def start_network(self, *, read_only: bool = False) -> None:
        """As zigpy-znp does it, but for the device objects, the LED, the endpoints of other profiles, and the repair of
        tables that older sticks had, which reads hundreds of entries.
        """
        del read_only
        dongle = self.znp
        await self._write_stack_settings()
        await dongle.reset()
        await dongle.start_network()
        await self._spare_key_exchange()
        for descriptor in endpoints():
            if descriptor.endpoint == HUB_ENDPOINT:
                await self.add_endpoint(descriptor)
        await dongle.request(mt.ZDO.MsgCallbackRegister.Req(ClusterId=_EVERY_CLUSTER), RspStatus=znp.Status.SUCCESS)

    async def _spare_key_exchange(self) -> None:
        """Z-Stack may remove who joins and asks for no link key within 15 s, which Smart Energy devices never do.

        TI's builds differ in it, and the chip does not keep what it is told. A build that lacks the command goes on
        as it was made.
        """
        with contextlib.suppress(CommandNotRecognized):
            await self.znp.request(
                mt.AppConfig.BDBSetTcRequireKeyExchange.Req(BdbTrustCenterRequireKeyExchange=False),
                RspStatus=znp.Status.SUCCESS,
            )

    async def energy_scan(self, channels: Any, duration_exp: int, count: int) -> dict[int, float]:
        """Asked of the dongle's own device object, which zigpy does by way of a device that we do not have."""
        request = bytes((_SCAN_TRANSACTION,)) + channels.serialize() + bytes((duration_exp, count))
        async with asyncio.timeout(_SCAN_LIMIT_S):
            answer = await self.znp.request_callback_rsp(
                request=zdp_request(znp.AddrMode.NWK, 0x0000, zdp.MGMT_NWK_UPDATE_REQ, request, TransmitOptions.NONE),
                RspStatus=znp.Status.SUCCESS,
                callback=mt.ZDO.MsgCbIncoming.Callback(
                    partial=True, Src=0x0000, ClusterId=zdp.MGMT_NWK_UPDATE_REQ | zdp.RESPONSE
                ),
            )
        return zdp.EnergyScan.from_bytes(bytes((_SCAN_TRANSACTION,)) + answer.Data).energies()

    async def leave(self) -> None:
        """Raises zigpy's NetworkNotFormed where there is nothing to leave."""
        await self.load_network_info()
        await self.reset_network_info()

    async def permit(self, time_s: int = 60, node: Any = None) -> None:
        """Open or close the network, at the dongle and at every router. Without Green Power's broadcast."""
        del node
        if (self.version.CodeRevision or 0) < _PERMIT_OPENS_COORDINATOR:
            await self._ask_permit(znp.AddrMode.NWK, 0x0000, time_s)
        await self._ask_permit(znp.AddrMode.Broadcast, 0xFFFC, time_s)

    async def _ask_permit(self, mode: Any, destination: int, time_s: int) -> None:
        await self.znp.request(
            mt.ZDO.MgmtPermitJoinReq.Req(AddrMode=mode, Dst=destination, Duration=time_s, TCSignificance=1),
            RspStatus=znp.Status.SUCCESS,
        )
