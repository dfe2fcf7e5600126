"""How a sleepy device asks its parent for what waits there, and how long it listens afterwards (Zigbee PRO 3.6.7).

A device whose receiver is always on polls too, rarely, to show that it is alive.
"""

from collections.abc import Callable

from devices.stack.nwk_layer import NwkLayer
from devices.time import Scheduler, Timer
from devices.wire import mac, nwk
from devices.wire.mac import AddressMode, MacCommand

AWAKE_S = 0.1  # our choice: after a poll whose ACK said that something waits
SHORT_POLL_S = 0.25  # our choice, the usual short poll of device stacks: while an acknowledgement or an answer is due
SHORT_POLLS_AFTER_JOIN = 20  # our choice: the parent's timeout response and the hub's first questions come then
KEEPALIVE_FRACTION = 3  # our choice: polls within one child timeout, so that one or two may be lost
CHILD_TIMEOUT = nwk.EndDeviceTimeoutRequest(8)  # 256 minutes, the default of Zigbee PRO r21 table 3.44


class Polling:
    """Idle until `start`. `is_waiting` says whether something is due from others; `interval_s` None never sleeps."""

    def __init__(
        self, nwk_layer: NwkLayer, scheduler: Scheduler, interval_s: float | None, is_waiting: Callable[[], bool]
    ) -> None:
        self.interval_s = interval_s
        self._nwk = nwk_layer
        self._scheduler = scheduler
        self._is_waiting = is_waiting
        self._active = False
        self._short_polls = 0
        self._timer: Timer | None = None
        self._awake_timer: Timer | None = None
        nwk_layer.sleepy = interval_s is not None

    def start(self) -> None:
        """The device is on its network."""
        self._active = True
        self._nwk.radio.listening = self.interval_s is None
        self._short_polls = SHORT_POLLS_AFTER_JOIN
        self.plan()

    def stop(self) -> None:
        self._active = False
        for timer in (self._timer, self._awake_timer):
            if timer is not None:
                timer.cancel()
        self._timer = self._awake_timer = None

    def set_interval(self, interval_s: float | None) -> None:
        self.interval_s = interval_s
        self._nwk.sleepy = interval_s is not None

    def plan(self) -> None:
        """Choose the time of the next poll by what is due."""
        if self._timer is not None:
            self._timer.cancel()
        interval_s = self.interval_s
        if interval_s is None:
            interval_s = (CHILD_TIMEOUT.seconds or 0.0) / KEEPALIVE_FRACTION
        elif self._short_polls or self._is_waiting():
            interval_s = min(interval_s, SHORT_POLL_S)
        self._timer = self._scheduler.call_later(interval_s, self._poll_due)

    def _poll_due(self) -> None:
        self._timer = None
        self._short_polls = max(0, self._short_polls - 1)
        self.poll()
        if self._active:  # the poll may have shown that the parent is lost
            self.plan()

    def poll(self) -> None:
        """MAC data request to the parent: fetches what waits there, and shows that we are alive."""
        parent, self_ = (
            (AddressMode.SHORT, self._nwk.pan, address) for address in (self._nwk.parent, self._nwk.address)
        )
        poll = bytes((MacCommand.DATA_REQUEST,))
        frame = mac.command_frame(self._nwk.next_mac_sequence(), parent, self_, poll)
        self._nwk.radio.transmit(frame, self._polled)

    def _polled(self, acked: bool, pending: bool) -> None:
        self._nwk.acknowledged(acked, self._nwk.parent)
        if pending:
            self.stay_awake()

    def stay_awake(self) -> None:
        self._nwk.radio.listening = True
        if self._awake_timer is not None:
            self._awake_timer.cancel()
        self._awake_timer = self._scheduler.call_later(AWAKE_S, self._fall_asleep)

    def _fall_asleep(self) -> None:
        self._awake_timer = None
        if self._active and self.interval_s is not None:
            self._nwk.radio.listening = False

    def data_was_for(self, destination: int, *, pending: bool) -> None:
        """A frame came while the receiver was on for it: ask for the next, or sleep."""
        if destination != self._nwk.address:
            return
        if pending:
            self.poll()
        else:
            self._fall_asleep()
