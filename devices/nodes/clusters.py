"""The small clusters of an emulated device: Basic, Time, and the mirror that a GSME looks at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from devices.nodes.cluster import Cluster, Discover, Effects, Send, Signal
from devices.wire import time_cluster, zcl
from devices.wire.zcl import DataType, General, ZclFrame

if TYPE_CHECKING:
    from collections.abc import Callable

    from devices.nodes.cluster import Clock
    from devices.nodes.settings import DeviceSettings

BASIC = 0x0000  # ZCL8 3.2
METERING = 0x0702  # HG; Zigbee Smart Energy's Metering cluster

MIRROR_FLAGS = 0x0000  # HG: FunctionalNotificationFlags, bitmap32, an attribute of the client side of Metering
NEW_OTA_FIRMWARE = 1 << 0  # HG
TUNNEL_MESSAGE_PENDING = 1 << 21  # HG; SL-CHF

_ATTEMPTS = 3  # our choice: then the device goes by its own clock, and asks less often
_RETRY_S = 10.0  # our choice
_LATER_S = 300.0  # our choice
_INTERVAL_S = 24 * 3600.0  # our choice: a clock that was set is set again every day
_MIRROR_ANSWER_S = 10.0  # our choice: a GSME goes back to sleep where nobody answers


class BasicCluster(Cluster):
    """Server of Basic (ZCL8 3.2): who made the device, and what runs on it."""

    def __init__(self, settings: DeviceSettings, file_version: int = 0) -> None:
        self._settings = settings
        self._file_version = file_version

    def attributes(self) -> tuple[zcl.Attribute, ...]:
        settings, version = self._settings, self._file_version
        return (  # ZCL8 table 3-7
            zcl.Attribute(0x0000, DataType.UINT8, 8),  # ZCLVersion
            zcl.Attribute(0x0001, DataType.UINT8, version & 0xFF),  # ApplicationVersion
            zcl.Attribute(0x0002, DataType.UINT8, 2),  # StackVersion
            zcl.Attribute(0x0003, DataType.UINT8, settings.hardware_version & 0xFF),  # HWVersion
            zcl.Attribute(0x0004, DataType.CHARACTER_STRING, settings.manufacturer_name),
            zcl.Attribute(0x0005, DataType.CHARACTER_STRING, settings.model_identifier),
            zcl.Attribute(0x0007, DataType.ENUM8, 0x01 if settings.poll_interval_s is None else 0x03),  # PowerSource
            zcl.Attribute(0x4000, DataType.CHARACTER_STRING, f"{version:08X}"),  # SWBuildID
        )


class TimeCluster(Cluster):
    """Client of Time: sets the device's clock. One that does not ask only takes what it is told."""

    from_server = True
    deadline: float | None = None
    expects_answer = False

    def __init__(self, clock: Clock, next_sequence: Callable[[], int], *, asks: bool = True) -> None:
        self._clock = clock
        self._next_sequence = next_sequence
        self._asks = clock.awaited = asks
        self._attempts = 0

    def start(self, now: float) -> Effects:
        return self.handle_deadline(now) if self._asks else []

    def handle_deadline(self, now: float) -> Effects:
        """Ask."""
        self._attempts += 1
        self.expects_answer = self._attempts <= _ATTEMPTS
        self.deadline = now + (_RETRY_S if self.expects_answer else _LATER_S)
        if self._attempts < _ATTEMPTS:
            return [Discover()]
        self._clock.awaited = False
        return [Discover(), Signal.CLOCK_SETTLED]

    def found(self, endpoint: int | None, now: float) -> Effects:
        del now
        if endpoint is None:
            return []
        read = ZclFrame(self._next_sequence(), General.READ_ATTRIBUTES, time_cluster.read_time(), False)
        return [Send(read, endpoint)]

    def receive_attributes(self, payload: bytes, now: float) -> Effects:
        zigbee_time = time_cluster.parse_time(payload)
        if zigbee_time is None:
            return []
        self._clock.set(zigbee_time, now)
        self._attempts = 0
        self.expects_answer = False
        self.deadline = now + _INTERVAL_S
        return [Signal.CLOCK_SETTLED]


class MirrorCluster(Cluster):
    """Server of Metering, of which nothing is emulated but this: it reads its mirror's flags in the hub, and says so.

    They are how a sleepy GSME learns what waits for it. They belong to the client side of the cluster, so the device,
    whose side is the server, asks in the server's direction.
    """

    deadline: float | None = None
    expects_answer = False

    def __init__(self, interval_s: float, next_sequence: Callable[[], int]) -> None:
        self._interval_s = interval_s
        self._next_sequence = next_sequence

    def start(self, now: float) -> Effects:
        self.expects_answer = True
        self.deadline = now + min(self._interval_s, _MIRROR_ANSWER_S)
        return [Discover()]

    def handle_deadline(self, now: float) -> Effects:
        if not self.expects_answer:
            return self.start(now)
        self._sleep(now)  # nobody answered
        return []

    def _sleep(self, now: float) -> None:
        self.expects_answer = False
        self.deadline = now + self._interval_s

    def found(self, endpoint: int | None, now: float) -> Effects:
        del now
        if endpoint is None:
            return []
        wanted = zcl.read_attributes((MIRROR_FLAGS,))
        return [Send(ZclFrame(self._next_sequence(), General.READ_ATTRIBUTES, wanted, False, True), endpoint)]

    def receive_attributes(self, payload: bytes, now: float) -> Effects:
        flags = zcl.parse_read_attributes_response(payload).get(MIRROR_FLAGS)
        if not isinstance(flags, int):
            return []
        self._sleep(now)
        signals = {NEW_OTA_FIRMWARE: Signal.IMAGE_WAITS, TUNNEL_MESSAGE_PENDING: Signal.MESSAGE_WAITS}
        return [signal for flag, signal in signals.items() if flags & flag]
