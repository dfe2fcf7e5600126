"""Wireshark reads each kind of frame that real networks have and our own stack seldom or never makes."""

import subprocess

import pytest

from devices.wire import mac, routing
from devices.wire.nwk import NwkFrame, NwkSecurity, NwkType, SourceRoute
from devices.wire.pcap import PcapWriter
from devices.wire.security import cipher_for
from tests.support.air import COORDINATOR_IEEE, DEVICE_IEEE, NETWORK_KEY
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


@pytest.fixture(scope="module")
def seen(tmp_path_factory) -> dict[str, dict[str, str]]:
    """Each kind's fields; `problems` has what Wireshark finds wrong with it."""
    pcap = tmp_path_factory.mktemp("kinds") / "kinds.pcap"
    with pcap.open("wb") as stream:
        write = PcapWriter(stream, epoch_s=1_700_000_000.0).write
        for octets, _ in KINDS.values():
            mpdu = mac.data_frame(1, 0x1A62, 0x1234, 0, octets)
            write(0.0, 15, -40.0, mpdu + mac.fcs(mpdu))
    fields = sorted({field for _, wanted in KINDS.values() for field in wanted})
    columns = [word for field in ("_ws.expert.message", *fields) for word in ("-e", field)]
    keys = ["-o", f'uat:zigbee_pc_keys:"{NETWORK_KEY.hex(":")}","Normal","k"']
    read = [tshark(), *keys, "-r", str(pcap), "-T", "fields", *columns]
    shown = subprocess.run(read, check=True, capture_output=True, text=True, timeout=60).stdout
    rows = [line.split("\t") for line in shown.splitlines()]
    return {kind: dict(zip(("problems", *fields), row, strict=True)) for kind, row in zip(KINDS, rows, strict=True)}


@pytest.mark.parametrize("kind", KINDS)
def test_wireshark_reads_it(seen, kind):
    wanted = KINDS[kind][1]
    assert seen[kind]["problems"] == ""
    assert {field: seen[kind][field] for field in wanted} == wanted
