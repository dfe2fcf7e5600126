"""zigpy-znp's connection with a fast lane: the one place that knows zigpy-znp from the inside.

zigpy-znp parses every frame through generic types, logs it, and waits for every answer in a task of its own. For a
frame per image block that is most of the work, so frames are cut from the stream here, those of the hot path go to a
`HotPath`, and only the rest to zigpy-znp's tables. MT allows one synchronous request at a time: `HotZnp.request` and
the fast lane take turns: after one of zigpy-znp's requests the fast lane has one, and the other way round.

What it uses of zigpy-znp that is not public: `ZNP._uart`, `_config` and `_listeners`, and of its protocol `_api`,
`_buffer` and `_transport`. `refuse_unknown_zigpy_znp` looks at them when a link opens; a test does so against the
installed version.
Faults of zigpy-znp 1.1.1 that are worked around here say so where they are.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import zigpy_znp.commands as mt
from zigpy.serial import create_serial_connection
from zigpy_znp.api import ZNP
from zigpy_znp.exceptions import CommandNotRecognized, InvalidCommandResponse
from zigpy_znp.frames import GeneralFrame
from zigpy_znp.types import Bytes, CommandHeader, MTCapabilities
from zigpy_znp.uart import ZnpMtProtocol

from chf.errors import MalformedFrameError, RadioRefusedError
from chf.eui64 import Eui64
from chf.radio.znp import frames

OLDEST_VERSION = 3.30
PING_LIMIT_S = 0.5  # of a dongle that runs
PINS_S = 0.15  # of one state of RTS and DTR
BOOTLOADER_S = 2.5  # of a CC253x's bootloader to hand over
WAKE_LIMIT_S = 10.0  # of all that is tried to get a first answer
ANSWER_LIMIT_S = 3.0  # of a request of the fast lane, which the dongle answers within milliseconds
CLOSE_LIMIT_S = 5.0

LINK_ERRORS = (OSError, TimeoutError, RuntimeError)
"""What zigpy-znp raises when the dongle is not there: RuntimeError is its word for a closed connection."""

_REPEATS = 2
_REPEATABLE = (
    *(mt.SYS.Version.Req, mt.SYS.GetExtAddr.Req, mt.UTIL.AssocFindDevice.Req),
    *(mt.SYS.OSALNVLength.Req, mt.SYS.OSALNVReadExt.Req, mt.SYS.OSALNVWriteExt.Req),
    *(mt.SYS.NVLength.Req, mt.SYS.NVRead.Req, mt.SYS.NVWrite.Req),
    *(mt.ZDO.MsgCallbackRegister.Req, mt.AppConfig.BDBSetChannel.Req, mt.AppConfig.BDBSetJoinUsesInstallCodeKey.Req),
)
"""What a dongle does twice as it does it once. Of these one start takes a hundred, and MT repeats nothing: on a line
that loses one frame in a hundred hardly any start would come to its end."""

_MISSES = 2  # requests in a row without an answer, and without a word otherwise: the dongle hangs
_FORCE_RUN = 0xEF  # to a CC253x's bootloader


@dataclass(frozen=True, slots=True)
class Request:
    """`answered` gets the data of the answer, or None where the dongle does not know the command."""

    command: int
    data: bytes
    answered: Callable[[bytes | None], None]


class HotPath(Protocol):
    """The hub's side of the fast lane; called from the event loop, must not block."""

    def next_request(self) -> Request | None: ...
    def unanswered(self) -> bool:
        """The answer to the last request did not come. False where the link cannot go on."""
        ...

    def incoming(self, message: frames.IncomingMessage) -> None: ...
    def confirmed(self, confirm: frames.DataConfirm) -> None: ...
    def zdo(self, message: frames.ZdoMessage) -> None: ...


class MtEvents(Protocol):
    """What the dongle says by itself, but for messages, and what becomes of the line."""

    def device_joined(self, network_address: int, device: Eui64) -> None: ...
    def device_left(self, left: frames.DeviceLeft) -> None: ...
    def line_lost(self, reason: str) -> None: ...


