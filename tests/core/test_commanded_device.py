"""A device of the second update method: receipt, CS06 in all its outcomes; every refusal by name."""

import hashlib
from dataclasses import replace

import pytest

from chf import gbcs
from devices.nodes import events
from devices.nodes.settings import CommandedKind, Faults
from tests.support.commanded_rig import (
    ACB_KA,
    DEVICE_KA,
    DEVICE_KEY,
    START,
    STRANGER_KEY,
    SUPPLIER,
    SUPPLIER_KEY,
    CommandedRig,
    image_hash,
    not_obeyed,
    refused,
    signed_image,
)
from tests.support.model_hub import DEVICE, NEW, OLD, START_UTC, image

IMAGE = signed_image()
HASH = image_hash(IMAGE)
CODES = gbcs.ActivateImageResponseCode


@pytest.fixture
def rig() -> CommandedRig:
    """Joined, with the new image in flash and its receipt told."""
    ready = CommandedRig.started(hub_image=IMAGE)
    assert len(ready.hub.alerts) == 1
    return ready


def outcomes(rig: CommandedRig) -> list:
    """What was told after the receipt."""
    return rig.told()[1:]


# The receipt


def test_a_good_image_is_kept_and_its_receipt_told(rig) -> None:
    (receipt,) = rig.told()
    assert receipt == gbcs.GbzFirmwareDistributionReceiptAlert(
        gbcs.AlertCode.FIRMWARE_VERIFICATION_SUCCESSFUL, receipt.zigbee_time, HASH
    )
    (message,) = rig.messages()
    assert (message.header.originator, message.header.recipient) == (DEVICE, SUPPLIER)
    assert gbcs.verify_signature(message, DEVICE_KEY.public_key())
    assert [end.status for end in rig.hub.ends] == [0]
    assert rig.device.file_version() == OLD


def test_an_esme_tells_its_receipt_in_dlms() -> None:
    rig = CommandedRig.started(kind=CommandedKind.ESME, hub_image=IMAGE)
    (receipt,) = rig.told()
    assert isinstance(receipt, gbcs.DlmsFirmwareDistributionReceiptAlert)
    assert receipt.manufacturer_image_hash == HASH


BAD_IMAGES = {
    "of another supplier": signed_image(key=STRANGER_KEY),
    "with a flipped bit": IMAGE[:100] + bytes((IMAGE[100] ^ 1,)) + IMAGE[101:],
    "with a flipped signature": IMAGE[:-1] + bytes((IMAGE[-1] ^ 1,)),
    "without a signature": image(),
    "with the header's length of a signature and nothing before it": image(body_bytes=66),
}


@pytest.mark.parametrize("name", BAD_IMAGES)
def test_a_bad_image_is_discarded_and_its_receipt_told(name) -> None:
    rig = CommandedRig.started(hub_image=BAD_IMAGES[name])
    (receipt,) = rig.told()
    assert receipt.alert_code is gbcs.AlertCode.FIRMWARE_VERIFICATION_FAILED
    assert receipt.manufacturer_image_hash == image_hash(BAD_IMAGES[name])
    assert [end.status for end in rig.hub.ends] == [0x96]  # INVALID_IMAGE
    rig.say(rig.cs06(receipt.manufacturer_image_hash))
    rig.run(1)
    assert outcomes(rig) == [gbcs.ExecutionOutcome(CODES.NO_IMAGE_HELD, OLD)]


def test_a_receipt_is_told_once_over_reboots_and_repeated_ends(rig) -> None:
    rig.device.reboot()
    rig.restarted()
    assert len(rig.told()) == 1
    assert len(rig.hub.ends) == 2


def test_a_device_that_starts_anew_repeats_no_counter_of_its_former_life(rig) -> None:
    """Its flash is empty, as that of every emulated device after a restart, and the hub remembers."""
    (before,) = (message.header.counter for message in rig.messages())
    later = CommandedRig(hub_image=IMAGE)
    later.run(60.0)
    later.start()
    (after,) = (message.header.counter for message in later.messages())
    assert before < after
    assert before >= START * 1000


def test_the_counter_of_the_first_alert_can_be_given(rig) -> None:
    given = CommandedRig.started(hub_image=IMAGE, first_counter=77)
    given.say(given.cs06(HASH, given.utc + 5))
    given.run(10)
    given.restarted()
    alerts = [message.header for message in given.messages() if message.header.cra is gbcs.CraFlag.ALERT]
    assert [header.counter for header in alerts] == [77, 78]


