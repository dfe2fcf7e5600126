"""The HTTP address of the desk: POST to /api/v1/serviceD, /serviceS, /serviceT; the answer is in the reply.

A client can be anybody, so everything that it can make us hold has a limit: connections, headers, bodies, and the time
that each may take; and each connection carries one request. On loopback there is no TLS and no password, and what a web
page in a browser could send is refused; beyond loopback clients show certificates, unless somebody insists otherwise.
"""

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web

from chf.clock import Clock
from chf.dcc.delivery import CONTENT_TYPE
from chf.dcc.desk import Address, Answer, Desk
from chf.duis.document import LARGEST_DOCUMENT_OCTETS
from chf.errors import MalformedRequestError, RefusedError, StoreError, UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_LOG = logging.getLogger(__name__)
_Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]

PREFIX: Final = "/api/v1/"  # DCC-B
REASON_HEADER: Final = "Chf-Reason"
"""Why something was refused, in words: ours, beside the response that has only a code."""
_LARGEST: Final = {
    Address.NON_DEVICE: LARGEST_DOCUMENT_OCTETS,
    Address.SEND_COMMAND: 256 << 10,  # the largest GBCS message in base64, and room
    Address.TRANSFORM: 256 << 10,
}

_ADDRESSES: Final = {PREFIX + address.value: address for address in Address}
_HUNG_UP: Final = (aiohttp.ClientError, ConnectionError, web.PayloadAccessError)


@dataclass(frozen=True, slots=True)
class GatewayLimits:
    """How much of this process clients may take, one or many."""

    connections: int = 64
    large_bodies: int = 4
    """So many bodies beyond `small_body_octets` at once: with the largest document, what bodies can take of memory."""
    small_body_octets: int = 256 << 10
    header_timeout_s: float = 10.0
    body_pause_s: float = 5.0
    """How long a body may stand still in all, beyond the time that its octets take at the least rate."""
    body_octets_per_s: int = 64 << 10
    turn_timeout_s: float = 120.0
    """How long a large body waits for its turn; that is no time of its own."""


class _OneLine(logging.Filter):
    """What clients get wrong is a line each, however they do it: no traceback, and nothing of a body."""

    def filter(self, record: logging.LogRecord) -> bool:
        fault = record.exc_info[1] if record.exc_info else None
        told = record.getMessage() if fault is None else f"{record.getMessage()}: {type(fault).__name__}"
        record.msg, record.args, record.exc_info = _printable(told)[:200], (), None
        return True


