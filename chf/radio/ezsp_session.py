"""One open link to an EZSP dongle, from the opening of the port to its end: tasks, address look-ups, keys, joining.

Does not reopen anything: when the link is lost, `run` returns with the reason, and the session is over.
"""

import asyncio
import contextlib
import logging
import math
from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import bellows.types as ember  # type: ignore[import-untyped]
import zigpy.exceptions
from bellows.exception import InvalidCommandError  # type: ignore[import-untyped]
from zigpy.types import BroadcastAddress

from chf.clock import Instant
from chf.errors import MalformedFrameError, RadioGoneError, RefusedError, TimedOutError, UsageError
from chf.eui64 import Eui64, format_eui64
from chf.radio import zdp
from chf.radio.addresses import Addresses
from chf.radio.ezsp_application import DongleEvents, FlowControl, HubApplication, configuration
from chf.radio.ezsp_keys import install_link_key, read_keys, remove_link_key
from chf.radio.ezsp_link import LINK_ERRORS
from chf.radio.ezsp_status import ember_eui64, eui64_of, is_ok
from chf.radio.ezsp_traffic import Letter, Traffic
from chf.radio.interface import Delivery, NetworkInfo, RadioInfo, RadioListener, Urgency
from chf.radio.outbox import Places

_LOG = logging.getLogger(__name__)

TICK_S = 1.0
SILENCE_S = 10.0  # then the dongle is asked whether it lives
ANSWER_LIMIT_S = 10.0  # of one EZSP command, as bellows has it
SEARCH_LIMIT_S = 3.0  # of a broadcast search for an address
ZDP_LIMIT_S = 10.0
LONGEST_PERMIT_S = 254  # 255 would be for ever
POLICY_LINGERS_S = 2.0  # a join that began within the window may still be under way

_DEFAULT_PAYLOAD_BYTES = 82  # 127 less MAC, NWK with security, and APS headers
_DEFAULT_UNICASTS = 8
_UNKNOWN = "unknown"
_NO_NODE = 0xFFFF


@dataclass(frozen=True, slots=True)
class EzspSettings:
    """`port`: a device path (take /dev/serial/by-id/...), or tcp://host:port. The rest has defaults that fit most."""

    port: str
    baudrate: int = 115_200
    flow_control: FlowControl | None = None
    channel: int | None = 15  # of a network that is formed; None scans for a quiet one
    pan_id: int | None = None  # of a network that is formed; None picks one
    key_table_size: int = 64  # an entry per device; a dongle with a larger table keeps it

    def __post_init__(self) -> None:
        if not self.port or ("://" in self.port and not _is_address(self.port)):
            raise UsageError(
                f"{self.port!r} is not a port: write a device path such as /dev/ttyACM0, or tcp://host:port"
            )

    def application(self, events: DongleEvents) -> HubApplication:
        config = configuration(self.port, self.baudrate, self.flow_control, self.channel, self.pan_id)
        return HubApplication(config, events, key_table_size=self.key_table_size)


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname and parts.port)
    except ValueError:
        return False


