"""The MT connection of zigpy-znp, with the hub's messages beside its requests: `HubZnp`.

zigpy-znp does the tables of MT and its requests. The hub's messages, and what the dongle says by itself, are packed and
read by hand (`frames.py`), from the octets of the line on. MT allows one request at a time, so that messages and
zigpy-znp's requests take turns, in the order in which they come: a table that is read lets a block go between any two
requests. Messages go in the order of the outbox: what is urgent overtakes all that waits. zigpy-znp's faults are named
where they are worked around.

Names here that are not public in zigpy-znp (ADR 13): `_uart`, where it keeps its line, and without which it cannot be
given ours; `_skip_bootloader`, its way to a dongle that does not answer.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import zigpy_znp.commands as mt
from zigpy.serial import create_serial_connection
from zigpy_znp.api import ZNP
from zigpy_znp.exceptions import CommandNotRecognized, InvalidCommandResponse
from zigpy_znp.frames import GeneralFrame
from zigpy_znp.types import Bytes, CommandHeader, MTCapabilities
from zigpy_znp.uart import ZnpMtProtocol

from chf.background import note
from chf.errors import MalformedFrameError, RadioRefusedError
from chf.eui64 import Eui64
from chf.radio.znp import frames
from chf.radio.znp.nvram import HubNvram

OLDEST_VERSION = 3.30  # older ones have no install codes, or keep their tables elsewhere
PING_LIMIT_S = 0.5  # of a dongle that runs (our choice)
ANSWER_LIMIT_S = 3.0  # of a request, which the dongle answers within milliseconds (our choice)
CLOSE_LIMIT_S = 5.0  # our choice

LINK_ERRORS = (OSError, TimeoutError, RuntimeError)
"""What zigpy-znp raises when the dongle is not there: RuntimeError is its word for a closed connection."""

_REPEATS = 2  # our choice
_REPEATABLE = (
    *(mt.SYS.Version.Req, mt.SYS.GetExtAddr.Req, mt.UTIL.AssocFindDevice.Req),
    *(mt.SYS.OSALNVLength.Req, mt.SYS.OSALNVReadExt.Req, mt.SYS.OSALNVWriteExt.Req),
    *(mt.SYS.NVLength.Req, mt.SYS.NVRead.Req, mt.SYS.NVWrite.Req),
    *(mt.ZDO.MsgCallbackRegister.Req, mt.AppConfig.BDBSetChannel.Req),
    *(mt.AppConfig.BDBSetJoinUsesInstallCodeKey.Req, mt.AppConfig.BDBSetTcRequireKeyExchange.Req),
)
"""What a dongle does twice as it does it once. Of these one start takes a hundred, and MT repeats nothing: on a line
that loses one frame in a hundred hardly any start would come to its end."""

_LOST = "the link to the dongle was lost"
_MISSES = 2  # requests in a row without an answer, and without a word otherwise: the dongle hangs (our choice)


@dataclass(frozen=True, slots=True)
class Request:
    """`answered` is called with the data of the answer; None where the dongle does not know the command."""

    command: int
    data: bytes
    answered: Callable[[bytes | None], None]


class MtLine(ZnpMtProtocol):  # type: ignore[misc]
    """zigpy-znp's line, which makes no objects of the octets that come.

    Where noise hits the length of a frame, both wait for up to 250 octets that never come, and every answer is lost on
    the way; this one can be told.
    """

    def __init__(self, dongle: "HubZnp", url: str) -> None:
        super().__init__(dongle, url=url)
        self._heard = dongle.heard
        self._received = bytearray()
        self._port: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._port = transport
        super().connection_made(transport)

    def write(self, data: bytes) -> None:
        """zigpy-znp's makes a text of every frame for a log that nobody keeps, with its keys."""
        assert self._port is not None
        self._port.write(data)

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (found := frames.take_frame(self._received)) is not None:
            try:
                self._heard(*found)
            except Exception as error:  # noqa: BLE001 asyncio would close the line, and the next frame is none the worse
                note(f"a frame of the dongle could not be handled: {type(error).__name__}", error)

    def resynchronise(self) -> None:
        """Look for the next frame behind what begins like one."""
        if self._received:
            frames.drop_to_next_start(self._received)
            self.data_received(b"")


