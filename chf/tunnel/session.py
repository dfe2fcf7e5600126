"""What the tunnel client remembers of one device, and the settings that its waits come from. Values only."""

from collections import deque
from dataclasses import dataclass, field

from chf.clock import Instant, backoff_s
from chf.eui64 import Eui64
from chf.tunnel.effects import TunnelRecord
from chf.tunnel.transitions import INITIAL, State
from chf.zcl.tunneling import GBCS_TRANSFER_SIZE


@dataclass(frozen=True, slots=True)
class TunnelSettings:
    """Where no source is named, the value is our choice."""

    response_timeout_s: float = 10.0
    """For RequestTunnelResponse, and for the Default Response to a message."""
    discovery_timeout_s: float = 30.0
    discovery_attempts: int = 5  # per round (SL-CHF)
    request_attempts: int = 5
    requests_at_once: int = 8
    """A deployed hub asks one device at a time (SL-CHF); then one that is away keeps all others waiting."""
    first_retry_s: float = 2.0
    """Doubled with each attempt, up to `longest_retry_s`."""
    longest_retry_s: float = 60.0
    busy_retry_s: float = 180.0  # SL-CHF: ask again after three minutes
    no_more_ids_retry_s: float = 5.0  # SL-CHF
    check_interval_s: float = 900.0
    """How long a device rests that cannot be reached or refused."""
    message_lifetime_s: float = 86_400.0  # the queue timeout of a deployed hub (SL-CHF)
    queue_length: int = 64

    def retry_after_s(self, attempt: int) -> float:
        """The wait after the `attempt`th try that failed, counted from 1."""
        return backoff_s(attempt, self.first_retry_s, self.longest_retry_s)


@dataclass(slots=True)
class Outgoing:
    """A message on its way to a device."""

    message_id: str
    data: bytes
    expires: Instant
    attempts: int = 0
    sequence: int | None = None  # of the last frame that carried it through the present tunnel
    in_flight: bool = False
    due: Instant | None = None
    """While in flight, when the Default Response is overdue; else when to send it again."""


@dataclass(slots=True)
class Session:
    """One device. Changed by the client alone."""

    peer: Eui64
    state: State = INITIAL
    deadline: Instant | None = None
    endpoint: int | None = None
    tunnel_id: int | None = None
    maximum_transfer_size: int = GBCS_TRANSFER_SIZE
    stale_ids: set[int] = field(default_factory=set)
    """Tunnels that the device may still hold open for us."""
    request_sequence: int | None = None
    attempts: int = 0
    losses: int = 0
    """Tunnels lost in a row, without a message having passed."""
    outgoing: deque[Outgoing] = field(default_factory=deque)

    def record(self) -> TunnelRecord:
        assert self.endpoint is not None
        assert self.tunnel_id is not None
        return TunnelRecord(self.peer, self.endpoint, self.tunnel_id, self.maximum_transfer_size)

    def deadlines(self) -> tuple[Instant, ...]:
        waits = [self.deadline] if self.deadline is not None else []
        if self.state is State.OPEN and self.outgoing and self.outgoing[0].due is not None:
            waits.append(self.outgoing[0].due)
        return (*waits, *(message.expires for message in self.outgoing))
