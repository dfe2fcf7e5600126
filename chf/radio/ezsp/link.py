"""The EZSP connection of bellows, with the hub's messages beside zigpy's: `HubEzsp`.

bellows does the line (ASH), the versions and the commands. Two frames are read here before bellows' tables see them,
because there is one of each per image block, and because bellows would acknowledge and put together fragments by
itself (up to version 13, and with timers that drop messages that are still coming): incomingMessageHandler and
messageSentHandler. What the hub sends goes through bellows' commands, one at a time and in the order of its outbox, so
that what is urgent overtakes all that waits. Only public names of bellows are used; its faults are named where they
are worked around.
"""

import asyncio
import contextlib
import functools
import inspect
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Protocol

import bellows.ash
import bellows.ezsp
import bellows.types as ember
import zigpy.state
from bellows.ash import AshException
from bellows.exception import EzspError, InvalidCommandError
from bellows.ezsp.config import DEFAULT_CONFIG, RuntimeConfig, ValueConfig

from chf.errors import MalformedFrameError, RadioRefusedError
from chf.radio.ezsp import frames
from chf.radio.outbox import Acceptance

RESET_ATTEMPTS = 3  # bellows.ezsp, RESET_ATTEMPTS
CLOSE_LIMIT_S = 5.0  # our choice

LINK_ERRORS = (OSError, TimeoutError, RuntimeError, AshException, EzspError)
"""What bellows raises when the dongle is not there: RuntimeError is its word for a closed connection."""

_UNUSED = frozenset(
    (
        ember.EzspConfigId.CONFIG_MULTICAST_TABLE_SIZE,  # the hub is in no group
        ember.EzspConfigId.CONFIG_SUPPORTED_NETWORKS,  # one, whatever its build can do
        ember.EzspConfigId.CONFIG_PAN_ID_CONFLICT_REPORT_THRESHOLD,  # nobody reads the reports
    )
)
_VERSION_NOT_SET = b"\x30"  # UG100, EzspStatus; from version 14 on no source says what a chip puts there
_RESTARTED = "the dongle restarted without a word"
_FULL = frozenset(
    (
        ember.sl_Status.BUSY,
        ember.sl_Status.ALLOCATION_FAILED,
        ember.sl_Status.NO_MORE_RESOURCE,
        ember.sl_Status.ZIGBEE_MAX_MESSAGE_LIMIT_REACHED,
    )
)
"""Nothing is wrong with the message, there is no room for it now (UG100, sl_status_t; bellows maps EmberStatus)."""


@dataclass(frozen=True, slots=True)
class Unicast:
    """`accepted` is called with the dongle's answer, and the APS counter that it gave the message."""

    destination: int
    aps: frames.ApsFrame
    tag: int
    payload: bytes
    accepted: Callable[[Acceptance, int], None]


@dataclass(frozen=True, slots=True)
class FragmentAck:
    """A sendReply with nothing in it, which is how a host acknowledges a fragment (UG100, sendReply)."""

    destination: int
    aps: frames.ApsFrame


@dataclass(frozen=True, slots=True)
class Nop:
    """Whether the dongle still answers."""


Command = Unicast | FragmentAck | Nop


class Messages(Protocol):
    """The hub's side of the connection; called from the event loop, must not block."""

    def next_command(self) -> Command | None: ...
    def incoming(self, message: frames.IncomingMessage) -> bool:
        """False where bellows is to have it."""
        ...

    def message_sent(self, sent: frames.MessageSent) -> bool: ...


