"""From alerts and outcomes to documents for users: each once, valid against the schema, and only what verifies."""

from base64 import b64decode

import pytest

from chf import gbcs
from chf.clock import Instant, Now, UtcSeconds
from chf.dcc.conversion import CURSOR, Conversion
from chf.dcc.desk import Desk
from chf.dcc.firmware_commands import cs06, read_version, row
from chf.dcc.signers import ResponseSigner
from chf.dcc.smi import Smi, SmiDevice
from chf.duis import RequestId
from chf.duis.device_request import ReadFirmwareVersionRequest, UpdateHanDeviceLogRequest
from chf.errors import UsageError
from chf.eui64 import Eui64, format_eui64
from chf.image.image import parse_image
from chf.store import DeviceType, NewAlert, alert_id
from chf.store.device_messages import MessageState
from chf.store.images import record_of
from tests.support.damaged_store import sql
from tests.support.dcc_bench import (
    ACB,
    CHF,
    ESME,
    HCALCS,
    KEYS,
    NOW,
    PPMID,
    SECOND,
    SUPPLIER,
    field,
    image,
    update_request,
)
from tests.support.desk_bench import DeskBench, desk_bench
from tests.support.updates import accepted

OTHER = Eui64(0x90B3D51F30030000)
UTC = NOW.utc
REQUEST_ID = RequestId(SUPPLIER, ACB, 1000)


@pytest.fixture
def upward(tmp_path):
    with desk_bench(tmp_path, Upward) as made:
        yield made


class Upward(DeskBench):
    def update(self, device=PPMID, origin=str(REQUEST_ID)) -> int:
        parsed = parse_image(image())
        number = len(self.store.updates.list()) + 1
        update = accepted(number, device, parsed.sha256, origin=origin)
        with self.store.transaction() as tx:
            tx.images.add(record_of(parsed, "i", UTC), image())
            tx.updates.add(update)
        return int(update.id)

    def alert(self, octets: bytes, device: Eui64, update: int | None = None) -> str:
        """As the hub writes what it made or relayed."""
        header = gbcs.GbcsMessage.from_bytes(octets).header
        msg_id = alert_id(Eui64(header.originator), header.counter, header.message_code)
        with self.store.transaction() as tx:
            tx.alerts.add(NewAlert(msg_id, device, "x", 0, "", octets, True, UTC, update))
        return msg_id


def key(eui64: Eui64, usage: str = "ds"):
    return KEYS(f"{eui64:016x}-{usage}")


def ccs08(code=gbcs.TransferResponseCode.SUCCESS, counter=1, device=PPMID, signer=CHF) -> bytes:
    return gbcs.make_ccs08_alert(
        CHF, ACB, counter, utc=UTC, device=device, firmware_version=2, response_code=code, key=key(signer)
    )


def cs09(counter=1, device=PPMID, signer=PPMID, success=True) -> bytes:
    return gbcs.make_cs09_alert(device, ACB, counter, utc=UTC, firmware_version=2, success=success, key=key(signer))


@pytest.mark.parametrize(
    ("code", "alert_code", "word"),
    [
        (gbcs.TransferResponseCode.SUCCESS, "8F8A", "FileTransferSuccess"),
        (gbcs.TransferResponseCode.IMAGE_DISCARDED, "8F89", "FirmwareImageDiscarded"),
        (gbcs.TransferResponseCode.HARDWARE_VERSION_MISMATCH, "8F89", "HardwareVersionMismatch"),
        (gbcs.TransferResponseCode.FILE_TRANSFER_FAILURE, "8F89", "FileTransferFailure"),
    ],
)
def test_upward_ccs08_becomes_a_comms_hub_alert_of_its_request(upward, code, alert_code, word):
    msg_id = upward.alert(ccs08(code), PPMID, upward.update())
    (document,) = upward.convert()
    assert (document.msg_id, document.recipient, document.kind) == (msg_id, SUPPLIER, "CommsHubAlert")
    text = document.document
    assert field(text, "CommsHubDeviceID") == format_eui64(CHF)
    assert (field(text, "AlertCode"), field(text, "TransferResponseCode")) == (alert_code, word)
    assert field(text, "UpdateFirmwareRequestID") == str(REQUEST_ID)
    assert (field(text, "OtherDeviceID"), field(text, "FirmwareVersion")) == (format_eui64(PPMID), "00000002")
    assert field(text, "RequestID") is None


