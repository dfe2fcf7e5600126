"""The two ways to reach the dongle: a TCP port and a pseudo-terminal. Both can be unplugged, and come back.

Both behave as a cable does: they know nothing of frames, the dongle does not notice that a host comes or goes, and
what it says while nobody listens is lost. Of two hosts the later one gets the TCP port and the earlier one is cut off:
a host that died without closing must not keep the dongle.
"""

import asyncio
import os
import select
import tty
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_MAX_UNREAD_BYTES = 65_536  # our choice: what a stalled host may leave unread before octets are dropped
_READ_BYTES = 65_536  # our choice: at once


class TcpPort:
    """A `Line`. `url` is valid once `open` has returned."""

    def __init__(self, host: str, port: int, received: Callable[[bytes], None]) -> None:
        self.url = ""
        self._address = (host, port)
        self._received = received
        self._server: asyncio.Server | None = None
        self._host: _TcpHost | None = None
        self._away = False

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _TcpHost(self, self._received), *self._address)
        host, port = self._server.sockets[0].getsockname()[:2]
        self.url = f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"

    def unplug(self) -> None:
        """As a serial server does whose stick was pulled: the connection ends, and so does each new one, at once."""
        self._away = True
        if self._host is not None:
            self._host.cut_off()

    def plug_in(self) -> None:
        self._away = False

    def write(self, octets: bytes) -> None:
        if self._host is not None:
            self._host.write(octets)

    def host_spoke(self) -> bool:
        return self._host is not None and bool(self._host.unread.poll(0))

    def host_connected(self, host: "_TcpHost") -> None:
        if self._away:
            host.cut_off()
            return
        if self._host is not None:
            self._host.cut_off()
        self._host = host

    def host_gone(self, host: "_TcpHost") -> None:
        if self._host is host:
            self._host = None

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        if self._host is not None:
            self._host.cut_off()
        if self._server is not None:
            await self._server.wait_closed()


class _TcpHost(asyncio.BufferedProtocol):
    """With a buffer of its own, because asyncio otherwise allocates 256 KiB for each read."""

    def __init__(self, port: TcpPort, received: Callable[[bytes], None]) -> None:
        self._port = port
        self._received = received
        self._buffer = memoryview(bytearray(_READ_BYTES))
        self.unread = select.poll()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self.unread.register(transport.get_extra_info("socket"), select.POLLIN)
        self._port.host_connected(self)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._transport = None
        self._port.host_gone(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        del sizehint
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._received(bytes(self._buffer[:nbytes]))

    def write(self, octets: bytes) -> None:
        transport = self._transport
        if transport is not None and transport.get_write_buffer_size() < _MAX_UNREAD_BYTES:
            transport.write(octets)

    def cut_off(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class PtyPort:
    """A `Line`. `url` is the path of the terminal, or of `link`, a symbolic link to it that is made and removed."""

    def __init__(self, received: Callable[[bytes], None], link: Path | None = None) -> None:
        self.url = ""
        self._received = received
        self._link = link
        self._ends: tuple[int, int] | None = None
        self._unread = select.poll()
        self._unwritten = bytearray()

    async def open(self) -> None:
        """Raises OSError where there are no more terminals, or something else is in the link's place."""
        # The far end stays open here too, so that the terminal outlives hosts that close it.
        self._connect()

    def _connect(self) -> None:
        near, far = self._ends = os.openpty()
        for end in self._ends:
            tty.setraw(end)
        os.set_blocking(near, False)
        self._unread.register(near, select.POLLIN)
        self.url = os.ttyname(far)
        if self._link is not None:
            if self._is_ours(self._link):  # of a run that was killed
                self._link.unlink()
            self._link.symlink_to(self.url)
            self.url = str(self._link)
        asyncio.get_running_loop().add_reader(near, self._readable)

    def unplug(self) -> None:
        """The terminal is gone, and the host that holds it reads its end. Without a link, another may come back."""
        self._disconnect()

    def plug_in(self) -> None:
        if self._ends is None:
            self._connect()

    def _readable(self) -> None:
        assert self._ends is not None
        with suppress(BlockingIOError):
            self._received(os.read(self._ends[0], _READ_BYTES))

    def host_spoke(self) -> bool:
        return self._ends is not None and bool(self._unread.poll(0))

    def write(self, octets: bytes) -> None:
        if self._ends is None:
            return
        if not self._unwritten:
            with suppress(BlockingIOError):
                octets = octets[os.write(self._ends[0], octets) :]
            if not octets:
                return
            asyncio.get_running_loop().add_writer(self._ends[0], self._writable)
        if len(self._unwritten) < _MAX_UNREAD_BYTES:
            self._unwritten += octets

    def _writable(self) -> None:
        assert self._ends is not None
        with suppress(BlockingIOError):
            del self._unwritten[: os.write(self._ends[0], self._unwritten)]
        if not self._unwritten:
            asyncio.get_running_loop().remove_writer(self._ends[0])

    async def close(self) -> None:
        self._disconnect()

    def _disconnect(self) -> None:
        if self._ends is None:
            return
        loop = asyncio.get_running_loop()
        self._unread.unregister(self._ends[0])
        loop.remove_reader(self._ends[0])
        loop.remove_writer(self._ends[0])
        for end in self._ends:
            os.close(end)
        self._ends = None
        self._unwritten.clear()
        if self._link is not None and self._is_ours(self._link):
            self._link.unlink()

    @staticmethod
    def _is_ours(link: Path) -> bool:
        return link.is_symlink() and str(link.readlink()).startswith("/dev/pts/")


Port = TcpPort | PtyPort
