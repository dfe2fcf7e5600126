"""The desk and commands for devices: SR 11.3 as pre-command and as signed command, SR 11.2. Every refusal by name."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from chf import gbcs
from chf.dcc.device_requests import CANCELLATION_UTC_S
from chf.dcc.settings import DccSettings, DeskPolicy
from chf.duis.device_request import ActivateFirmwareRequest, ReadFirmwareVersionRequest, SignedPreCommandRequest
from chf.eui64 import Eui64
from chf.pki import certificates
from chf.pki.certificates import Usage
from chf.store.device_log import DeviceStatus
from tests.support.dcc_bench import ACB, ESME, GSME, HCALCS, KEYS, NOW, PPMID, STRANGER, SUPPLIER, field, signed
from tests.support.desk_bench import CARRIED, S, T, desk_bench, to

HASH = bytes(range(32))


@pytest.fixture
def bench(tmp_path):
    with desk_bench(tmp_path) as made:
        yield made


# --- SR 11.3


def activate(when=None, device=ESME, counter=1000):
    return ActivateFirmwareRequest(to(device, counter), HASH, when)


def pre_command(answer) -> gbcs.GbcsMessage:
    from base64 import b64decode

    return gbcs.GbcsMessage.from_bytes(b64decode(field(answer.document, "GBCSPayload")))


def test_desk_transforms_an_activation_into_a_pre_command(bench):
    answer = bench.ask(activate(), T)
    message = pre_command(answer)
    assert (answer.code.value, field(answer.document, "GBCSVersion")) == ("I0", "4.3")
    assert message.signature == b""
    assert replace(message, signature=None) == gbcs.make_cs06_precommand(SUPPLIER, ESME, 1000, HASH)


def test_desk_transform_changes_nothing_and_may_be_repeated(bench):
    first, second = bench.ask(activate(), T), bench.ask(activate(), T)
    assert pre_command(first) == pre_command(second)
    assert bench.store.requests.highest(SUPPLIER) is None


@pytest.mark.parametrize(
    ("asked", "in_command"), [(int(NOW.utc) + 60, int(NOW.utc) + 60), (CANCELLATION_UTC_S, gbcs.CANCELLED_UTC_S)]
)
def test_desk_transform_carries_the_time_and_the_cancellation(bench, asked, in_command):
    message = pre_command(bench.ask(activate(asked), T))
    assert gbcs.parse_payload(message).execution_utc_s == in_command


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (activate(device=STRANGER), "E19"),
        (activate(device=PPMID), "E11"),
        (activate(int(NOW.utc) - 1), "E11"),
        (activate(int(NOW.utc) + 31 * 86400), "E11"),
        (activate(counter=2**63), "E11"),
    ],
)
def test_desk_transform_refusals(bench, request_, code):
    settings = DccSettings(policy=DeskPolicy(furthest_execution_s=30 * 86400))
    assert bench.ask(request_, T, settings=settings).code.value == code


UNTRUSTED = replace(NOW, distrust="it was set")


@pytest.mark.parametrize(
    "request_", [activate(int(NOW.utc) + 60), ReadFirmwareVersionRequest(to(ESME), int(NOW.utc) + 60)]
)
def test_desk_appoints_nothing_while_the_clock_is_not_trusted_and_says_what_to_do(bench, request_):
    answer = bench.ask(request_, now=UNTRUSTED, carried=CARRIED)
    assert answer.code.value == "E11"
    assert "not trusted (it was set): set it or, where it is right, say so: chf clock trust" in answer.reason


@pytest.mark.parametrize("request_", [activate(), activate(CANCELLATION_UTC_S)])
def test_desk_takes_what_has_no_time_while_the_clock_is_not_trusted(bench, request_):
    assert bench.ask(request_, T, now=UNTRUSTED).code.value == "I0"


@pytest.mark.parametrize(("when", "code"), [(int(NOW.utc) + 60, "E11"), (None, "I99"), (gbcs.CANCELLED_UTC_S, "I99")])
def test_desk_passes_no_dated_command_on_while_the_clock_is_not_trusted(bench, when, code):
    signed_ = gbcs.sign(gbcs.make_cs06_precommand(SUPPLIER, ESME, 1000, HASH, when), KEYS(f"{SUPPLIER:016x}-ds"))
    request_ = SignedPreCommandRequest(to(ESME), signed_.to_bytes())
    assert bench.ask(request_, S, now=UNTRUSTED, carried=CARRIED).code.value == code


def test_desk_transform_for_a_device_that_left_is_refused(bench):
    with bench.store.transaction() as tx:
        tx.devices.update(replace(bench.store.devices.get(ESME), status=DeviceStatus.LEFT))
    assert bench.ask(activate(), T).code.value == "E5"


def supplier_signed(device=ESME, counter=1000, signer=SUPPLIER, pki=None, **changes) -> SignedPreCommandRequest:
    command = gbcs.make_cs06_precommand(SUPPLIER, device, counter, HASH)
    message = gbcs.sign(command, KEYS(f"{signer:016x}-ds"))
    return replace(SignedPreCommandRequest(to(device, counter), message.to_bytes()), **changes)


@pytest.mark.parametrize(
    ("field_", "moment"),
    [("NOT_AFTER", datetime(2025, 10, 29, tzinfo=UTC)), ("NOT_BEFORE", datetime(2038, 1, 1, tzinfo=UTC))],
    ids=["expired", "not valid yet"],
)
def test_desk_judges_no_dates_of_certificates(tmp_path, monkeypatch, field_, moment):
    """docs/supported-spec.md says why. Both signatures are the supplier's: of the document, and of the command in it."""
    monkeypatch.setattr(certificates, field_, moment)
    with desk_bench(tmp_path) as bench:
        known = bench.pki.certificate(SUPPLIER, Usage.DIGITAL_SIGNATURE)
        taken = datetime.fromtimestamp(NOW.utc, UTC)
        assert not known.not_valid_before_utc <= taken <= known.not_valid_after_utc
        document = signed(supplier_signed().to_bytes(), bench.pki)
        answer = bench.ask(None, S, document=document, carried=CARRIED, signers=bench.signers())
        assert (answer.code.value, answer.notes) == ("I99", ())
        assert len(bench.store.device_messages.waiting(ESME)) == 1


