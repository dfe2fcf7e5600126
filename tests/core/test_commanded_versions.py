"""A device of the second update method tells what it runs: CS08, ECS52 and GCS38; every refusal by name."""

import pytest

from chf import gbcs
from devices.nodes.settings import CommandedKind
from tests.support.commanded_rig import (
    ACB,
    ACB_KA,
    DEVICE_KA,
    STRANGER_KEY,
    SUPPLIER,
    SUPPLIER_KA,
    CommandedRig,
    image_hash,
    not_obeyed,
    signed_image,
)
from tests.support.model_hub import NEW, OLD

IMAGE = signed_image()
HASH = image_hash(IMAGE)


@pytest.fixture
def rig() -> CommandedRig:
    """Joined, with the new image in flash and its receipt told."""
    return CommandedRig.started(hub_image=IMAGE)


# CS08


def test_cs08_is_answered_with_the_version_and_a_mac() -> None:
    rig = CommandedRig.started()
    rig.say(rig.cs08())
    rig.run(1)
    (told,) = rig.told()
    assert told == gbcs.ReadFirmwareVersionResponse(OLD, gbcs.ReadFirmwareVersionResponseCode.READ_SUCCESS)
    (message,) = rig.messages()
    assert gbcs.verify_mac(message, gbcs.mac_key(ACB_KA, DEVICE_KA.public_key(), message.header))
    assert message.header.supplementary is not None
    assert message.header.supplementary.entity_id == SUPPLIER


def test_a_replayed_cs08_is_not_answered(rig) -> None:
    command = rig.cs08()
    rig.say(command)
    rig.run(1)
    not_obeyed(rig, command, "its counter was used before")


def test_cs08_of_somebody_else_is_not_answered(rig) -> None:
    not_obeyed(rig, rig.cs08(originator=ACB + 1), "not from the Access Control Broker")
    not_obeyed(rig, rig.cs08(acb=STRANGER_KEY), "the MAC is not")


@pytest.mark.parametrize("kind", [CommandedKind.ESME, CommandedKind.GSME])
def test_a_meter_is_asked_by_another_use_case_than_cs08(kind) -> None:
    rig = CommandedRig.started(kind=kind)
    not_obeyed(rig, rig.cs08(), "CS08 is not for this device")


# ECS52, GCS38

METERS = [CommandedKind.ESME, CommandedKind.GSME]


def meter(kind: CommandedKind, **options) -> CommandedRig:
    return CommandedRig.started(kind=kind, **options)


@pytest.mark.parametrize("kind", METERS)
@pytest.mark.parametrize(("asked_by", "answered_under"), [(SUPPLIER, SUPPLIER_KA), (ACB, ACB_KA)])
def test_a_meter_answers_with_its_version_under_the_mac_of_who_asked(kind, asked_by, answered_under) -> None:
    rig = meter(kind)
    command = rig.ask_meter(originator=asked_by)
    rig.say(command)
    rig.run(1)
    (told,) = rig.told()
    assert told.firmware_version == OLD
    (message,) = rig.messages()
    assert message.header == gbcs.response_header(gbcs.GbcsMessage.from_bytes(command).header)
    assert gbcs.verify_mac(message, gbcs.mac_key(answered_under, DEVICE_KA.public_key(), message.header))
    not_obeyed(rig, command, "its counter was used before")


@pytest.mark.parametrize("kind", METERS)
def test_a_meter_that_activated_tells_the_new_version(kind) -> None:
    rig = meter(kind, hub_image=IMAGE)
    rig.say(rig.cs06(HASH))
    rig.restarted()
    rig.say(rig.ask_meter())
    rig.run(1)
    assert rig.told()[-1].firmware_version == NEW


@pytest.mark.parametrize("kind", METERS)
def test_a_meter_asked_wrongly_does_not_answer(kind) -> None:
    rig = meter(kind)
    not_obeyed(rig, rig.ask_meter(originator=SUPPLIER + 1), "neither from its supplier nor from the Access")
    not_obeyed(rig, rig.ask_meter(acb=STRANGER_KEY), "the MAC is not")
    (other,) = set(METERS) - {kind}
    not_obeyed(rig, rig.ask_meter(kind=other), "ECS52 is not" if kind is CommandedKind.GSME else "GCS38 is not")


def test_an_hcalcs_is_asked_by_cs08_alone() -> None:
    rig = meter(CommandedKind.HCALCS)
    for kind in METERS:
        not_obeyed(rig, rig.ask_meter(kind=kind), "ECS52" if kind is CommandedKind.ESME else "GCS38")


def test_a_meter_without_its_suppliers_certificate_cannot_answer_it_and_keeps_the_counter() -> None:
    rig = meter(CommandedKind.ESME, supplier_agreement_key=None)
    not_obeyed(rig, rig.ask_meter(), "no key agreement with its supplier")
    rig.say(rig.ask_meter(originator=ACB))
    rig.run(1)
    assert len(rig.told()) == 1


def test_the_supplier_and_the_broker_count_apart(rig) -> None:
    rig.say(rig.cs08(counter=1_000_000))
    rig.say(rig.cs06(HASH, counter=5))
    rig.restarted()
    assert rig.device.file_version() == NEW
