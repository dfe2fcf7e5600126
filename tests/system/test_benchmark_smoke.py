"""The throughput benchmark works: one small run of each host. What it measures depends on the machine and is no test."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def benchmark(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "benchmarks/ota_throughput.py", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False)


def measured(*options: str) -> dict[str, Any]:
    done = benchmark("--image-kib", "2", "--runs", "1", "--json", *options)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.mark.parametrize("peer", ["zigpy", "zigpy-no-thread", "zigpy-home-automation"])
def test_every_host_updates_the_fleet(peer: str) -> None:
    result = measured("--devices", "2", "--peer", "chf", "--peer", peer)
    alone = result["cases"]["alone"]
    assert set(alone["peers"]) == {"chf", peer}
    for figures in alone["peers"].values():
        (run,) = figures["runs"]
        assert run["blocks"] == 2 * 43  # 2,048 octets with headers of less than 100, in blocks of 50
        assert run["repeated_requests"] == 0
        assert all(value > 0 for name, value in run.items() if name != "repeated_requests")
    assert alone["ratios"][peer]["blocks_per_s"] > 0


def test_slow_devices_are_measured_beside_the_others() -> None:
    result = measured("--devices", "2", "--slow-devices", "1", "--confirm-ms", "50", "--peer", "chf")
    assert set(result["cases"]) == {"alone", "with slow devices"}
    assert result["rate_left_beside_slow_devices"]["chf"] > 0


def test_by_page() -> None:
    (run,) = measured("--page", "--peer", "chf")["cases"]["alone"]["peers"]["chf"]["runs"]
    assert run["repeated_requests"] == 0


def test_the_table_is_for_people() -> None:
    done = benchmark("--image-kib", "2", "--runs", "1", "--peer", "chf")
    assert done.returncode == 0, done.stderr
    assert "| chf |" in done.stdout
    assert "115,200 baud" in done.stdout