class _MtLine(ZnpMtProtocol):  # type: ignore[misc]
    """zigpy-znp's protocol, whose octets become frames here."""

    in_turn = False  # what came in one piece is being dealt with
    _stump_bytes = 0

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer
        self.in_turn = True
        try:
            if not buffer and self._api is not None and (found := frames.whole_frame(data)) is not None:
                self._api.mt_received(*found)
            else:
                buffer += data
            while self._api is not None and (found := frames.take_frame(buffer)) is not None:
                self._api.mt_received(*found)
        finally:
            self.in_turn = False
        if self._api is not None:
            self._api.turn_ended()

    def write(self, data: bytes) -> None:
        # zigpy-znp spells every octet out for a log that nobody reads
        if self._transport is None:
            raise ConnectionResetError("the link to the dongle was lost")
        self._transport.write(data)

    async def set_dtr_rts(self, *, dtr: bool, rts: bool) -> None:
        if self._transport is None:
            raise ConnectionResetError("the link to the dongle was lost")
        await self._transport.set_modem_pins(dtr=dtr, rts=rts)

    def look_for_stump(self) -> None:
        """What has waited for its end since the last look is no frame: its length was hit by noise."""
        if self._buffer and len(self._buffer) == self._stump_bytes:
            frames.drop_to_next_start(self._buffer)
            self.data_received(b"")
        self._stump_bytes = len(self._buffer)

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()


def refuse_unknown_zigpy_znp(znp: Any) -> None:
    """Raise RadioRefusedError unless the installed zigpy-znp has the inside that this module was written for."""
    wanted = ((znp, ("_uart", "_config", "_listeners")), (_MtLine(znp), ("_api", "_buffer", "_transport")))
    missing = [f"{type(part).__name__}.{name}" for part, names in wanted for name in names if name not in vars(part)]
    if missing:
        raise RadioRefusedError(f"this zigpy-znp is not one that the hub knows (no {', '.join(missing)}): use 1.1.1")


