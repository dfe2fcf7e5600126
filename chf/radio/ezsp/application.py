"""bellows' ControllerApplication, held to what the hub needs of it: connect, form, start; nothing speaks but the hub.

Switched off beside what `application.py` names: bellows' thread, device interviews, Green Power, and the well-known
link key that bellows hands to any joining device. One name here is not public in bellows: `_ezsp`, where its
application keeps the connection, and without which it can neither be given ours nor be asked for it (ADR 13).
"""

from typing import Any

import bellows.types as ember
import zigpy.application
import zigpy.config
import zigpy.exceptions
import zigpy.zdo
from bellows.ash import NcpFailure
from bellows.zigbee.application import ControllerApplication
from zigpy.types import BroadcastAddress
from zigpy.zdo.types import ZDOCmd

from chf.radio.application import configuration, endpoints, eui64_of
from chf.radio.ezsp.link import HubEzsp
from chf.radio.link import DongleEvents, DongleSettings

_Decision = ember.EzspDecisionBitmask
JOINS_AND_REJOINS = _Decision.ALLOW_JOINS | _Decision.ALLOW_UNSECURED_REJOINS
"""bellows' own policy has the first alone, and a device that lost the network key would stay out for ever."""


class HubApplication(ControllerApplication):  # type: ignore[misc]
    def __init__(self, settings: DongleSettings, events: DongleEvents, *, key_table_size: int) -> None:
        policies = {ember.EzspPolicyId.TRUST_CENTER_POLICY.name: JOINS_AND_REJOINS}
        super().__init__({"use_thread": False, "ezsp_policies": policies, **configuration(settings)})
        self._events = events
        self._key_table_size = key_table_size

    @property
    def ezsp(self) -> HubEzsp:
        ezsp = self._ezsp
        if ezsp is None:
            raise ConnectionResetError("the link was closed")
        assert isinstance(ezsp, HubEzsp)
        return ezsp

    async def connect(self) -> None:
        ezsp = self._ezsp = HubEzsp(self.config[zigpy.config.CONF_DEVICE], self, self._key_table_size)
        await ezsp.connect(use_thread=False)
        await ezsp.write_config(self.config["ezsp_config"])

    async def register_endpoints(self) -> None:
        for descriptor in endpoints():
            await self.add_endpoint(descriptor)

    async def bring_up(self, *, form: bool) -> None:
        """The stored network, or a new one. Raises zigpy's NetworkNotFormed."""
        (own,) = await self.ezsp.getEui64()
        # GBCS: the GPF's entity identifier is the hub's EUI-64, and the network's extended PAN id is the same
        self.config[zigpy.config.CONF_NWK][zigpy.config.CONF_NWK_EXTENDED_PAN_ID] = own
        await self.initialize(auto_form=form)

    async def leave(self) -> None:
        """Raises zigpy's NetworkNotFormed where there is nothing to leave."""
        await self.load_network_info(load_devices=False)
        await self.reset_network_info()
        await self.ezsp.clearKeyTable()

    async def permit(self, time_s: int = 60, node: Any = None) -> None:
        """Open or close the network. Not bellows' way, which first lets devices in by the well-known link key."""
        del node
        await self.permit_ncp(time_s)
        try:
            await zigpy.zdo.broadcast(  # type: ignore[no-untyped-call]
                self,
                ZDOCmd.Mgmt_Permit_Joining_req,
                0x0000,
                0x00,
                time_s,
                0,
                broadcast_address=BroadcastAddress.ALL_ROUTERS_AND_COORDINATOR,
            )
        except zigpy.exceptions.DeliveryError:
            return  # no router heard it; devices can join at the dongle itself

    def handle_join(self, *_: Any, **__: Any) -> None:
        """No interview: the hub asks what it wants to know."""

    def connection_lost(self, exc: Exception | None) -> None:
        match exc:
            case None:
                reason = "the link was closed at the other end"
            case NcpFailure():
                reason = f"the dongle restarted or failed ({exc.code.name})"
            case _:
                reason = str(exc) or repr(exc)
        self._events.link_lost(reason)

    def ezsp_callback_handler(self, frame_name: str, args: list[Any]) -> None:
        match frame_name:
            case "incomingMessageHandler" | "messageSentHandler":
                super().ezsp_callback_handler(frame_name, args)  # the dongle's own ZDO; the rest is the hub's
            case "trustCenterJoinHandler":
                self._trust_center_join(*args)
            case "stackStatusHandler" if _is_down(args[0]):
                self._events.link_lost("the dongle's network went down")
            case _:
                return

    def _trust_center_join(self, network_address: int, eui64: Any, status: Any, decision: Any, _parent: int) -> None:
        device = eui64_of(eui64)
        update, decisions = ember.EmberDeviceUpdate, ember.EmberJoinDecision
        kept_out = {decisions.DENY_JOIN}
        if status == update.STANDARD_SECURITY_UNSECURED_REJOIN:
            kept_out.add(decisions.NO_ACTION)  # no network key was sent; who still has it needs none
        if status == update.DEVICE_LEFT:
            self._events.left(device)
        elif decision not in kept_out:
            rejoined = status != update.STANDARD_SECURITY_UNSECURED_JOIN
            self._events.joined(device, int(network_address), rejoined=rejoined)


def _is_down(status: Any) -> bool:
    return bool(ember.sl_Status.from_ember_status(status) == ember.sl_Status.NETWORK_DOWN)
