"""The images that updates are served from: read, hashed and parsed once for each digest, beside the event loop."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from chf.errors import StoreError, UsageError
from chf.image.image import FirmwareImage
from chf.store import Store

MOST_HELD: Final = 4  # images of up to 10 MB that no transfer need be using; our choice


class ImageCache:
    """The last few images; a transfer holds its own for as long as it lasts."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._held: dict[str, FirmwareImage] = {}  # who was asked for last comes last
        self._turn = asyncio.Lock()

    def get(self, sha256: str) -> FirmwareImage | None:
        """None where it was not loaded, or too many were since."""
        image = self._held.pop(sha256, None)
        if image is not None:
            self._held[sha256] = image
        return image

    async def load(self, sha256: str) -> FirmwareImage:
        """Raises UsageError where there is none, StoreCorruptError where it is not what was stored."""
        async with self._turn:
            image = self.get(sha256)
            if image is None:
                image = self._held[sha256] = await asyncio.to_thread(self._read, sha256)
                if len(self._held) > MOST_HELD:
                    del self._held[next(iter(self._held))]
        return image

    async def load_all(self, wanted: Iterable[str]) -> dict[str, FirmwareImage]:
        """Those of them that can be read, however many."""
        images = {}
        for sha256 in dict.fromkeys(wanted):
            with suppress(UsageError, StoreError):
                images[sha256] = await self.load(sha256)
        return images

    def _read(self, sha256: str) -> FirmwareImage:
        with Store.open(self._home) as beside:  # SQLite's connections stay in their threads
            return beside.images.load(sha256)
