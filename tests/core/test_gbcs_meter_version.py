"""ECS52 and GCS38: octets as the public test messages lay them out, with values of our own; and what is refused."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from chf import gbcs
from chf.errors import MalformedMessageError

METER, SUPPLIER = 0x00DB1234567890A0, 0x90B3D51F30010000
ECS52, GCS38 = gbcs.MessageCode.READ_FIRMWARE_VERSION_ESME_CHF, gbcs.MessageCode.READ_FIRMWARE_VERSION_GSME
ACB_KA, METER_KA, SUPPLIER_KA = (ec.derive_private_key(number, ec.SECP256R1()) for number in (21, 22, 23))

COMMAND, RESPONSE = gbcs.CraFlag.COMMAND, gbcs.CraFlag.RESPONSE
DLMS, GBZ = gbcs.DlmsReadFirmwareVersionResponse, gbcs.GbzReadFirmwareVersionResponse
DLMS_COMMAND, GBZ_COMMAND = gbcs.DlmsReadFirmwareVersionCommand(0x04D2), gbcs.GbzReadFirmwareVersionCommand()
LAYOUTS = {
    "ECS52 command": (ECS52, COMMAND, DLMS_COMMAND, "D9 200004D2 00 01 01 0001 0000000201FF 02 01 00"),
    "ECS52 response": (ECS52, RESPONSE, DLMS(0x04D2, 0x0A0B0C0D), "DA 200004D2 00 00 01 0904 0A0B0C0D 01 01 00"),
    "ECS52 failure": (ECS52, RESPONSE, DLMS(0x04D2, None, 3), "DA 200004D2 00 00 01 00 01 01 03"),
    "GCS38 command": (GCS38, COMMAND, GBZ_COMMAND, "0109 01 01 0702 0005 000000 0602"),
    "GCS38 response": (GCS38, RESPONSE, GBZ(0x0A0B0C0D), "0109 01 01 0702 000C 080001 0602 00 41 04 0A0B0C0D"),
    "GCS38 failure": (GCS38, RESPONSE, GBZ(None, 0x86), "0109 01 01 0702 0006 080001 0602 86"),
}


def message(code: gbcs.MessageCode, cra: gbcs.CraFlag, payload: bytes) -> gbcs.GbcsMessage:
    return gbcs.GbcsMessage(gbcs.GroupingHeader(cra, 0x04D2, 1, 2, code), payload, b"")


@pytest.mark.parametrize("name", LAYOUTS)
def test_gbcs_meter_version_layout(name):
    code, cra, payload, text = LAYOUTS[name]
    octets = bytes.fromhex(text)
    assert payload.to_bytes() == octets
    assert gbcs.parse_payload(message(code, cra, octets)) == payload


@pytest.mark.parametrize("name", LAYOUTS)
def test_gbcs_meter_version_cut_or_longer_is_refused(name):
    code, cra, _, text = LAYOUTS[name]
    octets = bytes.fromhex(text)
    for wrong in [*(octets[:cut] for cut in range(len(octets))), octets + b"\0"]:
        whole = message(code, cra, wrong)
        with pytest.raises(MalformedMessageError) as caught:
            gbcs.parse_payload(whole)
        assert caught.value.offset is not None
        assert whole.payload_offset <= caught.value.offset <= whole.payload_offset + len(wrong)


@pytest.mark.parametrize(
    ("code", "text", "words"),
    [
        (ECS52, "DA 200004D2 00 00 01 0904 0A0B0C0D 01 01 03", "3 contradicts"),
        (ECS52, "DA 200004D2 00 00 01 00 01 01 00", "0 contradicts"),
        (ECS52, "DA 000004D2 00 00 01 00 01 01 03", "flags are 0x20, not 0x00"),
        (ECS52, "DA 200004D2 00 00 02 0904 0A0B0C0D 00 01 01 00", "access response data"),
        (GCS38, "0109 01 01 0702 000C 080001 0602 86 41 04 0A0B0C0D", "134 contradicts"),
        (GCS38, "0109 01 01 0702 0006 080001 0602 00", "0 contradicts"),
        (GCS38, "0109 01 01 0702 000B 080001 0602 00 41 04 0A0B0C0D", "4 octets wanted, 3 left"),
        (GCS38, "0109 01 01 0702 000D 080001 0602 00 41 04 0A0B0C0D", "13 octets wanted, 12 left"),
        (GCS38, "0109 01 01 0702 000D 080001 0602 00 41 04 0A0B0C0D FF", "1 octet too many"),
        (GCS38, "0109 02 01 0702 000C 080001 0602 00 41 04 0A0B0C0D", "component count"),
    ],
)
def test_gbcs_meter_version_that_contradicts_itself_is_refused(code, text, words):
    with pytest.raises(MalformedMessageError, match=words):
        gbcs.parse_payload(message(code, gbcs.CraFlag.RESPONSE, bytes.fromhex(text)))


@pytest.mark.parametrize("code", [ECS52, GCS38])
def test_gbcs_meter_version_is_asked_under_the_brokers_mac_and_answered_under_the_suppliers(code):
    header = gbcs.GroupingHeader(gbcs.CraFlag.COMMAND, 2**40 + 5, SUPPLIER, METER, code)
    command = gbcs.GbcsMessage.from_bytes(
        gbcs.make_version_command(header, gbcs.mac_key(ACB_KA, METER_KA.public_key(), header))
    )
    assert command.header == header
    assert gbcs.verify_mac(command, gbcs.mac_key(METER_KA, ACB_KA.public_key(), header))
    answer = gbcs.response_header(header)
    octets = gbcs.make_meter_version_response(header, 7, gbcs.mac_key(METER_KA, SUPPLIER_KA.public_key(), answer))
    response = gbcs.GbcsMessage.from_bytes(octets)
    assert response.header == answer
    assert (answer.originator, answer.recipient, answer.counter) == (METER, SUPPLIER, header.counter)
    assert gbcs.verify_mac(response, gbcs.mac_key(SUPPLIER_KA, METER_KA.public_key(), answer))
    assert gbcs.parse_payload(response).firmware_version == 7


def test_gbcs_other_use_cases_ask_for_no_version():
    with pytest.raises(ValueError, match="0x0012"):
        gbcs.make_version_command(
            gbcs.GroupingHeader(gbcs.CraFlag.COMMAND, 1, 2, 3, gbcs.MessageCode.ACTIVATE_FIRMWARE), bytes(16)
        )


@pytest.mark.parametrize(
    ("counter", "invoke_id"), [(1, "20000001"), (0x7D0, "200007D0"), (2**40 + 0x123456, "20123456")]
)
def test_gbcs_the_invoke_id_of_a_dlms_receipt_follows_its_counter(counter, invoke_id):
    """Not fixed to 2000, which is the counter of the public message that has it."""
    told = {"alert_code": gbcs.AlertCode.FIRMWARE_VERIFICATION_SUCCESSFUL, "manufacturer_image_hash": bytes(range(32))}
    octets = gbcs.make_receipt_alert(METER, SUPPLIER, counter, utc=1420070400, dlms=True, key=METER_KA, **told)
    alert = gbcs.GbcsMessage.from_bytes(octets)
    when = "090C 07DF0101FF000000008000FF"
    assert alert.payload == bytes.fromhex(f"0F {invoke_id} 00 0203 12 8F72 {when} 0920") + bytes(range(32))
    told = gbcs.parse_payload(alert)
    assert isinstance(told, gbcs.DlmsFirmwareDistributionReceiptAlert)
    assert told.counter == counter % 2**24
