"""The states of one device's update, as a table.

Rules:

1. Every change of state is a row here. Nothing else in the program decides that one state may follow another, and an
   input that has no row is a mistake of the caller (`LookupError`), never ignored.
2. A change of state is persisted before anything that reveals it leaves the hub.
3. COMMITTED means that a real activation time was given, or may have been: a countdown in a device can neither be moved
   nor stopped. So there is no way from COMMITTED to CANCELLED, and none back to a state without a time.
4. The states before HELD and COMMITTED differ by what the device *can* do. It can activate by itself from SERVED on,
   where it has been sent every byte. PARKED is where it is kept from that, by withholding the last block.
5. RUNNING means that the device was heard to run the new version, whatever we did about it. It has a way in from every
   state that is not an end, because devices are updated behind our back too.

`docs/state-machines.md` is made from this table.
"""

from enum import StrEnum

TITLE = "OTA session (one device's transfer and activation)"


class State(StrEnum):
    OFFERED = "offered"  # announced, or waiting to be asked
    DOWNLOADING = "downloading"
    PARKED = "parked"  # all but the last block is out; that one waits for the activation time or for a release
    SERVED = "served"  # every byte was sent; the device verifies, and Upgrade End is due
    HELD = "held"  # Upgrade End was answered "wait for a command"
    MISSED = "missed"  # the appointment passed beyond its grace; kept from activating until released or cancelled
    COMMITTED = "committed"  # a real time was given
    RUNNING = "running"  # the device reports the new version
    CANCELLED = "cancelled"
    FAILED = "failed"


class Input(StrEnum):
    ASK = "the device asks for the image or a block"
    WITHHOLD = "the last block is withheld"
    SERVE_LAST = "the last missing byte is sent, or said to be held"
    HOLD = "Upgrade End, answered with wait"
    COMMIT = "a real time is given"
    MISS = "the appointment passed unkept"
    RETRY = "the device gave the download up, and may try again"
    SEE_VERSION = "the new version is seen"
    CANCEL = "cancelled"
    FAIL = "failed"


_WAYS_OUT = {Input.SEE_VERSION: State.RUNNING, Input.FAIL: State.FAILED}
_STOPPABLE = {**_WAYS_OUT, Input.CANCEL: State.CANCELLED}

INITIAL = State.OFFERED
TRANSITIONS: dict[State, dict[Input, State]] = {
    State.OFFERED: {Input.ASK: State.DOWNLOADING, **_STOPPABLE},
    State.DOWNLOADING: {
        Input.WITHHOLD: State.PARKED,
        Input.SERVE_LAST: State.SERVED,
        Input.MISS: State.MISSED,
        Input.RETRY: State.OFFERED,
        **_STOPPABLE,
    },
    State.PARKED: {
        Input.SERVE_LAST: State.SERVED,
        Input.MISS: State.MISSED,
        Input.RETRY: State.OFFERED,
        **_STOPPABLE,
    },
    State.SERVED: {
        Input.HOLD: State.HELD,
        Input.COMMIT: State.COMMITTED,
        Input.MISS: State.MISSED,
        Input.RETRY: State.OFFERED,
        **_STOPPABLE,
    },
    State.HELD: {Input.COMMIT: State.COMMITTED, Input.MISS: State.MISSED, **_STOPPABLE},
    State.MISSED: {
        Input.WITHHOLD: State.PARKED,
        Input.HOLD: State.HELD,
        Input.COMMIT: State.COMMITTED,
        Input.RETRY: State.OFFERED,
        **_STOPPABLE,
    },
    State.COMMITTED: _WAYS_OUT,
    State.RUNNING: {},
    State.CANCELLED: {},
    State.FAILED: {},
}
ENDS = frozenset(state for state, row in TRANSITIONS.items() if not row)


def next_state(state: State, given: Input) -> State:
    """Raises LookupError for an input that the state has no row for."""
    try:
        return TRANSITIONS[state][given]
    except KeyError:
        raise LookupError(f"{state.name} has no transition for {given.name}") from None