def test_a_newer_image_replaces_the_one_that_waits(rig) -> None:
    newer = signed_image(NEW + 1, seed=2)
    rig.hub.image = newer
    rig.hub.notify()
    rig.run(30)
    rig.say(rig.cs06(HASH))
    rig.run(1)
    rig.say(rig.cs06(image_hash(newer)))
    rig.restarted()
    assert outcomes(rig)[1:] == [
        gbcs.ExecutionOutcome(CODES.HASH_MISMATCH, OLD),
        gbcs.ExecutionOutcome(CODES.SUCCESS, NEW + 1),
    ]


def test_a_hub_that_withdraws_its_offer_does_not_take_the_image_away(rig) -> None:
    rig.hub.stack.deliver(0x0019, _default_response_to_upgrade_end())
    rig.run(1)
    rig.say(rig.cs06(HASH))
    rig.restarted()
    assert outcomes(rig) == [gbcs.ExecutionOutcome(CODES.SUCCESS, NEW)]


def _default_response_to_upgrade_end():
    from devices.wire.zcl import General, ZclFrame

    return ZclFrame(1, General.DEFAULT_RESPONSE, bytes((0x06, 0x95)), cluster_specific=False, from_server=True)


# CS06 at once


def test_cs06_activates_and_is_answered_by_the_new_firmware(rig) -> None:
    rig.say(rig.cs06(HASH, counter=5000))
    rig.restarted()
    assert rig.device.file_version() == NEW
    assert outcomes(rig) == [gbcs.ExecutionOutcome(CODES.SUCCESS, NEW)]
    response = rig.messages()[-1]
    assert gbcs.verify_signature(response, DEVICE_KEY.public_key())
    assert (response.header.counter, response.header.originator, response.header.recipient) == (5000, DEVICE, SUPPLIER)
    assert response.mac is None
    assert response.header.date_time[:4] == gbcs.cosem_date_time(rig.utc)[:4]


def test_cs06_without_an_image_is_answered_no_image_held() -> None:
    rig = CommandedRig.started()
    rig.say(rig.cs06(HASH))
    rig.run(1)
    assert rig.told() == [gbcs.ExecutionOutcome(CODES.NO_IMAGE_HELD, OLD)]


def test_cs06_with_another_hash_is_answered_hash_mismatch_and_the_image_stays(rig) -> None:
    rig.say(rig.cs06(bytes(32)))
    rig.run(1)
    rig.say(rig.cs06(HASH))
    rig.restarted()
    assert outcomes(rig) == [gbcs.ExecutionOutcome(CODES.HASH_MISMATCH, OLD), gbcs.ExecutionOutcome(CODES.SUCCESS, NEW)]


def test_firmware_that_does_not_boot_is_answered_activation_failure() -> None:
    rig = CommandedRig.started(hub_image=IMAGE, faults=Faults(firmware_does_not_boot=True))
    rig.say(rig.cs06(HASH))
    rig.restarted()
    assert outcomes(rig)[0] == gbcs.ExecutionOutcome(CODES.ACTIVATION_FAILURE, OLD)
    assert rig.device.file_version() == OLD
    rig.run(30)  # what failed is gone from its flash; a hub that still offers it is asked for it again
    assert len(outcomes(rig)) == 2
    assert isinstance(outcomes(rig)[1], gbcs.GbzFirmwareDistributionReceiptAlert)


def test_a_second_cs06_for_an_image_that_runs_finds_no_image(rig) -> None:
    rig.say(rig.cs06(HASH))
    rig.restarted()
    rig.say(rig.cs06(HASH))
    rig.run(1)
    assert outcomes(rig)[-1] == gbcs.ExecutionOutcome(CODES.NO_IMAGE_HELD, NEW)


def test_the_hub_cannot_activate_what_the_supplier_did_not_command(rig) -> None:
    rig.hub.end_response(0, 0)
    rig.run(60)
    assert rig.device.file_version() == OLD


# Commands that are not obeyed


def test_a_replayed_command_is_not_obeyed(rig) -> None:
    command = rig.cs06(bytes(32))
    rig.say(command)
    rig.run(1)
    not_obeyed(rig, command, "its counter was used before")


def test_while_an_activation_is_under_way_no_other_command_is_obeyed(rig) -> None:
    rig.say(rig.cs06(HASH))
    rig.say(rig.cs06(bytes(32)))
    assert refused(rig) == ["an activation is under way"]
    rig.restarted()
    assert outcomes(rig) == [gbcs.ExecutionOutcome(CODES.SUCCESS, NEW)]


