"""Reads firmware image files: never more of one than the limit, and a stream as readily as a file."""

import sys
from pathlib import Path
from typing import BinaryIO

from chf.errors import UsageError
from chf.image.image import DEFAULT_LIMIT_BYTES, FirmwareImage, ImageKind, parse_image, too_large

STANDARD_INPUT = Path("-")


def load_image(path: Path, *, kind: ImageKind | None = None, limit_bytes: int = DEFAULT_LIMIT_BYTES) -> FirmwareImage:
    """The image in a file, or on standard input for `-`. Raises MalformedImageError and UsageError."""
    content = read_at_most(path, limit_bytes + 1)
    if len(content) > limit_bytes:
        raise too_large(limit_bytes)
    return parse_image(content, kind=kind, limit_bytes=limit_bytes)


def read_at_most(path: Path, size_bytes: int) -> bytes:
    """The first `size_bytes` of a file or of standard input. Raises UsageError where it cannot be read."""
    if path == STANDARD_INPUT:
        return _read(sys.stdin.buffer, size_bytes)
    try:
        with path.open("rb") as stream:
            return _read(stream, size_bytes)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"cannot read {str(path)!r}: {reason}") from None


def _read(stream: BinaryIO, size_bytes: int) -> bytes:
    parts: list[bytes] = []
    while size_bytes > 0 and (part := stream.read(min(size_bytes, 1 << 16))):
        parts.append(part)
        size_bytes -= len(part)
    return b"".join(parts)
