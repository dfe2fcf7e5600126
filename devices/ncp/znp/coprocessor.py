"""The virtual TI dongle: MT at the front, an MT command table, a coordinator's stack behind it.

Octets go in with `receive` and come out of `data_to_send`; time comes from the scheduler, which the owner drives. What
outlives a reset is in `Nvram`, including the network; everything else starts empty in `_boot`: registered endpoints,
groups, policies, callbacks that were asked for. A reset takes a moment, in which requests wait; then the chip says
SYS_RESET_IND, answers them, and waits for the host to start it.

Every request is answered: what is not known, or too short, by an RPC error.
"""

from functools import partial
from typing import TYPE_CHECKING

from devices.ncp.coprocessor import Coprocessor
from devices.ncp.layout import Handler, TruncatedParametersError, Value
from devices.ncp.sticks import ZSTACK_3_30
from devices.ncp.znp.commands import RPC_ERROR, Command, commands
from devices.ncp.znp.device_tables import DeviceTables
from devices.ncp.znp.items import Item
from devices.ncp.znp.messaging import Messaging
from devices.ncp.znp.mt_frames import MtFrame, MtReceiver, MtType, Subsystem
from devices.ncp.znp.network import Network, complete_items, obey_startup_option
from devices.ncp.znp.nvram import NvKey, Nvram, legacy
from devices.ncp.znp.personality import Personality
from devices.ncp.znp.security import Security
from devices.ncp.znp.status import RpcError
from devices.ncp.znp.utilities import TRANSPORT_REVISION, Utilities
from devices.ncp.znp.zdo import DeviceObject
from devices.stack.interface import ZDP_PROFILE, Eui64
from devices.stack.persisted import Persisted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from random import Random

    from devices.stack.coordinator import ZigbeeCoordinator
    from devices.stack.interface import ApsIndication, CoordinatorListener, JoinKind, LinkKeys, NwkAddress
    from devices.time import Scheduler

_ITEM_PART = "item "
_RESET_REQUESTS = (0x4100, 0x2100)  # SYS_RESET_REQ (3.8.1.1); TI looks at the second octet alone (mt_sys.c)
_POWER_UP = 0x00  # a reset reason (3.8.1.2)
_MAX_WAITING = 16  # frames that the serial bridge of a stick holds back while the chip restarts; our choice
_ANSWER = (MtType.SYNCHRONOUS_REQUEST ^ MtType.SYNCHRONOUS_RESPONSE) << 13  # how its type bits differ: 2.1.2
_SUBSYSTEMS = frozenset(Subsystem) - {Subsystem.RPC_ERROR}


