"""Updates that the supplier commands: what may be started how, and what each message of a device means to its update."""

from dataclasses import replace

import pytest

from chf import gbcs
from chf.clock import Instant, Now, UtcSeconds
from chf.eui64 import Eui64
from chf.hub.messages_from_devices import to_update_event
from chf.image.image import ImageId
from chf.update import model
from chf.update.transitions import apply
from chf.update.versions import VersionsTold
from tests.support.updates import MADE_FOR, told

OLD, NEW = 1, 2
UTC = UtcSeconds(2_000_000_000.0)
NOW = Now(Instant(100.0), UTC)
CODES = gbcs.ActivateImageResponseCode


def waiting(**changes) -> model.Update:
    """An update whose device holds the image."""
    update = model.accept(
        number=model.UpdateId(1),
        device=Eui64(5),
        image=ImageId("a" * 64),
        image_type=MADE_FOR,
        file_version=NEW,
        activation=model.ActivateByCommand(),
        origin="test",
        version_before=OLD,
        now_utc=UTC,
        lifetime_s=1000,
    )
    held = {
        "state": model.UpdateState.WAITING,
        "waiting_for": model.WaitReason.COMMAND,
        "transfer": model.TransferOutcome.SUCCESS,
    }
    return replace(update, **{**held, **changes})


def after(update: model.Update, payload) -> model.Update:
    versions = VersionsTold()
    versions.add(update.device, MADE_FOR)
    for event in to_update_event(payload, update, NOW.utc).events:
        told = isinstance(event, model.VersionObserved)
        heard = versions.by_message(update.device, event.file_version) if told else event
        update, _ = apply(update, heard, NOW)
    return update


def read_back(update: model.Update, version: int) -> model.Update:
    return apply(update, told(version), NOW)[0]


@pytest.mark.parametrize("dated", [False, True], ids=["response", "alert"])
def test_success_is_believed_after_the_read_back(dated):
    outcome = gbcs.ExecutionOutcome(CODES.SUCCESS, NEW)
    update = after(waiting(), gbcs.FutureDatedFirmwareActivationAlert(1, 1, outcome) if dated else outcome)
    assert update.state is model.UpdateState.ACTIVATING
    assert read_back(update, NEW).state is model.UpdateState.ACTIVATED
    assert read_back(update, OLD).state is model.UpdateState.REVERTED


def test_activation_failure_ends_the_update_after_the_read_back():
    update = after(waiting(), gbcs.ExecutionOutcome(CODES.ACTIVATION_FAILURE, OLD))
    ended = read_back(update, OLD)
    assert ended.state is model.UpdateState.FAILED
    assert "reported failure" in ended.reason


@pytest.mark.parametrize("code", [CODES.NO_IMAGE_HELD, CODES.HASH_MISMATCH])
def test_a_command_that_fits_no_image_leaves_the_update_waiting(code):
    update = waiting()
    assert after(update, gbcs.ExecutionOutcome(code, OLD)) == update


def test_the_success_of_another_version_is_not_this_updates():
    update = waiting()
    assert after(update, gbcs.ExecutionOutcome(CODES.SUCCESS, NEW + 1)) == update


def test_an_update_of_the_first_method_is_not_moved_by_cs06():
    update = waiting(activation=model.ActivateHold())
    assert after(update, gbcs.ExecutionOutcome(CODES.SUCCESS, NEW)) == update


def test_an_update_whose_device_holds_nothing_is_not_moved_by_cs06():
    update = waiting(state=model.UpdateState.DOWNLOADING, transfer=None)
    assert after(update, gbcs.ExecutionOutcome(CODES.SUCCESS, NEW)) == update


def test_cs08_reads_the_version_back():
    update = after(waiting(), gbcs.ExecutionOutcome(CODES.SUCCESS, NEW))
    told = gbcs.ReadFirmwareVersionResponse(NEW, gbcs.ReadFirmwareVersionResponseCode.READ_SUCCESS)
    assert after(update, told).state is model.UpdateState.ACTIVATED
    failed = gbcs.ReadFirmwareVersionResponse(0, gbcs.ReadFirmwareVersionResponseCode.READ_FAILURE)
    assert to_update_event(failed, update, UTC).events == ()


def test_words_and_codes_for_the_outbox():
    def told(payload):
        means = to_update_event(payload, None, UTC)
        return means.outcome, means.alert_code

    assert told(gbcs.CommandAccepted()) == ("accepted", 0)
    assert told(gbcs.ExecutionOutcome(CODES.HASH_MISMATCH, OLD)) == ("hash mismatch", 0)
    failure = gbcs.FutureDatedFirmwareActivationAlert(1, 1, gbcs.ExecutionOutcome(CODES.NO_IMAGE_HELD, OLD))
    assert told(failure) == ("no image held", 0x8F67)
    success = gbcs.FutureDatedFirmwareActivationAlert(1, 1, gbcs.ExecutionOutcome(CODES.SUCCESS, NEW))
    assert told(success) == ("success", 0x8F66)
    for code, word in (
        (gbcs.AlertCode.FIRMWARE_VERIFICATION_SUCCESSFUL, "verified"),
        (gbcs.AlertCode.FIRMWARE_VERIFICATION_FAILED, "verification failed"),
    ):
        assert told(gbcs.GbzFirmwareDistributionReceiptAlert(code, 1, bytes(32))) == (word, code)