class HubEzsp(bellows.ezsp.EZSP):  # type: ignore[misc]
    """`bellows.ezsp.EZSP` that carries the hub's messages once `attach` was called."""

    def __init__(self, device_config: dict[str, Any], application: Any, key_table_size: int) -> None:
        super().__init__(device_config, application)
        self._owner = application
        self._key_table_size = key_table_size
        self._built: dict[Any, int] = {}  # sizes as a reset leaves them
        self._grown: dict[Any, int] = {}  # sizes as written since
        self._messages: Messages | None = None
        self._dialect = frames.Dialect(frames.OLDEST_VERSION)
        self._wanted = asyncio.Event()
        self._is_lost = False
        self.frames_received = 0

    # The link

    async def startup_reset(self) -> None:
        """As bellows does it, but each attempt from the start.

        bellows 1.2.1 skips the reset of a second attempt when the first got past it, and then speaks to the dongle in
        the framing of another version.
        """
        if self.is_tcp_serial_port:
            await super().startup_reset()  # a socket:// dongle may reset by itself when one connects
        else:
            await self._reset_and_negotiate()
        if self.ezsp_version < frames.OLDEST_VERSION:
            raise RadioRefusedError(
                f"the dongle speaks EZSP v{self.ezsp_version}, and the oldest that is supported is"
                f" v{frames.OLDEST_VERSION}: update its firmware"
            )

    async def _reset_and_negotiate(self) -> None:
        for attempt in range(1, RESET_ATTEMPTS + 1):
            try:
                await self.reset()
                await self.version()
                await self.get_xncp_features()
                break
            except LINK_ERRORS:
                if attempt == RESET_ATTEMPTS:
                    await self.disconnect()
                    raise

    async def reset(self) -> None:
        self._grown.clear()
        if self._is_lost:  # bellows would stumble over the port that it no longer has
            raise ConnectionResetError("the link to the dongle was lost")
        await super().reset()

    async def write_config(self, config: dict[str, Any]) -> None:
        """What bellows writes after every reset, as far as the hub wants it; and the endpoints (UG100 4, addEndpoint).

        Sizes only grow, the key table's to what the hub wants, and are read once: a reset brings the same back. The
        others are written without a look, which takes one command instead of two. What the dongle has no room for it
        refuses, and keeps what it has.
        """
        del config
        for entry in DEFAULT_CONFIG.get(self.ezsp_version, DEFAULT_CONFIG[bellows.ezsp.EZSP_LATEST]):
            if isinstance(entry, ValueConfig):
                await self.setValue(valueId=entry.value_id, value=entry.value.serialize())
            elif entry.config_id not in _UNUSED:
                await self._configure(entry)
        await self._owner.register_endpoints()

    async def _configure(self, entry: RuntimeConfig) -> None:
        number, wanted = ember.EzspConfigId(entry.config_id), entry.value
        if entry.minimum:
            if number == ember.EzspConfigId.CONFIG_KEY_TABLE_SIZE:
                wanted = self._key_table_size
            if await self.size_of(number) >= wanted:
                return
        (status,) = await self.setConfigurationValue(configId=number, value=wanted)
        if entry.minimum and is_ok(status):
            self._grown[number] = wanted

    async def size_of(self, number: Any) -> int:
        """A size of the dongle's, by its EzspConfigId, as it is now; 0 where the dongle does not know it."""
        if number not in self._built:
            status, value = await self.getConfigurationValue(configId=number)
            self._built[number] = int(value) if is_ok(status) else 0
        return self._grown.get(number, self._built[number])

    async def disconnect(self) -> None:
        """As bellows does it, but never for ever."""
        _let_sends_fail_unheard()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_LIMIT_S):
                await super().disconnect()

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_lost = True
        _let_sends_fail_unheard()
        super().connection_lost(exc)

    async def read_link_keys(self) -> AsyncIterator[zigpy.state.Key]:
        """Of the key table. bellows 1.2.1 reads the answers of version 14 and later in the order of version 13."""
        if self.ezsp_version < frames.SL_STATUS_VERSION:
            async for key in super().__getattr__("read_link_keys")():
                yield key
            return
        for index in range(await self.size_of(ember.EzspConfigId.CONFIG_KEY_TABLE_SIZE)):
            status, context, key, metadata = await self.exportLinkKeyByIndex(index=index)
            if status == ember.sl_Status.OK:
                yield zigpy.state.Key(
                    key=key,
                    tx_counter=metadata.outgoing_frame_counter,
                    rx_counter=metadata.incoming_frame_counter,
                    partner_ieee=context.eui64,
                )

    async def read_child_data(self) -> AsyncIterator[tuple[Any, Any, Any]]:
        """Network address, EUI-64 and type of each child. bellows asks for 256, whatever there are."""
        count, *_ = await self.getParentChildParameters()
        for index in range(await self.size_of(ember.EzspConfigId.CONFIG_MAX_END_DEVICE_CHILDREN)):
            if not count:
                return
            status, child = await self.getChildData(index=index)
            if is_ok(status):
                count -= 1
                yield child.id, child.eui64, child.type

    # The hub's messages

    def attach(self, messages: Messages) -> None:
        self._dialect = frames.Dialect(self.ezsp_version)
        self._messages = messages

    def wake(self) -> None:
        """There may be a next command."""
        self._wanted.set()

    async def serve(self) -> None:
        """Send what the hub has to say until the link fails, which raises one of LINK_ERRORS."""
        assert self._messages is not None
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            while (command := self._messages.next_command()) is not None:
                try:
                    await self._send(command)
                except InvalidCommandError:  # every firmware knows these three, but not one that was just started
                    raise ConnectionResetError(_RESTARTED) from None
                except TimeoutError:
                    raise ConnectionResetError("the dongle stopped answering") from None

    async def _send(self, command: Command) -> None:
        match command:
            case Unicast(destination, aps, tag, payload, accepted):
                status, counter = await self.send_unicast(
                    nwk=ember.NWK(destination), aps_frame=aps_frame(aps), message_tag=tag, data=payload
                )
                accepted(acceptance(status), int(counter))
            case FragmentAck(destination, aps):
                await self.sendReply(destination, aps_frame(aps), b"")  # by place: the versions name them otherwise
            case Nop():
                await self.nop()

    def frame_received(self, data: bytes) -> None:
        self.frames_received += 1
        if self._messages is None or len(data) < frames.HEADER_BYTES:
            super().frame_received(data)
            return
        match data[3] | data[4] << 8:
            case frames.INVALID_COMMAND if data[frames.HEADER_BYTES :] == _VERSION_NOT_SET:
                self.connection_lost(ConnectionResetError(_RESTARTED))
                return
            case frames.INCOMING_MESSAGE_HANDLER | frames.MESSAGE_SENT_HANDLER as frame_id:
                try:
                    taken = self._take(self._messages, frame_id, data)
                except MalformedFrameError:
                    return  # bellows would only log it
            case _:
                taken = False
        if not taken:
            super().frame_received(data)

    def _take(self, messages: Messages, frame_id: int, data: bytes) -> bool:
        if frame_id == frames.MESSAGE_SENT_HANDLER:
            return messages.message_sent(self._dialect.message_sent(data))
        message = self._dialect.incoming(data)
        return message is None or messages.incoming(message)


