"""Flash, journal and the two banks: what each promises on its own. Power cuts are in tests/powercut."""

import pytest

from devices.nodes.flash import Flash, FlashMisuseError, PowerLostError
from devices.nodes.image_bank import BOOT_TRIES, Bank, Download, ImageBanks, NoFirmwareError, Outcome
from devices.nodes.journal import Journal, JournalFullError, Key
from devices.wire.ota import ImageId
from tests.support.model_hub import IMAGE_TYPE, MANUFACTURER, NEW, OLD, image

NEW_IMAGE = image()
WANTED = Download(ImageId(MANUFACTURER, IMAGE_TYPE, NEW), len(NEW_IMAGE))


def opened(flash: Flash) -> ImageBanks:
    return ImageBanks(flash, Journal(flash))


def produced() -> tuple[Flash, ImageBanks]:
    flash = Flash(sectors=42)
    banks = opened(flash)
    banks.install_factory_image(image(OLD, 20))
    banks.boot()
    return flash, banks


def stored(flash: Flash, banks: ImageBanks) -> None:
    banks.begin(WANTED)
    for at in range(0, len(NEW_IMAGE), 50):
        banks.append(NEW_IMAGE[at : at + 50])
    banks.seal()
    assert banks.image(Bank.B) == NEW_IMAGE
    assert flash.operations > 0


def test_flash_is_erased_by_sector_and_programmed_once() -> None:
    flash = Flash(sectors=2, sector_bytes=16)
    assert flash.read(0, 32) == b"\xff" * 32
    flash.program(3, b"abc")
    assert flash.read(0, 8) == b"\xff\xff\xffabc\xff\xff"
    with pytest.raises(FlashMisuseError):
        flash.program(5, b"x")
    with pytest.raises(FlashMisuseError):
        flash.program(14, b"long")
    with pytest.raises(FlashMisuseError):
        flash.read(30, 3)
    flash.erase(0)
    assert flash.read(0, 16) == b"\xff" * 16
    assert flash.operations == 2


@pytest.mark.parametrize(("done", "left"), [(0.0, b"\xff" * 4), (0.5, b"ab\xff\xff"), (1.0, b"abcd")])
def test_a_cut_operation_is_done_in_part_and_nothing_works_until_power_returns(done, left) -> None:
    flash = Flash(sectors=1, sector_bytes=16)
    flash.cut_power_at(1, done=done)
    with pytest.raises(PowerLostError):
        flash.program(0, b"abcd")
    with pytest.raises(PowerLostError):
        flash.erase(0)
    flash.restore_power()
    assert flash.read(0, 4) == left


def test_the_journal_remembers_over_many_times_its_size() -> None:
    flash = Flash(sectors=2, sector_bytes=256)
    journal = Journal(flash)
    for value in range(500):
        journal.put({Key.COUNTER: value.to_bytes(8, "little"), Key.ALERTS: b"a" * (value % 40)})
    journal.put({Key.ALERTS: None})
    again = Journal(flash)
    assert again.get(Key.COUNTER) == (499).to_bytes(8, "little")
    assert again.get(Key.ALERTS) is None
    with pytest.raises(JournalFullError):
        again.put({Key.ALERTS: bytes(300)})
    assert Journal(flash).get(Key.COUNTER) == (499).to_bytes(8, "little")


def test_an_empty_device_has_nothing_to_run() -> None:
    with pytest.raises(NoFirmwareError):
        opened(Flash(sectors=42)).boot()


def test_a_new_image_runs_once_it_is_asked_for_and_stays_once_confirmed() -> None:
    flash, banks = produced()
    stored(flash, banks)
    assert opened(flash).boot().bank is Bank.A
    banks.request_trial()
    banks = opened(flash)
    boot = banks.boot()
    assert (boot.bank, boot.on_trial) == (Bank.B, True)
    banks.confirm()
    banks = opened(flash)
    boot = banks.boot()
    assert (boot.bank, boot.on_trial, boot.rolled_back) == (Bank.B, False, False)
    assert banks.outcome() == Outcome(success=True, file_version=NEW)
    assert banks.download is None


def test_an_image_that_never_confirms_is_given_up() -> None:
    flash, banks = produced()
    stored(flash, banks)
    banks.request_trial()
    for _ in range(BOOT_TRIES):
        assert opened(flash).boot().on_trial
    banks = opened(flash)
    boot = banks.boot()
    assert (boot.bank, boot.rolled_back) == (Bank.A, True)
    assert banks.outcome() == Outcome(success=False, file_version=OLD)
    assert banks.download is None
    assert not opened(flash).boot().rolled_back


def test_an_image_whose_bytes_changed_is_not_started() -> None:
    flash, banks = produced()
    stored(flash, banks)
    banks.request_trial()
    flash.erase(2 + 20)
    banks = opened(flash)
    assert banks.boot().bank is Bank.A
    assert banks.outcome() == Outcome(success=False, file_version=OLD)


def test_an_unsealed_image_is_not_started() -> None:
    flash, banks = produced()
    banks.begin(WANTED)
    banks.append(NEW_IMAGE)
    banks.request_trial()
    assert opened(flash).boot().bank is Bank.A


def test_a_download_goes_on_at_the_block_behind_a_sector_and_a_whole_one_stays_whole() -> None:
    flash, banks = produced()
    banks.begin(WANTED)
    for at in range(0, 2500, 50):
        banks.append(NEW_IMAGE[at : at + 50])
    banks = opened(flash)
    banks.boot()
    assert (banks.download, banks.offset) == (WANTED, 2050)
    banks.append(NEW_IMAGE[2050:])
    banks = opened(flash)
    banks.boot()
    assert (banks.offset, banks.downloaded()) == (len(NEW_IMAGE), NEW_IMAGE)
    banks.discard()
    assert opened(flash).boot().bank is Bank.A


def test_falling_back_needs_something_to_fall_back_to() -> None:
    _, banks = produced()
    assert not banks.fall_back()


def test_a_trial_leaves_no_download_and_a_rollback_no_image_to_try_again() -> None:
    flash, banks = produced()
    stored(flash, banks)
    banks.request_trial()
    for _ in range(BOOT_TRIES):
        banks = opened(flash)
        assert banks.boot().on_trial
        assert (banks.download, banks.offset) == (None, 0)
    banks = opened(flash)
    assert banks.boot().rolled_back
    assert (banks.image(Bank.B), banks.pending()) == (None, None)


@pytest.mark.parametrize(("address", "octets"), [(15, b"ab"), (32, b"a"), (-1, b"a")])
def test_a_program_lies_in_one_sector_of_the_flash(address: int, octets: bytes) -> None:
    flash = Flash(sectors=2, sector_bytes=16)
    with pytest.raises(FlashMisuseError, match="does not lie in one sector"):
        flash.program(address, octets)
    assert flash.operations == 0
