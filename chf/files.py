"""Files that are there whole or not at all, also after a power cut, and files that their owner alone may read.

A file is written under another name beside its own, flushed to the disk, and then renamed.
"""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from chf.errors import ChfError, StoreError, UnusableFileError, UsageError

_OTHERS_MAY: Final = 0o077
_NO_HARD_LINKS: Final = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS}  # link(2): as on the FAT of a memory stick


def write_whole(target: Path, content: bytes, *, mode: int | None = None, error: type[ChfError] = UsageError) -> None:
    """Replace a file, or make it; what was there before stays where that fails. `mode` is the umask's without one.

    A device or a pipe is written to, never replaced. Raises `error`.
    """
    with _refused_as(error, target):
        target = target.resolve()
        if target.exists() and not target.is_file():
            target.write_bytes(content)
            return
        with _draft(target, content) as draft:
            draft.chmod(0o666 & ~_umask() if mode is None else mode)
            draft.rename(target)
            flush_directory(target.parent)


def write_new(target: Path, content: bytes, *, error: type[ChfError] = StoreError) -> bool:
    """Make a file that its owner alone may read, from its first octet on; False where there is one. Raises `error`."""
    with _refused_as(error, target), _draft(target, content) as draft:  # mkstemp gives 0600
        try:
            os.link(draft, target)
        except FileExistsError:
            return False
        except OSError as refusal:
            if refusal.errno not in _NO_HARD_LINKS:
                raise
            if target.exists():
                return False
            draft.rename(target)
        flush_directory(target.parent)
        return True


@contextmanager
def new_directory(target: Path, *, mode: int | None = None, error: type[ChfError] = UsageError) -> Iterator[Path]:
    """Yields a directory of mode 0700 that takes its name, and `mode`, when the block has ended well.

    Raises `error` where it cannot be made, UsageError where there is something already.
    """
    with _refused_as(error, target):
        target = target.resolve()
        if target.exists():
            raise UsageError(f"{target} exists already and is never overwritten: move it away first")
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        try:
            yield draft
            draft.chmod(0o777 & ~_umask() if mode is None else mode)
            draft.rename(target)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
        flush_directory(target.parent)


def write_whole_directory(target: Path, files: Mapping[str, bytes]) -> None:
    """A new directory with these files. Raises UsageError where it cannot be made, or is there already."""
    with new_directory(target) as directory:
        for name, content in files.items():
            (directory / name).write_bytes(content)


def read_secret(path: Path) -> bytes:
    """Raises FileNotFoundError where there is none, UnusableFileError where it cannot be read, or others may, too."""
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & _OTHERS_MAY:
                raise UnusableFileError(f"others may read {path}: run chmod 600 on it, and think about who has")
            return file.read()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UnusableFileError(f"cannot read {path}: {error.strerror}: mend it, or move it away") from error


def flush_directory(path: Path) -> None:
    """So that a power cut does not take back the names in it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _draft(target: Path, content: bytes) -> Iterator[Path]:
    """The content on the disk under another name, which is gone after the block."""
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


@contextmanager
def _refused_as(error: type[ChfError], target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as refusal:
        raise error(f"cannot write {target}: {refusal.strerror}") from refusal


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
