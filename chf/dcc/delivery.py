"""Sends documents to users by HTTP POST; only the answer 204 means that a document was taken.

The oldest document for each recipient and device is tried again, with growing pauses, until it is taken. The documents
behind it wait; those of other devices do not. Where an address cannot be reached at all, one document probes it and
everything else for it waits, so that a receiver that comes back is not met by thousands of attempts at once. A 400
means that the receiver calls the document wrong: after several of those it is parked, and the next one is sent.
"""

import asyncio
import logging
from collections import Counter
from dataclasses import dataclass
from typing import Final, NoReturn

import aiohttp

from chf.clock import Clock, Instant, Now, UtcSeconds
from chf.dcc.settings import DccSettings
from chf.errors import DamagedRowError, StoreError
from chf.eui64 import format_eui64
from chf.store import Store
from chf.store.uplink import Document, Head
from chf.trace import Event, Kind

_LOG = logging.getLogger(__name__)

TAKEN: Final = 204  # DCC-B
REFUSED: Final = 400  # DCC-B
_FAULT: Final = 0  # no status of HTTP: the fault is ours
CONTENT_TYPE: Final = "application/xml"
_POLL_S: Final = 0.2  # how soon a new document is noticed


@dataclass(slots=True)
class _Unreachable:
    """An address that did not answer: how often in a row, and when one document may try it again."""

    failures: int
    until: Instant


class Delivery:
    def __init__(self, store: Store, settings: DccSettings, clock: Clock) -> None:
        self._store, self._settings, self._clock = store, settings, clock
        self._under_way: dict[int, str] = {}
        self._unreachable: dict[str, _Unreachable] = {}
        self._refusals: Counter[int] = Counter()
        self._wake = asyncio.Event()

    async def run(self) -> NoReturn:
        """Until cancelled. A document that was on its way is then tried again by the next process."""
        timeout = aiohttp.ClientTimeout(total=self._settings.delivery.timeout_s)
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=False, cookie_jar=aiohttp.DummyCookieJar()) as session,
            asyncio.TaskGroup() as tasks,
        ):
            while True:
                for document, url in self._due(self._clock.now()):
                    self._under_way[document.seq] = url
                    tasks.create_task(self._attempt(session, document, url))
                self._wake.clear()
                try:
                    async with asyncio.timeout(_POLL_S):
                        await self._wake.wait()
                except TimeoutError:
                    continue

    def _due(self, now: Now) -> list[tuple[Document, str]]:
        heads = self._store.uplink.heads()
        for row in heads.unreadable:
            self._put_aside(int(row.key), str(row), now)
        busy = Counter(self._under_way.values())
        due: list[tuple[Document, str]] = []
        for head in heads:
            url = self._settings.receive_url(head.recipient)
            if url is None or head.seq in self._under_way or not self._is_time(head, now):
                continue
            most = self._settings.delivery.at_once
            gone = self._unreachable.get(url)
            if gone is not None:
                most = 0 if now.instant < gone.until else 1
            if busy[url] < most and (document := self._document(head.seq, now)) is not None:
                busy[url] += 1
                due.append((document, url))
        return due

    def _document(self, number: int, now: Now) -> Document | None:
        """One that cannot be read is put aside: it would hold up those behind it."""
        try:
            return self._store.uplink.get(number)
        except DamagedRowError as error:
            self._put_aside(number, str(error), now)
            return None

    def _is_time(self, document: Head, now: Now) -> bool:
        """A wall clock that was set back may not postpone a document beyond the longest pause."""
        wait = document.next_attempt - now.utc
        return wait <= 0 or wait > self._settings.delivery.longest_pause_s

    async def _attempt(self, session: aiohttp.ClientSession, document: Document, url: str) -> None:
        status: int | None = None
        try:
            async with session.post(
                url, data=document.document, headers={"Content-Type": CONTENT_TYPE}, allow_redirects=False
            ) as response:
                status = response.status
            error = "" if status == TAKEN else f"answered {status}, {TAKEN} is expected"
        except TimeoutError:
            error = f"no answer within {self._settings.delivery.timeout_s:g} s"
        except (aiohttp.ClientError, OSError) as failure:
            error = f"cannot be reached: {type(failure).__name__}: {failure}"[:300]
        except Exception as fault:  # noqa: BLE001 the outermost of its task, which may not end the delivery of others
            _LOG.error("document %s cannot be sent", document.seq, exc_info=fault)
            status, error = _FAULT, f"cannot be sent: {fault!r}"[:300]
        finally:
            del self._under_way[document.seq]
        now = self._clock.now()
        if status is None:
            self._not_reached(url, now)
        elif status != _FAULT:
            self._unreachable.pop(url, None)
        try:
            if status == TAKEN:
                self._taken(document, now)
            else:
                self._failed(document, error, status, now)
        except StoreError as failure:  # the same document goes again, under the same id
            _LOG.warning("the outcome of document %s was not written: %s", document.seq, failure)
        self._wake.set()

    def _not_reached(self, url: str, now: Now) -> None:
        gone = self._unreachable.setdefault(url, _Unreachable(0, now.instant))
        gone.failures += 1
        gone.until = Instant(now.instant + self._settings.delivery.pause_s(gone.failures))

    def _taken(self, document: Document, now: Now) -> None:
        with self._store.transaction() as tx:
            tx.uplink.delivered(document.seq, now.utc)
            if document.alert is not None:
                tx.alerts.delivered(document.msg_id, now.utc)
            fields = {"msg_id": document.msg_id, "to": format_eui64(document.recipient)}
            tx.audit.append(Event(now.utc, Kind.ALERT_DELIVERED, document.device, None, fields))

    def _put_aside(self, number: int, error: str, now: Now) -> None:
        try:
            with self._store.transaction() as tx:
                tx.uplink.failed(number, error, now.utc, park=True)
                reason = f"document {number} was put aside: {error}"
                tx.audit.append(Event(now.utc, Kind.ALARM, None, None, {"reason": reason}))
        except StoreError as failure:
            _LOG.warning("document %s was not put aside: %s", number, failure)

    def _failed(self, document: Document, error: str, status: int | None, now: Now) -> None:
        policy = self._settings.delivery
        if status == REFUSED:
            self._refusals[document.seq] += 1
        park = self._refusals[document.seq] >= policy.refusals_until_parked
        # Where the address is the trouble, the address waits, and not the document.
        pause_s = 0.0 if status is None else policy.pause_s(document.attempts + 1)
        _LOG.info("document %s: %s", document.msg_id, error)
        with self._store.transaction() as tx:
            tx.uplink.failed(document.seq, error, UtcSeconds(now.utc + pause_s), park=park)
            if document.alert is not None:
                tx.alerts.attempted(document.msg_id)
            if park:
                reason = f"document {document.msg_id} was put aside: {error}"
                tx.audit.append(Event(now.utc, Kind.ALARM, document.device, None, {"reason": reason}))
        if park:
            del self._refusals[document.seq]
