"""CS14: one alert for each change of the device log, by hub or CLI: devices that come and go, link keys that change.

The audit says what changed, and a row says up to where alerts were made. Alert and row are one transaction, so that a
change made while the hub was down is reported when it next runs, and none is reported twice.
"""

import asyncio
from collections.abc import Iterator
from functools import partial
from typing import Final

from chf.clock import UtcSeconds
from chf.eui64 import format_eui64
from chf.hub.batch import Batch, append
from chf.hub.handler import HubContext
from chf.hub.journal import Journal
from chf.store.audit import Audit, AuditRecord
from chf.store.store import Transaction
from chf.trace import Event, Kind

TOLD: Final = "device log alerts"
"""Under this key the store's meta table has the number of the last audit record that an alert was made for."""

_CHANGES: Final = {
    Kind.DEVICE_ADDED: "added",
    Kind.DEVICE_FORGOTTEN: "removed",
    Kind.KEY_ESTABLISHED: "has a new link key",
    Kind.DEVICE_PERMITTED: "has no link key any more",
}  # GBCS CS14: an address is added or removed, or a hashed link key changes

BEHIND_S: Final = 0.5  # between two looks while the disk is full (our choice)
_PAGE_RECORDS: Final = 50  # of the audit, in one turn of the event loop; an alert takes 0.4 ms (our choice)

TOOK_KEY_BACK: Final = "took_key_back"
"""Where a `device.permitted` has this field, the device had established a link key, and is to establish another."""


class DeviceLogAlerts:
    def __init__(self, context: HubContext, journal: Journal) -> None:
        self._store, self._clock, self._alerts, self._damage = (
            context.store,
            context.clock,
            context.alerts,
            context.damage,
        )
        self._journal = journal
        self._enabled = context.settings.security.device_log_alert and context.alerts.shares_key_with_acb
        self.extended_pan_id = 0
        """Of the hub's network, once it is known; the hub raises nothing before."""
        self.changed = asyncio.Event()
        """Set where the device log may have changed: `turn` waits for it."""
        self._searched = 0  # audit records up to this one hold no change that is not reported

    async def turn(self) -> float:
        """One page of the audit; other tasks get their turns in between. Returns how many seconds to wait."""
        await self.changed.wait()
        batch = Batch(self._clock.now())
        if self._journal.behind:
            return BEHIND_S
        if self.raise_page(batch):
            self._journal.carry_out(batch)
        else:
            self.changed.clear()
            await asyncio.to_thread(self._store.sync)
        return 0.0

    def raise_page(self, batch: Batch) -> bool:
        """Look through the next page of the audit; into the batch, every change there without an alert.

        False once there is nothing to look through. The disk is for the caller to wait for.
        """
        if not self._enabled:
            return False
        after = self._after(self._store.meta.number(TOLD))
        records = self._store.audit.tail(after, _PAGE_RECORDS)
        for record in records:
            if is_change(record.event):
                batch.write(partial(self._raise_one, record, batch.now.utc), durable=False)
        if not batch.writes:
            self._searched = records.through
        self._damage.report(records.unreadable, batch)
        return records.through > after

    def raise_all(self, batch: Batch) -> None:
        """For every change without an alert, and for what the batch's own transaction has changed so far."""
        if not self._enabled:
            return
        for record in _changes(self._store.audit, self._after(self._store.meta.number(TOLD))):
            batch.write(partial(self._raise_one, record, batch.now.utc), durable=False)
        batch.write(partial(self._raise_rest, batch.now.utc))

    def _raise_rest(self, utc: UtcSeconds, tx: Transaction) -> Event | None:
        last = None
        for record in _changes(tx.audit, self._after(tx.meta.number(TOLD))):
            last = self._raise_one(record, utc, tx)
        return last

    def _after(self, told: int) -> int:
        return max(self._searched, told)

    def _raise_one(self, record: AuditRecord, utc: UtcSeconds, tx: Transaction) -> Event | None:
        if record.seq <= tx.meta.number(TOLD):
            return None  # this write had to wait, and somebody was faster
        device = record.event.device
        assert device is not None, "a change of the log names its device"
        tx.meta.set(TOLD, str(record.seq))
        change = f"{format_eui64(device)} {_CHANGES[record.event.kind]}"
        alert = self._alerts.device_log_alert(tx, change, self.extended_pan_id, utc)
        return append(Event(utc, Kind.ALERT_RAISED, device, None, alert.as_fields()), tx)


def _changes(audit: Audit, after: int) -> Iterator[AuditRecord]:
    while (page := audit.tail(after)).through > after:
        yield from (record for record in page if is_change(record.event))
        after = page.through


def is_change(event: Event) -> bool:
    if event.kind is Kind.DEVICE_PERMITTED:
        return event.fields.get(TOOK_KEY_BACK) is True
    return event.kind in _CHANGES
