"""How an OTA client loads an image: requests, blocks, silences and refusals, the check at the end, and its failures.

Which bytes to ask for, and which blocks are of use, is `ota_fetch`'s.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, assert_never

from devices.nodes import events
from devices.nodes.cluster import Effects, Signal
from devices.nodes.image_check import check_image, receipt
from devices.nodes.journal import Key
from devices.nodes.ota_fetch import Fetch, Taken
from devices.nodes.ota_states import Event, State
from devices.nodes.personality import DefaultResponse, GivesUp, OtherStatus, PeriodKept, Resume, StoredImage
from devices.nodes.settings import EndFault
from devices.wire import ota
from devices.wire.ota_file import BadImageError
from devices.wire.zcl import Status

if TYPE_CHECKING:
    from devices.nodes.image_bank import Download
    from devices.nodes.ota_activation import ImageActivation
    from devices.nodes.ota_machine import OtaMachine

_LOADING = frozenset({State.FETCHING, State.PAUSED})


class ImageDownload:
    def __init__(self, machine: OtaMachine, activation: ImageActivation) -> None:
        self.waits_for_more = False  # it told REQUIRE_MORE_IMAGE, and has not queried since
        self._machine = machine
        self._activation = activation
        self._personality = machine.settings.personality
        self._by_page = machine.settings.page_bytes > 0  # until the server refuses pages
        self._fetch: Fetch | None = None
        self._failure = 0  # the status that Upgrade End tells while FAILING
        kept = self._personality.period_kept is PeriodKept.FLASH
        self._minimum_period = machine.banks.minimum_period if kept else 0
        self._progress_step = 1
        self._progress_next = 0

    @property
    def minimum_period(self) -> int:
        return self._minimum_period

    def proceed(self, download: Download, now: float) -> Effects:
        """Fetch `download`: from its start, or from where the stored part of it ends."""
        machine, personality = self._machine, self._personality
        banks = machine.banks
        resumes = download == banks.download and banks.offset > personality.resume_above_bytes
        if not resumes or personality.resume is Resume.FROM_START:
            banks.begin(download)
        machine.wanted = download
        machine.misses = 0
        if personality.period_kept is PeriodKept.DOWNLOAD:
            self._minimum_period = 0
        self._activation.start_over()
        if banks.offset == download.size_bytes:
            return self._complete(download, now)
        self._fetch = Fetch(download, banks, machine.settings, by_page=self._by_page)
        self._progress_step = max(download.size_bytes // 100, 1)
        self._progress_next = banks.offset + self._progress_step
        machine.go(Event.OFFERED)
        started = events.DownloadStarted(download.image.file_version, download.size_bytes, banks.offset)
        return [started, *self._request_in(personality.period_s(self._minimum_period), now)]

    def _request(self, now: float) -> Effects:
        if self._fetch is None:
            return []
        command, payload = self._fetch.next_request(self._minimum_period)
        personality = self._personality
        streaming = self._fetch.streaming
        wait_s = personality.page_timeout_s if streaming else personality.block_wait_s(self._minimum_period)
        self._machine.deadline = now + wait_s
        return [self._machine.send(command, payload)]

    def _request_in(self, pause_s: float, now: float) -> Effects:
        if not pause_s:
            self._machine.go(Event.TAKEN)
            return self._request(now)
        self._machine.go(Event.PAUSE)
        self._machine.deadline = now + pause_s
        return []

    def resume(self, now: float) -> Effects:
        """The pause is over."""
        self._machine.go(Event.RESUME)
        return self._request(now)

    # Answers.

    def answered(self, payload: bytes, now: float) -> tuple[int, Effects]:
        """An Image Block Response: the status for its Default Response, and what follows.

        Raises MalformedFrameError where it cannot be read.
        """
        fetch, personality = self._fetch, self._personality
        if personality.reads_past_end and payload == bytes((Status.SUCCESS,)):
            payload = payload.ljust(ota.BLOCK_HEADER_BYTES, b"\0")
        response = ota.parse_image_block_response(payload)
        if fetch is None or self._machine.state not in _LOADING:
            return Status.SUCCESS, []
        match response:
            case ota.ImageBlock():
                return Status.SUCCESS, self._block(fetch, response, now)
            case ota.WaitForData():
                if personality.wait_needs_period and response.minimum_period is None:
                    return Status.MALFORMED_COMMAND, []
                return Status.SUCCESS, self._wait_for_data(fetch, response, now)
            case ota.BlockRefused(status):
                return self._refused(status, now)
            case _:
                assert_never(response)

    def _block(self, fetch: Fetch, block: ota.ImageBlock, now: float) -> Effects:
        try:
            taken = fetch.take(block)
        except BadImageError as error:
            return self.fail(Status.INVALID_IMAGE, str(error), now)
        machine, personality = self._machine, self._personality
        match taken:
            case Taken.IGNORED:
                return []
            case Taken.FOREIGN:
                return self.fail(Status.INVALID_IMAGE, "a block of another image", now, of=block.image)
            case Taken.OUT_OF_STEP:
                return self.fail(Status.ABORT, "a page block out of step", now)
            case Taken.COMPLETE:
                return self._complete(fetch.download, now)
            case Taken.STREAMING | Taken.NEXT:
                pass
            case _:
                assert_never(taken)
        machine.misses = 0
        effects: Effects = []
        if fetch.offset >= self._progress_next:
            self._progress_next = fetch.offset + self._progress_step
            effects.append(events.DownloadProgress(fetch.offset, fetch.download.size_bytes))
        if taken is Taken.STREAMING:
            machine.go(Event.TAKEN)
            machine.deadline = now + personality.page_timeout_s
            return effects
        stall = machine.settings.faults.stalls_at_offset
        if stall is not None and fetch.offset >= stall:
            machine.go(Event.PAUSE)
            machine.deadline = None
            return effects
        period_s = personality.period_s(self._minimum_period)
        pause_s = max(machine.settings.think_time_s, personality.block_pace_s, period_s)
        return effects + self._request_in(pause_s, now)

    def _wait_for_data(self, fetch: Fetch, response: ota.WaitForData, now: float) -> Effects:
        """ZCL8 11.13.8: the same block again, later. It is an answer, so it is no error."""
        machine, personality = self._machine, self._personality
        if response.request_time < response.current_time and personality.wait_underflow_ends_download:
            return self._ended("request time before current time", Status.MALFORMED_COMMAND, now)
        machine.misses = 0
        self._minimum_period = personality.next_period(self._minimum_period, response)
        if personality.period_kept is PeriodKept.FLASH:
            machine.banks.minimum_period = self._minimum_period
        wait = personality.until_data(response, machine.time(now))
        fetch.leave_page()
        period_s = personality.period_s(self._minimum_period)
        return self._request_in(max(wait, personality.block_pace_s, period_s), now)

    def _refused(self, status: int, now: float) -> tuple[int, Effects]:
        """A status in place of a block."""
        personality = self._personality
        if status == Status.ABORT or (status == Status.NO_IMAGE_AVAILABLE and personality.no_image_aborts):
            return Status.SUCCESS, self.aborted(status, now)
        match personality.other_status:
            case OtherStatus.MISSED:
                return Status.SUCCESS, self.missed(now, personality.block_pace_s)
            case OtherStatus.MALFORMED:
                return Status.MALFORMED_COMMAND, []
            case OtherStatus.IGNORED:
                return Status.SUCCESS, []
            case OtherStatus.STALLS:
                if self._machine.go(Event.PAUSE):
                    self._machine.deadline = None
                return Status.SUCCESS, []
            case _:
                assert_never(personality.other_status)

    def default_response(self, status: int, now: float) -> Effects:
        """In place of a block."""
        match self._personality.block_default_response:
            case DefaultResponse.BY_STATUS:
                if status in {Status.ABORT, Status.NO_IMAGE_AVAILABLE, Status.NOT_AUTHORIZED}:
                    return self.aborted(status, now)
                return [] if status == Status.SUCCESS else self.missed(now)
            case DefaultResponse.ABORT:
                return self.aborted(status, now) if status == Status.ABORT else []
            case DefaultResponse.ENDS:
                return self._ended("a Default Response in place of a block", status, now)
            case DefaultResponse.IGNORED:
                return []
            case _:
                assert_never(self._personality.block_default_response)

    def page_refused(self, status: int, now: float) -> Effects:
        fetch = self._fetch
        if fetch is None or status == Status.SUCCESS:
            return []
        if status not in {Status.UNSUP_CLUSTER_COMMAND, Status.UNSUP_GENERAL_COMMAND, Status.NOT_FOUND}:
            return self.missed(now)
        self._ask_by_block(fetch)  # ZCL8 11.13.7: page requests are optional for a server
        return self._request(now)

    def _ask_by_block(self, fetch: Fetch) -> None:
        self._by_page = fetch.by_page = False
        fetch.leave_page()

    # Silences.

    def missed(self, now: float, pace_s: float = 0.0) -> Effects:
        """No answer in time, or one that is an error, after which it keeps to its pace."""
        fetch, machine, personality = self._fetch, self._machine, self._personality
        if fetch is None or machine.state is not State.FETCHING:
            return []
        if fetch.streaming:
            fetch.pages_missed += 1
            if fetch.pages_missed == personality.page_attempts:
                machine.misses = 0
                self._ask_by_block(fetch)
                return self._request(now)
        if fetch.streaming and fetch.heard:
            fetch.streaming = False
            return self._request(now)
        machine.misses += 1
        if machine.misses >= personality.block_attempts:
            return self._give_up(now)
        if fetch.streaming:
            fetch.leave_page()
        period_s = personality.period_s(self._minimum_period)
        return self._request_in(max(personality.block_backoff_s, period_s, pace_s), now)

    def _give_up(self, now: float) -> Effects:
        reason = "no answer to its requests"
        if self._personality.gives_up is GivesUp.TELLS:
            return self.fail(Status.ABORT, reason, now)
        told = self._machine.upgrade_end(Status.ABORT) if self._personality.gives_up is GivesUp.LOOKS_AGAIN else []
        return [*told, *self._ended(reason, Status.ABORT, now)]

    # The end of a download, good or bad.

    def aborted(self, status: int, now: float) -> Effects:
        return self._ended("aborted by the server", status, now)

    def _ended(self, reason: str, status: int, now: float) -> Effects:
        """It ends, and the server is not told."""
        machine = self._machine
        if machine.state not in _LOADING:
            return []
        looking: Effects = []
        if self._personality.gives_up is GivesUp.LOOKS_AGAIN:
            looking = machine.seek(Event.SERVER_LOST, now)
        else:
            machine.idle(Event.ABORTED, now)
        self._fetch = None
        machine.forget(keep=self._personality.keeps_partial_image)
        return [events.DownloadFailed(reason, status), Signal.DOWNLOAD_ENDED, *looking]

    def _complete(self, download: Download, now: float) -> Effects:
        machine = self._machine
        banks, settings = machine.banks, machine.settings
        octets = banks.downloaded()
        try:
            check_image(octets, download, settings)
        except BadImageError as error:
            return self.fail(Status.INVALID_IMAGE, str(error), now, receipt(octets, verified=False))
        if settings.faults.end is not None:
            fault = settings.faults.end
            self.waits_for_more = fault is EndFault.REQUIRE_MORE_IMAGE
            return self.fail(fault.value, "told to (a fault)", now)
        new = banks.pending() is None  # else it was told before, and this is only asked again
        if new:
            banks.seal(self._receipt(receipt(octets, verified=True)))
            if self._personality.boot_applies:
                banks.request_trial()
        self._fetch = None
        machine.misses = 0
        if not new and self._personality.stored_image is StoredImage.ACTIVATES:
            return self._activation.activate(by_itself=True)
        machine.go(Event.GOOD)
        if not new:
            return self._activation.ask(now)
        version, size = download.image.file_version, download.size_bytes
        complete = events.DownloadComplete(version, size, hashlib.sha256(octets).digest())
        return [complete, Signal.DOWNLOAD_ENDED, *self._activation.ask(now)]

    def _receipt(self, record: bytes | None) -> dict[Key, bytes | None]:
        """What to write with a verdict: a device whose images are signed owes its supplier a receipt."""
        return {} if record is None or self._machine.settings.image_signer is None else {Key.RECEIPT: record}

    def fail(
        self,
        status: int,
        reason: str,
        now: float,
        receipt_record: bytes | None = None,
        *,
        of: ota.ImageId | None = None,
    ) -> Effects:
        """Tell the server that this download ends here; `of` names the image where another one than its own is bad."""
        machine, personality = self._machine, self._personality
        machine.go(Event.BAD)
        machine.misses = 0
        self._failure = status
        machine.deadline = now + personality.end_timeout_s
        fits = status == Status.ABORT and machine.settings.faults.end is None
        told = machine.upgrade_end(status, of)
        self._fetch = None
        keep = of is not None or (fits and personality.keeps_partial_image)
        machine.forget(keep=keep, also=self._receipt(receipt_record))
        if personality.failure_told_once:
            machine.idle(Event.FAILURE_TOLD, now)
        return [events.DownloadFailed(reason, status), Signal.DOWNLOAD_ENDED, *told]

    def failure_missed(self, now: float) -> Effects:
        machine = self._machine
        machine.misses += 1
        if machine.misses >= self._personality.end_attempts:
            return self.failure_told(now)
        machine.deadline = now + self._personality.end_timeout_s
        return machine.upgrade_end(self._failure)

    def failure_told(self, now: float) -> Effects:
        self._machine.idle(Event.FAILURE_TOLD, now)
        return []
