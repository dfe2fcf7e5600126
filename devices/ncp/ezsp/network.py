"""Forming, restoring and leaving a network, letting devices in, and looking around (UG100 6 and 10)."""

import struct
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from devices.ncp.coprocessor import Coprocessor
from devices.ncp.ezsp.status import EmberStatus
from devices.ncp.layout import Handler
from devices.stack.interface import Eui64, JoinKind, Neighbour, NetworkState, NwkAddress

if TYPE_CHECKING:
    from devices.ncp.ezsp.security import Security

NO_NODE = 0xFFFF  # UG100 3.2, EMBER_NULL_NODE_ID
_NOT_JOINED_STATE = 0  # EmberNetworkStatus
_JOINED_STATE = 2  # EmberNetworkStatus
_PARAMETERS = struct.Struct("<QHbBBHBI")  # EmberNetworkParameters
assert _PARAMETERS.size == 20
_CHILD = struct.Struct("<QBHBBBI")  # EmberChildData since v10; before, without the last four octets
assert _CHILD.size == 18
_BEACON_BYTES = 22  # EmberBeaconData; an iterator has its index behind it
_NEIGHBOR = struct.Struct("<HBBBBQ")  # EmberNeighborTableEntry
assert _NEIGHBOR.size == 14

_COORDINATOR_TYPE = 1  # EmberNodeType
_END_DEVICE_TYPE = 3  # EmberNodeType
_SLEEPY_END_DEVICE_TYPE = 4  # EmberNodeType
_CHANNELS_MASK = 0x07FF_F800  # 11 to 26
_ENERGY_SCAN = 0  # EzspNetworkScanType
_ACTIVE_SCAN = 1  # EzspNetworkScanType
_SCAN_PERIOD_S = 0.01536  # aBaseSuperframeDuration, IEEE 802.15.4 table 8-80
_MAX_SCAN_DURATION = 14  # IEEE 802.15.4, ScanDuration

_DEVICE_LEFT = 2  # EmberDeviceUpdate
_JOIN_STATUS = {JoinKind.REJOINED_SECURED: 0, JoinKind.ASSOCIATED: 1, JoinKind.REJOINED_UNSECURED: 3}
_USE_PRECONFIGURED_KEY, _DENY_JOIN, _NO_ACTION = 0, 2, 3  # EmberJoinDecision
_COORDINATOR_NODE = 0x0000  # Zigbee PRO: the address of the coordinator


@dataclass(slots=True)
class RadioTokens:
    """What flash keeps about the radio beside the network itself."""

    tx_power_dbm: int = 8
    channels: int = _CHANNELS_MASK


