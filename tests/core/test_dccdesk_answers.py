"""The desk: one document in, one signed answer out. Every refusal by name; the schema over every answer."""

from dataclasses import replace

import pytest

from chf.crypto.install_code import link_key, with_crc
from chf.dcc import device_requests, reception
from chf.dcc.certificates import Usage
from chf.dcc.desk import Address, Desk
from chf.dcc.device_requests import CANCELLATION_UTC_S
from chf.dcc.intake import IntakePolicy
from chf.dcc.products import Cpl, Product, ProductStatus
from chf.dcc.settings import DccSettings, DeskPolicy, User
from chf.dcc.signers import NOBODY, SignaturePolicy, Signers
from chf.dcc.smi import Smi, SmiDevice, SmiStatus
from chf.duis import DuisSchema, RequestId, ServiceReference
from chf.duis.device_request import (
    ActivateFirmwareRequest,
    AddToDeviceLog,
    ReadFirmwareVersionRequest,
    SignedPreCommandRequest,
    UpdateHanDeviceLogRequest,
)
from chf.duis.document import parse_document
from chf.duis.xml_signature import IssuerSerial, detach, verify
from chf.errors import MalformedRequestError, RefusedError
from chf.eui64 import Eui64, format_eui64
from chf.gbcs import (
    CANCELLED_UTC_S,
    DlmsReadFirmwareVersionCommand,
    GbcsMessage,
    GbzReadFirmwareVersionCommand,
    MessageCode,
    mac_key,
    make_cs06_precommand,
    parse_payload,
    sign,
    verify_mac,
)
from chf.image.image import parse_image
from chf.store import Store
from chf.store.device_log import DeviceStatus, DeviceType
from chf.store.inbox import Verb
from tests.support.dcc_bench import (
    ACB,
    CHF,
    ESME,
    GSME,
    HCALCS,
    KEYS,
    NOW,
    PPMID,
    REFERENCE,
    SCHEMA_FILE,
    SECOND,
    STRANGER,
    SUPPLIER,
    field,
    image,
    log_devices,
    make_pki,
    signed,
    update_request,
)

D, S, T = Address.NON_DEVICE, Address.SEND_COMMAND, Address.TRANSFORM
HASH = bytes(range(32))
REFERENCE_REASON = "the public DUIS reference data is not beside the checkout"


@pytest.fixture
def bench(tmp_path):
    pki = make_pki(tmp_path)
    with Store.open(tmp_path) as store:
        log_devices(store)
        yield Bench(store, pki)


class Bench:
    def __init__(self, store, pki) -> None:
        self.store, self.pki, self.home = store, pki, store.home
        self.schema = None
        if REFERENCE.exists():
            files = {path.name: path.read_bytes() for path in REFERENCE.glob("*.xsd")}
            self.schema = DuisSchema(files, SCHEMA_FILE)

    def ask(self, request, address=None, *, document=None, **desk):
        """What the desk answers; the answer is signed by the ACB and valid against the schema."""
        octets = request.to_bytes() if document is None else document
        answer = Desk(self.store, self.pki, **desk).take(octets, NOW, address=address)
        root = parse_document(answer.document)
        if self.schema is not None:
            self.schema.check_tree(root)
        signature = detach(root)
        certificate = self.pki.certificate(ACB, Usage.DIGITAL_SIGNATURE)
        assert verify(root, signature, {IssuerSerial.of(certificate): certificate}.get) == certificate
        return answer

    def signers(self, policy=SignaturePolicy.REQUIRE) -> Signers:
        return Signers.load(self.pki.path, policy)


def to(device: Eui64, counter: int = 1000, originator: Eui64 = SUPPLIER) -> RequestId:
    return RequestId(originator, device, counter)


# --- updates


