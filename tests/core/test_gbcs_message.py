"""What a GBCS message is refused for, with the offset that the refusal names; signatures and MACs of our own."""

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from chf import gbcs
from chf.errors import MalformedMessageError
from chf.gbcs.describe import describe

KEY = ec.derive_private_key(0x1234, ec.SECP256R1())
OTHER = ec.derive_private_key(0x5678, ec.SECP256R1())
PPMID, CHF, ACB, SUPPLIER = 0x00DB1234567890A4, 0x00DB1234567890A2, 0x90B3D51F30000002, 0x90B3D51F30010000
UTC_S = 1420070400
CS09 = gbcs.make_cs09_alert(PPMID, ACB, 5000, utc=UTC_S, firmware_version=0x1234ABCD, success=True, key=KEY)
CCS08 = gbcs.make_ccs08_alert(
    CHF, ACB, 1, utc=UTC_S, device=PPMID, firmware_version=7, response_code=gbcs.TransferResponseCode.SUCCESS, key=KEY
)
PAYLOAD_OFFSET = CS09.index(b"\x30\x1f")


def patched(octets: bytes, at: int, new: str) -> bytes:
    replacement = bytes.fromhex(new)
    return octets[:at] + replacement + octets[at + len(replacement) :]


def refusal(octets: bytes) -> MalformedMessageError:
    with pytest.raises(MalformedMessageError) as caught:
        gbcs.parse_payload(gbcs.GbcsMessage.from_bytes(octets))
    return caught.value


@pytest.mark.parametrize(
    ("at", "new", "field"),
    [
        (0, "DE", "general-signing tag"),
        (1, "08", "transaction id length"),
        (2, "00", "CRA flag"),
        (2, "04", "CRA flag"),
        (11, "07", "OriginatorID length"),
        (20, "09", "RecipientID length"),
        (29, "0B", "date-time length"),
        (30, "81", "other-information length"),
        (30, "01", "MessageCode"),
        (30, "09", "SupplementaryRemotePartyID"),
        (33, "80", "payload length"),
        (33, "83", "payload length"),
        (67, "3F", "signature length"),
    ],
)
def test_gbcs_frame_field_is_checked(at, new, field):
    error = refusal(patched(CS09, at, new))
    assert field in error.field
    assert error.offset is not None


@pytest.mark.parametrize(
    ("at", "new", "field"),
    [
        (0, "31", "Alert"),  # a SET
        (1, "1E", "activateImage"),  # too short
        (1, "20", "Alert"),  # too long
        (2, "04", "alertCode"),  # another type
        (4, "80", "alertCode"),  # negative
        (5, "8F8A", "alertCode"),  # another alert
        (5, "9999", "alertCode"),  # none that is known
        (9, "32303135313330313030303030305A", "dateTime"),  # month 13
        (9, "3230313530313031303030303030FF", "dateTime"),
        (9, "2B3031353031303130303030303030", "dateTime"),  # +015...
        (25, "03", "firmwareVersion"),
        (30, "0102", "activateImage"),  # BOOLEAN
        (32, "02", "activateImage"),  # neither success nor failure
    ],
)
def test_gbcs_payload_field_is_checked(at, new, field):
    error = refusal(patched(CS09, PAYLOAD_OFFSET + at, new))
    assert error.field == field
    assert error.offset is not None
    assert PAYLOAD_OFFSET <= error.offset <= PAYLOAD_OFFSET + 33


@pytest.mark.parametrize(
    "payload",
    [
        "3022 0203008F8B1812 32303135303130313030303030302E30305A04041234ABCD020100",  # with a fraction
        "",
    ],
)
def test_gbcs_payload_without_a_value_or_with_a_time_in_another_form_is_refused(payload):
    header = gbcs.GbcsMessage.from_bytes(CS09).header
    with pytest.raises(MalformedMessageError) as caught:
        gbcs.parse_payload(gbcs.GbcsMessage(header, bytes.fromhex(payload)))
    assert caught.value.offset is not None


def test_gbcs_octets_after_the_message_are_refused():
    error = refusal(CS09 + b"\0")
    assert error.offset == len(CS09)


def test_gbcs_too_long_is_refused_unread():
    assert "more than any" in str(refusal(bytes(70_000)))