def test_upward_ccs08_without_a_request_goes_to_the_responsible_supplier(upward):
    Smi(upward.store.home).put(SmiDevice(PPMID, DeviceType.PPMID, supplier=OTHER))
    upward.alert(ccs08(), PPMID, upward.update(origin="cli"))
    upward.alert(ccs08(counter=2, device=SECOND), SECOND)
    first, second = upward.convert()
    assert (first.recipient, second.recipient) == (OTHER, SUPPLIER)
    assert field(first.document, "UpdateFirmwareRequestID") is None


@pytest.mark.parametrize(("success", "word"), [(True, "ActivationSuccess"), (False, "ActivationFailure")])
def test_upward_cs09_becomes_a_ppmid_alert(upward, success, word):
    upward.alert(cs09(success=success), PPMID, upward.update())
    (document,) = upward.convert()
    text = document.document
    assert (document.kind, field(text, "DeviceID")) == ("PPMIDAlert", format_eui64(PPMID))
    assert (field(text, "DeviceAlertCode"), field(text, "ActivateImageResultCode")) == ("8F8B", word)


def test_upward_ccs08_comes_before_cs09(upward):
    update = upward.update()
    upward.alert(ccs08(), PPMID, update)
    upward.alert(cs09(), PPMID, update)
    assert [document.kind for document in upward.convert()] == ["CommsHubAlert", "PPMIDAlert"]


def test_upward_dcc_alerts_have_ids_of_their_own_that_never_repeat(upward):
    upward.alert(ccs08(), PPMID)
    upward.alert(cs09(), PPMID)
    ids = [field(document.document, "ResponseID") for document in upward.convert()]
    assert all(text.startswith(f"{format_eui64(ACB)}:{format_eui64(SUPPLIER)}:") for text in ids)
    assert len(set(ids)) == 2


@pytest.mark.parametrize(
    ("octets", "device", "words"),
    [
        (cs09(signer=SECOND), PPMID, "signature is not that of"),
        (cs09(device=SECOND, signer=SECOND), PPMID, "another device"),
        (ccs08(signer=PPMID), PPMID, "signature is not that of"),
        (cs09(device=Eui64(0xDD)), Eui64(0xDD), "no cert"),
    ],
)
def test_upward_unverified_alert_is_kept_reported_and_not_converted(upward, octets, device, words):
    msg_id = upward.alert(octets, device)
    assert upward.convert() == ()
    (alarm,) = upward.alarms()
    assert (msg_id in alarm, words in alarm) == (True, True)
    assert upward.store.alerts.get(msg_id).delivered is None


def test_upward_message_that_cannot_be_read_does_not_stop_the_rest(upward):
    with upward.store.transaction() as tx:
        tx.alerts.add(NewAlert("sha256/x", PPMID, "unknown", 0, "not read", b"\xdf\x09junk", False, UTC))
    upward.alert(cs09(), PPMID)
    assert [document.kind for document in upward.convert()] == ["PPMIDAlert"]
    assert "sha256/x" in upward.alarms()[0]


def test_upward_alert_waits_for_an_inventory_that_can_be_read(upward):
    """A file that somebody is editing is no reason to pass an alert over."""
    file = upward.store.home / "smi.json"
    upward.alert(cs09(), PPMID)
    file.write_text("{")
    with pytest.raises(UsageError, match="not JSON"):
        upward.convert()
    file.unlink()
    assert len(upward.convert()) == 1


def test_upward_conversion_is_done_once_whatever_happens_between(upward):
    upward.alert(cs09(), PPMID)
    before = upward.convert()
    assert upward.convert() == before
    with upward.store.transaction() as tx:
        tx.meta.set(CURSOR, "0")  # a store that was put back, say
    assert upward.convert() == before


