"""One open link to a dongle, from the opening of the port to its end: tasks, address look-ups, keys, joining.

Does not reopen anything: when the link is lost, `run` returns with the reason, and the session is over.
"""

import asyncio
import contextlib
import functools
import logging
import math
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar

from chf.clock import Instant
from chf.errors import MalformedFrameError, RadioGoneError, RefusedError, TimedOutError
from chf.eui64 import Eui64, format_eui64
from chf.radio import zdp
from chf.radio.interface import Delivery, Outbound, RadioInfo, RadioListener
from chf.radio.link import Kind
from chf.radio.traffic import Addresses, OutgoingFrame, Surroundings

_LOG = logging.getLogger(__name__)

Found = TypeVar("Found")

TICK_S = 1.0  # our choice
SILENCE_S = 10.0  # then the dongle is asked whether it lives (our choice)
SEARCH_LIMIT_S = 3.0  # of a broadcast search for an address (our choice)
ZDP_LIMIT_S = 10.0  # for the answer of a device (our choice)
POLICY_LINGERS_S = 2.0  # a join that began within the window may still be under way (bellows waits as long)
ANNOUNCE_LIMIT_S = 2.0  # then a device that came back without a Device_annce is reported all the same (our choice)


class LinkLife:
    """Until a link is lost, and why it was. `release` ends every wait for the dongle within `lasting`."""

    def __init__(self) -> None:
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waits: set[asyncio.Timeout] = set()

    def end(self, reason: str) -> None:
        if not self.lost.done():
            self.lost.set_result(reason)

    def release(self) -> None:
        """The port is closed, or the library knows of the loss: what a library is cut off from before, it logs."""
        for wait in self._waits:
            if not wait.expired():
                wait.reschedule(0)

    @contextlib.asynccontextmanager
    async def lasting(self) -> AsyncIterator[None]:
        """Raises ConnectionResetError when the link is lost: both libraries would wait on, or cancel their caller."""
        try:
            async with asyncio.timeout(0 if self.lost.done() else None) as wait:
                self._waits.add(wait)
                try:
                    yield
                finally:
                    self._waits.discard(wait)
        except TimeoutError:
            if wait.expired():
                raise ConnectionResetError(self.lost.result()) from None
            raise
        except asyncio.CancelledError:  # zigpy-znp 1.1.1 cancels what waits for an answer, and its caller with it
            task = asyncio.current_task()
            if not self.lost.done() or (task is not None and task.cancelling()):
                raise
            raise ConnectionResetError(self.lost.result()) from None


Call = ParamSpec("Call")


def _while_linked(
    work: Callable[Concatenate["Session", Call], Coroutine[Any, Any, Found]],
) -> Callable[Concatenate["Session", Call], Coroutine[Any, Any, Found]]:
    """What is asked of the dongle ends with its link, by ConnectionResetError."""

    @functools.wraps(work)
    async def asked(session: "Session", /, *args: Call.args, **kwargs: Call.kwargs) -> Found:
        async with session.life.lasting():
            return await work(session, *args, **kwargs)

    return asked


