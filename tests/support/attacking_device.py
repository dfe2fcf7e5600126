"""A device that is nobody's: it builds every frame itself from the layouts of `devices.wire`, and says what it likes.

    mallory = Attacker(bench, ieee, install_code_key)
    await mallory.join()
    answer = await mallory.ask(cluster, payload, under=mallory.link_key)      # a Heard, or an assertion
    mallory.transmit(octets)                                                  # any frame, as recorded

It has no stack: no retries, no checks, no counters but those it is told to use. It acknowledges what wants it, because
a hub that hears no acknowledgement would otherwise repeat itself.
"""

from collections.abc import Callable
from dataclasses import dataclass

from chf.crypto.mmo import key_transport_key
from devices.bench.serve import Bench
from devices.wire import mac, zdp
from devices.wire.aps import (
    ApsCommandFrame,
    ApsFrame,
    ApsSecurity,
    ApsType,
    Delivery,
    ExtendedHeader,
    Fragmentation,
    seal,
    unseal,
)
from devices.wire.aps_commands import TransportNetworkKey
from devices.wire.errors import FrameSecurityError
from devices.wire.mac import AddressMode, MacCommand, MacFrame, MacType
from devices.wire.nwk import NwkFrame, NwkSecurity, NwkType
from devices.wire.security import cipher_for
from tests.support.waiting import until

HUB_ENDPOINT, ENDPOINT = 0x0B, 3
SMART_ENERGY = 0x0109
EVERYBODY = 0xFFFD
_BLOCK_BYTES = 60


@dataclass(frozen=True, slots=True)
class Heard:
    """An APS message to the attacker; `key` is the link key that opened it, None where it had no APS security."""

    cluster: int
    payload: bytes
    key: bytes | None


