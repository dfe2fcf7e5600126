"""Two firmware banks and the boot loader that chooses between them.

One bank runs, the other takes downloads. A bank is *sealed* once its image was checked: its size and SHA-256 are then
in the journal, and only a sealed bank whose bytes still hash right is ever started. A new image is tried at most
`BOOT_TRIES` times; unless the firmware confirms itself, the boot loader goes back to the old one. Every decision is one
journal record, so the power may be cut in any flash operation.
Not here: what makes an image acceptable (`ota_client`), and any transport.
"""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING

from devices.nodes.flash import ERASED
from devices.nodes.journal import Journal, Key
from devices.wire.ota import ImageId
from devices.wire.ota_file import MAXIMUM_HEADER_BYTES, BadImageError, OtaHeader

if TYPE_CHECKING:
    from collections.abc import Mapping

    from devices.nodes.flash import Flash

BOOT_TRIES = 3  # our choice

# Records of the journal; their layout is our choice.
_BOOT = struct.Struct("<BBB")  # active bank, bank on trial (or none), times it was started
_SEAL = struct.Struct("<I32s")  # size, SHA-256
_DOWNLOAD = struct.Struct("<HHIII")  # manufacturer, image type, version, size, offset
_OUTCOME = struct.Struct("<BI")  # success, version that runs
_PERIOD = struct.Struct("<H")  # MinimumBlockPeriod
_NONE = 0xFF  # no bank
_ERASED = bytes((ERASED,))


class Bank(Enum):
    A = 0
    B = 1

    @property
    def other(self) -> Bank:
        return Bank.B if self is Bank.A else Bank.A

    @property
    def key(self) -> Key:
        return Key.BANK_A if self is Bank.A else Key.BANK_B


class NoFirmwareError(Exception):
    """Neither bank holds an image that may run: the device is dead."""


