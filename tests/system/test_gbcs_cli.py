"""`chf gbcs decode`: what a person is told, and what a script reads."""

import json
import os
import threading

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from chf import gbcs
from chf.cli.gbcs import gbcs as command
from chf.errors import MalformedMessageError, RefusedError, UsageError
from chf.eui64 import Eui64
from chf.gbcs.use_cases import CANCELLED_UTC_S
from chf.pki.certificates import Usage
from chf.pki.gbcs import Pki, seeded_keys

PPMID, CHF, ACB = 0x00DB1234567890A4, 0x00DB1234567890A2, 0x90B3D51F30000002
KEYS = seeded_keys(b"decode")
KEY = KEYS(f"{PPMID:016x}-ds")
CS09 = gbcs.make_cs09_alert(PPMID, ACB, 5, utc=1420070400, firmware_version=0x1234ABCD, success=False, key=KEY)


def decode(*arguments, stdin=None):
    return CliRunner().invoke(command, ["decode", *map(str, arguments)], input=stdin)


@pytest.fixture
def certificate(tmp_path):
    pki = Pki.create(tmp_path / "pki", chf=Eui64(CHF), keys=KEYS)
    pki.issue(Eui64(PPMID), KEYS)
    return pki.path / f"{PPMID:016x}-{Usage.DIGITAL_SIGNATURE.value}.pem"


def test_gbcs_decode_tells_a_person(certificate):
    outcome = decode(CS09.hex(), "--certificate", certificate)
    assert outcome.exit_code == 0
    for words in ("CS09 PPMID Firmware Activation Alert", "00-DB-12-34-56-78-90-A4", "2015-01-01T00:00:00Z"):
        assert words in outcome.stdout
    assert "failure" in outcome.stdout
    assert "verified" in outcome.stdout


@pytest.mark.parametrize("form", ["hex file", "binary file", "spaced", "colons", "stdin", "binary stdin", "0x"])
def test_gbcs_decode_takes_what_people_have(form, tmp_path):
    path, text = tmp_path / "message", CS09.hex()
    match form:
        case "hex file":
            path.write_text("\n".join(text[at : at + 60] for at in range(0, len(text), 60)) + "\n")
            outcome = decode(path, "--json")
        case "binary file":
            path.write_bytes(CS09)
            outcome = decode(path, "--json")
        case "stdin":
            outcome = decode("-", "--json", stdin=text)
        case "binary stdin":
            outcome = decode("-", "--json", stdin=CS09)
        case "spaced":
            outcome = decode(CS09.hex(" "), "--json")
        case "colons":
            outcome = decode(CS09.hex(":"), "--json")
        case _:
            outcome = decode("0x" + text, "--json")
    assert outcome.exit_code == 0
    told = json.loads(outcome.stdout)
    assert told["message"] == text.upper()
    assert (told["schema"], told["alert_code"], told["firmware_version"]) == (1, "0x8F8B", "0x1234ABCD")


def test_gbcs_decode_says_when_the_signature_is_another_s(certificate, tmp_path):
    other = tmp_path / "other.der"
    pki = Pki.open(certificate.parent)
    other.write_bytes(pki.certificate(Eui64(CHF), Usage.DIGITAL_SIGNATURE).public_bytes(Encoding.DER))
    outcome = decode(CS09.hex(), "--certificate", other, "--json")
    assert isinstance(outcome.exception, RefusedError)
    assert json.loads(outcome.stdout)["signature_valid"] is False
    assert json.loads(decode(CS09.hex(), "--certificate", certificate, "--json").stdout)["signature_valid"] is True


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        (CS09.hex()[:-2], MalformedMessageError, "signature, offset"),
        (CS09.hex()[:-1], UsageError, "263 hex digits, which is no even number"),
        ("DF", MalformedMessageError, "1 octet wanted, 0 left"),
        ("/", UsageError, "/ is a directory"),
        ("no hex", UsageError, "neither a file nor"),
        ("0x", UsageError, "empty"),
        ("a\0b", UsageError, "neither a file nor"),
        ("", UsageError, "empty"),
        ("x" * 5000, UsageError, "neither a file nor"),
        (CS09.hex().replace("301f0203008f8b", "301f0203008f8a"), MalformedMessageError, "contradicts"),
    ],
)
def test_gbcs_decode_refuses_with_a_reason(text, error, words):
    outcome = decode(text)
    assert isinstance(outcome.exception, error)
    assert words in str(outcome.exception)
    assert outcome.stdout == ""


def test_gbcs_decode_refuses_a_file_that_is_too_large(tmp_path):
    path = tmp_path / "large"
    path.write_bytes(b"0" * 300_000)
    assert "larger than any" in str(decode(path).exception)


def test_gbcs_decode_says_what_is_wrong_with_a_file(tmp_path):
    path = tmp_path / "message"
    for content, words in ((b"\x01\x02\x03", "holds neither a GBCS message nor hex"), (b"df0", "3 hex digits")):
        path.write_bytes(content)
        outcome = decode(path)
        assert isinstance(outcome.exception, UsageError)
        assert words in str(outcome.exception)
        assert str(path) in str(outcome.exception)


def test_gbcs_decode_reads_a_pipe_of_the_shell(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_text, args=(CS09.hex(),))
    writer.start()
    outcome = decode(path, "--json")
    writer.join()
    assert json.loads(outcome.stdout)["message"] == CS09.hex().upper()