class Network:
    """Handlers of UG100 6, and the callbacks about the network and who joins it."""

    def __init__(self, chip: Coprocessor, security: "Security", radio: RadioTokens, *, scan_takes_time: bool) -> None:
        self._chip = chip
        self._stack, self._scheduler, self._callback = chip.stack, chip.scheduler, chip.callback()
        self._security = security
        self._radio = radio
        self._scan_takes_time = scan_takes_time
        self._scan = 0
        self._permits = 0
        self._open = False

    def handlers(self) -> dict[str, Handler]:
        return {
            "getEui64": self.get_eui64,
            "getNodeId": self.get_node_id,
            "networkInit": self.network_init,
            "networkState": self.network_state,
            "startScan": self.start_scan,
            "stopScan": self.stop_scan,
            "formNetwork": self.form_network,
            "leaveNetwork": self.leave_network,
            "permitJoining": self.permit_joining,
            "getNetworkParameters": self.get_network_parameters,
            "getParentChildParameters": self.get_parent_child_parameters,
            "getChildData": self.get_child_data,
            "setChildData": self.set_child_data,
            "childId": self.child_id,
            "getNeighbor": self.get_neighbor,
            "neighborCount": self.neighbor_count,
            "getRouteTableEntry": self.get_route_table_entry,
            "setRadioPower": self.set_radio_power,
            "getLogicalChannel": self.get_logical_channel,
            "setLogicalAndRadioChannel": self.set_channel,
            "getRadioParameters": self.get_radio_parameters,
            "clearStoredBeacons": lambda: (EmberStatus.SUCCESS,),
            "getNumStoredBeacons": lambda: (0,),  # an active scan finds nobody: there is one network
            "getFirstBeacon": lambda: (EmberStatus.NOT_FOUND, bytes(_BEACON_BYTES + 1)),
            "getNextBeacon": lambda: (EmberStatus.NOT_FOUND, bytes(_BEACON_BYTES)),
            "removeDevice": self.remove_device,
        }

    # what the stack tells

    def went_up(self) -> None:
        self._chip.is_up = True
        self._callback("stackStatusHandler", EmberStatus.NETWORK_UP)

    def went_down(self) -> None:
        if self._chip.is_up:
            self._chip.is_up = False
            self._open = False
            self._callback("stackStatusHandler", EmberStatus.NETWORK_DOWN)

    def device_joined(self, ieee: Eui64, address: NwkAddress, kind: JoinKind) -> None:
        self._tell_child(ieee, address, joining=True)
        self._callback(
            "trustCenterJoinHandler",
            address,
            ieee,
            _JOIN_STATUS[kind],
            _USE_PRECONFIGURED_KEY,
            self._stack.parent_of(ieee),
        )

    def join_refused(self, ieee: Eui64, kind: JoinKind, *, ignored: bool) -> None:
        address = self._stack.address_of(ieee)
        decision = _NO_ACTION if ignored else _DENY_JOIN
        told = NO_NODE if address is None else address, ieee, _JOIN_STATUS[kind], decision
        self._callback("trustCenterJoinHandler", *told, _COORDINATOR_NODE)

    def device_left(self, ieee: Eui64, address: NwkAddress) -> None:
        self._callback("trustCenterJoinHandler", address, ieee, _DEVICE_LEFT, _NO_ACTION, _COORDINATOR_NODE)

    def child_gone(self, ieee: Eui64, address: NwkAddress) -> None:
        self._tell_child(ieee, address, joining=False)

    def _tell_child(self, ieee: Eui64, address: NwkAddress, *, joining: bool) -> None:
        for index, child in enumerate(self._children()):
            if child.ieee == ieee:
                self._callback("childJoinHandler", index, joining, address, ieee, _child_type(child))

    # commands

    def network_state(self) -> tuple[int]:
        return (_JOINED_STATE if self._chip.is_up else _NOT_JOINED_STATE,)

    def network_init(self, _options: int) -> tuple[int]:
        if self._chip.is_up:
            return (EmberStatus.INVALID_CALL,)
        if not self._stack.resume():
            return (EmberStatus.NOT_JOINED,)
        self._chip.callback_due = True  # NETWORK_UP; bellows issue 266 has the bit
        return (EmberStatus.SUCCESS,)

    def form_network(self, parameters: bytes) -> tuple[int]:
        if self._chip.is_up:
            return (EmberStatus.INVALID_CALL,)
        key = self._security.network_key_to_form_with()
        if key is None:
            return (EmberStatus.SECURITY_STATE_NOT_SET,)
        extended_pan, pan, power, channel, _method, manager, update, channels = _PARAMETERS.unpack(parameters)
        if not _CHANNELS_MASK >> channel & 1:
            return (EmberStatus.PHY_INVALID_CHANNEL,)
        self._radio.tx_power_dbm = power
        self._radio.channels = channels
        self._stack.form(
            NetworkState(
                channel=channel,
                pan_id=self._chip.random.randrange(1, 0xFFF0) if pan == NO_NODE else pan,
                extended_pan_id=extended_pan or self._chip.random.getrandbits(64),  # UG100: zero lets the stack choose
                network_key=key.key,
                network_key_sequence=key.sequence,
                network_frame_counter=key.frame_counter,
                manager=NwkAddress(manager),
                update_id=update,
            )
        )
        return (EmberStatus.SUCCESS,)

    def leave_network(self) -> tuple[int]:
        if not self._chip.is_up:
            return (EmberStatus.NOT_JOINED,)
        self._stack.leave()
        return (EmberStatus.SUCCESS,)

    def permit_joining(self, seconds: int) -> tuple[int]:
        """0 closes, 255 leaves open; a change is also told by stackStatusHandler."""
        if not self._chip.is_up:
            return (EmberStatus.INVALID_CALL,)
        self._permits += 1
        self._stack.permit(inf if seconds == 0xFF else seconds)
        self._tell_opened(is_open=seconds > 0)
        if 0 < seconds < 0xFF:
            permit = self._permits
            self._scheduler.call_later(seconds, lambda: self._close(permit))
        return (EmberStatus.SUCCESS,)

    def _close(self, permit: int) -> None:
        if permit == self._permits and self._chip.is_up:
            self._tell_opened(is_open=False)

    def _tell_opened(self, *, is_open: bool) -> None:
        if is_open != self._open:
            self._open = is_open
            self._callback("stackStatusHandler", EmberStatus.NETWORK_OPENED if is_open else EmberStatus.NETWORK_CLOSED)

    def get_network_parameters(self) -> tuple[int, int, bytes]:
        network = self._stack.network
        if network is None or not self._chip.is_up:
            return EmberStatus.NOT_JOINED, 0, bytes(_PARAMETERS.size)
        radio = self._radio.tx_power_dbm, network.channel
        by_association = 0  # as far as a coordinator joins
        manager = network.manager, network.update_id, self._radio.channels
        octets = _PARAMETERS.pack(network.extended_pan_id, network.pan_id, *radio, by_association, *manager)
        return EmberStatus.SUCCESS, _COORDINATOR_TYPE, octets

    def get_node_id(self) -> tuple[int]:
        return (self._stack.address if self._chip.is_up else 0xFFFE,)  # IEEE 802.15.4: no short address

    def get_eui64(self) -> tuple[int]:
        return (self._stack.ieee,)

    def _children(self) -> list[Neighbour]:
        network = self._stack.network
        return (
            []
            if network is None
            else [child for child in network.children.values() if not child.is_router and child.via is None]
        )

    def get_parent_child_parameters(self) -> tuple[int, int, int]:
        return len(self._children()), 0, NO_NODE

    def get_child_data(self, index: int) -> tuple[int, bytes]:
        children = self._children()
        if index >= len(children):
            return EmberStatus.NOT_JOINED, bytes(_CHILD.size)
        child = children[index]
        return EmberStatus.SUCCESS, _CHILD.pack(child.ieee, _child_type(child), child.address, 0, 0, 0, 0)

    def set_child_data(self, _index: int, octets: bytes) -> tuple[int]:
        """Restoring a backup; the table keeps its own order."""
        network = self._stack.network
        if network is None:
            return (EmberStatus.INVALID_CALL,)
        ieee, kind, address, *_ = _CHILD.unpack(octets.ljust(_CHILD.size, b"\x00"))
        network.children[ieee] = Neighbour(ieee, address, receiver_on_when_idle=kind == _END_DEVICE_TYPE)
        return (EmberStatus.SUCCESS,)

    def child_id(self, index: int) -> tuple[int]:
        children = self._children()
        return (children[index].address if index < len(children) else NO_NODE,)

    def neighbor_count(self) -> tuple[int]:
        return (0,)  # routers only, and there are none

    def get_neighbor(self, _index: int) -> tuple[int, bytes]:
        return EmberStatus.ERR_FATAL, bytes(_NEIGHBOR.size)

    def get_route_table_entry(self, _index: int) -> tuple[int, bytes]:
        return EmberStatus.ERR_FATAL, bytes(8)

    def set_radio_power(self, power_dbm: int) -> tuple[int]:
        self._radio.tx_power_dbm = power_dbm
        return (EmberStatus.SUCCESS,)

    def get_logical_channel(self) -> tuple[int]:
        network = self._stack.network
        return (0xFF if network is None else network.channel,)

    def set_channel(self, channel: int) -> tuple[int]:
        """Where the radio listens and sends from now on, until the next start of the network."""
        if not _CHANNELS_MASK >> channel & 1:
            return (EmberStatus.PHY_INVALID_CHANNEL,)
        if not self._chip.is_up:
            return (EmberStatus.NETWORK_DOWN,)
        self._stack.tune(channel)
        return (EmberStatus.SUCCESS,)

    def get_radio_parameters(self, phy: int) -> tuple[int, int, int, int]:
        network = self._stack.network
        if phy or network is None:
            return EmberStatus.NOT_JOINED, 0, 0, 0
        return EmberStatus.SUCCESS, self._radio.tx_power_dbm, 0, network.channel

    def remove_device(self, _node: int, _ieee: int, target: int) -> tuple[int]:
        if self._stack.address_of(Eui64(target)) is None:
            return (EmberStatus.NOT_FOUND,)
        self._stack.remove(Eui64(target))
        return (EmberStatus.SUCCESS,)

    # scans

    def start_scan(self, kind: int, channels: int, duration: int) -> tuple[int]:
        if kind not in {_ENERGY_SCAN, _ACTIVE_SCAN}:
            return (EmberStatus.MAC_INCORRECT_SCAN_TYPE,)
        if duration > _MAX_SCAN_DURATION:
            return (EmberStatus.MAC_BAD_SCAN_DURATION,)
        wanted = [channel for channel in range(11, 27) if channels >> channel & 1]
        if not wanted:
            return (EmberStatus.MAC_INVALID_CHANNEL_MASK,)
        self._scan += 1
        step_s = _SCAN_PERIOD_S * (2**duration + 1) if self._scan_takes_time else 0.0
        self._scan_on(self._scan, kind, wanted, step_s)
        return (EmberStatus.SUCCESS,)

    def _scan_on(self, scan: int, kind: int, channels: list[int], step_s: float) -> None:
        def measured() -> None:
            if scan != self._scan:
                return
            channel, *others = channels
            if kind == _ENERGY_SCAN:
                self._callback("energyScanResultHandler", channel, self._stack.energy(channel))
            if others:
                self._scan_on(scan, kind, others, step_s)
            else:
                self._callback("scanCompleteHandler", channel, EmberStatus.SUCCESS)

        self._scheduler.call_later(step_s, measured)

    def stop_scan(self) -> tuple[int]:
        self._scan += 1
        return (EmberStatus.SUCCESS,)


def _child_type(child: Neighbour) -> int:
    return _END_DEVICE_TYPE if child.receiver_on_when_idle else _SLEEPY_END_DEVICE_TYPE
