"""What each part of the hub is given, and what the hub asks of each: messages in, batches out.

A handler decides and returns what is to be done; it carries out nothing, and knows no other handler but those that it
is given.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Self

from chf.clock import Clock, Instant, Now
from chf.errors import MalformedFrameError
from chf.eui64 import Eui64
from chf.hub.alerts import HubAlerts
from chf.hub.batch import Batch, DeviceChange
from chf.hub.devices import KnownDevices
from chf.hub.gate import reply
from chf.hub.images import ImageCache
from chf.hub.messages_from_devices import DeviceMessageReader
from chf.hub.settings import HubSettings
from chf.pki.gbcs import Pki
from chf.radio.interface import Delivery, Inbound, NetworkInfo, Outbound, Radio
from chf.store import Store
from chf.store.rows import Unreadable
from chf.trace import Kind
from chf.trust import WatchedClock
from chf.zcl.frame import Frame

_LOG = logging.getLogger(__name__)


@dataclass(slots=True)
class HubContext:
    """What every part of the hub works with."""

    store: Store
    radio: Radio
    clock: WatchedClock
    settings: HubSettings
    pki: Pki
    devices: KnownDevices
    alerts: HubAlerts
    reader: DeviceMessageReader
    images: ImageCache
    damage: "DamagedRows"

    @classmethod
    def of(cls, store: Store, radio: Radio, clock: Clock, settings: HubSettings, pki: Pki) -> Self:
        devices, images = KnownDevices(store), ImageCache(store.home)
        return cls(
            store,
            radio,
            store.watched(clock),
            settings,
            pki,
            devices,
            HubAlerts(pki),
            DeviceMessageReader(pki),
            images,
            DamagedRows(),
        )


class DamagedRows:
    """What could not be read: people hear of each row once in a process, and whatever it was about waits."""

    def __init__(self) -> None:
        self._reported: set[Unreadable] = set()

    def report(self, rows: Iterable[Unreadable], batch: Batch) -> list[Unreadable]:
        """Those that are new: each is an alarm, and a line in the log."""
        new = [row for row in dict.fromkeys(rows) if row not in self._reported]
        for row in new:
            self._reported.add(row)
            _LOG.error("%s", row)
            batch.event(Kind.ALARM, {"reason": str(row)})
        return new


class Handler:
    """Of one cluster. Does nothing by itself, so that each overrides what it is concerned with."""

    async def prepare(self) -> None:
        """What takes its time and must be done before `started`; the radio starts beside it."""

    def started(self, network: NetworkInfo | None, now: Now) -> Batch:
        """The radio is up for the first time: go on where the store says that an earlier process was."""
        del network
        return Batch(now)

    def radio_returned(self, now: Now) -> Batch:
        """The radio is up again. Nobody heard the devices meanwhile, and the dongle may be another one."""
        return Batch(now)

    def receive(self, message: Inbound, now: Now) -> Batch:
        """A message that the gate let in."""
        del message
        return Batch(now)

    def sent(self, message: Outbound, delivery: Delivery, now: Now) -> Batch:
        """What became of a message of this cluster."""
        del message, delivery
        return Batch(now)

    def device_changed(self, device: Eui64, change: DeviceChange, now: Now) -> Batch:
        del device, change
        return Batch(now)

    def deadline(self) -> Instant | None:
        """When `handle_deadline` is due next."""
        return None

    def handle_deadline(self, now: Now) -> Batch:
        return Batch(now)


class ReadHandler(Handler):
    """For a cluster that only answers reads: an answer is protected as its question was."""

    def __init__(self, answer: Callable[[Inbound, Now], bytes | None]) -> None:
        self._answer = answer

    def receive(self, message: Inbound, now: Now) -> Batch:
        batch = Batch(now)
        payload = self._answer(message, now)
        if payload is not None:
            batch.send(reply(message, payload, secured=message.aps_secured))
        return batch


def unsupported(message: Inbound, _now: Now) -> bytes | None:
    """What a cluster answers that the hub does not serve."""
    try:
        return Frame.from_bytes(message.payload).unsupported()
    except MalformedFrameError:
        return None
