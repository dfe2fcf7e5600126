"""bellows' EZSP connection with a fast lane: the one place that knows bellows from the inside.

bellows parses every frame through generic types and sends every command as a task of its own. For a frame per image
block that is most of the work, so the frames of the hot path are taken from the stream before bellows' tables see them
(`frame_received`), and hot commands leave without a task, in turn with bellows' own commands, for which `pump` waits.

What it uses of bellows that is not public: `_protocol`, `_gw`, `_command`, and of the protocol `_seq`, `_awaiting`,
`_send_semaphore`; `ash_line.py` names what it uses itself. `refuse_unknown_bellows` looks at them when a link opens; a
test does so against the installed version. Faults of bellows 1.2.1 that are worked around here say so where they are.
"""

# ruff: noqa: SLF001  (see above)

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Protocol

import bellows.ezsp
import bellows.types as ember
import bellows.uart
import zigpy.state
from bellows.ash import AshException, AshProtocol
from bellows.exception import EzspError
from zigpy.serial import create_serial_connection

from chf.errors import MalformedFrameError, RadioRefusedError
from chf.radio import ash_line
from chf.radio.ash_line import AshLine, take
from chf.radio.ezsp import frames

RESET_ATTEMPTS = 3
CLOSE_LIMIT_S = 5.0

LINK_ERRORS = (OSError, TimeoutError, RuntimeError, AshException, EzspError)
"""What bellows raises when the dongle is not there: RuntimeError is its word for a closed connection."""

_VERSION_NOT_SET = (b"\x30",)  # EzspStatus; from version 14 on no source says what a chip puts there
_RESTARTED = "the dongle restarted without a word"
_CALLBACK_BITS = 0x18  # frame control: not the answer to a command


@dataclass(frozen=True, slots=True)
class Command:
    """`answered` gets the body of the answer."""

    frame_id: int
    body: bytes
    answered: Callable[[bytes], None]


class HotPath(Protocol):
    """The hub's side of the fast lane; called from the event loop, must not block."""

    def next_command(self) -> Command | None: ...
    def incoming(self, message: frames.IncomingMessage) -> bool:
        """False where bellows is to have it."""
        ...

    def message_sent(self, sent: frames.MessageSent) -> bool: ...


_SHIELDED = AshProtocol._send_data_frame.__qualname__
"""Goes on in bellows when the one who sends is cancelled, and then fails with nobody left to hear of it."""


def _take_note(task: "asyncio.Task[object]") -> None:
    if not task.cancelled():
        task.exception()


def refuse_unknown_bellows(ezsp: Any) -> None:
    """Raise RadioRefusedError unless the installed bellows has the inside that this module was written for."""
    wanted = (
        (ezsp, ("_protocol", "_gw")),
        (ezsp._protocol, ("_seq", "_awaiting", "_send_semaphore")),
        (AshLine(None, lambda: None), ash_line.PRIVATE),
    )
    missing = [f"{type(part).__name__}.{name}" for part, names in wanted for name in names if name not in vars(part)]
    if missing:
        raise RadioRefusedError(f"this bellows is not one that the hub knows (no {', '.join(missing)}): install 1.2.1")