def receipt(code: gbcs.AlertCode, counter=3000) -> bytes:
    code_of_message = gbcs.MessageCode.FIRMWARE_DISTRIBUTION_RECEIPT_ALERT_GSME
    header = gbcs.GroupingHeader(gbcs.CraFlag.ALERT, counter, ESME, OTHER, code_of_message)
    payload = gbcs.GbzFirmwareDistributionReceiptAlert(code, 1, bytes(32)).to_bytes()
    return gbcs.sign(gbcs.GbcsMessage(header, payload), key(ESME)).to_bytes()


@pytest.mark.parametrize(
    "code", [gbcs.AlertCode.FIRMWARE_VERIFICATION_SUCCESSFUL, gbcs.AlertCode.FIRMWARE_VERIFICATION_FAILED]
)
def test_upward_receipt_alert_goes_untouched_to_its_recipient(upward, code):
    upward.alert(receipt(code), ESME)
    (document,) = upward.convert()
    assert (document.recipient, document.kind) == (OTHER, "DeviceAlertMessage")
    assert field(document.document, "AlertCode") == f"{code:04X}"
    assert b64decode(field(document.document, "GBCSPayload")) == receipt(code)
    assert field(document.document, "ResponseID") == f"{format_eui64(ESME)}:{format_eui64(OTHER)}:3000"


@pytest.mark.parametrize(
    ("response_code", "alert_code"),
    [(gbcs.ActivateImageResponseCode.SUCCESS, "8F66"), (gbcs.ActivateImageResponseCode.HASH_MISMATCH, "8F67")],
)
def test_upward_future_dated_outcome_names_the_request(upward, response_code, alert_code):
    outcome = gbcs.FutureDatedFirmwareActivationAlert(int(UTC), 1000, gbcs.ExecutionOutcome(response_code, 2))
    octets = gbcs.make_future_dated_alert(HCALCS, SUPPLIER, 9, outcome, key(HCALCS))
    upward.alert(octets, HCALCS)
    (document,) = upward.convert()
    text = document.document
    assert field(text, "FutureDatedAlertCode") == alert_code
    assert field(text, "RequestID") == f"{format_eui64(SUPPLIER)}:{format_eui64(HCALCS)}:1000"
    assert b64decode(field(text, "GBCSPayload")) == octets


@pytest.mark.parametrize(
    "outcome", [gbcs.CommandAccepted(), gbcs.ExecutionOutcome(gbcs.ActivateImageResponseCode.SUCCESS, 2)]
)
def test_upward_response_to_a_critical_command_names_the_request(upward, outcome):
    command = gbcs.GroupingHeader(gbcs.CraFlag.COMMAND, 77, SUPPLIER, ESME, gbcs.MessageCode.ACTIVATE_FIRMWARE)
    octets = gbcs.make_cs06_response(command, outcome, UTC, key(ESME))
    upward.alert(octets, ESME)
    (document,) = upward.convert()
    assert field(document.document, "RequestID") == f"{format_eui64(SUPPLIER)}:{format_eui64(ESME)}:77"
    assert (field(document.document, "ServiceReference"), document.recipient) == ("11.3", SUPPLIER)
    assert b64decode(field(document.document, "GBCSPayload")) == octets


def answered_read(upward, response_key=None) -> tuple[bytes, int]:
    """A CS08 command as the desk makes it, and the PPMID's answer."""
    request = ReadFirmwareVersionRequest(RequestId(OTHER, PPMID, 5))
    Desk(upward.store, upward.pki, carried=frozenset({"PPMID"})).take(request.to_bytes(), NOW)
    (queued,) = upward.store.device_messages.waiting()
    command = gbcs.GbcsMessage.from_bytes(queued.message).header
    header = gbcs.response_header(command)
    shared = gbcs.mac_key(response_key or key(PPMID, "ka"), key(ACB, "ka").public_key(), header)
    response = gbcs.ReadFirmwareVersionResponse(2, gbcs.ReadFirmwareVersionResponseCode.READ_SUCCESS)
    return gbcs.make_cs08_response(command, response, shared), queued.id


