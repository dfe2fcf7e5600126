"""The client side of the OTA Upgrade cluster (ZCL8 11), sans I/O: frames and the time go in, effects come out.

How it moves is in `ota_states`, what it makes of answers and silences is in its `Personality`, what it has stored is in
`ImageBanks`.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, assert_never

from devices.nodes import events
from devices.nodes.cluster import Cluster, Discover, Effects, Restart, Send, Signal, is_unicast
from devices.nodes.image_bank import Download
from devices.nodes.image_check import check_image, receipt
from devices.nodes.journal import Key
from devices.nodes.ota_fetch import Fetch, Taken
from devices.nodes.ota_states import TRANSITIONS, UPGRADE_STATUS, Event, State
from devices.nodes.personalities import Resume
from devices.nodes.settings import EndFault
from devices.stack.interface import COORDINATOR
from devices.wire import ota, zcl
from devices.wire.ota_file import BadImageError
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
    deadline: float | None = None

    def __init__(
        self,
        settings: FirmwareSettings,
        banks: ImageBanks,
        random: Random,
        *,
        clock: Clock,
        next_sequence: Callable[[], int],
    ) -> None:
        self.state = State.OFF
        self._settings = settings
        self._personality = settings.personality
        self._banks = banks
        self._random = random
        self._clock = clock
        self._next_sequence = next_sequence
        self._endpoint = 0
        self._server = _UNKNOWN_SERVER
        self._current_version = banks.running_header().file_version
        self._wanted: Download | None = None  # the image that this is all about
        self._secured: bool | None = None
        self._misses = 0  # requests of the current kind in a row that nobody answered
        self._minimum_period = 0
        self._by_page = settings.page_bytes > 0  # until the server refuses pages
        self._fetch: Fetch | None = None
        self._failure = 0  # the status that Upgrade End tells while FAILING
        self._held_since: float | None = None
        self._reasks = 0
        self._waits_for_more = False
        self._progress_step = 1
        self._progress_next = 0

    # Life on the network.

    def start(self, now: float) -> Effects:
        """The device is on its network and may look for its server."""
        if not self._go(Event.STARTED) and self.state is not State.SEEKING:
            return []  # a rejoin in mid-download changes nothing
        self.deadline = now + self._personality.discovery_interval_s
        return [Discover()]

    def stop(self) -> None:
        """The device lost its network. What is stored stays; a countdown or a hold starts over from Upgrade End."""
        self._go(Event.STOPPED)
        self.deadline = None
        self._held_since = None

    def found(self, endpoint: int | None, now: float) -> Effects:
        if endpoint is None:
            return []  # it asks again at its deadline
        self._endpoint = endpoint
        effects: Effects = [events.ServerFound(endpoint)]
        if not self._go(Event.SERVER_FOUND):
            return effects
        self._misses = 0
        download = self._banks.download
        if download is not None and self._personality.resume is Resume.AT_OFFSET:
            return effects + self._proceed(download, now)
        self.deadline = now + self._settings.query_delay_s
        return effects

    def signalled(self, signal: Signal, now: float) -> Effects:
        """The device may learn of an image by another way than Image Notify."""
        waits = signal is Signal.IMAGE_WAITS and self.state in {State.IDLE, State.EXTERNAL}
        return self._query(now) if waits else []

    @property
    def expects_answer(self) -> bool:
        return self.state in _EXPECTING

    def attributes(self) -> tuple[zcl.Attribute, ...]:
        """Those of the cluster's client side (ZCL8 11.10)."""
        kind, identifier = zcl.DataType, ota.AttributeId
        download = self._wanted or self._banks.download
        whole = download is not None and self._banks.offset == download.size_bytes
        status = ota.ImageUpgradeStatus.WAIT_FOR_MORE if self._waits_for_more else UPGRADE_STATUS[self.state]
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
            zcl.Attribute(identifier.MINIMUM_BLOCK_PERIOD, kind.UINT16, self._minimum_period),
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
                response = ota.parse_image_block_response(frame.payload)
                return Status.SUCCESS, self._block_response(response, now)
            case ota.Command.UPGRADE_END_RESPONSE:
                return self._end_response(ota.UpgradeEndResponse.from_bytes(frame.payload), now)
            case ota.Command.QUERY_NEXT_IMAGE_RESPONSE:
                return Status.SUCCESS, self._query_response(ota.QueryNextImageResponse.from_bytes(frame.payload), now)
            case ota.Command.IMAGE_NOTIFY:
                notify = ota.ImageNotify.from_bytes(frame.payload)
                return Status.SUCCESS, self._notify(notify, indication, now)
            case _:
                return Status.UNSUP_CLUSTER_COMMAND, []

    def receive_default_response(self, sequence: int, response: zcl.DefaultResponse, now: float) -> Effects:
        """The server answers a request with nothing but a status. Which of several it means does not matter."""
        del sequence
        match response.command:
            case ota.Command.QUERY_NEXT_IMAGE_REQUEST if self.state is State.QUERYING:
                return self._nothing_offered(now)
            case ota.Command.IMAGE_BLOCK_REQUEST if self.state is State.FETCHING:
                if response.status in {Status.ABORT, Status.NO_IMAGE_AVAILABLE, Status.NOT_AUTHORIZED}:
                    return self._aborted(response.status, now)
                return [] if response.status == Status.SUCCESS else self._request_missed(now)
            case ota.Command.IMAGE_PAGE_REQUEST if self.state is State.FETCHING:
                return self._page_refused(response.status, now)
            case ota.Command.UPGRADE_END_REQUEST if self.state is State.FAILING:
                return self._failure_told(now)
            case ota.Command.UPGRADE_END_REQUEST if response.status != Status.SUCCESS:
                return self._cancelled(response.status, now)
            case _:
                return []

    def handle_deadline(self, now: float) -> Effects:
        if self.deadline is None or now < self.deadline:
            return []
        self.deadline = None
        match self.state:
            case State.SEEKING:
                self.deadline = now + self._personality.discovery_interval_s
                return [Discover()]
            case State.IDLE:
                return self._query(now)
            case State.QUERYING:
                return self._query_missed(now)
            case State.FETCHING:
                return self._request_missed(now)
            case State.PAUSED:
                self._go(Event.RESUME)
                return self._request(now)
            case State.FAILING:
                return self._failure_missed(now)
            case State.ENDING:
                return self._end_missed(now)
            case State.HELD:
                return self._hold_over(now)
            case State.COUNTING:
                return self._activate(by_itself=False)
            case State.OFF | State.EXTERNAL | State.ACTIVATING:
                return []
            case _:
                assert_never(self.state)

    # Query.

    def _notify(self, notify: ota.ImageNotify, indication: ApsIndication, now: float) -> Effects:
        if self.state not in {State.IDLE, State.EXTERNAL}:
            return []
        if not is_unicast(indication) and not self._answers_broadcast(notify):
            return []
        if self._personality.copies_notify_security:
            self._secured = indication.secured
        return self._query(now)

    def _answers_broadcast(self, notify: ota.ImageNotify) -> bool:
        """ZCL8 11.13.3.2: the fields fit, the version is another one, and the dice show QueryJitter or less."""
        return (
            notify.manufacturer in {None, ota.ANY_MANUFACTURER, self._settings.manufacturer_code}
            and notify.image_type in {None, ota.ANY_IMAGE_TYPE, self._settings.image_type}
            and notify.file_version != self._current_version
            and self._random.randint(1, 100) <= notify.jitter
        )

    def _query(self, now: float) -> Effects:
        if not self._go(Event.QUERY_DUE):
            return []
        self._waits_for_more = False
        self.deadline = now + self._personality.query_timeout_s
        current = ota.ImageId(self._settings.manufacturer_code, self._settings.image_type, self._current_version)
        request = ota.QueryNextImageRequest(current, self._settings.hardware_version)
        return [self._send(ota.Command.QUERY_NEXT_IMAGE_REQUEST, request.to_bytes())]

    def _query_missed(self, now: float) -> Effects:
        self._misses += 1
        if self._misses < self._personality.query_attempts:
            self._go(Event.NOTHING)
            return self._query(now)
        self._go(Event.SERVER_LOST)
        self._misses = 0
        self.deadline = now + self._personality.discovery_interval_s
        return [Discover()]

    def _query_response(self, response: ota.QueryNextImageResponse, now: float) -> Effects:
        if self.state is not State.QUERYING:
            return []
        image = response.image
        if (
            image is None
            or (image.manufacturer, image.image_type) != (self._settings.manufacturer_code, self._settings.image_type)
            or image.file_version == self._current_version
            or not 0 < response.size_bytes <= self._banks.bank_bytes
        ):
            return self._nothing_offered(now)
        offered = Download(image, response.size_bytes)
        if image.file_version < self._current_version and not self._personality.takes_downgrades:
            self._wanted = offered
            return self._fail(Status.INVALID_IMAGE, "an older version", now)
        return self._proceed(offered, now)

    def _nothing_offered(self, now: float) -> Effects:
        self._idle(Event.NOTHING, now)
        return []

    def _idle(self, event: Event, now: float) -> bool:
        """Wait for the next query, where this event ends what the client is at."""
        if not self._go(event):
            return False
        self._misses = 0
        self.deadline = now + self._settings.query_interval_s
        return True

    # Download.

    def _proceed(self, download: Download, now: float) -> Effects:
        """Fetch `download`: from its start, or from where the stored part of it ends."""
        banks = self._banks
        if download != banks.download:
            banks.begin(download)
        self._wanted = download
        self._misses = 0
        self._minimum_period = 0
        self._held_since = None
        self._reasks = 0
        if banks.offset == download.size_bytes:
            return self._complete(download, now)
        self._fetch = Fetch(download, banks, self._settings, by_page=self._by_page)
        self._progress_step = max(download.size_bytes // 100, 1)
        self._progress_next = banks.offset + self._progress_step
        self._go(Event.OFFERED)
        started = events.DownloadStarted(download.image.file_version, download.size_bytes, banks.offset)
        return [started, *self._request(now)]

    def _request(self, now: float) -> Effects:
        if self._fetch is None:
            return []
        command, payload = self._fetch.next_request(self._minimum_period)
        streaming = self._fetch.streaming
        self.deadline = now + (self._personality.page_timeout_s if streaming else self._personality.block_timeout_s)
        return [self._send(command, payload)]

    def _block_response(self, response: ota.ImageBlockResponse, now: float) -> Effects:
        fetch = self._fetch
        if fetch is None or (self.state is not State.FETCHING and self.state is not State.PAUSED):
            return []
        match response:
            case ota.ImageBlock():
                return self._block(fetch, response, now)
            case ota.WaitForData():
                return self._wait_for_data(fetch, response, now)
            case ota.BlockRefused(status):
                if status in {Status.ABORT, Status.NO_IMAGE_AVAILABLE}:
                    return self._aborted(status, now)
                return self._request_missed(now)
            case _:
                assert_never(response)

    def _block(self, fetch: Fetch, block: ota.ImageBlock, now: float) -> Effects:
        taken = fetch.take(block)
        if taken is Taken.IGNORED:
            return []
        self._misses = 0
        if taken is Taken.OUT_OF_STEP:
            return self._fail(Status.ABORT, "a page block out of step", now)
        if taken is Taken.COMPLETE:
            return self._complete(fetch.download, now)
        effects: Effects = []
        if self._banks.offset >= self._progress_next:
            self._progress_next = self._banks.offset + self._progress_step
            effects.append(events.DownloadProgress(self._banks.offset, fetch.download.size_bytes))
        if taken is Taken.STREAMING:
            self._go(Event.TAKEN)
            self.deadline = now + self._personality.page_timeout_s
            return effects
        stall = self._settings.faults.stalls_at_offset
        if stall is not None and self._banks.offset >= stall:
            self._go(Event.PAUSE)
            self.deadline = None
            return effects
        pause = max(self._settings.think_time_s, self._minimum_period * self._personality.period_unit.value)
        if pause > 0:
            self._go(Event.PAUSE)
            self.deadline = now + pause
            return effects
        self._go(Event.TAKEN)
        return effects + self._request(now)

    def _wait_for_data(self, fetch: Fetch, response: ota.WaitForData, now: float) -> Effects:
        """ZCL8 11.13.8: the same block again, later. It is an answer, so it is no error."""
        personality = self._personality
        self._misses = 0
        if response.minimum_period is not None:
            self._minimum_period = response.minimum_period
        wait = personality.until_data(response, self._time(now))
        fetch.leave_page()
        self._go(Event.PAUSE)
        self.deadline = now + max(wait, self._minimum_period * personality.period_unit.value)
        return []

    def _request_missed(self, now: float) -> Effects:
        """No answer in time, or one that is an error."""
        fetch = self._fetch
        if fetch is None or self.state is not State.FETCHING:
            return []
        if fetch.streaming and fetch.heard:
            fetch.streaming = False
            return self._request(now)
        self._misses += 1
        if self._misses >= self._personality.block_attempts:
            return self._fail(Status.ABORT, "no answer to its requests", now)
        if fetch.streaming:
            fetch.leave_page()
        effects: Effects = []
        if self._personality.lost_block_resets_offset and self._banks.offset:
            fetch.leave_page()
            self._banks.begin(fetch.download)
            effects.append(events.DownloadProgress(0, fetch.download.size_bytes))
        self._go(Event.PAUSE)
        self.deadline = now + self._personality.block_backoff_s
        return effects

    def _page_refused(self, status: int, now: float) -> Effects:
        fetch = self._fetch
        if fetch is None or status == Status.SUCCESS:
            return []
        if status not in {Status.UNSUP_CLUSTER_COMMAND, Status.UNSUP_GENERAL_COMMAND, Status.NOT_FOUND}:
            return self._request_missed(now)
        self._by_page = fetch.by_page = False  # ZCL8 11.13.7: page requests are optional for a server
        fetch.leave_page()
        return self._request(now)

    def _aborted(self, status: int, now: float) -> Effects:
        if not self._idle(Event.ABORTED, now):
            return []
        self._forget(keep=self._personality.keeps_partial_image)
        return [events.DownloadFailed("aborted by the server", status), Signal.DOWNLOAD_ENDED]

    # The end of a download, good or bad.

    def _complete(self, download: Download, now: float) -> Effects:
        octets = self._banks.downloaded()
        try:
            check_image(octets, download, self._settings)
        except BadImageError as error:
            return self._fail(Status.INVALID_IMAGE, str(error), now, receipt(octets, verified=False))
        if self._settings.faults.end is not None:
            fault = self._settings.faults.end
            self._waits_for_more = fault is EndFault.REQUIRE_MORE_IMAGE
            return self._fail(fault.value, "told to (a fault)", now)
        new = self._banks.pending() is None  # else it was told before, and this is only asked again
        if new:
            self._banks.seal(self._receipt(receipt(octets, verified=True)))
        self._go(Event.GOOD)
        self._fetch = None
        if not new:
            return self._ask_to_upgrade(now)
        version, size = download.image.file_version, download.size_bytes
        complete = events.DownloadComplete(version, size, hashlib.sha256(octets).digest())
        return [complete, Signal.DOWNLOAD_ENDED, *self._ask_to_upgrade(now)]

    def _receipt(self, record: bytes | None) -> dict[Key, bytes | None]:
        """What to write with a verdict: a device whose images are signed owes its supplier a receipt."""
        return {} if record is None or self._settings.image_signer is None else {Key.RECEIPT: record}

    def _fail(self, status: int, reason: str, now: float, receipt_record: bytes | None = None) -> Effects:
        """Tell the server that this download ends here."""
        self._go(Event.BAD)
        self._misses = 0
        self._failure = status
        self.deadline = now + self._personality.end_timeout_s
        keep = status == Status.ABORT and self._settings.faults.end is None and self._personality.keeps_partial_image
        told = self._upgrade_end(status)
        self._forget(keep=keep, also=self._receipt(receipt_record))
        return [events.DownloadFailed(reason, status), Signal.DOWNLOAD_ENDED, *told]

    def _failure_missed(self, now: float) -> Effects:
        self._misses += 1
        if self._misses >= self._personality.end_attempts:
            return self._failure_told(now)
        self.deadline = now + self._personality.end_timeout_s
        return self._upgrade_end(self._failure)

    def _failure_told(self, now: float) -> Effects:
        self._idle(Event.FAILURE_TOLD, now)
        return []

    def _forget(self, *, keep: bool, also: dict[Key, bytes | None] | None = None) -> None:
        self._fetch = None
        if not keep:
            self._banks.discard(also or {})

    def _upgrade_end(self, status: int) -> Effects:
        if self._wanted is None:
            return []
        request = ota.UpgradeEndRequest(status, self._wanted.image)
        return [self._send(ota.Command.UPGRADE_END_REQUEST, request.to_bytes())]

    # After a good download: when to activate.

    def _ask_to_upgrade(self, now: float) -> Effects:
        self.deadline = now + self._personality.end_timeout_s
        return self._upgrade_end(Status.SUCCESS)

    def _end_missed(self, now: float) -> Effects:
        personality = self._personality
        self._misses += 1
        if self._misses < personality.end_attempts:
            self._go(Event.ASK_AGAIN)
            return self._ask_to_upgrade(now)
        self._misses = 0
        limited = self._held_since is not None and personality.hold_limit_s is not None
        if personality.activates_when_unanswered and personality.timeout_policy == 0 and not limited:
            return self._activate(by_itself=True)
        self._go(Event.HOLD)
        asks = not limited or personality.hold_reasks is None or self._reasks < personality.hold_reasks
        self.deadline = self._hold_deadline(now + personality.end_retry_s if asks else None, now)
        return []

    def _end_response(self, response: ota.UpgradeEndResponse, now: float) -> tuple[int, Effects]:
        waiting = {State.ENDING, State.HELD, State.COUNTING, State.EXTERNAL}
        if self.state not in waiting or self._wanted is None or not response.names(self._wanted.image):
            return Status.SUCCESS, []
        personality = self._personality
        if self.state is State.COUNTING and not personality.countdown_can_change:
            refusal = personality.countdown_refusal
            return Status.SUCCESS if refusal is None else refusal, []
        if personality.answers_reset_misses:
            self._misses = 0
        if self._settings.faults.ignores_upgrade_time:
            return Status.SUCCESS, self._activate(by_itself=True)
        wait = personality.until_upgrade(response, self._time(now))
        if personality.activation_policy == 1:  # ZCL8 11.10.12
            self._go(Event.LEFT_TO_OTHERS)
            self.deadline = None
            return (Status.SUCCESS if wait is None else Status.NOT_AUTHORIZED), [events.Held(None)]
        if wait is None:
            held = response.upgrade_time == ota.WAIT_FOREVER
            return Status.SUCCESS, self._hold(now, personality.hold_reask_s if held else personality.bad_time_hold_s)
        if wait <= 0:
            return Status.SUCCESS, self._activate(by_itself=False)
        self._go(Event.SCHEDULED)
        self.deadline = now + wait
        return Status.SUCCESS, [events.ActivationDue(wait)]

    def _hold(self, now: float, reask_s: float) -> Effects:
        self._go(Event.HOLD)
        if self._held_since is None:
            self._held_since = now
        asks = self._personality.hold_reasks is None or self._reasks < self._personality.hold_reasks
        self.deadline = self._hold_deadline(now + reask_s if asks else None, now)
        return [events.Held(reask_s if asks else None)]

    def _hold_deadline(self, reask_at: float | None, now: float) -> float | None:
        """The next re-ask or, where the personality does not wait for ever, the end of its patience."""
        limit = self._personality.hold_limit_s
        if limit is None:
            return reask_at
        ends_at = (now if self._held_since is None else self._held_since) + limit
        return ends_at if reask_at is None else min(reask_at, ends_at)

    def _hold_over(self, now: float) -> Effects:
        limit = self._personality.hold_limit_s
        if limit is not None and self._held_since is not None and now >= self._held_since + limit:
            return self._activate(by_itself=True)
        self._go(Event.ASK_AGAIN)
        self._reasks += 1
        return self._ask_to_upgrade(now)

    def _cancelled(self, status: int, now: float) -> Effects:
        if not self._personality.cancel_by_default_response or not self._idle(Event.CANCELLED, now):
            return []
        # What others activate, others call off: the image stays for their command.
        self._forget(keep=self._personality.activation_policy == 1)
        return [events.Cancelled(status)]

    def _activate(self, *, by_itself: bool) -> Effects:
        if self._wanted is None or not self._go(Event.NOW):
            return []
        self.deadline = None
        self._banks.request_trial()
        return [events.Activating(self._wanted.image.file_version, by_itself), Restart()]

    def _time(self, now: float) -> int | None:
        """ZigBee time, for a client of the Time cluster that knows it."""
        return self._clock.known(now) if self._personality.has_time else None

    def _go(self, event: Event) -> bool:
        """Move as `ota_states` says; False where this event means nothing in this state."""
        target = TRANSITIONS[self.state].get(event)
        if target is None:
            return False
        self.state = target
        return True

    def _send(self, command: ota.Command, payload: bytes) -> Send:
        return Send(ZclFrame(self._next_sequence(), command, payload), self._endpoint, secured=self._secured)
