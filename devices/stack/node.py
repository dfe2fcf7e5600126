"""What coordinator and end device have in common: a radio, the NWK and APS layers, the device object, `send`.

The two ends differ in how they join, in whom they listen to (`arrived`), and in how a frame finds its next hop.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

from devices.medium.medium import Medium
from devices.stack import zdo
from devices.stack.aps_layer import MAX_PAYLOAD_BYTES, ApsLayer, ApsNode
from devices.stack.interface import (
    ZDP_PROFILE,
    ApsIndication,
    ApsRequest,
    ApsStatus,
    Confirm,
    Endpoint,
    Eui64,
    LinkKey,
    NodeListener,
    NwkAddress,
)
from devices.stack.nwk_layer import Counters, NwkLayer, NwkNode, is_broadcast
from devices.stack.persisted import counter_ahead
from devices.wire import zdp
from devices.wire.errors import MalformedFrameError
from devices.wire.nwk import NwkFrame
from devices.wire.security import APS_OVERHEAD_BYTES

if TYPE_CHECKING:
    from random import Random

    from devices.time import Scheduler


class ZigbeeNode(NwkNode, ApsNode, zdo.ZdpSubject, ABC):
    """One node on the medium: what its layers and its device object ask of it, and what it offers to those above."""

    listener: NodeListener | None

    def __init__(
        self,
        ieee: Eui64,
        medium: Medium,
        scheduler: "Scheduler",
        random: "Random",
        *,
        link_key: Callable[[Eui64], LinkKey | None],
        routes: bool = True,
        host_fragments: bool = False,
        position_m: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        self.ieee = ieee
        self.joined = False  # on its network: else it sends nothing for those above, and tells them nothing it hears
        self.endpoints: dict[int, Endpoint] = {}
        self.counters = Counters()
        self.tells_zdp_requests = False
        """Whether those above hear of the device profile's requests that are answered here, too."""
        self._scheduler = scheduler
        self._random = random
        self._medium = medium
        self._nwk = NwkLayer(self, ieee, medium, self.counters, routes=routes, position_m=position_m)
        self._aps = ApsLayer(
            self,
            self._nwk,
            ieee,
            scheduler,
            self.counters,
            link_key=link_key,
            host_fragments=host_fragments,
            first_counter=random.randrange(256),
        )
        self._zdp_sequence = 0

    @property
    def address(self) -> NwkAddress:
        return self._nwk.address

    @address.setter
    def address(self, address: NwkAddress) -> None:
        self._nwk.address = address

    @property
    def aps_counter_ahead(self) -> int:
        """An APS frame counter at or above the next one under whatever link key."""
        return counter_ahead(self._aps.next_frame_counter)

    def use_aps_counters_from(self, counter: int) -> None:
        self._aps.next_frame_counter = max(self._aps.next_frame_counter, counter)

    # Sending

    def send(self, request: ApsRequest, confirm: Confirm | None = None) -> int:
        """Send; returns the APS counter used. `confirm` is called exactly once, never from within `send`.

        Except that what is under way at a reset (`stop`, `power_off`) is forgotten: its confirm is never called.
        An unacknowledged message is confirmed when the MAC is done with it. One to the node itself never touches the
        air.
        """
        if not self.joined:
            return self._refuse(request, confirm)
        if request.destination == self._nwk.address and request.group is None:
            return self._send_to_self(request, confirm)
        return self._aps.send(request, confirm)

    def _refuse(self, request: ApsRequest, confirm: Confirm | None) -> int:
        if confirm is not None:
            self._scheduler.call_later(0.0, lambda: confirm(ApsStatus.NO_NETWORK))
        return self._aps.next_counter() if request.counter is None else request.counter

    def maximum_payload(self, *, secured: bool) -> int:
        """Bytes of APS payload that fit one frame: 82, 73 with a link key (127 less every header)."""
        return MAX_PAYLOAD_BYTES - (APS_OVERHEAD_BYTES if secured else 0)

    def command_frame(self, destination: int, octets: bytes) -> NwkFrame:
        """A secured network frame of ours for an APS command."""
        return self._nwk.frame(destination, octets)

    def _send_to_self(self, request: ApsRequest, confirm: Confirm | None) -> int:
        counter = self._aps.next_counter() if request.counter is None else request.counter
        own = self.address
        # Profile, cluster and endpoints lie side by side in both.
        indication = ApsIndication(own, self.ieee, own, *request[1:5], request.payload, counter, request.secured)

        def loop_back() -> None:
            if confirm is not None:
                confirm(ApsStatus.SUCCESS)
            self.aps_indication(indication)

        self._scheduler.call_later(0.0, loop_back)
        return counter

    def _send_zdp(self, destination: NwkAddress, cluster: int, body: bytes, sequence: int | None = None) -> int:
        if sequence is None:
            sequence = self._zdp_sequence = (self._zdp_sequence + 1) & 0xFF
        payload = bytes((sequence,)) + body
        acknowledged = not is_broadcast(destination)
        self.send(ApsRequest(destination, ZDP_PROFILE, cluster, 0, 0, payload, acknowledged=acknowledged))
        return sequence

    # Receiving

    def aps_indication(self, indication: ApsIndication) -> None:
        """From the APS layer: the device object's share is answered here, the rest goes up."""
        if indication.profile != ZDP_PROFILE or indication.destination_endpoint != 0:
            self._tell(indication)
            return
        if not indication.payload:  # no transaction sequence
            self.counters.malformed += 1
            return
        cluster, body = indication.cluster, indication.payload[1:]
        try:
            if zdo.is_answered(cluster):
                if self.tells_zdp_requests:
                    self._tell(indication)
                answer = zdo.respond(self, cluster, body, broadcast=is_broadcast(indication.destination))
                if answer is not None:
                    self._send_zdp(indication.source, cluster | zdp.RESPONSE, answer, indication.payload[0])
            else:
                self._zdp_received(indication, body)
        except MalformedFrameError:
            self.counters.malformed += 1

    def _tell(self, indication: ApsIndication) -> None:
        if self.joined and self.listener is not None:
            self.listener.message_received(indication)

    # What the two ends do differently, beside what the layers ask of them

    @abstractmethod
    def _zdp_received(self, indication: ApsIndication, body: bytes) -> None:
        """Of the device profile, and not answered by the device object."""

    @abstractmethod
    def ieee_of(self, address: NwkAddress) -> Eui64 | None: ...

    def energy(self, channel: int) -> int:
        """Energy on a channel, in dBm."""
        return self._medium.energy_dbm(channel)
