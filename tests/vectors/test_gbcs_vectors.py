"""The thirteen public RTDS messages: parsed, made again from what was parsed, signatures and MACs checked."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from chf import gbcs
from tests.support.oracles import missing

REFERENCE = Path(__file__).parents[2].parent / "shared" / "reference" / "gbcs"
pytestmark = pytest.mark.skipif(
    not REFERENCE.exists(), reason="the public GBCS reference data is not beside the checkout"
)

ESME, GSME, CHF, PPMID = (0x00DB1234567890A0 + at for at in (0, 1, 2, 4))
SUPPLIER, ACB = 0x90B3D51F30010000, 0x90B3D51F30000002
T_2015, T_2030 = 1420070400, 1894698000  # 2015-01-01T00:00:00Z, 2030-01-15T09:00:00Z
HASH = bytes.fromhex("AA758690730934FF0685AA758690730934FF0685657788990011223344556677")

PAYLOADS = {
    "CCS08_NA_NA_ALERT": gbcs.FirmwareTransferAlert(T_2015, PPMID, 0x0123ABCD, gbcs.TransferResponseCode.SUCCESS),
    "CS06_11.3_8F66_FUTURE_DATED_SUCCESS_ALERT": gbcs.FutureDatedFirmwareActivationAlert(
        T_2030, 1001, gbcs.ExecutionOutcome(gbcs.ActivateImageResponseCode.SUCCESS, 0x0123ABCF)
    ),
    "CS06_11.3_FUTURE_DATED_SUCCESS_COMMAND": gbcs.ActivateFirmwareCommand(HASH, 1001, T_2030),
    "CS06_11.3_FUTURE_DATED_SUCCESS_PRECOMMAND": gbcs.ActivateFirmwareCommand(HASH, 1001, T_2030),
    "CS06_11.3_FUTURE_DATED_SUCCESS_RESPONSE": gbcs.CommandAccepted(),
    "CS06_11.3_IMMEDIATE_ERROR_RESPONSE": gbcs.ExecutionOutcome(
        gbcs.ActivateImageResponseCode.NO_IMAGE_HELD, 0x0123ABCF
    ),
    "CS06_11.3_IMMEDIATE_SUCCESS_COMMAND": gbcs.ActivateFirmwareCommand(HASH, 1000),
    "CS06_11.3_IMMEDIATE_SUCCESS_PRECOMMAND": gbcs.ActivateFirmwareCommand(HASH, 1000),
    "CS06_11.3_IMMEDIATE_SUCCESS_RESPONSE": gbcs.ExecutionOutcome(gbcs.ActivateImageResponseCode.SUCCESS, 0x0123ABCE),
    "CS08_11.2_SUCCESS_COMMAND": gbcs.ReadFirmwareVersionCommand(),
    "CS08_11.2_SUCCESS_RESPONSE": gbcs.ReadFirmwareVersionResponse(
        0x0123ABCD, gbcs.ReadFirmwareVersionResponseCode.READ_SUCCESS
    ),
    "CS09_NA_8F8B_ALERT": gbcs.PpmidFirmwareActivationAlert(T_2015, 0x1234ABCD, gbcs.ActivateImageResultCode.SUCCESS),
    "FDRA-ZigBee_NA_8F72_ALERT": gbcs.GbzFirmwareDistributionReceiptAlert(
        gbcs.AlertCode.FIRMWARE_VERIFICATION_SUCCESSFUL, 0x1C374A80, bytes([0xA1]) * 32
    ),
}
SIGNED = [name for name in PAYLOADS if "PRECOMMAND" not in name and not name.startswith("CS08")]
WITH_MAC = [name for name in PAYLOADS if name.endswith("_COMMAND") or name.startswith("CS08")]


def vector(name: str) -> bytes:
    return bytes.fromhex((REFERENCE / "vectors" / f"{name}_GBCS.HEX").read_text())


def public_key(eui64: int, usage: str) -> ec.EllipticCurvePublicKey:
    pem = (REFERENCE / "certificates" / f"{eui64:016x}-{usage}.pem").read_bytes()
    key = x509.load_pem_x509_certificate(pem).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return key


def test_gbcs_every_reference_message_is_covered():
    assert {path.name.removesuffix("_GBCS.HEX") for path in (REFERENCE / "vectors").iterdir()} == set(PAYLOADS)


@pytest.mark.parametrize("name", PAYLOADS)
def test_gbcs_message_is_read_and_written_back(name):
    message = gbcs.GbcsMessage.from_bytes(vector(name))
    assert message.to_bytes() == vector(name)
    assert gbcs.parse_payload(message) == PAYLOADS[name]
    assert PAYLOADS[name].to_bytes() == message.payload


@pytest.mark.parametrize("name", SIGNED)
def test_gbcs_signature_verifies_for_its_signer_alone(name):
    message = gbcs.GbcsMessage.from_bytes(vector(name))
    assert gbcs.verify_signature(message, public_key(message.header.originator, "ds"))
    assert not gbcs.verify_signature(message, public_key(message.header.originator, "ka"))
    counter = message.header.counter
    assert not gbcs.verify_signature(
        replace(message, header=replace(message.header, counter=counter + 1)),
        public_key(message.header.originator, "ds"),
    )


@pytest.mark.parametrize("name", [name for name in PAYLOADS if name not in SIGNED])
def test_gbcs_unsigned_message_is_signed_by_nobody(name):
    assert not gbcs.verify_signature(gbcs.GbcsMessage.from_bytes(vector(name)), public_key(SUPPLIER, "ds"))


def unsigned(octets: bytes) -> tuple[gbcs.GroupingHeader, bytes]:
    message = gbcs.GbcsMessage.from_bytes(octets)
    return message.header, message.payload


def test_gbcs_builders_make_the_reference_messages_up_to_signature_and_mac():
    key, secret = ec.derive_private_key(7, ec.SECP256R1()), bytes(16)
    immediate, future = PAYLOADS["CS06_11.3_IMMEDIATE_SUCCESS_RESPONSE"], gbcs.CommandAccepted()
    assert isinstance(immediate, gbcs.ExecutionOutcome)
    cs06 = gbcs.make_cs06_precommand(SUPPLIER, ESME, 1000, HASH)
    cs06_future = gbcs.make_cs06_precommand(SUPPLIER, ESME, 1001, HASH, T_2030)
    cs08 = gbcs.GbcsMessage.from_bytes(vector("CS08_11.2_SUCCESS_COMMAND")).header
    future_alert = PAYLOADS["CS06_11.3_8F66_FUTURE_DATED_SUCCESS_ALERT"]
    assert isinstance(future_alert, gbcs.FutureDatedFirmwareActivationAlert)
    cs08_response = PAYLOADS["CS08_11.2_SUCCESS_RESPONSE"]
    assert isinstance(cs08_response, gbcs.ReadFirmwareVersionResponse)
    made = {
        "CCS08_NA_NA_ALERT": gbcs.make_ccs08_alert(
            CHF,
            ACB,
            4000,
            utc=T_2015,
            device=PPMID,
            firmware_version=0x0123ABCD,
            response_code=gbcs.TransferResponseCode.SUCCESS,
            key=key,
        ),
        "CS09_NA_8F8B_ALERT": gbcs.make_cs09_alert(
            PPMID, ACB, 5000, utc=T_2015, firmware_version=0x1234ABCD, success=True, key=key
        ),
        "CS06_11.3_IMMEDIATE_SUCCESS_PRECOMMAND": cs06.to_bytes(),
        "CS06_11.3_FUTURE_DATED_SUCCESS_PRECOMMAND": cs06_future.to_bytes(),
        "CS06_11.3_IMMEDIATE_SUCCESS_RESPONSE": gbcs.make_cs06_response(cs06.header, immediate, T_2015, key),
        "CS06_11.3_FUTURE_DATED_SUCCESS_RESPONSE": gbcs.make_cs06_response(cs06_future.header, future, T_2015, key),
        "CS06_11.3_8F66_FUTURE_DATED_SUCCESS_ALERT": gbcs.make_future_dated_alert(
            ESME, SUPPLIER, 2000, future_alert, key
        ),
        "CS08_11.2_SUCCESS_COMMAND": gbcs.make_cs08_command(
            ACB, PPMID, 1300, gbcs.SupplementaryRemoteParty(SUPPLIER, 1000), secret
        ),
        "CS08_11.2_SUCCESS_RESPONSE": gbcs.make_cs08_response(cs08, cs08_response, secret),
    }
    for name, octets in made.items():
        closing = 64 if name in SIGNED else 12 if name in WITH_MAC else 0
        body = len(octets) - closing
        assert len(octets) == len(vector(name)), name
        assert octets[:body] == vector(name)[:body], name


def test_gbcs_date_time_of_a_response():
    message = gbcs.GbcsMessage.from_bytes(vector("CS06_11.3_IMMEDIATE_SUCCESS_RESPONSE"))
    assert message.header.date_time == gbcs.cosem_date_time(T_2015)


def acb_key_agreement_key() -> ec.EllipticCurvePrivateKey:
    """The public ZAZ1 test key of the ACB, which no repository needs to hold."""
    where = Path(os.environ.get("CHF_NODE_MODULES", Path(__file__).parents[2] / ".node" / "node_modules"))
    keystore = where / "@smartdcc" / "dccboxed-keystore" / "keystore.json"
    if not keystore.exists():
        missing("npm package @smartdcc/dccboxed-keystore is not installed (CHF_NODE_MODULES)")
    for stored in walk(json.loads(keystore.read_text())):
        if stored.get("name") == "Z1-accessControlBroker-ka":
            key = load_pem_private_key(stored["privateKey"].encode(), None)
            assert isinstance(key, ec.EllipticCurvePrivateKey)
            return key
    pytest.fail("Z1-accessControlBroker-ka is not in the keystore")


def walk(node):
    if isinstance(node, dict):
        yield node
        for inside in node.values():
            yield from walk(inside)


@pytest.mark.parametrize("name", WITH_MAC)
def test_gbcs_mac_verifies_with_the_key_of_the_acb(name):
    message = gbcs.GbcsMessage.from_bytes(vector(name))
    device = {ESME, PPMID} & {message.header.originator, message.header.recipient}
    key = gbcs.mac_key(acb_key_agreement_key(), public_key(device.pop(), "ka"), message.header)
    assert gbcs.verify_mac(message, key)
    assert not gbcs.verify_mac(message, bytes(16))
