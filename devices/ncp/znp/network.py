"""The network in flash, and how it gets on the air: forming, restoring, base device commissioning.

Z-Stack keeps its network in items that hosts read and write: what a host has put there counts from the next reset on.
A reset leaves the chip silent until the host commissions it or starts it up.

Left out: changing the channel of a running network, a second network key, commissioning of other devices than a
coordinator.
"""

from typing import TYPE_CHECKING

from devices.ncp.coprocessor import Coprocessor
from devices.ncp.znp import items
from devices.ncp.znp.items import Item, Nib, Table
from devices.ncp.znp.nvram import ZSTACK, NvKey, Nvram, legacy
from devices.ncp.znp.status import DeviceState, ZStatus
from devices.stack.interface import Eui64, NetworkState, NwkAddress

if TYPE_CHECKING:
    from random import Random

    from devices.ncp.layout import Handler, Value
    from devices.ncp.znp.device_tables import DeviceTables
    from devices.ncp.znp.personality import TableSizes

CHANNELS_MASK = 0x07FF_F800  # 11 to 26
_DEFAULT_CHANNELS = 1 << 11  # DEFAULT_CHANLIST of f8wConfig.cfg
_ANY_PAN = 0xFFFF  # ZDAPP_CONFIG_PAN_ID: any
_CLEAR_CONFIGURATION, _CLEAR_STATE = 0x01, 0x02  # STARTUP_OPTION
_NO_NETWORK_ITEMS = {
    Item.BDB_NODE_IS_ON_A_NETWORK: b"\0",
    Item.NWK_ACTIVE_KEY_INFO: bytes(items.KEY_INFO.size),
    Item.NWK_ALTERN_KEY_INFO: bytes(items.KEY_INFO.size),
    Item.NWKKEY: bytes(items.ACTIVE_KEY.size),
}
_SEC_MATERIAL_ENTRIES = 5  # gMAX_NWK_SEC_MATERIAL_TABLE_ENTRIES
_NO_SEC_MATERIAL = bytes(items.SEC_MATERIAL.size)
_ANY_NETWORK = 0xFFFF_FFFF_FFFF_FFFF  # the entry that counts for every network

_STEERING, _FORMATION = 0x02, 0x04  # commissioning modes (3.14.2.5)
_STEERING_S = 180  # bdbcMinCommissioningTime, base device behaviour 5.1
_SUCCESS, _IN_PROGRESS, _NO_NETWORK, _FORMATION_FAILURE, _RESTORED = 0x00, 0x01, 0x02, 0x08, 0x0D  # commissioning
_RESTORED_NETWORK, _NEW_NETWORK = 0, 1  # answers of ZDO_STARTUP_FROM_APP
_STILL_STARTING = 4
"""How often the chip says again that it starts while it forms (ZNP-T)."""
_ALL_DEVICE_TYPES = 0x07  # coordinator, router, end device: UTIL_GET_DEVICE_INFO


def complete_items(nvram: Nvram, ieee: Eui64, random: "Random", tables: "TableSizes") -> None:
    """At boot: make what is missing, with the values of a freshly flashed chip.

    `ieee` is the address that the chip boots with. A host may have deleted any item, or all of them.
    """
    by_number = {**_settings(ieee), Item.STARTUP_OPTION: b"\0", Item.ZDO_DIRECT_CB: b"\1", **_NO_NETWORK_ITEMS}
    wanted = {
        **{legacy(number): value for number, value in by_number.items()},
        **{NvKey(ZSTACK, Table.NWK_SEC_MATERIAL, sub): _NO_SEC_MATERIAL for sub in range(_SEC_MATERIAL_ENTRIES)},
        **_no_devices(tables),
    }
    for key, value in wanted.items():
        if nvram.get(key) is None:
            nvram.put(key, value)
    for secret in (Item.TCLK_SEED, Item.PRECFGKEY):
        if nvram.get(legacy(secret)) is None:
            nvram.put(legacy(secret), random.randbytes(16))


