"""What hub and DCC side do again and again, each thing by itself. A failure costs one turn, and is told to people."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from chf.clock import backoff_s
from chf.errors import ChfError, one_error

_LOG = logging.getLogger(__name__)

FIRST_RETRY_S: Final = 1.0  # our choice
LONGEST_RETRY_S: Final = 60.0  # our choice


async def keep_doing(name: str, turn: Callable[[], Awaitable[float]], alarm: Callable[[str], None]) -> None:
    """For ever; `turn` returns how many seconds to wait before the next one.

    One that fails is tried again, later each time that it fails in a row; `alarm` is given a sentence for each reason.
    """
    failures, reason = 0, ""
    while True:
        try:
            pause_s = await turn()
            failures, reason = 0, ""
        except Exception as caught:  # noqa: BLE001 the outermost loop of its task, which may not end the others
            error = one_error(caught) if isinstance(caught, BaseExceptionGroup) else caught
            failures += 1
            pause_s = backoff_s(failures, FIRST_RETRY_S, LONGEST_RETRY_S)
            if reason != (reason := f"{name} failed, and is tried again: {error or type(error).__name__}"):
                note(reason, error)
                alarm(reason)
        await asyncio.sleep(pause_s)


def note(reason: str, error: BaseException) -> None:
    """Into the log, with where it happened, unless what the program works with is to blame."""
    _LOG.error(reason, exc_info=None if isinstance(error, ChfError) else error)
