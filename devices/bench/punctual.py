"""Waking up on time: a virtual device that is to think for 2 ms must not take 3, whatever the machine finds handy."""

import asyncio
from contextlib import suppress
from pathlib import Path
from selectors import SelectSelector

_TIMER_SLACK = Path("/proc/self/timerslack_ns")  # Linux only


def punctual_loop() -> asyncio.AbstractEventLoop:
    """An event loop for the main thread, whose timers are late by as little as the system allows.

    epoll_wait counts in whole milliseconds, and Python rounds up. select counts in microseconds; what it has against
    it, many files, a dongle does not have. Linux lets a process oversleep by 50 us so that it can wake several at once,
    unless it is asked not to (PR_SET_TIMERSLACK).
    """
    with suppress(OSError):
        _TIMER_SLACK.write_text("1", encoding="ascii")
    return asyncio.SelectorEventLoop(SelectSelector())