class HotEzsp(bellows.ezsp.EZSP):  # type: ignore[misc]
    """`bellows.ezsp.EZSP` whose hot frames go to a `HotPath` once `open_fast_lane` was called."""

    def __init__(self, device_config: dict[str, Any], application: Any) -> None:
        super().__init__(device_config, application)
        self._hot: HotPath | None = None
        self._dialect = frames.Dialect(frames.OLDEST_VERSION)
        self._loop = asyncio.get_running_loop()
        self._is_woken = False
        self._turn_wanted = asyncio.Event()
        self._turn: Any = None  # the semaphore of all commands, while a hot one has it
        self._hot_command: Command | None = None
        self._hot_sequence = 0
        self._hot_since = 0.0
        self._is_lost = False
        self._is_stranger = False  # it restarted unheard, and knows no command before it is asked for its version
        self.line: AshLine | None = None
        self.frames_received = 0

    async def connect(self, *, use_thread: bool = True) -> None:
        """As bellows does it, with a line of ours."""
        assert not use_thread
        self._gw = await self._open_line()
        await self.startup_reset()

    async def _open_line(self) -> Any:
        path, flow_control = self._config["path"], self._config["flow_control"]
        gateway = bellows.uart.Gateway(self, self._loop.create_future())
        gateway.data_received = self.frame_received  # which is all that bellows' own does
        in_between = bellows.uart.is_esphome_url(path)  # an ESPHome proxy acknowledges in our place
        self.line = line = AshLine(gateway, self._turn_ended, suppress_acks=in_between)
        await create_serial_connection(
            self._loop,
            lambda: line,
            url=path,
            baudrate=self._config["baudrate"],
            xonxoff=flow_control in (None, "software"),
            rtscts=flow_control == "hardware",
            **({"mode": bellows.uart.ACKLESS_MODE} if in_between else {}),
        )
        await gateway.wait_until_connected()
        return gateway

    async def startup_reset(self) -> None:
        """As bellows does it, but each attempt from the start.

        bellows 1.2.1 skips the reset of a second attempt when the first got past it, and then speaks to the dongle in
        the framing of another version.
        """
        if self.is_tcp_serial_port:
            await super().startup_reset()  # a socket:// dongle may reset by itself when one connects
        else:
            await self._reset_and_negotiate()
        refuse_unknown_bellows(self)
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
        if self._is_lost:  # bellows would stumble over the port that it no longer has
            raise ConnectionResetError("the link to the dongle was lost")
        await super().reset()

    async def disconnect(self) -> None:
        """As bellows does it, but never for ever, and what waits for an answer is told at once."""
        self._fail_waiting(ConnectionResetError("the link was closed"))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_LIMIT_S):
                await super().disconnect()

    def connection_lost(self, exc: Exception | None) -> None:
        # bellows leaves commands that wait for an answer waiting for their whole timeout
        self._is_lost = True
        self._fail_waiting(ConnectionResetError("the link to the dongle was lost"))
        super().connection_lost(exc)

    def _fail_waiting(self, error: Exception) -> None:
        for task in asyncio.all_tasks():
            if getattr(task.get_coro(), "__qualname__", "") == _SHIELDED:
                task.add_done_callback(_take_note)
        waiting = [future for _, _, future in self._protocol._awaiting.values()] if self._protocol is not None else []
        for future in waiting:
            if not future.done():
                future.set_exception(error)
                future.exception()  # told: whoever is still sending and never comes to wait for it is no complaint
        self._end_turn()

    async def _command(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """As bellows does it; what waited for the end of it leaves before the caller goes on."""
        answer = await super()._command(name, *args, **kwargs)
        await asyncio.sleep(0)
        return answer

    def open_fast_lane(self, hot: HotPath) -> frames.Dialect:
        self._dialect = frames.Dialect(self.ezsp_version)
        self._hot = hot
        return self._dialect

    async def read_link_keys(self) -> AsyncIterator[zigpy.state.Key]:
        """Of the key table. bellows 1.2.1 reads the answers of version 14 and later in the order of version 13."""
        if self.ezsp_version < frames.SL_STATUS_VERSION:
            async for key in self._protocol.read_link_keys():
                yield key
            return
        _, size = await self.getConfigurationValue(configId=ember.EzspConfigId.CONFIG_KEY_TABLE_SIZE)
        for index in range(size):
            status, context, key, metadata = await self.exportLinkKeyByIndex(index=index)
            if status == ember.sl_Status.OK:
                yield zigpy.state.Key(
                    key=key,
                    tx_counter=metadata.outgoing_frame_counter,
                    rx_counter=metadata.incoming_frame_counter,
                    partner_ieee=context.eui64,
                )

    def unanswered_since(self) -> float | None:
        """Loop time at which the hot command that still waits for its answer was begun.

        A timer per command would cost more than it is worth: the one who asks this now and then is the timer.
        """
        return None if self._turn is None else self._hot_since

    def wake(self) -> None:
        """There may be a next command. It leaves when what is being received was dealt with, or soon."""
        if not self._is_woken:
            self._is_woken = True
            if self.line is None or not self.line.in_turn:
                self._loop.call_soon(self._turn_ended)

    def _turn_ended(self) -> None:
        if self._is_woken:
            self._is_woken = False
            self._send_next()

    def _send_next(self) -> None:
        line = self.line
        if self._hot is None or self._turn is not None or line is None or not self._may_send():
            return
        turn = self._protocol._send_semaphore
        if turn.locked() or line.window.locked():
            self._turn_wanted.set()
        elif (command := self._hot.next_command()) is not None:
            take(turn)
            self._send(line, turn, command)

    def _may_send(self) -> bool:
        return not self._is_lost and not self._is_stranger and self.is_ezsp_running

    def _send(self, line: AshLine, turn: Any, command: Command) -> None:
        protocol = self._protocol
        self._turn, self._hot_command = turn, command
        self._hot_sequence = sequence = protocol._seq
        protocol._seq = (sequence + 1) % 256
        self._hot_since = self._loop.time()
        line.send_at_once(frames.header(sequence, command.frame_id) + command.body)  # or it is never answered

    def _end_turn(self) -> None:
        self._hot_command = None
        if self._turn is not None:
            turn, self._turn = self._turn, None
            turn.release()

    async def pump(self) -> None:
        """Wait for the end of bellows' command where a hot one found the line taken, and send that before its next.

        Until the link fails, or the dongle turns out to have restarted, which raises one of LINK_ERRORS.
        """
        while True:
            await self._turn_wanted.wait()
            self._turn_wanted.clear()
            if self._is_stranger:
                raise ConnectionResetError(_RESTARTED)
            assert self.line is not None
            turn = self._protocol._send_semaphore
            await turn.acquire()
            try:
                async with self.line.window:
                    pass
                if self._may_send() and self._hot is not None and (command := self._hot.next_command()) is not None:
                    # With this turn: one that is given back goes to who reads a table, command after command.
                    self._send(self.line, turn, command)
            finally:
                if self._turn is None:
                    turn.release()

    def frame_received(self, data: bytes) -> None:
        self.frames_received += 1
        if self._hot is None or len(data) < frames.HEADER_BYTES:
            super().frame_received(data)
            return
        frame_id = data[3] | data[4] << 8
        if frame_id == frames.INVALID_COMMAND and (
            data[frames.HEADER_BYTES :] in _VERSION_NOT_SET or self._is_hot_answer(data[0], frame_id)
        ):  # the commands of the fast lane are known to every firmware, but not to one that was just started
            self._is_stranger = True
            self._fail_waiting(ConnectionResetError(_RESTARTED))
            self._turn_wanted.set()
            return
        if not data[1] & _CALLBACK_BITS and self._is_hot_answer(data[0], frame_id):
            self._take_answer(data[frames.HEADER_BYTES :])
            return
        try:
            taken = self._take_callback(self._hot, frame_id, data)
        except MalformedFrameError:
            return  # bellows would only log it
        if not taken:
            super().frame_received(data)

    def _take_callback(self, hot: HotPath, frame_id: int, data: bytes) -> bool:
        match frame_id:
            case frames.INCOMING_MESSAGE_HANDLER:
                message = self._dialect.incoming(data)
                return message is None or hot.incoming(message)
            case frames.MESSAGE_SENT_HANDLER:
                return hot.message_sent(self._dialect.message_sent(data))
            case _:
                return False

    def _is_hot_answer(self, sequence: int, frame_id: int) -> bool:
        command = self._hot_command
        return (
            command is not None
            and sequence == self._hot_sequence
            and frame_id in (command.frame_id, frames.INVALID_COMMAND)
        )

    def _take_answer(self, body: bytes) -> None:
        command = self._hot_command
        assert command is not None
        self._hot_command = None  # a repeated answer is not one
        command.answered(body)
        self._end_turn()
        self._send_next()
