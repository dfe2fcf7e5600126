"""One record of something that happened, and its one-line JSON form: the trace.

The audit log, the live view, the report and a bug report all read these records. The schema is versioned, the kinds are
a closed set, and docs/trace.md is held to this file by a test. Secrets have no way in: octet strings are refused
altogether, and so are the field names under which keys travel. It does not write, order or keep anything.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Final, TypeAlias

from chf.clock import UtcSeconds
from chf.errors import MalformedError, UsageError
from chf.eui64 import Eui64, format_eui64, parse_eui64

SCHEMA: Final = 2  # docs/trace.md; rises with a change that readers notice

Scalar: TypeAlias = str | int | float | bool | None
Value: TypeAlias = Scalar | tuple[Scalar, ...]

FORBIDDEN_FIELDS: Final = frozenset(
    {"key", "keys", "link_key", "network_key", "nwk_key", "private_key", "install_code", "install_code_link_key"}
)

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST_UTC: Final = datetime(9999, 12, 31, tzinfo=UTC).timestamp()


class Kind(StrEnum):
    """What can happen. A reader may rely on the set of one schema version; a new kind raises the version."""

    HUB_STARTED = "hub.started"
    HUB_STOPPED = "hub.stopped"
    CLOCK_STEPPED = "clock.stepped"
    CLOCK_DISTRUSTED = "clock.distrusted"
    CLOCK_TRUSTED = "clock.trusted"
    RADIO_STATE = "radio.state"
    COMMAND_RECEIVED = "command.received"
    COMMAND_FINISHED = "command.finished"
    DEVICE_ADDED = "device.added"
    DEVICE_PERMITTED = "device.permitted"
    DEVICE_JOINED = "device.joined"
    DEVICE_LEFT = "device.left"
    DEVICE_FORGOTTEN = "device.forgotten"
    KEY_ESTABLISHED = "key.established"
    KEY_FAILED = "key.failed"
    FRAME_REFUSED = "frame.refused"
    VERSION_OBSERVED = "version.observed"
    CLIENT_RECOGNISED = "client.recognised"
    IMAGE_ADDED = "image.added"
    IMAGE_REMOVED = "image.removed"
    IMAGE_CORRUPT = "image.corrupt"
    REQUEST_ACCEPTED = "request.accepted"
    REQUEST_REFUSED = "request.refused"
    UPDATE_STATE = "update.state"
    OTA_NOTIFIED = "ota.notified"
    OTA_QUERIED = "ota.queried"
    OTA_PROGRESS = "ota.progress"
    OTA_TRANSFER_ENDED = "ota.transfer_ended"
    OTA_ACTIVATION_GIVEN = "ota.activation_given"
    TUNNEL_OPENED = "tunnel.opened"
    TUNNEL_CLOSED = "tunnel.closed"
    MESSAGE_QUEUED = "message.queued"
    MESSAGE_DELIVERED = "message.delivered"
    MESSAGE_FAILED = "message.failed"
    RESPONSE_RECEIVED = "response.received"
    ALERT_RAISED = "alert.raised"
    ALERT_RECEIVED = "alert.received"
    ALERT_DELIVERED = "alert.delivered"
    ALARM = "alarm"


KINDS: Final[Mapping[Kind, tuple[str, tuple[str, ...]]]] = MappingProxyType(
    {
        Kind.HUB_STARTED: ("the hub runs, with its store open and its lock held", ("version", "pid")),
        Kind.HUB_STOPPED: ("the hub stops in good order", ("reason",)),
        Kind.CLOCK_STEPPED: ("the wall clock was set, and lifetimes moved with it", ("seconds", "updates")),
        Kind.CLOCK_DISTRUSTED: ("the wall clock is not trusted: appointments wait", ("reason",)),
        Kind.CLOCK_TRUSTED: ("the wall clock is trusted again", ()),
        Kind.RADIO_STATE: ("the dongle came up, went, or is being connected", ("state", "reason")),
        Kind.COMMAND_RECEIVED: ("a command was taken from the inbox", ("command", "verb")),
        Kind.COMMAND_FINISHED: ("a command was done or refused", ("command", "verb", "state", "reason")),
        Kind.DEVICE_ADDED: ("a device was written into the device log", ("device_type",)),
        Kind.DEVICE_PERMITTED: ("joining was opened for a device", ("seconds", "took_key_back")),
        Kind.DEVICE_JOINED: ("a device joined or rejoined", ("network_address",)),
        Kind.DEVICE_LEFT: ("a device left the network", ()),
        Kind.DEVICE_FORGOTTEN: ("a device was struck from the device log", ()),
        Kind.KEY_ESTABLISHED: ("a device and the hub agreed on a link key", ("suite",)),
        Kind.KEY_FAILED: ("a key establishment was refused or broke off", ("reason", "status")),
        Kind.FRAME_REFUSED: ("a frame was refused, and not answered as asked", ("cluster", "command", "reason")),
        Kind.VERSION_OBSERVED: (
            "a device told which version of an image it runs, or that it has such an image (`unknown`)",
            ("file_version", "image_type", "by"),
        ),
        Kind.CLIENT_RECOGNISED: (
            "the class of a device's OTA client was recognised, set, or is in doubt again",
            ("client_class", "confidence", "reasons"),
        ),
        Kind.IMAGE_ADDED: ("an image was stored", ("sha256", "bytes", "file_version")),
        Kind.IMAGE_REMOVED: ("an image was removed", ("sha256",)),
        Kind.IMAGE_CORRUPT: ("a stored image is not what was stored", ("sha256",)),
        Kind.REQUEST_ACCEPTED: ("a service request was accepted for a device", ("request", "sha256", "warning")),
        Kind.REQUEST_REFUSED: ("a service request was refused, wholly or for a device", ("request", "reason")),
        Kind.UPDATE_STATE: ("an update changed its state, or says that it is unverified", ("from", "to", "reason")),
        Kind.OTA_NOTIFIED: ("Image Notify went out", ("file_version",)),
        Kind.OTA_QUERIED: ("Query Next Image was answered", ("status", "file_version")),
        Kind.OTA_PROGRESS: ("a transfer moved on", ("offset", "bytes")),
        Kind.OTA_TRANSFER_ENDED: ("a transfer ended", ("outcome", "reason", "blocks", "bytes", "seconds")),
        Kind.OTA_ACTIVATION_GIVEN: ("a device was told when to activate", ("at",)),
        Kind.TUNNEL_OPENED: ("a device opened a tunnel", ("tunnel",)),
        Kind.TUNNEL_CLOSED: ("a tunnel was closed", ("tunnel", "reason")),
        Kind.MESSAGE_QUEUED: (
            "a GBCS message for a device waits for its tunnel",
            ("message", "message_code", "request"),
        ),
        Kind.MESSAGE_DELIVERED: ("a device took a GBCS message", ("message", "message_code", "request")),
        Kind.MESSAGE_FAILED: (
            "a GBCS message for a device will not be sent any more",
            ("message", "message_code", "request", "state", "reason"),
        ),
        Kind.RESPONSE_RECEIVED: ("a response of a device was taken", ("use_case", "outcome", "msg_id", "verified")),
        Kind.ALERT_RAISED: ("the hub made and signed an alert", ("use_case", "alert_code", "outcome", "msg_id")),
        Kind.ALERT_RECEIVED: (
            "an alert of a device was taken",
            ("use_case", "alert_code", "outcome", "msg_id", "verified"),
        ),
        Kind.ALERT_DELIVERED: ("an alert was acknowledged by the receiver above", ("msg_id",)),
        Kind.ALARM: ("something that a person should look at", ("reason",)),
    }
)
"""Of each kind: what it says, and the fields it carries besides time, device and update. Fields may be added."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened. `utc` is kept in whole milliseconds, `update` is the number of the update.

    Raises UsageError for a value or a field name that has no place in a trace.
    """

    utc: UtcSeconds
    kind: Kind
    device: Eui64 | None = None
    update: int | None = None
    fields: Mapping[str, Value] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 <= self.utc < _LATEST_UTC:
            raise UsageError(f"{self.utc!r} is no time that a trace can carry")
        object.__setattr__(self, "utc", UtcSeconds(_milliseconds(self.utc) / 1000))
        for name, value in self.fields.items():
            if name in FORBIDDEN_FIELDS:
                raise UsageError(f"field {name!r} may not be traced: keys stay out of the trace")
            _check_value(name, value)
        object.__setattr__(self, "fields", MappingProxyType(dict(self.fields)))

    def to_json(self) -> str:
        """One line of printable ASCII, with the keys sorted: the same event is always the same text."""
        record: dict[str, object] = {"schema": SCHEMA, "utc": utc_text(self.utc), "kind": self.kind.value}
        if self.device is not None:
            record["device"] = format_eui64(self.device)
        if self.update is not None:
            record["update"] = self.update
        if self.fields:
            record["fields"] = dict(self.fields)
        line = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
        return line.replace("\x7f", "\\u007f")  # the one control character that json leaves as it is

    @classmethod
    def from_json(cls, line: str) -> "Event":
        """Read one line. Raises MalformedError for anything that `to_json` cannot have written."""
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise MalformedError("a line of the trace is not JSON") from error
        if not isinstance(record, dict):
            raise MalformedError("a line of the trace is not a JSON object")
        if record.get("schema") == 1:
            record = _from_schema_1(record)
        if record.get("schema") != SCHEMA:
            raise MalformedError(f"trace schema {record.get('schema')!r} is not {SCHEMA}", field="schema")
        unknown = record.keys() - {"schema", "utc", "kind", "device", "update", "fields"}
        if unknown:
            raise MalformedError("unknown member", field=min(unknown))
        return cls._from_record(record)

    @classmethod
    def _from_record(cls, record: dict[str, object]) -> "Event":
        device, update, fields = record.get("device"), record.get("update"), record.get("fields", {})
        if isinstance(update, bool) or not isinstance(update, int | None):
            raise MalformedError("the update is not a number", field="update")
        if not isinstance(fields, dict):
            raise MalformedError("the fields are not an object", field="fields")
        try:
            return cls(
                utc=_parse_utc(str(record.get("utc"))),
                kind=Kind(str(record.get("kind"))),
                device=None if device is None else parse_eui64(str(device)),
                update=update,
                fields={name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()},
            )
        except (ValueError, UsageError) as error:
            raise MalformedError(f"a line of the trace does not hold: {error}") from error


def _from_schema_1(record: dict[str, object]) -> dict[str, object]:
    """Stores of earlier versions hold such records, in which an update was called a job."""
    renamed = {{"job": "update"}.get(name, name): value for name, value in record.items()}
    kind = Kind.UPDATE_STATE.value if renamed.get("kind") == "job.state" else renamed.get("kind")
    return renamed | {"schema": SCHEMA, "kind": kind}


def _check_value(name: str, value: object) -> None:
    match value:
        case None | bool() | str() | int():
            return
        case float() if math.isfinite(value):
            return
        case tuple() if not any(isinstance(item, tuple) for item in value):
            for item in value:
                _check_value(name, item)
        case _:
            raise UsageError(f"field {name!r} holds {type(value).__name__}, which a trace does not carry")


def utc_text(utc: UtcSeconds) -> str:
    """As events write it, in milliseconds; such texts sort as their times do."""
    moment = _EPOCH + timedelta(milliseconds=_milliseconds(utc))
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _parse_utc(text: str) -> UtcSeconds:
    utc = UtcSeconds((datetime.fromisoformat(text).replace(tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1) / 1000)
    if utc_text(utc) != text:
        raise ValueError(f"{text!r} is not how a trace writes a time")
    return utc


def _milliseconds(utc: UtcSeconds) -> int:
    return round(utc * 1000)
