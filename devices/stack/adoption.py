"""How a coordinator or a router takes children: it answers who scans, associates or comes back (Zigbee PRO 3.6.1).

What follows, for whom the network key is and who may have it, is the node's business.
"""

from collections.abc import Callable
from typing import Protocol

from devices.stack.interface import ApsStatus, Eui64, JoinKind, NwkAddress
from devices.stack.nwk_layer import Arrival, Counters, Done, NwkLayer
from devices.stack.parent import Parent
from devices.wire import mac, nwk
from devices.wire.errors import MalformedFrameError
from devices.wire.mac import AddressMode, AssociationStatus, Capability, MacCommand, MacFrame, MacType


class AdoptingNode(Protocol):
    """What this needs of the node."""

    ieee: Eui64
    counters: Counters

    @property
    def permitting(self) -> bool: ...
    def beacon(self) -> mac.Beacon | None:
        """None while it is on no network."""
        ...

    def admit(self, ieee: Eui64, address: NwkAddress, capability: Capability, kind: JoinKind) -> None:
        """A device has an address from us now."""
        ...


class Adoption:
    """`mac_received` and `rejoin` are told what comes; `AdoptingNode.admit` is told whom that brought."""

    def __init__(self, node: AdoptingNode, nwk_layer: NwkLayer, parent: Parent) -> None:
        self._node = node
        self._nwk = nwk_layer
        self._parent = parent
        nwk_layer.radio.pending_for = parent.has_pending

    def mac_received(self, frame: MacFrame) -> None:
        beacon = self._node.beacon()
        if frame.type is not MacType.COMMAND or beacon is None:
            return
        match frame.payload[0] if frame.payload else None:
            case MacCommand.BEACON_REQUEST:
                self._send_beacon(beacon)
            case MacCommand.ASSOCIATION_REQUEST:
                self._associate(frame)
            case MacCommand.DATA_REQUEST:
                self._parent.polled(frame)
            case MacCommand.DISASSOCIATION_NOTIFICATION:
                pass  # ZigBee devices leave by a NWK command
            case _:
                self._node.counters.unexpected += 1

    def _send_beacon(self, beacon: mac.Beacon) -> None:
        self._nwk.radio.transmit(
            MacFrame(
                MacType.BEACON,
                self._nwk.next_mac_sequence(),
                source_mode=AddressMode.SHORT,
                source_pan=self._nwk.pan,
                source=self._nwk.address,
                payload=beacon.to_bytes(),
            ).to_bytes()
        )

    def _associate(self, frame: MacFrame) -> None:
        if frame.source_mode is not AddressMode.EXTENDED or len(frame.payload) != 2:
            raise MalformedFrameError("association request", "extended source and one octet expected", 0)
        ieee = Eui64(frame.source)
        capability = Capability.from_octet(frame.payload[1])
        address, status = NwkAddress(mac.NO_SHORT_ADDRESS), AssociationStatus.SUCCESS
        if not self._node.permitting:
            status = AssociationStatus.PAN_ACCESS_DENIED
        elif known := self._parent.child(ieee):
            address = known.address
        elif not capability.full_function and not self._parent.has_room_for():
            status = AssociationStatus.PAN_AT_CAPACITY
        else:
            address = self._parent.address_for(ieee)

        def done(result: ApsStatus) -> None:
            if result is ApsStatus.SUCCESS and status is AssociationStatus.SUCCESS:
                self._node.admit(ieee, address, capability, JoinKind.ASSOCIATED)

        self._parent.indirect.drop(ieee, ApsStatus.EXPIRED)
        self._parent.indirect.put(
            ieee, lambda pending, sent: self._send_response(ieee, address, status, pending, sent), done
        )

    def _send_response(self, ieee: Eui64, address: int, status: int, pending: bool, sent: Done) -> None:
        addresses = ieee, self._node.ieee
        device, self_ = ((AddressMode.EXTENDED, self._nwk.pan, address) for address in addresses)
        response = mac.AssociationResponse(address, status).to_bytes()
        frame = mac.command_frame(self._nwk.next_mac_sequence(), device, self_, response, pending=pending)
        self._nwk.radio.transmit(frame, lambda acked, _pending: sent(ApsStatus.SUCCESS if acked else ApsStatus.NO_ACK))

    def rejoin(self, arrival: Arrival, refuses: Callable[[Eui64, bool], bool]) -> None:
        """Answer a device that comes back, with the network key or without; `refuses` is asked which (4.6.3.3)."""
        frame = arrival.frame
        request = nwk.RejoinRequest.from_bytes(frame.payload)
        source = arrival.sender if arrival.sender is not None else frame.source_ieee
        if source is None or frame.source_ieee not in {None, source}:
            raise MalformedFrameError("rejoin request", "no IEEE address", 0)
        ieee = Eui64(source)
        secured = arrival.sender is not None
        refused = refuses(ieee, secured)
        address = self._parent.address_for(ieee, frame.source)
        capability = Capability.from_octet(request.capability)
        status = AssociationStatus.PAN_ACCESS_DENIED if refused else AssociationStatus.SUCCESS
        if not refused and not capability.full_function and not self._parent.has_room_for(ieee):
            status = AssociationStatus.PAN_AT_CAPACITY

        def done(result: ApsStatus) -> None:
            if result is ApsStatus.SUCCESS and status is AssociationStatus.SUCCESS:
                kind = JoinKind.REJOINED_SECURED if secured else JoinKind.REJOINED_UNSECURED
                self._node.admit(ieee, address, capability, kind)

        answer = self._nwk.frame(
            frame.source,
            nwk.RejoinResponse(address, status).to_bytes(),
            radius=1,
            command=True,
            secured=secured,
            destination_ieee=ieee,
            source_ieee=self._node.ieee,
        )
        if capability.receiver_on_when_idle:
            self._nwk.emit(answer, frame.source, done)
        else:
            self._parent.hold(answer, frame.source, done)
