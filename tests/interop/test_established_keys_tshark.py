"""Captures of key establishment, opened by Wireshark with keys given and withheld: every suite, every kind of dongle."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from chf.crypto.ecqv import Suite
from chf.eui64 import parse_eui64
from chf.pki.zigbee import ZigbeePki
from chf.update.model import UpdateState
from tests.support.air_capture import IMAGE_BLOCKS, image_of, tshark
from tests.support.programs import bench, image_file, quick
from tests.support.virtual_dongle import EUI64, LINK_KEY

pytestmark = [pytest.mark.needs_tshark, pytest.mark.timeout(180)]

DONGLE = "00-DB-12-34-56-78-00-01"
OTA = "zbee_aps.type == 0 && zbee_aps.cluster == 0x0019"
EXCHANGE = "zbee_zcl_se.ke.cmd.srv_rx.id || zbee_zcl_se.ke.cmd.srv_tx.id"
KEY_ESTABLISHMENT = "zbee_aps.type == 0 && zbee_aps.cluster == 0x0800"


class Capture:
    """`keys` are those of the exported file; `established` is the one of them that the store holds."""

    def __init__(self, directory: Path, kind: str, suite: Suite) -> None:
        self._tshark = tshark()
        self._directory = directory
        made = ZigbeePki(directory / "certificates")
        for eui64 in (DONGLE, EUI64):
            made.issue(parse_eui64(eui64))
        scenario = f'[ncp]\neui64 = "{DONGLE}"\n'
        scenario += quick(credentials=f"certificates/{{eui64}}-suite{suite.value}.txt")
        with bench(directory, scenario, "--ncp", kind, capture=True) as desk:
            made.path.rename(desk.pki.path / "zigbee")
            desk.start_hub("--radio", kind, config='[security]\nmode = "cbke"\n')
            desk.admit(EUI64)
            self.image = image_file(directory / "new.ota", size_bytes=3000)
            desk.until_state(desk.start_update(self.image), UpdateState.ACTIVATED)
            self.established = desk.store.devices.get(parse_eui64(EUI64)).link_key
            assert desk.stop_hub() == 0
        texts = re.findall(r'^"([0-9A-Fa-f:]+)"', desk.dongle.keys.read_text(), re.MULTILINE)
        self.keys = {bytes.fromhex(text.replace(":", "")) for text in texts}
        self.network = self.keys - {self.established, LINK_KEY}
        """The network's key; a Z-Stack dongle is on a network of its own for a moment before the hub forms the other."""
        self.pcap = desk.dongle.capture

    def frames(self, wanted: str, *fields: str, keys: set[bytes]) -> list[list[str]]:
        """One row for each frame that the filter lets through, opened with these keys and no others."""
        columns = [part for field in fields or ("frame.number",) for part in ("-e", field)]
        given = [part for key in keys for part in ("-o", f'uat:zigbee_pc_keys:"{key.hex(":")}","Normal","k"')]
        command = [self._tshark, *given, "-r", str(self.pcap), "-Y", wanted, "-T", "fields", *columns]
        nothing = {**os.environ, "WIRESHARK_CONFIG_DIR": str(self._directory / "nobody")}
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, env=nothing)
        return [line.split("\t") for line in done.stdout.splitlines()]


@pytest.fixture(scope="module", params=[(kind, suite) for kind in ("ezsp", "znp") for suite in Suite], ids=str)
def capture(request, tmp_path_factory):
    kind, suite = request.param
    return Capture(tmp_path_factory.mktemp(f"{kind}-{suite.value}"), kind, suite)


def test_the_exported_keys_are_the_networks_the_install_codes_and_the_established_one(capture):
    assert {capture.established, LINK_KEY} < capture.keys
    assert len(capture.network) in {1, 2}


def test_with_all_keys_everything_is_read(capture):
    assert len(capture.frames("zbee_nwk.security == 1", keys=capture.keys)) > 100
    assert capture.frames("_ws.expert || _ws.malformed || wpan.fcs_ok == 0", keys=capture.keys) == []
    assert image_of(capture.frames(*IMAGE_BLOCKS, keys=capture.keys)) == capture.image.read_bytes()
    assert len(capture.frames(EXCHANGE, keys=capture.keys)) >= 6  # and Wireshark knows the exchange for what it is


def test_without_keys_nothing_is_read(capture):
    for what in ("zbee_aps.type == 0", "zbee_zcl", "zbee_zcl_general.ota", EXCHANGE):
        assert capture.frames(what, keys=set()) == []


def test_with_the_network_key_alone_key_establishment_is_read_and_nothing_under_a_link_key(capture):
    """It goes under the network key (SE1.4 C.3), and gives nothing away: the link key opens no earlier."""
    assert len(capture.frames(KEY_ESTABLISHMENT, keys=capture.network)) >= 6
    assert len(capture.frames(EXCHANGE, keys=capture.network)) >= 6
    assert len(capture.frames(OTA, keys=capture.network)) > 60
    assert capture.frames("zbee_zcl_general.ota", keys=capture.network) == []


def test_without_the_established_key_no_ota_frame_is_read(capture):
    """The install code's key opens the way into the network, and nothing that came after key establishment."""
    withheld = capture.keys - {capture.established}
    assert capture.frames("zbee_zcl_general.ota", keys=withheld) == []
    assert capture.frames(f"{OTA} && zbee_aps.security == 0 && !(zbee_nwk.dst >= 0xfff8)", keys=capture.keys) == []
