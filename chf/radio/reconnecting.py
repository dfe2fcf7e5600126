"""`Radio` for the life of the hub, over a dongle of any kind: a dongle that goes is opened again until it is back.

Each message that was under way then ends as RADIO_GONE; the network is to be the same as before. One link
is a session (`session.py`); this file is the life around the sessions.
"""

import asyncio
import contextlib
import itertools
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any, ParamSpec

import serialx
import zigpy.exceptions

from chf.clock import Instant, backoff_s
from chf.errors import NoNetworkError, RadioGoneError, RadioRefusedError
from chf.eui64 import Eui64
from chf.radio.interface import Delivery, Inbound, Outbound, Radio, RadioInfo, RadioListener, RadioState, SecurityReport
from chf.radio.link import Kind, Link
from chf.radio.ports import rival, trouble_with
from chf.radio.session import LinkLife, Session
from chf.radio.traffic import Addresses, OutgoingFrame

OPEN_LIMIT_S = 120.0  # of one attempt: a Z-Stack dongle writes some hundred flash items when it forms a network
START_ATTEMPTS = 3  # our choice
STOP_LIMIT_S = 10.0  # our choice
FIRST_RETRY_S = 0.25  # to get a dongle back (our choice)
SHORT_LIFE_S = 60.0  # a link that is lost within it was lost too soon (our choice)
SUSPECT_LIVES = 3  # so many short lives after each other have a cause, which is named (our choice)
LONGEST_RETRY_S = 10.0  # a dongle that was replugged waits no longer (our choice)

_LOG = logging.getLogger(__name__)


