"""The stick's own device object: what it does with ZDP requests that its stack does not answer by itself (UG100 3.3).

A request is answered here, with "not supported" where it must be, unless APPLICATION_ZDO_FLAGS hand it to the host.
Mgmt_Permit_Joining of the host's own opens the network, to the stick itself or as a broadcast, which a stick does not
hear on the air: hosts that have no other way of opening it say so.

Left out: the flags that hand requests about endpoints and bindings to the host.
"""

from typing import TYPE_CHECKING

from devices.ncp.coprocessor import Coprocessor
from devices.ncp.ezsp.configuration import APPLICATION_ZDO_FLAGS, RECEIVES_SUPPORTED_REQUESTS, Settings
from devices.stack import zdo
from devices.stack.interface import ZDP_PROFILE, ApsIndication, ApsRequest
from devices.stack.nwk_layer import is_broadcast
from devices.wire import zdp
from devices.wire.zdp import ZdpCluster, ZdpStatus

if TYPE_CHECKING:
    from devices.ncp.ezsp.network import Network

_HANDLES_UNSUPPORTED_REQUESTS = 0x02  # UG100 3.3, EmberZdoConfigurationFlags
_TABLES = frozenset({ZdpCluster.MGMT_ROUTING_REQUEST, ZdpCluster.MGMT_BIND_REQUEST})


class DeviceObject:
    def __init__(self, chip: Coprocessor, settings: Settings, network: "Network") -> None:
        self._stack, self._settings, self._network = chip.stack, settings, network

    def keeps(self, indication: ApsIndication) -> bool:
        """Whether this is a request of which the host does not hear; it is answered where it wants an answer."""
        cluster = indication.cluster
        if not is_request(indication) or zdo.is_answered(cluster):
            return False
        flags, body = self._settings[APPLICATION_ZDO_FLAGS], indication.payload[1:]
        if cluster == ZdpCluster.MGMT_PERMIT_JOINING_REQUEST and indication.source == self._stack.address and body:
            self._network.permit_joining(body[0])
            self._answer(indication, bytes((ZdpStatus.SUCCESS,)))
            return not flags & RECEIVES_SUPPORTED_REQUESTS
        if cluster in _TABLES:
            self._answer(indication, zdo.respond_for_stick(cluster, body))
            return not flags & RECEIVES_SUPPORTED_REQUESTS
        if flags & _HANDLES_UNSUPPORTED_REQUESTS:
            return False
        self._answer(indication, zdo.respond_for_stick(cluster, body))
        return True

    def broadcast_by_host(self, profile: int, cluster: int, message: bytes) -> None:
        if profile == ZDP_PROFILE and cluster == ZdpCluster.MGMT_PERMIT_JOINING_REQUEST and len(message) > 1:
            self._network.permit_joining(message[1])

    def wants_answer_of_host(self, indication: ApsIndication) -> bool:
        """Of a request that `keeps` let pass: nobody else answers it."""
        cluster = indication.cluster
        answered = zdo.is_answered(cluster) or cluster in _TABLES or cluster == ZdpCluster.MGMT_PERMIT_JOINING_REQUEST
        return is_request(indication) and not answered and not is_broadcast(indication.destination)

    def _answer(self, indication: ApsIndication, body: bytes) -> None:
        if not is_broadcast(indication.destination):
            response = indication.payload[:1] + body
            cluster = indication.cluster | zdp.RESPONSE
            self._stack.send(ApsRequest(indication.source, ZDP_PROFILE, cluster, 0, 0, response, acknowledged=True))


def is_request(indication: ApsIndication) -> bool:
    to_device_object = indication.profile == ZDP_PROFILE and indication.destination_endpoint == 0
    cluster = indication.cluster
    return to_device_object and cluster < zdp.RESPONSE and cluster != ZdpCluster.DEVICE_ANNOUNCE
