"""The desk: one document in, one signed answer out. Updates, and who asks; the schema over every answer."""

from dataclasses import replace

import pytest

from chf.dcc import reception
from chf.dcc.desk import Desk
from chf.dcc.intake import IntakePolicy
from chf.dcc.products import Cpl, Product, ProductStatus
from chf.dcc.settings import DccSettings, DeskPolicy, User
from chf.dcc.signers import NOBODY, SignaturePolicy, Signers
from chf.dcc.smi import Smi, SmiStatus
from chf.duis import RequestId, ServiceReference
from chf.duis.device_request import ReadFirmwareVersionRequest
from chf.errors import MalformedRequestError, RefusedError
from chf.eui64 import Eui64, format_eui64
from chf.image.image import parse_image
from chf.store import DeviceStatus, DeviceType, Store
from chf.store.inbox import Verb
from chf.update.model import ActivateAt
from tests.support.dcc_bench import (
    ACB,
    ESME,
    NOW,
    PPMID,
    REFERENCE,
    SECOND,
    STRANGER,
    SUPPLIER,
    field,
    image,
    signed,
    update_request,
)
from tests.support.desk_bench import D, S, T, desk_bench, known

REFERENCE_REASON = "the public DUIS reference data is not beside the checkout"


@pytest.fixture
def bench(tmp_path):
    with desk_bench(tmp_path) as made:
        yield made


# --- updates


def test_desk_takes_an_update_and_hands_it_to_the_hub(bench):
    answer = bench.ask(update_request(), D)
    assert (answer.code.value, answer.reason) == ("I99", "")
    (command,) = bench.store.inbox.pending()
    assert (command.id, command.verb) == (answer.command, Verb.UPDATE_START)
    assert command.body["devices"] == [format_eui64(PPMID)]
    (followed,) = bench.store.followed.list()
    assert (followed.command, followed.request) == (command.id, str(update_request().request_id))


def test_desk_takes_no_activation_time_while_the_clock_is_not_trusted(bench):
    now = replace(NOW, distrust="it was set")
    desk, octets = Desk(bench.store, bench.pki), update_request().to_bytes()
    with pytest.raises(RefusedError, match=r"not trusted \(it was set\).*chf clock trust"):
        desk.take(octets, now, activation=ActivateAt(NOW.utc + 3600))
    assert desk.take(octets, now).code.value == "I99"


def test_desk_names_refused_devices_in_the_lists_and_in_words(bench):
    answer = bench.ask(update_request(PPMID, STRANGER, ESME), D)
    assert answer.code.value == "W110401"
    assert field(answer.document, "InvalidDeviceIDList") == f"{format_eui64(STRANGER)},{format_eui64(ESME)}"
    assert "not in the device log" in answer.reason
    assert "of type ESME" in answer.reason


def test_desk_refuses_a_replayed_update(bench):
    bench.ask(update_request(), D)
    answer = bench.ask(update_request(), D)
    assert (answer.code.value, len(bench.store.inbox.pending())) == ("E11", 1)
    assert "used before" in answer.reason


@pytest.mark.parametrize(
    ("module", "function", "request_", "words"),
    [
        (reception, "decide", update_request(), "used before"),
        (Signers, "check", ReadFirmwareVersionRequest(RequestId(SUPPLIER, PPMID, 1000)), "replayed"),
    ],
)
def test_desk_of_another_process_takes_the_same_request_meanwhile(
    bench, monkeypatch, module, function, request_, words
):
    """`chf dcc submit` beside `chf dcc serve`: between the look at the counter and the writing, the other is faster."""
    decide, others = getattr(module, function), []

    def slowly(*arguments, **options):
        outcome = decide(*arguments, **options)
        monkeypatch.setattr(module, function, decide)
        with Store.open(bench.home) as store:
            others.append(Desk(store, bench.pki).take(request_.to_bytes(), NOW).code.value)
        return outcome

    monkeypatch.setattr(module, function, slowly)
    answer = bench.ask(request_)
    assert (others, answer.code.value) == (["I99"], "E11")
    assert words in answer.reason
    assert len(bench.store.inbox.pending()) + len(bench.store.device_messages.waiting()) == 1