class ReconnectingRadio(Radio):
    """See `Radio` for what each call promises."""

    def __init__(self, port: str, kind: Kind) -> None:
        self.state = RadioState.STOPPED
        self._port = port
        self._kind = kind
        self._addresses = Addresses()
        self._listener: _GuardedListener | None = None
        self._session: Session | None = None
        self._answered = False  # at the last attempt to open it
        self._network: RadioInfo | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._invited: dict[Eui64, tuple[bytes, Instant]] = {}

    # While it is stopped

    async def probe(self) -> RadioInfo:
        async with self._visited() as link:
            return await link.describe()

    async def probe_security(self) -> SecurityReport:
        async with self._visited() as link:
            return await link.describe_security()

    async def leave(self) -> None:
        async with self._visited() as link:
            await link.leave()

    async def backup(self) -> dict[str, Any]:
        async with self._visited() as link:
            return await link.backup()

    async def restore(self, backup: dict[str, Any]) -> RadioInfo:
        async with self._visited() as link:
            await link.check(backup)
            return await link.restore(backup)

    async def check(self, backup: dict[str, Any]) -> None:
        async with self._visited() as link:
            await link.check(backup)

    @contextlib.asynccontextmanager
    async def _visited(self) -> AsyncIterator[Link]:
        """The dongle for one command of a person, without a session."""
        assert self._keeper is None, "a radio that serves is not asked this"
        self._keep_keys_out_of_logs()
        events = _NoEvents()
        link = self._kind.link(events)
        with self._said_plainly():
            async with asyncio.timeout(OPEN_LIMIT_S):
                try:
                    async with events.life.lasting():
                        await link.connect()
                        yield link
                finally:
                    await link.close()

    async def start(self, listener: RadioListener, *, form: bool) -> RadioInfo:
        assert self._keeper is None, "a radio is started once until it is stopped"
        self._keep_keys_out_of_logs()
        listener = self._listener = _GuardedListener(listener)
        self._stopping.clear()
        self._change(RadioState.CONNECTING, f"opening {self._port}")
        try:
            session, info = await self._first_open(listener, form=form)
        except BaseException:
            self.state = RadioState.STOPPED
            raise
        self._network = info
        self._change(RadioState.UP, info.firmware)
        self._keeper = asyncio.create_task(self._keep(session, listener), name="radio")
        return info

    async def stop(self) -> None:
        keeper, self._keeper = self._keeper, None
        self._stopping.set()
        if keeper is None:
            return
        if self._session is not None:
            self._session.fail("the radio is being stopped")
            if self.state is not RadioState.UP:
                await self._session.close()
        _, still_running = await asyncio.wait({keeper}, timeout=STOP_LIMIT_S)
        for task in still_running:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await keeper
        self._change(RadioState.STOPPED, "stopped")

    def post(self, message: Outbound) -> None:
        listener = self._listener
        assert listener is not None, "a radio is started before it is used"
        self._post(message, lambda delivery: listener.message_sent(message, delivery))

    async def send(self, message: Outbound, timeout_s: float = 10.0) -> Delivery:
        fate: asyncio.Future[Delivery] = asyncio.get_running_loop().create_future()
        self._post(message, lambda delivery: None if fate.done() else fate.set_result(delivery))
        try:
            async with asyncio.timeout(timeout_s):
                return await fate
        except TimeoutError:
            return Delivery.NOT_DELIVERED

    async def permit(self, device: Eui64, link_key: bytes, seconds: int) -> None:
        until = Instant(asyncio.get_running_loop().time() + seconds)
        with self._said_plainly():
            await self._up().permit(device, link_key, seconds)
        self._invited[device] = (link_key, until)

    async def install_link_key(self, device: Eui64, link_key: bytes, *, fresh: bool = False) -> None:
        with self._said_plainly():
            await self._up().install_link_key(device, link_key, fresh=fresh)
        self._invited.pop(device, None)  # it has joined, and its install code's key must not come back

    async def locate(self, device: Eui64) -> bool:
        with self._said_plainly():
            return await self._up().find(device)

    async def match_descriptor(self, device: Eui64, profile: int, server_clusters: Sequence[int]) -> tuple[int, ...]:
        with self._said_plainly():
            return await self._up().match_descriptor(device, profile, server_clusters)

    async def forget(self, device: Eui64) -> None:
        self._invited.pop(device, None)
        with self._said_plainly():
            await self._up().forget(device)

    async def export_keys(self) -> tuple[tuple[str, str, bytes], ...]:
        with self._said_plainly():
            return await self._up().export_keys()

    def _up(self) -> Session:
        if self._session is None or self.state is not RadioState.UP:
            raise RadioGoneError(f"the dongle at {self._port} is not there (radio {self.state.value})")
        return self._session

    def _post(self, message: Outbound, report: Callable[[Delivery], None]) -> None:
        if self._session is None or self.state is not RadioState.UP:
            asyncio.get_running_loop().call_soon(report, Delivery.RADIO_GONE)
            return
        self._session.traffic.post(OutgoingFrame.of(message, report))

    def _change(self, state: RadioState, reason: str) -> None:
        self.state = state
        if self._listener is not None:
            self._listener.radio_state_changed(state, reason)

    async def _first_open(self, listener: RadioListener, *, form: bool) -> tuple[Session, RadioInfo]:
        """A dongle that answered once is tried again: a frame may have been lost. One that did not is reported."""
        for _ in range(START_ATTEMPTS - 1):
            try:
                return await self._open(listener, form=form)
            except RadioRefusedError:
                raise
            except RadioGoneError as error:
                if not self._answered:
                    raise
                _LOG.warning("starting again: %s", error)
        return await self._open(listener, form=form)

    async def _open(self, listener: RadioListener, *, form: bool) -> tuple[Session, RadioInfo]:
        session = self._session = Session(self._kind, listener, self._addresses)
        try:
            with self._said_plainly():
                async with asyncio.timeout(OPEN_LIMIT_S):
                    return session, await session.open(form=form)
        except BaseException:
            self._session = None
            self._answered = session.answered
            await session.close()
            raise

    async def _keep(self, session: Session, listener: RadioListener) -> None:
        """The outermost loop: whatever ends a session, the next one follows, until the radio is stopped."""
        loop, short_lives = asyncio.get_running_loop(), 0
        while True:
            began = loop.time()
            try:
                reason = await session.run()
            except Exception as error:  # noqa: BLE001 the outermost loop of the radio
                _LOG.exception("the radio's session ended by an error of the hub")
                reason = repr(error)
            if self._stopping.is_set():
                self.state = RadioState.STOPPED
                session.traffic.closed()
                return
            short_lives = short_lives + 1 if loop.time() - began < SHORT_LIFE_S else 0
            if short_lives >= SUSPECT_LIVES:
                reason = f"{reason}; lost {short_lives} times soon after it was opened: {rival(self._port)}"
            self._change(RadioState.GONE, reason)
            session.traffic.closed()
            reopened = await self._reopen(listener, reason, short_lives)
            if reopened is None:
                return
            session = reopened
            await self._invite_again(session)
            self._change(RadioState.UP, "the dongle is back")

    async def _reopen(self, listener: RadioListener, reason: str, short_lives: int) -> Session | None:
        """With a pause that grows with each failure, and with each link that did not last."""
        self._change(RadioState.CONNECTING, reason)
        for failures in itertools.count(max(short_lives, 1)):
            if await self._stopped_within(backoff_s(failures, FIRST_RETRY_S, LONGEST_RETRY_S)):
                return None
            try:
                session, info = await self._open(listener, form=False)
            except RadioRefusedError as error:
                problem = str(error)
            except RadioGoneError as error:
                _LOG.info("the dongle is not back yet: %s", error)
                continue
            except Exception:  # noqa: BLE001 nothing but `stop` ends the wait for the dongle
                _LOG.exception("the dongle could not be opened by an error of the hub")
                continue
            else:
                if self._network is None or info.network == self._network.network:
                    return session
                await session.close()
                problem = f"the dongle at {self._port} has another network than before"
            if problem != reason:  # somebody answers, but not the dongle that is waited for: for a person to know
                reason = problem
                self._change(RadioState.CONNECTING, reason)
        return None

    async def _stopped_within(self, delay_s: float) -> bool:
        try:
            async with asyncio.timeout(delay_s):
                return await self._stopping.wait()
        except TimeoutError:
            return False

    async def _invite_again(self, session: Session) -> None:
        """A reset dongle has closed its network and forgotten who may join."""
        now = asyncio.get_running_loop().time()
        for device, (link_key, until) in tuple(self._invited.items()):
            if until <= now:
                del self._invited[device]
                continue
            try:
                with self._said_plainly():
                    await session.permit(device, link_key, until - now)
            except RadioGoneError as error:
                _LOG.warning("could not let %016X join again: %s", device, error)

    def _keep_keys_out_of_logs(self) -> None:
        for name, level in self._kind.loggers:
            logger = logging.getLogger(name)
            if logger.getEffectiveLevel() < level:
                logger.setLevel(level)

    @contextlib.contextmanager
    def _said_plainly(self) -> Iterator[None]:
        """What zigpy, the dongle's library and the serial library raise, as one of our two errors."""
        port = self._port
        losses: tuple[type[Exception], ...] = (*self._kind.losses, serialx.SerialException)
        try:
            yield
        except zigpy.exceptions.NetworkNotFormed as error:
            raise NoNetworkError(f"no network is formed on the dongle at {port}: form one first") from error
        except zigpy.exceptions.FormationFailure as error:  # what it says itself is a guess: interference
            raise RadioGoneError(f"the dongle at {port} does not bring its network up: replug it") from error
        except self._kind.refusals as error:
            raise RadioRefusedError(f"the dongle at {port} refused: {str(error) or type(error).__name__}") from error
        except self._kind.unparsed as error:
            what = type(error).__name__
            raise RadioRefusedError(f"the dongle at {port} holds something that cannot be read ({what})") from None
        except TimeoutError as error:
            who = f"`chf radio probe {port}` says who does"
            raise RadioGoneError(f"nothing at {port} answers as {self._kind.name} does: {who}") from error
        except losses as error:
            raise RadioGoneError(trouble_with(port, error)) from error


