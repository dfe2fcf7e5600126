"""Which devices are on the network: what the radio says of it, and what a device's own messages show."""

from chf.clock import Now
from chf.eui64 import Eui64
from chf.hub.batch import Batch, DeviceChange
from chf.hub.devices import KnownDevices
from chf.hub.settings import SecurityMode
from chf.radio.interface import Inbound
from chf.store.device_log import DeviceStatus
from chf.trace import Kind

NO_ADDRESS = 0xFFFE  # Zigbee R22 3.6.1.7: a short address that is not known


class Presence:
    def __init__(self, devices: KnownDevices, mode: SecurityMode) -> None:
        self._devices, self._mode = devices, mode

    def joined(self, device: Eui64, network_address: int, now: Now) -> Batch:
        batch = Batch(now)
        if self._devices.get(device) is None:
            reason = "a device that is not in the device log joined; it gets nothing"
            batch.event(Kind.ALARM, {"reason": reason}, device=device)
            return batch
        if not self._devices.note_arrival(device, network_address, now):
            return batch  # a rejoin and the announcement after it are one arrival
        batch.event(Kind.DEVICE_JOINED, {"network_address": network_address}, device=device)
        batch.write(
            lambda tx: self._devices.save(tx, device, status=DeviceStatus.JOINED, network_address=network_address),
            device=device,
            durable=False,
        )
        batch.then(lambda: self._devices.saved(device))
        if self._mode is SecurityMode.LAB or self._devices.has_key(device):
            batch.changed(device, DeviceChange.ARRIVED)
        return batch

    def heard(self, message: Inbound, now: Now) -> Batch | None:
        """A device's announcement is a broadcast, and may be lost: but who speaks under its link key is there."""
        entry = self._devices.get(message.source)
        if entry is None or entry.status is DeviceStatus.JOINED or not message.aps_secured:
            return None
        return self.joined(message.source, NO_ADDRESS, now)

    def left(self, device: Eui64, now: Now) -> Batch:
        batch = Batch(now)
        if self._devices.get(device) is None:
            return batch
        batch.event(Kind.DEVICE_LEFT, {}, device=device)
        batch.write(lambda tx: self._devices.save(tx, device, status=DeviceStatus.LEFT), device=device)
        batch.then(lambda: self._devices.saved(device))
        batch.changed(device, DeviceChange.LEFT)
        return batch
