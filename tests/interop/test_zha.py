"""ZHA whole against the virtual dongles: it forms, pairs, comes back, scans, and its update entity installs an image.

ZHA wants a newer Python than chf: `.ci/other-environments` makes it an environment, names its interpreter in
CHF_ZHA_PYTHON, and runs this file.
"""

import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.herdsman import herdsman_image
from tests.support.virtual_dongle import EUI64, LINK_KEY, ROOT, ppmid, virtual_dongle
from tests.support.zigpy_hosts import RELAXED

IEEE = EUI64.replace("-", ":").lower()
HOST = ROOT / "tests" / "support" / "zha_host.py"
OUR_IEEE = "00:db:12:34:56:78:00:01"


def run_zha(directory: Path, port: str, radio: str) -> list[dict[str, Any]]:
    request = {"port": port, "radio": radio, "directory": str(directory), "images": str(directory / "images")}
    request |= {"ieee": IEEE, "link_key": LINK_KEY.hex(":")}
    command = [os.environ["CHF_ZHA_PYTHON"], str(HOST), json.dumps(request)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120.0, check=False)
    events: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"{events} {done.stderr[-2000:]}"
    return events


@pytest.mark.skipif(
    "CHF_ZHA_PYTHON" not in os.environ, reason="ZHA has an environment of its own: .ci/other-environments"
)
@pytest.mark.timeout(300)
@pytest.mark.parametrize("radio", ["ezsp", "znp"])
def test_it_pairs_comes_back_scans_and_installs_what_its_folder_offers(tmp_path: Path, radio: str) -> None:
    (tmp_path / "images").mkdir()
    image = herdsman_image(tmp_path / "images" / "new.ota")
    scenario = f'[ncp]\neui64 = "00-DB-12-34-56-78-00-01"\n{ppmid(**RELAXED, query_interval_s=2.0)}'
    with virtual_dongle(tmp_path, scenario, "--ncp", radio) as dongle:
        started, paired, _ = run_zha(tmp_path, dongle.port, radio)
        assert (started["channel"], started["devices"]) == (15, 0)
        assert (paired["model"], paired["manufacturer"]) == ("PPMID", "Emulated")
        again, scanned, offered, *rest = run_zha(tmp_path, dongle.port, radio)
        assert again == {**started, "devices": 1}
        assert scanned["neighbours"] == {OUR_IEEE: [IEEE]}
        assert (offered["installed"], offered["latest"]) == ("0x00000001", "0x00000002")
        assert [event["event"] for event in rest] == ["updated", "running", "stopped"]
        done = dongle.wait_for("download_complete")
        assert done["sha256"] == hashlib.sha256(image.read_bytes()).hexdigest()