def test_a_command_whose_two_counters_differ_is_not_obeyed(rig) -> None:
    precommand = gbcs.make_cs06_precommand(SUPPLIER, DEVICE, 5000, HASH, None)
    other = replace(precommand, header=replace(precommand.header, counter=5001))
    signed = gbcs.sign(other, SUPPLIER_KEY)
    key = gbcs.mac_key(ACB_KA, DEVICE_KA.public_key(), signed.header)
    not_obeyed(rig, gbcs.add_mac(signed, key).to_bytes(), "its two originator counters differ")


def test_an_image_whose_force_replace_is_neither_0_nor_1_is_refused() -> None:
    """The signature does not cover that octet (GBCS 11.2.2)."""
    for value, failed in ((1, []), (2, ["no supplier's signature"])):
        octets = bytearray(IMAGE)
        octets[-66] = value
        rig = CommandedRig.started(hub_image=bytes(octets))
        assert [event.reason for event in rig.recorder.all(events.DownloadFailed)] == failed


def test_each_originator_has_counters_of_its_own(rig) -> None:
    command = rig.cs06(bytes(32), counter=9000)
    rig.say(command)
    rig.say(rig.cs08(counter=10))
    rig.run(1)
    assert refused(rig) == []
    not_obeyed(rig, command, "its counter was used before")


def test_a_lower_counter_is_not_obeyed_even_after_a_reboot(rig) -> None:
    rig.say(rig.cs06(bytes(32), counter=9000))
    rig.run(1)
    rig.device.reboot()
    rig.restarted()
    not_obeyed(rig, rig.cs06(HASH, counter=8999), "its counter was used before")


def without_its_mac(command: bytes) -> bytes:
    return command[command.index(b"\xdf") : -12]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda rig: rig.cs06(HASH, signer=STRANGER_KEY), "the signature is not its supplier's"),
        (lambda rig: rig.cs06(HASH, supplier=SUPPLIER + 1), "not from its supplier"),
        (lambda rig: rig.cs06(HASH, acb=STRANGER_KEY), "the MAC is not the Access Control Broker's"),
        (lambda rig: without_its_mac(rig.cs06(HASH)), "the MAC is not"),
        (lambda rig: rig.cs06(HASH, device=DEVICE + 1), "for another device"),
        *((lambda rig, cut=cut: rig.cs06(HASH)[:cut], "malformed") for cut in (0, 1, 50, 164)),
        (lambda rig: rig.hub.alerts[0], "a alert, not a command"),
    ],
)
def test_what_is_no_command_of_its_supplier_for_it_is_not_obeyed(rig, make, reason) -> None:
    not_obeyed(rig, make(rig), reason)


def test_every_flipped_octet_is_noticed(rig) -> None:
    command = rig.cs06(HASH)
    for at in range(0, len(command), 7):
        broken = command[:at] + bytes((command[at] ^ 0x01,)) + command[at + 1 :]
        rig.say(broken)
    rig.run(1)
    assert len(refused(rig)) == len(range(0, len(command), 7))
    assert rig.device.file_version() == OLD
    assert outcomes(rig) == []


# CS06 at a time


def test_a_future_dated_cs06_is_accepted_and_carried_out_at_its_time(rig) -> None:
    when = int(rig.utc) + 600
    rig.say(rig.cs06(HASH, when, counter=7000))
    rig.run(500)
    assert outcomes(rig) == [gbcs.CommandAccepted()]
    assert rig.device.file_version() == OLD
    rig.run(110)
    rig.restarted()
    assert rig.device.file_version() == NEW
    alert = gbcs.FutureDatedFirmwareActivationAlert(when, 7000, gbcs.ExecutionOutcome(CODES.SUCCESS, NEW))
    assert outcomes(rig) == [gbcs.CommandAccepted(), alert]
    assert alert.alert_code == 0x8F66
    message = rig.messages()[-1]
    assert gbcs.verify_signature(message, DEVICE_KEY.public_key())
    receipt = rig.messages()[0]
    assert message.header.counter == receipt.header.counter + 1  # its own, and not that of the command


def test_a_device_that_is_off_at_the_time_activates_when_it_is_back(rig) -> None:
    when = int(rig.utc) + 600
    rig.say(rig.cs06(HASH, when))
    rig.run(1)
    rig.device.power_off()
    rig.run(2000)
    rig.device.power_on()
    rig.run(20)
    rig.restarted()
    assert rig.device.file_version() == NEW
    assert outcomes(rig)[-1] == gbcs.FutureDatedFirmwareActivationAlert(
        when, rig.counter, gbcs.ExecutionOutcome(CODES.SUCCESS, NEW)
    )


