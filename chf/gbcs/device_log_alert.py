"""CS14: the hub tells the ACB that its device log has changed, and what is in it now. A DLMS data notification.

The layout was read from one reference message of a public test set, in which two octet strings have no name. One, of 8
octets, stands before the entries; the other, of 16 octets, is in each entry, and holds an install code there. What the
first means is not public, and a hub that does not keep install codes has none to tell: both are 0 here (our choice).
Those of others are read and written back.
"""

from dataclasses import dataclass, field
from typing import Self

from chf.errors import MalformedMessageError
from chf.gbcs.codes import AlertCode
from chf.gbcs.cursor import Cursor
from chf.gbcs.dlms import DATE_TIME, invoke_id, read_invoke_id
from chf.gbcs.message import DATE_TIME_OCTETS

_NOTIFICATION = 0x0F  # DLMS data-notification
_NO_DATE_TIME_STRUCTURE_OF_3_LONG_UNSIGNED = bytes.fromhex("00020312")
_STRUCTURE_OF_3 = bytes.fromhex("0203")
_UNNAMED_OCTETS = 8
_UNNAMED = bytes.fromhex("0908")
_ARRAY = 0x01
_ENTRY = bytes.fromhex("02020908")
_EUI64_OCTETS = 8
_DETAILS = bytes.fromhex("0910")
_DETAILS_OCTETS = 16
MOST_ENTRIES = 127  # of a length in one octet; a hub's log has room for 16


@dataclass(frozen=True, slots=True)
class DeviceLogChangedAlert:
    """`devices` are those of the log after the change. What has no name is kept, and never shown: some is a secret."""

    counter: int
    """The low 24 bits of the originator's."""
    changed: bytes
    """COSEM date-time, 12 octets: the alert's."""
    devices: tuple[int, ...]
    logged: bytes = b""
    """The log's own date-time; empty where it is the alert's again."""
    unnamed: bytes = field(default=bytes(_UNNAMED_OCTETS), repr=False)
    details: tuple[bytes, ...] = field(default=(), repr=False)
    """16 octets of each device; none where all are 0."""

    @property
    def alert_code(self) -> AlertCode:
        return AlertCode.CHF_DEVICE_LOG_CHANGED

    def to_bytes(self) -> bytes:
        head = bytes((_NOTIFICATION,)) + invoke_id(self.counter) + _NO_DATE_TIME_STRUCTURE_OF_3_LONG_UNSIGNED
        logged = DATE_TIME + (self.logged or self.changed)
        log = _STRUCTURE_OF_3 + logged + _UNNAMED + self.unnamed + bytes((_ARRAY, len(self.devices)))
        details = self.details or (bytes(_DETAILS_OCTETS),) * len(self.devices)
        entries = b"".join(
            _ENTRY + device.to_bytes(_EUI64_OCTETS, "big") + _DETAILS + octets
            for device, octets in zip(self.devices, details, strict=True)
        )
        return head + self.alert_code.to_bytes(2, "big") + DATE_TIME + self.changed + log + entries

    @classmethod
    def read(cls, cursor: Cursor) -> Self:
        cursor.expect(bytes((_NOTIFICATION,)), "data notification")
        counter = read_invoke_id(cursor)
        cursor.expect(_NO_DATE_TIME_STRUCTURE_OF_3_LONG_UNSIGNED, "data notification head")
        cursor.expect(AlertCode.CHF_DEVICE_LOG_CHANGED.to_bytes(2, "big"), "alertCode")
        cursor.expect(DATE_TIME, "date-time head")
        changed = cursor.take(DATE_TIME_OCTETS, "date-time")
        cursor.expect(_STRUCTURE_OF_3 + DATE_TIME, "log head")
        logged = cursor.take(DATE_TIME_OCTETS, "date-time of the log")
        cursor.expect(_UNNAMED, "octet string head")
        unnamed = cursor.take(_UNNAMED_OCTETS, "octet string")
        cursor.expect(bytes((_ARRAY,)), "entries")
        offset, count = cursor.offset, cursor.u8("count of entries")
        if count > MOST_ENTRIES:
            raise MalformedMessageError(f"{count} entries in one alert", offset=offset, field="count of entries")
        entries = [_read_entry(cursor) for _ in range(count)]
        details = tuple(octets for _, octets in entries)
        return cls(
            counter,
            changed,
            tuple(device for device, _ in entries),
            b"" if logged == changed else logged,
            unnamed,
            details if any(map(any, details)) else (),
        )


def _read_entry(cursor: Cursor) -> tuple[int, bytes]:
    cursor.expect(_ENTRY, "entry head")
    device = cursor.uint(_EUI64_OCTETS, "device")
    cursor.expect(_DETAILS, "details head")
    return device, cursor.take(_DETAILS_OCTETS, "details")
