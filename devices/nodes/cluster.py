"""What a device is made of: clusters. A cluster takes frames, answers and the time, and returns what is to be done.

It never sees the device. Whatever it wants done is an `Effect`; the device carries effects out in one place, in their
order, and looks at the cluster's `deadline` again afterwards. What one cluster has for the others is a `Signal`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from devices.nodes.events import NodeEvent
from devices.stack.interface import COORDINATOR, NwkAddress
from devices.wire.zcl import Status, ZclFrame

if TYPE_CHECKING:
    from devices.stack.interface import ApsIndication
    from devices.wire.zcl import Attribute, DefaultResponse

_FIRST_BROADCAST = 0xFFF8  # Zigbee R22 3.6.5: reserved and broadcast addresses from here on


@dataclass(frozen=True, slots=True)
class Send:
    """A frame of this cluster. `secured` None: under the link key where the device demands that of the cluster."""

    frame: ZclFrame
    endpoint: int
    destination: NwkAddress = COORDINATOR
    secured: bool | None = None


@dataclass(frozen=True, slots=True)
class Discover:
    """Match Descriptor for the hub's server of this cluster; the answer is `Cluster.found`."""


@dataclass(frozen=True, slots=True)
class Restart:
    """Boot again, once what is under way has left: which image is to be tried is in flash."""


@dataclass(frozen=True, slots=True)
class TakeLinkKey:
    """Both sides hold it: use it from now on."""

    link_key: bytes = field(repr=False)


class Signal(Enum):
    """What concerns the device's other clusters."""

    CLOCK_SETTLED = "the clock is set, or nobody sets it"
    DOWNLOAD_ENDED = "well or badly: somebody may have to be told"
    IMAGE_WAITS = "the hub has an image for this device"
    MESSAGE_WAITS = "the hub has a GBCS message for this device"


Effect = Send | Discover | Restart | TakeLinkKey | Signal | NodeEvent
Effects = list[Effect]


def is_unicast(indication: ApsIndication) -> bool:
    return indication.destination < _FIRST_BROADCAST and indication.group is None


class Clock:
    """The device's idea of the time in ZigBee seconds: its own clock, until a Time server sets it."""

    def __init__(self, at_start: float) -> None:
        """`at_start` is what its own clock shows at simulated second 0."""
        self.awaited = False  # a Time server may still set it
        self._own_offset_s = at_start
        self._offset_s: float | None = None

    def set(self, zigbee_time: int, now: float) -> None:
        self._offset_s = zigbee_time - now

    @property
    def settled(self) -> bool:
        """The time is known, or as known as it will be."""
        return self._offset_s is not None or not self.awaited

    def known(self, now: float) -> int | None:
        """The time as the Time server gave it."""
        return None if self._offset_s is None else int(now + self._offset_s)

    def best(self, now: float) -> float:
        return now + (self._own_offset_s if self._offset_s is None else self._offset_s)


class Cluster:
    """One side of one cluster, from one boot to the next. This class takes nothing and wants nothing.

    Flash that loses its power shows as PowerLostError out of any call; the object is then of no further use.
    """

    from_server = False  # the direction bit of the commands that it takes: True for a client

    @property
    def deadline(self) -> float | None:
        """The one moment at which it wants `handle_deadline`. It may move with every call."""
        return None

    @property
    def expects_answer(self) -> bool:
        """Whether a sleepy device polls fast."""
        return False

    def attributes(self) -> tuple[Attribute, ...]:
        return ()

    def start(self, now: float) -> Effects:
        """The device is on the network, with the link key that this cluster needs."""
        del now
        return []

    def stop(self) -> None:
        """The device is off the network."""

    def found(self, endpoint: int | None, now: float) -> Effects:
        """The answer to `Discover`: where the hub has its server, None where it has none or is silent."""
        del endpoint, now
        return []

    def receive(self, frame: ZclFrame, indication: ApsIndication, now: float) -> tuple[int | None, Effects]:
        """Take a command: the status for its Default Response (None where another frame answers it), and the effects.

        Raises MalformedFrameError for a payload that cannot be read.
        """
        del frame, indication, now
        return Status.UNSUP_CLUSTER_COMMAND, []

    def receive_default_response(self, sequence: int, response: DefaultResponse, now: float) -> Effects:
        """What the hub says to a frame of this cluster with that sequence number."""
        del sequence, response, now
        return []

    def receive_attributes(self, payload: bytes, now: float) -> Effects:
        """The hub's Read Attributes Response. Raises MalformedFrameError."""
        del payload, now
        return []

    def signalled(self, signal: Signal, now: float) -> Effects:
        """Another cluster of the device has this to say."""
        del signal, now
        return []

    def handle_deadline(self, now: float) -> Effects:
        """`deadline` has come."""
        del now
        return []
