"""A coordinator as trust centre: which devices it admits, with which link key, and who never used the network key.

Left out: key updates, and whatever comes by way of a router.
"""

from chf.crypto.mmo import key_transport_key
from devices.stack.aps_layer import ApsLayer
from devices.stack.interface import (
    ApsStatus,
    CoordinatorListener,
    Eui64,
    JoinKind,
    LinkKey,
    LinkKeys,
    Neighbour,
    NetworkState,
    NwkAddress,
)
from devices.stack.nwk_layer import Arrival, NwkLayer
from devices.stack.parent import Parent
from devices.time import Scheduler, Timer
from devices.wire import nwk
from devices.wire.aps import ApsCommandFrame, ApsSecurity, seal
from devices.wire.aps_commands import TransportNetworkKey
from devices.wire.errors import MalformedFrameError
from devices.wire.mac import AssociationStatus, Capability
from devices.wire.security import KeyIdentifier, cipher_for

AUTHENTICATION_S = 10.0  # our choice: a device that has not used the network key by then has not understood it


class TrustCentre:
    """`unsecured_rejoin_allowed` is a policy that the co-processor above may change."""

    def __init__(
        self,
        ieee: Eui64,
        nwk_layer: NwkLayer,
        aps: ApsLayer,
        parent: Parent,
        scheduler: Scheduler,
        *,
        link_keys: LinkKeys,
        listener: CoordinatorListener,
    ) -> None:
        self.unsecured_rejoin_allowed = True
        self.unproved: dict[int, Timer] = {}
        """Devices that were sent the network key and have not used it yet."""
        self._ieee = ieee
        self._nwk = nwk_layer
        self._aps = aps
        self._parent = parent
        self._scheduler = scheduler
        self._link_keys = link_keys
        self._listener = listener
        self._network: NetworkState | None = None

    def start(self, network: NetworkState) -> None:
        self._network = network

    def stop(self) -> None:
        self._network = None
        for timer in self.unproved.values():
            timer.cancel()
        self.unproved.clear()

    def proved(self, ieee: int) -> None:
        """The device used the network key."""
        timer = self.unproved.pop(ieee, None)
        if timer is not None:
            timer.cancel()

    def admit(self, ieee: Eui64, address: NwkAddress, capability: Capability, kind: JoinKind) -> None:
        """A device has an address now. Unless it proved its network key already, it is sent the key."""
        if self._network is None:
            return
        self.proved(ieee)
        child = Neighbour(ieee, address, capability.receiver_on_when_idle, capability.full_function)
        self._parent.adopt(child)
        self._aps.forget(address)
        if kind is JoinKind.REJOINED_SECURED:
            self._listener.device_joined(ieee, address, kind)
            return
        key = self._link_keys.for_join(ieee, rejoining=kind is JoinKind.REJOINED_UNSECURED)
        if key is None:
            self._parent.drop(child)
            self._listener.join_refused(ieee, "no link key for this device", kind)
            return
        if kind is JoinKind.ASSOCIATED:
            # A new association starts the neighbour's counters anew: the device may have forgotten its own.
            self._nwk.incoming.pop(ieee, None)
        self._listener.device_joined(ieee, address, kind)
        self._send_network_key(self._network, child, key)
        self.unproved[ieee] = self._scheduler.call_later(AUTHENTICATION_S, lambda: self._never_proved(child, kind))

    def _send_network_key(self, network: NetworkState, child: Neighbour, key: LinkKey) -> None:
        if self._aps.used_up(key):
            return
        # With extended nonce: the device does not know our address yet (Zigbee PRO 4.4.3.1).
        counter = self._aps.next_security(key).frame_counter
        security = ApsSecurity(counter, self._ieee, KeyIdentifier.KEY_TRANSPORT)
        command = TransportNetworkKey(network.network_key, network.network_key_sequence, child.ieee, self._ieee)
        frame = ApsCommandFrame(self._aps.next_counter(), command.to_bytes(), security)
        octets = seal(frame, cipher_for(key_transport_key(key.key)), self._ieee)
        self._parent.forward(self._nwk.frame(child.address, octets, secured=False), None)

    def _never_proved(self, child: Neighbour, kind: JoinKind) -> None:
        del self.unproved[child.ieee]
        if self._parent.child(child.ieee) is child:
            # Anyone can ask for a rejoin in the clear under another's name: that must not cost the other its place.
            if kind is JoinKind.ASSOCIATED:
                self._parent.drop(child)
            reason = "it never used the network key: is its install code another one?"
            self._listener.join_refused(child.ieee, reason, kind)

    def rejoin(self, arrival: Arrival, request: nwk.RejoinRequest) -> None:
        """Answer a device that comes back, with the network key (secured) or for it (Zigbee PRO 4.6.3.3)."""
        frame = arrival.frame
        source = arrival.sender if arrival.sender is not None else frame.source_ieee
        if source is None or frame.source_ieee not in {None, source}:
            raise MalformedFrameError("rejoin request", "no IEEE address", 0)
        ieee = Eui64(source)
        secured = arrival.sender is not None
        refused = None
        if not secured and not self.unsecured_rejoin_allowed:
            refused = "unsecured rejoin is not allowed"
        elif not secured and self._link_keys.for_join(ieee, rejoining=True) is None:
            refused = "no link key for this device"
        if refused is not None:
            self._listener.join_refused(ieee, refused, JoinKind.REJOINED_UNSECURED)
        address = self._parent.address_for(ieee, frame.source)
        capability = Capability.from_octet(request.capability)
        status = AssociationStatus.SUCCESS if refused is None else AssociationStatus.PAN_ACCESS_DENIED
        if refused is None and not capability.full_function and not self._parent.has_room_for(ieee):
            status = AssociationStatus.PAN_AT_CAPACITY

        def done(result: ApsStatus) -> None:
            if result is ApsStatus.SUCCESS and status is AssociationStatus.SUCCESS:
                kind = JoinKind.REJOINED_SECURED if secured else JoinKind.REJOINED_UNSECURED
                self.admit(ieee, address, capability, kind)

        answer = self._nwk.frame(
            frame.source,
            nwk.RejoinResponse(address, status).to_bytes(),
            radius=1,
            command=True,
            secured=secured,
            destination_ieee=ieee,
            source_ieee=self._ieee,
        )
        if capability.receiver_on_when_idle:
            self._nwk.emit(answer, frame.source, done)
        else:
            self._parent.hold(answer, frame.source, done)
