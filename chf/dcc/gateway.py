"""The HTTP address of the desk: POST to /api/v1/serviceD, /serviceS, /serviceT; the answer is in the reply.

A client can be anybody, so everything that it can make us hold has a limit: connections, headers, bodies, and the time
that each may take; and each connection carries one request. There is no TLS and no password: the server listens on
loopback unless it is told otherwise, and refuses what a web page in a browser could send.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from aiohttp import web

from chf.clock import Clock
from chf.dcc.delivery import CONTENT_TYPE
from chf.dcc.desk import Address, Answer, Desk
from chf.duis.document import LARGEST_DOCUMENT_OCTETS
from chf.errors import MalformedRequestError, RefusedError, StoreError, UsageError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_LOG = logging.getLogger(__name__)

PREFIX: Final = "/api/v1/"  # DCC-B
REASON_HEADER: Final = "Chf-Reason"
"""Why something was refused, in words: ours, beside the response that has only a code."""
_LARGEST: Final = {
    Address.NON_DEVICE: LARGEST_DOCUMENT_OCTETS,
    Address.SEND_COMMAND: 256 << 10,  # the largest GBCS message in base64, and room
    Address.TRANSFORM: 256 << 10,
}

_AT_ONCE_S: Final = 0.01  # after the event loop has told the protocol of its connection


@dataclass(frozen=True, slots=True)
class GatewayLimits:
    """How much of this process clients may take, one or many."""

    connections: int = 64
    large_bodies: int = 4
    """So many bodies beyond `small_body_octets` at once: with the largest document, what bodies can take of memory."""
    small_body_octets: int = 256 << 10
    header_timeout_s: float = 10.0
    body_timeout_s: float = 30.0


class Gateway:
    def __init__(self, desk: Desk, clock: Clock, limits: GatewayLimits | None = None) -> None:
        self._desk, self._clock, self._limits = desk, clock, limits or GatewayLimits()
        self._large = asyncio.Semaphore(self._limits.large_bodies)
        self._begun: set[asyncio.BaseProtocol] = set()
        self._loopback_only = True

    @asynccontextmanager
    async def listening(self, host: str, port: int) -> "AsyncIterator[tuple[str, int]]":
        """Serve while the block runs; yields the address, with the real port. What is being answered is finished."""
        self._loopback_only = is_loopback(host)
        application = web.Application(client_max_size=LARGEST_DOCUMENT_OCTETS, middlewares=[self._guard])
        for address in Address:
            application.router.add_post(PREFIX + address.value, self._handler(address))
        runner = web.AppRunner(
            application,
            access_log=None,
            handle_signals=False,
            shutdown_timeout=5.0,
            lingering_time=1.0,  # for a body that was refused and is still being sent
            auto_decompress=False,
        )
        await runner.setup()
        try:
            assert runner.server is not None
            factory = self._protocols(runner.server)
            try:
                server = await asyncio.get_running_loop().create_server(factory, host, port)
            except OSError as error:
                raise UsageError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
            try:
                bound = server.sockets[0].getsockname()
                yield str(bound[0]), int(bound[1])
            finally:
                server.close()
        finally:
            await runner.cleanup()

    def _protocols(self, server: web.Server) -> Callable[[], asyncio.Protocol]:
        def make() -> asyncio.Protocol:
            protocol = server()
            loop = asyncio.get_running_loop()
            # aiohttp has no limit on how long the headers may take.
            loop.call_later(self._limits.header_timeout_s, self._drop_unless_begun, protocol)
            if len(server.connections) >= self._limits.connections:
                loop.call_later(_AT_ONCE_S, self._drop_unless_begun, protocol)
            return protocol

        return make

    def _drop_unless_begun(self, protocol: asyncio.BaseProtocol) -> None:
        if protocol in self._begun:
            self._begun.discard(protocol)
            return
        transport = getattr(protocol, "transport", None)
        if transport is not None:
            transport.abort()

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        self._begun.add(request.protocol)
        try:
            self._refuse_browsers(request)
            response = await handler(request)
        except web.HTTPException as error:
            response = _plain(error.status, error.text or error.reason)
        response.headers["Connection"] = "close"
        response.headers["Server"] = "chf"
        response.force_close()
        return response

    def _refuse_browsers(self, request: web.Request) -> None:
        """A page of another origin, or of a name that was pointed at this machine, is not a user of the DCC."""
        if "Origin" in request.headers:
            raise web.HTTPForbidden(text="requests from web pages are not taken")
        if self._loopback_only and not is_loopback(request.url.host or ""):
            raise web.HTTPForbidden(text="this address is served for the local machine only")

    def _handler(self, address: Address) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            if request.content_type != CONTENT_TYPE:
                raise web.HTTPUnsupportedMediaType(text=f"{CONTENT_TYPE} is wanted")
            if request.headers.get("Content-Encoding", "identity").lower() != "identity":
                raise web.HTTPUnsupportedMediaType(text="a compressed body is not taken")
            async with AsyncExitStack() as held:
                document = await self._body(request, _LARGEST[address], held)
                return self._answer(document, address)

        return handle

    async def _body(self, request: web.Request, largest: int, held: AsyncExitStack) -> bytes:
        """`held` keeps a place among the large bodies until the document is done with."""
        if (request.content_length or 0) > largest:
            raise web.HTTPRequestEntityTooLarge(largest, request.content_length or 0, text=_too_large(largest))
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._limits.body_timeout_s):
                async for part in request.content.iter_any():
                    if size <= self._limits.small_body_octets < size + len(part):
                        await held.enter_async_context(self._large)
                    size += len(part)
                    if size > largest:
                        raise web.HTTPRequestEntityTooLarge(largest, size, text=_too_large(largest))
                    parts.append(part)
        except TimeoutError:
            raise web.HTTPRequestTimeout(text="the body took too long") from None
        return b"".join(parts)

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


def _too_large(largest: int) -> str:
    return f"more than {largest} octets"


def _plain(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=_printable(text) + "\n", content_type="text/plain")


def _printable(text: str) -> str:
    """Fit for a header, a log and a terminal: one line of visible ASCII."""
    return "".join(character if " " <= character <= "~" else "?" for character in text)[:1000]
