"""How an end device gets onto a network: scan, associate, wait for the network key; or rejoin the one it knows.

One attempt after another, at growing intervals, until one works or the device is switched off. Half of an interval is
left to chance, because devices that fail together must not try again together. Rejoining tries the
secured way first and then, turn about, the trust-centre way in the clear (Zigbee PRO 4.6.3.3).
"""

from collections.abc import Callable
from enum import Enum, auto
from typing import TYPE_CHECKING, Protocol

from devices.stack.interface import COORDINATOR, Eui64, Neighbour, NwkAddress
from devices.stack.nwk_layer import Arrival, NwkLayer
from devices.stack.persisted import DeviceState
from devices.time import Scheduler, Timer
from devices.wire import mac, nwk
from devices.wire.errors import MalformedFrameError
from devices.wire.mac import AddressMode, AssociationStatus, Capability, MacCommand, MacFrame, MacType

if TYPE_CHECKING:
    from random import Random

SCAN_S = 0.13824  # of a channel, at scan duration 3: 960 symbols x (2^3 + 1)
RESPONSE_WAIT_S = 0.49152  # macResponseWaitTime, 32 x 960 symbols: IEEE 802.15.4 table 8-81
KEY_WAIT_S = 5.0  # our choice
KEY_POLL_S = 0.25  # our choice: how often a sleepy device asks meanwhile
FIRST_RETRY_S = 1.0  # our choice
LONGEST_RETRY_S = 60.0  # our choice


class _Phase(Enum):
    IDLE = auto()
    SCANNING = auto()
    ASSOCIATING = auto()
    KEY_WAITING = auto()
    REJOINING_SECURED = auto()
    REJOINING_UNSECURED = auto()
    RESTING = auto()


class JoiningDevice(Protocol):
    """What this needs of the device."""

    ieee: Eui64
    address: NwkAddress
    persistent_state: DeviceState

    def capability(self) -> Capability: ...
    def network_ready(self, *, rejoined: bool) -> None: ...
    def join_failed(self, reason: str) -> None: ...
    def poll(self) -> None: ...


