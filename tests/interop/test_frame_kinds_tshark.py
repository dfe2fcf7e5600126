"""Wireshark reads each kind of frame that real networks have and our own stack seldom or never makes."""

import subprocess

import pytest

from chf.crypto.mmo import hmac_mmo
from devices.wire import mac, routing
from devices.wire.aps import ApsCommandFrame, ApsSecurity, ApsType, seal
from devices.wire.aps_commands import (
    ConfirmKey,
    RemoveDevice,
    RequestLinkKey,
    TransportLinkKey,
    Tunnel,
    UpdateDevice,
    VerifyKey,
)
from devices.wire.inter_pan import InterPanFrame
from devices.wire.mac import AddressMode, MacFrame, MacType
from devices.wire.nwk import NwkFrame, NwkSecurity, NwkType, SourceRoute
from devices.wire.pcap import PcapWriter
from devices.wire.security import KeyIdentifier, cipher_for
from tests.support.air import COORDINATOR_IEEE, DEVICE_IEEE, LINK_KEY, NETWORK_KEY
from tests.support.air_capture import tshark

pytestmark = pytest.mark.needs_tshark

CIPHER = cipher_for(NETWORK_KEY)
NWK, COMMAND = "zbee_nwk", "zbee_nwk.cmd"


def nwk_frame(payload: bytes, **more) -> bytes:
    """From the coordinator to 0x1234, sealed with the network key."""
    frame = NwkFrame(0x1234, 0, 30, 5, payload, security=NwkSecurity(9, COORDINATOR_IEEE), **more)
    return frame.seal(CIPHER)


def command(body) -> bytes:
    return nwk_frame(body.to_bytes(), type=NwkType.COMMAND)


KINDS = {
    "source route": (
        nwk_frame(bytes.fromhex("0001 0600 0401 01 05 110000"), source_route=SourceRoute((0x5678, 0x9ABC), 1)),
        {f"{NWK}.relay.count": "2", f"{NWK}.relay.index": "1", f"{NWK}.relay": "22136,39612"},
    ),
    "route request": (
        command(routing.RouteRequest(7, 0x4321, 2, destination_ieee=DEVICE_IEEE)),
        {f"{COMMAND}.route.id": "7", f"{COMMAND}.route.dest": "0x4321", f"{COMMAND}.route.cost": "2"}
        | {f"{COMMAND}.route.dest_ext": "00:12:4b:00:00:00:00:d1", f"{COMMAND}.route.opts.many2one": "0x00"},
    ),
    "many-to-one route request": (
        command(routing.RouteRequest(8, 0xFFFC, many_to_one=routing.ManyToOne.WITHOUT_ROUTE_RECORDS)),
        {f"{COMMAND}.route.dest": "0xfffc", f"{COMMAND}.route.opts.many2one": "0x02"},
    ),
    "route reply": (
        command(routing.RouteReply(7, 0x0001, 0x4321, 3, COORDINATOR_IEEE, DEVICE_IEEE)),
        {f"{COMMAND}.route.orig": "0x0001", f"{COMMAND}.route.resp": "0x4321", f"{COMMAND}.route.cost": "3"}
        | {f"{COMMAND}.route.orig_ext": "00:12:4b:00:00:00:00:01"}
        | {f"{COMMAND}.route.resp_ext": "00:12:4b:00:00:00:00:d1"},
    ),
    "network status": (
        command(routing.NetworkStatus(routing.NetworkStatusCode.SOURCE_ROUTE_FAILURE, 0x4321)),
        {f"{COMMAND}.status": "0x0b", f"{COMMAND}.route.dest": "0x4321"},
    ),
    "route record": (
        command(routing.RouteRecord((0x5678, 0x9ABC))),
        {f"{COMMAND}.relay_count": "2", f"{COMMAND}.relay_device": "0x5678,0x9abc"},
    ),
    "link status": (
        command(routing.LinkStatus((routing.Link(0, 1, 3), routing.Link(0x5678, 7, 0)), last=False)),
        {f"{COMMAND}.link.count": "2", f"{COMMAND}.link.first": "1", f"{COMMAND}.link.last": "0"}
        | {f"{COMMAND}.link.address": "0x0000,0x5678"}
        | {f"{COMMAND}.link.incoming_cost": "1,7", f"{COMMAND}.link.outgoing_cost": "3,0"},
    ),
}

APS = "zbee_aps"
LINK_CIPHER, LOAD_CIPHER = cipher_for(LINK_KEY), cipher_for(hmac_mmo(LINK_KEY, b"\x02"))
DEVICE_TEXT, COORDINATOR_TEXT = "00:12:4b:00:00:00:00:d1", "00:12:4b:00:00:00:00:01"


def aps_command(body, cipher=None, key=KeyIdentifier.DATA, **more) -> bytes:
    """From the coordinator; sealed where there is a cipher."""
    security = None if cipher is None else ApsSecurity(7, COORDINATOR_IEEE, key)
    frame = ApsCommandFrame(9, body if isinstance(body, bytes) else body.to_bytes(), security, **more)
    return nwk_frame(frame.to_bytes() if cipher is None else seal(frame, cipher, COORDINATOR_IEEE))


def with_control(bits: int) -> bytes:
    """A frame of data, not secured, that has more bits in its NWK frame control."""
    octets = NwkFrame(0x1234, 0, 30, 5, bytes.fromhex("0001 0600 0401 01 05 110000"), **ADDRESSED).to_bytes()
    return (int.from_bytes(octets[:2], "little") | bits).to_bytes(2, "little") + octets[2:]


