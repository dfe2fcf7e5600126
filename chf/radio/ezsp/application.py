"""bellows' ControllerApplication, held to what the hub needs of it: connect, form, start; nothing speaks but the hub.

Switched off beside what `application.py` names: bellows' thread, its device objects, Green Power, and the well-known
link key that bellows hands to any joining device. A real stick takes 12 ms or more for a command, so nothing is read
twice, and nothing that the hub does not need: no tables of devices of a network that has none, no groups. One name
here is not public in bellows: `_ezsp`, where its application keeps the connection, and without which it can neither be
given ours nor be asked for it (ADR 13).
"""

from typing import Any

import bellows.types as ember
import zigpy.application
import zigpy.config
import zigpy.exceptions
from bellows.ash import NcpFailure
from bellows.zigbee import repairs
from bellows.zigbee.application import ControllerApplication
from zigpy.types import BroadcastAddress

from chf.errors import RadioRefusedError
from chf.radio import zdp
from chf.radio.application import configuration, endpoints, eui64_of
from chf.radio.ezsp.frames import ApsFrame
from chf.radio.ezsp.link import HubEzsp, aps_frame, is_ok, status_name
from chf.radio.link import DongleEvents, DongleSettings

_Decision = ember.EzspDecisionBitmask
JOINS_AND_REJOINS = _Decision.ALLOW_JOINS | _Decision.ALLOW_UNSECURED_REJOINS
"""bellows' own policy has the first alone, and a device that lost the network key would stay out for ever."""
_POLICIES = (
    (ember.EzspPolicyId.TC_KEY_REQUEST_POLICY, ember.EzspDecisionId.ALLOW_TC_KEY_REQUESTS_AND_SEND_CURRENT_KEY),
    (ember.EzspPolicyId.APP_KEY_REQUEST_POLICY, ember.EzspDecisionId.DENY_APP_KEY_REQUESTS),
    (ember.EzspPolicyId.TRUST_CENTER_POLICY, JOINS_AND_REJOINS),
)
_PERMIT_TRANSACTION = 0  # our choice: nobody answers a broadcast


class HubApplication(ControllerApplication):  # type: ignore[misc]
    def __init__(self, settings: DongleSettings, events: DongleEvents, *, key_table_size: int) -> None:
        super().__init__({"use_thread": False, **configuration(settings)})
        self._events = events
        self._is_loaded = False  # what the dongle says of its network, since its last reset
        self._is_forming = False
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
        """The last that is done after every reset."""
        self._is_loaded = False
        for descriptor in endpoints():
            await self.add_endpoint(descriptor)

    async def bring_up(self, *, form: bool) -> None:
        """The stored network, or a new one. Raises zigpy's NetworkNotFormed."""
        (own,) = await self.ezsp.getEui64()
        # GBCS: the GPF's entity identifier is the hub's EUI-64, and the network's extended PAN id is the same
        self.config[zigpy.config.CONF_NWK][zigpy.config.CONF_NWK_EXTENDED_PAN_ID] = own
        try:
            await self.load_network_info()
        except zigpy.exceptions.NetworkNotFormed:
            if not form:
                raise
            await self._form()
        await self.start_network()
        await self.permit(0)  # some firmware permits joins when it starts (zigpy, initialize)

    async def _form(self) -> None:
        self._is_forming = True
        try:
            await self.form_network()
        finally:
            self._is_forming = False

    async def load_network_info(self, *, load_devices: bool = False) -> None:
        """Tables of devices only where there can be some: zigpy asks for them after it formed a network."""
        await super().load_network_info(load_devices=load_devices and not self._is_forming)
        self._is_loaded = True

    async def start_network(self) -> None:
        """As bellows does it, but for the device objects and the groups."""
        ezsp = self.ezsp
        if not self._is_loaded:
            await self.load_network_info()
        if await repairs.fix_invalid_tclk_partner_ieee(ezsp):
            raise ConnectionResetError("the dongle's trust centre had another EUI-64, which it has after a restart")
        await ezsp.set_source_routing(enabled=False)
        for policy, decision in _POLICIES:
            (status,) = await ezsp.setPolicy(policyId=policy, decisionId=decision)
            if not is_ok(status):
                raise RadioRefusedError(f"the dongle refused the policy {policy.name}: {status_name(status)}")
        ezsp.add_callback(self.ezsp_callback_handler)
        self.controller_event.set()

    async def leave(self) -> None:
        """Raises zigpy's NetworkNotFormed where there is nothing to leave."""
        await self.load_network_info(load_devices=False)
        await self.reset_network_info()
        await self.ezsp.clearKeyTable()

    async def permit(self, time_s: int = 60, node: Any = None) -> None:
        """Open or close the network. Not bellows' way, which first lets devices in by the well-known link key."""
        del node
        await self.permit_ncp(time_s)
        await self.broadcast_zdp(
            zdp.MGMT_PERMIT_JOINING_REQ,
            bytes((_PERMIT_TRANSACTION, time_s, 0)),
            BroadcastAddress.ALL_ROUTERS_AND_COORDINATOR,
        )  # where no router hears it, devices can join at the dongle itself

    async def broadcast_zdp(self, cluster: int, frame: bytes, to: BroadcastAddress) -> None:
        aps = aps_frame(ApsFrame(zdp.ZDP_PROFILE, cluster, zdp.ZDP_ENDPOINT, zdp.ZDP_ENDPOINT, options=0))
        await self.ezsp.send_broadcast(address=to, aps_frame=aps, radius=0, message_tag=0, aps_sequence=0, data=frame)

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