class Attacker:
    """`keys` are the link keys that it tries on what it hears. `told` is everything, in its order."""

    def __init__(self, bench: Bench, ieee: int, joining_key: bytes) -> None:
        self.bench, self.ieee, self.joining_key = bench, ieee, joining_key
        self.keys: list[bytes] = [joining_key]
        self.told: list[Heard] = []
        self.sent: list[bytes] = []
        self.network_key: bytes | None = None
        self.key_refused = False
        self.address = self.pan = 0
        self.hub_ieee = 0
        self._sequence = self._counter = 0
        self._beacons: list[MacFrame] = []
        self._answers: list[mac.AssociationResponse] = []
        self._acknowledged: set[tuple[int, int]] = set()
        self._radio = bench.world.medium.attach(ieee, self._heard)
        self._radio.listening = True

    # Joining

    async def join(self, *, expect_key: bool = True) -> None:
        """Scan, associate, poll, wait for the network key, announce oneself."""
        network = self.bench.world.dongle.stack.network
        assert network is not None
        self._radio.tune(network.channel, mac.BROADCAST, mac.BROADCAST)
        everybody = (AddressMode.SHORT, mac.BROADCAST, mac.BROADCAST)
        self.transmit(MacFrame(MacType.COMMAND, 1, *everybody, payload=bytes((MacCommand.BEACON_REQUEST,))).to_bytes())
        await self.until(lambda: self._beacons, "a beacon")
        self.pan = self._beacons[0].source_pan
        self._radio.tune(network.channel, self.pan, mac.BROADCAST)
        self._mac_command(bytes((MacCommand.ASSOCIATION_REQUEST, 0x8C)), mac.BROADCAST)
        await self.until(self._polled_for_its_answer, "an association response")
        await self.until(lambda: self.network_key or self.key_refused, "the network key")
        assert (self.network_key is not None) is expect_key
        if expect_key:
            announce = zdp.DeviceAnnounce(self.address, self.ieee, 0x8C).to_bytes()
            frame = ApsFrame(0, 0x0013, 0, 0, self._next(), b"\1" + announce, delivery=Delivery.BROADCAST)
            self._network_frame(EVERYBODY, frame.to_bytes())

    def _polled_for_its_answer(self) -> bool:
        if not self._answers:
            self._mac_command(bytes((MacCommand.DATA_REQUEST,)), self.pan)
        return bool(self._answers)

    # Speaking

    def say(
        self, cluster: int, payload: bytes, *, under: bytes | None = None, as_address: int | None = None, **how: int
    ) -> int:
        """One unfragmented message to the hub; the APS counter that it had."""
        counter = how.get("counter", self._next())
        frame = ApsFrame(HUB_ENDPOINT, cluster, SMART_ENERGY, ENDPOINT, counter, payload, ack_request=True)
        self._network_frame(0, self._protect(frame, under), as_address=as_address)
        return counter

    async def say_in_blocks(self, cluster: int, payload: bytes) -> None:
        """A message that is too long for a frame: each block waits for the acknowledgement of the one before."""
        counter = self._next()
        blocks = [payload[at : at + _BLOCK_BYTES] for at in range(0, len(payload), _BLOCK_BYTES)]
        for index, block in enumerate(blocks):
            first = ExtendedHeader(Fragmentation.FIRST, len(blocks))
            header = ExtendedHeader(Fragmentation.PART, index) if index else first
            frame = ApsFrame(HUB_ENDPOINT, cluster, SMART_ENERGY, ENDPOINT, counter, block, ack_request=True)
            self._network_frame(0, frame._replace(extended=header).to_bytes())
            key = (counter, index)
            await self.until(lambda key=key: key in self._acknowledged, f"block {index} to be acknowledged")

    async def ask(self, cluster: int, payload: bytes, *, under: bytes | None = None) -> Heard:
        """The first message of this cluster that comes after it."""
        before = len(self.told)
        self.say(cluster, payload, under=under)
        return await self.answer(cluster, before)

    async def answer(self, cluster: int, after: int) -> Heard:
        await self.until(lambda: self.heard_of(cluster, after), f"an answer of cluster {cluster:#06x}")
        return self.heard_of(cluster, after)[0]

    def heard_of(self, cluster: int, after: int = 0) -> list[Heard]:
        return [heard for heard in self.told[after:] if heard.cluster == cluster]

    async def until(self, condition: Callable[[], object], what: str) -> None:
        await until(condition, what, lambda: f"heard {self.told}")

    def transmit(self, octets: bytes) -> None:
        """Any MAC frame without FCS."""
        self.sent.append(octets)
        self._radio.transmit(octets)
        self.bench.runner.pump()

    def _mac_command(self, payload: bytes, source_pan: int) -> None:
        hub, me = (AddressMode.SHORT, self.pan, 0), (AddressMode.EXTENDED, source_pan, self.ieee)
        self.transmit(MacFrame(MacType.COMMAND, self._next(), *hub, *me, payload, ack_request=True).to_bytes())

    def _protect(self, frame: ApsFrame, key: bytes | None) -> bytes:
        if key is None:
            return frame.to_bytes()
        self._counter += 1
        return seal(frame._replace(security=ApsSecurity(self._counter)), cipher_for(key), self.ieee)

    def _network_frame(self, destination: int, payload: bytes, as_address: int | None = None) -> None:
        assert self.network_key is not None
        self._counter += 1
        source = self.address if as_address is None else as_address
        security = NwkSecurity(self._counter, self.ieee)
        frame = NwkFrame(destination, source, 30, self._next(), payload, security=security)
        octets = frame.seal(cipher_for(self.network_key))
        to = mac.BROADCAST if destination == EVERYBODY else destination
        self.transmit(mac.data_frame(self._next(), self.pan, to, source, octets))

    def _next(self) -> int:
        self._sequence = (self._sequence + 1) % 256
        return self._sequence

    # Hearing

    def _heard(self, octets: bytes, _lqi: int, _rssi: int) -> None:
        frame = MacFrame.from_bytes(octets)
        if frame.type is MacType.BEACON:
            self._beacons.append(frame)
        elif frame.type is MacType.COMMAND and frame.payload[0] == MacCommand.ASSOCIATION_RESPONSE:
            self._answers.append(mac.AssociationResponse.from_bytes(frame.payload))
            self.address = self._answers[-1].address  # at once: the network key follows on its heels
            self._radio.tune(self._radio.channel, self.pan, self.address)
        elif frame.type is MacType.DATA:
            self._network(frame.payload)

    def _network(self, octets: bytes) -> None:
        frame = NwkFrame.from_bytes(octets, None if self.network_key is None else cipher_for(self.network_key))
        plain = frame.payload
        if frame.security is not None and self.network_key is None:
            return
        if frame.type is NwkType.COMMAND:
            return
        if plain[0] & 3 == ApsType.COMMAND:
            self._command(plain)
        else:
            self._application(ApsFrame.from_bytes(plain), plain)

    def _command(self, octets: bytes) -> None:
        """Transport-Key, under the key that follows from the install code's."""
        frame = ApsCommandFrame.from_bytes(octets)
        assert frame.security is not None
        assert frame.security.source is not None
        cipher = cipher_for(key_transport_key(self.joining_key))
        try:
            plain = unseal(frame, octets, cipher, frame.security.source)
        except FrameSecurityError:
            self.key_refused = True
            return
        self.network_key, self.hub_ieee = TransportNetworkKey.from_bytes(plain).key, frame.security.source

    def _application(self, frame: ApsFrame, octets: bytes) -> None:
        payload, key = frame.payload, None
        if frame.security is not None:
            for key in reversed(self.keys):
                try:
                    payload = unseal(frame, octets, cipher_for(key), self.hub_ieee)
                    break
                except FrameSecurityError:
                    continue
            else:
                return  # of no use to the attacker
        if frame.type is ApsType.ACK:
            block = 0 if frame.extended is None else frame.extended.block
            self._acknowledged.add((frame.counter, block))
            return
        if frame.ack_request:
            self._acknowledge(frame, key)
        if frame.extended is None:
            self.told.append(Heard(frame.cluster, payload, key))

    def _acknowledge(self, frame: ApsFrame, key: bytes | None) -> None:
        extended = None
        if frame.extended is not None:
            index = 0 if frame.extended.fragmentation is Fragmentation.FIRST else frame.extended.block
            extended = ExtendedHeader(frame.extended.fragmentation, index, 0xFF)
        back = (frame.source_endpoint, frame.cluster, frame.profile, frame.destination_endpoint, frame.counter)
        self._network_frame(0, self._protect(ApsFrame(*back, type=ApsType.ACK, extended=extended), key))