def test_gbcs_ccs08_codes_that_contradict_each_other_are_refused():
    failed_with_success_code = bytearray(CCS08)
    failed_with_success_code[-66] = gbcs.TransferResponseCode.HARDWARE_VERSION_MISMATCH
    error = refusal(bytes(failed_with_success_code))
    assert error.field == "alertCode"
    assert "contradicts" in error.reason


@pytest.mark.parametrize("code", gbcs.TransferResponseCode)
def test_gbcs_ccs08_alert_code_follows_from_the_outcome(code):
    octets = gbcs.make_ccs08_alert(
        CHF, ACB, 1, utc=UTC_S, device=PPMID, firmware_version=7, response_code=code, key=KEY
    )
    payload = gbcs.parse_payload(gbcs.GbcsMessage.from_bytes(octets))
    assert payload.response_code is code
    assert payload.alert_code == (0x8F8A if code is gbcs.TransferResponseCode.SUCCESS else 0x8F89)


def test_gbcs_cs09_failure():
    octets = gbcs.make_cs09_alert(PPMID, ACB, 1, utc=UTC_S + 0.75, firmware_version=2, success=False, key=KEY)
    payload = gbcs.parse_payload(gbcs.GbcsMessage.from_bytes(octets))
    assert (payload.utc_s, payload.firmware_version, payload.result.name) == (UTC_S, 2, "FAILURE")


def test_gbcs_signature_covers_all_but_the_tag():
    message = gbcs.GbcsMessage.from_bytes(CS09)
    assert gbcs.verify_signature(message, KEY.public_key())
    assert not gbcs.verify_signature(message, OTHER.public_key())
    for at in range(1, len(CS09)):
        changed = bytearray(CS09)
        changed[at] ^= 1
        try:
            reread = gbcs.GbcsMessage.from_bytes(bytes(changed))
        except MalformedMessageError:
            continue
        assert not gbcs.verify_signature(reread, KEY.public_key()), f"offset {at}"


def test_gbcs_signatures_of_zeros_and_of_the_group_order_are_refused():
    message = gbcs.GbcsMessage.from_bytes(CS09)
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    for half in (0, 1, order, 2**256 - 1):
        forged = replace(message, signature=half.to_bytes(32, "big") * 2)
        assert not gbcs.verify_signature(forged, KEY.public_key())


def test_gbcs_signing_repeats():
    again = gbcs.make_cs09_alert(PPMID, ACB, 5000, utc=UTC_S, firmware_version=0x1234ABCD, success=True, key=KEY)
    assert again == CS09


def test_gbcs_pre_command_with_and_without_its_empty_signature_field_is_signed_alike():
    bare = gbcs.make_cs06_precommand(SUPPLIER, PPMID, 9, bytes(32), 1894698000)
    with_field = gbcs.GbcsMessage.from_bytes(bare.to_bytes() + b"\0")
    assert bare.signature is None
    assert with_field.signature == b""
    assert gbcs.sign(bare, KEY) == gbcs.sign(with_field, KEY)


def test_gbcs_mac_is_the_same_from_both_ends_and_covers_everything():
    device, acb = KEY, OTHER
    command = gbcs.sign(
        gbcs.make_cs06_precommand(SUPPLIER, PPMID, 9, bytes(32)), ec.derive_private_key(3, ec.SECP256R1())
    )
    protected = gbcs.add_mac(command, gbcs.mac_key(acb, device.public_key(), command.header))
    received = gbcs.GbcsMessage.from_bytes(protected.to_bytes())
    key = gbcs.mac_key(device, acb.public_key(), received.header)
    assert gbcs.verify_mac(received, key)
    assert not gbcs.verify_mac(replace(received, payload=received.payload[:-1] + b"\x08"), key)
    assert not gbcs.verify_mac(replace(received, mac=bytes(12)), key)
    assert not gbcs.verify_mac(command, key)
    assert gbcs.mac_key(device, acb.public_key(), replace(received.header, counter=10)) != key


def test_gbcs_mac_header_that_lies_about_its_length_is_refused():
    command = gbcs.add_mac(gbcs.make_cs06_precommand(SUPPLIER, PPMID, 9, bytes(32)), bytes(16)).to_bytes()
    for octets in (command + b"\0", command[:-1], patched(command, 7, "7F")):
        error = refusal(octets)
        assert error.field == "MAC header length"
        assert error.offset == 7