def test_a_future_dated_cs06_survives_a_restart_before_its_time(rig) -> None:
    when = int(rig.utc) + 600
    rig.say(rig.cs06(HASH, when))
    rig.run(1)
    rig.device.reboot()
    rig.run(500)
    assert rig.device.file_version() == OLD
    rig.run(120)
    rig.restarted()
    assert rig.device.file_version() == NEW


def test_a_time_that_has_passed_is_now(rig) -> None:
    rig.say(rig.cs06(HASH, rig.utc - 1000))
    rig.restarted()
    assert [type(told) for told in outcomes(rig)] == [gbcs.CommandAccepted, gbcs.FutureDatedFirmwareActivationAlert]
    assert rig.device.file_version() == NEW


@pytest.mark.parametrize(
    ("hash_", "image_", "code"),
    [(bytes(32), IMAGE, CODES.HASH_MISMATCH), (HASH, None, CODES.NO_IMAGE_HELD)],
    ids=["hash mismatch", "no image held"],
)
def test_what_fails_at_its_time_is_told_by_8f67(hash_, image_, code) -> None:
    rig = CommandedRig.started(hub_image=image_)
    when = int(rig.utc) + 60
    rig.say(rig.cs06(hash_, when))
    rig.run(70)
    alert = rig.told()[-1]
    assert alert == gbcs.FutureDatedFirmwareActivationAlert(when, rig.counter, gbcs.ExecutionOutcome(code, OLD))
    assert alert.alert_code == 0x8F67


def test_firmware_that_does_not_boot_at_its_time_is_told_by_8f67() -> None:
    rig = CommandedRig.started(hub_image=IMAGE, faults=Faults(firmware_does_not_boot=True))
    rig.say(rig.cs06(HASH, rig.utc + 60))
    rig.run(70)
    rig.restarted()
    (alert,) = (told for told in rig.told() if isinstance(told, gbcs.FutureDatedFirmwareActivationAlert))
    assert alert.outcome == gbcs.ExecutionOutcome(CODES.ACTIVATION_FAILURE, OLD)
    assert alert.alert_code == 0x8F67


def test_a_cancelled_activation_never_happens(rig) -> None:
    rig.say(rig.cs06(HASH, rig.utc + 600))
    rig.say(rig.cs06(HASH, gbcs.CANCELLED_UTC_S))
    rig.run(5000)
    assert outcomes(rig) == [gbcs.CommandAccepted(), gbcs.CommandAccepted()]
    assert rig.device.file_version() == OLD
    assert [event.utc_s is None for event in rig.recorder.all(events.ActivationScheduled)] == [False, True]


def test_a_cancellation_after_the_execution_changes_nothing(rig) -> None:
    rig.say(rig.cs06(HASH, rig.utc + 10))
    rig.run(12)
    rig.restarted()
    rig.say(rig.cs06(HASH, gbcs.CANCELLED_UTC_S))
    rig.run(100)
    assert outcomes(rig)[-1] == gbcs.CommandAccepted()
    assert rig.device.file_version() == NEW


def test_a_second_future_dated_command_replaces_the_first(rig) -> None:
    first, second = int(rig.utc) + 600, int(rig.utc) + 1200
    rig.say(rig.cs06(HASH, first))
    rig.say(rig.cs06(HASH, second))
    rig.run(900)
    assert rig.device.file_version() == OLD
    rig.run(310)
    rig.restarted()
    alerts = [told for told in outcomes(rig) if isinstance(told, gbcs.FutureDatedFirmwareActivationAlert)]
    assert [(alert.execution_utc_s, alert.originator_counter) for alert in alerts] == [(second, rig.counter)]


def test_the_date_of_an_image_that_was_replaced_comes_to_hash_mismatch(rig) -> None:
    when = rig.utc + 500
    rig.say(rig.cs06(HASH, when))
    rig.hub.image = signed_image(NEW + 1, seed=2)
    rig.hub.notify()
    rig.run(600)
    told = rig.told()[-1]
    assert isinstance(told, gbcs.FutureDatedFirmwareActivationAlert)
    assert (told.alert_code, told.outcome) == (0x8F67, gbcs.ExecutionOutcome(CODES.HASH_MISMATCH, OLD))
    assert rig.device.file_version() == OLD


def test_an_immediate_command_replaces_one_that_is_due(rig) -> None:
    rig.say(rig.cs06(HASH, rig.utc + 600))
    rig.say(rig.cs06(HASH))
    rig.restarted()
    rig.run(1000)
    assert outcomes(rig) == [gbcs.CommandAccepted(), gbcs.ExecutionOutcome(CODES.SUCCESS, NEW)]


