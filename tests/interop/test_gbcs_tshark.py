"""Wireshark's own GBCS dissector reads what we make: framing only, it checks no signature and no MAC."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from chf import gbcs
from tests.support.gbcs_dissection import dissect

REFERENCE = Path(__file__).parents[2].parent / "shared" / "reference" / "gbcs" / "vectors"
KEY = ec.derive_private_key(5, ec.SECP256R1())
DEVICE, HUB, ACB, SUPPLIER = 0x00DB1234567890A4, 0x00DB1234567890A2, 0x90B3D51F30000002, 0x90B3D51F30010000
pytestmark = pytest.mark.needs_tshark


def meter_headers() -> dict[str, gbcs.GroupingHeader]:
    codes = {
        "ECS52": gbcs.MessageCode.READ_FIRMWARE_VERSION_ESME_CHF,
        "GCS38": gbcs.MessageCode.READ_FIRMWARE_VERSION_GSME,
    }
    return {
        name: gbcs.GroupingHeader(gbcs.CraFlag.COMMAND, 2**40 + 7, SUPPLIER, DEVICE, code)
        for name, code in codes.items()
    }


def ours() -> dict[str, bytes]:
    cs06 = gbcs.make_cs06_precommand(SUPPLIER, DEVICE, 7, bytes(range(32)), 1894698000)
    failed = gbcs.ExecutionOutcome(gbcs.ActivateImageResponseCode.HASH_MISMATCH, 1)
    fdra = gbcs.GbzFirmwareDistributionReceiptAlert(gbcs.AlertCode.FIRMWARE_VERIFICATION_FAILED, 1, bytes(32))
    fdra_header = gbcs.GroupingHeader(
        gbcs.CraFlag.ALERT, 8, DEVICE, SUPPLIER, gbcs.MessageCode.FIRMWARE_DISTRIBUTION_RECEIPT_ALERT_GSME
    )
    cs08 = gbcs.GbcsMessage.from_bytes(
        gbcs.make_cs08_command(ACB, DEVICE, 9, gbcs.SupplementaryRemoteParty(SUPPLIER, 3), bytes(16))
    )
    version = gbcs.ReadFirmwareVersionResponse(7, gbcs.ReadFirmwareVersionResponseCode.READ_FAILURE)
    transfer = {"utc": 0, "device": DEVICE, "firmware_version": 2, "key": KEY}
    return {
        "CS09 success": gbcs.make_cs09_alert(DEVICE, ACB, 1, utc=0, firmware_version=2, success=True, key=KEY),
        "CS09 failure": gbcs.make_cs09_alert(DEVICE, ACB, 2**63, utc=0, firmware_version=2, success=False, key=KEY),
        **{
            f"CCS08 {code.name}": gbcs.make_ccs08_alert(HUB, ACB, 1, response_code=code, **transfer)
            for code in gbcs.TransferResponseCode
        },
        "CS06 command": gbcs.add_mac(gbcs.sign(cs06, KEY), bytes(16)).to_bytes(),
        "CS06 response": gbcs.make_cs06_response(cs06.header, failed, 1, KEY),
        "0x00CA": gbcs.make_future_dated_alert(
            DEVICE, SUPPLIER, 1, gbcs.FutureDatedFirmwareActivationAlert(0, 7, failed), KEY
        ),
        "FDRA": gbcs.sign(gbcs.GbcsMessage(fdra_header, fdra.to_bytes()), KEY).to_bytes(),
        **{
            f"{name} {what}": octets
            for name, header in meter_headers().items()
            for what, octets in (
                ("command", gbcs.make_version_command(header, bytes(16))),
                ("response", gbcs.make_meter_version_response(header, 0x0A0B0C0D, bytes(16))),
            )
        },
        "CS08 command": cs08.to_bytes(),
        "CS08 response": gbcs.make_cs08_response(cs08.header, version, bytes(16)),
    }


def test_gbcs_tshark_reads_everything_that_we_make(tmp_path):
    made = ours()
    for (name, octets), text in zip(made.items(), dissect(list(made.values()), tmp_path), strict=True):
        assert_agrees(text, gbcs.GbcsMessage.from_bytes(octets), name)


def test_gbcs_tshark_notices_a_message_that_is_cut_short(tmp_path):
    (text,) = dissect([ours()["CS09 success"][:60]], tmp_path)
    assert "Malformed" in text


@pytest.mark.skipif(not REFERENCE.exists(), reason="the public GBCS reference data is not beside the checkout")
def test_gbcs_tshark_and_we_agree_on_the_reference_messages(tmp_path):
    names = [path for path in sorted(REFERENCE.iterdir()) if "PRECOMMAND" not in path.name]
    vectors = [bytes.fromhex(path.read_text()) for path in names]
    for path, octets, text in zip(names, vectors, dissect(vectors, tmp_path), strict=True):
        assert_agrees(text, gbcs.GbcsMessage.from_bytes(octets), path.name)


def assert_agrees(text: str, message: gbcs.GbcsMessage, name: str) -> None:
    header = message.header
    assert "Malformed" not in text, name
    assert f"CRA Flag: {header.cra.name.title()} (0x0{header.cra.value})" in text, name
    assert f"Originator Counter: {header.counter}\n" in text, name
    assert f"Business Originator ID: {header.originator.to_bytes(8, 'big').hex(':')} " in text, name
    assert f"Business Target ID: {header.recipient.to_bytes(8, 'big').hex(':')} " in text, name
    assert f"(0x{header.message_code:04x})" in text, name
    assert (f"KRP: {message.signature.hex()[:64]}" in text) if message.signature else ("Length: 0" in text), name
    assert ("General Ciphering: 0xdd" in text) is (message.mac is not None), name
