"""The firmware of a device that takes images: its flash, what the boot loader makes of it, and how a new image does.

The faults of a new image (it does not boot, or is gone again after the next boot) happen here. Downloading and checking
are the OTA client's, the banks themselves are `image_bank`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from devices.nodes.events import Booted
from devices.nodes.image_bank import ImageBanks
from devices.nodes.journal import Journal
from devices.wire.ota_file import OtaHeader

if TYPE_CHECKING:
    from devices.nodes.flash import Flash
    from devices.nodes.settings import FirmwareSettings

_HEADER_BYTES = 60  # ZCL8 11.4.2: the fixed 56 octets and the two hardware versions
_FACTORY_BODY = b"factory image\0\0\0"  # our choice


def factory_image(settings: FirmwareSettings) -> bytes:
    """The firmware that the device leaves production with: a GBCS image whose only content is its version."""
    header = OtaHeader(
        settings.manufacturer_code,
        settings.image_type,
        settings.file_version,
        total_bytes=_HEADER_BYTES + len(_FACTORY_BODY),
        text=b"factory",
        hardware_versions=(0x0000, 0xFFFF),
    )
    return header.to_bytes() + _FACTORY_BODY


class Firmware:
    """`flash` lasts; `journal` and `banks` are those of the last boot."""

    def __init__(self, flash: Flash, settings: FirmwareSettings) -> None:
        self.flash = flash
        self.version: int | None = None  # the one that runs, once one does
        self._settings = settings

    def boot(self) -> Booted | None:
        """Power came, or came back. None where the new image hangs, so that its watchdog makes the device boot again.

        Raises NoFirmwareError, and PowerLostError.
        """
        self.flash.restore_power()
        self.journal = Journal(self.flash)
        self.banks = ImageBanks(self.flash, self.journal)
        if self.banks.is_blank():
            self.banks.install_factory_image(factory_image(self._settings))
        boot = self.banks.boot()
        if boot.on_trial:
            if self._settings.faults.firmware_does_not_boot:
                return None
            self.banks.confirm()
            if self._settings.faults.reverts_after_activation and self.banks.fall_back():
                return None
        self.version = self.banks.running_header().file_version
        return Booted(self.version, boot.bank.name, boot.rolled_back)