class _Server(web.Server):
    """Counts connections as they are made and lost, and drops those whose headers do not come."""

    def __init__(self, handler: _Handler, limits: GatewayLimits) -> None:
        logger = logging.getLogger(f"{__name__}.http")
        logger.addFilter(_OneLine())
        super().__init__(
            handler,
            access_log=None,
            lingering_time=1.0,  # for a body that was refused and is still being sent
            auto_decompress=False,
            logger=logger,
        )
        self._limits = limits
        self._headers: dict[web.RequestHandler, asyncio.TimerHandle] = {}

    def connection_made(self, handler: web.RequestHandler, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        loop = asyncio.get_running_loop()
        # aiohttp has no limit on how long the headers may take.
        self._headers[handler] = loop.call_later(self._limits.header_timeout_s, transport.abort)
        if len(self.connections) > self._limits.connections:
            # One that has asked nothing gives way, so that such ones keep nobody out.
            idle = next(iter(self._headers))
            self.headers_came(idle)
            if idle.transport is not None:
                idle.transport.abort()

    def connection_lost(self, handler: web.RequestHandler, exc: BaseException | None = None) -> None:
        self.headers_came(handler)
        super().connection_lost(handler, exc)

    def headers_came(self, handler: web.RequestHandler) -> None:
        timer = self._headers.pop(handler, None)
        if timer is not None:
            timer.cancel()


class Gateway:
    def __init__(self, desk: Desk, clock: Clock, limits: GatewayLimits | None = None) -> None:
        self._desk, self._clock, self._limits = desk, clock, limits or GatewayLimits()
        self._large = asyncio.Semaphore(self._limits.large_bodies)
        self._loopback_only = True

    @asynccontextmanager
    async def listening(
        self, host: str, port: int, tls: ssl.SSLContext | None = None
    ) -> "AsyncIterator[tuple[str, int]]":
        """Serve while the block runs; yields the address, with the real port. What is being answered is finished."""
        self._loopback_only = is_loopback(host)

        async def respond(request: web.BaseRequest) -> web.StreamResponse:
            server.headers_came(request.protocol)
            return await self._respond(request)

        server = _Server(respond, self._limits)
        runner = web.ServerRunner(server, handle_signals=False, shutdown_timeout=5.0)
        await runner.setup()
        try:
            try:
                listener = await asyncio.get_running_loop().create_server(server, host, port, ssl=tls)
            except OSError as error:
                raise UsageError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
            try:
                bound = listener.sockets[0].getsockname()
                yield str(bound[0]), int(bound[1])
            finally:
                listener.close()
        finally:
            await runner.cleanup()

    async def _respond(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            response = await self._handle(request)
        except web.HTTPException as error:
            response = _plain(error.status, error.text or error.reason)
            response.headers.extend({name: value for name, value in error.headers.items() if name == "Allow"})
        except _HUNG_UP as error:
            _LOG.info("the client went away in the middle of its request: %s", _printable(repr(error)))
            raise ConnectionResetError from None
        except Exception:  # noqa: BLE001 the outermost of a request, which is answered all the same
            _LOG.exception("a request was not answered")
            response = _plain(500, "a fault of this program: its log says more")
        response.headers["Connection"] = "close"
        response.headers["Server"] = "chf"
        response.force_close()
        return response

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self._refuse_browsers(request)
        address = _ADDRESSES.get(request.path)
        if address is None:
            raise web.HTTPNotFound(text=f"requests are posted to {', '.join(_ADDRESSES)}")
        if request.method != "POST":
            raise web.HTTPMethodNotAllowed(request.method, ["POST"], text="requests are posted")
        if request.content_type != CONTENT_TYPE:
            raise web.HTTPUnsupportedMediaType(text=f"{CONTENT_TYPE} is wanted")
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise web.HTTPUnsupportedMediaType(text="a compressed body is not taken")
        if (request.content_length or 0) > _LARGEST[address]:
            raise _too_large(_LARGEST[address], request.content_length or 0)
        match request.headers.get("Expect", "").lower():
            case "":
                pass
            case "100-continue":
                await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                request.writer.output_size = 0  # the answer proper is still to come
            case _:
                raise web.HTTPExpectationFailed(text="the one expectation that is met is 100-continue")
        async with AsyncExitStack() as held:
            document = await self._body(request, _LARGEST[address], held)
            return self._answer(document, address)

    def _refuse_browsers(self, request: web.BaseRequest) -> None:
        """A page of another origin, or of a name that was pointed at this machine, is not a user of the DCC."""
        if "Origin" in request.headers:
            raise web.HTTPForbidden(text="requests from web pages are not taken")
        try:
            parts = urlsplit(f"//{request.host}")
            host, _port = parts.hostname or "", parts.port
        except ValueError:
            raise web.HTTPBadRequest(text="the Host header holds no host and port") from None
        if self._loopback_only and not is_loopback(host):
            raise web.HTTPForbidden(text="this address is served for the local machine only")

    async def _body(self, request: web.BaseRequest, largest: int, held: AsyncExitStack) -> bytes:
        """`held` keeps a place among the large bodies until the document is done with."""
        loop, limits = asyncio.get_running_loop(), self._limits
        parts: list[bytes] = []
        size, waited_s, begun = 0, 0.0, loop.time()
        try:
            while True:
                async with asyncio.timeout_at(begun + waited_s + limits.body_pause_s + size / limits.body_octets_per_s):
                    part = await request.content.readany()
                if not part:
                    return b"".join(parts)
                if size <= limits.small_body_octets < size + len(part):
                    waits = loop.time()
                    async with asyncio.timeout(limits.turn_timeout_s):
                        await held.enter_async_context(self._large)
                    waited_s = loop.time() - waits
                size += len(part)
                if size > largest:
                    raise _too_large(largest, size)
                parts.append(part)
        except TimeoutError:
            raise web.HTTPRequestTimeout(text="the body took too long") from None

    def _answer(self, document: bytes, address: Address) -> web.StreamResponse:
        try:
            answer = self._desk.take(document, self._clock.now(), address=address)
        except (MalformedRequestError, RefusedError) as error:
            _LOG.info("%s: not answerable: %s", address.value, error)
            return _plain(400, str(error))
        except (StoreError, UsageError) as error:  # a full disk, a list that somebody edits: not the sender's fault
            _LOG.error("%s: %s", address.value, error)
            return _plain(503, str(error))
        self._log(address, answer)
        response = web.Response(body=answer.document, content_type=CONTENT_TYPE, charset="utf-8")
        reason = answer.reason or "; ".join(answer.notes)
        if reason:
            response.headers[REASON_HEADER] = _printable(reason)
        return response

    def _log(self, address: Address, answer: Answer) -> None:
        _LOG.info("%s: %s %s", address.value, answer.code.value, _printable(answer.reason))


def is_loopback(host: str) -> bool:
    if host.rstrip(".").lower() == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _too_large(largest: int, size: int) -> web.HTTPException:
    return web.HTTPRequestEntityTooLarge(largest, size, text=f"more than {largest} octets")


def _plain(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=_printable(text) + "\n", content_type="text/plain")


def _printable(text: str) -> str:
    """Fit for a header, a log and a terminal: one line of visible ASCII."""
    return "".join(character if " " <= character <= "~" else "?" for character in text)[:1000]
