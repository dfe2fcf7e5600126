"""Firmware images, each known by the SHA-256 of its file and checked against it whenever it is opened.

Whether the bytes make sense as an image was decided before they came here (chf.image).
"""

import hashlib
from dataclasses import dataclass
from typing import Final

from chf.clock import UtcSeconds
from chf.errors import RefusedError, StoreCorruptError, UsageError
from chf.image.image import FirmwareImage, ImageKind, parse_image
from chf.store.database import Database
from chf.store.rows import RowReader, Rows, optional, text, unsigned, utc
from chf.store.schema import ACTIVE_UPDATE


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """What is known of a stored image without opening it. `sha256` is lower-case hex, `kind` is "ota" or "gbcs"."""

    sha256: str
    name: str
    kind: str
    manufacturer: int
    image_type: int
    file_version: int
    hardware_min: int | None
    hardware_max: int | None
    size_bytes: int
    added: UtcSeconds


def record_of(image: FirmwareImage, name: str, added: UtcSeconds) -> ImageRecord:
    """The row for an image that was read and found good."""
    header, hardware = image.header, image.header.hardware_versions
    return ImageRecord(
        sha256=image.sha256,
        name=name,
        kind=image.kind.value,
        manufacturer=header.manufacturer_code,
        image_type=header.image_type,
        file_version=header.file_version,
        hardware_min=None if hardware is None else hardware.minimum,
        hardware_max=None if hardware is None else hardware.maximum,
        size_bytes=len(image.content),
        added=added,
    )


READER: Final = RowReader(
    "images",
    {
        "sha256": text,
        "name": text,
        "kind": text,
        "manufacturer": unsigned(16),
        "image_type": unsigned(16),
        "file_version": unsigned(32),
        "hardware_min": optional(unsigned(16)),
        "hardware_max": optional(unsigned(16)),
        "size_bytes": unsigned(32),
        "added_utc": utc,
    },
    ImageRecord,
)
_COLUMNS: Final = READER.columns


class Images:
    """Reading."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, sha256: str) -> ImageRecord | None:
        rows = self._database.read(f"select {_COLUMNS} from images where sha256 = ?", (sha256,))
        return READER.first(rows)

    def find(self, prefix: str) -> ImageRecord:
        """The one image whose SHA-256 begins so, or whose name is this. Raises UsageError for none, or several."""
        rows = self._database.read(
            f"select {_COLUMNS} from images where substr(sha256, 1, length(?)) = lower(?) or name = ? limit 2",
            (prefix, prefix, prefix),
        )
        if prefix and len(rows) == 1:
            return READER.one(rows[0])
        raise UsageError(f"{'more than one' if prefix and rows else 'no'} stored image is called {prefix[:80]!r}")

    def list(self) -> Rows[ImageRecord]:
        """In the order in which they were added."""
        return READER.all(self._database.read(f"select {_COLUMNS} from images order by added_utc, sha256"))

    def open(self, sha256: str) -> bytes:
        """The file. Raises UsageError where there is none, StoreCorruptError where it is not what was stored."""
        rows = self._database.read("select content, name from images where sha256 = ?", (sha256,))
        if not rows:
            raise UsageError(f"there is no stored image {sha256}")
        content, name = rows[0]
        if not isinstance(content, bytes) or hashlib.sha256(content).hexdigest() != sha256:
            raise StoreCorruptError(f"image {sha256} ({name!r}) was altered in the store: remove it and add it again")
        return content

    def load(self, sha256: str) -> FirmwareImage:
        """The file, read as the kind of image that it was stored as. Raises like `open`."""
        record = self.get(sha256)
        content = self.open(sha256)
        assert record is not None, "open raises where there is none"
        try:
            return parse_image(content, kind=ImageKind(record.kind), limit_bytes=len(content))
        except ValueError as error:
            raise StoreCorruptError(f"the row of image {sha256} is damaged: {error}") from error


class ImagesWriter(Images):
    """Reading and writing, within a transaction."""

    def add(self, record: ImageRecord, content: bytes) -> bool:
        """Store a file; False, and nothing changed, where it is stored already.

        Raises UsageError where record and content do not belong together.
        """
        if hashlib.sha256(content).hexdigest() != record.sha256 or len(content) != record.size_bytes:
            raise UsageError(f"image {record.sha256}: the record is not of this content")
        cursor = self._database.write(
            f"insert or ignore into images ({_COLUMNS}, content) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                record.sha256,
                record.name,
                record.kind,
                record.manufacturer,
                record.image_type,
                record.file_version,
                record.hardware_min,
                record.hardware_max,
                record.size_bytes,
                record.added,
                content,
            ),
        )
        return cursor.rowcount == 1

    def remove(self, sha256: str) -> None:
        """Raises RefusedError while an update needs it, UsageError where there is none."""
        active = self._database.read(f"select id from updates where image = ? and {ACTIVE_UPDATE}", (sha256,))
        if active:
            raise RefusedError(f"image {sha256} is needed by update {active[0][0]}")
        if self._database.write("delete from images where sha256 = ?", (sha256,)).rowcount == 0:
            raise UsageError(f"there is no stored image {sha256}")
