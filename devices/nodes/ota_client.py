"""The client side of the OTA Upgrade cluster (ZCL8 11), sans I/O: frames and the time go in, effects come out.

Its three stories are `ota_query`, `ota_download` and `ota_activation`. How it moves is in `ota_states`, what it makes
of answers and silences is in its `Personality`, what it has stored is in `ImageBanks`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from devices.nodes import events
from devices.nodes.cluster import Cluster, Discover, Effects, Signal
from devices.nodes.ota_activation import ImageActivation
from devices.nodes.ota_download import ImageDownload
from devices.nodes.ota_machine import OtaMachine
from devices.nodes.ota_query import ImageQuery
from devices.nodes.ota_states import UPGRADE_STATUS, Event, State
from devices.nodes.personality import Resume
from devices.stack.interface import COORDINATOR
from devices.wire import ota, zcl
from devices.wire.zcl import Status, ZclFrame

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from devices.nodes.cluster import Clock
    from devices.nodes.image_bank import ImageBanks
    from devices.nodes.settings import FirmwareSettings
    from devices.stack.interface import ApsIndication

_UNKNOWN = 0xFFFF_FFFF  # ZCL8 11.10.2, 11.10.5: the default of offset and downloaded version
_UNKNOWN_SERVER = 0xFFFF_FFFF_FFFF_FFFF  # ZCL8 11.10.1
_ZIGBEE_PRO = 0x0002  # ZCL8 11.4.2.8
_EXPECTING = frozenset({State.QUERYING, State.FETCHING, State.ENDING, State.FAILING})


class OtaClient(Cluster):
    """From one boot to the next."""

    from_server = True

    def __init__(
        self,
        settings: FirmwareSettings,
        banks: ImageBanks,
        random: Random,
        *,
        clock: Clock,
        next_sequence: Callable[[], int],
    ) -> None:
        if settings.personality.resume is Resume.FROM_START:
            banks.discard()
        self._settings = settings
        self._personality = settings.personality
        self._banks = banks
        self._machine = OtaMachine(settings, banks, random, clock, next_sequence)
        self._activation = ImageActivation(self._machine)
        self._download = ImageDownload(self._machine, self._activation)
        self._query = ImageQuery(self._machine, self._download)
        self._server = _UNKNOWN_SERVER
        self._current_version = banks.running_header().file_version

    @property
    def state(self) -> State:
        return self._machine.state

    @property
    def deadline(self) -> float | None:
        return self._machine.deadline

    # Life on the network.

    def start(self, now: float) -> Effects:
        """The device is on its network and may look for its server."""
        machine = self._machine
        if not machine.go(Event.STARTED) and machine.state is not State.SEEKING:
            return []  # a rejoin in mid-download changes nothing
        machine.deadline = now + self._personality.discovery_interval_s
        return [Discover()]

    def stop(self) -> None:
        """The device lost its network. What is stored stays; a countdown or a hold starts over from Upgrade End."""
        self._machine.go(Event.STOPPED)
        self._machine.deadline = None
        self._activation.start_over()

    def found(self, endpoint: int | None, now: float) -> Effects:
        if endpoint is None:
            return []  # it asks again at its deadline
        self._machine.endpoint = endpoint
        return [events.ServerFound(endpoint), *self._query.server_found(now)]

    def signalled(self, signal: Signal, now: float) -> Effects:
        """The device may learn of an image by another way than Image Notify."""
        waits = signal is Signal.IMAGE_WAITS and self.state in {State.IDLE, State.EXTERNAL}
        return self._query.ask(now, periodic=False) if waits else []

    @property
    def expects_answer(self) -> bool:
        return self.state in _EXPECTING

    def attributes(self) -> tuple[zcl.Attribute, ...]:
        """Those of the cluster's client side (ZCL8 11.10)."""
        kind, identifier = zcl.DataType, ota.AttributeId
        download = self._machine.wanted or self._banks.download
        whole = download is not None and self._banks.offset == download.size_bytes
        waits_for_more = self._download.waits_for_more
        status = ota.ImageUpgradeStatus.WAIT_FOR_MORE if waits_for_more else UPGRADE_STATUS[self.state]
        return (
            zcl.Attribute(identifier.UPGRADE_SERVER_ID, kind.EUI64, self._server),
            zcl.Attribute(identifier.FILE_OFFSET, kind.UINT32, self._banks.offset if download else _UNKNOWN),
            zcl.Attribute(identifier.CURRENT_FILE_VERSION, kind.UINT32, self._current_version),
            zcl.Attribute(identifier.CURRENT_ZIGBEE_STACK_VERSION, kind.UINT16, _ZIGBEE_PRO),
            zcl.Attribute(
                identifier.DOWNLOADED_FILE_VERSION,
                kind.UINT32,
                download.image.file_version if download is not None and whole else _UNKNOWN,
            ),
            zcl.Attribute(identifier.DOWNLOADED_ZIGBEE_STACK_VERSION, kind.UINT16, _ZIGBEE_PRO if whole else 0xFFFF),
            zcl.Attribute(identifier.IMAGE_UPGRADE_STATUS, kind.ENUM8, status),
            zcl.Attribute(identifier.MANUFACTURER_ID, kind.UINT16, self._settings.manufacturer_code),
            zcl.Attribute(identifier.IMAGE_TYPE_ID, kind.UINT16, self._settings.image_type),
            zcl.Attribute(identifier.MINIMUM_BLOCK_PERIOD, kind.UINT16, self._download.minimum_period),
            zcl.Attribute(identifier.UPGRADE_ACTIVATION_POLICY, kind.ENUM8, self._personality.activation_policy),
            zcl.Attribute(identifier.UPGRADE_TIMEOUT_POLICY, kind.ENUM8, self._personality.timeout_policy),
        )

    # What comes in.

    def receive(self, frame: ZclFrame, indication: ApsIndication, now: float) -> tuple[int | None, Effects]:
        if indication.source != COORDINATOR:
            return Status.NOT_AUTHORIZED, []
        if indication.source_ieee is not None:
            self._server = indication.source_ieee
        match frame.command:
            case ota.Command.IMAGE_BLOCK_RESPONSE:
                return self._download.answered(frame.payload, now)
            case ota.Command.UPGRADE_END_RESPONSE:
                return self._activation.answered(ota.UpgradeEndResponse.from_bytes(frame.payload), now)
            case ota.Command.QUERY_NEXT_IMAGE_RESPONSE:
                return Status.SUCCESS, self._query.answered(ota.QueryNextImageResponse.from_bytes(frame.payload), now)
            case ota.Command.IMAGE_NOTIFY:
                notify = ota.ImageNotify.from_bytes(frame.payload)
                return Status.SUCCESS, self._query.notified(notify, indication, now)
            case _:
                return Status.UNSUP_CLUSTER_COMMAND, []

    def receive_default_response(self, sequence: int, response: zcl.DefaultResponse, now: float) -> Effects:
        """The server answers a request with nothing but a status. Which of several it means does not matter."""
        del sequence
        match response.command:
            case ota.Command.QUERY_NEXT_IMAGE_REQUEST if self.state is State.QUERYING:
                return self._query.nothing_offered(now)
            case ota.Command.IMAGE_BLOCK_REQUEST if self.state is State.FETCHING:
                return self._download.default_response(response.status, now)
            case ota.Command.IMAGE_PAGE_REQUEST if self.state is State.FETCHING:
                return self._download.page_refused(response.status, now)
            case ota.Command.UPGRADE_END_REQUEST if self.state is State.FAILING:
                return self._download.failure_told(now)
            case ota.Command.UPGRADE_END_REQUEST:
                return self._activation.cancelled(response.status, now)
            case _:
                return []

    def handle_deadline(self, now: float) -> Effects:
        machine = self._machine
        if machine.deadline is None or now < machine.deadline:
            return []
        machine.deadline = None
        match machine.state:
            case State.SEEKING:
                machine.deadline = now + self._personality.discovery_interval_s
                return [Discover()]
            case State.IDLE:
                return self._query.due(now)
            case State.QUERYING:
                return self._query.missed(now)
            case State.FETCHING:
                return self._download.missed(now)
            case State.PAUSED:
                return self._download.resume(now)
            case State.FAILING:
                return self._download.failure_missed(now)
            case State.ENDING:
                return self._activation.missed(now)
            case State.HELD:
                return self._activation.hold_over(now)
            case State.COUNTING:
                return self._activation.activate(by_itself=False)
            case State.OFF | State.EXTERNAL | State.ACTIVATING:
                return []
            case _:
                assert_never(machine.state)