class HotZnp(ZNP):  # type: ignore[misc]
    """`zigpy_znp.api.ZNP` whose hot frames go to a `HotPath` once `open_fast_lane` was called."""

    _uart: _MtLine | None

    def __init__(self, config: dict[str, Any], events: MtEvents) -> None:
        super().__init__(config)
        refuse_unknown_zigpy_znp(self)
        self._events = events
        self._loop = asyncio.get_running_loop()
        self._hot: HotPath | None = None
        self._hot_request: Request | None = None
        self._hot_since = 0.0
        self._hot_done: asyncio.Future[None] | None = None  # a request of zigpy-znp's waits for the hot one
        self._requests = 0  # of zigpy-znp's that wait or are under way
        self._is_woken = self._is_resetting = self._is_lost = False
        self._misses = 0
        self.frames_received = 0

    # The link

    async def connect(self, *, test_port: bool = True) -> None:
        """As zigpy-znp does it, but asks first and wakes only a dongle that does not answer.

        zigpy-znp 1.1.1 pulls RTS and DTR before it says a word, which costs half a second and resets some sticks.
        """
        assert test_port
        device = self._config["device"]
        with self._lost_is_told():
            _, line = await create_serial_connection(
                self._loop,
                lambda: _MtLine(self, url=device["path"]),
                url=device["path"],
                baudrate=device["baudrate"],
                flow_control=device["flow_control"],
            )
            assert isinstance(line, _MtLine)
            self._uart = line
            self.capabilities = int((await self._first_answer()).Capabilities)
            await self._refuse_old()

    async def _first_answer(self) -> Any:
        """A dongle that does not answer may be held in reset by a pin, or sit in its bootloader."""
        with contextlib.suppress(TimeoutError):
            return await self._ping()
        async with asyncio.timeout(WAKE_LIMIT_S):
            assert self._uart is not None
            for dtr, rts in ((False, False), (False, True), (False, False)):
                await self._uart.set_dtr_rts(dtr=dtr, rts=rts)
                await asyncio.sleep(PINS_S)
            with contextlib.suppress(TimeoutError):
                return await self._ping()
            self._uart.write(256 * bytes((_FORCE_RUN,)))
            await asyncio.sleep(BOOTLOADER_S)
            while True:
                with contextlib.suppress(TimeoutError):
                    return await self._ping()

    async def _ping(self) -> Any:
        async with asyncio.timeout(PING_LIMIT_S):
            return await self.request(mt.SYS.Ping.Req())

    async def _refuse_old(self) -> None:
        if not self.capabilities & MTCapabilities.APP_CNF:
            raise RadioRefusedError("the dongle runs Z-Stack 1.2, which knows no install codes: update its firmware")
        try:
            await self.nvram.determine_alignment()
        except ValueError:
            raise RadioRefusedError("the dongle runs a Z-Stack whose tables are not known") from None
        self.version = await self.detect_zstack_version()
        if self.version < OLDEST_VERSION:
            raise RadioRefusedError(
                f"the dongle runs Z-Stack {self.version}, and the oldest that is supported is {OLDEST_VERSION}:"
                " update its firmware"
            )

    async def disconnect(self) -> None:
        """As zigpy-znp does it, but never for ever, and what waits for an answer is told at once."""
        self._lose()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_LIMIT_S):
                await super().disconnect()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._lose()
        reason = "the link was closed at the other end" if exc is None else str(exc) or repr(exc)
        self._events.line_lost(reason)

    def _lose(self) -> None:
        # zigpy-znp leaves requests that wait for an answer waiting for their whole timeout
        self._is_lost = True
        for listener in [listener for listeners in self._listeners.values() for listener in listeners]:
            listener.cancel()
        self._tell_hot_done()

    @contextlib.contextmanager
    def _lost_is_told(self) -> Iterator[None]:
        """zigpy-znp cancels what waits for an answer, and its caller with it, who was not meant."""
        try:
            yield
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not self._is_lost or (task is not None and task.cancelling()):
                raise
            raise ConnectionResetError("the link to the dongle was lost") from None

    # zigpy-znp's requests

    async def request(self, request: Any, timeout: float | None = None, **response: Any) -> Any:  # noqa: ASYNC109 its
        """As zigpy-znp does it, in turn with the fast lane. Its errors quote the request, which may hold a key."""
        name = type(request).__qualname__.removesuffix(".Req")
        self._requests += 1
        try:
            while self._hot_request is not None and not self._is_lost:
                if self._hot_done is None:
                    self._hot_done = self._loop.create_future()
                await asyncio.shield(self._hot_done)
            if self._is_lost:
                raise ConnectionResetError("the link to the dongle was lost")
            with self._lost_is_told():
                return await self._request(request, timeout, **response)
        except CommandNotRecognized:
            raise CommandNotRecognized(f"it does not know {name}") from None
        except InvalidCommandResponse as error:
            status = getattr(error.response, "Status", None)
            raise InvalidCommandResponse(f"{name}: {status!r}", error.response) from None
        finally:
            self._requests -= 1
            self._send_next()  # at once: whoever reads a table comes back with its next request in this very turn

    async def _request(self, request: Any, timeout: float | None, **response: Any) -> Any:  # noqa: ASYNC109 its
        if timeout is None and isinstance(request, _REPEATABLE):
            for _ in range(_REPEATS):
                with contextlib.suppress(TimeoutError):
                    return await super().request(request, ANSWER_LIMIT_S, **response)
            timeout = ANSWER_LIMIT_S
        return await super().request(request, timeout, **response)

    async def request_callback_rsp(self, **call: Any) -> Any:
        with self._lost_is_told():
            return await super().request_callback_rsp(**call)

    async def start_network(self) -> None:
        with self._lost_is_told():
            await super().start_network()

    async def reset(self, *, wait_for_reset: bool = True) -> None:
        self._is_resetting = True
        try:
            await super().reset(wait_for_reset=wait_for_reset)
        finally:
            self._is_resetting = False

    # The fast lane

    def open_fast_lane(self, hot: HotPath) -> None:
        self._hot = hot

    def wake(self) -> None:
        """There may be a next request. It leaves when what is being received was dealt with, or soon."""
        if not self._is_woken:
            self._is_woken = True
            if self._uart is None or not self._uart.in_turn:
                self._loop.call_soon(self.turn_ended)

    def turn_ended(self) -> None:
        if self._is_woken:
            self._is_woken = False
            self._send_next()

    def _send_next(self) -> None:
        if self._hot is None or self._hot_request is not None or self._requests:
            return
        line = self._uart
        if self._is_lost or line is None or not line.is_open:
            return
        request = self._hot.next_request()
        if request is not None:
            self._hot_request = request
            self._hot_since = self._loop.time()
            line.write(frames.frame(request.command, request.data))

    def stalled(self, now: float) -> str | None:
        """Called once a second or so. MT repeats nothing: a request or an answer that noise has hit is lost."""
        if self._uart is not None:
            self._uart.look_for_stump()
        if self._hot is None or self._hot_request is None or now - self._hot_since < ANSWER_LIMIT_S:
            return None
        self._misses += 1
        self._hot_request = None
        if not self._hot.unanswered() or self._misses >= _MISSES:
            return "the dongle stopped answering"
        self._hot_is_over()
        return None

    def _hot_is_over(self) -> None:
        self._tell_hot_done()
        self._send_next()

    def _tell_hot_done(self) -> None:
        if self._hot_done is not None:
            self._hot_done.set_result(None)
            self._hot_done = None

    def mt_received(self, command: int, data: bytes) -> None:
        """A whole frame."""
        self.frames_received += 1
        self._misses = 0
        try:
            taken = self._hot is not None and self._take(self._hot, command, data)
        except MalformedFrameError:
            return  # zigpy-znp would only log it
        if not taken:
            header = CommandHeader((command & 0xFF) << 8 | command >> 8)
            if header in mt.COMMANDS_BY_ID:
                with contextlib.suppress(ValueError):  # the same
                    self.frame_received(GeneralFrame(header, Bytes(data)))

    def _take(self, hot: HotPath, command: int, data: bytes) -> bool:
        match command:
            case frames.INCOMING_MSG:
                hot.incoming(frames.incoming(data))
            case frames.DATA_CONFIRM:
                hot.confirmed(frames.data_confirm(data))
            case frames.ZDO_MSG_CB_INCOMING:
                hot.zdo(frames.zdo_message(data))
            case frames.INCOMING_MSG_EXT:
                hot.incoming(frames.incoming_ext(data))
            case frames.TC_DEVICE_IND:
                self._events.device_joined(*frames.device_joined(data))
            case frames.LEAVE_IND:
                self._events.device_left(frames.device_left(data))
            case frames.RESET_IND if not self._is_resetting:
                self._events.line_lost("the dongle restarted")
            case frames.STATE_CHANGE_IND if data and data[0] != frames.STARTED_AS_COORDINATOR:
                self._events.line_lost("the dongle's network went down")
            case _:
                return self._take_answer(command, data)
        return True

    def _take_answer(self, command: int, data: bytes) -> bool:
        request = self._hot_request
        if request is None:
            return False
        if command == request.command ^ frames.RESPONSE:
            answer: bytes | None = data
        elif command == frames.RPC_ERROR and data[1:3] == request.command.to_bytes(2, "big"):
            answer = None
        else:
            return False
        self._hot_request = None
        request.answered(answer)
        if request.command == frames.GET_DEVICE_INFO and answer is not None and not frames.runs_as_coordinator(answer):
            self._events.line_lost("the dongle restarted without a word")
            return True
        self._hot_is_over()
        return True
