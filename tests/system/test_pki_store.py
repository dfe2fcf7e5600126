"""The test PKI on disk: modes, interruptions, never overwritten, and what `verify` believes."""

import json
import stat
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from chf.cli.dcc.pki import pki as pki_command
from chf.errors import RefusedError, StoreCorruptError, UsageError
from chf.eui64 import Eui64
from chf.gbcs import GbcsMessage, make_cs09_alert
from chf.pki.certificates import Role, Usage, identity
from chf.pki.gbcs import DEFAULT_ACB, DEFAULT_SUPPLIER, Pki, seeded_keys
from tests.support.oracles import missing

REFERENCE = Path(__file__).parents[2].parent / "shared" / "reference" / "gbcs"
CHF, PPMID, STRANGER = Eui64(0x00DB1234567890A2), Eui64(0x00DB1234567890A4), Eui64(0x00DB1234567890FF)
KEYS = seeded_keys(b"test")


@pytest.fixture
def pki(tmp_path):
    made = Pki.create(tmp_path / "home" / "pki", chf=CHF, keys=KEYS)
    made.issue(PPMID, KEYS)
    return made


def alert(pki, signer=PPMID, originator=PPMID):
    key = pki.private_key(signer, Usage.DIGITAL_SIGNATURE)
    octets = make_cs09_alert(originator, pki.acb, 1, utc=0, firmware_version=1, success=True, key=key)
    return GbcsMessage.from_bytes(octets)


def test_pki_private_keys_are_for_the_owner_alone(pki):
    assert stat.S_IMODE(pki.path.stat().st_mode) == 0o700
    keys = list(pki.path.glob("*.key"))
    assert len(keys) == 1 + 4 * 2
    assert {stat.S_IMODE(path.stat().st_mode) for path in keys} == {0o600}
    assert not list(pki.path.glob(".*"))


def test_pki_identities_and_uses(pki):
    held = [identity(certificate) for certificate in pki.certificates()]
    assert held == [
        (eui64, role, usage)
        for eui64, role in [
            (CHF, Role.DEVICE),
            (PPMID, Role.DEVICE),
            (DEFAULT_ACB, Role.ACCESS_CONTROL_BROKER),
            (DEFAULT_SUPPLIER, Role.SUPPLIER),
        ]
        for usage in Usage
    ]
    serials = {certificate.serial_number for certificate in pki.certificates()}
    assert len(serials) == len(held)


def test_pki_certificates_chain_to_the_root(pki):
    for certificate in pki.certificates():
        certificate.verify_directly_issued_by(pki.root())


def test_pki_device_certificate_has_the_shape_of_the_field(pki):
    device = pki.certificate(PPMID, Usage.DIGITAL_SIGNATURE)
    assert not list(device.subject)
    names = device.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert names.critical
    assert names.value[0].value.hex() == "3019060d2a863a0001848fb90f01020201040800db1234567890a4"
    organisation = pki.certificate(DEFAULT_SUPPLIER, Usage.KEY_AGREEMENT)
    unique = organisation.subject.get_attributes_for_oid(NameOID.X500_UNIQUE_IDENTIFIER)[0]
    assert unique.value.hex() == "0090b3d51f30010000"
    assert organisation.subject.get_attributes_for_oid(NameOID.ORGANIZATIONAL_UNIT_NAME)[0].value == "02"


@pytest.mark.skipif(not REFERENCE.exists(), reason="the public GBCS reference data is not beside the checkout")
def test_pki_reads_the_public_certificates():
    for path in (REFERENCE / "certificates").iterdir():
        eui64, role, usage = identity(x509.load_pem_x509_certificate(path.read_bytes()))
        assert path.stem == f"{eui64:016x}-{usage.value}"
        expected = {"90b3d51f30010000": Role.SUPPLIER, "90b3d51f30000002": Role.ACCESS_CONTROL_BROKER}
        assert role is expected.get(path.stem[:16], Role.DEVICE)


@pytest.mark.skipif(not REFERENCE.exists(), reason="the public GBCS reference data is not beside the checkout")
def test_pki_verifies_a_device_whose_key_it_never_had(tmp_path):
    pki = Pki.create(tmp_path / "pki", chf=CHF, keys=KEYS)
    message = GbcsMessage.from_bytes(bytes.fromhex((REFERENCE / "vectors" / "CS09_NA_8F8B_ALERT_GBCS.HEX").read_text()))
    with pytest.raises(RefusedError, match="no certificate of the originator"):
        pki.verify(message)
    pem = (REFERENCE / "certificates" / "00db1234567890a4-ds.pem").read_bytes()
    assert pki.add(x509.load_pem_x509_certificate(pem)) == (PPMID, Usage.DIGITAL_SIGNATURE)
    assert pki.verify(message).eui64 == PPMID
    assert not pki.has_private_key(PPMID, Usage.DIGITAL_SIGNATURE)


def test_pki_adding_another_certificate_for_a_known_identity_is_refused(pki, tmp_path):
    other = Pki.create(tmp_path / "other", chf=CHF, keys=seeded_keys(b"another"))
    with pytest.raises(RefusedError, match="another certificate"):
        pki.add(other.certificate(CHF, Usage.DIGITAL_SIGNATURE))
    assert pki.add(pki.certificate(CHF, Usage.DIGITAL_SIGNATURE)) == (CHF, Usage.DIGITAL_SIGNATURE)


def test_pki_verify_says_who_signed(pki):
    signer = pki.verify(alert(pki))
    assert (signer.eui64, signer.role) == (PPMID, Role.DEVICE)