def test_desk_takes_an_update_and_hands_it_to_the_hub(bench):
    answer = bench.ask(update_request(), D)
    assert (answer.code.value, answer.reason) == ("I99", "")
    (command,) = bench.store.inbox.pending()
    assert (command.id, command.verb) == (answer.command, Verb.UPDATE_START)
    assert command.body["devices"] == [format_eui64(PPMID)]
    (followed,) = bench.store.followed.list()
    assert (followed.command, followed.request) == (command.id, str(update_request().request_id))


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
    ("module", "function", "request_", "taken"),
    [
        (reception, "decide", update_request(), "I99"),
        (device_requests, "read_version", ReadFirmwareVersionRequest(RequestId(SUPPLIER, PPMID, 1000)), "I99"),
    ],
)
def test_desk_of_another_process_takes_the_same_request_meanwhile(
    bench, monkeypatch, module, function, request_, taken
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
    assert (others, answer.code.value) == ([taken], "E11")
    assert "replayed" in answer.reason
    assert len(bench.store.inbox.pending()) + len(bench.store.device_messages.waiting()) == 1


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


def known(device: Eui64 = PPMID, **changes) -> SmiDevice:
    return replace(SmiDevice(device, DeviceType.PPMID, manufacturer="1234", model="M1"), **changes)


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
    assert (answer.code.value, address.value in answer.reason) == ("E11", True)
    assert bench.store.inbox.pending() == ()


def test_desk_answers_a_damaged_request_that_it_can_address(bench):
    octets = update_request().to_bytes().replace(b"FirmwareVersion>", b"FirmwareVersio>")
    answer = bench.ask(None, D, document=octets)
    assert (answer.code.value, field(answer.document, "RequestID")) == ("E11", str(update_request().request_id))
    assert "FirmwareVersio" in answer.reason


@pytest.mark.parametrize(
    ("octets", "error"),
    [
        (b"<a/>", MalformedRequestError),
        (b"", MalformedRequestError),
        (update_request().to_bytes().replace(b":1000<", b":x<"), MalformedRequestError),
        (update_request().to_bytes().replace(b">11.4<", b">4.1.1<"), RefusedError),
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


# --- SR 11.3


def activate(when=None, device=ESME, counter=1000):
    return ActivateFirmwareRequest(to(device, counter), HASH, when)


def pre_command(answer) -> GbcsMessage:
    from base64 import b64decode

    return GbcsMessage.from_bytes(b64decode(field(answer.document, "GBCSPayload")))


def test_desk_transforms_an_activation_into_a_pre_command(bench):
    answer = bench.ask(activate(), T)
    message = pre_command(answer)
    assert (answer.code.value, field(answer.document, "GBCSVersion")) == ("I0", "4.3")
    assert message.signature == b""
    assert replace(message, signature=None) == make_cs06_precommand(SUPPLIER, ESME, 1000, HASH)


def test_desk_transform_changes_nothing_and_may_be_repeated(bench):
    first, second = bench.ask(activate(), T), bench.ask(activate(), T)
    assert pre_command(first) == pre_command(second)
    assert bench.store.requests.highest(SUPPLIER) is None


@pytest.mark.parametrize(
    ("asked", "in_command"),
    [(int(NOW.utc) + 60, int(NOW.utc) + 60), (CANCELLATION_UTC_S, CANCELLED_UTC_S)],
)
def test_desk_transform_carries_the_time_and_the_cancellation(bench, asked, in_command):
    message = pre_command(bench.ask(activate(asked), T))
    assert parse_payload(message).execution_utc_s == in_command


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (activate(device=STRANGER), "E19"),
        (activate(device=PPMID), "E4"),
        (activate(int(NOW.utc) - 1), "E11"),
        (activate(int(NOW.utc) + 31 * 86400), "E11"),
        (activate(counter=2**63), "E11"),
    ],
)
def test_desk_transform_refusals(bench, request_, code):
    settings = DccSettings(policy=DeskPolicy(furthest_execution_s=30 * 86400))
    assert bench.ask(request_, T, settings=settings).code.value == code


def test_desk_transform_for_a_device_that_left_is_refused(bench):
    with bench.store.transaction() as tx:
        tx.devices.update(replace(bench.store.devices.get(ESME), status=DeviceStatus.LEFT))
    assert bench.ask(activate(), T).code.value == "E5"


def supplier_signed(device=ESME, counter=1000, signer=SUPPLIER, pki=None, **changes) -> SignedPreCommandRequest:
    command = make_cs06_precommand(SUPPLIER, device, counter, HASH)
    message = sign(command, KEYS(f"{signer:016x}-ds"))
    return replace(SignedPreCommandRequest(to(device, counter), message.to_bytes()), **changes)


CARRIED = frozenset({"ESME", "GSME", "HCALCS", "PPMID"})


def test_desk_hands_a_signed_command_on_with_the_brokers_mac(bench):
    answer = bench.ask(supplier_signed(), S, carried=CARRIED)
    assert answer.code.value == "I99"
    (queued,) = bench.store.device_messages.waiting(ESME)
    message = GbcsMessage.from_bytes(queued.message)
    assert message.to_bytes().endswith(message.mac)
    device = KEYS(f"{ESME:016x}-ka")
    acb = bench.pki.certificate(ACB, Usage.KEY_AGREEMENT).public_key()
    assert verify_mac(message, mac_key(device, acb, message.header))
    assert bench.pki.verify(message).eui64 == SUPPLIER
    assert (queued.counter, queued.message_code, queued.expires) == (1000, 0x0012, NOW.utc + 86400)


def test_desk_refuses_a_replayed_command(bench):
    bench.ask(supplier_signed(), S, carried=CARRIED)
    answer = bench.ask(supplier_signed(), S, carried=CARRIED)
    assert (answer.code.value, len(bench.store.device_messages.waiting())) == ("E11", 1)


def test_desk_refuses_a_command_that_nobody_would_carry(bench):
    answer = bench.ask(supplier_signed(), S, carried=frozenset())
    assert (answer.code.value, bench.store.device_messages.waiting()) == ("E20", ())
    assert "carries no messages for devices of type ESME" in answer.reason
    assert bench.store.requests.highest(SUPPLIER) is None


def test_desk_refuses_a_command_without_a_key_for_the_mac(bench):
    (bench.pki.path / f"{ESME:016x}-ka.pem").unlink()
    assert bench.ask(supplier_signed(), S, carried=CARRIED).code.value == "E20"


def spoiled(change) -> SignedPreCommandRequest:
    request = supplier_signed()
    return replace(request, gbcs_payload=change(request.gbcs_payload))


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (spoiled(lambda octets: octets[:-1]), "signature"),
        (spoiled(lambda octets: octets + b"\0"), "end of the message"),
        (spoiled(lambda octets: octets[:-1] + bytes([octets[-1] ^ 1])), "not that of the originator"),
        (spoiled(lambda _octets: make_cs06_precommand(SUPPLIER, ESME, 1000, HASH).to_bytes()), "not signed"),
        (supplier_signed(signer=ESME), "not that of the originator"),
        (replace(supplier_signed(HCALCS), request_id=to(ESME)), "not those of the RequestID"),
        (supplier_signed(execution_utc_s=int(NOW.utc) + 60), "executionDateTime"),
        (spoiled(lambda octets: octets.replace(b"\x00\x02\x00\x12", b"\x00\x02\x00\x19")), "not a CS06 command"),
    ],
)
def test_desk_refuses_a_command_that_is_not_the_suppliers(bench, request_, words):
    answer = bench.ask(request_, S, carried=CARRIED)
    assert (answer.code.value, bench.store.device_messages.waiting()) == ("E11", ())
    assert words in answer.reason


