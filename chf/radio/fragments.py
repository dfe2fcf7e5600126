"""APS fragmentation: cut a long message, put the pieces of others together. Bytes and `now` in, verdicts out.

Stock bellows reassembles on EZSP up to v13 only, with timers that drop messages that are still coming, and cuts none.
Acknowledging a fragment and sending the next one is the caller's; the window is one fragment (our choice, which every
receiver accepts: a window of one is the smallest that apsMaxWindowSize may be).
"""

from dataclasses import dataclass, field

from chf.clock import Instant

IDLE_LIMIT_S = 10.0  # after which a message without a new fragment is given up (our choice)


@dataclass(frozen=True, slots=True)
class FragmentKey:
    """What the fragments of one message have in common (Zigbee r22 2.2.8.4.5: source and APS counter, and the rest)."""

    source: int  # network address
    source_endpoint: int
    destination_endpoint: int
    profile: int
    cluster: int
    counter: int
    secured: bool  # fragments with and without a link key never mix: a message is as secure as the least of them


@dataclass(frozen=True, slots=True)
class Fragment:
    """`count` is the number of fragments, as fragment 0 tells it; the others do not."""

    index: int
    count: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Verdict:
    """`message` is the whole message when this fragment was the last one missing."""

    acknowledge: bool
    message: bytes | None = None


@dataclass(frozen=True, slots=True)
class ReassemblyLimits:
    """Caps against a device that starts messages and ends none (our choice)."""

    fragments: int = 64  # of one message
    messages_of_one_source: int = 4
    messages: int = 64


@dataclass(slots=True)
class _Partial:
    touched: Instant
    count: int = 0  # 0 until fragment 0 is here
    delivered: bool = False
    fragments: dict[int, bytes] = field(default_factory=dict)

    def contradicts(self, fragment: Fragment) -> bool:
        """The same counter with other contents: the sender has begun another message (it may have restarted)."""
        known = self.fragments.get(fragment.index)
        if known is not None:
            return known != fragment.payload or (fragment.index == 0 and fragment.count != self.count)
        if fragment.index == 0:
            return any(index >= fragment.count for index in self.fragments)
        return self.delivered or (self.count > 0 and fragment.index >= self.count)

    def add(self, fragment: Fragment) -> bytes | None:
        self.fragments[fragment.index] = fragment.payload
        if fragment.index == 0:
            self.count = fragment.count
        if len(self.fragments) != self.count:
            return None
        self.delivered = True
        return b"".join(self.fragments[index] for index in range(self.count))


class Reassembler:
    """Puts messages together, in whatever order their fragments come, and each of them once."""

    def __init__(self, limits: ReassemblyLimits | None = None) -> None:
        self._limits = limits or ReassemblyLimits()
        self._partials: dict[FragmentKey, _Partial] = {}  # oldest progress first

    def __len__(self) -> int:
        """Messages that are remembered, complete ones included (for their late repetitions)."""
        return len(self._partials)

    def add(self, key: FragmentKey, fragment: Fragment, now: Instant) -> Verdict:
        """Take one fragment. One that is refused is not to be acknowledged: its sender then gives up by itself."""
        self.expire(now)
        largest = self._limits.fragments
        if fragment.index >= largest or (fragment.index == 0 and not 1 <= fragment.count <= largest):
            return Verdict(acknowledge=False)
        partial = self._partials.get(key)
        if partial is not None and partial.contradicts(fragment):
            del self._partials[key]
            partial = None
        if partial is None:
            if not self._make_room(key.source):
                return Verdict(acknowledge=False)
            partial = self._partials[key] = _Partial(touched=now)
        elif fragment.index in partial.fragments:
            return Verdict(acknowledge=True)
        message = partial.add(fragment)
        partial.touched = now
        self._partials[key] = self._partials.pop(key)
        return Verdict(acknowledge=True, message=message)

    def expire(self, now: Instant) -> None:
        """Forget what has made no progress for `IDLE_LIMIT_S`."""
        while self._partials:
            key, oldest = next(iter(self._partials.items()))
            if now - oldest.touched < IDLE_LIMIT_S:
                return
            del self._partials[key]

    def clear(self) -> None:
        self._partials.clear()

    def _make_room(self, source: int) -> bool:
        """A source pays for its own excess; when all is full, what is complete already is forgotten first."""
        own = [key for key in self._partials if key.source == source]
        if len(own) >= self._limits.messages_of_one_source:
            complete = (key for key in own if self._partials[key].delivered)
            del self._partials[next(complete, own[0])]
            return True
        if len(self._partials) < self._limits.messages:
            return True
        complete = (key for key, partial in self._partials.items() if partial.delivered)
        victim = next(complete, None)
        if victim is not None:
            del self._partials[victim]
        return victim is not None


def cut(message: bytes, room_bytes: int) -> tuple[bytes, ...]:
    """The message in pieces of at most `room_bytes`; one piece, possibly empty, where it fits."""
    if len(message) <= room_bytes:
        return (message,)
    return tuple(message[start : start + room_bytes] for start in range(0, len(message), room_bytes))
