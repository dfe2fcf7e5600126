"""Updates, alerts and events as JSON objects: the same wherever a command, a report or a test prints one."""

from typing import Any

from chf.clock import UtcSeconds, isoformat
from chf.eui64 import format_eui64
from chf.store.alerts import Alert
from chf.store.progress import TransferProgress
from chf.trace import Event
from chf.update.model import Update, activation_to_json


def update_record(update: Update, moved: TransferProgress | None) -> dict[str, Any]:
    """An update; `moved` is how far its transfer came, where that is known."""
    return {
        "update": int(update.id),
        "device": format_eui64(update.device),
        "state": update.state.value,
        "reason": update.reason,
        "image": update.image,
        "file_version": version_text(update.file_version),
        "version_before": version_text(update.version_before),
        "version_seen": version_text(update.version_seen),
        "percent": None if moved is None else round(100 * moved.offset_bytes / moved.size_bytes, 1),
        "origin": update.origin,
        "activation": activation_to_json(update.activation)["kind"],
        "waiting_for": None if update.waiting_for is None else update.waiting_for.value,
        "waiting_until": time_text(update.waiting_until),
        "activation_at": time_text(update.activation_at),
        "transfer": None if update.transfer is None else update.transfer.value,
        "created": time_text(update.created),
        "ended": time_text(update.ended),
        "deadline": time_text(update.deadline),
    }


def alert_record(alert: Alert) -> dict[str, Any]:
    """`message` is what was signed, in hex."""
    return {
        "seq": alert.seq,
        "id": alert.msg_id,
        "time": isoformat(alert.created),
        "device": format_eui64(alert.device),
        "use_case": alert.use_case,
        "alert_code": f"0x{alert.alert_code:04X}",
        "outcome": alert.outcome,
        "signature_verified": alert.verified,
        "update": alert.update,
        "message": alert.message.hex(),
    }


def event_record(event: Event) -> dict[str, Any]:
    """One event of an update's history, where the update and its device are said beside it."""
    return {"time": isoformat(event.utc), "kind": event.kind.value, "fields": dict(event.fields)}


def event_detail(event: Event) -> str:
    """The fields of an event that say something, for a line of text."""
    return ", ".join(f"{name}={value}" for name, value in event.fields.items() if value not in ("", None))


def time_text(utc: UtcSeconds | None) -> str | None:
    return None if utc is None else isoformat(utc)


def version_text(file_version: int | None) -> str | None:
    return None if file_version is None else f"0x{file_version:08X}"
