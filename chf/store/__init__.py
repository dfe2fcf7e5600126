"""The store: device log, images, updates, audit, inbox, alerts, and the DCC side's queues, in one SQLite file."""

from chf.store.alerts import Alert, NewAlert, alert_id
from chf.store.audit import AuditRecord, BrokenLink
from chf.store.device_log import DeviceEntry, DeviceStatus, DeviceType
from chf.store.images import ImageRecord
from chf.store.inbox import Command, CommandState
from chf.store.lock import hub_pid, hub_running
from chf.store.store import Store, Transaction

__all__ = [
    "Alert",
    "AuditRecord",
    "BrokenLink",
    "Command",
    "CommandState",
    "DeviceEntry",
    "DeviceStatus",
    "DeviceType",
    "ImageRecord",
    "NewAlert",
    "Store",
    "Transaction",
    "alert_id",
    "hub_pid",
    "hub_running",
]
