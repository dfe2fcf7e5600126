"""The states of the tunnel to one device, as a table (SL-CHF).

Rules:

1. Every change of state is a row here; an input without a row is a mistake of the caller (`LookupError`).
2. One tunnel per device, and few RequestTunnels outstanding in the whole network: QUEUED is the wait for a turn.
3. A device that joined, rejoined or left may have forgotten its tunnel: what we knew is dropped, endpoint and all.
4. A tunnel that turns out not to exist is asked for again at once, and with growing waits if that goes on: the endpoint
   still stands, only the id does not.
5. Whatever goes wrong ends in WAITING or in RESTING, never in silence: both have a deadline, and a message to send
   wakes a device that rests.

`docs/state-machines.md` is made from this table.
"""

from enum import StrEnum

TITLE = "Tunnel (the way of GBCS messages to and from one device)"


class State(StrEnum):
    RESTING = "resting"  # no tunnel, and none to be asked for until the next check or message
    DISCOVERING = "discovering"  # which of its endpoints serves the Tunneling cluster?
    QUEUED = "queued"  # its RequestTunnel waits for that of another device
    REQUESTING = "requesting"
    WAITING = "waiting"  # to ask again: no answer, busy, or out of tunnel ids
    OPEN = "open"
    GONE = "gone"  # left the network


class Input(StrEnum):
    JOIN = "the device joined or rejoined"
    LEAVE = "the device left"
    WAKE = "a message to send, or the periodic check"
    FOUND = "an endpoint was found"
    NOT_FOUND = "no endpoint was found"
    TURN = "its turn to ask"
    GRANT = "tunnel granted"
    POSTPONE = "busy, out of ids, no answer, or lost again"
    GIVE_UP = "refused, or asked often enough"
    ASK_AGAIN = "time to ask again"
    LOOK_AGAIN = "time to look for the endpoint again"
    LOSE = "the tunnel is closed, or does not exist"


_COMINGS_AND_GOINGS = {Input.JOIN: State.DISCOVERING, Input.LEAVE: State.GONE}

INITIAL = State.RESTING
TRANSITIONS: dict[State, dict[Input, State]] = {
    State.RESTING: {Input.WAKE: State.DISCOVERING, **_COMINGS_AND_GOINGS},
    State.DISCOVERING: {
        Input.FOUND: State.QUEUED,
        Input.NOT_FOUND: State.WAITING,
        Input.GIVE_UP: State.RESTING,
        **_COMINGS_AND_GOINGS,
    },
    State.QUEUED: {Input.TURN: State.REQUESTING, **_COMINGS_AND_GOINGS},
    State.REQUESTING: {
        Input.GRANT: State.OPEN,
        Input.POSTPONE: State.WAITING,
        Input.GIVE_UP: State.RESTING,
        **_COMINGS_AND_GOINGS,
    },
    State.WAITING: {
        Input.ASK_AGAIN: State.QUEUED,
        Input.LOOK_AGAIN: State.DISCOVERING,
        Input.GRANT: State.OPEN,  # the answer came late
        **_COMINGS_AND_GOINGS,
    },
    State.OPEN: {Input.LOSE: State.QUEUED, Input.POSTPONE: State.WAITING, **_COMINGS_AND_GOINGS},
    State.GONE: {Input.JOIN: State.DISCOVERING, Input.LEAVE: State.GONE},
}