class Session:
    """`open`, then `run` until it returns, then `traffic.closed()`. `fail` and `close` may be called at any time."""

    def __init__(self, kind: Kind, listener: RadioListener, addresses: Addresses) -> None:
        loop = asyncio.get_running_loop()
        self._kind = kind
        self._link = kind.link(self)
        self._addresses = addresses
        self._listener = listener
        self.answered = False  # somebody of this kind is there
        self.life = LinkLife()
        self._group: asyncio.TaskGroup | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._early: list[Coroutine[Any, Any, None]] = []  # asked for before `run`
        self._zdp_waiting: dict[tuple[int, int], asyncio.Future[bytes]] = {}
        self._transaction = 0
        self._slow: set[Eui64] = set()
        self._unannounced: dict[Eui64, asyncio.TimerHandle] = {}
        self._joining_until = Instant(0)
        self._key_table = asyncio.Lock()
        self.traffic = self._link.traffic(
            Surroundings(
                listener=listener,
                addresses=addresses,
                queries=self,
                now=lambda: Instant(loop.time()),
                wake=self._wake,
                call_later=loop.call_later,
            )
        )

    # The link

    @_while_linked
    async def open(self, *, form: bool) -> RadioInfo:
        """Raises what the library raises; `close` is the caller's then, too."""
        await self._link.connect()
        self.answered = True
        return await self._link.bring_up(form=form)

    async def run(self) -> str:
        """Serve until the link is lost or `fail` is called; say why. The port is closed then."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            for work in (*self._early, self._link.serve(), self._tick()):
                self._spawn(work)
            self._early.clear()
            try:
                return await self.life.lost
            finally:
                # The port first: a frame that is cut off while its task is cancelled would complain later
                await self.close()
                for task in self._tasks:
                    task.cancel()

    def fail(self, reason: str) -> None:
        self.life.end(reason)

    async def close(self) -> None:
        self.fail("the link was closed")
        for work in self._early:
            work.close()
        self._early.clear()
        for timer in self._unannounced.values():
            timer.cancel()
        try:
            await self._link.close()
        finally:
            self.life.release()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        if self.life.lost.done():  # nobody waits for the result
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
        except self._kind.refusals as error:
            _LOG.warning("the dongle refused: %s", type(error).__name__)
        except self._kind.losses as error:
            self.fail(str(error) or repr(error))

    async def _tick(self) -> None:
        link, loop = self._link, asyncio.get_running_loop()
        heard, heard_at = link.frames_received, loop.time()
        while True:
            await asyncio.sleep(TICK_S)
            if link.frames_received != heard:
                heard, heard_at = link.frames_received, loop.time()
            self.traffic.tick(silent=loop.time() - heard_at >= SILENCE_S)

    def _wake(self) -> None:
        if not self.life.lost.done():
            self._link.wake()

    # DongleEvents

    def joined(self, device: Eui64, network_address: int, *, rejoined: bool | None) -> None:
        """A first join is reported when the device announces itself: before that it has no network key."""
        self._addresses.learn(device, network_address)
        if rejoined:
            self.announced(device, network_address)
        elif rejoined is None:
            self._forget_timer(device)
            self._unannounced[device] = asyncio.get_running_loop().call_later(
                ANNOUNCE_LIMIT_S, self.announced, device, network_address
            )

    def left(self, device: Eui64) -> None:
        self._forget_timer(device)
        self._addresses.forget(device)
        self._slow.discard(device)
        self._listener.device_left(device)

    def link_lost(self, reason: str) -> None:
        self.fail(reason)
        if self._group is None:  # while it is opened; later, `run` closes the port
            self.life.release()

    # DongleQueries

    def locate(self, device: Eui64) -> None:
        self._spawn(self._locate(device))

    def identify(self, network_address: int) -> None:
        self._spawn(self._identify(network_address))

    def extend_timeout(self, device: Eui64, network_address: int) -> None:
        if device not in self._slow:
            self._slow.add(device)
            self._spawn(self._link.extend_timeout(device, network_address))

    def announced(self, device: Eui64, network_address: int) -> None:
        self._forget_timer(device)
        self._listener.device_joined(device, network_address)

    def _forget_timer(self, device: Eui64) -> None:
        timer = self._unannounced.pop(device, None)
        if timer is not None:
            timer.cancel()

    def zdp_response(self, cluster: int, sender: int, frame: bytes) -> None:
        del sender
        waiting = self._zdp_waiting.get((cluster, frame[0])) if frame else None
        if waiting is not None and not waiting.done():
            waiting.set_result(frame)

    async def _tried(self, work: Coroutine[Any, Any, Found]) -> Found | None:
        """A dongle that refuses a search has found nothing, and what waited for the address goes on."""
        try:
            return await work
        except self._kind.refusals as error:
            _LOG.warning("the dongle refused a search: %s", type(error).__name__)
            return None

    async def _locate(self, device: Eui64) -> None:
        found = await self._tried(self._link.address_of(device))
        if found is not None:
            self._addresses.learn(device, found)
        else:
            await self._search(zdp.NWK_ADDR_REQ, lambda transaction: zdp.nwk_address_request(transaction, device))
        self.traffic.located(device)

    async def _identify(self, network_address: int) -> None:
        device = await self._tried(self._link.device_at(network_address))
        if device is not None:
            self._addresses.learn(device, network_address)
        else:
            await self._search(
                zdp.IEEE_ADDR_REQ, lambda transaction: zdp.ieee_address_request(transaction, network_address)
            )
        self.traffic.identified(network_address)

    async def _search(self, cluster: int, request: Callable[[int], bytes]) -> None:
        """Ask all devices. A search without an answer is no error: `addresses` stays as it was."""
        transaction = self._next_transaction()
        with self._expected(cluster, transaction) as answer:
            await self._tried(self._link.broadcast_zdp(cluster, request(transaction)))
            try:
                async with asyncio.timeout(SEARCH_LIMIT_S):
                    found = zdp.AddressResponse.from_bytes(await answer)
            except (TimeoutError, MalformedFrameError):
                return
        if found.status == zdp.SUCCESS:
            self._addresses.learn(found.device, found.network_address)

    # What is asked of the dongle now and then

    @_while_linked
    async def permit(self, device: Eui64, link_key: bytes, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        async with self._key_table:
            await self._link.install_link_key(device, link_key)
        await self._link.invite_only(on=True)
        window_is_kept = loop.time() < self._joining_until
        self._joining_until = max(self._joining_until, Instant(loop.time() + seconds))
        await self._link.permit(self._permit_seconds())
        if not window_is_kept:
            self._spawn(self._keep_window())

    def _permit_seconds(self) -> int:
        left_s = self._joining_until - asyncio.get_running_loop().time()
        return max(min(math.ceil(left_s), self._link.longest_permit_s), 0)

    async def _keep_window(self) -> None:
        """Keep the network open for as long as was asked; then put the policy back."""
        while seconds := self._permit_seconds():
            await asyncio.sleep(seconds)
            if left := self._permit_seconds():
                await self._link.permit(left)
        await asyncio.sleep(POLICY_LINGERS_S)
        if not self._permit_seconds():
            await self._link.invite_only(on=False)

    @_while_linked
    async def install_link_key(self, device: Eui64, link_key: bytes, *, fresh: bool) -> None:
        async with self._key_table:
            address = self._addresses.network(device)
            await self._link.establish_link_key(device, link_key, address, fresh=fresh)

    @_while_linked
    async def find(self, device: Eui64) -> bool:
        if self._addresses.network(device) is None:
            await self._locate(device)
        return self._addresses.network(device) is not None

    @_while_linked
    async def match_descriptor(self, device: Eui64, profile: int, server_clusters: Sequence[int]) -> tuple[int, ...]:
        address = self._addresses.network(device) if await self.find(device) else None
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

    @_while_linked
    async def forget(self, device: Eui64) -> None:
        """The key goes whether the device heard us or not."""
        try:
            await self._deliver_zdp(device, zdp.MGMT_LEAVE_REQ, zdp.leave_request(self._next_transaction(), device))
        except TimedOutError:
            pass
        finally:
            async with self._key_table:
                await self._link.remove_link_key(device)

    @_while_linked
    async def export_keys(self) -> tuple[tuple[str, str, bytes], ...]:
        async with self._key_table:
            return await self._link.read_keys()

    async def _deliver_zdp(self, device: Eui64, cluster: int, frame: bytes) -> None:
        fate: asyncio.Future[Delivery] = asyncio.get_running_loop().create_future()
        message = Outbound(device, zdp.ZDP_ENDPOINT, cluster, frame, aps_secured=False)

        def report(delivery: Delivery) -> None:
            if not fate.done():
                fate.set_result(delivery)

        self.traffic.post(OutgoingFrame.of(message, report, zdp.ZDP_PROFILE, zdp.ZDP_ENDPOINT))
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