@dataclass(frozen=True, slots=True)
class Download:
    """An image that is on its way into the bank that does not run."""

    image: ImageId
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the last activation went, kept until somebody was told."""

    success: bool
    file_version: int  # of the image that runs now


@dataclass(frozen=True, slots=True)
class Boot:
    bank: Bank
    on_trial: bool
    rolled_back: bool


class ImageBanks:
    """The boot loader's and the downloader's view of one flash. `boot` comes first after every power-up."""

    def __init__(self, flash: Flash, journal: Journal) -> None:
        self._flash = flash
        self._journal = journal
        self._sectors_per_bank = (flash.sectors - Journal.SECTORS) // 2
        self.bank_bytes = self._sectors_per_bank * flash.sector_bytes
        self.running = Bank.A
        self.download: Download | None = None
        self.offset = 0
        self._since_remembered = 0  # calls of `append`

    def is_blank(self) -> bool:
        return self._journal.get(Key.BOOT) is None

    def install_factory_image(self, image: bytes) -> None:
        """What the production line does: put `image` into bank A and make it the one that runs."""
        self._write(Bank.A, 0, image)
        self._journal.put({Bank.A.key: _seal(image), Key.BOOT: _BOOT.pack(Bank.A.value, _NONE, 0)})

    def boot(self) -> Boot:
        """Choose the bank to run. Raises NoFirmwareError where there is none."""
        active, trial, tries = self._boot_record()
        rolled_back = False
        if trial is not None:
            if tries < BOOT_TRIES and self._intact(trial):
                self._journal.put({Key.BOOT: _BOOT.pack(active.value, trial.value, tries + 1)})
                return self._started(Boot(trial, on_trial=True, rolled_back=False))
            version = self._header(active).file_version
            self._journal.put(
                {
                    Key.BOOT: _BOOT.pack(active.value, _NONE, 0),
                    Key.OUTCOME: _OUTCOME.pack(False, version),
                    trial.key: None,
                    Key.DOWNLOAD: None,
                }
            )
            rolled_back = True
        if not self._intact(active):
            raise NoFirmwareError
        return self._started(Boot(active, on_trial=False, rolled_back=rolled_back))

    def confirm(self) -> None:
        """The new firmware passed its self-test: it is the one to run from now on."""
        self._journal.put(
            {
                Key.BOOT: _BOOT.pack(self.running.value, _NONE, 0),
                Key.OUTCOME: _OUTCOME.pack(True, self.running_header().file_version),
                Key.DOWNLOAD: None,
            }
        )
        self.download, self.offset = None, 0

    def fall_back(self) -> bool:
        """Run the other bank from the next boot on; False where it holds nothing that may run."""
        other = self.running.other
        if not self._intact(other):
            return False
        self._journal.put({Key.BOOT: _BOOT.pack(other.value, _NONE, 0)})
        return True

    def running_header(self) -> OtaHeader:
        return self._header(self.running)

    def outcome(self) -> Outcome | None:
        record = self._journal.get(Key.OUTCOME)
        if record is None:
            return None
        success, version = _OUTCOME.unpack(record)
        return Outcome(bool(success), version)

    def begin(self, download: Download) -> None:
        """Make room for a new image; what the other bank held is lost."""
        self._journal.put({self.running.other.key: None, Key.DOWNLOAD: _download_record(download, 0)})
        self.download, self.offset = download, 0

    def append(self, data: bytes, *, remember_each: int | None = None) -> None:
        """The next bytes of the download. Its offset is remembered each so many calls; None: at every sector boundary.

        Raises BadImageError where a reboot left other bytes in their place.
        """
        if self.download is None:
            raise ValueError("no download was begun")
        sector_bytes = self._flash.sector_bytes
        before = self.offset // sector_bytes
        self._write(self.running.other, self.offset, data)
        self.offset += len(data)
        self._since_remembered += 1
        if remember_each is None:
            due = self.offset // sector_bytes != before
        else:
            due = self._since_remembered >= remember_each
        if due or self.offset == self.download.size_bytes:
            self._since_remembered = 0
            self._journal.put({Key.DOWNLOAD: _download_record(self.download, self.offset)})

    def discard(self, also: Mapping[Key, bytes | None] = MappingProxyType({})) -> None:
        """Forget the download, marked for the boot loader or not, and write `also` in the same record."""
        if self.download is not None:
            changes = {self.running.other.key: None, Key.DOWNLOAD: None, **also}
            active, trial, _ = self._boot_record()
            if trial is not None:
                changes[Key.BOOT] = _BOOT.pack(active.value, _NONE, 0)
            self._journal.put(changes)
        self.download, self.offset = None, 0

    @property
    def minimum_period(self) -> int:
        """The MinimumBlockPeriod of a client that keeps it for good."""
        record = self._journal.get(Key.BLOCK_PERIOD)
        return 0 if record is None else int(_PERIOD.unpack(record)[0])

    @minimum_period.setter
    def minimum_period(self, units: int) -> None:
        if units != self.minimum_period:
            self._journal.put({Key.BLOCK_PERIOD: _PERIOD.pack(units)})

    def downloaded(self) -> bytes:
        """What has arrived so far."""
        return self._flash.read(self._address(self.running.other), self.offset)

    def seal(self, also: Mapping[Key, bytes | None] = MappingProxyType({})) -> None:
        """The download was checked and may be started; `also` goes into the same record."""
        self._journal.put({self.running.other.key: _seal(self.downloaded()), **also})

    def pending(self) -> bytes | None:
        """The whole image that was downloaded, checked and not tried yet; None where there is none, or not any more."""
        if self.download is None or self.offset != self.download.size_bytes:
            return None
        return self.image(self.running.other)

    def request_trial(self, also: Mapping[Key, bytes | None] = MappingProxyType({})) -> int:
        """Start the other bank, which must be sealed, at the next boot; the version that is in it."""
        self._journal.put({Key.BOOT: _BOOT.pack(self.running.value, self.running.other.value, 0), **also})
        return self._header(self.running.other).file_version

    def image(self, bank: Bank) -> bytes | None:
        """The sealed image in a bank, None where there is none or its bytes have changed."""
        record = self._journal.get(bank.key)
        if record is None:
            return None
        size, digest = _SEAL.unpack(record)
        octets = self._flash.read(self._address(bank), size)
        return octets if hashlib.sha256(octets).digest() == digest else None

    def _intact(self, bank: Bank) -> bool:
        octets = self.image(bank)
        if octets is None:
            return False
        try:
            OtaHeader.from_bytes(octets)
        except BadImageError:
            return False
        return True

    def _header(self, bank: Bank) -> OtaHeader:
        return OtaHeader.from_bytes(self._flash.read(self._address(bank), MAXIMUM_HEADER_BYTES))

    def _address(self, bank: Bank) -> int:
        return (Journal.SECTORS + bank.value * self._sectors_per_bank) * self._flash.sector_bytes

    def _boot_record(self) -> tuple[Bank, Bank | None, int]:
        record = self._journal.get(Key.BOOT)
        if record is None:
            raise NoFirmwareError
        active, trial, tries = _BOOT.unpack(record)
        return Bank(active), None if trial == _NONE else Bank(trial), tries

    def _started(self, boot: Boot) -> Boot:
        self.running = boot.bank
        self.download, self.offset = None, 0
        record = self._journal.get(Key.DOWNLOAD)
        if record is not None and not boot.on_trial:
            manufacturer, image_type, version, size, offset = _DOWNLOAD.unpack(record)
            self.download, self.offset = Download(ImageId(manufacturer, image_type, version), size), offset
        return boot

    def _write(self, bank: Bank, offset: int, octets: bytes) -> None:
        """Program `octets`, erasing each sector at the first byte that goes into it.

        What was written between the remembered offset and a reboot is there already, and is not written again.
        """
        sector_bytes = self._flash.sector_bytes
        if offset + len(octets) > self.bank_bytes:
            raise ValueError(f"{offset + len(octets)} bytes do not fit a bank of {self.bank_bytes}")
        address = self._address(bank) + offset
        at = 0
        while at < len(octets):
            sector, start = divmod(address + at, sector_bytes)
            if start == 0:
                self._flash.erase(sector)
            count = min(len(octets) - at, sector_bytes - start)
            piece = octets[at : at + count]
            held = self._flash.read(address + at, count)
            written = len(held.rstrip(_ERASED)) if start else 0
            if held[:written] != piece[:written]:
                raise BadImageError(f"other bytes are in flash at {offset + at}")
            if written < count:
                self._flash.program(address + at + written, piece[written:])
            at += count


def _seal(image: bytes) -> bytes:
    return _SEAL.pack(len(image), hashlib.sha256(image).digest())


def _download_record(download: Download, offset: int) -> bytes:
    image = download.image
    return _DOWNLOAD.pack(image.manufacturer, image.image_type, image.file_version, download.size_bytes, offset)
