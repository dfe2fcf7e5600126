"""Asking the hub: a command goes into the inbox, and its result is waited for while a hub runs.

Commands work while the hub is down too: they are queued, and the answer says so. `--wait` waits for a hub, too.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

from chf.cli.options import print_json, talk
from chf.clock import SystemClock
from chf.errors import RefusedError, TimedOutError
from chf.store import Store
from chf.store.inbox import CommandState, Verb
from chf.store.lock import hub_running

ANSWER_TIMEOUT_S = 15.0  # a hub looks five times a second; a busy disk takes the rest (our choice)
_POLL_S = 0.05  # our choice
_BUSY = "the hub has not taken the command (is its dongle there?)"


class Deadline:
    """The end of a wait that a person may limit with `--timeout`; without it, there is none."""

    def __init__(self, timeout_s: float | None) -> None:
        self.timeout_s = inf if timeout_s is None else timeout_s
        self._clock = SystemClock()
        self._ends = self._clock.now().instant + self.timeout_s

    @property
    def passed(self) -> bool:
        return self._clock.now().instant > self._ends


class HubWatch:
    """Says on stderr why nothing moves where a wait depends on a hub: once each time that the hub is gone."""

    def __init__(self, home: Path) -> None:
        self._home, self._was_there = home, True

    def running(self) -> bool:
        there = hub_running(self._home)
        if self._was_there and not there:
            talk(f"no hub runs: waiting for one; start it with: chf run --port PORT --home {self._home}")
        self._was_there = there
        return there


@dataclass(frozen=True, slots=True)
class Answer:
    """`result` is None where the command waits for a hub that does not run."""

    command: int
    result: Mapping[str, Any] | None

    def say(self, done: str, *, as_json: bool) -> None:
        """To the person who asked, for commands whose result is told in a sentence."""
        if as_json:
            print_json({"schema": 1, "queued": self.result is None, "result": self.result})
        elif self.result is None:
            say_queued()
        else:
            talk(done)


def say_queued() -> None:
    talk("queued: no hub runs on this home directory; `chf run` will do it")


def ask(store: Store, home: Path, verb: Verb, body: Mapping[str, Any]) -> Answer:
    """Submit a command. Raises RefusedError with the hub's reason, TimedOutError where it does not come to it."""
    return await_answer(store, home, submit(store, verb, body))


def submit(store: Store, verb: Verb, body: Mapping[str, Any]) -> int:
    with store.transaction() as tx:
        return tx.inbox.submit(verb, body, SystemClock().now().utc)


def await_answer(store: Store, home: Path, command: int, timeout_s: float = ANSWER_TIMEOUT_S) -> Answer:
    """While a hub runs. Raises as `ask` does."""
    deadline = Deadline(timeout_s)
    while (result := _result(store, command)) is None and hub_running(home):
        _pause(deadline, _BUSY)
    return Answer(command, result)


def await_hub(store: Store, home: Path, command: int, deadline: Deadline) -> Mapping[str, Any]:
    """The command's result, also from a hub that starts only now. Raises as `ask` does."""
    hub = HubWatch(home)
    while (result := _result(store, command)) is None:
        _pause(deadline, _BUSY if hub.running() else "no hub has run on this home directory")
    return result


def _result(store: Store, command: int) -> Mapping[str, Any] | None:
    row = store.inbox.get(command)
    assert row is not None, "nothing removes a command that was just given"
    if row.state is CommandState.REFUSED:
        raise RefusedError(str((row.result or {}).get("reason", "refused")))
    return row.result


def _pause(deadline: Deadline, failure: str) -> None:
    if deadline.passed:
        raise TimedOutError(f"{failure} within {deadline.timeout_s:g} s; the command stays queued")
    time.sleep(_POLL_S)
