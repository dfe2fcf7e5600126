"""How a device gets a link key of its own from the trust centre: Request-Key, Transport-Key, Verify-Key, Confirm-Key.

Devices since r21 ask for one right after they have joined, and some leave where they get none; Smart Energy devices do
not ask, since theirs comes of key establishment (Zigbee PRO r21 4.7.3; base device behaviour 10.2.5). Both sides are
here. Which key a chip gives away is its own affair: `LinkKeys.offer`.
"""

from collections.abc import Callable
from typing import Protocol

from cryptography.hazmat.primitives.ciphers.aead import AESCCM

from chf.crypto.mmo import hmac_mmo, key_load_key
from devices.stack.aps_layer import ApsLayer
from devices.stack.interface import COORDINATOR, Eui64, LinkKey, LinkKeys
from devices.stack.nwk_layer import Arrival, Counters, Done
from devices.stack.persisted import DeviceState
from devices.time import Scheduler, Timer
from devices.wire.aps import ApsCommandFrame, ApsSecurity, ApsType, seal, unseal
from devices.wire.aps_commands import (
    ApsCommand,
    ConfirmKey,
    KeyType,
    RequestLinkKey,
    TransportLinkKey,
    UpdateDevice,
    VerifyKey,
)
from devices.wire.errors import FrameSecurityError
from devices.wire.nwk import NwkFrame
from devices.wire.security import KeyIdentifier, cipher_for

ASK_AFTER_S = 0.16  # seen in a capture between the network key and Request-Key
ANSWER_S = 5.0  # bdbTCLinkKeyExchangeTimeout, base device behaviour table 1
ASKS = 3  # bdbTCLinkKeyExchangeAttemptsMax, base device behaviour table 1
_SUCCESS, _ILLEGAL_REQUEST, _SECURITY_FAILURE = 0x00, 0xA3, 0xAD  # APS status, Zigbee PRO table 2.26


def proof_of(key: bytes) -> bytes:
    """What Verify-Key says of a key, by which only its holders know it (Zigbee PRO r21 4.5.3)."""
    return hmac_mmo(key, b"\x03")


class Speaker(Protocol):
    """The node that commands are sent for."""

    ieee: Eui64

    def command_frame(self, destination: int, octets: bytes) -> NwkFrame: ...
    def forward(self, frame: NwkFrame, done: Done | None) -> None: ...


class _Side:
    """What both sides do: send and open APS commands."""

    def __init__(self, node: Speaker, aps: ApsLayer, counters: Counters) -> None:
        self._node = node
        self._aps = aps
        self._counters = counters

    def _send(self, destination: int, frame: ApsCommandFrame, key: LinkKey | None, cipher: AESCCM | None) -> None:
        """Under a cipher of `key`, whose counter is used; as it is where there is none."""
        octets = frame.to_bytes()
        if key is not None and cipher is not None:
            if self._aps.used_up(key):
                return
            identifier = KeyIdentifier.DATA if cipher is key.cipher else KeyIdentifier.KEY_LOAD
            security = ApsSecurity(self._aps.next_security(key).frame_counter, self._node.ieee, identifier)
            octets = seal(frame._replace(security=security), cipher, self._node.ieee)
        self._node.forward(self._node.command_frame(destination, octets), None)

    def _command(self, body: bytes) -> ApsCommandFrame:
        return ApsCommandFrame(self._aps.next_counter(), body, ack_request=True)

    def _open(self, arrival: Arrival, frame: ApsCommandFrame, octets: bytes, key: LinkKey | None) -> bytes | None:
        """The plain command, acknowledged where it asks for that; None, and counted, where it is not to be believed."""
        source, plain = arrival.originator, frame.payload
        if source is None or frame.type is ApsType.ACK:
            return None
        if frame.security is not None:
            if key is None or frame.security.key not in {KeyIdentifier.DATA, KeyIdentifier.KEY_LOAD}:
                self._counters.aps_no_link_key += 1
                return None
            if frame.security.frame_counter <= key.incoming_counter:
                self._counters.aps_replays += 1
                return None
            by_data = frame.security.key is KeyIdentifier.DATA
            try:
                plain = unseal(frame, octets, key.cipher if by_data else cipher_for(key_load_key(key.key)), source)
            except FrameSecurityError:
                self._counters.aps_security_failures += 1
                return None
            key.incoming_counter = frame.security.frame_counter
        if frame.ack_request:
            acknowledgement = ApsCommandFrame(frame.counter, b"", type=ApsType.ACK)
            secured = key if frame.security is not None else None
            cipher = None if secured is None else secured.cipher
            self._send(arrival.frame.source, acknowledgement, secured, cipher)
        return plain


