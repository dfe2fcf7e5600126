"""When an activation is due, and how a time is written for a device.

Appointments are in UTC and judged afresh each time: nothing here remembers a reading of the clock. By a clock that is
not trusted none falls due, and none is missed.
"""

from enum import Enum
from math import ceil, inf
from typing import assert_never

from chf.clock import Now, UtcSeconds, to_zigbee_time
from chf.update.clients import ClientClass, OnReboot
from chf.update.model import ActivateAt, ActivateByCommand, ActivateHold, ActivateNow, Activation, Strategy, TimeForm
from chf.update.transfer.policy import OtaPolicy
from chf.zcl.ota import NO_CURRENT_TIME


class Due(Enum):
    """What an activation asks for at this moment."""

    NOW = "now"  # asked for at once, or its time has come
    NEAR = "near"  # within the window in which a real time may be given
    FAR = "far"
    MISSED = "missed"  # its time and the grace after it have passed
    NOT_OURS = "not ours"  # a release or a command decides


def due(activation: Activation, now: Now, window_s: float, grace_s: float) -> Due:
    match activation:
        case ActivateNow():
            return Due.NOW
        case ActivateHold() | ActivateByCommand():
            return Due.NOT_OURS
        case ActivateAt() if not now.trusted:
            return Due.FAR
        case ActivateAt(utc=utc):
            left_s = utc - now.utc
            if left_s > window_s:
                return Due.FAR
            if left_s > 0:
                return Due.NEAR
            return Due.NOW if left_s >= -grace_s else Due.MISSED
        case _:
            assert_never(activation)


def left_s(activation: Activation, now: Now) -> float:
    """How long it is until the activation; no end is known where a person decides, or by a clock without trust."""
    return activation.utc - now.utc if isinstance(activation, ActivateAt) and now.trusted else inf


def hold_s(activation: Activation, now: Now, window_s: float) -> float:
    """How long a device that has the whole image would be told to wait."""
    return max(0.0, left_s(activation, now) - window_s)


def cannot_promise(client: ClientClass, activation: Activation, left_s: float, window_s: float) -> str:
    """What such a client may make of an activation that is so far away, as what it is said to do; "" for nothing.

    Not of a command: GBCS forbids a meter to activate without that, and it waits as long as its supplier does.
    """
    match activation:
        case ActivateNow() | ActivateByCommand():
            return ""
        case ActivateAt(strategy=strategy) | ActivateHold(strategy=strategy):
            told = []
        case _:
            assert_never(activation)
    if strategy is Strategy.HOLD and left_s > window_s and not client.can_hold(left_s - window_s):
        told.append("cannot be relied upon to hold the image for so long: its last block is kept back instead")
    if client.on_reboot is OnReboot.ACTIVATES and isinstance(activation, ActivateAt) and left_s > 0:
        told.append(f"may activate at a restart in the last {window_s:.0f} s before its time")
    return ", and ".join(told)


def parks(activation: Activation, due_now: Due, client: ClientClass, held_s: float) -> bool:
    """Whether the last block has to wait: a client that cannot be held for so long is parked, whatever was asked."""
    match activation:
        case ActivateAt(strategy=strategy):
            early = due_now is Due.FAR and (strategy is Strategy.PARK or not client.can_hold(held_s))
            return early or due_now is Due.MISSED
        case ActivateHold(strategy=strategy):
            return strategy is Strategy.PARK or not client.can_hold(held_s)
        case ActivateNow() | ActivateByCommand():
            return False
        case _:
            assert_never(activation)


def time_form(activation: Activation, policy: OtaPolicy) -> TimeForm:
    return activation.time_form if isinstance(activation, ActivateAt) else policy.time_form


def wait_s(activation: Activation, due_now: Due, now: Now, window_s: float, policy: OtaPolicy) -> int:
    """How long a parked device is told to wait before it asks again."""
    if isinstance(activation, ActivateAt) and due_now is Due.FAR and now.trusted:
        until_near_s = ceil(activation.utc - window_s - now.utc)
        return max(1, min(policy.park_wait_s, until_near_s))
    return policy.hold_wait_s


def write_times(form: TimeForm, now: Now, at: UtcSeconds) -> tuple[int, int]:
    """(current time, other time) of ZCL8 table 11-15 for a time that is never before `at`.

    The first second of 2000 cannot be written as an absolute time: there, 0 means "offset".
    """
    current = current_time(form, now)
    if current == NO_CURRENT_TIME:
        return NO_CURRENT_TIME, max(0, ceil(at - now.utc))
    return current, max(current, to_zigbee_time(UtcSeconds(ceil(at))))


def current_time(form: TimeForm, now: Now) -> int:
    """What the field of that name says: 0 makes the time beside it an offset, as does a clock that is not trusted."""
    return NO_CURRENT_TIME if form is TimeForm.RELATIVE or not now.trusted else now.zigbee_time()
