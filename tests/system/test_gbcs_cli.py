"""`chf gbcs decode`: what a person is told, and what a script reads."""

import json
import os
import threading
from dataclasses import replace

import pytest
from click.testing import CliRunner
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


@pytest.mark.parametrize(
    ("signature", "words"), [(None, "a pre-command, which its supplier is to sign"), (b"", "the message is unsigned")]
)
def test_gbcs_decode_says_where_there_is_no_signature_to_check(certificate, signature, words):
    message = replace(gbcs.make_cs06_precommand(ACB, PPMID, 7, bytes(32)), signature=signature)
    outcome = decode(message.to_bytes().hex(), "--certificate", certificate)
    assert isinstance(outcome.exception, RefusedError)
    assert words in str(outcome.exception)


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


def alert(code: int, payload: bytes) -> gbcs.GbcsMessage:
    return gbcs.GbcsMessage(gbcs.GroupingHeader(gbcs.CraFlag.ALERT, 5, PPMID, ACB, code), payload, b"")


def receipt(time: bytes) -> gbcs.GbcsMessage:
    told = gbcs.DlmsFirmwareDistributionReceiptAlert(5, Code.FIRMWARE_VERIFICATION_FAILED, time, b"\xa1" * 32)
    return alert(gbcs.MessageCode.FIRMWARE_DISTRIBUTION_RECEIPT_ALERT_ESME, told.to_bytes())


Code, Activated, COMMAND = gbcs.AlertCode, gbcs.ActivateImageResponseCode, gbcs.make_cs06_precommand
CS06 = COMMAND(ACB, PPMID, 7, bytes(32))
ACCEPTED = gbcs.make_cs06_response(CS06.header, gbcs.CommandAccepted(), 1420070400, KEY)
READ = gbcs.make_cs08_command(ACB, PPMID, 1, gbcs.SupplementaryRemoteParty(CHF, 9), bytes(16))
VERSION = gbcs.ReadFirmwareVersionResponse(0x0123ABCD, gbcs.ReadFirmwareVersionResponseCode.READ_SUCCESS)
DISCARDED = {"firmware_version": 1, "response_code": gbcs.TransferResponseCode.IMAGE_DISCARDED}
MISMATCHED = gbcs.ExecutionOutcome(Activated.HASH_MISMATCH, 3)
FUTURE = gbcs.FutureDatedFirmwareActivationAlert(1894698000, 7, gbcs.ExecutionOutcome(Activated.SUCCESS, 3))
RECEIVED = gbcs.GbzFirmwareDistributionReceiptAlert(
    Code.FIRMWARE_VERIFICATION_SUCCESSFUL, 0x1C374A80, b"\xa1" * 32
).to_bytes()


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (CS06, ["at once", "none: a pre-command"]),
        (COMMAND(ACB, PPMID, 7, bytes(32), CANCELLED_UTC_S), ["cancels an earlier command"]),
        (COMMAND(ACB, PPMID, 7, bytes(32), 1894698000), ["2030-01-15T09:00:00Z"]),
        (ACCEPTED, ["to be carried out at its time", "date time     2015-01-01T00:00:00Z"]),
        (READ, ["on behalf of counter  9"]),
        (gbcs.make_ccs08_alert(CHF, ACB, 1, utc=0, device=PPMID, key=KEY, **DISCARDED), ["image discarded"]),
        (gbcs.make_cs06_response(CS06.header, MISMATCHED, 0, KEY), ["hash mismatch"]),
        (gbcs.make_future_dated_alert(PPMID, ACB, 1, FUTURE, KEY), ["0x8F66"]),
        (gbcs.make_cs08_response(gbcs.GbcsMessage.from_bytes(READ).header, VERSION, bytes(16)), ["0x0123ABCD"]),
        (alert(gbcs.MessageCode.FIRMWARE_DISTRIBUTION_RECEIPT_ALERT_GSME, RECEIVED), ["2015-01-01T00:00:00Z"]),
        (alert(0x1000, b"abc"), ["not a firmware use case"]),
    ],
)
def test_gbcs_decode_explains_the_other_use_cases(message, words):
    outcome = decode(message.hex() if isinstance(message, bytes) else message.to_bytes().hex())
    assert outcome.exit_code == 0
    assert [each for each in words if each not in outcome.stdout] == []


@pytest.mark.parametrize("time", ["FFFFFFFFFFFFFFFFFF8000FF", "07DF0101FF000000000000FF", "07DF0D01FF000000008000FF"])
def test_gbcs_decode_writes_times_of_dlms_that_name_no_second_as_they_are(time):
    told = decode(receipt(bytes.fromhex(time)).to_bytes().hex()).stdout
    for words in (time, "0x8F1C", "firmware verification failed", "20000005"):
        assert words in told