class ZnpCoprocessor(Coprocessor):
    """A `CoordinatorListener`. `make_stack(listener, link_keys, ieee)` builds the coordinator beneath.

    It is built again when the host gave the dongle another IEEE address: `stack` is the present one.
    """

    def __init__(
        self,
        make_stack: "Callable[[CoordinatorListener, LinkKeys, Eui64], ZigbeeCoordinator]",
        ieee: "Eui64",
        scheduler: "Scheduler",
        random: "Random",
        personality: Personality = ZSTACK_3_30,
    ) -> None:
        super().__init__(scheduler, random)
        self.personality = personality
        self.nvram = Nvram()
        self.keys = DeviceTables(personality.tables)
        self.stack = make_stack(self, self.keys, ieee)
        self._make_stack = make_stack
        self._hardware_ieee = ieee
        self._commands = commands()
        self._served = {name: row for name, row in self._commands.items() if name not in personality.lacks}
        self._line = bytearray()
        self._receiver = MtReceiver()
        self._waiting: list[MtFrame] = []
        self._seen: object = None
        self._parts: dict[str, Persisted] = {}
        self._boot()
        self._booting = False

    def _boot(self) -> None:
        """Empty RAM, as after power on."""
        self._empty()
        self._booting = True
        self.stack.stop()
        self.nvram.settle()
        self.stack.network = None
        self._take_address()
        self.stack.parent.maximum_children = self.personality.tables.children
        obey_startup_option(self.nvram, self.stack.ieee, self.random, self.personality.tables)
        complete_items(self.nvram, self.stack.ieee, self.random, self.personality.tables)
        self.keys.load(self.nvram, self._item(Item.TCLK_SEED).ljust(16, b"\0")[:16])
        self.keys.mirror(self.nvram)
        self.stack.endpoints.clear()
        self._handlers = self._wire()

    def _item(self, item: Item) -> bytes:
        return self.nvram.get(legacy(item)) or b""

    def _take_address(self) -> None:
        """The address in flash, or where the host deleted it, the hardware's."""
        octets = self._item(Item.EXTADDR)
        ieee = Eui64(int.from_bytes(octets, "little")) if len(octets) == 8 else self._hardware_ieee
        self.nvram.put(legacy(Item.EXTADDR), ieee.to_bytes(8, "little"))
        if ieee != self.stack.ieee:
            self.stack = self._make_stack(self, self.keys, ieee)
        self.stack.self_description = self.personality.node_descriptor

    def _wire(self) -> dict[int, tuple[Command, Handler]]:
        """Make everything that lives in RAM, and say which command goes where."""
        tables = self.keys
        self._network = Network(self, self.personality.state_s, self.nvram, tables)
        self._device_object = DeviceObject(self, self.nvram, tables)
        self._messaging = Messaging(self, tables, self._device_object)
        utilities = Utilities(self, self.personality, tables)
        self._security = Security(self, self.personality, tables)
        parts = (self.nvram, self._network, self._device_object, self._messaging, self._security, utilities)
        return self._handlers_of(self._served, *parts)

    # flash

    def retained(self) -> dict[str, Persisted]:
        """What outlives a power cut, item by item. The same object as before when nothing changed."""
        network = self.stack.network
        seen = (
            self.nvram.revision,
            self.keys.contents(),
            None if network is None else (id(network), network.network_frame_counter),
            self.stack.aps_counter_ahead,
        )
        if seen != self._seen:
            self._seen = seen
            self._parts = {"counters": {"aps_counter": self.stack.aps_counter_ahead}}
            for key, octets in self.nvram.retained().items():
                self._parts[_ITEM_PART + " ".join(map(str, key))] = {"octets": octets.hex()}
        return self._parts

    def restore(self, parts: dict[str, Persisted]) -> None:
        """Boot with that in flash. Raises KeyError, TypeError or ValueError for what makes no sense."""
        held = {}
        for name, kept in parts.items():
            if name.startswith(_ITEM_PART):
                system, item, sub = map(int, name.removeprefix(_ITEM_PART).split())
                held[NvKey(system, item, sub)] = bytes.fromhex(kept["octets"])
        counter = int(parts["counters"]["aps_counter"])
        self.stack.stop()
        self.nvram.restore(held)
        self._boot()
        self._booting = False
        self.stack.use_aps_counters_from(counter)

    # the line

    def receive(self, octets: bytes) -> None:
        """Take octets from the host, cut anywhere. Drain `data_to_send` afterwards."""
        self._take(self._receiver.receive(octets))

    def _take(self, frames: "Iterable[MtFrame]") -> None:
        for frame in frames:
            if self._booting:
                if len(self._waiting) < _MAX_WAITING:
                    self._waiting.append(frame)
            elif frame.command in _RESET_REQUESTS:
                self.reboot()
            elif frame.command >> 13 == MtType.SYNCHRONOUS_REQUEST:
                taking = 0.0 if frame.command >> 8 & 0x1F == Subsystem.AF else self.personality.command_s
                self._when_free(taking, partial(self._request, frame))

    def data_to_send(self) -> bytes:
        due = bytes(self._line)
        self._line.clear()
        return due

    def deadline(self) -> float | None:
        """MT has no timers: all that waits is in the scheduler."""
        return None

    def handle_deadline(self) -> None:
        pass

    def reboot(self) -> None:
        """Restart, on the host's wish or on its own. The host is told when it is done, and not why (mt_sys.c)."""
        self._boot()

        def running() -> None:
            self._booting = False
            personality = self.personality
            self.callback()("resetInd", _POWER_UP, TRANSPORT_REVISION, personality.product, *personality.version)
            waiting, self._waiting = self._waiting, []
            self._take(waiting)

        self.call_later(self.personality.reset_s, running)

    # requests and callbacks

    def _request(self, frame: MtFrame) -> None:
        known = self._handlers.get(frame.command)
        if known is None:
            served = frame.command >> 8 & 0x1F in _SUBSYSTEMS
            self._refuse(frame, RpcError.COMMAND if served else RpcError.SUBSYSTEM)
            return
        command, handler = known
        assert command.request is not None
        try:
            values = command.request.decode(frame.data)
        except TruncatedParametersError:
            self._refuse(frame, RpcError.LENGTH)
            return
        self.asked[command.name] += 1
        response = self._carry_out(handler, values)
        assert response is not None, "no synchronous request restarts the chip"
        self._line += MtFrame(frame.command ^ _ANSWER, command.response.encode(response)).to_bytes()
        self._answered()

    def _refuse(self, frame: MtFrame, error: RpcError) -> None:
        data = bytes((error,)) + frame.command.to_bytes(2, "big")
        self._line += MtFrame(RPC_ERROR, data).to_bytes()

    def _say_unasked(self, name: str, values: tuple[Value, ...]) -> None:
        command = self._commands[name]
        self._line += MtFrame(command.id, command.response.encode(values)).to_bytes()

    # CoordinatorListener

    def network_up(self) -> None:
        self._network.went_up()

    def network_down(self) -> None:
        pass  # the host never tells the dongle to leave

    def message_received(self, indication: "ApsIndication") -> None:
        if indication.profile == ZDP_PROFILE and indication.destination_endpoint == 0:
            self._device_object.received(indication)
        else:
            self._messaging.received(indication)

    def device_joined(self, ieee: "Eui64", address: "NwkAddress", kind: "JoinKind") -> None:
        self.keys.joined(ieee, address, kind)
        self._device_object.device_joined(ieee, address, kind)
        self._security.device_joined(ieee, kind)

    def join_refused(self, ieee: "Eui64", reason: str, kind: "JoinKind") -> None:
        del reason, kind  # MT has no indication for it
        self.keys.refused(ieee)

    def device_left(self, ieee: "Eui64", address: "NwkAddress") -> None:
        self.keys.left(ieee)
        self._security.device_left(ieee)
        self._device_object.device_left(ieee, address)

    def child_gone(self, ieee: "Eui64", address: "NwkAddress") -> None:
        """Nothing is told: we know of no indication of MT for it."""
