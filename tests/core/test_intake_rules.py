"""Intake: which devices of an SR 11.4 may have the image, why the others may not, and what the answer says."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from chf.dcc.intake import EVERY_CHECK, DeviceRefusal, IntakePolicy, RefusalList, decide
from chf.dcc.inventory import StoreInventory
from chf.duis import RequestId, ResponseCode, ServiceReference
from chf.duis.document import parse_document
from chf.duis.service_request import read_service_request
from chf.duis.xml_signature import detach
from chf.eui64 import Eui64
from chf.image.image import parse_image
from chf.store import Store
from chf.store.images import record_of
from chf.update.eligibility import Candidate, Check, InProgress
from chf.update.model import ActivateByCommand, TransferOutcome, UpdateState
from tests.support.dcc_bench import ESME as LOGGED
from tests.support.dcc_bench import NOW, log_devices, update_request
from tests.support.dcc_bench import image as plain_image
from tests.support.updates import accepted, runs

REFERENCE = Path(__file__).parents[2].parent / "shared" / "reference" / "duis"
SUPPLIER, ACB = Eui64(0x90B3D51F30010000), Eui64(0x90B3D51F30000002)
PPMID, SECOND, ESME, IHD, UNKNOWN = (Eui64(0x00DB1234567890A4 + at) for at in range(5))
FILE_VERSION = 0x00000002


def image(tail: bytes = b"", **changes) -> bytes:
    return plain_image(b"\xee" * 100 + tail, **changes)


def request(*devices: Eui64, counter: int = 1000, version: str = "2", content: bytes | None = None, **changes):
    asked = update_request(*devices, counter=counter, content=content)
    return replace(asked, firmware_version=version, **changes)


class Inventory:
    """A device log in a dictionary."""

    def __init__(self, *devices: Candidate, last_counter: int | None = None) -> None:
        self.devices = {device.eui64: device for device in devices}
        self.counter = last_counter

    def device(self, eui64):
        return self.devices.get(eui64)

    def last_counter(self, originator):
        assert originator == SUPPLIER
        return self.counter


def ppmid(eui64: Eui64 = PPMID, **changes) -> Candidate:
    known = Candidate(eui64, "PPMID", commissioned=True, images=runs(1, 0x1234, hardware=2))
    return replace(known, **changes)


LOG = Inventory(ppmid(), ppmid(SECOND), ppmid(ESME, device_type="ESME"), ppmid(IHD, device_type="IHD"))


def refusal_of(decision) -> DeviceRefusal:
    assert decision.accepted == ()
    (refusal,) = decision.refused
    return refusal


def test_intake_accepts_and_acknowledges():
    decision = decide(request(PPMID, SECOND), LOG)
    assert decision.accepted == (PPMID, SECOND)
    assert (decision.refused, decision.request_refusal, decision.notes) == ((), None, ())
    assert decision.image.header.file_version == FILE_VERSION
    answer = decision.response(1420070400)
    assert (answer.code, answer.content) == (ResponseCode.ACKNOWLEDGED, None)


def test_intake_device_named_twice_is_taken_once():
    assert decide(request(PPMID, SECOND, PPMID), LOG).accepted == (PPMID, SECOND)


@pytest.mark.parametrize(
    ("device", "check", "in_list", "words"),
    [
        (None, Check.KNOWN, RefusalList.INVALID_DEVICE_ID, "not in the device log"),
        (ppmid(device_type="ESME"), Check.DEVICE_TYPE, RefusalList.INVALID_DEVICE_ID, "of type ESME; .* updates PPMID"),
        (ppmid(device_type="HCALCS"), Check.DEVICE_TYPE, RefusalList.INVALID_DEVICE_ID, "of type HCALCS"),
        (ppmid(device_type="IHD"), Check.DEVICE_TYPE, RefusalList.INVALID_DEVICE_ID, "stand-alone IHD"),
        (ppmid(commissioned=False), Check.COMMISSIONED, RefusalList.NOT_COMMISSIONED, "not joined"),
        (
            ppmid(in_progress=InProgress("")),
            Check.IN_PROGRESS,
            RefusalList.OTHER_REQUEST_IN_PROGRESS,
            "has another update in progress",
        ),
        (ppmid(images=runs(1, 0x9999)), Check.MANUFACTURER, RefusalList.NOT_APPLICABLE_FIRMWARE, "0x9999"),
        (ppmid(images=runs(1, 0x1234, 7)), Check.IMAGE_TYPE, RefusalList.NOT_APPLICABLE_FIRMWARE, "0x0007"),
        (ppmid(images=runs(2, 0x1234)), Check.SAME_VERSION, RefusalList.NOT_APPLICABLE_FIRMWARE, "already"),
        (ppmid(images=runs(3, 0x1234)), Check.DOWNGRADE, RefusalList.NOT_APPLICABLE_FIRMWARE, "newer than 0x00000002"),
    ],
)
def test_intake_device_is_refused_with_list_and_reason(device, check, in_list, words):
    inventory = Inventory(*([device] if device else []))
    decision = decide(request(), inventory)
    refusal = refusal_of(decision)
    assert (refusal.device, refusal.check, refusal.in_list) == (PPMID, check, in_list)
    assert re.search(words, refusal.reason)
    assert str(refusal).startswith("00-DB-12-34-56-78-90-A4: ")
    answer = decision.response(0)
    assert answer.code is ResponseCode.UPDATE_PPMID_FIRMWARE_NO_DEVICE
    assert getattr(answer.content, in_list.value) == (PPMID,)


@pytest.mark.parametrize(("flag", "taken"), [(b"\x00", ()), (b"\x01", (ESME,))], ids=["without", "with ForceReplace"])
def test_intake_an_update_under_way_gives_way_to_force_replace_alone(flag, taken):
    signed = image(flag + b"\x40" + bytes(range(64)))
    asked = request(ESME, content=signed, service_reference=ServiceReference.UPDATE_FIRMWARE)
    busy = Inventory(ppmid(ESME, device_type="ESME", in_progress=InProgress("")))
    assert decide(asked, busy).accepted == taken


@pytest.mark.parametrize(
    ("state", "transfer", "busy"),
    [
        (UpdateState.DOWNLOADING, None, True),
        (UpdateState.WAITING, TransferOutcome.SUCCESS, False),
        (UpdateState.ACTIVATING, TransferOutcome.SUCCESS, True),
    ],
)
def test_intake_an_image_that_waits_for_its_supplier_is_no_request_in_progress(tmp_path, state, transfer, busy):
    with Store.open(tmp_path) as store:
        log_devices(store)
        parsed = parse_image(image())
        update = accepted(1, LOGGED, parsed.sha256, activation=ActivateByCommand())
        with store.transaction() as tx:
            tx.images.add(record_of(parsed, "i", NOW.utc), image())
            tx.updates.add(update)
            tx.updates.update(replace(update, state=state, transfer=transfer))
        in_progress = StoreInventory(store).device(LOGGED).in_progress
        assert (in_progress.number, in_progress.distributed) == (1, not busy)


def test_intake_image_for_another_device_only_is_refused():
    element = b"\0\0" + (5).to_bytes(4, "little") + b"image"
    changes = {"hardware_versions": None, "total_image_size": 64 + len(element)}
    asked = request(PPMID, SECOND, content=image(**changes, destination=SECOND)[:64] + element)
    decision = decide(asked, Inventory(ppmid(), ppmid(SECOND)))
    assert decision.accepted == (SECOND,)
    (refusal,) = decision.refused
    assert (refusal.device, refusal.check, refusal.in_list) == (
        PPMID,
        Check.DESTINATION,
        RefusalList.NOT_APPLICABLE_FIRMWARE,
    )
    assert refusal.reason == "the image is for 00-DB-12-34-56-78-90-A5 only"


def test_intake_what_is_not_known_yet_is_no_reason_to_refuse():
    blank = ppmid(images=())
    assert decide(request(), Inventory(blank)).accepted == (PPMID,)


def test_intake_mixed_list_is_accepted_in_part():
    decision = decide(request(UNKNOWN, PPMID, ESME, IHD), LOG)
    assert decision.accepted == (PPMID,)
    answer = decision.response(0)
    assert answer.code is ResponseCode.UPDATE_PPMID_FIRMWARE_PARTIAL
    assert answer.content.invalid == (UNKNOWN, ESME, IHD)


def test_intake_fifty_thousand_devices():
    everybody = [Eui64(number) for number in range(50_000)]
    inventory = Inventory(*(ppmid(eui64) for eui64 in everybody[::2]))
    decision = decide(request(*everybody), inventory)
    assert (len(decision.accepted), len(decision.refused)) == (25_000, 25_000)


@pytest.mark.parametrize(("last", "taken"), [(None, True), (999, True), (1000, False), (2**64 - 1, False)])
def test_intake_counter_must_rise(last, taken):
    decision = decide(request(), Inventory(ppmid(), last_counter=last))
    assert bool(decision.accepted) is taken
    if not taken:
        assert "replayed" in decision.request_refusal.reason
        assert decision.response(0).code is ResponseCode.VALIDATION


def test_intake_request_to_somebody_else_is_refused():
    decision = decide(request(request_id=RequestId(SUPPLIER, PPMID, 1)), LOG)
    assert "addressed to 00-DB-12-34-56-78-90-A4" in decision.request_refusal.reason


def test_intake_update_firmware_wants_a_signature_and_may_be_switched_off():
    asked = request(ESME, service_reference=ServiceReference.UPDATE_FIRMWARE)
    only_ppmids = IntakePolicy(services=frozenset({ServiceReference.UPDATE_PPMID_FIRMWARE}))
    assert "11.1" in decide(asked, LOG, only_ppmids).request_refusal.reason
    unsigned = decide(asked, LOG)
    assert unsigned.request_refusal.code is ResponseCode.UPDATE_FIRMWARE_IMAGE
    assert "no supplier's signature" in unsigned.request_refusal.reason
    signed = replace(asked, image=image(b"\x00\x40" + bytes(64)), device_ids=(ESME, PPMID))
    decision = decide(signed, LOG)
    assert decision.accepted == (ESME,)
    assert "updates ESME, GSME, HCALCS" in decision.refused[0].reason
    assert decision.response(0).code is ResponseCode.UPDATE_FIRMWARE_PARTIAL


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\0" * 100, "image"),
        (image()[:-1], "image"),
        (image() + b"\0", "image"),
        (image(b"\x00\x40" + bytes(64)), "ends in a supplier's signature"),
    ],
)
def test_intake_bad_image_is_refused_whole(content, words):
    decision = decide(request(content=content), LOG)
    assert (decision.accepted, decision.image) == ((), None)
    assert words in decision.request_refusal.reason
    assert decision.response(0).code is ResponseCode.UPDATE_PPMID_FIRMWARE_IMAGE


def test_intake_image_over_the_limit_is_refused():
    decision = decide(request(), LOG, IntakePolicy(image_limit_bytes=100))
    assert decision.request_refusal.code is ResponseCode.UPDATE_PPMID_FIRMWARE_IMAGE


def test_intake_version_that_differs_from_the_header_is_noted_or_refused():
    asked = request(version="00000000")
    (note,) = decide(asked, LOG).notes
    assert "FirmwareVersion is 00000000, the image's header says 00000002" in note
    assert "image-version is not enforced" in note
    strict = IntakePolicy(enforced=EVERY_CHECK)
    assert "header says 00000002" in decide(asked, LOG, strict).request_refusal.reason
    assert decide(request(version="00000002"), LOG, strict).accepted == (PPMID,)


def test_intake_hardware_outside_the_range_is_left_to_the_hub_unless_enforced():
    inventory = Inventory(ppmid(images=runs(1, 0x1234, hardware=9)))
    decision = decide(request(), inventory)
    assert decision.accepted == (PPMID,)
    assert "0x0009 is not in 0x0001 to 0x0004" in decision.notes[0]
    strict = decide(request(), inventory, IntakePolicy(enforced=EVERY_CHECK))
    assert refusal_of(strict).check is Check.HARDWARE_VERSION


def test_intake_unenforced_device_check_lets_the_device_through_with_a_note():
    policy = IntakePolicy(enforced=EVERY_CHECK - {Check.DOWNGRADE})
    decision = decide(request(), Inventory(ppmid(images=runs(9, 0x1234))), policy)
    assert decision.accepted == (PPMID,)
    assert "newer" in decision.notes[-1]


@pytest.mark.skipif(not REFERENCE.exists(), reason="the public DUIS reference data is not beside the checkout")
def test_intake_takes_the_public_sample():
    sample = (REFERENCE / "11.4_UPDATE_PPMID_FIRMWARE_REQUEST_DUIS.XML").read_bytes()
    root = parse_document(sample)
    detach(root)
    known = Candidate(PPMID, "PPMID", commissioned=True)
    decision = decide(read_service_request(root).request, Inventory(known))
    assert decision.accepted == (PPMID,)
    assert decision.image.header.file_version == 0xACDCACDC
    assert "FirmwareVersion is 00000000" in decision.notes[0]