class KeyGiver(_Side):
    """The trust centre's side. `updated` has what else comes under a link key: a router's word of its child."""

    def __init__(
        self,
        node: Speaker,
        aps: ApsLayer,
        counters: Counters,
        link_keys: LinkKeys,
        updated: Callable[[int, UpdateDevice], None],
    ) -> None:
        super().__init__(node, aps, counters)
        self._updated = updated
        self._link_keys = link_keys
        self._offered: dict[Eui64, LinkKey] = {}

    def received(self, arrival: Arrival, octets: bytes) -> None:
        frame = ApsCommandFrame.from_bytes(octets)
        if arrival.originator is None:
            self._counters.unexpected += 1
            return
        device = Eui64(arrival.originator)
        plain = self._open(arrival, frame, octets, self._link_keys.for_data(device))
        if plain is None:
            return
        secured = frame.security is not None
        if secured and plain[:1] == bytes((ApsCommand.REQUEST_KEY,)):
            RequestLinkKey.from_bytes(plain)
            self._offer(arrival.frame.source, device)
        elif secured and plain[:1] == bytes((ApsCommand.UPDATE_DEVICE,)):
            self._updated(arrival.frame.source, UpdateDevice.from_bytes(plain))
        elif not secured and plain[:1] == bytes((ApsCommand.VERIFY_KEY,)):
            self._verify(arrival.frame.source, device, VerifyKey.from_bytes(plain))
        else:
            self._counters.unexpected += 1

    def _offer(self, address: int, device: Eui64) -> None:
        current, offered = self._link_keys.for_data(device), self._link_keys.offer(device)
        if current is None or offered is None:
            self._counters.unexpected += 1
            return
        self._offered[device] = offered
        body = TransportLinkKey(offered.key, device, self._node.ieee).to_bytes()
        self._send(address, self._command(body), current, cipher_for(key_load_key(current.key)))

    def _verify(self, address: int, device: Eui64, verify: VerifyKey) -> None:
        offered = self._offered.get(device)
        if offered is None:
            status = _ILLEGAL_REQUEST
        elif verify.source != device or verify.proof != proof_of(offered.key):
            status = _SECURITY_FAILURE
        else:
            status = _SUCCESS
            del self._offered[device]
            self._link_keys.accept(device, offered)
        key = self._link_keys.for_data(device)
        if key is not None:
            body = ConfirmKey(status, KeyType.TRUST_CENTRE_LINK_KEY, device).to_bytes()
            self._send(address, self._command(body), key, key.cipher)


class KeyAskingDevice(Speaker, Protocol):
    persistent_state: DeviceState

    def leave(self, *, rejoin: bool) -> None: ...


class KeyAsker(_Side):
    """A device's side, idle until `begin`. One that `insists` on a key of its own leaves where it gets none."""

    def __init__(
        self, device: KeyAskingDevice, aps: ApsLayer, counters: Counters, scheduler: Scheduler, *, insists: bool
    ) -> None:
        super().__init__(device, aps, counters)
        self._device = device
        self._insists = insists
        self._scheduler = scheduler
        self._timer: Timer | None = None
        self._asked = 0
        self._new: LinkKey | None = None

    @property
    def waits(self) -> bool:
        return self._timer is not None

    def begin(self) -> None:
        """The device has the network key."""
        if not self._insists:
            return
        self._asked = 0
        self._wait(ASK_AFTER_S)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._new = None

    def _wait(self, seconds: float) -> None:
        self.stop()
        self._timer = self._scheduler.call_later(seconds, self._ask)

    def _ask(self) -> None:
        self._timer = None
        if self._asked == ASKS:
            self._device.leave(rejoin=False)
            return
        self._asked += 1
        self._wait(ANSWER_S)
        key = self._device.persistent_state.link_key
        self._send(COORDINATOR, self._command(RequestLinkKey().to_bytes()), key, key.cipher)

    def received(self, arrival: Arrival, octets: bytes) -> None:
        state = self._device.persistent_state
        frame = ApsCommandFrame.from_bytes(octets)
        key = state.link_key
        if self._new is not None and frame.security is not None and frame.security.key is KeyIdentifier.DATA:
            key = self._new  # Confirm-Key is under the key that it confirms
        plain = self._open(arrival, frame, octets, key) if self.waits else None
        if plain is None:
            return
        if plain[:1] == bytes((ApsCommand.TRANSPORT_KEY,)) and self._new is None:
            brought = TransportLinkKey.from_bytes(plain)
            if brought.destination == self._node.ieee and brought.source == state.trust_centre:
                self._new = state.link_key if brought.key == state.link_key.key else LinkKey(brought.key)
                verify = VerifyKey(self._node.ieee, proof_of(brought.key))
                self._send(COORDINATOR, self._command(verify.to_bytes()), None, None)
        elif plain[:1] == bytes((ApsCommand.CONFIRM_KEY,)) and self._new is not None:
            if ConfirmKey.from_bytes(plain).status == _SUCCESS:
                state.link_key = self._new
                self.stop()
        else:
            self._counters.unexpected += 1
