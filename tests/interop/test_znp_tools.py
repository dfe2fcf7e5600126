"""zigpy-znp's own command line tools on the virtual TI dongle, each started as a user starts it."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zigpy.types as t

from tests.support.virtual_dongle import VirtualDongle, virtual_dongle
from tests.support.zigpy_hosts import host

SEED = bytes(range(0x70, 0x80))
INCREMENT = 1000


def from_seed(shift: int, eui64: str) -> str:
    """A trust-centre link key as Z-Stack derives it."""
    shifted = SEED[shift:] + SEED[:shift]
    address = bytes.fromhex(eui64)[::-1] * 2
    return bytes(one ^ other for one, other in zip(shifted, address, strict=True)).hex()


def device(eui64: str, address: str | None, key: str | None = None, *, child: bool = True) -> dict[str, Any]:
    described: dict[str, Any] = {"ieee_address": eui64, "nwk_address": address, "is_child": child}
    if key is not None:
        described["link_key"] = {"key": key, "tx_counter": 4100, "rx_counter": 77}
    return described


BACKUP = {
    "metadata": {"format": "zigpy/open-coordinator-backup", "version": 1, "source": "test@0", "internal": {}},
    "stack_specific": {"zstack": {"tclk_seed": SEED.hex()}},
    "coordinator_ieee": "00db123456780042",
    "pan_id": "5a1e",
    "extended_pan_id": "1122334455667788",
    "nwk_update_id": 4,
    "security_level": 5,
    "channel": 20,
    "channel_mask": [15, 20],
    "network_key": {"key": "00112233445566778899aabbccddeeff", "sequence_number": 3, "frame_counter": 5000},
    "devices": [
        device("00db123456780101", "1001"),
        device("00db123456780102", "1002", from_seed(2, "00db123456780102")),
        device("00db123456780103", "1003", from_seed(9, "00db123456780103"), child=False),
        device("00db123456780104", None, "0f1e2d3c4b5a69788796a5b4c3d2e1f0"),
    ],
}
"""A child without a key, keys from the seed and one of its own, a child whose address nobody knows."""


@pytest.fixture
def dongle(tmp_path: Path) -> Iterator[VirtualDongle]:
    with virtual_dongle(tmp_path, "seed = 5\n", "--ncp", "znp") as running:
        yield running


def tool(name: str, dongle: VirtualDongle, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"zigpy_znp.tools.{name}", dongle.port, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60.0, check=False)


def into_file(name: str, dongle: VirtualDongle, path: Path) -> Any:
    done = tool(name, dongle, "-o", path)
    assert done.returncode == 0, done.stderr
    return json.loads(path.read_text())


def restored(dongle: VirtualDongle, tmp_path: Path) -> None:
    path = tmp_path / "given.json"
    path.write_text(json.dumps(BACKUP))
    done = tool("network_restore", dongle, "-i", path, "-c", INCREMENT)
    assert done.returncode == 0, done.stderr


def backed_up(dongle: VirtualDongle, tmp_path: Path) -> dict[str, Any]:
    backup = into_file("network_backup", dongle, tmp_path / "taken.json")
    return {**backup, "metadata": BACKUP["metadata"]}


def with_counter(counter: int) -> dict[str, Any]:
    return {**BACKUP, "network_key": {**BACKUP["network_key"], "frame_counter": counter}}  # type: ignore[dict-item]


def test_a_new_stick_has_no_network(dongle: VirtualDongle, tmp_path: Path) -> None:
    refused = tool("network_backup", dongle, "-o", tmp_path / "none.json")
    assert refused.returncode == 1
    assert "NetworkNotFormed" in refused.stderr
    assert "Form a network" in tool("energy_scan", dongle, "-n", 1).stderr


def test_a_backup_is_restored_whole_and_the_network_scans(dongle: VirtualDongle, tmp_path: Path) -> None:
    restored(dongle, tmp_path)
    assert backed_up(dongle, tmp_path) == with_counter(5000 + INCREMENT)
    scanned = tool("energy_scan", dongle, "-n", 1)
    assert scanned.returncode == 0, scanned.stderr
    channels = [line.split()[1].rstrip("*") for line in scanned.stdout.splitlines() if "%" in line]
    assert channels == [str(channel) for channel in range(11, 27)]
    searched = tool("network_scan", dongle, "-n", 1)
    assert (searched.returncode, searched.stdout) == (0, ""), searched.stderr  # nobody else is on this air
    taken = backed_up(dongle, tmp_path)
    assert taken["network_key"]["frame_counter"] >= 5000 + INCREMENT
    assert taken == with_counter(taken["network_key"]["frame_counter"])


def test_flash_is_cleared_read_and_written_back(dongle: VirtualDongle, tmp_path: Path) -> None:
    new = into_file("nvram_read", dongle, tmp_path / "new.json")
    restored(dongle, tmp_path)
    full = into_file("nvram_read", dongle, tmp_path / "full.json")
    assert full["LEGACY"].keys() - new["LEGACY"].keys() == {"NIB", "HAS_CONFIGURED_ZSTACK3", "ZIGPY_ZNP_MIGRATION_ID"}
    cleared = tool("nvram_reset", dongle)
    assert cleared.returncode == 0, cleared.stderr
    again = into_file("nvram_read", dongle, tmp_path / "again.json")
    for secret in ("PRECFGKEY", "TCLK_SEED"):  # made by chance
        assert new["LEGACY"].pop(secret) != again["LEGACY"].pop(secret)
    assert again == new
    assert tool("network_backup", dongle, "-o", tmp_path / "none.json").returncode == 1
    written = tool("nvram_write", dongle, "-i", tmp_path / "full.json")
    assert written.returncode == 0, written.stderr
    assert backed_up(dongle, tmp_path) == with_counter(5000 + INCREMENT)


async def test_a_stick_whose_flash_was_cleared_forms_again(dongle: VirtualDongle) -> None:
    """The tools of 1.1.1 do not form; a host does, and it counts on items that it never makes."""
    cleared = await asyncio.to_thread(tool, "nvram_reset", dongle)
    assert cleared.returncode == 0, cleared.stderr
    async with host(dongle, channel=15) as app:
        assert app.state.network_info.channel == 15
        assert app.state.node_info.ieee == t.EUI64.convert("00:db:12:34:56:78:00:01")