def test_upward_answer_to_a_read_goes_to_who_asked(upward):
    octets, queued = answered_read(upward)
    upward.alert(octets, PPMID)
    (document,) = upward.convert()
    assert document.recipient == OTHER
    assert field(document.document, "RequestID") == str(RequestId(OTHER, PPMID, 5))
    assert b64decode(field(document.document, "GBCSPayload")) == octets
    assert upward.store.device_messages.get(queued).state is MessageState.ANSWERED


def test_upward_answer_with_a_wrong_mac_is_not_passed_on(upward):
    octets, queued = answered_read(upward, key(SECOND, "ka"))
    upward.alert(octets, PPMID)
    assert upward.convert() == ()
    assert "MAC" in upward.alarms()[0]
    assert upward.store.device_messages.get(queued).state is MessageState.WAITING


def meter_answered(upward, device, code, response_key=None, private=True) -> bytes:
    """ECS52 or GCS38 as the desk makes it for the supplier, and the meter's answer to him."""
    request = ReadFirmwareVersionRequest(RequestId(SUPPLIER, device, 77))
    Desk(upward.store, upward.pki, carried=frozenset({"ESME", "GSME"})).take(request.to_bytes(), NOW)
    (queued,) = upward.store.device_messages.waiting()
    command = gbcs.GbcsMessage.from_bytes(queued.message).header
    assert (command.message_code, command.originator, command.counter) == (code, SUPPLIER, 77)
    if not private:
        (upward.pki.path / f"{SUPPLIER:016x}-ka.key").unlink()
    shared = gbcs.mac_key(
        response_key or key(device, "ka"), key(SUPPLIER, "ka").public_key(), gbcs.response_header(command)
    )
    return gbcs.make_meter_version_response(command, 2, shared)


@pytest.mark.parametrize("private", [True, False], ids=["with", "without the supplier's key"])
def test_upward_answer_of_a_meter_goes_to_its_supplier(upward, private):
    octets = meter_answered(upward, ESME, gbcs.MessageCode.READ_FIRMWARE_VERSION_ESME_CHF, private=private)
    upward.alert(octets, ESME)
    (document,) = upward.convert()
    assert (document.recipient, field(document.document, "ServiceReference")) == (SUPPLIER, "11.2")
    assert field(document.document, "RequestID") == str(RequestId(SUPPLIER, ESME, 77))
    assert b64decode(field(document.document, "GBCSPayload")) == octets


def test_upward_answer_of_a_meter_with_a_wrong_mac_is_not_passed_on(upward):
    octets = meter_answered(upward, ESME, gbcs.MessageCode.READ_FIRMWARE_VERSION_ESME_CHF, key(SECOND, "ka"))
    upward.alert(octets, ESME)
    assert upward.convert() == ()
    assert "MAC" in upward.alarms()[0]


def asked_at_the_desk(upward, device, device_type) -> gbcs.GroupingHeader:
    with upward.store.transaction() as tx:
        asked = read_version(tx, upward.pki, device, device_type, NOW)
        tx.device_messages.add(asked)
    return gbcs.GbcsMessage.from_bytes(asked.message).header


def test_upward_answer_to_a_command_of_this_desk_is_for_no_user(upward):
    """`chf dcc cs08`: who asked reads the answer here."""
    command = asked_at_the_desk(upward, PPMID, DeviceType.PPMID)
    shared = gbcs.mac_key(key(PPMID, "ka"), key(ACB, "ka").public_key(), gbcs.response_header(command))
    version = gbcs.ReadFirmwareVersionResponse(2, gbcs.ReadFirmwareVersionResponseCode.READ_SUCCESS)
    upward.alert(gbcs.make_cs08_response(command, version, shared), PPMID)
    assert (upward.convert(), upward.alarms()) == ((), [])
    assert upward.store.alerts.list()[0].delivered is not None


