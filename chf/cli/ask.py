"""Asking the hub: a command goes into the inbox, and its result is waited for while a hub runs.

Commands work while the hub is down too: they are queued, and the answer says so.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chf.clock import SystemClock
from chf.errors import RefusedError, TimedOutError
from chf.store import Store
from chf.store.inbox import CommandState, Verb
from chf.store.lock import hub_running

ANSWER_TIMEOUT_S = 15.0
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Answer:
    """`result` is None where the command waits for a hub that does not run."""

    command: int
    result: Mapping[str, Any] | None


def ask(store: Store, home: Path, verb: Verb, body: Mapping[str, Any], timeout_s: float = ANSWER_TIMEOUT_S) -> Answer:
    """Submit a command. Raises RefusedError with the hub's reason, TimedOutError where it does not come to it."""
    with store.transaction() as tx:
        command = tx.inbox.submit(verb, body, SystemClock().now().utc)
    return await_answer(store, home, command, timeout_s)


def await_answer(store: Store, home: Path, command: int, timeout_s: float = ANSWER_TIMEOUT_S) -> Answer:
    clock = SystemClock()
    give_up = clock.now().instant + timeout_s
    while True:
        row = store.inbox.get(command)
        assert row is not None, "commands are not removed"
        if row.state is CommandState.DONE:
            return Answer(command, row.result)
        if row.state is CommandState.REFUSED:
            raise RefusedError(str((row.result or {}).get("reason", "refused")))
        if not hub_running(home):
            return Answer(command, None)
        if clock.now().instant > give_up:
            raise TimedOutError(
                f"the hub has not come to it in {timeout_s:.0f} s (is its dongle there?); the command stays queued"
            )
        time.sleep(_POLL_S)