# --- SR 11.2


def test_desk_makes_a_read_command_for_a_ppmid(bench):
    answer = bench.ask(ReadFirmwareVersionRequest(to(PPMID)), S, carried=CARRIED)
    assert answer.code.value == "I99"
    (queued,) = bench.store.device_messages.waiting()
    message = GbcsMessage.from_bytes(queued.message)
    assert message.header.message_code == MessageCode.READ_PPMID_HCALCS_FIRMWARE_VERSION
    assert (message.header.originator, message.header.supplementary.entity_id) == (ACB, SUPPLIER)
    acb = bench.pki.certificate(ACB, Usage.KEY_AGREEMENT).public_key()
    assert verify_mac(message, mac_key(KEYS(f"{PPMID:016x}-ka"), acb, message.header))


STRANGER_USER = Eui64(0x90B3D51F30030000)
METERS = [
    (ESME, MessageCode.READ_FIRMWARE_VERSION_ESME_CHF, DlmsReadFirmwareVersionCommand(1000)),
    (GSME, MessageCode.READ_FIRMWARE_VERSION_GSME, GbzReadFirmwareVersionCommand()),
]


@pytest.mark.parametrize(("device", "code", "payload"), METERS, ids=["ECS52", "GCS38"])
def test_desk_reads_a_meter_in_the_name_of_its_supplier(bench, device, code, payload):
    answer = bench.ask(ReadFirmwareVersionRequest(to(device)), S, carried=CARRIED)
    assert answer.code.value == "I99"
    (queued,) = bench.store.device_messages.waiting()
    message = GbcsMessage.from_bytes(queued.message)
    assert (message.header.message_code, parse_payload(message)) == (code, payload)
    assert (message.header.originator, message.header.counter, message.header.supplementary) == (SUPPLIER, 1000, None)
    acb = bench.pki.certificate(ACB, Usage.KEY_AGREEMENT).public_key()
    assert verify_mac(message, mac_key(KEYS(f"{device:016x}-ka"), acb, message.header))


def test_desk_reads_a_meter_on_behalf_of_a_user_whom_it_does_not_know(bench):
    bench.ask(ReadFirmwareVersionRequest(to(ESME, originator=STRANGER_USER)), S, carried=CARRIED)
    (queued,) = bench.store.device_messages.waiting()
    header = GbcsMessage.from_bytes(queued.message).header
    assert header.originator == ACB
    assert (header.supplementary.entity_id, header.supplementary.counter) == (STRANGER_USER, 1000)


def test_desk_read_commands_never_share_a_counter(bench):
    for counter in (1, 2, 3):
        bench.ask(ReadFirmwareVersionRequest(to(PPMID, counter)), S, carried=CARRIED)
    counters = [queued.counter for queued in bench.store.device_messages.waiting()]
    assert len(set(counters)) == 3
    assert counters == sorted(counters)