# Change of supplier


def after_change_of_supplier(former: CommandedRig) -> CommandedRig:
    """The same device, powered on with the certificate of another supplier and all that is in its flash.

    What it holds is verified anew at power-on, and the former supplier's image is no good to the new one's device.
    """
    former.device.power_off()
    rig = CommandedRig(flash=former.flash, supplier_key=STRANGER_KEY.public_key())
    rig.counter = former.counter
    rig.start()
    return rig


def test_the_former_supplier_is_not_obeyed_any_more(rig) -> None:
    changed = after_change_of_supplier(rig)
    not_obeyed(changed, changed.cs06(HASH), "the signature is not its supplier's")


def test_the_new_supplier_cannot_activate_what_the_former_one_signed(rig) -> None:
    changed = after_change_of_supplier(rig)
    changed.say(changed.cs06(HASH, signer=STRANGER_KEY))
    changed.restarted()
    assert changed.told()[-1] == gbcs.ExecutionOutcome(CODES.NO_IMAGE_HELD, OLD)
    assert changed.device.file_version() == OLD


def test_the_new_suppliers_own_image_replaces_it_and_activates(rig) -> None:
    octets = signed_image(NEW + 1, key=STRANGER_KEY)
    rig.device.power_off()
    changed = CommandedRig(flash=rig.flash, hub_image=octets, supplier_key=STRANGER_KEY.public_key())
    changed.counter = rig.counter
    changed.start()
    changed.run(600)  # past the next query
    receipts = [told.alert_code for told in changed.told()]
    assert receipts == [gbcs.AlertCode.FIRMWARE_VERIFICATION_FAILED, gbcs.AlertCode.FIRMWARE_VERIFICATION_SUCCESSFUL]
    changed.say(changed.cs06(image_hash(octets), signer=STRANGER_KEY))
    changed.restarted()
    assert changed.device.file_version() == NEW + 1


def test_a_date_of_the_former_supplier_does_not_activate_his_image_for_the_new_one(rig) -> None:
    rig.say(rig.cs06(HASH, rig.utc + 60))
    changed = after_change_of_supplier(rig)
    changed.run(120)
    changed.restarted()
    assert changed.device.file_version() == OLD
    told = changed.told()[-1]
    assert isinstance(told, gbcs.FutureDatedFirmwareActivationAlert)
    assert told.outcome == gbcs.ExecutionOutcome(CODES.NO_IMAGE_HELD, OLD)


# Its clock


@pytest.mark.parametrize("skew_s", [-86_400, 86_400], ids=["a day behind", "a day ahead"])
def test_a_wrong_clock_is_set_before_a_date_is_kept(skew_s) -> None:
    """The hub's Time cluster is asked before anything that has a date."""
    rig = CommandedRig.started(hub_image=IMAGE, clock_at_start=int(START_UTC) + skew_s)
    when = rig.utc + 100
    rig.say(rig.cs06(HASH, when))
    rig.run(90)
    assert rig.device.file_version() == OLD
    rig.run(20)
    rig.restarted()
    assert rig.device.file_version() == NEW


# Power


def test_the_power_may_be_cut_in_any_flash_operation_of_a_command() -> None:
    """Obeyed wholly or not at all: in the end, after the supplier asked again where it heard nothing, the new runs."""
    whole = CommandedRig.started(hub_image=IMAGE)
    before = whole.flash.operations
    whole.say(whole.cs06(HASH))
    whole.restarted()
    assert outcomes(whole) == [gbcs.ExecutionOutcome(CODES.SUCCESS, NEW)]
    operations = range(before + 1, whole.flash.operations + 1)
    assert len(operations) >= 5
    for operation in operations:
        rig = CommandedRig.started(hub_image=IMAGE)
        rig.flash.cut_power_at(operation)
        rig.say(rig.cs06(HASH))
        rig.run(20)
        if not rig.device.powered:
            rig.device.power_on()
        rig.restarted()
        answered = [told for told in outcomes(rig) if isinstance(told, gbcs.ExecutionOutcome)]
        if not answered:
            assert rig.device.file_version() == OLD, operation
            rig.say(rig.cs06(HASH))
            rig.restarted()
        results = {told.response_code for told in outcomes(rig)}
        assert results == {CODES.SUCCESS}, (operation, results)
        assert rig.device.file_version() == NEW
        assert len({hashlib.sha256(message).digest() for message in rig.hub.alerts}) == len(
            {message.header.counter for message in rig.messages()}
        )