def test_pki_verify_refuses_and_says_why(pki):
    good = alert(pki)
    with pytest.raises(RefusedError, match="is not signed"):
        pki.verify(replace(good, signature=b""))
    with pytest.raises(RefusedError, match="not that of the originator 00-DB-12-34-56-78-90-A4"):
        pki.verify(alert(pki, signer=CHF))
    with pytest.raises(RefusedError, match="no certificate of the originator 00-DB-12-34-56-78-90-FF"):
        pki.verify(alert(pki, originator=STRANGER))
    with pytest.raises(RefusedError, match="not that of the originator"):
        pki.verify(replace(good, payload=good.payload[:-1] + b"\x01"))


def test_pki_is_never_overwritten(pki):
    before = {path.name: path.read_bytes() for path in pki.path.iterdir()}
    with pytest.raises(UsageError, match="never overwritten"):
        Pki.create(pki.path, chf=CHF)
    pki.issue(PPMID)
    assert {path.name: path.read_bytes() for path in pki.path.iterdir()} == before


def test_pki_interrupted_while_it_is_made_leaves_nothing(tmp_path):
    asked = []

    def failing(name):
        asked.append(name)
        if len(asked) == 5:
            raise KeyboardInterrupt
        return KEYS(name)

    with pytest.raises(KeyboardInterrupt):
        Pki.create(tmp_path / "home" / "pki", chf=CHF, keys=failing)
    assert list((tmp_path / "home").iterdir()) == []


def test_pki_interrupted_between_key_and_certificate_goes_on_with_the_same_key(pki):
    (pki.path / f"{PPMID:016x}-ds.pem").unlink()
    key = pki.private_key(PPMID, Usage.DIGITAL_SIGNATURE)
    pki.issue(PPMID)
    assert pki.certificate(PPMID, Usage.DIGITAL_SIGNATURE).public_key() == key.public_key()


def test_pki_from_a_seed_is_the_same_to_the_last_octet(pki, tmp_path):
    again = Pki.create(tmp_path / "again", chf=CHF, keys=KEYS)
    again.issue(PPMID, KEYS)
    assert [c.public_bytes(Encoding.DER) for c in again.certificates()] == [
        c.public_bytes(Encoding.DER) for c in pki.certificates()
    ]
    other = Pki.create(tmp_path / "other", chf=CHF, keys=seeded_keys(b"test 2"))
    assert other.root() != pki.root()


@pytest.mark.parametrize("content", [b"{}", b"\xff"])
def test_pki_whose_own_file_is_damaged_is_not_taken_for_a_missing_one(pki, content):
    (pki.path / "pki.json").write_bytes(content)
    with pytest.raises(StoreCorruptError):
        Pki.open(pki.path)


def test_pki_three_identities_must_differ(tmp_path):
    with pytest.raises(UsageError, match="three different"):
        Pki.create(tmp_path / "pki", chf=DEFAULT_ACB)
    assert not (tmp_path / "pki").exists()


def test_pki_openssl_agrees(pki):
    for certificate in sorted(pki.path.glob("*-??.pem")):
        # the hardwareModuleName has no subject to check but a purpose-free chain: root to leaf, at a fixed time
        command = ["openssl", "verify", "-x509_strict", "-attime", "1600000000", "-CAfile", pki.path / "root.pem"]
        try:
            outcome = subprocess.run([*command, certificate], capture_output=True, text=True, check=False)
        except FileNotFoundError:
            missing("openssl is not installed")
        assert outcome.returncode == 0, outcome.stderr


def run(home, *arguments):
    return CliRunner(env={"CHF_HOME": str(home)}).invoke(pki_command, arguments, catch_exceptions=True)


def test_pki_commands_tell_the_story_and_no_secret(tmp_path):
    home = tmp_path / "home"
    outputs = [
        run(home, "init"),
        run(home, "issue", "00-DB-12-34-56-78-90-A4"),
        run(home, "show"),
        run(home, "show", "--json"),
    ]
    assert [outcome.exit_code for outcome in outputs] == [0, 0, 0, 0]
    shown = json.loads(outputs[-1].stdout)
    assert shown["chf"] == "00-DB-12-34-56-78-90-A2"
    assert len(shown["certificates"]) == 8
    assert "PRIVATE" not in "".join(outcome.output for outcome in outputs)
    assert isinstance(run(home, "init").exception, UsageError)


def test_pki_export_copies_certificates_and_keys_only_when_asked(tmp_path):
    home, to = tmp_path / "home", tmp_path / "out"
    run(home, "init", "--seed", "x")
    run(home, "issue", "00-DB-12-34-56-78-90-A4", "--seed", "x")
    assert run(home, "export", "--to", str(to)).exit_code == 0
    assert len(list(to.glob("*.pem"))) == 9
    assert not list(to.glob("*.key"))
    device = tmp_path / "device"
    assert run(home, "export", "00-DB-12-34-56-78-90-A4", "--private-keys", "--to", str(device)).exit_code == 0
    assert sorted(path.suffix for path in device.iterdir()) == [".key", ".key", ".pem", ".pem", ".pem"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in device.glob("*.key")} == {0o600}
    (to / "root.pem").write_text("another")
    assert isinstance(run(home, "export", "--to", str(to)).exception, UsageError)


def test_pki_add_takes_der_and_refuses_what_is_no_certificate(tmp_path):
    home = tmp_path / "home"
    run(home, "init")
    other = Pki.create(tmp_path / "elsewhere", chf=STRANGER, keys=KEYS)
    der = tmp_path / "device.der"
    der.write_bytes(other.certificate(STRANGER, Usage.DIGITAL_SIGNATURE).public_bytes(Encoding.DER))
    assert run(home, "add", str(der)).exit_code == 0
    der.write_bytes(b"no certificate")
    assert isinstance(run(home, "add", str(der)).exception, UsageError)