class _NoEvents:
    """Nobody listens to what a dongle says by itself while it is asked one thing."""

    def __init__(self) -> None:
        self.life = LinkLife()

    def joined(self, device: Eui64, network_address: int, *, rejoined: bool | None) -> None: ...
    def left(self, device: Eui64) -> None: ...
    def link_lost(self, reason: str) -> None:
        self.life.end(reason)
        self.life.release()


class _GuardedListener:
    """A listener whose failures do not reach the radio: a fault in the hub must not cost it its dongle."""

    def __init__(self, listener: RadioListener) -> None:
        self._listener = listener

    def message_received(self, message: Inbound) -> None:
        _guarded(self._listener.message_received, message)

    def message_sent(self, message: Outbound, delivery: Delivery) -> None:
        _guarded(self._listener.message_sent, message, delivery)

    def device_joined(self, device: Eui64, network_address: int) -> None:
        _guarded(self._listener.device_joined, device, network_address)

    def device_left(self, device: Eui64) -> None:
        _guarded(self._listener.device_left, device)

    def radio_state_changed(self, state: RadioState, reason: str) -> None:
        _guarded(self._listener.radio_state_changed, state, reason)


_Heard = ParamSpec("_Heard")


def _guarded(listener: Callable[_Heard, None], *args: _Heard.args, **kwargs: _Heard.kwargs) -> None:
    """Where the radio calls the hub, the hub's outermost loop is."""
    try:
        listener(*args, **kwargs)
    except Exception:  # noqa: BLE001 a fault in the hub must not cost it its dongle
        _LOG.exception("the hub failed on what the radio told it")
