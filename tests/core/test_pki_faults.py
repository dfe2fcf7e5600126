"""A certificate or key file that is of no use harms whom it belongs to, is named, and everybody else goes on."""

import asyncio
import json
import shutil

import pytest
from click.testing import CliRunner

from chf.cli.doctor import doctor
from chf.cli.main import chf
from chf.dcc.settings import DccSettings
from chf.dcc.side import DccSide
from chf.dcc.signers import NOBODY, SignaturePolicy, Signers
from chf.duis.device_request import ReadFirmwareVersionRequest
from chf.errors import RefusedError, UnusableFileError, UsageError
from chf.gbcs import GbcsMessage, make_cs09_alert, sign
from chf.hub.alerts import HubAlerts
from chf.hub.messages_from_devices import DeviceMessageReader, Signature
from chf.pki.certificates import Usage
from chf.pki.zigbee import ZigbeePki
from chf.store.alerts import NewAlert
from tests.support.dcc_bench import ACB, CHF, KEYS, NOW, PPMID, SECOND, SUPPLIER
from tests.support.desk_bench import S, desk_bench, to


def empty(path):
    path.write_bytes(b"")


def an_empty_sequence(path):
    path.write_bytes(b"\x30\x00")


def damaged(path):
    octets = bytearray(path.read_bytes())
    octets[80:90] = b"!" * 10
    path.write_bytes(octets)


def of_another_kind(path):
    path.write_bytes(path.with_name("pki.json").read_bytes())


def of_somebody_else(path):
    path.write_bytes(path.with_name(path.name.replace(f"{SECOND:016x}", f"{PPMID:016x}")).read_bytes())


def unreadable(path):
    """As a disk that fails; the rights alone would not keep root out."""
    path.unlink()
    path.mkdir(mode=0o700)


CERTIFICATE_FAULTS = [empty, an_empty_sequence, damaged, of_another_kind, of_somebody_else, unreadable]


@pytest.fixture
def bench(tmp_path):
    with desk_bench(tmp_path) as made:
        yield made


def cs09(device, counter=1):
    key = KEYS(f"{device:016x}-ds")
    return make_cs09_alert(device, ACB, counter, utc=NOW.utc, firmware_version=2, success=True, key=key)


@pytest.mark.parametrize("spoil", CERTIFICATE_FAULTS)
def test_a_certificate_of_no_use_is_named_and_its_owner_alone_is_not_believed(bench, spoil, caplog):
    path = bench.pki.path / f"{SECOND:016x}-ds.pem"
    spoil(path)
    said = "is the certificate of 00-DB-12-34-56-78-90-A4" if spoil is of_somebody_else else ""
    with pytest.raises(UnusableFileError, match=f"{path.name}.*{said}"):
        bench.pki.certificate(SECOND, Usage.DIGITAL_SIGNATURE)
    with pytest.raises(RefusedError, match=path.name):
        bench.pki.verify(GbcsMessage.from_bytes(cs09(SECOND)))
    hub = DeviceMessageReader(bench.pki)
    assert hub.read(SECOND, cs09(SECOND), None, NOW.utc).signature is Signature.UNKNOWN
    assert path.name in caplog.text
    assert hub.read(PPMID, cs09(PPMID), None, NOW.utc).signature is Signature.GOOD

    with bench.store.transaction() as tx:
        for device in (SECOND, PPMID):
            tx.alerts.add(NewAlert(f"{device:016X}", device, "CS09", 0x8F8B, "", cs09(device), False, NOW.utc))
    assert [document.device for document in bench.convert()] == [PPMID]
    (alarm,) = bench.alarms()
    assert path.name in alarm


def test_an_alert_moves_no_update_unless_it_is_its_devices_own_and_rightly_signed(bench):
    hub, octets = DeviceMessageReader(bench.pki), cs09(PPMID)
    assert len(hub.read(PPMID, octets, None, NOW.utc).events) == 1
    forged = octets[:-1] + bytes((octets[-1] ^ 1,))
    for device, message, signature in ((PPMID, forged, Signature.BAD), (SECOND, octets, Signature.GOOD)):
        read = hub.read(device, message, None, NOW.utc)
        assert (read.signature, read.believed, read.events) == (signature, False, ())
        assert (read.alert.message, read.alert.msg_id[:7]) == (message, "sha256/")


