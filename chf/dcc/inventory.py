"""Answers the intake's questions about devices, from the inventory file and the hub's device log.

Both are read as a whole once for each request, because a request may name 50,000 devices.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

from chf.dcc.smi import SmiDevice, SmiStatus
from chf.errors import UsageError
from chf.eui64 import Eui64, parse_eui64
from chf.store import Store
from chf.store.device_log import DeviceEntry, DeviceStatus
from chf.store.inbox import Verb
from chf.update.eligibility import Candidate, InProgress

_FOLLOWS_THE_LOG = {
    DeviceStatus.PENDING: SmiStatus.WHITELISTED,
    DeviceStatus.JOINED: SmiStatus.COMMISSIONED,  # the bench has no commissioning beyond joining
    DeviceStatus.LEFT: SmiStatus.SUSPENDED,
}


class StoreInventory:
    """`smi` is None where there is no inventory file: then a device that has joined counts as commissioned."""

    def __init__(self, store: Store, smi: Mapping[Eui64, SmiDevice] | None = None) -> None:
        self._store, self._smi = store, smi
        self._log = {entry.eui64: entry for entry in store.devices.list()}
        self._busy = {update.device: InProgress.of(update) for update in store.updates.list(active_only=True)}
        for command in store.inbox.pending():  # taken in, and not yet seen by a hub that is down
            if command.verb == Verb.UPDATE_START:
                with suppress(KeyError, TypeError, UsageError):  # a damaged one, which the hub will refuse
                    asked = InProgress(command.body["image"])
                    self._busy.update(dict.fromkeys(map(parse_eui64, command.body["devices"]), asked))

    def device(self, eui64: Eui64) -> Candidate | None:
        entry = self._log.get(eui64)
        if self._smi is None:
            return None if entry is None else entry.candidate(self._busy.get(eui64))
        known = self._smi.get(eui64)
        return None if known is None else self._known(known, entry)

    def last_counter(self, originator: Eui64) -> int | None:
        return self._store.requests.highest(originator)

    def _known(self, known: SmiDevice, entry: DeviceEntry | None) -> Candidate:
        in_progress = self._busy.get(known.eui64)
        if entry is None:
            followed = SmiStatus.PENDING
            candidate = Candidate(known.eui64, "", commissioned=False, in_progress=in_progress, on_hub=False)
        else:
            followed = _FOLLOWS_THE_LOG[entry.status]
            candidate = entry.candidate(in_progress)
        status = known.status or followed
        return replace(
            candidate,
            device_type=known.device_type.value,
            commissioned=status is SmiStatus.COMMISSIONED,
            file_version=known.firmware_version,
            status=status.value,
            model=(known.manufacturer, known.model) if known.manufacturer and known.model else None,
            gbcs_version=known.gbcs_version,
        )
