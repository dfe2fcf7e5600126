"""Which bytes of an image to ask for next, by block or by page, and which blocks that come in are of use.

In page mode the server streams blocks that nobody acknowledges. Those that come early wait in memory; what is missing
when the stream falls silent is asked for block by block. No time and no frames here: see `ota_client`.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from devices.wire import ota

if TYPE_CHECKING:
    from devices.nodes.image_bank import Download, ImageBanks
    from devices.nodes.settings import FirmwareSettings


class Taken(Enum):
    IGNORED = "not asked for, twice, or of another image"
    FOREIGN = "of another image, which ends the download"
    OUT_OF_STEP = "of a page, from where no block may begin, which ends it too"
    STREAMING = "taken, more comes unasked"
    NEXT = "taken, ask for the next"
    COMPLETE = "taken, and it was the last"


class Fetch:
    """One download into `banks`, from wherever the stored part ends."""

    def __init__(self, download: Download, banks: ImageBanks, settings: FirmwareSettings, *, by_page: bool) -> None:
        self.download = download
        self.by_page = by_page
        self.streaming = False  # the server is sending a page; False again where it fell silent
        self.heard = False  # something of that page has come
        self.pages_missed = 0  # in a row, not whole
        self._banks = banks
        self._settings = settings
        self._personality = settings.personality
        self._asked_bytes = 0
        self._page_end = 0  # 0 outside a page
        self._early: dict[int, bytes] = {}
        self._skipped_bytes = 0  # by a fault: counted, not stored
        self._blocks_heard = 0

    @property
    def offset(self) -> int:
        """Where the next block begins."""
        return self._banks.offset + self._skipped_bytes

    def next_request(self, minimum_period: int) -> tuple[ota.Command, bytes]:
        """Command and payload of the request that goes out now."""
        settings, personality = self._settings, self._personality
        offset, image = self.offset, self.download.image
        block_bytes = (personality.page_block_bytes if self.by_page else None) or settings.block_size
        block_bytes = block_bytes or personality.block_bytes
        if personality.asks_the_rest:
            block_bytes = min(block_bytes, self.download.size_bytes - offset)
        self._asked_bytes = block_bytes
        if self.by_page and not self._page_end:
            page_bytes = settings.page_bytes
            if personality.page_block_bytes is not None:  # the next page must start in step as well
                page_bytes = max(page_bytes // block_bytes, 1) * block_bytes
            self._page_end = min(offset + page_bytes, self.download.size_bytes)
            self.streaming, self.heard = True, False
            spacing_ms = personality.page_spacing_ms if settings.page_spacing_ms is None else settings.page_spacing_ms
            page = ota.ImagePageRequest(image, offset, block_bytes, page_bytes, spacing_ms)
            return ota.Command.IMAGE_PAGE_REQUEST, page.to_bytes()
        if self._page_end:
            self._asked_bytes = min(block_bytes, min(self._early, default=self._page_end) - offset)
        period = minimum_period if personality.sends_period else None
        node = settings.eui64 if personality.sends_node else None
        block = ota.ImageBlockRequest(image, offset, self._asked_bytes, period, personality.period_flag, node)
        return ota.Command.IMAGE_BLOCK_REQUEST, block.to_bytes()

    def take(self, block: ota.ImageBlock) -> Taken:
        """Raises BadImageError where the flash does not take it."""
        personality, faults = self._personality, self._settings.faults
        offset, data = block.offset, block.data
        end = self._page_end or self.download.size_bytes
        if block.image != self.download.image:
            return Taken.FOREIGN if personality.foreign_block_is_invalid else Taken.IGNORED
        self._blocks_heard += 1
        if faults.loses_every_nth_block and self._blocks_heard % faults.loses_every_nth_block == 0:
            return Taken.IGNORED
        if personality.takes_long_blocks:
            data = data[: max(end - offset, 0)]
        elif len(data) > self._asked_bytes or offset + len(data) > end:
            return Taken.IGNORED
        if not data:
            return Taken.IGNORED
        if self.streaming:
            exact = personality.page_block_bytes
            if exact is not None and offset % exact:
                return Taken.OUT_OF_STEP
            self.heard = True
        if offset != self.offset:
            if self.streaming and offset > self.offset:
                self._early[offset] = data
                return Taken.STREAMING
            return Taken.IGNORED
        self._store(data)
        if self._early:
            self._append_early()
        if self.offset == self.download.size_bytes:
            return Taken.COMPLETE
        if self.offset >= self._page_end:
            self.leave_page()
            self.pages_missed = 0
        return Taken.STREAMING if self.streaming else Taken.NEXT

    def _store(self, data: bytes) -> None:
        skip = self._settings.faults.skips_block_at_offset
        if skip is not None and not self._skipped_bytes and self.offset <= skip < self.offset + len(data):
            self._skipped_bytes = len(data)
            return
        self._banks.append(data, remember_each=self._personality.blocks_per_checkpoint(self.download.size_bytes))

    def leave_page(self) -> None:
        """Forget the page that was asked for, and what came of it out of order."""
        self._page_end = 0
        self.streaming = self.heard = False
        self._early.clear()

    def _append_early(self) -> None:
        while self._early:
            first = min(self._early)
            if first > self.offset:
                return
            data = self._early.pop(first)
            if first == self.offset:
                self._store(data)
