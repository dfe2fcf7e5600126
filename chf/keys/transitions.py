"""The states of one device's key establishment, seen from the hub, as a table (SE1.4 C.3).

Rules:

1. Every change of state is a row here; an input without a row is a mistake of the caller (`LookupError`). Messages
   that come at the wrong time are `Input.MISPLACED`, which has a row everywhere.
2. A device that initiates again begins again from any state: it may have restarted. What the earlier exchange still has
   under way (a computation, an installation) is known by its number, and its result is dropped.
3. The hub installs the key before it confirms it. So a device that saw MACV can rely on the hub; one that did not see
   it knows that it has no key, and starts again, which needs no link key. Whatever is cut off in between, both sides
   agree or start again.
4. ESTABLISHED is kept for a while, to repeat a confirmation that was lost.

`docs/state-machines.md` is made from this table.
"""

from enum import StrEnum

TITLE = "Key establishment (certificates to link key, for one device)"


class State(StrEnum):
    INITIATED = "initiated"  # certificates are exchanged; the device's ephemeral key is due
    COMPUTING = "computing"
    EXCHANGED = "exchanged"  # ephemeral keys are exchanged; the device's MAC is due
    INSTALLING = "installing"  # the device proved itself; the key goes into store and dongle
    ESTABLISHED = "established"  # MACV is out
    ENDED = "ended"


class Input(StrEnum):
    INITIATE = "the device initiates again"
    EPHEMERAL = "the device's ephemeral key"
    COMPUTED = "the secret is computed"
    CONFIRM = "the right MACU"
    INSTALLED = "the dongle has the key"
    TAKEN = "the device says that it took MACV"
    FAIL = "refused by us"
    MISPLACED = "a message at the wrong time"
    TERMINATE = "terminated by the device"
    TIME_OUT = "nothing came in time"
    FORGET = "the device is removed from the device log"


_WAYS_OUT = {
    Input.INITIATE: State.INITIATED,
    Input.FAIL: State.ENDED,
    Input.MISPLACED: State.ENDED,
    Input.TERMINATE: State.ENDED,
    Input.TIME_OUT: State.ENDED,
    Input.FORGET: State.ENDED,
}

INITIAL = State.INITIATED
TRANSITIONS: dict[State, dict[Input, State]] = {
    State.INITIATED: {Input.EPHEMERAL: State.COMPUTING, **_WAYS_OUT},
    State.COMPUTING: {Input.COMPUTED: State.EXCHANGED, **_WAYS_OUT},
    State.EXCHANGED: {Input.CONFIRM: State.INSTALLING, **_WAYS_OUT},
    State.INSTALLING: {Input.INSTALLED: State.ESTABLISHED, **_WAYS_OUT},
    State.ESTABLISHED: {Input.TAKEN: State.ENDED, **_WAYS_OUT},
    State.ENDED: {},
}


ENDS = frozenset(state for state, row in TRANSITIONS.items() if not row)
