"""The ZigBee Device Object of a node: which device-profile requests the stack answers by itself, and with what.

Pure questions and answers; joining and leaving are the node's business. Requests for other nodes get no answer here
(there are no routers that could answer for sleeping children), except what a parent knows of them.
"""

from collections.abc import Callable, Iterable
from typing import Protocol

from devices.stack.interface import Endpoint, Eui64, NwkAddress
from devices.wire import zdp
from devices.wire.errors import MalformedFrameError
from devices.wire.zdp import DescriptorResponse, ZdpCluster, ZdpStatus

_PAGE = 3  # neighbour records that fit one unfragmented response
_ANY_PROFILE = 0xFFFF  # Zigbee PRO 2.3.3.2 wildcard
_POWER_DESCRIPTOR = b"\x10\xc1"  # receiver on with the node, mains, full (2.3.2.4); our choice for every node


class ZdpSubject(Protocol):
    """The node that is asked."""

    ieee: Eui64
    address: NwkAddress
    endpoints: dict[int, Endpoint]

    def node_descriptor(self) -> zdp.NodeDescriptor: ...
    def neighbours(self) -> Iterable[zdp.Neighbour]: ...
    def known_address(self, ieee: int) -> int | None: ...
    def known_ieee(self, address: int) -> int | None: ...
    def energy(self, channel: int) -> int: ...


def respond(subject: ZdpSubject, cluster: int, body: bytes, *, broadcast: bool) -> bytes | None:
    """The body of the response to a request, None where there is none. Raises MalformedFrameError for a bad body."""
    responder = _RESPONDERS.get(cluster)
    return None if responder is None else responder(subject, body, broadcast)


def is_answered(cluster: int) -> bool:
    """Whether `respond` knows this request, so that it is not handed to the application."""
    return cluster in _RESPONDERS


def respond_for_stick(cluster: int, body: bytes) -> bytes:
    """What the stack of a coordinator says to a request of which `respond` knows nothing: its tables are empty."""
    if cluster in {ZdpCluster.MGMT_ROUTING_REQUEST, ZdpCluster.MGMT_BIND_REQUEST}:
        return bytes((ZdpStatus.SUCCESS, 0, body[0] if body else 0, 0))
    return bytes((ZdpStatus.NOT_SUPPORTED,))


def matching_endpoints(endpoints: dict[int, Endpoint], request: zdp.MatchDescriptorRequest) -> tuple[int, ...]:
    """Zigbee PRO 2.4.4.2.7: profile equal, and one of the clusters on the asked side."""
    return tuple(
        endpoint.number
        for endpoint in endpoints.values()
        if request.profile in {endpoint.profile, _ANY_PROFILE}
        and (
            set(request.input_clusters) & set(endpoint.server_clusters)
            or set(request.output_clusters) & set(endpoint.client_clusters)
        )
    )


def simple_descriptor(endpoint: Endpoint) -> zdp.SimpleDescriptor:
    kind = endpoint.profile, endpoint.device, endpoint.device_version
    return zdp.SimpleDescriptor(endpoint.number, *kind, endpoint.server_clusters, endpoint.client_clusters)


def _nwk_address(subject: ZdpSubject, body: bytes, broadcast: bool) -> bytes | None:
    request = zdp.NwkAddressRequest.from_bytes(body)
    address = subject.known_address(request.ieee)
    if address is not None:
        return _found(subject, request.ieee, address, extended=request.extended)
    return None if broadcast else zdp.AddressResponse(ZdpStatus.DEVICE_NOT_FOUND, request.ieee, 0xFFFF).to_bytes()


def _ieee_address(subject: ZdpSubject, body: bytes, _broadcast: bool) -> bytes | None:
    request = zdp.IeeeAddressRequest.from_bytes(body)
    ieee = subject.known_ieee(request.address)
    if ieee is None:
        return zdp.AddressResponse(ZdpStatus.DEVICE_NOT_FOUND, 0, request.address).to_bytes()
    return _found(subject, ieee, request.address, extended=request.extended)


def _found(subject: ZdpSubject, ieee: int, address: int, *, extended: bool) -> bytes:
    children = tuple(neighbour.address for neighbour in subject.neighbours())[:30] if extended else None
    return zdp.AddressResponse(ZdpStatus.SUCCESS, ieee, address, children).to_bytes()


def _node_descriptor(subject: ZdpSubject, body: bytes, _broadcast: bool) -> bytes | None:
    return _own(subject, body, subject.node_descriptor().to_bytes(), counted=False)


def _power_descriptor(subject: ZdpSubject, body: bytes, _broadcast: bool) -> bytes | None:
    return _own(subject, body, _POWER_DESCRIPTOR, counted=False)


