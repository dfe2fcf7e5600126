"""The second update method on the air, judged by Wireshark: each kind of device, behind either dongle.

What is on the air is held against what the hub keeps: the image against its file, each GBCS message against the alert,
response or command that has the same octets.
"""

from pathlib import Path

import pytest

from chf.eui64 import parse_eui64
from chf.gbcs import CraFlag, GbcsMessage, MessageCode
from chf.pki.gbcs import Pki, seeded_keys
from chf.store import Store
from tests.support.air_capture import AirCapture, tshark
from tests.support.programs import run_chf, signed_image_file

pytestmark = [pytest.mark.needs_tshark, pytest.mark.timeout(120)]

SEED, SIZE = 11, 6_007
BROADCASTS = "zbee_nwk.dst >= 0xfff8"
RECEIPTS = {"esme": MessageCode.FIRMWARE_DISTRIBUTION_RECEIPT_ALERT_ESME}
READS = {
    "hcalcs": MessageCode.READ_PPMID_HCALCS_FIRMWARE_VERSION,
    "esme": MessageCode.READ_FIRMWARE_VERSION_ESME_CHF,
    "gsme": MessageCode.READ_FIRMWARE_VERSION_GSME,
}


class Demo:
    def __init__(self, directory: Path, method: str, radio: str) -> None:
        tshark()
        self.method, self.home = method, directory / "home"
        pki = Pki.create(
            directory / "same-pki",
            chf=parse_eui64("00-DB-12-34-56-78-90-A2"),
            keys=seeded_keys(f"chf demo {SEED}".encode()),
        )
        self.image = signed_image_file(directory / "new.ota", pki, size_bytes=SIZE)
        pcap, keys = directory / "air.pcap", directory / "keys"
        files = ["--image", self.image, "--pcap", pcap, "--keys", keys, "--home", self.home]
        options = ["--json", "--method", method, "--radio", radio, "--seed", str(SEED)]
        ran = run_chf("demo", *options, *map(str, files), home=directory / "other", timeout_s=100)
        assert ran.code == 0, ran.err
        self.outcome = ran.json
        self.air = AirCapture(directory, pcap, keys)
        self.on_air = self.air.gbcs()


def every_frame_is_decrypted_and_none_is_damaged(demo: Demo) -> None:
    assert demo.outcome["result"] == "activated"
    assert len(demo.air.frames("zbee_nwk.security == 1")) > 250
    assert demo.air.frames("_ws.expert || _ws.malformed") == []
    assert len(demo.air.frames("wpan.fcs_ok == 1")) == len(demo.air.frames("frame"))


def everything_of_the_update_and_of_the_tunnel_has_the_link_key(demo: Demo) -> None:
    wanted = "zbee_aps.type == 0 && zbee_aps.cluster in {0x0019, 0x0704}"
    assert len(demo.air.frames(f"{wanted} && zbee_aps.security == 1")) > 250
    assert demo.air.frames(f"{wanted} && zbee_aps.security == 0 && !({BROADCASTS})") == []
    assert all(message.aps_secured and message.cluster == 0x0704 for message in demo.on_air)


def the_image_on_the_air_is_the_file(demo: Demo) -> None:
    assert demo.air.image() == demo.image.read_bytes()


def the_hub_keeps_every_message_that_is_on_the_air_and_no_other(demo: Demo) -> None:
    """Not CCS08 and CS14, which are the hub's own and go up."""
    with Store.open(demo.home) as store:
        sent = [message.message for number in range(1, 10) if (message := store.device_messages.get(number))]
        heard = [alert.message for alert in store.alerts.list() if alert.use_case not in ("CCS08", "CS14")]
    assert sorted(message.octets for message in demo.on_air) == sorted(sent + heard)
    kinds = [(GbcsMessage.from_bytes(octets).header.cra, octets) for octets in sent + heard]
    assert [cra for cra, _ in kinds].count(CraFlag.COMMAND) == len(sent) == 2
    read = READS[demo.method]
    receipt = RECEIPTS.get(demo.method, MessageCode.FIRMWARE_DISTRIBUTION_RECEIPT_ALERT_GSME)
    assert [(GbcsMessage.from_bytes(message.octets).header.message_code) for message in demo.on_air] == [
        receipt,
        MessageCode.ACTIVATE_FIRMWARE,
        MessageCode.ACTIVATE_FIRMWARE,
        read,
        read,
    ]


def wireshark_reads_every_message_as_we_do(demo: Demo) -> None:
    inner = set()
    for message in demo.on_air:
        ours, theirs = GbcsMessage.from_bytes(message.octets), message.fields
        header = ours.header
        assert int(theirs["cra_flag"], 0) == header.cra
        assert int(theirs["originator_counter"]) == header.counter
        assert theirs["business_originator_id"].replace(":", "") == f"{header.originator:016x}"
        assert theirs["business_target_id"].replace(":", "") == f"{header.recipient:016x}"
        assert int(theirs["message_code"], 0) == header.message_code
        assert bytes.fromhex(theirs.get("krp", "").replace(":", "")) == ours.signature
        assert bytes.fromhex(theirs.get("mac", "").replace(":", "")) == (ours.mac or b"")
        inner.update(message.layers)
        if "firmware_hash" in theirs:
            assert bytes.fromhex(theirs["firmware_hash"].replace(":", "")) in ours.payload
    assert "GBCS ASN.1" in inner  # CS06
    assert ("GBCS DLMS" if demo.method == "esme" else "gbcs_gbz") in inner


def a_sleepy_meter_fetches_what_is_for_it(demo: Demo) -> None:
    """GET, GET-RESPONSE and PUT, and no bare message, in the tunnel of a GSME; only bare ones in the others'."""
    commands = {int(row[0], 0) for row in demo.air.frames("gbcs_tunnel", "gbcs_tunnel.command") if row[0]}
    assert commands == ({1, 2, 3} if demo.method == "gsme" else set())


CHECKS = (
    every_frame_is_decrypted_and_none_is_damaged,
    everything_of_the_update_and_of_the_tunnel_has_the_link_key,
    the_image_on_the_air_is_the_file,
    the_hub_keeps_every_message_that_is_on_the_air_and_no_other,
    wireshark_reads_every_message_as_we_do,
    a_sleepy_meter_fetches_what_is_for_it,
)


@pytest.mark.parametrize("radio", ["ezsp", "znp"])
@pytest.mark.parametrize("method", READS)
def test_the_air_of_the_second_method(tmp_path, method, radio):
    """One test for each capture: several would take the demo once for each worker."""
    demo = Demo(tmp_path, method, radio)
    for check in CHECKS:
        check(demo)
