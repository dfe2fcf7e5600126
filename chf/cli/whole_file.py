"""Files that are there whole or not at all: a half-written one is never seen under its name."""

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from chf.errors import UsageError


def write_whole(target: Path, content: bytes) -> None:
    """Raises UsageError where it cannot be written. What was there before then stays."""
    try:
        target = target.resolve()
        if target.exists() and not target.is_file():
            target.write_bytes(content)  # a device or a pipe is written to, never replaced by a file
            return
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
            Path(temporary).chmod(0o666 & ~_umask())
            Path(temporary).replace(target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UsageError(f"cannot write {target}: {error.strerror}") from None


def write_whole_directory(target: Path, files: Mapping[str, bytes]) -> None:
    """A new directory with these files. Raises UsageError where it cannot be made, or is there already."""
    try:
        target = target.resolve()
        if target.exists():
            raise UsageError(f"cannot write {target}: it is there already")
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
        try:
            for name, content in files.items():
                (temporary / name).write_bytes(content)
            temporary.chmod(0o777 & ~_umask())
            temporary.rename(target)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    except OSError as error:
        raise UsageError(f"cannot write {target}: {error.strerror}") from None


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