def test_upward_answers_to_a_suppliers_command_of_this_desk_go_to_that_supplier(upward):
    """`chf dcc cs06` and `ecs52`: the command's counter stands for that of a request."""
    with upward.store.transaction() as tx:
        message = cs06(upward.pki, ESME, 78, bytes(32), UTC + 60)
        tx.device_messages.add(row(ESME, gbcs.MessageCode.ACTIVATE_FIRMWARE, 78, message, NOW))
    outcome = gbcs.ExecutionOutcome(gbcs.ActivateImageResponseCode.SUCCESS, 2)
    told = gbcs.FutureDatedFirmwareActivationAlert(int(UTC), 78, outcome)
    command = gbcs.GbcsMessage.from_bytes(message).header
    upward.alert(gbcs.make_cs06_response(command, gbcs.CommandAccepted(), UTC, key(ESME)), ESME)
    upward.alert(gbcs.make_future_dated_alert(ESME, SUPPLIER, 9, told, key(ESME)), ESME)
    version = asked_at_the_desk(upward, ESME, DeviceType.ESME)
    shared = gbcs.mac_key(key(ESME, "ka"), key(SUPPLIER, "ka").public_key(), gbcs.response_header(version))
    upward.alert(gbcs.make_meter_version_response(version, 2, shared), ESME)
    documents = upward.convert()
    assert [document.recipient for document in documents] == [SUPPLIER] * 3
    ids = [field(document.document, "RequestID") for document in documents]
    assert ids == [str(RequestId(SUPPLIER, ESME, counter)) for counter in (78, 78, version.counter)]


def test_upward_answer_that_nobody_asked_for_is_not_passed_on(upward):
    octets, _ = answered_read(upward)
    other = upward.store.device_messages.waiting()[0]
    sql(upward.store.home, "delete from device_messages where id = ?", given=(other.id,))
    upward.alert(octets, PPMID)
    assert upward.convert() == ()
    assert "not sent from here" in upward.alarms()[0]


# --- outcomes of commands


def finish(upward, command: int, result) -> None:
    with upward.store.transaction() as tx:
        if isinstance(result, str):
            tx.inbox.refuse(command, result, UTC)
        else:
            tx.inbox.finish(command, result, UTC)


def test_upward_delivery_to_the_hub_is_reported_for_each_device(upward):
    command = Desk(upward.store, upward.pki).take(update_request(PPMID, SECOND).to_bytes(), NOW).command
    assert upward.convert() == ()  # the hub has not taken it yet
    started, refused = ({"device": format_eui64(device)} for device in (PPMID, SECOND))
    finish(upward, command, {"started": [started | {"update": 1}], "refused": [refused | {"reason": "busy"}]})
    told = {
        document.device: (
            field(document.document, "DCCAlertCode"),
            field(document.document, "CommsHubTransferStatus"),
            field(document.document, "UpdateFirmwareRequestID"),
        )
        for document in upward.convert()
    }
    request = str(update_request().request_id)
    assert told == {PPMID: ("N60", "Success", request), SECOND: ("N61", "Failure", request)}
    assert upward.store.followed.list() == ()


def test_upward_refused_delivery_is_n61_for_all(upward):
    command = Desk(upward.store, upward.pki).take(update_request(PPMID, SECOND).to_bytes(), NOW).command
    finish(upward, command, "no image")
    assert [field(document.document, "DCCAlertCode") for document in upward.convert()] == ["N61", "N61"]


@pytest.mark.parametrize(("result", "code"), [({"device": "x"}, "I0"), ("the radio refused", "E20")])
def test_upward_outcome_of_a_device_log_request(upward, result, code):
    request = UpdateHanDeviceLogRequest(RequestId(SUPPLIER, CHF, 1), PPMID, None)
    Desk(upward.store, upward.pki).take(request.to_bytes(), NOW)
    finish(upward, upward.store.inbox.pending()[0].id, result)
    (document,) = upward.convert()
    assert (field(document.document, "ResponseCode"), field(document.document, "RequestID")) == (
        code,
        str(request.request_id),
    )


def test_upward_alerts_are_converted_a_hundred_at_a_time(upward):
    later = Now(Instant(2000.0), UtcSeconds(UTC + 1))
    upward.alert(cs09(), PPMID)
    conversion = Conversion(upward.store, upward.pki, ResponseSigner(upward.pki))
    assert conversion.run(later) == 1
    assert conversion.run(later) == 0
    for counter in range(2, 152):
        upward.alert(cs09(counter), PPMID)
    assert [conversion.run(later) for _ in range(3)] == [100, 50, 0]