@pytest.mark.parametrize(
    ("request_", "carried", "code"),
    [
        (ReadFirmwareVersionRequest(to(PPMID)), frozenset(), "E20"),
        (ReadFirmwareVersionRequest(to(ESME)), frozenset({"PPMID"}), "E20"),
        (ReadFirmwareVersionRequest(to(STRANGER)), CARRIED, "E19"),
        (ReadFirmwareVersionRequest(to(PPMID), int(NOW.utc)), CARRIED, "E11"),
        (ReadFirmwareVersionRequest(to(PPMID), CANCELLATION_UTC_S), CARRIED, "E11"),
    ],
)
def test_desk_read_refusals(bench, request_, carried, code):
    assert bench.ask(request_, S, carried=carried).code.value == code
    assert bench.store.device_messages.waiting() == ()


# --- SR 8.11

CODE = bytes.fromhex("30313233343536373839414243444546")


def han(device=STRANGER, add=AddToDeviceLog(90, CODE), counter=1000, target=CHF, when=None):  # noqa: B008
    return UpdateHanDeviceLogRequest(to(target, counter), device, add, when)


@pytest.mark.parametrize("address", [D, S])
def test_desk_adds_a_device_and_opens_the_join_window(bench, address):
    Smi(bench.home).put(known(STRANGER))
    answer = bench.ask(han(), address)
    assert answer.code.value == "I99"
    entry = bench.store.devices.get(STRANGER)
    assert (entry.device_type, entry.status) == (DeviceType.PPMID, DeviceStatus.PENDING)
    assert entry.install_code_link_key == link_key(with_crc(CODE))
    (command,) = bench.store.inbox.pending()
    assert (command.verb, int(command.body["seconds"])) == (Verb.DEVICE_PERMIT, 90)


def test_desk_adds_a_pending_device_again_with_its_new_code(bench):
    Smi(bench.home).put(known(STRANGER))
    bench.ask(han())
    bench.ask(han(add=AddToDeviceLog(60, bytes(16)), counter=1001))
    assert bench.store.devices.get(STRANGER).install_code_link_key == link_key(with_crc(bytes(16)))


def test_desk_removes_a_device_by_the_hub(bench):
    assert bench.ask(han(PPMID, add=None)).code.value == "I99"
    (command,) = bench.store.inbox.pending()
    assert (command.verb, command.body) == (Verb.DEVICE_FORGET, {"device": format_eui64(PPMID)})


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (han(), "E19"),  # not in the inventory
        (han(PPMID), "E5"),  # has joined
        (han(STRANGER, add=None), "E19"),
        (han(PPMID, add=None, target=ESME), "E19"),  # not this hub
        (han(PPMID, add=None, when=int(NOW.utc) + 60), "E11"),
    ],
)
def test_desk_device_log_refusals(bench, request_, code):
    assert bench.ask(request_).code.value == code
    assert bench.store.inbox.pending() == ()


def test_desk_never_tells_an_install_code(bench):
    request = han()
    assert CODE.hex().upper() not in repr(request)
    assert repr(CODE) not in repr(request)
    answer = bench.ask(None, document=request.to_bytes().replace(b"3031", b"303x"))
    assert "303x" not in answer.reason
    assert "324344" not in "".join(record.event.to_json() for record in bench.store.audit.tail())


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (">90<", ">3601<"),
        (">90<", ">0<"),
        ("Add<", "Put<"),
        ("Add<", "Remove<"),
        ("-FF<", "<"),
        ("3031", "30"),
        ("<sr:JoinTimePeriod>90</sr:JoinTimePeriod>", ""),
        ("</sr:DeviceID>", "</sr:DeviceID><sr:DeviceID>00-DB-12-34-56-78-90-A4</sr:DeviceID>"),
    ],
)
def test_desk_reads_a_device_log_request_strictly(bench, old, new):
    Smi(bench.home).put(known(STRANGER))
    text = han().to_bytes().decode()
    assert old in text
    assert bench.ask(None, document=text.replace(old, new).encode()).code.value == "E11"
    assert bench.store.devices.get(STRANGER) is None


def test_desk_keeps_the_hub_waiting_for_no_audit_of_fifty_thousand(bench):
    devices = [Eui64(0x00DB_0000_0000_0000 + number) for number in range(50_000)]
    answer = bench.ask(update_request(PPMID, *devices[1:]), D)
    assert answer.code.value == "W110401"
    assert len(field(answer.document, "InvalidDeviceIDList").split(",")) == 49_999
    assert "49996 more" in answer.reason
    assert len(bench.store.audit.tail()) < 200