ADDRESSED = {"destination_ieee": DEVICE_IEEE}
TYPE, ACK = f"{APS}.type", f"{APS}.ack_req"
KINDS |= {
    "route discovery 2, end device initiator": (
        with_control(0x2080),
        {f"{NWK}.discovery": "0x0002", f"{NWK}.end_device_initiator": "1", f"{NWK}.dst64": DEVICE_TEXT},
    ),
    "inter-PAN": (
        InterPanFrame(0x1000, 0xC05E, bytes.fromhex("110000 78563412 05 03")).to_bytes(),
        {f"{NWK}.frame_type": "0x0003", f"{APS}.type": "0x03", f"{APS}.cluster": "0x1000", f"{APS}.profile": "0xc05e"},
    ),
    "Transport-Key of a link key": (
        aps_command(TransportLinkKey(bytes(16), DEVICE_IEEE, COORDINATOR_IEEE), LOAD_CIPHER, KeyIdentifier.KEY_LOAD),
        {f"{APS}.cmd.id": "0x05", f"{APS}.cmd.key_type": "0x04", f"{APS}.cmd.dst": DEVICE_TEXT}
        | {f"{APS}.cmd.key": "00" * 16, f"{APS}.cmd.src": COORDINATOR_TEXT},
    ),
    "Update-Device": (
        aps_command(UpdateDevice(DEVICE_IEEE, 0x4321, 1), LINK_CIPHER),
        {f"{APS}.cmd.id": "0x06", f"{APS}.cmd.device": DEVICE_TEXT, f"{APS}.cmd.addr": "0x4321"}
        | {f"{APS}.cmd.update_status": "0x01"},
    ),
    "Remove-Device": (
        aps_command(RemoveDevice(DEVICE_IEEE), LINK_CIPHER),
        {f"{APS}.cmd.id": "0x07", f"{APS}.cmd.device": DEVICE_TEXT},
    ),
    "Request-Key": (
        aps_command(RequestLinkKey(), LINK_CIPHER),
        {f"{APS}.cmd.id": "0x08", f"{APS}.cmd.key_type": "0x04"},
    ),
    "Tunnel": (
        aps_command(Tunnel(DEVICE_IEEE, ApsCommandFrame(3, VerifyKey(DEVICE_IEEE, bytes(16)).to_bytes()).to_bytes())),
        {f"{APS}.cmd.dst": DEVICE_TEXT, f"{APS}.counter": "9,3", f"{APS}.cmd.id": "0x0e,0x0f"},
    ),
    "Verify-Key that asks for an ACK": (
        aps_command(VerifyKey(DEVICE_IEEE, bytes(16)), ack_request=True),
        {f"{APS}.cmd.id": "0x0f", ACK: "1", f"{APS}.cmd.key_hash": "00" * 16},
    ),
    "Confirm-Key that asks for an ACK": (
        aps_command(ConfirmKey(0xAD, 4, DEVICE_IEEE), LINK_CIPHER, ack_request=True),
        {f"{APS}.cmd.id": "0x10", ACK: "1", f"{APS}.cmd.status": "0xad", f"{APS}.cmd.key_type": "0x04"},
    ),
    "acknowledgement of a command": (
        aps_command(b"", LINK_CIPHER, type=ApsType.ACK),
        {TYPE: "0x02", f"{APS}.counter": "9", f"{APS}.security": "1"},
    ),
}

BETWEEN_NETWORKS = b"\x0b\x00"
EVERYBODY, OWN_EXTENDED = (AddressMode.SHORT, 0xFFFF, 0xFFFF), (AddressMode.EXTENDED, 0x1A62, COORDINATOR_IEEE)


@pytest.fixture(scope="module")
def seen(tmp_path_factory) -> dict[str, dict[str, str]]:
    """Each kind's fields; `problems` has what Wireshark finds wrong with it."""
    pcap = tmp_path_factory.mktemp("kinds") / "kinds.pcap"
    with pcap.open("wb") as stream:
        write = PcapWriter(stream, epoch_s=1_700_000_000.0).write
        for octets, _ in KINDS.values():
            mpdu = mac.data_frame(1, 0x1A62, 0x1234, 0, octets)
            if octets.startswith(BETWEEN_NETWORKS):
                mpdu = MacFrame(MacType.DATA, 1, *EVERYBODY, *OWN_EXTENDED, octets).to_bytes()
            write(0.0, 15, -40.0, mpdu + mac.fcs(mpdu))
    fields = sorted({field for _, wanted in KINDS.values() for field in wanted})
    columns = [word for field in ("_ws.expert.message", *fields) for word in ("-e", field)]
    given = [f'uat:zigbee_pc_keys:"{key.hex(":")}","Normal","k"' for key in (NETWORK_KEY, LINK_KEY)]
    keys = [word for option in given for word in ("-o", option)]
    read = [tshark(), *keys, "-r", str(pcap), "-T", "fields", *columns]
    shown = subprocess.run(read, check=False, capture_output=True, text=True, timeout=60)
    assert shown.returncode == 0, shown.stderr
    rows = [line.split("\t") for line in shown.stdout.splitlines()]
    return {kind: dict(zip(("problems", *fields), row, strict=True)) for kind, row in zip(KINDS, rows, strict=True)}


@pytest.mark.parametrize("kind", KINDS)
def test_wireshark_reads_it(seen, kind):
    wanted = KINDS[kind][1]
    assert seen[kind]["problems"] == ""
    assert {field: seen[kind][field] for field in wanted} == wanted
