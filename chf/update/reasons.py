"""The words next to the end of an update: what is known, in one line, for the person who has to act on it.

Each takes the update with the event's facts written into it, and the event that ended it.
"""

from collections.abc import Callable
from typing import TypeAlias

from chf.update.model import ActivateByCommand, Refused, TransferEnded, Update, UpdateEvent

Reason: TypeAlias = Callable[[Update, UpdateEvent], str]


def none(_update: Update, _event: UpdateEvent) -> str:
    return ""


def of_event(_update: Update, event: UpdateEvent) -> str:
    if isinstance(event, TransferEnded):
        return event.reason or event.outcome.value
    return event.reason if isinstance(event, Refused) and event.reason else "refused"


def already_runs(update: Update, _event: UpdateEvent) -> str:
    return f"the device already runs version {_version(update.file_version)}; nothing was transferred"


def by_itself(update: Update, _event: UpdateEvent) -> str:
    if isinstance(update.activation, ActivateByCommand):
        return ""  # it was told to, past the hub
    return "the device activated by itself, before it was told to"


def verified(update: Update, _event: UpdateEvent) -> str:
    if update.report is not None and not update.report.success:
        return "the device reported failure, and runs the new version"
    return ""


def reverted(update: Update, _event: UpdateEvent) -> str:
    return f"the device reported success, and runs version {_version(update.version_seen)}"


def reported_failure(update: Update, _event: UpdateEvent) -> str:
    return f"the device reported failure, and runs version {_version(update.version_seen)}"


def another_type(update: Update, event: UpdateEvent) -> str:
    claim = verified(update, event)
    return f"the new firmware asks for images of {update.successor}" + (f"; {claim}" if claim else "")


def unverified(update: Update, _event: UpdateEvent) -> str:
    return f"unverified: {_not_seen(update)}"


def given_up(update: Update, _event: UpdateEvent) -> str:
    return f"given up, unverified: {_not_seen(update)}"


def not_seen(update: Update, _event: UpdateEvent) -> str:
    return f"the new version was not seen in time: {_not_seen(update)}"


def _not_seen(update: Update) -> str:
    if update.report is None:
        claim = "the device reported nothing"
    elif update.report.success:
        claim = f"the device reported success for version {_version(update.report.file_version)}"
    else:
        claim = "the device reported failure"
    if update.version_seen is not None:
        return f"{claim}, and ran version {_version(update.version_seen)} when last asked"
    return f"{claim}, and {update.doubt or 'its version could not be read'}"


def deadline(_update: Update, _event: UpdateEvent) -> str:
    return "the time allowed for the update is over"


def _version(file_version: int | None) -> str:
    return "unknown" if file_version is None else f"0x{file_version:08X}"
