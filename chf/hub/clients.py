"""Which class each device's OTA client is of, as the running hub knows it: what was set, and what the air has shown.

What that comes to is decided in `chf.update.recognition`; here it is written, traced, and then told to the updates.
"""

from collections.abc import Callable
from dataclasses import replace

from chf.clock import Now
from chf.eui64 import Eui64
from chf.hub.batch import Batch
from chf.hub.devices import KnownDevices
from chf.trace import Kind
from chf.update.clients import ClientClass
from chf.update.recognition import NOTHING_KNOWN, NOTHING_SHOWN, Confidence, Watch


class OtaClients:
    """`known` tells the updates by which limits to go with a device."""

    def __init__(self, devices: KnownDevices, known: Callable[[Eui64, ClientClass, Now], Batch]) -> None:
        self._devices, self._known = devices, known
        self._watches: dict[Eui64, Watch] = {}
        self._traced: dict[Eui64, tuple[str, Confidence]] = {}

    def started(self, now: Now) -> None:
        """Go by what the store has of each device. No transfer is taken up yet, so that nothing follows from it."""
        for entry in self._devices.all():
            self._known(entry.eui64, entry.client.limits, now)

    def hear(self, device: Eui64, octets: bytes, answer: bytes | None, now: Now) -> Batch | None:
        """One frame of its client, and how it was answered; None where that shows nothing new."""
        watch = self._watches.get(device)
        if watch is None:
            entry = self._devices.get(device)
            watch = self._watches[device] = Watch(NOTHING_SHOWN if entry is None else entry.client_traits)
        return self._write(device, now, client_traits=watch.traits) if watch.hear(octets, answer, now.instant) else None

    def arrived(self, device: Eui64) -> None:
        if device in self._watches:
            self._watches[device].arrived()

    def begin_again(self, device: Eui64, now: Now) -> Batch:
        """It went out of the log, or what was heard of it could not be written: the store says what is known."""
        self._watches.pop(device, None)
        self._traced.pop(device, None)
        entry = self._devices.get(device)
        return self._known(device, (NOTHING_KNOWN if entry is None else entry.client).limits, now)

    def new_firmware(self, device: Eui64, now: Now) -> Batch:
        """Its client may be another one now: what the old one showed is forgotten, and what was set is not."""
        self._watches[device] = Watch(NOTHING_SHOWN)
        return self._write(device, now, client_traits=NOTHING_SHOWN)

    def set(self, device: Eui64, name: str | None, now: Now) -> Batch:
        """Somebody says what it is or, with None, leaves it to what the device shows."""
        return self._write(device, now, client_class=name)

    def _write(self, device: Eui64, now: Now, **known: object) -> Batch:
        batch, entry = Batch(now), self._devices.get(device)
        if entry is None:
            return batch
        after = replace(entry, **known).client  # type: ignore[arg-type]
        durable = "client_class" in known  # what the device shows it shows again
        batch.write(lambda tx: self._devices.save(tx, device, **known), device=device, durable=durable)
        batch.then(lambda: self._devices.saved(device))
        shown = (after.client.name, after.confidence)
        if shown != self._traced.get(device, (entry.client.client.name, entry.client.confidence)):
            fields = {"client_class": shown[0], "confidence": shown[1].value, "reasons": after.reasons}
            batch.event(Kind.CLIENT_RECOGNISED, fields, device=device)
        self._traced[device] = shown
        batch.then(lambda: self._known(device, after.limits, now))
        return batch
