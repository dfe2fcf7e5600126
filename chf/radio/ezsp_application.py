"""bellows' ControllerApplication, held to what the hub needs of it: connect, form, start; nothing speaks but the hub.

Switched off: bellows' thread, the database, backups, topology scans, zigpy's OTA server with its providers, its device
interviews, Green Power, the watchdog (which takes minutes to call a dongle dead), and the well-known link key that
bellows hands to any joining device.
"""

import secrets
from typing import Any, Literal, Protocol

import bellows.types as ember  # type: ignore[import-untyped]
import zigpy.application
import zigpy.config
import zigpy.exceptions
import zigpy.zdo
from bellows.ash import NcpFailure  # type: ignore[import-untyped]
from bellows.zigbee.application import ControllerApplication  # type: ignore[import-untyped]
from zigpy.types import BroadcastAddress
from zigpy.zdo.types import SimpleDescriptor, ZDOCmd

from chf.eui64 import Eui64
from chf.radio.ezsp_link import HotEzsp
from chf.radio.ezsp_status import eui64_of, is_ok
from chf.radio.interface import HUB_ENDPOINT, SMART_ENERGY_PROFILE

ENERGY_SERVICE_INTERFACE = 0x0500  # SE device identifier, SE1.4 table 5-14
_ZHA_PROFILE = 0x0104
_CONFIGURATION_TOOL = 0x0005  # ZHA device identifier
_BASIC, _TIME, _OTA_UPGRADE, _TUNNELING = 0x0000, 0x000A, 0x0019, 0x0704

FlowControl = Literal["hardware", "software"]


class DongleEvents(Protocol):
    """What the dongle says by itself, but for the messages of the fast lane."""

    def joined(self, device: Eui64, network_address: int, *, rejoined: bool) -> None: ...
    def left(self, device: Eui64) -> None: ...
    def link_lost(self, reason: str) -> None: ...


def endpoints() -> tuple[SimpleDescriptor, ...]:
    """The hub's endpoint, and the endpoint 1 without which zigpy does not start: it serves nothing."""
    return (
        SimpleDescriptor(
            endpoint=1,
            profile=_ZHA_PROFILE,
            device_type=_CONFIGURATION_TOOL,
            device_version=0,
            input_clusters=[_BASIC],
            output_clusters=[],
        ),
        SimpleDescriptor(
            endpoint=HUB_ENDPOINT,
            profile=SMART_ENERGY_PROFILE,
            device_type=ENERGY_SERVICE_INTERFACE,
            device_version=0,
            input_clusters=[_BASIC, _TIME, _OTA_UPGRADE],
            output_clusters=[_TUNNELING],
        ),
    )


def configuration(
    port: str, baudrate: int, flow_control: FlowControl | None, channel: int | None, pan_id: int | None
) -> dict[str, Any]:
    """For zigpy. `pan_id` None picks one here: zigpy's own choice may be 0xFFFF, which is the broadcast PAN."""
    return {
        "use_thread": False,
        "database_path": None,
        "backup_enabled": False,
        "topology_scan_enabled": False,
        "watchdog_enabled": False,
        "source_routing": False,
        "ota": {"enabled": False, "broadcast_enabled": False, "providers": [], "disable_default_providers": []},
        "device": {"path": port, "baudrate": baudrate, "flow_control": flow_control},
        "network": {"channel": channel, "pan_id": secrets.randbelow(0xFFFE) + 1 if pan_id is None else pan_id},
    }


class HubApplication(ControllerApplication):  # type: ignore[misc]
    def __init__(self, config: dict[str, Any], events: DongleEvents, *, key_table_size: int) -> None:
        super().__init__(config)
        self._events = events
        self._key_table_size = key_table_size

    @property
    def ezsp(self) -> HotEzsp:
        ezsp = self._ezsp
        if ezsp is None:
            raise ConnectionResetError("the link was closed")
        assert isinstance(ezsp, HotEzsp)
        return ezsp

    async def connect(self) -> None:
        ezsp = self._ezsp = HotEzsp(self.config[zigpy.config.CONF_DEVICE], self)
        await ezsp.connect(use_thread=False)
        await self._grow_key_table(ezsp)
        await ezsp.write_config(self.config["ezsp_config"])
        await self.register_endpoints()

    async def _reset(self) -> None:
        """As bellows does it, and the endpoints again: a dongle forgets them at a reset (UG100 4, addEndpoint)."""
        await super()._reset()
        await self.register_endpoints()

    async def _grow_key_table(self, ezsp: HotEzsp) -> None:
        """Grow only: bellows would set the size outright, and a table smaller than the dongle's loses keys."""
        size = ember.EzspConfigId.CONFIG_KEY_TABLE_SIZE
        status, own_size = await ezsp.getConfigurationValue(configId=size)
        if is_ok(status) and own_size < self._key_table_size:
            self.config["ezsp_config"] = {**self.config["ezsp_config"], size.name: self._key_table_size}

    async def register_endpoints(self) -> None:
        self._created_device_endpoints.clear()
        for descriptor in endpoints():
            await self.add_endpoint(descriptor)

    async def bring_up(self, *, form: bool) -> None:
        """The stored network, or a new one. Raises zigpy's NetworkNotFormed."""
        (own,) = await self.ezsp.getEui64()
        # GBCS: the GPF's entity identifier is the hub's EUI-64, and the network's extended PAN id is the same
        self.config[zigpy.config.CONF_NWK][zigpy.config.CONF_NWK_EXTENDED_PAN_ID] = own
        await self.initialize(auto_form=form)

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
                super().ezsp_callback_handler(frame_name, args)  # the dongle's own ZDO; the rest took the fast lane
            case "trustCenterJoinHandler":
                self._trust_center_join(*args)
            case "stackStatusHandler" if _is_down(args[0]):
                self._events.link_lost("the dongle's network went down")
            case _:
                return

    def _trust_center_join(self, network_address: int, eui64: Any, status: Any, decision: Any, _parent: int) -> None:
        device = eui64_of(eui64)
        update, refused = ember.EmberDeviceUpdate, ember.EmberJoinDecision.DENY_JOIN
        if status == update.DEVICE_LEFT:
            self._events.left(device)
        elif decision != refused:
            rejoined = status != update.STANDARD_SECURITY_UNSECURED_JOIN
            self._events.joined(device, int(network_address), rejoined=rejoined)


def _is_down(status: Any) -> bool:
    return bool(ember.sl_Status.from_ember_status(status) == ember.sl_Status.NETWORK_DOWN)
