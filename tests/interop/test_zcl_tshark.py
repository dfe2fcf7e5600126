"""Wireshark decodes the OTA and Tunneling frames that we write, field by field."""

import os
import shutil
import struct
import subprocess

import pytest

from chf.zcl import ota as zcl
from chf.zcl import tunneling

pytestmark = pytest.mark.needs_tshark

OTA = "zbee_zcl_general.ota"
IEEE802154_NOFCS = 230
SMART_ENERGY = 0x0109


@pytest.fixture(scope="module")
def tshark():
    path = shutil.which("tshark")
    if path is None:
        if os.environ.get("CI") == "true":
            pytest.fail("tshark is not installed")
        pytest.skip("tshark is not installed")
    return path


def capture(frame: bytes, cluster: int) -> bytes:
    """A pcap file with one unsecured ZigBee frame from the coordinator to a device."""
    mac = struct.pack("<HBHHH", 0x8841, 1, 0x1A62, 0x1234, 0x0000)
    nwk = struct.pack("<HHHBB", 0x0008, 0x1234, 0x0000, 30, 1)
    aps = struct.pack("<BBHHBB", 0x00, 3, cluster, SMART_ENERGY, 0x0B, 1)
    packet = mac + nwk + aps + frame
    head = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 0xFFFF, IEEE802154_NOFCS)
    return head + struct.pack("<IIII", 0, 0, len(packet), len(packet)) + packet


def read(tshark, tmp_path, frame, cluster, names):
    file = tmp_path / "one.pcap"
    file.write_bytes(capture(frame, cluster))
    fields = [argument for name in ("_ws.malformed", *names) for argument in ("-e", name)]
    command = [tshark, "-r", str(file), "-T", "fields", "-E", "separator=|", *fields]
    result = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    malformed, *values = result.stdout.rstrip("\n").split("|")
    assert malformed == ""
    return dict(zip(names, values, strict=True))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (zcl.ImageNotify(), {f"{OTA}.query_jitter": "0x64"}),
        (
            zcl.QueryNextImageResponse(0, zcl.ImageFound(0x10D8, 4, 2, 1000)),
            {f"{OTA}.status": "0x00", f"{OTA}.file.version": "0x00000002", f"{OTA}.image.size": "1000"},
        ),
        (zcl.QueryNextImageResponse(0x98), {f"{OTA}.status": "0x98"}),
        (
            zcl.ImageBlock(0x10D8, 4, 2, 100, b"abc"),
            {f"{OTA}.file.offset": "100", f"{OTA}.data_size": "3", f"{OTA}.image.data": "61:62:63"},
        ),
        (
            zcl.WaitForData(0, 1800, 7),
            {f"{OTA}.status": "0x97", f"{OTA}.request_time": "1800"},
        ),
        (
            zcl.UpgradeEndResponse(0x10D8, 4, 2, 0, zcl.WAIT_FOR_COMMAND),
            {f"{OTA}.current_time": "0", f"{OTA}.upgrade_time": "4294967295"},
        ),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, dict) else "",
)
def test_wireshark_reads_the_same_fields(tshark, tmp_path, body, expected):
    frame = zcl.command(body, 0xA5)
    command = f"{OTA}.cmd.srv_tx.id"
    read_fields = read(tshark, tmp_path, frame, zcl.CLUSTER, (command, *expected))
    assert int(read_fields.pop(command), 0) == body.COMMAND
    assert {name: number(value) for name, value in read_fields.items()} == {
        name: number(value) for name, value in expected.items()
    }


def number(text):
    """Decimal or hexadecimal, as the field's display has it; octets stay text."""
    return text if ":" in text else int(text, 0)


def test_wireshark_reads_a_tunnel_request(tshark, tmp_path):
    frame = tunneling.command(tunneling.RequestTunnel(), 5, to_client=False)
    names = ("zbee_zcl_se.tun.protocol_id", "zbee_zcl_se.tun.manufacturer_code", "zbee_zcl_se.tun.max_in_transfer_size")
    assert [int(value, 0) for value in read(tshark, tmp_path, frame, tunneling.CLUSTER, names).values()] == [
        6,
        0xFFFF,
        1500,
    ]
