"""The power is cut at every single flash operation of two whole updates, in three ways. Required at each one:

after power returns the device runs the old image or the new one, byte for byte; once the world stops cutting, both
updates are finished by themselves; no originator counter is used for two different messages; no outcome goes untold.
"""

from __future__ import annotations

import pytest

from chf.gbcs import GbcsMessage, parse_payload, verify_signature
from devices.nodes import events
from devices.nodes.firmware import factory_image
from devices.nodes.flash import Flash
from devices.nodes.image_bank import Bank, ImageBanks
from devices.nodes.journal import Journal, Key
from tests.support.model_hub import NEW, SIGNING_KEY, Rig, image

FIRST, SECOND = image(NEW, 1500, seed=1), image(NEW + 1, 1200, seed=2)
SECTOR = 512


def new_rig() -> Rig:
    rig = Rig(flash=Flash(sectors=16, sector_bytes=SECTOR), hub_image=FIRST, query_interval_s=30.0, reboot_s=0.2)
    rig.device.power_on()
    return rig


def run_both_updates(rig: Rig) -> None:
    """Until the second version runs and both alerts were taken; a device that lost its power gets it back."""
    losses = 0
    for _ in range(4000):
        if rig.device.powered and rig.device.file_version() == NEW + 1 and all_told(rig):
            return
        if len(rig.recorder.all(events.PowerLost)) > losses:
            losses += 1
            check_what_would_boot(rig.flash)
            rig.device.power_on()
        if rig.device.file_version() == NEW:
            rig.hub.image = SECOND
        rig.run(0.25)
        if rig.stack.joined:
            rig.hub.open_tunnel()
    raise AssertionError("the updates never came to their end")


def all_told(rig: Rig) -> bool:
    journal = Journal(rig.flash)
    banks = ImageBanks(rig.flash, journal)
    return banks.outcome() is None and not journal.get(Key.ALERTS)


def check_what_would_boot(flash: Flash) -> None:
    flash.restore_power()
    banks = ImageBanks(flash, Journal(flash))
    if banks.is_blank():
        return  # cut while the production line was still at work
    whole = {factory_image(Rig().device.settings), FIRST, SECOND}
    sealed = [banks.image(bank) for bank in Bank]
    assert any(octets is not None for octets in sealed)
    assert all(octets is None or octets in whole for octets in sealed)
    assert banks.image(banks.boot().bank) in whole


def check_alerts(rig: Rig) -> list[int]:
    """No counter says two things. Returns the versions of the distinct alerts that tell of success."""
    messages = {bytes(message) for message in rig.hub.alerts}
    parsed = [GbcsMessage.from_bytes(message) for message in messages]
    counters = [message.header.counter for message in parsed]
    assert len(counters) == len(set(counters)), "one counter, two messages"
    assert all(verify_signature(message, SIGNING_KEY.public_key()) for message in parsed)
    payloads = [parse_payload(message) for message in parsed]
    return sorted(payload.firmware_version for payload in payloads if payload.result == 0)


def operations_of_both_updates() -> int:
    rig = new_rig()
    run_both_updates(rig)
    assert check_alerts(rig) == [NEW, NEW + 1]
    return rig.flash.operations


@pytest.mark.parametrize("done", [0.0, 0.5, 1.0], ids=["undone", "half", "done"])
def test_power_cut_at_every_flash_operation(done: float) -> None:
    operations = operations_of_both_updates()
    assert operations > 80
    for k in range(1, operations + 1):
        rig = Rig(flash=Flash(sectors=16, sector_bytes=SECTOR), hub_image=FIRST, query_interval_s=30.0, reboot_s=0.2)
        rig.flash.cut_power_at(k, done=done)
        rig.device.power_on()
        run_both_updates(rig)
        assert len(rig.recorder.all(events.PowerLost)) == 1, f"operation {k}"
        assert check_alerts(rig) == [NEW, NEW + 1], f"operation {k}"


def test_power_cut_again_and_again() -> None:
    """Every 7th operation, for a while: progress must survive its own interruptions."""
    rig = new_rig()
    for cut in range(25):
        before = len(rig.recorder.all(events.PowerLost))
        rig.flash.cut_power_at(rig.flash.operations + 7, done=cut % 3 / 2)
        for _ in range(400):
            rig.run(0.25)
            if len(rig.recorder.all(events.PowerLost)) > before:
                break
            if rig.stack.joined:
                rig.hub.open_tunnel()
        check_what_would_boot(rig.flash)
        rig.device.power_on()
    run_both_updates(rig)
    assert NEW + 1 in check_alerts(rig)
