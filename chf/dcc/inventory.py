"""What the checks of the DCC side ask about devices: the inventory file laid over the hub's device log.

Both are read as a whole, once for each request: a list of 50,000 ids is then looked up in memory.
"""

from collections.abc import Mapping

from chf.dcc.intake import InventoryDevice
from chf.dcc.smi import SmiDevice, SmiStatus
from chf.eui64 import Eui64, parse_eui64
from chf.store import Store
from chf.store.device_log import DeviceEntry, DeviceStatus
from chf.store.inbox import Verb

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
        self._busy = {job.device for job in store.jobs.list(active_only=True) if not job.distributed}
        for command in store.inbox.pending():  # taken in, and not yet seen by a hub that is down
            if command.verb == Verb.UPDATE_START:
                self._busy.update(parse_eui64(device) for device in command.body["devices"])

    def device(self, eui64: Eui64) -> InventoryDevice | None:
        entry = self._log.get(eui64)
        if self._smi is None:
            return None if entry is None else self._logged(entry)
        known = self._smi.get(eui64)
        return None if known is None else self._known(known, entry)

    def last_counter(self, originator: Eui64) -> int | None:
        return self._store.requests.highest(originator)

    def _logged(self, entry: DeviceEntry) -> InventoryDevice:
        return InventoryDevice(
            entry.eui64,
            entry.device_type.value,
            commissioned=entry.status is DeviceStatus.JOINED,
            update_in_progress=entry.eui64 in self._busy,
            manufacturer_code=entry.manufacturer,
            image_type=entry.image_type,
            hardware_version=entry.hardware_version,
            file_version=entry.file_version,
        )

    def _known(self, known: SmiDevice, entry: DeviceEntry | None) -> InventoryDevice:
        followed = SmiStatus.PENDING if entry is None else _FOLLOWS_THE_LOG[entry.status]
        status = known.status or followed
        running = None if entry is None else entry.file_version
        return InventoryDevice(
            known.eui64,
            known.device_type.value,
            commissioned=status is SmiStatus.COMMISSIONED,
            update_in_progress=known.eui64 in self._busy,
            manufacturer_code=None if entry is None else entry.manufacturer,
            image_type=None if entry is None else entry.image_type,
            hardware_version=None if entry is None else entry.hardware_version,
            file_version=known.firmware_version if running is None else running,
            status=status.value,
            model=(known.manufacturer, known.model) if known.manufacturer and known.model else None,
            gbcs_version=known.gbcs_version,
            on_hub=entry is not None,
        )