def test_desk_decides_again_where_the_hub_wrote_something_meanwhile(bench, monkeypatch):
    decide = reception.decide

    def slowly(*arguments):
        monkeypatch.setattr(reception, "decide", decide)
        decision = decide(*arguments)
        with Store.open(bench.home) as hub, hub.transaction() as tx:
            tx.devices.update(replace(tx.devices.get(PPMID), status=DeviceStatus.LEFT))
        return decision

    monkeypatch.setattr(reception, "decide", slowly)
    answer = bench.ask(update_request(PPMID, SECOND))
    assert field(answer.document, "NotCommissionedDeviceIDList") == format_eui64(PPMID)
    (command,) = bench.store.inbox.pending()
    assert command.body["devices"] == [format_eui64(SECOND)]


def test_desk_counts_an_update_that_the_hub_has_not_seen_yet_as_in_progress(bench):
    bench.ask(update_request(PPMID))
    answer = bench.ask(update_request(PPMID, SECOND, counter=1001))
    assert field(answer.document, "OtherRequestInProgressList") == format_eui64(PPMID)


def test_desk_refuses_distribution_where_the_policy_leaves_it_out(bench):
    request = replace(update_request(ESME), service_reference=ServiceReference.UPDATE_FIRMWARE)
    only_ppmids = IntakePolicy(services=frozenset({ServiceReference.UPDATE_PPMID_FIRMWARE}))
    answer = bench.ask(request, D, intake=only_ppmids)
    assert (answer.code.value, bench.store.inbox.pending()) == ("E11", ())
    assert "11.1" in answer.reason


# --- product list and inventory


def product(**changes) -> Product:
    made = parse_image(image())
    entry = Product("P2", DeviceType.PPMID, "1234", "M1", 2, made.manufacturer_image_hash)
    return replace(entry, **changes)


def listed(bench, *products: Product) -> None:
    for entry in products:
        Cpl(bench.home).put(entry)


def test_desk_takes_what_the_product_list_has(bench):
    listed(bench, product())
    assert bench.ask(update_request()).code.value == "I99"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"image_hash": "ab" * 32}, "no entry with hash"),
        ({"firmware_version": 3}, "version 00000003 for this hash"),
        ({"device_type": DeviceType.ESME}, "for other models"),
        ({"status": ProductStatus.WITHDRAWN}, "entry P2 is Withdrawn"),
        ({"status": ProductStatus.EXPIRED}, "entry P2 is Expired"),
        ({"status": ProductStatus.CANCELLED}, "entry P2 is Cancelled"),
    ],
)
def test_desk_refuses_what_the_product_list_does_not_have(bench, changes, words):
    listed(bench, product(**changes))
    answer = bench.ask(update_request())
    assert (answer.code.value, field(answer.document, "NotApplicableFirmwareDeviceIDList")) == (
        "E110402",
        format_eui64(PPMID),
    )
    assert words in answer.reason


@pytest.mark.parametrize(("from_version", "code"), [(1, "I99"), (7, "E110402")])
def test_desk_enforces_the_upgrade_path(bench, from_version, code):
    listed(bench, product(id="P1", firmware_version=from_version, image_hash="ab" * 32), product(upgrade_from=("P1",)))
    answer = bench.ask(update_request())
    assert answer.code.value == code
    assert ("may only be reached from P1" in answer.reason) == (code != "I99")


def test_desk_reads_the_product_list_again_when_it_changes(bench):
    desk = Desk(bench.store, bench.pki)
    listed(bench, product(status=ProductStatus.WITHDRAWN))
    assert desk.take(update_request().to_bytes(), NOW).code.value == "E110402"
    listed(bench, product())
    assert desk.take(update_request(counter=1001).to_bytes(), NOW).code.value == "I99"


@pytest.mark.parametrize(
    ("record", "list_name"),
    [
        (known(SECOND), "InvalidDeviceIDList"),
        (known(device_type=DeviceType.IHD), "InvalidDeviceIDList"),
        (known(status=SmiStatus.SUSPENDED), "NotCommissionedDeviceIDList"),
        (known(status=SmiStatus.DECOMMISSIONED), "NotCommissionedDeviceIDList"),
        (known(model="M2"), "NotApplicableFirmwareDeviceIDList"),
        (known(gbcs_version="3.2"), "InvalidGBCSVersionList"),
    ],
)
def test_desk_refuses_what_the_inventory_speaks_against(bench, record, list_name):
    Smi(bench.home).put(record)
    listed(bench, product())
    settings = DccSettings(policy=DeskPolicy(minimum_gbcs_version="4.0"))
    answer = bench.ask(update_request(), settings=settings)
    assert (answer.code.value, field(answer.document, list_name)) == ("E110402", format_eui64(PPMID))


