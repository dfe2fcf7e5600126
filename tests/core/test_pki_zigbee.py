"""The ZigBee half of the test PKI: what it issues, keeps and refuses."""

import pytest

from chf.crypto.credentials_text import format_credentials
from chf.crypto.ecqv import CertificateAuthority, Suite
from chf.errors import MalformedError, RefusedError, UnusableFileError, UsageError
from chf.eui64 import Eui64
from chf.pki.zigbee import TEST_ISSUER, ZigbeePki, seeded_numbers

HUB, DEVICE = Eui64(0xDB_0001), Eui64(0x90B3D51F30000002)
BIG = 1 << 400


@pytest.fixture
def pki(tmp_path):
    return ZigbeePki(tmp_path / "pki" / "zigbee")


def test_hub_and_device_get_certificates_of_one_issuer_in_both_suites(pki):
    for subject in (HUB, DEVICE):
        pki.issue(subject)
    for suite in Suite:
        hub, device = pki.credentials(HUB, suite), pki.credentials(DEVICE, suite)
        assert (hub.certificate.subject, device.certificate.subject) == (HUB, DEVICE)
        assert hub.certificate.issuer == device.certificate.issuer == TEST_ISSUER
        assert hub.ca_public_key == device.ca_public_key
    assert pki.held_by(HUB).keys() == set(Suite)
    assert pki.subjects() == ((HUB, Suite.ONE), (HUB, Suite.TWO), (DEVICE, Suite.ONE), (DEVICE, Suite.TWO))


def test_files_are_for_their_owner_alone(pki):
    pki.issue(HUB)
    assert pki.path.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in pki.path.iterdir()} == {0o600}
    assert len(list(pki.path.iterdir())) == 4
    pki.file_of(HUB, Suite.TWO).chmod(0o644)
    with pytest.raises(UnusableFileError, match="chmod 600"):
        pki.credentials(HUB, Suite.TWO)


def test_what_exists_stays_as_it_is(pki):
    pki.issue(HUB)
    before = {path: path.read_bytes() for path in pki.path.iterdir()}
    pki.issue(HUB)
    assert {path: path.read_bytes() for path in pki.path.iterdir()} == before


def test_a_seed_makes_the_same_certificates_and_no_seed_makes_others(tmp_path):
    made = []
    for number, numbers in enumerate(2 * [seeded_numbers(b"a")] + [seeded_numbers(b"b")]):
        pki = ZigbeePki(tmp_path / str(number))
        pki.issue(HUB, numbers)
        made.append(pki.credentials(HUB, Suite.TWO))
    other = ZigbeePki(tmp_path / "fresh")
    other.issue(HUB)
    assert made[0] == made[1]
    assert len({made[0], made[2], other.credentials(HUB, Suite.TWO)}) == 3


def test_who_has_no_certificate_is_told_how_to_get_one(pki):
    with pytest.raises(UsageError, match="chf dcc pki issue 00-00-00-00-00-DB-00-01"):
        pki.held_by(HUB)


def test_credentials_of_another_authority_are_taken_and_never_replaced(pki):
    own = CertificateAuthority.generate(Suite.TWO, 0xCA, BIG).issue(HUB, BIG + 1, BIG * 2)
    assert pki.add(format_credentials(own)) == own
    assert pki.add(format_credentials(own)) == own
    other = CertificateAuthority.generate(Suite.TWO, 0xCA, BIG + 9).issue(HUB, BIG + 1, BIG * 2)
    with pytest.raises(RefusedError, match="already"):
        pki.add(format_credentials(other))
    assert pki.held_by(HUB) == {Suite.TWO: own}
    with pytest.raises(MalformedError):
        pki.add("nothing")


def test_a_file_that_was_exchanged_is_noticed(pki):
    pki.issue(HUB)
    pki.issue(DEVICE)
    pki.file_of(HUB, Suite.TWO).write_text(pki.file_of(DEVICE, Suite.TWO).read_text())
    with pytest.raises(UnusableFileError):
        pki.credentials(HUB, Suite.TWO)
    pki.file_of(HUB, Suite.TWO).write_text("rubbish")
    with pytest.raises(UnusableFileError):
        pki.credentials(HUB, Suite.TWO)
    (pki.path / "ca-suite1.key").write_text("rubbish")
    with pytest.raises(UnusableFileError):
        pki.issue(Eui64(0xDB_0003))