def test_a_message_whose_payload_cannot_be_read_goes_up_as_what_its_frame_says(bench):
    """And moves nothing: who it is from, and that it is rightly signed, is known all the same."""
    header = GbcsMessage.from_bytes(cs09(PPMID)).header
    octets = sign(GbcsMessage(header, b"\x8f\x8b but no more"), KEYS(f"{PPMID:016x}-ds")).to_bytes()
    read = DeviceMessageReader(bench.pki).read(PPMID, octets, None, NOW.utc)
    assert (read.alert.use_case, read.alert.message, read.alert.verified) == ("CS09", octets, True)
    assert read.alert.outcome.startswith("payload not read: ")
    assert (read.believed, read.events) == (True, ())


@pytest.mark.parametrize("spoil", CERTIFICATE_FAULTS)
def test_a_device_whose_certificate_is_of_no_use_is_refused_and_others_are_served(bench, spoil):
    spoil(bench.pki.path / f"{SECOND:016x}-ka.pem")
    assert bench.ask(ReadFirmwareVersionRequest(to(SECOND, 1000)), S).code.value == "E20"
    assert bench.ask(ReadFirmwareVersionRequest(to(PPMID, 1001)), S).code.value == "I99"


@pytest.mark.parametrize("spoil", CERTIFICATE_FAULTS[:4])
def test_a_signer_of_no_use_is_passed_over_and_named(bench, spoil, tmp_path):
    directory = tmp_path / "signers"
    shutil.copytree(bench.pki.path, directory)
    bad = directory / f"{SECOND:016x}-ds.pem"
    spoil(bad)
    signers = Signers.load(directory, SignaturePolicy.REQUIRE)
    assert len(signers.certificates) == len(Signers.load(bench.pki.path, SignaturePolicy.REQUIRE).certificates) - 1
    (reason,) = signers.unusable
    assert bad.name in reason


def test_only_bad_signers_are_refused_with_what_is_wrong(tmp_path):
    empty(tmp_path / "one.pem")
    with pytest.raises(UsageError, match=r"holds no certificate for digital signatures; .*one\.pem is not"):
        Signers.load(tmp_path, SignaturePolicy.REQUIRE)


def others_may_read(path):
    path.chmod(0o640)


@pytest.mark.parametrize("spoil", [empty, an_empty_sequence, damaged, of_another_kind, unreadable, others_may_read])
def test_a_key_of_no_use_is_named_and_the_dcc_side_starts_without_it(bench, spoil):
    for eui64 in (SUPPLIER, SECOND):
        path = bench.pki.path / f"{eui64:016x}-ds.key"
        spoil(path)
        with pytest.raises(UnusableFileError, match=path.name):
            bench.pki.private_key(eui64, Usage.DIGITAL_SIGNATURE)

    async def start():
        stop, ready = asyncio.Event(), []
        stop.set()
        side = DccSide(bench.home, bench.pki, ("127.0.0.1", 0), DccSettings(), NOBODY, None)
        await side.run(stop, ready.append)
        return ready

    assert len(asyncio.run(start())) == 1
    own = bench.pki.path / f"{CHF:016x}-ds.key"
    spoil(own)
    with pytest.raises(UnusableFileError, match=own.name):  # without its own key a hub signs nothing
        HubAlerts(bench.pki)


def test_doctor_and_show_name_every_file_of_no_use_and_list_the_others(bench):
    damaged(bench.pki.path / f"{SECOND:016x}-ds.pem")
    (bench.pki.path / "notes-ds.pem").write_text("")
    (bench.pki.path / f"{SECOND:016x}-xx.pem").write_text("")
    home = ("--home", str(bench.home))
    shown = json.loads(CliRunner().invoke(chf, ["dcc", "pki", "show", "--json", *home]).stdout)
    assert len(shown["certificates"]) == 2 * 8 - 1
    assert len(shown["unusable"]) == 3
    findings = json.loads(CliRunner().invoke(doctor, ["--json", *home]).stdout)["findings"]
    said = [line["detail"] for line in findings if (line["what"], line["verdict"]) == ("pki", "bad")]
    assert said == shown["unusable"]


@pytest.mark.parametrize("spoil", [empty, others_may_read, unreadable])
def test_credentials_of_no_use_in_one_suite_leave_the_other(tmp_path, spoil):
    pki = ZigbeePki(tmp_path / "zigbee")
    pki.issue(CHF)
    one, two = pki.held_by(CHF)
    spoil(pki.file_of(CHF, two))
    assert set(pki.held_by(CHF)) == {one}
    spoil(pki.file_of(CHF, one))
    with pytest.raises(UnusableFileError, match="suite1"):
        pki.held_by(CHF)
