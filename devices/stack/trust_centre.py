"""A coordinator as trust centre: which devices it admits, with which link key, and who never used the network key.

Left out: key updates.
"""

from chf.crypto.mmo import key_transport_key
from devices.stack.aps_layer import ApsLayer
from devices.stack.interface import (
    CoordinatorListener,
    Eui64,
    JoinKind,
    LinkKey,
    LinkKeys,
    Neighbour,
    NetworkState,
    NwkAddress,
)
from devices.stack.nwk_layer import NwkLayer
from devices.stack.parent import Parent
from devices.time import Scheduler, Timer
from devices.wire.aps import ApsCommandFrame, ApsSecurity, seal
from devices.wire.aps_commands import DeviceStatus, RemoveDevice, TransportNetworkKey, Tunnel, UpdateDevice
from devices.wire.mac import Capability
from devices.wire.security import KeyIdentifier, cipher_for

AUTHENTICATION_S = 10.0  # our choice: a device that has not used the network key by then has not understood it
_KINDS: dict[int, JoinKind] = {
    DeviceStatus.UNSECURED_JOIN: JoinKind.ASSOCIATED,
    DeviceStatus.SECURED_REJOIN: JoinKind.REJOINED_SECURED,
    DeviceStatus.TRUST_CENTRE_REJOIN: JoinKind.REJOINED_UNSECURED,
}


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

    def admit(
        self, ieee: Eui64, address: NwkAddress, capability: Capability, kind: JoinKind, via: NwkAddress | None = None
    ) -> None:
        """A device has an address now, from us or `via` a router. Unless it proved its network key, it is sent it."""
        if self._network is None:
            return
        self.proved(ieee)
        child = Neighbour(ieee, address, capability.receiver_on_when_idle, capability.full_function, via=via)
        self._parent.adopt(child)
        self._aps.forget(address)
        if kind is JoinKind.REJOINED_SECURED:
            self._listener.device_joined(ieee, address, kind)
            return
        key = self._link_keys.for_join(ieee, rejoining=kind is JoinKind.REJOINED_UNSECURED)
        if key is None:
            self._send_away(child)
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
        if child.via is None:
            self._parent.forward(self._nwk.frame(child.address, octets, secured=False), None)
        else:
            self._aps.send_command(child.via, Tunnel(child.ieee, octets).to_bytes())

    def _send_away(self, child: Neighbour) -> None:
        if child.via is not None:
            self._aps.send_command(child.via, RemoveDevice(child.ieee).to_bytes())
        self._parent.drop(child)

    def _never_proved(self, child: Neighbour, kind: JoinKind) -> None:
        del self.unproved[child.ieee]
        if self._parent.child(child.ieee) is child:
            # Anyone can ask for a rejoin in the clear under another's name: that must not cost the other its place.
            if kind is JoinKind.ASSOCIATED:
                self._send_away(child)
            reason = "it never used the network key: is its install code another one?"
            self._listener.join_refused(child.ieee, reason, kind)

    def refuses_rejoin(self, ieee: Eui64, secured: bool) -> bool:
        """Of a device that comes back, with the network key (secured) or for it (Zigbee PRO 4.6.3.3)."""
        if secured:
            return False
        if not self.unsecured_rejoin_allowed:
            reason = "unsecured rejoin is not allowed"
        elif self._link_keys.for_join(ieee, rejoining=True) is None:
            reason = "no link key for this device"
        else:
            return False
        self._listener.join_refused(ieee, reason, JoinKind.REJOINED_UNSECURED)
        return True

    def updated(self, router: Neighbour, update: UpdateDevice) -> None:
        """A router tells of its child (Zigbee PRO 4.6.3.2): it joined there, came back, or left."""
        ieee, address = Eui64(update.device), NwkAddress(update.address)
        kind = _KINDS.get(update.status)
        if kind is not None:
            # What the device is, it says when it announces itself.
            refused = self.refuses_rejoin(ieee, kind is not JoinKind.REJOINED_UNSECURED)
            if refused:
                self._aps.send_command(router.address, RemoveDevice(ieee).to_bytes())
            else:
                self.admit(ieee, address, Capability(receiver_on_when_idle=True), kind, router.address)
        elif update.status == DeviceStatus.LEFT:
            child = self._parent.child(ieee)
            if child is not None and child.via == router.address:
                self._parent.drop(child)
                self._listener.device_left(ieee, address)
