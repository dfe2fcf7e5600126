"""What an OTA client does with a complete image: Upgrade End Request, hold, countdown, activation."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from devices.nodes import events
from devices.nodes.cluster import Effects, Restart
from devices.nodes.ota_states import Event, State
from devices.nodes.personality import CancelledBy, CountdownChange, PastTime, Unanswered
from devices.wire import ota
from devices.wire.zcl import Status

if TYPE_CHECKING:
    from devices.nodes.ota_machine import OtaMachine

_ANSWERABLE = frozenset({State.ENDING, State.HELD, State.COUNTING, State.EXTERNAL})


class ImageActivation:
    def __init__(self, machine: OtaMachine) -> None:
        self._machine = machine
        self._personality = machine.settings.personality
        self._held_since: float | None = None

    def start_over(self) -> None:
        """A hold counts for the download that it follows."""
        self._held_since = None

    def ask(self, now: float) -> Effects:
        self._machine.deadline = now + self._personality.end_timeout_s
        return self._machine.upgrade_end(Status.SUCCESS)

    def missed(self, now: float) -> Effects:
        machine, personality = self._machine, self._personality
        machine.misses += 1
        if machine.misses < personality.end_attempts:
            machine.go(Event.ASK_AGAIN)
            return self.ask(now)
        machine.misses = 0
        limited = self._held_since is not None and personality.hold_limit_s is not None
        match personality.unanswered:
            case Unanswered.ACTIVATES if personality.timeout_policy == 0 and not limited:
                return self.activate(by_itself=True)
            case Unanswered.WAITS:
                machine.deadline = None
                return []
            case Unanswered.DROPS:
                return self._drop("nobody answers its Upgrade End Request", Status.ABORT, now)
            case Unanswered.PAUSES | Unanswered.ACTIVATES:
                machine.go(Event.HOLD)
                machine.deadline = self._hold_deadline(personality.end_retry_s, now)
                return []
            case _:
                assert_never(personality.unanswered)

    def answered(self, response: ota.UpgradeEndResponse, now: float) -> tuple[int, Effects]:
        """The status for the Default Response, and what follows."""
        machine, personality = self._machine, self._personality
        wanted = machine.wanted
        if machine.state not in _ANSWERABLE or wanted is None or not personality.is_about(response, wanted.image):
            return Status.SUCCESS, []
        to_wait = response.upgrade_time == ota.WAIT_FOREVER
        if machine.state is State.COUNTING and not self._changes_countdown(to_wait=to_wait):
            refusal = personality.countdown_refusal
            return Status.SUCCESS if refusal is None else refusal, []
        if personality.answers_reset_misses:
            machine.misses = 0
        if machine.settings.faults.ignores_upgrade_time:
            return Status.SUCCESS, self.activate(by_itself=True)
        if personality.activation_policy == 1:  # ZCL8 11.10.12
            machine.go(Event.LEFT_TO_OTHERS)
            machine.deadline = None
            return (Status.SUCCESS if to_wait else Status.NOT_AUTHORIZED), [events.Held(None)]
        if to_wait:
            if machine.state is State.HELD and personality.hold_is_heard_once:
                return Status.SUCCESS, []
            return Status.SUCCESS, self._hold(now)
        if response.upgrade_time < response.current_time:
            if personality.past_time is PastTime.HOLDS:
                return Status.SUCCESS, self._hold(now)
            if personality.past_time is PastTime.REFUSED:
                return Status.MALFORMED_COMMAND, []
            if personality.past_time is PastTime.DROPS:
                return Status.FAILURE, self._drop("an upgrade time that has passed", Status.FAILURE, now)
        wait = personality.until_upgrade(response, machine.time(now))
        if wait <= 0:
            return Status.SUCCESS, self.activate(by_itself=False)
        first = machine.deadline if personality.countdown_change is CountdownChange.EARLIER_TIME else None
        if machine.state is State.COUNTING and first is not None:
            wait = min(wait, first - now)
        machine.go(Event.SCHEDULED)
        machine.deadline = now + wait
        return Status.SUCCESS, [events.ActivationDue(wait)]

    def _changes_countdown(self, *, to_wait: bool) -> bool:
        match self._personality.countdown_change:
            case CountdownChange.ANYTHING:
                return True
            case CountdownChange.ANOTHER_TIME | CountdownChange.EARLIER_TIME:
                return not to_wait
            case CountdownChange.NOTHING:
                return False
            case _:
                assert_never(self._personality.countdown_change)

    def _hold(self, now: float) -> Effects:
        self._machine.go(Event.HOLD)
        if self._held_since is None:
            self._held_since = now
        reask_s = self._personality.hold_reask_s
        self._machine.deadline = self._hold_deadline(reask_s, now)
        return [events.Held(reask_s)]

    def _hold_deadline(self, reask_s: float | None, now: float) -> float | None:
        """The next re-ask or, where the personality does not wait for ever, the end of its patience."""
        reask_at = None if reask_s is None else now + reask_s
        limit = self._personality.hold_limit_s
        if limit is None:
            return reask_at
        ends_at = (now if self._held_since is None else self._held_since) + limit
        return ends_at if reask_at is None else min(reask_at, ends_at)

    def hold_over(self, now: float) -> Effects:
        personality = self._personality
        limit = personality.hold_limit_s
        if limit is not None and self._held_since is not None and now >= self._held_since + limit:
            return self.activate(by_itself=True)
        if personality.hold_reask_repeats:
            self._machine.go(Event.ASK_AGAIN)
            return self.ask(now)
        self._machine.deadline = self._hold_deadline(personality.hold_reask_s, now)
        return self._machine.upgrade_end(Status.SUCCESS)

    def cancelled(self, status: int, now: float) -> Effects:
        """A Default Response with this status to an Upgrade End Request with SUCCESS."""
        machine = self._machine
        match self._personality.cancelled_by:
            case CancelledBy.FAILURE:
                heard = status != Status.SUCCESS
            case CancelledBy.ABORT:
                heard = status == Status.ABORT
            case CancelledBy.ABORT_BEFORE_ANSWER:
                heard = status == Status.ABORT and machine.state is State.ENDING
            case CancelledBy.NOTHING:
                heard = False
            case _:
                assert_never(self._personality.cancelled_by)
        if not heard or not machine.idle(Event.CANCELLED, now):
            return []
        # What others activate, others call off: the image stays for their command.
        machine.forget(keep=self._personality.activation_policy == 1)
        return [events.Cancelled(status)]

    def _drop(self, reason: str, status: int, now: float) -> Effects:
        self._machine.idle(Event.DROPPED, now)
        self._machine.forget(keep=False)
        return [events.DownloadFailed(reason, status)]

    def activate(self, *, by_itself: bool) -> Effects:
        machine = self._machine
        if machine.wanted is None or not machine.go(Event.NOW):
            return []
        machine.deadline = None
        machine.banks.request_trial()
        return [events.Activating(machine.wanted.image.file_version, by_itself), Restart()]
