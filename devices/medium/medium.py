"""The simulated 2.4 GHz radio: who hears which frame, when, and whether the sender gets its acknowledgement.

Every radio sends one frame at a time, with IEEE 802.15.4 acknowledgements and retries, and takes the time of that. By
default nothing is lost, doubled or delayed. Everything on the air, ACKs included, goes to the taps with its FCS. Not
modelled: collisions (frames queue for the channel), hidden nodes, interference other than a noise floor.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from math import hypot, log10
from typing import TYPE_CHECKING

from devices.wire import mac

if TYPE_CHECKING:
    from random import Random

    from devices.time import Scheduler, Timer

MAX_RETRIES = 3  # macMaxFrameRetries, IEEE 802.15.4 table 8-81
_OCTET_S = 32e-6  # 250 kb/s
_PHY_HEADER_OCTETS = 6  # preamble 4, start of frame 1, length 1
_UNIT_BACKOFF_S = 320e-6  # aUnitBackoffPeriod, 20 symbols: IEEE 802.15.4 table 8-80
_MAX_BACKOFF_UNITS = 7  # macMinBE 3
_CCA_AND_TURNAROUND_S = 128e-6 + 192e-6  # 8 and 12 symbols: CCA and aTurnaroundTime, IEEE 802.15.4 table 8-80
_ACK_S = 192e-6 + (_PHY_HEADER_OCTETS + 5) * _OCTET_S
_ACK_WAIT_S = 864e-6  # macAckWaitDuration, 54 symbols
_LONG_SPACING_S, _SHORT_SPACING_S, _SHORT_FRAME_OCTETS = (
    640e-6,
    192e-6,
    18,
)  # macMinLIFSPeriod, macMinSIFSPeriod, aMaxSIFSFrameSize
_LOSS_AT_1_M_DB = 40.2  # free space at 2.45 GHz
_FULL_QUALITY_DB = 40  # above the sensitivity, our choice
_LQI_PER_DB = 255 / _FULL_QUALITY_DB


@dataclass(frozen=True, slots=True)
class MediumSettings:
    """What the air is like. Chances are per frame and receiver, 0 to 1; the default loses nothing."""

    airtime: bool = True  # frames, backoff, ACKs and spacing take the time that 2.4 GHz O-QPSK takes
    loss: float = 0.0  # never heard; an ACK is lost as easily as a frame
    duplication: float = 0.0  # heard twice
    delay_s: float = 0.0  # between the air and the receiver's stack
    reordering: float = 0.0  # held back for `reordering_hold_s`, so that later frames overtake it
    reordering_hold_s: float = 0.05
    transmit_dbm: float = 0.0
    sensitivity_dbm: float = -100.0
    path_loss_exponent: float = 2.7  # indoors, our choice
    noise_dbm: float = -95.0

    def __post_init__(self) -> None:
        for name in ("loss", "duplication", "reordering"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} is a chance from 0 to 1, not {getattr(self, name)}")
        for name in ("delay_s", "reordering_hold_s"):
            if not getattr(self, name) >= 0.0:
                raise ValueError(f"{name} cannot be negative, but is {getattr(self, name)}")


Tap = Callable[[float, int, float, bytes], None]
"""Time in seconds, channel, signal strength in dBm, frame with FCS: just what `PcapWriter.write` takes."""

Done = Callable[[bool, bool], None]
"""Acknowledged (True for what asks for no ACK), and whether the ACK had its frame-pending bit set."""


class Medium:
    """One piece of air for all channels. `settings` may be replaced while it runs; `taps` see every frame."""

    def __init__(self, scheduler: "Scheduler", random: "Random", settings: MediumSettings | None = None) -> None:
        self.scheduler = scheduler
        self.settings = settings or MediumSettings()
        self.taps: list[Tap] = []
        self._random = random
        self._radios: list[Radio] = []
        self._by_short: dict[tuple[int, int, int], list[Radio]] = {}
        self._busy_until: dict[int, float] = {}

    def attach(
        self, extended: int, receive: Callable[[bytes, int, int], None], position_m: tuple[float, float] = (0.0, 0.0)
    ) -> "Radio":
        """A new radio, switched off. `receive` gets each frame for it (without FCS), LQI and RSSI in dBm."""
        radio = Radio(self, extended, receive, position_m)
        self._radios.append(radio)
        return radio

    def energy_dbm(self, channel: int) -> int:  # noqa: ARG002 every channel has the same noise so far
        """What an energy scan reads."""
        return round(self.settings.noise_dbm)

    def rssi_dbm(self, sender: "Radio", receiver: "Radio") -> float:
        """Log-distance path loss from 1 m on."""
        reference = self.settings.transmit_dbm - _LOSS_AT_1_M_DB
        if sender.position_m == receiver.position_m:
            return reference
        distance_m = hypot(sender.position_m[0] - receiver.position_m[0], sender.position_m[1] - receiver.position_m[1])
        return reference - 10 * self.settings.path_loss_exponent * log10(max(distance_m, 1.0))

    def reindex(self, radio: "Radio", old: tuple[int, int, int], new: tuple[int, int, int]) -> None:
        """A radio has changed what it listens to."""
        here = self._by_short.get(old)
        if here is not None and radio in here:
            here.remove(radio)
            if not here:
                del self._by_short[old]
        self._by_short.setdefault(new, []).append(radio)

    def schedule_attempt(
        self, octets_on_air: int, channel: int, callback: Callable[[], None], wait_s: float
    ) -> "Timer":
        """Call back at the end of a transmission that starts after `wait_s`, backoff and what is on the channel."""
        if not self.settings.airtime:
            return self.scheduler.call_later(0.0, callback)
        start = max(self.scheduler.now + wait_s, self._busy_until.get(channel, 0.0))
        start += self._random.randint(0, _MAX_BACKOFF_UNITS) * _UNIT_BACKOFF_S + _CCA_AND_TURNAROUND_S
        end = start + (_PHY_HEADER_OCTETS + octets_on_air) * _OCTET_S
        spacing = _SHORT_SPACING_S if octets_on_air <= _SHORT_FRAME_OCTETS else _LONG_SPACING_S
        self._busy_until[channel] = end + _ACK_S + spacing
        return self.scheduler.call_at(end, callback)

    def propagate(self, sender: "Radio", octets: bytes) -> "tuple[bool, bool, list[tuple[Radio, float]]]":
        """The frame goes over the air now. Returns (acknowledged, the ACK's pending bit, who heard it how well)."""
        settings = self.settings
        heard: list[tuple[Radio, float]] = []
        if self.taps:
            self._capture(sender.channel, octets)
        wants_ack = octets[0] & 0x20
        acked = pending = False
        for receiver in self._listeners(sender, octets):
            rssi = self.rssi_dbm(sender, receiver)
            if not _are_in_range(sender, receiver) or rssi < settings.sensitivity_dbm:
                continue
            if settings.loss and self._chance(settings.loss):
                continue
            if wants_ack and not acked:
                bit = octets[0] & 7 == mac.MacType.COMMAND and receiver.has_pending(octets)
                if self.taps:
                    self._capture(sender.channel, mac.ack_frame(octets[2], pending=bit), _ACK_S)
                if not (settings.loss and self._chance(settings.loss)):
                    acked, pending = True, bit
            heard.append((receiver, rssi))
        return acked, pending, heard

    def _listeners(self, sender: "Radio", octets: bytes) -> "list[Radio]":
        channel = sender.channel
        control = octets[1] & 0x0C
        if control == 0x08:  # short destination
            pan, short = octets[3] | octets[4] << 8, octets[5] | octets[6] << 8
            if short != mac.BROADCAST:
                found = self._by_short.get((channel, pan, short), ())
                return [radio for radio in found if radio.listening and radio is not sender]
            return [
                radio
                for radio in self._radios
                if radio.listening
                and radio is not sender
                and radio.channel == channel
                and (pan in {radio.pan, mac.BROADCAST})
            ]
        if control == 0x0C:
            extended = int.from_bytes(octets[5:13], "little")
            return [
                radio
                for radio in self._radios
                if radio.extended == extended and radio.listening and radio.channel == channel and radio is not sender
            ]
        # Without a destination it is a beacon: for those who scan (IEEE 802.15.4 5.1.6.2).
        return [
            radio
            for radio in self._radios
            if radio.listening and radio.pan == mac.BROADCAST and radio.channel == channel and radio is not sender
        ]

    def hand_over(self, receiver: "Radio", octets: bytes, rssi: float) -> None:
        """What a radio heard reaches the stack above it, now or late, once or twice."""
        settings = self.settings
        above = rssi - settings.sensitivity_dbm
        quality = 255 if above >= _FULL_QUALITY_DB else round(above * _LQI_PER_DB)
        delay = settings.delay_s + receiver.delay_s
        if settings.reordering and self._chance(settings.reordering):
            delay += settings.reordering_hold_s
        copies = 2 if (settings.duplication and self._chance(settings.duplication)) else 1
        for _ in range(copies):
            if delay:
                self.scheduler.call_later(delay, lambda: receiver.hear(octets, quality, round(rssi)))
            else:
                receiver.hear(octets, quality, round(rssi))

    def _capture(self, channel: int, octets: bytes, after_s: float = 0.0) -> None:
        at = self.scheduler.now + (after_s if self.settings.airtime else 0.0)
        whole = octets + mac.fcs(octets)
        rssi = self.settings.transmit_dbm - _LOSS_AT_1_M_DB  # a sniffer one metre away
        for tap in self.taps:
            tap(at, channel, rssi, whole)

    def _chance(self, probability: float) -> bool:
        return self._random.random() < probability


def _are_in_range(one: "Radio", other: "Radio") -> bool:
    """Both ways: a wall is as thick from the other side."""
    return (one.hears is None or other.extended in one.hears) and (other.hears is None or one.extended in other.hears)


class Radio:
    """A transceiver, made by `Medium.attach`. It hears while `listening` and sends one frame at a time."""

    __slots__ = (
        "_attempts",
        "_medium",
        "_queue",
        "_receive",
        "_under_way",
        "channel",
        "delay_s",
        "extended",
        "hears",
        "listening",
        "pan",
        "pending_for",
        "position_m",
        "short",
    )

    def __init__(
        self, medium: Medium, extended: int, receive: Callable[[bytes, int, int], None], position_m: tuple[float, float]
    ) -> None:
        self.extended = extended
        self.hears: frozenset[int] | None = None  # by their EUI-64; None: whoever the distance lets through
        self.delay_s = 0.0  # beside the medium's: it acknowledges in time, the stack above it learns of the frame late
        self.channel = 0
        self.pan = mac.BROADCAST
        self.short = mac.BROADCAST
        self.position_m = position_m
        self.listening = False
        self.pending_for: Callable[[bytes], bool] | None = None  # whether to set the pending bit in a command's ACK
        self._medium = medium
        self._receive = receive
        self._queue: deque[tuple[bytes, Done | None]] = deque()
        self._attempts = 0
        self._under_way: Timer | None = None

    def tune(self, channel: int, pan: int, short: int) -> None:
        """Listen (once `listening`) to this channel and these addresses."""
        old = (self.channel, self.pan, self.short)
        self.channel, self.pan, self.short = channel, pan, short
        self._medium.reindex(self, old, (channel, pan, short))

    def transmit(self, octets: bytes, done: Done | None = None) -> None:
        """Queue a frame (without FCS). `done` is called when the air is done with it, never from within."""
        if len(octets) + mac.FCS_BYTES > mac.MAX_PSDU_BYTES:
            raise ValueError(f"{len(octets) + mac.FCS_BYTES} octets do not fit a frame of {mac.MAX_PSDU_BYTES}")
        self._queue.append((octets, done))
        if len(self._queue) == 1:
            self._attempt(0.0)

    def switch_off(self) -> None:
        """Silence at once: what was queued is never sent and its `done` never called."""
        self.listening = False
        self._queue.clear()
        self._attempts = 0
        if self._under_way is not None:
            self._under_way.cancel()

    def has_pending(self, octets: bytes) -> bool:
        """Whether the ACK of this command has its pending bit set."""
        return self.pending_for is not None and self.pending_for(octets)

    def hear(self, octets: bytes, lqi: int, rssi_dbm: int) -> None:
        """A frame from the medium, which may have been under way when the radio was switched off."""
        if self.listening:
            self._receive(octets, lqi, rssi_dbm)

    def _attempt(self, wait_s: float) -> None:
        length = len(self._queue[0][0]) + mac.FCS_BYTES
        self._under_way = self._medium.schedule_attempt(length, self.channel, self._sent, wait_s)

    def _sent(self) -> None:
        frame = self._queue[0]
        octets, done = frame
        wants_ack = octets[0] & 0x20
        acked, pending, heard = self._medium.propagate(self, octets)
        if wants_ack and not acked and self._attempts < MAX_RETRIES:
            self._attempts += 1
            self._attempt(_ACK_WAIT_S)
        else:
            self._attempts = 0
            if done is not None:
                done(acked or not wants_ack, pending)
            if self._queue and self._queue[0] is frame:  # `done` may have switched the radio off
                self._queue.popleft()
                if self._queue:
                    self._attempt(0.0)
        # The sender learns of the ACK before the receiver's stack has done anything, as on the air.
        for receiver, rssi in heard:
            self._medium.hand_over(receiver, octets, rssi)
