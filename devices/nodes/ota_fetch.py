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
    OUT_OF_STEP = "a page block where none may begin"
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
        self._banks = banks
        self._settings = settings
        self._personality = settings.personality
        self._asked_bytes = 0
        self._page_end = 0  # 0 outside a page
        self._early: dict[int, bytes] = {}

    def next_request(self, minimum_period: int) -> tuple[ota.Command, bytes]:
        """Command and payload of the request that goes out now."""
        settings, personality = self._settings, self._personality
        offset, image = self._banks.offset, self.download.image
        block_bytes = (personality.page_block_bytes if self.by_page else None) or settings.block_size
        self._asked_bytes = block_bytes
        if self.by_page and not self._page_end:
            page_bytes = settings.page_bytes
            if personality.page_block_bytes is not None:  # the next page must start in step as well
                page_bytes = max(page_bytes // block_bytes, 1) * block_bytes
            self._page_end = min(offset + page_bytes, self.download.size_bytes)
            self.streaming, self.heard = True, False
            page = ota.ImagePageRequest(image, offset, block_bytes, page_bytes, settings.page_spacing_ms)
            return ota.Command.IMAGE_PAGE_REQUEST, page.to_bytes()
        if self._page_end:
            self._asked_bytes = min(block_bytes, min(self._early, default=self._page_end) - offset)
        period = minimum_period if personality.sends_period else None
        block = ota.ImageBlockRequest(image, offset, self._asked_bytes, period, personality.period_flag)
        return ota.Command.IMAGE_BLOCK_REQUEST, block.to_bytes()

    def take(self, block: ota.ImageBlock) -> Taken:
        offset, data = block.offset, block.data
        length = len(data)
        end = self._page_end or self.download.size_bytes
        if not 0 < length <= self._asked_bytes or offset + length > end or block.image != self.download.image:
            return Taken.IGNORED
        if self.streaming:
            exact = self._personality.page_block_bytes
            if exact is not None and offset % exact:
                return Taken.OUT_OF_STEP
            self.heard = True
        banks = self._banks
        if offset != banks.offset:
            if not self.streaming or offset < banks.offset:
                return Taken.IGNORED
            self._early[offset] = data
            return Taken.STREAMING
        banks.append(data)
        if self._early:
            self._append_early()
        if banks.offset == self.download.size_bytes:
            return Taken.COMPLETE
        if banks.offset >= self._page_end:
            self.leave_page()
        return Taken.STREAMING if self.streaming else Taken.NEXT

    def leave_page(self) -> None:
        """Forget the page that was asked for, and what came of it out of order."""
        self._page_end = 0
        self.streaming = self.heard = False
        self._early.clear()

    def _append_early(self) -> None:
        while self._early:
            first = min(self._early)
            if first > self._banks.offset:
                return
            data = self._early.pop(first)
            if first == self._banks.offset:
                self._banks.append(data)