def test_desk_limits_images_as_it_is_told(bench):
    large = update_request(content=image(b"\xee" * 800_000))
    assert bench.ask(large).code.value == "E110401"
    assert bench.ask(large, settings=DccSettings(policy=DeskPolicy(image_limit_bytes=900_000))).code.value == "I99"


def test_desk_follows_the_device_log_where_the_inventory_has_no_status(bench):
    Smi(bench.home).put(known())
    assert bench.ask(update_request()).code.value == "I99"


def test_desk_refuses_a_device_of_the_inventory_that_is_on_another_hub(bench):
    Smi(bench.home).put(known(STRANGER, status=SmiStatus.COMMISSIONED))
    answer = bench.ask(update_request(STRANGER))
    assert "not on this hub" in answer.reason
    assert field(answer.document, "InvalidDeviceIDList") == format_eui64(STRANGER)


# --- who asks


def test_desk_takes_a_signed_request_of_its_originator(bench):
    document = signed(update_request().to_bytes(), bench.pki)
    assert bench.ask(None, D, document=document, signers=bench.signers()).code.value == "I99"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda octets, pki: octets, "not signed"),
        (lambda octets, pki: signed(octets, pki).replace(b":1000<", b":1001<"), "changed after it was signed"),
        (lambda octets, pki: signed(octets, pki, ACB), "signed by 90-B3-D5-1F-30-00-00-02"),
    ],
)
def test_desk_refuses_who_did_not_sign(bench, spoil, words):
    document = spoil(update_request().to_bytes(), bench.pki)
    answer = bench.ask(None, D, document=document, signers=bench.signers())
    assert (answer.code.value, bench.store.inbox.pending()) == ("E1", ())
    assert words in answer.reason
    assert bench.store.requests.highest(SUPPLIER) is None


def test_desk_that_accepts_still_refuses_a_known_signer_whose_document_was_changed(bench):
    document = signed(update_request().to_bytes(), bench.pki).replace(b":1000<", b":1001<")
    answer = bench.ask(None, document=document, signers=bench.signers(SignaturePolicy.ACCEPT))
    assert answer.code.value == "E1"


def test_desk_that_accepts_notes_an_unknown_signer(bench):
    document = signed(update_request().to_bytes(), bench.pki)
    answer = bench.ask(None, document=document, signers=NOBODY)
    assert (answer.code.value, "not known" in answer.notes[0]) == ("I99", True)


def test_desk_refuses_a_wrapped_signature(bench):
    document = signed(update_request().to_bytes(), bench.pki)
    body = document[document.index(b"<sr:Body>") : document.index(b"</sr:Body>") + len(b"</sr:Body>")]
    forged = document.replace(b"<sr:Body>", body.replace(b"-A4", b"-A5") + b"<sr:Body>")
    answer = bench.ask(None, document=forged, signers=bench.signers())
    assert (answer.code.value, bench.store.inbox.pending()) == ("E11", ())


def test_desk_knows_its_users_and_their_roles(bench):
    supplier = DccSettings(users={SUPPLIER: User(SUPPLIER, frozenset({"IS"}))})
    assert bench.ask(update_request(), settings=supplier).code.value == "I99"
    operator = DccSettings(users={SUPPLIER: User(SUPPLIER, frozenset({"ED"}))})
    answer = bench.ask(update_request(counter=1001), settings=operator)
    assert (answer.code.value, "no role" in answer.reason) == ("E2", True)
    nobody = DccSettings(users={ACB: User(ACB, frozenset({"IS"}))})
    assert bench.ask(update_request(counter=1002), settings=nobody).code.value == "E1"


@pytest.mark.parametrize("address", [S, T])
def test_desk_takes_an_update_at_its_own_address_only(bench, address):
    answer = bench.ask(update_request(), address)
    assert (answer.code.value, address.value in answer.reason) == ("E13", True)
    assert bench.store.inbox.pending() == ()