class Messages(Protocol):
    """The hub's side of the connection; called from the event loop, must not block."""

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


class HubZnp(ZNP):  # type: ignore[misc]
    """`zigpy_znp.api.ZNP` that carries the hub's messages once `attach` was called."""

    def __init__(self, config: dict[str, Any], events: MtEvents) -> None:
        super().__init__(config)
        self.nvram = HubNvram(self)
        self._uart: MtLine | None = None
        self._port = config["device"]
        self._events = events
        self._messages: Messages | None = None
        self._wanted = asyncio.Event()
        self._turn = asyncio.Lock()
        self._answer: asyncio.Future[bytes | None] | None = None
        self._asked_command = 0  # by what `_answer` waits for
        self._is_resetting = self._is_lost = False
        self._misses = 0
        self.frames_received = 0

    # The link

    async def connect(self, *, test_port: bool = True) -> None:
        """Ask first; zigpy-znp's own way only for a dongle that does not answer.

        zigpy-znp 1.1.1 pulls RTS and DTR before it says a word, which costs half a second and resets some sticks.
        """
        assert test_port
        path, baudrate, flow_control = (self._port[name] for name in ("path", "baudrate", "flow_control"))
        line = self._uart = MtLine(self, path)
        await create_serial_connection(
            asyncio.get_running_loop(), lambda: line, path, baudrate=baudrate, flow_control=flow_control
        )
        try:
            async with asyncio.timeout(PING_LIMIT_S):
                self.capabilities = int((await self.request(mt.SYS.Ping.Req())).Capabilities)
        except TimeoutError:
            self.capabilities = int((await self._skip_bootloader()).Capabilities)
        self._refuse_old(self.capabilities)
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

    @staticmethod
    def _refuse_old(capabilities: int) -> None:
        if not capabilities & MTCapabilities.APP_CNF:
            raise RadioRefusedError("the dongle runs Z-Stack 1.2, which knows no install codes: update its firmware")

    async def disconnect(self) -> None:
        """As zigpy-znp does it, but never for ever."""
        self._is_lost = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_LIMIT_S):
                await super().disconnect()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._is_lost = True
        reason = "the link was closed at the other end" if exc is None else str(exc) or repr(exc)
        self._events.line_lost(reason)

    async def request(self, request: Any, timeout: float | None = None, **response: Any) -> Any:  # noqa: ASYNC109 its
        """As zigpy-znp does it, but its errors quote no request, which may hold a key."""
        name = type(request).__qualname__.removesuffix(".Req")
        try:
            return await self._repeated(request, timeout, **response)
        except CommandNotRecognized:
            raise CommandNotRecognized(f"it does not know {name}") from None
        except InvalidCommandResponse as error:
            status = getattr(error.response, "Status", None)
            raise InvalidCommandResponse(f"{name}: {status!r}", error.response) from None

    async def _repeated(self, request: Any, timeout: float | None, **response: Any) -> Any:  # noqa: ASYNC109 its
        if timeout is None and isinstance(request, _REPEATABLE):
            for _ in range(_REPEATS):
                with contextlib.suppress(TimeoutError):
                    return await self._asked(request, ANSWER_LIMIT_S, **response)
            timeout = ANSWER_LIMIT_S
        return await self._asked(request, timeout, **response)

    async def _asked(self, request: Any, timeout: float | None, **response: Any) -> Any:  # noqa: ASYNC109 its
        if self._is_lost:  # zigpy-znp would stumble over the port that it no longer has
            raise ConnectionResetError(_LOST)
        async with contextlib.nullcontext() if request.Rsp is None else self._turn:
            return await super().request(request, timeout, **response)

    async def reset(self, *, wait_for_reset: bool = True) -> None:
        self._is_resetting = True
        try:
            await super().reset(wait_for_reset=wait_for_reset)
        finally:
            self._is_resetting = False

    # The hub's messages

    def attach(self, messages: Messages) -> None:
        self._messages = messages

    def wake(self) -> None:
        """There may be a next request."""
        self._wanted.set()

    async def serve(self) -> None:
        """Send what the hub has to say until the link fails, which raises one of LINK_ERRORS."""
        assert self._messages is not None
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            while (request := self._messages.next_request()) is not None:
                await self._send(self._messages, request)

    async def _send(self, messages: Messages, request: Request) -> None:
        """MT repeats nothing: a request or an answer that noise has hit is lost."""
        try:
            async with self._turn:
                answer = await self._ask(request)
        except TimeoutError:
            self._misses += 1
            if self._uart is not None:
                self._uart.resynchronise()
            if not messages.unanswered() or self._misses >= _MISSES:
                raise ConnectionResetError("the dongle stopped answering") from None
            return
        request.answered(answer)
        if request.command == frames.GET_DEVICE_INFO and answer is not None and not frames.runs_as_coordinator(answer):
            raise ConnectionResetError("the dongle restarted without a word")

    async def _ask(self, request: Request) -> bytes | None:
        if self._is_lost or self._uart is None:
            raise ConnectionResetError(_LOST)
        self._asked_command = request.command
        self._answer = asyncio.get_running_loop().create_future()
        self._uart.write(frames.frame(request.command, request.data))
        try:
            async with asyncio.timeout(ANSWER_LIMIT_S):
                return await self._answer
        finally:
            self._answer = None

    def heard(self, command: int, data: bytes) -> None:
        """A frame of the line."""
        self.frames_received += 1
        self._misses = 0
        try:
            if self._is_answer(command, data) or (
                self._messages is not None and self._take(self._messages, command, data)
            ):
                return
        except MalformedFrameError:
            return  # zigpy-znp would only log it
        header = _header(command)
        if header in mt.COMMANDS_BY_ID:  # zigpy-znp calls that an error
            with contextlib.suppress(ValueError):  # the same
                self.frame_received(GeneralFrame(header, Bytes(data)))

    def _is_answer(self, command: int, data: bytes) -> bool:
        if self._answer is None or self._answer.done():
            return False
        if command == self._asked_command ^ frames.RESPONSE:
            self._answer.set_result(data)
        elif command == frames.UNKNOWN_COMMAND and data[1:] == self._asked_command.to_bytes(2, "big"):
            self._answer.set_result(None)
        else:
            return False
        return True

    def _take(self, messages: Messages, command: int, data: bytes) -> bool:
        match command:
            case frames.INCOMING_MSG:
                messages.incoming(frames.incoming(data))
            case frames.DATA_CONFIRM:
                messages.confirmed(frames.data_confirm(data))
            case frames.ZDO_MSG_CB_INCOMING:
                messages.zdo(frames.zdo_message(data))
            case frames.INCOMING_MSG_EXT:
                messages.incoming(frames.incoming_ext(data))
            case frames.TC_DEVICE_IND:
                self._events.device_joined(*frames.device_joined(data))
            case frames.LEAVE_IND:
                self._events.device_left(frames.device_left(data))
            case frames.RESET_IND if not self._is_resetting:
                self._events.line_lost("the dongle restarted")
            case frames.STATE_CHANGE_IND if data and data[0] != frames.STARTED_AS_COORDINATOR:
                self._events.line_lost("the dongle's network went down")
            case _:
                return False
        return True


def _header(command: int) -> CommandHeader:
    """zigpy-znp has the two octets of a command the other way round."""
    return CommandHeader((command & 0xFF) << 8 | command >> 8)