def test_desk_hands_a_signed_command_on_with_the_brokers_mac(bench):
    answer = bench.ask(supplier_signed(), S, carried=CARRIED)
    assert answer.code.value == "I99"
    (queued,) = bench.store.device_messages.waiting(ESME)
    message = gbcs.GbcsMessage.from_bytes(queued.message)
    assert message.to_bytes().endswith(message.mac)
    device = KEYS(f"{ESME:016x}-ka")
    acb = bench.pki.certificate(ACB, Usage.KEY_AGREEMENT).public_key()
    assert gbcs.verify_mac(message, gbcs.mac_key(device, acb, message.header))
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
        (spoiled(lambda _octets: gbcs.make_cs06_precommand(SUPPLIER, ESME, 1000, HASH).to_bytes()), "not signed"),
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
    message = gbcs.GbcsMessage.from_bytes(queued.message)
    assert message.header.message_code == gbcs.MessageCode.READ_PPMID_HCALCS_FIRMWARE_VERSION
    assert (message.header.originator, message.header.supplementary.entity_id) == (ACB, SUPPLIER)
    acb = bench.pki.certificate(ACB, Usage.KEY_AGREEMENT).public_key()
    assert gbcs.verify_mac(message, gbcs.mac_key(KEYS(f"{PPMID:016x}-ka"), acb, message.header))


STRANGER_USER = Eui64(0x90B3D51F30030000)
METERS = [
    (ESME, gbcs.MessageCode.READ_FIRMWARE_VERSION_ESME_CHF, gbcs.DlmsReadFirmwareVersionCommand(1000)),
    (GSME, gbcs.MessageCode.READ_FIRMWARE_VERSION_GSME, gbcs.GbzReadFirmwareVersionCommand()),
]


@pytest.mark.parametrize(("device", "code", "payload"), METERS, ids=["ECS52", "GCS38"])
def test_desk_reads_a_meter_in_the_name_of_its_supplier(bench, device, code, payload):
    answer = bench.ask(ReadFirmwareVersionRequest(to(device)), S, carried=CARRIED)
    assert answer.code.value == "I99"
    (queued,) = bench.store.device_messages.waiting()
    message = gbcs.GbcsMessage.from_bytes(queued.message)
    assert (message.header.message_code, gbcs.parse_payload(message)) == (code, payload)
    assert (message.header.originator, message.header.counter, message.header.supplementary) == (SUPPLIER, 1000, None)
    acb = bench.pki.certificate(ACB, Usage.KEY_AGREEMENT).public_key()
    assert gbcs.verify_mac(message, gbcs.mac_key(KEYS(f"{device:016x}-ka"), acb, message.header))


def test_desk_reads_a_meter_on_behalf_of_a_user_whom_it_does_not_know(bench):
    bench.ask(ReadFirmwareVersionRequest(to(ESME, originator=STRANGER_USER)), S, carried=CARRIED)
    (queued,) = bench.store.device_messages.waiting()
    header = gbcs.GbcsMessage.from_bytes(queued.message).header
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
