"""What no Python host can go below on this machine: the turnaround of a process that answers octets with octets.

    python benchmarks/bare_turnaround.py [--pause-ms 2] [--rounds 500]

It reads as many octets as a block request has on the line of a TI dongle and writes as many as the answer has, over
loopback TCP, after a pause in which both processes sleep. Compare it with "turnaround p50" of `ota_throughput.py`.
"""

import argparse
import asyncio
import sys
import time
from selectors import SelectSelector
from statistics import median, quantiles

REQUEST, ANSWER = bytes(42), bytes(82)
LARGE_BYTES = 1 << 20
"""Once such a block was freed, glibc takes the 256 KiB of each read from its heap. Before that it maps them anew every
time, which takes longer than all the rest; programs that have loaded something do not know it."""


class Echo(asyncio.Protocol):
    """The host: nothing but the event loop of `chf run`."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        del data
        self._transport.write(ANSWER)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        asyncio.get_running_loop().stop()


class Dongle(asyncio.Protocol):
    def __init__(self, connected: asyncio.Future["Dongle"]) -> None:
        self._connected = connected
        self.answered: asyncio.Future[float] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._connected.set_result(self)

    def data_received(self, data: bytes) -> None:
        del data
        assert self.answered is not None
        self.answered.set_result(time.perf_counter())


async def measure(pause_s: float, rounds: int) -> list[float]:
    """Milliseconds, one by one."""
    loop = asyncio.get_running_loop()
    connected: asyncio.Future[Dongle] = loop.create_future()
    server = await loop.create_server(lambda: Dongle(connected), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    host = await asyncio.create_subprocess_exec(sys.executable, __file__, "--host", str(port))
    try:
        dongle = await connected
        took = []
        for _ in range(rounds):
            await asyncio.sleep(pause_s)
            dongle.answered = loop.create_future()
            asked = time.perf_counter()
            dongle.transport.write(REQUEST)
            took.append((await dongle.answered - asked) * 1000)
        return took
    finally:
        host.kill()
        await host.wait()
        server.close()


def serve(port: int) -> None:
    loop = asyncio.new_event_loop()
    loop.run_until_complete(loop.create_connection(Echo, "127.0.0.1", port))
    loop.run_forever()


def main() -> None:
    large = bytes(LARGE_BYTES)
    del large
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pause-ms", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--host", type=int, metavar="PORT", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.host is not None:
        serve(arguments.host)
        return
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(SelectSelector())) as runner:
        took = runner.run(measure(arguments.pause_ms / 1000, arguments.rounds))
    print(f"turnaround p50 {median(took):.2f} ms, p99 {quantiles(took, n=100)[98]:.2f} ms")


if __name__ == "__main__":
    main()