def _let_sends_fail_unheard() -> None:
    """Bellows shields a frame that it sends: where its sender was cancelled, nobody is left to hear that it failed."""
    for task in asyncio.all_tasks():
        coroutine = task.get_coro()
        if inspect.iscoroutine(coroutine) and coroutine.cr_code.co_filename == bellows.ash.__file__:
            task.add_done_callback(_hear)


def _hear(task: "asyncio.Task[object]") -> None:
    if not task.cancelled():
        task.exception()


# Between bellows' types and ours


def acceptance(status: Any) -> Acceptance:
    if status == ember.sl_Status.OK:
        return Acceptance.TAKEN
    return Acceptance.FULL if status in _FULL else Acceptance.REFUSED


@functools.lru_cache(maxsize=256)  # it is the same for all blocks to one device (our choice)
def aps_frame(aps: frames.ApsFrame) -> Any:
    return ember.EmberApsFrame(
        profileId=aps.profile,
        clusterId=aps.cluster,
        sourceEndpoint=aps.source_endpoint,
        destinationEndpoint=aps.destination_endpoint,
        options=ember.EmberApsOption(aps.options),
        groupId=aps.group,
        sequence=aps.sequence,
    )


def is_ok(status: Any) -> bool:
    return bool(ember.sl_Status.from_ember_status(status) == ember.sl_Status.OK)


def status_name(status: Any) -> str:
    return str(getattr(status, "name", status))