def _settings(ieee: Eui64) -> dict[int, bytes]:
    return {**items.SETTINGS, Item.EXTENDED_PAN_ID: ieee.to_bytes(8, "little")}


def _no_devices(tables: "TableSizes") -> dict[NvKey, bytes]:
    empty = {
        Table.ADDRMGR: (tables.addresses, items.EMPTY_ADDRESS),
        Table.DEVICE_LIST: (tables.children, items.EMPTY_LISTED),
        Table.TCLK: (tables.trust_center_keys, bytes(items.TCLK.size)),
        Table.TCLK_IC: (tables.install_codes, bytes(items.INSTALL_CODE_KEY_BYTES)),
        Table.APS_KEY_DATA: (tables.aps_keys, bytes(items.LINK_KEY.size)),
    }
    entries = {NvKey(ZSTACK, table, sub): octets for table, (size, octets) in empty.items() for sub in range(size)}
    return {legacy(Item.APS_LINK_KEY_TABLE): bytes(items.link_key_table_bytes(tables.aps_keys)), **entries}


def obey_startup_option(nvram: Nvram, ieee: Eui64, random: "Random", tables: "TableSizes") -> None:
    """At boot: forget what the host asked to be forgotten (ZCD_STARTOPT_*)."""
    option = (nvram.get(legacy(Item.STARTUP_OPTION)) or b"\0")[0]
    if option & _CLEAR_CONFIGURATION:
        for number, value in _settings(ieee).items():
            nvram.put(legacy(number), value)
        nvram.put(legacy(Item.PRECFGKEY), random.randbytes(16))
        nvram.put(legacy(Item.BDB_NODE_IS_ON_A_NETWORK), b"\0")
    if option & _CLEAR_STATE:
        nvram.discard(legacy(Item.NIB))
        for item, value in _NO_NETWORK_ITEMS.items():
            nvram.put(legacy(item), value)
        for key, value in _no_devices(tables).items():
            nvram.put(key, value)
    nvram.put(legacy(Item.STARTUP_OPTION), b"\0")


