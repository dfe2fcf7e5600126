"""The device log as the running hub sees it: who may speak, where each device's OTA client was heard, what was refused.

A copy in memory, because every frame asks it; the rows stay the truth. What is learned of a device is written when
something is written anyway, or after a few seconds.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from chf.clock import Instant, Now, UtcSeconds
from chf.eui64 import Eui64
from chf.hub.batch import Batch
from chf.store import Store
from chf.store.device_log import DeviceEntry, DeviceStatus, DeviceType
from chf.store.store import Transaction
from chf.update.eligibility import DeviceImage

_ONE_ARRIVAL_S: Final = 1.0  # within which a rejoin and its Device_annce are one (our choice)


@dataclass(slots=True)
class Heard:
    """What this process learned of a device since it was last written."""

    last_seen: UtcSeconds | None = None
    endpoint: int | None = None
    refused_frames: int = 0


class KnownDevices:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._entries: dict[Eui64, DeviceEntry] = {}
        self._heard: dict[Eui64, Heard] = {}
        self._arrivals: dict[Eui64, tuple[int, Instant]] = {}
        self._arrived: set[Eui64] = set()
        self.refused_unknown: Counter[Eui64] = Counter()
        """Frames of devices that are not in the log."""
        self.reload()

    def reload(self) -> None:
        """Read the log again."""
        before = self._entries
        rows = self._store.devices.list()
        self._entries = {entry.eui64: entry for entry in rows}
        self.unreadable = rows.unreadable  # their devices get nothing: nobody can say what they may have
        for gone in before.keys() - self._entries.keys():
            self._heard.pop(gone, None)

    def get(self, device: Eui64) -> DeviceEntry | None:
        return self._entries.get(device)

    def has_key(self, device: Eui64) -> bool:
        """Whether it has established a link key by certificate."""
        entry = self._entries.get(device)
        return entry is not None and entry.link_key is not None

    def note_arrival(self, device: Eui64, network_address: int, now: Now) -> bool:
        """False where the radio reported it a moment ago already, and the device has said nothing since."""
        self._note(device).last_seen = now.utc
        self._arrived.add(device)
        last = self._arrivals.get(device)
        self._arrivals[device] = (network_address, now.instant)
        return last is None or last[0] != network_address or now.instant - last[1] >= _ONE_ARRIVAL_S

    def take_arrival(self, device: Eui64) -> bool:
        """Whether it arrived since this was last asked; to be asked each time that it names its version."""
        arrived = device in self._arrived
        self._arrived.discard(device)
        return arrived

    def all(self) -> Iterable[DeviceEntry]:
        return tuple(self._entries.values())

    def joined(self) -> Iterable[DeviceEntry]:
        return [entry for entry in self._entries.values() if entry.status is DeviceStatus.JOINED]

    def is_gsme(self, device: Eui64) -> bool:
        """It sleeps, and learns of everything from its mirror."""
        entry = self._entries.get(device)
        return entry is not None and entry.device_type is DeviceType.GSME

    def endpoint(self, device: Eui64) -> int | None:
        heard = self._heard.get(device)
        if heard is not None and heard.endpoint is not None:
            return heard.endpoint
        entry = self._entries.get(device)
        return None if entry is None else entry.endpoint

    def hear(self, device: Eui64, now: Now) -> None:
        """A message of this device came past the gate."""
        self._arrivals.pop(device, None)
        self._note(device).last_seen = now.utc

    def ota_client_at(self, device: Eui64, endpoint: int) -> None:
        """Where its OTA client was heard."""
        self._note(device).endpoint = endpoint

    def _note(self, device: Eui64) -> Heard:
        heard = self._heard.get(device)
        if heard is None:
            heard = self._heard[device] = Heard()
        return heard

    def refuse(self, device: Eui64, now: Now) -> int:
        """Count a refused frame; returns how many were since the last write (of an unknown device: in all)."""
        if device not in self._entries:
            self.refused_unknown[device] += 1
            return self.refused_unknown[device]
        self.hear(device, now)
        self._heard[device].refused_frames += 1
        return self._heard[device].refused_frames

    def save(self, tx: Transaction, device: Eui64, **known: object) -> None:
        """Write what is known of a device now, on top of its row as it stands."""
        entry = tx.devices.get(device)
        if entry is None:
            return
        heard = self._heard.get(device, Heard())
        updated = replace(
            entry,
            last_seen=heard.last_seen or entry.last_seen,
            endpoint=heard.endpoint if heard.endpoint is not None else entry.endpoint,
            refused_frames=entry.refused_frames + heard.refused_frames,
            **known,  # type: ignore[arg-type]
        )
        if updated != entry:
            tx.devices.update(updated)

    def save_image(self, tx: Transaction, device: Eui64, image: DeviceImage) -> None:
        """Write what it told of one of its images, and what else is known of it."""
        self.save(tx, device)
        if tx.devices.get(device) is not None:
            tx.devices.note_image(device, image)

    def saved(self, device: Eui64) -> None:
        """The transaction that `save` was part of is on disk."""
        self._heard.pop(device, None)
        entry = self._store.devices.get(device)
        if entry is not None:
            self._entries[device] = entry

    def unwritten(self, now: Now) -> Iterator[Batch]:
        """What was heard of each device since it was last written."""
        for device in tuple(self._heard):
            batch = Batch(now)
            batch.write(partial(self._save_heard, device), device=device, durable=False)
            batch.then(partial(self.saved, device))
            yield batch

    def _save_heard(self, device: Eui64, tx: Transaction) -> None:
        self.save(tx, device)
