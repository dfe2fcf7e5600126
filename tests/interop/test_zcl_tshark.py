"""Wireshark decodes the Tunneling and Key Establishment frames that we write; for OTA see test_ota_zigpy."""

import struct
import subprocess

import pytest

from chf.crypto.ecqv import CertificateAuthority, Suite
from chf.zcl import key_establishment, tunneling
from tests.support.air_capture import tshark

pytestmark = pytest.mark.needs_tshark

IEEE802154_NOFCS = 230
SMART_ENERGY = 0x0109


def capture(frame: bytes, cluster: int) -> bytes:
    """A pcap file with one unsecured ZigBee frame from the coordinator to a device."""
    mac = struct.pack("<HBHHH", 0x8841, 1, 0x1A62, 0x1234, 0x0000)
    nwk = struct.pack("<HHHBB", 0x0008, 0x1234, 0x0000, 30, 1)
    aps = struct.pack("<BBHHBB", 0x00, 3, cluster, SMART_ENERGY, 0x0B, 1)
    packet = mac + nwk + aps + frame
    head = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 0xFFFF, IEEE802154_NOFCS)
    return head + struct.pack("<IIII", 0, 0, len(packet), len(packet)) + packet


def read(tmp_path, frame, cluster, names):
    file = tmp_path / "one.pcap"
    file.write_bytes(capture(frame, cluster))
    fields = [argument for name in ("_ws.malformed", *names) for argument in ("-e", name)]
    command = [tshark(), "-r", str(file), "-T", "fields", "-E", "separator=|", *fields]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    malformed, *values = result.stdout.rstrip("\n").split("|")
    assert malformed == ""
    return dict(zip(names, values, strict=True))


def test_wireshark_reads_a_tunnel_request(tmp_path):
    frame = tunneling.command(tunneling.RequestTunnel(), 5, to_client=False)
    names = ("zbee_zcl_se.tun.protocol_id", "zbee_zcl_se.tun.manufacturer_code", "zbee_zcl_se.tun.max_in_transfer_size")
    assert [int(value, 0) for value in read(tmp_path, frame, tunneling.CLUSTER, names).values()] == [6, 0xFFFF, 1500]


KE = "zbee_zcl_se.ke"


@pytest.mark.parametrize("suite", Suite)
def test_wireshark_reads_our_certificates(tmp_path, suite):
    authority = CertificateAuthority.generate(suite, 0x4348_462D_5445_5354, 1 << 400)
    own = authority.issue(0xDB_0001, 1 << 400, 1 << 401, serial=77, valid_from=1_800_000_000).certificate
    body = key_establishment.InitiateKeyEstablishment(suite.value, 11, 12, own.octets)
    frame = key_establishment.command(body, 5, to_client=True)
    names = [f"{KE}.{name}" for name in ("attr.suite", "init.ephemeral.time", "init.confirm.time")]
    octets = [f"{KE}.cert.{name}" for name in ("subject", "issuer", "reconst")]
    found = read(tmp_path, frame, key_establishment.CLUSTER, (*names, *octets))
    assert [int(found[name], 0) for name in names] == [suite.value, 11, 12]
    assert [bytes.fromhex(found[name].replace(":", "")) for name in octets] == [
        own.subject.to_bytes(8, "big"),
        own.issuer.to_bytes(8, "big"),
        own.reconstruction_point,
    ]
    if suite is Suite.TWO:
        names = [f"{KE}.cert.{name}" for name in ("serialno", "curve", "hash", "key.usage.agreement")]
        found = read(tmp_path, frame, key_establishment.CLUSTER, names)
        assert [int(value, 0) if value != "True" else 1 for value in found.values()] == [77, 0x0D, 0x08, 1]


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (key_establishment.EphemeralData(bytes(range(37))), f"{KE}.qev"),
        (key_establishment.ConfirmKeyData(bytes(range(16))), f"{KE}.macv"),
    ],
)
def test_wireshark_reads_ephemeral_keys_and_macs(tmp_path, body, name):
    frame = key_establishment.command(body, 5, to_client=True)
    found = read(tmp_path, frame, key_establishment.CLUSTER, (name,))[name]
    assert bytes.fromhex(found.replace(":", "")) == body.to_bytes()


def test_wireshark_reads_a_terminate(tmp_path):
    body = key_establishment.TerminateKeyEstablishment(key_establishment.TerminateStatus.NO_RESOURCES, 30, 3)
    frame = key_establishment.command(body, 5, to_client=True)
    names = [f"{KE}.{name}" for name in ("terminate.status", "terminate.wait.time", "attr.suite")]
    found = read(tmp_path, frame, key_establishment.CLUSTER, names)
    assert [int(value, 0) for value in found.values()] == [4, 30, 3]