def words(message: gbcs.GbcsMessage) -> str:
    outcome = decode(message.to_bytes().hex())
    assert outcome.exit_code == 0
    return outcome.stdout


def test_gbcs_decode_explains_the_other_use_cases():
    cs06 = gbcs.make_cs06_precommand(ACB, PPMID, 7, bytes(32))
    assert "at once" in words(cs06)
    assert "none: a pre-command" in words(cs06)
    assert "cancels an earlier command" in words(gbcs.make_cs06_precommand(ACB, PPMID, 7, bytes(32), CANCELLED_UTC_S))
    assert "2030-01-15T09:00:00Z" in words(gbcs.make_cs06_precommand(ACB, PPMID, 7, bytes(32), 1894698000))
    accepted = gbcs.make_cs06_response(cs06.header, gbcs.CommandAccepted(), 0, ec.derive_private_key(1, ec.SECP256R1()))
    assert "to be carried out at its time" in words(gbcs.GbcsMessage.from_bytes(accepted))
    read = gbcs.make_cs08_command(ACB, PPMID, 1, gbcs.SupplementaryRemoteParty(CHF, 9), bytes(16))
    assert "on behalf of counter  9" in words(gbcs.GbcsMessage.from_bytes(read))
    ccs08 = gbcs.make_ccs08_alert(
        CHF,
        ACB,
        1,
        utc=0,
        device=PPMID,
        firmware_version=1,
        response_code=gbcs.TransferResponseCode.IMAGE_DISCARDED,
        key=KEY,
    )
    assert "image discarded" in words(gbcs.GbcsMessage.from_bytes(ccs08))
    receipt = gbcs.DlmsFirmwareDistributionReceiptAlert(
        1, gbcs.AlertCode.FIRMWARE_VERIFICATION_FAILED, bytes(12), b"\xa1" * 32
    )
    code = gbcs.MessageCode.FIRMWARE_DISTRIBUTION_RECEIPT_ALERT_ESME
    assert "0x8F1C" in words(
        gbcs.GbcsMessage(gbcs.GroupingHeader(gbcs.CraFlag.ALERT, 1, PPMID, ACB, code), receipt.to_bytes())
    )
    done = gbcs.make_cs06_response(
        cs06.header, gbcs.ExecutionOutcome(gbcs.ActivateImageResponseCode.HASH_MISMATCH, 3), 0, KEY
    )
    assert "hash mismatch" in words(gbcs.GbcsMessage.from_bytes(done))
    outcome = gbcs.ExecutionOutcome(gbcs.ActivateImageResponseCode.SUCCESS, 3)
    future = gbcs.make_future_dated_alert(
        PPMID, ACB, 1, gbcs.FutureDatedFirmwareActivationAlert(1894698000, 7, outcome), KEY
    )
    assert "0x8F66" in words(gbcs.GbcsMessage.from_bytes(future))
    version = gbcs.ReadFirmwareVersionResponse(0x0123ABCD, gbcs.ReadFirmwareVersionResponseCode.READ_SUCCESS)
    answer = gbcs.make_cs08_response(gbcs.GbcsMessage.from_bytes(read).header, version, bytes(16))
    assert "0x0123ABCD" in words(gbcs.GbcsMessage.from_bytes(answer))
    gbz = gbcs.GbzFirmwareDistributionReceiptAlert(
        gbcs.AlertCode.FIRMWARE_VERIFICATION_SUCCESSFUL, 0x1C374A80, b"\xa1" * 32
    )
    code = gbcs.MessageCode.FIRMWARE_DISTRIBUTION_RECEIPT_ALERT_GSME
    told = words(gbcs.GbcsMessage(gbcs.GroupingHeader(gbcs.CraFlag.ALERT, 1, PPMID, ACB, code), gbz.to_bytes()))
    assert "2015-01-01T00:00:00Z" in told
    other = gbcs.GbcsMessage(gbcs.GroupingHeader(gbcs.CraFlag.ALERT, 1, PPMID, ACB, 0x1000), b"abc", b"")
    assert "not a firmware use case" in words(other)


def test_gbcs_decode_writes_times_of_dlms_as_others_where_they_name_a_second():
    accepted = gbcs.make_cs06_response(
        gbcs.make_cs06_precommand(ACB, PPMID, 7, bytes(32)).header, gbcs.CommandAccepted(), 1420070400, KEY
    )
    assert "date time     2015-01-01T00:00:00Z" in words(gbcs.GbcsMessage.from_bytes(accepted))
    for other in ("FFFFFFFFFFFFFFFFFF8000FF", "07DF0101FF000000000000FF", "07DF0D01FF000000008000FF"):
        receipt = gbcs.DlmsFirmwareDistributionReceiptAlert(
            5, gbcs.AlertCode.FIRMWARE_VERIFICATION_FAILED, bytes.fromhex(other), bytes(32)
        )
        code = gbcs.MessageCode.FIRMWARE_DISTRIBUTION_RECEIPT_ALERT_ESME
        told = words(gbcs.GbcsMessage(gbcs.GroupingHeader(gbcs.CraFlag.ALERT, 5, PPMID, ACB, code), receipt.to_bytes()))
        assert other in told
        assert "firmware verification failed" in told
        assert "20000005" in told
