"""The Time cluster (0x000A), server side: what the hub answers to a device that asks for the time.

The hub is a master clock whose time supersedes others'; nobody sets it over the air. Local time is that of Great
Britain. Server side only: the hub asks nobody for the time. While its own clock is not trusted it is no master, and
every time reads 0xFFFFFFFF, which is unknown in each of these types (ZCL8 table 2-10).
"""

from datetime import UTC, datetime, timedelta

from chf.clock import INVALID_ZIGBEE_TIME, Now, UtcSeconds, to_zigbee_time
from chf.zcl.attributes import DataType, Value, answer_read

CLUSTER = 0x000A  # ZCL8 3.12

_MASTER_AND_SUPERSEDING = 0x09  # ZCL8 3.12.2.2.2: bits 0 and 3
_SUMMER_TIME_SHIFT_S = 3600
_SUNDAY = 6  # datetime.weekday()


def answer(octets: bytes, now: Now, last_set: UtcSeconds | None = None) -> bytes | None:
    """The ZCL frame that answers `octets` on this cluster, or None where nothing is to be said. Never raises."""
    return answer_read(attributes(now, last_set), octets)


def attributes(now: Now, last_set: UtcSeconds | None = None) -> dict[int, Value]:
    """ZCL8 table 3-57, as it reads at `now`. `last_set` is when the hub's own clock was last set, where it knows."""
    time = start = end = local = set_at = INVALID_ZIGBEE_TIME
    if now.trusted:
        begins, ends = summer_time(datetime.fromtimestamp(now.utc, UTC).year)
        shift = _SUMMER_TIME_SHIFT_S if begins <= now.utc < ends else 0
        time, start, end = now.zigbee_time(), to_zigbee_time(begins), to_zigbee_time(ends)
        local = to_zigbee_time(UtcSeconds(now.utc + shift))
        set_at = INVALID_ZIGBEE_TIME if last_set is None else to_zigbee_time(last_set)
    return {
        0x0000: Value(DataType.UTC_TIME, time),
        0x0001: Value(DataType.BITMAP8, _MASTER_AND_SUPERSEDING if now.trusted else 0),
        0x0002: Value(DataType.INT32, 0),
        0x0003: Value(DataType.UINT32, start),
        0x0004: Value(DataType.UINT32, end),
        0x0005: Value(DataType.INT32, _SUMMER_TIME_SHIFT_S),
        0x0006: Value(DataType.UINT32, time),
        0x0007: Value(DataType.UINT32, local),
        0x0008: Value(DataType.UTC_TIME, set_at),
        0x0009: Value(DataType.UTC_TIME, INVALID_ZIGBEE_TIME),
    }


def summer_time(year: int) -> tuple[UtcSeconds, UtcSeconds]:
    """British Summer Time: from the last Sunday of March to that of October, 01:00 UTC (Summer Time Order 2002)."""
    return _last_sunday(year, 3), _last_sunday(year, 10)


def _last_sunday(year: int, month: int) -> UtcSeconds:
    last = datetime(year, month, 31, 1, tzinfo=UTC)
    return UtcSeconds((last - timedelta(days=(last.weekday() - _SUNDAY) % 7)).timestamp())
