"""The capture of a demo, judged by Wireshark, and its alerts, judged by a few lines that know nothing of our codecs."""

import hashlib
import stat
import struct
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from tests.support.air_capture import AirCapture, tshark
from tests.support.programs import image_file, run_chf

pytestmark = [pytest.mark.needs_tshark, pytest.mark.timeout(120)]
BROADCASTS = "zbee_nwk.dst >= 0xfff8"


class Demo:
    def __init__(self, directory: Path) -> None:
        tshark()
        self.directory, self.home = directory, directory / "home"
        self.pcap, self.keys = directory / "air.pcap", directory / "keys"
        self.image = image_file(directory / "given.bin", file_version=0x11223344, size_bytes=20_011)
        files = ["--image", self.image, "--pcap", self.pcap, "--keys", self.keys, "--home", self.home]
        ran = run_chf("demo", "--json", "--seed", "7", *map(str, files), home=directory / "other")
        assert ran.code == 0, ran.err
        self.outcome = ran.json
        self.air = AirCapture(directory, self.pcap, self.keys)
        self.frames = self.air.frames


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    return Demo(tmp_path_factory.mktemp("demo"))


def test_the_demo_tells_where_its_capture_is(demo):
    assert (demo.outcome["pcap"], demo.outcome["keys"]) == (str(demo.pcap), str(demo.keys))
    assert demo.outcome["result"] == "activated"


def test_the_keys_are_for_their_owner_alone(demo):
    assert stat.S_IMODE(demo.keys.stat().st_mode) == 0o600


def test_every_frame_is_decrypted_and_none_is_damaged(demo):
    secured = demo.frames("zbee_nwk.security == 1")
    assert len(secured) > 800
    assert demo.frames("_ws.expert || _ws.malformed") == []
    assert demo.frames("wpan.fcs_ok == 0") == []
    assert len(demo.frames("wpan.fcs_ok == 1")) == len(demo.frames("frame"))


def test_without_the_keys_wireshark_reads_no_firmware(demo):
    assert demo.frames("zbee_zcl_general.ota", decrypted=False) == []
    assert len(demo.frames("_ws.expert", decrypted=False)) > 800


def test_every_unicast_ota_frame_is_secured_with_the_link_key(demo):
    ota = "zbee_aps.type == 0 && zbee_aps.cluster == 0x0019"
    assert len(demo.frames(f"{ota} && zbee_aps.security == 1")) > 800
    assert demo.frames(f"{ota} && zbee_aps.security == 0 && !({BROADCASTS})") == []
    assert {row[0] for row in demo.frames(ota, "zbee_aps.profile")} == {"0x0109"}


def test_the_image_on_the_air_is_the_file(demo):
    content = demo.air.image()
    assert content == demo.image.read_bytes()
    assert demo.outcome["image"]["sha256"] == hashlib.sha256(content).hexdigest()
    assert demo.outcome["image"]["bytes"] == len(content)


def test_the_alerts_framing_is_read_by_wireshark(demo):
    """CS09 on the air, out of its fragments; CCS08 never is on the air."""
    rows = demo.frames("gbcs_message", "gbcs_message.grouping_header.message_code", "zbee_aps.cluster")
    codes = {int(code.split(",")[0], 0) for code, _cluster in rows if code}
    assert codes == {0x012B}


class Der:
    """The octets of a GBCS message with a DLMS general-signing header, by GBCS 7.2.7, taken apart by hand."""

    def __init__(self, message: bytes) -> None:
        assert message[0] == 0xDF  # general-signing
        at = 1
        parts = []
        for _ in range(5):  # transaction id, originator, target, date-time, other information
            length = message[at]
            parts.append(message[at + 1 : at + 1 + length])
            at += 1 + length
        self.counter = struct.unpack(">Q", parts[0][1:9])[0]
        self.originator, self.target, self.message_code = parts[1], parts[2], parts[4][:2]
        length = message[at]
        assert length < 0x80
        self.payload = message[at + 1 : at + 1 + length]
        end = at + 1 + length
        assert message[end] == 0x40  # the signature's length
        assert len(message) == end + 65
        self.signature, self.signed = message[end + 1 :], message[1:end]  # from the transaction id on


def verify(alert: Der, certificate: Path, signed: bytes) -> None:
    key = x509.load_pem_x509_certificate(certificate.read_bytes()).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    r, s = (int.from_bytes(half, "big") for half in (alert.signature[:32], alert.signature[32:]))
    key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA256()))


@pytest.mark.parametrize(
    ("position", "message_code", "alert_code", "originator"),
    [(0, "0128", "8f8a", "00db1234567890a2"), (1, "012b", "8f8b", "00db1234567890a4")],
    ids=["CCS08", "CS09"],
)
def test_an_alert_parses_and_its_signature_verifies(demo, position, message_code, alert_code, originator):
    told = demo.outcome["alerts"][position]
    alert = Der(bytes.fromhex(told["message"]))
    assert (alert.message_code.hex(), alert.originator.hex()) == (message_code, originator)
    assert alert.target.hex() == "90b3d51f30000002"
    assert bytes.fromhex("0203008f" + alert_code[2:]) in alert.payload  # INTEGER alertCode
    assert (0x11223344).to_bytes(4, "big") in alert.payload
    assert told["alert_code"] == f"0x{alert_code.upper()}"
    certificate = demo.home / "pki" / f"{originator}-ds.pem"
    verify(alert, certificate, alert.signed)
    with pytest.raises(InvalidSignature):
        verify(alert, certificate, alert.signed[:-1] + bytes((alert.signed[-1] ^ 1,)))
