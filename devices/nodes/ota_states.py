"""The states of an OTA client and the only ways between them. Rules:

1. `TRANSITIONS` is the whole truth: `OtaClient` moves only by an event that is listed for the state it is in.
2. An event that is not listed changes nothing. What came late, twice or out of turn is ignored by its absence here.
3. An event names what happened, after the personality was asked what it makes of it: one and the same Upgrade End
   Response is HOLD, SCHEDULED or NOW.
"""

from enum import Enum
from types import MappingProxyType

from devices.wire.ota import ImageUpgradeStatus


class State(Enum):
    OFF = "off the network"
    SEEKING = "looks for its server"
    IDLE = "waits for the time of its next query"
    QUERYING = "Query Next Image Request is out"
    FETCHING = "a block or page request is out"
    PAUSED = "waits before it asks for the next block"
    FAILING = "Upgrade End Request with a failure is out"
    ENDING = "Upgrade End Request with SUCCESS is out"
    HELD = "was told to wait"
    COUNTING = "counts down to its activation"
    EXTERNAL = "waits for an activation out of band"
    ACTIVATING = "starts the new image"


class Event(Enum):
    STARTED = "on the network"
    STOPPED = "off the network, or off"
    SERVER_FOUND = "server found"
    SERVER_LOST = "too many requests without an answer"
    QUERY_DUE = "time to query, or an Image Notify"
    OFFERED = "an image is offered, or an unfinished one goes on"
    NOTHING = "no image, or no answer"
    TAKEN = "block taken, or the next request goes out at once"
    PAUSE = "wait for data, back-off, pace"
    RESUME = "the pause is over"
    ABORTED = "the server aborts the download"
    BAD = "the image, or the way it comes, is no good"
    GOOD = "the image is complete and good"
    FAILURE_TOLD = "the failure was heard, or told often enough"
    ASK_AGAIN = "the answer is due again, or was not heard"
    HOLD = "no time given, or nobody answers"
    SCHEDULED = "a time given"
    LEFT_TO_OTHERS = "activation policy is out of band"
    CANCELLED = "the server withdraws the image"
    DROPPED = "the client gives the image up"
    NOW = "now, or by itself"


_S, _E = State, Event
_OFFERED = {_E.OFFERED: _S.FETCHING, _E.GOOD: _S.ENDING, _E.BAD: _S.FAILING, _E.NOW: _S.ACTIVATING}
_LOADING = {
    _E.TAKEN: _S.FETCHING,
    _E.PAUSE: _S.PAUSED,
    _E.ABORTED: _S.IDLE,
    _E.SERVER_LOST: _S.SEEKING,
    _E.BAD: _S.FAILING,
    _E.GOOD: _S.ENDING,
}
_UNDECIDED = {
    **_OFFERED,  # by clients that take an offer whenever it comes
    _E.ASK_AGAIN: _S.ENDING,
    _E.HOLD: _S.HELD,
    _E.SCHEDULED: _S.COUNTING,
    _E.LEFT_TO_OTHERS: _S.EXTERNAL,
    _E.CANCELLED: _S.IDLE,
    _E.DROPPED: _S.IDLE,
    _E.NOW: _S.ACTIVATING,
}

TRANSITIONS: MappingProxyType[State, MappingProxyType[Event, State]] = MappingProxyType(
    {
        state: MappingProxyType({_E.STOPPED: _S.OFF, **rows})
        for state, rows in {
            _S.OFF: {_E.STARTED: _S.SEEKING},
            _S.SEEKING: {_E.SERVER_FOUND: _S.IDLE},
            _S.IDLE: {**_OFFERED, _E.QUERY_DUE: _S.QUERYING},
            _S.QUERYING: {**_OFFERED, _E.NOTHING: _S.IDLE, _E.SERVER_LOST: _S.SEEKING},
            _S.FETCHING: _LOADING,
            _S.PAUSED: {**_LOADING, _E.RESUME: _S.FETCHING},
            _S.FAILING: {_E.FAILURE_TOLD: _S.IDLE},
            _S.ENDING: _UNDECIDED,
            _S.HELD: _UNDECIDED,
            _S.COUNTING: {**_OFFERED, _E.HOLD: _S.HELD, _E.SCHEDULED: _S.COUNTING},
            _S.EXTERNAL: {
                _E.LEFT_TO_OTHERS: _S.EXTERNAL,
                _E.QUERY_DUE: _S.QUERYING,  # a newer image replaces the one that waits
                _E.CANCELLED: _S.IDLE,
                _E.NOW: _S.ACTIVATING,
            },
            _S.ACTIVATING: {},
        }.items()
    }
)

UPGRADE_STATUS: MappingProxyType[State, ImageUpgradeStatus] = MappingProxyType(
    {
        State.OFF: ImageUpgradeStatus.NORMAL,
        State.SEEKING: ImageUpgradeStatus.NORMAL,
        State.IDLE: ImageUpgradeStatus.NORMAL,
        State.QUERYING: ImageUpgradeStatus.NORMAL,
        State.FETCHING: ImageUpgradeStatus.DOWNLOAD_IN_PROGRESS,
        State.PAUSED: ImageUpgradeStatus.DOWNLOAD_IN_PROGRESS,
        State.FAILING: ImageUpgradeStatus.NORMAL,
        State.ENDING: ImageUpgradeStatus.DOWNLOAD_COMPLETE,
        State.HELD: ImageUpgradeStatus.WAITING_TO_UPGRADE,
        State.COUNTING: ImageUpgradeStatus.COUNT_DOWN,
        State.EXTERNAL: ImageUpgradeStatus.WAITING_TO_UPGRADE_VIA_EXTERNAL_EVENT,
        State.ACTIVATING: ImageUpgradeStatus.COUNT_DOWN,
    }
)
"""What ImageUpgradeStatus (0x0006) reads in each state."""
