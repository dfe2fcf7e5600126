"""Processes that are driven line by line, and what they cost: CPU time and peak memory, read from outside."""

import asyncio
import os
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

STOP_LIMIT_S = 20.0
ROOT = Path(__file__).parents[2]


class BrokenRunError(Exception):
    """A run that measures nothing: a process died, or was not where it should be in time. Has what the process said."""


class Process:
    """One child process; standard error goes to a file, because a full pipe would stop it."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self.name = name
        self._process = process
        self._log = log

    async def say(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        await self._process.stdin.drain()

    async def line(self, limit_s: float) -> str:
        """The next line of its standard output."""
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(limit_s):
                octets = await self._process.stdout.readline()
        except TimeoutError:
            raise self.broken(f"said nothing for {limit_s:.0f} s") from None
        if not octets:
            raise self.broken("ended")
        return octets.decode().strip()

    async def until(self, wanted: Callable[[str], bool], limit_s: float) -> str:
        """The first line that is `wanted`, within `limit_s` in all."""
        try:
            async with asyncio.timeout(limit_s):
                while not wanted(line := await self.line(limit_s)):
                    pass
        except TimeoutError:
            raise self.broken(f"did not get there in {limit_s:.0f} s") from None
        return line

    def broken(self, what: str) -> BrokenRunError:
        said = self._log.read_text(encoding="utf-8", errors="replace")[-2000:]
        return BrokenRunError(f"{self.name} {what}\n{said}".rstrip())

    def cpu_s(self) -> float:
        """CPU time of all its threads so far."""
        return time.clock_gettime(_cpu_clock(self._process.pid))

    def peak_memory_kib(self) -> int:
        """Its own: ru_maxrss would count what the parent had at the fork."""
        status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="ascii")
        found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
        assert found is not None
        return int(found[1])

    def insist(self) -> None:
        """Raise BrokenRunError unless it runs."""
        if self._process.returncode is not None:
            raise self.broken(f"ended with {self._process.returncode}")

    async def stop(self) -> None:
        if self._process.returncode is None:
            self._process.terminate()
        try:
            async with asyncio.timeout(STOP_LIMIT_S):
                await self._process.communicate()
        except TimeoutError:
            self._process.kill()
            await self._process.communicate()


def _cpu_clock(pid: int) -> int:
    """As clock_getcpuclockid(3) makes it on Linux; Python has that function for threads only."""
    return (~pid << 3) | 2


@asynccontextmanager
async def running(name: str, command: list[str], log: Path) -> AsyncIterator[Process]:
    with log.open("wb") as stderr:
        child = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=stderr,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
    process = Process(name, child, log)
    try:
        yield process
    finally:
        await process.stop()