class EzspSession:
    """`open`, then `run` until it returns, then `traffic.closed()`. `fail` and `close` may be called at any time."""

    def __init__(self, settings: EzspSettings, listener: RadioListener, addresses: Addresses) -> None:
        loop = asyncio.get_running_loop()
        self._application = settings.application(self)
        self._addresses = addresses
        self._listener = listener
        self._lost: asyncio.Future[str] = loop.create_future()
        self._group: asyncio.TaskGroup | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._early: list[Coroutine[Any, Any, None]] = []  # asked for before `run`
        self._zdp_waiting: dict[tuple[int, int], asyncio.Future[bytes]] = {}
        self._transaction = 0
        self._slow: set[Eui64] = set()
        self._joining_until = Instant(0)
        self._key_table = asyncio.Lock()
        self.traffic = Traffic(
            listener=listener,
            addresses=addresses,
            errands=self,
            now=lambda: Instant(loop.time()),
            wake=self._wake,
            call_later=loop.call_later,
        )

    # The link

    async def open(self, *, form: bool) -> RadioInfo:
        """Raises one of LINK_ERRORS, RadioRefusedError or zigpy's exceptions; `close` is the caller's then, too."""
        application = self._application
        await application.connect()
        ezsp = application.ezsp
        dialect = ezsp.open_fast_lane(self.traffic)
        await application.bring_up(form=form)
        unicasts = await self._configured(ember.EzspConfigId.CONFIG_APS_UNICAST_MESSAGE_COUNT, _DEFAULT_UNICASTS)
        (payload_bytes,) = await ezsp.maximumPayloadLength()
        self.traffic.opened(dialect, Places(together=unicasts), payload_bytes or _DEFAULT_PAYLOAD_BYTES)
        return radio_info(application)

    async def run(self) -> str:
        """Serve until the link is lost or `fail` is called; say why. The port is closed then."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            for work in self._early:
                self._spawn(work)
            self._early.clear()
            self._spawn(self._application.ezsp.pump())
            self._spawn(self._tick())
            try:
                return await self._lost
            finally:
                # The port first: a frame that is cut off while its task is cancelled would complain later
                await self.close()
                for task in self._tasks:
                    task.cancel()

    def fail(self, reason: str) -> None:
        if not self._lost.done():
            self._lost.set_result(reason)

    async def close(self) -> None:
        self.fail("the link was closed")
        for work in self._early:
            work.close()
        self._early.clear()
        await self._application.disconnect()
        await self._application.shutdown(db=False)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        if self._lost.done():  # nobody waits for the result
            work.close()
            return
        if self._group is None:
            self._early.append(work)
            return
        task = self._group.create_task(self._watched(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _watched(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except InvalidCommandError as error:
            _LOG.warning("the dongle does not know a command: %s", error)
        except LINK_ERRORS as error:
            self.fail(str(error) or repr(error))

    async def _tick(self) -> None:
        ezsp, loop = self._application.ezsp, asyncio.get_running_loop()
        heard, heard_at = ezsp.frames_received, loop.time()
        while True:
            await asyncio.sleep(TICK_S)
            if ezsp.frames_received != heard:
                heard, heard_at = ezsp.frames_received, loop.time()
            unanswered = ezsp.unanswered_since()
            if unanswered is not None and loop.time() - unanswered > ANSWER_LIMIT_S:
                self.fail("the dongle stopped answering")
            self.traffic.tick(silent=loop.time() - heard_at >= SILENCE_S)

    def _wake(self) -> None:
        if not self._lost.done():
            self._application.ezsp.wake()

    async def _configured(self, config_id: Any, otherwise: int) -> int:
        status, value = await self._application.ezsp.getConfigurationValue(configId=config_id)
        return int(value) if is_ok(status) and value else otherwise

    # DongleEvents

    def joined(self, device: Eui64, network_address: int, *, rejoined: bool) -> None:
        """A first join is told when the device announces itself: before that it has no network key yet."""
        self._addresses.learn(device, network_address)
        if rejoined:
            self._listener.device_joined(device, network_address)

    def left(self, device: Eui64) -> None:
        self._addresses.forget(device)
        self._slow.discard(device)
        self._listener.device_left(device)

    def link_lost(self, reason: str) -> None:
        self.fail(reason)

    # Errands

    def locate(self, device: Eui64) -> None:
        self._spawn(self._locate(device))

    def identify(self, network_address: int) -> None:
        self._spawn(self._identify(network_address))

    def extend_timeout(self, device: Eui64, network_address: int) -> None:
        if device not in self._slow:
            self._slow.add(device)
            self._spawn(self._extend_timeout(device, network_address))

    def zdp_response(self, cluster: int, sender: int, frame: bytes) -> None:
        del sender
        waiting = self._zdp_waiting.get((cluster, frame[0])) if frame else None
        if waiting is not None and not waiting.done():
            waiting.set_result(frame)

    async def _locate(self, device: Eui64) -> None:
        *_, found = await self._application.ezsp.lookupNodeIdByEui64(eui64=ember_eui64(device))
        if found != _NO_NODE:
            self._addresses.learn(device, int(found))
        else:
            await self._search(zdp.NWK_ADDR_REQ, lambda transaction: zdp.nwk_address_request(transaction, device))
        self.traffic.located(device)

    async def _identify(self, network_address: int) -> None:
        status, eui64 = await self._application.ezsp.lookupEui64ByNodeId(nodeId=network_address)
        if is_ok(status):
            self._addresses.learn(eui64_of(eui64), network_address)
        else:
            await self._search(
                zdp.IEEE_ADDR_REQ, lambda transaction: zdp.ieee_address_request(transaction, network_address)
            )
        self.traffic.identified(network_address)

    async def _search(self, cluster: int, request: Callable[[int], bytes]) -> None:
        """Ask everybody. In vain is no error: whoever waits finds nothing in `addresses`."""
        transaction = self._next_transaction()
        aps = ember.EmberApsFrame(
            profileId=zdp.ZDP_PROFILE,
            clusterId=cluster,
            sourceEndpoint=zdp.ZDP_ENDPOINT,
            destinationEndpoint=zdp.ZDP_ENDPOINT,
            options=ember.EmberApsOption.APS_OPTION_NONE,
            groupId=0,
            sequence=0,
        )
        with self._expected(cluster, transaction) as answer:
            await self._application.ezsp.send_broadcast(
                address=BroadcastAddress.RX_ON_WHEN_IDLE,
                aps_frame=aps,
                radius=0,
                message_tag=0,
                aps_sequence=0,
                data=request(transaction),
            )
            try:
                async with asyncio.timeout(SEARCH_LIMIT_S):
                    found = zdp.AddressResponse.from_bytes(await answer)
            except (TimeoutError, MalformedFrameError):
                return
        if found.status == zdp.SUCCESS:
            self._addresses.learn(found.device, found.network_address)

    async def _extend_timeout(self, device: Eui64, network_address: int) -> None:
        await self._application.ezsp.set_extended_timeout(
            nwk=ember.NWK(network_address), ieee=ember_eui64(device), extended_timeout=True
        )

    # What is asked of the dongle now and then

    async def permit(self, device: Eui64, link_key: bytes, seconds: float) -> None:
        loop, ezsp = asyncio.get_running_loop(), self._application.ezsp
        async with self._key_table:
            await install_link_key(ezsp, device, link_key)
        await ezsp.setPolicy(
            policyId=ember.EzspPolicyId.TRUST_CENTER_POLICY,
            decisionId=(ember.EzspDecisionBitmask.ALLOW_JOINS | ember.EzspDecisionBitmask.JOINS_USE_INSTALL_CODE_KEY),
        )
        window_is_kept = loop.time() < self._joining_until
        self._joining_until = max(self._joining_until, Instant(loop.time() + seconds))
        await self._application.permit(self._permit_seconds())
        if not window_is_kept:
            self._spawn(self._keep_window())

    def _permit_seconds(self) -> int:
        left_s = self._joining_until - asyncio.get_running_loop().time()
        return max(min(math.ceil(left_s), LONGEST_PERMIT_S), 0)

    async def _keep_window(self) -> None:
        """Keep the network open for as long as was asked; then put the policy back, which bellows does not."""
        while seconds := self._permit_seconds():
            await asyncio.sleep(seconds)
            if left := self._permit_seconds():
                await self._application.permit(left)
        await asyncio.sleep(POLICY_LINGERS_S)
        if not self._permit_seconds():
            ezsp = self._application.ezsp
            await ezsp.setPolicy(policyId=ember.EzspPolicyId.TRUST_CENTER_POLICY, decisionId=ezsp.tc_policy)

    async def match_descriptor(self, device: Eui64, profile: int, server_clusters: Sequence[int]) -> tuple[int, ...]:
        if self._addresses.network(device) is None:
            await self._locate(device)
        address = self._addresses.network(device)
        if address is None:
            raise TimedOutError(f"{format_eui64(device)} is not to be found on the network")
        transaction = self._next_transaction()
        request = zdp.match_descriptor_request(transaction, address, profile, server_clusters)
        with self._expected(zdp.MATCH_DESC_REQ, transaction) as answer:
            await self._deliver_zdp(device, zdp.MATCH_DESC_REQ, request)
            try:
                async with asyncio.timeout(ZDP_LIMIT_S):
                    response = zdp.MatchDescriptorResponse.from_bytes(await answer)
            except TimeoutError as error:
                raise TimedOutError(f"{format_eui64(device)} does not answer Match_Desc_req") from error
        if response.status not in (zdp.SUCCESS, zdp.NO_MATCH):
            raise RefusedError(f"{format_eui64(device)} answers Match_Desc_req with status 0x{response.status:02X}")
        return response.endpoints

    async def forget(self, device: Eui64) -> None:
        """The key goes whether the device heard us or not."""
        try:
            await self._deliver_zdp(device, zdp.MGMT_LEAVE_REQ, zdp.leave_request(self._next_transaction(), device))
        except TimedOutError:
            pass
        finally:
            async with self._key_table:
                await remove_link_key(self._application.ezsp, device)

    async def export_keys(self) -> tuple[tuple[str, str, bytes], ...]:
        async with self._key_table:
            return await read_keys(self._application.ezsp)

    async def _deliver_zdp(self, device: Eui64, cluster: int, frame: bytes) -> None:
        fate: asyncio.Future[Delivery] = asyncio.get_running_loop().create_future()
        self.traffic.post(
            Letter(
                destination=device,
                profile=zdp.ZDP_PROFILE,
                cluster=cluster,
                source_endpoint=zdp.ZDP_ENDPOINT,
                destination_endpoint=zdp.ZDP_ENDPOINT,
                payload=frame,
                urgency=Urgency.NORMAL,
                aps_secured=False,
                acknowledged=True,
                told=lambda delivery: None if fate.done() else fate.set_result(delivery),
            )
        )
        match await fate:
            case Delivery.DELIVERED:
                return
            case Delivery.RADIO_GONE:
                raise RadioGoneError("the dongle went away")
            case Delivery.NOT_DELIVERED | Delivery.REFUSED:
                raise TimedOutError(f"{format_eui64(device)} cannot be reached")

    def _next_transaction(self) -> int:
        self._transaction = (self._transaction + 1) % 256
        return self._transaction

    @contextlib.contextmanager
    def _expected(self, request_cluster: int, transaction: int) -> Iterator[asyncio.Future[bytes]]:
        key = (request_cluster | zdp.RESPONSE, transaction)
        answer = self._zdp_waiting[key] = asyncio.get_running_loop().create_future()
        try:
            yield answer
        finally:
            del self._zdp_waiting[key]


async def probe(settings: EzspSettings) -> RadioInfo:
    """Who answers. A network that is there is brought up, as the dongle would itself, and left as it is."""
    application = settings.application(_NoEvents())
    try:
        await application.connect()
        try:
            await application.load_network_info(load_devices=False)
        except zigpy.exceptions.NetworkNotFormed:
            _, _, firmware = await application.ezsp.get_board_info()
            return RadioInfo("ezsp", firmware or _UNKNOWN, application.ezsp.ezsp_version, network=None)
        return radio_info(application)
    finally:
        await application.disconnect()


class _NoEvents:
    """Nobody listens while a dongle is probed."""

    def joined(self, device: Eui64, network_address: int, *, rejoined: bool) -> None: ...
    def left(self, device: Eui64) -> None: ...
    def link_lost(self, reason: str) -> None: ...


def radio_info(application: HubApplication) -> RadioInfo:
    network, node = application.state.network_info, application.state.node_info
    return RadioInfo(
        kind="ezsp",
        firmware=node.version or _UNKNOWN,
        protocol_version=application.ezsp.ezsp_version,
        network=NetworkInfo(
            channel=int(network.channel),
            pan_id=int(network.pan_id),
            extended_pan_id=eui64_of(network.extended_pan_id),
            coordinator=eui64_of(node.ieee),
        ),
    )
