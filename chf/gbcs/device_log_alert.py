"""CS14: the hub tells the ACB that its device log has changed, and what is in it now. A DLMS data notification.

The fields are those of GBCS 3.1, use case CS14: what `backup_PAN` of the class "ZigBee network control" returns. Their
octets were read from one reference message of a public test set, which holds in `hashed_TC_link_key` an install code.
"""

from dataclasses import dataclass, field
from typing import Self

from chf.errors import MalformedMessageError
from chf.gbcs.codes import AlertCode
from chf.gbcs.cursor import Cursor
from chf.gbcs.dlms import DATE_TIME, notification_head, read_notification_head
from chf.gbcs.message import DATE_TIME_OCTETS

_STRUCTURE_OF_3 = bytes.fromhex("0203")  # DLMS structure (0x02) of 3, RTDS
_EUI64 = bytes.fromhex("0908")  # DLMS octet string (0x09) of 8, RTDS
_EUI64_OCTETS = 8  # IEEE EUI-64
_ARRAY = 0x01  # DLMS array, RTDS
_STRUCTURE_OF_2 = bytes.fromhex("0202")  # RTDS
_OCTET_STRING = bytes.fromhex("09")  # RTDS
_HASH_OCTETS = 16  # AES-MMO, Zigbee R23 4.7.4.1.2
MOST_ENTRIES = 127  # of a length in one octet; a hub's log has room for 16 (GBCS CS14: devices_to_backup[0..16])


@dataclass(frozen=True, slots=True)
class LoggedDevice:
    """GBCS CS14, `device_to_backup`. The hash is empty for a device that has established no link key."""

    eui64: int
    hashed_link_key: bytes = field(default=b"", repr=False)
    """AES-MMO of the link key (Zigbee R23 4.7.4.1.2). A device takes it for a key, should its hub be replaced."""


@dataclass(frozen=True, slots=True)
class DeviceLogChangedAlert:
    """`devices` are those of the log after the change."""

    counter: int
    """The low 24 bits of the originator's."""
    changed: bytes
    """COSEM date-time, 12 octets: the alert's."""
    extended_pan_id: int
    devices: tuple[LoggedDevice, ...]
    logged: bytes = b""
    """The log's own date-time; empty where it is the alert's again."""

    @property
    def alert_code(self) -> AlertCode:
        return AlertCode.CHF_DEVICE_LOG_CHANGED

    def to_bytes(self) -> bytes:
        head = notification_head(self.counter)
        alert = self.alert_code.to_bytes(2, "big") + DATE_TIME + self.changed
        log = _STRUCTURE_OF_3 + DATE_TIME + (self.logged or self.changed)
        network = _EUI64 + self.extended_pan_id.to_bytes(_EUI64_OCTETS, "big")
        entries = b"".join(map(_entry, self.devices))
        return head + alert + log + network + bytes((_ARRAY, len(self.devices))) + entries

    @classmethod
    def read(cls, cursor: Cursor) -> Self:
        counter = read_notification_head(cursor)
        cursor.expect(AlertCode.CHF_DEVICE_LOG_CHANGED.to_bytes(2, "big"), "alertCode")
        cursor.expect(DATE_TIME, "date-time head")
        changed = cursor.take(DATE_TIME_OCTETS, "date-time")
        cursor.expect(_STRUCTURE_OF_3 + DATE_TIME, "log head")
        logged = cursor.take(DATE_TIME_OCTETS, "date-time of the log")
        cursor.expect(_EUI64, "extended PAN id head")
        extended_pan_id = cursor.uint(_EUI64_OCTETS, "extended PAN id")
        cursor.expect(bytes((_ARRAY,)), "entries")
        offset, count = cursor.offset, cursor.u8("count of entries")
        if count > MOST_ENTRIES:
            raise MalformedMessageError(f"{count} entries in one alert", offset=offset, field="count of entries")
        devices = tuple(_read_entry(cursor) for _ in range(count))
        return cls(counter, changed, extended_pan_id, devices, b"" if logged == changed else logged)


def _entry(device: LoggedDevice) -> bytes:
    hashed = device.hashed_link_key
    eui64 = _EUI64 + device.eui64.to_bytes(_EUI64_OCTETS, "big")
    return _STRUCTURE_OF_2 + eui64 + _OCTET_STRING + bytes((len(hashed),)) + hashed


def _read_entry(cursor: Cursor) -> LoggedDevice:
    cursor.expect(_STRUCTURE_OF_2 + _EUI64, "entry head")
    device = cursor.uint(_EUI64_OCTETS, "device")
    cursor.expect(_OCTET_STRING, "hashed link key head")
    offset, length = cursor.offset, cursor.u8("length of the hashed link key")
    if length not in {0, _HASH_OCTETS}:
        raise MalformedMessageError(f"a hashed link key of {length} octets", offset=offset, field="hashed link key")
    return LoggedDevice(device, cursor.take(length, "hashed link key"))