class Joining:
    """One for each device, idle while it is joined."""

    def __init__(
        self,
        device: JoiningDevice,
        nwk_layer: NwkLayer,
        scheduler: Scheduler,
        random: "Random",
        *,
        channels: tuple[int, ...],
    ) -> None:
        self._device = device
        self._radio = nwk_layer.radio
        self._nwk = nwk_layer
        self._scheduler = scheduler
        self._random = random
        self._channels = channels
        self._phase = _Phase.IDLE
        self._timer: Timer | None = None
        self._poll_timer: Timer | None = None
        self._rejoining = False
        self._failures = 0
        self._found: list[tuple[int, int, int, NwkAddress, mac.Beacon]] = []

    @property
    def waits_for_key(self) -> bool:
        return self._phase is _Phase.KEY_WAITING

    @property
    def hears_in_the_clear(self) -> bool:
        """Whether the answer that it waits for comes without NWK security."""
        return self._phase is _Phase.KEY_WAITING or self._phase is _Phase.REJOINING_UNSECURED

    def join(self) -> None:
        self._begin(rejoining=False)

    def rejoin(self) -> None:
        self._begin(rejoining=True)

    def stop(self) -> None:
        self._phase = _Phase.IDLE
        self._cancel()

    def _begin(self, *, rejoining: bool) -> None:
        self._cancel()
        self._rejoining = rejoining
        self._failures = 0
        self._attempt()

    def _cancel(self) -> None:
        for timer in (self._timer, self._poll_timer):
            if timer is not None:
                timer.cancel()
        self._timer = self._poll_timer = None

    def _wait(self, delay_s: float, callback: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._scheduler.call_later(delay_s, callback)

    # Scanning

    def _attempt(self) -> None:
        self._found.clear()
        channels = self._channels
        if self._rejoining:
            stored = self._device.persistent_state.channel
            channels = (stored, *(channel for channel in channels if channel != stored))
        self._radio.listening = True
        self._scan(channels)

    def _scan(self, channels: tuple[int, ...]) -> None:
        self._phase = _Phase.SCANNING
        if not channels or (self._rejoining and self._found):
            self._choose()
            return
        self._radio.tune(channels[0], mac.BROADCAST, mac.BROADCAST)
        request = MacFrame(
            MacType.COMMAND,
            self._nwk.next_mac_sequence(),
            AddressMode.SHORT,
            mac.BROADCAST,
            mac.BROADCAST,
            payload=bytes((MacCommand.BEACON_REQUEST,)),
        )
        # IEEE 802.15.4 5.1.2.1.2: the receiver is on for so long after the request was sent, however long that took.
        self._radio.transmit(request.to_bytes(), lambda *_: self._listen(channels[1:]))

    def _listen(self, others: tuple[int, ...]) -> None:
        if self._phase is _Phase.SCANNING:
            self._wait(SCAN_S, lambda: self._scan(others))

    def beacon_heard(self, frame: MacFrame, lqi: int) -> None:
        if self._phase is not _Phase.SCANNING or frame.source_mode is not AddressMode.SHORT:
            return
        beacon = mac.Beacon.from_bytes(frame.payload)
        if self._rejoining:  # to a full parent too: the place there may be its own
            wanted = beacon.extended_pan == self._device.persistent_state.extended_pan_id
        else:
            wanted = beacon.permit and beacon.has_room
        if wanted:
            self._found.append((lqi, self._radio.channel, frame.source_pan, NwkAddress(frame.source), beacon))

    def _choose(self) -> None:
        if not self._found:
            self._failed("no network to go back to" if self._rejoining else "no network that lets devices join")
            return
        # The best heard; among equals the one found first, but another one after a failure.
        best = sorted(self._found, key=lambda found: -found[0])
        _, channel, pan, self._nwk.parent, beacon = best[self._failures % len(best)]
        state = self._device.persistent_state
        state.channel, state.pan_id, state.extended_pan_id = channel, pan, beacon.extended_pan
        self._nwk.pan = pan
        if self._rejoining:
            self._request_rejoin()
        else:
            self._request_association()

    # Association

    def _request_association(self) -> None:
        state = self._device.persistent_state
        self._phase = _Phase.ASSOCIATING
        self._radio.tune(state.channel, state.pan_id, mac.BROADCAST)
        capability = self._device.capability().to_octet()
        request = bytes((MacCommand.ASSOCIATION_REQUEST, capability))
        self._radio.transmit(self._to_parent(request, mac.BROADCAST), self._association_requested)

    def _to_parent(self, command: bytes, own_pan: int) -> bytes:
        """From a device that has no address yet."""
        parent = AddressMode.SHORT, self._device.persistent_state.pan_id, self._nwk.parent
        device = AddressMode.EXTENDED, own_pan, self._device.ieee
        return mac.command_frame(self._nwk.next_mac_sequence(), parent, device, command)

    def _association_requested(self, acked: bool, _pending: bool) -> None:
        if self._phase is not _Phase.ASSOCIATING:
            return
        if acked:
            self._wait(RESPONSE_WAIT_S, self._fetch_association)
        else:
            self._failed("the association request was not acknowledged")

    def _fetch_association(self) -> None:
        poll = bytes((MacCommand.DATA_REQUEST,))
        self._radio.transmit(self._to_parent(poll, self._device.persistent_state.pan_id))
        self._wait(RESPONSE_WAIT_S, lambda: self._failed("no association response"))

    def association_answered(self, frame: MacFrame) -> None:
        if self._phase is not _Phase.ASSOCIATING:
            return
        response = mac.AssociationResponse.from_bytes(frame.payload)
        self._know_parent(frame.source)
        if response.status != AssociationStatus.SUCCESS:
            self._failed(f"the association was refused with status {response.status}")
            return
        self._device.address = NwkAddress(response.address)
        state = self._device.persistent_state
        state.address = NwkAddress(response.address)
        self._radio.tune(state.channel, state.pan_id, response.address)
        self._wait_for_key()

    def _know_parent(self, ieee: int | None) -> None:
        """By the address in what it answered; the coordinator is known as the trust centre, once the key is there."""
        parent = self._nwk.parent
        if ieee is not None and parent != COORDINATOR:
            self._nwk.neighbours[parent] = Neighbour(Eui64(ieee), parent, True, is_router=True)

    # The network key

    def _wait_for_key(self) -> None:
        self._phase = _Phase.KEY_WAITING
        self._wait(KEY_WAIT_S, lambda: self._failed("no network key came"))
        self._poll_while_waiting()

    def _poll_while_waiting(self) -> None:
        """A sleepy device must ask for what its parent holds back; its receiver stays on meanwhile."""
        if self._poll_timer is not None:
            self._poll_timer.cancel()
        if not self._device.capability().receiver_on_when_idle:
            self._device.poll()
            self._poll_timer = self._scheduler.call_later(KEY_POLL_S, self._poll_while_waiting)

    def key_taken(self) -> None:
        """The device holds the network key: it is on the network."""
        self._ready(rejoined=self._rejoining)

    def key_refused(self) -> None:
        """A network key came that our link key does not open: the trust centre has another install code."""
        if self._phase is _Phase.KEY_WAITING:
            self._failed("the network key does not open with this device's install code")

    # Rejoin

    def _request_rejoin(self) -> None:
        state = self._device.persistent_state
        secured = self._failures % 2 == 0 and self._nwk.has_key
        self._phase = _Phase.REJOINING_SECURED if secured else _Phase.REJOINING_UNSECURED
        self._device.address = state.address
        self._radio.tune(state.channel, state.pan_id, state.address)
        parent = self._nwk.parent
        frame = self._nwk.frame(
            parent,
            nwk.RejoinRequest(self._device.capability().to_octet()).to_bytes(),
            radius=1,
            command=True,
            secured=secured,
            destination_ieee=state.trust_centre if parent == COORDINATOR else None,
            source_ieee=self._device.ieee,
        )
        self._nwk.emit(frame, parent)
        self._wait(RESPONSE_WAIT_S, lambda: self._failed("no answer to the rejoin request"))
        self._poll_while_waiting()

    def rejoin_answered(self, arrival: Arrival, response: nwk.RejoinResponse) -> None:
        secured = arrival.sender is not None
        if self._phase is not (_Phase.REJOINING_SECURED if secured else _Phase.REJOINING_UNSECURED):
            return
        if arrival.frame.destination_ieee not in {None, self._device.ieee}:
            raise MalformedFrameError("rejoin response", "for another device", 0)
        if response.status != AssociationStatus.SUCCESS:
            self._failed(f"the rejoin was refused with status {response.status}")
            return
        state = self._device.persistent_state
        self._know_parent(arrival.frame.source_ieee)
        state.address = self._device.address = NwkAddress(response.address)
        self._radio.tune(state.channel, state.pan_id, response.address)
        if secured:
            self._ready(rejoined=True)
        else:
            self._wait_for_key()

    def _ready(self, *, rejoined: bool) -> None:
        self._phase = _Phase.IDLE
        self._cancel()
        self._device.network_ready(rejoined=rejoined)

    def _failed(self, reason: str) -> None:
        self._phase = _Phase.RESTING
        self._cancel()
        delay = min(FIRST_RETRY_S * 2**self._failures, LONGEST_RETRY_S)
        self._failures = min(self._failures + 1, 16)
        self._wait(self._random.uniform(delay / 2, delay), self._attempt)
        self._radio.listening = False
        self._device.join_failed(reason)
