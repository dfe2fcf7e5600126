"""Key agreements off the hub's thread: asks the worker process (chf/key_worker.py), one question at a time.

A worker that dies or hangs costs the exchange that it was computing for: the next question starts another worker. One
that comes to nothing because the machine is busy is replaced, once and for all, by one that takes its share.
"""

import asyncio
import contextlib
import json
import logging
import sys
from collections.abc import Mapping

from chf.crypto.credentials_text import format_credentials
from chf.crypto.ecqv import Credentials, Suite
from chf.key_worker import PRESSING
from chf.keys import ComputationFailure, Compute, Computed

_LOG = logging.getLogger(__name__)

ANSWER_LIMIT_S = 10.0
PATIENCE_S = 1.0
"""For a worker that goes last: on a processor of its own it takes 0.04 s, and 0.2 s to start."""


class KeyAgreement:
    def __init__(self, credentials: Mapping[Suite, Credentials]) -> None:
        self._credentials = {suite: format_credentials(own) for suite, own in credentials.items()}
        self._worker: asyncio.subprocess.Process | None = None
        self._is_pressing = False
        self._turn = asyncio.Lock()

    async def prepare(self) -> None:
        """Start the worker before anybody waits for it. In vain is no error: a question starts it, too."""
        async with self._turn:
            with contextlib.suppress(OSError):
                await self._started()

    async def compute(self, wanted: Compute) -> Computed | ComputationFailure:
        """Waits for the questions before it; never raises for what a device sent or what became of the worker."""
        question = {
            "credentials": self._credentials[wanted.certificate.suite],
            "certificate": wanted.certificate.octets.hex(),
            "ephemeral": wanted.ephemeral.hex(),
        }
        async with self._turn:
            try:
                async with asyncio.timeout(ANSWER_LIMIT_S):
                    answer = await self._answer(json.dumps(question).encode() + b"\n")
            except (TimeoutError, OSError, ValueError) as error:
                _LOG.warning("the key worker did not answer: %s", type(error).__name__)
                await self._end_worker()
                return ComputationFailure.UNAVAILABLE
        if "failure" in answer:
            return ComputationFailure[answer["failure"]]
        return Computed(*(bytes.fromhex(answer[name]) for name in ("ephemeral", "mac_u", "mac_v", "link_key")))

    async def close(self) -> None:
        async with self._turn:
            await self._end_worker()

    async def _answer(self, line: bytes) -> dict[str, str]:
        if not self._is_pressing:
            try:
                async with asyncio.timeout(PATIENCE_S):
                    return await self._ask(line)
            except TimeoutError:
                _LOG.info("the machine is busy: key agreements are computed with more priority from now on")
                await self._end_worker()
                self._is_pressing = True
        return await self._ask(line)

    async def _ask(self, line: bytes) -> dict[str, str]:
        worker = await self._started()
        assert worker.stdin is not None
        assert worker.stdout is not None
        worker.stdin.write(line)
        await worker.stdin.drain()
        answered = json.loads(await worker.stdout.readline())
        assert isinstance(answered, dict)
        return answered

    async def _started(self) -> asyncio.subprocess.Process:
        if self._worker is None or self._worker.returncode is not None:
            urgency = (PRESSING,) if self._is_pressing else ()
            command = (sys.executable, "-m", "chf.key_worker", *urgency)
            pipe = asyncio.subprocess.PIPE
            self._worker = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
        return self._worker

    async def _end_worker(self) -> None:
        worker, self._worker = self._worker, None
        if worker is None:
            return
        with contextlib.suppress(ProcessLookupError):
            worker.kill()
        await worker.communicate()
