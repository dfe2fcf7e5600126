"""Files that a command writes are there whole or not at all, and what was there before stays where it fails."""

import errno
import os
import stat
from pathlib import Path

import pytest

from chf.errors import UnusableFileError, UsageError
from chf.files import read_secret, write_new, write_whole, write_whole_directory


@pytest.fixture
def _disk_is_full(monkeypatch):
    """The first rename finds no room: the files are written by then, and nothing may remain of them."""

    def fail(*_arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "replace", fail)
    monkeypatch.setattr(Path, "rename", fail)


def test_a_file_takes_the_place_of_another(tmp_path):
    (tmp_path / "file").write_bytes(b"before")
    write_whole(tmp_path / "file", b"after")
    assert (tmp_path / "file").read_bytes() == b"after"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.usefixtures("_disk_is_full")
def test_a_full_disk_leaves_what_was_there(tmp_path):
    (tmp_path / "file").write_bytes(b"before")
    with pytest.raises(UsageError, match=r"cannot write .*file: No space left on device"):
        write_whole(tmp_path / "file", b"after")
    with pytest.raises(UsageError, match=r"cannot write .*directory: No space left on device"):
        write_whole_directory(tmp_path / "directory", {"a": b"1"})
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_bytes() == b"before"


def test_a_directory_is_new_or_refused(tmp_path):
    write_whole_directory(tmp_path / "deep" / "directory", {"a": b"1", "b": b"2"})
    assert {path.name: path.read_bytes() for path in (tmp_path / "deep" / "directory").iterdir()} == {
        "a": b"1",
        "b": b"2",
    }
    with pytest.raises(UsageError, match="exists already"):
        write_whole_directory(tmp_path / "deep", {})


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_the_umask_counts(tmp_path, mask):
    before = os.umask(mask)
    try:
        write_whole(tmp_path / "file", b"")
        write_whole_directory(tmp_path / "directory", {})
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o666 & ~mask
    assert stat.S_IMODE((tmp_path / "directory").stat().st_mode) == 0o777 & ~mask


def test_a_device_is_written_to_and_not_replaced():
    write_whole(Path("/dev/null"), b"x")
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize("links", [True, False])
def test_a_new_file_is_its_owners_alone_and_never_replaces_another(tmp_path, monkeypatch, links):
    def no_links(*_arguments):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    if not links:
        monkeypatch.setattr(os, "link", no_links)
    assert write_new(tmp_path / "key", b"first")
    assert not write_new(tmp_path / "key", b"second")
    assert read_secret(tmp_path / "key") == b"first"
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_a_secret_that_others_may_read_or_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "key").touch(mode=0o640)
    (tmp_path / "directory.key").mkdir(mode=0o700)
    with pytest.raises(UnusableFileError, match=r"others may read .*key: run chmod 600"):
        read_secret(tmp_path / "key")
    with pytest.raises(UnusableFileError, match=r"cannot read .*directory\.key: Is a directory"):
        read_secret(tmp_path / "directory.key")
    with pytest.raises(FileNotFoundError):
        read_secret(tmp_path / "none.key")
