"""What the responder remembers of one device, and the settings that its waits come from. Values only."""

from dataclasses import dataclass

from chf.clock import Instant, backoff_s
from chf.crypto.ecqv import Certificate
from chf.keys.effects import Computed, Token
from chf.keys.transitions import INITIAL, State


@dataclass(frozen=True, slots=True)
class KeyEstablishmentSettings:
    """Where no source is named, the value is our choice."""

    maximum_exchanges: int = 16
    """At once; further devices get NO_RESOURCES."""
    busy_wait_s: int = 5
    """And wait for so long before they ask again."""
    ephemeral_time_s: int = 10  # advertised, as a deployed hub does (HG)
    confirm_time_s: int = 10  # advertised, as a deployed hub does (HG)
    step_timeout_s: float = 10.0
    """For each message of the device, on top of the time that it advertised (Ember-KE)."""
    longest_partner_time_s: int = 60
    """Of what a device advertises, so much is believed."""
    free_attempts: int = 3
    """Computations for one device in a row without success; then it has to wait, longer each time."""
    first_back_off_s: float = 10.0  # Ember-KE
    longest_back_off_s: float = 250.0  # a wait time fits one octet

    def back_off_s(self, attempts: int) -> float:
        """After so many computations without success."""
        if attempts < self.free_attempts:
            return 0.0
        return backoff_s(attempts - self.free_attempts + 1, self.first_back_off_s, self.longest_back_off_s)


@dataclass(slots=True)
class Exchange:
    """Changed by the responder alone."""

    token: Token
    endpoint: int
    certificate: Certificate
    ephemeral_time_s: int
    confirm_time_s: int
    deadline: Instant
    state: State = INITIAL
    ephemeral: bytes = b""
    sequence: int = 0
    """Of the request that is to be answered."""
    computed: Computed | None = None


@dataclass(slots=True)
class Record:
    """Of a device, beyond its exchange."""

    attempts: int = 0
    not_before: Instant | None = None
