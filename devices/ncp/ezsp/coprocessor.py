"""The virtual dongle: ASH at the front, an EZSP command table, a coordinator's stack behind it.

Octets go in with `receive` and come out of `data_to_send`; time comes from the scheduler, which the owner drives. What
outlives a reset lives here (`Flash`: key table, trust-centre key, counters, radio; the network itself is the stack's),
what does not starts empty in `_boot`: configuration, policies, endpoints, address and multicast tables, transient keys,
callbacks on their way. That is what UG100 says of each.

Until the host has agreed on the protocol version with the `version` command, every other command is refused and no
callback is sent. A callback carries the sequence number of the last answered command (hosts match answers by it).
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, assert_never

from devices.ncp.coprocessor import Coprocessor
from devices.ncp.ezsp.ash import Ash, LinkFailed, PayloadReceived, ResetRequested
from devices.ncp.ezsp.ash_frames import MAX_DATA_FIELD_BYTES, ResetCode
from devices.ncp.ezsp.commands import VERSION, Command, commands
from devices.ncp.ezsp.configuration import Configuration, FrameCounters
from devices.ncp.ezsp.header import (
    ASYNCHRONOUS_CALLBACK,
    CALLBACK_PENDING,
    EXTENDED,
    FORMAT,
    NETWORK_MASK,
    OVERFLOW,
    RESPONSE,
    Header,
    split_frame,
)
from devices.ncp.ezsp.key_structs import KeyStructs
from devices.ncp.ezsp.keys import KeyTables
from devices.ncp.ezsp.messaging import Messaging
from devices.ncp.ezsp.network import Network, RadioTokens
from devices.ncp.ezsp.personality import STACK_TYPE_MESH, Personality
from devices.ncp.ezsp.security import Security, TrustCenterTokens
from devices.ncp.ezsp.status import EzspStatus
from devices.ncp.ezsp.utilities import Counter, Utilities
from devices.ncp.ezsp.zdo import DeviceObject
from devices.ncp.layout import Handler, TruncatedParametersError, Value
from devices.ncp.sticks import V13
from devices.stack.interface import JoinKind
from devices.stack.persisted import Persisted, key_octets, network_from_json, network_to_json

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from devices.stack.coordinator import ZigbeeCoordinator
    from devices.stack.interface import ApsIndication, CoordinatorListener, Eui64, LinkKeys, NwkAddress
    from devices.time import Scheduler


_KEY_PART = "key "


@dataclass(slots=True)
class _Flash:
    """What outlives a reset, beside the network and the key table."""

    trust_center: TrustCenterTokens = field(default_factory=TrustCenterTokens)
    counters: FrameCounters = field(default_factory=FrameCounters)
    radio: RadioTokens = field(default_factory=RadioTokens)


class EzspCoprocessor(Coprocessor):
    """A `CoordinatorListener`. `make_stack(listener, link_keys)` builds the coordinator beneath."""

    def __init__(
        self,
        make_stack: "Callable[[CoordinatorListener, LinkKeys], ZigbeeCoordinator]",
        ieee: "Eui64",
        scheduler: "Scheduler",
        random: "Random",
        personality: Personality = V13,
    ) -> None:
        super().__init__(scheduler, random)
        self.ash = Ash(personality.reset_s, personality.start)
        self.keys = KeyTables(ieee, scheduler, random)
        self.stack = make_stack(self, self.keys)
        self.personality = personality
        self._commands = commands(personality.version)
        self._flash = _Flash()
        self._network: Network
        self._erase_at_reset = False
        self._boot()

    def _boot(self) -> None:
        """Empty RAM, as after power on."""
        self._empty()
        self._agreed = False
        self._sequence = 0
        self._overflowed = False
        self.callback_due = False
        if self._boots > 1:
            self.stack.stop()
        if self._erase_at_reset:
            self._erase_at_reset = False
            self.stack.network = None
        if not self.personality.endpoints_survive_reset:
            self.stack.endpoints.clear()
        self.keys.boot()
        self._handlers = self._wire()

    def _wire(self) -> dict[int, tuple[Command, Handler]]:
        """Make everything that lives in RAM, and say which command goes where."""
        flash, keys = self._flash, self.keys
        security = Security(self, keys, flash.trust_center, flash.counters)
        self._network = Network(self, security, flash.radio, scan_takes_time=self.personality.scan_takes_time)
        key_structs = KeyStructs(self.stack, keys, flash.trust_center)
        configuration = Configuration(self, self.personality, keys, flash.counters)
        self._utilities = Utilities(self.personality, self.random)
        self._device_object = DeviceObject(self, configuration.settings, self._network)
        self._messaging = Messaging(self, configuration.settings, keys, self._utilities.counters, self._device_object)
        own: dict[str, Handler] = {
            "version": self._version,
            "tokenFactoryReset": self._token_factory_reset,
            "resetNode": self._reset_node,
        }
        parts = (configuration, self._network, self._messaging, security, key_structs, self._utilities)
        return self._handlers_of(self._commands, *parts, own=own)

    # flash

    def retained(self) -> dict[str, Persisted]:
        """What outlives a power cut, in parts that change one without the other."""
        flash, network = self._flash, None if self._erase_at_reset else self.stack.network
        parts: dict[str, Persisted] = {
            "tokens": {
                "options": flash.trust_center.options,
                "preconfigured_key": flash.trust_center.preconfigured_key.hex(),
                "network_counter": flash.counters.network,
                "aps_counter": flash.counters.aps,
                "tx_power_dbm": flash.radio.tx_power_dbm,
                "channels": flash.radio.channels,
            },
            "counters": {"aps_counter": self.stack.aps_counter_ahead},
        }
        if network is not None:
            parts["network"] = network_to_json(network)
        for index, entry in self.keys.retained().items():
            parts[f"{_KEY_PART}{index}"] = entry
        return parts

    def restore(self, parts: dict[str, Persisted]) -> None:
        """Boot with that in flash. Raises KeyError, TypeError or ValueError for what makes no sense."""
        tokens = parts["tokens"]
        self._flash = _Flash(
            TrustCenterTokens(int(tokens["options"]), key_octets(tokens["preconfigured_key"])),
            FrameCounters(int(tokens["network_counter"]), int(tokens["aps_counter"])),
            RadioTokens(int(tokens["tx_power_dbm"]), int(tokens["channels"])),
        )
        self.keys.restore(
            {int(name.removeprefix(_KEY_PART)): kept for name, kept in parts.items() if name.startswith(_KEY_PART)}
        )
        self.stack.network = network_from_json(parts["network"]) if "network" in parts else None
        self.stack.use_aps_counters_from(int(parts["counters"]["aps_counter"]))
        self._boot()

    # the line

    def receive(self, octets: bytes) -> None:
        """Take octets from the host, cut anywhere. Drain `data_to_send` afterwards."""
        for event in self.ash.receive(octets, self.scheduler.now):
            match event:
                case PayloadReceived():
                    self._take(event.payload)
                case ResetRequested():
                    self._boot()
                case LinkFailed():
                    pass
                case _:
                    assert_never(event)

    def data_to_send(self) -> bytes:
        return self.ash.data_to_send(self.scheduler.now)

    def deadline(self) -> float | None:
        return self.ash.deadline()

    def handle_deadline(self) -> None:
        self.ash.handle_deadline(self.scheduler.now)

    def reboot(self, code: ResetCode) -> None:
        """Restart on its own: a watchdog, an assert, a pulled plug. The host is told unasked."""
        self.ash.restart(code, self.scheduler.now)
        self._boot()

    # commands and callbacks

    def _take(self, frame: bytes) -> None:
        self._when_free(self.personality.command_s, lambda: self._command(frame))

    def _command(self, frame: bytes) -> None:
        split = split_frame(frame)
        if split is None:
            return
        header, parameters = split
        if header.control & RESPONSE:
            self._refuse(header, EzspStatus.WRONG_DIRECTION)
            return
        if not self._agreed and header.id != VERSION:
            self._refuse(header, EzspStatus.VERSION_NOT_SET)
            return
        known = self._handlers.get(header.id)
        if known is None or (header.legacy and header.id != VERSION):
            self._refuse(header, EzspStatus.INVALID_FRAME_ID)
            return
        command, handler = known
        try:
            values = command.decode(parameters)
        except TruncatedParametersError:
            self._refuse(header, EzspStatus.TRUNCATED)
            return
        self.asked[command.name] += 1
        response = self._carry_out(handler, values)
        if response is not None:
            self._answer(header, command.id, command.encode(response))

    def _refuse(self, header: Header, reason: EzspStatus) -> None:
        """From version 14 on, too, the reason is an EzspStatus, in the four octets that hosts expect of a status."""
        invalid = self._commands["invalidCommand"]
        self._answer(header, invalid.id, invalid.encode((int(reason),)))

    def _answer(self, header: Header, frame_id: int, parameters: bytes) -> None:
        control = RESPONSE | header.control & NETWORK_MASK
        if self._held or self.callback_due:
            control |= CALLBACK_PENDING
            self.callback_due = False
        if self._overflowed:
            control |= OVERFLOW
            self._overflowed = False
        self._sequence = header.sequence
        self.ash.send(Header(header.sequence, control, frame_id, header.legacy).to_bytes() + parameters)
        self._answered()

    def _say_unasked(self, name: str, values: tuple[Value, ...]) -> None:
        if not self._agreed:
            return
        command = self._commands[name]
        header = EXTENDED.pack(self._sequence, RESPONSE | ASYNCHRONOUS_CALLBACK, FORMAT, command.id)
        frame = header + command.encode(values)
        if len(self.ash.waiting) >= self.personality.callback_buffers or len(frame) > MAX_DATA_FIELD_BYTES:
            self._overflowed = True
            self._utilities.counters[Counter.BUFFER_FAILURE] += 1
            return
        self.ash.send(frame, is_callback=True)

    # commands about the whole chip

    def _version(self, desired: int) -> tuple[int, int, int]:
        self._agreed = desired == self.personality.version
        return self.personality.version, STACK_TYPE_MESH, self.personality.stack_version

    def _token_factory_reset(self, keep_frame_counter: bool, _keep_boot_counter: bool) -> tuple[()]:
        """Flash is wiped at once; a running network lives on in RAM until the reset."""
        self.keys.clear()
        if not keep_frame_counter:
            self._flash.counters = FrameCounters()
        self._flash.trust_center = TrustCenterTokens()
        if self.is_up:
            self._erase_at_reset = True
        else:
            self.stack.network = None
        return ()

    def _reset_node(self) -> tuple[()]:
        self.reboot(ResetCode.SOFTWARE)
        return ()

    # CoordinatorListener

    def network_up(self) -> None:
        self._network.went_up()

    def network_down(self) -> None:
        self._network.went_down()

    def message_received(self, indication: "ApsIndication") -> None:
        if not self._device_object.keeps(indication):
            self._messaging.received(indication)

    def device_joined(self, ieee: "Eui64", address: "NwkAddress", kind: "JoinKind") -> None:
        self._utilities.counters[Counter.JOIN_INDICATION] += 1
        self._network.device_joined(ieee, address, kind)

    def join_refused(self, ieee: "Eui64", reason: str, kind: "JoinKind") -> None:
        del reason  # EZSP has no room for it
        ignored = kind is not JoinKind.ASSOCIATED and self.keys.policy.ignore_rejoins
        self._network.join_refused(ieee, kind, ignored=ignored)

    def device_left(self, ieee: "Eui64", address: "NwkAddress") -> None:
        self._network.device_left(ieee, address)

    def child_gone(self, ieee: "Eui64", address: "NwkAddress") -> None:
        self._network.child_gone(ieee, address)
