"""Runs the DCC side: in a process of its own (`chf dcc serve`), or in a thread of the hub's (`chf run --dcc`)."""

import asyncio
import logging
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

from chf.background import keep_doing
from chf.clock import Instant, Now, SystemClock
from chf.dcc.conversion import Conversion
from chf.dcc.delivery import Delivery
from chf.dcc.desk import Desk
from chf.dcc.gateway import Gateway
from chf.dcc.settings import DccSettings
from chf.dcc.signers import ResponseSigner, Signers
from chf.duis.schema import DuisSchema
from chf.errors import StoreError
from chf.pki.gbcs import Pki
from chf.store import Store
from chf.store.lock import Only, StoreLock
from chf.trace import Event, Kind

_LOG = logging.getLogger(__name__)
_POLL_S = 0.2  # how soon what the hub wrote is passed on


class HubsClock:
    """A `Clock` that is trusted as far as the hub trusts it."""

    def __init__(self, store: Store) -> None:
        self._store, self._clock = store, SystemClock()

    def now(self) -> Now:
        return self._store.watched(self._clock).now()

    def instant(self) -> Instant:
        return self._clock.instant()


@dataclass(frozen=True, slots=True)
class DccSide:
    home: Path
    pki: Pki
    listen: tuple[str, int]
    settings: DccSettings
    signers: Signers
    schema: DuisSchema | None
    tls: ssl.SSLContext | None = None

    async def run(self, stop: asyncio.Event, ready: Callable[[str], None]) -> None:
        """Until `stop`, with a connection to the store of its own; `ready` is given the address.

        Raises StoreInUseError where another DCC side has the store.
        """
        with StoreLock.acquire(self.home, Only.DCC_SIDE), Store.open(self.home) as store:
            clock = HubsClock(store)
            desk = Desk(store, self.pki, self.settings, signers=self.signers, schema=self.schema)
            conversion = Conversion(store, self.pki, ResponseSigner(self.pki), self.settings.policy)
            delivery = Delivery(store, self.settings, clock)
            async with Gateway(desk, clock).listening(*self.listen, self.tls) as (host, port):
                ready(f"http{'' if self.tls is None else 's'}://{host}:{port}/api/v1")

                async def convert() -> float:
                    return 0 if conversion.run(clock.now()) else _POLL_S

                def alarm(reason: str) -> None:
                    with suppress(StoreError), store.transaction() as tx:
                        tx.audit.append(Event(clock.now().utc, Kind.ALARM, None, None, {"reason": reason}))

                with suppress(asyncio.CancelledError):
                    async with asyncio.TaskGroup() as tasks:
                        running = [
                            tasks.create_task(keep_doing("delivering documents", delivery.run, alarm)),
                            tasks.create_task(keep_doing("converting alerts", convert, alarm)),
                        ]
                        await stop.wait()
                        for task in running:
                            task.cancel()


@contextmanager
def in_a_thread(side: DccSide) -> Iterator[str]:
    """The DCC side beside whatever this thread does: a request of 15 MB then does not keep the radio waiting.

    Yields the address. Raises what keeps it from starting.
    """
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event, str]] = Future()

    async def run() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        await side.run(stop, lambda address: started.set_result((loop, stop, address)))

    def main() -> None:
        try:
            asyncio.run(run())
        except Exception as error:  # noqa: BLE001 the outermost of its thread, which may not take the hub along
            if started.done():
                _LOG.error("the DCC side has ended, and the hub goes on without it: %r", error)
            else:
                started.set_exception(error)
        finally:
            started.cancel()  # where it is not decided yet, so that nobody waits for ever

    thread = Thread(target=main, name="dcc side")
    thread.start()
    try:
        loop, stop, address = started.result()
        try:
            yield address
        finally:
            with suppress(RuntimeError):  # it has ended already
                loop.call_soon_threadsafe(stop.set)
    finally:
        thread.join()