def test_desk_answers_a_damaged_request_that_it_can_address(bench):
    octets = update_request().to_bytes().replace(b"FirmwareVersion>", b"FirmwareVersio>")
    answer = bench.ask(None, D, document=octets)
    assert (answer.code.value, field(answer.document, "RequestID")) == ("E11", str(update_request().request_id))
    assert "FirmwareVersio" in answer.reason


@pytest.mark.parametrize(("service", "variant"), [("4.1", "4.1.1"), ("8.14", "8.14.2"), ("12.2", "12.2")])
def test_desk_answers_a_service_that_it_does_not_take_in(bench, service, variant):
    octets = update_request().to_bytes()
    for name, text in (("ServiceReference", service), ("ServiceReferenceVariant", variant)):
        octets = octets.replace(f"<sr:{name}>11.4<".encode(), f"<sr:{name}>{text}<".encode())
    answer = bench.ask(None, D, document=octets)
    assert (answer.code.value, f"'{service}' is not taken in here" in answer.reason) == ("E2", True)
    told = [field(answer.document, name) for name in ("RequestID", "ServiceReference", "ServiceReferenceVariant")]
    assert told == [str(update_request().request_id), service, variant]
    assert bench.store.requests.highest(SUPPLIER) is None


@pytest.mark.parametrize("variant", ["1", "4", "9", "x"])
def test_desk_answers_a_command_variant_that_the_service_does_not_have(bench, variant):
    octets = update_request().to_bytes().replace(b"CommandVariant>8<", f"CommandVariant>{variant}<".encode())
    answer = bench.ask(None, D, document=octets)
    assert (answer.code.value, "command variant 8" in answer.reason) == ("E12", True)


@pytest.mark.parametrize(
    ("octets", "error"),
    [
        (b"<a/>", MalformedRequestError),
        (b"", MalformedRequestError),
        (update_request().to_bytes().replace(b":1000<", b":x<"), MalformedRequestError),
        (update_request().to_bytes().replace(b">11.4<", b">eleven<"), RefusedError),
    ],
)
def test_desk_raises_for_what_it_cannot_answer(bench, octets, error):
    with pytest.raises(error):
        bench.ask(None, document=octets)


@pytest.mark.skipif(not REFERENCE.exists(), reason=REFERENCE_REASON)
def test_desk_asks_the_schema_first(bench):
    octets = update_request().to_bytes().replace(b'schemaVersion="5.4"', b'schemaVersion="5.4"')
    late = octets.replace(b"</sr:DeviceIDList>", b",</sr:DeviceIDList>")
    answer = bench.ask(None, document=late, schema=bench.schema)
    assert (answer.code.value, answer.reason.startswith("against the schema")) == ("E11", True)


@pytest.mark.skipif(not REFERENCE.exists(), reason=REFERENCE_REASON)
@pytest.mark.parametrize(
    ("name", "address", "code"),
    [
        ("11.1_UPDATE_FIRMWARE", D, "E110102"),  # as is this one's
        ("11.4_UPDATE_PPMID_FIRMWARE", D, "E110402"),  # its image is of another manufacturer
        ("CCS01_8.11_SUCCESS", D, "E5"),  # the meter has joined already
        ("CS06_11.3_IMMEDIATE_SUCCESS", T, "I0"),
        ("CS06_11.3_FUTURE_DATED_SUCCESS", T, "I0"),
        ("CS06_11.3_CANCELLATION_SUCCESS", T, "I0"),
        ("CS08_11.2_SUCCESS", S, "I99"),
    ],
)
def test_desk_answers_every_public_sample(bench, name, address, code):
    document = (REFERENCE / f"{name}_REQUEST_DUIS.XML").read_bytes()
    answer = bench.ask(None, address, document=document, schema=bench.schema)
    assert answer.code.value == code
    if code == "I0":
        assert "not known" in answer.notes[0]  # the samples carry placeholders for signatures


def test_desk_keeps_the_hub_waiting_for_no_audit_of_fifty_thousand(bench):
    devices = [Eui64(0x00DB_0000_0000_0000 + number) for number in range(50_000)]
    answer = bench.ask(update_request(PPMID, *devices[1:]), D)
    assert answer.code.value == "W110401"
    assert len(field(answer.document, "InvalidDeviceIDList").split(",")) == 49_999
    assert "49996 more" in answer.reason
    assert len(bench.store.audit.tail()) < 200