class Network:
    """Handlers of APP_CNF, and of what asks for the state of the network."""

    def __init__(self, chip: Coprocessor, state_s: float, nvram: Nvram, tables: "DeviceTables") -> None:
        self.state = DeviceState.HOLD
        self._chip, self._stack, self._random, self._callback = chip, chip.stack, chip.random, chip.callback()
        self._nvram = nvram
        self._tables = tables
        self._state_s = state_s
        self._channels = 0
        self._starting = False
        self._restoring = False
        self._commissioning = False
        self._steer_when_up = False

    def handlers(self) -> dict[str, "Handler"]:
        return {
            "bdbStartCommissioning": self.start_commissioning,
            "bdbSetChannel": self.set_channel,
            "startupFromApp": self.startup_from_app,
            "extNwkInfo": self.ext_nwk_info,
            "getDeviceInfo": self.get_device_info,
            "getExtAddr": lambda: (self._stack.ieee,),
            "setExtAddr": self.set_ext_addr,
        }

    # starting

    def set_channel(self, primary: int, channels: int) -> tuple[int]:
        """The secondary channels are those of a second scan, which a coordinator with one primary never makes."""
        if primary:
            self._channels = channels & CHANNELS_MASK
        return (ZStatus.SUCCESS,)

    def start_commissioning(self, mode: int) -> tuple[int]:
        if mode & ~(_FORMATION | _STEERING) or not mode:
            return (ZStatus.INVALID_PARAMETER,)
        if mode & _FORMATION and not self._chip.is_up:
            self._steer_when_up = self._steer_when_up or bool(mode & _STEERING)
            self._start(commissioning=True)
            return (ZStatus.SUCCESS,)
        if mode & _FORMATION:
            self._callback("bdbCommissioningNotification", _FORMATION_FAILURE, _FORMATION, mode & _STEERING)
        if mode & _STEERING:
            self._steer()
        return (ZStatus.SUCCESS,)

    def _steer(self) -> None:
        """A coordinator steers others: it opens its network. Without one there is nothing to open."""
        if self._chip.is_up:
            self._stack.permit(_STEERING_S)
        self._callback("bdbCommissioningNotification", _SUCCESS if self._chip.is_up else _NO_NETWORK, _STEERING, 0)

    def startup_from_app(self, _delay_ms: int) -> tuple[int]:
        if not self._chip.is_up:
            self._start(commissioning=False)
        return (_RESTORED_NETWORK if self._restoring else _NEW_NETWORK,)

    def _start(self, *, commissioning: bool) -> None:
        if self._starting:
            return
        self._starting = True
        network = self._stored_network()
        self._restoring = network is not None
        self._commissioning = commissioning
        if network is None:
            network = self._new_network()
            self._store(network)
            self._change_state(DeviceState.STARTING_AS_COORDINATOR)
        self._mirror_counter(network)
        self._tables.children = network.children
        if self._restoring:
            self._stack.network = network
            self._stack.resume()
        else:
            self._stack.form(network)

    def went_up(self) -> None:
        """The stack is on the air: tell it in the order in which the chip does, and at its pace."""
        if self._restoring:
            self._started()
            return
        if not self._commissioning:
            self._chip.call_later(self._state_s, self._started)
            return
        self._callback("bdbCommissioningNotification", _IN_PROGRESS, _STEERING, _FORMATION)
        for number in range(_STILL_STARTING):
            self._chip.call_later(
                number * self._state_s, lambda: self._change_state(DeviceState.STARTING_AS_COORDINATOR)
            )
        self._chip.call_later(_STILL_STARTING * self._state_s, self._started)

    def _started(self) -> None:
        self._starting = False
        self._change_state(DeviceState.COORDINATOR)
        if self._commissioning:
            if self._restoring:
                self._callback("bdbCommissioningNotification", _RESTORED, 0, _FORMATION)
            mode, remaining = _FORMATION if self._restoring else _STEERING, _STEERING if self._steer_when_up else 0
            self._callback("bdbCommissioningNotification", _SUCCESS, mode, remaining)
        if self._steer_when_up:
            self._steer_when_up = False
            self._steer()

    def _change_state(self, state: DeviceState) -> None:
        self.state = state
        self._chip.is_up = state is DeviceState.COORDINATOR
        self._callback("stateChangeInd", state)

    # flash

    def _item(self, item: Item) -> bytes:
        return self._nvram.get(legacy(item)) or b""

    def _stored_network(self) -> NetworkState | None:
        """None where flash has no network that makes sense."""
        nib = Nib.from_bytes(self._item(Item.NIB))
        key_info = self._item(Item.NWK_ACTIVE_KEY_INFO)
        if nib is None or len(key_info) != items.KEY_INFO.size or self._item(Item.BDB_NODE_IS_ON_A_NETWORK) != b"\1":
            return None
        if not nib.key_loaded or not CHANNELS_MASK >> nib.channel & 1:
            return None
        sequence, key = items.KEY_INFO.unpack(key_info)
        return NetworkState(
            channel=nib.channel,
            pan_id=nib.pan_id,
            extended_pan_id=nib.extended_pan_id,
            network_key=key,
            network_key_sequence=sequence,
            network_frame_counter=self._stored_counter(nib.extended_pan_id),
            manager=NwkAddress(nib.manager),
            update_id=nib.update_id,
            children=self._tables.children,
        )

    def _new_network(self) -> NetworkState:
        channels = self._channels or _number(self._item(Item.CHANLIST)) & CHANNELS_MASK or _DEFAULT_CHANNELS
        pan_id = _number(self._item(Item.PANID), _ANY_PAN)
        extended_pan_id = _number(self._item(Item.APS_USE_EXT_PANID)) or self._stack.ieee
        key = self._item(Item.PRECFGKEY)
        return NetworkState(
            channel=(channels & -channels).bit_length() - 1,  # all are equally quiet here: the lowest
            pan_id=self._random.randrange(1, 0xFFF0) if pan_id == _ANY_PAN else pan_id,
            extended_pan_id=extended_pan_id,
            network_key=key if len(key) == 16 and any(key) else self._random.randbytes(16),
            network_frame_counter=self._stored_counter(extended_pan_id),
        )

    def _store(self, network: NetworkState) -> None:
        channels = self._channels or _number(self._item(Item.CHANLIST)) & CHANNELS_MASK or 1 << network.channel
        nib = Nib(network.channel, network.pan_id, network.extended_pan_id, channels)
        key_info = items.KEY_INFO.pack(network.network_key_sequence, network.network_key)
        values = {
            Item.NIB: nib.to_bytes(),
            Item.BDB_NODE_IS_ON_A_NETWORK: b"\1",
            Item.NWK_ACTIVE_KEY_INFO: key_info,
            Item.NWK_ALTERN_KEY_INFO: key_info,
        }
        for item, value in values.items():
            self._nvram.put(legacy(item), value)

    def _sec_material(self) -> list[tuple[int, int]]:
        """Frame counter and extended PAN ID of each entry."""
        entries = [self._nvram.get(NvKey(ZSTACK, Table.NWK_SEC_MATERIAL, sub)) for sub in range(_SEC_MATERIAL_ENTRIES)]
        return [
            items.SEC_MATERIAL.unpack(octets) if octets and len(octets) == items.SEC_MATERIAL.size else (0, 0)
            for octets in entries
        ]

    def _stored_counter(self, extended_pan_id: int) -> int:
        counters = {network: counter for counter, network in reversed(self._sec_material())}
        return counters.get(extended_pan_id, counters.get(_ANY_NETWORK, 0))

    def _mirror_counter(self, network: NetworkState) -> None:
        """The running network's frame counter shows in its entry, where a new network takes the place of the oldest,
        and beside its key.
        """
        entries = self._sec_material()
        mine = (network.network_frame_counter, network.extended_pan_id)
        others = [entry for entry in entries if entry[1] not in {0, network.extended_pan_id}]
        kept = [mine, *others][:_SEC_MATERIAL_ENTRIES]

        def content(sub: int) -> bytes:
            if sub == 0:
                return items.SEC_MATERIAL.pack(network.network_frame_counter, network.extended_pan_id)
            return items.SEC_MATERIAL.pack(*kept[sub]) if sub < len(kept) else bytes(items.SEC_MATERIAL.size)

        self._nvram.mirror(ZSTACK, Table.NWK_SEC_MATERIAL, content)
        self._nvram.mirror_one(
            legacy(Item.NWKKEY),
            lambda: items.ACTIVE_KEY.pack(
                network.network_key_sequence, network.network_key, network.network_frame_counter
            ),
        )

    # questions

    def ext_nwk_info(self) -> tuple[int, ...]:
        network = self._stack.network
        if network is None or not self._chip.is_up:
            return items.NO_ADDRESS, self.state, 0xFFFF, items.NO_ADDRESS, 0, 0, 0
        return self._stack.address, self.state, network.pan_id, 0, network.extended_pan_id, 0, network.channel

    def get_device_info(self) -> "tuple[Value, ...]":
        children = tuple(child.address for child in self._tables.association_list())[:100]  # what one frame holds
        address = self._stack.address if self._chip.is_up else items.NO_ADDRESS
        return ZStatus.SUCCESS, self._stack.ieee, address, _ALL_DEVICE_TYPES, self.state, children

    def set_ext_addr(self, ieee: int) -> tuple[int]:
        """From the next reset on."""
        self._nvram.put(legacy(Item.EXTADDR), ieee.to_bytes(8, "little"))
        return (ZStatus.SUCCESS,)


def _number(octets: bytes, default: int = 0) -> int:
    return int.from_bytes(octets, "little") if octets else default