def _active_endpoints(subject: ZdpSubject, body: bytes, _broadcast: bool) -> bytes | None:
    return _own(subject, body, bytes(subject.endpoints))


def _own(subject: ZdpSubject, body: bytes, descriptor: bytes, *, counted: bool = True) -> bytes:
    """What only the node itself can tell."""
    address = zdp.AddressOfInterest.from_bytes(body).address
    if address != subject.address:
        return DescriptorResponse(ZdpStatus.DEVICE_NOT_FOUND, address, counted=counted).to_bytes()
    return DescriptorResponse(ZdpStatus.SUCCESS, address, descriptor, counted).to_bytes()


def _simple_descriptor(subject: ZdpSubject, body: bytes, _broadcast: bool) -> bytes | None:
    request = zdp.SimpleDescriptorRequest.from_bytes(body)
    if request.address != subject.address:
        return DescriptorResponse(ZdpStatus.DEVICE_NOT_FOUND, request.address).to_bytes()
    if not 1 <= request.endpoint <= 254:
        return DescriptorResponse(ZdpStatus.INVALID_ENDPOINT, request.address).to_bytes()
    endpoint = subject.endpoints.get(request.endpoint)
    if endpoint is None:
        return DescriptorResponse(ZdpStatus.NOT_ACTIVE, request.address).to_bytes()
    return DescriptorResponse(ZdpStatus.SUCCESS, request.address, simple_descriptor(endpoint).to_bytes()).to_bytes()


def _match_descriptor(subject: ZdpSubject, body: bytes, broadcast: bool) -> bytes | None:
    request = zdp.MatchDescriptorRequest.from_bytes(body)
    if request.address != subject.address and request.address < 0xFFF8:
        return None if broadcast else DescriptorResponse(ZdpStatus.DEVICE_NOT_FOUND, request.address).to_bytes()
    matches = matching_endpoints(subject.endpoints, request)
    if not matches and (broadcast or request.address != subject.address):
        return None
    return DescriptorResponse(ZdpStatus.SUCCESS, subject.address, bytes(matches)).to_bytes()


def _bind(_subject: ZdpSubject, body: bytes, _broadcast: bool) -> bytes | None:
    zdp.BindRequest.from_bytes(body)
    return bytes((ZdpStatus.SUCCESS,))  # bindings steer reports, which no node here sends


def _lqi(subject: ZdpSubject, body: bytes, _broadcast: bool) -> bytes | None:
    if not body:
        raise MalformedFrameError("Mgmt_Lqi_req", "no start index", 0)
    records = tuple(subject.neighbours())
    page = records[body[0] : body[0] + _PAGE]
    return zdp.MgmtLqiResponse(ZdpStatus.SUCCESS, min(len(records), 255), body[0], page).to_bytes()


def _nwk_update(subject: ZdpSubject, body: bytes, _broadcast: bool) -> bytes | None:
    request = zdp.MgmtNwkUpdateRequest.from_bytes(body)
    if request.duration > 5:
        return None  # channel and manager changes are announced, not answered
    channels = [channel for channel in range(11, 27) if request.channels >> channel & 1]
    energies = tuple(energy_octet(subject.energy(channel)) for channel in channels)
    mask = sum(1 << channel for channel in channels)
    return zdp.MgmtNwkUpdateNotify(ZdpStatus.SUCCESS, mask, 0, 0, energies).to_bytes()


def energy_octet(dbm: int) -> int:
    """The 0 to 255 of energy reports over -100 to -36 dBm; the scale is left to the maker (IEEE 802.15.4 8.2.5)."""
    return max(0, min(255, (dbm + 100) * 4))


Responder = Callable[[ZdpSubject, bytes, bool], bytes | None]
_RESPONDERS: dict[int, Responder] = {
    ZdpCluster.NWK_ADDRESS_REQUEST: _nwk_address,
    ZdpCluster.IEEE_ADDRESS_REQUEST: _ieee_address,
    ZdpCluster.NODE_DESCRIPTOR_REQUEST: _node_descriptor,
    ZdpCluster.POWER_DESCRIPTOR_REQUEST: _power_descriptor,
    ZdpCluster.SIMPLE_DESCRIPTOR_REQUEST: _simple_descriptor,
    ZdpCluster.ACTIVE_ENDPOINTS_REQUEST: _active_endpoints,
    ZdpCluster.MATCH_DESCRIPTOR_REQUEST: _match_descriptor,
    ZdpCluster.BIND_REQUEST: _bind,
    ZdpCluster.UNBIND_REQUEST: _bind,
    ZdpCluster.MGMT_LQI_REQUEST: _lqi,
    ZdpCluster.MGMT_NWK_UPDATE_REQUEST: _nwk_update,
}