def test_gbcs_reading_a_version_is_a_command_and_a_response_that_belong_together():
    party = gbcs.SupplementaryRemoteParty(SUPPLIER, 1000)
    command = gbcs.GbcsMessage.from_bytes(gbcs.make_cs08_command(ACB, PPMID, 1300, party, bytes(16)))
    answer = gbcs.ReadFirmwareVersionResponse(7, gbcs.ReadFirmwareVersionResponseCode.READ_SUCCESS)
    response = gbcs.GbcsMessage.from_bytes(gbcs.make_cs08_response(command.header, answer, bytes(16)))
    assert response.header == gbcs.response_header(command.header)
    assert (response.header.originator, response.header.recipient, response.header.counter) == (PPMID, ACB, 1300)
    assert gbcs.parse_payload(response) == answer


def test_gbcs_other_use_cases_pass_unread():
    header = gbcs.GroupingHeader(gbcs.CraFlag.ALERT, 1, PPMID, ACB, 0x1000)
    opaque = gbcs.parse_payload(gbcs.GbcsMessage(header, b"anything"))
    assert opaque == gbcs.OpaquePayload(b"anything")
    assert opaque.to_bytes() == b"anything"
    assert gbcs.use_case_name(0x1000) == "not a firmware use case"
    assert all(gbcs.use_case_name(code).strip() for code in gbcs.MessageCode)


@pytest.mark.parametrize("cra", [gbcs.CraFlag.RESPONSE, gbcs.CraFlag.ALERT])
def test_gbcs_only_a_command_may_come_without_its_signature_field(cra):
    header = gbcs.GroupingHeader(cra, 1, PPMID, ACB, 0x1000)
    assert refusal(gbcs.GbcsMessage(header, b"cut here").to_bytes()).field == "signature length"


def test_gbcs_a_party_without_counter_is_named_and_written_back():
    header = gbcs.GroupingHeader(
        gbcs.CraFlag.COMMAND, 1, ACB, PPMID, 0x1000, b"", gbcs.SupplementaryRemoteParty(7, None)
    )
    octets = gbcs.GbcsMessage(header, b"", b"").to_bytes()
    assert bytes.fromhex("0A 1000 0000000000000007") in octets
    assert gbcs.GbcsMessage.from_bytes(octets).header == header
    told = {line.name: line.value for line in describe(gbcs.GbcsMessage.from_bytes(octets))}
    assert told["on_behalf_of"] == "00-00-00-00-00-00-00-07"
    assert "on_behalf_of_counter" not in told


@pytest.mark.parametrize(
    "certificate", ["310730", "3000", "3008" + "00" * 7, "30" + "00" * 20, "3081" + "05" + "00" * 9]
)
def test_gbcs_key_agreement_certificate_must_fill_its_place(certificate):
    party = gbcs.SupplementaryRemoteParty(SUPPLIER, 1, key_agreement_certificate=bytes.fromhex(certificate))
    header = gbcs.GroupingHeader(gbcs.CraFlag.COMMAND, 1, ACB, PPMID, 0x0129, supplementary=party)
    assert "key agreement certificate" in refusal(gbcs.GbcsMessage(header, b"\x05\x00", b"").to_bytes()).field


@pytest.mark.parametrize("size", [0, 127, 128, 255, 256, 60_000])
def test_gbcs_payload_lengths_of_every_form(size):
    message = gbcs.GbcsMessage(gbcs.GroupingHeader(gbcs.CraFlag.ALERT, 1, PPMID, ACB, 0x1000), bytes(size), b"")
    assert gbcs.GbcsMessage.from_bytes(message.to_bytes()) == message


def test_gbcs_payload_that_no_message_can_hold_is_refused_when_it_is_made():
    message = gbcs.GbcsMessage(gbcs.GroupingHeader(gbcs.CraFlag.ALERT, 1, PPMID, ACB, 0x1000), bytes(0x10000))
    with pytest.raises(MalformedMessageError, match="65536"):
        message.to_bytes()


@pytest.mark.parametrize("code", [gbcs.MessageCode.FIRMWARE_DISTRIBUTION_RECEIPT_ALERT_GSME])
def test_gbcs_receipt_with_the_code_of_another_alert_is_refused(code):
    payload = bytes.fromhex("0109018F8B00000000" + "0920") + bytes(32)
    with pytest.raises(MalformedMessageError, match="neither 0x8F72 nor 0x8F1C"):
        gbcs.parse_payload(gbcs.GbcsMessage(gbcs.GroupingHeader(gbcs.CraFlag.ALERT, 1, PPMID, SUPPLIER, code), payload))
